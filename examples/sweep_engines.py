"""A sweep for a paper, settings × seeds, on joblib and Dask processes: the same table from each.

    pip install ".[examples]" "dask[distributed]"
    python examples/sweep_engines.py

Each task trains 16 networks as one stack; the engines run the tasks. Without Dask, only joblib is used, which comes
with scikit-learn. With --quick there are fewer settings, seeds and epochs.

It prints

    one by one: 128 networks in 16.2 s, 1.0 times as fast as one by one
    stacks, one process: 128 networks in 3.5 s, 4.6 times as fast as one by one
    joblib, 2 processes: 128 networks in 4.8 s, 3.3 times as fast as one by one
        rate   λ = 0           λ = 0.3         λ = 1           λ = 3
        0.001  92.0% ± 0.5%    91.7% ± 0.5%    90.5% ± 0.7%    81.2% ± 2.0%
        0.003  93.0% ± 0.5%    93.3% ± 0.3%    92.0% ± 0.1%    83.4% ± 0.9%
        0.01   93.4% ± 0.3%    93.8% ± 0.4%    92.2% ± 0.6%    81.9% ± 1.5%
        0.03   93.5% ± 0.6%    92.5% ± 0.9%    90.4% ± 0.7%    74.0% ± 2.1%
    Dask, 2 processes: 128 networks in 4.3 s, 3.8 times as fast as one by one
        rate   λ = 0           λ = 0.3         λ = 1           λ = 3
        0.001  92.0% ± 0.5%    91.7% ± 0.5%    90.5% ± 0.7%    81.2% ± 2.0%
        0.003  93.0% ± 0.5%    93.3% ± 0.3%    92.0% ± 0.1%    83.4% ± 0.9%
        0.01   93.4% ± 0.3%    93.8% ± 0.4%    92.2% ± 0.6%    81.9% ± 1.5%
        0.03   93.5% ± 0.6%    92.5% ± 0.9%    90.4% ± 0.7%    74.0% ± 2.1%
    the best, rate 0.01 and λ 0.3: 94.3% ± 0.6% on the test images

on two cores shared with other programs, so that two processes have little advantage over one. The gain of stacks
is the same everywhere; the gain of processes depends on free cores.

It saves sweep_engines.png.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from matplotlib import rcParams
from numpy.typing import NDArray
from sklearn.datasets import load_digits

import nnfunc as nn
from nnfunc import distributed, plots

RATES, STRENGTHS, SEEDS, EPOCHS, WORKERS = (0.001, 0.003, 0.01, 0.03), (0.0, 0.3, 1.0, 3.0), 8, 40, 2
JUDGED = {"validation": slice(600, 1200), "test": slice(1200, None)}


def train_group(
    settings: Sequence[dict[str, float]], keys: tuple[nn.Key, ...], X: NDArray[Any], Y: NDArray[Any], epochs: int
) -> list[dict[str, float]]:
    """The task of a worker: trains a network for each setting and key, all as one stack."""
    rates, strengths = (np.array([setting[name] for setting in settings]) for name in ("rate", "strength"))
    model = nn.mlp([64, 64, 32, 10], ["relu", "relu", "softmax"])
    step = nn.train_step(model, nn.sparse_categorical_cross_entropy, nn.adam(rates), nn.l2(strengths))
    ts = nn.train_state(model, step.optimizer, keys, input_shape=(64,))
    *_, last = nn.train(step, ts, (X[:300], Y[:300]), epochs=epochs, batch_size=50, key=nn.key(1))
    accuracies = {k: np.asarray(nn.accuracy(model, last.state, X[rows], Y[rows])) for k, rows in JUDGED.items()}
    return [{k: float(a[i]) for k, a in accuracies.items()} for i in range(len(keys))]


@contextmanager
def joblib_engine() -> Iterator[Any]:
    from joblib import Parallel

    with Parallel(n_jobs=WORKERS) as parallel:
        yield parallel


@contextmanager
def dask_engine() -> Iterator[Any]:
    from distributed import Client, LocalCluster

    with LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as c:
        yield c


ENGINES = {"joblib": ("joblib", joblib_engine), "Dask": ("distributed", dask_engine)}


def main(picture: Path, quick: bool) -> None:
    digits = load_digits()
    order = nn.keys.generator(nn.key(0)).permutation(len(digits.target))
    data = (digits.data[order] / 16).astype(np.float32), digits.target[order]
    rates, strengths, seeds = (RATES[1:3], STRENGTHS[:2], 2) if quick else (RATES, STRENGTHS, SEEDS)
    settings = [{"rate": rate, "strength": strength} for rate, strength in product(rates, strengths)]
    task = partial(train_group, epochs=2 if quick else EPOCHS)
    run = partial(distributed.sweep, task, settings, range(seeds), data)  # with one BLAS thread in each worker

    def timed(name: str, engine: Any, members: int) -> list[distributed.Trial]:
        begun = perf_counter()
        trials = run(engine=engine, members=members)
        seconds[name] = perf_counter() - begun
        faster = seconds["one by one"] / seconds[name]
        print(f"{name}: {len(trials)} networks in {seconds[name]:.1f} s, {faster:.1f} times as fast as one by one")
        return trials

    seconds: dict[str, float] = {}
    timed("one by one", None, 1)
    expected = timed("stacks, one process", None, 16)
    for name, (package, opened) in ENGINES.items():
        if find_spec(package) is None:
            print(f"{name} is not installed")
            continue
        with opened() as engine:
            distributed.sweep(task, settings[:1], range(WORKERS), data, engine=engine, members=1)  # starts the workers
            trials = timed(f"{name}, {WORKERS} processes", engine, 16)
        assert trials == expected  # bit-identical, whichever process computed what
        validation = np.array([trial.result["validation"] for trial in trials]).reshape(len(rates), len(strengths), -1)
        print_table(rates, strengths, validation)

    best = int(validation.mean(axis=-1).argmax())
    test = np.array([trial.result["test"] for trial in expected]).reshape(len(settings), -1)[best]
    rate, strength = settings[best].values()
    print(f"the best, rate {rate:g} and λ {strength:g}: {test.mean():.1%} ± {half_width(test):.1%} on the test images")
    draw(picture, rates, strengths, validation, seconds)


def half_width(runs: NDArray[Any]) -> Any:
    """The half width of the 95 % interval of the mean over the last axis, t·s/√n."""
    from scipy.stats import t

    n = runs.shape[-1]
    return t.ppf(0.975, n - 1) * runs.std(axis=-1, ddof=1) / np.sqrt(n)


def print_table(rates: Sequence[float], strengths: Sequence[float], accuracy: NDArray[Any]) -> None:
    """Plots (rates, strengths, seeds) accuracies: the mean and the half width of its 95 % interval."""
    print("    rate   " + "".join(f"λ = {strength:<12g}" for strength in strengths).rstrip())
    for rate, mean, half in zip(rates, accuracy.mean(axis=-1), half_width(accuracy), strict=True):
        print(f"    {rate:<7g}" + "".join(f"{m:.1%} ± {h:<8.1%}" for m, h in zip(mean, half, strict=True)).rstrip())


def draw(
    picture: Path,
    rates: Sequence[float],
    strengths: Sequence[float],
    accuracy: NDArray[Any],
    seconds: dict[str, float],
) -> None:
    rcParams.update(plots.STYLE)
    fig = plots.figure(10, 3.8)
    left, right = fig.subplots(1, 2)
    for i, strength in enumerate(strengths):
        at = np.array(rates) * 1.05 ** (i - 1.5)  # side by side
        look: dict[str, Any] = {
            "color": plots.COLOURS[i],
            "marker": plots.MARKERS[i],
            "capsize": 2,
            "label": f"{strength:g}",
        }
        left.errorbar(at, 100 * accuracy[:, i].mean(axis=-1), 100 * half_width(accuracy[:, i]), **look)
    left.set(xscale="log", xlabel="learning rate", ylabel="validation accuracy (%)")
    left.set_title(f"mean and its 95 % interval, {accuracy.shape[-1]} seeds")
    left.legend(title="L2 strength λ")
    bars = right.barh(list(seconds), list(seconds.values()), color=plots.COLOURS[0])
    right.bar_label(bars, fmt="%.1f s", padding=3)
    right.invert_yaxis()
    right.set(xlabel="seconds", title=f"{accuracy.size} networks")
    right.margins(x=0.12)
    for ax in (left, right):
        plots.axes.plain(ax)
    fig.savefig(picture)


if __name__ == "__main__":
    main(Path(__file__).with_suffix(".png"), "--quick" in sys.argv)
