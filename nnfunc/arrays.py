"""The immutable dict of arrays that represents parameters, gradients, optimizer state and model state.

The floating arrays of one dict are read-only views of one contiguous vector (`ArrayDict.vector`), so that an optimizer,
a norm or a message to another process is arithmetic on that vector. A stack of K dicts is one dict whose vector has
shape (K, n) and whose arrays have a leading axis K. Integer arrays (an optimizer's step count) are kept outside the
vector. The arrays of a group ("dense1.W", "dense1.b") are contiguous, so a group is a slice of the vector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, TypeAlias, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from nnfunc._internal.validate import (
    all_finite,
    callable_,
    first_bad,
    flag,
    floating,
    instance,
    nearest,
    number,
    numeric,
)
from nnfunc.layout import Layout, Patterns, grouped, layout, matching

__all__ = ["EMPTY", "Array", "ArrayDict", "Layout", "Numbers", "Scalar", "allclose", "equal", "join"]

Array: TypeAlias = NDArray[np.floating]
"""An array of floats, the type of the arguments of user-defined layers.

>>> def double(x: nn.Array) -> nn.Array:
...     return 2 * x
"""

Scalar: TypeAlias = "float | Array"
"""A scalar; for a stack of K networks an array of shape (K,), one value per network."""

Numbers: TypeAlias = "float | np.number | NDArray[np.number] | Sequence[float]"
"""A number, or several as a list or an array: what is not text."""

NO_INTEGERS: Mapping[str, NDArray[np.integer]] = {}
"""The integers of a dict without any. All such dicts share it, so it is never written to."""


class ArrayDict(Mapping[str, Array]):
    """An immutable dict of arrays whose floating arrays are read-only views of one vector.

    Args:
        arrays: a mapping of names to arrays of floats, numbers or lists; they are copied. NumPy integer arrays are
            counts, which are kept outside the vector.
        dtype: the dtype of all arrays; by default that of the arrays, which must then agree.
        stacked: whether the first axis of every array is the stack axis: K parameter sets in one. None: stacked if
            `arrays` is a stack or all its float arrays come from one (`dict(stack)`).
    Raises:
        TypeError: an array of strings, objects or complex numbers, or arrays of different dtypes.
        ValueError: a name that is not a string, values too large for the dtype, or leading axes that differ in a stack.

    Names with dots form groups: `params.group("dense1")` contains "W" and "b". The arrays of a group are kept
    contiguous, so the order of the names may differ from that of `arrays`.

    >>> params = ArrayDict({"dense1.W": np.ones((2, 3)), "dense1.b": np.zeros(3)})
    >>> params
    ArrayDict of 2 arrays: 9 numbers, float64, 72 bytes
      dense1.W  (2, 3)
      dense1.b  (3,)
    >>> params.vector
    array([1., 1., 1., 1., 1., 1., 0., 0., 0.])
    >>> params["dense1.W"][0, 0] = 5.0
    Traceback (most recent call last):
    ValueError: assignment destination is read-only
    """

    __slots__ = ("_arrays", "_groups", "_integers", "_layout", "_vector")
    __array_ufunc__ = None  # so that NumPy leaves `np.float64(2) * params` to this class

    _layout: Layout
    _vector: Array
    _integers: Mapping[str, NDArray[np.integer]]
    _arrays: tuple[Array, ...] | None
    _groups: dict[str, ArrayDict] | None

    def __init__(
        self,
        arrays: Mapping[str, ArrayLike] | None = None,
        dtype: DTypeLike | None = None,
        *,
        stacked: bool | None = None,
    ) -> None:
        if getattr(self, "_vector", None) is not None:
            raise TypeError("an ArrayDict cannot be modified or initialized again: create a new one")
        if arrays is not None and not isinstance(arrays, Mapping):
            raise TypeError(f"arrays is {type(arrays).__name__}, expected a dict of names to arrays")
        given = {_name(k): _floats_or_counts(v, k) for k, v in (arrays or {}).items()}
        floats = {k: v for k, v in given.items() if v.dtype.kind == "f" or dtype is not None}
        dtypes = {k: v.dtype for k, v in floats.items()}
        if dtype is None and len(set(dtypes.values())) > 1:
            kinds = ", ".join(f"{k}: {d}" for k, d in dtypes.items())
            raise TypeError(f"the arrays have more than one dtype ({kinds}): pass dtype=np.float32 or np.float64")
        if dtype is None:
            dtype = next(iter(dtypes.values()), getattr(arrays, "dtype", np.dtype(np.float32)))
        dtype = floating(dtype)
        stacked = None if stacked is None else flag(stacked, "stacked")
        if stacked is None:
            stacked = bool(getattr(arrays, "stack_shape", ())) or (bool(floats) and all(map(of_stack, floats.values())))
        lead = () if not stacked else _stack_shape(floats) if floats else getattr(arrays, "stack_shape", ())
        integers = {k: _frozen(_counts(v, k)) for k, v in given.items() if k not in floats}
        where = layout(tuple((k, floats[k].shape[len(lead) :]) for k in grouped(floats)), tuple(integers))
        vector = new_vector((*lead, where.size), dtype)
        for name, (start, stop, _) in where.entries.items():
            vector[..., start:stop] = cast(floats[name], name, dtype).reshape(*lead, stop - start)
        self._layout, self._vector, self._integers = where, _frozen(vector), integers
        self._arrays = self._groups = None

    @classmethod
    def _of(cls, where: Layout, vector: Array, integers: Mapping[str, NDArray[np.integer]] = NO_INTEGERS) -> ArrayDict:
        """Wraps an existing vector, which becomes read-only, without copying or checking it."""
        if vector.base is None:  # as `_frozen` does
            vector.setflags(write=False)
            vector = vector.view()
        else:
            vector = _frozen(vector)
        new = cls.__new__(cls)
        new._layout, new._vector, new._integers = where, vector, integers
        new._arrays = new._groups = None
        return new

    def __reduce__(self) -> tuple[object, ...]:
        shapes = tuple((k, shape) for k, (_, _, shape) in self._layout.entries.items())
        return _restored, (shapes, self._vector, self._integers)

    def __copy__(self) -> ArrayDict:
        return self

    def __deepcopy__(self, memo: object) -> ArrayDict:
        return self

    # -- a mapping ---------------------------------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Array:
        entry = self._layout.entries.get(name)
        if entry is None:
            if name in self._integers:
                return self._integers[name].view()  # type: ignore[return-value]  # counts are no floats
            raise KeyError(nearest("array name", name, self))
        start, stop, shape = entry
        vector = self._vector
        if vector.ndim == 1:
            return vector[start:stop].reshape(shape)
        return vector[..., start:stop].reshape(vector.shape[:-1] + shape)

    @property
    def arrays(self) -> tuple[Array, ...]:
        """The floating arrays in the order of `names`.

        >>> W, b = ArrayDict({"W": np.ones((2, 3)), "b": np.zeros(3)}).arrays
        >>> W.shape, b.shape
        ((2, 3), (3,))
        """
        arrays = self._arrays
        if arrays is None:
            arrays = self._arrays = tuple(self._layout.views(self._vector))
        return arrays

    def __iter__(self) -> Iterator[str]:
        yield from self._layout.entries
        yield from self._integers

    def __len__(self) -> int:
        return len(self._layout.entries) + len(self._integers)

    def __contains__(self, name: object) -> bool:
        return name in self._layout.entries or name in self._integers

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mapping) and equal(self, other)

    __hash__ = None  # type: ignore[assignment]  # equal by value to plain dicts, which have no hash

    def __repr__(self) -> str:
        count = self.size + sum(v.size for v in self._integers.values())
        size = self.nbytes + sum(v.nbytes for v in self._integers.values())
        amount = (
            f"{size} bytes" if size < 1024 else f"{size / 1024:.1f} KiB" if size < 2**20 else f"{size / 2**20:.1f} MiB"
        )
        stack = f", a stack of {'x'.join(map(str, self.stack_shape))}" if self.stack_shape else ""
        dtypes = ", ".join(str(d) for d in ([self.dtype] if self.size or not self._integers else []))
        ints = "int64" if self._integers else ""
        kinds = ", ".join(filter(None, [dtypes, ints]))
        width = max(map(len, self), default=0)
        rows = "".join(f"\n  {name:{width}}  {array.shape}" for name, array in self.items())
        plural = "" if len(self) == 1 else "s"
        return f"ArrayDict of {len(self)} array{plural}: {count:,} numbers, {kinds}, {amount}{stack}{rows}"

    # -- the vector --------------------------------------------------------------------------------------------------

    @property
    def vector(self) -> Array:
        """All floating arrays as one read-only vector of shape (n,); a stack's has shape (K, n).

        >>> ArrayDict({"b": [1.0, 2.0]}).vector
        array([1., 2.])
        """
        return self._vector.view()

    @property
    def layout(self) -> Layout:
        """The position of each floating array in the vector."""
        return self._layout

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the floating arrays, in their order in the vector.

        >>> ArrayDict({"b": [1.0, 2.0], "step": np.array(3)}).names
        ('b',)
        """
        return self._layout.names

    @property
    def counts(self) -> tuple[str, ...]:
        """The names of the integer arrays, which are kept outside the vector.

        >>> ArrayDict({"b": [1.0, 2.0], "step": np.array(3)}).counts
        ('step',)
        """
        return tuple(self._integers)

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """The dtype of the floating arrays."""
        return self._vector.dtype

    @property
    def size(self) -> int:
        """The total number of floating-point elements."""
        return self._vector.size

    @property
    def nbytes(self) -> int:
        """The size of the vector in bytes."""
        return self._vector.nbytes

    @property
    def stack_shape(self) -> tuple[int, ...]:
        """(K,) for a stack of K dicts, () for a single one."""
        return self._vector.shape[:-1]

    def with_vector(self, vector: ArrayLike) -> ArrayDict:
        """The dict with these names and shapes whose vector is a copy of `vector`, of this dict's dtype.

        A `vector` of shape (K, n) makes a stack of K.

        >>> ArrayDict({"b": [1.0, 2.0]}).with_vector([3.0, 4.0])["b"]
        array([3., 4.])
        """
        values, n = cast(numeric(vector, "vector"), "vector", self.dtype), self._layout.size
        if values.ndim not in (1, 2) or values.shape[-1] != n:
            raise ValueError(f"vector has shape {values.shape}, expected ({n},), or (K, {n}) for a stack of K")
        return self._of(self._layout, _copy(values), self._integers)

    # -- parts and changes -------------------------------------------------------------------------------------------

    def group(self, prefix: str) -> ArrayDict:
        """The arrays whose names begin with `prefix` and a dot, with that prefix removed; a view, not a copy.

        >>> ArrayDict({"dense1.W": np.ones((2, 3)), "dense2.W": np.ones((3, 1))}).group("dense2")
        ArrayDict of 1 array: 3 numbers, float64, 24 bytes
          W  (3, 1)
        """
        instance(prefix, str, "prefix")
        groups = {} if self._groups is None else self._groups
        self._groups = groups
        if prefix not in groups:
            found = self._layout.groups.get(prefix)
            if found is None:  # an empty stack still knows its K
                return self._of(EMPTY._layout, self._vector[..., :0]) if self.stack_shape else EMPTY
            own = {k: self._integers[f"{prefix}.{k}"] for k in found.layout.integers}
            groups[prefix] = self._of(found.layout, self._vector[..., found.numbers], own)
        return groups[prefix]

    def slices(self, where: Patterns) -> tuple[slice, ...]:
        """The slices of the vector that contain the arrays whose names match.

        >>> ArrayDict({"W": np.ones((2, 3)), "b": np.zeros(3)}).slices("b")
        (slice(6, 9, None),)
        """
        return self._layout.slices(where)

    def select(self, where: Patterns) -> ArrayDict:
        """The arrays whose names match one of the patterns ("*.W", "dense1.*").

        Raises:
            ValueError: a pattern matches no name.

        >>> list(ArrayDict({"dense1.W": np.ones((2, 3)), "dense1.b": np.zeros(3)}).select("*.b"))
        ['dense1.b']
        """
        return self._part(matching(self, where))

    def without(self, where: Patterns) -> ArrayDict:
        """All arrays except those whose names match one of the patterns.

        Raises:
            ValueError: a pattern matches no name.

        >>> list(ArrayDict({"dense1.W": np.ones((2, 3)), "dense1.b": np.zeros(3)}).without("*.b"))
        ['dense1.W']
        """
        left_out = set(matching(self, where))
        return self._part([k for k in self if k not in left_out])

    def _part(self, names: list[str]) -> ArrayDict:
        part = ArrayDict({k: self[k] for k in names}, stacked=False if not self.stack_shape else None)
        return (
            part if part.names else self._of(layout((), part._layout.integers), self._vector[..., :0], part._integers)
        )

    def replace(self, arrays: Mapping[str, ArrayLike] | None = None, /, **named: ArrayLike) -> ArrayDict:
        """Returns this dict with new values for some of its names; shapes and dtype are kept.

        Raises:
            KeyError: a name that this dict does not have.
            ValueError: an array of a different shape.

        >>> ArrayDict({"W": [1.0], "b": [2.0]}).replace(b=[5.0]).vector
        array([1., 5.])
        """
        vector, integers = _copy(self._vector), dict(self._integers)
        given = {} if arrays is None else as_mapping(arrays, "arrays")
        for name, value in {**given, **named}.items():
            new, old = numeric(value, name), self[name]
            if new.shape != old.shape:
                raise ValueError(f"{name} has shape {new.shape}, expected {old.shape}: replace keeps the shapes")
            if name in integers and new.dtype.kind == "f":
                raise TypeError(f"{name} is a count, expected integers, got {new.dtype}: create it with floats")
            if name in integers:
                integers[name] = _frozen(_counts(new, name))
            else:
                start, stop, _ = self._layout.entries[name]
                vector[..., start:stop] = cast(new, name, self.dtype).reshape(*self.stack_shape, -1)
        return self._of(self._layout, vector, integers)

    @overload
    def map(self, function: Callable[[Array], ArrayLike], /) -> ArrayDict: ...
    @overload
    def map(self, function: Callable[[Array, Array], ArrayLike], other: Mapping[str, ArrayLike], /) -> ArrayDict: ...
    @overload
    def map(self, function: Callable[..., ArrayLike], *others: Mapping[str, ArrayLike]) -> ArrayDict: ...
    def map(self, function: Callable[..., ArrayLike], *others: Mapping[str, ArrayLike]) -> ArrayDict:
        """Applies `function` to each array (and the arrays of the same name in `others`); returns a new dict.

        >>> ArrayDict({"b": [1.0, -2.0]}).map(np.abs)["b"]
        array([1., 2.])
        """
        callable_(function, "function", "that maps an array to an array")
        for other in others:
            _same_names(self, other)
        return self._rebuilt({k: function(v, *(other[k] for other in others)) for k, v in self.items()})

    def astype(self, dtype: DTypeLike) -> ArrayDict:
        """Converts the floating arrays to another dtype.

        >>> ArrayDict({"b": [1.0]}).astype(np.float32).dtype
        dtype('float32')
        """
        if self.dtype is dtype:
            return self
        dtype = floating(dtype)
        if self.dtype == dtype:
            return self
        return self._of(self._layout, _copy(cast(self._vector, "vector", dtype)), self._integers)

    def to_dict(self) -> dict[str, Array]:
        """Returns a plain dict of writable copies.

        >>> ArrayDict({"b": [1.0]}).to_dict()
        {'b': array([1.])}
        """
        return {k: v.copy() for k, v in self.items()}

    def __or__(self, other: Mapping[str, ArrayLike]) -> ArrayDict:
        """The union of both dicts; the right one wins on duplicate names. The left one's dtype and stack are kept.

        >>> (ArrayDict({"b": [1.0]}, np.float32) | {"rate": 0.1}).dtype
        dtype('float32')
        """
        as_mapping(other, "the right side")
        theirs = other.stack_shape if isinstance(other, ArrayDict) and other.size and self.size else ()
        if theirs not in ((), self.stack_shape):
            mine = f"one of {self.stack_shape[0]}" if self.stack_shape else "none"
            raise ValueError(f"the right dict is a stack of {theirs[0]}, but the left one is {mine}")
        return self._rebuilt({**self, **other})

    def _rebuilt(self, arrays: Mapping[str, ArrayLike]) -> ArrayDict:
        """Returns other arrays as a dict of this one's dtype, a stack if this is one."""
        lead = self.stack_shape
        floats: dict[str, ArrayLike] = {}
        for name, value in arrays.items():
            array = _floats_or_counts(value, name)
            if array.dtype.kind == "f":
                array = cast(array, name, self.dtype) if self.names else array
                if lead and array.shape[:1] != lead:  # shared by all members
                    array = np.broadcast_to(array, (*lead, *array.shape))
            floats[name] = array
        new = ArrayDict(floats, stacked=bool(lead) and any(np.asarray(a).dtype.kind == "f" for a in floats.values()))
        return new if new.names or not lead else self._of(new._layout, self._vector[..., :0], new._integers)

    # -- arithmetic, by name -----------------------------------------------------------------------------------------

    def like(self, other: Mapping[str, ArrayLike], name: str = "the right one") -> ArrayDict:
        """Returns `other` in this dict's order and dtype; names and shapes must be the same.

        Raises:
            ValueError: names or shapes differ; the message lists the differences.

        >>> ArrayDict({"a": [1.0], "b": [2.0]}).like({"b": [4.0], "a": [3.0]}).vector
        array([3., 4.])
        """
        if isinstance(other, ArrayDict) and other._layout is self._layout:
            mine, theirs = self._vector, other._vector
            if mine.shape == theirs.shape:
                return other if mine.dtype == theirs.dtype else other.astype(mine.dtype)
        _same_names(self, other, name)
        if not self:  # an empty stack still knows its K
            return self
        given = {k: _floats_or_counts(v, k) for k, v in other.items()}
        wrong = [f"{k} {given[k].shape}, expected {v.shape}" for k, v in self.items() if given[k].shape != v.shape]
        if wrong:
            raise ValueError(f"{name} has different shapes: {'; '.join(wrong)}")
        vector = new_vector(self._vector.shape, self.dtype)
        for k, view in zip(self.names, self._layout.views(vector), strict=True):
            view[...] = cast(given[k], k, self.dtype)
        return self._of(self._layout, vector, {k: _frozen(_counts(given[k], k)) for k in self._integers})

    def _with(self, other: object, operation: np.ufunc) -> ArrayDict:
        if self._integers:
            raise TypeError(f"arithmetic requires floats, but {', '.join(self._integers)} are integers: convert them")
        if isinstance(other, Mapping):
            right: Array | float = self.like(other)._vector
        elif isinstance(other, (int, float, np.number, np.ndarray)):
            array = numeric(other, "the right side")
            if array.ndim and array.shape != self.stack_shape:
                members = f"({self.stack_shape[0]},), one value per network" if self.stack_shape else "a scalar"
                raise ValueError(f"the right side has shape {array.shape}, expected {members}, or a dict of arrays")
            # a NumPy scalar of float64 would promote float32 arrays
            right = array.astype(self.dtype)[:, None] if array.ndim else float(array)
        else:
            return NotImplemented  # type: ignore[no-any-return]  # as the data model requires
        vector = new_vector(self._vector.shape, self.dtype)
        operation(self._vector, right, out=vector)
        return self._of(self._layout, vector, self._integers)

    def __add__(self, other: Mapping[str, ArrayLike] | Scalar) -> ArrayDict:
        """Sum by name with another dict, or with a scalar; for a stack also with an array (K,)."""
        return self._with(other, np.add)

    def __sub__(self, other: Mapping[str, ArrayLike] | Scalar) -> ArrayDict:
        """Difference by name with another dict, or with a scalar; for a stack also with an array (K,)."""
        return self._with(other, np.subtract)

    def __mul__(self, other: Mapping[str, ArrayLike] | Scalar) -> ArrayDict:
        """Product by name with another dict, or with a scalar; for a stack also with an array (K,)."""
        return self._with(other, np.multiply)

    def __truediv__(self, other: Mapping[str, ArrayLike] | Scalar) -> ArrayDict:
        """Quotient by name with another dict, or with a scalar; for a stack also with an array (K,)."""
        return self._with(other, np.divide)

    def __neg__(self) -> ArrayDict:
        return self._with(-1.0, np.multiply)

    def __radd__(self, other: float) -> ArrayDict:
        return self + other

    def __rmul__(self, other: float) -> ArrayDict:
        return self * other

    def __rsub__(self, other: float) -> ArrayDict:
        return -self + other


