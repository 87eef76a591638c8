"""A generative adversarial network: one model learns to generate points, the other to detect generated ones.

    python examples/gan.py

The generator is trained with the gradient of the discriminator with respect to its input.

It prints

    update  100: 10% of 1,000 in a cloud, 3 to 29 in each
    update 1000: 71% of 1,000 in a cloud, 50 to 132 in each
    update 6000: 93% of 1,000 in a cloud, 91 to 131 in each
    losses of the last 1,000 updates: 0.683 and 0.733; of a draw: 0.693

and saves gan.png.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np

import nnfunc as nn
from nnfunc import plots
from nnfunc.arrays import Array

plt.rcParams.update(plots.STYLE)

CLOUDS, STEPS, BATCH_SIZE = 8, 6000, 128

# %% [markdown]
# The data are eight clouds of points on a circle. The generator maps noise to points, and the discriminator estimates
# the probability that a point is from the data.

# %%
angles = 2 * np.pi * np.arange(CLOUDS) / CLOUDS
centres = 2 * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def ring(key: nn.Key, examples: int) -> Array:
    random = nn.keys.generator(key)
    return centres[random.integers(CLOUDS, size=examples)] + random.normal(0, 0.1, (examples, 2))


def noise(key: nn.Key, examples: int) -> Array:
    return nn.keys.generator(key).normal(size=(examples, 2))


generator = nn.mlp([2, 64, 64, 2], ["relu", "relu", "identity"])
discriminator = nn.mlp([2, 64, 64, 1], ["leaky_relu", "leaky_relu", "sigmoid"])
optimizer = nn.adam(nn.schedules.cosine_decay(2e-3, STEPS), beta1=0.5)
generator_key, discriminator_key, loop_key, data_key, test_key = nn.split(nn.key(0), 5)
g = nn.train_state(generator, optimizer, generator_key, input_shape=(2,))
d = nn.train_state(discriminator, optimizer, discriminator_key, input_shape=(2,))
train_discriminator = nn.train_step(discriminator, nn.binary_cross_entropy, optimizer)
judge = nn.value_and_grad(discriminator, nn.binary_cross_entropy)

# %% [markdown]
# One step of each. The discriminator is trained as usual, with target 1 for data and 0 for generated points. The
# generator's loss is the discriminator's with target 1: `need_dx` requests the gradient of the discriminator's input,
# which is the generator's output; `need_grads=False` omits those of the discriminator's parameters, which are fixed.

# %%
ones, zeros = np.ones((BATCH_SIZE, 1)), np.zeros((BATCH_SIZE, 1))
losses, shown = [], {}
for update in range(1, STEPS + 1):
    real_key, noise_key = nn.split(nn.fold_in(loop_key, update))
    made, cache, _ = generator.forward(g.params, g.state, noise(noise_key, BATCH_SIZE), train=True)
    both = np.concatenate([ring(real_key, BATCH_SIZE), made])
    d, metrics = train_discriminator(d, (both, np.concatenate([ones, zeros])))

    judged = judge(d.params, d.state, (made, ones), need_dx=True, need_grads=False)
    _, grads = generator.backward(g.params, cache, judged.dx, need_dx=False)
    params, opt_state = optimizer.step(g.params, grads, g.opt_state)
    g = g._replace(params=params, opt_state=opt_state)

    losses.append((float(metrics.loss), float(judged.value)))
    if update in (100, 1000, STEPS):
        points = shown[update] = nn.predict(generator, g, noise(test_key, 1000))
        distances = np.linalg.norm(points[:, None] - centres, axis=2)
        near = distances.min(axis=1) < 0.3
        counts = np.bincount(distances.argmin(axis=1)[near], minlength=CLOUDS)
        print(f"update {update:4}: {near.mean():3.0%} of 1,000 in a cloud, {counts.min()} to {counts.max()} in each")
told, made = np.mean(losses[-1000:], axis=0)
print(f"losses of the last 1,000 updates: {told:.3f} and {made:.3f}; of a draw: {np.log(2):.3f}")

# %%
fig = plt.figure(figsize=(10, 3), layout="constrained")
*scatters, right = fig.subplots(1, 4, width_ratios=(1, 1, 1, 1.3))
for ax, (update, points) in zip(scatters, shown.items(), strict=True):
    ax.plot(*ring(data_key, 1000).T, ".", color="0.8", markersize=3, label="data")
    ax.plot(*points.T, ".", color=plots.COLOURS[0], markersize=2, label="generator")
    ax.set(title=f"after {update:,} updates", xlim=(-3, 3), ylim=(-3, 3), aspect="equal")
smooth = np.stack([np.convolve(values, np.full(50, 1 / 50), "valid") for values in zip(*losses, strict=True)])
for name, values in zip(("discriminator", "generator"), smooth, strict=True):
    right.plot(values, label=name, linewidth=1)
right.axhline(np.log(2), color="black", linestyle="--", linewidth=1, label="log 2: it cannot tell")
plots.axes.plain(right).set(title="Losses", xlabel="update", ylim=(0.58, 1.1))
for ax, where in ((scatters[-1], "center"), (right, "upper right")):
    ax.legend(loc=where, markerscale=3)

# %% tags=["active-py"]
fig.savefig(__file__.replace(".py", ".png"))
