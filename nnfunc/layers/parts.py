"""Parts of a model that are constant, and arrays that are one."""

from __future__ import annotations

from collections.abc import Iterable

from nnfunc._internal.validate import flag, instance
from nnfunc.arrays import ArrayDict, as_dict
from nnfunc.core.layer import Layer, Tie
from nnfunc.core.wiring import FROZEN, is_frozen
from nnfunc.layers.structure import frozen_patterns, kernels
from nnfunc.layout import Patterns, within

__all__ = ["freeze", "tie", "unfreeze"]


def freeze(model: Layer, where: Patterns) -> Layer:
    """`model` with a part that is a constant: its arrays stand in the state, so there is no gradient of them.

    Args:
        model: a layer or a composition.
        where: the patterns of what is frozen, by the names of parameters: "dense1.*", "body.*".
    Returns:
        a model whose `init` puts the frozen arrays into the state, `state.group("frozen")`. They are not in the
        gradient, the optimizer's state, the penalty or the norm that clipping uses, and backward stops above them. A
        layer whose arrays are all frozen works as in prediction (a batch norm uses its averages and does not move
        them), and so does one whose own name matches ("body.dropout1" by "body.*").
    Raises:
        ValueError: (when used) a pattern that matches no parameter.

    `nn.train_state(freeze(model, ...), ..., params=params, state=state)` takes the parameters of the whole model and
    sorts them; `unfreeze` gives them back.

    >>> model = nn.freeze(nn.serial(nn.dense(3), nn.relu(), nn.dense(1)), "dense1.*")
    >>> params, state = model.init(nn.key(0), (2,))
    >>> list(params), list(state)
    (['dense2.W', 'dense2.b'], ['frozen.dense1.W', 'frozen.dense1.b'])
    """
    instance(model, Layer, "model")
    patterns = (where,) if isinstance(where, str) else tuple(where) if isinstance(where, Iterable) else ()
    if not all(isinstance(p, str) for p in patterns) or not patterns:
        raise TypeError(f"where={where!r}: expected one or more name patterns, like 'dense1.*'")
    return model._replace(frozen=(*model.frozen, *patterns))


def unfreeze(model: Layer, params: ArrayDict, state: ArrayDict) -> tuple[Layer, ArrayDict, ArrayDict]:
    """A model without frozen parts, and its parameters and state, to go on from.

    Args:
        model: of `freeze`, or with parts that are.
        params, state: of it.
    Returns:
        (model, params, state), in which the arrays that were frozen are parameters again.

    >>> frozen = nn.freeze(nn.serial(nn.dense(3), nn.relu(), nn.dense(1)), "dense1.*")
    >>> model, params, state = nn.unfreeze(frozen, *frozen.init(nn.key(0), (2,)))
    >>> list(params), list(state)
    (['dense1.W', 'dense1.b', 'dense2.W', 'dense2.b'], [])
    """
    instance(model, Layer, "model")
    params, state = as_dict(params, "params"), as_dict(state, "state")
    held = state.group(FROZEN[:-1])
    if not held:
        return thaw(model), params, state
    thawed = {**held, **params}
    order = [k for path, _ in kernels(model) for k in thawed if k.startswith(within(path))]
    params = ArrayDict({k: thawed[k] for k in order}, stacked=bool(params.stack_shape))
    return thaw(model), params, state.without(FROZEN + "*")


def sorted_by_freezing(model: Layer, params: ArrayDict, state: ArrayDict) -> tuple[ArrayDict, ArrayDict]:
    """Parameters and state in which what the model holds frozen stands in the state."""
    patterns = frozen_patterns(model)
    held = [k for k in params.names if is_frozen(k, patterns)]
    if not held:
        return params, state
    both = {**state, **{FROZEN + k: params[k] for k in held}}
    return params.without(held), ArrayDict(both, stacked=bool(params.stack_shape))


def thaw(model: Layer) -> Layer:
    """The model without frozen parts."""
    return model._replace(frozen=(), layers=tuple((name, thaw(layer)) for name, layer in model.layers))


def tie(model: Layer, name: str, to: str, transpose: bool = False) -> Layer:
    """`model` in which the array `name` is the array `to`: one array, whose gradients add.

    Args:
        model: a composition.
        name: the parameter that is no array of its own any more, like "dense1.W".
        to: the one that it is.
        transpose: whether it is its transpose: an output layer W (features, words) as that of an embedding E (words,
            features).

    >>> model = nn.serial(nn.dense(3, bias=False), nn.tanh(), nn.dense(2, bias=False))
    >>> model = nn.tie(model, "dense2.W", to="dense1.W", transpose=True)
    >>> list(model.init(nn.key(0), (2,))[0])
    ['dense1.W']
    """
    instance(model, Layer, "model")
    if not isinstance(name, str) or not isinstance(to, str) or name == to:
        raise ValueError(f"name={name!r}, to={to!r}: expected the names of two parameters, like 'dense2.W', 'dense1.W'")
    if any(name in t[:2] for t in model.ties) or any(to == t.name for t in model.ties):
        raise ValueError(f"{name!r} or {to!r} is tied already: tie each array once, to one that is not tied itself")
    return model._replace(ties=(*model.ties, Tie(name, to, flag(transpose, "transpose"))))
