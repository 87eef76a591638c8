"""ONNX import: round trips of this package's exports, and PyTorch's outputs from PyTorch's exports."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnfunc as nn
from nnfunc.arrays import Array
from nnfunc.core.values import Value, leaves
from tests.catalogue import EVERY, randomized

pytest.importorskip("onnx")

import onnx
from onnx import helper, numpy_helper

from nnfunc.interop.onnx import from_onnx, to_onnx

TOLERANCE: dict[Any, float] = {np.float32: 1e-5, np.float64: 1e-6}


def predicted(model: nn.Layer, params: nn.ArrayDict, state: nn.ArrayDict, x: Any) -> Any:
    return nn.predict(model, nn.TrainState(params, state, nn.arrays.EMPTY, nn.key(0), 0), x)


def moved(state: nn.ArrayDict) -> nn.ArrayDict:
    rng = np.random.default_rng(1)
    return nn.ArrayDict({k: rng.uniform(0.5, 2, a.shape).astype(a.dtype) for k, a in state.items()})


def assert_same(ours: Value, theirs: Value, tolerance: float) -> None:
    for a, b in zip(leaves(ours), leaves(theirs), strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        assert abs(a - b).max(initial=0) <= tolerance * max(1, abs(b).max(initial=0))


# -- this package's own ------------------------------------------------------------------------------------------------

UNREAD = {"attention", "layer", "rotary_positions", "scan", "transformer_block"}
"""Layers whose graphs are not read back: products of two values, sines, one cell at several steps; no graph at all."""


@pytest.mark.parametrize("name", sorted(EVERY.keys() - UNREAD))
@given(data=st.data(), dtype=st.sampled_from([np.float32, np.float64]), seed=st.integers(0, 2**16))
def test_what_is_exported_comes_back(name: str, data: st.DataObject, dtype: type[np.floating], seed: int) -> None:
    layers, shape = EVERY[name]
    layer = data.draw(layers.filter(lambda layer: "bent" not in repr(layer)))
    params, state = layer.init(nn.key(seed), shape, dtype)
    params, state = randomized(params, seed), moved(state)
    model, own_params, own_state = from_onnx(to_onnx(layer, params, state, input_shape=shape))
    rng = np.random.default_rng(seed)
    several = isinstance(shape[0], tuple)
    inputs: list[Any] = [rng.normal(size=(3, *own)).astype(dtype) for own in (shape if several else (shape,))]
    inputs = [rng.integers(0, 5, a.shape) for a in inputs] if name == "embedding" else inputs
    x = tuple(inputs) if several else inputs[0]
    expected = predicted(layer, params, state, x)
    assert_same(predicted(model, own_params, own_state, x), expected, TOLERANCE[dtype])


REFUSED_LAYERS = {
    "attention": nn.attention(1),
    "rotary_positions": nn.rotary_positions(),
    "scan": nn.scan(nn.serial(nn.concatenate(), nn.dense(4), nn.tanh()), 4),
    "transformer_block": nn.transformer_block(4, 1, 1),
}


@pytest.mark.parametrize("name", sorted(UNREAD - {"layer"}))
def test_what_is_not_read_is_refused_by_name(name: str) -> None:
    layer = REFUSED_LAYERS[name]
    shape = EVERY[name][1]
    with pytest.raises(ValueError, match=r"the node '[^']+' \(\w+\) cannot be read: .*"):
        from_onnx(to_onnx(layer, *layer.init(nn.key(0), shape), input_shape=shape))


SAME = [
    nn.serial(nn.dense(4), nn.gelu(), nn.layer_norm(1e-3), nn.dense(3, bias=False), nn.softmax()),
    nn.serial(nn.dense(4), nn.batch_norm(1e-4), nn.residual(nn.dense(4), nn.silu()), nn.leaky_relu(0.3)),
    nn.serial(nn.dense(4), nn.branch(nn.dense(2), nn.serial(nn.dense(2), nn.elu(0.5))), nn.multiply()),
]


@pytest.mark.parametrize("model", SAME, ids=lambda model: str(len(model.layers)))
def test_a_chain_comes_back_as_it_was(model: nn.Layer) -> None:
    params, state = model.init(nn.key(0), (5,))
    params = randomized(params, 0)
    again, own_params, own_state = from_onnx(to_onnx(model, params, state, input_shape=(5,)))
    assert again == model
    assert (own_params, own_state) == (params, state)


def test_two_inputs_come_back_as_parallel() -> None:
    model = nn.serial(
        nn.parallel(nn.serial(nn.conv2d(2, 3), nn.relu(), nn.flatten(), nn.dense(3)), nn.dense(4)),
        nn.concatenate(),
        nn.dense(2),
    )
    shape = ((5, 5, 1), (3,))
    params, state = model.init(nn.key(0), shape)
    again, own, _ = from_onnx(to_onnx(model, params, state, input_shape=shape))
    assert [name for name, _ in again.layers] == ["parallel1", "concatenate1", "dense1"]
    assert own == nn.ArrayDict(dict(zip(own, params.values(), strict=True)))


def test_training_goes_on() -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(size=(64, 5)).astype(np.float32), rng.integers(0, 3, 64)
    model = nn.mlp([5, 8, 3], ["relu", "softmax"], batch_norm=True)
    exported = to_onnx(model, *model.init(nn.key(0), (5,)), input_shape=(5,))
    again, params, state = from_onnx(exported)
    step = nn.train_step(again, nn.sparse_categorical_cross_entropy, nn.adam(0.01))
    ts = nn.TrainState(params, state, step.optimizer.init(params), nn.key(0), 0)
    *_, last = nn.train(step, ts, data, epochs=10, key=nn.key(1))
    assert last.loss < nn.evaluate(again, nn.sparse_categorical_cross_entropy, ts, *data).loss


# -- PyTorch's ---------------------------------------------------------------------------------------------------------


def function(f: Callable[..., Any], **modules: Any) -> Any:
    """A module of some modules and a function (module, *inputs)."""
    import torch

    class Module(torch.nn.Module):  # type: ignore[misc]  # no types without PyTorch
        def __init__(self) -> None:
            super().__init__()
            for name, module in modules.items():
                setattr(self, name, module)

        def forward(self, *inputs: Any) -> Any:
            return f(self, *inputs)

    return Module()


def modules() -> dict[str, tuple[Any, list[tuple[int, ...]]]]:
    """Modules, and the shapes of their inputs; () for token ids."""
    import torch
    from torch import nn as t

    def two_outputs(m: Any, x: Any) -> Any:
        h = torch.relu(m.c(x))
        return m.a(h), m.b(h)

    def u_shaped(m: Any, x: Any) -> Any:
        e = torch.relu(m.e(x))
        return m.o(torch.cat([e, m.u(torch.relu(m.m(m.p(e))))], 1))

    activations = [
        t.ELU(0.7), t.SELU(), t.Softplus(), t.Softsign(), t.Mish(), t.Hardswish(), t.Hardsigmoid(), t.Hardtanh(),
        t.ReLU6(), t.GELU(), t.GELU(approximate="tanh"), t.SiLU(), t.PReLU(), t.PReLU(5), t.LeakyReLU(0.2), t.Tanh(),
        t.LogSoftmax(-1),
    ]  # fmt: skip
    image, deep = (2, 3, 8, 8), (2, 3, 7, 7)
    return {
        "activations": (t.Sequential(*activations), [(4, 5)]),
        "both directions": (function(lambda m, x: m.d(m.l(x)[0]), d=t.Linear(8, 2),
                                     l=t.LSTM(3, 4, 2, batch_first=True, bidirectional=True)), [(2, 5, 3)]),
        "convolutions": (t.Sequential(t.Conv2d(3, 4, 3, padding=1), t.BatchNorm2d(4), t.ReLU(), t.MaxPool2d(2),
                                      t.Conv2d(4, 6, 2, stride=2, dilation=2, groups=2), t.Flatten(), t.BatchNorm1d(6),
                                      t.Linear(6, 3), t.Softmax(-1)), [image]),
        "decoder": (t.Sequential(t.Linear(3, 16), t.LeakyReLU(0.1), t.Unflatten(1, (4, 2, 2)),
                                 t.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2), t.Upsample(scale_factor=2),
                                 t.Conv2d(6, 1, 3)), [(2, 3)]),
        "embedding": (t.Sequential(t.Embedding(7, 4), t.LayerNorm(4), t.Linear(4, 2), t.Flatten(), t.Linear(10, 2)),
                      [()]),
        "gated": (t.Sequential(t.Linear(3, 8), t.GLU()), [(2, 3)]),
        "global mean": (function(lambda m, x: m.d(m.c(x).mean((2, 3))), c=t.Conv2d(3, 4, 3), d=t.Linear(4, 2)), [deep]),
        "gru, time first": (function(lambda m, x: m.d(m.l(x)[0]), l=t.GRU(3, 4, 2), d=t.Linear(4, 2)), [(5, 2, 3)]),
        "last of both": (function(lambda m, x: m.d(m.l(x)[0][:, -1]), d=t.Linear(8, 2),
                                  l=t.GRU(3, 4, batch_first=True, bidirectional=True)), [(2, 5, 3)]),
        "last state": (function(lambda m, x: m.d(m.l(x)[1][0][-1]), l=t.LSTM(3, 4, batch_first=True),
                                d=t.Linear(4, 2)), [(2, 5, 3)]),
        "last step": (function(lambda m, x: m.d(m.l(x)[0][:, -1]), l=t.LSTM(3, 4, batch_first=True),
                               d=t.Linear(4, 2)), [(2, 5, 3)]),
        "norms": (t.Sequential(t.Conv2d(3, 4, 3), t.GroupNorm(2, 4), t.InstanceNorm2d(4, affine=True)), [image]),
        "one place": (t.Sequential(t.AdaptiveAvgPool2d(1), t.Conv2d(3, 4, 1), t.Flatten(), t.Linear(4, 2)), [image]),
        "padded": (t.Sequential(t.ZeroPad2d((1, 2, 0, 1)), t.AvgPool2d(3, 2, 1), t.Conv2d(3, 4, 2)), [image]),
        "residual": (function(lambda m, x: m.d(torch.flatten(m.p(torch.relu(m.c(x) + m.b(torch.relu(m.a(x))))), 1)),
                              c=t.Conv2d(3, 4, 1), a=t.Conv2d(3, 5, 3, padding=1), b=t.Conv2d(5, 4, 1),
                              p=t.AdaptiveAvgPool2d(1), d=t.Linear(4, 2)), [image]),
        "rnn": (function(lambda m, x: m.d(m.l(x)[0]), l=t.RNN(3, 4, batch_first=True, nonlinearity="relu"),
                         d=t.Linear(4, 2)), [(2, 5, 3)]),
        "sequences": (t.Sequential(t.Conv1d(3, 4, 3, padding=2, dilation=2), t.MaxPool1d(2), t.Flatten(),
                                   t.Linear(16, 2)), [(2, 3, 9)]),
        "transposed": (function(lambda m, x: m.d(m.c(x.transpose(1, 2)).transpose(1, 2)), c=t.Conv1d(3, 4, 3),
                                d=t.Linear(4, 2)), [(2, 7, 3)]),
        "two inputs": (function(lambda m, x, z: m.d(torch.cat([m.a(x).flatten(1), m.b(z)], 1)), a=t.Conv2d(3, 4, 3),
                                b=t.Linear(5, 6), d=t.Linear(150, 2)), [image, (2, 5)]),
        "two outputs": (function(two_outputs, c=t.Linear(5, 6), a=t.Linear(6, 2), b=t.Linear(6, 3)), [(2, 5)]),
        "u": (function(u_shaped, e=t.Conv2d(3, 4, 3, padding=1), p=t.MaxPool2d(2), m=t.Conv2d(4, 5, 3, padding=1),
                       u=t.ConvTranspose2d(5, 4, 2, 2), o=t.Conv2d(8, 2, 1)), [image]),
        "view": (function(lambda m, x: m.d(torch.relu(m.c(x)).view(x.size(0), -1)), c=t.Conv2d(3, 4, 3),
                          d=t.Linear(144, 2)), [image]),
    }  # fmt: skip


MODULES = (
    "activations", "both directions", "convolutions", "decoder", "embedding", "gated", "global mean",
    "gru, time first", "last of both", "last state", "last step", "norms", "one place", "padded", "residual", "rnn",
    "sequences", "transposed", "two inputs", "two outputs", "u", "view",
)  # fmt: skip


def exported(module: Any, inputs: list[Any], opset: int, batch: int | None) -> Any:
    """What PyTorch's exporter writes; `batch` is the axis whose length is left open."""
    import torch

    names = [f"x{i}" for i in range(len(inputs))]
    axes = None if batch is None else {name: {batch: "n"} for name in names}
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this exporter is the older one
        torch.onnx.export(
            module, tuple(inputs), file, dynamo=False, opset_version=opset, input_names=names, dynamic_axes=axes
        )
    return onnx.load_from_string(file.getvalue())


