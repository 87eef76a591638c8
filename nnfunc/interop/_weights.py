"""Weights under the names of other libraries: the shared mechanism of `torch`, `keras` and `flax`.

The naming of a library is data, a `Convention`. Weights are a flat dict {"layer.array": array} here, whatever a library
uses. A layer's full name consists of the names of the compositions around it and its own; arrays of user-defined layers
keep their names and are not transposed. Everything is paired by name, and nothing may be left over. Frozen arrays are
ordinary weights there. The arrays of a layer that is used twice occur once, and so do tied arrays, under the name of
the original, unless a library has both names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from nnfunc._internal.validate import first_bad, nearest, numeric
from nnfunc.arrays import EMPTY, ArrayDict
from nnfunc.core.layer import Layer, check_stacks
from nnfunc.core.signatures import said_for
from nnfunc.core.values import Shapes
from nnfunc.evaluation.predict import HasParams
from nnfunc.keys import key
from nnfunc.layers.parts import sorted_by_freezing, thaw, unfreeze
from nnfunc.layers.structure import all_ties, check_params, kernels
from nnfunc.layout import Shape
from nnfunc.models.description import is_built_in

Names: TypeAlias = Mapping[str, str]
"""{layer of the model: its name in the other library}, like {"residual1.dense1": "block.fc"}; "" is the whole model."""

Arrays: TypeAlias = dict[str, NDArray[np.generic]]


class There(NamedTuple):
    """An array in the other library: its name, the order of our axes there (() if the same), the order of the blocks of
    our last axis, for concatenated gates (() if the same), and the axis of concatenated heads that is split in two
    there, (heads, size)."""

    name: str
    axes: tuple[int, ...] = ()
    blocks: tuple[int, ...] = ()
    by_heads: int | None = None


def by_heads(out: str) -> dict[str, There]:
    """Attention as four inner dense layers, with an axis for the heads; `out` is the name of the last one.

    >>> by_heads("out")["out_W"]
    There(name='out/kernel', axes=(), blocks=(), by_heads=0)
    """
    names = "query", "key", "value"
    weights = {f"{name}_W": There(f"{name}/kernel", by_heads=1) for name in names}
    biases = {f"{name}_b": There(f"{name}/bias", by_heads=0) for name in names}
    return {**weights, **biases, "out_W": There(f"{out}/kernel", by_heads=0), "out_b": There(f"{out}/bias")}


class Convention(NamedTuple):
    """The naming convention of a library for the arrays of a network.

    argument: its term for such a dict, for messages. arrays: for each kind of layer {our array: theirs}. default: the
    default name of a layer, from its position in its composition, its kind, and its index among those of this kind,
    both from 0. directions: the names of the two layers inside `nn.bidirectional`. both_of_tied: whether an array
    shared by two layers is listed under both names. channels_first: whether images have the channel axis before the
    spatial axes, and thus another order when flattened.
    """

    argument: str
    separator: str
    arrays: Mapping[str, Mapping[str, There]]
    default: Callable[[int, str, int], str]
    directions: tuple[str, str] = ("forward", "backward")
    both_of_tied: bool = False
    channels_first: bool = False


class Pair(NamedTuple):
    """An array of ours, its layer, whether it is part of the state, its name and its form there, the number of heads,
    and, if channels come first there (otherwise 1), the channels of the flattened image along its first axis, and of
    the image that its last axis becomes."""

    ours: str
    layer: str
    of_state: bool
    theirs: str
    there: There
    heads: int | None
    channels: int
    image: int


def layers(model: Layer, path: str = "") -> Iterator[tuple[str, Layer]]:
    """A model, with path "", and all layers inside it, including those in compositions.

    >>> [path for path, _ in layers(nn.serial(nn.dense(2), nn.residual(nn.relu())))]
    ['', 'dense1', 'residual1', 'residual1.relu1']
    """
    if not isinstance(model, Layer):
        raise TypeError(f"model is {type(model).__name__}, expected a layer or a composition of nnfunc")
    yield path, model
    for name, layer in model.layers:
        yield from layers(layer, _joined(path, name, "."))


def read(
    convention: Convention,
    model: Layer,
    given: Mapping[str, ArrayLike],
    input_shape: Shapes,
    names: Names | None,
    dtype: DTypeLike | None,
) -> tuple[ArrayDict, ArrayDict]:
    """Parameters and state of a model from another library's arrays."""
    what = convention.argument
    if not isinstance(given, Mapping):
        raise TypeError(f"{what} is {type(given).__name__}, expected a dict of names to arrays")
    names = check_names(names, model)
    params, state = thaw(model).init(key(0), input_shape)
    pairs, both = {p.theirs: p for p in _pairs(convention, model, params, state, names)}, {**params, **state}
    expected = {k: _theirs(both[pair.ours], pair) for k, pair in pairs.items()}
    arrays = {str(k): _numbers(v, f"{what}[{k!r}]") for k, v in given.items()}
    for again, once in _tied(convention, model, pairs.values(), names).items():
        if again in arrays and once in arrays and not np.array_equal(arrays.pop(again), arrays[once]):
            raise ValueError(f"{what}[{again!r}] differs from {what}[{once!r}], but the two are tied in the model")
    arrays = _without_prefix(arrays, expected.keys(), convention.separator)
    if arrays.keys() != expected.keys():
        raise ValueError(_difference(convention, pairs, expected, arrays))
    wrong = [
        f"{k} {a.shape}, expected {expected[k].shape}{_hint(f'{what}[{k!r}]', a.shape, expected[k].shape)}"
        for k, a in arrays.items()
        if a.shape != expected[k].shape
    ]
    if wrong:
        raise ValueError(f"{what} has shapes that differ from the model's: {'; '.join(wrong)}")
    try:
        dtype = None if dtype is None else np.dtype(dtype)
    except TypeError:
        raise TypeError(f"dtype={dtype!r}: expected a NumPy dtype, like np.float64") from None
    if dtype is None:  # that of the floats; shorter ones become float32
        floats = [a.dtype for k, a in arrays.items() if expected[k].dtype.kind == "f"]
        dtype = np.float32 if np.result_type(np.float32, *floats) == np.float32 else np.float64
    params, state = params.astype(dtype), state.astype(dtype)
    values = {p.ours: _ours(_finite(arrays[k], f"{what}[{k!r}]", params.dtype), p) for k, p in pairs.items()}
    params, state = params.replace({k: values[k] for k in params}), state.replace({k: values[k] for k in state})
    return sorted_by_freezing(model, params, state)


