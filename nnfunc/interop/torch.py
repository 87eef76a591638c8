"""Weights from and to PyTorch, as the `state_dict` of a module.

    params, state = from_state_dict(model, module.state_dict(), input_shape=(4,))
    module.load_state_dict(to_state_dict(model, params, state))

The default names are those of an `nn.Sequential` with the same layers at the same positions ("0.weight"; "2.0.weight"
in a nested one for a nested composition); layers after the last one with weights, like a softmax, may be missing
there. For any other module, `names` gives the full names of its attributes: {"dense1": "fc1", "residual1.dense1":
"block.fc"}; the name of a composition is prefixed to the positions of its layers, and that of {"": "net"} to those of
the model. Two tied arrays that are a single tensor there have both names, as in the `state_dict` of such a module; one
may be missing.

Differences that weights do not show: eps is 1e-5 in both, except for `nn.RMSNorm`, whose default for float32 is
`nn.rms_norm(1.19e-7)` here. Instance norms have weights with `affine=True`. `nn.GELU()` is `nn.gelu()`, and
`nn.GELU("tanh")` is `nn.gelu(True)`. A module for a cross-entropy ends with logits, so `nn.predict` returns logits
unless the model has a softmax. If training continues, a `momentum` of 0.1 there is `nn.batch_norm(momentum=0.9)` here,
`num_batches_tracked` restarts at 0 (which matters with `momentum=None`), and PyTorch's running variance tracks the
unbiased variance, ours the biased one. Only the sum of a recurrent layer's two biases matters, except for a GRU's
candidate: they are a single array here, and the second is 0 there. An `nn.LSTM` is `nn.lstm` or, if bidirectional,
`nn.bidirectional(nn.lstm(units))`; one with several layers (`num_layers`) has no counterpart: it corresponds to several
modules. Images have the channel axis first there: the weights after an `nn.Flatten` that follows a convolution, and
before the `nn.Unflatten` of a decoder (here `nn.reshape(H, W, C)`), are in another order. They are reordered if the
layers are listed in the order in which they are used.

`pair` provides gradients of PyTorch, of a module or an `autograd.Function`, for the gradient checks.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from nnfunc.arrays import EMPTY, ArrayDict
from nnfunc.core.layer import Layer
from nnfunc.core.values import InputShape
from nnfunc.evaluation.predict import HasParams
from nnfunc.interop._weights import Convention, Names, There, read, write

if TYPE_CHECKING:
    import torch

__all__ = ["from_state_dict", "pair", "to_state_dict"]

BOTH, CANDIDATE = "bias_hh_l0", "bias_hh_candidate"
"""PyTorch's second bias of a recurrent layer, and the part of it that is not simply added to the first, in a GRU."""

SCALE_AND_SHIFT = {"gamma": There("weight"), "beta": There("bias")}

RECURRENT = {
    "x_W": There("weight_ih_l0", (1, 0)),
    "h_W": There("weight_hh_l0", (1, 0)),
    "b": There("bias_ih_l0"),
    "h_b": There(CANDIDATE),
}

ATTENTION = {
    **{f"{name}_W": There(f"{name[0]}_proj_weight", (1, 0)) for name in ("query", "key", "value")},
    **{f"{name}_b": There(f"{name[0]}_proj_bias") for name in ("query", "key", "value")},
    "out_W": There("out_proj.weight", (1, 0)),
    "out_b": There("out_proj.bias"),
}

CONVENTION = Convention(
    argument="state_dict",
    separator=".",
    arrays={
        "dense": {"W": There("weight", (1, 0)), "b": There("bias")},
        "batch_norm": {**SCALE_AND_SHIFT, "mean": There("running_mean"), "var": There("running_var")},
        "group_norm": SCALE_AND_SHIFT,
        "instance_norm": SCALE_AND_SHIFT,  # with affine=True
        "layer_norm": SCALE_AND_SHIFT,
        "prelu": {"slope": There("weight")},  # with num_parameters
        "rms_norm": {"gamma": There("weight")},
        "conv1d": {"W": There("weight", (2, 1, 0)), "b": There("bias")},
        "conv2d": {"W": There("weight", (3, 2, 0, 1)), "b": There("bias")},
        "conv_transpose1d": {"W": There("weight", (1, 2, 0)), "b": There("bias")},
        "conv_transpose2d": {"W": There("weight", (2, 3, 0, 1)), "b": There("bias")},
        "embedding": {"E": There("weight")},
        "attention": ATTENTION,
        **dict.fromkeys(("rnn", "gru", "lstm"), RECURRENT),
    },
    default=lambda position, kind, number: str(position),
    both_of_tied=True,
    channels_first=True,
)

