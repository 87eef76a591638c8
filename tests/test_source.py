"""Models exported as a standalone file: it runs without nnfunc, and gives the same bits."""

from __future__ import annotations

import ast
import pickle
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st

import nnfunc as nn
from nnfunc.arrays import ArrayDict
from nnfunc.core.build import program
from nnfunc.core.values import Shapes, Value, leaves, map_leaves
from nnfunc.interop._fold import Known, folded
from nnfunc.interop._written import integers
from nnfunc.interop.source import to_source, write_source
from nnfunc.models.description import constructors
from nnfunc.testing.strategies import Network, networks
from tests.catalogue import EVERY, FEATURES, LOSSES, OPTIMIZERS, OUTPUTS, PENALTIES, outputs_and_targets, randomized

CANNOT: dict[str, str] = {}
"""Layers of the catalogue that cannot be written, with the words of the error that says why."""


def moved(state: ArrayDict, seed: int) -> ArrayDict:
    """Running averages away from 0 and 1."""
    rng = np.random.default_rng(seed)
    return ArrayDict({k: rng.uniform(0.5, 2, a.shape).astype(a.dtype) for k, a in state.items()})


def inputs_of(model: nn.Layer, shape: Shapes, params: ArrayDict, state: ArrayDict, rows: int, seed: int) -> Value:
    """Inputs of the kinds that a model takes."""
    rng, made = np.random.default_rng(seed), program(model, shape, params, state)
    whole = integers(made)
    dtype = params.dtype if params.size else np.float32  # without parameters a file is in float32

    def drawn(n: int) -> Any:
        size = (rows, *made.shapes[n])
        return rng.integers(0, 3, size) if whole[n] else (np.round(rng.normal(size=size) * 4) / 4).astype(dtype)

    return map_leaves(drawn, made.inputs)


def run(text: str) -> dict[str, Any]:
    """What a file defines; it is checked to import NumPy and the standard library alone."""
    for node in ast.walk(ast.parse(text)):
        names = [str(node.module)] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            assert name.partition(".")[0] in {"numpy", *sys.stdlib_module_names}
    module: dict[str, Any] = {"__name__": "written", "__file__": "written.py"}
    exec(compile(text, "written.py", "exec"), module)
    return module


def assert_same(a: Value, b: Value) -> None:
    for mine, theirs in zip(leaves(a), leaves(b), strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)


def check(model: nn.Layer, params: ArrayDict, state: ArrayDict, shape: Shapes, seed: int = 0) -> None:
    text = to_source(model, params, state, input_shape=shape)
    predict = run(text)["predict"]
    for rows in (1, 5):
        x = inputs_of(model, shape, params, state, rows, seed)
        before = map_leaves(np.copy, x)
        assert_same(predict(x), nn.predict(model, nn.TrainState(params, state, nn.arrays.EMPTY, nn.key(0), 0), x))
        assert_same(x, before)


# -- every layer -------------------------------------------------------------------------------------------------------


def test_what_cannot_be_written_is_known() -> None:
    assert set(CANNOT) <= set(EVERY)
    assert set(constructors()) - {"linear", "swish"} <= set(EVERY)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", sorted(EVERY))
@settings(max_examples=10)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_every_layer(name: str, dtype: type[np.floating], data: st.DataObject, seed: int) -> None:
    layers, shape = EVERY[name]
    layer = data.draw(layers)
    params, state = layer.init(nn.key(seed), shape, dtype)
    if name in CANNOT:
        with pytest.raises(ValueError, match=CANNOT[name]):
            to_source(layer, params, state, input_shape=shape)
        return
    check(layer, randomized(params, seed), moved(state, seed), shape, seed)


@given(networks(), st.sampled_from([np.float32, np.float64]), st.integers(0, 2**32 - 1))
def test_whole_networks(network: Network, dtype: type[np.floating], seed: int) -> None:
    params, state = network.params.astype(dtype), moved(network.state, seed).astype(dtype)
    x = map_leaves(lambda a: a.astype(dtype) if a.dtype.kind == "f" else a, network.x)
    shape = map_leaves(lambda a: a.shape[1:], network.x)
    y = network.model.forward(params, state, x)[0]
    assert_same(run(to_source(network.model, params, state, input_shape=shape))["predict"](x), y)