def write(
    convention: Convention, model: Layer, params: ArrayDict | HasParams, state: ArrayDict, names: Names | None
) -> dict[Pair, NDArray[np.generic]]:
    """Copies of all arrays in the form of the other library, in the order of the layers."""
    model, params, state = single(model, params, state)
    names, both = check_names(names, model), {**params, **state}
    pairs = {p.theirs: p for p in _pairs(convention, model, params, state, names)}
    tied = _tied(convention, model, pairs.values(), names).items()
    also = [pairs[once]._replace(theirs=again) for again, once in tied]
    return {pair: _theirs(both[pair.ours], pair).copy("C") for pair in (*pairs.values(), *also)}


def single(model: Layer, params: ArrayDict | HasParams, state: ArrayDict = EMPTY) -> tuple[Layer, ArrayDict, ArrayDict]:
    """The model without frozen parts, and the parameters and state of one network, checked against the model.

    Args:
        params: the parameters, or an object with params and state, like a `TrainState`.
    """
    if not isinstance(model, Layer):
        raise TypeError(f"model is {type(model).__name__}, expected a layer or a composition of nnfunc")
    if not isinstance(params, Mapping):
        if not hasattr(params, "params") or not isinstance(getattr(params, "state", None), Mapping):
            raise TypeError(f"params is {type(params).__name__}, expected an ArrayDict or a TrainState")
        if state:
            raise ValueError("params is a TrainState, which has a state, but state is given too: pass ts.params, state")
        state, params = params.state, params.params
    params = params if isinstance(params, ArrayDict) else ArrayDict(params)
    state = state if isinstance(state, ArrayDict) else ArrayDict(state)
    check_stacks(params, state)
    if params.stack_shape or state.stack_shape:
        raise ValueError("params are a stack of networks, expected one: pass a member, nn.unstack(params)[0]")
    check_params(model, params, state)
    model, params, state = unfreeze(model, params, state)
    for name, array in (*params.items(), *state.items()):
        if not np.isfinite(array).all():
            bad = first_bad(array, ~np.isfinite(array))
            raise ValueError(f"{name} contains {bad}: the network has diverged")
    _check_state(model, params, state)
    return model, params, state


