"""The subject of a check: a function of named arrays, and its claimed gradient."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfunc._internal.validate import numeric
from nnfunc.arrays import Array

Arrays: TypeAlias = Mapping[str, Array]
Claims: TypeAlias = Mapping[str, ArrayLike]


Scalar = TypeVar("Scalar", bound=np.generic)


class UserError(Exception):
    """An exception of the checked code, and where it was raised.

    Args:
        who: the name of the function.
        error: the exception.
    """

    def __init__(self, who: str, error: Exception) -> None:
        said, cause = str(error).rstrip("."), ""
        self.kind = "unknown"
        if "read-only" in said:
            self.kind, cause = "mutation", ": it writes into its arguments; work on a copy"
        elif re.search("shape|broadcast|dimension|mismatch|axis|axes|size|expected|names differ|unpack", said):
            self.kind = "shape"
        super().__init__(f"{who} raises {type(error).__name__}{_line(error)}{f': {said}' if said else ''}{cause}")


def _line(error: Exception) -> str:
    """The last line of user code that raised an exception."""
    own = Path(__file__).parent.parent
    frames = [
        f
        for f in traceback.extract_tb(error.__traceback__)
        if "site-packages" not in f.filename and own not in Path(f.filename).parents
    ]
    if not frames:
        return ""
    line = frames[-1].line or ""
    code = f" ({line[:80]}{'…' * (len(line) > 80)})" if line else ""
    return f" in line {frames[-1].lineno} of {Path(frames[-1].filename).name}{code}"


class Place(NamedTuple):
    """The position of an array in the vector of all arrays."""

    name: str
    slice: slice
    shape: tuple[int, ...]
    order: Literal["C", "F"]

    @property
    def size(self) -> int:
        """The number of elements."""
        return int(self.slice.stop - self.slice.start)

    @property
    def indices(self) -> NDArray[np.intp]:
        """The indices of the elements in the vector."""
        return np.arange(self.slice.start, self.slice.stop)

    def of(self, vector: Array) -> Array:
        """The array, as a view of the vector."""
        return vector[self.slice].reshape(self.shape, order=self.order)

    def shaped(self, elements: NDArray[Scalar]) -> NDArray[Scalar]:
        """These elements in the shape of the array."""
        return elements.reshape(self.shape, order=self.order)


class Function:
    """A function of named arrays as a function of one float64 vector, which counts its evaluations.

    Each evaluation receives new arrays, so that modifications are detected and have no effect. Arrays keep their
    memory order.

    Args:
        terms: arrays -> an array whose sum is the value.
        claims: arrays -> the claimed gradients, by name.
        start: the point, by name.

    >>> f = Function(lambda p: p["w"] ** 2, lambda p: {"w": 2 * p["w"]}, {"w": np.ones(3)})
    >>> f.terms(f.start), f.gradient(f.start), f.evaluations
    (array([1., 1., 1.]), array([2., 2., 2.]), 1)
    """

    def __init__(self, terms: Callable[[Arrays], ArrayLike], claims: Callable[[Arrays], Claims], start: Claims) -> None:
        self.raw, self.claims = terms, claims
        self.evaluations = 0
        self.refusal = ""
        """The type of the last exception away from the start."""
        self.places: list[Place] = []
        parts, end = [], 0
        for name, value in start.items():
            array = np.asarray(value)
            order: Literal["C", "F"] = (
                "F" if array.ndim > 1 and array.flags.f_contiguous and not array.flags.c_contiguous else "C"
            )
            self.places.append(Place(name, slice(end, end + array.size), array.shape, order))
            parts.append(array.astype(np.float64).ravel(order=order))
            end += array.size
        self.start: Array = np.concatenate([*parts, np.empty(0)])

    def arrays(self, vector: Array) -> dict[str, Array]:
        """The arrays, as views of a copy of the vector."""
        own = vector.copy()
        return {place.name: place.of(own) for place in self.places}

    def vector(self, arrays: Claims) -> Array:
        """The vector of arrays with the right names and shapes."""
        vector = np.empty(self.start.size)
        for place in self.places:
            place.of(vector)[...] = np.asarray(arrays[place.name])
        return vector

    def shift(self, by: Arrays) -> Array:
        """The vector that shifts the arrays with these names."""
        vector = np.zeros(self.start.size)
        for place in self.places:
            if place.name in by:
                place.of(vector)[...] = by[place.name]
        return vector

    def terms(self, vector: Array) -> Array:
        """The terms at a point; NaN where the function has no value there."""
        self.evaluations += 1
        with np.errstate(all="ignore"):
            try:
                return np.ravel(np.asarray(self.raw(self.arrays(vector)), np.float64))
            except Exception as error:  # raised to the caller at the start; elsewhere the function has no value
                self.refusal = type(error.__cause__ or error).__name__
                return np.full(1, np.nan)

    def terms_at_start(self) -> Array:
        """The terms at the point itself, where exceptions are raised to the caller."""
        self.evaluations += 1
        with np.errstate(all="ignore"):
            return np.ravel(np.asarray(self.raw(self.arrays(self.start)), np.float64))

    def gradient(self, vector: Array) -> Array:
        """The claimed gradient at a point, as a vector; NaN where there is none."""
        with np.errstate(all="ignore"):
            try:
                return self.vector(self.claims(self.arrays(vector)))
            except Exception:  # as above
                return np.full(self.start.size, np.nan)

    def scales(self, vector: Array) -> Array:
        """For each element the root mean square of its array (1 for an array of zeros), as a scale for steps."""
        scales = np.ones(vector.size)
        for place in self.places:
            part = vector[place.slice]
            scales[place.slice] = float(np.sqrt(np.mean(part * part))) or 1.0 if part.size else 1.0
        return scales

    def along(self, vector: Array, direction: Array) -> Callable[[float], Array]:
        """t -> the terms at vector + t · direction."""
        return lambda t: self.terms(vector + t * direction)

    def along_element(self, vector: Array, i: int) -> Callable[[float], Array]:
        """t -> the terms with t added to element i of the vector."""

        def moved(t: float) -> Array:
            point = vector.copy()
            point[i] += t
            return self.terms(point)

        return moved


def named_arrays(params: Mapping[str, ArrayLike], name: str = "params") -> dict[str, NDArray[np.floating]]:
    """Returns `params` as float arrays, or raises an error that names the invalid one."""
    if not isinstance(params, Mapping):
        raise TypeError(f"{name} is {type(params).__name__}, expected a dict of arrays")
    arrays = {}
    for key, value in params.items():
        if not isinstance(key, str):
            raise TypeError(f"{name} has the name {key!r}, a {type(key).__name__}, expected a string")
        if isinstance(value, Mapping):
            raise TypeError(f"{name}[{key!r}] is a dict: flatten it, {{'{key}.{next(iter(value), 'W')}': ...}}")
        array = numeric(value, f"{name}[{key!r}]")
        if array.dtype.kind != "f" and not isinstance(value, (int, float)):
            raise TypeError(
                f"{name}[{key!r}] has dtype {array.dtype}, expected floats: only these have a gradient; leave integers "
                "(labels, indices) out of the dict"
            )
        array = array.astype(np.float64) if array.dtype.kind != "f" else array
        if not np.isfinite(array).all():
            raise ValueError(f"{name}[{key!r}] contains NaN or infinity: there is no derivative at such a point")
        arrays[key] = array
    return arrays
