"""The shared parts of recurrent layers over sequences x (..., T, D). The cells are in `cells` and `memory_cells`.

A single product computes the gate inputs of all steps, a = x x_W + b; only hₜ = cell(aₜ, hₜ₋₁) remains in the loop over
time. There the gates are the first axis: a is (gates, T, examples, units), and `i, f, g, o = a[:, t]`.

In reverse, time runs from the last step of each sequence to its first, and y[t] still corresponds to x[t]. With
lengths, steps past a sequence's end have no effect: its state is kept, y is 0 there, and x has no gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nnfunc._internal.numerics import sum_of_rows
from nnfunc._internal.validate import choice, first_bad, flag, positive_int
from nnfunc.arrays import Array
from nnfunc.core.kernel import Initial, Kernel, Kind, Signature
from nnfunc.core.settings import Settings
from nnfunc.core.values import Shapes, Value, is_shape
from nnfunc.initializers import Initializer, check
from nnfunc.layout import Shape

States: TypeAlias = tuple[Array, ...]
"""h, or (h, c) of an LSTM: each (examples, units)."""

Padding: TypeAlias = NDArray[np.bool_] | None
"""(T, examples, 1), True past the end of a sequence; None if all have the same length."""

Output: TypeAlias = Literal["sequence", "last"]


class Cell(NamedTuple):
    """The recursion of a layer.

    Attributes:
        halved: the factor of each gate (a block of `units` columns of x_W and h_W) inside the tanh: ½ for a sigmoid, as
            σ(a) = ½ + ½ tanh(a/2), else 1.
        states: the number of arrays in the state.
        forward: (a, states, W, h_b, padding) -> (hs (T + 1, examples, units), last states, cache), from a and h_W
            (gates, units, units), both halved; it may overwrite a.
        backward: (cache, W, hs, dhs, dlast, padding) -> `Gradients`, with W transposed and not halved.
    """

    halved: tuple[float, ...]
    states: int
    forward: Callable[..., tuple[Array, States, Any]]
    backward: Callable[..., Gradients]


class Gradients(NamedTuple):
    """The gradients returned by a cell's backward: of a, h_W, h_b (None if absent) and the initial states."""

    a: Array
    weights: Array
    bias: Array | None
    states: States


class Run(NamedTuple):
    """The values saved for backward: x (time first), lengths, padding, all h, the cell's cache, the shape of x."""

    x: Array
    lengths: NDArray[np.integer] | None
    padding: Padding
    hs: Array
    own: Any
    shape: Shape


def settings_of(
    units: int,
    output: Output,
    reverse: bool,
    initial_state: bool,
    final_state: bool,
    lengths: bool,
    initializer: Initializer,
    recurrent_initializer: Initializer,
    bias: bool,
    **own: Any,
) -> Settings:
    """Checks the arguments of a recurrent layer."""
    choice(output, "output", "sequence", "last")
    return Settings(
        units=positive_int(units, "units"),
        **own,
        output=output,
        reverse=flag(reverse, "reverse"),
        initial_state=flag(initial_state, "initial_state"),
        final_state=flag(final_state, "final_state"),
        lengths=flag(lengths, "lengths"),
        initializer=check(initializer),
        recurrent_initializer=check(recurrent_initializer, "recurrent_initializer"),
        bias=flag(bias, "bias"),
    )


def taking(kernel: Kernel, settings: Settings) -> Kernel:
    """Returns the kernel for the inputs in the settings: x, then the initial state, then the lengths."""
    kinds: list[Kind] = ["floats"]
    if settings["initial_state"]:
        kinds.append("floats")
    if settings["lengths"]:
        kinds.append("integers")
    return kernel if len(kinds) == 1 else kernel._replace(takes=tuple(kinds), below=_below)


def _below(input_shape: Shapes, **settings: Any) -> tuple[Any, ...]:
    """The bounds of the inputs: lengths range from 0 to T."""
    steps = input_shape[0][-2]
    states = [None if is_shape(input_shape[1]) else (None, None)] if settings["initial_state"] else []
    return (None, *states, steps + 1) if settings["lengths"] else (None, *states)


