"""Multi-head attention."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnfunc._internal.numerics import shifted_exp, sum_of_rows
from nnfunc._internal.validate import choice, flag, positive_int
from nnfunc.arrays import Array
from nnfunc.core.expressions import Expression, op
from nnfunc.core.kernel import Initial, Kernel, Kind, Signature
from nnfunc.core.layer import Layer, make
from nnfunc.core.settings import Settings
from nnfunc.core.values import Shapes, Value, is_shape, leaves
from nnfunc.initializers import Initializer, check
from nnfunc.layers.positions import Pairing, rotated, rotated_onnx
from nnfunc.layout import Shape

__all__ = ["attention"]

ARRAYS = ("query", "key", "value", "out")
BASE = 10000.0
"""The base of rotary positions inside attention."""


def attention(
    heads: int,
    *,
    size: int | None = None,
    causal: bool = False,
    cross: bool = False,
    mask: bool = False,
    rotary: Pairing | None = None,
    initializer: Initializer = "glorot_uniform",
    bias: bool = True,
) -> Layer:
    """softmax(q kᵀ/√size) v per head, concatenated, times out_W (Vaswani et al., NeurIPS 2017), over x (..., T, D).

    q = x query_W + query_b, k = m key_W + key_b, v = m value_W + value_b, m = x or, in cross-attention, a memory.

    Args:
        heads: the number of heads.
        size: the size of a head; None: D/heads.
        causal: whether position t attends only to positions up to t.
        cross: whether the memory is a second input, (x, m) with m (..., S, E).
        mask: whether a mask is the last input, integers or booleans where True (1) keeps: (..., S), the same for all t
            (padding), or (..., T, S). The output of a fully masked position is out_b, with gradient 0.
        rotary: rotates q and k by their positions, in pairs of "halves" or "adjacent": see `rotary_positions`.
        initializer: the initializer of the four weights.
        bias: whether to add biases.
    Parameters: query_W (D, heads·size), key_W, value_W (E, heads·size), out_W (heads·size, D), query_b, key_b, value_b,
    out_b. y (..., T, D).
    Raises:
        ValueError: features not divisible by the heads, mismatched shapes.

    >>> layer = nn.attention(heads=2, causal=True)
    >>> params, state = layer.init(nn.key(0), (7, 4))
    >>> layer.forward(params, state, np.ones((5, 7, 4)))[0].shape
    (5, 7, 4)
    """
    choice(rotary, "rotary", None, "halves", "adjacent")
    causal, cross, mask = flag(causal, "causal"), flag(cross, "cross"), flag(mask, "mask")
    if cross and (causal or rotary is not None):
        raise ValueError(
            "cross=True: expected neither causal nor rotary, as positions of x and of the memory are unrelated"
        )
    settings = Settings(
        heads=positive_int(heads, "heads"),
        size=None if size is None else positive_int(size, "size"),
        causal=causal,
        cross=cross,
        mask=mask,
        rotary=rotary,
        initializer=check(initializer),
        bias=flag(bias, "bias"),
    )
    kinds: list[Kind] = ["floats"]
    if cross:
        kinds.append("floats")
    if mask:
        kinds.append("integers")
    kernel = ATTENTION if len(kinds) == 1 else ATTENTION._replace(takes=tuple(kinds), below=_below)
    return make("attention", settings, kernel)


def _below(input_shape: Shapes, *, cross: bool, mask: bool, **_: Any) -> tuple[int | None, ...]:
    return (None, *[None] * cross, *[2] * mask)


def _signature(
    input_shape: Shapes, *, heads: int, size: int | None, causal: bool, cross: bool, mask: bool, rotary: Any,
    initializer: Initializer, bias: bool,
) -> Signature:  # fmt: skip
    names = ["x", *["memory"] * cross, *["mask"] * mask]
    shapes: Any = (input_shape,) if len(names) == 1 else input_shape
    if is_shape(input_shape) != (len(names) == 1) or len(shapes) != len(names) or not all(map(is_shape, shapes)):
        raise TypeError(f"the input has shape {input_shape}, expected {' and '.join(names)}")
    shape, memory = tuple(shapes[0]), tuple(shapes[1] if cross else shapes[0])
    if len(shape) < 2 or len(memory) < 2 or shape[:-2] != memory[:-2]:
        raise ValueError(f"an example has shape {input_shape}, expected (..., time, features)")
    before, T, S = shape[:-2], shape[-2], memory[-2]
    if mask and tuple(shapes[-1]) not in ((*before, S), (*before, T, S)):
        raise ValueError(f"the mask has shape {tuple(shapes[-1])}, expected {(*before, S)} or {(*before, T, S)}")
    if size is None and shape[-1] % heads:
        raise ValueError(f"heads={heads} does not divide the {shape[-1]} features of x: pass size=")
    own = size or shape[-1] // heads
    if rotary is not None and own % 2:
        raise ValueError(f"rotary={rotary!r}: expected an even number of features per head, got {own}")
    width = heads * own
    params = {
        "query_W": Initial((shape[-1], width), initializer),
        "key_W": Initial((memory[-1], width), initializer),
        "value_W": Initial((memory[-1], width), initializer),
        "out_W": Initial((width, shape[-1]), initializer),
    }
    if bias:
        params |= {f"{name}_b": Initial((width if name != "out" else shape[-1],), "zeros") for name in ARRAYS}
    return Signature(shape, params)


class Cache(NamedTuple):
    """The values saved for backward: x and memory as rows, q (scaled), k, v, the weights A, the heads' outputs, the
    original shapes of x and memory."""

    x: Array
    memory: Array
    q: Array
    k: Array
    v: Array
    A: Array
    o: Array
    shapes: tuple[Shape, ...]


def _parted(value: Value, cross: bool, mask: bool) -> tuple[Array, Array, NDArray[Any] | None]:
    """Splits the input into x, memory and mask, and merges all axes before an example's own."""
    parts = value if isinstance(value, tuple) else (value,)
    x = parts[0].reshape(-1, *parts[0].shape[-2:])
    memory = parts[1].reshape(-1, *parts[1].shape[-2:]) if cross else x
    if not mask:
        return x, memory, None
    T, S, given = x.shape[1], memory.shape[1], parts[-1]
    by_pairs = given.size == len(x) * T * S and given.shape[-2:] == (T, S) and given.ndim > parts[0].ndim - 1
    return x, memory, (given.reshape(-1, T, S) if by_pairs else given.reshape(-1, 1, S)) != 0


