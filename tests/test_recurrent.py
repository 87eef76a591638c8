"""Recurrent layers compared with PyTorch and Keras, and the laws of time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnfunc as nn
from nnfunc.arrays import ArrayDict
from nnfunc.core.values import leaves, map_leaves

KINDS: dict[str, Any] = {"rnn": nn.rnn, "gru": nn.gru, "lstm": nn.lstm}
D, H = 4, 3


def put(module: Any, params: ArrayDict, end: str = "") -> None:
    """Our weights into a module of PyTorch, into those of its names with this end."""
    torch = pytest.importorskip("torch")
    there = {"weight_ih_l0": params["x_W"].T, "weight_hh_l0": params["h_W"].T, "bias_ih_l0": params["b"]}
    there["bias_hh_l0"] = np.zeros_like(params["b"])
    if "h_b" in params:
        there["bias_hh_l0"][-len(params["h_b"]) :] = params["h_b"]
    with torch.no_grad():
        for name, array in there.items():
            getattr(module, name + end).copy_(torch.tensor(np.array(array)))


def both_ways(kind: str, units: int, features: int, **settings: Any) -> Any:
    torch = pytest.importorskip("torch")
    make = getattr(torch.nn, kind.upper())
    return make(features, units, batch_first=True, bidirectional=True, dtype=torch.float64, **settings)


def drawn(layer: nn.Layer, shape: Any, seed: int) -> ArrayDict:
    params, _ = layer.init(nn.key(seed), shape, np.float64)
    return params.with_vector(np.random.default_rng(seed).normal(size=params.size))


SIZES = st.integers(1, 4)


@pytest.mark.parametrize("kind", KINDS)
@given(SIZES, st.integers(1, 5), SIZES, SIZES, st.booleans(), st.booleans(), st.integers(0, 1000))
def test_values_and_gradients_are_those_of_pytorch(
    kind: str, rows: int, T: int, features: int, units: int, reverse: bool, relu: bool, seed: int
) -> None:
    """With an initial and a final state, and sequences of different lengths, in one direction of a module of both."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    name = "relu" if relu and kind == "rnn" else "tanh"
    layer = KINDS[kind](
        units, initial_state=True, final_state=True, lengths=True, reverse=reverse,
        **({"activation": name} if kind == "rnn" else {}),
    )  # fmt: skip
    x, lengths = rng.normal(size=(rows, T, features)), rng.integers(1, T + 1, rows)
    states = [rng.normal(size=(rows, units)) for _ in range(2 if kind == "lstm" else 1)]
    given_states: Any = tuple(states) if kind == "lstm" else states[0]
    inputs = (x, given_states, lengths)
    params = drawn(layer, map_leaves(lambda a: a.shape[1:], inputs), seed)
    (y, last), cache, _ = layer.forward(params, nn.arrays.EMPTY, inputs)
    dy, dlast = rng.normal(size=y.shape), [rng.normal(size=(rows, units)) for _ in states]
    (dx, dstates, none), grads = layer.backward(params, cache, (dy, tuple(dlast) if kind == "lstm" else dlast[0]))
    assert none is None

    module = both_ways(kind, units, features, **({"nonlinearity": name} if kind == "rnn" else {}))
    own, end = (slice(units, None), "_reverse") if reverse else (slice(units), "")
    put(module, params, end)
    tx = torch.tensor(x, requires_grad=True)
    ts = [torch.tensor(np.stack([s, s]), requires_grad=True) for s in states]
    pack = torch.nn.utils.rnn.pack_padded_sequence(tx, torch.tensor(lengths), batch_first=True, enforce_sorted=False)
    out, final = module(pack, tuple(ts) if kind == "lstm" else ts[0])
    ty = torch.nn.utils.rnn.pad_packed_sequence(out, batch_first=True, total_length=T)[0][..., own]
    finals = [f[int(reverse)] for f in (final if kind == "lstm" else (final,))]
    total = (ty * torch.tensor(dy)).sum() + sum((f * torch.tensor(d)).sum() for f, d in zip(finals, dlast, strict=True))
    total.backward()
    close: Any = {"rtol": 1e-9, "atol": 1e-11}
    np.testing.assert_allclose(y, ty.detach(), **close)
    for ours, theirs in zip(leaves(last), finals, strict=True):
        np.testing.assert_allclose(ours, theirs.detach(), **close)
    np.testing.assert_allclose(dx, tx.grad, **close)
    for ours, theirs in zip(leaves(dstates), ts, strict=True):
        np.testing.assert_allclose(ours, theirs.grad[int(reverse)], **close)
    of = {name: getattr(module, f"{name}_l0{end}").grad.numpy() for name in ("weight_ih", "weight_hh", "bias_ih")}
    np.testing.assert_allclose(grads["x_W"].T, of["weight_ih"], **close)
    np.testing.assert_allclose(grads["h_W"].T, of["weight_hh"], **close)
    np.testing.assert_allclose(grads["b"], of["bias_ih"], **close)
    if kind == "gru":
        np.testing.assert_allclose(grads["h_b"], getattr(module, f"bias_hh_l0{end}").grad[2 * units :], **close)


