"""Deliberately broken backward functions: the laboratory must find, locate and diagnose every one of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nnfunc as nn
from nnfunc.arrays import Array, ArrayDict
from nnfunc.core.kernel import Cache
from nnfunc.core.layer import Layer
from nnfunc.core.values import leaves, map_leaves
from nnfunc.layers.attending import masked_softmax
from nnfunc.layers.normalization import _mean
from nnfunc.layers.positions import rotated
from nnfunc.losses import Loss
from tests.catalogue import EVERY, PENALTIES, STRUCTURED, outputs_and_targets, randomized, structured
from tests.catalogue import LOSSES as EXPORTED_LOSSES

Params = dict[str, Array]
Result = tuple[Array, dict[str, Array]]
Break = Callable[[Params, Cache, Array, Array, dict[str, Array]], Result]
"""(params, cache, dy, the right dx, the right grads) -> wrong (dx, grads)"""


def mutant(layer: Layer, break_: Break) -> Layer:
    kernel = layer.kernel
    assert kernel is not None
    right = kernel.backward

    def backward(params: Any, cache: Cache, dy: Array, grads: Any, need: Any, **settings: Any) -> Array:
        dx = right(params, cache, dy, grads, need, **settings)
        arrays, gradients = (dict(zip(NAMES[layer.name], group, strict=True)) for group in (params, grads))
        wrong_dx, wrong = break_(arrays, cache, dy, np.array(dx), {k: v.copy() for k, v in gradients.items()})
        for name, array in gradients.items():
            array[...] = wrong[name]
        return wrong_dx

    return layer._replace(kernel=kernel._replace(backward=backward))


NAMES: dict[str, tuple[str, ...]] = defaultdict(
    tuple, dense=("W", "b"), prelu=("slope",), rms_norm=("gamma",),
    **dict.fromkeys(("batch_norm", "group_norm", "instance_norm", "layer_norm"), ("gamma", "beta")),
)  # fmt: skip


def in_rows(dy: Array, p: Params, c: Any) -> Array:
    """The gradient at x̂, as rows."""
    d: Array = dy.reshape(c.normalized.shape) * p["gamma"]
    return d


def through(dy: Array, c: Any, d: Array, mean: float, variance: float, over: Any = None) -> Array:
    """dx of a normalisation from the gradient at x̂, with so much of the two paths."""
    over = over or c.over
    paths = mean * _mean(d, over) + variance * c.normalized * _mean(d * c.normalized, over)
    dx: Array = (d - paths) * c.inverse_std
    return dx.reshape(dy.shape)


def without_mean_path(p: Params, c: Any, dy: Array, dx: Array, g: dict[str, Array]) -> Result:
    return through(dy, c, in_rows(dy, p, c), 0, 1), g


def without_variance_path(p: Params, c: Any, dy: Array, dx: Array, g: dict[str, Array]) -> Result:
    return through(dy, c, in_rows(dy, p, c), 1, 0), g


def constant_statistics(p: Params, c: Any, dy: Array, dx: Array, g: dict[str, Array]) -> Result:
    return through(dy, c, in_rows(dy, p, c), 0, 0), g


def with_mean_path(p: Params, c: Any, dy: Array, dx: Array, g: dict[str, Array]) -> Result:
    return through(dy, c, in_rows(dy, p, c), 1, 1), g


def gamma_after_the_means(p: Params, c: Any, dy: Array, dx: Array, g: dict[str, Array]) -> Result:
    return p["gamma"] * through(dy, c, dy.reshape(c.normalized.shape), c.over.centered, 1), g


def means_of_all_features(p: Params, c: Any, dy: Array, dx: Array, g: dict[str, Array]) -> Result:
    return through(dy, c, in_rows(dy, p, c), 1, 1, c.over._replace(groups=1)), g


def means_of_a_position(p: Params, c: Any, dy: Array, dx: Array, g: dict[str, Array]) -> Result:
    return through(dy, c, in_rows(dy, p, c), 1, 1, c.over._replace(rows=False)), g


def one_element(g: dict[str, Array], name: str) -> dict[str, Array]:
    g[name].flat[-1] *= 1.01
    return g


LAYERS: dict[str, tuple[Layer, Break]] = {
    "dense: W transposed": (nn.dense(3), lambda p, c, dy, dx, g: (dy @ p["W"], g)),
    "dense: bias averaged": (nn.dense(3), lambda p, c, dy, dx, g: (dx, g | {"b": dy.mean(axis=0)})),
    "dense: dW divided by m": (nn.dense(3), lambda p, c, dy, dx, g: (dx, g | {"W": g["W"] / len(dy)})),
    "dense: one weight 1 % off": (nn.dense(3), lambda p, c, dy, dx, g: (dx, one_element(g, "W"))),
    "relu: passes everything": (nn.relu(), lambda p, c, dy, dx, g: (dy, g)),
    "relu: mask of the gradient": (nn.relu(), lambda p, c, dy, dx, g: (dy * (dy > 0), g)),
    "relu: slope 1.5 at the kink": (nn.relu(), lambda p, c, dy, dx, g: (np.where(c == 0, 1.5 * dy, dx), g)),
    "sigmoid: without 1 − σ": (nn.sigmoid(), lambda p, c, dy, dx, g: (dy * c, g)),
    "tanh: sign": (nn.tanh(), lambda p, c, dy, dx, g: (-dx, g)),
    "tanh: a slope of 1e-4 too much": (nn.tanh(), lambda p, c, dy, dx, g: (dx + 1e-4 * dy, g)),
    "gelu: without the density": (nn.gelu(), lambda p, c, dy, dx, g: (dy * c[1], g)),
    "elu: forgets alpha": (nn.elu(0.5), lambda p, c, dy, dx, g: (dy * np.where(c > 0, 1, np.exp(np.minimum(c, 0))), g)),
    "leaky relu: slope of the other side": (
        nn.leaky_relu(0.2),
        lambda p, c, dy, dx, g: (dy * np.where(c < 0, 1, 0.2), g),
    ),
    "softmax: diagonal only": (nn.softmax(), lambda p, c, dy, dx, g: (dy * c * (1 - c), g)),
    "softmax: over the batch": (nn.softmax(), lambda p, c, dy, dx, g: (c * (dy - (c * dy).sum(0)), g)),
    "softmax: without the sum": (nn.softmax(), lambda p, c, dy, dx, g: (c * dy, g)),
    "dropout: no 1/keep_prob": (nn.dropout(0.5), lambda p, c, dy, dx, g: (dy * (c > 0), g)),
    "dropout: no mask": (nn.dropout(0.5), lambda p, c, dy, dx, g: (dy, g)),
    "dropout: other mask": (nn.dropout(0.5), lambda p, c, dy, dx, g: (dy * c[::-1], g)),
    "batch norm: no mean path": (nn.batch_norm(), without_mean_path),
    "batch norm: no variance path": (nn.batch_norm(), without_variance_path),
    "batch norm: statistics constant": (nn.batch_norm(), constant_statistics),
    "batch norm: gamma averaged": (nn.batch_norm(), lambda p, c, dy, dx, g: (dx, g | {"gamma": g["gamma"] / len(dy)})),
    "layer norm: no mean path": (nn.layer_norm(), without_mean_path),
    "layer norm: no variance path": (nn.layer_norm(), without_variance_path),
    "layer norm: beta of one row": (nn.layer_norm(), lambda p, c, dy, dx, g: (dx, g | {"beta": dy[0]})),
    "layer norm: gamma after the means": (nn.layer_norm(), gamma_after_the_means),
    "rms norm: no variance path": (nn.rms_norm(), constant_statistics),
    "rms norm: a mean path": (nn.rms_norm(), with_mean_path),
    "rms norm: gamma after the mean": (nn.rms_norm(), gamma_after_the_means),
    "rms norm: gamma averaged": (nn.rms_norm(), lambda p, c, dy, dx, g: (dx, g | {"gamma": g["gamma"] / len(dy)})),
    "group norm: no mean path": (nn.group_norm(2), without_mean_path),
    "group norm: no variance path": (nn.group_norm(2), without_variance_path),
    "group norm: gamma after the means": (nn.group_norm(2), gamma_after_the_means),
    "group norm: means of all features": (nn.group_norm(2), means_of_all_features),
    "group norm: means of a position": (nn.group_norm(2), means_of_a_position),
    "group norm: beta of one example": (nn.group_norm(2), lambda p, c, dy, dx, g: (dx, g | {"beta": dy[0].sum(0)})),
    "instance norm: statistics constant": (nn.instance_norm(), constant_statistics),
    "instance norm: means of all features": (nn.instance_norm(), means_of_all_features),
    "glu: gate without its slope": (nn.glu(), lambda p, c, dy, dx, g: (np.hstack([dx[:, :2], dy * c[0] * c[1]]), g)),
    "glu: value alone": (nn.glu(), lambda p, c, dy, dx, g: (np.hstack([dx[:, :2], 0 * dy]), g)),
    "swiglu: halves exchanged": (nn.swiglu(), lambda p, c, dy, dx, g: (np.roll(dx, 2, axis=-1), g)),
    "prelu: slope on both sides": (nn.prelu(), lambda p, c, dy, dx, g: (dy * p["slope"], g)),
    "prelu: slope of both sides": (nn.prelu(), lambda p, c, dy, dx, g: (dx, {"slope": (dy * c).sum(0)})),
    "prelu: slope averaged": (nn.prelu(), lambda p, c, dy, dx, g: (dx, {"slope": g["slope"] / len(dy)})),
    "flatten: features reversed": (nn.flatten(), lambda p, c, dy, dx, g: (dx[:, ::-1], g)),
    "flatten: averaged over the rows": (nn.flatten(), lambda p, c, dy, dx, g: (0 * dx + dx.mean(0), g)),
    "flatten: rows reversed": (nn.flatten(), lambda p, c, dy, dx, g: (dx[::-1], g)),
    "identity: doubled": (nn.identity(), lambda p, c, dy, dx, g: (2 * dx, g)),
    "identity: zero": (nn.identity(), lambda p, c, dy, dx, g: (0 * dx, g)),
}


EXPECTED: dict[str, list[tuple[str, str]]] = {
    "dense: W transposed": [("dx", "transpose")],
    "dense: bias averaged": [("b", "scale")],
    "dense: dW divided by m": [("W", "scale")],
    "dense: one weight 1 % off": [("W", "sparse")],
    "relu: passes everything": [("dx", "mask")],
    "relu: mask of the gradient": [("dx", "mask")],
    "relu: slope 1.5 at the kink": [("dx", "mask")],
    "sigmoid: without 1 − σ": [("dx", "missing-term")],
    "tanh: sign": [("dx", "sign")],
    "tanh: a slope of 1e-4 too much": [("dx", "small")],
    "gelu: without the density": [("dx", "missing-term")],
    "elu: forgets alpha": [("dx", "scale")],
    "leaky relu: slope of the other side": [("dx", "missing-term")],
    "softmax: diagonal only": [("dx", "missing-term")],
    "softmax: over the batch": [("dx", "axis")],
    "softmax: without the sum": [("dx", "missing-term")],
    "dropout: no 1/keep_prob": [("dx", "scale")],
    "dropout: no mask": [("dx", "missing-term")],
    "dropout: other mask": [("dx", "mask")],
    "batch norm: no mean path": [("dx", "missing-term")],
    "batch norm: no variance path": [("dx", "missing-term")],
    "batch norm: statistics constant": [("dx", "missing-term")],
    "batch norm: gamma averaged": [("gamma", "scale")],
    "layer norm: no mean path": [("dx", "missing-term")],
    "layer norm: no variance path": [("dx", "missing-term")],
    "layer norm: beta of one row": [("beta", "missing-sum")],
    "layer norm: gamma after the means": [("dx", "transpose")],
    "rms norm: no variance path": [("dx", "missing-term")],
    "rms norm: a mean path": [("dx", "missing-term")],
    "rms norm: gamma after the mean": [("dx", "transpose")],
    "rms norm: gamma averaged": [("gamma", "scale")],
    "group norm: no mean path": [("dx", "missing-term")],
    "group norm: no variance path": [("dx", "missing-term")],
    "group norm: gamma after the means": [("dx", "missing-term")],
    "group norm: means of all features": [("dx", "missing-term")],
    "group norm: means of a position": [("dx", "missing-term")],
    "group norm: beta of one example": [("beta", "missing-sum")],
    "instance norm: statistics constant": [("dx", "missing-term")],
    "instance norm: means of all features": [("dx", "axis")],
    "glu: gate without its slope": [("dx", "missing-term")],
    "glu: value alone": [("dx", "zero")],
    "swiglu: halves exchanged": [("dx", "shift")],
    "prelu: slope on both sides": [("dx", "missing-term")],
    "prelu: slope of both sides": [("slope", "mask")],
    "prelu: slope averaged": [("slope", "scale")],
    "flatten: features reversed": [("dx", "flip")],
    "flatten: averaged over the rows": [("dx", "axis")],
    "flatten: rows reversed": [("dx", "flip")],
    "identity: doubled": [("dx", "scale")],
    "identity: zero": [("dx", "zero")],
}
"""What the report must say: (name, kind) of each finding."""


def report(layer: Layer) -> nn.Report:
    shapes = {"glu": (4,), "group_norm": (5, 4), "instance_norm": (5, 3), "swiglu": (4,)}
    shape = shapes.get(layer.name, (3,))
    params, state = layer.init(nn.key(0), shape, np.float64)
    rng = np.random.default_rng(0)
    x = np.round(rng.normal(size=(4, *shape)) * 4) / 4
    x[0, 0] = 0.0
    return nn.check_model(layer, randomized(params, 1), x, state=state, key=nn.key(5))


@pytest.mark.parametrize("name", LAYERS)
def test_a_broken_backward_is_found_and_diagnosed(name: str) -> None:
    layer, break_ = LAYERS[name]
    assert report(layer).ok
    found = report(mutant(layer, break_)).findings
    assert [(f.name, f.kind) for f in found] == EXPECTED[name]


# -- layers of sequences -----------------------------------------------------------------------------------------------

Backward = Callable[..., Any]


def with_cache(change: Callable[[Any], Any]) -> Callable[[Backward], Backward]:
    """A backward that remembers something else than its forward did."""
    return lambda right: lambda p, cache, dy, grads, need, **s: right(p, change(cache), dy, grads, need, **s)


def looks(allowed: Callable[[Any], Any]) -> Callable[[Backward], Backward]:
    """Attention whose backward masks otherwise than its forward."""
    return with_cache(lambda c: c._replace(A=masked_softmax(np.matmul(c.q, c.k.mT), allowed(c.A))))


def overwritten(right: Backward) -> Backward:
    def backward(params: Any, ids: Any, dy: Array, grads: Any, need: Any, **settings: Any) -> None:
        if grads[0] is not None:
            grads[0][...] = 0
            grads[0][ids] = dy

    return backward


def averaged(right: Backward) -> Backward:
    def backward(params: Any, cache: Any, dy: Array, grads: Any, need: Any, **settings: Any) -> Any:
        dx = right(params, cache, dy, grads, need, **settings)
        if grads[0] is not None:
            grads[0][...] /= len(dy)
        return dx

    return backward


def with_gates_ordered(*order: int) -> Callable[[Backward], Backward]:
    """The gradients of a recurrent layer's gates side by side in another order than the gates."""

    def of(right: Backward) -> Backward:
        def backward(params: Any, cache: Any, dy: Any, grads: Any, need: Any, **settings: Any) -> Any:
            dx = right(params, cache, dy, grads, need, **settings)
            for gradient in grads[:3]:
                if gradient is not None:
                    gradient[...] = np.hstack([np.split(gradient, len(order), axis=-1)[k] for k in order])
            return dx

        return backward

    return of


