"""The cost and speed-up of data-parallel training on 1 to 10,000 processes (ranks), by a model fitted to this machine.

    python examples/cost_of_a_step.py

A step of R ranks with b rows each takes

    T(R, b) = (c + b·p)·E[max of R uneven times] + allreduce(R, bytes) + u

where c + b·p for value and gradients (a fixed cost, and the matrix products per row) and u for Adam's update are
measured locally. The gradients are reduced after the backward, as in nnfunc, without overlap. A message of m bytes
takes α + m·β, and adding takes γ per byte. The faster of ring and tree is used (Thakur, Rabenseifner & Gropp 2005).

It prints

    64-64-32-10: 59 µs + 0.43 µs for a row (89 GFlop/s), Adam 28 µs
    784-256-128-10: 240 µs + 7.72 µs for a row (182 GFlop/s), Adam 707 µs
    784-2048-2048-10: 10246 µs + 225.24 µs for a row (155 GFlop/s), Adam 37162 µs

    Ethernet, 1 Gbit/s, 50 µs: thousand rows a second of uneven ranks, efficiency; batch of all from which it pays
    network, rows a rank               1              2             16          1,000         10,000 2 ranks  16: 8-fold
    64-64-32-10, 64             558 100%       296  27%       505   6%    11,841   2%    85,162   2%   2,048     131,072
    784-256-128-10, 128          66 100%        26  20%       114  11%     1,089   2%     5,892   1%   2,048      65,536
    784-2048-2048-10, 512         3 100%         3  45%        15  30%       745  24%     3,204  10%   2,048      32,768

    InfiniBand, 100 Gbit/s, 2 µs: thousand rows a second of uneven ranks, efficiency; batch of all from which it pays
    network, rows a rank               1              2             16          1,000         10,000 2 ranks  16: 8-fold
    64-64-32-10, 64             558 100%     1,002  90%     5,553  62%   226,787  41% 1,864,730  33%      64       8,192
    784-256-128-10, 128          66 100%       118  89%       807  76%    21,965  33%   175,365  27%      64       4,096
    784-2048-2048-10, 512         3 100%         6  94%        42  84%     2,299  73%    19,027  60%      64       4,096

    Horovod on 512 GPUs, 25 Gbit/s     the formula, without and with overlap    published
    Inception V3                          87%   100%                               90 %
    ResNet-101                            84%   100%                               90 %
    VGG-16                                54%   100%                               68 %
    PyTorch DDP, 256 GPUs (ResNet-50, BERT)                                 near-linear

On Ethernet it does not pay for these networks: two ranks are slower than one (an efficiency below 1/2) until a batch
has 2,048 rows, and 16 ranks are 8 times faster only with batches so large that training needs more epochs. On
InfiniBand the large network scales; the small ones lose half or more to the messages of 1,000 ranks. For the large
network uneven ranks cost more than the messages: all wait for the slowest of R. The stars lie between the two columns
of the formula, since Horovod and DDP send the gradients of the last layers while those of the first are computed.
nnfunc does not, so the first column applies.
The formula does not cover ranks that share memory on one machine: `python -m tests.benchmarks distributed`.

It saves cost_of_a_step.png.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from math import ceil, inf, log2
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
from matplotlib import rcParams

import nnfunc as nn
from nnfunc import plots

RANKS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000, 2000, 5000, 10_000)
SHOWN = (1, 2, 16, 1000, 10_000)
NETWORKS: dict[tuple[int, ...], int] = {(64, 64, 32, 10): 64, (784, 256, 128, 10): 128, (784, 2048, 2048, 10): 512}
"""The rows of each rank."""

UNEVEN = 0.1
"""The times of the ranks vary by 10 % (a log-normal distribution)."""


class Network(NamedTuple):
    """Seconds per message, per transferred byte, and per added byte."""

    alpha: float
    beta: float
    gamma: float = 1 / 5e9


ETHERNET, INFINIBAND = Network(50e-6, 8 / 1e9), Network(2e-6, 8 / 100e9)
HARDWARE = {"Ethernet, 1 Gbit/s, 50 µs": ETHERNET, "InfiniBand, 100 Gbit/s, 2 µs": INFINIBAND}


class Line(NamedTuple):
    """A linear cost: a fixed time, and a time per unit."""

    fixed: float
    each: float

    def __call__(self, count: float) -> float:
        return self.fixed + count * self.each


class Costs(NamedTuple):
    """The costs of a network on this machine: value and gradients by rows, the update, and the gradients' bytes."""

    gradients: Line
    update: float
    size: int


