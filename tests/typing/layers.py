"""Layers, combinators and models of a user's own, written with public names."""

from __future__ import annotations

from typing import NamedTuple, assert_type

import numpy as np
from numpy.typing import DTypeLike

import nnfunc as nn
from nnfunc.keys import Key, Keys
from nnfunc.layers import Layer, Shape, Shapes, Value

# -- functions of one array --------------------------------------------------------------------------------------------


class SwishCache(NamedTuple):
    x: nn.Array
    gate: nn.Array


def swish_forward(params: nn.ArrayDict, x: nn.Array) -> tuple[nn.Array, SwishCache]:
    gate: nn.Array = 1 / (1 + np.exp(-params["beta"] * x))
    return x * gate, SwishCache(x, gate)


def swish_backward(params: nn.ArrayDict, cache: SwishCache, dy: nn.Array) -> tuple[nn.Array, dict[str, nn.Array]]:
    x, gate = cache
    slope = gate * (1 - gate)
    grads: dict[str, nn.Array] = {"beta": np.sum(dy * x * x * slope, axis=0)}
    return dy * (gate + params["beta"] * x * slope), grads


def swish_init(key: Key, input_shape: Shape) -> dict[str, nn.Array]:
    return {"beta": np.ones(input_shape)}


swish = nn.layer(forward=swish_forward, backward=swish_backward, init=swish_init, name="swish")
assert_type(swish, Layer)


# -- a key, training and prediction, a state, a shape ------------------------------------------------------------------


def noise_forward(params: nn.ArrayDict, x: nn.Array, key: Key | None, train: bool) -> tuple[nn.Array, nn.Array | None]:
    if not train or key is None:
        return x, None
    scale = 1 + 0.1 * nn.keys.generator(key).normal(size=x.shape).astype(x.dtype)
    return x * scale, scale


def noise_backward(params: nn.ArrayDict, cache: nn.Array | None, dy: nn.Array) -> tuple[nn.Array, dict[str, nn.Array]]:
    return (dy if cache is None else dy * cache), {}


noise = nn.layer(noise_forward, noise_backward, asks=("key", "train"), name="noise")


def centre_forward(
    params: nn.ArrayDict, x: nn.Array, train: bool, state: nn.ArrayDict
) -> tuple[nn.Array, None, dict[str, nn.Array]]:
    mean: nn.Array = 0.9 * state["mean"] + 0.1 * x.mean(axis=0) if train else state["mean"]
    return x - state["mean"], None, {"mean": mean}


def centre_backward(params: nn.ArrayDict, cache: None, dy: nn.Array) -> tuple[nn.Array, dict[str, nn.Array]]:
    return dy, {}


def centre_state(input_shape: Shape) -> dict[str, nn.Array]:
    return {"mean": np.zeros(input_shape)}


def same(input_shape: Shapes) -> Shapes:
    return input_shape


centre = nn.layer(
    centre_forward, centre_backward, state=centre_state, asks=("train", "state"), shape=same, name="centre"
)


# -- several inputs and outputs ----------------------------------------------------------------------------------------

Pair = tuple[nn.Array, nn.Array]


def rotate_forward(params: nn.ArrayDict, x: Pair) -> tuple[Pair, None]:
    a, b = x
    return (a - b, a + b), None


def rotate_backward(params: nn.ArrayDict, cache: None, dy: Pair) -> tuple[Pair, dict[str, nn.Array]]:
    da, db = dy
    return (da + db, db - da), {}


rotate = nn.layer(rotate_forward, rotate_backward, name="rotate")


# -- the full form -----------------------------------------------------------------------------------------------------


def full_init(key: Key, input_shape: Shape, dtype: DTypeLike) -> tuple[dict[str, nn.Array], dict[str, nn.Array]]:
    return {"scale": np.ones(input_shape, dtype)}, {}


def full_forward(
    params: nn.ArrayDict, state: nn.ArrayDict, x: nn.Array, *, key: Key | None = None, train: bool = False
) -> tuple[nn.Array, nn.Array, nn.ArrayDict]:
    return x * params["scale"], x, state


def full_backward(params: nn.ArrayDict, cache: nn.Array, dy: nn.Array) -> tuple[nn.Array, dict[str, nn.Array]]:
    return dy * params["scale"], {"scale": np.sum(dy * cache, axis=0)}


full = nn.Layer(full_init, full_forward, full_backward, name="scale")
assert_type(full, nn.Layer)


