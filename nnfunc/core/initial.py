"""Initial parameters and state: the wiring of a model is run on shapes only, and each layer draws its arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from nnfunc._internal.validate import floating
from nnfunc.arrays import EMPTY, ArrayDict
from nnfunc.core.kernel import Initial
from nnfunc.core.layer import Layer
from nnfunc.core.signatures import probed
from nnfunc.core.values import Shapes, Value, check_shapes, leaves, map_leaves, map_shapes
from nnfunc.core.wiring import FROZEN, Wiring
from nnfunc.initializers import initial as drawn
from nnfunc.keys import Key, Keys, check, fold_in
from nnfunc.layout import within
from nnfunc.stacks import stack


def initial(model: Layer, key: Keys, input_shape: Shapes, dtype: DTypeLike = np.float32) -> tuple[ArrayDict, ArrayDict]:
    """Initial parameters and state: the wiring is run on shapes only, and each layer draws its arrays."""
    dtype = floating(dtype)
    if isinstance(key, (tuple, list)):
        if not key:
            raise ValueError("key is an empty tuple: expected a key, or one key per network of a stack")
        members = [_initial(model, check(k), input_shape, dtype) for k in key]
        return stack([p for p, _ in members]), stack([s for _, s in members])
    return _initial(model, check(key), input_shape, dtype)


def _initial(model: Layer, key: Key, input_shape: Shapes, dtype: DTypeLike) -> tuple[ArrayDict, ArrayDict]:
    params: dict[str, Any] = {}
    state: dict[str, Any] = {}
    asked: set[str] = set()

    def leaf(wiring: Wiring, path: str, layer: Layer, x: Value, numbers: tuple[int, ...], again: int) -> Value:
        kernel, prefix = layer.kernel, within(path)
        assert kernel is not None
        own_key = key
        for number in numbers:
            own_key = fold_in(own_key, number)
        shape = map_leaves(lambda node: node.shape, x)
        said = kernel.signature(shape, **layer.settings)

        def draw(arrays: Mapping[str, Initial]) -> dict[str, Any]:
            wanted = {} if again else {k: a for k, a in arrays.items() if prefix + k not in wiring.ties}
            at = list(arrays)
            return {k: drawn(a.initializer, fold_in(own_key, at.index(k)), a.shape, dtype) for k, a in wanted.items()}

        arrays: tuple[Mapping[str, Any], Mapping[str, Any]]
        if kernel.init is not None:
            arrays = kernel.init(own_key, shape, dtype, **layer.settings) if not again else ({}, {})
        else:
            arrays = draw(said.params), draw(said.state)
        own, own_state = arrays
        asked.update(prefix + k for k in (*own, *said.params))
        wiring.check_named(path, [*own, *own_state])
        params.update({prefix + k: v for k, v in own.items() if prefix + k not in wiring.ties})
        state.update({prefix + k: v for k, v in own_state.items()})
        if kernel.named and said.output is None:
            dicts = ArrayDict(own, dtype), ArrayDict(own_state)
            return wiring.node(lambda: probed(layer, *dicts, shape))
        kinds = kernel.kinds(x)
        integers = set(kinds) == {"any"} and not kernel.named and all(node.integers for node in leaves(x))
        return map_shapes(lambda s: wiring.node(s, integers), said.output)

    wiring = Wiring(leaf)
    wiring.run("", model, map_shapes(wiring.node, check_shapes(input_shape)))
    _check_ties(wiring, params, asked)
    wiring.check_frozen(list(params))
    held = {FROZEN + k: np.asarray(v, dtype) for k, v in params.items() if wiring.is_frozen(k)}
    trained = {k: v for k, v in params.items() if FROZEN + k not in held}
    if not state and not held:
        return ArrayDict(trained, dtype, stacked=False), EMPTY if np.dtype(dtype) == np.float32 else EMPTY.astype(dtype)
    kept = {k: v if np.asarray(v).dtype.kind in "iub" else np.asarray(v, dtype) for k, v in state.items()}
    return ArrayDict(trained, dtype, stacked=False), ArrayDict({**kept, **held}, stacked=False)


def _check_ties(wiring: Wiring, params: dict[str, Any], asked: set[str]) -> None:
    for name in wiring.ties:
        if name not in asked:
            raise ValueError(
                f"{name!r} is tied, but no layer of the model has it: {', '.join(sorted(asked)) or 'none'}"
            )
    for name, (to, _) in wiring.ties.items():
        if to not in params:
            raise ValueError(
                f"{name} is tied to {to!r}, which the model does not have: {', '.join(params) or 'no arrays'}"
            )