def as_here(x: Any, name: str) -> Any:
    """A tensor of PyTorch in the layout of nnfunc."""
    a = x.detach().numpy()
    if a.ndim == 4:
        return a.transpose(0, 2, 3, 1)
    if a.ndim == 3 and name in ("gru, time first", "sequences"):
        return a.transpose(1, 0, 2) if "gru" in name else a.transpose(0, 2, 1)
    return a


@pytest.mark.parametrize("is_open", [False, True], ids=["fixed", "open"])
@pytest.mark.parametrize("opset", [13, 17, 20])
@pytest.mark.parametrize("name", MODULES)
def test_what_pytorch_exports(name: str, opset: int, is_open: bool) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module, shapes = modules()[name]
    for own in module.modules():
        for array in (getattr(own, k, None) for k in ("weight", "bias", "running_mean")):
            if array is not None and "Norm" in type(own).__name__:
                torch.nn.init.normal_(array)
        if getattr(own, "running_var", None) is not None:
            own.running_var.uniform_(0.5, 2)
    module.eval()
    inputs = [torch.randn(s) if s else torch.randint(0, 7, (2, 5)) for s in shapes]
    made = exported(module, inputs, opset, (1 if "time first" in name else 0) if is_open else None)
    model, params, state = from_onnx(made)
    x = tuple(as_here(own, name) for own in inputs)
    expected = module(*inputs)
    expected = tuple(as_here(y, name) for y in (expected if isinstance(expected, tuple) else (expected,)))
    y = predicted(model, params, state, x if len(x) > 1 else x[0])
    assert_same(y, expected if len(expected) > 1 else expected[0], 2e-6)


