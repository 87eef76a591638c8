"""Write it yourself: a convolution, an LSTM step and attention in plain NumPy, each with a mistake to find.

    python examples/write_it_yourself.py

None of the code uses nnfunc. `nn.check_function` only needs a forward that returns (y, cache) and a backward of
(dy, cache): it draws a random dy and compares each gradient with numerical derivatives.

It prints

    --- conv

    array  shape         worst error  verdict
    -----------------------------------------
    x      (2, 6, 6, 1)      1.3e-14  right
    W      (3, 3, 1, 6)      8.6e-01  WRONG: transpose
    b      (6,)              2.4e-14  right

    W: the gradient is transposed in its axes 0 and 1.

    --- lstm

    array  shape    worst error  verdict
    ------------------------------------
    x      (5, 3)       1.1e+00  WRONG: missing-term
    h      (5, 4)       7.3e-01  WRONG: missing-term
    c      (5, 4)       8.2e-01  WRONG: missing-term
    W      (7, 16)      8.5e-01  WRONG: missing-term
    b      (16,)        1.1e+00  WRONG: missing-term

    x: y[1] does not contribute: a path or its dy is left out; for y[0] alone it is
    right.

the same for the other four arrays,

    --- attention

    array  shape   worst error  verdict
    -----------------------------------
    q      (6, 5)      5.0e-01  WRONG: axis
    k      (6, 5)      2.3e-01  WRONG: missing-term
    v      (6, 5)      1.0e-14  right

    q: the backward mixes examples, which the forward keeps separate: a sum or mean
    is taken along the wrong axis.

    k: the error has a low rank (10 of 25): a path through a sum, a mean or a
    variance is missing (or extra).

and reports without findings after the fixes. It saves write_it_yourself.png, the location of the errors in the arrays.
"""

# %%
from functools import partial
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

import nnfunc as nn
from nnfunc import plots
from nnfunc.arrays import Array

plt.rcParams.update(plots.STYLE)

rng = np.random.default_rng(0)


def report(title: str, forward: Any, backward: Any, *inputs: Array) -> nn.Report:
    print(f"--- {title}\n")
    found = nn.check_function(forward, backward, *inputs)
    print(found.text(), end="\n\n")
    return found


# %% [markdown]
# ## A convolution
#
# $$y_{pq} = \sum_{ij} x_{p+i,\,q+j} W_{ij} + b$$
#
# over images `x` (examples, height, width, channels): one matrix product per kernel position $ij$, and two in
# the backward. The mistake is in the line with the comment; `mended` fixes it.


# %%
def conv(x: Array, W: Array, b: Array) -> tuple[Array, Any]:
    height, width = x.shape[1] - W.shape[0] + 1, x.shape[2] - W.shape[1] + 1
    y = np.zeros((len(x), height, width, W.shape[3])) + b
    for i, j in np.ndindex(W.shape[:2]):
        y += x[:, i : i + height, j : j + width] @ W[i, j]
    return y, (x, W)


def conv_backward(dy: Array, cache: Any, mended: bool = False) -> tuple[Array, Array, Array]:
    x, W = cache
    _, height, width, _ = dy.shape
    dx, dW = np.zeros_like(x), np.zeros_like(W)
    for i, j in np.ndindex(W.shape[:2]):
        dx[:, i : i + height, j : j + width] += dy @ W[i, j].T
        down, right = (i, j) if mended else (j, i)  # mistake: rows and columns swapped
        seen = x[:, down : down + height, right : right + width]
        dW[i, j] = np.tensordot(seen, dy, axes=([0, 1, 2], [0, 1, 2]))
    return dx, dW, dy.sum(axis=(0, 1, 2))


images = rng.normal(size=(2, 6, 6, 1)), rng.normal(size=(3, 3, 1, 6)), rng.normal(size=6)
of_conv = report("conv", conv, conv_backward, *images)

# %% [markdown]
# Where $i = j$ it makes no difference, so three of the nine kernel positions are right in the figure below.
#
# ## A step of an LSTM
#
# With the gates $i, f, o = \sigma(\cdot)$ and $g = \tanh(\cdot)$ of $[x, h]\, W + b$,
#
# $$c' = f \odot c + i \odot g, \qquad h' = o \odot \tanh c'.$$
#
# It has two outputs, and the backward receives a gradient for each: from the layer above and from the next time step.


