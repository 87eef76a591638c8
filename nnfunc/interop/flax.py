"""Weights from and to Flax, as the variables of a Linen module.

    params, state = from_variables(model, variables, input_shape=(4,))
    y = module.apply(to_variables(model, params, state), x)

Without `names`, layers are named as in a module whose `__call__` creates them in the order of the model ("Dense_0",
"BatchNorm_0"; Flax numbers layers in order of creation, and in `Dense(2)(Dense(4)(x))` the outer one is created first),
or as in an `nn.Sequential` of the same layers ("layers_0", "layers_2"; nested "layers_2/layers_0"). Use `names` for
other names: {"dense1": "encoder", "residual1.dense1": "Block_0/Dense_0"}.

Differences that weights do not show: the eps of Flax's norms is 1e-5 in `BatchNorm` and 1e-6 in the others, which is
`nn.layer_norm(eps=1e-6)`. `momentum=0.99` of `BatchNorm` is `nn.batch_norm(momentum=0.99)`. `nn.gelu` there is the tanh
form, `nn.gelu(True)` here. `PReLU` there has a single slope for all features, `nn.prelu` one per feature: repeat it.
`MultiHeadDotProductAttention(num_heads, qkv_features)` is `nn.attention(num_heads, size=qkv_features // num_heads)`,
with `cross=True` for two different inputs.

The weights of `RNN(LSTMCell(units))` are those of the cell, "LSTMCell_0" or, in an `nn.Sequential`, "layers_0/cell".
Name an `OptimizedLSTMCell` in a `__call__`, {"lstm1": "OptimizedLSTMCell_0"}, as well as the two layers of an
`nn.bidirectional` there. `GRUCell` is `nn.gru` with the reset after the product, `SimpleCell` is `nn.rnn`.

A module of Flax NNX has the same names without collections: read
`nnx.to_pure_dict(nnx.state(module, (nnx.Param, nnx.BatchStat)))` with `names`; the result of `to_variables` is for
Linen.

A custom pytree, by layer and array, needs no function:

>>> model = nn.mlp([2, 3, 1], ["relu", "sigmoid"])
>>> params, state = model.init(nn.key(0), (2,))
>>> tree = {name: params.group(name).to_dict() for name, _ in model.layers}
>>> tree["dense1"]["W"].shape
(2, 3)
>>> nn.ArrayDict({f"{name}.{k}": array for name, arrays in tree.items() for k, array in arrays.items()}) == params
True
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from nnfunc.arrays import EMPTY, ArrayDict
from nnfunc.core.layer import Layer
from nnfunc.core.values import InputShape
from nnfunc.evaluation.predict import HasParams
from nnfunc.interop._weights import Convention, Names, There, by_heads, read, write

__all__ = ["from_variables", "to_variables"]

Tree: TypeAlias = dict[str, Any]  # of trees and arrays

KINDS = {
    "attention": "multi_head_dot_product_attention",
    "embedding": "embed",
    "conv1d": "conv",
    "conv2d": "conv",
    "conv_transpose1d": "conv_transpose",
    "conv_transpose2d": "conv_transpose",
    "prelu": "PReLU",
    "rms_norm": "RMSNorm",
}
"""Flax's names of layers, where they differ."""

CELLS = {"rnn": "SimpleCell", "gru": "GRUCell", "lstm": "LSTMCell"}

KERNEL_AND_BIAS = {"W": There("kernel"), "b": There("bias")}
SCALE_AND_SHIFT = {"gamma": There("scale"), "beta": There("bias")}

