"""Handwritten digits: a network that classifies 1797 images of 8 x 8 pixels.

python examples/digits.py

It prints

    layer     output shape  parameters
    ----------------------------------
    dense1    (256,)            16,640
    relu1     (256,)                 0
    dropout1  (256,)                 0
    dense2    (128,)            32,896
    relu2     (128,)                 0
    dropout2  (128,)                 0
    dense3    (10,)              1,290
    softmax1  (10,)                  0
    ----------------------------------
    total                       50,826
    Epoch 1: loss=1.6983, accuracy=0.4391, validation.loss=0.6297, validation.accuracy=0.8861
    Epoch 10: loss=0.1103, accuracy=0.9652, validation.loss=0.0719, validation.accuracy=0.9722
    Epoch 20: loss=0.0441, accuracy=0.9875, validation.loss=0.0462, validation.accuracy=0.9861
    Epoch 30: loss=0.0327, accuracy=0.9875, validation.loss=0.049, validation.accuracy=0.9861
    Epoch 40: loss=0.0156, accuracy=0.9965, validation.loss=0.0544, validation.accuracy=0.9833
    Epoch 50: loss=0.0171, accuracy=0.9944, validation.loss=0.0476, validation.accuracy=0.9861
    Epoch 60: loss=0.0156, accuracy=0.9972, validation.loss=0.0471, validation.accuracy=0.9889
    validation accuracy: 98.89% (4 of 360 wrong)

and saves digits.png.
"""

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import nnfunc as nn
from nnfunc import plots

plt.rcParams.update(plots.STYLE)

EPOCHS, BATCH_SIZE = 60, 64

# %% [markdown]
# The data: each image is a row of 64 pixels, scaled to [0, 1]. A fifth of the images is held out. All
# randomness comes from one key, split for each use, so repeated runs are bit-identical.

# %%
digits = load_digits()
X, Y = digits.data / 16, digits.target

order_key, init_key, train_key = nn.split(nn.key(0), 3)
order = nn.keys.generator(order_key).permutation(len(X))
held_out, training = order[:360], order[360:]

# %% [markdown]
# The network has 64 inputs, two hidden layers and 10 classes. Dropout keeps it from memorising 1437 images. The
# learning rate follows a cosine down to 0.

# %%
model = nn.mlp([64, 256, 128, 10], ["relu", "relu", "softmax"], keep_prob=0.6)
updates = EPOCHS * math.ceil(len(training) / BATCH_SIZE)
optimizer = nn.adam(nn.schedules.cosine_decay(3e-3, updates))
step = nn.train_step(model, nn.sparse_categorical_cross_entropy, optimizer)
ts = nn.train_state(model, optimizer, init_key, input_shape=(64,))
nn.summary(model, input_shape=(64,))

# %% [markdown]
# `train` is an iterator: the loop decides what happens after each epoch.

# %%
epochs = []
data, validation = (X[training], Y[training]), (X[held_out], Y[held_out])
for epoch in nn.train(step, ts, data, epochs=EPOCHS, batch_size=BATCH_SIZE, key=train_key, validation=validation):
    epochs.append(epoch)
    if epoch.number == 1 or epoch.number % 10 == 0:
        print(epoch)
ts = epochs[-1].state

# %%
predicted, true = nn.predict_classes(model, ts, X[held_out]), Y[held_out]
wrong = np.flatnonzero(predicted != true)
print(f"validation accuracy: {nn.accuracy(model, ts, X[held_out], true):.2%} ({len(wrong)} of {len(true)} wrong)")

# %%
fig = plt.figure(figsize=(10, 4), layout="constrained")
axes = left, middle, right = fig.subplots(1, 3, width_ratios=(3, 4, 3.6))
plots.loss_curves(nn.history(epochs), ax=left).set_yscale("log")
shown = np.concatenate([wrong, np.flatnonzero(predicted == true)])[:20]  # the mistakes first
plots.predictions(digits.images[held_out][shown], predicted[shown], true[shown], columns=5, ax=middle)
plots.confusion(nn.metrics.confusion_matrix(model, ts, X[held_out], true), ax=right)
for ax, title in zip(axes, ("Loss", "Predictions, mistakes first", "Confusion matrix"), strict=True):
    ax.set_title(title)

# %% tags=["active-py"]
fig.savefig(__file__.replace(".py", ".png"))
