"""Weights from and to Flax: the variables of a Linen module.

    params, state = from_variables(model, variables, input_shape=(4,))
    y = module.apply(to_variables(model, params, state), x)

Without `names` the layers are called as in a module whose `__call__` makes them in the order of the model ("Dense_0",
"BatchNorm_0"; Flax numbers layers in the order in which they are made, and in `Dense(2)(Dense(4)(x))` the outer is made
first), or as in an `nn.Sequential` of the same layers ("layers_0", "layers_2"; nested "layers_2/layers_0"). `names`
gives other names: {"dense1": "encoder", "residual1.dense1": "Block_0/Dense_0"}.

What weights do not tell: the eps of Flax's norms is 1e-5 in `BatchNorm` and 1e-6 in the others, which is
`nn.layer_norm(eps=1e-6)`; `momentum=0.99` of `BatchNorm` is `nn.batch_norm(momentum=0.99)`; `nn.gelu` there is the form
with tanh, `nn.gelu(True)` here. `PReLU` there has one slope for all features, `nn.prelu` one for each: repeat it.
`MultiHeadDotProductAttention(num_heads, qkv_features)` is `nn.attention(num_heads, size=qkv_features // num_heads)`, of
two different inputs with `cross=True`.

A module of Flax NNX has the same names without collections: read
`nnx.to_pure_dict(nnx.state(module, (nnx.Param, nnx.BatchStat)))` with `names`; what `to_variables` gives is for Linen.
A pytree of one's own, by layer and array, takes no function:

>>> model = nn.mlp([2, 3, 1], ["relu", "sigmoid"])
>>> params, state = model.init(nn.key(0), (2,))
>>> tree = {name: params.group(name).to_dict() for name, _ in model.layers}
>>> tree["dense1"]["W"].shape
(2, 3)
>>> nn.ArrayDict({f"{name}.{k}": array for name, arrays in tree.items() for k, array in arrays.items()}) == params
True
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from numpy.typing import ArrayLike, DTypeLike

from nnfunc.arrays import EMPTY, ArrayDict
from nnfunc.core.layer import Layer
from nnfunc.core.values import Shapes
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
"""What the layers are called there whose kind is called otherwise."""

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
        "prelu": {"slope": There("negative_slope")},
        "rms_norm": {"gamma": There("scale")},
    },
    default=lambda position, kind, number: (
        f"{''.join(w[:1].upper() + w[1:] for w in KINDS.get(kind, kind).split('_'))}_{number}"
    ),
)

SEQUENTIAL = CONVENTION._replace(default=lambda position, kind, number: f"layers_{position}")


def from_variables(
    model: Layer,
    variables: Mapping[str, Any],
    input_shape: Shapes,
    *,
    names: Names | None = None,
    dtype: DTypeLike | None = None,
) -> tuple[ArrayDict, ArrayDict]:
    """Parameters and state of a model from a Flax module's variables, like `model.init`.

    Args:
        model: with the layers of the module.
        variables: {"params": {...}, "batch_stats": {...}} of nested dicts, as from `module.init`; or, without these
            collections, one tree of all arrays.
        input_shape: the shape of one example, a tuple of shapes for several inputs.
        names: {layer of the model: its name in Flax}; without it, "Dense_0" or "layers_0", as they are called there.
        dtype: of the parameters; None: float64 if any array is float64, else float32.
    Returns:
        (params, state), the state with the running averages of batch norm.
    Raises:
        ValueError: names or shapes that do not fit, NaN or infinity, an unknown layer in `names`.
        TypeError: something that is no dict of arrays.

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
            raise ValueError(f"variables has two arrays named {name!r}")
        arrays[name] = array
    convention = SEQUENTIAL if any(name.startswith("layers_") for name in arrays) else CONVENTION
    return read(convention, model, arrays, input_shape, names, dtype)


def to_variables(
    model: Layer,
    params: ArrayDict | HasParams,
    state: ArrayDict = EMPTY,
    *,
    names: Names | None = None,
    sequential: bool = False,
) -> Tree:
    """The variables of a Flax module with the layers of a model, for `module.apply`.

    Args:
        model: the model.
        params: its parameters, of one network; or a `TrainState`, which has the state too.
        state: its state.
        names: {layer of the model: its name in Flax}.
        sequential: the module is an `nn.Sequential`: layers that are given no name are called "layers_0".
    Returns:
        {"params": nested dicts of arrays} and, where there is a state, "batch_stats"; NumPy arrays of the parameters'
        dtype, copies.
    Raises:
        ValueError: parameters that do not fit the model, a stack, an unknown layer or one name for two in `names`.

    >>> model = nn.serial(nn.dense(3), nn.batch_norm())
    >>> variables = to_variables(model, *model.init(nn.key(0), (2,)))
    >>> {collection: {k: list(v) for k, v in tree.items()} for collection, tree in variables.items()}
    {'params': {'Dense_0': ['kernel', 'bias'], 'BatchNorm_0': ['scale', 'bias']}, \
'batch_stats': {'BatchNorm_0': ['mean', 'var']}}
    """
    arrays = write(SEQUENTIAL if sequential else CONVENTION, model, params, state, names)
    flat = {pair.theirs for pair in arrays}
    inside = [k for k in flat if any(k[:i] in flat for i, letter in enumerate(k) if letter == "/")]
    if inside:
        raise ValueError(f"names: {inside[0]!r} would be inside an array: let no layer's name begin with an array's")
    variables: Tree = {"params": {}}
    for pair, array in arrays.items():
        tree = variables.setdefault("batch_stats" if pair.of_state else "params", {})
        *path, last = pair.theirs.split("/")
        for name in path:
            tree = tree.setdefault(name, {})
        tree[last] = array
    return variables


def _flat(tree: Any, path: str = "") -> Iterator[tuple[str, ArrayLike]]:
    """The arrays of nested dicts, each with the names on its way."""
    if not isinstance(tree, Mapping):
        yield path, tree
        return
    for name, inner in tree.items():
        yield from _flat(inner, f"{path}/{name}" if path else str(name))