def signature_of(
    cell: Cell,
    input_shape: Shapes,
    *,
    units: int,
    output: Output,
    initial_state: bool,
    final_state: bool,
    lengths: bool,
    initializer: Initializer,
    recurrent_initializer: Initializer,
    bias: bool,
    bias_initializer: Initializer = "zeros",
    more: tuple[tuple[str, Initial], ...] = (),
    **_: Any,
) -> Signature:
    """Returns the signature after checking the input shapes against the settings."""
    shape = input_shape
    before: Shape = ()
    if initial_state or lengths:
        state: Any = (units,) if cell.states == 1 else ((units,),) * cell.states
        names = ["x", *["(h, c)" if cell.states > 1 else "h"] * initial_state, *["lengths"] * lengths]
        if is_shape(input_shape) or len(input_shape) != len(names):
            raise TypeError(f"the input has shape {input_shape}, expected a tuple ({', '.join(names)})")
        shape = input_shape[0]
        before = tuple(shape[:-2])
        expected = (shape, *[_within(state, before)] * initial_state, *[before] * lengths)
        if tuple(input_shape) != expected:
            raise ValueError(f"the input has shape {input_shape}, expected {expected} for ({', '.join(names)})")
    if not is_shape(shape) or len(shape) < 2:
        raise ValueError(f"an example has shape {shape}, expected (..., time, features)")
    before = tuple(shape[:-2])
    width = len(cell.halved) * units
    params = {
        "x_W": Initial((shape[-1], width), initializer),
        "h_W": Initial((units, width), recurrent_initializer),
    }
    if bias:
        params |= {"b": Initial((width,), bias_initializer), **dict(more)}
    y = (*before, shape[-2], units) if output == "sequence" else (*before, units)
    if not final_state:
        return Signature(y, params)
    states = ((*before, units),) * cell.states
    return Signature((y, states[0] if cell.states == 1 else states), params)


def _within(state: Any, before: Shape) -> Any:
    return (*before, *state) if is_shape(state) else tuple((*before, *s) for s in state)


def forward_of(
    cell: Cell,
    params: Sequence[Array],
    value: Value,
    *,
    units: int,
    output: Output,
    reverse: bool,
    initial_state: bool,
    final_state: bool,
    lengths: bool,
    **own: Any,
) -> tuple[Value, Run]:
    """The forward of a recurrent layer, from that of its cell."""
    parts = value if isinstance(value, tuple) else (value,)
    x: Array = parts[0]
    T, D = x.shape[-2:]
    until = _checked_lengths(parts[-1], T) if lengths else None
    steps = np.ascontiguousarray(turned(x.reshape(-1, T, D).swapaxes(0, 1), until, reverse))
    N = steps.shape[1]
    padding = None if until is None else (np.arange(T)[:, None] >= until)[..., None]
    if padding is not None:
        steps = np.where(padding, 0, steps)
    states: States = tuple(np.zeros((N, units), x.dtype) for _ in range(cell.states))
    if initial_state:
        given = parts[1] if cell.states > 1 else (parts[1],)
        states = tuple(s.reshape(N, units) for s in given)
    halved = np.array(cell.halved, x.dtype)[:, None, None]
    x_W, h_W, *biases = params
    a = np.matmul(steps.reshape(T * N, D), by_gate(x_W, units) * halved)
    if biases:
        a += by_gate(biases[0], units) * halved
    W = np.ascontiguousarray(by_gate(h_W, units) * halved)
    h_b = biases[1] if len(biases) > 1 else None
    hs, last, cache = cell.forward(a.reshape(-1, T, N, units), states, W, h_b, padding, **own)
    run = Run(steps, until, padding, hs, cache, x.shape)
    before = x.shape[:-2]
    if output == "last":
        y = last[0].reshape(*before, units)
    else:
        ys = hs[1:] if padding is None else np.where(padding, 0, hs[1:])
        y = np.ascontiguousarray(turned(ys, until, reverse).swapaxes(0, 1)).reshape(*before, T, units)
    if not final_state:
        return y, run
    finals = tuple(s.reshape(*before, units) for s in last)
    return (y, finals[0] if cell.states == 1 else finals), run


