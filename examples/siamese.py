"""A siamese network: one network shared by two images learns similarity, and embeds digits in a plane.

    python examples/siamese.py

It prints

    Epoch 1: loss=0.094
    Epoch 10: loss=0.0294
    Epoch 100: loss=0.0018
    nearest image of the same digit: 98.6% by the 64 pixels, 98.1% in the plane

and saves siamese.png.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import nnfunc as nn
from nnfunc import plots
from nnfunc.arrays import Array

plt.rcParams.update(plots.STYLE)

EPOCHS, MARGIN = 100, 1.0

digits = load_digits()
X, Y = digits.data / 16, digits.target
order_key, init_key, loop_key = nn.split(nn.key(0), 3)
order = nn.keys.generator(order_key).permutation(len(X))
held_out, training = order[:360], order[360:]

# %% [markdown]
# ## The model and its loss
#
# `shared` applies one network, with one set of parameters, to each input; its gradients are summed. The output is a
# pair of points $(a, b)$ in the plane. Images of the same digit should be close, others a margin of 1 apart (Hadsell,
# Chopra and LeCun, 2006): with $d = \lVert a - b \rVert$,
#
# $$L = \frac{1}{2m} \sum_i \begin{cases} d_i^2 & \text{same digit} \\ \max(0, 1 - d_i)^2 & \text{others} \end{cases}
#   \qquad
#   \frac{\partial L}{\partial a_i} = -\frac{\partial L}{\partial b_i} = \frac{1}{m}
#   \begin{cases} a_i - b_i \\ -\max(0, 1 - d_i)\, (a_i - b_i) / d_i \end{cases}$$

# %%
tower = nn.mlp([64, 128, 64, 2], ["relu", "relu", "identity"])
model = nn.shared(tower)


def contrastive(y: tuple[Array, Array], same: Array) -> tuple[float, Array]:
    difference = y[0] - y[1]
    distance = np.sqrt((difference**2).sum(axis=1, keepdims=True) + 1e-9)  # not 0 where the two images are identical
    gap = np.maximum(0, MARGIN - distance)
    value = 0.5 * np.mean(np.where(same, distance**2, gap**2))
    return float(value), np.where(same, 1, -gap / distance) * difference / len(difference)


loss = nn.Loss(contrastive, lambda slope: (slope, -slope))

# %% [markdown]
# ## Training
#
# New pairs for each epoch: half with the same digit, half with random ones.


# %%
def pairs(key: nn.Key) -> tuple[tuple[Array, Array], Array]:
    random = nn.keys.generator(key)
    partners = random.permutation(training)
    for digit in range(10):  # pair every second image with one of the same digit
        own = training[Y[training] == digit]
        partners[np.flatnonzero(Y[training] == digit)[::2]] = random.choice(own, len(own[::2]))
    return (X[training], X[partners]), (Y[training] == Y[partners])[:, None]


step = nn.train_step(model, loss, nn.adam(nn.schedules.cosine_decay(3e-3, EPOCHS * 23)))
ts = nn.train_state(model, step.optimizer, init_key, input_shape=((64,), (64,)))
x, same = pairs(loop_key)
nn.check_model(model, ts.params, (x[0][:4], x[1][:4]), target=same[:4], loss=loss, state=ts.state).assert_ok()
for number in range(1, EPOCHS + 1):
    key = nn.fold_in(loop_key, number)
    epoch = next(nn.train(step, ts, pairs(key), epochs=1, batch_size=64, key=key))
    ts = epoch.state
    if number in (1, 10, EPOCHS):
        print(epoch)

# %% [markdown]
# ## The plane
#
# Held-out images are classified by their nearest training image, in the plane and in the space of the 64 pixels.

# %%
(points,) = nn.predict(model, ts, (X,))


def same_digit(points: Array) -> float:
    distances = np.linalg.norm(points[held_out][:, None] - points[training], axis=2)
    return float(np.mean(Y[training][distances.argmin(axis=1)] == Y[held_out]))


print(f"nearest image of the same digit: {same_digit(X):.1%} by the 64 pixels, {same_digit(points):.1%} in the plane")

# %%
fig = plt.figure(figsize=(10, 5), layout="constrained")
sets = {"Training images": training, "Held-out images": held_out}
for ax, (title, rows) in zip(fig.subplots(1, 2), sets.items(), strict=True):
    for digit in range(10):
        own = points[rows][Y[rows] == digit]
        ax.plot(*own.T, ".", color=plots.COLOURS[digit], markersize=4)
        ax.text(*np.median(own, axis=0), str(digit), weight="bold", bbox={"color": "white", "alpha": 0.9, "pad": 1})
    ax.set(title=title, aspect="equal")

# %% tags=["active-py"]
fig.savefig(__file__.replace(".py", ".png"))