def without_time(right: Backward) -> Backward:
    """A recurrent layer whose steps hand nothing back to the step before."""
    return lambda p, cache, dy, grads, need, **s: right((p[0], 0 * p[1], *p[2:]), cache, dy, grads, need, **s)


def first_alone(a: Array) -> Array:
    """What is left of a sum over time that each step overwrites, from the last to the first."""
    return np.concatenate([a[:1], 0 * a[1:]])


SEQUENCES: dict[str, tuple[Layer, Any, Callable[[Backward], Backward], dict[str, str]]] = {
    "attention: causal mask inverted": (
        nn.attention(2, causal=True), (4, 4), looks(lambda A: np.tri(*A.shape[-2:]) == 0),
        dict.fromkeys(("dx", "query_W", "key_W", "value_W", "query_b"), "unknown") | {"value_b": "missing-sum"},
    ),
    "attention: causal mask forgotten": (
        nn.attention(2, causal=True), (4, 4), looks(lambda A: None),
        dict.fromkeys(("dx", "query_W", "key_W", "value_W", "query_b"), "missing-term"),
    ),
    "attention: padding inverted": (
        nn.attention(2, mask=True), ((4, 4), (4,)), looks(lambda A: (A == 0).all(axis=(1, 2), keepdims=True)),
        dict.fromkeys(("dx[0]", "query_W", "key_W", "value_W", "query_b"), "unknown"),
    ),
    "attention: 1/√size twice": (
        nn.attention(2), (4, 4), with_cache(lambda c: c._replace(k=c.k / np.sqrt(c.k.shape[-1]))),
        {"dx": "missing-term", "query_W": "scale", "query_b": "scale"},
    ),
    "embedding: ids overwritten": (nn.embedding(3, 2), (4,), overwritten, {"E": "missing-sum"}),
    "gru: gates in another order": (
        nn.gru(3), (4, 3), with_gates_ordered(1, 0, 2), dict.fromkeys(("x_W", "h_W", "b"), "shift"),
    ),
    "gru: reverse forgotten": (
        nn.gru(3, reverse=True), (4, 3),
        lambda right: lambda p, c, dy, g, need, **s: right(p, c, dy, g, need, **(s | {"reverse": False})),
        dict.fromkeys(("dx", "x_W", "h_W", "b", "h_b"), "flip"),
    ),
    "lstm: gates in another order": (
        nn.lstm(3), (4, 3), with_gates_ordered(0, 3, 1, 2), dict.fromkeys(("x_W", "h_W", "b"), "shift"),
    ),
    "lstm: h_W overwritten": (
        nn.lstm(3, initial_state=True), ((4, 3), ((3,), (3,))),
        with_cache(lambda c: c._replace(hs=first_alone(c.hs))), {"h_W": "missing-term"},
    ),
    "lstm: x_W overwritten": (
        nn.lstm(3), (4, 3), with_cache(lambda c: c._replace(x=first_alone(c.x))), {"x_W": "missing-term"},
    ),
    "rnn: time not handed back": (
        nn.rnn(3), (4, 3), without_time, dict.fromkeys(("dx", "x_W", "h_W", "b"), "missing-term"),
    ),
    "learned positions: averaged": (nn.learned_positions(6), (4, 4), averaged, {"P": "scale"}),
    "rotary positions: turned the same way": (
        nn.rotary_positions(), (4, 4),
        lambda right: lambda p, c, dy, g, need, **s: rotated(dy, s["base"], s["pairing"]),
        {"dx": "transpose"},
    ),
}  # fmt: skip
"""A layer, its input's shape, what breaks its backward, and what the report must say of each array."""


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_broken_backward_of_sequences_is_found(name: str) -> None:
    layer, shape, break_, expected = SEQUENCES[name]
    kernel = layer.kernel
    assert kernel is not None
    assert nn.check_layer(layer, shape).ok
    broken = layer._replace(kernel=kernel._replace(backward=break_(kernel.backward)))
    assert {f.name: f.kind for f in nn.check_layer(broken, shape).findings} == expected


