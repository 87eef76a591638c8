"""The `Optimizer` type.

    init(params) -> opt_state
    step(params, grads, opt_state) -> (params, opt_state)

A rule is a function on vectors: `rule(w, g, *slots, t=…, **settings) -> (w, *slots)`, where w are the parameters, g
is the gradient, the slots are the rule's state (for Adam the moments m and v), all vectors of the same shape, and t is
the number of this update, counted from 1. The built-in rules are formulas, `(w, g, *slots, *numbers) -> (w, *slots)`,
with a function `(t, **settings) -> numbers`. The operations of a formula are therefore the same in all updates: they
are traced once (`tracing`) and run as a program that reuses memory (`straight`). Everything else is shared and lives
in `update`: names, step count, settings, and processing long vectors in blocks that fit in the processor's cache.

An optimizer may wrap another, `inner`: it either changes the gradient first (`transform`, as in clipping), or has a
rule of its own, `rule(w, moved, *slots, t, **settings) -> (w, *slots)`, on the parameters before and after the update
by `inner` (`lookahead`, `ema`). A partition gives each of its parts a subset of the parameters.

The state is a dict of arrays: "step" (updates so far) and for each slot an array per parameter ("m.dense1.W").

A setting (learning rate, weight decay) is a number; a schedule, a function of the number of updates so far; an array
(K,), one value per network of a stack; or a dict from name patterns to any of these, where the first matching pattern
applies: `{"dense1.*": 1e-4, "*": 1e-3}`. A learning rate of 0 keeps parameters fixed, but their layers still run in
training mode (a batch norm's averages change): use `nn.freeze` to make a part constant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from nnfunc.arrays import Array, ArrayDict, new_vector
from nnfunc.core.settings import NO_SETTINGS, Settings, arguments, shown
from nnfunc.optimizers.setting import Setting, check_setting, fixed
from nnfunc.optimizers.straight import Run
from nnfunc.optimizers.update import begin, state_layout, update
from nnfunc.stacks import member, stack, unstack

Arrays: TypeAlias = Mapping[str, ArrayLike]
"""Arrays by their names."""

Rule: TypeAlias = Callable[..., Sequence[Array]]
"""(w, g, *slots, t, **settings) -> (w, *slots)"""

OptimizerName: TypeAlias = Literal[
    "adadelta", "adagrad", "adam", "adamax", "adamw", "amsgrad", "gd", "lion", "momentum", "nadam", "nesterov", "radam",
    "rmsprop",
]  # fmt: skip
"""The names that stand for optimizers with their default settings."""

Numbers: TypeAlias = "tuple[float | Array, ...]"
"""The constants of a formula in one update: scalars, or arrays with one value per element or per network."""


class Fields(NamedTuple):
    """The fields of an `Optimizer`."""

    name: str
    rule: Rule | None = None
    slots: tuple[str, ...] = ()
    settings: Settings = NO_SETTINGS
    elementwise: bool = True
    constants: Callable[..., Numbers] | None = None
    inner: Optimizer | None = None
    transform: Callable[..., Array] | None = None
    own: tuple[Callable[..., Any], Callable[..., Any]] | None = None
    shaped: bool = False
    numbers: tuple[tuple[str, float], ...] = ()
    parts: tuple[tuple[str, Optimizer], ...] = ()
    loop: Run | None = None


class Optimizer(Fields):
    """An optimizer: a named tuple of its defining fields, with the methods `init` and `step`.

    Attributes:
        name, settings: its name and its settings.
        rule, slots: `rule(w, g, *slots, t, **settings) -> (w, *slots)`, and the names of the slots of its state.
        elementwise: whether the rule acts on each element independently (on each array, if `shaped`).
        constants: `constants(t, **settings)` returns the numbers of a rule that is a formula,
            `rule(w, g, *slots, *numbers)`.
        inner, transform: the wrapped optimizer, whose gradient is replaced by `transform(g, optimizer, params, t,
            **settings)`. If there is a rule as well, it receives the parameters moved by `inner` in place of the
            gradient, and its slots start as copies of the parameters.
        own: the two functions of a user-defined optimizer.
        shaped: whether the rule is called once per array, with the array's shape.
        numbers: the names and initial values of scalars in the state; the rule receives them as settings.
        parts: the patterns and optimizers of a partition.
        loop: computes the rule instead, `loop((w, g, *slots), (new w, *new slots), numbers)`: see `compiled`.

    To define your own, pass a rule to `nn.optimizer`, or use `Optimizer(init, step)` with `init(params) -> opt_state`
    and `step(params, grads, opt_state) -> (params, opt_state)`; in a stack, both are called once per network.

    >>> optimizer = nn.gd(learning_rate=0.5)
    >>> params = nn.ArrayDict({"b": [1.0, 2.0]})
    >>> opt_state = optimizer.init(params)
    >>> params, opt_state = optimizer.step(params, {"b": [1.0, 1.0]}, opt_state)
    >>> params["b"], int(opt_state["step"])
    (array([0.5, 1.5]), 1)
    """

    def __new__(cls, init: Callable[[ArrayDict], Arrays], step: Callable[..., tuple[Arrays, Arrays]]) -> Optimizer:
        """An optimizer from two user-defined functions."""
        for name, function in (("init", init), ("step", step)):
            if not callable(function):
                raise TypeError(f"{name}={function!r} is not callable: an Optimizer is built from two functions")
        return make("Optimizer", own=(init, step))

    def __reduce__(self) -> tuple[Any, ...]:
        return make, tuple(self)

    def __repr__(self) -> str:
        if self.own is not None:
            return f"Optimizer(init={shown(self.own[0])}, step={shown(self.own[1])})"
        if self.loop is not None:
            return f"compiled({self._replace(loop=None)!r})"
        if self.parts:
            return f"{self.name}({{{', '.join(f'{pattern!r}: {part!r}' for pattern, part in self.parts)}}})"
        given = [repr(self.inner)] if self.inner is not None else []
        return f"{self.name}({', '.join([*given, *filter(None, [arguments(self.settings)])])})"

    def init(self, params: ArrayDict) -> ArrayDict:
        """The initial state: "step", and for each slot an array per parameter ("m.dense1.W"): zeros, or copies of the
        parameters where the slot belongs to an optimizer that wraps another."""
        params = trainable(params)
        own = self.root.own
        if own is not None:
            if params.stack_shape:
                return stack([_as_state(own[0](p)) for p in unstack(params)])
            return _as_state(own[0](params))
        where = state_layout(self, params.layout)
        vector = new_vector((*params.stack_shape, where.size), params.dtype)
        begin(self, params, vector)
        step = np.zeros((), int)
        step.setflags(write=False)
        return ArrayDict._of(where, vector, {"step": step})

    @property
    def root(self) -> Optimizer:
        """The innermost optimizer, which the others wrap."""
        return self if self.inner is None else self.inner.root

    def step(
        self, params: ArrayDict, grads: Mapping[str, ArrayLike], opt_state: ArrayDict, donate: bool = False
    ) -> tuple[ArrayDict, ArrayDict]:
        """Returns the parameters and the state after one update.

        Args:
            params: the parameters.
            grads: their gradients, a dict with the same names and shapes.
            opt_state: from `init` or the last step.
            donate: reuse the memory of opt_state for the new state: see `TrainStep.__call__`.
        Raises:
            ValueError: mismatched names or shapes, or a state of another optimizer.
        """
        params = trainable(params)
        return update(self, params, params.like(grads, "grads")._vector, opt_state, donate)

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
    constants: Callable[..., Numbers] | None = None,
    inner: Optimizer | None = None,
    transform: Callable[..., Array] | None = None,
    own: tuple[Callable[..., Any], Callable[..., Any]] | None = None,
    shaped: bool = False,
    numbers: tuple[tuple[str, float], ...] = (),
    parts: tuple[tuple[str, Optimizer], ...] = (),
    loop: Run | None = None,
) -> Optimizer:
    """An `Optimizer` of these fields, after checking its settings. A wrapper is elementwise if all that it wraps is."""
    around = [inner] if inner is not None else [part for _, part in parts]
    if around:
        elementwise = all(o.elementwise for o in around)
        if (rule is not None or parts) and any(o.root.own is not None for o in around):
            raise TypeError(
                f"{name} cannot wrap an Optimizer(init, step), because the layout of its state is unknown: create it "
                "with nn.optimizer, from a rule and the names of its slots"
            )
        names = [o.name for part in around for o in chain(part) if o.numbers]  # in the state by these names
        if len(set(names)) < len(names):
            raise ValueError(f"{name} contains more than one {names[0]}: wrap the {name} in a single one")
        if rule is not None and any(name == o.name for o in chain(around[0])):
            raise ValueError(f"{name} wraps an optimizer that contains {name} already: apply it once")
    elif rule is not None:
        for k, v in settings.items():
            check_setting(k, v)
        settings = Settings(**{k: fixed(v) for k, v in settings.items()})
    return Optimizer._make(
        (name, rule, slots, settings, elementwise, constants, inner, transform, own, shaped, numbers, parts, loop)
    )


def chain(optimizer: Optimizer) -> list[Optimizer]:
    """The optimizer, followed by all optimizers inside it.

    >>> [o.name for o in chain(nn.optimizers.clip_by_value(nn.adam(), 1.0))]
    ['clip_by_value', 'adam']
    """
    inner = [part for _, part in optimizer.parts] if optimizer.inner is None else [optimizer.inner]
    return [optimizer, *(o for i in inner for o in chain(i))]


def optimizer(
    rule: Rule,
    slots: tuple[str, ...] = (),
    *,
    elementwise: bool = False,
    shaped: bool = False,
    **settings: Setting,
) -> Optimizer:
    """Creates an optimizer from a user-defined rule.

    Args:
        rule: a module-level function `rule(w, g, *slots, t, **settings) -> (w, *slots)` on vectors, which must not
            modify its arguments.
        slots: the names of the vectors in its state; all start at 0.
        elementwise: the rule acts on each element independently, so it may be called on parts of the vector.
        shaped: the rule is called once per array, with the array's shape, as rules on matrices require.
        settings: numbers, schedules, arrays (K,) or dicts of name patterns, passed to the rule by keyword.

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
        raise ValueError(f"settings contain {reserved.pop()!r}, which is a reserved name: choose another")
    if not isinstance(slots, tuple) or not all(isinstance(slot, str) for slot in slots):
        raise TypeError(f"slots={slots!r}: expected a tuple of names, like ('m', 'v')")
    if len(set(slots)) < len(slots) or any("." in slot or not slot or slot == "step" for slot in slots):
        raise ValueError(f"slots={slots!r}: expected distinct names without dots, other than 'step'")
    return make(shown(rule), rule, slots, Settings(**settings), elementwise or shaped, shaped=shaped)


def _as_state(state: object) -> ArrayDict:
    if isinstance(state, ArrayDict):
        return state
    if not isinstance(state, Mapping):
        raise TypeError(f"the optimizer's state is {type(state).__name__}, expected a dict of arrays")
    return ArrayDict(state)


def trainable(params: Mapping[str, ArrayLike]) -> ArrayDict:
    """The parameters as an `ArrayDict`, checked to contain only floats."""
    params = params if isinstance(params, ArrayDict) else ArrayDict(params)
    if params.counts:
        raise TypeError(f"params contains integers in {', '.join(params.counts)}: only floats can be trained")
    return params
