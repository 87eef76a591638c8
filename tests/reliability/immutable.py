"""What people do to an array, done to those of a dict: nothing changes them.

    python -m tests.reliability immutable

NumPy gives no array that cannot be changed at all: who goes to the owner of the memory (`vector.base.setflags`), into
private attributes, or to other packages that write into read-only arrays (torch.from_numpy, BLAS) does it on purpose.
"""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import nnfunc as nn

D = nn.ArrayDict


def set_item(a: Any, at: Any, value: Any) -> Any:
    a[at] = value


def set_shape(array: NDArray[Any], shape: tuple[int, ...]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it still works in NumPy 2.5
        array.shape = shape


def fresh() -> D:
    return D({"dense1.W": np.arange(1, 7, dtype=np.float32).reshape(2, 3), "dense1.b": np.ones(3, np.float32),
              "step": np.array([3, 4])})  # fmt: skip


def seen(d: D) -> Any:
    """All that there is to see of a dict, as a copy."""
    arrays = [(k, d[k].shape, d[k].dtype.str, d[k].tobytes()) for k in d]
    return arrays, d.vector.tobytes(), d.names, d.counts, d.stack_shape, d.dtype, d.layout.names, d.layout.size


TRICKS: dict[str, Callable[[Any], object]] = {
    # of the dict
    "d[k] =": lambda d: set_item(d, "dense1.b", 0),
    "del d[k]": lambda d: d.__delitem__("dense1.b"),
    "d |=": lambda d: d.__ior__({"dense1.b": np.zeros(3)}),
    "d +=": lambda d: d.__iadd__(1),
    "d.vector =": lambda d: setattr(d, "vector", 1),
    "d.new =": lambda d: setattr(d, "new", 1),
    "d.__init__": lambda d: d.__init__({"dense1.W": np.zeros((2, 3))}),
    "d.layout.names =": lambda d: setattr(d.layout, "names", ("x",)),
    "d.layout.size =": lambda d: setattr(d.layout, "size", 1),
    "d.layout.entries": lambda d: set_item(d.layout.entries, "x", (0, 1, ())),
    "to_dict": lambda d: set_item(d.to_dict()["dense1.b"], ..., 9),
    "map that writes": lambda d: d.map(lambda a: set_item(a, ..., 9)),
    "copy": lambda d: set_item(copy.deepcopy(d).vector, ..., 9),
    # of its arrays
    "d[k][...] =": lambda d: set_item(d["dense1.b"], ..., 0),
    "count": lambda d: set_item(d["step"], ..., 0),
    "vector": lambda d: set_item(d.vector, ..., 0),
    "vector +=": lambda d: d.vector.__iadd__(1),
    "arrays": lambda d: set_item(d.arrays[0], ..., 0),
    "group": lambda d: set_item(d.group("dense1").vector, ..., 0),
    "select": lambda d: set_item(d.select("*W").vector, ..., 0),
    "values": lambda d: [set_item(a, ..., 0) for a in d.values()],
    "setflags": lambda d: d["dense1.b"].setflags(write=True),
    "setflags of the vector": lambda d: d.vector.setflags(write=True),
    "setflags of arrays": lambda d: d.arrays[0].setflags(write=True),
    "setflags of a count": lambda d: d["step"].setflags(write=True),
    "flags.writeable": lambda d: setattr(d.vector.flags, "writeable", True),
    "shape": lambda d: set_shape(d.vector, (3, 3)),
    "fill": lambda d: d.vector.fill(0),
    "sort": lambda d: d.vector.sort(),
    "put": lambda d: d.vector.put([0], 9),
    "flat": lambda d: set_item(d.vector.flat, 0, 9),
    "T": lambda d: set_item(d["dense1.W"].T, ..., 9),
    "real": lambda d: set_item(d.vector.real, ..., 9),
    "view": lambda d: set_item(d.vector.view(np.int32), ..., 9),
    "byteswap": lambda d: d.vector.byteswap(True),
    "diagonal": lambda d: set_item(d["dense1.W"].diagonal(), 0, 9),
    "memoryview": lambda d: set_item(d.vector.data, 0, 9.0),
    # functions of NumPy's that write
    "copyto": lambda d: np.copyto(d.vector, 0),
    "out=": lambda d: np.add(1, 1, out=d.vector),
    "place": lambda d: np.place(d.vector, d.vector > 0, [9]),
    "putmask": lambda d: np.putmask(d.vector, d.vector > 0, 9),
    "fill_diagonal": lambda d: np.fill_diagonal(d["dense1.W"], 9),
    "shuffle": lambda d: np.random.default_rng(0).shuffle(d.vector),
    "random out=": lambda d: np.random.default_rng(0).random(dtype=np.float32, out=d.vector),
    "nan_to_num": lambda d: np.nan_to_num(d.vector, copy=False),
    "asarray": lambda d: set_item(np.asarray(d.vector), ..., 9),
    "require": lambda d: set_item(np.require(d.vector, requirements="W"), ..., 9),
    "as_strided": lambda d: set_item(np.lib.stride_tricks.as_strided(d.vector), ..., 9),
    "broadcast_to": lambda d: np.broadcast_to(d.vector, (2, 9)).setflags(write=True),
    "nditer": lambda d: [set_item(a, ..., 9) for a in np.nditer(d.vector, op_flags=[["readwrite"]])],
    "frombuffer": lambda d: set_item(np.frombuffer(d.vector.data, np.float32), 0, 9),
    "ndarray": lambda d: set_item(np.ndarray((9,), np.float32, buffer=d.vector.data), 0, 9),
    "from_dlpack": lambda d: set_item(np.from_dlpack(d.vector), 0, 9),
    "readinto": lambda d: io.BytesIO(bytes(36)).readinto(d.vector.data),
    "masked": lambda d: set_item(np.ma.array(d.vector, copy=False), 0, 9),
}


def kept() -> list[str]:
    """What a dict was made of and is changed afterwards."""
    vector, counts, found = np.zeros(9, np.float32), np.arange(3), []
    made = {
        "the constructor": D({"a": vector, "n": counts}),
        "with_vector": fresh().with_vector(vector),
        "replace": fresh().replace({"dense1.b": vector[:3]}),
    }
    buffers: list[Any] = []
    pickled = pickle.dumps(fresh(), 5, buffer_callback=buffers.append)
    raw = [bytearray(buffer.raw()) for buffer in buffers]
    made["pickle"] = pickle.loads(pickled, buffers=raw)
    before = {name: seen(d) for name, d in made.items()}
    vector[...], counts[...] = 9, 9
    for buffer in raw:
        buffer[:] = bytes(len(buffer))
    found += [f"{name} keeps what it was made of" for name, d in made.items() if seen(d) != before[name]]
    return found


def run(count: int) -> tuple[str, list[str]]:
    refused, failures = 0, []
    for name, trick in TRICKS.items():
        d = fresh()
        before = seen(d)
        try:
            trick(d)
        except (AttributeError, BufferError, TypeError, ValueError):
            refused += 1
        if seen(d) != before:
            failures.append(f"{name}: it changes a dict")
    return f"{len(TRICKS)} ways to change a dict, {refused} refused, the others of no effect", [*failures, *kept()]
