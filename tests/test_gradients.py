"""Every layer, loss and penalty of the package against the gradient laboratory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnfunc as nn
from nnfunc.arrays import ArrayDict
from nnfunc.core.values import leaves
from nnfunc.testing import Network, hold_laws, networks
from tests.catalogue import (
    EVERY,
    LOSSES,
    MODELS_FROM_MODELS,
    NOT_LOSSES,
    ONE_MASK,
    OPTIMIZERS,
    PENALTIES,
    SCHEDULES,
    STRUCTURED,
    exported,
    outputs_and_targets,
    reals,
    structured,
)


def test_whatever_is_exported_has_an_entry_in_the_catalogue() -> None:
    catalogue = {
        "Layer": {*EVERY, *MODELS_FROM_MODELS},
        "Loss": {*LOSSES, *NOT_LOSSES},
        "Optimizer": {*OPTIMIZERS},
        "Penalty": {*PENALTIES},
        "Schedule": {*SCHEDULES},
    }
    missing = {kind: exported(kind) - there for kind, there in catalogue.items() if exported(kind) - there}
    assert not missing, f"no entry in tests/catalogue.py: {missing}"
    gone = {kind: there - exported(kind) for kind, there in catalogue.items() if there - exported(kind)}
    assert not gone, f"not exported any more: {gone}"


@given(data=st.data())
def test_no_repr_shows_an_address(data: st.DataObject) -> None:
    values: list[object] = [data.draw(layers) for layers, _ in EVERY.values()]
    values += [*(loss for loss, _, _ in LOSSES.values()), *STRUCTURED.values()]
    values += [*OPTIMIZERS.values(), *PENALTIES.values(), *(nn.gd(schedule) for schedule in SCHEDULES.values())]
    assert not [value for value in values if " at 0x" in repr(value)]


@pytest.mark.parametrize("name", EVERY)
@given(data=st.data())
def test_layers_hold_the_laws(name: str, data: st.DataObject) -> None:
    layers, shape = EVERY[name]
    hold_laws(data.draw, data.draw(layers), shape, leading_axes=name not in ONE_MASK)


@given(network=networks(), train=st.booleans())
def test_whole_networks(network: Network, train: bool) -> None:
    nn.check_model(network.model, network.params, network.x, train=train, **network.arguments).assert_ok()


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


@pytest.mark.parametrize("name", STRUCTURED)
@given(m=st.integers(1, 4), n=st.integers(1, 3), seed=st.integers(0, 1000), weighted=st.booleans())
def test_losses_of_tuples_and_sequences(name: str, m: int, n: int, seed: int, weighted: bool) -> None:
    loss = STRUCTURED[name]
    y, target = structured(loss, m, n, seed)
    weights = np.random.default_rng(seed).uniform(0.1, 3, size=m) if weighted else None

    def outputs(p: dict[str, nn.Array]) -> nn.Array | tuple[nn.Array, ...]:
        return p["0"] if loss.outputs == 1 else tuple(p.values())

    nn.check_gradients(
        lambda p: loss.forward(outputs(p), target, weights)[0],
        lambda p: {
            str(i): d for i, d in enumerate(leaves(loss.backward(loss.forward(outputs(p), target, weights)[1])))
        },
        {str(i): a for i, a in enumerate(leaves(y))},
    ).assert_ok()


@pytest.mark.parametrize("name", PENALTIES)
@given(data=st.data(), m=st.integers(1, 9))
def test_penalties(name: str, data: st.DataObject, m: int) -> None:
    penalty = PENALTIES[name]
    params = ArrayDict({"dense1.W": data.draw(reals((2, 3))), "dense1.b": data.draw(reals((3,)))})
    nn.check_gradients(lambda p: penalty.forward(p, m), lambda p: penalty.backward(p, m), params).assert_ok()
