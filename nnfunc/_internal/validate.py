"""Argument checks and their error messages."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Set
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

T = TypeVar("T")


def nearest(kind: str, name: str, known: Iterable[str]) -> str:
    """The message for an unknown name: the name, the closest known name, all known names."""
    import difflib  # 4 ms that only an error should pay for

    known = sorted(known)
    folded = {k.casefold(): k for k in known}
    close = difflib.get_close_matches(str(name).casefold(), folded, n=1, cutoff=0.6)
    hint = f": did you mean {folded[close[0]]!r}?" if close else "."
    return f"unknown {kind} {name!r}{hint} Known: {', '.join(known)}"


def by_name(kind: str, value: str | T, known: Mapping[str, Callable[[], T]]) -> T:
    """Returns `value`, or the object it names if it is a string."""
    if not isinstance(value, str):
        return value
    if value not in known:
        raise ValueError(nearest(kind, value, known))
    return known[value]()


def instance(value: T | object, kind: type[T], name: str, like: str = "") -> T:
    """Returns `value` if it is an instance of `kind`; the error hints at a function that was not called."""
    if isinstance(value, kind):
        return value
    wanted = f"{'an' if kind.__name__[0] in 'AEIO' else 'a'} {kind.__name__}"
    hint = f"call it: {getattr(value, '__name__', 'it')}(...)" if callable(value) else f"expected {wanted}{like}"
    raise TypeError(f"{name}={value!r} is not of type {kind.__name__}: {hint}")


def numeric(value: ArrayLike, name: str) -> NDArray[Any]:  # real numbers of any dtype
    """Returns `value` as an array of real numbers; other dtypes and ragged lists raise TypeError."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array, whose mask would be lost: pass {name}.filled(value)")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise TypeError(f"{name} is not an array: its rows have different lengths ({error})") from None
    except Exception as error:  # of the object's own __array__
        raise TypeError(
            f"{name} is {type(value).__name__}, which cannot be converted to an array of numbers: {error}"
        ) from error
    if array.dtype.kind not in "fiub":
        cause = {
            "O": "mixed types, missing values, or rows of different lengths; convert it to numbers first",
            "c": "take the real part, or the real and imaginary parts as two features",
        }.get(array.dtype.kind, "encode text and dates as numbers first")
        raise TypeError(f"{name} has dtype {array.dtype}, expected real numbers: {cause}")
    return array


def real(value: ArrayLike, name: str, dtype: DTypeLike | None = None) -> NDArray[np.floating]:
    """Returns `value` as a float array: of `dtype`, else of its own float dtype, else of the smallest that holds it."""
    if type(value) is np.ndarray and (value.dtype == dtype if dtype else value.dtype in (np.float32, np.float64)):
        return value  # the common case, between layers
    array = numeric(value, name)
    if dtype is None:  # float16 is too imprecise, and longer types have no advantage
        dtype = np.float32 if np.result_type(array.dtype, np.float32) == np.float32 else np.float64
    return array.astype(dtype, copy=False)


def floating(dtype: DTypeLike, name: str = "dtype") -> np.dtype[np.floating]:
    """Returns `dtype` if it is float32 or float64, precise enough for training."""
    found = None
    if isinstance(dtype, (type, str, np.dtype)):  # NumPy takes the dtype of any object that has one
        with suppress(TypeError):
            found = np.dtype(dtype)
    if found not in (np.float32, np.float64):
        raise TypeError(f"{name}={dtype if found is None else found!s}: expected np.float32 or np.float64")
    return found


def cast(value: NDArray[Any], name: str, dtype: DTypeLike | None) -> NDArray[Any]:
    """Casts finite floats to another dtype; integers are returned as they are."""
    if value.dtype.kind != "f":
        return value
    finite(value, name)
    if dtype is None or value.dtype == dtype:
        return value
    with np.errstate(over="ignore"):
        result = value.astype(dtype)
        known = all_finite(result)
    if not known:
        raise ValueError(f"{name} contains {first_bad(value, ~np.isfinite(result))}, too large for {result.dtype}")
    return result