def test_the_names_are_all() -> None:
    pytest.importorskip("torch")
    assert sorted(modules()) == sorted(MODULES)


# -- single operators --------------------------------------------------------------------------------------------------


def graph(
    nodes: list[Any], x: tuple[Any, ...], y: tuple[Any, ...] | None, opset: int = 17, **constants: Any
) -> onnx.ModelProto:
    """A model from "x" to "y" of float32."""
    made = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", 1, x)],
        [helper.make_tensor_value_info("y", 1, y)],
        [numpy_helper.from_array(np.asarray(a), k) for k, a in constants.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def node(kind: str, inputs: str = "x", output: str = "y", **attributes: Any) -> Any:
    return helper.make_node(
        kind, inputs.split(), [output], name=f"the {kind} {output}".removesuffix(" y"), **attributes
    )


W = np.arange(6.0, dtype=np.float32).reshape(2, 3)
ones = np.ones(2, np.float32)
x = np.array([[1.0, -2.0], [0.5, 3.0]], np.float32)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (graph([node("Gemm", "x W b", alpha=2.0, beta=3.0)], ("n", 2), ("n", 3), W=W, b=ones[:1]), 2 * x @ W + 3),
        (graph([node("Gemm", "x W", transB=1)], ("n", 2), ("n", 3), W=W.T), x @ W),
        (graph([node("HardSigmoid", alpha=1 / 6)], ("n", 2), None), np.clip(x / 6 + 0.5, 0, 1)),
        (graph([node("Clip", "x a b")], ("n", 2), None, a=np.float32(0), b=np.float32(6)), np.clip(x, 0, 6)),
        (graph([node("Dropout", ratio=0.3)], ("n", 2), None, opset=10), x),
        (graph([node("PRelu", "x s")], ("n", 2), None, s=ones[:1] / 2), np.where(x > 0, x, x / 2)),
        (graph([node("Gelu")], ("n", 2), None, 20), predicted(nn.gelu(), nn.arrays.EMPTY, nn.arrays.EMPTY, x)),
        (graph([node("Sub", "x x")], ("n", 2), None), 0 * x),
        (graph([node("Sum", "x x x")], ("n", 2), None), 3 * x),
    ],
)  # fmt: skip
def test_operators(made: onnx.ModelProto, expected: Array) -> None:
    assert_same(predicted(*from_onnx(made), x), expected.astype(np.float32), 1e-6)


