"""Two inputs and two outputs: from an image and a table to a class and a scalar.

    python examples/two_inputs.py

It prints

    value  layer                     formula             of      arrays  shapes                backward
    ---------------------------------------------------------------------------------------------------
    %2     parallel1.image.flatten1  x, its axes joined  %0              (4, 8) → (32,)        no
    %3     parallel1.image.dense1    x W + b             %2      W, b    (32,) → (32,)         yes
    %4     parallel1.image.relu1     max(x, 0)           %3              (32,) → (32,)         yes
    %5     parallel1.table.dense1    x W + b             %1      W, b    (12,) → (16,)         yes
    %6     parallel1.table.relu1     max(x, 0)           %5              (16,) → (16,)         yes
    %7     concatenate1              (x₁, x₂, …)         %4, %6          (32,), (16,) → (48,)  yes
    %8     dense1                    x W + b             %7      W, b    (48,) → (32,)         yes
    %9     relu1                     max(x, 0)           %8              (32,) → (32,)         yes
    %10    branch1.digit.dense1      x W + b             %9      W, b    (32,) → (10,)         yes
    %11    branch1.digit.softmax1    exp(x) / Σ exp(x)   %10             (10,) → (10,)         yes
    %12    branch1.slant             x W + b             %9      W, b    (32,) → (1,)          yes

    Epoch 1: loss=3.437, validation.loss=2.456
    Epoch 10: loss=0.3844, validation.loss=0.3522
    Epoch 60: loss=0.0869, validation.loss=0.1551

    held out         digit right  error of the slant
    both inputs            95.8%                0.15
    another's image        33.1%                0.73
    another's table        45.0%                0.80

and saves two_inputs.png.
"""

# %%
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import nnfunc as nn
from nnfunc import plots
from nnfunc.arrays import Array

plt.rcParams.update(plots.STYLE)

# %% [markdown]
# ## The data
#
# The network sees the upper half of each digit as an image, and for the lower half a table with the amount of ink in
# each row and column. It predicts which digit it is and how much the whole digit leans.


# %%
def slant(images: Array) -> Array:
    """The slope of the line through the ink, in columns to the right per row upwards."""
    ink = images / images.sum(axis=(1, 2), keepdims=True)
    row, column = np.mgrid[3.5:-4:-1, -3.5:4]
    up, along = (ink * row).sum(axis=(1, 2)), (ink * column).sum(axis=(1, 2))
    slope: Array = ((ink * row * column).sum(axis=(1, 2)) - up * along) / ((ink * row**2).sum(axis=(1, 2)) - up**2)
    return slope


digits = load_digits()
images = digits.images / 16
table = np.concatenate([images[:, 4:].sum(axis=1), images[:, 4:].sum(axis=2)], axis=1)
X = images[:, :4], table / table.std(axis=0)
Y = digits.target, slant(images)[:, None] / 0.12

order_key, init_key, train_key, check_key = nn.split(nn.key(0), 4)
order = nn.keys.generator(order_key).permutation(len(table))
held_out, training = order[:360], order[360:]


def rows(value: tuple[Any, Any], which: Any) -> tuple[Any, Any]:
    return value[0][which], value[1][which]


# %% [markdown]
# ## The network
#
# `parallel` has a layer per input, `branch` a layer per output, and `combined` a loss per output. The wiring of a model
# runs once and yields a flat program, which can be printed: each call, its inputs and its parameters.

# %%
model = nn.serial(
    nn.parallel(
        image=nn.serial(nn.flatten(), nn.dense(32), nn.relu()),
        table=nn.serial(nn.dense(16), nn.relu()),
    ),
    nn.concatenate(),
    nn.dense(32),
    nn.relu(),
    nn.branch(digit=nn.serial(nn.dense(10), nn.softmax()), slant=nn.dense(1)),
)
loss = nn.losses.combined(nn.sparse_categorical_cross_entropy, nn.mean_squared_error, weights=(1.0, 0.5))
step = nn.train_step(model, loss, nn.adam(2e-3), nn.l2(0.02))
ts = nn.train_state(model, step.optimizer, init_key, input_shape=((4, 8), (12,)))
print(nn.models.program(model, ((4, 8), (12,))), end="\n\n")

# %%
epochs = []
data, validation = (rows(X, training), rows(Y, training)), (rows(X, held_out), rows(Y, held_out))
for epoch in nn.train(step, ts, data, epochs=60, batch_size=64, key=train_key, validation=validation):
    epochs.append(epoch)
    if epoch.number in (1, 10, 60):
        print(epoch)
ts = epochs[-1].state

# %% [markdown]
# The importance of each input, measured by replacing it with that of another digit.

# %%
(image, table), (digit, slants) = validation
other = nn.keys.generator(check_key).permutation(len(digit))
print("\nheld out         digit right  error of the slant")
for name, inputs in {
    "both inputs": (image, table),
    "another's image": (image[other], table),
    "another's table": (image, table[other]),
}.items():
    said, leaning = nn.predict(model, ts, inputs)
    right = (said.argmax(axis=1) == digit).mean()
    print(f"{name:15}  {right:11.1%}  {np.abs(leaning - slants).mean():18.2f}")
said, leaning = nn.predict(model, ts, (image, table))

# %%
fig = plt.figure(figsize=(10, 4.4), layout="constrained")
left, right_ax = fig.subplots(1, 2)
shown = np.argsort(leaning[:, 0])[9::18]
pale = images[held_out][shown] * np.repeat([1, 0.25], 4)[:, None]
tiles = np.pad(pale, ((0, 0), (3, 1), (2, 2))).reshape(4, 5, 12, 12)
left.imshow(tiles.swapaxes(1, 2).reshape(48, 60), cmap="gray_r")
for i, row in enumerate(shown):
    text = f"{said[row].argmax()}, {leaning[row, 0]:+.1f}"
    left.text(12 * (i % 5) + 5.5, 12 * (i // 5) + 2, text, ha="center", color=plots.COLOURS[0])
left.axis("off")
right_ax.plot(slants, leaning, ".", markersize=4)
right_ax.axline((0, 0), slope=1, color="black", linestyle="--", linewidth=1)
plots.axes.plain(right_ax).set(xlabel="slant of the whole digit", ylabel="what is said", aspect="equal")
for ax, title in ((left, "Digit and slant, as the network says"), (right_ax, "Held-out digits")):
    ax.set_title(title)

# %% tags=["active-py"]
fig.savefig(__file__.replace(".py", ".png"))
