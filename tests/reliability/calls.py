"""A right call of every public function, by the names of its arguments: what fuzz and purity start from.

A constructor is tried with what it makes: of a layer the initial parameters, a forward and a backward are part of the
result, of an optimizer a step, of a schedule its values. So an argument that is noticed late is noticed."""

from __future__ import annotations

import inspect
import io
import tempfile
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import nnfunc as nn
from tests.catalogue import PUBLIC, bent_backward, bent_forward, bent_init, made

rng = np.random.default_rng(0)
X, DY, T = rng.normal(size=(4, 3)), rng.normal(size=(4, 2)), np.array([0, 1, 1, 0])
PARTS = nn.dense(2), nn.softmax()
MODEL, KEY, DICT = nn.serial(*PARTS), nn.key(0), nn.ArrayDict({"dense1.W": np.ones((3, 2)), "dense1.b": np.ones(2)})
GRADS = {k: np.full(v.shape, 0.5) for k, v in DICT.items()}
LOSS, GD = nn.sparse_categorical_cross_entropy, nn.gd(0.1)
STEP = nn.train_step(MODEL, LOSS, GD)
STATE = nn.train_state(MODEL, GD, KEY, (3,), np.float64)
EPOCHS = tuple(nn.train(STEP, STATE, (X, T), epochs=3, key=KEY))
CHAIN = nn.serial(nn.embedding(5, 3), nn.dense(5), nn.softmax())
CHAIN_STATE = nn.train_state(CHAIN, GD, KEY, (4,))
CELL = nn.serial(nn.concatenate(), nn.dense(4), nn.tanh())


class Call(NamedTuple):
    """`run(**arguments)` is right; annotations say what else each argument may be."""

    name: str
    run: Callable[..., Any]
    arguments: Mapping[str, Any]
    annotations: Mapping[str, str]


ARGUMENTS: dict[str, Any] = {
    "backward": bent_backward,
    "cell": CELL,
    "classes": 3,
    "count": 5,
    "epochs": EPOCHS,
    "every": 2,
    "factor": 2,
    "filters": 4,
    "forward": bent_forward,
    "groups": 2,
    "heads": 2,
    "i": 1,
    "init": bent_init,
    "initial": 0.1,
    "keep_prob": 0.5,
    "kernel_size": 2,
    "key": KEY,
    "layer": nn.dense(2),
    "layers": PARTS,
    "learning_rate": 0.1,
    "length": 6,
    "limit": 1.0,
    "loss": LOSS,
    "max_norm": 1.0,
    "model": MODEL,
    "opt_state": STATE.opt_state,
    "optimizer": GD,
    "optimizers": {"*W": "adam", "*": "gd"},
    "pairs": ((1, 1), (1, 1)),
    "params": STATE.params,
    "patience": 2,
    "peak": 0.5,
    "prompt": np.array([[0, 1]]),
    "seed": 7,
    "shape": (3, 2),
    "size": 2,
    "state": STATE.state,
    "steps": 3,
    "strength": 0.1,
    "target": T,
    "ts": STATE,
    "units": 4,
    "value": 0.5,
    "where": "*W",
    "width": 4,
    "x": X,
}
"""Of arguments without a default the value in most calls."""

SHAPES: tuple[Any, ...] = ((4,), (6, 4), (6, 5, 4), ((4,), (4,)), ((6, 4), (6, 4)))


def values(shape: Any, whole: bool = False) -> Any:
    if shape and isinstance(shape[0], tuple):
        return tuple(values(part, whole) for part in shape)
    size = 2 * int(np.prod(shape))
    return (np.arange(size) % 3 if whole else np.sin(np.arange(size))).reshape(2, *shape)


def use_layer(layer: nn.Layer, shape: Any, whole: bool) -> Any:
    params, state = layer.init(KEY, shape, np.float64)
    y, cache, state = layer.forward(params, state, values(shape, whole), key=KEY, train=True)
    dy = tuple(map(np.ones_like, y)) if isinstance(y, tuple) else np.ones_like(y)
    return layer, params, y, state, layer.backward(params, cache, dy)