# -- layers of images --------------------------------------------------------------------------------------------------


def with_settings(**other: Any) -> Callable[[Backward], Backward]:
    """A backward whose windows slide otherwise than those of its forward."""
    return lambda right: lambda p, cache, dy, grads, need, **s: right(p, cache, dy, grads, need, **(s | other))


def with_kernel(change: Callable[[Any], Any]) -> Callable[[Backward], Backward]:
    """Another kernel in dx."""
    return lambda right: lambda p, cache, dy, grads, need, **s: right((change(p[0]), p[1]), cache, dy, grads, need, **s)


def side_by_side(right: Backward) -> Backward:
    """dW of a strided convolution from neighbours, as if its stride were 1."""

    def backward(params: Any, x: Any, dy: Any, grads: Any, need: Any, **settings: Any) -> Any:
        dx = right(params, x, dy, grads, need, **settings)
        seen = dy.shape[1] + params[0].shape[0] - 1
        right(params, x[:, :seen, :seen], dy, (grads[0], None), False, **(settings | {"stride": (1, 1)}))
        return dx

    return backward


def of_the_first(right: Backward) -> Backward:
    """dW of the first image alone."""

    def backward(params: Any, x: Any, dy: Any, grads: Any, need: Any, **settings: Any) -> Any:
        dx = right(params, x, dy, grads, need, **settings)
        right(params, x[:1], dy[:1], (grads[0], None), False, **settings)
        return dx

    return backward


