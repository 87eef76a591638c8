"""Distillation: a small network learns from a large one's soft predictions, and recognises a digit it has never seen.

    python examples/distillation.py

The student's images contain no 3. Soft targets show which 8s and 5s look a little like one (Hinton, Vinyals
and Dean, 2015).

It prints

    the teacher reads 97.8% of all digits, 98.4% of the 3s
    students that learn from    all digits       the 3s
    the labels                 87.1% ± 0.3%  0.0% ± 0.0%
    the teacher at T = 1       87.1% ± 0.3%  2.4% ± 2.1%
    the teacher at T = 2       92.7% ± 1.2%  59.5% ± 13.0%
    the teacher at T = 4       94.0% ± 0.9%  72.8% ± 9.3%
    the teacher at T = 8       94.1% ± 0.7%  76.6% ± 6.1%
    the teacher at T = 16      93.6% ± 0.5%  75.4% ± 4.5%

and saves distillation.png.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import nnfunc as nn
from nnfunc import plots
from nnfunc.arrays import Array

plt.rcParams.update(plots.STYLE)

TEMPERATURES, SEEDS = (1, 2, 4, 8, 16), 8

digits = load_digits()
X, Y = digits.data / 16, digits.target
order_key, teacher_key, student_key, train_key = nn.split(nn.key(0), 4)
order = nn.keys.generator(order_key).permutation(len(X))
held_out, training = order[:600], order[600:]
others = training[Y[training] != 3]
threes = held_out[Y[held_out] == 3]

# %% [markdown]
# The teacher is a large network with dropout, which sees all digits. Its outputs are logits.

# %%
teacher = nn.mlp([64, 256, 256, 10], ["relu", "relu", "identity"], keep_prob=0.6)
step = nn.train_step(teacher, nn.sparse_categorical_cross_entropy_with_logits, nn.adam(1e-3))
ts = nn.train_state(teacher, step.optimizer, teacher_key, input_shape=(64,))
*_, last = nn.train(step, ts, (X[training], Y[training]), epochs=40, batch_size=64, key=train_key)
all_right, threes_right = (nn.accuracy(teacher, last.state, X[rows], Y[rows]) for rows in (held_out, threes))
print(f"the teacher reads {all_right:.1%} of all digits, {threes_right:.1%} of the 3s")
logits = nn.predict(teacher, last.state, X[others])

# %% [markdown]
# A temperature $T$ softens its predictions: $\mathrm{softmax}(z / T)$. The student's logits are divided by it in the
# loss, too. Eight students with different keys are trained at once, as a stack.


# %%
def softened(z: Array, T: float) -> Array:
    e = np.exp((z - z.max(axis=1, keepdims=True)) / T)
    probabilities: Array = e / e.sum(axis=1, keepdims=True)
    return probabilities


def students(target: Array, T: float = 1) -> nn.TrainState:
    """Trains the students on all images except the 3s."""
    of_logits = nn.categorical_cross_entropy_with_logits
    loss = nn.Loss(lambda z, target: of_logits.forward(z / T, target), lambda cache: of_logits.backward(cache) / T)
    step = nn.train_step(student, loss, nn.adam(5e-3))
    ts = nn.train_state(student, step.optimizer, nn.split(student_key, SEEDS), input_shape=(64,))
    *_, last = nn.train(step, ts, (X[others], target), epochs=60, batch_size=64, key=train_key)
    return last.state


student = nn.mlp([64, 32, 10], ["relu", "identity"])
trained = {"the labels": students(nn.one_hot(Y[others], 10))}
trained |= {f"the teacher at T = {T}": students(softened(logits, T), T) for T in TEMPERATURES}

# %%
print("students that learn from    all digits       the 3s")
right = {}
for name, ts in trained.items():
    both = right[name] = np.stack([nn.accuracy(student, ts, X[rows], Y[rows]) for rows in (held_out, threes)])
    print(f"{name:25}  {'  '.join(f'{a.mean():.1%} ± {a.std(ddof=1):.1%}' for a in both)}")

# %% [markdown]
# The labels contain no information about 3s, and the teacher at $T = 1$ hardly any, as it is too confident. Softened,
# it shows which of the other digits look like one.

# %%
fig = plt.figure(figsize=(10, 3.4), layout="constrained")
left, middle, last_ax = fig.subplots(1, 3, width_ratios=(2, 3, 3))
most = softened(logits, 8)[:, 3].argmax()
left.imshow(digits.images[others[most]], cmap="gray_r")
left.set(title=f"A {Y[others[most]]} of the training set", xticks=[], yticks=[])
left.spines[:].set_visible(False)
for offset, T in ((-0.2, 1), (0.2, 8)):
    middle.bar(np.arange(10) + offset, softened(logits, T)[most], width=0.4, label=f"T = {T}")
middle.set(title="What the teacher says of it", xlabel="digit", ylabel="probability", xticks=range(10))
labels, *soft = right.values()
for i, (what, colour) in enumerate({"all digits": plots.COLOURS[0], "the 3s": plots.COLOURS[1]}.items()):
    of_soft = np.stack([both[i] for both in soft])
    last_ax.errorbar(TEMPERATURES, of_soft.mean(axis=1), of_soft.std(axis=1), marker="o", color=colour, label=what)
    last_ax.axhline(labels[i].mean(), color=colour, linestyle="--", linewidth=1)
last_ax.set(title="Students that saw no 3", xlabel="temperature (dashed: by labels)", ylabel="accuracy", xscale="log")
last_ax.set_xticks(TEMPERATURES, [str(T) for T in TEMPERATURES])
for ax in (middle, last_ax):
    plots.axes.plain(ax).legend()

# %% tags=["active-py"]
fig.savefig(__file__.replace(".py", ".png"))
