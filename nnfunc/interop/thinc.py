"""Thinc models for the gradient checks: forward(model, X, is_train) -> (Y, backprop)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["pair"]


def pair(model: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Converts a Thinc model into a forward and a backward for `nn.check_function`, taking its parameters, then X.

    Without parameters, or to check only dX, use `nn.check_function(model.begin_update, None, X)`.

    Args:
        model: an initialized `thinc.api.Model`. The parameters are those of all its nodes, named "name" or, in an inner
            node, "1.name".

    >>> def check(model, X):
    ...     params = {name: model.get_param(name) for name in model.param_names}
    ...     return nn.check_function(*pair(model), params, X)
    """
    nodes = {f"{i}." if i else "": node for i, node in enumerate(model.walk())}

    def forward(params: Mapping[str, ArrayLike], X: Any) -> tuple[Any, Any]:
        for before, node in nodes.items():
            for name in node.param_names:
                if f"{before}{name}" in params:
                    node.set_param(name, params[f"{before}{name}"])
                    node.set_grad(name, np.zeros_like(params[f"{before}{name}"]))
        Y, backprop = model(X, is_train=True)
        return Y, backprop

    def backward(dY: Any, cache: Callable[[Any], Any]) -> tuple[Any, Any]:
        for node in nodes.values():
            for name in node.param_names:
                if node.has_grad(name):
                    node.set_grad(name, np.zeros_like(node.get_grad(name)))
        dX = cache(dY)
        names = [(f"{before}{name}", node, name) for before, node in nodes.items() for name in node.param_names]
        return {full: np.array(node.get_grad(name)) for full, node, name in names if node.has_grad(name)}, dX

    return forward, backward
