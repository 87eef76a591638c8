"""Random trainings, each made again in any process from its number alone."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

import numpy as np

import nnfunc as nn


class Configuration(NamedTuple):
    """A model, how it is trained, and on what."""

    model: nn.Layer
    step: nn.TrainStep
    start: nn.TrainState
    data: tuple[Any, ...]
    batch_size: int
    key: nn.Key

    def train(self, ts: nn.TrainState, epochs: int) -> nn.TrainState:
        *_, last = nn.train(self.step, ts, self.data, epochs=epochs, batch_size=self.batch_size, key=self.key)
        return last.state


def configuration(number: int) -> Configuration:
    """The one with this number."""
    pick = random.Random(number)
    rng = np.random.default_rng(number)
    hidden = pick.choice([nn.relu(), nn.tanh(), nn.gelu(), nn.prelu(), nn.swiglu()])
    norm = pick.choice([nn.batch_norm(), nn.layer_norm(), nn.rms_norm(), nn.dropout(0.7), nn.identity()])
    table = nn.serial(nn.dense(8), norm, hidden, nn.residual(nn.dense(8), nn.tanh()) if pick.random() < 0.3
                      else nn.dense(4), nn.dense(3), nn.softmax())  # fmt: skip
    shape: Any = (5,)
    if pick.random() < 0.3:
        shape = (6, 4)
        table = nn.serial(pick.choice([nn.gru(5), nn.lstm(4), nn.conv1d(4, 2), nn.attention(2)]), nn.flatten(), norm,
                          nn.dense(3), nn.softmax())  # fmt: skip
    if "residual" in repr(table) and hidden == nn.swiglu():
        hidden, table = nn.tanh(), nn.serial(nn.dense(3), nn.softmax())
    optimizer = pick.choice([
        nn.gd(0.1), nn.adam(nn.schedules.cosine_decay(0.01, 9)), nn.momentum(nn.schedules.linear_warmup(3, 0.05)),
        nn.rmsprop(), nn.adamw(),
        nn.clip_by_global_norm(nn.nesterov(0.05), 1.0), nn.optimizers.ema("adam"), nn.optimizers.lookahead("momentum"),
        nn.optimizers.lion(), nn.optimizers.partition({"*W": "adam", "*": nn.gd({"*b": 0.1, "*": 0.01})}),
    ])  # fmt: skip
    penalty = pick.choice([None, nn.l2(0.1), nn.l1(0.01)])
    step = nn.train_step(table, nn.sparse_categorical_cross_entropy, optimizer, penalty)
    key = nn.key(number)
    keys: Any = nn.split(key, pick.randint(2, 3)) if pick.random() < 0.3 else key
    start = nn.train_state(table, optimizer, keys, shape, pick.choice([np.float32, np.float64]))
    m = pick.randint(7, 30)
    data: tuple[Any, ...] = (rng.normal(size=(m, *shape)), rng.integers(0, 3, m))
    if pick.random() < 0.3:
        data = (*data, rng.random(m))
    return Configuration(table, step, start, data, pick.choice([4, 7, 64]), nn.fold_in(key, 1))


def bits(ts: nn.TrainState) -> tuple[Any, ...]:
    """All of a state as bytes."""
    dicts = [(list(d), d.vector.shape, d.vector.tobytes(), [d[k].tobytes() for k in d.counts]) for d in ts[:3]]
    return (*dicts, ts.key, ts.step)
