"""Assignment of returned gradients to arrays, by name or by position."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np

from nnfunc.arrays import ArrayDict
from nnfunc.checks.trees import namesake, parts, reals

Inputs = Mapping[str, Any]


class Returned(NamedTuple):
    """Gradients by the names of their arrays, and notes on ambiguous ones."""

    gradients: dict[str, Any]
    notes: list[str]


def matched(returned: Any, inputs: Inputs) -> Returned:
    """The gradients that a backward returned: an array, a tuple or list, a dict, or a tuple that contains dicts.

    >>> matched({"dW": 1.0}, {"W": np.ones(1)})
    Returned(gradients={'W': 1.0}, notes=["'dW' is taken as the gradient of W"])
    >>> matched((1.0, None), {"x": np.ones(1), "ids": np.arange(2)}).gradients
    {'x': 1.0}
    """
    if _is_dict(returned):
        return _by_name(returned, inputs)
    only, value = next(iter(inputs.items()))
    if len(inputs) == 1 and isinstance(returned, (tuple, list)) and len(returned) != 1 and parts(only, value):
        return _of_input(only, value, returned)
    elements = list(returned) if isinstance(returned, (tuple, list)) else [returned]
    if len(inputs) == 1 and isinstance(returned, list) and _fits_as_array(returned, value):
        elements = [returned]
    gradients, notes = {}, []
    for name, element in zip(_by_place(elements, inputs), elements, strict=True):
        if name is not None and element is not None:
            found = _of_input(name, inputs[name], element)
        elif _is_dict(element):
            found = _by_name(element, inputs)
        else:
            if element is not None:
                place = elements.index(element) if not isinstance(element, np.ndarray) else _place(elements, element)
                notes.append(f"returned gradient {place} is ignored: there is no input for it")
            continue
        gradients.update(found.gradients)
        notes += found.notes
    whole = all(name in inputs for name in gradients)
    return Returned(gradients, notes + (_order(gradients, inputs) if whole else []))


def _place(elements: list[Any], element: Any) -> int:
    return next(i for i, other in enumerate(elements) if other is element)


def _is_dict(value: Any) -> bool:
    return isinstance(value, (Mapping, ArrayDict))


def _fits_as_array(value: list[Any], like: Any) -> bool:
    """Whether a list represents one array: [0.5, 1.0], not [array]."""
    return bool(value) and isinstance(value[0], (int, float)) and np.ndim(like) == 1 and len(value) == len(like)


def _by_place(elements: list[Any], inputs: Inputs) -> list[str | None]:
    """The input that each element belongs to; None for dicts, matched by name, and for extra elements."""
    names = list(inputs)
    own = {name: reals(name, value, settings=True) for name, value in inputs.items()}
    loose = [i for i, e in enumerate(elements) if _is_dict(e) and not (i < len(names) and _is_dict(inputs[names[i]]))]
    if len(elements) >= len(names) and not loose:
        return [names[i] if i < len(names) and own[names[i]] else None for i in range(len(elements))]
    apart = [name for name in names if not (loose and _is_dict(inputs[name]))]
    with_any = [name for name in apart if own[name]]
    with_axes = [name for name in with_any if not isinstance(inputs[name], float)]
    count = len(elements) - len(loose)
    chosen = apart if count == len(apart) else with_axes if count == len(with_axes) else with_any
    places = iter(chosen)
    found = [None if i in loose else next(places, None) for i in range(len(elements))]
    return [name if name is None or own[name] else None for name in found]


def _of_input(name: str, value: Any, gradient: Any) -> Returned:
    """The gradients of the arrays of one input."""
    if not parts(name, value):
        return Returned({name: gradient} if reals(name, value, settings=True) and gradient is not None else {}, [])
    if _is_dict(value):
        if _is_dict(gradient):
            return _by_name(gradient, {name: value})
        return Returned(
            {}, [f"the gradient of {name} is ignored: {name} is a dict, but its gradient is {type(gradient).__name__}"]
        )
    given = dict(parts(name, gradient))
    gradients, notes = {}, []
    for label, part in parts(name, value):
        if label in given:
            found = _of_input(label, part, given[label])
            gradients.update(found.gradients)
            notes += found.notes
    return Returned(gradients, notes)


def _by_name(returned: Mapping[str, Any], inputs: Inputs) -> Returned:
    """The gradients of a dict, whose names may have prefixes or suffixes such as d or grad."""
    arrays = {k: v for name, value in inputs.items() for k, v in reals(name, value, settings=True).items()}
    gradients: dict[str, Any] = {}
    notes = []
    for key in returned:
        gradient, whole = returned[key], namesake(str(key), inputs)
        name = namesake(str(key), arrays)
        if gradient is None or (name is None and whole is not None and not parts(whole, inputs[whole])):
            continue  # integers
        if name is None and whole is not None:
            found = _of_input(whole, inputs[whole], gradient)
            gradients.update(found.gradients)
            notes += found.notes
        elif name is None or name in gradients:
            notes.append(f"{key!r} is ignored: no input has this name")
        else:
            gradients[name] = gradient
            if key != name and f"[{key!r}]" not in name:
                notes.append(f"{key!r} is taken as the gradient of {name}")
    return Returned(gradients, notes)


def _order(gradients: dict[str, Any], inputs: Inputs) -> list[str]:
    """A note that the gradients are in another order, if it is the only one in which all shapes fit."""
    names = list(gradients)
    if not 1 < len(names) <= 6 or any(parts(k, inputs[k]) for k in names if k in inputs):
        return []
    wanted, came = [np.shape(inputs[k]) for k in names], [_shape(gradients[k]) for k in names]
    orders = [p for p in permutations(range(len(names))) if [came[i] for i in p] == wanted]
    if wanted == came or len(orders) != 1:
        return []
    order = ", ".join(names[orders[0].index(i)] for i in range(len(names)))
    return [
        f"by their shapes the returned gradients are those of {order}, in this order: return them in forward's order"
    ]


def _shape(value: Any) -> tuple[int, ...] | None:
    try:
        return np.asarray(value).shape
    except ValueError:  # rows of different lengths
        return None
