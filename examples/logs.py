"""Logging the metrics of a run to a progress bar, a CSV file and TensorBoard, with iterators around that of the epochs.

python examples/logs.py

It prints

    epoch,loss,accuracy,validation_loss,validation_accuracy
    1,2.13506,0.26,1.80769,0.477387
    2,1.55152,0.643333,1.351,0.747069
    3,1.09864,0.805,0.975935,0.80737
    ...
    20,0.0891654,0.978333,0.292187,0.916248

next to a bar for the epochs with the last metrics and a bar for the batches of each epoch, and writes
logs/digits.csv and logs/digits, for `tensorboard --logdir logs`.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

from sklearn.datasets import load_digits
from tensorboardX import SummaryWriter
from tqdm import tqdm

import nnfunc as nn


def to_csv(epochs: Iterable[nn.Epoch], path: Path) -> Iterator[nn.Epoch]:
    """Writes a row after each epoch, so that an interrupted run is logged too."""
    with path.open("w", newline="") as file:
        for epoch in epochs:
            row = {name: f"{values[0]:.6g}" for name, values in nn.history([epoch]).items()} | {"epoch": epoch.number}
            writer = csv.DictWriter(file, row)
            if file.tell() == 0:
                writer.writeheader()
            writer.writerow(row)
            file.flush()
            yield epoch


def to_tensorboard(epochs: Iterable[nn.Epoch], folder: Path) -> Iterator[nn.Epoch]:
    """Writes curves of the metrics, and a histogram of each parameter array."""
    with SummaryWriter(str(folder)) as writer:
        for epoch in epochs:
            for name, values in nn.history([epoch]).items():
                writer.add_scalar(name, values[0], epoch.number)
            for name, parameter in epoch.state.params.items():
                writer.add_histogram(name, parameter, epoch.number)
            yield epoch


def main(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    digits = load_digits()
    X, Y = digits.data / 16, digits.target
    data, validation = (X[:1200], Y[:1200]), (X[1200:], Y[1200:])

    model = nn.mlp([64, 32, 10], ["relu", "softmax"])
    step = nn.train_step(model, nn.sparse_categorical_cross_entropy, nn.adam(learning_rate=0.003))
    ts = nn.train_state(model, step.optimizer, nn.key(0), input_shape=(64,))

    run = nn.train(
        step,
        ts,
        data,
        epochs=20,
        batch_size=64,
        key=nn.key(1),
        validation=validation,
        batches=lambda batches: tqdm(batches, leave=False),  # useful if an epoch takes minutes
    )
    for _ in to_tensorboard(to_csv(tqdm(run), folder / "digits.csv"), folder / "digits"):
        pass

    head, *rows = (folder / "digits.csv").read_text().splitlines()
    print(head, *rows[:3], "...", rows[-1], sep="\n")


if __name__ == "__main__":
    main(Path(__file__).with_name("logs"))
