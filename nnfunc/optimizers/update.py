"""One update: the layout of the state, and the application of rules to its slices, in blocks for long vectors.

The state's vector contains the slots of the rule, one after another, followed by those of each wrapper: its slots,
then its scalars. The vector of a partition contains the states of its parts, grouped by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nnfunc.arrays import Array, ArrayDict, give_away, new_vector
from nnfunc.core.settings import Settings
from nnfunc.layout import Layout, grouped, layout, matching
from nnfunc.optimizers.setting import of_member, resolved
from nnfunc.optimizers.straight import Run, straight, zeros_in
from nnfunc.stacks import member, stack

if TYPE_CHECKING:
    from nnfunc.optimizers.base import Optimizer

BLOCK = 1 << 18
"""The number of bytes of a vector that are updated at once: a block and the temporaries of a formula stay in cache."""


# -- the layout of the state -------------------------------------------------------------------------------------------


def state_layout(optimizer: Optimizer, where: Layout) -> Layout:
    """The layout of the state, given that of the parameters."""
    if optimizer.inner is None and not optimizer.parts:
        return where._repeated.get(optimizer.slots) or where.repeated(optimizer.slots)
    return _state_layout(optimizer, where)


@lru_cache(maxsize=256)
def _state_layout(optimizer: Optimizer, where: Layout) -> Layout:
    if optimizer.parts:
        shapes = {k: shape for share in shares(optimizer, where) for k, shape in share.state.shapes.items()}
        return layout(tuple((k, shapes[k]) for k in grouped(shapes)), ("step",))
    assert optimizer.inner is not None
    shapes = state_layout(optimizer.inner, where).shapes | where.repeated(optimizer.slots).shapes
    shapes |= {f"{optimizer.name}.{k}": () for k, _ in optimizer.numbers}
    return layout(tuple(shapes.items()), ("step",))


class Share(NamedTuple):
    """The parameters and the state of one part of a partition: their layouts, and their slices of the whole vectors."""

    params: Layout
    state: Layout
    of_params: tuple[slice, ...]
    of_state: tuple[slice, ...]

    def of(self, params: ArrayDict) -> ArrayDict:
        """Its parameters, copied."""
        return ArrayDict._of(self.params, gathered(params._vector, self.of_params, self.params.size))


@lru_cache(maxsize=256)
def shares(optimizer: Optimizer, where: Layout) -> tuple[Share, ...]:
    """The shares of the parts; the first pattern that matches a name applies."""
    left, found = list(where.names), []
    for pattern, part in optimizer.parts:
        names = [k for k in matching(where.names, pattern) if k in left]
        left = [k for k in left if k not in names]
        own = layout(tuple((k, where.shapes[k]) for k in names))
        found.append((own, state_layout(part, own)))
    if left:
        raise ValueError(f"partition has no pattern that matches {', '.join(left)}: add '*' for all others")
    shapes = {k: shape for _, state in found for k, shape in state.shapes.items()}
    whole = layout(tuple((k, shapes[k]) for k in grouped(shapes)), ("step",))
    return tuple(Share(own, state, _slices(where, own), _slices(whole, state)) for own, state in found)


def _slices(whole: Layout, part: Layout) -> tuple[slice, ...]:
    """The slices of the arrays of a part in the whole, in the part's order."""
    return tuple(slice(*whole.entries[k][:2]) for k in part.names)


def gathered(vector: Array, slices: tuple[slice, ...], size: int) -> Array:
    """The concatenation of some slices."""
    part = new_vector((*vector.shape[:-1], size), vector.dtype)
    if slices:
        np.concatenate([vector[..., s] for s in slices], axis=-1, out=part)
    return part


def scatter(part: Array, slices: tuple[slice, ...], out: Array) -> None:
    """Writes the values back to where `gathered` took them from."""
    start = 0
    for s in slices:
        stop = start + s.stop - s.start
        out[..., s] = part[..., start:stop]
        start = stop


def begin(optimizer: Optimizer, params: ArrayDict, out: Array) -> None:
    """Writes the initial state: slots of rules are 0, those of wrappers are copies of the parameters."""
    where = params.layout
    if optimizer.parts:
        for (_, part), share in zip(optimizer.parts, shares(optimizer, where), strict=True):
            state = np.empty((*out.shape[:-1], share.state.size), out.dtype)
            begin(part, share.of(params), state)
            scatter(state, share.of_state, out)
    elif optimizer.inner is None:
        out[...] = 0
    else:
        inner = state_layout(optimizer.inner, where).size
        begin(optimizer.inner, params, out[..., :inner])
        numbers = inner + len(optimizer.slots) * where.size
        for start in range(inner, numbers, where.size or 1):
            out[..., start : start + where.size] = params._vector
        largest = float(np.finfo(out.dtype).max)  # a state must be finite
        out[..., numbers:] = [min(value, largest) for _, value in optimizer.numbers]