RAGGED = [
    make(3, reverse=reverse, lengths=True, initial_state=True, final_state=True, output=output)
    for make in (nn.rnn, nn.gru, nn.lstm)
    for reverse in (False, True)
    for output in ("sequence", "last")
]


@pytest.mark.parametrize("layer", RAGGED, ids=repr)
def test_recurrent_layers_with_lengths_and_states(layer: nn.Layer) -> None:
    inner = (3,) if layer.name != "lstm" else ((3,), (3,))
    check(layer, *layer.init(nn.key(0), ((5, 2), inner, ())), ((5, 2), inner, ()))


@pytest.mark.parametrize("cross", [False, True])
def test_attention_with_masks_and_memories(cross: bool) -> None:
    layer = nn.attention(2, cross=cross, mask=True)
    shape = ((4, 4), (5, 6), (5,)) if cross else ((4, 4), (4,))
    check(layer, *layer.init(nn.key(0), shape), shape)


def test_integers_go_through_layers_that_take_anything() -> None:
    model = nn.serial(nn.flatten(), nn.embedding(5, 2))
    check(model, *model.init(nn.key(0), (2, 3)), (2, 3))


def test_a_model_without_layers_is_the_identity() -> None:
    for model in (nn.serial(), nn.residual(nn.serial())):
        check(model, nn.arrays.EMPTY, nn.arrays.EMPTY, (3,))


MLP = nn.mlp([4, 6, 5, 3], ["relu", "tanh", "sigmoid"], keep_prob=0.8, batch_norm=True)
CNN = nn.serial(
    nn.conv2d(4, 3, padding="same"), nn.batch_norm(), nn.relu(), nn.max_pool2d(2), nn.flatten(), nn.dense(3),
    nn.softmax(),
)  # fmt: skip
LSTM = nn.serial(nn.embedding(7, 4), nn.lstm(5, output="last"), nn.dropout(0.5), nn.dense(3))
ATTENTION = nn.serial(
    nn.embedding(7, 4), nn.learned_positions(6), nn.transformer_block(4, 2, 8, causal=True), nn.dense(7)
)
rng = np.random.default_rng(0)
IMAGES = rng.normal(size=(8, 6, 6, 2)).astype(np.float32)
WORDS, CLASSES = rng.integers(0, 7, (8, 6)), rng.integers(0, 3, 8)
ROWS, BITS = rng.normal(size=(8, 4)).astype(np.float32), rng.integers(0, 2, (8, 3)).astype(np.float32)

NETWORKS: dict[str, tuple[nn.Layer, Shapes, nn.Loss, Any, Any]] = {
    "mlp": (MLP, (4,), nn.binary_cross_entropy, ROWS, BITS),
    "cnn": (CNN, (6, 6, 2), nn.sparse_categorical_cross_entropy, IMAGES, CLASSES),
    "lstm": (LSTM, (6,), nn.sparse_categorical_cross_entropy_with_logits, WORDS, CLASSES),
    "attention": (ATTENTION, (6,), nn.sparse_categorical_cross_entropy_with_logits, WORDS, (WORDS + 1) % 7),
    "frozen": (nn.freeze(MLP, ["dense1.*", "batch_norm1.*"]), (4,), nn.binary_cross_entropy, ROWS, BITS),
    "tied": (
        nn.tie(nn.serial(nn.dense(5), nn.tanh(), nn.dense(4)), "dense2.W", "dense1.W", True), (4,),
        nn.mean_squared_error, ROWS, ROWS,
    ),
}  # fmt: skip


# -- the file ----------------------------------------------------------------------------------------------------------

ALONE = """
import sys
sys.path += sys.argv[1:3]
sys.modules["nnfunc"] = None  # where it stands beside NumPy, it is not to be imported
import numpy as np
for name in sys.argv[3:]:
    module = __import__(name)
    with np.load(f"{sys.argv[1]}/x_{name}.npz") as file:
        x = [file[f"arr_{i}"] for i in range(len(file))]
    y = module.predict(x[0] if len(x) == 1 else tuple(x))
    np.savez(f"{sys.argv[1]}/y_{name}.npz", *(y if isinstance(y, tuple) else (y,)))
"""


