"""Different optimizers for different parameters."""

from __future__ import annotations

from collections.abc import Mapping

from nnfunc.optimizers.base import Optimizer, OptimizerName, make
from nnfunc.optimizers.names import named_optimizer


def partition(optimizers: Mapping[str, Optimizer | OptimizerName]) -> Optimizer:
    """An optimizer for each group of parameters.

    Args:
        optimizers: name patterns to optimizers (or names of them); of those that match a parameter the first counts.
    Raises:
        ValueError: when used: a pattern that matches no parameter, a parameter that no pattern matches.

    What stands around one of them (clipping) is for its parameters alone; what stands around the partition is for all.

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
