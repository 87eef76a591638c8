"""Autoregressive generation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from nnfunc._internal.validate import first_bad, number, numeric, positive_int
from nnfunc.arrays import Array
from nnfunc.core.build import program
from nnfunc.core.forward import Moving, called, put
from nnfunc.core.layer import Layer
from nnfunc.core.program import Program
from nnfunc.core.values import leaves, taken
from nnfunc.core.wiring import located
from nnfunc.evaluation.predict import Given, HasParams, trained
from nnfunc.keys import Key, check, fold_in, generator
from nnfunc.layers.structure import last_layer

__all__ = ["generate"]

Memory: TypeAlias = dict[int, Any]
"""The memory of each call of a kernel with a `step`, by its position in the program."""


def generate(
    model: Layer,
    ts: Given,
    prompt: ArrayLike,
    steps: int,
    *,
    key: Key | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
) -> NDArray[np.int64]:
    """Continues sequences of ids, sampling each next id from the model's output for the previous ones.

    Args:
        model: maps ids (examples, T) to logits (examples, T, ids), or to probabilities if it ends with a softmax.
        ts: a `TrainState`, or any object with `params` and `state`, of a single network.
        prompt: the initial ids, (examples, T), T ≥ 1.
        steps: the number of ids to append.
        key: the key for sampling; not needed at temperature 0.
        temperature: divides the logits: lower values sharpen the distribution; 0 takes the most probable id.
        top_k: samples from this many of the most probable ids; None: from all.
    Returns:
        (examples, T + steps).
    Raises:
        ValueError: a layer whose positions depend on each other and that cannot be evaluated step by step (this is
            checked over the number of positions to generate, up to 64, or the length of the prompt), or non-finite
            logits.

    Each step computes only the new position: attention caches keys and values, recurrent layers keep their state.

    >>> model = nn.serial(nn.embedding(5, 8), nn.transformer_block(8, heads=2, causal=True), nn.dense(5))
    >>> ts = nn.train_state(model, "adam", nn.key(0), (4,))
    >>> nn.generate(model, ts, [[0, 1]], steps=3, temperature=0).shape
    (1, 5)
    """
    ts = trained(model, ts, "generate(model, ts, prompt, steps)")
    ids = numeric(prompt, "prompt")
    if ids.ndim != 2 or not ids.size or ids.dtype.kind not in "iu":
        raise ValueError(f"prompt has shape {ids.shape} and dtype {ids.dtype}, expected integers (examples, T)")
    steps = positive_int(steps, "steps", 0)
    temperature = number(temperature, "temperature", 0, np.inf)
    if top_k is not None:
        top_k = positive_int(top_k, "top_k")
    if temperature > 0:
        key = check(key)
    if ts.params.stack_shape:
        raise ValueError("ts is a stack of networks: expected a single network, one of nn.unstack(ts)")
    ends = last_layer(model)
    logarithm = ends is not None and ends.name == "softmax"
    memory: Memory = {}
    y = _logits(model, ts, ids, memory)
    _check_parts(model, ts, _counting(y.shape[-1], max(ids.shape[1], min(ids.shape[1] + steps - 1, 64))))
    drawn = [ids.astype(np.int64)]
    for i in range(steps):
        logits = y[:, -1].astype(np.float64)
        if logarithm:
            with np.errstate(divide="ignore"):
                logits = np.log(logits)
        next_ids = _next(logits, None if key is None else fold_in(key, i), temperature, top_k)
        drawn.append(next_ids[:, None])
        if i + 1 < steps:
            y = _logits(model, ts, next_ids[:, None], memory)
    return np.concatenate(drawn, axis=1)


def _run(model: Layer, ts: HasParams, ids: NDArray[Any], memory: Memory | None) -> tuple[Program, list[Any]]:
    """All values at the next positions; without a memory, `ids` are the whole sequence."""
    params, state = ts.params, ts.state
    made: Program = program(model, ids.shape[1:], params, state)
    values: list[Any] = [None] * len(made.shapes)
    values[made.inputs] = ids
    moving = Moving(params, state, None, False, 1, values)
    arrays = (*params.arrays, *state.arrays)
    for at, (op, entry) in enumerate(zip(made.ops, made.ready, strict=True)):
        kernel, own = op.kernel, entry.own(arrays)
        try:
            if memory is None or kernel.step is None:
                y, _ = called(entry, op, own, moving)
            else:
                uses: Mapping[str, Any] = {name: op.layer.settings[name] for name in kernel.uses}
                y, memory[at] = kernel.step(own, taken(values, op.x), memory.get(at), **uses)
        except Exception as error:
            raise located(error, op.path) from error
        put(values, op.y, y)
    return made, values


def _logits(model: Layer, ts: HasParams, ids: NDArray[Any], memory: Memory) -> Array:
    """The outputs at the next positions."""
    made, values = _run(model, ts, ids, memory)
    outputs: Array | tuple[Array, ...] = taken(values, made.output)
    if isinstance(outputs, tuple) or outputs.ndim != 3:
        came = f"{len(outputs)} outputs" if isinstance(outputs, tuple) else f"outputs of shape {outputs.shape}"
        raise ValueError(f"the model returns {came}, expected logits (examples, T, ids)")
    return outputs


def _counting(count: int, T: int) -> NDArray[np.int64]:
    """0, 1, 2 ..., restarting from 0 after `count` ids: a sequence in which neighbouring positions differ."""
    return np.resize(np.arange(count), (1, T))


def _check_parts(model: Layer, ts: HasParams, ids: NDArray[Any]) -> None:
    """Raises an error naming the first layer whose outputs differ between a sequence in two parts and the whole one."""
    made, whole = _run(model, ts, ids, None)
    memory: Memory = {}
    parts = [_run(model, ts, part, memory)[1] for part in np.split(ids, [(ids.shape[1] + 1) // 2], axis=1) if part.size]
    for op in made.ops:
        for n in leaves(op.y):
            joined = [values[n] for values in parts]
            if whole[n].ndim < 2 or not _close(np.concatenate(joined, axis=1), whole[n], ts.params.dtype):
                step = "it has no Kernel.step" if op.kernel.step is None else "Kernel.step returns others"
                raise ValueError(
                    f"{op.path or op.layer.name}: the outputs for a sequence in parts differ from those for the whole "
                    f"sequence, and {step}: causal attention, rnn, gru and lstm can continue position by position"
                )


def _close(y: Array, whole: Array, dtype: DTypeLike) -> bool:
    """Whether two outputs are equal up to rounding."""
    tolerance = float(np.sqrt(np.finfo(dtype).eps))
    largest = float(np.abs(whole[np.isfinite(whole)]).max(initial=0))
    return y.shape == whole.shape and np.allclose(y, whole, tolerance, tolerance * largest, equal_nan=True)


def _next(logits: Array, key: Key | None, temperature: float, top_k: int | None) -> NDArray[np.int64]:
    """Samples one id per row."""
    largest = logits.max(axis=-1, keepdims=True)
    bad = ~np.isfinite(largest[:, 0])
    if bad.any():
        raise ValueError(f"the largest logit is {first_bad(largest[:, 0], bad)}: nothing to sample from")
    if temperature == 0:
        best: NDArray[np.int64] = logits.argmax(axis=-1)
        return best
    assert key is not None
    with np.errstate(over="ignore"):
        logits = (logits - largest) / temperature
    if top_k is not None and top_k < logits.shape[-1]:
        least = np.partition(logits, -top_k, axis=-1)[:, [-top_k]]
        logits = np.where(logits < least, -np.inf, logits)
    p = np.exp(logits)
    total = np.cumsum(p, axis=-1)
    chosen = generator(key).random((len(p), 1)) * total[:, -1:]
    ids: NDArray[np.int64] = (total <= chosen).sum(axis=-1).clip(max=p.shape[-1] - 1)
    return ids
