"""Attention weights."""

from __future__ import annotations

from nnfunc.arrays import EMPTY, Array, ArrayDict
from nnfunc.core.layer import Layer
from nnfunc.core.values import Value

__all__ = ["attention_weights"]


def attention_weights(layer: Layer, params: ArrayDict, x: Value) -> Array:
    """The attention weights A (examples, heads, T, S) of each position; rows sum to 1 (or are 0).

    Args:
        layer: `nn.attention(...)`.
        params: its parameters; for a layer in a model, `params.group("block1.attention1")`.
        x: its input.

    >>> layer = nn.attention(heads=1)
    >>> params, state = layer.init(nn.key(0), (2, 4))
    >>> nn.inspection.attention_weights(layer, params, np.ones((1, 2, 4)))
    array([[[[0.5, 0.5],
             [0.5, 0.5]]]], dtype=float32)
    """
    if not isinstance(layer, Layer) or layer.name != "attention":
        raise TypeError(f"layer={layer!r}: expected nn.attention(...)")
    _, run, _ = layer.forward(params, EMPTY, x)
    weights: Array = run.caches[0].A
    return weights
