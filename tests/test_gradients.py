"""Every backward function against finite differences in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnfunc as nn
from nnfunc.arrays import ArrayDict
from tests.catalogue import (
    FEATURES,
    LAYERS,
    LOSSES,
    NOT_LAYERS,
    PENALTIES,
    cotangents,
    exported,
    outputs_and_targets,
    randomized,
    reals,
)
from tests.numeric import assert_gradient, assert_layer_gradients


def test_every_exported_backward_has_a_property_here() -> None:
    assert set(LAYERS) == exported("Layer") - NOT_LAYERS
    assert set(LOSSES) == exported("Loss")
    assert set(PENALTIES) == exported("Penalty")


@pytest.mark.parametrize("name", LAYERS)
@given(data=st.data())
def test_layer_gradients(name: str, data: st.DataObject) -> None:
    layer = data.draw(LAYERS[name])
    params, state = layer.init(nn.key(0), (FEATURES,), np.float64)
    params = randomized(params, data.draw(st.integers(0, 100)))
    shape = (*data.draw(st.lists(st.integers(1, 2), max_size=1)), data.draw(st.integers(1, 4)), FEATURES)
    if name in ("dropout", "serial", "residual", "mlp", "layer"):
        shape = shape[-2:]
    x = data.draw(reals(shape))
    train = data.draw(st.booleans())
    key = nn.key(data.draw(st.integers(0, 10)))
    y, _, _ = layer.forward(params, state, x, key=key, train=train)
    dy = data.draw(cotangents(y.shape))
    assert_layer_gradients(layer, params, state, x, dy, train=train, key=key)


@given(data=st.data())
def test_gradients_without_the_input_gradient_are_the_same(data: st.DataObject) -> None:
    layer = data.draw(st.one_of(LAYERS["serial"], LAYERS["mlp"], LAYERS["residual"]))
    params, state = layer.init(nn.key(0), (FEATURES,), np.float64)
    x = data.draw(reals((3, FEATURES)))
    y, cache, _ = layer.forward(params, state, x, key=nn.key(1), train=True)
    dy = data.draw(cotangents(y.shape))
    dx, grads = layer.backward(params, cache, dy, need_dx=False)
    assert dx is None
    assert nn.equal(grads, layer.backward(params, cache, dy)[1])


@pytest.mark.parametrize("name", LOSSES)
@given(m=st.integers(1, 5), n=st.integers(1, 4), seed=st.integers(0, 1000), weighted=st.booleans())
def test_loss_gradients(name: str, m: int, n: int, seed: int, weighted: bool) -> None:
    loss, *kinds = LOSSES[name]
    y, target = outputs_and_targets((kinds[0], kinds[1]), m, n, seed)
    weights = np.random.default_rng(seed).uniform(0.1, 3, size=m) if weighted else None
    _, cache = loss.forward(y, target, weights)
    assert_gradient(lambda z: float(loss.forward(z, target, weights)[0]), y, loss.backward(cache), "dy")


@pytest.mark.parametrize("name", PENALTIES)
@given(data=st.data(), m=st.integers(1, 9))
def test_penalty_gradients(name: str, data: st.DataObject, m: int) -> None:
    penalty = PENALTIES[name]
    params = ArrayDict({"dense1.W": data.draw(reals((2, 3))), "dense1.b": data.draw(reals((3,)))})
    grads = penalty.backward(params, m)
    for k in params:
        assert_gradient(
            lambda v, k=k: float(penalty.forward(params.replace({k: v}), m)),  # type: ignore[misc]  # a bound default
            params[k],
            grads[k],
            k,
        )
