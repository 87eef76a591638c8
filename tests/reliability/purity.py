"""Each right call leaves its arguments as they are, twice gives the same bits, and what it returned stays as it is.

python -m tests.reliability purity 3      times
"""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np

import nnfunc as nn
from nnfunc.core.program import Program
from tests.reliability.calls import calls
from tests.reliability.fuzz import quiet


def snapshot(value: Any) -> Any:
    """What there is to see of a value, as a copy."""
    if isinstance(value, Program):
        return "what is remembered of a model"
    if isinstance(value, nn.ArrayDict):
        return [(k, value[k].tobytes(), value[k].shape) for k in value], value.vector.tobytes(), value.stack_shape
    if isinstance(value, (np.ndarray, np.generic)):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, dict):
        return [(k, snapshot(part)) for k, part in value.items()]
    if isinstance(value, (tuple, list)) and not isinstance(value, nn.Layer):
        return [snapshot(part) for part in value]
    try:
        return pickle.dumps(value)
    except (pickle.PicklingError, AttributeError, TypeError):
        return type(value).__name__  # functions, caches


def run(count: int) -> tuple[str, list[str]]:
    failures, every = [], calls()
    with quiet():
        for call in every:
            before = snapshot(call.arguments)
            first = call.run(**call.arguments)
            seen = snapshot(first)
            for _ in range(count):
                if snapshot(call.run(**call.arguments)) != seen:
                    failures.append(f"{call.name}: another result the next time")
                    break
            if snapshot(first) != seen:
                failures.append(f"{call.name}: the next call changed what this one had returned")
            if snapshot(call.arguments) != before:
                failures.append(f"{call.name}: an argument was changed")
    return f"{len(every)} calls, each {count + 1} times", failures