draw = np.random.default_rng(0)


def normal(*shape: int) -> Array:
    return draw.normal(size=shape).astype(np.float32)


def recurrent(kind: str, gates: int, output: int = 0, initial: bool = False, **attributes: Any) -> onnx.ModelProto:
    """A recurrent layer of 3 features and 4 units, its sequence or its last state."""
    names = ["", "y"] if output else ["states"]
    last = [] if output else [node("Squeeze", "states axes", "y")]
    made = helper.make_node(
        kind, ["x", "W", "R", "B", *["", "x"] * initial], names, name=kind, hidden_size=4, **attributes
    )
    constants: dict[str, Any] = {"W": normal(1, 4 * gates, 3), "R": normal(1, 4 * gates, 4), "B": normal(1, 8 * gates)}
    if output:
        made.output[1], last = "state", [node("Squeeze", "state axes", "y")]
    axes = np.array([0 if output else 1])
    return graph([made, *last], (5, "n", 3), ("n", 4) if output else (5, "n", 4), **constants, axes=axes)


IMAGE = ("n", 4, 7, 6)
RUN: dict[str, onnx.ModelProto] = {
    "average, padding counted": graph(
        [node("AveragePool", kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 2, 1], count_include_pad=1)], IMAGE, None
    ),
    "average, padding not counted": graph(
        [node("AveragePool", kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 2, 1])], IMAGE, None
    ),
    "channels to a flat image and back": graph(
        [node("MaxPool", "x", "p", kernel_shape=[1, 1]), node("Flatten", "p", "a"), node("MatMul", "a W", "b"),
         node("Add", "b c", "d"), node("Relu", "d", "e"),
         node("Reshape", "e s", "f"), node("Conv", "f V")], IMAGE, None,
        W=normal(168, 18), c=normal(18), s=np.array([0, 2, 3, 3]), V=normal(1, 2, 2, 2),
    ),
    "concatenated flat images": graph(
        [node("Flatten", "x", "a"), node("MaxPool", "x", "m", kernel_shape=[2, 2]), node("Flatten", "m", "b"),
         node("Concat", "a b", "c", axis=1), node("Gemm", "c W")], IMAGE, None, W=normal(168 + 120, 3),
    ),
    "biases beside": graph(
        [node("Conv", "x W", "z"), node("Add", "b z")], IMAGE, None, W=normal(2, 4, 3, 3), b=normal(1, 2, 1, 1)
    ),
    "cut": graph([node("Slice", "x a b c", "s"), node("MaxPool", "s", kernel_shape=[2, 2])], IMAGE, None,
                 a=np.array([1, 2]), b=np.array([2**40, -1]), c=np.array([-1, 2])),
    "dilated in groups": graph(
        [node("Conv", "x W b", group=2, dilations=[2, 1], strides=[1, 2], pads=[1, 2, 0, 1])], IMAGE, None,
        W=normal(6, 2, 3, 2), b=normal(6),
    ),
    "gru": recurrent("GRU", 3),
    "gru, reset after": recurrent("GRU", 3, linear_before_reset=1),
    "gru, last": recurrent("GRU", 3, 1, linear_before_reset=1),
    "largest": graph([node("GlobalMaxPool", "x", "z"), node("Flatten", "z")], IMAGE, None),
    "layer norm": graph([node("LayerNormalization", "x g", epsilon=1e-2)], ("n", 3, 4), None, g=normal(4)),
    "lstm, in reverse": recurrent("LSTM", 4, direction="reverse"),
    "lstm, last in reverse": recurrent("LSTM", 4, 1, direction="reverse"),
    "means of some axes": graph([node("ReduceMean", axes=[1], keepdims=0)], ("n", 3, 4), None),
    "pads": graph([node("Pad", "x p v", "z"), node("Conv", "z W")], IMAGE, None,
                  p=np.array([0, 0, 1, 2, 0, 0, 0, 3]), v=np.array(0.5, np.float32), W=normal(2, 4, 2, 2)),
    "prelu": graph([node("PRelu", "x s", "z"), node("MaxPool", "z", kernel_shape=[2, 2])], IMAGE, None,
                   s=normal(4, 1, 1)),
    "rnn of relu": recurrent("RNN", 1, activations=["Relu"]),
    "same": graph([node("Conv", "x W", auto_pad="SAME_UPPER", strides=[2, 2])], IMAGE, None, W=normal(2, 4, 3, 3)),
    "same norm twice": graph(
        [node("BatchNormalization", "x g b m v", "z", epsilon=1e-3), node("Conv", "z W", "c"),
         node("InstanceNormalization", "c g b")], IMAGE, None,
        g=normal(4), b=normal(4), m=normal(4), v=normal(4) ** 2, W=normal(4, 4, 2, 2),
    ),
    "shapes in parts": graph(
        [node("MaxPool", "x", "p", kernel_shape=[2, 2]), node("Shape", "x", "n", start=0, end=1),
         node("Concat", "n m", "s", axis=0), node("Reshape", "p s", "f"), node("Gemm", "f W")], IMAGE, None,
        m=np.array([-1]), W=normal(120, 3),
    ),
    "transposed convolution": graph(
        [node("ConvTranspose", "x W b", group=2, strides=[2, 1], pads=[1, 0, 0, 1], output_padding=[1, 0],
              dilations=[1, 2])], IMAGE, None, W=normal(4, 3, 3, 2), b=normal(6),
    ),
    "transposed input": graph(
        [node("Transpose", "x", "z", perm=[0, 3, 1, 2]), node("Conv", "z W", "c"), node("GlobalAveragePool", "c", "g"),
         node("Reshape", "g s", "h"), node("Gemm", "h V")], ("n", 7, 6, 4), None,
        W=normal(2, 4, 2, 2), s=np.array([-1, 2]), V=normal(2, 3),
    ),
    "wider": graph([node("Resize", "x r s", coordinate_transformation_mode="asymmetric", nearest_mode="floor")],
                   IMAGE, None, r=np.zeros(0, np.float32), s=np.array([1, 1, 3, 2], np.float32)),
}  # fmt: skip


