"""Every layer, loss and penalty of the package against the gradient laboratory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnfunc as nn
from nnfunc.arrays import ArrayDict
from nnfunc.testing import Network, hold_laws, networks
from tests.catalogue import (
    FEATURES,
    LAYERS,
    LOSSES,
    NOT_LAYERS,
    PENALTIES,
    exported,
    outputs_and_targets,
    reals,
)

ONE_MASK = ("dropout", "serial", "residual", "mlp")
"""Their mask has the shape of x, or their examples are mixed: (2, m) examples are not 2 m."""


def test_every_exported_backward_has_a_property_here() -> None:
    assert set(LAYERS) == exported("Layer") - NOT_LAYERS
    assert set(LOSSES) == exported("Loss")
    assert set(PENALTIES) == exported("Penalty")


@pytest.mark.parametrize("name", LAYERS)
@given(data=st.data())
def test_layers_hold_the_laws(name: str, data: st.DataObject) -> None:
    hold_laws(data.draw, data.draw(LAYERS[name]), (FEATURES,), leading_axes=name not in ONE_MASK)


@given(network=networks(), train=st.booleans())
def test_whole_networks(network: Network, train: bool) -> None:
    nn.check_model(network.model, network.params, network.x, train=train, **network.arguments).assert_ok()


@given(data=st.data())
def test_gradients_without_the_input_gradient_are_the_same(data: st.DataObject) -> None:
    layer = data.draw(st.one_of(LAYERS["serial"], LAYERS["mlp"], LAYERS["residual"]))
    params, state = layer.init(nn.key(0), (FEATURES,), np.float64)
    x = data.draw(reals((3, FEATURES)))
    y, cache, _ = layer.forward(params, state, x, key=nn.key(1), train=True)
    dy = np.random.default_rng(0).normal(size=y.shape)
    dx, grads = layer.backward(params, cache, dy, need_dx=False)
    assert dx is None
    assert nn.equal(grads, layer.backward(params, cache, dy)[1])


@pytest.mark.parametrize("name", LOSSES)
@given(m=st.integers(1, 5), n=st.integers(1, 4), seed=st.integers(0, 1000), weighted=st.booleans())
def test_losses(name: str, m: int, n: int, seed: int, weighted: bool) -> None:
    loss, *kinds = LOSSES[name]
    y, target = outputs_and_targets((kinds[0], kinds[1]), m, n, seed)
    weights = np.random.default_rng(seed).uniform(0.1, 3, size=m) if weighted else None
    nn.check_gradients(
        lambda p: loss.forward(p["y"], target, weights)[0],
        lambda p: {"y": loss.backward(loss.forward(p["y"], target, weights)[1])},
        {"y": y},
    ).assert_ok()


@pytest.mark.parametrize("name", PENALTIES)
@given(data=st.data(), m=st.integers(1, 9))
def test_penalties(name: str, data: st.DataObject, m: int) -> None:
    penalty = PENALTIES[name]
    params = ArrayDict({"dense1.W": data.draw(reals((2, 3))), "dense1.b": data.draw(reals((3,)))})
    nn.check_gradients(lambda p: penalty.forward(p, m), lambda p: penalty.backward(p, m), params).assert_ok()
