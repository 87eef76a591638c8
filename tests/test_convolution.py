"""Convolution, pooling and padding compared with PyTorch, and laws that need no reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnfunc as nn
from nnfunc.arrays import Array, ArrayDict

DRAW = st.data()


def ran(layer: nn.Layer, x: Array, seed: int = 0) -> tuple[ArrayDict, Array, Array, Array, ArrayDict]:
    """(params, y, dy, dx, grads) of a layer with random parameters and a random cotangent."""
    rng = np.random.default_rng(seed)
    params, state = layer.init(nn.key(seed), x.shape[1:], np.float64)
    params = params.with_vector(rng.normal(size=params.size)) if params.names else params
    y, cache, _ = layer.forward(params, state, x)
    dy = rng.normal(size=y.shape)
    dx, grads = layer.backward(params, cache, dy)
    return params, y, dy, dx, grads


def first(a: Array) -> Any:
    """Channels first, as PyTorch has them."""
    torch = pytest.importorskip("torch")
    return torch.tensor(np.ascontiguousarray(np.moveaxis(a, -1, 1)), requires_grad=True)


def last(t: Any) -> Array:
    return np.moveaxis(t.detach().numpy(), 1, -1)


class Case:
    """A drawn convolution: sizes of 1 and odd ones, strides that do not divide, dilation, groups, uneven padding."""

    def __init__(self, draw: Any, transposed: bool = False) -> None:
        def each(low: int, high: int) -> tuple[int, ...]:
            return tuple(draw(st.integers(low, high)) for _ in range(self.axes))

        self.axes: int = draw(st.integers(1, 2))
        self.kernel, self.stride, self.dilation = each(1, 3), each(1, 3), each(1, 2)
        self.groups = draw(st.integers(1, 3))
        self.channels = self.groups * draw(st.integers(1, 2))
        self.filters = self.groups * draw(st.integers(1, 2))
        self.pads = tuple((a, b) for a, b in zip(each(0, 2), each(0, 2), strict=True))
        least = [(k - 1) * d + 1 - a - b for k, d, (a, b) in zip(self.kernel, self.dilation, self.pads, strict=True)]
        self.lengths = tuple(max(n, 1) + draw(st.integers(0, 4)) for n in least)
        self.rows, self.seed = draw(st.integers(1, 3)), draw(st.integers(0, 1000))
        self.padding: Any = self.pads[0] if self.axes == 1 else self.pads
        self.x = np.random.default_rng(self.seed).normal(size=(self.rows, *self.lengths, self.channels))


@given(DRAW)
def test_convolutions_are_those_of_pytorch(data: st.DataObject) -> None:
    torch = pytest.importorskip("torch")
    case = Case(data.draw)
    make: Any = (nn.conv1d, nn.conv2d)[case.axes - 1]
    layer = make(case.filters, case.kernel, case.stride, case.padding, case.dilation, case.groups)
    params, y, dy, dx, grads = ran(layer, case.x, case.seed)
    around = [n for pair in reversed(case.pads) for n in pair]
    x = first(case.x)
    W = torch.tensor(np.ascontiguousarray(np.moveaxis(params["W"], (-1, -2), (0, 1))), requires_grad=True)
    b = torch.tensor(np.array(params["b"]), requires_grad=True)
    function = (torch.nn.functional.conv1d, torch.nn.functional.conv2d)[case.axes - 1]
    theirs = function(torch.nn.functional.pad(x, around), W, b, case.stride, 0, case.dilation, case.groups)
    theirs.backward(first(dy))
    np.testing.assert_allclose(y, last(theirs), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(dx, last(x.grad), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(grads["W"], np.moveaxis(W.grad.numpy(), (0, 1), (-1, -2)), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(grads["b"], b.grad.numpy(), rtol=1e-11, atol=1e-12)


@given(DRAW)
def test_transposed_convolutions_are_those_of_pytorch(data: st.DataObject) -> None:
    torch = pytest.importorskip("torch")
    case = Case(data.draw)
    pad = tuple(data.draw(st.integers(0, (k - 1) * d)) // 2 for k, d in zip(case.kernel, case.dilation, strict=True))
    more = tuple(data.draw(st.integers(0, max(s, d) - 1)) for s, d in zip(case.stride, case.dilation, strict=True))
    sizes = [
        (n - 1) * s + (k - 1) * d + 1 + o - 2 * p
        for n, s, k, d, o, p in zip(case.lengths, case.stride, case.kernel, case.dilation, more, pad, strict=True)
    ]
    if min(sizes) < 1:
        return
    make: Any = (nn.conv_transpose1d, nn.conv_transpose2d)[case.axes - 1]
    pairs: Any = tuple((p, p) for p in pad)
    pairs = pairs[0] if case.axes == 1 else pairs
    layer = make(case.filters, case.kernel, case.stride, pairs, more, case.dilation, case.groups)
    params, y, dy, dx, grads = ran(layer, case.x, case.seed)
    x, b = first(case.x), torch.tensor(np.array(params["b"]), requires_grad=True)

    def theirs_of(W: Array) -> Array:
        """(k, C/groups, filters) as PyTorch's (C, filters/groups, k)."""
        parted = W.reshape(*case.kernel, case.channels // case.groups, case.groups, case.filters // case.groups)
        moved = np.moveaxis(parted, (-2, -3, -1), (0, 1, 2))
        return np.ascontiguousarray(moved.reshape(case.channels, case.filters // case.groups, *case.kernel))

    W = torch.tensor(theirs_of(params["W"]), requires_grad=True)
    function = (torch.nn.functional.conv_transpose1d, torch.nn.functional.conv_transpose2d)[case.axes - 1]
    theirs = function(x, W, b, case.stride, pad, more, case.groups, case.dilation)
    theirs.backward(first(dy))
    np.testing.assert_allclose(y, last(theirs), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(dx, last(x.grad), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(theirs_of(grads["W"]), W.grad.numpy(), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(grads["b"], b.grad.numpy(), rtol=1e-11, atol=1e-12)


@given(DRAW, st.booleans(), st.booleans())
def test_pooling_is_that_of_pytorch(data: st.DataObject, largest: bool, counts: bool) -> None:
    torch = pytest.importorskip("torch")
    axes = data.draw(st.integers(1, 2))
    size = tuple(data.draw(st.integers(1, 3)) for _ in range(axes))
    stride = tuple(data.draw(st.integers(1, 3)) for _ in range(axes))
    pad = tuple(data.draw(st.integers(0, k // 2)) for k in size)
    lengths = tuple(k + data.draw(st.integers(0, 4)) for k in size)
    seed = data.draw(st.integers(0, 1000))
    x = np.random.default_rng(seed).integers(-2, 3, size=(2, *lengths, 3)) / 2  # with ties
    pairs: Any = tuple((p, p) for p in pad)
    pairs = pairs[0] if axes == 1 else pairs
    F, t = torch.nn.functional, first(x)
    if largest:
        layer = ((nn.max_pool1d, nn.max_pool2d)[axes - 1])(size, stride, pairs)  # type: ignore[arg-type]  # a tuple too
        theirs = (F.max_pool1d, F.max_pool2d)[axes - 1](t, size, stride, pad)
    else:
        make: Any = (nn.avg_pool1d, nn.avg_pool2d)[axes - 1]
        layer = make(size, stride, pairs, count_padding=counts)
        theirs = (F.avg_pool1d, F.avg_pool2d)[axes - 1](t, size, stride, pad, count_include_pad=counts)
    _, y, dy, dx, _ = ran(layer, x, seed)
    theirs.backward(first(dy))
    np.testing.assert_allclose(y, last(theirs), rtol=1e-12)
    np.testing.assert_allclose(dx, last(t.grad), rtol=1e-12, atol=1e-12)


@given(DRAW)
def test_a_transposed_convolution_is_the_transpose(data: st.DataObject) -> None:
    """⟨conv(x), y⟩ = ⟨x, conv_transpose(y)⟩ with the kernel of the other direction, for 'same' too."""
    size, stride, n = (data.draw(st.integers(1, 4)) for _ in range(3))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    forth = nn.conv2d(3, size, stride, "same", bias=False)
    back = nn.conv_transpose2d(2, size, stride, "same", bias=False)
    x, y = rng.normal(size=(2, n * stride, n * stride, 2)), rng.normal(size=(2, n, n, 3))
    W = rng.normal(size=(size, size, 2, 3))
    conv_x = forth.forward(ArrayDict({"W": W}), nn.arrays.EMPTY, x)[0]
    back_y = back.forward(ArrayDict({"W": W.swapaxes(-1, -2)}), nn.arrays.EMPTY, y)[0]
    assert np.vdot(conv_x, y) == pytest.approx(np.vdot(x, back_y), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("n", "size", "stride"), [(28, 3, 2), (7, 2, 2), (5, 3, 1), (9, 4, 3), (4, 1, 2)])
def test_same_is_that_of_jax(n: int, size: int, stride: int) -> None:
    jax = pytest.importorskip("jax")
    x = np.random.default_rng(0).normal(size=(2, n, n, 2)).astype(np.float32)
    layer = nn.conv2d(3, size, stride, "same")
    params, _ = layer.init(nn.key(0), (n, n, 2))
    y = layer.forward(params, nn.arrays.EMPTY, x)[0]
    names = ("NHWC", "HWIO", "NHWC")
    theirs = jax.lax.conv_general_dilated(x, params["W"], (stride, stride), "SAME", dimension_numbers=names)
    np.testing.assert_allclose(y, theirs, rtol=1e-4, atol=1e-5)
    assert y.shape[1] == -(-n // stride)


def test_blocks_of_rows_and_of_examples_give_what_one_block_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    from nnfunc.layers import windows

    x = np.random.default_rng(0).normal(size=(5, 9, 8, 2))
    for layer in (nn.conv2d(3, 3, 2, 1), nn.conv2d(4, 3, 1, "same", 2, 2), nn.conv_transpose2d(3, 3, 2)):
        monkeypatch.setattr(windows, "BLOCK", 1 << 18)
        _, y, _, dx, grads = ran(layer, x)
        for block in (1, 300, 2000):
            monkeypatch.setattr(windows, "BLOCK", block)
            _, y_again, _, dx_again, grads_again = ran(layer, x)
            np.testing.assert_allclose(y_again, y, rtol=1e-12)
            np.testing.assert_allclose(dx_again, dx, rtol=1e-12, atol=1e-13)
            np.testing.assert_allclose(grads_again.vector, grads.vector, rtol=1e-11)


def test_what_no_window_sees_has_the_gradient_0() -> None:
    x = np.random.default_rng(0).normal(size=(1, 6, 6, 1))
    for layer in (nn.conv2d(1, 2, 4), nn.max_pool2d(2, 4), nn.avg_pool2d(2, 4)):
        *_, dx, _ = ran(layer, x)
        assert dx.shape == x.shape
        assert not dx[:, 2:4].any()
        assert dx[:, :2, :2].any()


def test_the_first_maximum_takes_the_gradient_and_nan_passes() -> None:
    x = np.array([[[1.0], [1.0], [0.0], [np.nan]]])
    layer = nn.max_pool1d(2)
    y, cache, _ = layer.forward(nn.arrays.EMPTY, nn.arrays.EMPTY, x)
    assert y[0, 0, 0] == 1
    assert np.isnan(y[0, 1, 0])
    dx, _ = layer.backward(nn.arrays.EMPTY, cache, np.ones_like(y))
    assert dx.ravel().tolist() == [1, 0, 0, 0]


def test_the_memory_above_inputs_and_outputs_is_that_of_a_block() -> None:
    import tracemalloc

    x = np.random.default_rng(0).normal(size=(32, 28, 28, 16)).astype(np.float32)
    layer = nn.conv2d(32, 3, padding="same")
    params, state = layer.init(nn.key(0), x.shape[1:])
    tracemalloc.start()
    y, cache, _ = layer.forward(params, state, x)
    layer.backward(params, cache, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak - 2 * y.nbytes - x.nbytes < 12 * 2**20


WRONG: list[tuple[Any, Any, str]] = [
    (lambda: nn.conv2d(3, 3, padding="full"), None, "padding='full': expected 'valid', 'same'"),
    (lambda: nn.conv2d(3, (3, 3, 3)), None, "kernel_size=.*expected a whole number, or a pair"),
    (lambda: nn.conv2d(3, 3, padding=(1, 2)), None, r"expected \(\(top, bottom\), \(left, right\)\)"),
    (lambda: nn.conv2d(3, 3, groups=2), None, "groups=2 do not divide filters=3"),
    (lambda: nn.conv2d(4, 3, groups=2), (5, 5, 3), "3 channels, which groups=2 do not divide"),
    (lambda: nn.conv2d(4, 3), (28, 28), r"expected \(..., H, W, channels\)"),
    (lambda: nn.conv2d(4, 7), (5, 5, 1), r"a window sees \(7, 7\), more than"),
    (lambda: nn.conv_transpose2d(1, 3, 2, output_padding=2), None, "output_padding=2: expected less than stride 2"),
    (lambda: nn.conv_transpose2d(1, 1, 1, 3), (5, 5, 1), "cuts all off"),
    (lambda: nn.max_pool2d(2, padding=2), None, "padding=2: expected less than the size 2"),
    (lambda: nn.max_pool2d(6), (5, 5, 1), r"a window sees \(6, 6\)"),
    (lambda: nn.global_avg_pool(), (5,), "with positions before the features"),
    (lambda: nn.crop(((2, 3), (0, 0))), (5, 5, 1), "cut all off"),
    (lambda: nn.pad(3), None, r"pairs=3: expected \(before, after\)"),
    (lambda: nn.upsample2d(0), None, "factor=0"),
]


@pytest.mark.parametrize(("make", "shape", "message"), WRONG)
def test_what_does_not_fit_is_said(make: Any, shape: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make().init(nn.key(0), shape)


def test_wrong_channels_are_said_by_the_model() -> None:
    model = nn.serial(nn.conv2d(4, 3), nn.relu(), nn.flatten(), nn.dense(2))
    params, state = model.init(nn.key(0), (8, 8, 3))
    with pytest.raises(ValueError, match=r"conv2d1: .*takes 3 features on the last axis"):
        model.forward(params, state, np.ones((2, 8, 8, 1)))
