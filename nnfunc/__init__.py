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

from nnfunc import (
    arrays,
    initializers,
    keys,
    layers,
    losses,
    metrics,
    models,
    optimizers,
    penalties,
    schedules,
    stacks,
    training,
)
from nnfunc._internal.moved import moved
from nnfunc.arrays import Array, ArrayDict
from nnfunc.errors import NonFiniteError
from nnfunc.keys import Key, fold_in, key, split
from nnfunc.layers import (
    Layer,
    add,
    attention,
    avg_pool1d,
    avg_pool2d,
    batch_norm,
    bidirectional,
    branch,
    concatenate,
    conv1d,
    conv2d,
    conv_transpose1d,
    conv_transpose2d,
    crop,
    dense,
    dropout,
    elu,
    embedding,
    flatten,
    freeze,
    geglu,
    gelu,
    global_avg_pool,
    global_max_pool,
    glu,
    group_norm,
    gru,
    hard_sigmoid,
    hard_swish,
    hard_tanh,
    identity,
    instance_norm,
    layer,
    layer_norm,
    leaky_relu,
    learned_positions,
    log_softmax,
    lstm,
    map_layers,
    max_pool1d,
    max_pool2d,
    mish,
    mlp,
    multiply,
    pad,
    parallel,
    prelu,
    relu,
    relu6,
    reparametrize,
    reshape,
    residual,
    rms_norm,
    rnn,
    rotary_positions,
    scan,
    selu,
    serial,
    shared,
    sigmoid,
    silu,
    sinusoidal_positions,
    softmax,
    softplus,
    softsign,
    subtract,
    swiglu,
    swish,
    take,
    tanh,
    tie,
    transformer_block,
    unfreeze,
    upsample1d,
    upsample2d,
    wired,
)
from nnfunc.losses import (
    Loss,
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    categorical_cross_entropy,
    categorical_cross_entropy_with_logits,
    huber,
    mean_absolute_error,
    mean_squared_error,
    one_hot,
    sparse_categorical_cross_entropy,
    sparse_categorical_cross_entropy_with_logits,
)
from nnfunc.metrics import accuracy, evaluate, generate, predict, predict_classes
from nnfunc.models import output_shape, summary
from nnfunc.optimizers import (
    Optimizer,
    adagrad,
    adam,
    adamw,
    clip_by_global_norm,
    gd,
    momentum,
    nesterov,
    optimizer,
    rmsprop,
)
from nnfunc.penalties import Penalty, l1, l2
from nnfunc.training import (
    Epoch,
    Metrics,
    TrainState,
    TrainStep,
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
    from nnfunc import checks, files, inspection
    from nnfunc import distributed as distributed
    from nnfunc import interop as interop
    from nnfunc import plots as plots
    from nnfunc import testing as testing
    from nnfunc.checks import (
        Finding,
        Report,
        check_function,
        check_gradients,
        check_hessian,
        check_jacobian,
        check_layer,
        check_model,
        check_object,
        taylor_test,
    )
    from nnfunc.files import load, save
    from nnfunc.inspection import inspect

__version__ = "0.1.0"

__all__ = [
    "Array",
    "ArrayDict",
    "Epoch",
    "Finding",
    "Key",
    "Layer",
    "Loss",
    "Metrics",
    "NonFiniteError",
    "Optimizer",
    "Penalty",
    "Report",
    "TrainState",
    "TrainStep",
    "accuracy",
    "adagrad",
    "adam",
    "adamw",
    "add",
    "arrays",
    "attention",
    "avg_pool1d",
    "avg_pool2d",
    "batch_norm",
    "best_epoch",
    "bidirectional",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "branch",
    "categorical_cross_entropy",
    "categorical_cross_entropy_with_logits",
    "check_function",
    "check_gradients",
    "check_hessian",
    "check_jacobian",
    "check_layer",
    "check_model",
    "check_object",
    "checks",
    "clip_by_global_norm",
    "concatenate",
    "conv1d",
    "conv2d",
    "conv_transpose1d",
    "conv_transpose2d",
    "crop",
    "dense",
    "dropout",
    "early_stopping",
    "elu",
    "embedding",
    "evaluate",
    "files",
    "flatten",
    "fold_in",
    "freeze",
    "gd",
    "geglu",
    "gelu",
    "generate",
    "global_avg_pool",
    "global_max_pool",
    "glu",
    "group_norm",
    "gru",
    "hard_sigmoid",
    "hard_swish",
    "hard_tanh",
    "history",
    "huber",
    "identity",
    "initializers",
    "inspect",
    "inspection",
    "instance_norm",
    "key",
    "keys",
    "l1",
    "l2",
    "layer",
    "layer_norm",
    "layers",
    "leaky_relu",
    "learned_positions",
    "load",
    "log_softmax",
    "losses",
    "lstm",
    "map_layers",
    "max_pool1d",
    "max_pool2d",
    "mean_absolute_error",
    "mean_squared_error",
    "metrics",
    "minibatches",
    "mish",
    "mlp",
    "models",
    "momentum",
    "multiply",
    "nesterov",
    "one_hot",
    "optimizer",
    "optimizers",
    "output_shape",
    "pad",
    "parallel",
    "penalties",
    "predict",
    "predict_classes",
    "prelu",
    "relu",
    "relu6",
    "reparametrize",
    "reshape",
    "residual",
    "rms_norm",
    "rmsprop",
    "rnn",
    "rotary_positions",
    "save",
    "scan",
    "schedules",
    "selu",
    "serial",
    "shared",
    "sigmoid",
    "silu",
    "sinusoidal_positions",
    "softmax",
    "softplus",
    "softsign",
    "sparse_categorical_cross_entropy",
    "sparse_categorical_cross_entropy_with_logits",
    "split",
    "stack",
    "stacks",
    "subtract",
    "summary",
    "swiglu",
    "swish",
    "take",
    "tanh",
    "taylor_test",
    "tie",
    "train",
    "train_state",
    "train_step",
    "training",
    "transformer_block",
    "unfreeze",
    "unstack",
    "upsample1d",
    "upsample2d",
    "value_and_grad",
    "wired",
]

_LATER = {
    **dict.fromkeys(("Finding", "Report", "taylor_test"), "checks"),
    **dict.fromkeys(("check_function", "check_gradients", "check_hessian", "check_jacobian"), "checks"),
    **dict.fromkeys(("check_layer", "check_model", "check_object"), "checks"),
    **dict.fromkeys(("load", "save"), "files"),
    "inspect": "inspection",
}
_MODULES = ("checks", "distributed", "files", "inspection", "interop", "plots", "testing")
_MOVED = {
    name: f"nnfunc.{home}"
    for home, names in {
        "arrays": ("EMPTY", "allclose", "equal", "join"),
        "checks": ("TaylorTest",),
        "files": ("Saved",),
        "inspection": ("Inspection", "LayerInspection"),
        "keys": ("generator",),
        "losses": ("hinge", "log_cosh", "poisson", "quantile"),
        "metrics": ("Evaluation", "confusion_matrix"),
        "models": ("program",),
        "optimizers": ("clip_by_value",),
        "schedules": ("constant_schedule", "cosine_decay", "exponential_decay", "linear_warmup", "step_decay"),
        "stacks": ("per_member", "repeated"),
        "training": ("best_and_history",),
    }.items()
    for name in names
}

if not TYPE_CHECKING:  # type checkers know the names above, and that there are no others

    def __getattr__(name: str) -> object:
        """Checks, files, inspection and the other optional modules are imported on first use: training does not
        need them."""
        if name in _MODULES:
            return import_module(f"nnfunc.{name}")
        if name not in _LATER:
            return moved("nnfunc", name, _MOVED)
        globals()[name] = getattr(import_module(f"nnfunc.{_LATER[name]}"), name)
        return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, *__all__})
