"""Settings of optimizers: numbers, schedules, arrays for a stack, and any of these by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from nnfunc._internal.validate import numeric
from nnfunc.arrays import Array, ArrayDict, Numbers

Schedule: TypeAlias = Callable[[int], float]
"""A function of the number of updates so far (0 at the first)."""

Plain: TypeAlias = "Numbers | Schedule"
Setting: TypeAlias = "Plain | Mapping[str, Plain]"
"""A number, a schedule, an array (K,) for a stack, or a dict of name patterns to these."""


def resolved(name: str, setting: Setting, done: int, params: ArrayDict) -> float | Array:
    """The value of a setting at this update: a number, or an array that broadcasts with the parameters."""
    if isinstance(setting, Mapping):
        vector = np.full_like(params.vector, np.nan)
        for pattern in reversed(list(setting)):  # the first match applies, so it is written last
            for s in params.layout.slices(pattern):
                vector[..., s] = resolved(name, setting[pattern], done, params)
        if np.isnan(vector).any():
            left = [k for k in params if np.isnan(vector[..., params.layout.slices(k)[0]]).any()]
            raise ValueError(f"{name} has no pattern that matches {', '.join(left)}: add '*' for all others")
        return vector
    if callable(setting):
        value: Numbers = setting(done)
        check_setting(f"the schedule of {name} at step {done}", value)
    else:
        value = setting
    if isinstance(value, (int, float)):
        return float(value)  # a NumPy float64 would promote float32 arrays
    array = np.asarray(value, params.dtype)
    if array.shape not in ((), params.stack_shape):
        members = f"a stack of {params.stack_shape[0]}" if params.stack_shape else "a single network"
        raise ValueError(f"{name} has shape {array.shape}, but the parameters are {members}")
    return array[..., None]


def fixed(setting: Setting) -> Setting:
    """An immutable copy of a setting: numbers as floats, arrays as read-only copies."""
    if isinstance(setting, Mapping):
        return {pattern: fixed(value) for pattern, value in setting.items()}  # type: ignore[misc]  # plain ones stay so
    if callable(setting):
        return setting
    array = np.array(setting)
    if not array.ndim:
        return float(array)
    array.setflags(write=False)
    return array


def check_setting(name: str, setting: Setting) -> None:
    if isinstance(setting, Mapping):
        for pattern, value in setting.items():
            if isinstance(value, Mapping) or not isinstance(pattern, str):
                raise TypeError(f"{name}={setting!r}: expected name patterns, each with a number, schedule or array")
            check_setting(f"{name}[{pattern!r}]", value)
    elif not callable(setting):
        array = numeric(setting, name)
        if array.dtype.kind == "b" or not ((array >= 0) & (array < math.inf)).all():
            raise ValueError(f"{name}={setting!r}: expected a number in [0, ∞)")


def of_member(settings: Mapping[str, Setting], i: int) -> dict[str, Setting]:
    """The settings of one network of a stack."""

    def member(v: Any) -> Any:  # a setting of any kind
        if isinstance(v, Mapping):
            return {pattern: member(plain) for pattern, plain in v.items()}
        return v[i] if isinstance(v, (list, tuple, np.ndarray)) and np.ndim(v) else v

    return {k: member(v) for k, v in settings.items()}
