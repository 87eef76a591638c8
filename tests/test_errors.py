"""Invalid input raises an error with the value received, what was expected, and a hint: each message in turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import nnfunc as nn
from nnfunc.arrays import Array, ArrayDict
from tests.messages import FILE, messages

MODEL = nn.mlp([2, 5, 3], ["relu", "softmax"], keep_prob=0.8)
PARAMS, STATE = MODEL.init(nn.key(0), (2,))
X, CLASSES = np.random.default_rng(0).normal(size=(10, 2)), np.arange(10) % 3
ONE_HOT = np.eye(3)[CLASSES]
STEP = nn.train_step(MODEL, nn.categorical_cross_entropy, nn.adam())
TS = nn.train_state(MODEL, STEP.optimizer, nn.key(0), (2,))

wrong: Any = object()  # what the type checker would refuse


def forward(x: Any, model: nn.Layer = MODEL, params: ArrayDict = PARAMS) -> Any:
    return model.forward(params, STATE, x)


def with_nan(a: Array, value: float = np.nan) -> Array:
    out = a.astype(np.float64)
    out[3, 1] = value
    return out


CASES: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    # shapes of x
    "rows and columns swapped": (
        lambda: forward(np.zeros((2, 1000))),
        ValueError,
        r"dense1: x has shape \(2, 1000\) but the model takes 2 features on the last axis: rows are examples, "
        r"so pass x\.T",
    ),
    "rows and columns swapped in a step": (
        lambda: STEP(TS, (X.T, ONE_HOT)),
        ValueError,
        r"dense1: x has shape \(2, 10\) but the model takes 2 features.*pass x\.T",
    ),
    "too many features": (lambda: forward(np.zeros((10, 7))), ValueError, r"dense1: x has shape \(10, 7\).*2 features"),
    "one example without its axis": (lambda: forward(np.zeros(2)), ValueError, r"x has shape \(2,\).*pass x\[None\]"),
    "wrong width at a later layer": (
        lambda: nn.serial(nn.dense(4), nn.relu(), nn.dense(3)).forward(
            ArrayDict(
                {
                    "dense1.W": np.zeros((2, 4)),
                    "dense1.b": np.zeros(4),
                    "dense2.W": np.zeros((5, 3)),
                    "dense2.b": np.zeros(3),
                }
            ),
            STATE,
            X,
        ),
        ValueError,
        r"dense2: x has shape \(10, 4\) but the model takes 5 features",
    ),
    "wrong width in a nested layer": (
        lambda: nn.serial(nn.dense(4), nn.residual(nn.dense(3))).init(nn.key(0), (2,)),
        ValueError,
        r"residual1: the layers turn an example \(4,\) into \(3,\)",
    ),
    "wrong width deep inside": (
        lambda: nn.serial(nn.residual(nn.serial(nn.dense(2, inputs=7)))).init(nn.key(0), (2,)),
        ValueError,
        r"^residual1\.serial1\.dense1: input_shape=\(2,\), but the layer takes 7 features",
    ),
    "features that are not the mlp's": (
        lambda: MODEL.init(nn.key(0), (3,)),
        ValueError,
        r"dense1: input_shape=\(3,\), but the layer takes 2 features",
    ),
    "batch norm on another width": (
        lambda: nn.batch_norm().forward(*nn.batch_norm().init(nn.key(0), (4,)), np.zeros((4, 9))),
        ValueError,
        r"x has shape \(4, 9\) but the model takes 4 features.*pass x\.T",
    ),
    "empty batch": (lambda: STEP(TS, (X[:0], ONE_HOT[:0])), ValueError, r"x is empty: it has shape \(0, 2\)"),
    "empty batch to a loss": (
        lambda: nn.mean_squared_error.forward(np.zeros((0, 3)), np.zeros((0, 3))),
        ValueError,
        "at least one example",
    ),
    "dy of another shape": (
        lambda: MODEL.backward(PARAMS, forward(X)[1], np.ones((10, 1))),
        ValueError,
        r"softmax1: dy has shape \(10, 1\), expected the output's shape \(10, 3\)",
    ),
    "input_shape as a number": (lambda: MODEL.init(nn.key(0), wrong_int(2)), TypeError, r"input_shape=2.*\(2,\)"),
    "input_shape with 0": (lambda: nn.serial(nn.dense(1)).init(nn.key(0), (0,)), ValueError, "input_shape=0"),
    # what is in x
    "strings": (
        lambda: forward(np.array([["a", "b"]])),
        TypeError,
        "x has dtype <U1, expected real numbers: encode text",
    ),
    "objects": (lambda: forward(np.array([[None, 1]])), TypeError, "x has dtype object"),
    "complex": (lambda: forward(np.ones((3, 2)) * 1j), TypeError, "x has dtype complex128.*the real and the imaginary"),
    "ragged rows": (lambda: forward([[1.0, 2.0], [3.0]]), TypeError, "x is no array: its rows have different lengths"),
    "nan in prediction": (
        lambda: nn.predict(MODEL, TS, with_nan(X)),
        ValueError,
        r"X contains NaN or infinity: nan at \[3, 1\] \(1 of 20 elements\)",
    ),
    "nan in training": (
        lambda: STEP(TS, (with_nan(X), ONE_HOT)),
        nn.NonFiniteError,
        r"step 0.*x contains NaN.*nan at \[3, 1\]",
    ),
    "infinity in training": (
        lambda: STEP(TS, (with_nan(X, np.inf), ONE_HOT)),
        nn.NonFiniteError,
        r"x contains.*inf at \[3, 1\]",
    ),
    "nan in the loop": (
        lambda: nn.train(STEP, TS, (with_nan(X), ONE_HOT), epochs=1, key=nn.key(0)),
        ValueError,
        "X contains NaN or infinity",
    ),
    # targets
    "labels too large": (
        lambda: nn.sparse_categorical_cross_entropy.forward(ONE_HOT, CLASSES + 1),
        ValueError,
        r"target contains 3 at \[2\], expected class numbers from 0 to 2",
    ),
    "labels below 0": (
        lambda: nn.sparse_categorical_cross_entropy.forward(ONE_HOT, CLASSES - 1),
        ValueError,
        r"target contains -1 at \[0\]",
    ),
    "one-hot for sparse": (
        lambda: nn.sparse_categorical_cross_entropy.forward(ONE_HOT, ONE_HOT),
        ValueError,
        r"target has shape \(10, 3\), expected class numbers.*categorical_cross_entropy, or pass target.argmax",
    ),
    "a column for sparse": (
        lambda: nn.sparse_categorical_cross_entropy.forward(ONE_HOT, CLASSES[:, None]),
        ValueError,
        r"target has shape \(10, 1\).*pass target\[:, 0\]",
    ),
    "floats for sparse": (
        lambda: nn.sparse_categorical_cross_entropy.forward(ONE_HOT, CLASSES.astype(float)),
        ValueError,
        r"target has dtype float64.*astype\(int\)",
    ),
    "integers for one-hot": (
        lambda: nn.categorical_cross_entropy.forward(ONE_HOT, CLASSES),
        ValueError,
        r"target has shape \(10,\) but the outputs have.*use sparse_categorical_cross_entropy, or nn.one_hot",
    ),
    "several classes at once": (
        lambda: nn.categorical_cross_entropy.forward(ONE_HOT, np.ones((10, 3))),
        ValueError,
        r"a row of target sums to 3.0 at \[0\], expected 1.*binary_cross_entropy",
    ),
    "binary labels of 1 and 2": (
        lambda: nn.binary_cross_entropy.forward(ONE_HOT, ONE_HOT + 1),
        ValueError,
        r"target contains 2.0 at \[0, 0\], expected labels of 0 and 1",
    ),
    "binary labels of -1 and 1": (
        lambda: nn.binary_cross_entropy_with_logits.forward(ONE_HOT, 2 * ONE_HOT - 1),
        ValueError,
        r"target contains -1.0",
    ),
    "nan in targets": (
        lambda: nn.binary_cross_entropy.forward(ONE_HOT, with_nan(ONE_HOT)),
        ValueError,
        r"target contains nan at \[3, 1\]",
    ),
    "targets of another length": (
        lambda: STEP(TS, (X, ONE_HOT[:7])),
        ValueError,
        r"target has shape \(7, 3\).*7 targets for 10 examples",
    ),
    "a row of targets that would broadcast": (
        lambda: nn.mean_squared_error.forward(np.zeros((10, 3)), np.zeros((1, 3))),
        ValueError,
        r"1 targets for 10 examples",
    ),
    "a column of outputs and a row of targets": (
        lambda: nn.mean_squared_error.forward(np.zeros((10, 1)), np.zeros((1, 10))),
        ValueError,
        r"target has shape \(1, 10\)",
    ),
    "lengths of X and Y differ": (
        lambda: nn.train(STEP, TS, (X, ONE_HOT[:7]), epochs=1, key=nn.key(0)),
        ValueError,
        r"lengths differ: X has 10 rows, Y has 7 rows",
    ),
    "no rows": (lambda: nn.train(STEP, TS, (X[:0], ONE_HOT[:0]), epochs=1, key=nn.key(0)), ValueError, "no rows"),
    "logits for a loss on probabilities": (
        lambda: nn.categorical_cross_entropy.forward(5 * X @ np.ones((2, 3)), ONE_HOT),
        ValueError,
        r"y contains .*, expected probabilities: end the model with sigmoid or softmax, or use .*_with_logits",
    ),
    "weights of another length": (
        lambda: nn.mean_squared_error.forward(X, X, np.ones(4)),
        ValueError,
        r"weights has shape \(4,\), expected one for each example: \(10,\)",
    ),
    "negative weights": (
        lambda: nn.mean_squared_error.forward(X, X, -np.ones(10)),
        ValueError,
        "weights contains -1.0",
    ),
    "class weights of another length": (
        lambda: nn.categorical_cross_entropy.forward(ONE_HOT, ONE_HOT, class_weights=[1, 2]),
        ValueError,
        r"class_weights has shape \(2,\), expected one for each of 3 classes",
    ),
    "class weights without classes": (
        lambda: nn.mean_squared_error.forward(X, X, class_weights=[1, 2]),
        ValueError,
        "class_weights were passed to a loss without classes",
    ),
    # hyperparameters and names
    "keep_prob 0": (
        lambda: nn.dropout(0.0),
        ValueError,
        r"keep_prob=0.0: expected a number in \(0, 1\].*not to drop it",
    ),
    "keep_prob above 1": (lambda: nn.dropout(1.5), ValueError, r"keep_prob=1.5"),
    "keep_prob nan": (lambda: nn.dropout(np.nan), ValueError, "keep_prob=nan"),
    "keep_prob of an mlp": (lambda: nn.mlp([2, 3, 1], ["relu", "sigmoid"], keep_prob=2), ValueError, "keep_prob=2"),
    "keep_prob of an mlp without hidden layers": (
        lambda: nn.mlp([2, 1], ["relu"], keep_prob=2),
        ValueError,
        "keep_prob=2",
    ),
    "too many keep_probs": (
        lambda: nn.mlp([2, 3, 1], ["relu", "sigmoid"], keep_prob=[0.5, 0.5]),
        ValueError,
        "one number, or 1, one for each hidden layer",
    ),
    "an unknown form of gelu": (lambda: nn.gelu("erf"), ValueError, "approximate='erf': expected True"),
    "unknown activation": (
        lambda: nn.mlp([2, 3], ["rleu"]),
        ValueError,
        r"unknown activation 'rleu': did you mean 'relu'\? Known: elu, gelu",
    ),
    "too few activations": (
        lambda: nn.mlp([2, 3, 4], ["relu"]),
        ValueError,
        r"activations=\['relu'\]: expected one for each",
    ),
    "unknown initializer": (
        lambda: nn.dense(3, "xaver"),
        ValueError,
        "unknown initializer 'xaver': did you mean 'xavier'",
    ),
    "unknown optimizer": (
        lambda: nn.train_step(MODEL, "categorical_cross_entropy", "Adamm"),
        ValueError,
        "unknown optimizer 'Adamm': did you mean 'adam'",
    ),
    "unknown loss": (
        lambda: nn.train_step(MODEL, "cross_entropy", "adam"),
        ValueError,
        "unknown loss 'cross_entropy'.*Known: ",
    ),
    "negative learning rate": (lambda: nn.adam(-1.0), ValueError, r"learning_rate=-1.0: expected a number in \[0, ∞\)"),
    "nan learning rate": (lambda: nn.gd(np.nan), ValueError, "learning_rate=nan"),
    "no units": (lambda: nn.dense(0), ValueError, "units=0: expected a whole number, 1 or more"),
    "units as a float": (lambda: nn.dense(2.5), ValueError, "units=2.5"),  # type: ignore[arg-type]  # what must fail
    "a layer that was not called": (
        lambda: nn.serial(nn.dense(3), wrong_layer()),
        TypeError,
        r"is no layer: call it: nn.relu\(\)",
    ),
    "an optimizer that was not called": (
        lambda: nn.train_step(MODEL, nn.categorical_cross_entropy, nn.adam),  # type: ignore[arg-type]  # what must fail
        TypeError,
        r"is no Optimizer: call it: adam\(...\)",
    ),
    "batch_size 0": (lambda: list(nn.minibatches(nn.key(0), (X, X), 0)), ValueError, "batch_size=0"),
    "epochs 0": (lambda: nn.train(STEP, TS, (X, ONE_HOT), epochs=0, key=nn.key(0)), ValueError, "epochs=0"),
    "negative penalty": (lambda: nn.l2(-0.1), ValueError, r"strength=-0.1"),
    "a penalty on nothing": (
        lambda: nn.l2(1.0).forward(ArrayDict({"K": [1.0]}), 1),
        ValueError,
        r"pattern '\*W' matches none",
    ),
    # keys and parameters
    "dropout without a key": (
        lambda: MODEL.forward(PARAMS, STATE, X, train=True),
        ValueError,
        r"dropout1: dropout in training needs a key: pass key=nn.key\(seed\)",
    ),
    "a seed for a key": (lambda: MODEL.init(wrong_int(0), (2,)), TypeError, r"key=0 is no key: pass nn.key\(0\)"),
    "a seed for a key in the loop": (
        lambda: nn.train(STEP, TS, (X, ONE_HOT), epochs=1, key=wrong_int(3)),
        TypeError,
        r"key=3 is no key: pass nn.key\(3\)",
    ),
    "parameters that are missing": (
        lambda: MODEL.forward(PARAMS.select("dense1.*"), STATE, X),
        ValueError,
        r"dense2: the parameters do not fit the model: W, b missing",
    ),
    "parameters too many": (
        lambda: MODEL.forward(PARAMS | {"dense3.W": np.zeros((3, 3), np.float32)}, STATE, X),
        ValueError,
        r"do not fit the model: it has no layer for dense3.W",
    ),
    "parameters of whole numbers": (
        lambda: nn.dense(3).forward(ArrayDict({"W": np.ones((2, 3), int), "b": np.zeros(3)}), STATE, X),
        ValueError,
        "W has dtype int64, expected floats",
    ),
    "state without running averages": (
        lambda: nn.batch_norm().forward(nn.batch_norm().init(nn.key(0), (2,))[0], nn.arrays.EMPTY, X),
        ValueError,
        "the state has nothing, expected mean and var",
    ),
    # own layers
    "an own forward without its cache": (
        lambda: nn.layer(lambda p, x: x, lambda p, c, dy: (dy, {})).forward(nn.arrays.EMPTY, nn.arrays.EMPTY, X),
        TypeError,
        r"forward returned ndarray, expected the pair \(y, cache\)",
    ),
    "an own backward that forgets a gradient": (
        lambda: own_backward(lambda p, c, dy: (dy, {})),
        ValueError,
        "own1: the names differ: the dict of gradients that backward returned lacks a",
    ),
    "an own backward with a gradient of another shape": (
        lambda: own_backward(lambda p, c, dy: (dy, {"a": dy})),
        ValueError,
        r"own1: the dict of gradients that backward returned has other shapes: a \(10, 2\), expected \(2,\)",
    ),
    "an own backward with dx of another shape": (
        lambda: own_backward(lambda p, c, dy: (dy[:1], {"a": dy[0]})),
        ValueError,
        r"own1: backward returned dx of shape \(1, 2\), expected the input's shape \(10, 2\)",
    ),
    "an own layer that is no function": (lambda: nn.layer(None, None), TypeError, "forward=None is not callable"),  # type: ignore[arg-type]  # must fail
    # prediction
    "a logit as a probability": (
        lambda: nn.predict_classes(*logit_model(), X),
        ValueError,
        r"one output is no probability.*threshold=0.0",
    ),
    "accuracy against labels out of range": (
        lambda: nn.accuracy(MODEL, TS, X, CLASSES + 1),
        ValueError,
        r"Y contains 3 at \[2\], expected classes from 0 to 2",
    ),
    "accuracy against labels of another length": (
        lambda: nn.accuracy(MODEL, TS, X, CLASSES[:4]),
        ValueError,
        r"Y has shape \(4,\)",
    ),
    "model and state exchanged": (
        lambda: nn.predict(TS, MODEL, X),  # type: ignore[arg-type]  # what must fail
        TypeError,
        r"first two arguments are TrainState, Layer; expected a model and a TrainState",
    ),
    "the state of another optimizer": (
        lambda: nn.adam().step(PARAMS, PARAMS, nn.momentum().init(PARAMS)),
        ValueError,
        r"opt_state \(of another optimizer\? begin with optimizer\.init\(params\)\) lacks v\.dense1\.W",
    ),
    "a sigmoid under a loss for one decision": (
        lambda: nn.train_step(nn.mlp([4, 3], ["sigmoid"]), nn.sparse_categorical_cross_entropy, "adam"),
        ValueError,
        "ends with sigmoid.*would drive all of them to 1: use softmax",
    ),
    "states instead of epochs": (lambda: nn.history([TS]), TypeError, "epochs has parts that are no Epoch"),  # type: ignore[list-item]  # what must fail
    "a used-up iterator": (lambda: nn.history(iter([])), ValueError, "epochs is empty: was the iterator used up"),
    "a batch of one part": (lambda: STEP(TS, (X,)), ValueError, r"batch has 1 parts, expected \(x, target\)"),
}


def wrong_int(value: int) -> Any:
    return value


def wrong_layer() -> Any:
    return nn.relu


def own_backward(backward: Any) -> Any:
    own = nn.layer(lambda p, x: (x * p["a"], x), backward, {"a": np.ones(2)}, name="own")
    model = nn.serial(own)
    params, state = model.init(nn.key(0), (2,), np.float64)
    return model.backward(params, model.forward(params, state, X)[1], np.ones((10, 2)))


def logit_model() -> tuple[nn.Layer, nn.TrainState]:
    model = nn.serial(nn.dense(1))
    return model, nn.train_state(model, nn.gd(), nn.key(0), (2,))


@pytest.mark.parametrize("name", CASES)
def test_error(name: str) -> None:
    call, kind, message = CASES[name]
    with pytest.raises(kind, match=message):
        call()


# -- where a NaN began -------------------------------------------------------------------------------------------------


def test_an_exploding_run_says_at_which_step_and_layer() -> None:
    model = nn.mlp([2, 8, 8, 3], ["relu", "relu", "softmax"])
    step = nn.train_step(model, nn.categorical_cross_entropy, nn.gd(1e25))
    ts = nn.train_state(model, step.optimizer, nn.key(0), (2,))
    reached = [ts]

    def explode() -> None:
        for _ in range(20):
            reached.append(step(reached[-1], (X, ONE_HOT))[0])

    with pytest.raises(nn.NonFiniteError, match=r"at step \d+ .* of dense2 is the first that is not finite") as raised:
        explode()
    assert f"step {reached[-1].step} " in str(raised.value)


def test_an_own_layer_whose_gradient_is_infinite_is_named() -> None:
    def forward(p: ArrayDict, x: Array) -> tuple[Array, Array]:
        return np.sqrt(np.abs(x)), x

    def backward(p: ArrayDict, x: Array, dy: Array) -> tuple[Array, dict[str, Array]]:
        return dy * np.sign(x) / (2 * np.sqrt(np.abs(x))), {}

    model = nn.serial(nn.dense(4), nn.relu(), nn.layer(forward, backward, name="root"), nn.dense(3), nn.softmax())
    step = nn.train_step(model, nn.categorical_cross_entropy, nn.gd(0.1))
    ts = nn.train_state(model, step.optimizer, nn.key(0), (2,))
    with (
        np.errstate(all="ignore"),
        pytest.raises(
            nn.NonFiniteError, match="step 0 the loss is finite: the gradient of the input of root1 is the first"
        ),
    ):
        step(ts, (X, ONE_HOT))


def test_parameters_that_came_in_as_nan_are_named() -> None:
    ts = TS._replace(params=TS.params.replace({"dense2.b": [0, np.nan, 0]}))
    with pytest.raises(nn.NonFiniteError, match=r"the parameter dense2.b is not finite \(nan at \[1\]\)"):
        STEP(ts, (X, ONE_HOT))


def test_huge_but_finite_gradients_are_no_error() -> None:
    model = nn.serial(nn.dense(1))
    step = nn.train_step(model, nn.mean_absolute_error, nn.gd(0.0))
    ts = nn.train_state(model, step.optimizer, nn.key(0), (2,))
    _, metrics = step(ts, (X * 1e25, np.zeros((10, 1))))
    assert np.isfinite(metrics.loss)


def test_errors_of_other_kinds_get_a_note() -> None:
    def forward(p: ArrayDict, x: Array) -> tuple[Array, None]:
        raise ZeroDivisionError("my own")

    model = nn.serial(nn.dense(2), nn.layer(forward, lambda p, c, dy: (dy, {}), name="mine"))
    params = ArrayDict({"dense1.W": np.ones((2, 2)), "dense1.b": np.ones(2)})
    with pytest.raises(ZeroDivisionError) as raised:
        model.forward(params, nn.arrays.EMPTY, X)
    assert raised.value.__notes__ == ["in the layer mine1"]


def test_the_file_of_messages_is_that_of_the_source() -> None:
    assert messages() == FILE.read_text(), "python -m tests.messages writes it: look at what changed"