COUNT, BESIDE = "num_batches_tracked", "running_mean"
"""The count of batches that PyTorch's batch norm has in addition to its averages, which nothing here depends on."""


def from_state_dict(
    model: Layer,
    state_dict: Mapping[str, torch.Tensor | ArrayLike],
    input_shape: InputShape,
    *,
    names: Names | None = None,
    prefix: str = "",
    dtype: DTypeLike | None = None,
) -> tuple[ArrayDict, ArrayDict]:
    """Returns parameters and state of a model from a PyTorch module's `state_dict`, like `model.init`.

    Args:
        model: a model with the layers of the module.
        state_dict: `module.state_dict()`; tensors of any floating dtype on any device, or NumPy arrays, such as those
            of `nnfunc.interop.arrays.read_arrays`.
        input_shape: the shape of one example, or a tuple of shapes for several inputs.
        names: {layer of the model: its name in the module}; by default those of an `nn.Sequential`.
        prefix: selects the names that begin with it, like "encoder."; others are ignored. By default, a prefix shared
            by all names is removed if necessary, like the "module." of a `DataParallel`.
        dtype: the dtype of the parameters; None: float64 if any tensor is float64, otherwise float32.
    Returns:
        (params, state), the state with the running averages of batch norm.
    Raises:
        ValueError: mismatched names or shapes, NaN or infinity, or an unknown layer in `names`.
        TypeError: not a dict of tensors.

    >>> tensors = {"fc.weight": np.ones((3, 2)), "fc.bias": np.zeros(3)}
    >>> params, state = from_state_dict(nn.serial(nn.dense(3)), tensors, (2,), names={"dense1": "fc"})
    >>> params
    ArrayDict of 2 arrays: 9 numbers, float64, 72 bytes
      dense1.W  (2, 3)
      dense1.b  (3,)
    >>> from_state_dict(nn.serial(nn.dense(3)), tensors, (2,))
    Traceback (most recent call last):
    ValueError: state_dict does not fit the model: it has no 0.weight (3, 2) for dense1.W, 0.bias (3,) for dense1.b; \
the model has nothing for fc.weight (3, 2), fc.bias (3,). Judging by shapes, try names={'dense1': 'fc'}
    """
    if not isinstance(state_dict, Mapping):
        hint = ": pass module.state_dict()" if hasattr(state_dict, "state_dict") else ""
        raise TypeError(f"state_dict is {type(state_dict).__name__}, expected a dict of tensors{hint}")
    if prefix:
        state_dict = _part(state_dict, prefix)
    counts = {k for k in state_dict if str(k).endswith(COUNT) and k.removesuffix(COUNT) + BESIDE in state_dict}
    arrays = {k: _array(v, f"state_dict[{k!r}]") for k, v in state_dict.items() if k not in counts}
    return read(CONVENTION, model, _parted(_one_bias(_directions(arrays))), input_shape, names, dtype)


def to_state_dict(
    model: Layer, params: ArrayDict | HasParams, state: ArrayDict = EMPTY, *, names: Names | None = None
) -> dict[str, torch.Tensor]:
    """Returns the `state_dict` of a PyTorch module with the layers of a model, for `module.load_state_dict`.

    Args:
        model: the model.
        params: its parameters, of a single network; or a `TrainState`, which also contains the state.
        state: its state.
        names: {layer of the model: its name in the module}; by default those of an `nn.Sequential`.
    Returns:
        copies of the arrays as tensors of the parameters' dtype; a float64 network needs `module.double()`.
    Raises:
        ImportError: PyTorch is not installed.
        ValueError: parameters that do not fit the model, a stack, or an unknown layer or a duplicate name in `names`.

    >>> model = nn.serial(nn.dense(3), nn.batch_norm())
    >>> list(to_state_dict(model, *model.init(nn.key(0), (2,)), names={"batch_norm1": "bn"}))
    ['0.weight', '0.bias', 'bn.weight', 'bn.bias', 'bn.running_mean', 'bn.running_var', 'bn.num_batches_tracked']
    """
    try:
        import torch
    except ImportError as error:
        raise ImportError("to_state_dict needs PyTorch: pip install torch") from error
    arrays = write(CONVENTION, model, params, state, names)
    both = _side_by_side(_fused(_two_biases({pair.theirs: array for pair, array in arrays.items()})))
    tensors = {name: torch.from_numpy(array) for name, array in both.items()}
    averages = [p.theirs for p in arrays if p.theirs.endswith(BESIDE) and not p.ours.endswith(BESIDE)]
    return tensors | {name.removesuffix(BESIDE) + COUNT: torch.tensor(0) for name in averages}


