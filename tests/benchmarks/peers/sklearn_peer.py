"""scikit-learn's MLPClassifier, a step being a `partial_fit` of one batch."""

from __future__ import annotations

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
    del model._optimizer  # made anew by the next partial_fit: its moments are those of the step above
    return model


def steps(task: Task) -> list[Contestant]:
    model = classifier(task)
    batches = cycle([(x, y.ravel().astype(int)) for x, y in task.batches()])

    def run() -> float:
        model.partial_fit(*next(batches))
        return float(model.loss_)

    return [Contestant("scikit-learn", run)]


def predictors(task: Task) -> list[Contestant]:
    model, (x, _) = classifier(task), task.rows(10_000)

    def run() -> Array:
        probabilities = model.predict_proba(x)
        return probabilities[:, 1:] if task.binary else probabilities

    return [Contestant("scikit-learn", run)]
