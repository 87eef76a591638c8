"""The scikit-learn regressor."""

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
    """A neural network regressor for one or several outputs (y of shape (examples, outputs)).

    The arguments and attributes are those of `NNClassifier`, except class_weight and classes_. The network ends with
    `nn.dense`; the default loss is the mean squared error. y is not scaled: do so if it is far from 0 or large
    (`sklearn.compose.TransformedTargetRegressor`). With loss=nn.losses.quantile([0.1, 0.5, 0.9]) the network has one
    output per level, for a single target: `predict` returns (examples, levels), and `score` is that of the level
    closest to ½.

    >>> X = np.linspace(-1, 1, 100)[:, None]
    >>> net = NNRegressor(hidden_layer_sizes=(32,), learning_rate=0.01, random_state=0)
    >>> net.fit(X, np.sin(3 * X[:, 0])).score(X, np.sin(3 * X[:, 0])) > 0.99
    True
    """

    def partial_fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Trains for one epoch on this data, in shuffled batches: k calls with the same data are identical to epochs=k.

        Args:
            X, y, sample_weight: see `fit`.

        >>> X = np.linspace(-1, 1, 100)[:, None]
        >>> once, twice = (NNRegressor(epochs=n, random_state=0).fit(X, X[:, 0]) for n in (1, 2))
        >>> nn.arrays.equal(once.partial_fit(X, X[:, 0]).state_.params, twice.state_.params)
        True
        """
        return self._train((X, y, sample_weight), (None, None, None), 1, None, True)

    def predict(self, X: ArrayLike) -> Array:
        """Returns the outputs, (examples, outputs) or (examples,), computed in float64 as scikit-learn requires."""
        y = self._outputs(X, np.float64)
        return y[:, 0] if y.shape[1] == 1 else y

    def _begin(self, y: Labels, weights: Weights, loss: nn.Loss | None, classes: Classes, goes_on: bool) -> Head:
        levels = self._levels = levels_of(loss)
        if levels and y.ndim > 1:
            raise ValueError(f"y has {y.shape[1]} columns, but quantile with the levels {levels} is for one target")
        outputs = len(levels) or (1 if y.ndim == 1 else y.shape[1])
        return Head(outputs, "identity", nn.mean_squared_error, nn.mean_squared_error)

    def _targets(self, y: Labels, weights: Weights, loss: nn.Loss) -> Rows:
        target = y.astype(self.dtype).reshape(len(y), -1)
        target = np.repeat(target, max(len(levels_of(loss)), 1), axis=1)
        return (target,) if weights is None else (target, weights)

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """The coefficient of determination R² of `predict`."""
        if not getattr(self, "_levels", ()):
            return super().score(X, y, sample_weight)
        from sklearn.metrics import r2_score

        middle = int(np.argmin(np.abs(np.array(self._levels) - 0.5)))
        return float(r2_score(y, self.predict(X)[:, middle], sample_weight=sample_weight))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def levels_of(loss: nn.Loss | None) -> tuple[float, ...]:
    """The levels of a quantile loss with several levels; otherwise ()."""
    level = None if loss is None or loss.own is not None else loss.settings.get("level")
    return level if isinstance(level, tuple) else ()
