"""The shards of a batch in lockstep: each is computed by its own thread, which waits wherever it needs the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import Any, TypeVar

import numpy as np

from nnfunc.arrays import Array
from nnfunc.core.kernel import Gather

T = TypeVar("T")


class StoppedError(Exception):
    """Raised in a shard because another one failed."""


def in_step(gather: Callable[[Any], list[Any]], planned: Callable[[], Sequence[Callable[[Gather], T]]]) -> list[T]:
    """Runs the calls of this process and returns their results.

    Each call receives a function of a vector that waits for the vectors of all calls still running, on all processes,
    and returns them stacked.

    Args:
        gather: an object from each process -> the objects of all: see `Reduction`.
        planned: returns the calls.
    Raises:
        The first error of a call; all other calls stop too, on other processes with a `StoppedError`.
    """
    from queue import SimpleQueue  # two modules that only these shards need
    from threading import Thread

    errors: dict[int, Exception] = {}  # by index of the call, so that their order in time does not matter
    calls: Sequence[Callable[[Gather], T]] = ()
    try:
        calls = planned()
    except Exception as error:
        errors[0] = error
    said: list[SimpleQueue[Array | None]] = [SimpleQueue() for _ in calls]
    heard: list[SimpleQueue[Array | None]] = [SimpleQueue() for _ in calls]
    results: dict[int, T] = {}

    def run(i: int) -> None:
        def hear(vector: Array) -> Array:
            said[i].put(vector)
            all_of_them = heard[i].get()
            if all_of_them is None:
                raise StoppedError("a shard of this batch failed")
            return all_of_them

        try:
            results[i] = calls[i](hear)
        except Exception as error:
            errors[i] = error
        finally:
            said[i].put(None)  # however it ended: no one waits for it any longer

    threads = [Thread(target=copy_context().run, args=(run, i), daemon=True) for i in range(len(calls))]
    for thread in threads:
        thread.start()
    running = list(range(len(calls)))
    while True:
        vectors = {i: said[i].get() for i in running}
        running = [i for i in running if vectors[i] is not None]
        each = gather("failed" if errors else [vectors[i] for i in running])
        if "failed" in each:
            answer = None
        else:
            spoken = [vector for process in each for vector in process]
            if not spoken:
                break
            answer = np.stack(spoken)
        for i in running:
            heard[i].put(answer)
        if answer is None:
            break
    for thread in threads:
        thread.join()
    if errors or len(results) < len(calls):
        own = [errors[i] for i in sorted(errors) if not isinstance(errors[i], StoppedError)]
        raise own[0] if own else StoppedError("a shard of this batch failed")
    return [results[i] for i in range(len(calls))]
