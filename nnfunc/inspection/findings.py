"""What goes on inside a network: one forward and one backward, each layer's activations and gradients, and what is
wrong with them, in words.

Units that are dead, outputs that are saturated, gradients that vanish or explode, signals that shrink, grow or become
constant, numbers that are not finite, parameters that no gradient reaches, inputs that are not scaled. The thresholds
stand as constants, each with its reason; healthy networks, fresh or trained, have no findings.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfunc.arrays import EMPTY, Array, ArrayDict
from nnfunc.checks.report import Finding
from nnfunc._internal.validate import cast, first_bad, numeric
from nnfunc.keys import Key, fold_in, generator
from nnfunc.keys import key as new_key
from nnfunc.layers.activations import sigmoid, softmax, tanh
from nnfunc.layers.base import Layer, full_form, view
from nnfunc.layers.observe import Backward, Forward, Observed, observe
from nnfunc.losses import Loss, loss_of, of_network
from nnfunc.metrics import Trained
from nnfunc.optimizers import gd
from nnfunc._internal.text import html_table, paragraphs, text_table
from nnfunc.training.nonfinite import first_nonfinite
from nnfunc.training.step import train_step, without_last
from nnfunc.values import same

KINDS = (
    "nonfinite", "inputs", "symmetric", "dead", "saturated", "constant", "vanishing", "exploding", "shrinking",
    "growing", "no-gradient",
)  # fmt: skip
"""The words of `Finding.kind` in an inspection.

>>> from nnfunc.inspection import KINDS
>>> len(KINDS)
11
"""

# -- thresholds --------------------------------------------------------------------------------------------------------

FEW = 10
"""Below this number of examples units are not judged: at random one unit in 2¹⁰ is 0 for ten independent examples."""

DEAD_SHARE, DEAD_CHANCE, DEAD_LAYER = 1 / 3, 1e-5, 0.9
"""Dead units are a finding if they are a third of the layer or more (on the digits, up to 28 % died with the largest
learning rate that suited, up to 44 % with three times that), and more than chance makes: units with random weights of
mean 0 on the same inputs would have as many dead ones with a probability below 1e-5. (Deep in a fresh network all
inputs are alike, and a third of the units is dead by chance.) A layer that is dead but for a tenth lets no signal
through, whatever made it so.
"""

EDGE, SATURATED_SHARE = 0.01, 0.5
"""Within 1 % of a limit of sigmoid or tanh the slope is at most 4 % of its largest; a finding if half of the outputs
lie there. Trained networks have up to a third there and still learn."""

TOTAL, PER_LAYER, TOO_MUCH = 100.0, 1.5, 1000.0
"""Gradients or activations that fall or rise by more than 100 in all and by more than 1.5 for each layer, or by more
than 1,000 over any number of layers. Fresh He networks of 10 layers of 8 units, by chance alone, stay below 25; a
sigmoid divides by 4 or more in each layer."""

ALIKE = 1e-3
"""A layer is constant if its outputs differ from example to example by less than a thousandth of their size."""

SCALES, OFFSET, LARGE = 1e3, 10.0, 30.0
"""Inputs are not scaled if the range of a feature is 1,000 times that of another, so that no learning rate fits both,
or if their means are 10 times as large as what differs between examples, which the biases must cancel first. The range,
as the standard deviation of a rarely inked pixel is small in good data too. Or if their root mean square is above 30,
like that of pixels from 0 to 255: initial weights and learning rates suit numbers near 1."""

RANDOM_UNITS = 512
"""How many units with random weights are drawn to see how many are dead by chance."""


# -- what is returned --------------------------------------------------------------------------------------------------


class LayerInspection(NamedTuple):
    """One layer: what it returned for the examples, and the gradient of that.

    Attributes:
        name: the path of the layer in the model, like "dense2" or "residual1.dense1".
        output: its activations (examples, ..., units), read-only.
        gradient: the gradient of the loss with respect to `output`, read-only; None where none is computed: for what
            stands before all parameters, and for an output activation that is one with its loss.
        units: the length of the last axis.
        dead: how many units are 0 for all examples, though their inputs are not.
        saturated: the share of the outputs of a sigmoid or tanh within 1 % of a limit, of the rows of a softmax with a
            probability above 99 %; NaN for other layers.
        params, grads: of the layer; grads is empty where gradient is None.

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
        """The standard deviation of all activations."""
        with np.errstate(all="ignore"):
            return float(np.std(self.output, dtype=float))

    @property
    def flat(self) -> str:
        """How many units are dead or outputs saturated, in words: "22/32 dead"; "" where none are."""
        if self.dead:
            return f"{self.dead}/{self.units} dead"
        return f"{self.saturated:.0%} saturated" if self.saturated >= 0.01 else ""

    @property
    def gradient_norm(self) -> float:
        """√Σg² of `gradient`; unlike the mean square it keeps its size where layers differ in width. NaN if None."""
        return math.nan if self.gradient is None else _norm(self.gradient)

    @property
    def relative_gradient(self) -> float:
        """The norm of the gradients of the parameters over that of the parameters; NaN without them."""
        size = _norm(self.params.vector)
        return _norm(self.grads.vector) / size if self.grads and size else math.nan


