"""A literal transcription of the formulas that the project is built on, in their own layout:
arrays are (features, examples), W is (outputs, inputs), everything float64.
Deliberately plain and slow: a reference, not a library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nnfunc.arrays import Array

Weights = dict[str, Array]


def sigmoid(Z: Array) -> Array:
    out: Array = 1 / (1 + np.exp(-Z))
    return out


def softmax(Z: Array) -> Array:
    e = np.exp(Z - Z.max(axis=0))
    out: Array = e / e.sum(axis=0)
    return out


def relu(Z: Array) -> Array:
    return np.maximum(0, Z)


def activation(name: str, Z: Array) -> Array:
    functions: dict[str, Callable[[Array], Array]] = {"sigmoid": sigmoid, "softmax": softmax, "relu": relu}
    return np.tanh(Z) if name == "tanh" else functions[name](Z)


def activation_backward(name: str, dA: Array, Z: Array) -> Array:
    A = activation(name, Z)
    if name == "softmax":  # column by column: dZ = (diag(a) − a aᵀ) dA
        columns = [(np.diag(a) - np.outer(a, a)) @ d for a, d in zip(A.T, dA.T, strict=True)]
        return np.array(columns).T
    slope: Array = {"sigmoid": A * (1 - A), "relu": (Z > 0).astype(float), "tanh": 1 - A**2}[name]
    return dA * slope


def cost(name: str, A: Array, Y: Array) -> float:
    m = A.shape[1]
    if name == "binary":
        return float(-np.sum(Y * np.log(A) + (1 - Y) * np.log(1 - A)) / m)
    if name == "categorical":
        return float(-np.sum(Y * np.log(A)) / m)
    return float(-np.sum(np.log([A[int(y), i] for i, y in enumerate(Y)])) / m)


def cost_backward(name: str, A: Array, Y: Array) -> Array:
    m: int = A.shape[1]
    if name == "binary":
        return -(Y / A - (1 - Y) / (1 - A)) / m
    if name == "categorical":
        return -(Y / A) / m
    dA = np.zeros_like(A)
    for i, y in enumerate(Y):
        dA[int(y), i] = -1 / A[int(y), i] / m
    return dA


def batch_norm(Z: Array, gamma: Array, beta: Array) -> tuple[Array, Array, Array, Array]:
    mean, var = Z.mean(axis=1, keepdims=True), Z.var(axis=1, keepdims=True)
    Z_hat = (Z - mean) / np.sqrt(var + 1e-5)
    return gamma * Z_hat + beta, Z_hat, mean, var


def batch_norm_backward(d: Array, Z: Array, gamma: Array) -> tuple[Array, Array, Array]:
    """Ioffe & Szegedy's equations, one after the other."""
    m = Z.shape[1]
    mean, var = Z.mean(axis=1, keepdims=True), Z.var(axis=1, keepdims=True)
    Z_hat = (Z - mean) / np.sqrt(var + 1e-5)
    d_hat = d * gamma
    d_var = np.sum(d_hat * (Z - mean) * -0.5 * (var + 1e-5) ** -1.5, axis=1, keepdims=True)
    d_mean = np.sum(-d_hat / np.sqrt(var + 1e-5), axis=1, keepdims=True)
    d_mean += d_var * np.sum(-2 * (Z - mean), axis=1, keepdims=True) / m
    dZ = d_hat / np.sqrt(var + 1e-5) + d_var * 2 * (Z - mean) / m + d_mean / m
    return dZ, np.sum(d * Z_hat, axis=1, keepdims=True), np.sum(d, axis=1, keepdims=True)


def train(
    weights: Weights,
    activations: list[str],
    loss: str,
    batches: list[tuple[Array, Array]],
    optimizer: str,
    alpha: float,
    lambd: float = 0.0,
    keep_prob: float = 1.0,
    masks: list[list[Array]] | None = None,
    norm: bool = False,
) -> tuple[Weights, list[float], dict[str, Array]]:
    """A whole run: the weights after all batches, the cost of each batch before its update, the running averages."""
    beta1, beta2, eps = 0.9, 0.999, 1e-8
    w = dict(weights)
    V: dict[str, Any] = {k: np.zeros_like(v) for k, v in w.items()}
    S: dict[str, Any] = {k: np.zeros_like(v) for k, v in w.items()}
    running: dict[str, Array] = {}
    costs, L = [], len(activations)
    for t, (X, Y) in enumerate(batches, 1):
        m = X.shape[1]
        A: Array = X
        A_prev: list[Array] = []
        pre: list[Array] = []
        Zs: list[Array] = []
        Ds: list[Array] = []
        for i in range(1, L + 1):
            A_prev.append(A)
            Z: Array = w[f"W{i}"] @ A + w[f"b{i}"]
            pre.append(Z)
            if norm and i < L:
                Z, _, mean, var = batch_norm(Z, w[f"gamma{i}"], w[f"beta{i}"])
                running[f"mean{i}"] = 0.9 * running.get(f"mean{i}", np.zeros_like(mean)) + 0.1 * mean
                running[f"var{i}"] = 0.9 * running.get(f"var{i}", np.ones_like(var)) + 0.1 * var
            Zs.append(Z)
            A = activation(activations[i - 1], Z)
            D: Array = np.ones_like(A)
            if i < L and masks is not None:
                D = masks[t - 1][i - 1]
                A = A * D / keep_prob
            Ds.append(D)
        penalty = lambd / (2 * m) * sum(np.sum(np.square(w[f"W{i}"])) for i in range(1, L + 1))
        costs.append(cost(loss, A, Y) + float(penalty))
        g: Weights = {}
        dA = cost_backward(loss, A, Y)
        for i in range(L, 0, -1):
            if i < L and masks is not None:
                dA = dA * Ds[i - 1] / keep_prob
            dZ = activation_backward(activations[i - 1], dA, Zs[i - 1])
            if norm and i < L:
                dZ, g[f"gamma{i}"], g[f"beta{i}"] = batch_norm_backward(dZ, pre[i - 1], w[f"gamma{i}"])
            g[f"W{i}"] = dZ @ A_prev[i - 1].T + lambd / m * w[f"W{i}"]
            g[f"b{i}"] = np.sum(dZ, axis=1, keepdims=True)
            dA = w[f"W{i}"].T @ dZ
        for k in w:
            if optimizer == "gd":
                w[k] = w[k] - alpha * g[k]
            elif optimizer == "momentum":
                V[k] = beta1 * V[k] + (1 - beta1) * g[k]
                w[k] = w[k] - alpha * V[k]
            elif optimizer == "rmsprop":
                S[k] = beta2 * S[k] + (1 - beta2) * g[k] ** 2
                w[k] = w[k] - alpha * g[k] / np.sqrt(S[k] + eps)
            else:
                V[k] = beta1 * V[k] + (1 - beta1) * g[k]
                S[k] = beta2 * S[k] + (1 - beta2) * g[k] ** 2
                V_hat, S_hat = V[k] / (1 - beta1**t), S[k] / (1 - beta2**t)
                w[k] = w[k] - alpha * V_hat / np.sqrt(S_hat + eps)
    return w, costs, running
