"""Recurrent layers over sequences x (..., T, D): what they share. The cells stand in `cells`.

One product makes of all x what goes into the gates, a = x x_W + b; only hₜ = cell(aₜ, hₜ₋₁) is left for the loop over
time. In reverse, time runs from the last step of each sequence to its first, and y[t] still belongs to x[t]. With
lengths, the steps behind a sequence's end change nothing: its state stays, y is 0 there, and x has no gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nnfunc._internal.numerics import sum_of_rows
from nnfunc._internal.validate import first_bad, positive_int
from nnfunc.arrays import Array
from nnfunc.core.kernel import Initial, Kernel, Kind, Signature
from nnfunc.core.settings import Settings
from nnfunc.core.values import Shapes, Value, is_shape
from nnfunc.initializers import Initializer, check
from nnfunc.layout import Shape

States: TypeAlias = tuple[Array, ...]
"""h, of an LSTM (h, c): each (examples, units)."""

Output: TypeAlias = Literal["sequence", "last"]


class Cell(NamedTuple):
    """The recursion of a layer.

    Attributes:
        gates: how many blocks of `units` columns x_W and h_W have.
        states: how many arrays the state is made of.
        forward: (a, states, params, keep) -> (hs (T + 1, examples, units), last states, cache), from a (T, examples,
            gates·units), which it may overwrite; keep (T, examples, 1) is 0 behind the end of a sequence.
        backward: (cache, params, hs, dhs, dlast, keep) -> `Gradients`.
    """

    gates: int
    states: int
    forward: Callable[..., tuple[Array, States, Any]]
    backward: Callable[..., Gradients]


class Gradients(NamedTuple):
    """What a cell's backward gives: of a, of h_W, of h_b (None without one), and of the initial states."""

    a: Array
    weights: Array
    bias: Array | None
    states: States


class Run(NamedTuple):
    """What backward needs: x time first, the lengths and what they keep, all h, the cell's own, shapes."""

    x: Array
    lengths: NDArray[np.integer] | None
    keep: Array | None
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
    """The arguments of a recurrent layer, checked."""
    if output not in ("sequence", "last"):
        raise ValueError(f"output={output!r}: expected 'sequence' or 'last'")
    return Settings(
        units=positive_int(units, "units"),
        **own,
        output=output,
        reverse=bool(reverse),
        initial_state=bool(initial_state),
        final_state=bool(final_state),
        lengths=bool(lengths),
        initializer=check(initializer),
        recurrent_initializer=check(recurrent_initializer),
        bias=bool(bias),
    )


def taking(kernel: Kernel, settings: Settings) -> Kernel:
    """The kernel for the inputs that the settings ask for: x, then the initial state, then the lengths."""
    kinds: list[Kind] = ["floats"]
    if settings["initial_state"]:
        kinds.append("floats")
    if settings["lengths"]:
        kinds.append("integers")
    return kernel if len(kinds) == 1 else kernel._replace(takes=tuple(kinds), below=_below)


def _below(input_shape: Shapes, **settings: Any) -> tuple[Any, ...]:
    """Lengths are from 0 to T."""
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
    """Shapes, checked against what the settings ask for."""
    shape = input_shape
    before: Shape = ()
    if initial_state or lengths:
        state: Any = (units,) if cell.states == 1 else ((units,),) * cell.states
        names = ["x", *["(h, c)" if cell.states > 1 else "h"] * initial_state, *["lengths"] * lengths]
        if is_shape(input_shape) or len(input_shape) != len(names):
            raise TypeError(f"the input has the shape {input_shape}, expected a tuple ({', '.join(names)})")
        shape = input_shape[0]
        before = tuple(shape[:-2])
        expected = (shape, *[_within(state, before)] * initial_state, *[before] * lengths)
        if tuple(input_shape) != expected:
            raise ValueError(f"the input has the shape {input_shape}, expected {expected} for ({', '.join(names)})")
    if not is_shape(shape) or len(shape) < 2:
        raise ValueError(f"an example has shape {shape}, expected (..., time, features)")
    before = tuple(shape[:-2])
    width = cell.gates * units
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
    """The layer, from its cell."""
    parts = value if isinstance(value, tuple) else (value,)
    x: Array = parts[0]
    T, D = x.shape[-2:]
    until = _checked_lengths(parts[-1], T) if lengths else None
    steps = np.ascontiguousarray(turned(x.reshape(-1, T, D).swapaxes(0, 1), until, reverse))
    N = steps.shape[1]
    keep = None if until is None else (np.arange(T)[:, None] < until).astype(x.dtype)[..., None]
    states: States = tuple(np.zeros((N, units), x.dtype) for _ in range(cell.states))
    if initial_state:
        given = parts[1] if cell.states > 1 else (parts[1],)
        states = tuple(s.reshape(N, units) for s in given)
    a = (steps.reshape(T * N, D) @ params[0]).reshape(T, N, -1)
    if len(params) > 2:
        a += params[2]
    hs, last, cache = cell.forward(a, states, params, keep, **own)
    run = Run(steps, until, keep, hs, cache, x.shape)
    before = x.shape[:-2]
    if output == "last":
        y = last[0].reshape(*before, units)
    else:
        ys = hs[1:] if keep is None else hs[1:] * keep
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
    """The gradients, from those of the cell."""
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
        dhs = dhs if run.keep is None else dhs * run.keep
    d = cell.backward(run.own, params, run.hs, dhs, dlast, run.keep, **own)
    da = d.a.reshape(T * N, -1)
    if grads[0] is not None:
        np.matmul(run.x.reshape(T * N, D).T, da, out=grads[0])
    if len(grads) > 2 and grads[2] is not None:
        sum_of_rows(da, grads[2])
    for grad, found in zip((grads[1], *grads[3:]), (d.weights, d.bias), strict=False):
        if grad is not None:
            grad[...] = found
    dx = None
    if need if isinstance(need, bool) else need[0]:
        steps = (da @ params[0].T).reshape(T, N, D)
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
    """The next steps of sequences, after those whose states are the memory."""
    if reverse or initial_state or final_state or lengths or output == "last":
        raise ValueError("goes on step by step only forward in time, with output='sequence' and x alone as its input")
    states = memory or tuple(np.zeros((*x.shape[:-2], units), x.dtype) for _ in range(cell.states))
    given = states if cell.states > 1 else states[0]
    settings: dict[str, Any] = {"units": units, "output": output, "reverse": False, "lengths": False, **own}
    (y, last), _ = forward_of(cell, params, (x, given), **settings, initial_state=True, final_state=True)
    return y, last if cell.states > 1 else (last,)


def summed(a: Array, b: Array) -> Array:
    """Σₜ aₜᵀ bₜ: the gradient of a product's weights, over all steps."""
    total: Array = a.reshape(-1, a.shape[-1]).T @ b.reshape(-1, b.shape[-1])
    return total


def turned(a: Array, lengths: NDArray[np.integer] | None, reverse: bool) -> Array:
    """a (T, examples, ...) with time in reverse, of each sequence within its length; twice is once not.

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
        raise ValueError(f"lengths contains {first_bad(lengths, bad)}, expected whole numbers from 0 to {T}, the steps")
    return lengths.reshape(-1).astype(np.int64)


USES = ("units", "output", "reverse", "initial_state", "final_state", "lengths")
