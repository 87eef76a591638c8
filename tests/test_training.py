"""Steps, batches, the loop, stopping: a run is a pure function of its arguments."""

from __future__ import annotations

import gc
import inspect
import math
import pickle
import textwrap
import tracemalloc
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnfunc as nn
from nnfunc.arrays import Array, ArrayDict
from nnfunc.evaluation.predict import rows_at_once
from tests.catalogue import OPTIMIZERS

rng = np.random.default_rng(0)
X, classes = rng.normal(size=(50, 4)), rng.integers(0, 3, size=50)
Y = np.eye(3)[classes]
MODEL = nn.mlp([4, 8, 3], ["relu", "softmax"], keep_prob=0.8, batch_norm=True)
LOSS = nn.sparse_categorical_cross_entropy
STEP = nn.train_step(
    MODEL, nn.categorical_cross_entropy, nn.adam(nn.schedules.cosine_decay(0.01, 100)), penalty=nn.l2(0.1)
)


def start(seed: int = 0, dtype: type[np.floating] = np.float32) -> nn.TrainState:
    return nn.train_state(MODEL, STEP.optimizer, nn.key(seed), input_shape=(4,), dtype=dtype)


def assert_same_state(a: nn.TrainState, b: nn.TrainState) -> None:
    for x, y in zip(a, b, strict=True):
        assert nn.arrays.equal(x, y) if isinstance(x, ArrayDict) and isinstance(y, ArrayDict) else x == y


# -- the step ----------------------------------------------------------------------------------------------------------


def test_a_step_is_the_parts_by_hand() -> None:
    ts = start(dtype=np.float64)
    after, metrics = STEP(ts, (X, Y))
    y, cache, state = MODEL.forward(ts.params, ts.state, X, key=nn.fold_in(ts.key, 0), train=True)
    value, loss_cache = nn.categorical_cross_entropy.forward(y, Y)
    dx, grads = MODEL.backward(ts.params, cache, nn.categorical_cross_entropy.backward(loss_cache))
    penalty = nn.l2(0.1)
    grads = grads + penalty.backward(ts.params, 50)
    params, opt_state = STEP.optimizer.step(ts.params, grads, ts.opt_state)
    assert dx is not None
    assert dx.shape == X.shape
    assert metrics.loss == pytest.approx(value + penalty.forward(ts.params, 50), rel=1e-12)
    assert nn.arrays.allclose(after.params, params, rtol=1e-10, atol=1e-10)
    assert nn.arrays.equal(after.state, state)
    assert after.step == ts.step + 1 == int(opt_state["step"])
    assert after.key == ts.key


def test_weights_and_class_weights() -> None:
    model = nn.mlp([4, 3], ["softmax"])
    plain = nn.train_step(model, nn.sparse_categorical_cross_entropy, nn.gd(0.1))
    heavy = nn.train_step(model, nn.sparse_categorical_cross_entropy, nn.gd(0.1), class_weights=[1, 1, 5])
    ts = nn.train_state(model, nn.gd(0.1), nn.key(0), (4,), np.float64)
    a, ma = plain(ts, (X, classes, np.where(classes == 2, 5.0, 1.0)))
    b, mb = heavy(ts, (X, classes))
    assert ma.loss == pytest.approx(mb.loss, rel=1e-12)
    assert nn.arrays.allclose(a.params, b.params, rtol=1e-12)
    twice = np.concatenate([X, X[classes == 2]]), np.concatenate([classes, classes[classes == 2]])
    assert plain(ts, (X, classes, 1.0 + (classes == 2)))[1].loss == pytest.approx(plain(ts, twice)[1].loss, rel=1e-12)
    binary = nn.mlp([4, 1], ["sigmoid"])
    step = nn.train_step(binary, nn.binary_cross_entropy, nn.gd(0.1), class_weights=[1, 3])
    ts = nn.train_state(binary, nn.gd(0.1), nn.key(0), (4,), np.float64)
    bits = classes % 2
    by_hand = nn.train_step(binary, nn.binary_cross_entropy, nn.gd(0.1))(ts, (X, bits, 1.0 + 2 * bits))[1].loss
    assert step(ts, (X, bits))[1].loss == pytest.approx(by_hand, rel=1e-12)


def test_names_stand_for_losses_and_optimizers() -> None:
    step = nn.train_step(MODEL, "categorical_cross_entropy", "adam")
    assert step.optimizer.__repr__() == repr(nn.adam())
    ts, _ = step(nn.train_state(MODEL, "adam", nn.key(0), (4,)), (X, Y))
    assert ts.step == 1


