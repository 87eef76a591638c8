"""Whole training runs against the literal transcription of the formulas, to 1e-10 relative."""

from __future__ import annotations

import numpy as np
import pytest

import nnfunc as nn
from nnfunc.arrays import Array, ArrayDict
from nnfunc.keys import Keys
from tests import readme_formulas

LOSSES = {
    "binary": nn.binary_cross_entropy,
    "categorical": nn.categorical_cross_entropy,
    "sparse": nn.sparse_categorical_cross_entropy,
}
RUNS = {
    "binary": (["relu", "tanh", "sigmoid"], [5, 4, 3, 1]),
    "several binary outputs": (["tanh", "sigmoid"], [5, 4, 3]),
    "categorical": (["relu", "relu", "relu", "softmax"], [5, 3, 4, 3, 3]),
    "categorical, softmax inside": (["softmax", "softmax"], [5, 4, 3]),
    "sparse": (["sigmoid", "softmax"], [5, 6, 4]),
}


def as_readme(params: ArrayDict) -> dict[str, Array]:
    """Our parameters under the README's names, transposed."""
    short = {"dense": "", "batch_norm": ""}
    out = {}
    for name, array in params.items():
        layer, part = name.split(".")
        number = layer.lstrip("".join({c for k in short for c in k}))
        out[f"{part}{number}"] = np.atleast_2d(array).T if array.ndim == 1 else array.T
    return out


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("optimizer", ["gd", "momentum", "rmsprop", "adam"])
@pytest.mark.parametrize("variant", ["plain", "l2", "dropout", "batch_norm"])
def test_training_is_the_readmes(run: str, optimizer: str, variant: str) -> None:
    activations, dims = RUNS[run]
    loss = "binary" if "binary" in run else run.split(",")[0]
    keep = 0.7 if variant == "dropout" else 1.0
    lambd = 0.3 if variant == "l2" else 0.0
    model = nn.mlp(dims, activations, keep_prob=keep, batch_norm=variant == "batch_norm")
    rule = {"gd": nn.gd, "momentum": nn.momentum, "rmsprop": nn.rmsprop, "adam": nn.adam}[optimizer](0.01)
    step = nn.train_step(model, LOSSES[loss], rule, penalty=nn.l2(lambd))
    ts = nn.train_state(model, rule, nn.key(1), (dims[0],), np.float64)

    rng = np.random.default_rng(2)
    X = rng.normal(size=(50, dims[0]))
    classes = rng.integers(0, dims[-1], size=50)
    Y = {
        "binary": rng.integers(0, 2, size=(50, dims[-1])),
        "categorical": np.eye(dims[-1])[classes],
        "sparse": classes,
    }[loss]
    batches = [b for epoch in range(4) for b in nn.minibatches(nn.key(epoch), (X, Y), batch_size=16)]
    masks = [dropout_masks(model, ts.key, i, len(b[0])) for i, b in enumerate(batches)] if keep < 1 else None

    weights, costs, running = readme_formulas.train(
        as_readme(ts.params),
        activations,
        loss,
        [(np.asarray(x.T, float), np.asarray(y.T)) for x, y in batches],
        optimizer,
        0.01,
        lambd,
        keep,
        masks,
        norm=variant == "batch_norm",
    )
    for batch, expected in zip(batches, costs, strict=True):
        ts, metrics = step(ts, batch)
        assert metrics.loss == pytest.approx(expected, rel=1e-10)
    ours = as_readme(ts.params)
    assert ours.keys() == weights.keys()
    for k in weights:
        # a bias before batch norm has the gradient 0, so it is 0 and rounding
        np.testing.assert_allclose(ours[k], weights[k], rtol=1e-10, atol=1e-12, err_msg=k)
    for k, value in as_readme(ts.state).items():
        np.testing.assert_allclose(value, running[k], rtol=1e-10, atol=1e-12)


def dropout_masks(model: nn.Layer, key: Keys, step: int, m: int) -> list[Array]:
    """The 0-1 masks that the dropout layers of a model draw in a step, in the README's layout."""
    masks: list[Array] = []
    widths = [layer.settings["units"] for name, layer in model.layers if "dense" in name]
    for i, (name, layer) in enumerate(model.layers):
        if "dropout" in name:
            ones = np.ones((m, widths[len(masks)]))
            layer_key = nn.fold_in(nn.fold_in(key, step), i)
            kept, _, _ = layer.forward(nn.arrays.EMPTY, nn.arrays.EMPTY, ones, key=layer_key, train=True)
            masks.append((kept > 0).T.astype(float))
    return masks


def test_initialisation_is_the_readmes() -> None:
    W = nn.dense(300, "random").init(nn.key(0), (400,), np.float64)[0]["W"]
    assert W.std() == pytest.approx(0.01, rel=0.01)
    W = nn.dense(300).init(nn.key(0), (400,), np.float64)[0]["W"]
    assert W.std() == pytest.approx(np.sqrt(2 / 400), rel=0.01)
    assert not nn.dense(300).init(nn.key(0), (400,))[0]["b"].any()
