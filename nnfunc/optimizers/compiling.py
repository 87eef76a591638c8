"""Rules compiled by numba into one pass over memory: `compiled`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import compress
from typing import Any, NamedTuple

import numpy as np

from nnfunc._internal.validate import positive_int
from nnfunc.arrays import Array
from nnfunc.core.settings import shown
from nnfunc.optimizers.base import Numbers, Optimizer, OptimizerName
from nnfunc.optimizers.straight import zeros_in
from nnfunc.optimizers.tracing import Kind, Trace, traced

THREADED = 1 << 20
"""The number of elements from which threads pay off."""


def compiled(optimizer: Optimizer | OptimizerName, threads: int | None = None) -> Optimizer:
    """`optimizer` with its rules compiled by numba into one pass over memory: the same bits, and the same state.

    Args:
        optimizer: one with elementwise rules, including user-defined ones. In wrappers such as `clip_by_global_norm`,
            `ema` and `partition`, the wrapped optimizers are compiled.
        threads: the number of threads from a million parameters on; None: NUMBA_NUM_THREADS, by default the number of
            processors.
    Raises:
        ImportError: without numba: `pip install "nnfunc[fast]"`.
        ValueError: an optimizer without such a rule; at the first update, a rule that cannot be compiled.

    A user-defined rule is called once per update with tracers that record the operations, so it may use NumPy's
    operators and ufuncs, `np.where` and `np.clip`, and any Python on t and on settings that are numbers. The bits are
    those of NumPy where a ufunc is correctly rounded as IEEE 754 demands (arithmetic, roots); exp, log and powers may
    differ in the last bit.

    The first update takes a second or two. Compiled code is cached on disk for later processes, also for rules defined
    in notebooks: in the directory NUMBA_CACHE_DIR, or `~/.cache/nnfunc`.

    >>> from importlib.util import find_spec
    >>> if find_spec("numba"):
    ...     optimizer, params = nn.optimizers.compiled(nn.adam(0.1)), nn.ArrayDict({"b": [1.0, 2.0]})
    ...     same = optimizer.step(params, params, optimizer.init(params))[0] == nn.adam(0.1).step(
    ...         params, params, nn.adam(0.1).init(params))[0]
    ...     assert same
    """
    from nnfunc.optimizers.names import named_optimizer

    optimizer = named_optimizer(optimizer)
    threads = None if threads is None else positive_int(threads, "threads")
    try:
        import numba  # noqa: F401  # fails early
    except ImportError as error:
        raise ImportError('compiled needs numba: pip install "nnfunc[fast]"') from error
    return _compiled(optimizer, threads)


def _compiled(optimizer: Optimizer, threads: int | None) -> Optimizer:
    if optimizer.parts:
        return optimizer._replace(parts=tuple((pattern, _compiled(part, threads)) for pattern, part in optimizer.parts))
    if optimizer.inner is not None:
        return optimizer._replace(inner=_compiled(optimizer.inner, threads))
    if optimizer.rule is None or optimizer.shaped or not optimizer.elementwise:
        raise ValueError(
            f"optimizer={optimizer!r} has no elementwise rule, the only kind that can be compiled: expected one "
            "like nn.adam(), or nn.optimizer(rule, ..., elementwise=True)"
        )
    names = None if optimizer.constants is not None else ("t", *optimizer.settings)
    return optimizer._replace(loop=Loop(optimizer.rule, names, threads))  # type: ignore[arg-type]  # mypy: a tuple is not called


class Loop(NamedTuple):
    """The loop of a rule: `loop((w, g, *slots), (new w, *new slots), numbers)`. Loops of equal rules are equal.

    `names` are the keywords of `numbers` in a user-defined rule.
    """

    rule: Callable[..., Any]
    names: tuple[str, ...] | None
    threads: int | None

    def __call__(self, old: Sequence[Array], out: Sequence[Array], numbers: Numbers, /) -> None:
        if old[0].ndim > 1:  # a stack: each network separately
            for k in range(len(old[0])):
                own = tuple(n[k] if isinstance(n, np.ndarray) and n.ndim > 1 else n for n in numbers)
                self([a[k] for a in old], [a[k] for a in out], own)
            return
        in_place = len(old) > 2 and np.may_share_memory(old[2], out[1])
        vectors = (True,) * len(old) + tuple([isinstance(n, np.ndarray) and n.size > 1 for n in numbers])
        dtype = old[0].dtype
        if self.names is None:
            kinds = (dtype,) * len(old) + tuple([n.dtype if isinstance(n, np.ndarray) else float for n in numbers])
            loop, constants = _loop_of_formula(self.rule, kinds, zeros_in(numbers), vectors, in_place)
        else:
            trace, constants = _traced(self.rule, dict(zip(self.names, numbers, strict=True)), len(old), dtype)
            if len(trace.results) != len(out):
                error = TypeError(f"it returned {len(trace.results)} arrays, expected {len(out)}")
                raise _refused(self.rule, error)
            kept = [isinstance(n, np.ndarray) for n in numbers]
            numbers = tuple(compress(numbers, kept))
            vectors = (True,) * len(old) + tuple(compress(vectors[len(old) :], kept))
            loop = _loop_of(self.rule, trace, vectors, in_place, dtype)
        of_numbers = vectors[len(old) :]
        arrays: list[Any] = [*old[:2], *(out[1:] if in_place else old[2:]), *compress(numbers, of_numbers)]
        single = [np.ravel(n)[0] if isinstance(n, np.ndarray) else n
                  for n, vector in zip(numbers, of_numbers, strict=True) if not vector]  # fmt: skip
        given = [*map(np.ascontiguousarray, arrays), *(out[:1] if in_place else out)]
        _run(loop, given, np.array([*single, *constants], float), self.threads)


@lru_cache(maxsize=256)
def _loop_of_formula(
    rule: Callable[..., Any],
    kinds: tuple[Kind, ...],
    zeros: tuple[bool, ...],
    vectors: tuple[bool, ...],
    in_place: bool,
) -> tuple[Callable[..., None], tuple[Any, ...]]:
    trace, constants = traced(rule, kinds, zeros)
    dtype = kinds[0]
    assert isinstance(dtype, np.dtype)
    return _loop_of(rule, trace, vectors, in_place, dtype), constants


def _traced(
    rule: Callable[..., Any], numbers: Mapping[str, Any], arrays: int, dtype: np.dtype[Any]
) -> tuple[Trace, tuple[Any, ...]]:
    """The trace of a user-defined rule, with the numbers of this update; those that are arrays become arguments."""
    plain = {name: n for name, n in numbers.items() if not isinstance(n, np.ndarray)}
    others = [name for name in numbers if name not in plain]

    def formula(*given: Any) -> Any:
        return rule(*given[:arrays], **plain, **dict(zip(others, given[arrays:], strict=True)))

    try:
        return traced(formula, (dtype,) * (arrays + len(others)))
    except Exception as error:  # from anything in a rule that is not elementwise
        raise _refused(rule, error) from error


@lru_cache(maxsize=256)
def _loop_of(
    rule: Callable[..., Any], trace: Trace, vectors: tuple[bool, ...], in_place: bool, dtype: np.dtype[Any]
) -> Callable[..., None]:
    from nnfunc.optimizers.loops import loop_of

    try:
        return loop_of(trace, vectors, in_place, dtype)
    except Exception as error:  # numba raises many types
        raise _refused(rule, error) from error


def _refused(rule: Callable[..., Any], error: Exception) -> ValueError:
    lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith("Failed in ")]
    said = lines[0] if lines else type(error).__name__
    return ValueError(f"numba cannot compile the rule {shown(rule)}: {said}")


def _run(loop: Callable[..., None], arrays: list[Array], numbers: Array, threads: int | None) -> None:
    """Runs the loop; long vectors are split among threads."""
    size = arrays[0].size
    if size < THREADED:
        loop(*arrays, numbers)
        return
    if threads is None:
        import numba

        threads = int(numba.config.NUMBA_NUM_THREADS)
    parts = [slice(size * i // threads, size * (i + 1) // threads) for i in range(threads)]
    from concurrent.futures import ThreadPoolExecutor  # the import takes 8 ms

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda part: loop(*[a[part] for a in arrays], numbers), parts))
