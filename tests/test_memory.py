"""Memory that is given out again: only when nobody holds it, and never in a way that an array changes."""

from __future__ import annotations

import numpy as np
import pytest

import nnfunc as nn
from nnfunc import memory
from nnfunc.arrays import Array, ArrayDict

FLOAT = np.dtype(np.float64)


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "LARGEST_OF_GLIBC", 100)
    monkeypatch.setattr(memory, "_kept", [])


def address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


def test_memory_comes_again_when_nobody_holds_it() -> None:
    first = memory.memory((100,), FLOAT)
    at = address(first)
    view = first[:1]
    del first
    assert address(memory.memory((100,), FLOAT)) != at  # the view holds it
    del view
    again = memory.memory((100,), FLOAT), memory.memory((100,), FLOAT)  # that of the view is the first or the second
    assert at in [address(a) for a in again]


def test_other_shapes_and_dtypes_get_memory_of_their_own() -> None:
    at = address(memory.memory((100,), FLOAT))
    other = memory.memory((50,), FLOAT), memory.memory((100,), np.dtype(np.float32)), memory.memory((10, 10), FLOAT)
    assert at not in [address(a) for a in other]


def test_no_more_is_kept_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "KEPT_IN_ALL", 2000)
    held = [memory.memory((100,), FLOAT) for _ in range(5)]
    assert sum(a.nbytes for a in memory._kept) <= 2000
    assert len({address(a) for a in held}) == 5


def test_a_long_run_changes_no_state_that_is_held() -> None:
    """Each state of the run is held or dropped at random; those held keep their values, and stay read-only."""
    model = nn.serial(nn.dense(8), nn.relu(), nn.dense(1))
    step = nn.train_step(model, nn.mean_squared_error, nn.adam(0.1))
    rng = np.random.default_rng(0)
    batch = rng.normal(size=(16, 4)), rng.normal(size=(16, 1))
    ts = nn.train_state(model, step.optimizer, nn.key(0), (4,), np.float64)
    held: list[tuple[ArrayDict, Array]] = []
    for _ in range(200):
        ts, _ = step(ts, batch)
        for d in (ts.params, ts.opt_state):
            if rng.random() < 0.2:
                held.append((d, np.array(d.vector)))
        if rng.random() < 0.2 and held:
            del held[int(rng.integers(len(held)))]
        for d, values in held:
            np.testing.assert_array_equal(d.vector, values)
            assert not d.vector.flags.writeable
            with pytest.raises(ValueError, match="cannot set WRITEABLE"):
                d.vector.setflags(write=True)
    assert len(memory._kept) < 400
