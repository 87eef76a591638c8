"""What an optimizer is, and what all of them share.

    init(params) -> opt_state
    step(params, grads, opt_state) -> (params, opt_state)

A rule is a function on vectors: `rule(w, g, *slots, t=…, **settings) -> (w, *slots)`, where w are the parameters, g
the gradient, the slots what the rule remembers (for Adam the moments m and v), all vectors of one shape, and t the
number of this update, from 1. The built-in rules write what they return into `out=…`. Everything else is done here,
once: the names, the step count, the settings, and going through long vectors in blocks that stay in the processor's
cache.

The state is a dict of arrays: "step" (updates so far) and for each slot an array like each parameter ("m.dense1.W").

A setting (learning rate, weight decay) is a number; or a schedule, a function of the number of updates so far; or an
array (K,), a number for each network of a stack; or a dict of name patterns to any of these, of which the first that
matches counts: `{"dense1.*": 1e-4, "*": 1e-3}`. A rate of 0 keeps parameters where they are, but their layers still
work as in training (a batch norm's averages move): `nn.freeze` makes a part constant.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from nnfunc._internal.validate import numeric
from nnfunc.arrays import Array, ArrayDict, give_away, new_vector
from nnfunc.core.settings import NO_SETTINGS, Settings, arguments, shown
from nnfunc.stacks import member, stack, unstack

Schedule: TypeAlias = Callable[[int], float]
"""A function of the number of updates so far (0 at the first)."""

Plain: TypeAlias = "float | Schedule | ArrayLike"
Setting: TypeAlias = "Plain | Mapping[str, Plain]"
"""A number, a schedule, an array (K,) for a stack, or a dict of name patterns to these."""

Rule: TypeAlias = Callable[..., Sequence[Array]]
"""(w, g, *slots, t, **settings) -> (w, *slots)"""

BLOCK = 1 << 18
"""How many numbers of the vector are updated at once: a block, of all its vectors, stays in the processor's cache."""


class Fields(NamedTuple):
    """The fields of an `Optimizer`."""

    name: str
    rule: Rule | None = None
    slots: tuple[str, ...] = ()
    settings: Settings = NO_SETTINGS
    elementwise: bool = True
    writes: bool = False
    inner: Optimizer | None = None
    transform: Callable[..., Array] | None = None
    own: tuple[Callable[..., Any], Callable[..., Any]] | None = None