@pytest.mark.parametrize("name", RUN)
def test_what_a_runtime_gives(name: str) -> None:
    runtime = pytest.importorskip("onnxruntime")
    made = RUN[name]
    session = runtime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    sizes = [d.dim_value or 3 for d in made.graph.input[0].type.tensor_type.shape.dim]
    given = normal(*sizes)
    (expected,) = session.run(None, {"x": given})
    model, params, state = from_onnx(made)
    turned = {(4, 4): (0, 2, 3, 1), (5, 3): (1, 0, 2)}

    def here(a: Array, first: int) -> Array:
        """In the layout of nnfunc: of images (N, 4, H, W) and of sequences (5, N, 3), and of what they become."""
        if a.ndim == 4 and made.graph.input[0].type.tensor_type.shape.dim[1].dim_value == 4:
            return a.transpose(turned[4, 4])
        return a.transpose(turned[5, 3]) if a.ndim == 3 and first == 5 else a

    y = predicted(model, params, state, here(given, sizes[0]))
    assert_same(y, np.ascontiguousarray(here(expected, sizes[0])), 1e-5)


def test_half_precision_becomes_float32() -> None:
    made = graph([node("Cast", to=1, output="z"), node("MatMul", "z W")], ("n", 2), ("n", 3), W=W.astype(np.float16))
    made.graph.input[0].type.tensor_type.elem_type = 10
    model, params, state = from_onnx(made)
    assert params.dtype == np.float32
    assert_same(predicted(model, params, state, x), x @ W, 1e-6)


