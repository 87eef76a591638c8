"""Explicit randomness."""

from __future__ import annotations

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnfunc as nn
from nnfunc.keys import Key, random_bits

seeds = st.integers(0, 2**200)


@given(seeds, seeds)
def test_same_key_same_bits_other_key_other_bits(a: int, b: int) -> None:
    assert nn.key(a) == nn.key(a)
    assert (nn.key(a) == nn.key(b)) == (a == b)
    draws = [nn.keys.generator(nn.key(s)).random(4) for s in (a, a, b)]
    assert np.array_equal(draws[0], draws[1])
    assert a == b or not np.array_equal(draws[0], draws[2])


@given(seeds, st.lists(st.lists(st.integers(0, 2**64), max_size=4), min_size=2, max_size=5))
def test_different_paths_give_different_keys(seed: int, paths: list[list[int]]) -> None:
    def follow(path: list[int]) -> Key:
        key = nn.key(seed)
        for i in path:
            key = nn.fold_in(key, i)
        return key

    distinct = {tuple(p) for p in paths}
    assert len({follow(list(p)) for p in distinct}) == len(distinct)


def test_streams_of_related_keys_are_uncorrelated() -> None:
    root = nn.key(0)
    draws = np.array(
        [nn.keys.generator(nn.fold_in(nn.fold_in(root, i), j)).normal(size=500) for i in range(8) for j in range(8)]
    )
    correlations = np.corrcoef(draws) - np.eye(64)
    assert np.abs(correlations).max() < 5 / np.sqrt(500)
    assert abs(draws.mean()) < 5 / np.sqrt(draws.size)


def test_the_same_bits_in_another_process() -> None:
    code = "import nnfunc as nn; print(nn.keys.generator(nn.fold_in(nn.key(3), 4)).integers(0, 2**62, 5).tolist())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert other.strip() == str(nn.keys.generator(nn.fold_in(nn.key(3), 4)).integers(0, 2**62, 5).tolist())


def test_the_bits_do_not_change_between_versions() -> None:
    assert int(nn.key(0)) == 0xDB2CD7E7B0F478BEABF4641A2C71BA49
    assert nn.keys.generator(nn.key(0)).integers(0, 1000, 5).tolist() == [939, 705, 583, 544, 266]


def test_split_is_fold_in_and_tuples_give_tuples() -> None:
    key = nn.key(1)
    assert nn.split(key, 3) == (nn.fold_in(key, 0), nn.fold_in(key, 1), nn.fold_in(key, 2))
    assert nn.fold_in(nn.split(key), 5) == tuple(nn.fold_in(k, 5) for k in nn.split(key))
    assert pickle.loads(pickle.dumps(key)) == key
    assert type(pickle.loads(pickle.dumps(key))) is Key


def test_wrong_keys() -> None:
    for seed in (-1, 1.5, True, "a"):
        with pytest.raises(ValueError, match="seed="):
            nn.key(seed)  # type: ignore[arg-type]  # what must fail
    with pytest.raises(TypeError, match=r"key=7 is not a key: pass nn.key\(7\)"):
        nn.keys.generator(7)  # type: ignore[arg-type]  # what must fail
    with pytest.raises(TypeError, match="tuple of 2 keys"):
        nn.keys.generator(nn.split(nn.key(0)))  # type: ignore[arg-type]  # what must fail
    with pytest.raises(ValueError, match="n=0"):
        nn.split(nn.key(0), 0)


def test_random_bits_are_those_of_the_keys_generator_in_every_thread() -> None:
    keys = nn.split(nn.key(3), 40)
    expected = [nn.keys.generator(k).bit_generator.random_raw(5).view(np.uint32)[:9] for k in keys]
    with ThreadPoolExecutor(4) as threads:
        for _ in range(3):
            for got, bits in zip(threads.map(lambda k: random_bits(k, 9), keys), expected, strict=True):
                np.testing.assert_array_equal(got, bits)