class Optimizer(Fields):
    """An optimizer: a named tuple whose fields say what it is, with `init` and `step`.

    Attributes:
        name, settings: what it is called, and its settings.
        rule, slots: `rule(w, g, *slots, t, **settings) -> (w, *slots)`, and the names of what it remembers.
        elementwise: whether the rule treats each element by itself.
        writes: whether the rule writes what it returns into `out`, as the built-in ones do: passes over memory are what
            a step costs.
        inner, transform: an optimizer that gets another gradient, `transform(g, optimizer, params, t, **settings)`.
        own: the two functions of an optimizer of your own.

    One of your own is made by `nn.optimizer` from a rule, or is `Optimizer(init, step)`: `init(params) -> opt_state`,
    `step(params, grads, opt_state) -> (params, opt_state)`; in a stack both are called for each network.

    >>> optimizer = nn.gd(learning_rate=0.5)
    >>> params = nn.ArrayDict({"b": [1.0, 2.0]})
    >>> opt_state = optimizer.init(params)
    >>> params, opt_state = optimizer.step(params, {"b": [1.0, 1.0]}, opt_state)
    >>> params["b"], int(opt_state["step"])
    (array([0.5, 1.5]), 1)
    """

    def __new__(cls, init: Callable[..., Any], step: Callable[..., Any]) -> Optimizer:
        """An optimizer from two functions of your own."""
        for name, function in (("init", init), ("step", step)):
            if not callable(function):
                raise TypeError(f"{name}={function!r} is not callable: an Optimizer is made of two functions")
        return make("Optimizer", own=(init, step))

    def __reduce__(self) -> tuple[Any, ...]:
        return make, tuple(self)

    def __repr__(self) -> str:
        if self.own is not None:
            return f"Optimizer(init={shown(self.own[0])}, step={shown(self.own[1])})"
        given = [repr(self.inner)] if self.inner is not None else []
        return f"{self.name}({', '.join([*given, *filter(None, [arguments(self.settings)])])})"

    def init(self, params: ArrayDict) -> ArrayDict:
        """The state to begin with: "step", and for each slot an array of zeros like each parameter ("m.dense1.W")."""
        params = trainable(params)
        if self.own is not None:
            if params.stack_shape:
                return stack([_as_state(self.own[0](p)) for p in unstack(params)])
            return _as_state(self.own[0](params))
        if self.inner is not None:
            return self.inner.init(params)
        where = params.layout.repeated(self.slots)
        vector = new_vector((*params.stack_shape, where.size), params.dtype)
        vector[...] = 0
        return ArrayDict._of(where, vector, {"step": _read_only(np.zeros((), int))})

    def step(
        self, params: ArrayDict, grads: Mapping[str, ArrayLike], opt_state: ArrayDict, donate: bool = False
    ) -> tuple[ArrayDict, ArrayDict]:
        """The parameters and the state after one update.

        Args:
            params: the parameters.
            grads: their gradients, a dict of the same names and shapes.
            opt_state: from `init` or the last step.
            donate: gives the memory of opt_state away for the new one: see `TrainStep.__call__`.
        Raises:
            ValueError: names or shapes that differ, a state of another optimizer.
        """
        params = trainable(params)
        if self.own is not None:
            return self._own_step(params, params.like(grads, "grads"), opt_state)
        g = params.like(grads, "grads")._vector
        optimizer: Optimizer = self
        while optimizer.inner is not None:
            assert optimizer.transform is not None
            done = opt_state["step"] if isinstance(opt_state, Mapping) and "step" in opt_state else 0
            t = int(np.max(done)) + 1
            g = optimizer.transform(g, optimizer.inner, params, t, **optimizer.settings)
            optimizer = optimizer.inner
            if optimizer.own is not None:
                return optimizer._own_step(params, ArrayDict._of(params._layout, g), opt_state)
        return update(optimizer, params, g, opt_state, donate)

    def _own_step(self, params: ArrayDict, grads: ArrayDict, opt_state: ArrayDict) -> tuple[ArrayDict, ArrayDict]:
        assert self.own is not None
        if params.stack_shape:
            members = [self._own_step(*(member(d, k) for d in (params, grads, opt_state)))
                       for k in range(params.stack_shape[0])]  # fmt: skip
            return stack([p for p, _ in members]), stack([s for _, s in members])
        result = self.own[1](params, grads, opt_state)
        if not isinstance(result, tuple) or len(result) != 2 or not isinstance(result[0], Mapping):
            came = f"a tuple of {len(result)}" if isinstance(result, tuple) else type(result).__name__
            raise TypeError(f"the optimizer's step returned {came}, expected the pair (params, opt_state)")
        return params.like(result[0], "the parameters that the optimizer returned"), _as_state(result[1])


def make(
    name: str,
    rule: Rule | None = None,
    slots: tuple[str, ...] = (),
    settings: Settings = NO_SETTINGS,
    elementwise: bool = True,
    writes: bool = False,
    inner: Optimizer | None = None,
    transform: Callable[..., Array] | None = None,
    own: tuple[Callable[..., Any], Callable[..., Any]] | None = None,
) -> Optimizer:
    """The optimizer of these fields; its settings are checked."""
    if rule is not None:
        for k, v in settings.items():
            _check_setting(k, v)
        settings = Settings(**{k: _fixed(v) for k, v in settings.items()})
    return Optimizer._make((name, rule, slots, settings, elementwise, writes, inner, transform, own))


def optimizer(rule: Rule, slots: tuple[str, ...] = (), *, elementwise: bool = False, **settings: Setting) -> Optimizer:
    """An optimizer from a rule of your own.

    Args:
        rule: a module-level function `rule(w, g, *slots, t, **settings) -> (w, *slots)` on vectors, without changing
            them.
        slots: the names of what it remembers; all start at 0.
        elementwise: the rule treats each element by itself, so it may be called on parts of the vector.
        settings: numbers, schedules, arrays (K,) or dicts of name patterns, handed to the rule by name.

    >>> def sign_descent(w, g, *, t, learning_rate):
    ...     return (w - learning_rate * np.sign(g),)
    >>> optimizer = nn.optimizer(sign_descent, learning_rate=0.1)
    >>> params = nn.ArrayDict({"b": [1.0, 2.0]})
    >>> optimizer.step(params, {"b": [3.0, -4.0]}, optimizer.init(params))[0].vector
    array([0.9, 2.1])
    """
    if not callable(rule):
        raise TypeError(f"rule={rule!r} is not callable: pass a function (w, g, *slots, t, **settings) -> (w, *slots)")
    reserved = {"t", "out"} & settings.keys()
    if reserved:
        raise ValueError(f"settings have the name {reserved.pop()!r}, which has a meaning of its own: choose another")
    if not isinstance(slots, tuple) or not all(isinstance(slot, str) for slot in slots):
        raise TypeError(f"slots={slots!r}: expected a tuple of names, like ('m', 'v')")
    if len(set(slots)) < len(slots) or any("." in slot or not slot or slot == "step" for slot in slots):
        raise ValueError(f"slots={slots!r}: expected names that differ, without dots, and not 'step'")
    return make(shown(rule), rule, slots, Settings(**settings), elementwise)


