"""Data parallel training: its contract, clause by clause, in one process and under mpiexec."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnfunc as nn
from nnfunc import distributed
from tests import test_training
from tests.mpi_program import DATA, KEY, NORM, WITH_FILES, S, X, Y, all_rows, make
from tests.mpi_program import epochs as run_epochs
from tests.mpi_program import gone_on as run_gone_on
from tests.mpi_program import stopped as run_stopped

PLAIN = nn.mlp([5, 8, 3], ["tanh", "softmax"])
LOSS = nn.sparse_categorical_cross_entropy


# -- in one process ----------------------------------------------------------------------------------------------------


@given(st.integers(2, 9), st.integers(1, 12), st.booleans(), st.integers(0, 100))
def test_the_update_is_that_of_the_whole_batch(shards: int, rows: int, weighted: bool, seed: int) -> None:
    """For shares of different lengths and of none, and rows of any weight: penalty and clipping once, on the sum."""
    drawn = np.random.default_rng(seed)
    x, y, w = drawn.normal(size=(rows, 5)), drawn.integers(0, 3, rows), drawn.integers(0, 3, rows) + 0.0
    batch = (x, y, w) if weighted and w.any() else (x, y)
    optimizer = nn.clip_by_global_norm(nn.momentum(0.1), 0.2)
    steps = [
        nn.train_step(PLAIN, LOSS, optimizer, nn.l2(0.3), reduce=distributed.sharded(n) if n else None)
        for n in (0, shards)
    ]
    ts = nn.train_state(PLAIN, optimizer, nn.key(0), (5,), np.float64)
    (a, whole), (b, parts) = (step(ts, batch) for step in steps)
    np.testing.assert_allclose(b.params.vector, a.params.vector, rtol=1e-10, atol=1e-14)
    assert parts.loss == pytest.approx(whole.loss, rel=1e-12)
    assert parts.weight == whole.weight


def test_one_shard_is_a_step_as_it_was() -> None:
    plain, ts = make(None)
    one, _ = make(distributed.sharded(1))
    assert one.reduce is None
    assert one(ts, DATA)[0] == plain(ts, DATA)[0]


def test_a_function_of_a_vector_is_a_reduction() -> None:
    """What two processes would give, with a function that adds what the other one brings."""
    ts = nn.train_state(PLAIN, "gd", nn.key(0), (5,), np.float64)
    brought: list[np.ndarray[Any, Any]] = []

    def other(vector: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        brought.append(vector)
        return vector

    nn.train_step(PLAIN, LOSS, "gd", reduce=other)(ts, (X[30:], Y[30:]))
    both = nn.train_step(PLAIN, LOSS, "gd", reduce=lambda vector: vector + brought[0])(ts, (X[:30], Y[:30]))
    whole = nn.train_step(PLAIN, LOSS, "gd")(ts, (X, Y))
    np.testing.assert_allclose(both[0].params.vector, whole[0].params.vector, rtol=1e-12)
    assert both[1].loss == pytest.approx(whole[1].loss)


def test_keys_belong_to_the_shard() -> None:
    """Each shard's masks are its own, and those of the batch alone are no shard's."""
    model = nn.serial(nn.dropout(0.5), nn.dense(1))
    x = np.ones((8, 50))
    ts = nn.train_state(model, "gd", nn.key(0), (50,), np.float64)
    gradients = []
    for own in range(2):
        weights = np.repeat([1.0 - own, own], 4)
        step = nn.train_step(model, nn.mean_squared_error, "gd", reduce=distributed.sharded(2))
        gradients.append(step(ts, (x, np.zeros(8), weights))[0].params.vector)
    assert not np.allclose(gradients[0], gradients[1])


def test_the_averages_of_batch_norm_are_the_mean_of_the_shards() -> None:
    model = nn.serial(nn.batch_norm(momentum=0.0), nn.dense(1))
    ts = nn.train_state(model, "gd", nn.key(0), (5,), np.float64)
    step = nn.train_step(model, nn.mean_squared_error, "gd", reduce=distributed.sharded(2))
    after, _ = step(ts, (X[:9], Y[:9] + 0.0))
    halves = X[:4], X[4:9]
    expected = sum(len(x) * x.var(axis=0) for x in halves) / 9
    np.testing.assert_allclose(after.state["batch_norm1.var"], expected, rtol=1e-12)


@given(st.integers(2, 9), st.integers(2, 12), st.booleans(), st.integers(0, 100))
def test_batch_norm_over_all_rows_is_that_of_the_whole_batch(shards: int, rows: int, weighted: bool, seed: int) -> None:
    """Outputs, gradients and running averages, for images too, where shards have no rows, or rows without weight."""
    drawn = np.random.default_rng(seed)
    x, y, w = drawn.normal(3, 1, (rows, 2, 4)), drawn.normal(size=(rows, 2, 1)), drawn.integers(0, 3, rows) + 0.0
    batch = (x, y, w) if weighted and w.any() else (x, y)
    model = nn.serial(nn.dense(3), nn.batch_norm(momentum=0.5), nn.tanh(), nn.batch_norm(), nn.dense(1))
    whole, parts = (
        nn.train_step(model, nn.mean_squared_error, nn.momentum(0.1), nn.l2(0.3), reduce=reduce)
        for reduce in (None, distributed.sharded(shards, statistics="batch"))
    )
    ts = nn.train_state(model, "momentum", nn.key(0), (2, 4), np.float64)
    (a, expected), (b, found) = whole(ts, batch), parts(ts, batch)
    np.testing.assert_allclose(b.params.vector, a.params.vector, rtol=1e-8, atol=1e-11)
    np.testing.assert_allclose(b.state.vector, a.state.vector, rtol=1e-12)
    assert found.loss == pytest.approx(expected.loss, rel=1e-10)


def test_all_equal_rows_in_shards_have_the_variance_0() -> None:
    """Exactly, so that what a batch norm gives is 0 there, though the mean 0.1 has no exact sum."""
    model = nn.serial(nn.batch_norm(momentum=0.0), nn.dense(1))
    step = nn.train_step(model, nn.mean_squared_error, "gd", reduce=distributed.sharded(3, statistics="batch"))
    ts = nn.train_state(model, "gd", nn.key(0), (5,))
    after, metrics = step(ts, (np.full((7, 5), 0.1), np.zeros(7)))
    assert not after.state["batch_norm1.var"].any()
    assert metrics.loss == 0


def test_the_statistics_are_named() -> None:
    with pytest.raises(ValueError, match="statistics='rows': expected 'shard'"):
        distributed.sharded(2, statistics="rows")  # type: ignore[arg-type]  # what must fail
    by_shard, by_batch = (distributed.sharded(2, statistics=word) for word in ("shard", "batch"))
    ts = nn.train_state(NORM, "gd", nn.key(0), (5,))
    a, b = (nn.train_step(NORM, LOSS, "gd", reduce=reduce)(ts, (X, Y))[0] for reduce in (by_shard, by_batch))
    assert not np.allclose(a.params.vector, b.params.vector)


def test_an_error_in_step_ends_all_shards() -> None:
    step = nn.train_step(NORM, LOSS, "gd", reduce=distributed.sharded(4, statistics="batch"))
    ts = nn.train_state(NORM, "gd", nn.key(0), (5,))
    threads = threading.active_count()
    with pytest.raises(ValueError, match="target contains 9 at"):
        step(ts, (X, np.where(np.arange(50) == 20, 9, Y)))
    with pytest.raises(ValueError, match="x has shape"):
        step(ts, (X[:, :3], Y))
    assert threading.active_count() == threads


def test_a_divided_state_gives_the_same_bits() -> None:
    reduce = distributed.sharded(3)
    assert run_epochs(reduce, divide=True)["digest"] == run_epochs(reduce)["digest"]
    with pytest.raises(ValueError, match="put others around it"):
        distributed.divided(nn.optimizers.clip_by_value(nn.adam(), 1.0), reduce)
    with pytest.raises(ValueError, match="settings by name"):
        distributed.divided(nn.adam({"*": 0.1}), reduce)


def test_what_does_not_fit_is_said() -> None:
    step, ts = make(distributed.sharded(2))
    stacked = nn.train_state(step.model, step.optimizer, nn.split(nn.key(0), 2), (5,))
    with pytest.raises(ValueError, match="reduce= with a stack"):
        step(stacked, DATA)
    batch = next(nn.minibatches(KEY, DATA, 8, reduce=distributed.sharded(2)))
    with pytest.raises(TypeError, match="the step has no reduce="):
        make(None)[0](ts, batch)
    with pytest.raises(TypeError, match="reduce=3"):
        nn.train_step(PLAIN, LOSS, "gd", reduce=3)  # type: ignore[arg-type]  # what must fail
    with pytest.raises(ValueError, match="expected the sum of vectors"):
        nn.train_step(PLAIN, LOSS, "gd", reduce=lambda v: v[:3])(nn.train_state(PLAIN, "gd", nn.key(0), (5,)), (X, Y))


# -- sweeps ------------------------------------------------------------------------------------------------------------

SETTINGS = [{"rate": rate} for rate in (0.01, 0.1, -1.0)]


def train_group(settings: list[dict[str, float]], keys: tuple[nn.Key, ...], x: Any, y: Any) -> list[float]:
    """A stack of networks, one for each setting and key."""
    step = nn.train_step(PLAIN, LOSS, nn.gd(np.array([s["rate"] for s in settings])))
    ts = nn.train_state(PLAIN, step.optimizer, keys, (5,))
    *_, epoch = nn.train(step, ts, (np.asarray(x), np.asarray(y)), epochs=3, batch_size=8, key=KEY)
    return [float(loss) for loss in np.asarray(epoch.loss)]


def test_a_sweep_is_the_same_on_every_engine(tmp_path: Path) -> None:
    given: dict[str, Any] = {"settings": SETTINGS, "seeds": [0, 1], "data": (X, Y), "members": 4}
    alone = distributed.sweep(train_group, **given)
    assert [(t.setting["rate"], t.seed) for t in alone] == [(s["rate"], seed) for s in SETTINGS for seed in (0, 1)]
    assert all(t.error is None and t.result < 2 for t in alone[:4])
    assert all(t.error is not None and "learning_rate" in t.error for t in alone[4:])
    with ProcessPoolExecutor(2, get_context("spawn")) as engine:  # a fork of threads that other tests began may hang
        assert distributed.sweep(train_group, **given, engine=engine) == alone
    with ThreadPoolExecutor(2) as threads:
        assert distributed.sweep(train_group, **given, engine=threads) == alone
    single = [distributed.sweep(train_group, [s], [seed], (X, Y))[0] for s in SETTINGS for seed in (0, 1)]
    for one, other in zip(single, alone, strict=True):
        assert one.result == other.result or one.result == pytest.approx(other.result, rel=1e-6)
        assert (one.error is None) == (other.error is None)


def test_a_sweep_over_joblib() -> None:
    joblib = pytest.importorskip("joblib")
    alone = distributed.sweep(train_group, SETTINGS, data=(X, Y), members=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own workers
        found = distributed.sweep(train_group, SETTINGS, data=(X, Y), members=2, engine=joblib.Parallel(n_jobs=2))
    assert found == alone


def test_a_sweep_over_dask() -> None:
    distributed_of_dask = pytest.importorskip("distributed")
    alone = distributed.sweep(train_group, SETTINGS, data=(X, Y), members=2)
    with distributed_of_dask.Client(processes=False, n_workers=2, dashboard_address=None) as client:
        assert distributed.sweep(train_group, SETTINGS, data=(X, Y), members=2, engine=client) == alone


def page_faults(settings: list[dict[str, float]], keys: tuple[nn.Key, ...]) -> list[int]:
    """How many pages the system cleared for 100 arrays of 2 MB, one after another."""
    import resource

    np.empty(1 << 18).fill(1)
    begun = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(100):
        np.empty(1 << 18).fill(1)
    return [resource.getrusage(resource.RUSAGE_SELF).ru_minflt - begun]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is a setting of glibc")
def test_a_worker_of_dask_keeps_its_memory() -> None:
    """A new process with the setting that Dask gives to its workers."""
    program = (
        "from nnfunc.distributed import sweep; from tests.test_distributed import page_faults as f; "
        "print(sweep(f, [{}])[0].result)"
    )
    root = Path(__file__).parent.parent
    settings = {"MALLOC_TRIM_THRESHOLD_": "65536", "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", program], env=os.environ | settings, cwd=root, stdout=subprocess.PIPE)
    assert int(done.stdout) < 1000  # of 512 pages for each array


def test_a_partial_task_has_its_own_files(tmp_path: Path) -> None:
    for factor in (2, 3):
        trials = distributed.sweep(partial(scaled, factor=factor), [{"rate": 5.0}], folder=tmp_path)
        assert trials[0].result == 5.0 * factor


def scaled(settings: list[dict[str, float]], keys: tuple[nn.Key, ...], factor: float) -> list[float]:
    return [setting["rate"] * factor for setting in settings]


def test_a_sweep_that_was_stopped_goes_on(tmp_path: Path) -> None:
    calls: list[int] = []

    class StoppedError(Exception):
        pass

    class Engine:
        def map(self, function: Any, *columns: Any) -> Iterator[Any]:
            for call in zip(*columns, strict=True):
                if len(calls) == 2:
                    raise StoppedError
                calls.append(len(calls))
                yield function(*call)

    with pytest.raises(StoppedError):
        distributed.sweep(train_group, SETTINGS, data=(X, Y), members=1, engine=Engine(), folder=tmp_path)
    found = distributed.sweep(train_group, SETTINGS, data=(X, Y), members=1, folder=tmp_path)
    assert found == distributed.sweep(train_group, SETTINGS, data=(X, Y), members=1)
    assert len(list(tmp_path.glob("*.json"))) == 3
    with pytest.raises(TypeError, match="engine=3"):
        distributed.sweep(train_group, SETTINGS, data=(X, Y), engine=3)


# -- under mpiexec -----------------------------------------------------------------------------------------------------

several = pytest.mark.skipif(
    importlib.util.find_spec("mpi4py") is None or shutil.which("mpiexec") is None, reason="needs mpi4py and an MPI"
)


def mpiexec(ranks: int, task: str, folder: Path, expect: int | None = 0) -> list[dict[str, Any]]:
    """What each rank printed."""
    settings = {
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "OMPI_MCA_rmaps_base_oversubscribe": "1",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
        "OMPI_MCA_mpi_yield_when_idle": "1",  # a rank that waits leaves its core to one that works
        "OMP_NUM_THREADS": "1",
    }
    root = Path(__file__).parent.parent
    done = subprocess.run(
        ["mpiexec", "-n", str(ranks), sys.executable, "-m", "mpi4py", "-m", "tests.mpi_program", task, str(folder)],
        env=os.environ | settings | {"PYTHONPATH": str(root)},
        cwd=root,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if expect is None:
        assert done.returncode != 0
    else:
        assert done.returncode == expect, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return sorted(lines, key=lambda line: int(line["rank"]))


@several
@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("task", ["epochs", "divided", "epochs/messages", "divided/messages"])
def test_the_same_bits_on_any_number_of_ranks(task: str, ranks: int, tmp_path: Path) -> None:
    alone = run_epochs(distributed.sharded(S))
    found = mpiexec(ranks, task, tmp_path)
    assert [line["digest"] for line in found] == [alone["digest"]] * ranks
    for line in found:
        np.testing.assert_allclose(line["numbers"], alone["numbers"], rtol=1e-6)
    if task.startswith("divided"):
        assert sum(line["kept"] for line in found) == alone["kept"]


@several
@pytest.mark.parametrize("ranks", [2, 3])
def test_batch_norm_over_all_rows_on_any_number_of_ranks(ranks: int, tmp_path: Path) -> None:
    """The same bits and the same state on all; the numbers are those of one process without shards."""
    alone, plain = all_rows(distributed.sharded(S, statistics="batch")), all_rows(None)
    found = mpiexec(ranks, "all_rows", tmp_path)
    assert [line["digest"] for line in found] == [alone["digest"]] * ranks
    np.testing.assert_allclose(alone["numbers"], plain["numbers"], rtol=1e-6)


@several
@pytest.mark.parametrize("ranks", [2, 3])
def test_a_rank_reads_its_own_rows_alone(ranks: int, tmp_path: Path) -> None:
    X.tofile(tmp_path / "x")
    found = mpiexec(ranks, "rows", tmp_path)
    assert sum(line["rows"] for line in found) == 50
    assert max(line["rows"] for line in found) <= 50 / ranks + 4


ERRORS = {
    "nan": "NonFiniteError: rank {last}: .*x contains NaN or infinity",
    "label": "ValueError: rank {last}: target contains 7 at",
    "data": "ValueError: rank {last}: X contains NaN or infinity",
    "shape": "ValueError: rank {last}: .*x has shape",
    "all_rows_nan": "NonFiniteError: rank {last}: .*x contains NaN or infinity",
    "all_rows_label": "ValueError: rank {last}: target contains 7 at",
    "all_rows_shape": "ValueError: rank {last}: .*x has shape",
    "state": "ValueError: the train state on rank {last} differs from rank 0",
}


@several
@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("task", ERRORS)
def test_an_error_of_one_rank_is_that_of_all(task: str, ranks: int, tmp_path: Path) -> None:
    found = mpiexec(ranks, task, tmp_path)
    assert len({line["error"] for line in found}) == 1
    assert len(found) == ranks
    with pytest.raises(RuntimeError, match=ERRORS[task].format(last=ranks - 1)):
        raise RuntimeError(found[0]["error"])


@several
@pytest.mark.parametrize("ranks", [2, 3])
def test_another_number_of_ranks_goes_on(ranks: int, tmp_path: Path) -> None:
    """In the middle of an epoch, with the optimizer's state divided."""
    reduce = distributed.sharded(S)
    run_stopped(reduce, tmp_path)
    expected = run_gone_on(reduce, tmp_path)["digest"]
    mpiexec(ranks, "stopped", tmp_path)
    assert [line["digest"] for line in mpiexec(5 - ranks, "gone_on", tmp_path)] == [expected] * (5 - ranks)
    step, ts = make(reduce, divide=True)
    for batch in nn.minibatches(KEY, DATA, 8, reduce=reduce):
        ts, _ = step(ts, batch)
    assert distributed.digest(*ts) == expected


@several
def test_a_rank_that_dies_ends_the_job(tmp_path: Path) -> None:
    mpiexec(2, "dies", tmp_path, expect=None)


def test_the_contract_names_tests_that_are_there() -> None:
    named = set(re.findall(r"test_\w+(?!\.py)\b", distributed.__doc__ or "")) - {"test_distributed", "test_training"}
    assert len(named) > 20
    assert named <= set(globals()) | set(vars(test_training))


def test_the_tasks_with_files_are_known() -> None:
    assert set(WITH_FILES) == {"rows", "stopped", "gone_on"}
