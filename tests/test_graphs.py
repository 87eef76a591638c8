"""Graphs: generated ones compared with finite differences, and some with hand-written PyTorch versions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import nnfunc as nn
from nnfunc.arrays import Array, ArrayDict
from nnfunc.core.layer import Layer
from nnfunc.core.values import Shapes, Value, leaves, map_shapes
from nnfunc.testing import Network, graphs
from tests.catalogue import randomized


def evaluated(network: Network, train: bool, **asked: Any) -> Any:
    function = nn.value_and_grad(network.model, network.loss)
    batch = network.x, network.target
    return function(network.params, network.state, batch, key=nn.key(1), train=train, **asked)


@given(network=graphs(), train=st.booleans())
def test_generated_graphs_have_right_gradients(network: Network, train: bool) -> None:
    nn.check_model(network.model, network.params, network.x, train=train, **network.arguments).assert_ok()


@given(network=graphs(), train=st.booleans())
def test_what_is_asked_for_changes_no_bit(network: Network, train: bool) -> None:
    whole, alone = evaluated(network, train, need_dx=True), evaluated(network, train)
    assert whole.value == alone.value
    assert nn.arrays.equal(whole.grads, alone.grads)
    assert alone.dx is None
    dx = evaluated(network, train, need_dx=True, need_grads=False).dx
    assert all(np.array_equal(a, b) for a, b in zip(leaves(whole.dx), leaves(dx), strict=True))


@settings(max_examples=15)
@given(network=graphs(), train=st.booleans())
def test_a_program_of_a_graph_is_the_same_at_each_run(network: Network, train: bool) -> None:
    """The first run builds the program, the others take it; another batch size takes it too."""
    assume(not train or len(leaves(network.x)[0]) > 1)  # batch norm refuses one row
    first, second = evaluated(network, train), evaluated(network, train)
    assert first.value == second.value
    assert nn.arrays.equal(first.grads, second.grads)
    fresh = network._replace(model=nn.map_layers(lambda _, layer: layer._replace(), network.model))
    assert evaluated(fresh, train).value == first.value


# -- against PyTorch ---------------------------------------------------------------------------------------------------


def with_torch(params: ArrayDict, *inputs: Array) -> tuple[Any, Callable[[str, Any], Any], list[Any], dict[str, Any]]:
    """torch, its affine map by the name of one here, the inputs and the parameters as tensors."""
    torch = pytest.importorskip("torch")
    p = {k: torch.tensor(np.array(v), requires_grad=True) for k, v in params.items()}
    xs = [torch.tensor(a, requires_grad=True) for a in inputs]
    return torch, lambda name, x: x @ p[f"{name}.W"] + p[f"{name}.b"], xs, p


def siamese(torch: Any, affine: Any, a: Any, b: Any, p: Any) -> Any:
    f, g = (torch.tanh(affine("shared1.serial1.dense1", x)) for x in (a, b))
    return affine("dense1", f - g)


def variational(torch: Any, affine: Any, x: Any, p: Any) -> Any:
    h = torch.tanh(affine("dense1", x))
    return torch.cat(
        [affine("branch1.mu", h), torch.exp(affine("branch1.scale.dense1", h)) * affine("branch1.mu", h)], -1
    )


def recurrent(torch: Any, affine: Any, x: Any, p: Any) -> Any:
    h = torch.zeros(len(x), 4, dtype=x.dtype)
    outputs = []
    for t in range(x.shape[1]):
        h = torch.tanh(affine("scan1.serial1.dense1", torch.cat([x[:, t], h], -1)))
        outputs.append(h)
    return affine("dense1", torch.stack(outputs, 1))


def autoencoder(torch: Any, affine: Any, x: Any, p: Any) -> Any:
    W = p["dense1.W"]
    return torch.tanh(x @ W) @ W.T


def gated(torch: Any, affine: Any, x: Any, p: Any) -> Any:
    y = x + torch.tanh(affine("residual1.gate.f", x)) * torch.sigmoid(affine("residual1.gate.g", x))
    return affine("dense1", y * y)


def two_towers(torch: Any, affine: Any, image: Any, table: Any, p: Any) -> Any:
    flat = torch.relu(affine("parallel1.image.dense1", image.reshape(len(image), -1)))
    h = torch.cat([flat, affine("parallel1.table", table)], -1)
    return affine("branch1.label", h), torch.nn.functional.softplus(affine("branch1.size.dense1", h))


def gate(call: Callable[..., Value], x: Value) -> Value:
    return call(nn.multiply(), (call(nn.tanh(), call("f", x)), call(nn.sigmoid(), call("g", x))))


def exp_times_first(call: Callable[..., Value], x: Value) -> Value:
    """(mu, s) -> (mu, exp(s) mu): a value that goes two ways."""
    mu, scale = call.parts(x)  # type: ignore[attr-defined]  # of Call
    return call(nn.concatenate(), (mu, call(nn.multiply(), (scale, mu))))


def exp_forward(params: ArrayDict, x: Array) -> tuple[Array, Array]:
    return np.exp(x), np.exp(x)


exp = nn.layer(exp_forward, lambda p, y, dy: (dy * y, {}), name="exp")
tower = nn.serial(nn.dense(5), nn.tanh())
image = nn.serial(nn.flatten(), nn.dense(5), nn.relu())
gates = {"f": nn.dense(3), "g": nn.dense(3)}

GRAPHS: dict[str, tuple[Layer, Shapes, Callable[..., Any]]] = {
    "siamese": (nn.serial(nn.shared(tower), nn.subtract(), nn.dense(2)), ((3,), (3,)), siamese),
    "variational": (
        nn.serial(
            nn.dense(4), nn.tanh(), nn.branch(mu=nn.dense(2), scale=nn.serial(nn.dense(2), exp)),
            nn.wired(exp_times_first, {}),
        ), (3,), variational,
    ),
    "recurrent": (
        nn.serial(nn.scan(nn.serial(nn.concatenate(), nn.dense(4), nn.tanh()), 4), nn.dense(2)), (5, 3), recurrent,
    ),
    "autoencoder": (
        nn.tie(nn.serial(nn.dense(4, bias=False), nn.tanh(), nn.dense(3, bias=False)), "dense2.W", "dense1.W", True),
        (3,), autoencoder,
    ),
    "gated": (
        nn.serial(nn.residual(gate=nn.wired(gate, gates)), nn.wired(lambda call, x: call(nn.multiply(), (x, x)), {}),
                  nn.dense(2)), (3,), gated,
    ),
    "two towers": (
        nn.serial(
            nn.parallel(image=image, table=nn.dense(2)), nn.concatenate(),
            nn.branch(label=nn.dense(3), size=nn.serial(nn.dense(1), nn.softplus())),
        ), ((2, 3), (4,)), two_towers,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs_are_those_of_torch(name: str) -> None:
    model, shape, translated = GRAPHS[name]
    rng = np.random.default_rng(0)
    params, state = model.init(nn.key(0), shape, np.float64)
    params = randomized(params, 1)
    x = map_shapes(lambda s: rng.normal(size=(6, *s)), shape)
    y, cache, _ = model.forward(params, state, x)
    dy = tuple(rng.normal(size=a.shape) for a in leaves(y))
    dx, grads = model.backward(params, cache, dy if isinstance(y, tuple) else dy[0])

    torch, affine, xs, p = with_torch(params, *leaves(x))
    z = translated(torch, affine, *xs, p)
    zs = z if isinstance(z, tuple) else (z,)
    sum((a * torch.tensor(d)).sum() for a, d in zip(zs, dy, strict=True)).backward()
    for ours, theirs in zip(leaves(y), zs, strict=True):
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-10, atol=1e-12)
    for ours, theirs in zip(leaves(dx), xs, strict=True):
        np.testing.assert_allclose(ours, theirs.grad.numpy(), rtol=1e-10, atol=1e-12)
    for k, theirs in p.items():
        np.testing.assert_allclose(grads[k], theirs.grad.numpy(), rtol=1e-10, atol=1e-12)