def _joined(params: Sequence[Array], at: Sequence[int]) -> Array:
    """Concatenates several weights or biases: one product is faster than three."""
    return np.concatenate([params[i] for i in at], axis=-1)


def _projected(rows: Array, params: Sequence[Array], at: Sequence[int], heads: int, bias: bool) -> Array:
    """Multiplies rows (N, T, D) by several weights: (weights, N, heads, T, size)."""
    N, T, D = rows.shape
    product = rows.reshape(N * T, D) @ _joined(params, at)
    if bias:
        product += _joined(params, [4 + i for i in at])
    return product.reshape(N, T, len(at), heads, -1).transpose(2, 0, 3, 1, 4)


def _back_projected(
    rows: Array, d: Array, params: Sequence[Array], at: Sequence[int], grads: Sequence[Array | None], need: bool,
    bias: bool,
) -> Array | None:  # fmt: skip
    """The backward of `_projected` for the gradient d (N, T, ...): writes into grads, returns the rows' gradient."""
    flat, d = rows.reshape(-1, rows.shape[-1]), d.reshape(rows.shape[0] * rows.shape[1], -1)
    if any(grads[i] is not None for i in at):
        _write(flat.T @ d, [grads[i] for i in at])
    if bias and any(grads[4 + i] is not None for i in at):
        _write(sum_of_rows(d), [grads[4 + i] for i in at])
    return (d @ _joined(params, at).T).reshape(rows.shape) if need else None


def _write(d: Array, grads: Sequence[Array | None]) -> None:
    for part, out in zip(np.split(d, len(grads), axis=-1), grads, strict=True):
        if out is not None:
            out[...] = part


