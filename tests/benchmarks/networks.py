"""The training tasks: networks, initial parameters and batches, the same for every contestant.

nnfunc is imported only where it is called, so that the whole programs of its peers do not load it.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import nnfunc as nn
    from nnfunc.arrays import Array

Labels: TypeAlias = "NDArray[Any]"
"""Class numbers (rows,), or 0.0 and 1.0 (rows, 1) for one output."""

Weights: TypeAlias = "list[tuple[Array, Array]]"
"""(W, b) of each layer, W of shape (inputs, units)."""

LEARNING_RATE = 1e-3


class Task(NamedTuple):
    """A network with ReLU hidden layers, trained by Adam in float32 on batches of random data.

    One output has a sigmoid and binary cross-entropy, several have a softmax and cross-entropy on class numbers.
    `members` networks are trained as one (0: a single network); `epoch` is the number of steps of one call, for
    contestants that take many at once; `scale` is the standard deviation of the inputs (1 in the wide network gives
    probabilities at which scikit-learn cuts its loss off).
    """

    name: str
    dims: tuple[int, ...]
    batch: int
    batch_norm: bool = False
    keep_prob: float = 1.0
    members: int = 0
    epoch: int = 100
    scale: float = 1.0

    @property
    def label(self) -> str:
        return f"{self.name} {'-'.join(map(str, self.dims))}, batch {self.batch}"

    @property
    def binary(self) -> bool:
        return self.dims[-1] == 1

    @property
    def size(self) -> int:
        return sum(a * b + b for a, b in pairwise(self.dims))

    def model(self) -> nn.Layer:
        import nnfunc as nn

        activations = ["relu"] * (len(self.dims) - 2) + ["sigmoid" if self.binary else "softmax"]
        return nn.mlp(self.dims, activations, keep_prob=self.keep_prob, batch_norm=self.batch_norm)

    def start(self, member: int | None = None) -> nn.TrainState:
        """The state that training begins with: of the network, of the stack, or of one member of it."""
        import nnfunc as nn

        key: nn.Key | tuple[nn.Key, ...] = nn.key(0)
        if self.members:
            keys = nn.split(nn.key(0), self.members)
            key = keys if member is None else keys[member]
        return nn.train_state(self.model(), self.optimizer(), key, self.dims[:1])

    def optimizer(self) -> nn.Optimizer:
        """Adam in the form that all contestants have: ε outside the root."""
        import nnfunc as nn

        return nn.adam(LEARNING_RATE, eps=1e-8, eps_root=0.0)

    def weights(self) -> Weights:
        """nnfunc's initial parameters, which every contestant begins with; of a stack with a leading axis."""
        params = self.start().params
        return [(np.array(params[f"dense{i}.W"]), np.array(params[f"dense{i}.b"])) for i in range(1, len(self.dims))]

    def batches(self) -> list[tuple[Array, Labels]]:
        """A handful of batches, which every contestant sees in turn."""
        return [self.rows(self.batch, seed) for seed in range(4)]

    def rows(self, rows: int, seed: int = 0) -> tuple[Array, Labels]:
        rng = np.random.default_rng(seed)
        x = rng.normal(scale=self.scale, size=(rows, self.dims[0])).astype(np.float32)
        classes = rng.integers(0, max(self.dims[-1], 2), rows)
        return x, classes[:, None].astype(np.float32) if self.binary else classes


TINY = Task("tiny", (2, 16, 16, 1), 64)
SMALL = Task("small", (64, 64, 32, 10), 64)
MNIST = Task("MNIST size", (784, 256, 128, 10), 128)
WIDE = Task("wide", (784, 2048, 2048, 10), 512, epoch=20, scale=0.1)
TASKS = (TINY, SMALL, MNIST, WIDE)