def use_optimizer(optimizer: nn.Optimizer) -> Any:
    params = DICT.select("*W")  # matrices, which each rule takes
    return optimizer, optimizer.step(params, {"dense1.W": GRADS["dense1.W"]}, optimizer.init(params))


P, BITS = 1 / (1 + np.exp(-X)), (X > 0).astype(int)
LOSS_INPUTS: list[tuple[Any, Any]] = [
    (P, BITS), (np.full((4, 2), 0.5), T), ((np.full((4, 2), 0.5),), (T,)), ((X, X), X), ((X, X), T),
    ((X, X, X), np.zeros(4)), (np.log(P)[None], np.array([[1, 2]])),
]  # fmt: skip
"""Outputs and targets of which each loss takes one."""


def use_loss(loss: nn.Loss) -> Any:
    last: Exception | None = None
    for y, target in LOSS_INPUTS:
        try:
            value, cache = loss.forward(y, target)
            return loss, value, loss.backward(cache)
        except (TypeError, ValueError) as error:
            last = error
    raise last or AssertionError


def use_schedule(schedule: Any) -> Any:
    return [schedule(t) for t in (0, 1, 2, 3, 9)], use_optimizer(nn.gd(schedule))


def use_penalty(penalty: nn.Penalty) -> Any:
    return penalty, penalty.forward(DICT, 4), penalty.backward(DICT, 4)


USES: dict[str, Callable[[Any], Any]] = {
    "Optimizer": use_optimizer, "Loss": use_loss, "Schedule": use_schedule, "Penalty": use_penalty,
}  # fmt: skip


def of_constructors() -> list[Call]:
    """What the catalogue lists: layers, losses, optimizers, schedules, penalties."""
    own: dict[str, dict[str, Any]] = {
        "bidirectional": {"forward": nn.gru(3)},
        "exponential_decay": {"factor": 0.5},
        "freeze": {"where": "dense1.b"},
        "inverse_time_decay": {"factor": 0.5},
        "linear_warmup": {"then": 0.1},
        "map_layers": {"function": lambda path, layer: layer},
        "mlp": {"layer_dims": [4, 3, 2], "activations": ["relu", "softmax"]},
        "optimizer": {"rule": lambda w, g, slots, t, settings: None},
        "partition": {},
        "layer": {"init": bent_init},
        "join": {"schedules": [0.1, 0.2], "boundaries": [2]},
        "piecewise": {"boundaries": [1, 3], "values": [0.3, 0.2, 0.1]},
        "reshape": {"shape": (2, 2)},
        "residual": {"layers": (nn.dense(4), nn.tanh())},
        "step_decay": {"factor": 0.5},
        "tie": {"model": nn.serial(nn.dense(4), nn.dense(4)), "name": "dense2.W", "to": "dense1.W"},
        "warmup_cosine": {"warmup": 2},
        "combined": {"losses": (LOSS,)},
        "branch": {"layers": (nn.dense(2), nn.dense(3))},
    }
    found = []
    for name, make in sorted(PUBLIC.items()):
        kind = made(make)
        if not inspect.isfunction(make) or kind not in ("Layer", *USES) or name in ("wired", "optimizer", "make"):
            continue
        parameters = [p for p in inspect.signature(make).parameters.values() if p.kind is not p.VAR_KEYWORD]
        given = ARGUMENTS | own.get(name, {})
        arguments = {
            p.name: p.default if p.default is not p.empty and p.name not in own.get(name, {}) else given[p.name]
            for p in parameters
        }
        several = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), None)
        run = used(make, several, kind, arguments)
        if arguments:
            found.append(Call(name, run, arguments, {p.name: str(p.annotation) for p in parameters}))
    return found


def used(make: Any, several: str | None, kind: str, right: Mapping[str, Any]) -> Callable[..., Any]:
    """The constructor, and what it makes in use."""

    def call(**arguments: Any) -> Any:
        if several is None:
            return make(**arguments)
        listed = arguments.pop(several)
        return make(*(listed if type(listed) is tuple else (listed,)), **arguments)

    if kind != "Layer":
        return lambda **arguments: USES[kind](call(**arguments))
    fits = fitting(call(**right))
    return lambda **arguments: use_layer(call(**arguments), *fits)


