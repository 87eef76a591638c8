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
matches counts: `{"dense1.*": 0.0, "*": 1e-3}` freezes the first layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from nnfunc.arrays import Array, ArrayDict, stack, unstack
from nnfunc.errors import numeric
from nnfunc.values import call

Schedule: TypeAlias = Callable[[int], float]
"""A function of the number of updates so far (0 at the first)."""

Plain: TypeAlias = "float | Schedule | ArrayLike"
Setting: TypeAlias = "Plain | Mapping[str, Plain]"
"""A number, a schedule, an array (K,) for a stack, or a dict of name patterns to these."""

Rule: TypeAlias = Callable[..., tuple[Array, ...]]
"""(w, g, *slots, t, **settings) -> (w, *slots)"""

Block: TypeAlias = "tuple[Any, slice]"  # Any: the type of ... has no name in Python 3.11's annotations

BLOCK = 1 << 18
"""How many numbers of the vector are updated at once: a block, of all its vectors, stays in the processor's cache."""


class Optimizer(NamedTuple):
    """An optimizer: `init(params) -> opt_state` and `step(params, grads, opt_state) -> (params, opt_state)`.

    >>> optimizer = nn.gd(learning_rate=0.5)
    >>> params = nn.ArrayDict({"b": [1.0, 2.0]})
    >>> opt_state = optimizer.init(params)
    >>> params, opt_state = optimizer.step(params, {"b": [1.0, 1.0]}, opt_state)
    >>> params["b"], int(opt_state["step"])
    (array([0.5, 1.5]), 1)
    """

    init: Callable[[ArrayDict], ArrayDict]
    step: Callable[[ArrayDict, Mapping[str, ArrayLike], ArrayDict], tuple[ArrayDict, ArrayDict]]

    def __repr__(self) -> str:
        keywords = self.step.keywords if isinstance(self.step, partial) else {}
        if "rule" in keywords:
            rule = keywords["rule"]
            rule = rule.keywords["function"] if isinstance(rule, partial) else rule
            return call(rule.__name__.lstrip("_"), keywords["settings"])
        if "optimizer" in keywords:
            return call(keywords["name"], keywords, hidden=["name"])
        return f"Optimizer(init={self.init!r}, step={self.step!r})"


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
    reserved = {"t", "out", "function"} & settings.keys()
    if reserved:
        raise ValueError(f"settings have the name {reserved.pop()!r}, which has a meaning of its own: choose another")
    if not isinstance(slots, tuple) or not all(isinstance(slot, str) for slot in slots):
        raise TypeError(f"slots={slots!r}: expected a tuple of names, like ('m', 'v')")
    return writing(partial(_own_rule, function=rule, slots=slots), slots, elementwise, settings)


def writing(rule: Rule, slots: tuple[str, ...], elementwise: bool, settings: Mapping[str, Setting]) -> Optimizer:
    """The optimizer of a rule that writes the new values into `out`."""
    for name, setting in settings.items():
        _check_setting(name, setting)
    values = {k: _fixed(v) for k, v in settings.items()}
    step = partial(_step, rule=rule, slots=slots, elementwise=elementwise, settings=values)
    return Optimizer(partial(_init, slots=slots), step)


def _init(params: ArrayDict, *, slots: tuple[str, ...]) -> ArrayDict:
    params = trainable(params)
    state = params.repeated(slots, {"step": np.zeros((), int)})
    state.vector[...] = 0
    return state.freeze()


def _step(
    params: ArrayDict,
    grads: Mapping[str, ArrayLike],
    opt_state: ArrayDict,
    *,
    rule: Rule,
    slots: tuple[str, ...],
    elementwise: bool,
    settings: Mapping[str, Setting],
) -> tuple[ArrayDict, ArrayDict]:
    params = trainable(params)
    if not isinstance(opt_state, (ArrayDict, Mapping)) or "step" not in opt_state:
        raise ValueError("opt_state has no 'step': pass what optimizer.init(params) or the last step returned")
    count = np.asarray(opt_state["step"])
    alike = not count.ndim or (count == count[0]).all()  # else members of a stack that were trained for different times
    if not alike or (params.stack_shape and not elementwise):
        each = zip(unstack(params), unstack(params.like(grads, "grads")), unstack(opt_state), strict=True)
        members = [
            _step(*one, rule=rule, slots=slots, elementwise=elementwise, settings=_of_member(settings, i))
            for i, one in enumerate(each)
        ]
        return stack([p for p, _ in members]), stack([s for _, s in members])
    t = int(count.flat[0]) + 1
    steps = np.array(t) if not count.ndim else np.full(count.shape, t)
    new, new_state = params.draft(), params.repeated(slots, {"step": steps})
    given = new_state.like(opt_state, "opt_state (of another optimizer? begin with optimizer.init(params))")
    values = {k: v if type(v) is float else resolved(k, v, t - 1, params) for k, v in settings.items()}
    w, n = params.vector, params.layout.size
    old = (w, params.like(grads, "grads").vector, *_slots(given.vector, len(slots), n))
    out = (new.vector, *_slots(new_state.vector, len(slots), n))
    if not elementwise or w.size <= BLOCK:
        rule(*old, out=out, t=t, **values)
    else:
        update = partial(_update, rule, old, out, {"t": t, **values})
        width = max(BLOCK * n // w.size, 1)
        for start in range(0, n, width):
            update((..., slice(start, start + width)))
    return new.freeze(), new_state.freeze()


def _slots(vector: Array, count: int, n: int) -> list[Array]:
    """The part of each slot: as long as the parameters, one after another."""
    if vector.ndim == 1:
        return [vector[i * n : (i + 1) * n] for i in range(count)]
    return [vector[..., i * n : (i + 1) * n] for i in range(count)]


def _update(
    rule: Rule, old: tuple[Array, ...], out: tuple[Array, ...], values: Mapping[str, Any], block: Block
) -> None:
    """The rule on one block of the vectors."""
    here = {k: v[block] if isinstance(v, np.ndarray) and v.shape[-1] > 1 else v for k, v in values.items()}
    rule(*(a[block] for a in old), out=tuple(a[block] for a in out), **here)


def _own_rule(
    *old: Array, out: tuple[Array, ...], function: Rule, slots: tuple[str, ...], **values: Any
) -> tuple[Array, ...]:
    """A rule of a user's own, which returns the new values, as one that writes them into `out`."""
    result = function(*old, **values)
    if not isinstance(result, tuple) or [np.shape(r) for r in result] != [a.shape for a in out]:
        _wrong_result(function, result, slots)
    for target, new in zip(out, result, strict=True):
        target[...] = new
    return out


def _wrong_result(rule: Rule, result: object, slots: tuple[str, ...]) -> None:
    came = f"arrays of shapes {[np.shape(r) for r in result]}" if isinstance(result, tuple) else type(result).__name__
    name = getattr(rule, "__name__", repr(rule))
    raise TypeError(f"the rule {name} returned {came}, expected the tuple ({', '.join(('w', *slots))}) of w's shape")


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
            for s in params.slices(pattern):
                vector[..., s] = resolved(name, setting[pattern], done, params)
        if np.isnan(vector).any():
            left = [k for k in params if np.isnan(vector[..., params.slices(k)[0]]).any()]
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