def masked_softmax(scores: Array, allowed: NDArray[np.bool_] | None) -> Array:
    """softmax over the allowed entries of the last axis; modifies `scores` in place. A fully masked row is 0.

    >>> masked_softmax(np.array([[1.0, 1.0, 9.0], [1.0, 2.0, 3.0]]), np.array([[True, True, False], [False] * 3]))
    array([[0.5, 0.5, 0. ],
           [0. , 0. , 0. ]])
    """
    if allowed is not None:
        np.copyto(scores, -np.inf, where=~allowed)
    _, A, total = shifted_exp(scores)
    A /= total
    return A


def _allowed(keep: NDArray[Any] | None, causal: bool, T: int, S: int) -> NDArray[np.bool_] | None:
    """The keys each position attends to, (N or 1, 1, T or 1, S); None for all. The last T of S positions are x's."""
    past = np.tri(T, S, S - T, dtype=bool)[None, None] if causal else None
    if keep is None:
        return past
    return keep[:, None] if past is None else keep[:, None] & past


def _attended(q: Array, k: Array, v: Array, allowed: NDArray[np.bool_] | None) -> tuple[Array, Array, Array]:
    """The scaled queries, A = softmax(q kᵀ/√size), and A v (N, T, heads·size)."""
    q = q * q.dtype.type(1 / sqrt(q.shape[-1]))
    A = masked_softmax(np.matmul(q, k.mT), allowed)
    N, heads, T, size = q.shape
    o = np.empty((N, T, heads, size), q.dtype)
    np.matmul(A, v, out=o.transpose(0, 2, 1, 3))
    return q, A, o.reshape(N, T, -1)


def _sources(x: Array, memory: Array, cross: bool) -> list[tuple[Array, Sequence[int]]]:
    """The sources of queries, keys and values, and the indices of their weights."""
    return [(x, (0,)), (memory, (1, 2))] if cross else [(x, (0, 1, 2))]


def _forward(
    params: Sequence[Array], value: Value, *, heads: int, causal: bool, cross: bool, mask: bool, rotary: Any, bias: bool
) -> tuple[Array, Cache]:
    x, memory, keep = _parted(value, cross, mask)
    q, k, v = (part for rows, at in _sources(x, memory, cross) for part in _projected(rows, params, at, heads, bias))
    if rotary is not None:
        q, k = rotated(q, BASE, rotary), rotated(k, BASE, rotary)
    q, A, o = _attended(q, k, v, _allowed(keep, causal, x.shape[1], memory.shape[1]))
    parts = value if isinstance(value, tuple) else (value,)
    y = _out(params, o, bias).reshape(parts[0].shape)
    return y, Cache(x, memory, q, k, v, A, o, tuple(part.shape for part in parts))


def _out(params: Sequence[Array], o: Array, bias: bool) -> Array:
    y: Array = o.reshape(-1, o.shape[-1]) @ params[3]
    if bias:
        y += params[7]
    return y


def _backward(
    params: Sequence[Array], cache: Cache, dy: Array, grads: Sequence[Array | None], need: Any, *, heads: int,
    causal: bool, cross: bool, mask: bool, rotary: Any, bias: bool,
) -> Value:  # fmt: skip
    x, memory, q, k, v, A, o, shapes = cache
    (N, heads, T, size), sources = q.shape, _sources(x, memory, cross)
    do = _back_projected(o, dy, params, (3,), grads, True, bias)
    assert do is not None
    do = do.reshape(N, T, heads, size).transpose(0, 2, 1, 3)
    dA = np.matmul(do, v.mT)
    dA -= np.vecdot(dA, A)[..., None]  # through the softmax: A (dA − Σ dA A)
    dA *= A
    products = [np.empty((N, rows.shape[1], len(at), heads, size), x.dtype) for rows, at in sources]
    dq, dk, dv = (part for product in products for part in product.transpose(2, 0, 3, 1, 4))
    np.matmul(dA, k, out=dq)
    dq *= dq.dtype.type(1 / sqrt(size))
    np.matmul(dA.mT, q, out=dk)
    np.matmul(A.mT, do, out=dv)
    if rotary is not None:
        dq[...], dk[...] = (rotated(part, BASE, rotary, sign=-1) for part in (dq, dk))
    found: list[Array | None] = []
    for (rows, at), d, shape, asked in zip(sources, products, shapes, leaves(need), strict=False):
        drows = _back_projected(rows, d, params, at, grads, asked, bias)
        found.append(None if drows is None else drows.reshape(shape))
    found += [None] * mask
    return found[0] if len(found) == 1 else tuple(found)


