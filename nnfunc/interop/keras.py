"""Weights from and to Keras, by the paths of a model's weights.

    params, state = from_weights(model, {w.path: w.numpy() for w in net.weights}, input_shape=(4,))

    weights = to_weights(model, params, state, names=layer_names(model, [w.path for w in net.weights]))
    for w in net.weights:
        w.assign(weights[w.path])

Keras numbers unnamed layers by kind in order of creation ("dense", "dense_1"), continues where the last model ended,
and ignores nesting. `layer_names` does the same: layers of a kind here correspond to those of the kind there in the
order of their numbers, which must be the order of the paths (unless the paths are sorted, as in files). This is wrong
if layers of the same shape are called in another order than they were created: compare an output. For other layers,
use `names`: {"dense1": "fc1", "residual1.dense1": "block/fc"}; a prefix, like the model's name, may be omitted.

Differences that weights do not show: the eps of Keras's norms is 1e-3, which is `nn.batch_norm(eps=1e-3)` and
`nn.layer_norm(eps=1e-3)`, except for RMSNormalization, where it is 1e-6 as here. `GroupNormalization(-1)` is
`nn.instance_norm(eps=1e-3)`. Their `momentum=0.99` is `nn.batch_norm(momentum=0.99)`. "gelu" is `nn.gelu()`,
"leaky_relu" is `nn.leaky_relu(0.2)` ("LeakyReLU" is `nn.leaky_relu(0.3)`). `MultiHeadAttention(heads, key_dim)` is
`nn.attention(heads, size=key_dim)`, with `cross=True` if value and query differ; a separate `value_dim` has no
counterpart.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from nnfunc.arrays import EMPTY, ArrayDict
from nnfunc.core.layer import Layer
from nnfunc.core.values import InputShape
from nnfunc.evaluation.predict import HasParams
from nnfunc.interop._weights import Convention, Names, There, by_heads, check_names, layers, read, write
from nnfunc.models.description import is_built_in

__all__ = ["from_weights", "layer_names", "to_weights"]

KINDS = {
    "attention": "multi_head_attention",
    "batch_norm": "batch_normalization",
    "group_norm": "group_normalization",
    "instance_norm": "group_normalization",  # with groups=-1
    "layer_norm": "layer_normalization",
    "prelu": "p_re_lu",
    "rms_norm": "rms_normalization",
    "conv_transpose1d": "conv1d_transpose",
    "conv_transpose2d": "conv2d_transpose",
    "rnn": "simple_rnn",
}
"""Keras's names of layers, where they differ."""

KERNEL_AND_BIAS = {"W": There("kernel"), "b": There("bias")}
SCALE_AND_SHIFT = {"gamma": There("gamma"), "beta": There("beta")}

CELLS = ("rnn", "simple_rnn_cell", ()), ("gru", "gru_cell", (1, 0, 2)), ("lstm", "lstm_cell", ())
"""A recurrent layer, its cell in Keras, and the order of its gates: z, r, h for our r, z, n, otherwise the same."""

CANDIDATE = "candidate_bias"
"""The additional bias of a GRU with the reset after the product: a row of its bias in Keras."""

OUT = "attention_output"
"""The name of the last of the four dense layers inside attention in Keras."""

CONVENTION = Convention(
    argument="weights",
    separator="/",
    arrays={
        "dense": KERNEL_AND_BIAS,
        "conv1d": KERNEL_AND_BIAS,
        "conv2d": KERNEL_AND_BIAS,
        "conv_transpose1d": {"W": There("kernel", (0, 2, 1)), "b": There("bias")},
        "conv_transpose2d": {"W": There("kernel", (0, 1, 3, 2)), "b": There("bias")},
        "embedding": {"E": There("embeddings")},
        "attention": by_heads(OUT),
        **{
            kind: {
                "x_W": There(f"{cell}/kernel", (), order),
                "h_W": There(f"{cell}/recurrent_kernel", (), order),
                "b": There(f"{cell}/bias", (), order),
                "h_b": There(f"{cell}/{CANDIDATE}"),
            }
            for kind, cell, order in CELLS
        },
        "batch_norm": {**SCALE_AND_SHIFT, "mean": There("moving_mean"), "var": There("moving_variance")},
        "group_norm": SCALE_AND_SHIFT,
        "instance_norm": SCALE_AND_SHIFT,
        "layer_norm": SCALE_AND_SHIFT,
        "prelu": {"slope": There("alpha")},
        "rms_norm": {"gamma": There("scale")},
    },
    default=lambda position, kind, number: kind,  # for compositions, whose layers have full names: see `layer_names`
)