# -- combinators -------------------------------------------------------------------------------------------------------


def gate(call: nn.layers.Call, x: Value) -> Value:
    return call(nn.multiply(), (call(nn.tanh(), call("f", x)), call(nn.sigmoid(), call("g", x))))


gated = nn.wired(gate, {"f": nn.dense(3), "g": nn.dense(3)}, name="gate")


def quarter(key: Key, shape: Shape, dtype: DTypeLike) -> nn.Array:
    return np.full(shape, 0.25, dtype)


def half(key: Key, shape: Shape, dtype: DTypeLike = np.float32) -> nn.Array:
    return np.full(shape, 0.5, dtype)


initializer: nn.initializers.Initializer = half
name: nn.initializers.InitializerName = "he"

model = nn.serial(
    nn.parallel(image=nn.serial(nn.flatten(), nn.dense(5, quarter), nn.relu()), table=nn.dense(8, initializer)),
    nn.concatenate(),
    swish,
    noise,
    centre,
    gated,
    full,
    nn.branch(kind=nn.serial(nn.dense(3, name), nn.softmax()), size=nn.dense(1)),
)
assert_type(model, Layer)


def widened(path: str, layer: Layer) -> Layer:
    return nn.dense(2 * int(layer.settings["units"])) if layer.name == "dense" else layer


wide = nn.map_layers(widened, nn.serial(nn.dense(3), nn.relu()))
chain = nn.mlp([64, 32, 32, 10], ["relu"] * 2 + ["softmax"], keep_prob=0.8, initializer="glorot", batch_norm=True)
mixed = nn.mlp((64, 32, 10), ("relu", nn.leaky_relu(0.1)), keep_prob=[0.9])
both = nn.mlp([64, 32, 10], ["relu", nn.leaky_relu(0.1)])
own = nn.mlp([64, 32, 10], [nn.relu(), swish])
names = ["relu"]
names += ["softmax"]
named = nn.mlp([64, 32, 10], names)
repeated = nn.mlp([64, 32, 32, 10], ("relu",) * 2 + ("softmax",))
layers = [nn.dense(3), nn.relu()]
listed = nn.serial(*layers)
recurrent = nn.serial(nn.embedding(20, 8), nn.lstm(16), nn.bidirectional(nn.gru(8)), nn.dense(20))
images = nn.serial(nn.conv2d(8, 3, padding="same"), nn.max_pool2d(2), nn.conv2d(8, (3, 3), stride=(1, 2)), nn.flatten())
siamese = nn.serial(nn.shared(nn.dense(2)), nn.subtract())
frozen = nn.freeze(model, "parallel1.image.*")
frozen2 = nn.freeze(model, ["parallel1.image.*", "gate1.*"])
tied = nn.tie(nn.serial(nn.dense(3), nn.dense(5)), "dense2.W", to="dense1.W", transpose=True)


def used() -> None:
    """What a model does with its inputs."""
    key: Key = nn.key(0)
    keys: tuple[Key, ...] = nn.split(key, 3)
    either: Keys = keys
    shapes: Shapes = ((4, 4), (5,))
    params, state = model.init(key, shapes)
    assert_type(params, nn.ArrayDict)
    assert_type(state, nn.ArrayDict)
    x = np.ones((2, 4, 4)), np.ones((2, 5))
    y, cache, state = model.forward(params, state, x, key=key, train=True)
    assert_type(state, nn.ArrayDict)
    dx, grads = model.backward(params, cache, y)
    assert_type(grads, nn.ArrayDict)
    assert_type(grads["branch1.size.W"], nn.Array)
    kept: nn.layers.Run = cache
    model.backward(params, kept, y, need_dx=False)
    shape: Shapes = nn.output_shape(model, params, state, shapes)
    chain.init(either, (64,), np.float64)
    for path, layer in model.layers:
        assert_type(path, str)
        assert_type(layer, Layer)
    thawed, params, state = nn.unfreeze(frozen, *frozen.init(key, shapes))
    assert_type(thawed, Layer)
    nn.summary(model, shapes)
    print(nn.models.program(model, shapes), dx, shape)
    pair = rotate.init(key, ((3,), (3,)))
    (a, b), _, _ = rotate.forward(*pair, (np.ones((2, 3)), np.zeros((2, 3))))
    outputs: nn.Array = a + b
    print(outputs.shape)


if __name__ == "__main__":
    used()
