"""scikit-learn's MLPClassifier, a step being a `partial_fit` of one batch."""

from __future__ import annotations

import math
from itertools import cycle

import numpy as np
from sklearn.neural_network import MLPClassifier

from nnfunc.arrays import Array
from tests.benchmarks.networks import LEARNING_RATE, Task
from tests.benchmarks.timing import Contestant


def classifier(task: Task) -> MLPClassifier:
    """A classifier with the task's parameters, before its first step."""
    model = MLPClassifier(
        task.dims[1:-1],
        learning_rate_init=LEARNING_RATE,
        alpha=0.0,
        batch_size=task.batch,
        shuffle=False,
        tol=0.0,
        n_iter_no_change=10**9,
    )
    x, y = task.batches()[0]
    model.partial_fit(x, y.ravel().astype(int), classes=np.arange(max(task.dims[-1], 2)))
    model.coefs_, model.intercepts_ = (list(arrays) for arrays in zip(*task.weights(), strict=True))
    optimizer = model._optimizer  # private, but the step above must be forgotten
    optimizer.t, optimizer.ms, optimizer.vs = 0, *([np.zeros_like(m) for m in optimizer.ms] for _ in range(2))
    return model


def steps(task: Task) -> list[Contestant]:
    model = classifier(task)
    optimizer = model._optimizer
    batches = cycle([(x, y.ravel().astype(int)) for x, y in task.batches()])

    def run() -> float:
        optimizer.epsilon = 1e-8 * math.sqrt(1 - 0.999 ** (optimizer.t + 1))  # it leaves ε out of the bias correction
        model.partial_fit(*next(batches))
        return float(model.loss_)

    return [Contestant("scikit-learn", run)]


def predictors(task: Task) -> list[Contestant]:
    model, (x, _) = classifier(task), task.rows(10_000)

    def run() -> Array:
        probabilities = model.predict_proba(x)
        return probabilities[:, -task.dims[-1] :]  # of two classes, the second is that of one output

    return [Contestant("scikit-learn", run)]