def test_functions_of_the_model_are_inlined() -> None:
    made = graph([helper.make_node("Twice", ["x"], ["y"], domain="own")], ("n", 2), ("n", 2))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    body = [helper.make_node("Relu", ["a"], ["b"]), helper.make_node("Tanh", ["b"], ["c"])]
    function = helper.make_function("own", "Twice", ["a"], ["c"], body, opsets[:1])
    made = helper.make_model(made.graph, opset_imports=opsets, functions=[function])
    model, params, state = from_onnx(made)
    assert_same(predicted(model, params, state, x), np.tanh(np.maximum(x, 0)), 1e-6)


def test_a_file_and_its_path(tmp_path: Any) -> None:
    made = graph([node("MatMul", "x W")], ("n", 2), ("n", 3), W=W)
    onnx.save(made, tmp_path / "net.onnx")
    assert from_onnx(tmp_path / "net.onnx") == from_onnx(str(tmp_path / "net.onnx")) == from_onnx(made)


REFUSED: list[tuple[onnx.ModelProto, str]] = [
    (graph([node("Sin")], ("n", 2), None), r"the node 'the Sin' \(Sin\) cannot be read: .* It reads .*Add, "),
    (graph([node("Softmax", axis=1)], ("n", 2, 3), None), r"its axis 1 is not that of the features, which is 2"),
    (graph([node("Softmax")], ("n", 2, 3), None, opset=11), r"its axis 1 is not that of the features"),
    (graph([node("HardSigmoid")], ("n", 2), None), r"alpha=0\.2, and nnfunc has alpha=0\.166\d* alone"),
    (graph([node("Clip", "x a")], ("n", 2), None, a=np.float32(-3)), r"it has the limits \(-3\.0, inf\)"),
    (graph([node("Mul", "x a")], ("n", 2), None, a=ones), r"\(Mul\) cannot be read"),
    (graph([node("Add", "x a")], ("n", 2), None, a=ones), r"it adds a constant of shape"),
    (graph([node("Sum", "x x a")], ("n", 2), None, a=ones), r"\(Sum\) cannot be read: nnfunc has no layer for it here"),
    (graph([node("Concat", "x x a", axis=1)], (1, 2), None, a=ones[None]), r"\(Concat\) cannot be read"),
    (recurrent("LSTM", 4, initial=True), r"an initial state that is not 0"),
    (graph([node("MatMul", "x W", "z"), node("Add", "z b")], ("n", 3, 2), None, W=W, b=np.ones((3, 1), np.float32)),
     r"it adds a constant of shape \(3, 1\)"),
    (graph([node("Gemm", "x W b")], (3, 2), (3, 3), W=W, b=np.ones((3, 1), np.float32)), r"it adds \(3, 1\), and not"),
    (graph([node("PRelu", "x s", "z"), node("MaxPool", "z", kernel_shape=[2, 2])], ("n", 2, 4, 2), None, s=ones),
     r"its slopes of shape \(2,\)"),
    (graph([node("Gemm", "x W", transA=1)], (2, 2), (2, 3), W=W), r"transA=1, but rows are examples"),
    (graph([node("Reshape", "x s")], ("n", 2, 3), ("m", 3), s=np.array([-1, 3])), r"not each example by itself"),
    (graph([node("MaxPool", kernel_shape=[2, 2], ceil_mode=1)], ("n", 2, 5, 5), None), r"ceil_mode=1"),
    (graph([node("Concat", "x x", axis=1)], ("n", 2, 3), None), r"axis=1, and nnfunc joins the features alone"),
    (graph([node("MatMul", "x x")], (2, 2), None), r"\(MatMul\) cannot be read: nnfunc has no layer"),
    (graph([node("BatchNormalization", "x a a a a", training_mode=1)], ("n", 2), None, a=ones), r"training_mode=1"),
    (graph([node("Relu", "x", "z"), node("Sum", "a a")], ("n", 2), None, a=ones), r"'y' does not depend on the inputs"),
    (graph([node("Relu")], ("n", 2), None, opset=6), r"operator set 6, expected 7 or newer"),
    (graph([node("MatMul", "x W")], ("n", 2), ("n", 3), W=W + np.float32("nan")), r"dense1\.W contains nan"),
]  # fmt: skip


