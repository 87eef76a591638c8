"""Backward compatibility: runs, initial parameters and masks keep their bits, files of earlier versions load.

`tests/data/` was written by version 0.1.0, before a model became a program:

    runs.npz      for each of `RUNS` the bytes that it gave, and of `probe` those of the machine that wrote them
    version_1.npz, version_1.safetensors    a train state with its model, format version 1
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import nnfunc as nn

DATA = Path(__file__).parent / "data"
Run = Callable[[], NDArray[Any]]


def data(outputs: int, kind: str) -> tuple[NDArray[Any], NDArray[Any]]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(37, 5))
    targets: dict[str, Callable[[], NDArray[Any]]] = {
        "classes": lambda: rng.integers(0, outputs, size=37),
        "one-hot": lambda: np.eye(outputs)[rng.integers(0, outputs, size=37)],
        "bits": lambda: rng.integers(0, 2, size=(37, outputs)),
        "reals": lambda: rng.normal(size=(37, outputs)),
    }
    return x, targets[kind]()


def trained(
    model: nn.Layer,
    loss: nn.Loss,
    optimizer: nn.Optimizer,
    kind: str,
    outputs: int = 3,
    *,
    penalty: nn.Penalty | None = None,
    class_weights: list[float] | None = None,
    weighted: bool = False,
    dtype: type[np.floating] = np.float32,
    keys: int = 0,
) -> NDArray[Any]:
    """The vector of the parameters after two epochs."""
    x, target = data(outputs, kind)
    step = nn.train_step(model, loss, optimizer, penalty=penalty, class_weights=class_weights)
    key = nn.split(nn.key(3), keys) if keys else nn.key(3)
    ts = nn.train_state(model, optimizer, key, input_shape=(5,), dtype=dtype)
    parts = (x, target, np.linspace(0.0, 2.0, 37)) if weighted else (x, target)
    *_, epoch = nn.train(step, ts, parts, epochs=2, batch_size=16, key=nn.key(4))
    return np.concatenate([epoch.state.params.vector, epoch.state.state.vector], axis=-1)


def own(params: nn.ArrayDict, x: nn.Array) -> tuple[nn.Array, Any]:
    return x * params["a"], x


def own_backward(params: nn.ArrayDict, x: nn.Array, dy: nn.Array) -> tuple[nn.Array, dict[str, nn.Array]]:
    return dy * params["a"], {"a": (dy * x).sum(axis=0)}


def forward_in_training() -> NDArray[Any]:
    model = nn.serial(nn.dropout(0.5), nn.residual(nn.dropout(0.7), nn.identity()), nn.dropout(0.9))
    return np.asarray(
        model.forward(nn.arrays.EMPTY, nn.arrays.EMPTY, np.ones((6, 7), np.float32), key=nn.key(5), train=True)[0]
    )


RUNS: dict[str, Run] = {
    "initial parameters": lambda: nn.mlp([5, 16, 8, 3], ["relu", "tanh", "softmax"]).init(nn.key(1), (5,))[0].vector,
    "initial parameters, nested": lambda: (
        nn.serial(nn.dense(4, "glorot", "random"), nn.residual(nn.dense(4, "orthogonal"), nn.layer_norm()), nn.dense(2))
        .init(nn.key(2), (5,), np.float64)[0]
        .vector
    ),
    "masks": forward_in_training,
    "adam, dropout, batch norm, l2": lambda: trained(
        nn.mlp([5, 16, 16, 3], ["relu", "tanh", "softmax"], keep_prob=0.8, batch_norm=True),
        nn.sparse_categorical_cross_entropy,
        nn.adam(0.01),
        "classes",
        penalty=nn.l2(0.1),
    ),
    "gd, sigmoid, float64": lambda: trained(
        nn.mlp([5, 8, 3], ["sigmoid", "sigmoid"]), nn.binary_cross_entropy, nn.gd(0.1), "bits", dtype=np.float64
    ),
    "momentum, residual, layer norm": lambda: trained(
        nn.serial(nn.dense(8), nn.residual(nn.layer_norm(), nn.dense(8), nn.gelu(True)), nn.dense(3)),
        nn.huber(0.5),
        nn.momentum(0.05),
        "reals",
    ),
    "nesterov, elu, l1": lambda: trained(
        nn.mlp([5, 8, 3], ["elu", "identity"]), nn.mean_absolute_error, nn.nesterov(0.01), "reals", penalty=nn.l1(0.1)
    ),
    "rmsprop, clipped, class weights": lambda: trained(
        nn.mlp([5, 8, 3], ["leaky_relu", "softmax"]),
        nn.categorical_cross_entropy,
        nn.clip_by_global_norm(nn.rmsprop(0.01), 0.5),
        "one-hot",
        class_weights=[1.0, 2.0, 0.5],
    ),
    "adamw by name, schedule": lambda: trained(
        nn.mlp([5, 8, 3], ["silu", "identity"]),
        nn.sparse_categorical_cross_entropy_with_logits,
        nn.adamw({"dense1.*": 0.001, "*": nn.schedules.cosine_decay(0.01, 6)}, weight_decay={"*W": 0.1, "*": 0.0}),
        "classes",
    ),
    "adagrad, weights": lambda: trained(
        nn.mlp([5, 8, 3], ["softplus", "identity"]), nn.mean_squared_error, nn.adagrad(0.1), "reals", weighted=True
    ),
    "a layer of one's own": lambda: trained(
        nn.serial(nn.dense(8), nn.layer(own, own_backward, {"a": np.full(8, 0.5)}, "own"), nn.selu(), nn.dense(3)),
        nn.mean_squared_error,
        nn.adam(0.01),
        "reals",
    ),
    "a stack of 3": lambda: trained(
        nn.mlp([5, 8, 3], ["relu", "softmax"], keep_prob=0.7, batch_norm=True),
        nn.sparse_categorical_cross_entropy,
        nn.adam(np.array([0.1, 0.01, 0.001])),
        "classes",
        keys=3,
    ),
}


def probe() -> NDArray[Any]:
    """The bits of this machine's products, exponentials, roots and factors, of the sizes of the runs."""
    rng = np.random.default_rng(1)
    found = []
    for dtype in (np.float32, np.float64):
        for m, n, k in ((16, 5, 16), (16, 16, 3), (5, 8, 3)):
            a, b = rng.normal(size=(m, n)).astype(dtype), rng.normal(size=(n, k)).astype(dtype)
            product = a.dot(b)
            found += [product, a.T.dot(product), np.matmul(np.stack([a, a]), b)]
            found += [np.exp(a), np.tanh(a), np.log(np.square(a))]
    found += [np.linalg.qr(rng.normal(size=shape)).Q for shape in ((4, 4), (5, 4), (8, 4))]
    return np.concatenate([f.astype(np.float64).ravel() for f in found])


@pytest.mark.parametrize("name", RUNS)
def test_runs_keep_their_bits(name: str) -> None:
    with np.load(DATA / "runs.npz") as before:
        expected, same_machine = before[name], np.array_equal(before["probe"], probe())
    result = RUNS[name]()
    assert (result.dtype, result.shape) == (expected.dtype, expected.shape)
    if same_machine or name in ("initial parameters", "masks"):
        np.testing.assert_array_equal(result, expected)
    else:  # another BLAS or another NumPy rounds otherwise
        np.testing.assert_allclose(result, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_files_of_version_1_load(suffix: str) -> None:
    saved = nn.load(DATA / f"version_1{suffix}")
    assert saved.model == nn.mlp([5, 8, 3], ["relu", "softmax"], keep_prob=0.8, batch_norm=True)
    assert (saved.state.step, saved.state.key) == (3, nn.split(nn.key(0))[1])
    fresh = nn.train_state(saved.model, nn.adam(), nn.key(0), (5,))
    assert [list(d) for d in saved.state[:3]] == [list(d) for d in fresh[:3]]
    with np.load(DATA / "runs.npz") as before:
        np.testing.assert_array_equal(saved.state.params.vector, before["version_1"])
