"""Two moons: two classes that are not linearly separable, and a small network that separates them.

python examples/moons.py

It prints

    Epoch 1: loss=0.756, accuracy=0.3825, test accuracy=0.7410
    Epoch 5: loss=0.2872, accuracy=0.865, test accuracy=0.8590
    Epoch 60: loss=0.0399, accuracy=0.99, test accuracy=0.9830

and saves moons.png.
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
# The data: points on two interleaved half circles, with noise. Rows are examples. All randomness
# comes from one key, which is split for each use.


# %%
def moons(key: nn.Key, examples: int, noise: float = 0.15) -> tuple[Array, Array]:
    """Points on two interleaved half circles with noise, and their classes."""
    random = nn.keys.generator(key)
    Y = np.arange(examples) % 2
    angle = random.uniform(0, np.pi, examples)
    upper = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    lower = np.stack([1 - np.cos(angle), 0.5 - np.sin(angle)], axis=1)
    X = np.where(Y[:, None] == 0, upper, lower) + random.normal(0, noise, (examples, 2))
    return X, Y.astype(float)


data_key, test_key, init_key, train_key = nn.split(nn.key(1), 4)
data, test = moons(data_key, 400), moons(test_key, 1000)

# %% [markdown]
# The network has two hidden layers of 16 units with $\tanh$, and one output, the probability of class 1. A training
# step is a pure function of a state and a batch.

# %%
model = nn.mlp([2, 16, 16, 1], ["tanh", "tanh", "sigmoid"], initializer="glorot")
step = nn.train_step(model, nn.binary_cross_entropy, nn.adam(1e-2))
start = nn.train_state(model, step.optimizer, init_key, input_shape=(2,))

# %% [markdown]
# A train state is immutable, so the states of earlier epochs can be kept without copies. Accuracy on
# 1,000 new points after the first, the fifth and the last epoch:

# %%
epochs = list(nn.train(step, start, data, epochs=60, batch_size=50, key=train_key))
shown = [epochs[i] for i in (0, 4, 59)]
for epoch in shown:
    print(epoch, f"test accuracy={nn.accuracy(model, epoch.state, *test):.4f}", sep=", ")

# %% [markdown]
# The predictions of each of the three over the plane, paler where less certain. The black line is a probability of ½.

# %%
fig = plt.figure(figsize=(10, 3.8), layout="constrained")
for ax, epoch in zip(fig.subplots(1, 3), shown, strict=True):
    plots.decision_boundary(partial(nn.predict, model, epoch.state), *data, ax=ax)
    ax.set_title(f"after epoch {epoch.number}")

# %% tags=["active-py"]
fig.savefig(__file__.replace(".py", ".png"))