def fitting(layer: nn.Layer) -> tuple[Any, bool]:
    """A shape that the layer takes, and whether of whole numbers."""
    for shape in SHAPES:
        for whole in (False, True):
            try:
                use_layer(layer, shape, whole)
            except (TypeError, ValueError):
                continue
            return shape, whole
    raise AssertionError(f"no shape fits {layer}")


def saved(path: Any, ts: Any, model: Any) -> Any:
    """Saves and loads, in a folder of its own if the path is the right one."""
    with tempfile.TemporaryDirectory() as folder:
        own = str(Path(folder) / path) if isinstance(path, str) and path == "run.npz" else path
        nn.save(own, ts, model)
        return nn.load(own, model)


def of_functions() -> list[Call]:
    """The verbs, with what they take."""
    cache = MODEL.forward(STATE.params, STATE.state, X)[1]
    y, target = np.array([[0.9], [0.2], [0.6], [0.4]]), np.array([[1], [0], [1], [1]])
    listed: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
        "key": (nn.key, {}),
        "split": (nn.split, {"n": 3}),
        "fold_in": (nn.fold_in, {"i": 3}),
        "generator": (lambda **a: nn.keys.generator(**a).normal(size=3), {"key": KEY}),
        "ArrayDict": (nn.ArrayDict, {"arrays": GRADS, "dtype": np.float32, "stacked": False}),
        "allclose": (nn.arrays.allclose, {"a": DICT, "b": GRADS, "rtol": 1e-5, "atol": 1e-8}),
        "equal": (nn.arrays.equal, {"a": DICT, "b": DICT}),
        "join": (lambda a: nn.arrays.join(a=a), {"a": DICT}),
        "stack": (nn.stack, {"members": [DICT, DICT]}),
        "unstack": (nn.unstack, {"stacked": nn.stack([DICT, DICT])}),
        "repeated": (nn.stacks.repeated, {"params": DICT, "K": 2}),
        "one_hot": (nn.one_hot, {"target": T, "dtype": np.float32}),
        "output_shape": (nn.output_shape, {"input_shape": (3,)}),
        "program": (lambda **a: str(nn.models.program(**a)),
         {"model": MODEL, "input_shape": (3,), "params": None, "state": None}),
        "unfreeze": (nn.unfreeze, {"model": nn.freeze(MODEL, "dense1.b"), "params": None, "state": None}),
        "train_state": (nn.train_state, {"input_shape": (3,), "dtype": np.float32, "params": None, "state": None}),
        "train_step": (lambda **a: nn.train_step(**a)(STATE, (X, T)),
         {"model": MODEL, "loss": LOSS, "optimizer": GD, "penalty": None, "class_weights": None, "nonfinite": "raise"}),
        "value_and_grad": (lambda **a: nn.value_and_grad(**a)(STATE.params, STATE.state, (X, T)),
         {"model": MODEL, "loss": LOSS, "penalty": None, "class_weights": None}),
        "value_and_grad()": (lambda params, state, x, target, weights, key, train: nn.value_and_grad(MODEL, LOSS)(
            params, state, (x, target, weights), key=key, train=train),
         {"weights": np.ones(4), "train": True, "key": KEY, "x": X, "target": T, "params": STATE.params,
          "state": STATE.state}),
        "TrainStep()": (lambda ts, x, target: STEP(ts, (x, target)), {"ts": STATE, "x": X, "target": T}),
        "TrainStep() batch": (lambda ts, batch: STEP(ts, batch), {"ts": STATE, "batch": (X, T)}),
        "minibatches": (lambda **a: list(nn.minibatches(**a)),
         {"key": KEY, "arrays": (X, T), "batch_size": 2, "rows": None, "drop_last": False}),
        "train": (lambda **a: list(nn.train(**a)),
         {"step": STEP, "ts": STATE, "data": (X, T), "epochs": 1, "batch_size": 2, "key": KEY, "validation": None,
          "batches": None, "rows": None, "drop_last": False}),
        "evaluate": (nn.evaluate,
         {"loss": LOSS, "X": X, "Y": T, "weights": None, "class_weights": None, "metrics": None}),
        "predict": (nn.predict, {"X": X}),
        "predict_classes": (nn.predict_classes, {"X": X, "threshold": None}),
        "accuracy": (nn.accuracy, {"X": X, "Y": T, "threshold": None, "ignore": None}),
        "confusion_matrix": (nn.metrics.confusion_matrix, {"X": X, "Y": T, "threshold": None, "ignore": None}),
        "generate": (nn.generate,
         {"model": CHAIN, "ts": CHAIN_STATE, "steps": 2, "key": KEY, "temperature": 0.7, "top_k": 2}),
        **{k: (getattr(nn.metrics, k),
         {"y": y, "target": target, "weights": None, "average": "binary", "threshold": None,
                                    "ignore": None}) for k in ("f1_score", "precision", "recall")},
        "roc_auc": (nn.metrics.roc_auc,
         {"y": y, "target": target, "weights": None, "average": "macro", "ignore": None}),
        "r2_score": (nn.metrics.r2_score, {"y": y, "target": target, "weights": None, "average": "macro"}),
        "perplexity": (nn.metrics.perplexity, {"y": np.full((4, 2), 0.5), "target": T, "weights": None, "logits": False,
                                 "ignore": None}),
        "top_k_accuracy": (nn.metrics.top_k_accuracy, {"y": DY, "target": T, "k": 1, "weights": None, "ignore": None}),
        "best_epoch": (nn.best_epoch, {"epochs": EPOCHS, "monitor": lambda e: e.loss}),
        "best_and_history": (nn.training.best_and_history, {"epochs": EPOCHS, "monitor": lambda e: e.loss}),
        "history": (nn.history, {"epochs": EPOCHS}),
        "early_stopping": (lambda **a: list(nn.early_stopping(**a)),
         {"epochs": EPOCHS, "patience": 2, "min_delta": 0.0, "monitor": lambda e: e.loss, "earlier": ()}),
        "summary": (lambda **a: nn.summary(**a, file=io.StringIO()), {"model": MODEL, "input_shape": (3,)}),
        "inspect": (nn.inspect,
         {"params": STATE.params, "x": X, "target": T, "loss": LOSS, "state": STATE.state, "key": None,
                      "train": False}),
        "save": (saved, {"path": "run.npz", "ts": STATE, "model": MODEL}),
        "averaged": (nn.optimizers.averaged, {"opt_state": nn.optimizers.ema(GD).init(DICT)}),
        "observe": (nn.optimizers.observe,
         {"optimizer": nn.optimizers.reduce_on_plateau(GD), "opt_state": None, "value": 0.5}),
        "Layer.init": (lambda **a: MODEL.init(**a), {"key": KEY, "input_shape": (3,), "dtype": np.float64}),
        "Layer.forward": (lambda **a: MODEL.forward(**a)[::2],
         {"params": STATE.params, "state": STATE.state, "x": X, "key": KEY, "train": False}),
        "Layer.backward": (lambda **a: MODEL.backward(**a),
         {"params": STATE.params, "cache": cache, "dy": DY, "need_dx": True, "need_grads": True}),
        "Loss.forward": (lambda **a: nn.mean_squared_error.forward(**a),
         {"y": X, "target": X + 1, "weights": np.ones(4), "class_weights": None}),
        "Loss.forward classes": (lambda **a: LOSS.forward(**a),
         {"y": np.full((4, 2), 0.5), "target": T, "weights": np.ones(4), "class_weights": np.ones(2)}),
        "Loss.backward": (lambda **a: LOSS.backward(**a), {"cache": LOSS.forward(np.full((4, 2), 0.5), T)[1]}),
        "Optimizer.init": (lambda **a: nn.adam().init(**a), {"params": DICT}),
        "Optimizer.step": (lambda **a: nn.adam().step(**a),
         {"params": DICT, "grads": GRADS, "opt_state": nn.adam().init(DICT)}),
        "Penalty.forward": (lambda **a: nn.l2(0.1).forward(**a), {"params": DICT, "examples": 4}),
        "Penalty.backward": (lambda **a: nn.l2(0.1).backward(**a), {"params": DICT, "examples": 4}),
        "ArrayDict.astype": (lambda **a: DICT.astype(**a), {"dtype": np.float32}),
        "ArrayDict.group": (lambda **a: DICT.group(**a), {"prefix": "dense1"}),
        "ArrayDict.select": (lambda **a: DICT.select(**a), {"where": "*W"}),
        "ArrayDict.without": (lambda **a: DICT.without(**a), {"where": "*W"}),
        "ArrayDict.replace": (lambda arrays: DICT.replace(arrays), {"arrays": GRADS}),
        "ArrayDict.map": (lambda **a: DICT.map(**a), {"function": np.negative}),
        "ArrayDict.with_vector": (lambda **a: DICT.with_vector(**a), {"vector": np.ones(8)}),
        "ArrayDict.__add__": (lambda other: DICT + other, {"other": 2.0}),
        "ArrayDict.__mul__": (lambda other: DICT * other, {"other": GRADS}),
        "ArrayDict.__or__": (lambda other: DICT | other, {"other": GRADS}),
    }  # fmt: skip
    found = [of_function(name, run, given) for name, (run, given) in listed.items()]
    return [*found, *of_initializers()]


