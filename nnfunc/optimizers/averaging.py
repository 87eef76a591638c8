"""Parameter averaging: optimizers that wrap another and keep averaged parameters in the state."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from nnfunc._internal.validate import flag, number, positive_int
from nnfunc.arrays import Array, ArrayDict
from nnfunc.core.settings import Settings
from nnfunc.optimizers.base import Optimizer, OptimizerName, make
from nnfunc.optimizers.names import named_optimizer


def lookahead(optimizer: Optimizer | OptimizerName, every: int = 5, rate: float = 0.5) -> Optimizer:
    """`optimizer` that returns to slow weights every k steps (Zhang et al., NeurIPS 2019).

    After every k updates Φ = Φ + rate·(W − Φ) and W = Φ, where Φ starts as a copy of the parameters. The state of
    `optimizer` is not reset. Between these updates, the slow weights are `opt_state.group("slow")`.

    Args:
        optimizer: the fast optimizer, or its name.
        every: k ≥ 1.
        rate: in [0, 1], the step size of the slow weights; 1 has no effect.

    >>> optimizer = nn.optimizers.lookahead(nn.gd(1.0), every=2)
    >>> params = nn.ArrayDict({"b": [0.0]})
    >>> opt_state = optimizer.init(params)
    >>> for _ in range(2):
    ...     params, opt_state = optimizer.step(params, {"b": [-1.0]}, opt_state)
    >>> params["b"]
    array([1.])
    """
    settings = Settings(every=positive_int(every, "every"), rate=number(rate, "rate", 0, 1))
    return _around(optimizer, "lookahead", _lookahead, "slow", settings)


def _lookahead(w: Array, moved: Array, slow: Array, *, t: int, every: int, rate: float) -> tuple[Array, ...]:
    if t % every:
        return moved, slow
    slow = slow + (moved - slow) * rate
    return slow, slow


def ema(optimizer: Optimizer | OptimizerName, decay: float = 0.999, bias_correction: bool = True) -> Optimizer:
    """`optimizer` that also keeps an exponential moving average of the parameters: read it with `averaged`.

    A = A + r (W − A) after each update, with r = (1 − decay)/(1 − decayᵗ): the average of W₁ … Wₜ with the weights
    decayᵗ⁻ⁱ, like Optax's `ema` of the parameters. The updates themselves are unaffected. Running averages of layers
    (batch norm) are those of training, not of A.

    Args:
        optimizer: an optimizer or a name.
        decay: in [0, 1).
        bias_correction: False: r = 1 − decay after the first update, so that W₁ dominates A for a long time: PyTorch's
            `AveragedModel` with `get_ema_avg_fn`.

    >>> optimizer = nn.optimizers.ema(nn.gd(1.0), decay=0.5)
    >>> params = nn.ArrayDict({"b": [0.0]})
    >>> opt_state = optimizer.init(params)
    >>> for _ in range(2):
    ...     params, opt_state = optimizer.step(params, {"b": [-3.0]}, opt_state)
    >>> params["b"], nn.optimizers.averaged(opt_state)["b"]
    (array([6.]), array([5.]))
    """
    decay = number(decay, "decay", 0, 1, open_high=True, why="with 1, new values would have no weight")
    settings = Settings(decay=decay, bias_correction=flag(bias_correction, "bias_correction"))
    return _around(optimizer, "ema", _ema, "average", settings)


def _ema(w: Array, moved: Array, average: Array, *, t: int, decay: float, bias_correction: bool) -> tuple[Array, ...]:
    rate = 1.0 if t == 1 else (1 - decay) / (1 - decay**t if bias_correction else 1)
    return moved, average + rate * (moved - average)


def averaged(opt_state: Mapping[str, Array]) -> ArrayDict:
    """The average of the parameters from the state of an optimizer with `ema`; before the first update, the parameters.

    Use it in place of the parameters to predict and evaluate: `ts._replace(params=averaged(ts.opt_state))`.

    Raises:
        ValueError: the state contains no average.

    >>> optimizer = nn.optimizers.ema(nn.adam())
    >>> params = nn.ArrayDict({"dense1.W": [[1.0]], "dense1.b": [2.0]})
    >>> nn.optimizers.averaged(optimizer.init(params)) == params
    True
    """
    state = opt_state if isinstance(opt_state, ArrayDict) else ArrayDict(opt_state)
    average = state.group("average")
    if not average.names and state.names:
        raise ValueError("opt_state contains no average: train with nn.optimizers.ema(optimizer) and pass ts.opt_state")
    return average


def _around(
    optimizer: Optimizer | OptimizerName,
    name: str,
    rule: Callable[..., tuple[Array, ...]],
    slot: str,
    settings: Settings,
) -> Optimizer:
    inner = named_optimizer(optimizer)
    return make(name, rule, (slot,), settings, inner=inner)
