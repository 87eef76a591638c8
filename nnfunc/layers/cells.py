"""RNN and GRU: constructor, cell forward and cell backward of each. The shared parts are in `recurrent`.

Gates are concatenated along the columns of x_W, h_W and b, in PyTorch's order. As σ(a) = ½ + ½ tanh(a/2), the
independent gates of a step are computed by one tanh. In backward, everything that does not depend on the recursion is
computed at once for all steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from nnfunc._internal.numerics import sum_of_rows
from nnfunc._internal.validate import flag
from nnfunc.arrays import Array
from nnfunc.core.kernel import Initial, Kernel, Signature
from nnfunc.core.layer import Layer, make
from nnfunc.core.values import Shapes, Value
from nnfunc.initializers import Initializer
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
from nnfunc.layers.recurrent_onnx import gru_onnx, rnn_onnx

__all__ = ["gru", "rnn"]


# -- the plain recurrent layer -----------------------------------------------------------------------------------------


def rnn(
    units: int,
    activation: Literal["tanh", "relu"] = "tanh",
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
        output: "sequence": y = all h, (..., T, units); "last": the last h, (..., units).
        reverse: whether to run from the last step to the first; y[t] still corresponds to x[t], and "last" is h at the
            first step.
        initial_state: whether h₀ is an additional input: (x, h), h (..., units). Otherwise it is 0.
        final_state: whether the last h is an additional output: (y, h).
        lengths: whether the sequence lengths are the last input, integers (x, lengths). Steps past the end are ignored:
            y is 0 there, and the last h is that of each sequence's last step.
        initializer, recurrent_initializer: the initializers of x_W and h_W.
        bias: whether to add b.
    Parameters: x_W (D, units), h_W (units, units), b (units,).
    Raises:
        ValueError: an unknown activation or output, lengths out of range.

    >>> layer = nn.rnn(4, output="last")
    >>> params, state = layer.init(nn.key(0), (7, 3))
    >>> layer.forward(params, state, np.ones((5, 7, 3)))[0].shape
    (5, 4)
    """
    if not isinstance(activation, str) or activation not in ("tanh", "relu"):
        raise ValueError(f"activation={activation!r}: expected 'tanh' or 'relu'; for a user-defined cell use nn.scan")
    settings = settings_of(
        units, output, reverse, initial_state, final_state, lengths, initializer, recurrent_initializer, bias,
        activation=activation,
    )  # fmt: skip
    return make("rnn", settings, taking(RNN, settings))


def _rnn_forward(
    a: Array, states: States, W: Array, h_b: None, padding: Padding, *, activation: str
) -> tuple[Array, States, None]:
    (h,) = states
    hs = np.empty((a.shape[1] + 1, *h.shape), h.dtype)
    hs[0] = h
    for t, new in enumerate(hs[1:]):
        np.matmul(hs[t], W[0], out=new)
        new += a[0, t]
        np.tanh(new, out=new) if activation == "tanh" else np.maximum(new, 0, out=new)
        kept(new, hs[t], padding, t)
    return hs, (hs[-1],), None


