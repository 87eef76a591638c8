"""A convolutional variational autoencoder: the digits of vae.py, with convolutions and transposed convolutions.

    python examples/conv_vae.py

It prints

    Epoch 1: loss=36.8761
    Epoch 2: loss=29.6973
    Epoch 10: loss=25.5562
    Epoch 30: loss=24.8842
    Epoch 60: loss=24.5671

and saves conv_vae.png. With --quick it stops after two epochs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rcParams
from sklearn.datasets import load_digits

import nnfunc as nn
from nnfunc import plots
from nnfunc.arrays import Array

EPOCHS = 60

# (8, 8, 1) -> (4, 4, 16) -> (2, 2, 32) -> mean and log variance of two latent variables
encoder = nn.serial(
    nn.conv2d(16, kernel_size=3, stride=2, padding="same"),
    nn.relu(),
    nn.conv2d(32, kernel_size=3, stride=2, padding="same"),
    nn.relu(),
    nn.flatten(),
    nn.branch(mu=nn.dense(2), logvar=nn.dense(2)),
)

# two latent variables -> (2, 2, 32) -> (4, 4, 16) -> (8, 8, 1) -> 64 logits: a loss sums over the last axis only
decoder = nn.serial(
    nn.dense(128),
    nn.relu(),
    nn.reshape(2, 2, 32),
    nn.conv_transpose2d(16, kernel_size=4, stride=2, padding="same"),
    nn.relu(),
    nn.conv_transpose2d(1, kernel_size=4, stride=2, padding="same"),
    nn.flatten(),
)


def vae(call: Any, x: Any) -> Any:
    mu, logvar = call("encoder", x)
    return call("decoder", call(nn.reparametrize(), (mu, logvar))), mu, logvar


# The loss and its gradient are those of vae.py, which explains the formula.
bce = nn.binary_cross_entropy_with_logits


def elbo(y: tuple[Array, ...], x: Array) -> tuple[float, Any]:
    logits, mu, logvar = y
    reconstruction, cache = bce.forward(logits, x)
    divergence = 0.5 * (mu**2 + np.exp(logvar) - logvar - 1).sum(axis=1).mean()
    return reconstruction + divergence, (cache, mu, logvar)


def elbo_backward(cache: Any) -> tuple[Array, ...]:
    cache, mu, logvar = cache
    return bce.backward(cache), mu / len(mu), 0.5 * (np.exp(logvar) - 1) / len(mu)


def main(epochs: int, picture: Path) -> None:
    digits = load_digits()
    X, Y = digits.images[..., None] / 16, digits.data / 16  # the same values, (8, 8, 1) and (64,)
    init_key, train_key, check_key = nn.split(nn.key(0), 3)
    model = nn.wired(vae, {"encoder": encoder, "decoder": decoder}, name="vae")
    loss = nn.Loss(elbo, elbo_backward)
    step = nn.train_step(model, loss, nn.adam(nn.schedules.cosine_decay(3e-3, epochs * (len(X) // 64 + 1))))
    ts = nn.train_state(model, step.optimizer, init_key, input_shape=(8, 8, 1))
    nn.check_model(model, ts.params, X[:3], target=Y[:3], loss=loss, state=ts.state, key=check_key).assert_ok()

    for epoch in nn.train(step, ts, (X, Y), epochs=epochs, batch_size=64, key=train_key):
        if epoch.number in (1, 2, 10, 30, epochs):
            print(epoch)
    ts = epoch.state

    _, mu, _ = nn.predict(model, ts, X)
    across = np.linspace(-2.4, 2.4, 15)
    z = np.stack(np.meshgrid(across, -across), axis=-1).reshape(-1, 2)
    logits, _, _ = decoder.forward(ts.params.group("decoder"), ts.state.group("decoder"), z)
    images = np.pad(1 / (1 + np.exp(-logits.reshape(-1, 8, 8))), ((0, 0), (1, 1), (1, 1))).reshape(15, 15, 10, 10)

    rcParams.update(plots.STYLE)
    fig = plots.figure(10, 5.2)
    left, right = fig.subplots(1, 2)
    for digit in range(10):
        own = mu[digits.target == digit]
        left.plot(*own.T, ".", color=plots.COLOURS[digit], markersize=4)
        left.text(*np.median(own, axis=0), str(digit), weight="bold", bbox={"color": "white", "alpha": 0.9, "pad": 1})
    left.set(title="Where the encoder puts the images", aspect="equal")
    right.imshow(images.swapaxes(1, 2).reshape(150, 150), cmap="gray_r", extent=(-2.6, 2.6, -2.6, 2.6))
    right.set(title="What the decoder draws there")
    for ax in (left, right):
        ax.set(xlabel="$z_1$", ylabel="$z_2$", xlim=(-2.6, 2.6), ylim=(-2.6, 2.6))
    fig.savefig(picture)


if __name__ == "__main__":
    main(2 if "--quick" in sys.argv else EPOCHS, Path(__file__).with_suffix(".png"))