def join(**dicts: ArrayDict) -> ArrayDict:
    """Combines several dicts into one, each under its name: the inverse of `group`.

    Raises:
        TypeError: dtypes that differ, or something that is not an ArrayDict.
        ValueError: stacks of different lengths.

    >>> both = nn.arrays.join(enc=ArrayDict({"W": [1.0]}), dec=ArrayDict({"W": [2.0]}))
    >>> list(both), both.group("dec")["W"]
    (['enc.W', 'dec.W'], array([2.]))
    """
    for name, part in dicts.items():
        if not isinstance(part, ArrayDict):
            raise TypeError(f"{name} is {type(part).__name__}, expected an ArrayDict")
    parts = {_name(k): d for k, d in dicts.items()}
    dtypes = {str(d.dtype) for d in parts.values() if d.size}
    leads = {d.stack_shape for d in parts.values() if d}
    if len(dtypes) > 1:
        raise TypeError(f"the dicts have different dtypes ({', '.join(sorted(dtypes))}): convert them with astype")
    if len(leads) > 1:
        raise ValueError(
            f"the dicts are stacks of shapes {', '.join(map(str, sorted(leads)))}, expected the same for all"
        )
    first = next((d for d in parts.values() if d.size), next(iter(parts.values()), EMPTY))
    where = layout(
        tuple((f"{p}.{k}", shape) for p, d in parts.items() for k, shape in d._layout.shapes.items()),
        tuple(f"{p}.{k}" for p, d in parts.items() for k in d._integers),
    )
    if len(where.entries) < sum(len(d.names) for d in parts.values()):
        raise ValueError(
            f"two arrays would have the same name: {', '.join(f'{p}.{k}' for p, d in parts.items() for k in d)}"
        )
    vector = new_vector((*first.stack_shape, where.size), first.dtype)
    np.concatenate([d._vector for d in parts.values() if d], axis=-1, out=vector) if where.size else None
    return ArrayDict._of(where, vector, {f"{p}.{k}": v for p, d in parts.items() for k, v in d._integers.items()})