# -- the formula -------------------------------------------------------------------------------------------------------


def ring(net: Network, ranks: int, size: float) -> float:
    """Each rank sends 2(R − 1) parts of size/R bytes, and adds the first half of them."""
    alpha, beta, gamma = net
    return 2 * (ranks - 1) * alpha + (ranks - 1) / ranks * size * (2 * beta + gamma)


def tree(net: Network, ranks: int, size: float) -> float:
    """log₂ R messages up, with additions, and as many down."""
    alpha, beta, gamma = net
    return ceil(log2(ranks)) * (2 * alpha + size * (2 * beta + gamma))


def allreduce(net: Network, ranks: int, size: float) -> float:
    return min(ring(net, ranks, size), tree(net, ranks, size))


def slowest(ranks: int, spread: float, trials: int = 200) -> float:
    """The expected maximum of this many random times with mean 1."""
    times = np.random.default_rng(0).lognormal(-(spread**2) / 2, spread, (trials, ranks))
    return float(times.max(axis=1).mean())


def step_time(costs: Costs, net: Network, ranks: int, rows: float, longest: float = 1.0) -> float:
    """The time of a step with this many ranks and rows per rank."""
    return costs.gradients(rows) * longest + allreduce(net, ranks, costs.size) + costs.update


def efficiency(costs: Costs, net: Network, ranks: int, rows: float, longest: float = 1.0) -> float:
    """The rows per second of each rank, relative to a single rank."""
    return step_time(costs, net, 1, rows) / step_time(costs, net, ranks, rows, longest)


def pays_from(costs: Costs, net: Network, ranks: int, gain: float) -> float:
    """The smallest batch of 2ᵏ rows for which the ranks reach this speed-up; inf if there is none."""
    batches = (float(1 << k) for k in range(ranks.bit_length() - 1, 31))
    paying = (b for b in batches if step_time(costs, net, 1, b) >= gain * step_time(costs, net, ranks, b / ranks))
    return next(paying, inf)


# -- measurements ------------------------------------------------------------------------------------------------------


def seconds(call: Callable[[], object], least: float = 0.15) -> float:
    """The shortest time of several calls."""
    times: list[float] = []
    while len(times) < 4 or sum(times) < least:
        begun = perf_counter()
        call()
        times.append(perf_counter() - begun)
    return min(times[1:])


def fitted(counts: Sequence[float], times: Sequence[float]) -> Line:
    """The line with the least squared relative errors."""
    each, fixed = np.polyfit(counts, times, 1, w=1 / np.array(times))
    return Line(max(float(fixed), 0.0), float(each))


def measured(dims: Sequence[int]) -> Costs:
    model = nn.mlp(dims, ["relu"] * (len(dims) - 2) + ["softmax"])
    function = nn.value_and_grad(model, nn.sparse_categorical_cross_entropy)
    params, state = model.init(nn.key(0), (dims[0],))
    rng, counts = np.random.default_rng(0), (16, 64, 256)
    batches = [(rng.normal(size=(rows, dims[0])).astype(np.float32), rng.integers(0, 10, rows)) for rows in counts]
    line = fitted(counts, [seconds(partial(function.__call__, params, state, batch)) for batch in batches])
    adam = nn.adam()
    return Costs(line, seconds(partial(adam.step, params, params, adam.init(params))), 4 * params.size)


# -- predictions -------------------------------------------------------------------------------------------------------

PUBLISHED = {
    "Inception V3": (24e6, 140, "90 %"),
    "ResNet-101": (44.6e6, 105, "90 %"),
    "VGG-16": (138e6, 150, "68 %"),
}
"""Parameters, approximate images per second of one P100 GPU, and the efficiency of 512 of them on 25 Gbit/s with
batches of 64, as published by Sergeev & Del Balso (2018)."""