def backward_of(
    cell: Cell,
    params: Sequence[Array],
    run: Run,
    dy: Value,
    grads: Sequence[Array | None],
    need: Any,
    *,
    units: int,
    output: Output,
    reverse: bool,
    initial_state: bool,
    final_state: bool,
    lengths: bool,
    **own: Any,
) -> Value:
    """The backward of a recurrent layer, from that of its cell."""
    T, N, D = run.x.shape
    dlast: States = tuple(np.zeros((N, units), run.x.dtype) for _ in range(cell.states))
    if final_state:
        dy, given = dy
        dlast = tuple(d.reshape(N, units).copy() for d in (given if cell.states > 1 else (given,)))
    if output == "last":
        dhs: Array | None = None
        dlast = (dlast[0] + dy.reshape(N, units), *dlast[1:])
    else:
        dhs = turned(dy.reshape(N, T, units).swapaxes(0, 1), run.lengths, reverse)
        dhs = dhs if run.padding is None else np.where(run.padding, 0, dhs)
    back = np.ascontiguousarray(by_gate(params[1], units).mT)
    d = cell.backward(run.own, back, run.hs, dhs, dlast, run.padding, **own)
    da = d.a.reshape(-1, T * N, units)
    if grads[0] is not None:
        np.matmul(run.x.reshape(T * N, D).T, da, out=by_gate(grads[0], units))
    if grads[1] is not None:
        by_gate(grads[1], units)[...] = d.weights
    if len(grads) > 2 and grads[2] is not None:
        sum_of_rows(da, grads[2].reshape(-1, units))
    if len(grads) > 3 and grads[3] is not None:
        grads[3][...] = d.bias
    dx = None
    if need if isinstance(need, bool) else need[0]:
        steps = np.matmul(da, by_gate(params[0], units).mT).sum(axis=0).reshape(T, N, D)
        dx = np.ascontiguousarray(turned(steps, run.lengths, reverse).swapaxes(0, 1)).reshape(run.shape)
    if not (initial_state or lengths):
        return dx
    before = run.shape[:-2]
    dinitial = tuple(each.reshape(*before, units) for each in d.states)
    states = (dinitial if cell.states > 1 else dinitial[0],) if initial_state else ()
    return (dx, *states, None) if lengths else (dx, *states)


def step_of(
    cell: Cell, params: Sequence[Array], x: Value, memory: States | None, *, units: int, output: Output, reverse: bool,
    initial_state: bool, final_state: bool, lengths: bool, **own: Any,
) -> tuple[Array, States]:  # fmt: skip
    """Predicts the next steps of sequences from the states in memory."""
    if reverse or initial_state or final_state or lengths or output == "last":
        raise ValueError("incremental prediction requires reverse=False, output='sequence' and x as the only input")
    states = memory or tuple(np.zeros((*x.shape[:-2], units), x.dtype) for _ in range(cell.states))
    given = states if cell.states > 1 else states[0]
    settings: dict[str, Any] = {"units": units, "output": output, "reverse": False, "lengths": False, **own}
    (y, last), _ = forward_of(cell, params, (x, given), **settings, initial_state=True, final_state=True)
    return y, last if cell.states > 1 else (last,)


def by_gate(array: Array, units: int) -> Array:
    """Views (rows, gates·units), or a bias (gates·units,), as (gates, rows, units).

    >>> by_gate(np.array([[0, 1, 2, 3], [4, 5, 6, 7]]), 2).tolist()
    [[[0, 1], [4, 5]], [[2, 3], [6, 7]]]
    """
    rows = 1 if array.ndim == 1 else len(array)
    return array.reshape(rows, -1, units).swapaxes(0, 1)


def summed(a: Array, d: Array) -> Array:
    """Σₜ aₜᵀ dₜ (gates, units, units): the gradient of a product's weights, over all steps."""
    total: Array = np.matmul(a.reshape(-1, a.shape[-1]).T, d.reshape(len(d), -1, d.shape[-1]))
    return total


def kept(new: Array, old: Array, padding: Padding, t: int) -> None:
    """Keeps the old state (or its gradient) past the end of a sequence, in place."""
    if padding is not None:
        np.copyto(new, old, where=padding[t])


def turned(a: Array, lengths: NDArray[np.integer] | None, reverse: bool) -> Array:
    """Reverses time in a (T, examples, ...), within the length of each sequence; its own inverse.

    >>> turned(np.arange(3.0).reshape(3, 1, 1), np.array([2]), True).ravel()
    array([1., 0., 2.])
    """
    if not reverse:
        return a
    if lengths is None:
        return a[::-1]
    t = np.arange(len(a))[:, None]
    return a[np.where(t < lengths, lengths - 1 - t, t), np.arange(a.shape[1])]


def _checked_lengths(lengths: NDArray[np.integer], T: int) -> NDArray[np.integer]:
    bad = (lengths < 0) | (lengths > T)
    if bad.any():
        raise ValueError(
            f"lengths contains {first_bad(lengths, bad)}, expected integers from 0 to {T}, the number of steps"
        )
    return lengths.reshape(-1).astype(np.int64)


USES = ("units", "output", "reverse", "initial_state", "final_state", "lengths")
