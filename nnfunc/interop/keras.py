"""Weights from and to Keras: the weights of a model, each under its path.

    params, state = from_weights(model, {w.path: w.numpy() for w in net.weights}, input_shape=(4,))

    weights = to_weights(model, params, state, names=layer_names(model, [w.path for w in net.weights]))
    for w in net.weights:
        w.assign(weights[w.path])

Keras numbers the layers that are given no name by kind and in the order in which they were made ("dense", "dense_1"),
goes on where the last model ended, and takes no notice of nesting. So does `layer_names`: the layers of a kind here are
those of the kind there in the order of their numbers, which must be that in which they stand there (unless the paths
are sorted, as files do it). That is wrong if layers of one shape are called in another order than they were made in:
compare an output. For other layers `names` says which they are: {"dense1": "fc1", "residual1.dense1": "block/fc"}; what
stands before a name, like the model's, may be left out.

What weights do not tell: the eps of Keras's norms is 1e-3, which is `nn.batch_norm(eps=1e-3)` and
`nn.layer_norm(eps=1e-3)`, but for RMSNormalization, where it is 1e-6 as here; `GroupNormalization(-1)` is
`nn.instance_norm(eps=1e-3)`; their `momentum=0.99` is `nn.batch_norm(momentum=0.99)`; "gelu" is `nn.gelu()`,
"leaky_relu" is `nn.leaky_relu(0.2)` ("LeakyReLU" `nn.leaky_relu(0.3)`).
`MultiHeadAttention(heads, key_dim)` is `nn.attention(heads, size=key_dim)`, and with another value than query
`cross=True`; a `value_dim` of its own has no counterpart.
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
"""What the layers are called there whose kind is called otherwise."""

KERNEL_AND_BIAS = {"W": There("kernel"), "b": There("bias")}
SCALE_AND_SHIFT = {"gamma": There("gamma"), "beta": There("beta")}

CELLS = ("rnn", "simple_rnn_cell", ()), ("gru", "gru_cell", (1, 0, 2)), ("lstm", "lstm_cell", ())
"""A recurrent layer, its cell there, and the order of the gates there: z, r, h of our r, z, n, else as here."""

CANDIDATE = "candidate_bias"
"""What a GRU with the reset after the product has beside its bias: there a row of it."""

OUT = "attention_output"
"""What the last of the four dense layers inside attention is called there."""

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
    default=lambda position, kind, number: kind,  # of compositions, whose layers have whole names: see `layer_names`
)


def from_weights(
    model: Layer,
    weights: Mapping[str, ArrayLike],
    input_shape: InputShape,
    *,
    names: Names | None = None,
    dtype: DTypeLike | None = None,
) -> tuple[ArrayDict, ArrayDict]:
    """Parameters and state of a model from a Keras model's weights, like `model.init`.

    Args:
        model: with the layers of the Keras model.
        weights: `{w.path: w.numpy() for w in net.weights}`.
        input_shape: the shape of one example, a tuple of shapes for several inputs.
        names: {layer of the model: its name in Keras}; without it, see `layer_names`.
        dtype: of the parameters; None: float64 if any array is float64, else float32.
    Returns:
        (params, state), the state with the moving averages of batch norm.
    Raises:
        ValueError: names or shapes that do not fit, NaN or infinity, an unknown layer in `names`.
        TypeError: something that is no dict of arrays.

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
    """The weights of a Keras model with the layers of a model, each under its path.

    Args:
        model: the model.
        params: its parameters, of one network; or a `TrainState`, which has the state too.
        state: its state.
        names: {layer of the model: its name in Keras}, from `layer_names` for the names of a certain Keras model;
            without it, those that Keras gives in a new session, without a model's name before them.
    Returns:
        arrays of the parameters' dtype, copies.
    Raises:
        ValueError: parameters that do not fit the model, a stack, an unknown layer or one name for two in `names`.

    >>> model = nn.serial(nn.dense(3), nn.batch_norm(), nn.dense(1, bias=False))
    >>> list(to_weights(model, *model.init(nn.key(0), (2,))))  # doctest: +NORMALIZE_WHITESPACE
    ['dense/kernel', 'dense/bias', 'batch_normalization/gamma', 'batch_normalization/beta',
    'batch_normalization/moving_mean', 'batch_normalization/moving_variance', 'dense_1/kernel']
    """
    arrays = write(CONVENTION, model, params, state, layer_names(model, names=names))
    return _two_biases({pair.theirs: array for pair, array in arrays.items()})


CELL = re.compile(r"/(simple_rnn|gru|lstm)_cell/")


def _one_bias(weights: Mapping[str, ArrayLike]) -> dict[str, ArrayLike]:
    """A GRU's two rows of biases as their sum, but for that of its candidate."""
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
    """The other way round."""
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
    """The name in Keras of every layer of a model that has weights.

    Args:
        model: the model.
        paths: those of the weights of a Keras model; without them, the names are those of a new session.
        names: names that are known.
    Raises:
        ValueError: an unknown layer in `names`, or layers of a kind there that do not stand in the order of their
            numbers.

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
        raise ValueError(f"names: {around[0]!r} is a composition, and Keras takes no notice of these: name its layers")
    there = list(dict.fromkeys(_layers_of(paths)))
    found = {path: _whole(name, there) for path, name in names.items()}
    numbered: dict[str, list[tuple[int, str]]] = {}
    for name in there:
        last = name.rpartition("/")[2]
        kind = re.sub(r"_\d+$", "", last)
        if name not in found.values():
            numbered.setdefault(kind, []).append((int(last[len(kind) + 1 :] or 0), name))
    if there == sorted(there):  # as files and trees sort them, which says nothing: then the numbers do
        numbered = {kind: sorted(those) for kind, those in numbered.items()}
    count: Counter[str] = Counter()
    wrappers = {path: i for i, path in enumerate(p for p, layer in layers(model) if layer.name == "bidirectional")}
    made: Counter[str] = Counter()  # of both directions together
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
                f"weights has {name!r} before {after!r}, so there they were not made in this order: say which is "
                f"which. As they stand there it is names={found}"
            )
    return found


def _numbered(kind: str, i: int) -> str:
    return f"{kind}_{i}" if i > 0 else kind


def _layers_of(paths: Iterable[str]) -> list[str]:
    """The layer of each weight: of one inside attention or a recurrent cell the layer around it."""
    inner = [CELL.sub("/", path).rpartition("/")[0] for path in paths]
    attention = {name.removesuffix(f"/{OUT}") for name in inner if name.endswith(f"/{OUT}")}
    return [around if (around := name.rpartition("/")[0]) in attention else name for name in inner]


def _whole(name: str, there: Iterable[str]) -> str:
    """The one of the names there that ends with this name; else the name itself."""
    ends = [k for k in there if k == name or k.endswith(f"/{name}")]
    return ends[0] if len(ends) == 1 else name