def as_dict(arrays: ArrayDict | Mapping[str, Any], name: str) -> ArrayDict:
    """Returns `arrays` as an ArrayDict, converting a plain dict."""
    if isinstance(arrays, ArrayDict):
        return arrays
    return ArrayDict(as_mapping(arrays, name, "an ArrayDict"))


def as_mapping(arrays: Mapping[str, Any], name: str, wanted: str = "a dict of arrays") -> Mapping[str, Any]:
    """Returns `arrays` if it is a dict."""
    if not isinstance(arrays, Mapping):
        raise TypeError(f"{name} is {type(arrays).__name__}, expected {wanted}: pass nn.ArrayDict({name})")
    return arrays


def equal(a: Mapping[str, ArrayLike], b: Mapping[str, ArrayLike]) -> bool:
    """Whether two dicts have the same names, shapes, dtypes and values (NaN equals NaN), in any order.

    >>> equal(ArrayDict({"b": [1.0]}), {"b": np.array([1.0])}), equal(ArrayDict({"b": [1.0]}), ArrayDict({"b": [2.0]}))
    (True, False)
    """
    _two_dicts(a, b)
    if a.keys() != b.keys():
        return False
    pairs = [(numeric(a[k], k), numeric(b[k], k)) for k in a]
    return all(x.dtype == y.dtype and np.array_equal(x, y, equal_nan=True) for x, y in pairs)


