"""A custom layer: swish with a slope learned by each unit, y = x · σ(βx).

    python examples/custom_layer.py

A hand-written forward and backward, a gradient check of the backward (and of one with a mistake), and a network that
uses them.

It prints

    layer  array  shape   worst error  verdict
    ------------------------------------------
    swish  dx     (4, 3)      5.5e-13  right
    swish  beta   (3,)        7.5e-01  WRONG: scale

    swish.beta: the gradient is 4 times too small in every element (a factor of
    0.25), and 4 is the batch size: the gradient is divided by it once too often.

    Epoch 1: loss=0.6111, accuracy=0.6067
    Epoch 50: loss=0.0016, accuracy=1.0
    Epoch 100: loss=0.0002, accuracy=1.0
    Epoch 150: loss=0.0001, accuracy=1.0
    test accuracy: 99.9%
    swish1.beta: from 0.33 to 3.40, all began at 1
    swish2.beta: from 0.32 to 2.25, all began at 1

and draws custom_layer.png.
"""

# %%
from functools import partial

import matplotlib.pyplot as plt
import numpy as np

import nnfunc as nn
from nnfunc import plots
from nnfunc.arrays import Array

plt.rcParams.update(plots.STYLE)

# %% [markdown]
# ## The layer
#
# $y = x\,\sigma(\beta x)$, with a learned $\beta$ for each feature. With $s = \sigma(\beta x)$, whose
# derivative is $s(1 - s)$,
#
# $$\frac{\partial y}{\partial x} = s + \beta x\, s(1 - s), \qquad
#   \frac{\partial y}{\partial \beta} = x^2 s(1 - s).$$
#
# All examples share $\beta$, so their contributions to its gradient are summed.


# %%
def sigmoid(x: Array) -> Array:
    y: Array = 0.5 * (1 + np.tanh(0.5 * x))
    return y


def swish_init(key: nn.Key, input_shape: tuple[int, ...]) -> dict[str, Array]:
    return {"beta": np.ones(input_shape)}


def swish_forward(params: nn.ArrayDict, x: Array) -> tuple[Array, tuple[Array, Array]]:
    s = sigmoid(params["beta"] * x)
    return x * s, (x, s)  # the second is for backward


def swish_backward(params: nn.ArrayDict, cache: tuple[Array, Array], dy: Array) -> tuple[Array, dict[str, Array]]:
    x, s = cache
    slope = s * (1 - s)  # dσ/d(βx)
    dx = dy * (s + params["beta"] * x * slope)
    dbeta = (dy * x * x * slope).sum(axis=0)  # one β for all examples: sum their gradients
    return dx, {"beta": dbeta}


swish = nn.layer(swish_forward, swish_backward, swish_init, name="swish")

# %% [markdown]
# ## Checking the backward
#
# `check_layer` compares it with numerical derivatives; `assert_ok` raises if they differ. To see a report, here is also
# a common mistake: the mean over the examples instead of the sum.

# %%
nn.check_layer(swish, input_shape=(3,)).assert_ok()


def swish_backward_without_sum(
    params: nn.ArrayDict, cache: tuple[Array, Array], dy: Array
) -> tuple[Array, dict[str, Array]]:
    dx, grads = swish_backward(params, cache, dy)
    return dx, {"beta": grads["beta"] / len(dy)}


forgotten = nn.layer(swish_forward, swish_backward_without_sum, swish_init, name="swish")
print(nn.check_layer(forgotten, input_shape=(3,)).text(), end="\n\n")

# %% [markdown]
# ## A network with the layer
#
# It separates two spirals, one of which is the other rotated by 180°. The layer is used like a built-in one.


# %%
def spirals(key: nn.Key, examples: int) -> tuple[Array, Array]:
    random = nn.keys.generator(key)
    Y = np.arange(examples) % 2
    radius = np.sqrt(random.uniform(0.02, 1, examples))
    angle = 2.5 * np.pi * radius + np.pi * Y
    X = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return X + random.normal(0, 0.03, X.shape), Y.astype(float)


data_key, test_key, init_key, train_key = nn.split(nn.key(0), 4)
data, test = spirals(data_key, 600), spirals(test_key, 1000)
model = nn.mlp([2, 24, 24, 1], [swish, swish, "sigmoid"])
step = nn.train_step(model, nn.binary_cross_entropy, nn.adam(1e-2))
ts = nn.train_state(model, step.optimizer, init_key, input_shape=(2,))
for epoch in nn.train(step, ts, data, epochs=150, batch_size=50, key=train_key):
    ts = epoch.state
    if epoch.number in (1, 50, 100, 150):
        print(epoch)
print(f"test accuracy: {nn.accuracy(model, ts, *test):.1%}")

# %%
betas = ts.params.select("*.beta")
for name, beta in betas.items():
    print(f"{name}: from {beta.min():.2f} to {beta.max():.2f}, all began at 1")

# %%
fig = plt.figure(figsize=(10, 4), layout="constrained")
axes = left, right = fig.subplots(1, 2)
x = np.linspace(-5, 3, 200)
for (name, beta), colour in zip(betas.items(), plots.COLOURS, strict=False):
    lines = left.plot(x, x[:, None] * sigmoid(x[:, None] * beta), color=colour, linewidth=0.8)
    lines[0].set_label(name)
left.plot(x, x * sigmoid(x), "--", color="black", label="all of them at the start")
plots.axes.plain(left).set(xlabel="x", ylabel="x · σ(βx)")
left.legend()
plots.decision_boundary(partial(nn.predict, model, ts), *data, ax=right)
for ax, title in zip(axes, ("The activations learnt", "Two spirals"), strict=True):
    ax.set_title(title)

# %% tags=["active-py"]
fig.savefig(__file__.replace(".py", ".png"))
