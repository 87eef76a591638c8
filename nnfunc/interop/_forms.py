"""The most common layers as one line of NumPy, with the same bits as their kernels, for readable generated files.

All others are called as functions. A form returns the expression of y and, in training, those of the gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import Any, NamedTuple

from nnfunc._internal.numerics import floor, logistic
from nnfunc.layers import activations, affine, joining, normalization, reshaping, stochastic


class Said(NamedTuple):
    """A call of a layer, in terms of the generated file.

    Attributes:
        x: the names of its inputs; y, dy: those of its output and its gradient.
        arrays: the names of its parameters and state in the file, by their names in the layer.
        settings: the settings of the layer.
        shapes: the shapes of one example of each input; after: that of the output.
        train: whether it runs in training mode.
        use: adds a function to the file and returns its name there.
    """

    x: list[str]
    y: str
    dy: str
    arrays: Mapping[str, str]
    settings: Mapping[str, Any]
    shapes: list[tuple[int, ...]]
    after: tuple[int, ...]
    train: bool
    use: Callable[[Callable[..., Any]], str]


class Form(NamedTuple):
    """The expressions of y (None if this call has none), of the gradients of the inputs, and of the parameters."""

    y: Callable[[Said], str | None]
    dx: Callable[[Said], list[str]]
    grads: Callable[[Said], dict[str, str]] = lambda _: {}


def _dense(c: Said) -> str:
    product, after = f"{_flat(c.x[0], c)}.dot({c.arrays['W']})", ", ".join(map(str, c.after))
    found = f"{product} + {c.arrays['b']}" if "b" in c.arrays else product
    return found if len(c.after) == 1 else f"({found}).reshape(len({c.x[0]}), {after})"


def _flat(name: str, c: Said) -> str:
    """x or dy as a matrix, with all axes but the last merged."""
    return name if len(c.after) == 1 else f"{name}.reshape(-1, {c.after[-1] if name == c.dy else c.shapes[0][-1]})"


def _dense_dx(c: Said) -> list[str]:
    dx = f"{_flat(c.dy, c)}.dot({c.arrays['W']}.T)"
    return [dx if len(c.after) == 1 else f"({dx}).reshape({c.x[0]}.shape)"]


def _dense_gradients(c: Said) -> dict[str, str]:
    dy = _flat(c.dy, c)
    found = {"W": f"{_flat(c.x[0], c)}.T.dot({dy})"}
    return found | ({"b": f"np.ones(len({dy}), {c.dy}.dtype).dot({dy})"} if "b" in c.arrays else {})


def _batch_norm(c: Said) -> str | None:
    if c.train:
        return None
    mean, var, gamma, beta = (c.arrays[k] for k in ("mean", "var", "gamma", "beta"))
    return f"({c.x[0]} - {mean}) * (1 / np.sqrt({var} + {c.settings['eps']!r})) * {gamma} + {beta}"


def _sigmoid_gradient(c: Said) -> list[str]:
    least = f"{c.use(floor)}({c.y}.dtype)"
    return [f"{c.dy} * (np.maximum({c.y}, {least}) * np.maximum(1 - {c.y}, {least}))"]


def _reshape(c: Said) -> str:
    return f"{c.x[0]}.reshape({', '.join(map(str, (f'len({c.x[0]})', *c.after)))})"


def _parts(c: Said) -> list[str]:
    ends = list(accumulate(shape[-1] for shape in c.shapes))
    return [f"{c.dy}[..., {a}:{b}]" for a, b in zip([0, *ends], ends, strict=False)]


def _others(c: Said) -> list[str]:
    return [" * ".join([c.dy, *c.x[:i], *c.x[i + 1 :]]) for i in range(len(c.x))]


BACK = Form(_reshape, lambda c: [f"{c.dy}.reshape({c.x[0]}.shape)"])

FORMS: dict[Callable[..., Any], Form] = {
    affine.DENSE.forward: Form(_dense, _dense_dx, _dense_gradients),
    activations.IDENTITY.forward: Form(lambda c: c.x[0], lambda c: [c.dy]),
    activations.RELU.forward: Form(lambda c: f"np.maximum({c.x[0]}, 0)", lambda c: [f"{c.dy} * ({c.y} > 0)"]),
    activations.SIGMOID.forward: Form(lambda c: f"{c.use(logistic)}({c.x[0]})", _sigmoid_gradient),
    activations.TANH.forward: Form(lambda c: f"np.tanh({c.x[0]})", lambda c: [f"{c.dy} * (1 - {c.y} * {c.y})"]),
    joining.ADD.forward: Form(lambda c: " + ".join(c.x), lambda c: [c.dy] * len(c.x)),
    joining.CONCATENATE.forward: Form(lambda c: f"np.concatenate(({', '.join(c.x)},), axis=-1)", _parts),
    joining.MULTIPLY.forward: Form(lambda c: " * ".join(c.x), _others),
    joining.SUBTRACT.forward: Form(lambda c: " - ".join(c.x), lambda c: [c.dy, f"-{c.dy}"]),
    normalization.BATCH_NORM.forward: Form(_batch_norm, lambda _: []),
    reshaping.FLATTEN.forward: BACK,
    reshaping.RESHAPE.forward: BACK,
    stochastic.DROPOUT.forward: Form(lambda c: None if c.train else c.x[0], lambda _: []),
}
"""Forms by the forward functions of kernels."""
