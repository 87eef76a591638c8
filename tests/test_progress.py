"""Progress bars around epochs and batches: their text, and that they do not affect the run."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import pytest

import nnfunc as nn
from nnfunc.training.loop import Rows
from nnfunc.training.progress import Counted

rng = np.random.default_rng(0)
X = rng.normal(size=(90, 3))
Y = (X[:, 0] > 0).astype(int)
MODEL = nn.mlp([3, 4, 1], ["tanh", "sigmoid"])
STEP = nn.train_step(MODEL, nn.binary_cross_entropy, nn.adam(0.03))
START = nn.train_state(MODEL, STEP.optimizer, nn.key(0), (3,))


def run(
    epochs: int = 3,
    ts: nn.TrainState = START,
    batches: Callable[[Counted[Rows]], Iterable[Rows]] | None = None,
) -> Counted[nn.Epoch]:
    return nn.train(STEP, ts, (X, Y), epochs=epochs, batch_size=20, key=nn.key(1), validation=(X, Y), batches=batches)


@pytest.mark.parametrize("name", ["tqdm", "tqdm.auto", "tqdm.asyncio"])
def test_a_bar_shows_the_count_and_the_numbers_of_the_last_epoch(name: str) -> None:
    pytest.importorskip("tqdm")
    tqdm = pytest.importorskip(name).tqdm
    shown = io.StringIO()
    for epoch in tqdm(run(), file=shown):
        last = epoch
    line = shown.getvalue().split("\r")[-1]
    assert "3/3" in line
    assert repr(last).removeprefix("Epoch 3: ") in line


def test_the_numbers_are_those_of_the_epoch_before_the_body_of_the_loop() -> None:
    tqdm = pytest.importorskip("tqdm").tqdm
    bar = tqdm(run(), file=io.StringIO())
    for epoch in bar:
        assert f"Epoch {epoch.number}: {bar.postfix}" == repr(epoch)


def test_a_bar_around_early_stopping_shows_the_same() -> None:
    tqdm = pytest.importorskip("tqdm").tqdm
    shown = io.StringIO()
    *_, last = tqdm(nn.early_stopping(run(50), patience=1, min_delta=1.0), file=shown)
    line = shown.getvalue().split("\r")[-1]
    assert f"{last.number}/50" in line
    assert f"loss={np.round(last.loss, 4)}" in line


def test_bars_around_something_else_are_left_alone() -> None:
    tqdm = pytest.importorskip("tqdm").tqdm
    other = tqdm(range(3), file=io.StringIO())
    list(tqdm(run(), file=io.StringIO()))
    assert not other.postfix
    other.close()


def test_a_bar_around_the_batches_shows_their_mean_loss_so_far() -> None:
    tqdm = pytest.importorskip("tqdm").tqdm
    shown = io.StringIO()
    epochs = list(run(2, batches=partial(tqdm, file=shown, mininterval=0)))
    lines = shown.getvalue().split("\r")
    assert sum("5/5" in line for line in lines) >= 2
    assert f"loss={np.round(epochs[-1].loss, 4)}" in lines[-1]
    assert epochs[-1].state == list(run(2))[-1].state


def test_a_stack_shows_the_least_and_the_greatest() -> None:
    epoch = next(run(1, nn.train_state(MODEL, STEP.optimizer, nn.split(nn.key(0), 4), (3,))))
    low, high = (str(np.round(end(epoch.loss), 4)) for end in (np.min, np.max))
    assert f"Epoch 1: loss={low}…{high}, " in repr(epoch)


def test_what_is_not_known_is_not_shown() -> None:
    step = nn.train_step(nn.dense(1), nn.mean_squared_error, nn.gd(0.1))
    ts = nn.train_state(step.model, step.optimizer, nn.key(0), (3,))
    assert "accuracy" not in repr(next(nn.train(step, ts, (X, X[:, :1]), epochs=1, key=nn.key(1))))


def test_pandas_takes_the_history() -> None:
    table = pytest.importorskip("pandas").DataFrame(nn.history(run(3)))
    assert table.shape == (3, 5)
    assert table["validation_loss"].iloc[-1] == nn.history(run(3))["validation_loss"][-1]


def test_lengths_are_what_is_left() -> None:
    epochs = run(3)
    next(epochs)
    assert len(epochs) == 2
    assert len(nn.early_stopping(epochs)) == 2
    assert len(nn.minibatches(None, (X, Y), 20)) == 5
    assert len(nn.minibatches(None, (X, Y), None)) == 1
    with pytest.raises(TypeError, match="not known before the end"):
        len(nn.early_stopping(iter(())))


def test_nothing_is_imported_and_nothing_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert next(run()).number == 1


@pytest.mark.parametrize("some", [lambda batches: [next(batches)], lambda batches: list(batches)[1:]])
def test_batches_that_are_left_out_are_an_error(some: Callable[[Counted[Rows]], Iterable[Rows]]) -> None:
    with pytest.raises(ValueError, match=r"batches= gave back \d of 5 batches"):
        list(run(batches=some))


def test_batches_that_are_no_function_are_an_error() -> None:
    with pytest.raises(TypeError, match="batches=True: expected a function around the batches"):
        run(batches=True)  # type: ignore[arg-type]  # what the test is about