# %%
def sigmoid(x: Array) -> Array:
    y: Array = 0.5 * (1 + np.tanh(0.5 * x))
    return y


def lstm(x: Array, h: Array, c: Array, W: Array, b: Array) -> tuple[Array, Array, Any]:
    zi, zf, zo, zg = np.split(np.concatenate([x, h], axis=1) @ W + b, 4, axis=1)
    i, f, o, g = sigmoid(zi), sigmoid(zf), sigmoid(zo), np.tanh(zg)
    c_new = f * c + i * g
    a = np.tanh(c_new)
    return o * a, c_new, (x, h, c, W, i, f, o, g, a)


def lstm_backward(dh: Array, dc: Array, cache: Any, mended: bool = False) -> tuple[Array, ...]:
    x, h, c, W, i, f, o, g, a = cache
    through_h = dh * o * (1 - a**2)
    dc_new = dc + through_h if mended else through_h  # mistake: the gradient of c' from the next step is dropped
    gates = dc_new * g * i * (1 - i), dc_new * c * f * (1 - f), dh * a * o * (1 - o), dc_new * i * (1 - g**2)
    dz = np.concatenate(gates, axis=1)
    dx, dh_before = np.split(dz @ W.T, [x.shape[1]], axis=1)
    return dx, dh_before, dc_new * f, np.concatenate([x, h], axis=1).T @ dz, dz.sum(axis=0)


m, features, units = 5, 3, 4
step = (
    rng.normal(size=(m, features)),
    rng.normal(size=(m, units)),
    rng.normal(size=(m, units)),
    rng.normal(size=(features + units, 4 * units)) / 2,
    rng.normal(size=4 * units),
)
of_lstm = report("lstm", lstm, lstm_backward, *step)

# %% [markdown]
# `y[1]` is the second output, $c'$. In the figure, columns 8 to 11 of `W`, those of $o$, are right: it is the only gate
# that $c'$ does not depend on.
#
# ## Attention
#
# $$y = A v, \qquad A = \mathrm{softmax}(q k^\top / \sqrt d)$$
#
# The gradient through the softmax of a row is $A \odot (dA - \sum_s dA_s A_s)$.


# %%
def attention(q: Array, k: Array, v: Array) -> tuple[Array, Any]:
    scores = q @ k.T / np.sqrt(q.shape[1])
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    A = e / e.sum(axis=1, keepdims=True)
    return A @ v, (q, k, v, A)


def attention_backward(dy: Array, cache: Any, mended: bool = False) -> tuple[Array, Array, Array]:
    q, k, v, A = cache
    dA = dy @ v.T
    axis = 1 if mended else 0  # mistake: the softmax is over axis 1
    dscores = A * (dA - (dA * A).sum(axis=axis, keepdims=True)) / np.sqrt(q.shape[1])
    return dscores @ k, dscores.T @ q, A.T @ dy


positions = tuple(rng.normal(size=(3, 6, 5)))
of_attention = report("attention", attention, attention_backward, *positions)

# %% [markdown]
# The diagnosis is most specific for `q`, whose rows the forward keeps separate: the query of a position does not affect
# the attention of others.
#
# ## The errors as a figure
#
# The gradient error of each element of an array. White is right.

# %%
fig = plt.figure(figsize=(10, 3.4), layout="constrained")
shown = {"conv": (of_conv, "W"), "lstm": (of_lstm, "W"), "attention": (of_attention, "q")}
for ax, (name, (found, array)) in zip(fig.subplots(1, 3), shown.items(), strict=True):
    plots.error_map(next(finding for finding in found.findings if finding.name == array), ax=ax)
    ax.set_title(f"{name}: {ax.get_title()}", fontsize=10)

# %% tags=["active-py"]
fig.savefig(__file__.replace(".py", ".png"))

# %% [markdown]
# ## Fixed

# %%
report("conv, mended", conv, partial(conv_backward, mended=True), *images).assert_ok()
report("lstm, mended", lstm, partial(lstm_backward, mended=True), *step).assert_ok()
report("attention, mended", attention, partial(attention_backward, mended=True), *positions).assert_ok()
