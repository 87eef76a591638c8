"""Overfitting, and two remedies: the same network without and with L2 penalty or dropout, on 100 noisy examples.

python examples/regularisation.py

It prints

    remedy      training loss  validation loss  validation accuracy  best after epoch
    nothing             0.092            1.216                81.8%                28
    L2 penalty          0.211            0.473                84.9%                28
    dropout             0.193            0.553                82.9%                81

and saves regularisation.png.
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
# The data: points inside a circle are of class 1, those outside of class 0, and a tenth of the labels are wrong. A
# network with 17,000 parameters can memorise the wrong labels of 100 examples; 2,000 other points show
# whether it does.


# %%
def rings(key: nn.Key, examples: int, flipped: float = 0.1) -> tuple[Array, Array]:
    random = nn.keys.generator(key)
    X = random.uniform(-1, 1, (examples, 2))
    Y = np.hypot(X[:, 0], X[:, 1]) < 0.75
    return X, np.where(random.random(examples) < flipped, ~Y, Y).astype(float)


data_key, validation_key, init_key, train_key = nn.split(nn.key(0), 4)
data, validation = rings(data_key, 100), rings(validation_key, 2000)

# %% [markdown]
# The remedies. An L2 penalty adds $\frac{\lambda}{2m} \sum \lVert W \rVert^2$ to the loss of a batch of $m$ examples,
# which limits the growth of weights. Dropout keeps each hidden output with probability ½ in a training step, so
# that no unit can rely on another one.

# %%
REMEDIES: dict[str, tuple[float, nn.Penalty | None]] = {  # the probability to keep an output, the penalty
    "nothing": (1.0, None),
    "L2 penalty": (1.0, nn.l2(0.2)),
    "dropout": (0.5, None),
}

# %% [markdown]
# All three networks start from the same weights and see the same batches. An epoch's training loss includes the penalty
# and dropout; the curves show the loss without them, as for validation.

# %%
fig = plt.figure(figsize=(10, 7), layout="constrained")
axes = fig.subplots(2, 3)
print("remedy      training loss  validation loss  validation accuracy  best after epoch")
for column, (name, (keep_prob, penalty)) in zip(axes.T, REMEDIES.items(), strict=True):
    model = nn.mlp([2, 128, 128, 1], ["relu", "relu", "sigmoid"], keep_prob=keep_prob)
    step = nn.train_step(model, nn.binary_cross_entropy, nn.adam(3e-3), penalty)
    ts = nn.train_state(model, step.optimizer, init_key, input_shape=(2,))
    epochs = list(nn.train(step, ts, data, epochs=300, batch_size=25, key=train_key, validation=validation))

    bare = [nn.evaluate(model, step.loss, epoch.state, *data).loss for epoch in epochs]
    last, best = epochs[-1].validation, nn.best_epoch(epochs)
    assert last is not None
    print(f"{name:10}  {bare[-1]:13.3f}  {last.loss:15.3f}  {last.accuracy:19.1%}  {best.number:16}")

    plots.loss_curves(nn.history(epochs) | {"loss": np.array(bare)}, ax=column[0]).set(title=name, ylim=(0, 1.4))
    plots.decision_boundary(partial(nn.predict, model, epochs[-1].state), *data, ax=column[1])

# %% [markdown]
# Without a remedy the training loss keeps falling while the validation loss rises: the boundary bends around
# single points. Both remedies more than halve the final validation loss; neither finds a perfect
# circle, and the accuracies differ by only a few points.

# %% tags=["active-py"]
fig.savefig(__file__.replace(".py", ".png"))
