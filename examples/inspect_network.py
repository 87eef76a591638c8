"""Inspection: three networks on the digits, with vanishing gradients, with dead ReLUs, and healthy.

    python examples/inspect_network.py

It prints

    --- six sigmoids: after 8 epochs 10% are right

    layer     output shape    mean    std  flat  gradient     dW/W
    --------------------------------------------------------------
    dense1    (32,)          -0.13   0.73         5.3e-05  7.3e-05
    sigmoid1  (32,)           0.47   0.16         0.00024
    dense2    (32,)         -0.048   0.59         0.00017  0.00014
    sigmoid2  (32,)           0.49   0.14         0.00075
    dense3    (32,)          0.051   0.73         0.00047  0.00035
    sigmoid3  (32,)           0.51   0.16          0.0021
    dense4    (32,)         -0.027   0.84          0.0014    0.001
    sigmoid4  (32,)            0.5   0.18          0.0063
    dense5    (32,)            0.1   0.78          0.0046   0.0033
    sigmoid5  (32,)           0.52   0.17           0.021
    dense6    (32,)          -0.46   0.68           0.017    0.012
    sigmoid6  (32,)            0.4   0.14           0.075
    dense7    (10,)          -0.14    0.3           0.055    0.066
    softmax1  (10,)            0.1  0.035

    sigmoid6: the outputs differ by 0.00031 between examples, at a size of 0.42:
    later layers cannot tell the examples apart.

    The gradient vanishes on its way down: its norm is 0.055 at dense7 but 5.3e-05
    at dense1, a factor of 0.31 in each of 6 layers. It shrinks most in sigmoid4
    (times 0.22), sigmoid5 (times 0.22), sigmoid1 (times 0.22): the slope of a
    sigmoid is at most 1/4. Try nn.relu with initializer="he" or nn.tanh with
    "glorot", nn.batch_norm or nn.layer_norm, nn.residual.

    2 wrong: 300 examples

    --- ReLU, learning rate 0.1: after 8 epochs 10% are right

    layer     output shape   mean    std  flat        gradient    dW/W
    ------------------------------------------------------------------
    dense1    (64,)           -10    3.4                     0       0
    relu1     (64,)         0.068   0.42  62/64 dead         0
    dense2    (64,)          -2.4    1.9                     0       0
    relu2     (64,)          0.25   0.78  54/64 dead         0
    dense3    (32,)          -7.2    3.8                     0       0
    relu3     (32,)             0      0  32/32 dead      0.15
    dense4    (10,)          0.11   0.11                 0.055  0.0034
    softmax1  (10,)           0.1  0.011

    relu1: 62 of 64 units are 0 for all 300 examples, so they have stopped learning.
    Their inputs are between -19 and -0.026. Usual causes: too large a learning
    rate, inputs that are not scaled, very negative biases. Try a smaller learning
    rate or nn.clip_by_global_norm, x of mean 0 and standard deviation 1,
    nn.leaky_relu.

    relu2: 54 of 64 units are 0 for all 300 examples, so they have stopped learning.
    Their inputs are between -7.9 and -0.12.

    relu3: 32 of 32 units are 0 for all 300 examples, so they have stopped learning.
    Their inputs are between -19 and -0.21.

    3 wrong: 300 examples

    --- ReLU, learning rate 0.001: after 8 epochs 97% are right

    layer     output shape   mean   std  flat           gradient   dW/W
    -------------------------------------------------------------------
    dense1    (64,)          0.59   0.7                    0.045  0.027
    relu1     (64,)          0.66  0.59  2/64 dead         0.049
    dense2    (64,)          0.66   1.5                    0.025  0.028
    relu2     (64,)          0.99   1.1  7/64 dead         0.029
    dense3    (32,)           1.3   2.9                    0.016   0.04
    relu3     (32,)             2     2  4/32 dead         0.018
    dense4    (10,)         -0.83   3.8                    0.011  0.059
    softmax1  (10,)           0.1  0.28  39% saturated

    nothing wrong found: 300 examples

and saves inspect_network.png: the activations of each layer at the top, the gradients below, one curve per epoch.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import rcParams
from sklearn.datasets import load_digits

import nnfunc as nn
from nnfunc import plots

LOSS = nn.sparse_categorical_cross_entropy
NETWORKS: dict[str, tuple[nn.Layer, nn.Optimizer]] = {
    "six sigmoids": (nn.mlp([64, *[32] * 6, 10], ["sigmoid"] * 6 + ["softmax"]), nn.gd(0.3)),
    "ReLU, learning rate 0.1": (nn.mlp([64, 64, 64, 32, 10], ["relu"] * 3 + ["softmax"]), nn.adam(0.1)),
    "ReLU, learning rate 0.001": (nn.mlp([64, 64, 64, 32, 10], ["relu"] * 3 + ["softmax"]), nn.adam(0.001)),
}
EPOCHS = 8


def main(picture: Path) -> None:
    digits = load_digits()
    X, Y = digits.data.astype(np.float32) / 16, digits.target
    init_key, train_key = nn.split(nn.key(0), 2)

    rcParams.update(plots.STYLE)
    fig = plots.figure(12, 8)
    axes = fig.subplots(2, len(NETWORKS))
    for column, (name, (model, optimizer)) in zip(axes.T, NETWORKS.items(), strict=True):
        step = nn.train_step(model, LOSS, optimizer)
        ts = nn.train_state(model, optimizer, init_key, input_shape=(64,))
        inspections = {0: nn.inspect(model, ts, X[:300], target=Y[:300], loss=LOSS)}
        for epoch in nn.train(step, ts, (X, Y), epochs=EPOCHS, batch_size=64, key=train_key):
            ts = epoch.state
            inspections[epoch.number] = nn.inspect(model, ts, X[:300], target=Y[:300], loss=LOSS)
        print(f"--- {name}: after {EPOCHS} epochs {nn.accuracy(model, ts, X, Y):.0%} are right\n")
        print(inspections[EPOCHS], end="\n\n")

        plots.activations(inspections, ax=column[0]).set_title(name)
        plots.gradients(inspections, ax=column[1])
    fig.savefig(picture)


if __name__ == "__main__":
    main(Path(__file__).with_suffix(".png"))