def _part(state_dict: Mapping[str, torch.Tensor | ArrayLike], prefix: str) -> dict[str, torch.Tensor | ArrayLike]:
    """The entries with a prefix, without it."""
    begin = f"{prefix.removesuffix('.')}."
    found = {name.removeprefix(begin): value for name, value in state_dict.items() if name.startswith(begin)}
    if not found:
        known = sorted({name.rpartition(".")[0] for name in state_dict})
        raise ValueError(f"prefix={prefix!r}: no name begins with it; expected one of {', '.join(known[:8])}")
    return found


def _directions(arrays: Mapping[str, ArrayLike]) -> dict[str, ArrayLike]:
    """The two directions of a recurrent layer, which PyTorch distinguishes by a suffix, as two layers."""
    found: dict[str, ArrayLike] = {}
    for name, array in arrays.items():
        prefix, _, own = str(name).rpartition(".")
        prefix += "." if prefix else ""
        if own.endswith("_l0_reverse"):
            found[f"{prefix}backward.{own.removesuffix('_reverse')}"] = array
        elif own.endswith("_l0") and f"{name}_reverse" in arrays:
            found[f"{prefix}forward.{own}"] = array
        else:
            found[name] = array
    return found


def _side_by_side(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The inverse of `_directions`."""
    ends = {"forward": "", "backward": "_reverse"}
    found: dict[str, NDArray[Any]] = {}
    for name, array in arrays.items():
        prefix, _, own = name.rpartition(".")
        outer, _, direction = prefix.rpartition(".")
        if own.endswith("_l0") and direction in ends:
            name = f"{outer}.{own}{ends[direction]}".lstrip(".")
        found[name] = array
    return found


def _one_bias(arrays: Mapping[str, ArrayLike]) -> dict[str, ArrayLike]:
    """A recurrent layer's two biases summed, except for that of a GRU's candidate."""
    found = dict(arrays)
    for name in arrays:
        prefix = str(name).removesuffix(BOTH)
        beside = [f"{prefix}bias_ih_l0", f"{prefix}weight_hh_l0"]
        if prefix == name or any(k not in arrays for k in beside):
            continue
        first, W = (np.asarray(arrays[k]) for k in beside)
        second = np.array(found.pop(name))
        if len(W) == 3 * W.shape[-1]:  # a GRU
            found[prefix + CANDIDATE] = second[2 * W.shape[-1] :].copy()
            second[2 * W.shape[-1] :] = 0
        found[f"{prefix}bias_ih_l0"] = first + second
    return found


def _two_biases(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The inverse of `_one_bias`: the second bias is 0, except for that of a GRU's candidate."""
    found: dict[str, NDArray[Any]] = {}
    for name, array in arrays.items():
        prefix = name.removesuffix("bias_ih_l0")
        if not name.endswith(CANDIDATE):
            found[name] = array
        if prefix != name:
            second = np.zeros_like(array)
            own = arrays.get(prefix + CANDIDATE)
            if own is not None:
                second[-len(own) :] = own
            found[prefix + BOTH] = second
    return found


PARTS = ("q", "k", "v")


def _parted(arrays: Mapping[str, ArrayLike]) -> dict[str, ArrayLike]:
    """Attention's three weights and biases, which PyTorch concatenates, as separate arrays."""
    found = dict(arrays)
    for name in arrays:
        for what in ("weight", "bias"):
            prefix = str(name).removesuffix(f"in_proj_{what}")
            if prefix != name:
                thirds = np.split(np.asarray(found.pop(name)), 3)
                found |= {f"{prefix}{p}_proj_{what}": part for p, part in zip(PARTS, thirds, strict=True)}
    return found


def _fused(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The inverse of `_parted`; weights are fused only if all have the same shape, as there."""
    found = dict(arrays)
    for name in arrays:
        for what in ("weight", "bias"):
            prefix = name.removesuffix(f"q_proj_{what}")
            names = [f"{prefix}{p}_proj_{what}" for p in PARTS]
            if prefix != name and len({arrays[k].shape for k in names}) == 1:
                found[f"{prefix}in_proj_{what}"] = np.concatenate([found.pop(k) for k in names])
    return found


def _array(value: Any, name: str) -> ArrayLike:  # Any: PyTorch may not be installed
    """A tensor as an array; NumPy lacks bfloat16, so shorter floats become float32."""
    array: ArrayLike = value
    if not hasattr(value, "detach"):
        return array
    try:
        short = value.is_floating_point() and value.element_size() < 4
        return np.asarray((value.float() if short else value).numpy(force=True))
    except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        raise TypeError(f"{name} is not a plain tensor: {error}") from error


def pair(f: Callable[..., Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Converts a PyTorch function into a forward and a backward for `nn.check_function`, in float64.

    Args:
        f: an `autograd.Function` (the class), any function of tensors, or a module; its parameters are then the first
            argument, a dict of arrays by the names of `named_parameters`.

    >>> import torch
    >>> class Cube(torch.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x**3
    ...     @staticmethod
    ...     def backward(ctx, dy):
    ...         return 2 * dy * ctx.saved_tensors[0] ** 2  # should be 3
    >>> [(finding.name, finding.kind) for finding in nn.check_function(*pair(Cube), np.array([0.5, -1.0])).findings]
    [('x', 'scale')]
    """
    import torch  # reading weights does not need it

    def tensors(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {k: tensors(v) for k, v in value.items()}
        if not isinstance(value, (np.ndarray, np.generic)):
            return value
        return torch.tensor(value, requires_grad=value.dtype.kind == "f")

    def forward(*inputs: Any) -> tuple[Any, Any]:
        given = tuple(map(tensors, inputs))
        ys = run(*given)
        several = isinstance(ys, (tuple, list))
        y = tuple(own.detach().numpy() for own in ys) if several else ys.detach().numpy()
        return y, (given, tuple(ys) if several else (ys,))

    def backward(dy: Any, cache: Any) -> Any:
        given, ys = cache
        leaves = [v for value in given for v in (value.values() if isinstance(value, dict) else (value,))]
        leaves = [v for v in leaves if isinstance(v, torch.Tensor) and v.requires_grad]
        dys = tuple(
            torch.as_tensor(own, dtype=y.dtype) for own, y in zip(dy if len(ys) > 1 else (dy,), ys, strict=True)
        )
        found = iter(torch.autograd.grad(ys, leaves, dys, retain_graph=True, allow_unused=True))

        def own(value: Any) -> Any:
            if isinstance(value, dict):
                return {k: own(v) for k, v in value.items()}
            gradient = next(found) if isinstance(value, torch.Tensor) and value.requires_grad else None
            return None if gradient is None else gradient.numpy()

        return tuple(map(own, given))

    run: Any = f
    said: Any = f
    if isinstance(f, torch.nn.Module):
        module = copy.deepcopy(f).double()
        run, said = (lambda params, *inputs: torch.func.functional_call(module, params, inputs)), module.forward
    elif isinstance(f, type) and issubclass(f, torch.autograd.Function):
        said = f.forward  # type: ignore[attr-defined]  # no types without PyTorch
        run = f.apply  # type: ignore[attr-defined]  # as above
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [p.name for p in inspect.signature(said).parameters.values() if p.kind in kinds and p.name != "ctx"]
    names = ["params", *names] if isinstance(f, torch.nn.Module) else names
    own = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in dict.fromkeys(names)]
    forward.__signature__ = inspect.Signature(own)  # type: ignore[attr-defined]  # names for the reports
    return forward, backward
