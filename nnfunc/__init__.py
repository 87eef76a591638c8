"""nnfunc: neural networks as pure functions over immutable dicts of arrays, in NumPy.

    keys → init → forward → loss → backward → step → train

>>> model = nn.mlp([2, 16, 1], ["relu", "sigmoid"])
>>> step = nn.train_step(model, nn.binary_cross_entropy, nn.adam(learning_rate=1e-2))
>>> ts = nn.train_state(model, step.optimizer, nn.key(0), input_shape=(2,))
>>> ts, metrics = step(ts, (np.zeros((4, 2)), np.array([0, 1, 1, 0])))
>>> round(metrics.loss, 4)
0.6931
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from nnfunc import arrays, initializers, keys, layers, losses, optimizers, penalties, training
from nnfunc import evaluation as metrics
from nnfunc.arrays import EMPTY, Array, ArrayDict, allclose, equal, join
from nnfunc.errors import NonFiniteError
from nnfunc.evaluation import Evaluation, accuracy, confusion_matrix, evaluate, predict, predict_classes
from nnfunc.keys import Key, fold_in, generator, key, split
from nnfunc.layers import (
    Layer,
    add,
    batch_norm,
    branch,
    concatenate,
    dense,
    dropout,
    elu,
    flatten,
    freeze,
    gelu,
    hard_sigmoid,
    hard_swish,
    hard_tanh,
    identity,
    layer,
    layer_norm,
    leaky_relu,
    log_softmax,
    map_layers,
    mish,
    mlp,
    multiply,
    parallel,
    relu,
    relu6,
    reparametrize,
    reshape,
    residual,
    scan,
    selu,
    serial,
    shared,
    sigmoid,
    silu,
    softmax,
    softplus,
    softsign,
    subtract,
    swish,
    take,
    tanh,
    tie,
    unfreeze,
    wired,
)
from nnfunc.losses import (
    Loss,
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    categorical_cross_entropy,
    categorical_cross_entropy_with_logits,
    hinge,
    huber,
    log_cosh,
    mean_absolute_error,
    mean_squared_error,
    one_hot,
    poisson,
    quantile,
    sparse_categorical_cross_entropy,
    sparse_categorical_cross_entropy_with_logits,
)
from nnfunc.models import output_shape, program, summary
from nnfunc.optimizers import (
    Optimizer,
    adagrad,
    adam,
    adamw,
    clip_by_global_norm,
    clip_by_value,
    constant_schedule,
    cosine_decay,
    exponential_decay,
    gd,
    linear_warmup,
    momentum,
    nesterov,
    optimizer,
    rmsprop,
    schedules,
    step_decay,
)
from nnfunc.penalties import Penalty, l1, l2
from nnfunc.stacks import per_member, repeated
from nnfunc.training import (
    Epoch,
    Metrics,
    TrainState,
    TrainStep,
    best_and_history,
    best_epoch,
    early_stopping,
    history,
    minibatches,
    stack,
    train,
    train_state,
    train_step,
    unstack,
    value_and_grad,
)

if TYPE_CHECKING:
    from nnfunc.checks import Finding, Report, TaylorTest, check_gradients, check_layer, check_model, taylor_test
    from nnfunc.files import Saved, load, save
    from nnfunc.inspection import Inspection, LayerInspection, inspect

__version__ = "0.1.0"

__all__ = [
    "Array",
    "ArrayDict",
    "EMPTY",
    "Epoch",
    "Evaluation",
    "Finding",
    "Inspection",
    "Key",
    "Layer",
    "LayerInspection",
    "Loss",
    "Metrics",
    "NonFiniteError",
    "Optimizer",
    "Penalty",
    "Report",
    "Saved",
    "TaylorTest",
    "TrainState",
    "TrainStep",
    "accuracy",
    "adagrad",
    "adam",
    "adamw",
    "add",
    "allclose",
    "arrays",
    "batch_norm",
    "best_and_history",
    "best_epoch",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "branch",
    "categorical_cross_entropy",
    "categorical_cross_entropy_with_logits",
    "check_gradients",
    "check_layer",
    "check_model",
    "clip_by_global_norm",
    "clip_by_value",
    "concatenate",
    "confusion_matrix",
    "constant_schedule",
    "cosine_decay",
    "dense",
    "dropout",
    "early_stopping",
    "elu",
    "equal",
    "evaluate",
    "exponential_decay",
    "flatten",
    "fold_in",
    "freeze",
    "gd",
    "gelu",
    "generator",
    "hard_sigmoid",
    "hard_swish",
    "hard_tanh",
    "hinge",
    "history",
    "huber",
    "identity",
    "initializers",
    "inspect",
    "join",
    "key",
    "keys",
    "l1",
    "l2",
    "layer",
    "layer_norm",
    "layers",
    "leaky_relu",
    "linear_warmup",
    "load",
    "log_cosh",
    "log_softmax",
    "losses",
    "map_layers",
    "mean_absolute_error",
    "mean_squared_error",
    "metrics",
    "minibatches",
    "mish",
    "mlp",
    "momentum",
    "multiply",
    "nesterov",
    "one_hot",
    "optimizer",
    "optimizers",
    "output_shape",
    "parallel",
    "penalties",
    "per_member",
    "poisson",
    "predict",
    "predict_classes",
    "program",
    "quantile",
    "relu",
    "relu6",
    "reparametrize",
    "repeated",
    "reshape",
    "residual",
    "rmsprop",
    "save",
    "scan",
    "schedules",
    "selu",
    "serial",
    "shared",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "softsign",
    "sparse_categorical_cross_entropy",
    "sparse_categorical_cross_entropy_with_logits",
    "split",
    "stack",
    "step_decay",
    "subtract",
    "summary",
    "swish",
    "take",
    "tanh",
    "taylor_test",
    "tie",
    "train",
    "train_state",
    "train_step",
    "training",
    "unfreeze",
    "unstack",
    "value_and_grad",
    "wired",
]

_LATER = {
    **dict.fromkeys(("Finding", "Report", "TaylorTest"), "checks"),
    **dict.fromkeys(("check_gradients", "check_layer", "check_model", "taylor_test"), "checks"),
    **dict.fromkeys(("Saved", "load", "save"), "files"),
    **dict.fromkeys(("Inspection", "LayerInspection", "inspect"), "inspection"),
}


def __getattr__(name: str) -> object:
    """Laboratory, files, inspection and the modules beside are imported when they are first used: training does not
    need them."""
    if name in ("checks", "distributed", "files", "inspection", "interop", "plots", "testing"):
        return import_module(f"nnfunc.{name}")
    if name not in _LATER:
        raise AttributeError(f"module 'nnfunc' has no attribute {name!r}")
    globals()[name] = getattr(import_module(f"nnfunc.{_LATER[name]}"), name)
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
