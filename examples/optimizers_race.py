"""Four optimizers compared: on a surface of two variables, and on a network that classifies digits.

python examples/optimizers_race.py

It prints

    after 200 steps  height on the surface  loss of the network
    gd                              0.0213               0.1388
    momentum                        0.0017               0.1411
    rmsprop                         0.0082               0.0839
    adam                            0.0122               0.0528

and saves optimizers_race.gif.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import rcParams
from PIL import Image, ImageSequence
from sklearn.datasets import load_digits

import nnfunc as nn
from nnfunc import plots
from nnfunc.arrays import Array

STEPS = 200
SURFACE = {"gd": nn.gd(0.01), "momentum": nn.momentum(0.02), "rmsprop": nn.rmsprop(0.02, 0.9), "adam": nn.adam(0.1)}
NETWORK = {"gd": nn.gd(0.3), "momentum": nn.momentum(0.3), "rmsprop": nn.rmsprop(2e-3, 0.9), "adam": nn.adam(5e-3)}


def beale(x: Array, y: Array) -> Array:
    """Beale's function: steep walls, a flat valley, the minimum 0 at (3, 0.5)."""
    return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2


def beale_gradient(x: Array, y: Array) -> Array:
    a, b, c = 1.5 - x + x * y, 2.25 - x + x * y**2, 2.625 - x + x * y**3
    dx = 2 * (a * (y - 1) + b * (y**2 - 1) + c * (y**3 - 1))
    dy = 2 * (a * x + b * 2 * x * y + c * 3 * x * y**2)
    return np.stack([dx, dy])


def walk(optimizer: nn.Optimizer) -> Array:
    """The path of an optimizer, which needs no network, only a dict of arrays and gradients with the same names."""
    params = nn.ArrayDict({"position": [1.0, 1.6]})
    opt_state = optimizer.init(params)
    path = [params["position"]]
    for _ in range(STEPS):
        grads = {"position": beale_gradient(*params["position"])}
        params, opt_state = optimizer.step(params, grads, opt_state)
        path.append(params["position"])
    return np.stack(path)


def losses(optimizer: nn.Optimizer, X: Array, Y: Array) -> Array:
    """The loss before each full-batch step. Every optimizer starts with the same initial network."""
    model = nn.mlp([64, 32, 10], ["relu", "softmax"])
    step = nn.train_step(model, nn.categorical_cross_entropy, optimizer)
    ts = nn.train_state(model, optimizer, nn.key(0), input_shape=(64,))
    values = []
    for _ in range(STEPS + 1):
        ts, metrics = step(ts, (X, Y))
        values.append(metrics.loss)
    return np.array(values)


def share_palette(picture: Path) -> None:
    """Writes the frames anew with one palette, so that what does not move is stored once: a ninth of the size."""
    with Image.open(picture) as film:
        frames = [frame.convert("RGB") for frame in ImageSequence.Iterator(film)]
        duration = film.info["duration"]
    palette = frames[-1].quantize(128, dither=Image.Dither.NONE)
    first, *rest = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    first.save(picture, save_all=True, append_images=rest, duration=duration, loop=0)


def main(picture: Path) -> None:
    digits = load_digits()
    X, Y = digits.data / 16, nn.one_hot(digits.target, 10)
    paths = {name: walk(optimizer) for name, optimizer in SURFACE.items()}
    curves = {name: losses(optimizer, X, Y) for name, optimizer in NETWORK.items()}

    print(f"after {STEPS} steps  height on the surface  loss of the network")
    for name in paths:
        print(f"{name:15}  {beale(*paths[name][-1]):21.4f}  {curves[name][-1]:19.4f}")

    rcParams.update(plots.STYLE)
    fig = plots.figure(8, 3.6)
    left, right = fig.subplots(1, 2)
    left.set_title("Beale's function")
    right.set_title("64-32-10 network on digits")
    right.set_yscale("log")
    window = (0, 4), (-1.8, 1.8)
    animation = plots.optimizer_animation(
        beale, paths, limits=window, minimum=(3, 0.5), losses=curves, frames=51, ax=left, losses_ax=right
    )
    fig.draw_without_rendering()
    fig.set_layout_engine("none")  # the layout is fixed: do not recompute it for every frame
    animation.save(picture, "pillow", fps=10)
    share_palette(picture)


if __name__ == "__main__":
    main(Path(__file__).with_suffix(".gif"))
