"""ONNX export: every exported graph is checked by onnx, run in ONNX Runtime, and compared with `nn.predict`."""

from __future__ import annotations

import builtins
import inspect
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import nnfunc as nn
from nnfunc.arrays import Array, ArrayDict
from nnfunc.core.expressions import Expression, op
from nnfunc.core.kernel import Kernel
from nnfunc.core.layer import make
from nnfunc.core.values import Value, leaves, map_leaves
from nnfunc.layers import activations
from nnfunc.models.description import constructors
from nnfunc.testing.strategies import Network, networks
from tests.catalogue import ATTENTION, EVERY, FEATURES, LAYERS, OTHERS, RECURRENT, WINDOWS, bent, randomized

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx
import onnxruntime

from nnfunc.interop.onnx import OPERATORS, to_onnx

TOLERANCE: dict[Any, float] = {np.float32: 2e-5, np.float64: 1e-12}
"""The largest difference allowed, relative to the largest input or output (or to 1)."""


class Trained(NamedTuple):
    params: ArrayDict
    state: ArrayDict


def moved(state: ArrayDict, seed: int) -> ArrayDict:
    """Running averages away from 0 and 1."""
    rng = np.random.default_rng(seed)
    return ArrayDict({k: rng.uniform(0.5, 2, a.shape).astype(a.dtype) for k, a in state.items()})


def run(model: Any, x: Value) -> Array:
    """The output of a graph with one."""
    (y,) = run_all(model, x)
    return y


