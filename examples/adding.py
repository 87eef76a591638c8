"""The adding problem: long-range memory of recurrent layers, and how far back their gradients reach.

    python examples/adding.py

The input is a sequence of random numbers, two of which are marked; the target is their sum (Hochreiter & Schmidhuber,
Neural Computation 1997). The sequences have different lengths, which are passed to the layers.

It prints

    always 1: mean squared error 0.1685
    rnn: mean squared error 0.0809, 1,153 parameters (12 s)
    gru: mean squared error 0.0001, 3,425 parameters (27 s)
    lstm: mean squared error 0.0005, 4,513 parameters (37 s)

and saves adding.png. With --quick it stops after 20 updates.
"""

from __future__ import annotations

import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from matplotlib import rcParams

import nnfunc as nn
from nnfunc import plots
from nnfunc.arrays import Array

SHORTEST, LONGEST, UNITS, BATCH_SIZE, UPDATES = 40, 60, 32, 64, 3000
LAYERS: dict[str, Any] = {"rnn": nn.rnn, "gru": nn.gru, "lstm": nn.lstm}


def problems(key: nn.Key, count: int, shortest: int = SHORTEST) -> tuple[Any, Array]:
    """((x (count, LONGEST, 2), lengths (count,)), sums (count, 1)). Beyond the end of a sequence, x is noise."""
    rng = nn.keys.generator(key)
    lengths = rng.integers(shortest, LONGEST + 1, size=count)
    values, marks = rng.random((count, LONGEST)), np.zeros((count, LONGEST))
    rows, half = np.arange(count), lengths // 2
    marks[rows, rng.integers(0, half)] = 1  # one in the first half, one in the second
    marks[rows, rng.integers(half, lengths)] = 1
    return (np.stack([values, marks], axis=-1), lengths), (values * marks).sum(axis=1, keepdims=True)


def gradient_norms(model: nn.Layer, ts: nn.TrainState, key: nn.Key) -> Array:
    """‖dL/dx‖ of each step, averaged over examples of LONGEST steps, where the loss is the sum of the outputs."""
    (x, lengths), _ = problems(key, 256, shortest=LONGEST)
    y, cache, _ = model.forward(ts.params, ts.state, (x, lengths), train=True)
    (dx, _), _ = model.backward(ts.params, cache, np.ones_like(y))
    norms: Array = np.linalg.norm(dx, axis=-1).mean(axis=0)
    return norms


def main(updates: int, picture: Path) -> None:
    init_key, train_key, test_key = nn.split(nn.key(0), 3)
    X_test, Y_test = problems(test_key, 2000)
    rcParams.update(plots.STYLE)
    fig = plots.figure(10, 3.8)
    curves, before, after = fig.subplots(1, 3)
    curves.axhline(1 / 6, color="0.6", linewidth=1, label="always 1")
    print(f"always 1: mean squared error {np.mean((Y_test - 1) ** 2):.4f}")

    for (name, layer), colour in zip(LAYERS.items(), plots.COLOURS, strict=False):
        model = nn.serial(layer(UNITS, output="last", lengths=True), nn.dense(1))
        optimizer = nn.clip_by_global_norm(nn.adam(nn.schedules.cosine_decay(5e-3, updates)), 1.0)
        step = nn.train_step(model, nn.mean_squared_error, optimizer)
        ts = nn.train_state(model, optimizer, init_key, input_shape=((LONGEST, 2), ()))
        begun, losses, norms = perf_counter(), [], [gradient_norms(model, ts, test_key)]
        for i in range(updates):
            ts, metrics = step(ts, problems(nn.fold_in(train_key, i), BATCH_SIZE))
            losses.append(float(metrics.loss))
        norms.append(gradient_norms(model, ts, test_key))
        error = nn.evaluate(model, nn.mean_squared_error, ts, X_test, Y_test).loss
        print(f"{name}: mean squared error {error:.4f}, {ts.params.size:,} parameters ({perf_counter() - begun:.0f} s)")

        smooth = np.convolve(losses, np.ones(20) / 20, mode="valid")
        curves.plot(smooth, color=colour, label=name, linewidth=1.2)
        for ax, norm in zip((before, after), norms, strict=True):
            ax.plot(np.arange(-LONGEST, 0), norm, color=colour, label=name)

    curves.set(title="Loss of the batches", xlabel="update", ylabel="mean squared error", yscale="log")
    before.set(title="Gradient before training", ylabel="‖dy/dx‖ of a step")
    after.set(title="and after it")
    for ax in (before, after):
        ax.set(xlabel="step, from the end of the sequence", yscale="log")
    for ax in (curves, before, after):
        plots.axes.plain(ax)
    curves.legend()
    fig.savefig(picture)


if __name__ == "__main__":
    main(20 if "--quick" in sys.argv else UPDATES, Path(__file__).with_suffix(".png"))
