"""All exports with a backward or an update, with strategies for their hyperparameters.

What can be made with default arguments is here by itself; the rest has an entry, and a test names what has none."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

import nnfunc as nn
from nnfunc.arrays import Array, ArrayDict
from nnfunc.core.values import Shapes
from nnfunc.keys import Key
from nnfunc.layers import activations
from nnfunc.layout import Shape
from nnfunc.optimizers.setting import Schedule
from nnfunc.testing.strategies import gate

# -- a layer of a user's own: the bent identity with a trained strength ------------------------------------------------


def bent_forward(params: ArrayDict, x: Array) -> tuple[Array, Array]:
    return x + params["a"] * (np.sqrt(x * x + 1) - 1), x


def bent_backward(params: ArrayDict, x: Array, dy: Array) -> tuple[Array, dict[str, Array]]:
    root = np.sqrt(x * x + 1)
    axes = tuple(range(x.ndim - 1))
    return dy * (1 + params["a"] * x / root), {"a": np.sum(dy * (root - 1), axis=axes)}


def bent_init(key: Key, input_shape: Shape) -> dict[str, Array]:
    return {"a": np.full(input_shape, 0.5)}


def bent() -> nn.Layer:
    return nn.layer(bent_forward, bent_backward, bent_init, name="bent")


# -- what is exported --------------------------------------------------------------------------------------------------


def exported(kind: str) -> set[str]:
    """The exported names, of the package and of its modules, that are of a kind or make one."""
    return {name for name, value in PUBLIC.items() if made(value) == kind}


PUBLIC: dict[str, Any] = {
    name: value
    for module in (nn, nn.layers, nn.losses, nn.optimizers, nn.schedules, nn.penalties)
    for name, value in vars(module).items()
    if name in getattr(module, "__all__", [name]) and not name.startswith("_") and name != "make"
}


def made(value: object) -> str:
    """The kind of a value, or of what a function makes."""
    return str(inspect.signature(value).return_annotation) if inspect.isfunction(value) else type(value).__name__


def by_default(kind: str, given: set[str], *passed: str) -> list[str]:
    """The exported names of a kind, not given, whose arguments have defaults, but for those that are passed."""
    return [
        name
        for name in sorted(exported(kind) - given)
        if callable(PUBLIC[name])
        and all(p.default is not p.empty or k in passed for k, p in inspect.signature(PUBLIC[name]).parameters.items())
    ]


# -- layers ------------------------------------------------------------------------------------------------------------

FEATURES = 3
PAIR = (FEATURES,), (FEATURES,)
SHAPES: tuple[Shapes, ...] = ((FEATURES,), PAIR, (4, FEATURES), (4, 4, FEATURES))
"""Shapes of an example that layers with default arguments are tried with; the first that one takes is its own."""

ACTIVATIONS: dict[str, st.SearchStrategy[nn.Layer]] = {
    **{name: st.builds(PUBLIC[name]) for name in sorted(activations.__all__)},
    "elu": st.builds(nn.elu, st.floats(0, 3)),
    "gelu": st.builds(nn.gelu, st.booleans()),
    "leaky_relu": st.builds(nn.leaky_relu, st.floats(0, 1)),
}

EPS = st.sampled_from([1e-5, 1e-3, 0.1])
SIMPLE: dict[str, st.SearchStrategy[nn.Layer]] = {
    **ACTIVATIONS,
    "batch_norm": st.builds(nn.batch_norm, EPS, st.floats(0, 1)),
    "dense": st.builds(nn.dense, st.integers(1, 4), bias=st.booleans()),
    "dropout": st.builds(nn.dropout, st.floats(0.2, 1)),
    "flatten": st.builds(nn.flatten, st.just(1)),
    "layer": st.builds(bent),
    "layer_norm": st.builds(nn.layer_norm, EPS),
    "prelu": st.builds(nn.prelu, st.floats(-1, 1)),
    "rms_norm": st.builds(nn.rms_norm, EPS),
}

COMPOSED: dict[str, st.SearchStrategy[nn.Layer]] = {
    "mlp": st.builds(
        lambda dims, name, keep, norm: nn.mlp(
            [*dims, 2], [name] * (len(dims) - 1) + ["softmax"], keep_prob=keep, batch_norm=norm
        ),
        st.lists(st.just(3), min_size=1, max_size=3),
        st.sampled_from(["relu", "tanh", "sigmoid", "silu"]),
        st.sampled_from([0.6, 1.0]),
        st.booleans(),
    ),
    "residual": st.one_of(
        *(SIMPLE[k].map(nn.residual) for k in SIMPLE if k != "dense"), st.builds(lambda: nn.residual(nn.dense(3)))
    ),
    "serial": st.lists(st.one_of(*SIMPLE.values()), min_size=1, max_size=3).map(lambda layers: nn.serial(*layers)),
}

small = st.one_of(*(SIMPLE[k] for k in ("dense", "tanh", "layer_norm")))


def tied() -> nn.Layer:
    """A part of it has the weights of another, transposed."""
    body = nn.serial(nn.dense(4, bias=False), nn.tanh(), nn.dense(3))
    return nn.tie(body, "dense2.W", to="dense1.W", transpose=True)


def cell() -> nn.Layer:
    return nn.serial(nn.concatenate(), nn.dense(4), nn.tanh())


PADS = st.sampled_from(["valid", "same", 1, ((1, 0), (0, 2))])
PADS1 = st.sampled_from(["valid", "same", 1, (2, 0)])
PAIRS = st.sampled_from([((1, 0), (0, 2)), ((1, 1), (1, 1))])
small_int = st.integers(1, 2)


def convolutions(make: Any, pads: st.SearchStrategy[Any]) -> st.SearchStrategy[nn.Layer]:
    """Of 4 channels, so that groups of 1, 2 and 4 (depthwise) divide them."""
    return st.builds(
        make, st.just(4), small_int, small_int, pads, dilation=small_int, groups=st.sampled_from([1, 2, 4]),
        bias=st.booleans(),
    )  # fmt: skip


IMAGE, SERIES = (4, 5, 4), (6, 4)
WINDOWS: dict[str, tuple[st.SearchStrategy[nn.Layer], Shapes]] = {
    "avg_pool1d": (st.builds(nn.avg_pool1d, st.just(2), small_int, st.sampled_from(["valid", "same", 1]),
                             count_padding=st.booleans()), SERIES),
    "avg_pool2d": (st.builds(nn.avg_pool2d, st.just(2), small_int, st.sampled_from(["valid", "same", 1]),
                             count_padding=st.booleans()), IMAGE),
    "conv1d": (convolutions(nn.conv1d, PADS1), SERIES),
    "conv2d": (convolutions(nn.conv2d, PADS), IMAGE),
    "conv_transpose1d": (convolutions(nn.conv_transpose1d, st.sampled_from(["valid", "same"])), SERIES),
    "conv_transpose2d": (convolutions(nn.conv_transpose2d, st.sampled_from(["valid", "same"])), IMAGE),
    "crop": (st.builds(nn.crop, PAIRS), IMAGE),
    "max_pool1d": (st.builds(nn.max_pool1d, st.just(2), small_int, st.sampled_from(["valid", "same", 1])), SERIES),
    "max_pool2d": (st.builds(nn.max_pool2d, st.just(2), small_int, st.sampled_from(["valid", "same", 1])), IMAGE),
    "pad": (st.builds(nn.pad, PAIRS, st.sampled_from([0.0, 0.5])), IMAGE),
    "upsample1d": (st.builds(nn.upsample1d, small_int), SERIES),
    "upsample2d": (st.builds(nn.upsample2d, small_int), IMAGE),
}  # fmt: skip
"""Layers whose windows slide over the axes before the features."""

STEPS = (3, FEATURES)
outputs, bits = st.sampled_from(["sequence", "last"]), st.booleans()
RECURRENT: dict[str, tuple[st.SearchStrategy[nn.Layer], Shapes]] = {
    "bidirectional": (st.sampled_from([nn.rnn, nn.gru, nn.lstm]).map(lambda make: nn.bidirectional(make(2))), STEPS),
    "gru": (st.builds(nn.gru, small_int, bits, output=outputs, reverse=bits, bias=bits), STEPS),
    "lstm": (st.builds(nn.lstm, small_int, st.sampled_from([0.0, 1.0]), output=outputs, reverse=bits, bias=bits),
             STEPS),
    "rnn": (st.builds(nn.rnn, small_int, st.sampled_from(["tanh", "relu"]), output=outputs, reverse=bits, bias=bits),
            STEPS),
}  # fmt: skip

TOKENS = (4, 4)
ATTENTION: dict[str, tuple[st.SearchStrategy[nn.Layer], Shapes]] = {
    "attention": (st.builds(nn.attention, small_int, causal=bits, bias=bits,
                            rotary=st.sampled_from([None, "halves", "adjacent"])), TOKENS),
    "embedding": (st.builds(nn.embedding, st.just(5), small_int, padding_id=st.sampled_from([None, 1])), (4,)),
    "learned_positions": (st.builds(nn.learned_positions, st.integers(4, 6)), TOKENS),
    "rotary_positions": (st.builds(nn.rotary_positions, pairing=st.sampled_from(["halves", "adjacent"])), TOKENS),
    "sinusoidal_positions": (st.builds(nn.sinusoidal_positions), TOKENS),
    "transformer_block": (st.builds(nn.transformer_block, st.just(4), small_int, small_int, causal=bits,
                                    norm=st.sampled_from(["before", "after"])), TOKENS),
}  # fmt: skip

OTHERS: dict[str, tuple[st.SearchStrategy[nn.Layer], Shapes]] = {
    **WINDOWS,
    **RECURRENT,
    **ATTENTION,
    "branch": (st.builds(nn.branch, small, small), (FEATURES,)),
    "geglu": (st.builds(nn.geglu, st.booleans()), (4,)),
    "glu": (st.builds(nn.glu), (4,)),
    "group_norm": (st.builds(nn.group_norm, st.sampled_from([1, 2, 4]), EPS), (3, 4)),
    "instance_norm": (st.builds(nn.instance_norm, EPS), (3, 2, 2)),
    "freeze": (
        st.builds(nn.freeze, st.just(nn.mlp([3, 4, 2], ["tanh", "sigmoid"])), st.sampled_from(["dense1.*", "*.b"])),
        (FEATURES,),
    ),
    "parallel": (st.builds(nn.parallel, small, small), PAIR),
    "reshape": (st.sampled_from([(9,), (-1, 1), (1, 9), (3, -1)]).map(lambda shape: nn.reshape(*shape)), (3, FEATURES)),
    "scan": (st.builds(nn.scan, st.builds(cell), st.just(4)), (2, FEATURES)),
    "shared": (st.builds(nn.shared, small), PAIR),
    "swiglu": (st.builds(nn.swiglu), (4,)),
    "take": (st.builds(nn.take, st.integers(0, 1)), PAIR),
    "tie": (st.builds(tied), (FEATURES,)),
    "wired": (st.builds(lambda f, g: nn.wired(gate, {"f": f, "g": g}, name="gate"), st.builds(nn.dense, st.just(2)),
                        st.builds(nn.dense, st.just(2))), (FEATURES,)),
}  # fmt: skip
"""Layers with the shape of an example that they take, where they are not simply in `LAYERS`: other inputs than one
array of 3 features, several outputs, parts that are constant or one."""

LAYERS: dict[str, st.SearchStrategy[nn.Layer]] = {**SIMPLE, **COMPOSED}
"""Layers that take an input of 3 features."""

MODELS_FROM_MODELS = {"map_layers"}  # it changes a composition, and makes none


def taken(layer: nn.Layer) -> Shapes | None:
    """The shape of an example that a layer takes."""
    for shape in SHAPES:
        with suppress(ValueError, TypeError):
            layer.init(nn.key(0), shape)
            return shape
    return None


for name in by_default("Layer", {*LAYERS, *OTHERS, *MODELS_FROM_MODELS}):
    shape = taken(PUBLIC[name]())
    if shape == (FEATURES,):
        LAYERS[name] = st.builds(PUBLIC[name])
    elif shape is not None:
        OTHERS[name] = st.builds(PUBLIC[name]), shape

EVERY: dict[str, tuple[st.SearchStrategy[nn.Layer], Shapes]] = {
    **{name: (layers, (FEATURES,)) for name, layers in LAYERS.items()},
    **OTHERS,
}
"""All layers with the shape of an example that they take."""

NOT_LAYERS = {*MODELS_FROM_MODELS, *OTHERS}
"""What is exported, makes a layer and is not in `LAYERS`."""

ONE_MASK = {
    "dropout", "global_avg_pool", "global_max_pool", "group_norm", "instance_norm", "mlp", "reparametrize", "reshape",
    "residual", "serial",
}  # fmt: skip
"""Layers that draw for x of any shape, mix examples, or take the axes of an example as they are: (2, m) examples are
not 2 m."""

# -- losses, optimizers, penalties, schedules --------------------------------------------------------------------------

KINDS = {"outputs": "reals", "bits": "bits", "one-hot": "one-hot", "classes": "classes"}

OUTPUTS = {"cosine": "nonzero", "kl_divergence": "log-probabilities"}

LOSSES: dict[str, tuple[nn.Loss, str, str]] = {
    loss.name: (loss, OUTPUTS.get(loss.name, "probabilities" if loss.activation else "reals"), KINDS[loss.targets])
    for loss in nn.losses.built_in()
    if loss.outputs == loss.axes == 1
}
"""Each loss with the kind of outputs and of targets that it takes, as its fields say."""

STRUCTURED: dict[str, nn.Loss] = {loss.name: loss for loss in nn.losses.built_in() if loss.name not in LOSSES}
"""Losses of tuples and of whole sequences, which `structured` draws for."""

NOT_LOSSES = {"combined", *STRUCTURED}  # what is combined, `nnfunc.testing.graphs` makes


def follow_the_sign(w: Array, g: Array, *, t: int, rate: float) -> tuple[Array]:
    return (w - rate * np.sign(g),)


OPTIMIZERS: dict[str, nn.Optimizer] = {
    "adadelta": nn.optimizers.adadelta(),
    "clip_by_global_norm": nn.clip_by_global_norm(nn.adam(0.1), 0.5),
    "clip_by_value": nn.optimizers.clip_by_value(nn.momentum(0.1), 0.5),
    "ema": nn.optimizers.ema(nn.adam(0.1), 0.9),
    "lookahead": nn.optimizers.lookahead(nn.optimizers.ema(nn.adam(0.1)), every=2),
    "muon": nn.optimizers.partition({"*[bx]": nn.adam(0.1), "*": nn.optimizers.muon(0.1)}),
    "nesterov": nn.nesterov(0.1, dampening=0.0),
    "partition": nn.optimizers.partition({"*[Wax]": nn.optimizers.ema(nn.adam(0.1)), "*": nn.rmsprop(0.1)}),
    "optimizer": nn.optimizer(follow_the_sign, rate=0.1),
}
OPTIMIZERS["compiled"] = nn.optimizers.compiled(nn.adam(0.1)) if find_spec("numba") else nn.adam(0.1)
OPTIMIZERS["reduce_on_plateau"] = nn.optimizers.reduce_on_plateau(nn.adam(0.1))
OPTIMIZERS |= {
    name: PUBLIC[name](learning_rate=0.1) for name in by_default("Optimizer", {*OPTIMIZERS}, "learning_rate")
}

PENALTIES: dict[str, nn.Penalty] = {name: PUBLIC[name](0.3) for name in by_default("Penalty", set(), "strength")}

SCHEDULES: dict[str, Schedule] = {
    "constant_schedule": nn.schedules.constant_schedule(0.1),
    "cosine_decay": nn.schedules.cosine_decay(0.1, steps=10),
    "exponential_decay": nn.schedules.exponential_decay(0.1, factor=0.5, every=3),
    "inverse_time_decay": nn.schedules.inverse_time_decay(0.1, factor=0.5, every=3),
    "join": nn.schedules.join([0.1, nn.schedules.cosine_decay(0.2, steps=4)], [3]),
    "linear_warmup": nn.schedules.linear_warmup(3, then=0.1),
    "one_cycle": nn.schedules.one_cycle(0.1, steps=10),
    "piecewise": nn.schedules.piecewise([3, 5], [0.1, 0.01, 0.001]),
    "polynomial_decay": nn.schedules.polynomial_decay(0.1, steps=10, power=2.0),
    "step_decay": nn.schedules.step_decay(0.1, factor=0.5, every=3),
    "warm_restarts": nn.schedules.warm_restarts(0.1, steps=3, growth=2),
    "warmup_cosine": nn.schedules.warmup_cosine(0.1, warmup=3, steps=10),
}

elements = st.one_of(st.integers(-12, 12).map(lambda i: i / 4), st.floats(-3, 3))
"""Values that hit kinks (0, ±0.75) exactly and often, and any others."""


def reals(shape: Shape) -> st.SearchStrategy[Array]:
    return arrays(np.float64, shape, elements=elements)


def cotangents(shape: Shape) -> st.SearchStrategy[Array]:
    """Output gradients that differ from element to element: a uniform one would hide a missing sum."""
    return st.integers(0, 2**32).map(lambda seed: np.random.default_rng(seed).normal(size=shape))


def randomized(params: ArrayDict, seed: int) -> ArrayDict:
    """Parameters away from their initial zeros and ones."""
    values = np.random.default_rng(seed).normal(size=params.vector.shape)
    return params.with_vector(np.where(np.abs(values) < 0.1, 0.1, values))


def outputs_and_targets(kinds: tuple[str, str], m: int, n: int, seed: int) -> tuple[Array, NDArray[Any]]:
    """Random outputs and targets of the kinds that a loss takes."""
    rng = np.random.default_rng(seed)
    draw: dict[str, Callable[[], NDArray[Any]]] = {
        "reals": lambda: np.round(rng.normal(size=(m, n)) * 4) / 4,
        "nonzero": lambda: np.round(rng.normal(size=(m, n)) * 4) / 4 + 10,
        "log-probabilities": lambda: np.log(rng.dirichlet(np.ones(n), m) * 0.9),
        "probabilities": lambda: rng.uniform(0.05, 0.95, size=(m, n)),
        "bits": lambda: rng.integers(0, 2, size=(m, n)).astype(float),
        "one-hot": lambda: np.eye(n)[rng.integers(0, n, size=m)],
        "classes": lambda: rng.integers(0, n, size=m),
    }
    return draw[kinds[0]](), draw[kinds[1]]()


def structured(loss: nn.Loss, m: int, n: int, seed: int) -> tuple[Any, Any]:
    """Random outputs of a loss of tuples or of whole sequences, and targets."""
    rng = np.random.default_rng(seed)
    if loss.targets == "labels":
        lengths = rng.integers(0, n + 1, size=m)
        labels = np.where(np.arange(n) < lengths[:, None], rng.integers(1, 4, size=(m, n)), -1)
        return rng.normal(size=(m, 2 * n + 2, 4)), (labels, rng.integers(2 * n + 1, 2 * n + 3, size=m))
    y = tuple(rng.normal(size=(m, n)) for _ in range(loss.outputs))
    return y, {"pairs": rng.integers(0, 2, m), "nothing": np.zeros(m)}.get(loss.targets, rng.normal(size=(m, n)))
