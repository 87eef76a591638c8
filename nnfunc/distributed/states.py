"""State shared by all processes: a divided optimizer state, and files."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike

from nnfunc.arrays import ArrayDict
from nnfunc.core.layer import Layer
from nnfunc.files import save as save_file
from nnfunc.layout import layout
from nnfunc.optimizers.base import Optimizer
from nnfunc.optimizers.update import update
from nnfunc.training.shards import Reduction
from nnfunc.training.state import TrainState

PART = "part"


def divided(optimizer: Optimizer, reduce: Reduction) -> Optimizer:
    """An optimizer whose state is divided: each process keeps and updates a part of the vector, then they are joined.

    The bits are the same as without it; memory and time of the rule are divided by the number of processes (ZeRO stage
    1: Rajbhandari et al. 2020).

    Args:
        optimizer: one with an elementwise rule and settings that are numbers or schedules; put clipping around it:
            `nn.clip_by_global_norm(divided(nn.adam(), reduce), 1.0)`.
        reduce: the reduction of the step.

    >>> reduce = nn.distributed.sharded(2)
    >>> optimizer, params = nn.distributed.divided(nn.adam(0.1), reduce), nn.ArrayDict({"b": [1.0, 2.0]})
    >>> optimizer.step(params, params, optimizer.init(params))[0] == nn.adam(0.1).step(
    ...     params, params, nn.adam(0.1).init(params))[0]
    True
    """
    if optimizer.inner is not None or optimizer.rule is None or optimizer.shaped or not optimizer.elementwise:
        raise ValueError(f"optimizer={optimizer!r}: expected an elementwise rule, like nn.adam(); put others around it")
    if any(isinstance(value, Mapping) for value in optimizer.settings.values()):
        raise ValueError(f"optimizer={optimizer!r} has settings by name, but a part of the vector has no names")

    def part(arrays: ArrayDict) -> ArrayDict:
        vector = arrays._vector[_own(reduce, arrays.size)]
        return ArrayDict._of(layout(((PART, vector.shape),)), vector)

    def init(params: ArrayDict) -> ArrayDict:
        return optimizer.init(part(params))

    def step(params: ArrayDict, grads: ArrayDict, opt_state: ArrayDict) -> tuple[ArrayDict, ArrayDict]:
        own, opt_state = update(optimizer, part(params), grads._vector[_own(reduce, grads.size)], opt_state)
        return params.with_vector(reduce.join(own._vector)), opt_state

    return Optimizer(init, step)


def _own(reduce: Reduction, size: int) -> slice:
    return slice(size * reduce.rank // reduce.ranks, size * (reduce.rank + 1) // reduce.ranks)


def gathered(ts: TrainState, reduce: Reduction) -> TrainState:
    """Returns the train state with the whole of a divided optimizer state, the same on every process, for saving.

    >>> ts = nn.train_state(nn.dense(2), nn.adam(), nn.key(0), (3,))
    >>> nn.distributed.gathered(ts, nn.distributed.sharded(2)) == ts
    True
    """
    if not _is_divided(ts):
        return ts
    whole = {k: reduce.join(a).copy() if k.endswith("." + PART) else a for k, a in ts.opt_state.items()}
    return ts._replace(opt_state=ArrayDict(whole))


def scattered(ts: TrainState, reduce: Reduction) -> TrainState:
    """Returns this process's part of a `gathered` state, to resume, also on another number of processes.

    >>> ts = nn.train_state(nn.dense(2), nn.adam(), nn.key(0), (3,))
    >>> nn.distributed.scattered(ts, nn.distributed.sharded(2)) == ts
    True
    """
    if not _is_divided(ts):
        return ts
    own = {k: a[_own(reduce, len(a))] if k.endswith("." + PART) else a for k, a in ts.opt_state.items()}
    return ts._replace(opt_state=ArrayDict(own))


def _is_divided(ts: TrainState) -> bool:
    return any(name.endswith("." + PART) for name in ts.opt_state)


def save(path: str | PathLike[str], ts: TrainState, reduce: Reduction, *, model: Layer | None = None) -> None:
    """Writes one file from one process, like `nn.save`; all wait until it is written, and fail if that failed.

    Args:
        path, model: see `nn.save`.
        ts: the state of this process; a divided optimizer state is gathered.
        reduce: the reduction of the step.
    Raises:
        ValueError: the states of the processes differ.
    """
    whole = gathered(ts, reduce)
    reduce.check_same("the train state", *whole)
    error: Exception | None = None
    if reduce.rank == 0:
        try:
            save_file(path, whole, model)
        except Exception as raised:
            error = raised
    error = reduce.agreed(error)
    if error is not None:
        raise error