def _as_state(state: object) -> ArrayDict:
    if isinstance(state, ArrayDict):
        return state
    if not isinstance(state, Mapping):
        raise TypeError(f"the optimizer's state is {type(state).__name__}, expected a dict of arrays")
    return ArrayDict(state)


def _read_only(array: Any) -> Any:
    array.setflags(write=False)
    return array


def update(
    optimizer: Optimizer, params: ArrayDict, g: Array, opt_state: ArrayDict, donate: bool = False
) -> tuple[ArrayDict, ArrayDict]:
    """One update by a rule, from the vector of the gradients.

    The built-in rules may write what they remember where the old one was: they read each slot once, before they write.
    """
    slots, elementwise = optimizer.slots, optimizer.elementwise
    layout, w = params._layout, params._vector
    where = layout._repeated.get(slots) or layout.repeated(slots)
    if type(opt_state) is not ArrayDict or opt_state._layout is not where or opt_state._vector.dtype != w.dtype:
        opt_state = _fitting(optimizer, params, opt_state)
    before, count = opt_state._vector, opt_state._integers["step"]
    if before.ndim != w.ndim or before.shape[:-1] != w.shape[:-1]:
        raise ValueError(
            f"opt_state has the stack shape {opt_state.stack_shape}, but the parameters {params.stack_shape}: begin "
            "with optimizer.init(params)"
        )
    if count.ndim or (w.ndim > 1 and not elementwise):
        alike = not count.ndim or (count == count.flat[0]).all()  # else members that were trained for different times
        if not alike or not elementwise:
            return _each(optimizer, params, g, opt_state)
    t = int(count.flat[0]) + 1 if count.ndim else count.item() + 1
    settings = optimizer.settings
    values: Mapping[str, Any] = settings._items
    if not settings.floats:
        values = {k: v if type(v) is float else resolved(k, v, t - 1, params) for k, v in values.items()}
    n = layout.size
    new = new_vector(w.shape, w.dtype)
    donate = donate and optimizer.writes
    moved = give_away(opt_state) if donate else new_vector((*w.shape[:-1], where.size), w.dtype)
    old, out = [w, g], [new]
    for i in range(len(slots)):
        part: Any = slice(i * n, (i + 1) * n) if w.ndim == 1 else (..., slice(i * n, (i + 1) * n))
        old.append(before[part])
        out.append(moved[part])
    if w.size > BLOCK and elementwise:
        width = max(BLOCK * n // w.size, 1)
        for start in range(0, n, width):
            block = ..., slice(start, start + width)
            here = {k: v[block] if isinstance(v, np.ndarray) and v.shape[-1] > 1 else v for k, v in values.items()}
            _apply(optimizer, [a[block] for a in old], [a[block] for a in out], t, here)
    elif optimizer.writes and optimizer.rule is not None:
        optimizer.rule(*old, out=out, t=t, **values)
    else:
        _apply(optimizer, old, out, t, values)
    steps = np.array(t) if not count.ndim else np.full(count.shape, t)
    steps.setflags(write=False)
    return ArrayDict._of(layout, new), ArrayDict._of(where, moved, {"step": steps})


def _fitting(optimizer: Optimizer, params: ArrayDict, opt_state: ArrayDict) -> ArrayDict:
    """A state that came in another order, dtype or as a plain dict, as `init` would have it."""
    if not isinstance(opt_state, Mapping) or "step" not in opt_state:
        raise ValueError("opt_state has no 'step': pass what optimizer.init(params) or the last step returned")
    where = params._layout.repeated(optimizer.slots)
    if isinstance(opt_state, ArrayDict) and opt_state._layout is where:
        return opt_state.astype(params.dtype)
    steps = _read_only(np.array(opt_state["step"]))
    expected = ArrayDict._of(where, optimizer.init(params)._vector, {"step": steps})
    return expected.like(opt_state, "opt_state (of another optimizer? begin with optimizer.init(params))")


def _each(optimizer: Optimizer, params: ArrayDict, g: Array, opt_state: ArrayDict) -> tuple[ArrayDict, ArrayDict]:
    """The update of each member of a stack by itself."""
    results = [
        update(
            optimizer._replace(settings=Settings(**_of_member(optimizer.settings, k))),
            member(params, k),
            g[k],
            member(opt_state, k),
        )
        for k in range(params.stack_shape[0])
    ]
    return stack([p for p, _ in results]), stack([s for _, s in results])


def _apply(optimizer: Optimizer, old: list[Array], out: list[Array], t: int, values: Mapping[str, Any]) -> None:
    """The rule on vectors, or on one block of them. What one of your own returns is copied to where it belongs."""
    rule = optimizer.rule
    assert rule is not None
    if optimizer.writes:
        rule(*old, out=out, t=t, **values)
        return
    result = rule(*old, t=t, **values)
    if not isinstance(result, tuple) or [np.shape(r) for r in result] != [a.shape for a in out]:
        _wrong_result(optimizer, result)
    for target, array in zip(out, result, strict=True):
        target[...] = array


def _wrong_result(optimizer: Optimizer, result: object) -> None:
    came = f"arrays of shapes {[np.shape(r) for r in result]}" if isinstance(result, tuple) else type(result).__name__
    slots = ", ".join(("w", *optimizer.slots))
    raise TypeError(f"the rule {optimizer.name} returned {came}, expected the tuple ({slots}) of w's shape")


def _of_member(settings: Mapping[str, Setting], i: int) -> dict[str, Setting]:
    """The settings of one network of a stack."""

    def member(v: Any) -> Any:  # a setting of any kind
        if isinstance(v, Mapping):
            return {pattern: member(plain) for pattern, plain in v.items()}
        return v[i] if isinstance(v, (list, tuple, np.ndarray)) and np.ndim(v) else v

    return {k: member(v) for k, v in settings.items()}


def trainable(params: Mapping[str, ArrayLike]) -> ArrayDict:
    """The parameters as a dict of arrays, all of floats."""
    params = params if isinstance(params, ArrayDict) else ArrayDict(params)
    if params.counts:
        raise TypeError(f"params has whole numbers in {', '.join(params.counts)}: only floats can be trained")
    return params


def resolved(name: str, setting: Setting, done: int, params: ArrayDict) -> float | Array:
    """What a setting is at this update: a number, or an array of the parameters' dtype that goes with their vector."""
    if isinstance(setting, Mapping):
        vector = np.full_like(params.vector, np.nan)
        for pattern in reversed(list(setting)):  # the first that matches counts, so it is written last
            for s in params.layout.slices(pattern):
                vector[..., s] = resolved(name, setting[pattern], done, params)
        if np.isnan(vector).any():
            left = [k for k in params if np.isnan(vector[..., params.layout.slices(k)[0]]).any()]
            raise ValueError(f"{name} has no pattern that matches {', '.join(left)}: add '*' for all others")
        return vector
    if callable(setting):
        value: ArrayLike = setting(done)
        _check_setting(f"the schedule of {name} at step {done}", value)
    else:
        value = setting
    if isinstance(value, (int, float)):
        return float(value)  # a NumPy float64 would promote float32 arrays
    array = np.asarray(value, params.dtype)
    if array.shape not in ((), params.stack_shape):
        members = f"a stack of {params.stack_shape[0]}" if params.stack_shape else "a single network"
        raise ValueError(f"{name} has shape {array.shape}, but the parameters are {members}")
    return array[..., None]


def _fixed(setting: Setting) -> Setting:
    """A setting that no one can change later: numbers as floats, arrays as read-only copies."""
    if isinstance(setting, Mapping):
        return {pattern: _fixed(value) for pattern, value in setting.items()}  # type: ignore[misc]  # plain ones stay so
    if callable(setting):
        return setting
    if isinstance(setting, (int, float)):
        return float(setting)
    array = np.array(setting)
    array.setflags(write=False)
    return array


def _check_setting(name: str, setting: Setting) -> None:
    if isinstance(setting, Mapping):
        for pattern, value in setting.items():
            _check_setting(f"{name}[{pattern!r}]", value)
    elif not callable(setting):
        array = numeric(setting, name)
        if array.dtype.kind == "b" or not ((array >= 0) & (array < math.inf)).all():
            raise ValueError(f"{name}={setting!r}: expected a number in [0, ∞)")
