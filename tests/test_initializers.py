"""Initializers: variances by the formulas, names, reproducibility."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import nnfunc as nn
from nnfunc.initializers import INITIALIZERS

VARIANCES = {
    "random": 0.01**2,
    "uniform": 0.05**2 / 3,
    "he": 2 / 300,
    "he_normal": 2 / 300,
    "he_uniform": 2 / 300,
    "glorot": 2 / 700,
    "glorot_normal": 2 / 700,
    "glorot_uniform": 2 / 700,
    "xavier": 2 / 700,
    "xavier_normal": 2 / 700,
    "xavier_uniform": 2 / 700,
    "lecun": 1 / 300,
    "lecun_normal": 1 / 300,
    "lecun_uniform": 1 / 300,
    "orthogonal": 1 / 400,
    "zeros": 0.0,
    "ones": 0.0,
    "constant": 0.0,
}


@pytest.mark.parametrize("name", INITIALIZERS)
def test_variance_mean_dtype_and_key(name: str) -> None:
    W = INITIALIZERS[name](nn.key(0), (300, 400), np.float64)
    assert W.var() == pytest.approx(VARIANCES[name], rel=0.02)
    assert W.mean() == pytest.approx(1.0 if name in ("constant", "ones") else 0.0, abs=1e-3)
    again = INITIALIZERS[name](nn.key(0), (300, 400), np.float32)
    assert again.dtype == np.float32
    np.testing.assert_array_equal(again, W.astype(np.float32))
    if VARIANCES[name]:
        assert not np.array_equal(W, INITIALIZERS[name](nn.key(1), (300, 400), np.float64))
        if "uniform" in name:
            assert abs(W).max() <= np.sqrt(3 * VARIANCES[name])
        elif name != "orthogonal":  # kurtosis of a normal distribution
            assert np.mean(W**4) / np.var(W) ** 2 == pytest.approx(3, rel=0.05)


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4), (2, 3, 4)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    W = nn.initializers.orthogonal(nn.key(0), shape, np.float64, gain=2.0).reshape(-1, shape[-1])
    gram = W.T @ W if W.shape[0] >= W.shape[1] else W @ W.T
    np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), atol=1e-12)


def test_the_window_of_a_convolution_counts() -> None:
    W = nn.initializers.he_normal(nn.key(0), (3, 3, 50, 60), np.float64)
    assert W.var() == pytest.approx(2 / (9 * 50), rel=0.03)


def test_own_initializers_and_wrong_ones() -> None:
    layer = nn.dense(3, partial(nn.initializers.constant, value=0.5), bias_initializer="constant")
    params, _ = layer.init(nn.key(0), (2,))
    assert (params["W"] == 0.5).all()
    assert (params["b"] == 1).all()
    with pytest.raises(ValueError, match=r"unknown initializer 'hee': did you mean 'he'\? Known: constant"):
        nn.dense(3, "hee")
    with pytest.raises(ValueError, match="unknown initializer 'glorrot'"):
        nn.mlp([2, 1], ["relu"], initializer="glorrot")
    with pytest.raises(ValueError, match=r"gave shape \(3, 2\), expected \(2, 3\)"):
        nn.dense(3, lambda key, shape, dtype=np.float32: np.zeros(shape[::-1])).init(nn.key(0), (2,))
