"""Find the bug: a homework network in plain NumPy with three mistakes, found one after another.

    python examples/find_the_bug.py

The network does not use nnfunc: `nn.check_gradients` only needs two functions over a dict of arrays. Each report
says what is wrong in which array. The mistake is then fixed, and the next one shows.

It prints

    --- 0 of 3 mistakes fixed

    array  shape    worst error  verdict
    ------------------------------------
    W1     (12, 8)               WRONG: nondeterministic
    b1     (8,)                  WRONG: nondeterministic
    W2     (8, 3)                not compared
    b2     (3,)                  not compared

    W1: two calls of grads_fn at the same point differ: it draws from 'rng' in each
    call: draw masks and samples once, and use the same in both functions.

    b1: two calls of grads_fn at the same point differ: it draws from 'rng' in each
    call: draw masks and samples once, and use the same in both functions.

    --- 1 of 3 mistakes fixed

    array  shape    worst error  verdict
    ------------------------------------
    W1     (12, 8)      3.2e-12  right
    b1     (8,)         1.5e-11  right
    W2     (8, 3)       1.1e-01  WRONG: penalty
    b2     (3,)         9.8e-01  WRONG: scale

    W2: the gradient has an extra term 0.02 · parameter, which is decay: a penalty
    is missing, or has a different factor, in the loss or in the gradient.

    b2: the gradient is 40 times too small in every element (a factor of 0.025), and
    40 is the batch size: the gradient is divided by it once too often.

and so on, until all gradients are right. It saves find_the_bug.png, a plot of the last mistake.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np

import nnfunc as nn
from nnfunc import plots
from nnfunc.arrays import Array

plt.rcParams.update(plots.STYLE)

# %% [markdown]
# ## The homework
#
# Classify 40 examples by a $\tanh$ layer with dropout and a softmax layer, with an L2 penalty on the weights:
#
# $$A = \tanh(X W_1 + b_1), \quad P = \mathrm{softmax}((A \odot M)\, W_2 + b_2), \quad
#   L = -\frac{1}{m} \sum_i \log P_{i, y_i} + \frac{\lambda}{2} (\lVert W_1 \rVert^2 + \lVert W_2 \rVert^2)$$

# %%
rng = np.random.default_rng(0)
m, features, hidden, classes = 40, 12, 8, 3
X, labels = rng.normal(size=(m, features)), rng.integers(0, classes, size=m)
decay, keep_prob = 0.02, 0.75
mask = (rng.random((m, hidden)) < keep_prob) / keep_prob

Params = dict[str, Array]


def forward(p: Params) -> tuple[Array, Array, Array]:
    a = np.tanh(X @ p["W1"] + p["b1"])
    scores = (a * mask) @ p["W2"] + p["b2"]
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    return a, a * mask, e / e.sum(axis=1, keepdims=True)


def loss(p: Params) -> float:
    _, _, probabilities = forward(p)
    penalty = 0.5 * decay * (np.sum(p["W1"] ** 2) + np.sum(p["W2"] ** 2))
    return float(-np.mean(np.log(probabilities[np.arange(m), labels])) + penalty)


# %% [markdown]
# The gradients as handed in, with three mistakes. The first `mended` of them are fixed, so that the next one shows.


# %%
def grads(p: Params, mended: int) -> Params:
    a, h, probabilities = forward(p)
    dscores = (probabilities - np.eye(classes)[labels]) / m
    new_mask = mask if mended >= 1 else (rng.random((m, hidden)) < keep_prob) / keep_prob  # mistake 1: a new mask
    dz = dscores @ p["W2"].T * new_mask * (1 - a**2)
    db2 = dscores.sum(axis=0) if mended >= 2 else dscores.mean(axis=0)  # mistake 2: dscores already includes 1/m
    factor = decay if mended >= 3 else 2 * decay  # mistake 3: the 1/2 of the penalty is forgotten
    return {
        "W1": X.T @ dz + decay * p["W1"],
        "b1": dz.sum(axis=0),
        "W2": h.T @ dscores + factor * p["W2"],
        "b2": db2,
    }


params = {
    "W1": rng.normal(size=(features, hidden)) / np.sqrt(features),
    "b1": 0.1 * rng.normal(size=hidden),
    "W2": rng.normal(size=(hidden, classes)) / np.sqrt(hidden),
    "b2": 0.1 * rng.normal(size=classes),
}


def check(mended: int) -> nn.Report:
    print(f"--- {mended} of 3 mistakes fixed\n")
    report = nn.check_gradients(loss, lambda p: grads(p, mended), params, batch_size=m)
    print(report.text(), end="\n\n")
    return report


# %% [markdown]
# ## The first mistake
#
# Gradients that differ between calls cannot be checked, so this is reported first.

# %%
report = check(mended=0)

# %% [markdown]
# The backward draws a new mask, but needs the forward's. After the fix, two arrays are right and two are wrong in
# different ways:

# %%
report = check(mended=1)

# %% [markdown]
# `dscores` already includes $1/m$, so the gradient of `b2` is its sum. One mistake is left:

# %%
report = check(mended=2)

# %% [markdown]
# As a plot: every element of the gradient against its numerical value, and the errors by position in the array. They
# have the pattern of the weights.

# %%
fig = plt.figure(figsize=(10, 4), layout="constrained")
for ax, draw in zip(fig.subplots(1, 2), (plots.gradient_scatter, plots.error_map), strict=True):
    draw(report.findings[0], ax=ax)

# %% tags=["active-py"]
fig.savefig(__file__.replace(".py", ".png"))

# %% [markdown]
# The derivative of $\frac{\lambda}{2} W^2$ is $\lambda W$, not $2 \lambda W$. With this fixed, all gradients are right.

# %%
report = check(mended=3)