def test_given_params_are_used_and_checked() -> None:
    model = nn.serial(nn.dense(3))
    W = rng.normal(size=(4, 3))
    ts = nn.train_state(model, nn.gd(), nn.key(0), params={"dense1.b": np.zeros(3), "dense1.W": W})
    np.testing.assert_array_equal(ts.params["dense1.W"], W)
    assert ts.params.dtype == np.float64
    with pytest.raises(ValueError, match=r"do not (fit|match) the model.*lacks dense1.b"):
        nn.train_state(model, nn.gd(), nn.key(0), (4,), params={"dense1.W": W})
    with pytest.raises(ValueError, match=r"(other|different) shapes: dense1.W \(3, 4\), expected \(4, 3\)"):
        nn.train_state(model, nn.gd(), nn.key(0), (4,), params={"dense1.b": np.zeros(3), "dense1.W": W.T})
    with pytest.raises(ValueError, match="neither input_shape nor params"):
        nn.train_state(model, nn.gd(), nn.key(0))


def test_a_stack_trains_like_its_members() -> None:
    keys = nn.split(nn.key(3), 3)
    both = nn.train_state(MODEL, STEP.optimizer, keys, (4,), np.float64)
    solo = [nn.train_state(MODEL, STEP.optimizer, k, (4,), np.float64) for k in keys]
    for batch in nn.minibatches(nn.key(0), (X, Y), 16):
        both, metrics = STEP(both, batch)
        results = [STEP(ts, batch) for ts in solo]
        solo = [ts for ts, _ in results]
        np.testing.assert_allclose(np.asarray(metrics.loss), np.array([m.loss for _, m in results]), rtol=1e-9)
    for got, ts in zip(nn.unstack(both.params), solo, strict=True):
        assert nn.arrays.allclose(got, ts.params, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(
        np.asarray(nn.accuracy(MODEL, both, X, Y)), np.array([nn.accuracy(MODEL, ts, X, Y) for ts in solo])
    )
    *_, epoch = nn.train(STEP, both, (X, Y), epochs=2, key=nn.key(0), validation=(X, Y))
    assert np.shape(epoch.loss) == np.shape(epoch.accuracy) == (3,)


def test_a_stack_of_states_with_settings_of_their_own_is_its_members() -> None:
    """Seeds, learning rates and penalties differ; dropout and batch norm are at work; the loop is the usual one."""
    K, rates, strengths = 3, np.array([0.01, 0.03, 0.1]), np.array([0.0, 0.1, 1.0])
    model = nn.mlp([4, 8, 3], ["relu", "softmax"], keep_prob=0.7, batch_norm=True)
    rng = np.random.default_rng(0)
    data = rng.normal(size=(40, 4)), rng.integers(0, 3, 40)
    keys = nn.split(nn.key(5), K)

    def run(ts: nn.TrainState, step: nn.TrainStep) -> list[nn.Epoch]:
        return list(nn.train(step, ts, data, epochs=3, batch_size=16, key=nn.key(1), validation=data))

    steps = [nn.train_step(model, LOSS, nn.adam(r), nn.l2(s)) for r, s in zip(rates, strengths, strict=True)]
    solo = [nn.train_state(model, nn.adam(), key, (4,), np.float64) for key in keys]
    both = run(nn.stack(solo), nn.train_step(model, LOSS, nn.adam(rates), nn.l2(strengths)))
    alone = [run(ts, step) for ts, step in zip(solo, steps, strict=True)]

    members = nn.unstack(both[-1].state)
    for i, (member, epochs) in enumerate(zip(members, alone, strict=True)):
        ts = epochs[-1].state
        assert member.key == ts.key
        assert member.step == ts.step
        for name in ("params", "state", "opt_state"):
            assert nn.arrays.allclose(getattr(member, name), getattr(ts, name), rtol=1e-10)
        for stacked, single in zip(both, epochs, strict=True):
            assert stacked.validation is not None
            assert single.validation is not None
            np.testing.assert_allclose(np.asarray(stacked.loss)[i], single.loss, rtol=1e-10)
            np.testing.assert_allclose(np.asarray(stacked.accuracy)[i], single.accuracy, rtol=1e-10)
            for name in ("loss", "accuracy"):
                of_member = np.asarray(getattr(stacked.validation, name))[i]
                np.testing.assert_allclose(of_member, getattr(single.validation, name), rtol=1e-10)


@pytest.mark.parametrize("model", [nn.relu(), nn.serial(nn.relu()), nn.dropout(0.5)])
def test_a_stack_of_networks_without_parameters_can_step(model: nn.Layer) -> None:
    ts = nn.train_state(model, "gd", nn.split(nn.key(0), 3), (2,))
    ts, _ = nn.train_step(model, "mean_squared_error", "gd")(ts, (np.ones((4, 2)), np.ones((4, 2))))
    assert ts.step == 1


def test_states_that_make_no_stack_are_refused() -> None:
    model = nn.serial(nn.dense(2))
    a, b = (nn.train_state(model, nn.gd(), nn.key(i), (3,)) for i in range(2))
    with pytest.raises(ValueError, match="members are at steps 0, 5"):
        nn.stack([a, b._replace(step=5)])
    with pytest.raises(ValueError, match=r"members\[1\] is a stack"):
        nn.stack([a, nn.stack([a, b])])
    with pytest.raises(TypeError, match="members are ArrayDict, TrainState"):
        nn.stack([a, b.params])  # type: ignore[list-item]  # refused by the types too
    with pytest.raises(ValueError, match="members is empty"):
        nn.stack([])
    with pytest.raises(ValueError, match="state of a single network"):
        nn.unstack(a)
    with pytest.raises(TypeError, match="stacked is dict"):
        nn.unstack({})  # type: ignore[call-overload]  # likewise


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
@pytest.mark.parametrize(("members", "width"), [(None, 8), (None, 40_000), (3, 8), (3, 20_000)])
def test_a_donated_state_is_written_over_and_changes_no_bit(name: str, members: int | None, width: int) -> None:
    model = nn.mlp([4, width, 2], ["tanh", "softmax"])
    step = nn.train_step(model, "sparse_categorical_cross_entropy", nn.clip_by_global_norm(OPTIMIZERS[name], 1.0))
    batch = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32), np.arange(6) % 2
    keys = nn.key(0) if members is None else nn.split(nn.key(0), members)
    kept = given = nn.train_state(model, step.optimizer, keys, (4,))
    for i in range(4):
        old = given
        kept, expected = step(kept, batch)
        given, metrics = step(given, batch, donate=i > 0)
        assert np.array_equal(metrics.loss, expected.loss)
        assert nn.arrays.equal(given.params, kept.params)
        assert nn.arrays.equal(given.opt_state, kept.opt_state)
        assert not np.shares_memory(given.params.vector, old.params.vector)
        if i and name != "optimizer":  # a rule of one's own may read what it remembers after it was written
            with pytest.raises(ValueError, match=r"handed to a step to be overwritten \(donate=True\)"):
                old.opt_state.vector  # noqa: B018
            with pytest.raises(ValueError, match="handed to a step"):
                step(old, batch)