@pytest.mark.parametrize("kind", KINDS)
def test_both_directions_are_those_of_pytorch(kind: str) -> None:
    """Sequences of different lengths, and both last states."""
    torch = pytest.importorskip("torch")
    layer = nn.bidirectional(KINDS[kind](H, lengths=True, final_state=True))
    x, lengths = np.random.default_rng(0).normal(size=(3, 5, D)), np.array([5, 2, 4])
    params = drawn(layer, ((5, D), ()), 0)
    module = both_ways(kind, H, D)
    put(module, params.group("forward"))
    put(module, params.group("backward"), "_reverse")
    y, states = layer.forward(params, nn.arrays.EMPTY, (x, lengths))[0]
    pack = torch.nn.utils.rnn.pack_padded_sequence(
        torch.tensor(x), torch.tensor(lengths), batch_first=True, enforce_sorted=False
    )
    out, final = module(pack)
    close: Any = {"rtol": 1e-10, "atol": 1e-12}
    np.testing.assert_allclose(y, torch.nn.utils.rnn.pad_packed_sequence(out, batch_first=True)[0].detach(), **close)
    for k, state in enumerate(states):
        for ours, theirs in zip(leaves(state), final if kind == "lstm" else (final,), strict=True):
            np.testing.assert_allclose(ours, theirs[k].detach(), **close)