IMAGES: dict[str, tuple[Layer, Any, Callable[[Backward], Backward], dict[str, str]]] = {
    "convolution: kernel not reversed": (
        nn.conv2d(2, 3, padding=1), (4, 4, 2), with_kernel(lambda W: W[::-1, ::-1]), {"dx": "flip"},
    ),
    "convolution: neighbours, not a stride apart": (
        nn.conv2d(2, 2, stride=2), (6, 6, 2), side_by_side, {"W": "missing-term"},
    ),
    "convolution: padding on the other side": (
        nn.conv2d(2, 2, padding=((0, 1), (0, 1))), (4, 4, 2), with_settings(padding=((1, 0), (1, 0))),
        {"dx": "shift", "W": "unknown"},
    ),
    "convolution: dilation forgotten": (
        nn.conv2d(2, 2, padding=1, dilation=2), (4, 4, 2),
        with_settings(dilation=(1, 1), padding=((0, 1), (0, 1))), {"dx": "unknown", "W": "unknown"},
    ),
    "convolution: groups exchanged": (
        nn.conv2d(4, 2, groups=2), (4, 4, 4), with_cache(lambda x: np.roll(x, 2, axis=-1)), {"W": "shift"},
    ),
    "convolution: W of the first image": (nn.conv2d(2, 2), (4, 4, 2), of_the_first, {"W": "missing-sum"}),
    "transposed convolution: kernel's sides exchanged": (
        nn.conv_transpose2d(2, 2, stride=2), (3, 3, 2), with_kernel(lambda W: W.swapaxes(0, 1)), {"dx": "missing-term"},
    ),
    "average pooling: a sum": (
        nn.avg_pool2d(2), (4, 4, 2), lambda right: lambda p, c, dy, g, need, **s: 4 * right(p, c, dy, g, need, **s),
        {"dx": "scale"},
    ),
    "average pooling: padding counted": (
        nn.avg_pool2d(2, padding=1, count_padding=False), (4, 4, 2), with_settings(count_padding=True),
        {"dx": "missing-term"},
    ),
    "max pooling: the largest of the next": (
        nn.max_pool2d(2), (4, 4, 2), with_cache(lambda c: c._replace(x=np.roll(c.x, 1, -1), y=np.roll(c.y, 1, -1))),
        {"dx": "mask"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", IMAGES)
def test_a_broken_backward_of_images_is_found(name: str) -> None:
    layer, shape, break_, expected = IMAGES[name]
    kernel = layer.kernel
    assert kernel is not None
    assert nn.check_layer(layer, shape).ok
    broken = layer._replace(kernel=kernel._replace(backward=break_(kernel.backward)))
    assert {f.name: f.kind for f in nn.check_layer(broken, shape).findings} == expected


LOSSES: dict[str, tuple[Loss, tuple[str, str], Callable[[Array], Array]]] = {
    "binary: sign": (nn.binary_cross_entropy, ("probabilities", "bits"), lambda dy: -dy),
    "binary: not divided by m": (nn.binary_cross_entropy, ("probabilities", "bits"), lambda dy: dy * len(dy)),
    "categorical: divided by classes": (nn.categorical_cross_entropy, ("probabilities", "one-hot"), lambda dy: dy / 3),
    "logits: last column missing": (
        nn.categorical_cross_entropy_with_logits,
        ("reals", "one-hot"),
        lambda dy: dy * [1, 1, 0],
    ),
    "sparse: shifted by one class": (
        nn.sparse_categorical_cross_entropy,
        ("probabilities", "classes"),
        lambda dy: np.roll(dy, 1, axis=-1),
    ),
    "squared: half forgotten": (nn.mean_squared_error, ("reals", "reals"), lambda dy: dy / 2),
    "absolute: 1 where equal": (nn.mean_absolute_error, ("reals", "reals"), lambda dy: np.where(dy == 0, 1.0, dy)),
    "huber: not clipped": (nn.huber(0.75), ("reals", "reals"), lambda dy: np.sign(dy) * np.abs(dy) ** 1.1),
    "cosine: length forgotten": (nn.losses.cosine, ("nonzero", "reals"), lambda dy: dy * 17),
    "divergence: sign": (nn.losses.kl_divergence, ("log-probabilities", "one-hot"), lambda dy: -dy),
    "margins: the right class forgotten": (
        nn.losses.multi_class_hinge(),
        ("reals", "classes"),
        lambda dy: np.maximum(dy, 0),
    ),
}


LOSS_KINDS = {
    "binary: sign": "sign",
    "binary: not divided by m": "scale",
    "categorical: divided by classes": "scale",
    "logits: last column missing": "zero",
    "sparse: shifted by one class": "shift",
    "squared: half forgotten": "scale",
    "absolute: 1 where equal": "mask",
    "huber: not clipped": "unknown",
    "cosine: length forgotten": "scale",
    "divergence: sign": "sign",
    "margins: the right class forgotten": "mask",
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_broken_loss_gradient_is_found_and_diagnosed(name: str) -> None:
    loss, kinds, break_ = LOSSES[name]
    y, target = outputs_and_targets(kinds, 4, 3, 1)
    if kinds[0] == kinds[1] == "reals":
        y[0, 0] = target[0, 0]
    dy = loss.backward(loss.forward(y, target)[1])

    def check(gradient: Array) -> nn.Report:
        return nn.check_gradients(lambda p: loss.forward(p["y"], target)[0], {"y": gradient}, {"y": y})

    assert check(dy).ok
    assert [f.kind for f in check(break_(dy)).findings] == [LOSS_KINDS[name]]


def test_a_broken_penalty_is_found() -> None:
    params = ArrayDict({"W": [[1.0, -2.0]], "b": [3.0]})
    for wrong, kind in ((2.0, "scale"), (-1.0, "sign"), (0.0, "zero")):
        grads = nn.l2(0.3).backward(params, 4) * wrong
        checked = nn.check_gradients(lambda p: nn.l2(0.3).forward(p, 4), grads, params)
        assert [(f.name, f.kind) for f in checked.findings] == [("W", kind)]


# -- every export, without a table that could lack one -----------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=3)
@given(data=st.data())
def test_each_gradient_of_each_exported_layer_is_found_wrong(name: str, data: st.DataObject) -> None:
    layers, shape = EVERY[name]
    model = data.draw(layers)
    ops = nn.models.program(model, shape).ops
    if not ops:  # it hands on what it gets
        return
    op = data.draw(st.sampled_from(ops))
    array = data.draw(st.sampled_from(["dx", *op.names]))
    right = op.kernel.backward
    changed: list[np.bool] = []

    def backward(params: Any, cache: Cache, dy: Any, grads: Any, need: Any, **settings: Any) -> Any:
        dx = right(params, cache, dy, grads, need, **settings)
        if array == "dx":
            changed.extend(np.any(d) for d in leaves(dx) if d is not None)
            return map_leaves(lambda d: None if d is None else d * 1.3, dx)
        gradient = grads[op.names.index(array)]
        if gradient is not None:
            changed.append(np.bool(np.abs(gradient).max(initial=0) > 1e-12))  # a key's bias has rounding for a gradient
            gradient *= 1.3
        return dx

    def broken(path: str, layer: Layer) -> Layer:
        return layer._replace(kernel=op.kernel._replace(backward=backward)) if path == op.path else layer

    findings = nn.check_layer(nn.map_layers(broken, model), shape, inputs=1).findings
    assert bool(findings) == any(changed)
    where = f"{model.name}.{op.path}".rstrip(".")
    assert {(f.where, f.name.partition("[")[0]) for f in findings} <= {(where, array)}


@pytest.mark.parametrize("name", sorted(EXPORTED_LOSSES))
def test_the_gradient_of_each_exported_loss_is_found_wrong(name: str) -> None:
    loss, *kinds = EXPORTED_LOSSES[name]
    y, target = outputs_and_targets((kinds[0], kinds[1]), 4, 3, 1)
    dy = loss.backward(loss.forward(y, target)[1])
    report = nn.check_gradients(lambda p: loss.forward(p["y"], target)[0], {"y": dy * 1.3}, {"y": y})
    assert [f.name for f in report.findings] == ["y"]


@pytest.mark.parametrize("name", sorted(STRUCTURED))
def test_the_gradient_of_each_loss_of_tuples_and_sequences_is_found_wrong(name: str) -> None:
    loss = STRUCTURED[name]
    y, target = structured(loss, 4, 3, 1)
    dys, arrays = leaves(loss.backward(loss.forward(y, target)[1])), leaves(y)
    for i, array in enumerate(arrays):

        def value(p: dict[str, Array], i: int = i) -> float:
            parts = [*arrays[:i], p["y"], *arrays[i + 1 :]]
            return float(loss.forward(parts[0] if loss.outputs == 1 else tuple(parts), target)[0])

        assert nn.check_gradients(value, {"y": dys[i]}, {"y": array}).ok
        report = nn.check_gradients(value, {"y": dys[i] * 1.3}, {"y": array})
        assert [f.name for f in report.findings] == ["y"]


@pytest.mark.parametrize("name", sorted(PENALTIES))
def test_the_gradient_of_each_exported_penalty_is_found_wrong(name: str) -> None:
    params = ArrayDict({"W": [[1.0, -2.0]]})
    grads = PENALTIES[name].backward(params, 4) * 1.3
    report = nn.check_gradients(lambda p: PENALTIES[name].forward(p, 4), grads, params)
    assert [f.kind for f in report.findings] == ["scale"]
