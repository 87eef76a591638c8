"""Generation: a sequence that goes on with what a model makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfunc._internal.validate import instance, number, numeric, positive_int
from nnfunc.arrays import Array
from nnfunc.core.build import program
from nnfunc.core.forward import Moving, called, put
from nnfunc.core.layer import Layer
from nnfunc.core.program import Program
from nnfunc.core.wiring import located
from nnfunc.evaluation.predict import HasParams
from nnfunc.keys import Key, check, fold_in, generator
from nnfunc.layers.structure import last_layer

__all__ = ["generate"]


def generate(
    model: Layer,
    ts: HasParams,
    prompt: ArrayLike,
    steps: int,
    *,
    key: Key | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
) -> NDArray[np.int64]:
    """Sequences of ids, continued one by one: each next id is drawn from what the model says after those before it.

    Args:
        model: from ids (examples, T) to logits (examples, T, ids), or to probabilities by a softmax at its end.
        ts: a `TrainState`, or whatever has `params` and `state`, of one network.
        prompt: ids to begin with, (examples, T), T ≥ 1.
        steps: how many to add.
        key: of what is drawn; not needed at temperature 0.
        temperature: the logits are divided by it: less is more certain; 0 takes the most probable.
        top_k: draws among so many of the most probable; None: among all.
    Returns:
        (examples, T + steps).
    Raises:
        ValueError: a layer in which a position depends on others, and that cannot go on step by step, is named.

    Each step computes the new position alone: attention keeps keys and values, recurrent layers their state.

    >>> model = nn.serial(nn.embedding(5, 8), nn.transformer_block(8, heads=2, causal=True), nn.dense(5))
    >>> ts = nn.train_state(model, "adam", nn.key(0), (4,))
    >>> nn.generate(model, ts, [[0, 1]], steps=3, temperature=0).shape
    (1, 5)
    """
    instance(model, Layer, "model")
    ids = numeric(prompt, "prompt")
    if ids.ndim != 2 or not ids.size or ids.dtype.kind not in "iu":
        raise ValueError(f"prompt has shape {ids.shape} and dtype {ids.dtype}, expected whole numbers (examples, T)")
    positive_int(steps, "steps", 0)
    number(temperature, "temperature", 0, np.inf)
    if top_k is not None:
        positive_int(top_k, "top_k")
    if temperature > 0:
        key = check(key)
    if ts.params.stack_shape:
        raise ValueError("a stack of networks: expected one network, of nn.unstack(ts)")
    ends = last_layer(model)
    logarithm = ends is not None and ends.name == "softmax"
    memory: dict[int, Any] = {}
    first = max(ids.shape[1] // 2, 1)
    y = _chunk(model, ts, ids[:, :first], memory)
    if ids.shape[1] > first:
        y = _chunk(model, ts, ids[:, first:], memory)
        _check_mixing(model, ts, ids, y)
    drawn = [ids.astype(np.int64)]
    for i in range(steps):
        logits = y[:, -1].astype(np.float64)
        if logarithm:
            with np.errstate(divide="ignore"):
                logits = np.log(logits)
        next_ids = _next(logits, None if key is None else fold_in(key, i), temperature, top_k)
        drawn.append(next_ids[:, None])
        if i + 1 < steps:
            y = _chunk(model, ts, next_ids[:, None], memory)
    return np.concatenate(drawn, axis=1)


def _chunk(model: Layer, ts: HasParams, ids: NDArray[Any], memory: dict[int, Any]) -> Array:
    """The outputs at the next positions."""
    params, state = ts.params, ts.state
    made: Program = program(model, ids.shape[1:], params, state)
    values: list[Any] = [None] * len(made.shapes)
    values[made.inputs] = ids
    moving = Moving(params, state, None, False, 1, values)
    arrays = (*params.arrays, *state.arrays)
    for at, (op, entry) in enumerate(zip(made.ops, made.ready, strict=True)):
        kernel, own = op.kernel, entry.own(arrays)
        try:
            if kernel.step is None:
                y, _ = called(entry, op, own, moving)
            else:
                uses: Mapping[str, Any] = {name: op.layer.settings[name] for name in kernel.uses}
                y, memory[at] = kernel.step(own, values[op.x], memory.get(at), **uses)
        except Exception as error:
            raise located(error, op.path) from error
        put(values, op.y, y)
    outputs: Array = values[made.output]
    if outputs.ndim != 3:
        raise ValueError(f"the model gives outputs of shape {outputs.shape}, expected logits (examples, T, ids)")
    return outputs


def _check_mixing(model: Layer, ts: HasParams, ids: NDArray[Any], y: Array) -> None:
    """Raises an error if the outputs in two parts are not those of the whole."""
    whole = model.forward(ts.params, ts.state, ids)[0]
    scale = float(np.abs(whole).max()) or 1.0
    if not np.allclose(whole[:, -1], y[:, -1], rtol=1e-3, atol=1e-3 * scale):
        raise ValueError(
            "the outputs for a part of the prompt at a time are not those for all of it: some layer lets a position "
            "depend on others and has no step of its own (Kernel.step); causal attention, rnn, gru and lstm have one"
        )


def _next(logits: Array, key: Key | None, temperature: float, top_k: int | None) -> NDArray[np.int64]:
    """One id for each row."""
    if temperature == 0:
        best: NDArray[np.int64] = logits.argmax(axis=-1)
        return best
    assert key is not None
    logits = logits / temperature
    if top_k is not None and top_k < logits.shape[-1]:
        least = np.partition(logits, -top_k, axis=-1)[:, [-top_k]]
        logits = np.where(logits < least, -np.inf, logits)
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    total = np.cumsum(p, axis=-1)
    chosen = generator(key).random((len(p), 1)) * total[:, -1:]
    ids: NDArray[np.int64] = (total <= chosen).sum(axis=-1).clip(max=p.shape[-1] - 1)
    return ids
