"""The result of an inspection: a row per layer, and the findings, as text and for notebooks."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from nnfunc._internal.text import html_table, paragraphs, text_table
from nnfunc.arrays import Array, ArrayDict
from nnfunc.inspection.units import FEW, norm, short
from nnfunc.report import Finding

HEAD = ("layer", "output shape", "mean", "std", "flat", "gradient", "dW/W")


class LayerInspection(NamedTuple):
    """One layer: its output for the examples, and the gradient of the output.

    Attributes:
        name: the path of the layer in the model, like "dense2" or "residual1.dense1".
        output: its activations (examples, ..., units), read-only. For a layer that is called more than once, those of
            all calls, concatenated along the axis of the examples.
        gradient: the gradient of the loss with respect to `output`, read-only; None if it is not computed: before all
            trained parameters, and for an output activation that is fused with its loss.
        units: the length of the last axis.
        dead: the number of units that are 0 for all examples although their inputs are not.
        saturated: the fraction of the outputs of a sigmoid or tanh within 1 % of a limit, or of the rows of a softmax
            with a probability above 99 %; NaN for other layers.
        params, grads: the parameters of the layer, and their gradients: empty if gradient is None, without frozen ones.

    >>> model = nn.serial(nn.dense(3), nn.relu(), nn.dense(1))
    >>> params, state = model.init(nn.key(0), (2,))
    >>> layer = nn.inspect(model, params, np.eye(2)).layers[0]
    >>> layer.name, layer.output.shape, layer.dead, list(layer.grads)
    ('dense1', (2, 3), 0, ['W', 'b'])
    """

    name: str
    output: Array
    gradient: Array | None
    units: int
    dead: int
    saturated: float
    params: ArrayDict
    grads: ArrayDict

    @property
    def mean(self) -> float:
        """The mean of the activations."""
        with np.errstate(all="ignore"):
            return float(np.mean(self.output, dtype=float))

    @property
    def std(self) -> float:
        """The standard deviation of the activations."""
        with np.errstate(all="ignore"):
            return float(np.std(self.output, dtype=float))

    @property
    def flat(self) -> str:
        """The number of dead units or fraction of saturated outputs, like "22/32 dead"; "" if there are none."""
        if self.dead:
            return f"{self.dead}/{self.units} dead"
        return f"{self.saturated:.0%} saturated" if self.saturated >= 0.01 else ""

    @property
    def gradient_norm(self) -> float:
        """√Σg² of `gradient`; unlike the mean square, comparable across layers of different width. NaN if None."""
        return math.nan if self.gradient is None else norm(self.gradient)

    @property
    def relative_gradient(self) -> float:
        """The norm of the parameters' gradients divided by that of the parameters; NaN if there are none."""
        size = norm(self.params.vector)
        return norm(self.grads.vector) / size if self.grads and size else math.nan


class Inspection(NamedTuple):
    """The result of `inspect`: immutable, printed as a table followed by the findings, shown as a table in notebooks.

    Attributes:
        layers: every layer that is not a composition, in data-flow order; a layer that is called on values of different
            shapes is listed once per shape.
        findings: the problems found, () if there are none; each has `where` (the layer, or "x"), `kind` (see
            `nnfunc.inspection.KINDS`), `message`, and `fraction`, the fraction of dead units or saturated outputs.
        examples: the number of examples.

    >>> model = nn.mlp([2, 3, 1], ["relu", "sigmoid"])
    >>> params, state = model.init(nn.key(0), (2,))
    >>> x = np.array([[1.0, -1.0], [-1.0, 1.0]])
    >>> print(nn.inspect(model, params, x, target=[0, 1], loss="binary_cross_entropy"))
    layer     output shape   mean   std  flat  gradient  dW/W
    ---------------------------------------------------------
    dense1    (3,)              0   0.6            0.13  0.28
    relu1     (3,)           0.25  0.35            0.35
    dense2    (1,)          -0.67  0.67            0.27  0.14
    sigmoid1  (1,)           0.35  0.15
    <BLANKLINE>
    nothing wrong found: 2 examples, too few to judge single units by
    """

    layers: tuple[LayerInspection, ...]
    findings: tuple[Finding, ...]
    examples: int

    @property
    def ok(self) -> bool:
        """Whether there are no findings."""
        return not self.findings

    def table(self) -> str:
        """A row per layer: the shape of its output for one example, mean and standard deviation of its activations, its
        dead units or saturated outputs, the norm of the gradient of its output, and the norm of the gradient of its
        parameters relative to theirs.

        >>> model = nn.mlp([2, 3, 1], ["relu", "sigmoid"])
        >>> params, state = model.init(nn.key(0), (2,))
        >>> nn.inspect(model, params, np.eye(2)).table().splitlines()[0]
        'layer     output shape   mean    std  flat  gradient  dW/W'
        """
        return text_table(HEAD, self._cells(), right=[2, 3, 5, 6])

    def _cells(self) -> list[list[str]]:
        return [
            [
                layer.name,
                str(layer.output.shape[1:]),
                short(0.0 if abs(layer.mean) < 1e-6 * layer.std else layer.mean),  # a rounding error
                short(layer.std),
                layer.flat,
                "" if layer.gradient is None else short(layer.gradient_norm),
                "" if math.isnan(layer.relative_gradient) else short(layer.relative_gradient),
            ]
            for layer in self.layers
        ]  # fmt: skip

    def __str__(self) -> str:
        return "\n\n".join([self.table(), *paragraphs(f.message for f in self.findings), self._summary()])

    def _summary(self) -> str:
        few = ", too few to judge single units by" if self.examples < FEW else ""
        found = "nothing wrong found" if self.ok else f"{len(self.findings)} wrong"
        return f"{found}: {self.examples:,} example{'s' * (self.examples != 1)}{few}"

    def _repr_html_(self) -> str:
        guilty = {f.where for f in self.findings}
        marked = [i for i, layer in enumerate(self.layers) if layer.name in guilty]
        return html_table(HEAD, self._cells(), marked, [f.message for f in self.findings], self._summary())
