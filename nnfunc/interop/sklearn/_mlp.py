"""Conversion between scikit-learn's `MLPClassifier` and `MLPRegressor` and the estimators here."""

from __future__ import annotations

from typing import Any, overload

import numpy as np
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils.validation import check_is_fitted

import nnfunc as nn
from nnfunc.arrays import Array, ArrayDict
from nnfunc.interop._weights import layers
from nnfunc.interop.sklearn.classifier import NNClassifier
from nnfunc.interop.sklearn.regressor import NNRegressor
from nnfunc.models.description import is_built_in

NAMES = {"identity": "identity", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu", "softmax": "softmax"}
"""scikit-learn's names of activations, and their names here."""


@overload
def from_mlp(mlp: MLPClassifier) -> NNClassifier: ...
@overload
def from_mlp(mlp: MLPRegressor) -> NNRegressor: ...
@overload
def from_mlp(mlp: MLPClassifier | MLPRegressor) -> NNClassifier | NNRegressor: ...
def from_mlp(mlp: MLPClassifier | MLPRegressor) -> NNClassifier | NNRegressor:
    """Returns a fitted estimator with the weights and predictions of a fitted scikit-learn network.

    Args:
        mlp: an `MLPClassifier` (binary, multiclass or multilabel) or `MLPRegressor`.
    Returns:
        an estimator with the same sizes, activations, learning_rate_init (if its solver is "adam"), alpha (as the
        equivalent penalty `nn.l2(alpha)`) and batch size, with warm_start, so that `fit` and `partial_fit` continue
        from the weights with a fresh optimizer state. `model_` and `state_.params` are the network itself.
    Raises:
        NotFittedError: the estimator is not fitted.
        ValueError: an unsupported output activation: the exponential of loss="poisson".
        TypeError: any other type.

    >>> from sklearn.neural_network import MLPClassifier
    >>> X, y = np.eye(4), np.array(["a", "b", "a", "c"])
    >>> mlp = MLPClassifier((5,), max_iter=50, tol=1.0, random_state=0).fit(X, y)
    >>> net = from_mlp(mlp)
    >>> np.allclose(net.predict_proba(X), mlp.predict_proba(X)), list(net.state_.params)
    (True, ['dense1.W', 'dense1.b', 'dense2.W', 'dense2.b'])
    """
    if not isinstance(mlp, (MLPClassifier, MLPRegressor)):
        raise TypeError(f"mlp is {type(mlp).__name__}, expected an MLPClassifier or an MLPRegressor")
    check_is_fitted(mlp, "coefs_")
    if mlp.out_activation_ not in NAMES:
        raise ValueError(f"mlp has the output activation {mlp.out_activation_!r}, expected one of {', '.join(NAMES)}")
    dtype = mlp.coefs_[0].dtype
    settings: dict[str, Any] = {
        "hidden_layer_sizes": tuple(W.shape[1] for W in mlp.coefs_[:-1]),
        "activation": NAMES[mlp.activation],
        "learning_rate": mlp.learning_rate_init if mlp.solver == "adam" else None,
        "penalty": mlp.alpha or None,
        "batch_size": 200 if mlp.batch_size == "auto" else mlp.batch_size,
        "dtype": dtype.type,
        "warm_start": True,
    }
    sizes = [len(mlp.coefs_[0]), *settings["hidden_layer_sizes"], mlp.coefs_[-1].shape[1]]
    activations = [settings["activation"]] * (len(sizes) - 2) + [NAMES[mlp.out_activation_]]
    model = nn.mlp(sizes, activations, initializer="glorot_uniform")
    arrays: dict[str, Array] = {}
    for i, (W, b) in enumerate(zip(mlp.coefs_, mlp.intercepts_, strict=True), 1):
        arrays |= {f"dense{i}.W": W, f"dense{i}.b": b}
    net: NNClassifier | NNRegressor
    if isinstance(mlp, MLPClassifier):
        net = NNClassifier(**settings)
        net.classes_ = mlp.classes_
        net._multilabel = mlp.out_activation_ == "logistic" and sizes[-1] > 1
    else:
        net = NNRegressor(**settings)
    net.model_, net._logits = model, False
    net.state_ = nn.train_state(model, net._optimizer(), nn.key(0), params=ArrayDict(arrays))
    net.n_features_in_, net.n_iter_, net.history_ = sizes[0], 0, {}
    net._key, net._held_out, net._trained_on = nn.key(0), None, b""
    vars(net).update({k: v for k, v in vars(mlp).items() if k == "feature_names_in_"})
    return net


@overload
def to_mlp(net: NNClassifier) -> MLPClassifier: ...
@overload
def to_mlp(net: NNRegressor) -> MLPRegressor: ...
@overload
def to_mlp(net: NNClassifier | NNRegressor) -> MLPClassifier | MLPRegressor: ...
def to_mlp(net: NNClassifier | NNRegressor) -> MLPClassifier | MLPRegressor:
    """Returns a fitted scikit-learn network with the weights and predictions of a fitted estimator.

    Args:
        net: a fitted estimator whose model is a chain of `nn.dense` and one of the activations identity, sigmoid, tanh
            and relu, the same after all hidden layers; dropout is allowed, as it does not affect predictions.
    Raises:
        NotFittedError: the estimator is not fitted.
        ValueError: another kind of model, or a binary classifier with two outputs.
        TypeError: any other type.

    >>> X = np.linspace(-1, 1, 20)[:, None]
    >>> net = NNRegressor(hidden_layer_sizes=(8,), random_state=0).fit(X, X[:, 0] ** 2)
    >>> mlp = to_mlp(net)
    >>> mlp, np.allclose(mlp.predict(X), net.predict(X))
    (MLPRegressor(hidden_layer_sizes=(8,)), True)
    """
    if not isinstance(net, (NNClassifier, NNRegressor)):
        raise TypeError(f"net is {type(net).__name__}, expected an NNClassifier or an NNRegressor")
    check_is_fitted(net, "state_")
    weights, activation = _chain(net)
    settings: dict[str, Any] = {"hidden_layer_sizes": tuple(W.shape[1] for W, _ in weights[:-1])}
    settings |= {} if activation == "relu" else {"activation": activation}
    features, outputs, dtype = len(weights[0][0]), weights[-1][0].shape[1], net.state_.params.dtype
    mlp: MLPClassifier | MLPRegressor
    # One step on rows of zeros creates all attributes of the installed scikit-learn version.
    if isinstance(net, NNClassifier):
        mlp, y = MLPClassifier(**settings), np.eye(outputs, dtype=int) if net._multilabel else net.classes_
        mlp.partial_fit(np.zeros((len(y), features), dtype), y, classes=net.classes_)
    else:
        mlp = MLPRegressor(**settings)
        mlp.partial_fit(np.zeros((1, features), dtype), np.zeros((1, outputs) if outputs > 1 else 1))
    mlp.coefs_, mlp.intercepts_ = [W for W, _ in weights], [b for _, b in weights]
    mlp.n_iter_, mlp.t_ = net.n_iter_, 0
    vars(mlp).pop("_optimizer", None)  # from the step on zeros
    vars(mlp).update({k: v for k, v in vars(net).items() if k == "feature_names_in_"})
    return mlp


def _chain(net: NNClassifier | NNRegressor) -> tuple[list[tuple[Array, Array]], str]:
    """The weights and biases of a chain of dense layers, and the activation after the hidden ones."""
    theirs = {name: name_there for name_there, name in NAMES.items()}
    weights: list[tuple[Array, Array]] = []
    behind: list[str] = []  # the activation after each dense layer
    for path, layer in layers(net.model_):
        known = is_built_in(layer) and (layer.name in ("dense", "dropout", "serial") or layer.name in theirs)
        if layer.name == "dense" and known:
            own = net.state_.params.group(path) if path else net.state_.params
            weights.append((np.array(own["W"]), np.array(own.get("b", np.zeros(own["W"].shape[1], own.dtype)))))
            behind.append("identity")
        elif known and layer.name in theirs and behind:
            known = behind[-1] == "identity"
            behind[-1] = theirs[layer.name]
        if not known or layer.ties or layer.frozen:
            raise ValueError(f"{path or 'the model'} is {layer!r}, expected a chain of dense layers and activations")
    if not weights:
        raise ValueError("the model has no dense layer, expected a chain of dense layers and activations")
    *hidden, last = behind
    wanted = "identity"
    if isinstance(net, NNClassifier):
        wanted = "softmax" if len(net.classes_) > 2 and not net._multilabel else "logistic"
        if not net._multilabel and len(weights[-1][1]) != (1 if wanted == "logistic" else len(net.classes_)):
            raise ValueError("the model has two outputs for two classes, but an MLPClassifier has one: fit it with "
            "loss=None or a binary cross-entropy")  # fmt: skip
    if len({*hidden}) > 1 or "softmax" in hidden or (last != wanted and not net._logits):
        raise ValueError(f"the activations are {', '.join(behind)}, expected one for all hidden layers, then {wanted}")
    return weights, hidden[0] if hidden else "relu"