CONVENTION = Convention(
    argument="variables",
    separator="/",
    arrays={
        "dense": KERNEL_AND_BIAS,
        "embedding": {"E": There("embedding")},
        "attention": by_heads("out"),
        "conv1d": KERNEL_AND_BIAS,
        "conv2d": KERNEL_AND_BIAS,
        "conv_transpose1d": {"W": There("kernel", (0, 2, 1)), "b": There("bias")},  # with transpose_kernel=True
        "conv_transpose2d": {"W": There("kernel", (0, 1, 3, 2)), "b": There("bias")},
        "batch_norm": {**SCALE_AND_SHIFT, "mean": There("mean"), "var": There("var")},
        "group_norm": SCALE_AND_SHIFT,
        "instance_norm": SCALE_AND_SHIFT,
        "layer_norm": SCALE_AND_SHIFT,
        "rnn": {"x_W": There("i/kernel"), "h_W": There("h/kernel"), "b": There("i/bias")},
        "gru": {
            "x_W": There("i{rzn}/kernel"),
            "h_W": There("h{rzn}/kernel"),
            "b": There("i{rzn}/bias"),
            "h_b": There("hn/bias"),
        },
        "lstm": {"x_W": There("i{ifgo}/kernel"), "h_W": There("h{ifgo}/kernel"), "b": There("h{ifgo}/bias")},
        "prelu": {"slope": There("negative_slope")},
        "rms_norm": {"gamma": There("scale")},
    },
    default=lambda position, kind, number: (
        f"{''.join(w[:1].upper() + w[1:] for w in {**KINDS, **CELLS}.get(kind, kind).split('_'))}_{number}"
    ),
)
""""i{rzn}/kernel" denotes several concatenated arrays of gates: "ir/kernel", "iz/kernel", "in/kernel"."""

SEQUENTIAL = CONVENTION._replace(
    default=lambda position, kind, number: f"layers_{position}{'/cell' * (kind in CELLS)}",
    directions=("forward_rnn/cell", "backward_rnn/cell"),
)


COLLECTIONS = ("params/", "batch_stats/")


def from_variables(
    model: Layer,
    variables: Mapping[str, Any],
    input_shape: InputShape,
    *,
    names: Names | None = None,
    dtype: DTypeLike | None = None,
) -> tuple[ArrayDict, ArrayDict]:
    """Returns parameters and state of a model from a Flax module's variables, like `model.init`.

    Args:
        model: a model with the layers of the module.
        variables: {"params": {...}, "batch_stats": {...}} of nested dicts, as from `module.init`; or a single tree of
            all arrays, without these collections; or flat, {"params/Dense_0/kernel": array}, as from a file.
        input_shape: the shape of one example, or a tuple of shapes for several inputs.
        names: {layer of the model: its name in Flax}; by default "Dense_0" or "layers_0", as named there.
        dtype: the dtype of the parameters; None: float64 if any array is float64, otherwise float32.
    Returns:
        (params, state), the state with the running averages of batch norm.
    Raises:
        ValueError: mismatched names or shapes, NaN or infinity, or an unknown layer in `names`.
        TypeError: not a dict of arrays.

    >>> variables = {"params": {"Dense_0": {"kernel": np.ones((2, 3)), "bias": np.zeros(3)}}}
    >>> params, state = from_variables(nn.serial(nn.dense(3), nn.relu()), variables, (2,))
    >>> params["dense1.W"].shape
    (2, 3)
    """
    if not isinstance(variables, Mapping):
        raise TypeError(f"variables is {type(variables).__name__}, expected the dict that module.init returns")
    trees = variables.values() if isinstance(variables.get("params"), Mapping) else [variables]
    arrays: dict[str, ArrayLike] = {}
    for name, array in (pair for tree in trees for pair in _flat(tree)):
        if name in arrays:
            raise ValueError(f"variables contains two arrays named {name!r}")
        arrays[name] = array
    if all(name.startswith(COLLECTIONS) for name in arrays):  # of a flat dict
        arrays = {name.partition("/")[2]: array for name, array in arrays.items()}
    convention = SEQUENTIAL if any(name.startswith("layers_") for name in arrays) else CONVENTION
    return read(convention, model, _side_by_side(_named_gates(arrays)), input_shape, names, dtype)


