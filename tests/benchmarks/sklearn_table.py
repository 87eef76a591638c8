"""Scores and times of the scikit-learn estimators beside MLPClassifier and MLPRegressor, as a Markdown table.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.sklearn_table

Equal work: hidden layers of 64 and 32, Glorot's uniform weights, Adam with one learning rate and Kingma & Ba's ε, no
penalty, batches of 64, as many epochs (theirs never stops early), the same folds behind a StandardScaler. What differs:
the random numbers (so many seeds, and the mean difference over them with its standard error) and their random initial
biases. The scores are those of float64, the default of both; float32 is timed beside it.
"""

from __future__ import annotations

import time
import warnings

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import nnfunc as nn
from nnfunc.interop.sklearn import NNClassifier, NNRegressor

HIDDEN, RATE, BATCH, SEEDS = (64, 32), 1e-3, 64, 20
TASKS = {
    "digits": (load_digits, 50),
    "wine": (load_wine, 100),
    "breast cancer": (load_breast_cancer, 50),
    "iris": (load_iris, 100),
    "diabetes": (load_diabetes, 100),
}
"""The data, and the number of epochs."""


def ours(name: str, epochs: int, seed: int, dtype: type[np.floating]) -> BaseEstimator:
    kind = NNRegressor if name == "diabetes" else NNClassifier
    optimizer = nn.adam(RATE, eps=1e-8, eps_root=0.0)
    return kind(
        hidden_layer_sizes=HIDDEN, optimizer=optimizer, batch_size=BATCH, epochs=epochs, random_state=seed, dtype=dtype
    )


def theirs(name: str, epochs: int, seed: int) -> BaseEstimator:
    kind = MLPRegressor if name == "diabetes" else MLPClassifier
    return kind(
        hidden_layer_sizes=HIDDEN,
        learning_rate_init=RATE,
        alpha=0.0,
        batch_size=BATCH,
        max_iter=epochs,
        tol=0.0,
        n_iter_no_change=10**9,
        random_state=seed,
    )


def measured(estimator: BaseEstimator, name: str, seed: int) -> tuple[float, float]:
    """The mean score of 5 folds and the seconds that fitting and scoring them took."""
    data = TASKS[name][0]()
    folds = (KFold if name == "diabetes" else StratifiedKFold)(5, shuffle=True, random_state=seed)
    start = time.perf_counter()
    scores = cross_val_score(make_pipeline(StandardScaler(), estimator), data.data, data.target, cv=folds)
    return float(scores.mean()), time.perf_counter() - start


def main() -> None:
    warnings.simplefilter("ignore", ConvergenceWarning)  # that theirs reached max_iter is what is meant
    print("| data | epochs | score, nnfunc | score, MLP* | difference | seconds, nnfunc | float32 | MLP* | ratio |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, (_, epochs) in TASKS.items():
        rows = []
        for seed in range(SEEDS):  # in turn, so that a busy minute of the machine falls on all
            both = [ours(name, epochs, seed, dtype) for dtype in (np.float64, np.float32)]
            rows.append([measured(each, name, seed) for each in (*both, theirs(name, epochs, seed))])
        scores, seconds = np.array(rows)[:, :, 0], np.median(np.array(rows)[:, :, 1], axis=0)
        mean, differences = scores.mean(axis=0), scores[:, 0] - scores[:, 2]
        error = differences.std(ddof=1) / np.sqrt(SEEDS)
        print(
            f"| {name} | {epochs} | {mean[0]:.4f} | {mean[2]:.4f} | {differences.mean():+.4f} ± {error:.4f} "
            f"| {seconds[0]:.2f} | {seconds[1]:.2f} | {seconds[2]:.2f} | {seconds[0] / seconds[2]:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
