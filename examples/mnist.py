"""MNIST: 70 000 handwritten digits of 28 x 28 pixels, from a local file.

python examples/mnist.py path/to/mnist.npz

It prints

    Epoch 1: loss=0.3412, accuracy=0.8943  (2 s)
    Epoch 2: loss=0.1285, accuracy=0.9614  (4 s)
    Epoch 3: loss=0.086, accuracy=0.9734  (5 s)
    Epoch 4: loss=0.0589, accuracy=0.9821  (6 s)
    Epoch 5: loss=0.0485, accuracy=0.9853  (8 s)
    test accuracy: 98.14%

and saves mnist.png.
"""

from __future__ import annotations

import sys
from pathlib import Path
from time import perf_counter

import numpy as np
from matplotlib import rcParams

import nnfunc as nn
from nnfunc import plots

WHERE = """Pass the path of the MNIST data, the mnist.npz that comes with Keras (11 MB):

    https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz

    python examples/mnist.py path/to/mnist.npz"""

EPOCHS, BATCH_SIZE = 5, 128


def main(data: Path, picture: Path) -> None:
    with np.load(data) as arrays:
        X, Y, X_test, Y_test = (arrays[name] for name in ("x_train", "y_train", "x_test", "y_test"))
    # Pixels from 0 to 1, one row of 784 per image, in float32 like the parameters, which halves the memory.
    X = X.reshape(len(X), 784).astype(np.float32) / 255
    X_test = X_test.reshape(len(X_test), 784).astype(np.float32) / 255

    init_key, train_key = nn.split(nn.key(0))
    model = nn.mlp([784, 256, 128, 10], ["relu", "relu", "softmax"], keep_prob=0.8, initializer="random")
    optimizer = nn.adam(nn.schedules.cosine_decay(3e-3, EPOCHS * (len(X) // BATCH_SIZE + 1)))
    step = nn.train_step(model, nn.sparse_categorical_cross_entropy, optimizer)
    ts = nn.train_state(model, optimizer, init_key, input_shape=(784,))

    begun = perf_counter()
    for epoch in nn.train(step, ts, (X, Y), epochs=EPOCHS, batch_size=BATCH_SIZE, key=train_key):
        print(f"{epoch}  ({perf_counter() - begun:.0f} s)")
    ts = epoch.state
    print(f"test accuracy: {nn.accuracy(model, ts, X_test, Y_test):.2%}")

    predicted = nn.predict_classes(model, ts, X_test)
    wrong = np.flatnonzero(predicted != Y_test)[:25]
    rcParams.update(plots.STYLE)
    fig = plots.figure(10, 4.2)
    left, middle, right = fig.subplots(1, 3)
    plots.weight_images(ts.params["dense1.W"], (28, 28), count=16, limit=0.2, ax=left)
    left.set_title("Weights of 16 hidden units")
    plots.predictions(X_test[wrong].reshape(-1, 28, 28), predicted[wrong], Y_test[wrong], ax=middle)
    middle.set_title("The first 25 mistakes")
    plots.confusion(nn.metrics.confusion_matrix(model, ts, X_test, Y_test), ax=right).set_title("Test images")
    fig.savefig(picture)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        main(Path(sys.argv[1]), Path(__file__).with_suffix(".png"))
    else:
        print(WHERE)