def _check_state(model: Layer, params: ArrayDict, state: ArrayDict) -> None:
    """Raises an error if the state does not fit the model's layers; user-defined layers are not checked."""
    known: set[str] = set()
    for path, layer in kernels(model):
        own = _group(state, path)
        said = said_for(layer, _group(params, path).layout.shapes)
        if said is None or layer.kernel is None or layer.kernel.named:
            known |= {_joined(path, k, ".") for k in own if layer.kernel is None or layer.kernel.named}
            continue
        hint = "pass the state from model.init or training, ts.state"
        missing = [k for k in said.state if k not in own]
        if missing:
            raise ValueError(f"{path or layer.name}: the state has no {' and no '.join(missing)}: {hint}")
        wrong = [f"{k} {own[k].shape}, expected {a.shape}" for k, a in said.state.items() if own[k].shape != a.shape]
        if wrong:
            raise ValueError(f"{path or layer.name}: the state has {', '.join(wrong)}: {hint}")
        known |= {_joined(path, k, ".") for k in said.state}
    extra = [k for k in state if k not in known]
    if extra:
        raise ValueError(f"the model has no layer for {', '.join(extra)}")


# -- names -------------------------------------------------------------------------------------------------------------


def _pairs(convention: Convention, model: Layer, params: ArrayDict, state: ArrayDict, names: Names) -> Iterator[Pair]:
    """Every array of the model, in the order of its layers, with its name there; names are unique."""
    seen: dict[str, str] = {}
    flattened = _flattened(model, params) if convention.channels_first else {}
    shaped = _shaped(model, params) if convention.channels_first else {}
    for path, layer, theirs in _named(convention, model, names, "", names.get("", "")):
        if layer.wire is not None:
            continue
        for of_state, arrays in ((False, _group(params, path)), (True, _group(state, path))):
            for array in arrays:
                there = _called(convention, layer, array)
                whole = _joined(theirs, there.name, convention.separator)
                heads = None if there.by_heads is None else layer.settings["heads"]
                channels = 1 if layer.name == "dense" and array == "b" else flattened.get(path, 1)
                image = shaped.get(path, 1)
                pair = Pair(_joined(path, array, "."), path, of_state, whole, there, heads, channels, image)
                if pair.theirs in seen:
                    raise ValueError(
                        f"{seen[pair.theirs]} and {pair.ours} would both be {pair.theirs!r} in {convention.argument}: "
                        "give their layers different names in names="
                    )
                seen[pair.theirs] = pair.ours
                yield pair


def _tied(convention: Convention, model: Layer, pairs: Iterable[Pair], names: Names) -> dict[str, str]:
    """For tied arrays that are a single array there too, a dict from the second name to the first."""
    if not convention.both_of_tied:
        return {}
    ties, once, found = all_ties(model), {p.ours: p for p in pairs}, {}
    for path, layer, theirs in _named(convention, model, names, "", names.get("", "")):
        for ours, (to, transposed) in ties.items():
            array = ours.removeprefix(f"{path}.") if path else ours
            if layer.wire is not None or "." in array or to not in once:
                continue
            there = _called(convention, layer, array)
            if transposed == (there.axes != once[to].there.axes):  # transposed on both sides, or on neither
                found[_joined(theirs, there.name, convention.separator)] = once[to].theirs
    return found


CONVOLUTIONS = ("conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d")
NORMS = ("batch_norm", "layer_norm", "prelu", "rms_norm")
OTHER_ORDER = ("reshape", "take")


def _flattened(model: Layer, params: ArrayDict) -> dict[str, int]:
    """{path: channels} of the layers whose input is a flattened image from an earlier convolution."""
    found: dict[str, int] = {}
    channels, features = 1, 1  # of an image, and of a flattened image
    for path, layer in layers(model):
        if layer.wire is not None:
            continue
        if layer.name in CONVOLUTIONS:
            channels, features = layer.settings["filters"], 1
        elif layer.name == "flatten":
            channels, features = 1, channels
        elif layer.name == "dense" or layer.name in NORMS:
            found[path] = features
        keeps = (*CONVOLUTIONS, *NORMS, "group_norm", "instance_norm")
        own = not is_built_in(layer) and features == 1  # a user-defined layer of an image keeps its channels
        ends = layer.name not in keeps and not own and _group(params, path)
        if ends or layer.name in OTHER_ORDER:  # new features, or reordered ones
            channels, features = 1, 1
    return found