def allclose(a: Mapping[str, ArrayLike], b: Mapping[str, ArrayLike], rtol: float = 1e-5, atol: float = 1e-8) -> bool:
    """Whether two dicts have the same names and shapes, and values with |a − b| ≤ atol + rtol·|b|.

    >>> allclose(ArrayDict({"b": [1.0]}), ArrayDict({"b": [1.0 + 1e-9]}))
    True
    """
    _two_dicts(a, b)
    if a.keys() != b.keys():
        return False
    rtol, atol = number(rtol, "rtol", 0, np.inf), number(atol, "atol", 0, np.inf)
    pairs = [(numeric(a[k], k), numeric(b[k], k)) for k in a]
    return all(x.shape == y.shape and np.allclose(x, y, rtol, atol) for x, y in pairs)


def _two_dicts(a: object, b: object) -> None:
    for name, value in (("a", a), ("b", b)):
        if not isinstance(value, Mapping):
            raise TypeError(f"{name} is {type(value).__name__}, expected a dict of arrays")


class StackVector(np.ndarray[Any, Any]):
    """The memory of a stack's vector; `of_stack` recognizes its views by their base."""


def of_stack(array: NDArray[np.generic]) -> bool:
    """Whether an array belongs to a stack: a view of a stack's vector that still has the stack axis."""
    root = _root(array)
    if type(root) is not StackVector or array.ndim == 0:
        return False
    return (array.shape[0], array.strides[0]) == (root.shape[0], root.strides[0])