def test_every_layer_runs_where_there_is_no_nnfunc(tmp_path: Path) -> None:
    """Each of them in an interpreter without this package and without the folder that it stands in."""
    expected = {}
    for i, (name, (layers, shape)) in enumerate(sorted(EVERY.items())):
        layer = find(layers, lambda _: True)
        params, state = layer.init(nn.key(0), shape)
        params, state = randomized(params, 0), moved(state, 0)
        x = inputs_of(layer, shape, params, state, 5, i)
        write_source(tmp_path / f"net_{name}.py", layer, params, state, input_shape=shape)
        np.savez(tmp_path / f"x_net_{name}.npz", *leaves(x))
        expected[f"net_{name}"] = leaves(layer.forward(params, state, x)[0])
    script = tmp_path / "alone.py"
    script.write_text(ALONE)
    packages = Path(np.__file__).parents[1]
    command = [sys.executable, "-I", "-S", str(script), str(tmp_path), str(packages), *expected]
    subprocess.run(command, check=True, cwd=tmp_path)
    for name, ys in expected.items():
        with np.load(tmp_path / f"y_{name}.npz") as file:
            assert_same(tuple(file[f"arr_{i}"] for i in range(len(file))), tuple(ys))
    assert len(expected) == len(EVERY)


def wide() -> tuple[nn.Layer, ArrayDict, ArrayDict]:
    model = nn.serial(nn.dense(16), nn.batch_norm(), nn.relu(), nn.dense(4))
    params, state = model.init(nn.key(0), (20,))
    return model, randomized(params, 0), moved(state, 0)


def test_many_numbers_stand_beside_the_file_or_inside(tmp_path: Path) -> None:
    model, params, state = wide()
    x = np.random.default_rng(0).normal(size=(5, 20)).astype(np.float32)
    y = model.forward(params, state, x)[0]
    write_source(tmp_path / "wide_net.py", model, params, state, input_shape=(20,))
    text = (tmp_path / "wide_net.py").read_text("utf-8")
    with np.load(tmp_path / "wide_net.npz") as file:
        assert sorted(file) == sorted([*params, *state])
    module: dict[str, Any] = {"__file__": str(tmp_path / "wide_net.py")}
    exec(text, module)
    for found in (module, run(to_source(model, params, state, input_shape=(20,)))):
        assert_same(found["predict"](x), y)
        assert_arrays(found["PARAMS"], dict(params))
        assert_arrays(found["STATE"], dict(state))


def test_few_numbers_stand_in_the_file(tmp_path: Path) -> None:
    model = nn.serial(nn.dense(2))
    write_source(str(tmp_path / "small.py"), model, *model.init(nn.key(0), (3,)), input_shape=(3,))
    assert [path.name for path in tmp_path.iterdir()] == ["small.py"]
    with pytest.raises(ValueError, match=r"path='small.txt': expected the name of a Python file"):
        write_source("small.txt", model, *model.init(nn.key(0), (3,)), input_shape=(3,))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(st.data())
def test_numbers_in_the_file_are_exact(dtype: type[np.floating], data: st.DataObject) -> None:
    kind = st.floats(allow_nan=False, allow_infinity=False, width=32 if dtype == np.float32 else 64)
    numbers = np.array(data.draw(st.lists(kind, min_size=3, max_size=3)), dtype)
    text = to_source(nn.dense(3), ArrayDict({"W": np.zeros((2, 3), dtype), "b": numbers}), input_shape=(2,))
    assert_same(run(text)["PARAMS"]["b"], numbers)


@pytest.mark.parametrize("name", NETWORKS)
def test_ruff_finds_nothing(name: str, tmp_path: Path) -> None:
    ruff = shutil.which("ruff")
    if ruff is None:
        pytest.skip("no ruff")
    model, shape, loss, *_ = NETWORKS[name]
    ts = nn.train_state(model, nn.adam(), nn.key(0), input_shape=shape)
    for i, training in enumerate(({}, {"loss": loss, "optimizer": nn.adam(), "penalty": nn.l2(0.1)})):
        write_source(tmp_path / f"net{i}.py", model, ts, input_shape=shape, **training)  # type: ignore[arg-type]  # one of two
    said = ["--isolated", "--line-length", "120", "--select", "E,F,W"]
    subprocess.run([ruff, "check", *said, str(tmp_path)], check=True)


def test_any_name_will_do() -> None:
    name = 'a "b", (c\\'
    model = nn.serial(
        nn.wired(through, {name: nn.serial(*(nn.dense(3) for _ in range(2)), nn.batch_norm())}), nn.gru(2)
    )
    check(model, *model.init(nn.key(0), (2, 3)), (2, 3))


