"""Operators that correspond to one layer each: those on features here, the others in neighbouring modules."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from nnfunc.core.layer import Layer
from nnfunc.core.settings import Settings
from nnfunc.interop.onnx._context import Context, Reader
from nnfunc.interop.onnx._images import conv, conv_transpose, cut, global_pool, image, pad, pool, reduced, resize
from nnfunc.interop.onnx._pieces import Layout, Piece, same
from nnfunc.interop.onnx._sequences import recurrent, step
from nnfunc.interop.onnx._shapes import dropped, flat, reshaped, squeezed, transposed, unsqueezed
from nnfunc.layers import activations as a
from nnfunc.layers import gates, normalization, pooling
from nnfunc.layers.affine import dense
from nnfunc.layers.positions import learned_positions

# -- activations and dense layers --------------------------------------------------------------------------------------


def _activation(make: Callable[..., Layer], **names: tuple[str, float]) -> Reader:
    """An activation whose arguments are attributes: {argument: (attribute, ONNX's default)}."""

    def read(c: Context) -> Layout:
        c.add(make(**{argument: c.get(name, default) for argument, (name, default) in names.items()}))
        return c.layout

    return read


def _fixed(make: Callable[..., Layer], **attributes: tuple[float, float]) -> Reader:
    """An activation that supports only one value of its attributes: {attribute: (ONNX's default, ours)}."""

    def read(c: Context) -> Layout:
        for name, (default, ours) in attributes.items():
            came = c.get(name, default)
            c.ask(math.isclose(came, ours, rel_tol=1e-6), f"{name}={came}, but nnfunc supports only {name}={ours}")
        c.add(make())
        return c.layout

    return read


def _softmax(make: Callable[..., Layer]) -> Reader:
    def read(c: Context) -> Layout:
        c.features_at(c.get("axis", -1 if c.graph.version >= 13 else 1))
        c.add(make())
        return c.layout

    return read


def _gelu(c: Context) -> Layout:
    c.add(a.gelu(c.get("approximate", "none")))
    return c.layout


def _clip(c: Context) -> Layout:
    low, high = (c.get(name, None) if name in c.node.attributes else c.constant(i)
                 for i, name in ((1, "min"), (2, "max")))  # fmt: skip
    known = {(0.0, 6.0): a.relu6, (-1.0, 1.0): a.hard_tanh, (0.0, math.inf): a.relu}
    limits = (-math.inf if low is None else float(low), math.inf if high is None else float(high))
    c.ask(limits in known, f"it has the limits {limits}, but nnfunc supports only {' and '.join(map(str, known))}")
    c.add(known[limits]())
    return c.layout


def _prelu(c: Context) -> Layout:
    slope, features = c.needed(1), c.before[c.layout.axes[-1]]
    c.ask(features is not None, "its number of features is unknown")
    c.ask(
        slope.size in (1, features) and c.layout.goes_along(slope),
        f"its slopes have shape {slope.shape}, expected one for each of {features} features",
    )
    c.add(gates.prelu(), slope=np.broadcast_to(c.layout.ordered(slope.reshape(-1)), (features or 0,)))
    return c.layout


def _gemm(c: Context) -> Layout:
    c.ask(not c.get("transA", 0), "transA=1, but rows are examples")
    W, b = c.needed(1), c.constant(2)
    W = c.get("alpha", 1.0) * (W.T if c.get("transB", 0) else W)
    if b is not None:
        fits = b.size == 1 or b.shape[-1:] == W.shape[1:] == (b.size,)
        c.ask(fits, f"it adds an array of shape {b.shape}, expected one value per unit")
        b = np.broadcast_to((c.get("beta", 1.0) * b).reshape(-1), W.shape[1:])
    c.features_at(-1)
    c.add(dense(W.shape[1], bias=b is not None), W=c.layout.ordered(W), b=b)
    return same(2)


def _added(c: Context) -> Layout:
    """A constant per feature after a layer without bias, or per position and feature."""
    array = next(c.graph.constants[v] for v in c.node.inputs if v in c.graph.constants)
    layer, params, _ = c.pieces[-1] if c.pieces else Piece(a.identity())
    if (
        layer.settings.get("bias") is False
        and "W" in params
        and array.size == params["W"].shape[-1]
        and c.layout.goes_along(array)
    ):
        with_bias = layer._replace(settings=Settings(**{**layer.settings, "bias": True}))
        c.pieces[-1] = Piece(with_bias, {**params, "b": array.reshape(-1)})
        return c.layout
    array = array[(0,) * (array.ndim - 2)] if array.shape[:-2] == (1,) * (array.ndim - 2) else array
    c.ask(
        c.layout == same(3) and array.ndim == 2 and array.shape == c.before[1:],
        f"it adds a constant of shape {array.shape} to {c.before}, neither a bias after a MatMul nor positions",
    )
    c.add(learned_positions(len(array)), P=array)
    return c.layout


# -- norms -------------------------------------------------------------------------------------------------------------


def _batch_norm(c: Context) -> Layout:
    c.features_at(1)
    c.ask(not c.get("training_mode", 0), "training_mode=1: export for prediction, after model.eval()")
    gamma, beta, mean, var = (c.layout.ordered(c.needed(i)) for i in range(1, 5))
    layer = normalization.batch_norm(c.get("epsilon", 1e-5), c.get("momentum", 0.9))
    c.add(layer, {"mean": mean, "var": var}, gamma=gamma, beta=beta)
    return c.layout


def _layer_norm(make: Callable[..., Layer], shifts: bool) -> Reader:
    def read(c: Context) -> Layout:
        axis = c.get("axis", -1)
        c.ask(axis % c.layout.rank == c.layout.rank - 1, f"axis={axis}, but nnfunc norms only the last axis")
        c.features_at(-1)
        gamma, beta = c.needed(1).reshape(-1), c.constant(2) if shifts else None
        beta = np.zeros_like(gamma) if shifts and beta is None else beta
        ordered = [None if v is None else c.layout.ordered(v.reshape(-1)) for v in (gamma, beta)]
        c.add(make(c.get("epsilon", 1e-5)), gamma=ordered[0], beta=ordered[1])
        return c.layout

    return read


def _instance_norm(c: Context) -> Layout:
    image(c)
    c.add(normalization.instance_norm(c.get("epsilon", 1e-5)), gamma=c.needed(1), beta=c.needed(2))
    return c.layout


def _group_norm(c: Context) -> Layout:
    image(c)
    gamma, beta, groups = c.needed(1), c.needed(2), c.get("num_groups", 1)
    c.ask(len(gamma) == c.before[1], "one scale per group (operator set 18), expected one per feature")
    c.add(normalization.group_norm(groups, c.get("epsilon", 1e-5)), gamma=gamma, beta=beta)
    return c.layout


# -- all of them -------------------------------------------------------------------------------------------------------

READERS: dict[str, Reader] = {
    "Add": _added,
    "AveragePool": pool("avg"),
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Dropout": dropped,
    "Elu": _activation(a.elu, alpha=("alpha", 1.0)),
    "Flatten": flat,
    "GRU": recurrent,
    "Gather": step,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "GlobalAveragePool": global_pool(pooling.global_avg_pool),
    "GlobalMaxPool": global_pool(pooling.global_max_pool),
    "GroupNormalization": _group_norm,
    "HardSigmoid": _fixed(a.hard_sigmoid, alpha=(0.2, 1 / 6), beta=(0.5, 0.5)),
    "HardSwish": _fixed(a.hard_swish),
    "InstanceNormalization": _instance_norm,
    "LSTM": recurrent,
    "LayerNormalization": _layer_norm(normalization.layer_norm, True),
    "LeakyRelu": _activation(a.leaky_relu, negative_slope=("alpha", 0.01)),
    "LogSoftmax": _softmax(a.log_softmax),
    "MaxPool": pool("max"),
    "Mish": _fixed(a.mish),
    "PRelu": _prelu,
    "Pad": pad,
    "RMSNormalization": _layer_norm(normalization.rms_norm, False),
    "RNN": recurrent,
    "ReduceMax": reduced(pooling.global_max_pool),
    "ReduceMean": reduced(pooling.global_avg_pool),
    "Relu": _fixed(a.relu),
    "Reshape": reshaped,
    "Resize": resize,
    "Selu": _fixed(a.selu, alpha=(a.SELU_ALPHA, a.SELU_ALPHA), gamma=(a.SELU_SCALE, a.SELU_SCALE)),
    "Sigmoid": _fixed(a.sigmoid),
    "Slice": cut,
    "Softmax": _softmax(a.softmax),
    "Softplus": _fixed(a.softplus),
    "Softsign": _fixed(a.softsign),
    "Squeeze": squeezed,
    "Swish": _fixed(a.silu, alpha=(1.0, 1.0)),
    "Tanh": _fixed(a.tanh),
    "Transpose": transposed,
    "Unsqueeze": unsqueezed,
}
"""Operators that correspond to one layer each, with one input that is not constant."""