def print_published() -> None:
    """Prints the model's predictions for published measurements."""
    print("\nHorovod on 512 GPUs, 25 Gbit/s     the formula, without and with overlap    published")
    for name, (size, speed, published) in PUBLISHED.items():
        compute, message = 64 / speed, ring(Network(5e-6, 8 / 25e9, 0.0), 512, 4 * size)
        after, beside = compute / (compute + message), compute / max(compute, message)
        print(f"{name:<34} {after:>6.0%} {beside:>6.0%} {published:>34}")
    print(f"{'PyTorch DDP, 256 GPUs (ResNet-50, BERT)':<48} {'near-linear':>34}")


def main(picture: Path) -> None:
    costs = {dims: measured(dims) for dims in NETWORKS}
    for dims, (line, update, _) in costs.items():
        speed = 6 * sum(a * b for a, b in pairwise(dims)) / line.each / 1e9
        print(
            f"{name(dims)}: {1e6 * line.fixed:.0f} µs + {1e6 * line.each:.2f} µs for a row ({speed:.0f} GFlop/s), ",
            end="",
        )
        print(f"Adam {1e6 * update:.0f} µs")
    longest = {ranks: slowest(ranks, UNEVEN) for ranks in RANKS}
    rcParams.update(plots.STYLE)
    fig = plots.figure(10, 4)
    panels = fig.subplots(1, 2, sharey=True)
    for (title, net), ax in zip(HARDWARE.items(), panels, strict=True):
        print_table(title, net, costs, longest)
        for (dims, rows), colour, marker in zip(NETWORKS.items(), plots.COLOURS, plots.MARKERS, strict=False):
            even = [100 * efficiency(costs[dims], net, R, rows) for R in RANKS]
            uneven = [100 * efficiency(costs[dims], net, R, rows, longest[R]) for R in RANKS]
            ax.plot(RANKS, even, color=colour, marker=marker, ms=4, label=f"{name(dims)}, {rows} rows a rank")
            ax.plot(RANKS, uneven, color=colour, linestyle="--", linewidth=1)
        ax.plot(RANKS, [100 / R for R in RANKS], color="0.6", linewidth=1, label="slower than one rank alone below")
        ax.set(xscale="log", xlabel="ranks R", title=title, ylim=(0, 105))
        plots.axes.plain(ax)
    print_published()
    panels[0].set_ylabel("efficiency (% of R times one rank)")
    panels[0].legend(title="dashed: of uneven ranks", loc="upper right")
    panels[1].plot([512, 512], [90, 68], "k*")
    panels[1].text(600, 88, "Inception V3,\nResNet-101", va="top", fontsize="small")
    panels[1].text(600, 68, "VGG-16", va="center", fontsize="small")
    panels[1].text(13_000, 4, "stars: Horovod on 25 Gbit/s (2018)", ha="right", fontsize="small")
    fig.savefig(picture)


def name(dims: Sequence[int]) -> str:
    return "-".join(map(str, dims))


def print_table(title: str, net: Network, costs: Mapping[tuple[int, ...], Costs], longest: Mapping[int, float]) -> None:
    print(f"\n{title}: thousand rows a second of uneven ranks, efficiency; batch of all from which it pays")
    print(f"{'network, rows a rank':<21}" + "".join(f"{R:>15,}" for R in SHOWN) + " 2 ranks  16: 8-fold")
    for dims, rows in NETWORKS.items():
        alone = rows / step_time(costs[dims], net, 1, rows) / 1e3
        shares = {R: efficiency(costs[dims], net, R, rows, longest[R]) for R in SHOWN}
        cells = "".join(f"{alone * R * share:>10,.0f}{share:>5.0%}" for R, share in shares.items())
        pays = f"{pays_from(costs[dims], net, 2, 1):>8,.0f}{pays_from(costs[dims], net, 16, 8):>12,.0f}"
        print(f"{f'{name(dims)}, {rows}':<21}{cells}{pays}")


if __name__ == "__main__":
    main(Path(__file__).with_suffix(".png"))
