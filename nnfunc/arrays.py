"""The immutable dict of arrays: what parameters, gradients, optimizer state and model state are made of.

The floating arrays of one dict are read-only views of one contiguous vector (`ArrayDict.vector`), so that an optimizer,
a norm or a message to another process is arithmetic on that vector. A stack of K dicts is one dict whose vector has
shape (K, n) and whose arrays have a leading axis K. Whole-number arrays (an optimizer's step count) stand beside the
vector. The arrays of a group ("dense1.W", "dense1.b") stand together, so a group is a slice of the vector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from nnfunc.errors import nearest, numeric
from nnfunc.memory import memory

Array: TypeAlias = NDArray[np.floating]
"""An array of floats: what the mathematics here works on, and the type of your own layers' arguments.

>>> def double(x: nn.Array) -> nn.Array:
...     return 2 * x
"""

Scalar: TypeAlias = "float | Array"
"""One number; for a stack of K networks an array of shape (K,), a number for each."""

Patterns: TypeAlias = "str | Sequence[str]"
"""One or more name patterns, as in a shell: "*.W", "dense1.*"."""


class Layout:
    """Where each array of a dict stands in its vector. Shared by all dicts with these names and shapes."""

    __slots__ = ("_groups", "_repeated", "_slices", "entries", "names", "size", "spans")

    def __init__(self, shapes: Iterable[tuple[str, tuple[int, ...]]]) -> None:
        self.entries: dict[str, tuple[int, int, tuple[int, ...]]] = {}
        self.size = 0
        for name, shape in shapes:
            stop = self.size + int(np.prod(shape, dtype=np.int64))
            self.entries[name] = self.size, stop, shape
            self.size = stop
        self.names = tuple(self.entries)
        self.spans = tuple(self.entries.values())
        self._groups: dict[str, Group] | None = None
        self._slices: dict[Patterns, tuple[slice, ...]] = {}
        self._repeated: dict[tuple[str, ...], Layout] = {}

    @property
    def groups(self) -> dict[str, Group]:
        """For each prefix the arrays whose names begin with `prefix.`."""
        if self._groups is None:
            inside: dict[str, list[int]] = {}
            for i, name in enumerate(self.names):
                for prefix in _prefixes(name):
                    inside.setdefault(prefix, []).append(i)
            self._groups = {prefix: self._group(prefix, range(at[0], at[-1] + 1)) for prefix, at in inside.items()}
        return self._groups

    def _group(self, prefix: str, at: range) -> Group:
        first, last = self.spans[at[0]], self.spans[at[-1]]
        inner = layout(tuple((self.names[i][len(prefix) + 1 :], self.spans[i][2]) for i in at))
        return Group(inner, slice(first[0], last[1]), slice(at.start, at.stop))

    def slices(self, where: Patterns) -> tuple[slice, ...]:
        """The slices of the vector that hold the arrays chosen by name, neighbours merged."""
        where = where if isinstance(where, str) else tuple(where)
        if where not in self._slices:
            merged: list[slice] = []
            for start, stop, _ in (self.entries[name] for name in matching(self.entries, where)):
                if merged and merged[-1].stop == start:
                    start = merged.pop().start
                merged.append(slice(start, stop))
            self._slices[where] = tuple(merged)
        return self._slices[where]

    def repeated(self, prefixes: tuple[str, ...]) -> Layout:
        """The layout with all arrays of this one for each prefix, one prefix after another."""
        if prefixes not in self._repeated:
            shapes = tuple((f"{p}.{k}", shape) for p in prefixes for k, (_, _, shape) in self.entries.items())
            self._repeated[prefixes] = layout(shapes)
        return self._repeated[prefixes]


class Group(NamedTuple):
    """A group of arrays: its layout, and which part of the vector and of the list of arrays it is."""

    layout: Layout
    numbers: slice
    arrays: slice


def _prefixes(name: str) -> list[str]:
    """What stands before each dot of a name."""
    return [name[:i] for i, letter in enumerate(name) if letter == "."]


@lru_cache(maxsize=4096)
def layout(shapes: tuple[tuple[str, tuple[int, ...]], ...]) -> Layout:
    """The one layout of these names and shapes, in this order."""
    return Layout(shapes)


def matching(names: Iterable[str], where: Patterns) -> list[str]:
    """The names that match one of the patterns; a pattern that matches none is an error, as it is a typing error."""
    names = list(names)
    patterns = [where] if isinstance(where, str) else list(where)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(f"the pattern {pattern!r} matches none of the names: {', '.join(names) or '(no arrays)'}")
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


NO_COUNTS: dict[str, NDArray[np.integer]] = {}
"""The whole numbers of a dict that has none; one for all of these, so nothing is ever put in."""


class ArrayDict(Mapping[str, Array]):
    """An immutable dict of arrays whose floating arrays are read-only views of one vector.

    Args:
        arrays: a mapping of names to arrays of floats, numbers or lists; they are copied. NumPy arrays of whole
            numbers are counts: they are kept beside the vector.
        dtype: the dtype of all arrays; without it, that of the arrays, which must then have one dtype.
        stacked: the first axis of every array is the stack's: K parameter sets in one.
    Raises:
        TypeError: an array of strings, objects or complex numbers, or of another dtype than the rest.
        ValueError: a name that is no string, or (stacked) leading axes that differ.

    Names with dots form groups: `params.group("dense1")` holds "W" and "b". The arrays of a group are kept together,
    so the order of the names may differ from that of `arrays`.

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
    _integers: dict[str, NDArray[np.integer]]
    _arrays: tuple[Array, ...] | None
    _groups: dict[str, ArrayDict] | None

    def __init__(
        self,
        arrays: Mapping[str, ArrayLike] | None = None,
        dtype: DTypeLike | None = None,
        *,
        stacked: bool = False,
    ) -> None:
        if arrays is not None and not isinstance(arrays, Mapping):
            raise TypeError(f"arrays is {type(arrays).__name__}, expected a dict of names to arrays")
        given = {_name(k): _floats_or_counts(v, k) for k, v in (arrays or {}).items()}
        floats = {k: v for k, v in given.items() if v.dtype.kind == "f" or dtype is not None}
        dtypes = {k: v.dtype for k, v in floats.items()}
        if dtype is None and len(set(dtypes.values())) > 1:
            kinds = ", ".join(f"{k}: {d}" for k, d in dtypes.items())
            raise TypeError(f"the arrays have more than one dtype ({kinds}): pass dtype=np.float32 or np.float64")
        if dtype is None:
            dtype = next(iter(dtypes.values()), np.dtype(np.float32))
        dtype = _floating(dtype)
        lead = _stack_shape(floats) if stacked else ()
        order = _grouped(floats)
        where = layout(tuple((k, floats[k].shape[len(lead) :]) for k in order))
        vector = np.empty((*lead, where.size), dtype)
        for name in order:
            start, stop, _ = where.entries[name]
            vector[..., start:stop] = floats[name].reshape(*lead, stop - start)
        integers = {k: _frozen(v.astype(np.int64)) for k, v in given.items() if k not in floats}
        self._layout, self._vector, self._integers = where, _frozen(vector), integers
        self._arrays = self._groups = None

    @classmethod
    def _of(cls, where: Layout, vector: Array, integers: dict[str, NDArray[np.integer]] = NO_COUNTS) -> ArrayDict:
        """The dict of a vector that is handed over: no copy, no check."""
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
                return self._integers[name].view()  # type: ignore[return-value]  # counts: the one value that is no float
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
            vector = self._vector
            if vector.ndim == 1:
                views = [vector[a:b] if len(s) == 1 else vector[a:b].reshape(s) for a, b, s in self._layout.spans]
            else:
                views = [self[name] for name in self._layout.names]
            arrays = self._arrays = tuple(views)
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
        """Where each floating array stands in the vector."""
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
        """The names of the arrays of whole numbers, which stand beside the vector.

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
        """How many floating numbers there are in all."""
        return self._vector.size

    @property
    def nbytes(self) -> int:
        """How many bytes the vector takes."""
        return self._vector.nbytes

    @property
    def stack_shape(self) -> tuple[int, ...]:
        """(K,) for a stack of K dicts, () for a single one."""
        return self._vector.shape[:-1]

    def with_vector(self, vector: ArrayLike) -> ArrayDict:
        """The dict with these names and shapes whose vector is a copy of `vector`, of this dict's dtype.

        A `vector` of shape (K, n) gives a stack of K.

        >>> ArrayDict({"b": [1.0, 2.0]}).with_vector([3.0, 4.0])["b"]
        array([3., 4.])
        """
        values, n = np.array(numeric(vector, "vector"), self.dtype), self._layout.size
        if values.ndim not in (1, 2) or values.shape[-1] != n:
            raise ValueError(f"vector has shape {values.shape}, expected ({n},), or (K, {n}) for a stack of K")
        return self._of(self._layout, _frozen(values), self._integers)

    def draft(self, out: ArrayDict | None = None) -> ArrayDict:
        """A dict like this one for a backward function to write its gradients into; `freeze` ends that.

        Gives `out` if there is one: the part of a larger draft that the caller has set aside.

        >>> grads = ArrayDict({"b": [1.0, 2.0]}).draft()
        >>> np.add([1.0, 1.0], [2.0, 2.0], out=grads["b"])
        array([3., 3.])
        >>> grads.freeze().vector
        array([3., 3.])
        """
        return self._of(self._layout, memory(self._vector.shape, self._vector.dtype)) if out is None else out

    def repeated(self, prefixes: tuple[str, ...], integers: Mapping[str, NDArray[np.integer]]) -> ArrayDict:
        """A draft with an array like each of this dict's for every prefix ("m.dense1.W"), one prefix after another.

        The whole numbers are handed over: they become read-only.

        >>> list(ArrayDict({"W": [1.0], "b": [2.0]}).repeated(("m", "v"), {"step": np.array(0)}))
        ['m.W', 'm.b', 'v.W', 'v.b', 'step']
        """
        where, vector = self._layout.repeated(prefixes), self._vector
        counts = {k: _frozen(v) for k, v in integers.items()}
        return self._of(where, memory((*vector.shape[:-1], where.size), vector.dtype), counts)

    def freeze(self) -> ArrayDict:
        """Makes this draft an immutable dict, without a copy; the part of a larger draft is frozen with that."""
        if self._vector.base is None:
            self._vector = _frozen(self._vector)
            self._arrays = self._groups = None
        return self

    # -- parts and changes -------------------------------------------------------------------------------------------

    def group(self, prefix: str) -> ArrayDict:
        """The arrays whose names begin with `prefix` and a dot, under the rest of their names; a slice, no copy.

        >>> ArrayDict({"dense1.W": np.ones((2, 3)), "dense2.W": np.ones((3, 1))}).group("dense2")
        ArrayDict of 1 array: 3 numbers, float64, 24 bytes
          W  (3, 1)
        """
        groups = self._groups
        if groups is None:
            groups = self._groups = self._all_groups()
        part = groups.get(prefix)
        if part is None:  # that of a stack still tells its K
            part = groups[prefix] = self._of(EMPTY._layout, self._vector[..., :0]) if self.stack_shape else EMPTY
        return part

    def _all_groups(self) -> dict[str, ArrayDict]:
        vector, groups = self._vector, self._layout.groups
        if not self._integers:
            return {prefix: self._of(g.layout, vector[..., g.numbers]) for prefix, g in groups.items()}
        counts: dict[str, dict[str, NDArray[np.integer]]] = {prefix: {} for prefix in groups}
        for name, value in self._integers.items():
            for prefix in _prefixes(name):
                counts.setdefault(prefix, {})[name[len(prefix) + 1 :]] = value
        parts = {p: groups.get(p, Group(EMPTY.layout, slice(0), slice(0))) for p in counts}
        return {p: self._of(g.layout, vector[..., g.numbers], counts[p]) for p, g in parts.items()}

    def slices(self, where: Patterns) -> tuple[slice, ...]:
        """The slices of the vector that hold the arrays whose names match.

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
        return ArrayDict({k: self[k] for k in matching(self, where)}, stacked=bool(self.stack_shape))

    def replace(self, arrays: Mapping[str, ArrayLike] | None = None, /, **named: ArrayLike) -> ArrayDict:
        """This dict with other values for some of its names; shapes and dtype stay.

        Raises:
            KeyError: a name that this dict does not have.
            ValueError: an array of another shape.

        >>> ArrayDict({"W": [1.0], "b": [2.0]}).replace(b=[5.0]).vector
        array([1., 5.])
        """
        vector, integers = self._vector.copy(), dict(self._integers)
        for name, value in {**(arrays or {}), **named}.items():
            new, old = numeric(value, name), self[name]
            if new.shape != old.shape:
                raise ValueError(f"{name} has shape {new.shape}, expected {old.shape}: replace keeps the shapes")
            if name in integers and new.dtype.kind == "f":
                raise TypeError(f"{name} is a count, of whole numbers, but {new.dtype} came: begin it with floats")
            if name in integers:
                integers[name] = _frozen(new.astype(np.int64))
            else:
                start, stop, _ = self._layout.entries[name]
                vector[..., start:stop] = new.reshape(*self.stack_shape, -1)
        return self._of(self._layout, _frozen(vector), integers)

    def map(self, function: Callable[..., ArrayLike], *others: Mapping[str, ArrayLike]) -> ArrayDict:
        """`function` of each array (and of the arrays of the same name in `others`), as a new dict.

        >>> ArrayDict({"b": [1.0, -2.0]}).map(np.abs)["b"]
        array([1., 2.])
        """
        for other in others:
            _same_names(self, other)
        return self._restacked({k: function(v, *(other[k] for other in others)) for k, v in self.items()})

    def astype(self, dtype: DTypeLike) -> ArrayDict:
        """The same numbers in another floating dtype.

        >>> ArrayDict({"b": [1.0]}).astype(np.float32).dtype
        dtype('float32')
        """
        return self._of(self._layout, _frozen(self._vector.astype(_floating(dtype))), self._integers)

    def to_dict(self) -> dict[str, Array]:
        """A plain dict of writable copies.

        >>> ArrayDict({"b": [1.0]}).to_dict()
        {'b': array([1.])}
        """
        return {k: v.copy() for k, v in self.items()}

    def __or__(self, other: Mapping[str, ArrayLike]) -> ArrayDict:
        """The arrays of both; of those that both have, the right one's."""
        return self._restacked({**self, **other})

    def _restacked(self, arrays: Mapping[str, ArrayLike]) -> ArrayDict:
        """The arrays as a dict that is a stack, if this one is and each of them still has the stack's axis."""
        lead = self.stack_shape
        return ArrayDict(arrays, stacked=bool(lead) and all(np.shape(v)[:1] == lead for v in arrays.values()))

    # -- arithmetic, by name -----------------------------------------------------------------------------------------

    def like(self, other: Mapping[str, ArrayLike], name: str = "the right one") -> ArrayDict:
        """`other` with its arrays in this dict's order and dtype; its names and shapes must be the same.

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
        if not self:  # of no arrays: a stack of none still tells its K
            return self
        shapes = {k: (self[k].shape, np.shape(other[k])) for k in self}
        wrong = [f"{k} {theirs}, expected {mine}" for k, (mine, theirs) in shapes.items() if mine != theirs]
        if wrong:
            raise ValueError(f"{name} has other shapes: {'; '.join(wrong)}")
        ordered = {k: other[k] for k in self}
        return ArrayDict(ordered, self.dtype if not self._integers else None, stacked=bool(self.stack_shape))

    def _with(self, other: object, operation: Callable[[Array, Array | float], Array]) -> ArrayDict:
        if self._integers:
            raise TypeError(
                f"arithmetic is for floats, but {', '.join(self._integers)} are whole numbers: convert them"
            )
        if isinstance(other, Mapping):
            right: Array | float = self.like(other)._vector
        elif isinstance(other, (int, float, np.number)) or (isinstance(other, np.ndarray) and not other.ndim):
            right = float(other)  # a NumPy scalar of float64 would promote float32 arrays
        else:
            return NotImplemented  # type: ignore[no-any-return]  # as the data model wants it
        return self._of(self._layout, _frozen(operation(self._vector, right)), self._integers)

    def __add__(self, other: Mapping[str, ArrayLike] | float) -> ArrayDict:
        """Sum by name with another dict, or with a number."""
        return self._with(other, np.add)

    def __sub__(self, other: Mapping[str, ArrayLike] | float) -> ArrayDict:
        """Difference by name with another dict, or with a number."""
        return self._with(other, np.subtract)

    def __mul__(self, other: Mapping[str, ArrayLike] | float) -> ArrayDict:
        """Product by name with another dict, or with a number."""
        return self._with(other, np.multiply)

    def __truediv__(self, other: Mapping[str, ArrayLike] | float) -> ArrayDict:
        """Quotient by name with another dict, or with a number."""
        return self._with(other, np.divide)

    def __neg__(self) -> ArrayDict:
        return self._with(-1.0, np.multiply)

    def __radd__(self, other: float) -> ArrayDict:
        return self + other

    def __rmul__(self, other: float) -> ArrayDict:
        return self * other

    def __rsub__(self, other: float) -> ArrayDict:
        return -self + other


def stack(dicts: Sequence[ArrayDict]) -> ArrayDict:
    """K dicts of the same names, shapes and dtype as one, whose arrays and vector have a leading axis K.

    >>> stack([ArrayDict({"b": [1.0, 2.0]}), ArrayDict({"b": [3.0, 4.0]})]).vector.shape
    (2, 2)
    """
    if not dicts:
        raise ValueError("members is empty: a stack needs at least one")
    first, *rest = dicts
    if len({d.dtype for d in dicts if d.size}) > 1:
        raise TypeError(f"members have the dtypes {', '.join(str(d.dtype) for d in dicts)}: convert them with astype")
    same = [first, *(first.like(d, f"members[{i}]") for i, d in enumerate(rest, 1))]
    integers = {k: _frozen(np.stack([d._integers[k] for d in same])) for k in first._integers}
    return ArrayDict._of(first._layout, _frozen(np.stack([d._vector for d in same])), integers)


def unstack(stacked: ArrayDict) -> list[ArrayDict]:
    """The K dicts of a stack, in order. Whole numbers without a leading axis are shared by all."""
    if not stacked.stack_shape:
        raise ValueError("stacked is a single dict (its vector has one axis), expected a stack: make one with nn.stack")
    return [
        ArrayDict._of(stacked._layout, vector, {k: v[i] if v.ndim else v for k, v in stacked._integers.items()})
        for i, vector in enumerate(stacked._vector)
    ]


def equal(a: Mapping[str, ArrayLike], b: Mapping[str, ArrayLike]) -> bool:
    """Whether two dicts have the same names, shapes, dtypes and values (NaN equals NaN); their order is free.

    >>> equal(ArrayDict({"b": [1.0]}), {"b": np.array([1.0])}), equal(ArrayDict({"b": [1.0]}), ArrayDict({"b": [2.0]}))
    (True, False)
    """
    if a.keys() != b.keys():
        return False
    pairs = [(np.asarray(a[k]), np.asarray(b[k])) for k in a]
    return all(x.dtype == y.dtype and np.array_equal(x, y, equal_nan=True) for x, y in pairs)


def allclose(a: Mapping[str, ArrayLike], b: Mapping[str, ArrayLike], rtol: float = 1e-5, atol: float = 1e-8) -> bool:
    """Whether two dicts have the same names and shapes, and values with |a − b| ≤ atol + rtol·|b|.

    >>> allclose(ArrayDict({"b": [1.0]}), ArrayDict({"b": [1.0 + 1e-9]}))
    True
    """
    if a.keys() != b.keys():
        return False
    pairs = [(np.asarray(a[k]), np.asarray(b[k])) for k in a]
    return all(x.shape == y.shape and np.allclose(x, y, rtol, atol) for x, y in pairs)


def _frozen(array: NDArray[np.generic]) -> NDArray:  # type: ignore[type-arg]  # the dtype that came
    """A view that no one can make writable: NumPy refuses where the owner of the memory is read-only."""
    array.setflags(write=False)
    return array.view()


def _restored(
    shapes: tuple[tuple[str, tuple[int, ...]], ...], vector: Array, integers: dict[str, NDArray[np.integer]]
) -> ArrayDict:
    return ArrayDict._of(layout(shapes), _frozen(vector), {k: _frozen(v) for k, v in integers.items()})


def _floating(dtype: DTypeLike) -> np.dtype[np.floating]:
    """`dtype`, if it has enough digits to train with."""
    found: np.dtype[Any] = np.dtype(dtype)
    if found not in (np.float32, np.float64):
        raise TypeError(f"dtype={found}: expected np.float32 or np.float64")
    return found


def _floats_or_counts(value: ArrayLike, name: str) -> NDArray[Any]:
    """`value` as an array; Python's numbers and lists are floats, whole or not."""
    array = numeric(value, name)
    return array if isinstance(value, (np.ndarray, np.generic)) or array.dtype.kind == "f" else array.astype(float)