def test_a_gru_with_the_reset_before_the_product_is_that_of_keras() -> None:
    keras = pytest.importorskip("keras")
    layer = nn.gru(H, reset_after=False)
    params = drawn(layer, (5, D), 0).astype(np.float32)
    x = np.random.default_rng(1).normal(size=(2, 5, D)).astype(np.float32)
    peer = keras.layers.GRU(H, reset_after=False, return_sequences=True)
    peer.build((2, 5, D))
    order = np.r_[H : 2 * H, :H, 2 * H : 3 * H]  # z, r, h
    peer.set_weights([params["x_W"][:, order], params["h_W"][:, order], params["b"][order]])
    y = layer.forward(params, nn.arrays.EMPTY, x)[0]
    np.testing.assert_allclose(
        y, np.asarray(peer(x).detach() if hasattr(peer(x), "detach") else peer(x)), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("kind", KINDS)
@given(st.data())
def test_padded_steps_change_nothing(kind: str, data: st.DataObject) -> None:
    """Each sequence gives what it gives alone, without padding, even of NaN, and has the gradients that it has alone;
    in reverse too; a length of 0 keeps the state."""
    T, reverse = data.draw(st.integers(1, 5)), data.draw(st.booleans())
    lengths = np.array([data.draw(st.integers(0, T)) for _ in range(3)])
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    padded = KINDS[kind](H, reverse=reverse, final_state=True, lengths=True)
    alone = KINDS[kind](H, reverse=reverse, final_state=True)
    params = drawn(alone, (T, D), 1)
    x = rng.normal(size=(3, T, D))
    x[np.arange(T) >= lengths[:, None]] = data.draw(st.sampled_from([1e3, np.nan]))
    (y, last), cache, _ = padded.forward(params, nn.arrays.EMPTY, (x, lengths))
    dy, dlast = rng.normal(size=y.shape), map_leaves(lambda s: rng.normal(size=s.shape), last)
    (dx, _), grads = padded.backward(params, cache, (dy, dlast))
    close: Any = {"rtol": 1e-10, "atol": 1e-12}
    total = np.zeros(params.size)
    for i, n in enumerate(lengths):
        assert not y[i, n:].any()
        assert not dx[i, n:].any()
        if not n:
            assert not any(state[i].any() for state in leaves(last))
            continue
        (own, own_last), cache, _ = alone.forward(params, nn.arrays.EMPTY, x[i : i + 1, :n])
        own_dx, own_grads = alone.backward(
            params, cache, (dy[i : i + 1, :n], map_leaves(lambda d, i=i: d[i : i + 1], dlast))
        )
        total += own_grads.vector
        pairs = (y[i, :n], own[0]), (dx[i, :n], own_dx[0])
        for a, b in (*pairs, *((a[i], b[0]) for a, b in zip(leaves(last), leaves(own_last), strict=True))):
            np.testing.assert_allclose(a, b, **close)
    np.testing.assert_allclose(grads.vector, total, **close)


FLAGS = st.fixed_dictionaries(
    dict.fromkeys(("initial_state", "final_state", "lengths", "reverse", "bias"), st.booleans()),
    optional={"output": st.just("last")},
)


@pytest.mark.parametrize("kind", KINDS)
@given(FLAGS, st.booleans())
def test_the_gradients_of_all_arguments_are_right(kind: str, flags: dict[str, Any], other: bool) -> None:
    own: dict[str, Any] = {"rnn": {"activation": "relu"}, "gru": {"reset_after": False}, "lstm": {"forget_bias": 0.0}}
    layer = KINDS[kind](2, **flags, **(own[kind] if other else {}))
    state: Any = ((2,), (2,)) if kind == "lstm" else (2,)
    inputs = ((3, D), *[state] * flags["initial_state"], *[()] * flags["lengths"])
    nn.check_layer(layer, inputs if len(inputs) > 1 else inputs[0]).assert_ok()


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_output_is_the_last_of_the_sequence(kind: str) -> None:
    x = np.random.default_rng(0).normal(size=(2, 5, D))
    for reverse, at in ((False, -1), (True, 0)):
        whole, last = (KINDS[kind](H, output=o, reverse=reverse) for o in ("sequence", "last"))
        params = drawn(whole, (5, D), 0)
        y, end = (layer.forward(params, nn.arrays.EMPTY, x)[0] for layer in (whole, last))
        np.testing.assert_array_equal(y[:, at], end)


def test_rnn_is_a_scan_of_a_cell_of_ones_own() -> None:
    cell = nn.serial(nn.concatenate(), nn.dense(H), nn.tanh())
    scan = nn.scan(cell, H)
    layer = nn.rnn(H)
    params = drawn(layer, (5, D), 0)
    x = np.random.default_rng(1).normal(size=(2, 5, D))
    W = np.concatenate([params["x_W"], params["h_W"]])
    own, _ = scan.init(nn.key(0), (5, D), np.float64)
    own = own.replace({name: W if name.endswith("W") else params["b"] for name in own})
    np.testing.assert_allclose(
        layer.forward(params, nn.arrays.EMPTY, x)[0], scan.forward(own, nn.arrays.EMPTY, x)[0], rtol=1e-12
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_sequence_in_parts_is_the_whole(kind: str) -> None:
    layer = KINDS[kind](H)
    params = drawn(layer, (6, D), 0)
    x = np.random.default_rng(1).normal(size=(2, 6, D))
    kernel = layer.kernel
    assert kernel is not None
    assert kernel.step is not None
    uses = {name: layer.settings[name] for name in kernel.uses}
    memory, parts = None, []
    for part in (x[:, :3], x[:, 3:4], x[:, 4:]):
        y, memory = kernel.step(tuple(params.values()), part, memory, **uses)
        parts.append(y)
    np.testing.assert_allclose(np.concatenate(parts, 1), layer.forward(params, nn.arrays.EMPTY, x)[0], rtol=1e-12)
    with pytest.raises(ValueError, match="goes on step by step only forward in time"):
        kernel.step(tuple(params.values()), x, None, **{**uses, "reverse": True})


def test_the_forget_gate_begins_open() -> None:
    params, _ = nn.lstm(2, forget_bias=0.5).init(nn.key(0), (3, 1))
    assert params["b"].tolist() == [0, 0, 0.5, 0.5, 0, 0, 0, 0]
    W = params["h_W"].astype(float)
    np.testing.assert_allclose(W @ W.T, np.eye(2), atol=1e-6)
    assert nn.l2(1.0).forward(params, 1) == pytest.approx(
        0.5 * float((params["h_W"] ** 2).sum() + (params["x_W"] ** 2).sum())
    )


WRONG: list[tuple[Any, Any, str]] = [
    (lambda: nn.rnn(3, "sigmoid"), None, "activation='sigmoid': expected 'tanh' or 'relu'"),
    (lambda: KINDS["lstm"](3, output="all"), None, "output='all': expected 'sequence' or 'last'"),
    (lambda: nn.lstm(0), None, "units=0"),
    (lambda: nn.lstm(3), (4,), r"expected \(..., time, features\)"),
    (lambda: nn.lstm(3, lengths=True), (5, 4), r"expected a tuple \(x, lengths\)"),
    (lambda: nn.lstm(3, initial_state=True), ((5, 4), (3,)), r"expected \(\(5, 4\), \(\(3,\), \(3,\)\)\)"),
    (lambda: nn.gru(3, initial_state=True), ((5, 4), (2,)), r"expected \(\(5, 4\), \(3,\)\)"),
]


@pytest.mark.parametrize(("make", "shape", "message"), WRONG)
def test_what_does_not_fit_is_said(make: Any, shape: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        make().init(nn.key(0), shape)


def test_lengths_out_of_range_are_named() -> None:
    layer = nn.gru(H, lengths=True)
    params = drawn(layer, ((5, D), ()), 0)
    with pytest.raises(ValueError, match=r"lengths contains 6 at \[1\], expected whole numbers from 0 to 5"):
        layer.forward(params, nn.arrays.EMPTY, (np.ones((2, 5, D)), np.array([5, 6])))
    with pytest.raises(TypeError, match=r"x\[1\] is made of floats, expected integers"):
        layer.forward(params, nn.arrays.EMPTY, (np.ones((2, 5, D)), np.array([5.0, 3.0])))


def test_two_directions_of_other_layers_are_refused() -> None:
    wrong = ((nn.dense(3),), (nn.lstm(3, reverse=True),), (nn.lstm(3), nn.lstm(3)))
    for layers, name in zip(wrong, ("forward", "forward", "backward"), strict=True):
        with pytest.raises(ValueError, match=f"{name}=.*expected nn.rnn, nn.gru or nn.lstm"):
            nn.bidirectional(*layers)
