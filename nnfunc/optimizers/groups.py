"""Different optimizers for different parameters."""

from __future__ import annotations

from collections.abc import Mapping

from nnfunc.optimizers.base import Optimizer, OptimizerName, make
from nnfunc.optimizers.names import named_optimizer


def partition(optimizers: Mapping[str, Optimizer | OptimizerName]) -> Optimizer:
    """An optimizer that applies a different optimizer to each group of parameters.

    Args:
        optimizers: a dict from name patterns to optimizers or their names; the first matching pattern applies.
    Raises:
        ValueError: on use: a pattern that matches no parameter, or a parameter that no pattern matches.

    A wrapper around one of them (clipping) acts on its parameters alone; a wrapper around the partition acts on all.

    >>> optimizer = nn.optimizers.partition({"*W": nn.momentum(0.5, dampening=0.0), "*": nn.gd(1.0)})
    >>> params = nn.ArrayDict({"W": [[1.0]], "b": [1.0]})
    >>> params, opt_state = optimizer.step(params, {"W": [[1.0]], "b": [1.0]}, optimizer.init(params))
    >>> params.vector, list(opt_state)
    (array([0.5, 0. ]), ['m.W', 'step'])
    """
    if not isinstance(optimizers, Mapping) or not optimizers:
        raise TypeError(f"optimizers={optimizers!r}: expected a dict of patterns, like {{'*W': 'adamw', '*': 'adam'}}")
    parts = tuple((pattern, named_optimizer(o, f"optimizers[{pattern!r}]")) for pattern, o in optimizers.items())
    return make("partition", parts=parts)
