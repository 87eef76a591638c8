"""Explicit randomness: a key is a 128-bit integer, passed to every function that needs randomness.

There are three operations: `key(seed)` creates a key, `fold_in(key, i)` and `split(key, n)` derive new keys, and
`generator(key)` turns one into a `numpy.random.Generator`. Deriving is one step of a 128-bit linear congruential
sequence (a multiplication and an addition), cheap enough for every layer at every step. The mixing is left to Philox
 (Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011), a generator whose streams for
different keys are independent, however similar the keys.
"""

from __future__ import annotations

from operator import index
from sys import byteorder
from threading import local
from typing import TYPE_CHECKING, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from nnfunc._internal.validate import NoNumber, is_number, positive_int

if TYPE_CHECKING:  # 14 ms at run time: imported where it is used
    from numpy.random import Generator

__all__ = ["Key", "Keys", "fold_in", "generator", "key", "split"]

_MULTIPLIER = 0x2360ED051FC65DA44385DF649FCCF645  # of PCG64 (O'Neill 2014): full period modulo 2^128 with odd steps
_INCREMENT = 0x5851F42D4C957F2D14057B7EF767814F
_MASK, _HALF = (1 << 128) - 1, (1 << 64) - 1
_LARGEST = 1 << 126
_MOST_KEYS = 1_000_000
_LITTLE = byteorder == "little"
_thread = local()
"""One generator per thread, re-keyed before each use."""


class Key(NoNumber, int):
    """A source of randomness: 128 bits. Created by `key`, `split` and `fold_in`; immutable, hashable.

    >>> key(0) == key(0), key(0) == key(1)
    (True, False)
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Key({int(self):#034x})"

    def __reduce__(self) -> tuple[type[Key], tuple[int]]:
        return Key, (int(self),)


Keys: TypeAlias = "Key | tuple[Key, ...]"
"""One key, or a tuple of K keys for a stack of K networks, one per member."""


def key(seed: int) -> Key:
    """Creates a key from a seed.

    Args:
        seed: a non-negative integer of any size.
    Raises:
        ValueError: the seed is negative or not an integer.

    >>> key(0)
    Key(0xdb2cd7e7b0f478beabf4641a2c71ba49)
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"seed={seed!r}: expected a non-negative integer")
    high, low = np.random.SeedSequence(int(seed)).generate_state(2, np.uint64).tolist()
    return Key(high << 64 | low)


@overload
def fold_in(key: Key, i: int) -> Key: ...
@overload
def fold_in(key: tuple[Key, ...], i: int) -> tuple[Key, ...]: ...
def fold_in(key: Keys, i: int) -> Keys:
    """Derives a new key from a key and an integer, such as a layer index, a step or an epoch.

    Different sequences of integers yield different keys, including (1, 2) and (2, 1). A tuple of keys yields a tuple.

    >>> fold_in(key(0), 1) == fold_in(key(0), 1), fold_in(key(0), 1) == fold_in(key(0), 2)
    (True, False)
    """
    if isinstance(key, tuple):
        return tuple(fold_in(k, i) for k in key)
    if type(key) is not Key:
        check(key)
    try:
        number = index(i)
    except TypeError:
        raise TypeError(f"i={i!r}: expected an integer, like an epoch's number") from None
    if isinstance(i, Key):
        raise TypeError(f"i={i!r}: expected an integer, like an epoch's number")
    if not -_LARGEST <= number < _LARGEST:
        raise ValueError(f"i={i!r}: expected an integer of magnitude below 2**126: larger ones repeat keys")
    return Key((key * _MULTIPLIER + (2 * number + 1) * _INCREMENT) & _MASK)


def split(key: Key, n: int = 2) -> tuple[Key, ...]:
    """Derives n new keys from one; key i is `fold_in(key, i)`.

    Raises:
        ValueError: n is not an integer from 1 to a million.

    >>> init_key, train_key = split(key(0))
    >>> len(set(split(key(0), 1000)))
    1000
    """
    if not is_number(n) or positive_int(n, "n") > _MOST_KEYS:
        raise ValueError(f"n={n!r}: expected an integer from 1 to {_MOST_KEYS:,}; for more use nn.fold_in(key, i)")
    return tuple(fold_in(key, i) for i in range(n))


def generator(key: Key) -> Generator:
    """Returns a `numpy.random.Generator` that draws the same numbers for the same key in every process.

    >>> generator(key(0)).normal(size=2) == generator(key(0)).normal(size=2)
    array([ True,  True])
    """
    if check(key) < 0 or key >> 128:
        raise ValueError(f"key={key!r} is not a key: expected 128 bits, as returned by nn.key(seed)")
    return np.random.Generator(np.random.Philox(key=int(key)))


def random_bits(key: Key, n: int) -> NDArray[np.uint32]:
    """Returns n random 32-bit integers from the key's generator, in half the time of random floats.

    >>> random_bits(key(0), 3).dtype
    dtype('uint32')
    """
    if type(key) is not Key:
        check(key)
    known = _thread.__dict__
    if not known:  # creating a Philox takes ten times as long as re-keying one
        philox = generator(key).bit_generator
        known.update(philox=philox, state=philox.state)
    philox, state = known["philox"], known["state"]
    state["state"]["key"][:] = key & _HALF, key >> 64
    philox.state = state
    numbers: NDArray[np.uint64] = philox.random_raw((n + 1) // 2)
    return (numbers if _LITTLE else numbers.astype("<u8", copy=False)).view("<u4")[:n]


def check_keys(key: Keys | None) -> Keys | None:
    """Returns `key` if it is a key, a tuple of keys, or None."""
    if key is not None and type(key) is not Key:
        for one in key if isinstance(key, tuple) and key else (key,):
            check(one)
    return key


def check(key: object, name: str = "key") -> Key:
    """Returns `key` if it is a single key; otherwise raises a TypeError that explains how to create one."""
    if type(key) is Key or isinstance(key, Key):
        return key
    if isinstance(key, tuple) and key and all(isinstance(k, Key) for k in key):
        raise TypeError(f"{name} is a tuple of {len(key)} keys, expected a single key: pass one of them")
    hint = f"nn.key({key})" if isinstance(key, int) and not isinstance(key, bool) else "nn.key(seed)"
    raise TypeError(f"{name}={key!r} is not a key: pass {hint}")
