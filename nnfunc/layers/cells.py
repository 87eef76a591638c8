"""RNN, GRU and LSTM: each its constructor, and its cell forward and backward. `recurrent` has what they share.

Gates stand side by side in the columns of x_W, h_W and b, those with a sigmoid first. As σ(a) = ½ + ½ tanh(a/2), all
gates of a step are one tanh. In backward, whatever does not depend on the recursion is computed at once for all steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from nnfunc._internal.numerics import sum_of_rows
from nnfunc.arrays import Array
from nnfunc.core.kernel import Initial, Kernel, Signature
from nnfunc.core.layer import Layer, make
from nnfunc.core.values import Shapes, Value
from nnfunc.initializers import Initializer
from nnfunc.keys import Key
from nnfunc.layers.recurrent import (
    USES,
    Cell,
    Gradients,
    Output,
    Run,
    States,
    backward_of,
    forward_of,
    settings_of,
    signature_of,
    step_of,
    summed,
    taking,
)
from nnfunc.layers.recurrent_onnx import gru_onnx, lstm_onnx, rnn_onnx

__all__ = ["gru", "lstm", "rnn"]


# -- the plain recurrent layer -----------------------------------------------------------------------------------------


def rnn(
    units: int,
    activation: str = "tanh",
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
    """hₜ = f(xₜ x_W + hₜ₋₁ h_W + b), f = tanh or ReLU (Elman 1990), over sequences x (..., T, D).

    Args:
        units: the length of h.
        activation: "tanh" or "relu".
        output: "sequence": y = all h, (..., T, units); "last": the last one, (..., units).
        reverse: from the last step to the first; y[t] still belongs to x[t], and "last" is h of the first step.
        initial_state: whether h₀ is an input too: (x, h), h (..., units). Else it is 0.
        final_state: whether the last h is an output too: (y, h).
        lengths: whether the number of steps of each sequence is the last input, whole numbers (x, lengths). Steps
            behind the end change nothing: y is 0 there, the last h is that of the last step of each.
        initializer, recurrent_initializer: of x_W and h_W.
        bias: whether there is a b.
    Parameters: x_W (D, units), h_W (units, units), b (units,).
    Raises:
        ValueError: an unknown activation or output, lengths out of range.

    >>> layer = nn.rnn(4, output="last")
    >>> params, state = layer.init(nn.key(0), (7, 3))
    >>> layer.forward(params, state, np.ones((5, 7, 3)))[0].shape
    (5, 4)
    """
    if activation not in ("tanh", "relu"):
        raise ValueError(f"activation={activation!r}: expected 'tanh' or 'relu'; nn.scan takes a cell of your own")
    settings = settings_of(
        units, output, reverse, initial_state, final_state, lengths, initializer, recurrent_initializer, bias,
        activation=activation,
    )  # fmt: skip
    return make("rnn", settings, taking(RNN, settings))


def _rnn_forward(
    a: Array, states: States, params: Sequence[Array], keep: Array | None, *, activation: str
) -> tuple[Array, States, None]:
    (h,), W = states, params[1]
    hs = np.empty((len(a) + 1, *h.shape), h.dtype)
    hs[0] = h
    for t, new in enumerate(hs[1:]):
        np.matmul(hs[t], W, out=new)
        new += a[t]
        np.tanh(new, out=new) if activation == "tanh" else np.maximum(new, 0, out=new)
        _kept(new, hs[t], keep, t)
    return hs, (hs[-1],), None


def _rnn_backward(
    cache: None, params: Sequence[Array], hs: Array, dhs: Array | None, dlast: States, keep: Array | None, *,
    activation: str,
) -> Gradients:  # fmt: skip
    after = hs[1:]
    da = 1 - after * after if activation == "tanh" else (after > 0).astype(hs.dtype)  # the slope, times dh below
    (dh,), back = dlast, np.ascontiguousarray(params[1].T)
    for t in range(len(da) - 1, -1, -1):
        dh = dh if dhs is None else dh + dhs[t]
        new, left = _parted(dh, keep, t)
        da[t] *= new
        dh = da[t] @ back + left
    return Gradients(da, summed(hs[:-1], da), None, (dh,))


# -- gated recurrent units ---------------------------------------------------------------------------------------------


def gru(
    units: int,
    reset_after: bool = True,
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
    """hₜ = (1 − z) n + z hₜ₋₁ with gates r, z = σ(xₜ x_W + hₜ₋₁ h_W + b) (Cho et al. 2014), over x (..., T, D).

    n = tanh(xₜ x_W + r (hₜ₋₁ h_W + h_b) + b), reset after the product (PyTorch, Keras's default, cuDNN), or
    n = tanh(xₜ x_W + (r hₜ₋₁) h_W + b), before it (Cho et al.); each gate with its own columns of the arrays.

    Args:
        units: the length of h.
        reset_after: where the reset gate r acts.
        output, reverse, initial_state, final_state, lengths, initializer, recurrent_initializer, bias: see `rnn`.
    Parameters: x_W (D, 3·units), h_W (units, 3·units), b (3·units,), in the order r, z, n; h_b (units,) if reset after.

    In Keras, z and 1 − z are exchanged in the text books' way; the numbers are the same: hₜ = z hₜ₋₁ + (1 − z) n.

    >>> layer = nn.gru(4)
    >>> params, state = layer.init(nn.key(0), (7, 3))
    >>> params["x_W"].shape, layer.forward(params, state, np.ones((5, 7, 3)))[0].shape
    ((3, 12), (5, 7, 4))
    """
    settings = settings_of(
        units, output, reverse, initial_state, final_state, lengths, initializer, recurrent_initializer, bias,
        reset_after=bool(reset_after),
    )  # fmt: skip
    return make("gru", settings, taking(GRU, settings))


def _gru_forward(
    a: Array, states: States, params: Sequence[Array], keep: Array | None, *, reset_after: bool
) -> tuple[Array, States, tuple[Array, Array]]:
    (h,), H = states, states[0].shape[-1]
    gates = params[1][:, : 2 * H] * h.dtype.type(0.5)
    candidate = np.ascontiguousarray(params[1][:, 2 * H :])
    h_b = params[3] if len(params) > 3 else h.dtype.type(0)
    hs, inner = np.empty((len(a) + 1, *h.shape), h.dtype), np.empty((len(a), *h.shape), h.dtype)
    hs[0] = h
    a[..., : 2 * H] *= h.dtype.type(0.5)
    for t, new in enumerate(hs[1:]):
        h, rz, n = hs[t], a[t, :, : 2 * H], a[t, :, 2 * H :]
        rz += h @ gates
        _sigmoid_of_half(rz)
        r, z = rz[:, :H], rz[:, H:]
        if reset_after:
            np.matmul(h, candidate, out=inner[t])
            inner[t] += h_b
            n += r * inner[t]
        else:
            np.multiply(r, h, out=inner[t])
            n += inner[t] @ candidate
        np.tanh(n, out=n)
        np.subtract(h, n, out=new)
        new *= z
        new += n
        _kept(new, h, keep, t)
    return hs, (hs[-1],), (a, inner)


def _gru_backward(
    cache: tuple[Array, Array], params: Sequence[Array], hs: Array, dhs: Array | None, dlast: States,
    keep: Array | None, *, reset_after: bool,
) -> Gradients:  # fmt: skip
    (a, inner), W, H = cache, params[1], hs.shape[-1]
    before, r, z, n = hs[:-1], a[..., :H], a[..., H : 2 * H], a[..., 2 * H :]
    of_n = (1 - z) * (1 - n * n)  # dn = dh · this, before the tanh
    of_z = (before - n) * z * (1 - z)
    of_r = r * (1 - r)
    da = np.empty_like(a)
    product = np.empty_like(a)  # the gradient of h h_W
    back = np.ascontiguousarray(W.T)
    (dh,) = dlast
    for t in range(len(a) - 1, -1, -1):
        dh = dh if dhs is None else dh + dhs[t]
        new, left = _parted(dh, keep, t)
        d, p = da[t], product[t]
        dn = np.multiply(new, of_n[t], out=d[:, 2 * H :])
        np.multiply(new, of_z[t], out=d[:, H : 2 * H])
        if reset_after:
            np.multiply(dn * inner[t], of_r[t], out=d[:, :H])
            p[:, : 2 * H] = d[:, : 2 * H]
            np.multiply(dn, r[t], out=p[:, 2 * H :])
            dh = p @ back
        else:
            through = dn @ back[2 * H :]  # of r h
            np.multiply(through * before[t], of_r[t], out=d[:, :H])
            dh = d[:, : 2 * H] @ back[: 2 * H] + through * r[t]
        dh += new * z[t] + left
    if reset_after:
        return Gradients(da, summed(before, product), sum_of_rows(product[..., 2 * H :].reshape(-1, H)), (dh,))
    dW = np.concatenate([summed(before, da[..., : 2 * H]), summed(inner, da[..., 2 * H :])], axis=1)
    return Gradients(da, dW, None, (dh,))


# -- long short-term memory --------------------------------------------------------------------------------------------


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
    """cₜ = f cₜ₋₁ + i g, hₜ = o tanh(cₜ) with the gates i, f, o = σ(·), g = tanh(·) of xₜ x_W + hₜ₋₁ h_W + b.

    Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000, over sequences x (..., T, D).

    Args:
        units: the length of h and c.
        forget_bias: where b begins for f (Jozefowicz et al., ICML 2015); 0 elsewhere.
        output, reverse, lengths, initializer, recurrent_initializer, bias: see `rnn`.
        initial_state: whether (h, c) is an input too: (x, (h, c)).
        final_state: whether the last (h, c) is an output too: (y, (h, c)).
    Parameters: x_W (D, 4·units), h_W (units, 4·units), b (4·units,), in the order i, f, o, g. PyTorch's and Keras's is
    i, f, g, o: `nnfunc.interop` exchanges them.

    >>> layer = nn.lstm(4, final_state=True)
    >>> params, state = layer.init(nn.key(0), (7, 3))
    >>> y, (h, c) = layer.forward(params, state, np.ones((5, 7, 3)))[0]
    >>> y.shape, h.shape, params["b"][4:8]
    ((5, 7, 4), (5, 4), array([1., 1., 1., 1.], dtype=float32))
    """
    settings = settings_of(
        units, output, reverse, initial_state, final_state, lengths, initializer, recurrent_initializer, bias,
        forget_bias=float(forget_bias),
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
    a: Array, states: States, params: Sequence[Array], keep: Array | None
) -> tuple[Array, States, tuple[Array, Array, Array]]:
    h, c = states
    H, half = h.shape[-1], h.dtype.type(0.5)
    scale = np.repeat(np.array([0.5, 0.5, 0.5, 1.0], h.dtype), H)
    W = params[1] * scale
    a *= scale
    hs, cs = (np.empty((len(a) + 1, *s.shape), s.dtype) for s in (h, c))
    hs[0], cs[0] = h, c
    tanh_c = np.empty((len(a), *c.shape), c.dtype)
    for t, z in enumerate(a):
        z += hs[t] @ W
        np.tanh(z, out=z)
        sigmoids = z[:, : 3 * H]
        sigmoids *= half
        sigmoids += half
        i, f, o, g = (z[:, k * H : (k + 1) * H] for k in range(4))
        np.multiply(f, cs[t], out=cs[t + 1])
        cs[t + 1] += i * g
        np.tanh(cs[t + 1], out=tanh_c[t])
        np.multiply(o, tanh_c[t], out=hs[t + 1])
        _kept(hs[t + 1], hs[t], keep, t)
        _kept(cs[t + 1], cs[t], keep, t)
    return hs, (hs[-1], cs[-1]), (a, cs, tanh_c)


def _lstm_backward(
    cache: tuple[Array, Array, Array], params: Sequence[Array], hs: Array, dhs: Array | None, dlast: States,
    keep: Array | None,
) -> Gradients:  # fmt: skip
    (a, cs, tanh_c), H = cache, hs.shape[-1]
    i, f, o, g = (a[..., k * H : (k + 1) * H] for k in range(4))
    da = np.empty_like(a)  # times dc, of o times dh
    np.multiply(i * (1 - i), g, out=da[..., :H])
    np.multiply(f * (1 - f), cs[:-1], out=da[..., H : 2 * H])
    np.multiply(o * (1 - o), tanh_c, out=da[..., 2 * H : 3 * H])
    np.multiply(i, 1 - g * g, out=da[..., 3 * H :])
    through = o * (1 - tanh_c * tanh_c)  # dc += dh · this
    back = np.ascontiguousarray(params[1].T)
    dh, dc = dlast
    for t in range(len(a) - 1, -1, -1):
        dh = dh if dhs is None else dh + dhs[t]
        new_h, left_h = _parted(dh, keep, t)
        new_c, left_c = _parted(dc, keep, t)
        dc = new_c + new_h * through[t]
        d = da[t].reshape(-1, 4, H)
        d[:, :2] *= dc[:, None]
        d[:, 2] *= new_h
        d[:, 3] *= dc
        dh = da[t] @ back + left_h
        dc = dc * f[t] + left_c
    return Gradients(da, summed(hs[:-1], da), None, (dh, dc))


# -- what the cells share ----------------------------------------------------------------------------------------------


def _sigmoid_of_half(a: Array) -> None:
    """σ(2a), in place."""
    np.tanh(a, out=a)
    a *= a.dtype.type(0.5)
    a += a.dtype.type(0.5)


def _kept(new: Array, old: Array, keep: Array | None, t: int) -> None:
    """Behind the end of a sequence its state stays, in place."""
    if keep is not None:
        np.copyto(new, old, where=keep[t] == 0)


def _parted(d: Array, keep: Array | None, t: int) -> tuple[Array, Any]:
    """The gradient of a state as that of the new one, and that of the old one, which stays."""
    if keep is None:
        return d, 0
    return d * keep[t], d * (1 - keep[t])


# -- kernels -----------------------------------------------------------------------------------------------------------

RNN_CELL = Cell(1, 1, _rnn_forward, _rnn_backward)
GRU_CELL = Cell(3, 1, _gru_forward, _gru_backward)
LSTM_CELL = Cell(4, 2, _lstm_forward, _lstm_backward)


def _rnn_signature(input_shape: Shapes, **settings: Any) -> Signature:
    return signature_of(RNN_CELL, input_shape, **settings)


def _rnn(params: Sequence[Array], x: Value, **settings: Any) -> tuple[Value, Run]:
    return forward_of(RNN_CELL, params, x, **settings)


def _rnn_gradients(
    params: Sequence[Array], run: Run, dy: Value, grads: Sequence[Array | None], need: Any, **settings: Any
) -> Value:
    return backward_of(RNN_CELL, params, run, dy, grads, need, **settings)


def _rnn_step(params: Sequence[Array], x: Value, memory: Any, **settings: Any) -> tuple[Value, Any]:
    return step_of(RNN_CELL, params, x, memory, **settings)


def _gru_signature(input_shape: Shapes, *, units: int, reset_after: bool, **settings: Any) -> Signature:
    more = (("h_b", Initial((units,), "zeros")),) if reset_after else ()
    return signature_of(GRU_CELL, input_shape, units=units, more=more, **settings)


def _gru(params: Sequence[Array], x: Value, **settings: Any) -> tuple[Value, Run]:
    return forward_of(GRU_CELL, params, x, **settings)


def _gru_gradients(
    params: Sequence[Array], run: Run, dy: Value, grads: Sequence[Array | None], need: Any, **settings: Any
) -> Value:
    return backward_of(GRU_CELL, params, run, dy, grads, need, **settings)


def _gru_step(params: Sequence[Array], x: Value, memory: Any, **settings: Any) -> tuple[Value, Any]:
    return step_of(GRU_CELL, params, x, memory, **settings)


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


RNN = Kernel(
    _rnn, _rnn_gradients, _rnn_signature, formula="hₜ = f(xₜ x_W + hₜ₋₁ h_W + b)", uses=(*USES, "activation"),
    stacked=False, step=_rnn_step, onnx=rnn_onnx,
)  # fmt: skip
GRU = Kernel(
    _gru, _gru_gradients, _gru_signature, formula="hₜ = (1 − z) n + z hₜ₋₁", uses=(*USES, "reset_after"),
    stacked=False, step=_gru_step, onnx=gru_onnx,
)  # fmt: skip
LSTM = Kernel(
    _lstm, _lstm_gradients, _lstm_signature, formula="cₜ = f cₜ₋₁ + i g, hₜ = o tanh cₜ", uses=USES, stacked=False,
    step=_lstm_step, onnx=lstm_onnx,
)  # fmt: skip