def _root(array: NDArray[Any]) -> NDArray[Any]:
    """The array that owns the memory of a view."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


np.empty(30 << 20, np.uint8)
"""The C library requests large blocks from the system, which zeroes them, and returns them when they are freed; this
costs more than the arithmetic on them. glibc retains blocks up to the largest size ever freed, 32 MiB at most
(mallopt(3), dynamic mmap threshold). This one is freed at once and never written, so it uses no memory itself."""


def new_vector(shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Returns an uninitialized vector (n,), or (K, n) for a stack, to be filled and then wrapped."""
    if len(shape) == 1:
        return np.empty(shape, dtype)
    return StackVector(shape, dtype).view(np.ndarray)


class _GivenAway:
    """The placeholder for a dict's vector after `give_away`."""

    def __getattr__(self, name: str) -> NoReturn:
        raise ValueError("these arrays were handed to a step to be overwritten (donate=True): use those it returned")


def give_away(old: ArrayDict) -> Array:
    """Returns the memory of a dict to write its successor into; any later use of the dict raises an error.

    >>> old = ArrayDict({"b": [1.0, 2.0]})
    >>> give_away(old)
    array([1., 2.])
    >>> old["b"]
    Traceback (most recent call last):
    ValueError: these arrays were handed to a step to be overwritten (donate=True): use those it returned
    """
    vector, owner = old._vector, _root(old._vector)
    if owner.size != vector.size or not owner.flags.owndata:  # part of a larger array, or memory not owned by NumPy
        return new_vector(vector.shape, vector.dtype)
    owner.setflags(write=True)
    old._vector, old._arrays, old._groups = _GivenAway(), None, None  # type: ignore[assignment]  # so that uses fail
    return owner.view(np.ndarray)


