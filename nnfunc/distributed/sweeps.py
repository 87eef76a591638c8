"""Sweeps: many settings and seeds, in groups that are trained as stacks, on any engine that runs tasks."""

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
"""(settings, keys, *data) -> results: those of a group of trials, in order; each must be representable in JSON."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""The constants of these parameters in malloc.h."""

Arrays: TypeAlias = tuple[NDArray[Any], ...]


class Trial(NamedTuple):
    """A setting and a seed, and their outcome: a result, or the text of the error."""

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
    """Runs every setting with every seed, in groups that a task trains as one stack.

    Args:
        task: a module-level function, or a `functools.partial` of one, `task(settings, keys, *data) -> results`. It
            takes a list of settings, a tuple of as many keys (those of the stack), and the data, and returns a result
            for each setting, of numbers, strings, lists and dicts.
        settings: dicts of numbers and strings.
        seeds: the seeds to try each setting with.
        data: arrays, written once to temporary files that the workers map: they are neither copied nor sent with each
            task. Workers on other machines must have access to the directory (TMPDIR).
        engine: None runs one group after another in this process. Otherwise a `joblib.Parallel`, an executor
            (`concurrent.futures`, `mpi4py.futures`), or a `dask.distributed.Client` (Dask's workers return freed memory
            at once, MALLOC_TRIM_THRESHOLD_, which slows down small networks: a sweep makes its workers keep it).
        members: trials per group: as many as fit in the processor's cache.
        threads: BLAS threads in each worker, set by threadpoolctl if installed; otherwise set OMP_NUM_THREADS=1
            yourself.
        folder: where to keep finished groups: an interrupted sweep resumes from there.
    Returns:
        a `Trial` for each setting and seed, in order, the same for every engine and number of workers. If a group
        fails, its members are run one by one, and those that fail alone contain the text of their error.

    >>> def task(settings, keys, x):
    ...     return [setting["rate"] * float(x.sum()) for setting in settings]
    >>> trials = nn.distributed.sweep(task, [{"rate": 0.5}, {"rate": 2.0}], seeds=[0, 1], data=(np.ones(3),))
    >>> [trial.result for trial in trials]
    [1.5, 1.5, 6.0, 6.0]
    """
    trials = [(dict(setting), int(seed)) for setting in settings for seed in seeds]
    if not trials:
        raise ValueError("no settings or no seeds: expected at least one of each")
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
    """Runs a group in a worker and returns its results, each with the text of an error or None."""
    data = _mapped_files(paths)

    def run(part: Sequence[tuple[Mapping[str, Any], int]]) -> Sequence[Any]:
        keys: tuple[Key, ...] = tuple(new_key(seed) for _, seed in part)
        results = list(task([setting for setting, _ in part], keys, *data))
        if len(results) != len(part):
            raise ValueError(f"the task returned {len(results)} results for {len(part)} trials")
        return json.loads(json.dumps(results))  # type: ignore[no-any-return]  # a list, as before

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
    except ImportError:  # then the environment decides
        return nullcontext()
    return threadpool_limits(count)


def _keep_memory() -> None:
    """Undoes, in this process, Dask's setting for its workers on Linux that returns freed memory to the system.

    A step frees and reallocates the same arrays, so that more than half of the time would be spent clearing pages. Both
    thresholds are set, since glibc stops adapting the second one once the first is set.
    """
    if sys.platform == "linux" and "MALLOC_TRIM_THRESHOLD_" in os.environ:
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # missing in some C libraries
        if mallopt is not None:
            for threshold, size in ((M_TRIM_THRESHOLD, 256 << 20), (M_MMAP_THRESHOLD, 32 << 20)):
                mallopt(threshold, size)


def _mapped(engine: Any, calls: Sequence[tuple[Any, ...]]) -> Iterator[list[tuple[Any, str | None]]]:
    """`run_group` of each call's arguments, on an engine, in order."""
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