def _shaped(model: Layer, params: ArrayDict) -> dict[str, int]:
    """{path: channels} of the layers whose features are reshaped to an image, the input of a convolution."""
    found: dict[str, int] = {}
    before: list[str] = []
    channels = 1
    for path, layer in layers(model):
        if layer.wire is not None:
            continue
        if layer.name in CONVOLUTIONS:
            found |= dict.fromkeys(before, channels)
        if layer.name == "dense":
            before, channels = [path], 1
        elif layer.name in NORMS:
            before = [*before, path] if before and channels == 1 else before
        elif layer.name == "reshape":
            shape = layer.settings["shape"]
            channels = shape[-1] if len(shape) > 1 and shape[-1] > 0 else 1
        elif _group(params, path) or layer.name in OTHER_ORDER:
            before, channels = [], 1
    return found


def _called(convention: Convention, layer: Layer, array: str) -> There:
    """The form of a layer's array there."""
    table = convention.arrays.get(layer.name, {}) if is_built_in(layer) else {}
    return table.get(array, There(array))


def _named(
    convention: Convention, layer: Layer, names: Names, path: str, theirs: str
) -> Iterator[tuple[str, Layer, str]]:
    """All layers with their paths and names there."""
    yield path, layer, theirs
    for position, (name, inner) in enumerate(layer.layers):
        own, digits = _joined(path, name, "."), re.search(r"\d*$", name)
        number = int(digits[0]) - 1 if digits and digits[0] else 0
        if layer.name == "bidirectional":
            default = convention.directions[position]
        else:
            default = convention.default(position, inner.name, number)
        default = _joined(theirs, default, convention.separator)
        yield from _named(convention, inner, names, own, names.get(own, default))


def check_names(names: Names | None, model: Layer) -> Names:
    """`names`, checked to be a dict of strings whose keys are layers of the model."""
    known = [path for path, _ in layers(model)]
    if names is None:
        return {}
    if not isinstance(names, Mapping) or not all(isinstance(n, str) for pair in names.items() for n in pair):
        raise TypeError(f"names={names!r}: expected a dict from layers of the model to names, like {{'dense1': 'fc'}}")
    for name in names:
        if name not in known:
            raise ValueError(f"names: {nearest('layer', name, filter(None, known))}")
    return {name: theirs.strip("./") for name, theirs in names.items()}


def _joined(path: str, name: str, separator: str) -> str:
    return f"{path}{separator}{name}" if path else name


def _group(arrays: ArrayDict, path: str) -> ArrayDict:
    return arrays.group(path) if path else arrays


# -- arrays ------------------------------------------------------------------------------------------------------------


def _theirs(array: NDArray[np.generic], pair: Pair) -> NDArray[np.generic]:
    """Converts an array of ours to the form there."""
    _, axes, blocks, at = pair.there
    array = _places_and_channels(array.T, -1, pair.image).T
    array = _in_blocks(_places_and_channels(array, -1, pair.channels), blocks)
    if at is not None:
        assert pair.heads is not None
        array = array.reshape(*array.shape[:at], pair.heads, -1, *array.shape[at + 1 :])
    return array.transpose(axes) if axes else array


def _ours(array: NDArray[np.generic], pair: Pair) -> NDArray[np.generic]:
    """Converts an array of theirs to the form here."""
    _, axes, blocks, at = pair.there
    array = array.transpose(np.argsort(axes)) if axes else array
    if at is not None:
        array = array.reshape(*array.shape[:at], -1, *array.shape[at + 2 :])
    array = _places_and_channels(_in_blocks(array, tuple(np.argsort(blocks))), pair.channels, -1)
    return _places_and_channels(array.T, pair.image, -1).T


def _places_and_channels(array: NDArray[np.generic], outer: int, inner: int) -> NDArray[np.generic]:
    """Exchanges the two axes of these lengths that the first axis merges."""
    if 1 in (outer, inner):
        return array
    return array.reshape(outer, inner, *array.shape[1:]).swapaxes(0, 1).reshape(array.shape)