def _name(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise ValueError(f"the name {name!r}: names are strings that are not empty, like 'dense1.W'")
    return name


def _grouped(names: Iterable[str]) -> list[str]:
    """The names in their order, but those of one group together, where the group first appears."""
    rank: dict[str, int] = {}
    prefixes = {name: [name[: i + 1] for i, c in enumerate(name) if c == "."] + [name] for name in names}
    for parts in prefixes.values():
        for part in parts:
            rank.setdefault(part, len(rank))
    return sorted(prefixes, key=lambda name: [rank[part] for part in prefixes[name]])


def _stack_shape(arrays: Mapping[str, NDArray[np.generic]]) -> tuple[int, ...]:
    leading = {k: v.shape[:1] for k, v in arrays.items()}
    if len(set(leading.values())) != 1 or () in leading.values():
        shapes = ", ".join(f"{k}: {v.shape}" for k, v in arrays.items())
        raise ValueError(f"a stack needs one leading axis of the same length in every array, but came {shapes}")
    return next(iter(leading.values()))


def _same_names(a: Mapping[str, object], b: Mapping[str, object], name: str = "the right one") -> None:
    if a.keys() != b.keys():
        missing, extra = [k for k in a if k not in b], [k for k in b if k not in a]
        lacks = f"lacks {', '.join(missing)}" if missing else ""
        has = f"has {', '.join(map(str, extra))} too much" if extra else ""
        raise ValueError(f"the names differ: {name} {' and '.join(filter(None, [lacks, has]))}")


EMPTY = ArrayDict()
"""The dict of no arrays: the parameters of an activation, the state of a dense layer.

>>> len(EMPTY), EMPTY.size
(0, 0)
"""