@pytest.mark.parametrize(("made", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_is_refused(made: onnx.ModelProto, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_onnx(made)


def test_weights_that_would_stand_twice_are_refused() -> None:
    nodes = [node("MatMul", "x W", "a"), node("Tanh", "a", "b"), node("Concat", "x b", "c", axis=1),
             node("MatMul", "c V", "d"), node("Concat", "x b d", "y", axis=1)]  # fmt: skip
    made = graph(nodes, ("n", 2), ("n", 7), W=W, V=np.ones((5, 2), np.float32))
    with pytest.raises(ValueError, match=r"goes into several nodes, and not in branches within branches"):
        from_onnx(made)


def test_what_is_no_model(tmp_path: Any) -> None:
    (tmp_path / "net.onnx").write_bytes(b"no model at all")
    with pytest.raises(ValueError, match=r"net\.onnx' is no ONNX file, or damaged"):
        from_onnx(tmp_path / "net.onnx")
    with pytest.raises(FileNotFoundError):
        from_onnx(tmp_path / "nowhere.onnx")
    with pytest.raises(TypeError, match=r"source is int, expected the path of a file or an onnx\.ModelProto"):
        from_onnx(3)  # type: ignore[arg-type]  # refused by the types too
    with pytest.raises(ValueError, match=r"order is another here: end the graph before Flatten"):
        from_onnx(graph([node("MaxPool", "x", "z", kernel_shape=[2, 2]), node("Flatten", "z")], ("n", 2, 4, 4), None))
