"""Sweeps: many settings and seeds, each group of them a stack, on whatever runs tasks."""

from __future__ import annotations

import ctypes
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nnfunc._internal.validate import positive_int
from nnfunc.keys import Key
from nnfunc.keys import key as new_key
from nnfunc.training.shards import digest

Task: TypeAlias = Callable[..., Sequence[Any]]
"""(settings, keys, *data) -> results: of a group of trials, in their order; each result is what JSON can hold."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""The numbers of these settings in malloc.h."""

Arrays: TypeAlias = tuple[NDArray[Any], ...]


class Trial(NamedTuple):
    """One setting with one seed, and what came of it: a result, or the text of the error."""

    setting: Mapping[str, Any]
    seed: int
    result: Any
    error: str | None


def sweep(
    task: Task,
    settings: Sequence[Mapping[str, Any]],
    seeds: Sequence[int] = (0,),
    data: Arrays = (),
    *,
    engine: Any = None,
    members: int = 16,
    threads: int = 1,
    folder: str | Path | None = None,
) -> list[Trial]:
    """Every setting with every seed, in groups that a task trains as one stack.

    Args:
        task: a function of a module, or a `functools.partial` of one, `task(settings, keys, *data) -> results`: a list
            of settings, a tuple of as many keys (a stack's), and the data; it gives a result for each, of numbers,
            texts, lists and dicts.
        settings: dicts of numbers and texts.
        seeds: each setting is tried with each of these.
        data: arrays, written to temporary files once, which the workers map: they are neither copied nor sent with each
            task. Workers on other machines must see the folder (TMPDIR).
        engine: None, here, one group after another; or what runs functions elsewhere: a `joblib.Parallel`, an executor
            (`concurrent.futures`, `mpi4py.futures`), or a `dask.distributed.Client` (its workers give freed memory back
            at once, MALLOC_TRIM_THRESHOLD_, which makes small networks slow: in them it is kept from then on).
        members: how many trials a group has: as many as fit the processor's cache.
        threads: of BLAS in each worker, set by threadpoolctl where it is installed, else by the caller
            (OMP_NUM_THREADS=1).
        folder: where finished groups are kept: a sweep that was stopped goes on from there.
    Returns:
        a `Trial` for each setting and seed, in their order, the same for every engine and number of workers. Where a
        group fails, its members are run one by one, and one that fails alone has the text of its error.

    >>> def task(settings, keys, x):
    ...     return [setting["rate"] * float(x.sum()) for setting in settings]
    >>> trials = nn.distributed.sweep(task, [{"rate": 0.5}, {"rate": 2.0}], seeds=[0, 1], data=(np.ones(3),))
    >>> [trial.result for trial in trials]
    [1.5, 1.5, 6.0, 6.0]
    """
    trials = [(dict(setting), int(seed)) for setting in settings for seed in seeds]
    if not trials:
        raise ValueError("no settings or no seeds: expected one at least of each")
    size = positive_int(members, "members")
    groups = [trials[i : i + size] for i in range(0, len(trials), size)]
    with tempfile.TemporaryDirectory() as temporary:
        paths = []
        for i, array in enumerate(data):
            paths.append(str(Path(temporary) / f"{i}.npy"))
            np.save(paths[-1], np.asarray(array))
        kept = [_kept(folder, task, group, data) for group in groups]
        missing = [i for i, path in enumerate(kept) if path is None or not path.exists()]
        calls = [(task, groups[i], tuple(paths), threads) for i in missing]
        found: dict[int, list[tuple[Any, str | None]]] = {}
        for i, results in zip(missing, _mapped(engine, calls), strict=True):
            found[i] = results
            path = kept[i]
            if path is not None:
                unfinished = path.with_suffix(".partial")
                unfinished.write_text(json.dumps(results))
                unfinished.replace(path)
    outcome = []
    for i, group in enumerate(groups):
        path = kept[i]
        results = found[i] if i in found or path is None else json.loads(path.read_text())
        outcome += [Trial(*trial, *result) for trial, result in zip(group, results, strict=True)]
    return outcome


def _kept(folder: str | Path | None, task: Task, group: Sequence[Any], data: Arrays) -> Path | None:
    if folder is None:
        return None
    Path(folder).mkdir(parents=True, exist_ok=True)
    shapes = [(a.shape, a.dtype.str) for a in map(np.asarray, data)]
    return Path(folder) / f"{digest(_name(task), group, shapes)[:24]}.json"


def _name(task: Task) -> str:
    if isinstance(task, partial):
        return f"{_name(task.func)} {task.args} {task.keywords}"
    return f"{task.__module__}.{task.__qualname__}"


def run_group(
    task: Task, group: Sequence[tuple[Mapping[str, Any], int]], paths: tuple[str, ...], threads: int
) -> list[tuple[Any, str | None]]:
    """What a worker does: the results of a group, each with the text of an error or None."""
    data = _mapped_files(paths)

    def run(part: Sequence[tuple[Mapping[str, Any], int]]) -> Sequence[Any]:
        keys: tuple[Key, ...] = tuple(new_key(seed) for _, seed in part)
        results = list(task([setting for setting, _ in part], keys, *data))
        if len(results) != len(part):
            raise ValueError(f"the task returned {len(results)} results for {len(part)} trials")
        return json.loads(json.dumps(results))  # type: ignore[no-any-return]  # a list, as it was

    _keep_memory()
    with _threads(threads):
        try:
            return [(result, None) for result in run(group)]
        except Exception as error:
            if len(group) == 1:
                return [(None, f"{type(error).__name__}: {error}")]
        alone: list[tuple[Any, str | None]] = []
        for trial in group:
            try:
                alone.append((run([trial])[0], None))
            except Exception as error:
                alone.append((None, f"{type(error).__name__}: {error}"))
        return alone


@lru_cache(maxsize=1)
def _mapped_files(paths: tuple[str, ...]) -> Arrays:
    return tuple(np.load(path, mmap_mode="r") for path in paths)


def _threads(count: int) -> Any:
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:  # then the environment says how many
        return nullcontext()
    return threadpool_limits(count)


def _keep_memory() -> None:
    """Undoes, in this process, what Dask sets for its workers on Linux: that freed memory goes back to the system.

    A step frees and takes the same arrays again, so that more than half of the time would go into clearing pages. Both
    thresholds are set, since glibc no longer fits the second one to the arrays once it is told the first.
    """
    if sys.platform == "linux" and "MALLOC_TRIM_THRESHOLD_" in os.environ:
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # not every C library has it
        if mallopt is not None:
            for threshold, size in ((M_TRIM_THRESHOLD, 256 << 20), (M_MMAP_THRESHOLD, 32 << 20)):
                mallopt(threshold, size)


def _mapped(engine: Any, calls: Sequence[tuple[Any, ...]]) -> Iterator[list[tuple[Any, str | None]]]:
    """`run_group` of each of the arguments, on an engine, in order."""
    columns = list(zip(*calls, strict=True))
    if not calls:
        return iter(())
    if engine is None:
        return (run_group(*call) for call in calls)
    module = type(engine).__module__
    if module.startswith("joblib"):
        from joblib import delayed

        results: Iterable[Any] = engine(delayed(run_group)(*call) for call in calls)
        return iter(results)
    if module.startswith("distributed"):
        return iter(engine.gather([engine.submit(run_group, *call, pure=False, retries=3) for call in calls]))
    if not hasattr(engine, "map"):
        raise TypeError(f"engine={engine!r}: expected None, a joblib.Parallel, an executor or a dask Client")
    return iter(engine.map(run_group, *columns))
