"""The transformer block, a composition of layers."""

from __future__ import annotations

from typing import Literal

from nnfunc._internal.validate import choice, positive_int
from nnfunc.core.layer import Layer
from nnfunc.layers.activations import ActivationName
from nnfunc.layers.activations import activation as named_activation
from nnfunc.layers.affine import dense
from nnfunc.layers.attending import attention
from nnfunc.layers.combinators import residual, serial
from nnfunc.layers.normalization import layer_norm
from nnfunc.layers.positions import Pairing
from nnfunc.layers.stochastic import dropout

__all__ = ["transformer_block"]


def transformer_block(
    width: int,
    heads: int,
    hidden: int | None = None,
    *,
    causal: bool = False,
    rotary: Pairing | None = None,
    activation: ActivationName | Layer = "gelu",
    norm: Literal["before", "after"] = "before",
    keep_prob: float = 1.0,
) -> Layer:
    """x + attention, then x + MLP at each position, each with a layer norm (Vaswani et al., NeurIPS 2017).

    Args:
        width: the features of x (..., T, width) and of y.
        heads, causal, rotary: see `nn.attention`.
        hidden: the hidden units of the MLP; None: 4·width.
        activation: the activation of the hidden units.
        norm: "before" each part, x + f(norm(x)) (Xiong et al., ICML 2020), as in GPT-2 and later; "after" it,
            norm(x + f(x)), as in the paper and by default in PyTorch's TransformerEncoderLayer.
        keep_prob: the keep_prob of the dropout at the end of each part.
    Raises:
        ValueError: an unknown norm, hidden < 1, a width not divisible by the heads.

    >>> block = nn.transformer_block(8, heads=2, causal=True)
    >>> params, state = block.init(nn.key(0), (5, 8))
    >>> block.forward(params, state, np.ones((3, 5, 8)))[0].shape, len(params)
    ((3, 5, 8), 16)
    """
    choice(norm, "norm", "before", "after")
    if positive_int(width, "width") % positive_int(heads, "heads"):
        raise ValueError(f"heads={heads} does not divide width={width}")
    drop = [dropout(keep_prob)] if not (isinstance(keep_prob, (int, float)) and keep_prob == 1) else []
    hidden = 4 * width if hidden is None else positive_int(hidden, "hidden")
    looks = [attention(heads, causal=causal, rotary=rotary), *drop]
    thinks = [dense(hidden), named_activation(activation), dense(width), *drop]
    if norm == "before":
        return serial(attention=residual(layer_norm(), *looks), mlp=residual(layer_norm(), *thinks))
    return serial(attention=residual(*looks), norm=layer_norm(), mlp=residual(*thinks), last=layer_norm())
