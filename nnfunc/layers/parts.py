"""Frozen parts of a model, and tied arrays."""

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
    """Freezes a part of a model: its arrays move to the state and have no gradient.

    Args:
        model: a layer or a composition.
        where: patterns of the parameter names to freeze: "dense1.*", "body.*".
    Returns:
        a model whose `init` puts the frozen arrays into the state, `state.group("frozen")`. They are excluded
        from the gradient, the optimizer's state, the penalty and the norm used for clipping, and backward stops above
        them. A layer whose arrays are all frozen runs in prediction mode (a batch norm uses its running averages
        without updating them), and so does one whose own name matches ("body.dropout1" by "body.*").
    Raises:
        ValueError: (when used) a pattern that matches no parameter.

    `nn.train_state(freeze(model, ...), ..., params=params, state=state)` accepts the parameters of the whole model and
    moves the frozen ones to the state; `unfreeze` moves them back.

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
    """Returns a model without frozen parts, and its parameters and state, to continue training.

    Args:
        model: a model with frozen parts.
        params, state: its parameters and state.
    Returns:
        (model, params, state), with the frozen arrays among the parameters again.

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
    """Moves the parameters that the model freezes to the state."""
    patterns = frozen_patterns(model)
    held = [k for k in params.names if is_frozen(k, patterns)]
    if not held:
        return params, state
    both = {**state, **{FROZEN + k: params[k] for k in held}}
    return params.without(held), ArrayDict(both, stacked=bool(params.stack_shape))


def thaw(model: Layer) -> Layer:
    """Returns the model without frozen parts."""
    return model._replace(frozen=(), layers=tuple((name, thaw(layer)) for name, layer in model.layers))


def tie(model: Layer, name: str, to: str, transpose: bool = False) -> Layer:
    """Ties the array `name` of a model to the array `to`: one array, whose gradients add.

    Args:
        model: a composition.
        name: the parameter to replace, like "dense1.W".
        to: the parameter to use instead.
        transpose: whether to use its transpose: an output layer's W (features, words) as that of an embedding's E
            (words, features).

    >>> model = nn.serial(nn.dense(3, bias=False), nn.tanh(), nn.dense(2, bias=False))
    >>> model = nn.tie(model, "dense2.W", to="dense1.W", transpose=True)
    >>> list(model.init(nn.key(0), (2,))[0])
    ['dense1.W']
    """
    instance(model, Layer, "model")
    if not isinstance(name, str) or not isinstance(to, str) or name == to:
        raise ValueError(f"name={name!r}, to={to!r}: expected the names of two parameters, like 'dense2.W', 'dense1.W'")
    if any(name in t[:2] for t in model.ties) or any(to == t.name for t in model.ties):
        raise ValueError(f"{name!r} or {to!r} is already tied: tie each array once, to one that is not tied itself")
    return model._replace(ties=(*model.ties, Tie(name, to, flag(transpose, "transpose"))))
