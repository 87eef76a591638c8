"""MNIST on several MPI processes: the same results for any number of processes.

    pip install ".[mpi,examples]"
    mpiexec -n 2 python -m mpi4py examples/mnist_mpi.py [path/to/mnist.npz]

prints the same lines with -n 1, 2 and 4, with bit-identical parameters; the run time goes to standard
error. Without a file it uses scikit-learn's smaller digits, without mpi4py one process. `--allow-run-as-root` is for
root, and `--mca osc ^ucx` suppresses Open MPI's warnings about missing networks.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter

import numpy as np

import nnfunc as nn
from nnfunc import distributed

EPOCHS, BATCH_SIZE, SHARDS = 5, 128, 4


def main(data: Path | None) -> None:
    # A batch is 4 shards, whose gradients are added in their order: the bits do not depend on the processes.
    # Batch norm uses the statistics of the whole batch, which the processes gather.
    if find_spec("mpi4py"):
        reduce = distributed.mpi(shards=SHARDS, statistics="batch")
    else:
        reduce = distributed.sharded(SHARDS, statistics="batch")
    X, Y, X_test, Y_test = loaded(data)

    init_key, train_key = nn.split(nn.key(0))
    features, classes = X.shape[1], 10
    model = nn.mlp([features, 256, 128, classes], ["relu", "relu", "softmax"], keep_prob=0.8, batch_norm=True)
    # Each process keeps and updates its part of Adam's averages.
    optimizer = distributed.divided(
        nn.adam(nn.schedules.cosine_decay(3e-3, EPOCHS * (len(X) // BATCH_SIZE + 1))), reduce
    )
    step = nn.train_step(model, nn.sparse_categorical_cross_entropy, optimizer, reduce=reduce)
    ts = nn.train_state(model, optimizer, init_key, input_shape=(features,))

    begun = perf_counter()
    for epoch in nn.train(step, ts, (X, Y), epochs=EPOCHS, batch_size=BATCH_SIZE, key=train_key):
        if reduce.rank == 0:
            print(epoch)
    if reduce.rank == 0:
        print(f"test accuracy: {nn.accuracy(model, epoch.state, X_test, Y_test):.2%}")
        print(f"digest of the parameters: {distributed.digest(epoch.state.params)[:16]}")
        print(f"{perf_counter() - begun:.0f} s on {reduce.ranks} processes", file=sys.stderr)


def loaded(data: Path | None) -> tuple[np.ndarray, ...]:
    """Rows of pixels from 0 to 1, in float32, and the digits."""
    if data is None:
        from sklearn.datasets import load_digits

        digits = load_digits()
        x, y = (digits.data / 16).astype(np.float32), digits.target
        return x[:1500], y[:1500], x[1500:], y[1500:]
    with np.load(data) as arrays:
        X, Y, X_test, Y_test = (arrays[name] for name in ("x_train", "y_train", "x_test", "y_test"))
    X, X_test = (x.reshape(len(x), -1).astype(np.float32) / 255 for x in (X, X_test))
    return X, Y, X_test, Y_test


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