# -- the update --------------------------------------------------------------------------------------------------------


def update(
    optimizer: Optimizer, params: ArrayDict, g: Array, opt_state: ArrayDict, donate: bool = False
) -> tuple[ArrayDict, ArrayDict]:
    """One update, from the vector of the gradients.

    The built-in rules may overwrite the old slots: they read each slot before they write to it.
    """
    if optimizer.root.own is not None:
        return _of_own(optimizer, params, g, opt_state)
    layout, w = params._layout, params._vector
    where = state_layout(optimizer, layout)
    if type(opt_state) is not ArrayDict or opt_state._layout is not where or opt_state._vector.dtype != w.dtype:
        opt_state = _fitting(optimizer, params, opt_state)
    before, count = opt_state._vector, opt_state._integers["step"]
    if before.ndim != w.ndim or before.shape[:-1] != w.shape[:-1]:
        raise ValueError(
            f"opt_state has stack shape {opt_state.stack_shape}, but the parameters have {params.stack_shape}: start "
            "from optimizer.init(params)"
        )
    if count.ndim or (w.ndim > 1 and not optimizer.elementwise):
        alike = not count.ndim or (count == count.flat[0]).all()  # otherwise members differ in their number of updates
        if not alike or not optimizer.elementwise:
            return _each(optimizer, params, g, opt_state)
    t = int(count.flat[0]) + 1 if count.ndim else count.item() + 1
    new = new_vector(w.shape, w.dtype)
    overwritten = donate and _overwrites(optimizer)
    moved = give_away(opt_state) if overwritten else new_vector((*w.shape[:-1], where.size), w.dtype)
    _advance(optimizer, params, g, before, moved, new, t)
    steps = np.array(t) if not count.ndim else np.full(count.shape, t)
    steps.setflags(write=False)
    return ArrayDict._of(layout, new), ArrayDict._of(where, moved, {"step": steps})


def _overwrites(optimizer: Optimizer) -> bool:
    """Whether the slots of all of its rules may be overwritten: see `straight`."""
    if optimizer.parts:
        return all(_overwrites(part) for _, part in optimizer.parts)
    return optimizer.constants is not None if optimizer.inner is None else _overwrites(optimizer.inner)


def _advance(
    optimizer: Optimizer, params: ArrayDict, g: Array, before: Array, after: Array, new: Array, t: int
) -> None:
    """Writes the new parameters to `new`, and the new state to `after`, which may share the memory of `before`."""
    where = params._layout
    if optimizer.parts:
        for (_, part), share in zip(optimizer.parts, shares(optimizer, where), strict=True):
            own = share.of(params)
            state = gathered(before, share.of_state, share.state.size)
            own_after, own_new = np.empty_like(state), np.empty_like(own._vector)
            _advance(part, own, gathered(g, share.of_params, share.params.size), state, own_after, own_new, t)
            scatter(own_new, share.of_params, new)
            scatter(own_after, share.of_state, after)
        return
    if optimizer.inner is None:
        settings = optimizer.settings
        values: Mapping[str, Any] = settings._items
        if not settings.floats:
            values = {k: v if type(v) is float else resolved(k, v, t - 1, params) for k, v in values.items()}
        _apply(optimizer, where, [params._vector, g], before, [new], after, t, values)
        return
    if optimizer.transform is not None:
        g = optimizer.transform(g, optimizer.inner, params, t, **optimizer.settings)
    inner = state_layout(optimizer.inner, where).size
    _advance(optimizer.inner, params, g, before[..., :inner], after[..., :inner], new, t)
    if optimizer.rule is not None:
        before, after, kept = before[..., inner:], after[..., inner:], len(optimizer.slots) * where.size
        after[..., kept:] = before[..., kept:]
        numbers = {k: before[..., kept + i, None] for i, (k, _) in enumerate(optimizer.numbers)}
        _apply(optimizer, where, [params._vector, new], before, [new], after, t, {**optimizer.settings, **numbers})


