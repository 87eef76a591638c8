"""LSTM: constructor, cell forward and cell backward, like those in `cells`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from nnfunc._internal.validate import number
from nnfunc.arrays import Array
from nnfunc.core.kernel import Kernel, Signature
from nnfunc.core.layer import Layer, make
from nnfunc.core.values import Shapes, Value
from nnfunc.initializers import Initializer
from nnfunc.keys import Key
from nnfunc.layers.recurrent import (
    USES,
    Cell,
    Gradients,
    Output,
    Padding,
    Run,
    States,
    backward_of,
    forward_of,
    kept,
    settings_of,
    signature_of,
    step_of,
    summed,
    taking,
)
from nnfunc.layers.recurrent_onnx import lstm_onnx

__all__ = ["lstm"]


def lstm(
    units: int,
    forget_bias: float = 1.0,
    *,
    output: Output = "sequence",
    reverse: bool = False,
    initial_state: bool = False,
    final_state: bool = False,
    lengths: bool = False,
    initializer: Initializer = "glorot_uniform",
    recurrent_initializer: Initializer = "orthogonal",
    bias: bool = True,
) -> Layer:
    """cₜ = f cₜ₋₁ + i g, hₜ = o tanh(cₜ) with i, f, o = σ(·), g = tanh(·) of xₜ x_W + hₜ₋₁ h_W + b.

    Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000, over sequences x (..., T, D).

    Args:
        units: the length of h and c.
        forget_bias: the initial b of f (Jozefowicz et al., ICML 2015); that of the other gates is 0.
        output, reverse, lengths, initializer, recurrent_initializer, bias: see `rnn`.
        initial_state: whether the initial (h, c) is an additional input: (x, (h, c)).
        final_state: whether the last (h, c) is an additional output: (y, (h, c)).
    Parameters: x_W (D, 4·units), h_W (units, 4·units), b (4·units,), in the order i, f, g, o, as in PyTorch and Keras.

    >>> layer = nn.lstm(4, final_state=True)
    >>> params, state = layer.init(nn.key(0), (7, 3))
    >>> y, (h, c) = layer.forward(params, state, np.ones((5, 7, 3)))[0]
    >>> y.shape, h.shape, params["b"][4:8]
    ((5, 7, 4), (5, 4), array([1., 1., 1., 1.], dtype=float32))
    """
    settings = settings_of(
        units, output, reverse, initial_state, final_state, lengths, initializer, recurrent_initializer, bias,
        forget_bias=number(forget_bias, "forget_bias", -math.inf, math.inf, why="the initial b of the forget gate"),
    )  # fmt: skip
    return make("lstm", settings, taking(LSTM, settings))


class ForgetBias:
    """The initializer of an LSTM's b: `value` for the forget gate, the second of four, 0 for the others."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __call__(self, key: Key, shape: tuple[int, ...], dtype: DTypeLike = np.float32, /) -> Array:
        b = np.zeros(shape, dtype)
        b[shape[0] // 4 : shape[0] // 2] = self.value
        return b


def _lstm_forward(
    a: Array, states: States, W: Array, h_b: None, padding: Padding
) -> tuple[Array, States, tuple[Array, Array, Array]]:
    h, c = states
    hs, cs = (np.empty((a.shape[1] + 1, *s.shape), s.dtype) for s in (h, c))
    hs[0], cs[0] = h, c
    tanh_c = np.empty((a.shape[1], *c.shape), c.dtype)
    i, f, g, o = gates = np.empty((4, *h.shape), h.dtype)
    for t in range(a.shape[1]):
        np.matmul(hs[t], W, out=gates)
        gates += a[:, t]
        np.tanh(gates, out=gates)
        for sigmoid in (gates[:2], o):
            sigmoid *= 0.5
            sigmoid += 0.5
        a[:, t] = gates
        np.multiply(f, cs[t], out=cs[t + 1])
        cs[t + 1] += i * g
        np.tanh(cs[t + 1], out=tanh_c[t])
        np.multiply(o, tanh_c[t], out=hs[t + 1])
        kept(hs[t + 1], hs[t], padding, t)
        kept(cs[t + 1], cs[t], padding, t)
    return hs, (hs[-1], cs[-1]), (a, cs, tanh_c)


def _lstm_backward(
    cache: tuple[Array, Array, Array], W: Array, hs: Array, dhs: Array | None, dlast: States, padding: Padding
) -> Gradients:
    a, cs, tanh_c = cache
    if padding is not None:
        a = np.where(padding, np.array([0, 1, 0, 0], a.dtype).reshape(4, 1, 1, 1), a)  # i = 0, f = 1 keep c
    i, f, g, o = a
    da = np.empty_like(a)  # · dc, of o · dh
    np.multiply(i * (1 - i), g, out=da[0])
    np.multiply(f * (1 - f), cs[:-1], out=da[1])
    np.multiply(i, 1 - g * g, out=da[2])
    np.multiply(o * (1 - o), tanh_c, out=da[3])
    through = o * (1 - tanh_c * tanh_c)  # dc += dh · this
    dh, dc = dlast
    for t in range(len(i) - 1, -1, -1):
        later = dh if dhs is None else dh + dhs[t]
        dc = dc + later * through[t]
        d = da[:, t]
        d[:3] *= dc
        d[3] *= later
        dh = np.matmul(d, W).sum(axis=0)
        kept(dh, later, padding, t)
        dc *= f[t]
    return Gradients(da, summed(hs[:-1], da), None, (dh, dc))


LSTM_CELL = Cell((0.5, 0.5, 1.0, 0.5), 2, _lstm_forward, _lstm_backward)


def _lstm_signature(input_shape: Shapes, *, forget_bias: float, **settings: Any) -> Signature:
    return signature_of(LSTM_CELL, input_shape, bias_initializer=ForgetBias(forget_bias), **settings)


def _lstm(params: Sequence[Array], x: Value, **settings: Any) -> tuple[Value, Run]:
    return forward_of(LSTM_CELL, params, x, **settings)


def _lstm_gradients(
    params: Sequence[Array], run: Run, dy: Value, grads: Sequence[Array | None], need: Any, **settings: Any
) -> Value:
    return backward_of(LSTM_CELL, params, run, dy, grads, need, **settings)


def _lstm_step(params: Sequence[Array], x: Value, memory: Any, **settings: Any) -> tuple[Value, Any]:
    return step_of(LSTM_CELL, params, x, memory, **settings)


LSTM = Kernel(
    _lstm, _lstm_gradients, _lstm_signature, formula="cₜ = f cₜ₋₁ + i g, hₜ = o tanh cₜ", uses=USES, stacked=False,
    step=_lstm_step, onnx=lstm_onnx,
)  # fmt: skip
