"""A custom training loop: value, gradient and step from the individual parts.

    python examples/custom_loop.py

The gradients of 8 small batches are accumulated (as when a large batch does not fit in memory), and
the norm of the gradient is monitored and clipped.

It prints

    update   0: loss 1.8308, gradient norm 2.971 (dense1.W 1.22, dense2.W 1.68, dense3.W 1.24)
    update 100: loss 0.5578, gradient norm 2.536 (dense1.W 0.51, dense2.W 0.55, dense3.W 2.36)
    update 200: loss 0.0401, gradient norm 0.324 (dense1.W 0.06, dense2.W 0.12, dense3.W 0.29)
    update 300: loss 0.0445, gradient norm 0.203 (dense1.W 0.12, dense2.W 0.09, dense3.W 0.11)
    update 400: loss 0.0323, gradient norm 0.371 (dense1.W 0.10, dense2.W 0.13, dense3.W 0.33)
    update 499: loss 0.0256, gradient norm 0.097 (dense1.W 0.07, dense2.W 0.04, dense3.W 0.03)

and saves custom_loop.png.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np

import nnfunc as nn
from nnfunc import plots
from nnfunc.arrays import Array

plt.rcParams.update(plots.STYLE)

PARTS, UPDATES, MAX_NORM = 8, 500, 2.0

# %% [markdown]
# The data: $y = x \sin(3x)$ plus noise.


# %%
def waves(key: nn.Key, examples: int) -> tuple[Array, Array]:
    random = nn.keys.generator(key)
    X = random.uniform(-3, 3, (examples, 1))
    return X, np.sin(3 * X) * X + random.normal(0, 0.1, X.shape)


data_key, init_key, loop_key = nn.split(nn.key(0), 3)
X, Y = waves(data_key, 2048)

# %% [markdown]
# The parts. The model, the loss and the optimizer are named tuples of pure functions. Parameters, the model's state
# and the optimizer's state are immutable dicts of arrays, which the loop passes on.

# %%
model = nn.mlp([1, 64, 64, 1], ["tanh", "tanh", "identity"], initializer="glorot")
value_and_grad = nn.value_and_grad(model, nn.mean_squared_error)
optimizer = nn.adam(nn.schedules.cosine_decay(1e-2, UPDATES))
params, state = model.init(init_key, (1,))
opt_state = optimizer.init(params)

# %% [markdown]
# The loop. `value_and_grad` is the first half of a step: forward, loss and backward of a batch. The gradients of 8
# small batches are averaged to $g$, and clipped to a norm of 2: $g \min(1, 2 / \lVert g \rVert)$. All
# parameters are one vector, so the norm is a single call.

# %%
values, norms = [], []
for update in range(UPDATES):
    update_key = nn.fold_in(loop_key, update)
    value, gradient = 0.0, params * 0.0
    small = nn.minibatches(update_key, (X, Y), batch_size=32)
    for part, batch in zip(range(PARTS), small, strict=False):
        result = value_and_grad(params, state, batch, key=nn.fold_in(update_key, part))
        state = result.state  # of batch norm, for example; this model has none
        value += float(result.value) / PARTS
        gradient = gradient + result.grads / PARTS  # dicts are added by name

    norm = float(np.linalg.norm(gradient.vector))
    clipped = gradient * min(1.0, MAX_NORM / norm)
    params, opt_state = optimizer.step(params, clipped, opt_state)

    values.append(value)
    norms.append(norm)
    if update % 100 == 0 or update == UPDATES - 1:
        by_layer = ", ".join(f"{name} {np.linalg.norm(g):.2f}" for name, g in gradient.select("*.W").items())
        print(f"update {update:3}: loss {value:.4f}, gradient norm {norm:.3f} ({by_layer})")

# %%
fig = plt.figure(figsize=(10, 3.6), layout="constrained")
axes = left, middle, right = fig.subplots(1, 3)
left.semilogy(values, color=plots.COLOURS[0])
left.set(xlabel="update", ylabel="mean squared error")
middle.semilogy(norms, color=plots.COLOURS[1], linewidth=1)
middle.axhline(MAX_NORM, color="black", linestyle="--", linewidth=1, label="clipped above")
middle.set(xlabel="update", ylabel="norm of the gradient")
middle.legend()
x = np.linspace(-3, 3, 300)[:, None]
curve = model.forward(params, state, x)[0]
right.plot(X[:300], Y[:300], ".", color="0.7", markersize=4, label="data")
right.plot(x, curve, color=plots.COLOURS[0], label="network")
right.set(xlabel="x", ylabel="y")
right.legend()
for ax, title in zip(axes, ("Loss", "Gradient", "The curve learnt"), strict=True):
    plots.axes.plain(ax).set_title(title)

# %% tags=["active-py"]
fig.savefig(__file__.replace(".py", ".png"))