def _apply(
    optimizer: Optimizer,
    where: Layout,
    old: list[Array],
    before: Array,
    out: list[Array],
    after: Array,
    t: int,
    values: Mapping[str, Any],
) -> None:
    """Applies the rule to whole vectors, to blocks of them, or to each array."""
    n = where.size
    for i in range(len(optimizer.slots)):
        part: Any = slice(i * n, (i + 1) * n) if before.ndim == 1 else (..., slice(i * n, (i + 1) * n))
        old.append(before[part])
        out.append(after[part])
    rule, constants, run = optimizer.rule, optimizer.constants, optimizer.loop
    assert rule is not None
    numbers = (t, *values.values()) if constants is None else constants(t, **values)
    if run is None and constants is not None and not optimizer.shaped:
        run = straight(rule, len(old), zeros_in(numbers))
    elif run is None:
        run = partial(_call, optimizer, None if constants is not None else ("t", *values))
    if optimizer.shaped:
        _on_each_array(run, where, old, out, numbers)
    elif old[0].nbytes > BLOCK and optimizer.elementwise and optimizer.loop is None:
        width = max(BLOCK * n // old[0].nbytes, 1)
        for start in range(0, n, width):
            block = ..., slice(start, start + width)
            here = tuple([v[block] if isinstance(v, np.ndarray) and v.shape[-1] > 1 else v for v in numbers])
            run([a[block] for a in old], [a[block] for a in out], here)
    else:
        run(old, out, numbers)


def _on_each_array(run: Run, where: Layout, old: list[Array], out: list[Array], numbers: Sequence[Any]) -> None:
    """Applies the rule to each array, in its shape; in a stack, to those of each member."""
    if old[0].ndim > 1:
        for k in range(len(old[0])):
            own = [v[k] if isinstance(v, np.ndarray) and v.ndim > 1 else v for v in numbers]
            _on_each_array(run, where, [a[k] for a in old], [a[k] for a in out], own)
        return
    for name, (start, stop, shape) in where.entries.items():
        here = tuple([_part(v, slice(start, stop), shape) for v in numbers])
        given, target = ([a[start:stop].reshape(shape) for a in arrays] for arrays in (old, out))
        try:
            run(given, target, here)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error


def _part(value: Any, where: slice, shape: tuple[int, ...]) -> Any:
    """The value of a setting for one array."""
    if not isinstance(value, np.ndarray):
        return value
    return value[where].reshape(shape) if value.size > 1 else value.item()


def _call(
    optimizer: Optimizer,
    names: Sequence[str] | None,
    old: Sequence[Array],
    out: Sequence[Array],
    numbers: Sequence[Any],
) -> None:
    """Calls a rule, with its numbers by position or by name, and copies its results to `out`."""
    assert optimizer.rule is not None
    if names is None:
        result = optimizer.rule(*old, *numbers)
    else:
        result = optimizer.rule(*old, **dict(zip(names, numbers, strict=True)))
    if not isinstance(result, tuple) or [np.shape(r) for r in result] != [a.shape for a in out]:
        _wrong_result(optimizer, result)
    for target, array in zip(out, result, strict=True):
        target[...] = array


def _wrong_result(optimizer: Optimizer, result: object) -> None:
    came = f"arrays of shapes {[np.shape(r) for r in result]}" if isinstance(result, tuple) else type(result).__name__
    slots = ", ".join(("w", *optimizer.slots))
    raise TypeError(f"the rule {optimizer.name} returned {came}, expected the tuple ({slots}) of w's shape")


def _fitting(optimizer: Optimizer, params: ArrayDict, opt_state: ArrayDict) -> ArrayDict:
    """A state in another order, of another dtype or in a plain dict, converted to the form that `init` returns."""
    if not isinstance(opt_state, Mapping) or "step" not in opt_state:
        raise ValueError("opt_state has no 'step': pass the state returned by optimizer.init(params) or the last step")
    where = state_layout(optimizer, params._layout)
    if isinstance(opt_state, ArrayDict) and opt_state._layout is where:
        return opt_state.astype(params.dtype)
    steps: Any = np.array(opt_state["step"])  # integers
    steps.setflags(write=False)
    expected = ArrayDict._of(where, optimizer.init(params)._vector, {"step": steps})
    return expected.like(opt_state, "opt_state (of another optimizer? start from optimizer.init(params))")


# -- each network of a stack separately --------------------------------------------------------------------------------


def _each(optimizer: Optimizer, params: ArrayDict, g: Array, opt_state: ArrayDict) -> tuple[ArrayDict, ArrayDict]:
    """Updates each member of a stack separately."""
    results = [
        update(_of_member(optimizer, k), member(params, k), g[k], member(opt_state, k))
        for k in range(params.stack_shape[0])
    ]
    return stack([p for p, _ in results]), stack([s for _, s in results])


def _of_member(optimizer: Optimizer, k: int) -> Optimizer:
    """The optimizer with the settings of one network of a stack."""
    return optimizer._replace(
        settings=Settings(**of_member(optimizer.settings, k)),
        inner=optimizer.inner and _of_member(optimizer.inner, k),
        parts=tuple((pattern, _of_member(part, k)) for pattern, part in optimizer.parts),
    )


def _of_own(optimizer: Optimizer, params: ArrayDict, g: Array, opt_state: ArrayDict) -> tuple[ArrayDict, ArrayDict]:
    """The update of a user-defined optimizer, after the transforms of its gradient."""
    done = opt_state["step"] if isinstance(opt_state, Mapping) and "step" in opt_state else 0
    while optimizer.inner is not None:
        assert optimizer.transform is not None
        g = optimizer.transform(g, optimizer.inner, params, int(np.max(done)) + 1, **optimizer.settings)
        optimizer = optimizer.inner
    return optimizer._own_step(params, ArrayDict._of(params._layout, g), opt_state)