def through(call: Any, x: Any) -> Any:
    return call(*call.layers, x)


def test_how_it_is_used_is_said() -> None:
    """What the docstring of the file says runs as it stands there."""
    module = run(training_text(loss=nn.binary_cross_entropy, optimizer=nn.adam(FORMS[-1].settings["learning_rate"])))
    lines = [line for line in module["__doc__"].splitlines() if line.startswith("    ")]
    assert len(lines) == 3
    exec("\n".join(line.strip() for line in lines), module | {"x": ROWS, "target": BITS, "lr": 0.1})


# -- functions with known arguments ------------------------------------------------------------------------------------

FOLDS: list[tuple[str, dict[str, Any], str]] = [
    ("if a:\n    x = 1  # one\nelse:\n    x = 2\nreturn x", {"a": True}, "x = 1  # one\nreturn x"),
    ("if a:\n    x = 1\nelif b:\n    x = 2\nreturn x", {"a": None}, "if b:\n    x = 2\nreturn x"),
    ("if a is not None:\n    return 1\nreturn 2", {"a": "s"}, "return 1"),
    ("if a is not None:\n    return 1\nreturn 2", {"a": None}, "return 2"),
    ("return [1 if a else 2, not a, a == 's']", {"a": "s"}, 'return [1, False, True]'),
    ("return (a and b) + (a or b) + (b and a)", {"a": False}, "return (False) + (b) + (b and False)"),
    ("return (a and b) + (a or b) + (b and a)", {"a": True}, "return (b) + (True) + (b)"),
    ("k = a if a else None\nd = f(b)\nreturn f(k, b)", {"a": None}, "return f(None, b)"),
    ('return f"a is {a!r}, {b}"', {"a": True}, 'return f"a is {True!r}, {b}"'),
    ("if b:\n    if a:\n        x = 1\nreturn b", {"a": False}, "if b:\n    pass\nreturn b"),
    ("return f(x, **c)", {"a": True, "e": 3}, "return f(x, e=3)"),
    ("return f(x, **c)", {"a": True}, "return f(x)"),
]  # fmt: skip


def indent(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())


@pytest.mark.parametrize(("body", "fixed", "expected"), FOLDS)
def test_what_is_known_is_decided(body: str, fixed: dict[str, Any], expected: str) -> None:
    known = Known()
    text = folded(f"def f(x, *, a, b=1, **c):\n{indent(body)}", fixed, known)
    assert text is not None
    assert known.spelled(text) == f"def f(x, *, b=1):\n{indent(expected)}"


def test_a_step_changes_nothing() -> None:
    module = run(training_text(optimizer=nn.adam(), penalty=nn.l2(0.1)))
    params, slots, state = module["PARAMS"], module["begin"](module["PARAMS"]), module["STATE"]
    before = pickle.dumps((params, slots, state, ROWS, BITS))
    a, b = (module["train_step"](params, slots, ROWS, BITS, key=module["new_key"](0)) for _ in range(2))
    assert pickle.dumps((params, slots, state, ROWS, BITS)) == before
    assert pickle.dumps(a) == pickle.dumps(b)


@pytest.mark.parametrize(
    "body", ["a = 2\n    return a", "return [a for a in x]", "return lambda a: a", "return dict(c)"]
)
def test_what_cannot_be_decided_stays(body: str) -> None:
    assert folded(f"def f(x, *, a, **c):\n    {body}", {"a": True}, Known()) is None


# -- what cannot be written --------------------------------------------------------------------------------------------


def plain(params: Any, x: Any) -> Any:
    return x, None


def back(params: Any, cache: Any, dy: Any) -> Any:
    return dy, {}


def with_nnfunc(params: Any, x: Any) -> Any:
    return x, nn.arrays.EMPTY


def with_pytest(params: Any, x: Any) -> Any:
    return pytest.approx(x), None


def inner() -> Any:
    factor = 2.0

    def scaled(params: Any, x: Any) -> Any:
        return factor * x, None

    return scaled


def with_a_constant(params: Any, x: Any) -> Any:
    return FEATURES * np.square(x), None


def test_what_functions_of_yours_use_comes_along() -> None:
    model = nn.layer(with_a_constant, back)
    text = to_source(model, nn.arrays.EMPTY, nn.arrays.EMPTY, input_shape=(2,))
    assert "FEATURES = 3" in text
    assert_same(run(text)["predict"](np.ones((1, 2))), np.full((1, 2), 3, np.float32))