def _in_blocks(array: NDArray[np.generic], order: tuple[int, ...]) -> NDArray[np.generic]:
    """Reorders the blocks of the last axis."""
    if not order:
        return array
    parts = np.split(array, len(order), axis=-1)
    return np.concatenate([parts[k] for k in order], axis=-1)


def _without_prefix(arrays: Arrays, expected: Set[str], separator: str) -> Arrays:
    """The arrays without a shared prefix of their names ("module."), if the rest are the expected names."""
    short = arrays
    while short.keys() != expected:
        parts = [name.partition(separator) for name in short]
        if not parts or any(part[:2] != parts[0][:2] or not part[2] for part in parts):
            return arrays
        short = {part[2]: array for part, array in zip(parts, short.values(), strict=True)}
    return short


def _numbers(value: ArrayLike, name: str) -> NDArray[np.generic]:
    if isinstance(value, Mapping):
        raise TypeError(f"{name} is a dict, expected an array: pass the inner dict, which contains only arrays")
    array = value if isinstance(value, np.ma.MaskedArray) else np.asarray(value)  # `numeric` rejects masks
    if array.dtype.kind == "V" and np.can_cast(array.dtype, np.float32):  # bfloat16, which NumPy lacks
        array = array.astype(np.float32)
    return numeric(array, name)


def _finite(array: NDArray[np.generic], name: str, dtype: DTypeLike) -> NDArray[np.generic]:
    """Floats cast to a dtype; integers are unchanged."""
    if array.dtype.kind != "f":
        return array
    with np.errstate(over="ignore"):
        result = array.astype(dtype)
    bad = ~np.isfinite(result)
    if bad.any():
        cause = "its network has diverged" if not np.isfinite(array).all() else f"too large for {dtype}"
        raise ValueError(f"{name} contains {first_bad(array, bad)}: {cause}")
    return result


# -- mismatches --------------------------------------------------------------------------------------------------------


def _difference(convention: Convention, pairs: Mapping[str, Pair], expected: Arrays, given: Arrays) -> str:
    """The message for a dict with other names: missing and unexpected names, and a suggestion."""
    missing = _listed(f"{k} {a.shape} for {pairs[k].ours}" for k, a in expected.items() if k not in given)
    extra = _listed(f"{k} {a.shape}" for k, a in given.items() if k not in expected)
    parts = [f"it has no {missing}"] * bool(missing) + [f"the model has nothing for {extra}"] * bool(extra)
    meant = _proposal(convention.separator, pairs, expected, given)
    hint = f"Judging by shapes, try names={meant}" if meant else "Use names= to say which layer is which"
    if not missing:
        hint = "Remove arrays that are not weights of these layers; or does the model lack a layer or a bias?"
    if not extra:
        hint = "A layer without a bias is nn.dense(units, bias=False); a norm without scale or shift has ones and zeros"
    return f"{convention.argument} does not fit the model: {'; '.join(parts)}. {hint}"


def _proposal(separator: str, pairs: Mapping[str, Pair], expected: Arrays, given: Arrays) -> dict[str, str] | None:
    """A proposal for `names`: layers with arrays of the same names and shapes. Several such layers are matched in the
    order of their numbers, if their names differ only in these; None if some remain unmatched or ambiguous."""
    ours: dict[str, set[tuple[str, Shape]]] = {}
    theirs: dict[str, set[tuple[str, Shape]]] = {}
    for name, array in expected.items():
        ours.setdefault(pairs[name].layer, set()).add((name.rpartition(separator)[2], array.shape))
    for name, array in given.items():
        layer, _, last = name.rpartition(separator)
        theirs.setdefault(layer, set()).add((last, array.shape))
    found: dict[str, str] = {}
    for arrays in ours.values():
        alike = [layer for layer, own in ours.items() if own == arrays]
        there = sorted((layer for layer, own in theirs.items() if own == arrays), key=_numbers_in)
        if len(alike) != len(there) or len({re.sub(r"\d+", "", name) for name in there}) > 1:
            return None
        found |= dict(zip(alike, there, strict=True))
    return found if len(found) == len(theirs) else None


def _numbers_in(name: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", name)]


def _listed(items: Iterable[str], most: int = 8) -> str:
    items = list(items)
    return ", ".join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")


def _hint(name: str, shape: Shape, expected: Shape) -> str:
    return f" (it is transposed: pass {name}.T)" if len(shape) == 2 and shape[::-1] == expected else ""