def from_weights(
    model: Layer,
    weights: Mapping[str, ArrayLike],
    input_shape: InputShape,
    *,
    names: Names | None = None,
    dtype: DTypeLike | None = None,
) -> tuple[ArrayDict, ArrayDict]:
    """Returns parameters and state of a model from a Keras model's weights, like `model.init`.

    Args:
        model: a model with the layers of the Keras model.
        weights: `{w.path: w.numpy() for w in net.weights}`.
        input_shape: the shape of one example, or a tuple of shapes for several inputs.
        names: {layer of the model: its name in Keras}; by default, see `layer_names`.
        dtype: the dtype of the parameters; None: float64 if any array is float64, otherwise float32.
    Returns:
        (params, state), the state with the moving averages of batch norm.
    Raises:
        ValueError: mismatched names or shapes, NaN or infinity, or an unknown layer in `names`.
        TypeError: not a dict of arrays.

    >>> weights = {"sequential/dense_4/kernel": np.ones((2, 3)), "sequential/dense_4/bias": np.zeros(3)}
    >>> params, state = from_weights(nn.serial(nn.dense(3), nn.relu()), weights, (2,))
    >>> params["dense1.W"].shape
    (2, 3)
    """
    if not isinstance(weights, Mapping):
        come = f"weights is {type(weights).__name__}, expected a dict of paths to arrays"
        raise TypeError(f"{come}: pass {{w.path: w.numpy() for w in net.weights}}")
    flat = _one_bias(weights)
    return read(CONVENTION, model, flat, input_shape, layer_names(model, flat, names), dtype)


def to_weights(
    model: Layer, params: ArrayDict | HasParams, state: ArrayDict = EMPTY, *, names: Names | None = None
) -> dict[str, NDArray[np.generic]]:
    """Returns the weights of a Keras model with the layers of a model, by path.

    Args:
        model: the model.
        params: its parameters, of a single network; or a `TrainState`, which also contains the state.
        state: its state.
        names: {layer of the model: its name in Keras}, from `layer_names` for the names of a particular Keras model; by
            default those that Keras assigns in a new session, without the name of a model as prefix.
    Returns:
        copies of the arrays, of the parameters' dtype.
    Raises:
        ValueError: parameters that do not fit the model, a stack, or an unknown layer or a duplicate name in `names`.

    >>> model = nn.serial(nn.dense(3), nn.batch_norm(), nn.dense(1, bias=False))
    >>> list(to_weights(model, *model.init(nn.key(0), (2,))))  # doctest: +NORMALIZE_WHITESPACE
    ['dense/kernel', 'dense/bias', 'batch_normalization/gamma', 'batch_normalization/beta',
    'batch_normalization/moving_mean', 'batch_normalization/moving_variance', 'dense_1/kernel']
    """
    arrays = write(CONVENTION, model, params, state, layer_names(model, names=names))
    return _two_biases({pair.theirs: array for pair, array in arrays.items()})


CELL = re.compile(r"/(simple_rnn|gru|lstm)_cell/")


def _one_bias(weights: Mapping[str, ArrayLike]) -> dict[str, ArrayLike]:
    """A GRU's two rows of biases summed, except for that of its candidate."""
    found = {str(path): value for path, value in weights.items()}
    for path, value in weights.items():
        if str(path).endswith("/gru_cell/bias") and np.ndim(value) == 2:
            rows = np.array(value)
            units = rows.shape[1] // 3
            found[str(path).removesuffix("bias") + CANDIDATE] = rows[1, 2 * units :].copy()
            rows[1, 2 * units :] = 0
            found[str(path)] = rows.sum(axis=0)
    return found


