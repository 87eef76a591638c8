"""Sweeps: many settings and seeds, each group of them a stack, on whatever runs tasks."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import lru_cache
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
        task: a function of a module, `task(settings, keys, *data) -> results`: a list of settings, a tuple of as many
            keys (a stack's), and the data; it gives a result for each, of numbers, texts, lists and dicts.
        settings: dicts of numbers and texts.
        seeds: each setting is tried with each of these.
        data: arrays, written to files once, which the workers map: they are neither copied nor sent with each task.
        engine: None, here, one group after another; or what runs functions elsewhere: a `joblib.Parallel`, an executor
            (`concurrent.futures`, `mpi4py.futures`), or a `dask.distributed.Client`.
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
        name = f"{task.__module__}.{task.__qualname__}"
        kept = [_kept(folder, name, group, data) for group in groups]
        missing = [i for i, path in enumerate(kept) if path is None or not path.exists()]
        calls = [(task, groups[i], tuple(paths), threads) for i in missing]
        found: dict[int, list[tuple[Any, str | None]]] = {}
        for i, results in zip(missing, _mapped(engine, calls), strict=True):
            found[i] = results
            path = kept[i]
            if path is not None:
                partial = path.with_suffix(".partial")
                partial.write_text(json.dumps(results))
                partial.replace(path)
    outcome = []
    for i, group in enumerate(groups):
        path = kept[i]
        results = found[i] if i in found or path is None else json.loads(path.read_text())
        outcome += [Trial(*trial, *result) for trial, result in zip(group, results, strict=True)]
    return outcome


def _kept(folder: str | Path | None, name: str, group: Sequence[Any], data: Arrays) -> Path | None:
    if folder is None:
        return None
    Path(folder).mkdir(parents=True, exist_ok=True)
    shapes = [(a.shape, a.dtype.str) for a in map(np.asarray, data)]
    return Path(folder) / f"{digest(name, group, shapes)[:24]}.json"


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
        _check_dask(engine)
        return iter(engine.gather([engine.submit(run_group, *call, pure=False, retries=3) for call in calls]))
    if not hasattr(engine, "map"):
        raise TypeError(f"engine={engine!r}: expected None, a joblib.Parallel, an executor or a dask Client")
    return iter(engine.map(run_group, *columns))


def _check_dask(client: Any) -> None:
    found = client.run(_trims)
    if any(found.values()):
        warnings.warn(
            "Dask's workers give memory back after each step (MALLOC_TRIM_THRESHOLD_), which costs more than half of "
            "the time of small networks: before the cluster is made, dask.config.set("
            "{'distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_': None})",
            stacklevel=4,
        )


def _trims() -> bool:
    import os

    return os.environ.get("MALLOC_TRIM_THRESHOLD_") not in (None, "", "None")