def full(*_: Any, **__: Any) -> Any:
    return np.ones((1, 2)), None, nn.arrays.EMPTY


UNWRITTEN: list[tuple[nn.Layer, str]] = [
    (nn.layer(inner(), back), "scaled is defined inside of another function"),
    (nn.layer(with_nnfunc, back), "uses nn of nnfunc, which the file shall not need"),
    (nn.layer(with_pytest, back), "uses pytest of pytest, which the file shall not need"),
    (nn.layer(partial(plain), back), "is no function whose source could be written"),
    (
        nn.Layer(lambda *_: (nn.arrays.EMPTY, nn.arrays.EMPTY), full, back),
        "is a layer of three functions: make it with nn.layer",
    ),
]


@pytest.mark.parametrize(("layer", "message"), UNWRITTEN, ids=lambda value: value if isinstance(value, str) else "")
def test_what_is_no_source_is_said(layer: nn.Layer, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_source(layer, nn.arrays.EMPTY, nn.arrays.EMPTY, input_shape=(2,))


def test_what_does_not_fit_is_said() -> None:
    model = nn.serial(nn.dense(2))
    params, state = model.init(nn.key(0), (3,))
    with pytest.raises(ValueError, match=r"input_shape=\(4,\) does not fit the model"):
        to_source(model, params, state, input_shape=(4,))
    with pytest.raises(ValueError, match="a stack of networks"):
        to_source(model, *model.init((nn.key(0), nn.key(1)), (3,)), input_shape=(3,))


# -- training ----------------------------------------------------------------------------------------------------------


def steps_agree(
    model: nn.Layer, shape: Shapes, loss: nn.Loss, optimizer: nn.Optimizer, penalty: nn.Penalty | None, x: Value,
    target: Any, dtype: type[np.floating] = np.float32, seed: int = 0,
) -> None:  # fmt: skip
    """Three steps written out have the bits of three steps here: parameters, state and what the optimizer remembers."""
    ts = nn.train_state(model, optimizer, nn.key(seed), input_shape=shape, dtype=dtype)
    if ts.params.size:
        ts = ts._replace(params=randomized(ts.params, seed))
    step = nn.train_step(model, loss, optimizer, penalty)
    text = to_source(model, ts, input_shape=shape, loss=loss, optimizer=optimizer, penalty=penalty)
    module = run(text)
    params, slots, state = module["PARAMS"], module["begin"](module["PARAMS"]), module.get("STATE")
    given: dict[str, Any] = {"key": module["Key"](ts.key)} if "Key" in module else {}
    for _ in range(3):
        ts, metrics = step(ts, (x, target))
        given |= {"state": state} if state is not None else {}
        params, slots, value, *rest = module["train_step"](params, slots, x, target, **given)
        state = rest[0] if rest else state
        assert_arrays(params, dict(ts.params))
        assert_arrays(state or {}, dict(ts.state))
        assert slots["t"] == ts.step
        for slot in optimizer.slots:
            assert_arrays(slots[slot], dict(ts.opt_state.group(slot)))
        assert abs(value - metrics.loss) <= 1e-5 * max(1, abs(value))  # the penalty's sum is in another order


def assert_arrays(mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert mine.keys() == theirs.keys()
    for name in theirs:
        assert_same(mine[name], theirs[name])


def with_dense_before(layer: nn.Layer, shape: Shapes) -> nn.Layer:
    """The layer behind others that need its dx, where it takes floats, and with one output."""
    whole = integers(program(layer, shape))
    made = program(layer, shape)
    parts = [layer]
    if not any(whole[n] for n in leaves(made.inputs)):
        parts = [nn.parallel(*(nn.dense(s[-1]) for s in shape)) if made.inputs != 0 else nn.dense(shape[-1]), layer]
    return nn.serial(*parts, *([nn.concatenate()] if made.output != 0 and isinstance(made.output, tuple) else []))


@pytest.mark.parametrize("name", sorted(EVERY))
@settings(max_examples=5)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_a_step_through_every_layer(name: str, data: st.DataObject, seed: int) -> None:
    layers, shape = EVERY[name]
    model = with_dense_before(data.draw(layers), shape)
    params, state = model.init(nn.key(seed), shape)
    x = inputs_of(model, shape, params, state, 5, seed)
    size = nn.output_shape(model, params, state, shape)
    target = np.random.default_rng(seed).normal(size=(5, *size)).astype(np.float32)
    with np.errstate(all="ignore"):
        steps_agree(model, shape, nn.mean_squared_error, nn.gd(1e-3), None, x, target, seed=seed)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", NETWORKS)
def test_steps_of_whole_networks(name: str, dtype: type[np.floating]) -> None:
    model, shape, loss, x, target = NETWORKS[name]
    x = x.astype(dtype) if x.dtype.kind == "f" else x
    steps_agree(model, shape, loss, nn.gd(0.1), nn.l2(0.1), x, target, dtype)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_every_loss_of_one_output(name: str) -> None:
    """Behind the activation that the loss asks for, or alone."""
    loss, kind, targets = LOSSES[name]
    last = {"sigmoid": [nn.sigmoid()], "softmax": [nn.softmax()]}.get(str(loss.activation), [])
    last = [nn.log_softmax()] if OUTPUTS.get(name) == "log-probabilities" else last
    model = nn.serial(nn.dense(5), nn.tanh(), nn.dense(3), *last)
    target = outputs_and_targets((kind, targets), 8, 3, 0)[1]
    target = target.astype(np.float32) if target.dtype.kind == "f" else target
    with np.errstate(all="ignore"):
        steps_agree(model, (4,), loss, nn.gd(0.01), None, ROWS, target)


ELEMENTS = {"adadelta", "adagrad", "adam", "adamax", "adamw", "amsgrad", "gd", "lion", "momentum", "nadam", "nesterov",
            "radam", "rmsprop", "compiled"}  # fmt: skip


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_every_optimizer(name: str) -> None:
    optimizer = OPTIMIZERS[name]
    if name in ELEMENTS:
        steps_agree(MLP, (4,), nn.binary_cross_entropy, optimizer, None, ROWS, BITS)
        steps_agree(MLP, (4,), nn.binary_cross_entropy, optimizer, None, ROWS.astype(float), BITS, np.float64)
    else:
        with pytest.raises(ValueError, match="cannot be written: take a built-in rule"):
            training_text(optimizer=optimizer)


FORMS = [
    nn.adam(0.01, eps=1e-8, eps_root=0.0),
    nn.adam(0.01, eps=1e-6, eps_root=1e-6),
    nn.adamw(0.01, weight_decay=0.1),
    nn.momentum(0.1, dampening=0.0),
    nn.adam(nn.schedules.step_decay(0.1, factor=0.5, every=1)),
]


@pytest.mark.parametrize("optimizer", FORMS[:-1], ids=repr)
def test_forms_of_optimizers(optimizer: nn.Optimizer) -> None:
    steps_agree(MLP, (4,), nn.binary_cross_entropy, optimizer, None, ROWS, BITS)


def test_a_schedule_is_the_callers() -> None:
    assert "def train_step(params, slots, x, target, lr, state=STATE, key=None):" in training_text(optimizer=FORMS[-1])


@pytest.mark.parametrize("name", sorted(PENALTIES))
def test_penalties(name: str) -> None:
    steps_agree(MLP, (4,), nn.binary_cross_entropy, nn.gd(0.1), PENALTIES[name], ROWS, BITS)


def training_text(model: nn.Layer = MLP, **given: Any) -> str:
    params, state = model.init(nn.key(0), (4,))
    training = {"loss": nn.binary_cross_entropy, "optimizer": nn.gd(), **given}
    return to_source(model, params, state, input_shape=(4,), **training)


def own_loss(y: Any, target: Any) -> Any:
    return float(np.sum(y)), y


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"loss": None}, "needs both"),
    ({"loss": nn.binary_cross_entropy(label_smoothing=0.1)}, "has options.*label_smoothing"),
    ({"loss": nn.Loss(own_loss, own_loss)}, "functions of your own"),
    ({"loss": nn.losses.ctc()}, "several outputs or of whole sequences"),
    ({"loss": nn.losses.combined(nn.mean_squared_error)}, "made of others"),
    ({"optimizer": nn.adamw(weight_decay={"*W": 0.1, "*": 0.0})}, "weight_decay by name"),
    ({"penalty": nn.Penalty(own_loss, own_loss)}, "take nn.l2 or nn.l1"),
]


@pytest.mark.parametrize(("given", "message"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_what_no_step_is_written_of(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        training_text(nn.serial(nn.dense(3)), **given)