LONGEST = 2**63 - 1
LARGEST = float(np.finfo(np.float64).max)  # a larger Python integer has no float


class NoNumber:
    """Mixin for integers that are not meant for arithmetic: keys."""

    __slots__ = ()


NO_NUMBERS = bool, np.timedelta64, NoNumber
"""Types that are numbers only formally."""


def is_number(value: object) -> bool:
    """Whether a value is a real scalar."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, NO_NUMBERS)


def number(
    value: float, name: str, low: float, high: float, *, open_low: bool = False, open_high: bool = False, why: str = ""
) -> float:
    """Returns `value` if it is a number in [low, high], or in an interval open at an end; ∞ and NaN are in none."""
    plain = value.item() if isinstance(value, np.generic) else value  # a NumPy float64 would promote float32 arrays
    inside = is_number(value) and -LARGEST <= plain <= LARGEST
    inside = inside and low <= plain <= high and not (open_low and plain == low) and not (open_high and plain == high)
    if not inside:
        closing = "∞)" if math.isinf(high) else f"{high:g}{')' if open_high else ']'}"
        interval = f"{'(' if open_low else '['}{low:g}, {closing}"
        raise ValueError(f"{name}={value!r}: expected a number in {interval}{f': {why}' if why else ''}")
    return plain


LEAST_EPS = 1e-30
"""The smallest ε that keeps a root or a quotient away from 0 in float32, even times a bias correction."""


def positive_int(value: int, name: str, least: int = 1) -> int:
    """Returns `value` if it is an integer of at least `least` that could be an array's length."""
    if not is_number(value) or not isinstance(value, (int, np.integer)) or value < least or value > LONGEST:
        raise ValueError(f"{name}={value!r}: expected an integer, {least} or more")
    return int(value)


def flag(value: bool, name: str) -> bool:
    """Returns `value` if it is True or False; truthy strings and arrays are rejected."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}={value!r}: expected True or False")
    return bool(value)


def choice(value: T, name: str, *known: T) -> T:
    """Returns `value` if it is one of the known choices."""
    if not (value is None or isinstance(value, str)) or value not in known:
        *others, last = map(repr, known)
        raise ValueError(f"{name}={value!r}: expected {', '.join(others)} or {last}")
    return value


def sequence(value: Iterable[T], name: str) -> list[T]:
    """Returns the elements of a list, a tuple or an array; strings, dicts, sets and numbers are rejected."""
    if isinstance(value, (str, bytes, Mapping, Set)) or not isinstance(value, Iterable):
        raise TypeError(f"{name}={value!r}: expected a list")
    with suppress(TypeError):  # an array without axes
        return list(value)
    raise TypeError(f"{name}={value!r}: expected a list")


def callable_(value: T, name: str, form: str) -> T:
    """Returns `value` if it is callable."""
    if not callable(value):
        raise TypeError(f"{name}={value!r} is not callable: expected a function {form}")
    return value


def first_bad(array: NDArray[np.generic], bad: NDArray[np.bool_]) -> str:
    """Describes the first bad element of an array: its value and position."""
    index = tuple(int(i) for i in np.argwhere(bad)[0])
    return f"{array[index]} at {list(index)}"


def all_finite(array: NDArray[np.floating]) -> bool:
    """Whether no element is NaN or infinite; overflow is silenced by the caller."""
    if array.ndim == 1 or array.flags.c_contiguous:  # the sum of the squares, by BLAS, is fast; it may overflow
        flat = array if array.ndim == 1 else array.reshape(-1)
        if math.isfinite(flat.dot(flat)):
            return True
    return bool(np.isfinite(array).all())


def finite(array: NDArray[np.floating], name: str) -> NDArray[np.floating]:
    """Returns `array` if no element is NaN or infinite."""
    with np.errstate(over="ignore"):
        known = all_finite(array)
    if not known:
        bad = ~np.isfinite(array)
        raise ValueError(
            f"{name} contains NaN or infinity: {first_bad(array, bad)} ({int(bad.sum())} of {array.size} elements): "
            "remove or fill missing values first"
        )
    return array
