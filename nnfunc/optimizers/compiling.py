"""Rules compiled by numba into one pass over memory: `compiled`. Nothing else knows of numba."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from nnfunc._internal.validate import by_name, instance
from nnfunc.arrays import Array
from nnfunc.optimizers.base import Numbers, Optimizer

THREADED = 1 << 20
"""From so many numbers on threads pay, as many as NUMBA_NUM_THREADS says."""


def compiled(optimizer: Optimizer | str) -> Optimizer:
    """The optimizer, whose rules numba compiles into one pass over memory: the same bits, and the same state.

    Args:
        optimizer: one whose rules treat each element by itself, your own too: in float32 a rule of your own may have no
            number but its settings and t (for numba, `2 * g` is of float64), which is tried at the first update.
            `clip_by_global_norm`, `ema`, `partition` and the like reach those that they stand around.
    Raises:
        ImportError: without numba: `pip install "nnfunc[fast]"`.
        ValueError: an optimizer without such a rule; at the first update, a rule that numba does not compile, or with
            other bits.

    What is compiled stays on the disk, in the folder NUMBA_CACHE_DIR or a `nnfunc` in that for temporary files. Threads
    are used from a million parameters on, as many as NUMBA_NUM_THREADS says. A rule must be in a module that can be
    imported, or in a script: its source is looked up.

    >>> from importlib.util import find_spec
    >>> if find_spec("numba"):
    ...     optimizer, params = nn.optimizers.compiled(nn.adam(0.1)), nn.ArrayDict({"b": [1.0, 2.0]})
    ...     same = optimizer.step(params, params, optimizer.init(params))[0] == nn.adam(0.1).step(
    ...         params, params, nn.adam(0.1).init(params))[0]
    ...     assert same
    """
    from nnfunc.optimizers.names import OPTIMIZERS

    optimizer = instance(by_name("optimizer", optimizer, OPTIMIZERS), Optimizer, "optimizer")
    try:
        import numba  # noqa: F401  # asked for before anything is done
    except ImportError as error:
        raise ImportError('compiled needs numba: pip install "nnfunc[fast]"') from error
    return _compiled(optimizer)


def _compiled(optimizer: Optimizer) -> Optimizer:
    if optimizer.parts:
        return optimizer._replace(parts=tuple((pattern, _compiled(part)) for pattern, part in optimizer.parts))
    if optimizer.inner is not None:
        return optimizer._replace(inner=_compiled(optimizer.inner))
    if optimizer.rule is None or optimizer.shaped or not optimizer.elementwise:
        raise ValueError(
            f"optimizer={optimizer!r} has no rule for each element by itself, which alone is compiled: expected one "
            "like nn.adam(), or nn.optimizer(rule, ..., elementwise=True)"
        )
    names = None if optimizer.constants is not None else ("t", *optimizer.settings)
    return optimizer._replace(loop=Loop(optimizer.rule, names))  # type: ignore[arg-type]  # mypy: a tuple is not called


class Loop(NamedTuple):
    """The loop of a rule: `loop((w, g, *slots), (new w, *new slots), numbers)`; equal where the rules are.

    `names` are those of the numbers of a rule of your own, which takes them by keyword.
    """

    rule: Callable[..., Any]
    names: tuple[str, ...] | None

    def __call__(self, old: Sequence[Array], out: Sequence[Array], numbers: Numbers, /) -> None:
        if old[0].ndim > 1:  # of a stack each network
            for k in range(len(old[0])):
                own = tuple(n[k] if isinstance(n, np.ndarray) and n.ndim > 1 else n for n in numbers)
                self([a[k] for a in old], [a[k] for a in out], own)
            return
        dtype, shape = old[0].dtype, old[0].shape
        arrays = tuple(isinstance(n, np.ndarray) and n.size > 1 for n in numbers)
        from nnfunc.optimizers.loops import loop_of, tried  # where something is compiled, and not before

        tried(self.rule, self.names, len(old), dtype)
        whole = [np.ascontiguousarray(np.broadcast_to(n, shape), dtype) if a else dtype.type(np.ravel(n)[0])
                 for n, a in zip(numbers, arrays, strict=True)]  # fmt: skip
        run = loop_of(self.rule, len(old) - 2, arrays, self.names, old[0].size >= THREADED)
        w, g, *slots = old
        for before, after in zip((w, *slots), out, strict=True):  # in place, a loop has fewer arrays to keep apart
            if before is not after:
                after[...] = before
        run(g, *out, *whole)