def _rnn_backward(
    cache: None, W: Array, hs: Array, dhs: Array | None, dlast: States, padding: Padding, *, activation: str
) -> Gradients:
    after = hs[1:]
    da = 1 - after * after if activation == "tanh" else (after > 0).astype(hs.dtype)  # the slope, times dh below
    if padding is not None:
        np.copyto(da, 0, where=padding)
    (dh,) = dlast
    for t in range(len(da) - 1, -1, -1):
        later = dh if dhs is None else dh + dhs[t]
        da[t] *= later
        dh = da[t] @ W[0]
        kept(dh, later, padding, t)
    return Gradients(da[None], summed(hs[:-1], da[None]), None, (dh,))


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
    n = tanh(xₜ x_W + (r hₜ₋₁) h_W + b), reset before it (Cho et al.); each gate has its own columns of the arrays.

    Args:
        units: the length of h.
        reset_after: whether the reset gate r is applied after the product.
        output, reverse, initial_state, final_state, lengths, initializer, recurrent_initializer, bias: see `rnn`.
    Parameters: x_W (D, 3·units), h_W (units, 3·units), b (3·units,), in the order r, z, n; h_b (units,) if reset after.

    z keeps the old state, as in PyTorch, Keras and Cho et al.; Chung et al. 2014 swap z and 1 − z.

    >>> layer = nn.gru(4)
    >>> params, state = layer.init(nn.key(0), (7, 3))
    >>> params["x_W"].shape, layer.forward(params, state, np.ones((5, 7, 3)))[0].shape
    ((3, 12), (5, 7, 4))
    """
    settings = settings_of(
        units, output, reverse, initial_state, final_state, lengths, initializer, recurrent_initializer, bias,
        reset_after=flag(reset_after, "reset_after"),
    )  # fmt: skip
    return make("gru", settings, taking(GRU, settings))


def _gru_forward(
    a: Array, states: States, W: Array, h_b: Array | None, padding: Padding, *, reset_after: bool
) -> tuple[Array, States, tuple[Array, Array]]:
    (h,) = states
    hs, inner = np.empty((a.shape[1] + 1, *h.shape), h.dtype), np.empty((a.shape[1], *h.shape), h.dtype)
    hs[0] = h
    for t, new in enumerate(hs[1:]):
        h, n = hs[t], a[2, t]
        product = np.matmul(h, W if reset_after else W[:2])
        rz = product[:2]
        rz += a[:2, t]
        np.tanh(rz, out=rz)
        rz *= 0.5
        rz += 0.5
        r, z = a[:2, t] = rz
        if reset_after:
            np.add(product[2], 0 if h_b is None else h_b, out=inner[t])
            n += r * inner[t]
        else:
            np.multiply(r, h, out=inner[t])
            n += inner[t] @ W[2]
        np.tanh(n, out=n)
        np.subtract(h, n, out=new)  # (1 − z) n + z h = n + z (h − n)
        new *= z
        new += n
        kept(new, h, padding, t)
    return hs, (hs[-1],), (a, inner)


def _gru_backward(
    cache: tuple[Array, Array], W: Array, hs: Array, dhs: Array | None, dlast: States, padding: Padding, *,
    reset_after: bool,
) -> Gradients:  # fmt: skip
    (r, z, n), inner, before = *cache, hs[:-1]
    z = z if padding is None else np.where(padding, 1, z)  # z = 1 keeps the state
    of_n = (1 - z) * (1 - n * n)  # dn = dh · this, before the tanh
    of_z = (before - n) * z * (1 - z)
    of_r = (inner if reset_after else before) * r * (1 - r)
    d = np.empty_like(cache[0])  # of h h_W or, with the reset before the product, of its sum with x x_W
    dn = np.empty_like(n)
    (dh,) = dlast
    for t in range(len(n) - 1, -1, -1):
        later = dh if dhs is None else dh + dhs[t]
        np.multiply(later, of_n[t], out=dn[t])
        np.multiply(later, of_z[t], out=d[1, t])
        if reset_after:
            np.multiply(dn[t], of_r[t], out=d[0, t])
            np.multiply(dn[t], r[t], out=d[2, t])
            dh = np.matmul(d[:, t], W).sum(axis=0)
        else:
            through = dn[t] @ W[2]  # the gradient of r h
            np.multiply(through, of_r[t], out=d[0, t])
            dh = np.matmul(d[:2, t], W[:2]).sum(axis=0)
            dh += through * r[t]
        dh += later * z[t]
    if reset_after:
        dW, db = summed(before, d), sum_of_rows(d[2].reshape(-1, d.shape[-1]))
        d[2] = dn
        return Gradients(d, dW, db, (dh,))
    d[2] = dn
    return Gradients(d, np.concatenate([summed(before, d[:2]), summed(inner, d[2:])]), None, (dh,))


# -- kernels -----------------------------------------------------------------------------------------------------------

RNN_CELL = Cell((1.0,), 1, _rnn_forward, _rnn_backward)
GRU_CELL = Cell((0.5, 0.5, 1.0), 1, _gru_forward, _gru_backward)


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


RNN = Kernel(
    _rnn, _rnn_gradients, _rnn_signature, formula="hₜ = f(xₜ x_W + hₜ₋₁ h_W + b)", uses=(*USES, "activation"),
    stacked=False, step=_rnn_step, onnx=rnn_onnx,
)  # fmt: skip
GRU = Kernel(
    _gru, _gru_gradients, _gru_signature, formula="hₜ = (1 − z) n + z hₜ₋₁", uses=(*USES, "reset_after"),
    stacked=False, step=_gru_step, onnx=gru_onnx,
)  # fmt: skip
