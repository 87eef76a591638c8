"""Forward and backward of one layer in float32, beside PyTorch's module with the same weights and JAX's function.

Asserted first: y and dx agree to 1e-3 of their largest number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

import nnfunc as nn
from nnfunc.arrays import Array
from nnfunc.interop.torch import to_state_dict
from tests.benchmarks.report import Cell, Options, Table
from tests.benchmarks.timing import Contestant, measure

NOTE = (
    "Images and sequences with channels last in nnfunc and JAX, with channels first and contiguous in PyTorch. Median "
    "of the turns; the ratio is nnfunc's time by that of the peer."
)


class Case(NamedTuple):
    """A layer, an input (N, ...), PyTorch's module, and JAX's function of (arrays in nnfunc's order, x)."""

    label: str
    layer: nn.Layer
    x: Any
    module: Callable[[Any], Any] | None = None
    function: Callable[..., Any] | None = None


def cases(rng: np.random.Generator) -> Iterator[Case]:
    def images(*shape: int) -> Array:
        return rng.normal(size=shape).astype(np.float32)

    for n, side, channels, filters in ((32, 28, 16, 32), (32, 14, 64, 64), (64, 28, 1, 8)):
        yield Case(
            f"conv2d 3×3, {n}×{side}×{side}, {channels}→{filters}",
            nn.conv2d(filters, 3, padding="same"),
            images(n, side, side, channels),
            partial(_convolution, channels, filters),
            _jax_convolution,
        )
    yield Case(
        "conv_transpose2d 4×4, stride 2, 32×7×7, 32→16",
        nn.conv_transpose2d(16, 4, stride=2, padding="same"),
        images(32, 7, 7, 32),
        lambda t: t.nn.ConvTranspose2d(32, 16, 4, stride=2, padding=1),
    )
    yield Case(
        "max_pool2d 2×2, 32×28×28×16",
        nn.max_pool2d(2),
        np.maximum(images(32, 28, 28, 16), 0),
        lambda t: t.nn.MaxPool2d(2),
        _jax_max_pool,
    )
    yield Case("batch_norm, 32×28×28×16", nn.batch_norm(), images(32, 28, 28, 16), lambda t: t.nn.BatchNorm2d(16))
    yield Case("group_norm(4), 32×28×28×16", nn.group_norm(4), images(32, 28, 28, 16), lambda t: t.nn.GroupNorm(4, 16))
    yield Case("layer_norm, 32×64×128", nn.layer_norm(), images(32, 64, 128), lambda t: t.nn.LayerNorm(128))
    yield Case("gelu(), 32×64×512", nn.gelu(), images(32, 64, 512), lambda t: t.nn.GELU(), _jax_gelu)
    recurrent: tuple[tuple[str, nn.Layer], ...] = (("RNN", nn.rnn(64)), ("GRU", nn.gru(64)), ("LSTM", nn.lstm(64)))
    for name, layer in recurrent:
        yield Case(
            f"{name.lower()}(64), 32×50×64",
            layer,
            images(32, 50, 64),
            partial(_recurrent, name),
        )
    yield Case(
        "attention(4), 16×64×128",
        nn.attention(4),
        images(16, 64, 128),
        lambda t: t.nn.MultiheadAttention(128, 4, batch_first=True),
    )
    yield Case(
        "embedding 5,000 × 64, 4,096 ids",
        nn.embedding(5000, 64),
        rng.integers(5000, size=(32, 128)),
        lambda t: t.nn.Embedding(5000, 64),
        lambda params, x: params[0][x],
    )


def run(options: Options) -> Iterator[Table]:
    rows: list[Mapping[str, Cell]] = []
    for case in cases(np.random.default_rng(0)):
        contestants = [nnfunc(case)]
        if "torch_peer" in options.peers and find_spec("torch") and case.module:
            contestants.append(pytorch(case))
        if "jax_peer" in options.peers and find_spec("jax") and case.function:
            contestants.append(jax_jit(case))
        times = measure([c for c, _ in contestants], options.rounds, options.seconds)
        for _, results in contestants[1:]:
            for ours, theirs in zip(contestants[0][1], results, strict=False):
                np.testing.assert_allclose(theirs, ours, atol=1e-3 * float(np.abs(ours).max()))
        row: dict[str, Cell] = {"layer": case.label}
        for name in ("nnfunc", "PyTorch", "JAX"):
            found = next((t for t in times if t.name == name), None)
            row[f"{name}, ms"] = None if found is None else found.median * 1e3
            if name != "nnfunc":
                row[f"by {name}"] = None if found is None else times[0].median / found.median
        rows.append(row)
    yield Table("Forward and backward of one layer", rows, NOTE)


Results = Sequence[Array]
"""y and, of floats, dx."""


def _start(case: Case) -> tuple[Any, Any, Array]:
    """Parameters, state, and a dy for the layer."""
    params, state = case.layer.init(nn.key(0), case.x.shape[1:])
    y, _, _ = case.layer.forward(params, state, case.x)
    return params, state, np.random.default_rng(1).normal(size=y.shape).astype(y.dtype)


def nnfunc(case: Case) -> tuple[Contestant, Results]:
    (params, state, dy), layer, x = _start(case), case.layer, case.x
    needs_dx = x.dtype == np.float32

    def both() -> Results:
        y, cache, _ = layer.forward(params, state, x, train=True)
        dx, _ = layer.backward(params, cache, dy)
        return (y, dx) if needs_dx else (y,)

    return Contestant("nnfunc", lambda: both()[0], "ours"), both()


def pytorch(case: Case) -> tuple[Contestant, Results]:
    import torch

    assert case.module is not None
    params, state, dy = _start(case)
    module = case.module(torch)
    state_dict = {k.removeprefix("0."): v for k, v in _state_dict(case, params, state).items()}
    module.load_state_dict({k: torch.as_tensor(v) for k, v in state_dict.items()}, strict=False)
    image = case.x.ndim == 4
    x = torch.tensor(_first(case.x) if image else case.x, requires_grad=case.x.dtype == np.float32)
    d = torch.tensor(_first(dy) if image else dy)
    arrays = [*([x] if x.requires_grad else []), *module.parameters()]

    def both() -> list[Any]:
        y = module(x, x, x, need_weights=False) if isinstance(module, torch.nn.MultiheadAttention) else module(x)
        y = y[0] if isinstance(y, tuple) else y
        return [y, *torch.autograd.grad(y, arrays, d)]

    y, dx = (a.detach().numpy() for a in both()[:2])
    results = [_last(a) if image else a for a in ((y, dx) if x.requires_grad else (y,))]
    return Contestant("PyTorch", lambda: float(both()[0].detach().flatten()[0])), results


def jax_jit(case: Case) -> tuple[Contestant, Results]:
    import jax

    params, _, dy = _start(case)
    function, arrays, floats = case.function, [params[name] for name in params], case.x.dtype == np.float32
    assert function is not None

    @jax.jit  # type: ignore[untyped-decorator, unused-ignore]  # JAX is not typed here
    def step(arrays: Any, x: Any, dy: Any) -> Any:
        if floats:
            y, back = jax.vjp(function, arrays, x)
            gradients, dx = back(dy)
        else:
            y, back = jax.vjp(lambda a: function(a, x), arrays)
            (gradients,), dx = back(dy), None
        return y, dx, gradients

    given = jax.tree.map(jax.numpy.asarray, (arrays, case.x, dy))

    def both() -> Any:
        return jax.block_until_ready(step(*given))

    y, dx, _ = both()
    results = [np.asarray(y), *([np.asarray(dx)] if floats else [])]
    return Contestant("JAX", lambda: float(both()[0].ravel()[0])), results


def _state_dict(case: Case, params: Any, state: Any) -> Mapping[str, Array]:
    model = nn.serial(case.layer)
    of_model, state_of_model = model.init(nn.key(0), case.x.shape[1:])
    named = {name: params[name.partition(".")[2]] for name in of_model}
    states = {name: state[name.partition(".")[2]] for name in state_of_model}
    found: Mapping[str, Array] = to_state_dict(model, nn.arrays.ArrayDict(named), nn.arrays.ArrayDict(states))
    return found


def _first(x: Array) -> Array:
    """(N, H, W, C) as (N, C, H, W)."""
    return np.ascontiguousarray(np.moveaxis(x, -1, 1))


def _last(x: Array) -> Array:
    return np.moveaxis(x, 1, -1)


def _convolution(channels: int, filters: int, torch: Any) -> Any:
    return torch.nn.Conv2d(channels, filters, 3, padding=1)


def _recurrent(name: str, torch: Any) -> Any:
    return getattr(torch.nn, name)(64, 64, batch_first=True)


def _jax_convolution(params: Any, x: Any) -> Any:
    from jax import lax

    W, b = params
    return lax.conv_general_dilated(x, W, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")) + b


def _jax_max_pool(params: Any, x: Any) -> Any:
    from jax import lax

    return lax.reduce_window(x, -np.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def _jax_gelu(params: Any, x: Any) -> Any:
    from jax import nn as jax_nn

    return jax_nn.gelu(x, approximate=False)