def _two_biases(weights: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
    """The inverse of `_one_bias`."""
    found: dict[str, NDArray[np.generic]] = {}
    for path, value in weights.items():
        if path.endswith("/" + CANDIDATE):
            continue
        own = weights.get(path.removesuffix("bias") + CANDIDATE)
        if path.endswith("/bias") and own is not None:
            value = np.stack([value, np.concatenate([np.zeros(2 * len(own), own.dtype), own])])
        found[path] = value
    return found


def layer_names(model: Layer, paths: Iterable[str] = (), names: Names | None = None) -> dict[str, str]:
    """Returns the name in Keras of every layer of a model that has weights.

    Args:
        model: the model.
        paths: the paths of a Keras model's weights; by default, names are those of a new session.
        names: known names.
    Raises:
        ValueError: an unknown layer in `names`, or layers of a kind there that are not in the order of their numbers.

    >>> model = nn.serial(nn.dense(4), nn.relu(), nn.dense(2))
    >>> layer_names(model, ["net/dense_7/kernel", "net/dense_7/bias", "net/dense_8/kernel", "net/dense_8/bias"])
    {'dense1': 'net/dense_7', 'dense2': 'net/dense_8'}
    >>> layer_names(model, names={"dense2": "head"})
    {'dense1': 'dense', 'dense2': 'head'}
    """
    names = check_names(names, model)
    inner = {path: layer for path, layer in layers(model) if layer.wire is None}
    around = [path for path in names if path not in inner]
    if around:
        raise ValueError(f"names: {around[0]!r} is a composition, which Keras ignores: name its layers")
    there = list(dict.fromkeys(_layers_of(paths)))
    found = {path: _whole(name, there) for path, name in names.items()}
    numbered: dict[str, list[tuple[int, str]]] = {}
    for name in there:
        last = name.rpartition("/")[2]
        kind = re.sub(r"_\d+$", "", last)
        if name not in found.values():
            numbered.setdefault(kind, []).append((int(last[len(kind) + 1 :] or 0), name))
    if there == sorted(there):  # sorted as in files and trees, which carries no information: use the numbers
        numbered = {kind: sorted(those) for kind, those in numbered.items()}
    count: Counter[str] = Counter()
    wrappers = {path: i for i, path in enumerate(p for p, layer in layers(model) if layer.name == "bidirectional")}
    made: Counter[str] = Counter()  # both directions together
    for path, layer in inner.items():
        if path not in found and (layer.name in CONVENTION.arrays or not is_built_in(layer)):  # it has weights
            kind, (outer, _, direction) = KINDS.get(layer.name, layer.name), path.rpartition(".")
            before, prefix = "", ""
            if outer in wrappers:  # "bidirectional_1/forward_lstm_2"
                before, prefix = f"{_numbered('bidirectional', wrappers[outer])}/", f"{direction}_"
            i, those = count[prefix + kind], numbered.get(prefix + kind, [])
            default = before + _numbered(prefix + kind, made[kind] - (prefix == "backward_"))
            found[path] = those[i][1] if i < len(those) else default
            count[prefix + kind] += 1
            made[kind] += prefix != "backward_"
    found = {path: found[path] for path in inner if path in found}
    for (number, name), (next_number, after) in (pair for kind in count for pair in pairwise(numbered.get(kind, []))):
        if number > next_number:
            raise ValueError(
                f"weights lists {name!r} before {after!r}, so layers are not in order of creation: say which is "
                f"which. In the order listed, it is names={found}"
            )
    return found


def _numbered(kind: str, i: int) -> str:
    return f"{kind}_{i}" if i > 0 else kind


def _layers_of(paths: Iterable[str]) -> list[str]:
    """The layer of each weight; for weights inside attention or a recurrent cell, the enclosing layer."""
    inner = [CELL.sub("/", path).rpartition("/")[0] for path in paths]
    attention = {name.removesuffix(f"/{OUT}") for name in inner if name.endswith(f"/{OUT}")}
    return [around if (around := name.rpartition("/")[0]) in attention else name for name in inner]


def _whole(name: str, there: Iterable[str]) -> str:
    """The unique name there that ends with this name; otherwise the name itself."""
    ends = [k for k in there if k == name or k.endswith(f"/{name}")]
    return ends[0] if len(ends) == 1 else name