def run_all(model: Any, x: Value) -> list[Array]:
    """The outputs of a graph, its inputs by their names."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [f"x{i}" for i in range(len(leaves(x)))] if isinstance(x, tuple) else ["x"]
    ys: list[Array] = session.run(None, dict(zip(names, leaves(x), strict=True)))
    return ys


def difference(a: Array, b: Array, largest: float = 1.0) -> float:
    assert a.shape == b.shape
    assert a.dtype == b.dtype
    assert np.isfinite(a).all()
    return float(abs(a - b).max() / max(1.0, largest, abs(b).max()))


def assert_exported(model: nn.Layer, params: ArrayDict, state: ArrayDict, *inputs: Value) -> None:
    """The graph is valid, with its shapes, and gives what `nn.predict` gives for each of the inputs."""
    made = to_onnx(model, params, state, input_shape=map_leaves(lambda a: a.shape[1:], inputs[0]))
    onnx.checker.check_model(made, full_check=True)
    names = {initializer.name for initializer in made.graph.initializer}
    assert names >= {*params, *state}
    worst = 0.0
    for x in inputs:
        x = map_leaves(lambda a: a.astype(params.dtype) if a.dtype.kind == "f" else a, x)
        y = nn.predict(model, Trained(params, state), x)
        largest = max(float(abs(a).max()) for a in leaves(x))
        for theirs, ours in zip(run_all(made, x), leaves(y), strict=True):
            worst = max(worst, difference(theirs, ours, largest))
    assert worst < TOLERANCE[params.dtype.type]


# -- every layer -------------------------------------------------------------------------------------------------------


def test_every_built_in_layer_has_an_expression() -> None:
    arguments = {"cell": nn.dense(3), "keep_prob": 0.5, "pairs": (1, 1)}
    for kind, constructor in constructors().items():
        required = [
            p for p in inspect.signature(constructor).parameters.values() if p.default is p.empty and p.kind.value == 1
        ]
        inner = nn.lstm(3) if kind == "bidirectional" else nn.dense(3)
        layer = constructor(*[{"layer": inner, "forward": inner, **arguments}.get(p.name, 3) for p in required])
        assert layer.wire is not None or (layer.kernel is not None and layer.kernel.onnx is not None), kind


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", sorted(LAYERS.keys() - {"layer"}))
@given(data=st.data(), seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([0.1, 1.0, 10.0]))
def test_every_layer(name: str, dtype: type[np.floating], data: st.DataObject, seed: int, scale: float) -> None:
    layer = data.draw(LAYERS[name].filter(lambda layer: "bent" not in repr(layer)))
    shape = (*data.draw(st.sampled_from([(), (), (2,), (2, 1)])), FEATURES)
    params, state = layer.init(nn.key(seed), shape, dtype)
    rng = np.random.default_rng(seed)
    inputs = [scale * np.round(rng.normal(size=(m, *shape)) * 4) / 4 for m in (1, 5)]
    assert_exported(layer, randomized(params, seed), moved(state, seed), *inputs)


EXAMPLES = settings(max_examples=100, derandomize=True, phases=[Phase.generate], database=None)


def operators(layer: nn.Layer, shape: Any, dtype: type[np.floating]) -> set[str]:
    made = to_onnx(layer, *layer.init(nn.key(0), shape, dtype), input_shape=shape)
    return {node.op_type for node in made.graph.node} - {"Identity"}


def test_the_table_of_operators_is_complete() -> None:
    """Each layer with a kernel has the operators that some of its graphs have, and no others."""
    seen: dict[str, set[str]] = {}
    for kind, (layers, shape) in EVERY.items():
        wide = (2, *shape) if kind in WINDOWS and kind not in ("pad", "crop", "upsample1d", "upsample2d") else shape

        @EXAMPLES
        @given(layers, st.sampled_from([np.float32, np.float64]), st.sampled_from([shape, wide]))
        def draw(layer: nn.Layer, dtype: type[np.floating], shape: Any) -> None:
            if layer.kernel is not None and layer.kernel.onnx is not None:
                seen.setdefault(layer.name, set()).update(operators(layer, shape, dtype))

        draw()
    for layer in RAGGED:
        states = ((3,), (3,)) if layer.name == "lstm" else (3,)
        seen[layer.name] |= operators(layer, ((5, 2), states, ()), np.float32)
    assert {kind: " ".join(sorted(kinds)) for kind, kinds in seen.items()} == OPERATORS


RAGGED = [
    make(3, reverse=reverse, lengths=True, initial_state=True, final_state=True, output=output)
    for make in (nn.rnn, nn.gru, nn.lstm)
    for reverse in (False, True)
    for output in ("sequence", "last")
]


@pytest.mark.parametrize("layer", RAGGED, ids=repr)
def test_recurrent_layers_with_lengths_and_states(layer: nn.Layer) -> None:
    rng = np.random.default_rng(0)
    states = (rng.normal(size=(4, 3)),) * (2 if layer.name == "lstm" else 1)
    x = rng.normal(size=(4, 5, 2)), states if layer.name == "lstm" else states[0], np.array([5, 0, 3, 2])
    params, state = layer.init(nn.key(0), map_leaves(lambda a: a.shape[1:], x))
    assert_exported(layer, randomized(params, 0), state, x)


@pytest.mark.parametrize("make", [nn.rnn, nn.gru, nn.lstm])
def test_both_directions_with_lengths(make: Any) -> None:
    x = np.random.default_rng(0).normal(size=(4, 5, 2)), np.array([5, 0, 3, 2])
    layer = nn.bidirectional(make(3, lengths=True, final_state=True))
    params, state = layer.init(nn.key(0), ((5, 2), ()))
    assert_exported(layer, randomized(params, 0), state, x)


MASKED: list[tuple[nn.Layer, bool]] = [
    (nn.attention(2, mask=True), False),
    (nn.attention(2, mask=True, causal=True), True),
    (nn.attention(2, cross=True), False),
    (nn.attention(2, cross=True, mask=True, size=3), True),
    (nn.attention(2, mask=True, size=6, rotary="halves"), False),
    (nn.attention(1, mask=True, causal=True, size=2, rotary="adjacent"), True),
]


@pytest.mark.parametrize(("layer", "pairs"), MASKED, ids=repr)
def test_attention_with_masks_and_memories(layer: nn.Layer, pairs: bool) -> None:
    rng, cross = np.random.default_rng(0), layer.settings["cross"]
    x, memory = rng.normal(size=(3, 4, 4)), rng.normal(size=(3, 5, 6))
    length = 5 if cross else 4
    mask = rng.integers(0, 2, (3, 4, length) if pairs else (3, length))
    mask[0] = 0
    inputs = (x, *[memory] * cross, *[mask] * layer.settings["mask"])
    params, state = layer.init(nn.key(0), map_leaves(lambda a: a.shape[1:], inputs))
    assert_exported(layer, randomized(params, 0), state, inputs)


@pytest.mark.parametrize("name", sorted({**RECURRENT, **ATTENTION}))
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_layers_of_sequences(name: str, data: st.DataObject, seed: int) -> None:
    layers, shape = {**RECURRENT, **ATTENTION}[name]
    layer, rng = data.draw(layers), np.random.default_rng(seed)
    params, state = layer.init(nn.key(seed), shape)
    words = [rng.integers(0, 5, (m, *shape)) for m in (1, 3)]
    inputs = words if name == "embedding" else [rng.normal(size=w.shape) for w in words]
    assert_exported(layer, randomized(params, seed), state, *inputs)


@pytest.mark.parametrize("name", sorted(WINDOWS))
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_windows(name: str, data: st.DataObject, seed: int) -> None:
    layers, shape = WINDOWS[name]
    layer, shape = data.draw(layers), (*data.draw(st.sampled_from([(), (2,)])), *shape)
    params, state = layer.init(nn.key(seed), shape)
    inputs = [np.round(np.random.default_rng(seed).normal(size=(m, *shape)) * 4) / 4 for m in (1, 3)]
    assert_exported(layer, randomized(params, seed), state, *inputs)


@pytest.mark.parametrize("name", ["geglu", "glu", "group_norm", "instance_norm", "swiglu"])
@given(data=st.data(), dtype=st.sampled_from([np.float32, np.float64]), seed=st.integers(0, 2**32 - 1))
def test_norms_of_an_example_and_gates(name: str, data: st.DataObject, dtype: type[np.floating], seed: int) -> None:
    layers, shape = OTHERS[name]
    layer, shape = data.draw(layers), (*data.draw(st.sampled_from([(), (2,)])), *shape)
    params, state = layer.init(nn.key(seed), shape, dtype)
    inputs = [np.round(np.random.default_rng(seed).normal(size=(m, *shape)) * 4) / 4 for m in (1, 3)]
    assert_exported(layer, randomized(params, seed), state, *inputs)


@given(networks(), st.sampled_from([np.float32, np.float64]), st.integers(0, 2**32 - 1))
def test_whole_networks(network: Network, dtype: type[np.floating], seed: int) -> None:
    params, state = network.params.astype(dtype), moved(network.state, seed).astype(dtype)
    assert_exported(network.model, params, state, network.x)


# -- graphs ------------------------------------------------------------------------------------------------------------

TOWER = nn.serial(nn.dense(4), nn.gelu(), nn.layer_norm())


def gate(call: Any, x: Any) -> Any:
    return call(nn.multiply(), (call("f", x), call(nn.sigmoid(), call("f", call("g", x)))))


GRAPHS: dict[str, tuple[nn.Layer, Any]] = {
    "two inputs": (
        nn.serial(
            nn.parallel(image=nn.serial(nn.flatten(), nn.dense(4), nn.batch_norm()), table=nn.dense(4)),
            nn.concatenate(),
            nn.dense(3),
        ),
        ((2, 3), (5,)),
    ),
    "one of a tuple": (nn.serial(nn.take(0), nn.dense(3)), ((4,),)),
    "shared": (nn.serial(nn.shared(TOWER), nn.subtract(), nn.dense(1)), ((3,), (3,))),
    "several outputs": (nn.branch(nn.dense(2), nn.serial(nn.dense(3), nn.softmax()), nn.identity()), (4,)),
    "inputs as outputs": (
        nn.serial(nn.shared(nn.tanh()), nn.branch(nn.add(), nn.take(1), nn.multiply())),
        ((3,), (3,)),
    ),
    "sample": (nn.serial(nn.branch(mu=nn.dense(2), logvar=nn.dense(2)), nn.reparametrize(), nn.reshape(2, 1)), (4,)),
    "scan": (nn.serial(nn.scan(nn.serial(nn.concatenate(), nn.dense(4), nn.gelu()), 4), nn.dense(2)), (5, 3)),
    "scan of one step": (nn.scan(nn.serial(nn.concatenate(), nn.dense(2)), 2), (1, 3)),
    "scan in more axes": (nn.scan(nn.serial(nn.concatenate(), nn.dense(2)), 2), (2, 4, 3)),
    "residual": (nn.residual(nn.residual(nn.layer_norm()), nn.dense(4), nn.dropout(0.5)), (4,)),
    "wired": (nn.wired(gate, {"f": nn.dense(3), "g": nn.dense(3)}), (3,)),
    "tied": (nn.tie(nn.serial(nn.dense(4), nn.tanh(), nn.dense(4)), "dense2.W", "dense1.W"), (4,)),
    "tied transposed": (nn.tie(nn.serial(nn.dense(3), nn.tanh(), nn.dense(4)), "dense2.W", "dense1.W", True), (4,)),
    "frozen": (
        nn.freeze(nn.serial(nn.dense(3), nn.batch_norm(), nn.dense(2)), ["dense1.*", "batch_norm1.*"]),
        (4,),
    ),
    "all frozen": (nn.freeze(nn.serial(nn.dense(3), nn.batch_norm()), "*"), (4,)),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", GRAPHS)
def test_graphs(name: str, dtype: type[np.floating]) -> None:
    model, shape = GRAPHS[name]
    rng = np.random.default_rng(0)
    params, state = (a.with_vector(rng.uniform(0.5, 1.5, a.vector.shape)) for a in model.init(nn.key(0), shape, dtype))
    made = to_onnx(model, params, state, input_shape=shape)
    onnx.checker.check_model(made, full_check=True)
    several = isinstance(shape[0], tuple)
    for m in (1, 7):
        x = tuple(rng.normal(size=(m, *s)).astype(dtype) for s in (shape if several else [shape]))
        expected = nn.predict(model, Trained(params, state), x if several else x[0])
        ys = run_all(made, x if several else x[0])
        for y, wanted in zip(ys, leaves(expected), strict=True):
            assert difference(y, wanted) < TOLERANCE[dtype]
        names = [value.name for value in made.graph.output]
        assert names == ([f"y{i}" for i in range(len(ys))] if isinstance(expected, tuple) else ["y"])


def test_an_array_that_is_used_twice_stands_there_once() -> None:
    for name in ("shared", "scan", "tied", "tied transposed", "wired", "frozen"):
        model, shape = GRAPHS[name]
        params, state = model.init(nn.key(0), shape)
        made = to_onnx(model, params, state, input_shape=shape)
        arrays = [a.name for a in made.graph.initializer if "/constant" not in a.name]
        assert sorted(arrays) == sorted(k.removeprefix("frozen.") for k in (*params, *state))


# -- at the extremes ---------------------------------------------------------------------------------------------------

EXTREME: list[Any] = [-1000.0, -100.0, -20.0, -5.0, -1e-3, 0.0, 1e-3, 5.0, 20.0, 100.0, 1000.0]
ACTIVATIONS = {name: make() for name, make in activations.ACTIVATIONS.items()} | {"gelu_tanh": nn.gelu(True)}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_extremes(name: str, dtype: type[np.floating]) -> None:
    """One row of extremes for softmax, and each extreme in a row of its own: differences relative to each output."""
    layer = nn.serial(nn.dense(1, "constant", bias=False), ACTIVATIONS[name])
    row = np.array([EXTREME], dtype)
    params = ArrayDict({"dense1.W": np.ones((1, 1), dtype)})
    assert_exported(layer, params, nn.arrays.EMPTY, row.T)
    for x in row.T:
        assert_exported(layer, params, nn.arrays.EMPTY, x[None])
    eye = ArrayDict({"dense1.W": np.eye(len(EXTREME), dtype=dtype)})
    assert_exported(nn.serial(nn.dense(len(EXTREME), bias=False), ACTIVATIONS[name]), eye, nn.arrays.EMPTY, row)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_norms_of_equal_and_of_far_rows(dtype: type[np.floating]) -> None:
    """Where all features are equal the output is exactly beta; far from 0 nothing cancels."""
    far = (1e4 + np.arange(21.0).reshape(3, 7)).astype(dtype)
    for layer in (nn.layer_norm(), nn.batch_norm()):
        params, state = layer.init(nn.key(0), (7,), dtype)
        made = to_onnx(layer, params, state, input_shape=(7,))
        y = nn.predict(layer, Trained(params, state), far)
        assert difference(run(made, far), y) < TOLERANCE[dtype]
    made = to_onnx(nn.layer_norm(), *nn.layer_norm().init(nn.key(0), (7,), dtype), input_shape=(7,))
    for value in (1000.1, 0.1, 123.456):
        assert not run(made, np.full((3, 7), value, dtype)).any()


# -- whole models ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_batch_size_and_any_axes(dtype: type[np.floating]) -> None:
    block = nn.residual(nn.layer_norm(), nn.dense(6), nn.gelu(), nn.serial(nn.dropout(0.5), nn.dense(6, bias=False)))
    model = nn.serial(nn.dense(6), nn.batch_norm(), block, nn.flatten(2), nn.flatten(), nn.dense(3), nn.softmax())
    params, state = model.init(nn.key(0), (2, 5, 4), dtype)
    x = np.random.default_rng(0).normal(size=(100, 2, 5, 4))
    assert_exported(model, params, moved(state, 0), x, x[:1], x[:7], x[:64])
    made = to_onnx(model, params, state, input_shape=(2, 5, 4))
    for value, shape in ((made.graph.input[0], ["batch", 2, 5, 4]), (made.graph.output[0], ["batch", 3])):
        dims = value.type.tensor_type.shape.dim
        assert [d.dim_param or d.dim_value for d in dims] == shape


def test_a_trained_network_is_exported_from_its_state(tmp_path: Any) -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(size=(200, 8)), rng.integers(0, 3, 200)
    model = nn.mlp([8, 32, 32, 3], ["relu", "silu", "softmax"], keep_prob=0.8, batch_norm=True)
    step = nn.train_step(model, nn.sparse_categorical_cross_entropy, nn.adam(0.01))
    ts = nn.train_state(model, step.optimizer, nn.key(0), (8,))
    *_, epoch = nn.train(step, ts, data, epochs=5, key=nn.key(1))
    onnx.save(to_onnx(model, epoch.state, input_shape=(8,)), tmp_path / "net.onnx")
    x = data[0].astype(np.float32)
    assert difference(run(onnx.load(tmp_path / "net.onnx"), x), nn.predict(model, epoch.state, x)) < 1e-6


def test_a_model_without_layers_is_the_identity() -> None:
    assert_exported(nn.serial(), nn.arrays.EMPTY, nn.arrays.EMPTY, np.ones((2, 3)))
    assert_exported(nn.residual(nn.serial()), nn.arrays.EMPTY, nn.arrays.EMPTY, np.ones((2, 3)))


def test_the_graph_is_the_same_twice() -> None:
    model = nn.mlp([3, 4, 2], ["gelu", "softmax"], batch_norm=True)
    once, twice = (to_onnx(model, *model.init(nn.key(0), (3,)), input_shape=(3,)) for _ in range(2))
    assert once.SerializeToString() == twice.SerializeToString()


# -- errors ------------------------------------------------------------------------------------------------------------


def test_own_layers_are_all_named() -> None:
    relu = nn.layer(lambda p, x: (x, None), lambda p, c, dy: (dy, {}), name="relu")  # under a built-in name
    model = nn.serial(nn.dense(3), bent(), nn.residual(relu, nn.relu()))
    with pytest.raises(ValueError, match=r"without an ONNX expression.*: bent1, residual1\.relu1$"):
        to_onnx(model, *model.init(nn.key(0), (3,)), input_shape=(3,))
    wired = nn.wired(lambda call, x: call(relu, call(nn.tanh(), x)), {}, name="block")  # called beside its layers
    with pytest.raises(ValueError, match=r"without an ONNX expression.*: block1\.relu$"):
        to_onnx(nn.serial(wired), nn.arrays.EMPTY, input_shape=(3,))


def test_what_a_kernel_says_is_exported_whatever_its_layer_is_called() -> None:
    named = nn.serial(nn.dense(3)._replace(name="dropout"))
    params, state = named.init(nn.key(0), (3,))
    assert_exported(named, params, state, np.random.default_rng(0).normal(size=(4, 3)))
    kernel = Kernel(lambda params, x: (3 * x, None), lambda p, c, dy, g, need: 3 * dy, onnx=tripled)
    assert_exported(make("tripled", kernel=kernel), nn.arrays.EMPTY, nn.arrays.EMPTY, np.ones((2, 3)))


def tripled(**_: Any) -> Expression:
    return op("Mul", "x", 3.0)


def test_what_does_not_fit_is_refused() -> None:
    model = nn.serial(nn.dense(3), nn.batch_norm())
    params, state = model.init(nn.key(0), (2,))
    stack = nn.train_state(model, nn.adam(), nn.split(nn.key(0), 2), (2,))
    for arguments in ((stack,), (stack.params, stack.state)):
        with pytest.raises(ValueError, match=r"params are a stack of networks, expected one: .*nn\.unstack"):
            to_onnx(model, *arguments, input_shape=(2,))
    with pytest.raises(ValueError, match=r"batch_norm1: the state has no mean and no var: pass the state"):
        to_onnx(model, params, input_shape=(2,))
    with pytest.raises(ValueError, match=r"input_shape=\(4,\) does not fit the model: dense1: x has shape \(1, 4\)"):
        to_onnx(model, params, state, input_shape=(4,))
    with pytest.raises(ValueError, match=r"do not (fit|match) the model"):
        to_onnx(nn.serial(nn.dense(4), nn.batch_norm()), params, state, input_shape=(2,))
    with pytest.raises(TypeError, match=r"input_shape=2: expected the shape of one example as a tuple, \(2,\)"):
        to_onnx(model, params, state, input_shape=2)  # type: ignore[arg-type]  # what is tested
    with pytest.raises(TypeError, match="model is str, expected a layer"):
        to_onnx("model", params, state, input_shape=(2,))  # type: ignore[arg-type]  # refused by the types too
    with pytest.raises(TypeError, match="params is NoneType, expected an ArrayDict or a TrainState"):
        to_onnx(model, None, state, input_shape=(2,))  # type: ignore[arg-type]  # likewise


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> object:
        if name.startswith("onnx"):
            raise ImportError(name)
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r'pip install "nnfunc\[onnx\]"'):
        to_onnx(nn.relu(), nn.arrays.EMPTY, input_shape=(2,))


def test_gelu_far_from_0_is_0_or_x() -> None:
    """In float64 its erf is an integral, which would be multiplied by x."""
    x = np.array([[-1e30], [-1e3], [-10.0], [-6.5], [6.5], [10.0], [1e30]])
    for dtype in (np.float32, np.float64):
        y = run(to_onnx(nn.gelu(), nn.arrays.EMPTY.astype(dtype), input_shape=(1,)), x.astype(dtype))
        np.testing.assert_allclose(y, np.maximum(x, 0), atol=1e-8)