def to_variables(
    model: Layer,
    params: ArrayDict | HasParams,
    state: ArrayDict = EMPTY,
    *,
    names: Names | None = None,
    sequential: bool = False,
) -> Tree:
    """Returns the variables of a Flax module with the layers of a model, for `module.apply`.

    Args:
        model: the model.
        params: its parameters, of a single network; or a `TrainState`, which also contains the state.
        state: its state.
        names: {layer of the model: its name in Flax}.
        sequential: the module is an `nn.Sequential`: layers are named "layers_0" by default.
    Returns:
        {"params": nested dicts of arrays} and, if there is a state, "batch_stats"; copies as NumPy arrays of the
        parameters' dtype.
    Raises:
        ValueError: parameters that do not fit the model, a stack, or an unknown layer or a duplicate name in `names`.

    >>> model = nn.serial(nn.dense(3), nn.batch_norm())
    >>> variables = to_variables(model, *model.init(nn.key(0), (2,)))
    >>> {collection: {k: list(v) for k, v in tree.items()} for collection, tree in variables.items()}
    {'params': {'Dense_0': ['kernel', 'bias'], 'BatchNorm_0': ['scale', 'bias']}, \
'batch_stats': {'BatchNorm_0': ['mean', 'var']}}
    """
    arrays = write(SEQUENTIAL if sequential else CONVENTION, model, params, state, names)
    named = [(name, pair, part) for pair, array in arrays.items() for name, part in _parted(pair.theirs, array)]
    flat = {name for name, _, _ in named}
    inside = [k for k in flat if any(k[:i] in flat for i, letter in enumerate(k) if letter == "/")]
    if inside:
        raise ValueError(f"names: {inside[0]!r} would be inside an array: no layer's name may begin with an array's")
    variables: Tree = {"params": {}}
    for whole, pair, array in named:
        tree = variables.setdefault("batch_stats" if pair.of_state else "params", {})
        *path, last = whole.split("/")
        for name in path:
            tree = tree.setdefault(name, {})
        tree[last] = array
    return variables


def _flat(tree: Any, path: str = "") -> Iterator[tuple[str, ArrayLike]]:
    """The arrays of nested dicts, with their paths."""
    if not isinstance(tree, Mapping):
        yield path, tree
        return
    for name, inner in tree.items():
        yield from _flat(inner, f"{path}/{name}" if path else str(name))


SEVERAL = re.compile(r"\{(\w+)\}")


def _parted(name: str, array: NDArray[Any]) -> Iterator[tuple[str, NDArray[Any]]]:
    """Splits an array whose name denotes several, each under its own name."""
    found = SEVERAL.search(name)
    letters = found[1] if found else ""
    for letter, part in zip(letters, np.split(array, len(letters), axis=-1) if letters else (), strict=True):
        yield SEVERAL.sub(letter, name), part.copy()
    if not letters:
        yield name, array


def _side_by_side(arrays: Mapping[str, ArrayLike]) -> dict[str, ArrayLike]:
    """The inverse of `_parted`."""
    found = dict(arrays)
    for there in (there.name for kind in CELLS for there in CONVENTION.arrays[kind].values()):
        several = SEVERAL.search(there)
        if several:
            first, *_ = names = [SEVERAL.sub(letter, there) for letter in several[1]]
            for prefix in [k.removesuffix(first) for k in arrays if k == first or k.endswith(f"/{first}")]:
                if all(prefix + name in found for name in names):
                    parts = [np.asarray(found.pop(prefix + name)) for name in names]
                    found[prefix + there] = np.concatenate(parts, axis=-1)
    return found


DENSE = re.compile(r"(^|.*/)dense_([ih])/(kernel|bias)$")


def _named_gates(arrays: Mapping[str, ArrayLike]) -> dict[str, ArrayLike]:
    """The cells of Flax NNX under the names of Linen: NNX has one array for all gates, and names that of f "if_"."""
    found: dict[str, ArrayLike] = {}
    for name, array in arrays.items():
        dense = DENSE.match(name)
        recurrent = np.asarray(arrays.get(f"{dense[1]}dense_h/kernel")) if dense else np.empty(0)
        if dense and recurrent.ndim == 2:
            units, columns = recurrent.shape
            letters = {3: "{rzn}", 4: "{ifgo}"}.get(columns // units, "")
            found[f"{dense[1]}{dense[2]}{letters}/{dense[3]}"] = array
            if letters == "{rzn}":  # that product has no bias
                found[f"{dense[1]}hn/bias"] = np.zeros(units, np.float32)
        else:
            found[re.sub(r"(^|/)if_/", r"\1if/", name)] = array
    return found
