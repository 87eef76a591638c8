"""Recurrent layers as ONNX operators: time first, gates in ONNX's order, with an axis of directions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnfunc.core.expressions import Expression, op

# ONNX's gate orders, as indices into ours: LSTM i, o, f, c from i, f, g, o; GRU z, r, h from r, z, n.
LSTM_ORDER, GRU_ORDER = (0, 3, 1, 2), (1, 0, 2)


def _gates(name: str, order: Sequence[int], units: int, axis: int) -> Expression:
    """Reorders the column blocks of an array to ONNX's order."""
    columns = np.concatenate([np.arange(k * units, (k + 1) * units) for k in order])
    return op("Gather", name, columns, axis=axis)


def _layer(
    kind: str, order: Sequence[int], *, shape: Any, after: Any, units: int, output: str, reverse: bool,
    initial_state: bool, final_state: bool, lengths: bool, bias: bool, dtype: Any, recurrent_bias: Expression | None,
    **attributes: Any,
) -> Any:  # fmt: skip
    tuples = initial_state or lengths
    x, own = ("x0", shape[0]) if tuples else ("x", shape)
    if len(own) != 2:
        raise ValueError(f"ONNX supports only (examples, time, features), got examples of shape {own}")
    T, states = own[0], 2 if kind == "LSTM" else 1
    width = len(order) * units

    def first(array: Expression) -> Expression:  # ONNX's axis of directions
        return op("Unsqueeze", array, np.array([0]))

    W, R = (first(op("Transpose", _gates(name, order, units, 1), perm=[1, 0])) for name in ("x_W", "h_W"))
    zeros = np.zeros(width, dtype)
    b = _gates("b", order, units, 0) if bias else zeros
    B = first(op("Concat", b, zeros if recurrent_bias is None else recurrent_bias, axis=0))
    steps = op("Transpose", x, perm=[1, 0, 2])
    until: Expression = op("Cast", f"x{states * initial_state + 1}", to=6) if lengths else ""
    given = [first(f"x{k + 1}") for k in range(states)] if initial_state else []
    direction = {"direction": "reverse" if reverse else "forward", "hidden_size": units}
    recurrent = op(kind, steps, W, R, B, until, *given, **direction, **attributes)
    y = op("Transpose", op("Squeeze", op("Output", recurrent, number=0), np.array([1])), perm=[1, 0, 2])
    last = [op("Squeeze", op("Output", recurrent, number=k + 1), np.array([0])) for k in range(states)]
    if lengths:  # ONNX leaves the last state of empty sequences undefined
        some = op("Unsqueeze", op("Greater", until, np.array(0, np.int32)), np.array([1]))
        before = [f"x{k + 1}" if initial_state else np.zeros((), dtype) for k in range(states)]
        last = [op("Where", some, h, h0) for h, h0 in zip(last, before, strict=True)]
    shown = op("Reshape", y, np.array([0, T, units])) if output == "sequence" else last[0]
    return [shown, *last] if final_state else shown


def rnn_onnx(*, activation: str, **settings: Any) -> Any:
    """The ONNX operator RNN."""
    name = {"tanh": "Tanh", "relu": "Relu"}[activation]
    return _layer("RNN", (0,), **_common(settings), recurrent_bias=None, activations=[name])


def gru_onnx(*, reset_after: bool, **settings: Any) -> Any:
    """The ONNX operator GRU; `linear_before_reset` is our `reset_after`."""
    units, bias, dtype = settings["units"], settings["bias"], settings["dtype"]
    own = op("Concat", np.zeros(2 * units, dtype), "h_b", axis=0) if reset_after and bias else None
    return _layer("GRU", GRU_ORDER, **_common(settings), recurrent_bias=own, linear_before_reset=int(reset_after))


def lstm_onnx(**settings: Any) -> Any:
    """The ONNX operator LSTM."""
    return _layer("LSTM", LSTM_ORDER, **_common(settings), recurrent_bias=None)


COMMON = ("shape", "after", "units", "output", "reverse", "initial_state", "final_state", "lengths", "bias", "dtype")


def _common(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: settings[name] for name in COMMON}
