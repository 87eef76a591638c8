"""Float arrays in the arguments and results of user functions: alone, or in tuples, lists and dicts."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfunc.arrays import Array, ArrayDict
from nnfunc.checks.function import Arrays


def is_real(value: object) -> bool:
    """Whether a value has a derivative: float arrays and floats, but not integers, masks or strings.

    >>> [is_real(v) for v in (1.0, np.ones(2), 1, True, np.arange(2), None)]
    [True, True, False, False, False, False]
    """
    known = isinstance(value, (float, np.ndarray, np.generic)) or type(value).__module__.startswith("jax")
    return known and np.asarray(value).dtype.kind == "f"


def parts(name: str, value: object) -> list[tuple[str, Any]]:
    """The named parts of a tuple, list or dict; [] for anything else.

    >>> parts("p", {"W": 1, "b": 2}), parts("h", (1, 2)), parts("x", 1)
    ([("p['W']", 1), ("p['b']", 2)], [('h[0]', 1), ('h[1]', 2)], [])
    """
    if isinstance(value, (Mapping, ArrayDict)):
        return [(f"{name}[{k!r}]", value[k]) for k in value]
    if isinstance(value, (tuple, list)):
        return [(f"{name}[{i}]", v) for i, v in enumerate(value)]
    return []


def reals(name: str, value: object, settings: bool = False) -> dict[str, Array]:
    """The parts of a value that have a derivative, in float64, by name.

    Args:
        name: the name of the value.
        value: any value.
        settings: whether numbers in dicts, tuples and lists are settings, which have no derivative.

    >>> reals("y", (np.ones(1), np.arange(2), 0.1))
    {'y[0]': array([1.]), 'y[2]': array(0.1)}
    >>> reals("x", {"W": np.ones(1), "rate": 0.1}, settings=True)
    {"x['W']": array([1.])}
    """
    if is_real(value):
        return {name: np.asarray(value, np.float64)}
    inner = [(k, v) for k, v in parts(name, value) if not (settings and isinstance(v, float))]
    return {k: v for label, part in inner for k, v in reals(label, part, settings).items()}


def leaves(name: str, value: object) -> list[tuple[str, NDArray[Any]]]:
    """All arrays in a value, by name.

    >>> leaves("x", (np.ones(1), 3))
    [('x[0]', array([1.]))]
    """
    if isinstance(value, np.ndarray):
        return [(name, value)]
    return [leaf for label, part in parts(name, value) for leaf in leaves(label, part)]


def put(name: str, value: Any, arrays: Arrays) -> Any:
    """A value with some arrays replaced by name, and copies of everything else.

    >>> put("x", (np.ones(1), 5), {"x[0]": np.zeros(1)})
    (array([0.]), 5)
    """
    if name in arrays:
        return float(arrays[name]) if isinstance(value, float) else arrays[name]
    if not any(k.startswith(f"{name}[") for k in arrays):
        try:
            return copy.deepcopy(value)
        except Exception:  # a module, a file, a tape
            return value
    new = [put(label, part, arrays) for label, part in parts(name, value)]
    if isinstance(value, (Mapping, ArrayDict)):
        pairs = dict(zip(value, new, strict=True))
        return ArrayDict(pairs) if isinstance(value, ArrayDict) else pairs
    return type(value)(*new) if hasattr(value, "_fields") else type(value)(new)


def short(names: Iterable[str]) -> dict[str, str]:
    """The names in reports: for items of a dict just their key, if it is unique.

    >>> short(["params['W']", "params['b']", "b"])
    {"params['W']": 'W', "params['b']": "params['b']", 'b': 'b'}
    """
    known = list(names)
    own = {name: re.sub(r"^.*\['([^']*)'\]$", r"\1", name) for name in known}
    return {k: v if list(own.values()).count(v) == 1 else k for k, v in own.items()}


# -- names of gradients ------------------------------------------------------------------------------------------------

GRADS = {"grad", "grads", "gradient", "gradients"}
_AFFIXES = re.compile(r"^(?:dL_?d|dJ_?d|grads?_?|gradients?_?|delta_?|d_?)(?=.)|(?:_?grads?|_?gradients?|_bar|\.grad)$")


def bare(name: str) -> str:
    """The name of an array, from the name of its gradient.

    >>> [bare(name) for name in ("dW", "grad_W", "W_grad", "gradW", "dL_dW", "dLdW", "W")]
    ['W', 'W', 'W', 'W', 'W', 'W', 'W']
    """
    return name if name.lower() in GRADS else _AFFIXES.sub("", name) or name


def namesake(name: str, names: Iterable[str]) -> str | None:
    """The array that a gradient with this name belongs to; None if there is none, or no unique one.

    >>> namesake("dw", ["x", "W"]), namesake("dz", ["x", "W"]), namesake("d", ["d", "x"])
    ('W', None, 'd')
    """
    known = list(names)
    short = {k: re.sub(r".*\['(.*)'\]$", r"\1", k) for k in known}
    for own in (str, str.lower):
        for wanted in (name, bare(name)):
            found = [k for k in known if own(wanted) in (own(k), own(short[k]))]
            if len(found) == 1:
                return found[0]
    return None


def flat(values: Iterable[Array]) -> Array:
    """All elements of several arrays in one; a single array as it is."""
    arrays = list(values)
    return arrays[0] if len(arrays) == 1 else np.concatenate([np.ravel(a) for a in arrays] or [np.empty(0)])


def cut(numbers: Array, like: Arrays) -> dict[str, Array]:
    """The inverse of `flat`.

    >>> cut(np.arange(3.0), {"a": np.zeros(1), "b": np.zeros((1, 2))})
    {'a': array([0.]), 'b': array([[1., 2.]])}
    """
    ends = np.cumsum([a.size for a in like.values()])
    pieces: list[NDArray[Any]] = np.split(np.ravel(numbers), ends[:-1])
    return {k: own.reshape(a.shape) for (k, a), own in zip(like.items(), pieces, strict=True)}
