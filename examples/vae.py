"""A variational autoencoder: handwritten digits drawn from two numbers, with a loss of one's own.

    python examples/vae.py

It prints

    Epoch 1: loss=38.9161
    Epoch 10: loss=26.5528
    Epoch 100: loss=24.6003

and draws vae.png.
"""

# %%
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import nnfunc as nn
from nnfunc.arrays import Array

# %% [markdown]
# ## The model
#
# An encoder makes of an image a normal distribution of two numbers $z$, its mean $\mu$ and logarithmic variance, and a
# decoder makes of a sample of it an image again. A wire says what is called on what: no more is needed for a network
# that is no chain.


# %%
def vae(call: Any, x: Any) -> Any:
    mu, logvar = call("encoder", x)
    z = call(nn.reparametrize(), (mu, logvar))
    return call("decoder", z), mu, logvar


encoder = nn.serial(nn.dense(128), nn.relu(), nn.branch(mu=nn.dense(2), logvar=nn.dense(2)))
decoder = nn.serial(nn.dense(128), nn.relu(), nn.dense(64))
model = nn.wired(vae, {"encoder": encoder, "decoder": decoder}, name="vae")

# %% [markdown]
# ## The loss
#
# The image is compared with the one that came in, and the distribution with $N(0, 1)$, for each example:
#
# $$L = \mathrm{BCE}(\hat x, x) + \tfrac{1}{2} \sum_j (\mu_j^2 + \sigma_j^2 - \log \sigma_j^2 - 1)$$
#
# The first has its gradient; that of the second is $\mu_j$ and $\frac{1}{2} (\sigma_j^2 - 1)$. `check_model` compares
# all of it with numeric derivatives.

# %%
bce = nn.binary_cross_entropy_with_logits


def elbo(y: tuple[Array, ...], x: Array) -> tuple[float, Any]:
    logits, mu, logvar = y
    reconstruction, cache = bce.forward(logits, x)
    divergence = 0.5 * (mu**2 + np.exp(logvar) - logvar - 1).sum(axis=1).mean()
    return reconstruction + divergence, (cache, mu, logvar)


def elbo_backward(cache: Any) -> tuple[Array, ...]:
    cache, mu, logvar = cache
    return bce.backward(cache), mu / len(mu), 0.5 * (np.exp(logvar) - 1) / len(mu)


digits = load_digits()
X = digits.data / 16
init_key, train_key, check_key = nn.split(nn.key(0), 3)
loss = nn.Loss(elbo, elbo_backward)
step = nn.train_step(model, loss, nn.adam(2e-3))
ts = nn.train_state(model, step.optimizer, init_key, input_shape=(64,))
nn.check_model(model, ts.params, X[:5], target=X[:5], loss=loss, state=ts.state, key=check_key).assert_ok()

# %% [markdown]
# ## Training
#
# The target of an image is the image.

# %%
for epoch in nn.train(step, ts, (X, X), epochs=100, batch_size=64, key=train_key):
    ts = epoch.state
    if epoch.number in (1, 10, 100):
        print(epoch)

# %% [markdown]
# ## What it has learnt
#
# On the left the means of all images: the encoder was told no labels. On the right what the decoder, which is a model
# of its own, draws at points of the same plane.

# %%
_, mu, _ = nn.predict(model, ts, X)
across = np.linspace(-2.4, 2.4, 11)
z = np.stack(np.meshgrid(across, -across), axis=-1)
logits, _, _ = decoder.forward(ts.params.group("decoder"), ts.state.group("decoder"), z)
tiles = np.pad((1 / (1 + np.exp(-logits))).reshape(11, 11, 8, 8), ((0, 0), (0, 0), (1, 1), (1, 1)))

fig = plt.figure(figsize=(10, 5.2), layout="constrained")
left, right = fig.subplots(1, 2)
for digit in range(10):
    own = mu[digits.target == digit]
    left.plot(*own.T, ".", color=plt.colormaps["tab10"](digit), markersize=4)
    left.text(*np.median(own, axis=0), str(digit), weight="bold", bbox={"color": "white", "alpha": 0.7, "pad": 1})
left.set(title="Where the encoder puts the images", aspect="equal")
right.imshow(tiles.swapaxes(1, 2).reshape(110, 110), cmap="gray_r", extent=(-2.6, 2.6, -2.6, 2.6))
right.set(title="What the decoder draws there")
for ax in (left, right):
    ax.set(xlabel="$z_1$", ylabel="$z_2$", xlim=(-2.6, 2.6), ylim=(-2.6, 2.6))

# %% tags=["active-py"]
fig.savefig(__file__.replace(".py", ".png"), dpi=75)