def _step(
    params: Sequence[Array], x: Value, memory: tuple[Array, Array] | None, *, heads: int, causal: bool, cross: bool,
    mask: bool, rotary: Any, bias: bool,
) -> tuple[Array, tuple[Array, Array] | None]:  # fmt: skip
    """Predicts the next positions from cached keys and values; in cross-attention they come from the input."""
    if cross:
        return _forward(params, x, heads=heads, causal=causal, cross=cross, mask=mask, rotary=rotary, bias=bias)[
            0
        ], None
    if isinstance(x, tuple) or not causal:
        raise ValueError(
            "incremental prediction requires causal=True and no mask: otherwise later positions would be seen"
        )
    rows = x.reshape(-1, *x.shape[-2:])
    q, k, v = _projected(rows, params, (0, 1, 2), heads, bias)
    before = 0 if memory is None else memory[0].shape[2]
    if rotary is not None:
        q, k = rotated(q, BASE, rotary, before), rotated(k, BASE, rotary, before)
    if memory is not None:
        k, v = np.concatenate([memory[0], k], axis=2), np.concatenate([memory[1], v], axis=2)
    _, _, o = _attended(q, k, v, _allowed(None, True, q.shape[2], k.shape[2]))
    return _out(params, o, bias).reshape(x.shape), (k, v)


def _onnx(
    *, shape: Any, heads: int, size: int | None, causal: bool, cross: bool, mask: bool, rotary: Any, bias: bool,
    dtype: Any, **_: Any,
) -> Expression:  # fmt: skip
    shapes = (shape,) if not (cross or mask) else shape
    if len(shapes[0]) != 2:
        raise ValueError(f"ONNX supports only (examples, time, features), got examples of shape {shapes[0]}")
    x, memory = ("x0" if len(shapes) > 1 else "x"), ("x1" if cross else "x0" if len(shapes) > 1 else "x")
    T, S = shapes[0][0], shapes[1 if cross else 0][0]

    def times(value: Expression, name: str) -> Expression:
        product = op("MatMul", value, f"{name}_W")
        return op("Add", product, f"{name}_b") if bias else product

    def by_heads(value: Expression, length: int, name: str) -> Expression:
        parted = op("Reshape", times(value, name), np.array([0, length, heads, -1]))
        return op("Transpose", parted, perm=[0, 2, 1, 3])

    q, k, v = by_heads(x, T, "query"), by_heads(memory, S, "key"), by_heads(memory, S, "value")
    size = size or shapes[0][1] // heads
    if rotary is not None:
        q, k = (rotated_onnx(value, T, size, BASE, rotary, dtype) for value in (q, k))
    scores = op("Div", op("MatMul", q, op("Transpose", k, perm=[0, 1, 3, 2])), np.array(sqrt(size), dtype))
    keep: Expression | None = np.tri(T, S, dtype=bool)[None, None] if causal else None
    if mask:
        of_pairs = len(shapes[-1]) == 2
        axes = np.array([1] if of_pairs else [1, 2])
        given = op("Unsqueeze", op("Cast", f"x{len(shapes) - 1}", to=9), axes)
        keep = given if keep is None else op("And", given, keep)
    if keep is None:
        A: Expression = op("Softmax", scores, axis=-1)
    else:  # a fully masked row is 0
        A = op("Mul", op("Softmax", op("Where", keep, scores, np.array(-1e30, dtype)), axis=-1),
               op("Cast", keep, to=1 if dtype == np.float32 else 11))  # fmt: skip
    joined = op("Reshape", op("Transpose", op("MatMul", A, v), perm=[0, 2, 1, 3]), np.array([0, T, -1]))
    return times(joined, "out")


ATTENTION = Kernel(
    _forward, _backward, _signature, formula="softmax(q kᵀ/√size) v out_W",
    uses=("heads", "causal", "cross", "mask", "rotary", "bias"), stacked=False, step=_step, onnx=_onnx,
)  # fmt: skip