def _copy(vector: Array) -> Array:
    copy = new_vector(vector.shape, vector.dtype)
    copy[...] = vector
    return copy


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    """Returns a view that cannot be made writable: NumPy refuses if the owner of the memory is read-only."""
    owner = _root(array)
    if owner.flags.writeable:
        owner.setflags(write=False)
    if array.flags.writeable:
        array.setflags(write=False)
    return array.view()


def cast(array: NDArray[Any], name: str, dtype: DTypeLike) -> Array:
    """Converts to another floating dtype; values out of its range raise an error instead of becoming infinite."""
    if array.dtype == dtype:
        return array
    with np.errstate(over="ignore"):
        result: Array = array.astype(dtype)
        narrower = array.dtype.kind != "f" or array.dtype.itemsize > result.dtype.itemsize
        bad = np.isinf(result) & np.isfinite(array) if narrower and not all_finite(result) else np.zeros(0, bool)
    if bad.any():
        raise ValueError(f"{name} contains {first_bad(array, bad)}, too large for {result.dtype}")
    return result


def _restored(
    shapes: tuple[tuple[str, tuple[int, ...]], ...], vector: Array, integers: dict[str, NDArray[np.integer]]
) -> ArrayDict:
    own = {k: _frozen(v.copy()) for k, v in integers.items()}
    return ArrayDict._of(layout(shapes, tuple(own)), _copy(vector), own)