METHODS: dict[str, Any] = {
    "ArrayDict": nn.ArrayDict.__init__, "Layer.backward": nn.Layer.backward, "Layer.forward": nn.Layer.forward,
    "Layer.init": nn.Layer.init, "Loss.backward": nn.Loss.backward, "Loss.forward": nn.Loss.forward,
    "Loss.forward classes": nn.Loss.forward, "Optimizer.init": nn.Optimizer.init, "Optimizer.step": nn.Optimizer.step,
    "Penalty.backward": nn.Penalty.backward, "Penalty.forward": nn.Penalty.forward,
}  # fmt: skip
ALSO = {"a": "ArrayDict", "batch": "Any", "data": "Any", "other": "ArrayLike | Mapping", "train": "bool"}
ALSO["weights"] = "ArrayLike | None"


def of_function(name: str, run: Callable[..., Any], given: Mapping[str, Any]) -> Call:
    """The call with the right values of what is not given, and the annotations of the function behind it."""
    function = next(
        filter(None, [METHODS.get(name), *(vars(module).get(name.split(".")[-1]) for module in MODULES)]), run
    )
    parameters = inspect.signature(function).parameters
    missing = {k: ARGUMENTS[k] for k, p in parameters.items() if k in ARGUMENTS and p.default is p.empty}
    arguments = (missing if run is function else {}) | dict(given)
    if name == "unfreeze":
        arguments["params"], arguments["state"] = arguments["model"].init(KEY, (3,))
    if name == "observe":
        arguments["opt_state"] = arguments["optimizer"].init(DICT)
    said = {k: str(parameters[k].annotation) if k in parameters else ALSO.get(k, k) for k in arguments}
    return Call(name, run, arguments, said)


MODULES = (
    nn,
    nn.metrics,
    nn.optimizers,
    nn.ArrayDict,
    nn.arrays,
    nn.keys,
    nn.losses,
    nn.schedules,
    nn.stacks,
    nn.training,
)


def of_initializers() -> list[Call]:
    found = []
    for name in sorted(nn.initializers.INITIALIZERS):
        function = getattr(nn.initializers, name, None)
        if function is None:
            continue
        parameters = inspect.signature(function).parameters
        arguments = {p.name: ARGUMENTS[p.name] if p.default is p.empty else p.default for p in parameters.values()}
        found.append(
            Call(f"initializers.{name}", function, arguments, {k: str(p.annotation) for k, p in parameters.items()})
        )
    return found


def calls() -> list[Call]:
    found = [*of_constructors(), *of_functions()]
    return [call for call in found if call.name != "compiled" or find_spec("numba")]