class Inspection(NamedTuple):
    """What `inspect` found: immutable, printed as a table and the findings in words, shown as a table in notebooks.

    Attributes:
        layers: every layer that is no composition, in the order of the data.
        findings: what is wrong, () if nothing is; each has `where` (the layer, or "x"), `kind` (see
            `nnfunc.inspection.KINDS`), `message`, and `fraction`, the share of dead units or saturated outputs.
        examples: how many there were.

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
        """Whether nothing is wrong."""
        return not self.findings

    def table(self) -> str:
        """A row for each layer: the shape of its output for one example, mean and standard deviation of the
        activations, its dead units or saturated outputs, the norm of the gradient of its output, and the norm of the
        gradient of its parameters relative to theirs.

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
                _short(0.0 if abs(layer.mean) < 1e-6 * layer.std else layer.mean),  # a rounding error
                _short(layer.std),
                layer.flat,
                "" if layer.gradient is None else _short(layer.gradient_norm),
                "" if math.isnan(layer.relative_gradient) else _short(layer.relative_gradient),
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


HEAD = ("layer", "output shape", "mean", "std", "flat", "gradient", "dW/W")


def inspect(
    model: Layer,
    params: Mapping[str, ArrayLike] | Trained,
    x: ArrayLike,
    *,
    target: ArrayLike | None = None,
    loss: Loss | str | None = None,
    state: Mapping[str, ArrayLike] | None = None,
    key: Key | None = None,
    train: bool | None = None,
) -> Inspection:
    """Looks at the activations and gradients of every layer in one forward and one backward, and says what is wrong.

    Args:
        model: a layer or a composition, nested as you like.
        params: its parameters, or a `TrainState`, which has the state too.
        x: (examples, ..., features); some hundred examples are enough. All activations and gradients are kept.
        target, loss: the gradients are those of this loss, computed as in training: a sigmoid or softmax at the end is
            one with its cross-entropy, and not at fault for being sure. Without them, the gradients are those of
            Σ c·y/m, c from the normal distribution (of a fixed key), y the outputs (before a sigmoid or softmax at the
            end), m the examples: no direction is special, so what the layers do to a gradient shows as well.
        state: running averages, if params are no TrainState.
        key: of dropout masks in training mode; nn.key(0) if not given.
        train: whether the layers work as in training; without it, as in prediction, but where a model has a state and
            none is given, or one that no training has moved: batch norm then takes the statistics of x, if it has 10
            rows or more.
    Returns:
        an `Inspection`: layers, findings, ok; print it.
    Raises:
        ValueError: NaN or infinity in x, a shape that does not fit, a stack of networks, a target without a loss.
        TypeError: something that is no model, no loss.

    Dead units are those of any layer without parameters, your own too; saturation is known of sigmoid, tanh and softmax
    alone. Inside a `residual` depth is not judged, as the signal has another way.

    >>> model = nn.mlp([4, 16, 16, 1], ["relu", "relu", "sigmoid"])
    >>> ts = nn.train_state(model, nn.adam(), nn.key(0), input_shape=(4,))
    >>> x = nn.generator(nn.key(1)).normal(size=(200, 4))
    >>> nn.inspect(model, ts, x).ok
    True
    >>> killed = ts.params.replace({"dense1.b": np.full(16, -20.0)})
    >>> for finding in nn.inspect(model, killed, x).findings:
    ...     print(finding.where, finding.kind, finding.fraction)
    relu1 dead 1.0
    """
    if not isinstance(model, Layer):
        raise TypeError(f"model is {type(model).__name__}, expected a Layer, as nn.serial makes one")
    if (loss is None) != (target is None):
        raise ValueError("loss and target go together: pass both, or none")
    if isinstance(params, Mapping):
        arrays = params if isinstance(params, ArrayDict) else ArrayDict(params)
    elif isinstance(getattr(params, "params", None), ArrayDict):
        arrays, state = params.params, params.state if state is None else state
    else:
        raise TypeError(f"params is {type(params).__name__}, expected a dict of arrays or a TrainState")
    if arrays.stack_shape:
        raise ValueError(f"params is a stack of {arrays.stack_shape[0]} networks: inspect one, nn.unstack(params)[0]")
    rows = cast(numeric(x, "x"), "x", arrays.dtype if arrays.size else None)
    if rows.ndim < 2:
        raise ValueError(f"x has shape {rows.shape}, expected (examples, ..., features)")
    model, key = full_form(model), new_key(0) if key is None else key
    if state is None or (state and _initial_state(model, rows) == state):  # averages that never moved are none
        state = _initial_state(model, rows)
        train = bool(state) and len(rows) >= FEW if train is None else train
    own_state = state if isinstance(state, ArrayDict) else ArrayDict(state)

    if loss is None:
        body = without_last(model, sigmoid()) or without_last(model, softmax()) or model
        body_loss = None
    else:
        body, body_loss = train_step(model, loss, gd()).computed
    observed = observe(body)
    with np.errstate(all="ignore"):  # what is not finite is a finding
        y, cache, _ = observed.model.forward(arrays, own_state, rows, key=key, train=bool(train))
        values: Array = np.zeros(0)
        dy: Array = np.zeros(0)
        if np.isfinite(y).all():
            values, dy = _gradient(body_loss, arrays, y, target)
            observed.model.backward(arrays, cache, dy, need_dx=not arrays)
        if body is not model:  # its name stands last
            path, last = _last(model)
            observed.forwards.append(Forward(path, last, EMPTY, y, last.forward(EMPTY, EMPTY, y)[0]))
        found = _findings(observed, rows, values, dy, confident=body is not model)
    backwards = {call.path: call for call in observed.backwards}
    layers = tuple(_layer(call, backwards.get(call.path)) for call in observed.forwards)
    return Inspection(layers, tuple(found), y.size // _units(y))


def _initial_state(model: Layer, x: Array) -> ArrayDict:
    """The state that a model begins with; none if it can't be initialised (own layers with parameters made by hand)."""
    try:
        return model.init(new_key(0), x.shape[1:])[1]
    except Exception:  # whatever it is: a model that needs its state will say so in forward
        return EMPTY


def _gradient(loss: Loss | None, params: ArrayDict, y: Array, target: ArrayLike | None) -> tuple[Array, Array]:
    """The values of the loss and the gradient of the outputs; without a loss, random weights of the outputs."""
    if loss is None or target is None:
        weights = generator(fold_in(new_key(0), y.ndim)).normal(size=y.shape)
        return np.zeros(0), np.asarray(weights * _units(y) / y.size, y.dtype)
    rows, target, _ = of_network(params, y, target)
    _, cache = loss_of(loss, rows, target, None, None)
    dy = loss.backward(cache)
    if np.shape(dy) != rows.shape:
        raise ValueError(f"loss.backward returned shape {np.shape(dy)}, expected that of the outputs, {rows.shape}")
    return np.asarray(getattr(cache, "values", 0.0)), dy.reshape(y.shape)


def _layer(call: Forward, backward: Backward | None) -> LayerInspection:
    return LayerInspection(
        call.path,
        _kept(call.y),
        None if backward is None else _kept(backward.dy),
        _units(call.y),
        int(_dead(call).sum()),
        _saturated(call),
        call.params,
        EMPTY if backward is None else ArrayDict(backward.grads),
    )


def _kept(array: Array) -> Array:
    return view(array.copy())


# -- what is seen in one layer -----------------------------------------------------------------------------------------


def _rows(array: Array) -> Array:
    return array.reshape(-1, _units(array))


def _units(array: Array) -> int:
    return array.shape[-1] if array.ndim else 1  # a loss as the last layer gives one number


def _dead(call: Forward) -> NDArray[np.bool_]:
    """For each unit whether it is 0 for all examples, though its inputs are not."""
    kernel = call.layer.kernel
    masks = kernel is not None and kernel.in_training  # dropout
    if call.params or call.x.shape != call.y.shape or masks or not math.isnan(_saturated(call)):
        return np.zeros(_units(call.y), bool)
    dead: NDArray[np.bool_] = (_rows(call.y) == 0).all(axis=0) & (_rows(call.x) != 0).any(axis=0)
    return dead


def _saturated(call: Forward) -> float:
    y = call.y
    if same(call.layer, sigmoid()):
        flat = (y < EDGE) | (y > 1 - EDGE)
    elif same(call.layer, tanh()):
        flat = np.abs(y) > 1 - 2 * EDGE
    elif same(call.layer, softmax()):
        flat = y.max(axis=-1) > 1 - EDGE
    else:
        return math.nan
    return float(flat.mean())


def _norm(array: ArrayLike) -> float:
    with np.errstate(all="ignore"):
        return float(np.linalg.norm(np.asarray(array, float)))


# -- the findings ------------------------------------------------------------------------------------------------------

ADVICE = {
    "dead": " Usual causes: too large a learning rate, inputs that are not scaled, very negative biases. Try a smaller "
    "learning rate or nn.clip_by_global_norm, x of mean 0 and standard deviation 1, nn.leaky_relu.",
    "saturated": " Usual causes: weights or inputs that are too large. Try x of mean 0 and standard deviation 1, "
    'initializer="glorot", a smaller learning rate, nn.batch_norm before the activation.',
    "vanishing": ' Try nn.relu with initializer="he" or nn.tanh with "glorot", nn.batch_norm or nn.layer_norm, '
    "nn.residual.",
    "exploding": ' Try initializer="he" (for ReLU) or "glorot" (for tanh), nn.batch_norm or nn.layer_norm, '
    "nn.clip_by_global_norm.",
    "inputs": " Standardise x: subtract the mean of each feature and divide by its standard deviation, both of the "
    "training data.",
}
"""What to do, said once for each kind."""


def _findings(observed: Observed, x: Array, values: Array, dy: Array, confident: bool) -> list[Finding]:
    """Everything that is wrong; `confident`: the last layer may be saturated, as its outputs are decisions."""
    calls, backwards = observed.forwards, {call.path: call for call in observed.backwards}
    looked_up = x.dtype.kind != "f" and calls[0].layer.kernel is None  # whole numbers that count nothing
    inputs = [] if looked_up else _inputs(_rows(x))
    if bad := _nonfinite(observed, values, dy):
        return [*bad, *inputs]  # NaN is neither dead nor small
    found = []
    for i, call in enumerate(calls):
        found += _equal_units(call)
        found += _dead_units(call, _affine_below(calls[: i + 1]))
        found += _saturation(call) if not (confident and call is calls[-1]) else []
    depth = [call for call in calls if call.params and "residual" not in call.path]
    found += _constant(calls[:-1] or calls, _rows(x), guilty={f.where for f in found})
    found += _gradients_over_depth(depth, calls, backwards)
    if not {f.kind for f in [*inputs, *found]} & {"inputs", "dead", "saturated"}:  # which would be the reason
        found += _activations_over_depth(depth[:-1])
    found += _without_gradient(calls, backwards, explained=any(f.kind != "constant" for f in found))
    found = [*inputs, *found]
    kinds = [f.kind for f in found]
    return [
        f._replace(message=f.message + ADVICE.get(f.kind, "")) if f.kind not in kinds[:i] else f
        for i, f in enumerate(found)
    ]


def _nonfinite(observed: Observed, values: Array, dy: Array) -> list[Finding]:
    for call in observed.forwards:
        for name, array in call.params.items():
            if not np.isfinite(array).all():
                bad = first_bad(array, ~np.isfinite(array))
                text = f"The parameter {call.path}.{name} is not finite ({bad}): did too large a step make it so?"
                return [Finding(call.path, name, "nonfinite", text)]
    where, text = first_nonfinite(observed, values, dy)
    return [Finding(where, "", "nonfinite", f"{text[0].upper()}{text[1:]}")] if text else []


def _inputs(x: Array) -> list[Finding]:
    if len(x) < FEW:
        return []
    x = x.astype(float)
    low, high, mean, std = x.min(axis=0), x.max(axis=0), x.mean(axis=0), x.std(axis=0)
    span = np.where(high > low, high - low, np.nan)
    if np.isnan(span).all():
        return [
            Finding("x", "", "constant", "x has the same row for every example, so nothing can be learned from it.")
        ]
    least, most = int(np.nanargmin(span)), int(np.nanargmax(span))
    if span[most] > SCALES * span[least]:
        ranges = [f"feature {i} from {low[i]:.4g} to {high[i]:.4g}" for i in (most, least)]
        text = f"x has features of very different scales: {' but '.join(ranges)}, so no learning rate fits both."
        return [Finding("x", "", "inputs", text)]
    if _norm(mean) > OFFSET * _norm(std):
        i = int(np.abs(mean).argmax())
        text = (
            f"x is far from 0 compared with how it varies: feature {i} has mean {mean[i]:.4g} and standard deviation "
        )
        return [Finding("x", "", "inputs", f"{text}{std[i]:.2g}, so the examples look alike to the first layer.")]
    if (size := _norm(x) / math.sqrt(x.size)) > LARGE:
        text = (
            f"x is large, its root mean square {_short(size)}: initial weights and learning rates are made for about 1."
        )
        return [Finding("x", "", "inputs", text)]
    return []


def _dead_units(call: Forward, below: Forward | None) -> list[Finding]:
    dead, x, y = _dead(call), _rows(call.x), _rows(call.y)
    count, units, n = int(dead.sum()), len(dead), len(y)
    if count < DEAD_SHARE * units or not count:
        return []
    on = int((y != 0).all(axis=0).sum())
    # a unit and its negative are equally likely, so at random as many are always on as are dead
    others, p = (on, 0.5) if below is None else (units - count, _share_dead_at_random(below))
    chance = _chance(count, count + others, p)
    if chance > DEAD_CHANCE and (count < DEAD_LAYER * units or n < FEW):
        return []
    into = x[:, dead].astype(float)
    text = (
        f"{call.path}: {count} of {units} units are 0 for every one of the {n:,} examples, so they learn nothing more. "
        f"What goes into them is between {_short(into.min())} and {_short(into.max())}"
    )
    b = None if below is None else below.params.get("b")
    if below is not None and b is not None and b.shape == (units,):
        bias = float(b[dead].mean())
        text += f", mostly because of their biases {below.path}.b" if bias < 0 and 2 * bias < into.mean() else ""
    return [Finding(call.path, "", "dead", f"{text}.", fraction=count / units)]


def _equal_units(call: Forward) -> list[Finding]:
    """A dense layer whose units all have the same weights and biases."""
    W = call.params["W"] if "W" in call.params else np.zeros((0, 0))
    if W.ndim != 2 or W.shape[1] < 2 or not W.any() or any(np.ptp(a, axis=-1).any() for a in call.params.values()):
        return []
    text = (
        f"{call.path}: all {W.shape[1]} units have the same weights and biases, so they get the same gradients and "
        "stay one unit: weights must begin at random."
    )
    return [Finding(call.path, "W", "symmetric", text)]


def _affine_below(calls: Sequence[Forward]) -> Forward | None:
    """The x W + b that the last of these calls gets its input from, directly or through a normalisation."""
    above = calls[-1]
    for call in reversed(calls[:-1]):
        if call.y.shape != above.x.shape or not np.array_equal(call.y, above.x):
            return None
        W = call.params.get("W")
        if W is not None:
            return call if W.ndim == 2 and call.x.shape[-1] == len(W) else None
        above = call
    return None


def _share_dead_at_random(below: Forward) -> float:
    """The share of units with random weights of mean 0 that would be dead on the inputs of this layer."""
    draws = generator(fold_in(new_key(0), 1)).normal(size=(below.x.shape[-1], RANDOM_UNITS))
    hits = (_rows(below.x) @ draws.astype(below.y.dtype) <= 0).all(axis=0).sum()
    return float((hits + 1) / (RANDOM_UNITS + 2))


def _chance(count: int, units: int, p: float) -> float:
    """The probability that so many units or more are dead, each with probability p."""
    return sum(math.comb(units, k) * p**k * (1 - p) ** (units - k) for k in range(count, units + 1))


def _saturation(call: Forward) -> list[Finding]:
    share = _saturated(call)
    if not share > SATURATED_SHARE or len(_rows(call.y)) < FEW:
        return []
    if same(call.layer, softmax()):
        text = f"{call.path}: in {share:.0%} of the rows one probability is above 99 %"
    else:
        limits = "0 or 1" if same(call.layer, sigmoid()) else "−1 or 1"
        text = f"{call.path}: {share:.0%} of the outputs are within 1 % of {limits}"
    size = _norm(call.x) / math.sqrt(call.x.size)
    text += f", where the slope is almost 0; what goes in has a root mean square of {_short(size)}."
    return [Finding(call.path, "", "saturated", text, fraction=share)]


def _constant(calls: Sequence[Forward], x: Array, guilty: set[str]) -> list[Finding]:
    """The first layer whose outputs are the same for all examples, unless what is found already explains it."""
    if len(x) < FEW or not _varies(x):
        return []
    for call in calls:
        if call.path in guilty:
            continue
        if not _varies(_rows(call.y)):
            if not _varies(_rows(call.x)) or (guilty and not call.y.any()):
                return []  # what is below it did
            y = _rows(call.y).astype(float)
            size, spread = _norm(y) / math.sqrt(y.size), _norm(y.std(axis=0)) / math.sqrt(y.shape[1])
            said = f"differ by {_short(spread)} from example to example, of {_short(size)}" if size else "are all 0"
            text = f"{call.path}: the outputs {said}: later layers cannot tell the examples apart."
            return [Finding(call.path, "", "constant", text)]
    return []


def _varies(rows: Array) -> bool:
    rows = rows.astype(float)
    return _norm(rows - rows.mean(axis=0)) > ALIKE * _norm(rows)


def _gradients_over_depth(
    depth: Sequence[Forward], calls: Sequence[Forward], backwards: Mapping[str, Backward]
) -> list[Finding]:
    norms = {c.path: norm for c in depth if (b := backwards.get(c.path)) and (norm := _norm(b.dy))}
    if len(norms) < 2:
        return []
    (first, bottom), *_, (last, top) = [*norms.items(), *norms.items()]
    factor = _factor(bottom, top, len(norms) - 1)
    if factor is None:
        return []
    at = [call.path for call in calls]
    steps = {  # what each layer between the two makes of the gradient
        call.path: _norm(b.dx) / _norm(b.dy)
        for call in calls[at.index(first) + 1 : at.index(last) + 1]
        if (b := backwards.get(call.path)) and b.dx is not None and b.dy.any()
    }
    worst = sorted(steps, key=lambda path: steps[path], reverse=factor > 1)[:3]
    worst = [path for path in worst if (steps[path] < 0.9 if factor < 1 else steps[path] > 1.1)]
    why = next(filter(None, (_why(calls[at.index(path)], factor) for path in worst)), "")
    text = (
        f"The gradient {'vanishes' if factor < 1 else 'explodes'} on its way down: its norm is {_short(top)} at {last} "
        f"but {_short(bottom)} at {first}, {_each(factor, len(norms) - 1)}."
    )
    if worst:
        text += (
            f" It {'shrinks' if factor < 1 else 'grows'} most in "
            f"{', '.join(f'{path} (times {_short(steps[path])})' for path in worst)}{why and f': {why}'}."
        )
    return [Finding(worst[0] if worst else first, "", "vanishing" if factor < 1 else "exploding", text)]


def _each(factor: float, steps: int) -> str:
    return f"a factor of {_short(factor)}" + (f" for each of {steps} layers" if steps > 1 else "")


def _why(call: Forward, factor: float) -> str:
    """What is known of a layer that makes signals small (a factor below 1) or large."""
    if same(call.layer, sigmoid()) and factor < 1:
        return "the slope of a sigmoid is 1/4 at most"
    if (share := _saturated(call)) >= 0.1 and factor < 1:
        return f"{share:.0%} of {call.path} is saturated"
    W = call.params["W"] if "W" in call.params else np.zeros(0)
    if W.ndim == 2:
        size, he = _norm(W) / math.sqrt(W.size), math.sqrt(2 / len(W))
        if size < he / 3 if factor < 1 else size > 3 * he:
            return f"the weights of {call.path} have a root mean square of {_short(size)}, with he {_short(he)}"
    return ""


def _factor(end: float, begin: float, steps: int) -> float | None:
    """By how much something changes in each step, if it is by more than `PER_LAYER`, and by `TOTAL` in all."""
    if begin == 0 or end == 0:  # nothing goes through, which is said elsewhere
        return None
    limit = min(max(TOTAL, PER_LAYER**steps), TOO_MUCH)
    return (end / begin) ** (1 / steps) if end * limit < begin or end > limit * begin else None


def _activations_over_depth(depth: Sequence[Forward]) -> list[Finding]:
    if len(depth) < 2:
        return []
    first, last = (float(np.std(call.y, dtype=float)) for call in (depth[0], depth[-1]))
    factor = _factor(last, first, len(depth) - 1)
    if factor is None:
        return []
    why = next(filter(None, (_why(call, factor) for call in depth[1:])), "")
    text = (
        f"The activations {'shrink' if factor < 1 else 'grow'} from layer to layer: their standard deviation is "
        f"{_short(first)} in {depth[0].path} and {_short(last)} in {depth[-1].path}, "
        f"{_each(factor, len(depth) - 1)}{why and f': {why}'}."
    )
    return [Finding(depth[-1].path, "", "shrinking" if factor < 1 else "growing", text)]


def _without_gradient(calls: Sequence[Forward], backwards: Mapping[str, Backward], explained: bool) -> list[Finding]:
    """Parameters that no gradient reaches; the layer that stops it, unless another finding explains that."""
    found = []
    for i, call in enumerate(calls):
        b = backwards.get(call.path)
        if b is None or not b.dy.any():
            continue
        for name, g in b.grads.items():
            if g.size > 1 and not g.any() and call.x.any():
                text = (
                    f"{call.path}.{name} has the gradient 0 in every element, but that of the layer's output is not 0"
                )
                found.append(Finding(call.path, name, "no-gradient", f"{text}: does the backward leave it out?"))
        names = [f"{c.path}.{name}" for c in calls[:i] for name in c.params]
        stops = b.dx is not None and not b.dx.any() and "residual" not in call.path
        if stops and names and not explained and not _dead(call).all():
            zero = "W" in call.params and not call.params["W"].any()
            why = "its weights are all 0" if zero else "the gradient of its input is 0"
            text = f"{call.path} passes no gradient on ({why}), so these parameters get none: {_listed(names)}."
            found.append(Finding(call.path, "", "no-gradient", text))
    return found


def _listed(names: Sequence[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _short(number: float | np.floating) -> str:
    return f"{number:.2g}"


def _last(model: Layer, path: str = "") -> tuple[str, Layer]:
    """The last layer of a series and its path, also of a nested one."""
    if not model.layers:
        return path, model
    name, layer = model.layers[-1]
    return _last(layer, f"{path}.{name}" if path else name)