def _floats_or_counts(value: ArrayLike, name: str) -> NDArray[Any]:
    """Returns `value` as an array; Python numbers and lists become floats, even if integral."""
    array = numeric(value, name)
    return array if isinstance(value, (np.ndarray, np.generic)) or array.dtype.kind == "f" else array.astype(float)


def _counts(array: NDArray[Any], name: str) -> NDArray[np.integer]:
    """Converts to int64 with a range check."""
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{name} contains {array.max()}, expected integers below 2**63")
    return array.astype(np.int64)


def _name(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise ValueError(f"name={name!r}: expected a non-empty string, like 'dense1.W'")
    return name


def _stack_shape(arrays: Mapping[str, NDArray[np.generic]]) -> tuple[int, ...]:
    leading = {k: v.shape[:1] for k, v in arrays.items()}
    if len(set(leading.values())) != 1 or () in leading.values():
        shapes = ", ".join(f"{k}: {v.shape}" for k, v in arrays.items())
        raise ValueError(f"a stack needs one leading axis of the same length in every array, got {shapes}")
    return next(iter(leading.values()))


def _same_names(a: Mapping[str, object], b: Mapping[str, object] | object, name: str = "the right one") -> None:
    if not isinstance(b, Mapping):
        raise TypeError(f"{name} is {type(b).__name__}, expected a dict with the arrays {', '.join(a) or '(none)'}")
    if a.keys() != b.keys():
        missing, extra = [k for k in a if k not in b], [k for k in b if k not in a]
        lacks = f"lacks {', '.join(missing)}" if missing else ""
        has = f"has unexpected {', '.join(map(str, extra))}" if extra else ""
        raise ValueError(f"the names differ: {name} {' and '.join(filter(None, [lacks, has]))}")


EMPTY = ArrayDict()
"""The dict of no arrays: the parameters of an activation, the state of a dense layer.

>>> len(EMPTY), EMPTY.size
(0, 0)
"""
