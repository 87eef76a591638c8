"""Bidirectional recurrent layers."""

from __future__ import annotations

from nnfunc.core.custom import check_layer
from nnfunc.core.layer import Layer, make
from nnfunc.core.settings import Settings
from nnfunc.core.values import Value
from nnfunc.core.wiring import Call
from nnfunc.layers.joining import concatenate

__all__ = ["bidirectional"]


def bidirectional(forward: Layer, backward: Layer | None = None) -> Layer:
    """A recurrent layer and one in reverse time, with concatenated outputs (Schuster & Paliwal 1997).

    Args:
        forward: `nn.rnn`, `nn.gru` or `nn.lstm`, without an initial state.
        backward: its counterpart with reverse=True; None: the same layer reversed.
    Raises:
        ValueError: layers of a different kind or direction.
    Returns:
        a layer with the parameters of both, "forward.x_W" and "backward.x_W". y has 2·units features; with a final
        state it is (y, (that of forward, that of backward)).

    >>> model = nn.bidirectional(nn.lstm(4))
    >>> params, state = model.init(nn.key(0), (7, 3))
    >>> model.forward(params, state, np.ones((5, 7, 3)))[0].shape
    (5, 7, 8)
    """
    settings = check_layer(forward).settings
    if backward is None:
        backward = make(forward.name, Settings(**{**settings, "reverse": True}), forward.kernel)
    for name, layer, reverse in (("forward", forward, False), ("backward", backward, True)):
        own = check_layer(layer).settings
        if own.get("reverse") is not reverse or own["initial_state"]:
            raise ValueError(
                f"{name}={layer!r}: expected nn.rnn, nn.gru or nn.lstm with reverse={reverse}, initial_state=False"
            )
    return make("bidirectional", layers=(("forward", forward), ("backward", backward)), wire=_bidirectional)


def _bidirectional(call: Call, x: Value) -> Value:
    forth, back = (call(name, x) for name in call.layers)
    if not isinstance(forth, tuple):
        return call(concatenate(), (forth, back))
    return call(concatenate(), (forth[0], back[0])), (forth[1], back[1])
