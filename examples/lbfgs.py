"""L-BFGS from SciPy, compared with Adam: another library's optimizer only needs the vector of parameters.

python examples/lbfgs.py

It prints

    after 150 gradients  lowest loss  validation accuracy
    L-BFGS                    0.0153  93.3%
    Adam, 0.003               0.1575  92.0%
    Adam, 0.01                0.0402  93.5%
    Adam, 0.03                0.0226  94.1%
    Adam, 0.1                 0.0284  93.5%

and saves lbfgs.png.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import rcParams
from scipy.optimize import minimize
from sklearn.datasets import load_digits

import nnfunc as nn
from nnfunc import plots
from nnfunc.arrays import Array

EVALUATIONS, RATES = 150, (0.003, 0.01, 0.03, 0.1)


def main(picture: Path) -> None:
    digits = load_digits()
    X, Y = digits.data / 16, digits.target
    data, validation = (X[:1200], Y[:1200]), (X[1200:], Y[1200:])

    model = nn.mlp([64, 32, 10], ["tanh", "identity"])  # the outputs are logits, as the loss expects
    loss, penalty = nn.sparse_categorical_cross_entropy_with_logits, nn.l2(0.1)
    value_and_grad = nn.value_and_grad(model, loss, penalty)
    start, state = model.init(nn.key(0), (64,), np.float64)  # a line search needs more precision than float32
    curves: dict[str, list[float]] = {"L-BFGS": []}

    # Converts SciPy's vector to parameters and back: every array of a dict is a view of its vector.
    def loss_and_gradient(vector: Array) -> tuple[float, Array]:
        result = value_and_grad(start.with_vector(vector), state, data)
        curves["L-BFGS"].append(float(result.value))
        return curves["L-BFGS"][-1], result.grads.vector

    options = {"maxfun": EVALUATIONS - 1}  # SciPy performs one more
    found = minimize(loss_and_gradient, start.vector, jac=True, method="L-BFGS-B", options=options)
    assert found.nfev == EVALUATIONS

    ended = {"L-BFGS": nn.train_state(model, nn.gd(), nn.key(0), params=start.with_vector(found.x), state=state)}
    for rate in RATES:
        step = nn.train_step(model, loss, nn.adam(rate), penalty)
        ts, name = nn.train_state(model, step.optimizer, nn.key(0), params=start, state=state), f"Adam, {rate:g}"
        curves[name] = []
        for _ in range(EVALUATIONS):
            ts, metrics = step(ts, data)
            curves[name].append(float(metrics.loss))
        ended[name] = ts

    print(f"after {EVALUATIONS} gradients  lowest loss  validation accuracy")
    for name, ts in ended.items():
        print(f"{name:19}  {min(curves[name]):11.4f}  {nn.accuracy(model, ts, *validation):.1%}")

    rcParams.update(plots.STYLE)
    fig = plots.figure(6.4, 4.2)
    ax = fig.subplots()
    for (name, values), colour in zip(curves.items(), plots.COLOURS, strict=False):
        ax.plot(np.minimum.accumulate(values), color=colour, label=name)
    ax.set(
        yscale="log",
        xlabel="gradients of all 1,200 examples",
        ylabel="lowest loss so far",
        title="64-32-10 network on digits",
    )
    ax.legend()
    plots.axes.plain(ax)
    fig.savefig(picture)


if __name__ == "__main__":
    main(Path(__file__).with_suffix(".png"))
