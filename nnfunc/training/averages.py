"""Re-estimation of batch norm's running averages for parameters that did not occur in training."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnfunc.arrays import ArrayDict
from nnfunc.core.layer import Layer
from nnfunc.core.values import Value, leaves
from nnfunc.evaluation.predict import Given, trained
from nnfunc.keys import Key, fold_in
from nnfunc.layers.normalization import batch_norm
from nnfunc.layers.structure import map_layers
from nnfunc.training.batches import minibatches, row_count


def fresh_averages(
    model: Layer, ts: Given, X: Value, batch_size: int | None = 64, *, key: Key | None = None
) -> ArrayDict:
    """Re-estimates running averages from X: the means and variances of its batches, weighted by their number of rows.

    For parameters that are themselves averages (`nn.optimizers.ema`, `lookahead`, or the mean of several states, as in
    stochastic weight averaging, Izmailov et al., UAI 2018), which the running averages from training do not fit.

    Args:
        model, ts: see `nn.predict`; a single network.
        X: the inputs to estimate from, usually the training data.
        batch_size: rows per batch; a last batch with a single row is skipped.
        key: the key of dropout masks, for models with dropout.
    Raises:
        ValueError: fewer than two rows, or a stack of networks.

    >>> model = nn.serial(nn.batch_norm(), nn.dense(1))
    >>> ts = nn.train_state(model, nn.optimizers.ema("adam"), nn.key(0), (2,), np.float64)
    >>> X = np.array([[1.0, 0.0], [3.0, 4.0]])
    >>> ts = ts._replace(params=nn.optimizers.averaged(ts.opt_state))
    >>> ts = ts._replace(state=nn.training.fresh_averages(model, ts, X))
    >>> ts.state["batch_norm1.mean"], ts.state["batch_norm1.var"]
    (array([2., 2.]), array([1., 4.]))
    """
    given = trained(model, ts, "fresh_averages(model, ts, X)")
    if given.params.stack_shape:
        raise ValueError("ts is a stack of networks: expected a single network, one of nn.unstack(ts)")
    count = row_count(leaves(X)[0])
    if count < 2:
        raise ValueError(f"X has {count} row, expected at least two: a single row has no statistics")

    def at_once(_: str, layer: Layer) -> Layer:  # momentum 0: the averages are those of the last batch
        return batch_norm(layer.settings["eps"], momentum=0.0) if layer.name == "batch_norm" else layer

    moving, total, rows = map_layers(at_once, model), np.zeros(given.state.vector.shape), 0
    for i, (x,) in enumerate(minibatches(None, (X,), batch_size)):
        n = row_count(leaves(x)[0])
        if n > 1:
            own: Any = None if key is None else fold_in(key, i)
            _, _, state = moving.forward(given.params, given.state, x, key=own, train=True)
            total, rows = total + n * state.vector, rows + n
    return given.state.with_vector(total / rows)