def test_what_cannot_be_donated_stays() -> None:
    model = nn.dense(2)
    batch = np.ones((6, 4)), np.zeros((6, 2))
    stacked = nn.train_state(model, nn.adam(), nn.split(nn.key(0), 3), (4,))
    part = nn.unstack(stacked)[0]  # shares the memory of the stack
    step = nn.train_step(model, "mean_squared_error", nn.adam())
    skipping = nn.train_step(model, "mean_squared_error", nn.adam(), nonfinite="skip")
    before = stacked.opt_state.vector.copy()
    for some in (step, skipping):
        for ts in (part, nn.train_state(model, nn.adam(), nn.key(0), (4,))):
            some(ts, batch, donate=some is skipping or ts is part)
            assert not ts.opt_state.vector.any()
    assert np.array_equal(stacked.opt_state.vector, before)


# -- batches -----------------------------------------------------------------------------------------------------------


@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 9))
def test_batches_are_every_row_once_in_a_new_order(rows: int, size: int, seed: int) -> None:
    a, b = np.arange(rows), np.arange(rows)[:, None] * [1, 2]
    batches = list(nn.minibatches(nn.key(seed), (a, b), size))
    assert [len(x) for x, _ in batches] == [size] * (rows // size) + [rows % size] * (rows % size > 0)
    order = np.concatenate([x for x, _ in batches])
    assert sorted(order) == list(range(rows))
    np.testing.assert_array_equal(np.concatenate([y for _, y in batches]), b[order])
    again = [x for x, _ in nn.minibatches(nn.key(seed), (a, b), size)]
    assert all(np.array_equal(x, y) for (x, _), y in zip(batches, again, strict=True))


def test_batches_in_order_and_all_at_once() -> None:
    assert [x.tolist() for (x,) in nn.minibatches(None, (np.arange(5),), 2)] == [[0, 1], [2, 3], [4]]
    ((x,),) = nn.minibatches(nn.key(0), (X,), None)
    assert x.shape == X.shape
    assert not np.array_equal(x, X)


def test_an_array_on_disk_is_read_batch_by_batch(tmp_path: Path) -> None:
    disk = np.memmap(tmp_path / "x", np.float32, "w+", shape=X.shape)
    disk[:] = X
    assert all(len(x) <= 16 for x, _ in nn.minibatches(nn.key(0), (disk, Y), 16))
    a = [e.loss for e in nn.train(STEP, start(), (disk, Y), epochs=2, key=nn.key(1))]
    b = [e.loss for e in nn.train(STEP, start(), (X.astype(np.float32), Y), epochs=2, key=nn.key(1))]
    assert a == b


FEW, MANY = 4_000, 32_000
"""Rows of 64 numbers: 1 MB, and 8 MB."""
WIDE = nn.mlp([64, 16, 3], ["relu", "softmax"])
WIDE_STEP = nn.train_step(WIDE, LOSS, nn.adam())
MARGIN = 64_000
"""Bytes: what waits for the garbage collector."""


def peak(use: Callable[[int], Iterable[object]], rows: int) -> int:
    """The most bytes in use at a time, after a first use that fills what is kept."""
    for _ in range(2):
        gc.collect()
        tracemalloc.start()
        deque(use(rows), maxlen=0)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return most


def wide() -> nn.TrainState:
    return nn.train_state(WIDE, WIDE_STEP.optimizer, nn.key(0), (64,))


@pytest.mark.parametrize("key", [None, nn.key(1)])
def test_the_memory_of_training_from_disk_does_not_grow_with_the_data(key: nn.Key | None, tmp_path: Path) -> None:
    """But for the order of the rows."""

    def use(rows: int) -> Iterable[nn.Epoch]:
        x = np.memmap(tmp_path / "x", np.float32, "w+", shape=(rows, 64))
        y = np.memmap(tmp_path / "y", np.int64, "w+", shape=(rows,))
        return nn.train(WIDE_STEP, wide(), (x, y), epochs=2, key=key)

    order = 0 if key is None else 8 * (MANY - FEW)
    assert peak(use, MANY) - order < peak(use, FEW) + MARGIN


def test_the_memory_of_training_on_an_iterator_does_not_grow_with_the_data() -> None:
    def batches(rows: int) -> Iterator[Any]:
        drawn = np.random.default_rng(0)
        for _ in range(rows // 64):
            yield drawn.normal(size=(64, 64)), drawn.integers(0, 3, 64)

    assert peak(lambda rows: steps(batches(rows)), MANY) < peak(lambda rows: steps(batches(rows)), FEW) + MARGIN


def steps(batches: Iterable[Any]) -> Iterator[nn.Metrics]:
    ts = wide()
    for batch in batches:
        ts, metrics = WIDE_STEP(ts, batch)
        yield metrics


def test_the_batches_of_a_parquet_file(tmp_path: Path) -> None:
    """As the docstring of `nn.minibatches` has it: every row once, and the memory of a row group."""
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet")
    _, start, rest = (inspect.getdoc(nn.minibatches) or "").partition("    def from_parquet")
    names: dict[str, Any] = {"nn": nn, "np": np, "pyarrow": pyarrow}
    exec(textwrap.dedent(start + rest.partition("\n\n")[0]), names)
    from_parquet = names["from_parquet"]

    def write(rows: int) -> Path:
        columns = {f"x{i}": np.arange(rows) + 1000.0 * i for i in range(64)} | {"target": np.arange(rows) % 3}
        pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / f"{rows}.parquet", row_group_size=1000)
        return tmp_path / f"{rows}.parquet"

    seen = np.concatenate([x[:, 0] for x, _ in from_parquet(write(2500), nn.key(0))])
    assert sorted(seen) == list(range(2500))
    assert seen.tolist() != sorted(seen)
    for x, y in from_parquet(write(2500), nn.key(0)):
        assert np.array_equal(x[:, 2], x[:, 0] + 2000)
        assert np.array_equal(x[:, 0] % 3, y)
    files = {rows: write(rows) for rows in (2000, 16_000)}

    def use(rows: int) -> Iterator[nn.Metrics]:
        return steps(from_parquet(files[rows], nn.key(0)))

    assert peak(use, 16_000) < peak(use, 2000) + MARGIN


# -- the loop ----------------------------------------------------------------------------------------------------------


def run(ts: nn.TrainState, epochs: int, seed: int = 1) -> list[nn.Epoch]:
    return list(nn.train(STEP, ts, (X, Y), epochs=epochs, batch_size=16, key=nn.key(seed), validation=(X[:9], Y[:9])))


def test_stopping_and_going_on_is_never_stopping() -> None:
    whole = run(start(), 6)
    first = run(start(), 3)
    saved = pickle.loads(pickle.dumps(first[-1].state))
    rest = run(saved, 3)
    assert [e.number for e in rest] == [4, 5, 6]
    for a, b in zip(whole, first + rest, strict=True):
        assert a.number == b.number
        assert a.loss == b.loss
        assert a.validation == b.validation
        assert_same_state(a.state, b.state)
    broken_off = list(islice(nn.train(STEP, start(), (X, Y), epochs=99, batch_size=16, key=nn.key(1)), 3))
    assert_same_state(broken_off[-1].state, first[-1].state)


def test_a_run_depends_on_its_keys() -> None:
    base = run(start(), 2)[-1].state.params
    assert nn.arrays.equal(base, run(start(), 2)[-1].state.params)
    assert not nn.arrays.equal(base, run(start(seed=1), 2)[-1].state.params)
    assert not nn.arrays.equal(base, run(start(), 2, seed=2)[-1].state.params)


def test_epochs_report_means_over_the_examples() -> None:
    epochs = nn.train(STEP, start(), (X, Y), epochs=2, batch_size=16, key=nn.key(1), validation=(X, Y))
    assert len(epochs) == 2
    epoch = next(epochs)
    assert len(epochs) == 1
    ts, losses, right = start(), [], []
    for x, y in nn.minibatches(nn.fold_in(nn.key(1), 0), (X.astype(np.float32), Y), 16):
        ts, metrics = STEP(ts, (x, y))
        losses += [metrics.loss] * len(x)
        right += (metrics.output.argmax(-1) == y.argmax(-1)).tolist()
    assert epoch.loss == pytest.approx(np.mean(np.array(losses)), rel=1e-9)
    assert epoch.accuracy == pytest.approx(np.mean(right))
    assert_same_state(epoch.state, ts)
    assert epoch.validation == nn.evaluate(MODEL, nn.categorical_cross_entropy, ts, X, Y)
    assert epoch.validation is not None
    assert epoch.validation.accuracy == nn.accuracy(MODEL, ts, X, classes)
    assert repr(epoch).startswith("Epoch 1: loss=")


def test_every_kind_of_loss_has_its_accuracy() -> None:
    bits = (X[:, :1] > 0).astype(float)
    cases: list[tuple[nn.Layer, nn.Loss, Array]] = [
        (nn.mlp([4, 1], ["sigmoid"]), nn.binary_cross_entropy, bits),
        (nn.mlp([4, 1], ["linear"]), nn.binary_cross_entropy_with_logits, bits[:, 0]),
        (nn.mlp([4, 2], ["softmax"]), nn.sparse_categorical_cross_entropy, bits[:, 0].astype(int)),
        (nn.mlp([4, 2], ["linear"]), nn.categorical_cross_entropy_with_logits, np.hstack([1 - bits, bits])),
        (nn.mlp([4, 2], ["sigmoid"]), nn.binary_cross_entropy, np.hstack([1 - bits, bits])),
        (nn.mlp([4, 1], ["sigmoid"]), nn.mean_squared_error, bits),
    ]
    for model, loss, target in cases:
        step = nn.train_step(model, loss, nn.adam(0.1))
        ts = nn.train_state(model, step.optimizer, nn.key(0), (4,))
        *_, last = nn.train(step, ts, (X, target), epochs=40, key=nn.key(0), validation=(X, target))
        assert last.accuracy > 0.95
        assert last.validation is not None
        assert last.validation.accuracy > 0.95
    model = nn.mlp([4, 1], ["linear"])
    step = nn.train_step(model, nn.mean_squared_error, nn.adam(0.1))
    (epoch,) = nn.train(
        step, nn.train_state(model, step.optimizer, nn.key(0), (4,)), (X, X[:, 0]), epochs=1, key=nn.key(0)
    )
    assert math.isnan(float(epoch.accuracy))


def test_it_learns() -> None:
    model = nn.mlp([4, 64, 3], ["relu", "softmax"])
    step = nn.train_step(model, nn.sparse_categorical_cross_entropy, nn.adam(0.02))
    ts = nn.train_state(model, step.optimizer, nn.key(0), (4,))
    *_, last = nn.train(step, ts, (X, classes), epochs=200, batch_size=10, key=nn.key(0))
    assert last.accuracy == 1.0


# -- stopping ----------------------------------------------------------------------------------------------------------


def epochs_of(losses: list[float]) -> list[nn.Epoch]:
    return [nn.Epoch(i, 9.0, 0.5, nn.metrics.Evaluation(loss, 0.5), start()) for i, loss in enumerate(losses, 1)]


def test_early_stopping_and_the_best_epoch() -> None:
    epochs = epochs_of([5, 4, 3, 3.5, 2.95, 3.1, 3.2, 1.0])
    assert [e.number for e in nn.early_stopping(epochs, patience=2)] == [1, 2, 3, 4, 5, 6, 7]
    assert [e.number for e in nn.early_stopping(epochs, patience=2, min_delta=0.1)] == [1, 2, 3, 4, 5]
    assert nn.best_epoch(nn.early_stopping(iter(epochs), patience=2)).number == 5
    assert nn.best_epoch(epochs, monitor=lambda e: -e.number).number == 8
    with pytest.raises(ValueError, match="epochs is empty"):
        nn.best_epoch([])
    with pytest.raises(ValueError, match="patience=0"):
        nn.early_stopping(epochs, patience=0)


def test_history_is_a_dict_of_arrays() -> None:
    table = nn.history(run(start(), 3))
    assert set(table) == {"epoch", "loss", "accuracy", "validation_loss", "validation_accuracy"}
    assert all(v.shape == (3,) for v in table.values())
    assert table["epoch"].tolist() == [1, 2, 3]


def test_an_epoch_without_validation_has_nan_in_the_history() -> None:
    epochs = epochs_of([5, 4])
    table = nn.history([epochs[0]._replace(validation=None), epochs[1]])
    np.testing.assert_array_equal(table["validation_loss"], [np.nan, 4])


def test_history_and_the_best_epoch_keep_two_states_at_most() -> None:
    alive: set[int] = set()
    most = 0

    class Held(nn.TrainState):
        def __del__(self) -> None:
            alive.discard(id(self))

    def epochs() -> Iterator[nn.Epoch]:
        nonlocal most
        for i, loss in enumerate([5.0, 2.0, 3.0, 4.0, 4.5, 6.0], 1):
            state = Held(*start())
            alive.add(id(state))
            most = max(most, len(alive))
            yield nn.Epoch(i, loss, 0.5, None, state)

    best, table = nn.training.best_and_history(epochs())
    assert best.number == 2
    assert table["loss"].tolist() == [5.0, 2.0, 3.0, 4.0, 4.5, 6.0]
    assert most <= 3  # the best, the last and the new one


@pytest.mark.parametrize("stopped", range(1, 7))
def test_early_stopping_goes_on(stopped: int) -> None:
    losses = [5, 4, 3, 3.5, 2.95, 3.1, 3.2, 1.0]
    whole = [e.number for e in nn.early_stopping(epochs_of(losses), patience=2, min_delta=0.1)]
    first = list(nn.early_stopping(epochs_of(losses)[:stopped], patience=2, min_delta=0.1))
    earlier = nn.history(first)["validation_loss"]
    rest = nn.early_stopping(epochs_of(losses)[stopped:], patience=2, min_delta=0.1, earlier=earlier)
    assert [e.number for e in [*first, *rest]] == whole


def test_rows_in_order_and_without_the_last_batch() -> None:
    data = np.arange(10.0)[:, None], np.arange(10)
    batches = [y.tolist() for _, y in nn.minibatches(None, data, 4, drop_last=True)]
    assert batches == [[0, 1, 2, 3], [4, 5, 6, 7]]
    with pytest.raises(ValueError, match="batch_size=11, but there are 10 rows"):
        nn.minibatches(None, data, 11, drop_last=True)
    model = nn.serial(nn.dense(1))
    step, seen = nn.train_step(model, "mean_squared_error", "gd"), []

    def noted(batches: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
        for x, y in batches:
            seen.append(y.tolist())
            yield x, y

    ts = nn.train_state(model, "gd", nn.key(0), (1,))
    *_, epoch = nn.train(step, ts, data, epochs=2, batch_size=4, key=None, drop_last=True, batches=noted)
    assert seen == 2 * batches
    assert epoch.number == 2


# -- prediction --------------------------------------------------------------------------------------------------------


def test_prediction_in_blocks_of_rows_is_prediction_at_once() -> None:
    model = nn.mlp([4, 8, 3], ["relu", "softmax"], keep_prob=0.8, batch_norm=True)
    ts = nn.train_state(model, nn.gd(), nn.key(0), (4,), np.float64)
    many = np.random.default_rng(1).normal(size=(5000, 4))
    at_once, _, _ = model.forward(ts.params, ts.state, many)
    np.testing.assert_allclose(nn.predict(model, ts, many), at_once, rtol=1e-12)


def test_rows_with_wide_values_are_predicted_in_smaller_parts() -> None:
    """The widest value of a part takes 4 MiB, however narrow x is."""
    for width, rows in {1 << 13: 128, 1 << 9: 2048, 1 << 4: 2048, 1 << 22: 1}.items():
        widened = nn.upsample1d(width)
        program, *_ = widened.run(nn.arrays.EMPTY, nn.arrays.EMPTY, np.ones((1, 1, 1), np.float32), None, False)
        assert rows_at_once(program, 4) == rows
    model = nn.serial(nn.conv2d(8, 3, padding="same"), nn.relu(), nn.upsample2d(8), nn.global_avg_pool(), nn.dense(3))
    ts = nn.train_state(model, nn.gd(), nn.key(0), (8, 8, 1), np.float64)
    many = np.random.default_rng(1).normal(size=(300, 8, 8, 1))
    at_once, _, _ = model.forward(ts.params, ts.state, many)
    np.testing.assert_allclose(nn.predict(model, ts, many), at_once, rtol=1e-12)


def test_a_layer_that_mixes_rows_sees_them_all() -> None:
    """An own layer may depend on the whole batch, so its rows are not parted."""
    centred = nn.layer(lambda p, x: (x - x.mean(axis=0), None), lambda p, c, dy: (dy - dy.mean(axis=0), {}))
    ts = nn.train_state(nn.serial(nn.dense(2), centred), nn.gd(), nn.key(0), (4,), np.float64)
    many = np.random.default_rng(1).normal(size=(5000, 4)) + np.arange(5000)[:, None]
    y = nn.predict(nn.serial(nn.dense(2), centred), ts, many)
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-9)


def test_averages_are_estimated_anew() -> None:
    """Of one batch they are its statistics, also those of a deep layer; of several the mean by rows."""
    rng = np.random.default_rng(0)
    model = nn.serial(
        nn.dense(4), nn.batch_norm(), nn.tanh(), nn.dropout(0.5), nn.dense(3), nn.batch_norm(momentum=0.5)
    )
    ts = nn.train_state(model, "gd", nn.key(0), (3,), np.float64)
    x = rng.normal(size=(10, 3))
    state = nn.training.fresh_averages(model, ts, x, None, key=nn.key(1))
    z = x @ ts.params["dense1.W"] + ts.params["dense1.b"]
    np.testing.assert_allclose(state["batch_norm1.mean"], z.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(state["batch_norm1.var"], z.var(axis=0), rtol=1e-12)
    parts = nn.training.fresh_averages(model, ts, x, 6, key=nn.key(1))
    np.testing.assert_allclose(parts["batch_norm1.mean"], z.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(
        parts["batch_norm1.var"], (6 * z[:6].var(axis=0) + 4 * z[6:].var(axis=0)) / 10, rtol=1e-12
    )
    assert (parts["batch_norm2.var"] != ts.state["batch_norm2.var"]).all()
    nine = nn.training.fresh_averages(model, ts, x[:9], 8, key=nn.key(1))  # one is left over
    assert nine == nn.training.fresh_averages(model, ts, x[:8], 8, key=nn.key(1))
    with pytest.raises(ValueError, match="X has 1 row, expected at least two"):
        nn.training.fresh_averages(model, ts, x[:1])
