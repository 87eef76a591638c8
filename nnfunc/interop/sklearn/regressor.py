"""The regressor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import RegressorMixin
from sklearn.utils import Tags

import nnfunc as nn
from nnfunc.arrays import Array
from nnfunc.interop.sklearn._base import Classes, Head, Labels, Network, Rows, Weights

__all__ = ["NNRegressor"]


@dataclass(kw_only=True, eq=False, repr=False)
class NNRegressor(RegressorMixin, Network):
    """A network that predicts numbers: one, or several outputs (y of shape (examples, outputs)).

    Args: those of `NNClassifier` without class_weight. The network ends with `nn.dense`; the default loss is the mean
    squared error. y is taken as it comes: scale it where it is far from 0 or large
    (`sklearn.compose.TransformedTargetRegressor`).
    Attributes: those of `NNClassifier` without classes_.

    >>> X = np.linspace(-1, 1, 100)[:, None]
    >>> net = NNRegressor(hidden_layer_sizes=(32,), learning_rate=0.01, random_state=0)
    >>> net.fit(X, np.sin(3 * X[:, 0])).score(X, np.sin(3 * X[:, 0])) > 0.99
    True
    """

    def partial_fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """One epoch over these data, in batches of shuffled rows: k calls with the same data have the bits of epochs=k.

        Args:
            X, y, sample_weight: see `fit`.

        >>> X = np.linspace(-1, 1, 100)[:, None]
        >>> once, twice = (NNRegressor(epochs=n, random_state=0).fit(X, X[:, 0]) for n in (1, 2))
        >>> nn.equal(once.partial_fit(X, X[:, 0]).state_.params, twice.state_.params)
        True
        """
        return self._train((X, y, sample_weight), (None, None, None), 1, None, True)

    def predict(self, X: ArrayLike) -> Array:
        """The outputs (examples, outputs), or (examples,) of one; computed in float64, as scikit-learn asks."""
        y = self._outputs(X, np.float64)
        return y[:, 0] if y.shape[1] == 1 else y

    def _begin(self, y: Labels, weights: Weights, loss: nn.Loss | None, classes: Classes, goes_on: bool) -> Head:
        outputs = 1 if y.ndim == 1 else y.shape[1]
        return Head(outputs, "identity", nn.mean_squared_error, nn.mean_squared_error)

    def _targets(self, y: Labels, weights: Weights, loss: nn.Loss) -> Rows:
        target = y.astype(self.dtype).reshape(len(y), -1)
        return (target,) if weights is None else (target, weights)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
