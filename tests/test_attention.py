"""Embeddings, positions, attention, transformer blocks and generation, compared with PyTorch and by their laws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnfunc as nn
from nnfunc.arrays import ArrayDict
from nnfunc.core.values import map_leaves
from nnfunc.inspection import attention_weights
from nnfunc.interop.torch import from_state_dict, to_state_dict
from nnfunc.layers.attending import masked_softmax
from nnfunc.layers.positions import rotated

rng = np.random.default_rng(0)
CLOSE: Any = {"rtol": 1e-9, "atol": 1e-11}


def drawn(layer: nn.Layer, shape: Any, seed: int = 0) -> ArrayDict:
    params, _ = layer.init(nn.key(seed), shape, np.float64)
    return params.with_vector(np.random.default_rng(seed).normal(size=params.size))


# -- embeddings --------------------------------------------------------------------------------------------------------


@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 1000), st.booleans())
def test_embeddings_are_those_of_pytorch(count: int, size: int, seed: int, padding: bool) -> None:
    torch = pytest.importorskip("torch")
    own = np.random.default_rng(seed)
    layer = nn.embedding(count, size, padding_id=0 if padding else None)
    params = drawn(layer, (4,), seed)
    if padding:
        params = params.replace(E=params["E"] * (np.arange(count) > 0)[:, None])
    x = own.integers(0, count, (3, 4))
    y, cache, _ = layer.forward(params, nn.arrays.EMPTY, x)
    dy = own.normal(size=y.shape)
    dx, grads = layer.backward(params, cache, dy)
    E = torch.tensor(np.array(params["E"]), requires_grad=True)
    theirs = torch.nn.functional.embedding(torch.tensor(x), E, padding_idx=0 if padding else None)
    theirs.backward(torch.tensor(dy))
    assert dx is None
    np.testing.assert_array_equal(y, theirs.detach())
    np.testing.assert_allclose(grads["E"], E.grad, **CLOSE)


def test_ids_are_whole_numbers_in_range() -> None:
    layer = nn.embedding(5, 2, padding_id=3)
    params, state = layer.init(nn.key(0), (3,))
    assert not params["E"][3].any()
    assert params["E"][:3].all()
    for bad in (-1, 5):
        with pytest.raises(
            ValueError, match=rf"x contains the id {bad} at \[0, 1\], expected whole numbers from 0 to 4"
        ):
            layer.forward(params, state, np.array([[0, bad]]))
    with pytest.raises(TypeError, match="x is made of floats, expected integers"):
        layer.forward(params, state, np.array([[0.0]]))
    with pytest.raises(ValueError, match="padding_id=5: expected a number below count=5"):
        nn.embedding(5, 2, padding_id=5)
    one_by_one = layer.forward(params, state, np.array([[True, False]]))[0]
    np.testing.assert_array_equal(one_by_one, params["E"][[[1, 0]]])


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, np.uint64, np.int64])
def test_ids_of_any_dtype_have_the_gradients_of_int64(dtype: Any) -> None:
    layer = nn.embedding(2, 3)
    params, x, dy = drawn(layer, (4,)), rng.integers(0, 2, (5, 4)), rng.normal(size=(5, 4, 3))
    found = [
        layer.backward(params, layer.forward(params, nn.arrays.EMPTY, ids)[1], dy)[1] for ids in (x, x.astype(dtype))
    ]
    assert nn.arrays.equal(*found)


def test_the_gradient_holds_where_ids_need_more_than_16_bits() -> None:
    layer, x = nn.embedding(70_000, 1), np.array([[3, 65_539, 69_999, 3]])
    params, state = layer.init(nn.key(0), (4,))
    _, cache, _ = layer.forward(params, state, x)
    dE = layer.backward(params, cache, np.array([[[1.0], [2.0], [3.0], [4.0]]], np.float32))[1]["E"]
    assert dE[[3, 65_539, 69_999], 0].tolist() == [5.0, 2.0, 3.0]
    assert np.count_nonzero(dE) == 3


def test_an_embedding_and_the_output_layer_can_be_one_array() -> None:
    body = nn.serial(nn.embedding(6, 4), nn.transformer_block(4, 2, causal=True), nn.dense(6, bias=False))
    model = nn.tie(body, "dense1.W", to="embedding1.E", transpose=True)
    params = drawn(model, (5,))
    assert "dense1.W" not in params
    ids = rng.integers(0, 6, (3, 5))
    nn.check_model(model, params, ids, target=ids, loss=nn.sparse_categorical_cross_entropy_with_logits).assert_ok()


# -- positions ---------------------------------------------------------------------------------------------------------


def test_rotary_products_depend_on_the_distance_alone() -> None:
    q, k = rng.normal(size=(2, 1, 6))
    for pairing in ("halves", "adjacent"):
        turned = [rotated(np.repeat(a[None], 9, axis=1), 100.0, pairing)[0] for a in (q, k)]
        products = turned[0] @ turned[1].T
        for distance in range(-8, 9):
            diagonal = np.diagonal(products, distance)
            np.testing.assert_allclose(diagonal, diagonal[0], rtol=1e-10)


def test_sinusoids_are_those_of_the_paper() -> None:
    P = nn.sinusoidal_positions().forward(nn.arrays.EMPTY, nn.arrays.EMPTY, np.zeros((1, 5, 6)))[0][0]
    for t in range(5):
        for i in range(3):
            angle = t / 10000 ** (2 * i / 6)
            np.testing.assert_allclose(P[t, 2 * i : 2 * i + 2], [np.sin(angle), np.cos(angle)], rtol=1e-12)


IN_PARTS: dict[str, Any] = {
    "learned": lambda heads: nn.learned_positions(12),
    "sinusoidal": lambda heads: nn.sinusoidal_positions(),
    "rotary": lambda heads: nn.rotary_positions(),
    "rotary adjacent": lambda heads: nn.rotary_positions(pairing="adjacent"),
    "attention": lambda heads: nn.attention(heads, causal=True),
    "attention without biases": lambda heads: nn.attention(heads, size=3, causal=True, bias=False),
    "attention rotary": lambda heads: nn.attention(heads, causal=True, rotary="halves"),
    "attention adjacent": lambda heads: nn.attention(heads, size=4, causal=True, rotary="adjacent"),
}


def stepped(layer: nn.Layer, params: ArrayDict, parts: list[Any]) -> Any:
    """The outputs for the parts of a sequence, one after another."""
    kernel, memory, found = layer.kernel, None, []
    assert kernel is not None
    assert kernel.step is not None
    for part in parts:
        y, memory = kernel.step(params.arrays, part, memory, **{k: layer.settings[k] for k in kernel.uses})
        found.append(y)
    return np.concatenate(found, axis=1)


@pytest.mark.parametrize("name", IN_PARTS)
@given(
    rows=st.integers(1, 3),
    lengths=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    heads=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_a_sequence_in_parts_is_that_of_the_whole(
    name: str, rows: int, lengths: list[int], heads: int, seed: int
) -> None:
    layer, T = IN_PARTS[name](heads), sum(lengths)
    x = np.random.default_rng(seed).normal(size=(rows, T, 2 * heads))
    params = drawn(layer, x.shape[1:], seed)
    whole = layer.forward(params, nn.arrays.EMPTY, x)[0]
    found = stepped(layer, params, np.split(x, np.cumsum(lengths)[:-1], axis=1))
    np.testing.assert_allclose(found, whole, **CLOSE)


@pytest.mark.parametrize("masked", [False, True])
def test_cross_attention_in_parts_sees_all_of_its_memory(masked: bool) -> None:
    layer = nn.attention(2, cross=True, mask=masked)
    x, memory, keep = rng.normal(size=(3, 5, 4)), rng.normal(size=(3, 6, 2)), rng.integers(0, 2, (3, 6))
    others = (memory, keep) if masked else (memory,)
    params = drawn(layer, map_leaves(lambda a: a.shape[1:], (x, *others)))
    whole = layer.forward(params, nn.arrays.EMPTY, (x, *others))[0]
    parts = [(part, *others) for part in np.split(x, [2, 3], axis=1)]
    np.testing.assert_allclose(stepped(layer, params, parts), whole, **CLOSE)


# -- attention ---------------------------------------------------------------------------------------------------------


KINDS = ["", "causal", "mask", "both"]
sizes = st.integers(1, 4)


@given(sizes, sizes, sizes, st.integers(1, 3), st.sampled_from(KINDS), st.integers(0, 1000))
def test_attention_is_that_of_pytorch(rows: int, T: int, S: int, heads: int, kind: str, seed: int) -> None:
    torch = pytest.importorskip("torch")
    own = np.random.default_rng(seed)
    cross, D = kind in ("", "mask"), 2 * heads
    layer = nn.attention(heads, cross=cross, causal=kind in ("causal", "both"), mask=kind in ("mask", "both"))
    x, memory = own.normal(size=(rows, T, D)), own.normal(size=(rows, S, D))
    length = S if cross else T
    keep = own.integers(0, 2, (rows, length))
    keep[:, 0] = 1  # PyTorch's rows of nothing are NaN
    inputs = (x, *[memory] * cross, *[keep] * layer.settings["mask"])
    value: Any = inputs if len(inputs) > 1 else x
    params = drawn(layer, map_leaves(lambda a: a.shape[1:], value), seed)
    y, cache, _ = layer.forward(params, nn.arrays.EMPTY, value)
    dy = own.normal(size=y.shape)
    dx, grads = layer.backward(params, cache, dy)

    module = torch.nn.MultiheadAttention(D, heads, batch_first=True, dtype=torch.float64)
    module.load_state_dict(to_state_dict(layer, params, names={"": ""}))
    tx, tm = torch.tensor(x, requires_grad=True), torch.tensor(memory, requires_grad=True)
    of = tm if cross else tx
    causal = None if cross or not layer.settings["causal"] else torch.tensor(~np.tri(T, dtype=bool))
    padding = torch.tensor(keep == 0) if layer.settings["mask"] else None
    theirs, weights = module(tx, of, of, attn_mask=causal, key_padding_mask=padding, average_attn_weights=False)
    theirs.backward(torch.tensor(dy))
    np.testing.assert_allclose(y, theirs.detach(), **CLOSE)
    np.testing.assert_allclose(attention_weights(layer, params, value), weights.detach(), **CLOSE)
    first = dx[0] if isinstance(dx, tuple) else dx
    np.testing.assert_allclose(first, tx.grad, **CLOSE)
    if cross:
        np.testing.assert_allclose(dx[1], tm.grad, **CLOSE)
    for name, gradient in to_state_dict(layer, grads).items():
        np.testing.assert_allclose(gradient, module.get_parameter(name).grad, **CLOSE)


def test_a_row_that_sees_nothing_gives_the_bias_and_no_gradient() -> None:
    layer = nn.attention(2, mask=True)
    x, keep = rng.normal(size=(2, 3, 4)), np.array([[False] * 3, [True] * 3])
    params = drawn(layer, ((3, 4), (3,)))
    y, cache, _ = layer.forward(params, nn.arrays.EMPTY, (x, keep))
    np.testing.assert_allclose(y[0], np.broadcast_to(params["out_b"], (3, 4)))
    (dx, none), grads = layer.backward(params, cache, rng.normal(size=y.shape))
    assert none is None
    assert not dx[0].any()
    assert np.isfinite(grads.vector).all()
    assert np.isfinite(dx).all()
    pairs = np.broadcast_to(keep[:, None], (2, 3, 3))
    by_pairs = nn.attention(2, mask=True).forward(params, nn.arrays.EMPTY, (x, pairs))[0]
    np.testing.assert_array_equal(by_pairs, y)


def test_large_scores_are_no_trouble() -> None:
    found = masked_softmax(np.array([[1e4, -1e4, 0.0]]), None)
    assert found.tolist() == [[1.0, 0.0, 0.0]]


@pytest.mark.parametrize("norm_first", [True, False])
def test_a_block_is_pytorchs_encoder_layer(norm_first: bool) -> None:
    torch = pytest.importorskip("torch")
    block = nn.transformer_block(8, 2, 16, norm="before" if norm_first else "after", activation="relu")
    module = torch.nn.TransformerEncoderLayer(
        8, 2, 16, 0.0, batch_first=True, norm_first=norm_first, dtype=torch.float64
    )
    places = {
        True: {"attention.layer_norm1": "norm1", "attention.attention1": "self_attn", "mlp.layer_norm1": "norm2",
               "mlp.dense1": "linear1", "mlp.dense2": "linear2"},
        False: {"attention.attention1": "self_attn", "norm": "norm1", "mlp.dense1": "linear1", "mlp.dense2": "linear2",
                "last": "norm2"},
    }[norm_first]  # fmt: skip
    params, state = from_state_dict(block, module.state_dict(), (5, 8), names=places)
    x = rng.normal(size=(3, 5, 8))
    theirs = module(torch.tensor(x)).detach()
    np.testing.assert_allclose(block.forward(params, state, x)[0], theirs, rtol=1e-6, atol=1e-7)


WRONG: list[tuple[Any, Any, str]] = [
    (lambda: nn.attention(3), (4, 4), "heads=3 do not divide the 4 features"),
    (lambda: nn.attention(2, cross=True, causal=True), None, "neither causal nor rotary"),
    (lambda: nn.attention(4, rotary="halves"), (4, 4), "a head has 1 features, an odd number"),
    (lambda: nn.attention(2, mask=True), (4, 4), "expected x and mask"),
    (lambda: nn.attention(2, mask=True), ((5, 4), (4,)), r"the mask has shape \(4,\), expected \(5,\) or \(5, 5\)"),
    (lambda: nn.transformer_block(4, 2, 0), None, "hidden=0: expected a whole number, 1 or more"),
    (lambda: nn.transformer_block(4, 2, norm="between"), None, "norm='between': expected 'before' or 'after'"),  # type: ignore[arg-type]  # refused
    (lambda: nn.transformer_block(4, 3), None, "heads=3 do not divide width=4"),
    (lambda: nn.learned_positions(3), (4, 2), "an example has 4 positions, but length=3"),
    (lambda: nn.rotary_positions(), (4, 3), "3 features, expected an even number"),
]


@pytest.mark.parametrize(("make", "shape", "message"), WRONG)
def test_what_does_not_fit_is_said(make: Any, shape: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        make().init(nn.key(0), shape)


def test_inputs_that_do_not_fit_each_other_are_said() -> None:
    layer = nn.attention(2, cross=True, mask=True)
    x, memory, keep = np.ones((2, 3, 4)), np.ones((2, 5, 6)), np.ones((2, 5), int)
    params = drawn(layer, ((3, 4), (5, 6), (5,)))
    for wrong, message in (
        ((x, memory, keep[:, :3]), r"the mask has shape \(3,\), expected \(5,\) or \(3, 5\)"),
        ((x, memory, np.ones((2, 5, 3), int)), r"the mask has shape \(5, 3\), expected \(5,\) or \(3, 5\)"),
        ((x, memory[:, None], keep), r"an example has shape .*, expected \(\.\.\., time, features\)"),
    ):
        with pytest.raises(ValueError, match=message):
            layer.forward(params, nn.arrays.EMPTY, wrong)
    with pytest.raises(TypeError, match=r"x\[2\] is made of floats, expected integers"):
        layer.forward(params, nn.arrays.EMPTY, (x, memory, keep.astype(float)))


@pytest.mark.parametrize("norm", ["before", "after"])
def test_parts_of_a_block_are_frozen_by_their_names(norm: Any) -> None:
    block = nn.transformer_block(8, 2, causal=True, norm=norm, keep_prob=0.8)
    frozen = nn.freeze(block, "attention.*")
    params, state = frozen.init(nn.key(0), (5, 8), np.float64)
    assert not any(name.startswith("attention") for name in params)
    nn.check_layer(frozen, (5, 8)).assert_ok()
    x = rng.normal(size=(3, 5, 8))
    whole, empty = block.init(nn.key(0), (5, 8), np.float64)
    np.testing.assert_array_equal(frozen.forward(params, state, x)[0], block.forward(whole, empty, x)[0])


# -- generation --------------------------------------------------------------------------------------------------------

MODELS: dict[str, nn.Layer] = {
    "learned": nn.serial(
        nn.embedding(7, 8), nn.learned_positions(20), nn.transformer_block(8, 2, causal=True), nn.dense(7)
    ),
    "sinusoidal": nn.serial(
        nn.embedding(7, 8),
        nn.sinusoidal_positions(),
        nn.transformer_block(8, 2, causal=True),
        nn.dense(7),
        nn.softmax(),
    ),
    "rotary": nn.serial(nn.embedding(7, 8), nn.transformer_block(8, 2, causal=True, rotary="halves"), nn.dense(7)),
    "lstm": nn.serial(nn.embedding(7, 8), nn.lstm(8), nn.gru(8), nn.rnn(8), nn.dense(7)),
}


def state_of(model: nn.Layer, shape: tuple[int, ...] = (4,)) -> nn.TrainState:
    ts = nn.train_state(model, "gd", nn.key(0), shape, np.float64)
    return ts._replace(params=ts.params.with_vector(np.random.default_rng(1).normal(size=ts.params.size)))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("T", [1, 4])
def test_generation_step_by_step_is_that_of_the_whole(name: str, T: int) -> None:
    model, prompt = MODELS[name], rng.integers(0, 7, (2, T))
    ts = state_of(model)
    ids = prompt
    for _ in range(6):
        y = model.forward(ts.params, ts.state, ids)[0]
        ids = np.concatenate([ids, y[:, -1:].argmax(axis=-1)], axis=1)
    np.testing.assert_array_equal(nn.generate(model, ts, prompt, 6, temperature=0), ids)


def test_what_is_drawn_is_what_the_model_says() -> None:
    model = MODELS["lstm"]
    ts = state_of(model)
    prompt = np.zeros((4000, 2), int)
    drawn_ids = nn.generate(model, ts, prompt, 1, key=nn.key(0), temperature=2.0)[:, -1]
    logits = model.forward(ts.params, ts.state, prompt[:1])[0][0, -1] / 2
    p = np.exp(logits - logits.max())
    np.testing.assert_allclose(np.bincount(drawn_ids, minlength=7) / 4000, p / p.sum(), atol=0.04)
    few = nn.generate(model, ts, prompt, 1, key=nn.key(0), top_k=2)[:, -1]
    assert set(few.tolist()) <= set(np.argsort(logits)[-2:].tolist())
    again = nn.generate(model, ts, prompt[:3], 5, key=nn.key(3))
    np.testing.assert_array_equal(again, nn.generate(model, ts, prompt[:3], 5, key=nn.key(3)))


def test_a_layer_that_mixes_positions_is_refused() -> None:
    later = nn.serial(nn.embedding(7, 8), nn.attention(2), nn.dense(7))
    with pytest.raises(ValueError, match=r"attention1: goes on step by step only with causal=True"):
        nn.generate(later, state_of(later), [[1, 2]], 2, temperature=0)
    with pytest.raises(ValueError, match="prompt has shape"):
        nn.generate(MODELS["lstm"], state_of(MODELS["lstm"]), [1, 2], 2, temperature=0)
    with pytest.raises(TypeError, match="is no key"):
        nn.generate(MODELS["lstm"], state_of(MODELS["lstm"]), [[1, 2]], 2)


def causal_conv(dilation: int) -> nn.Layer:
    return nn.conv1d(8, 3, padding=(2 * dilation, 0), dilation=dilation)


def backwards() -> nn.Layer:
    """The last position first."""
    return nn.layer(lambda p, x: (x[:, ::-1], None), lambda p, c, dy: dy[:, ::-1], name="backwards")


MIXING = {
    "conv1d1": causal_conv(1),
    "residual1.conv1d1": nn.residual(causal_conv(4)),
    "backwards1": backwards(),
}


@pytest.mark.parametrize("name", MIXING)
@pytest.mark.parametrize("T", [1, 2, 4, 8, 30])
def test_a_layer_that_mixes_positions_without_a_step_is_named(name: str, T: int) -> None:
    model = nn.serial(nn.embedding(7, 8), MIXING[name], nn.dense(7))
    with pytest.raises(ValueError, match=rf"^{name}: the outputs for a part .* it has no Kernel.step"):
        nn.generate(model, state_of(model, (30,)), np.zeros((2, T), int), 20, temperature=0)


def test_a_wrong_step_is_named() -> None:
    layer = nn.sinusoidal_positions()
    assert layer.kernel is not None
    layer = layer._replace(kernel=layer.kernel._replace(step=lambda p, x, memory, base: (x, 0)))  # forgets where it is
    model = nn.serial(nn.embedding(7, 8), layer, nn.dense(7))
    with pytest.raises(ValueError, match=r"^sinusoidal_positions1: .* Kernel.step gives others"):
        nn.generate(model, state_of(model), [[1]], 5, temperature=0)


def test_one_position_is_never_mixed() -> None:
    model = nn.serial(nn.embedding(7, 8), causal_conv(1), nn.dense(7))
    ts, prompt = state_of(model), np.arange(3)[:, None]
    best = model.forward(ts.params, ts.state, prompt)[0].argmax(axis=-1)
    np.testing.assert_array_equal(nn.generate(model, ts, prompt, 1, temperature=0)[:, 1:], best)


def test_logits_that_are_not_finite_are_refused() -> None:
    model = nn.serial(nn.embedding(7, 8), nn.dense(7))
    ts = state_of(model)
    ts = ts._replace(params=ts.params.with_vector(np.full(ts.params.size, np.nan)))
    for how in ({"temperature": 0}, {"key": nn.key(0)}):
        with pytest.raises(ValueError, match=r"the largest logit is nan at \[0\]"):
            nn.generate(model, ts, [[1, 2]], 2, **how)


@pytest.mark.filterwarnings("error")
def test_the_least_temperature_takes_the_most_probable() -> None:
    model = MODELS["lstm"]
    ts, least = state_of(model), float(np.finfo(float).smallest_subnormal)
    drawn_ids = nn.generate(model, ts, [[1, 2]], 5, key=nn.key(0), temperature=least)
    np.testing.assert_array_equal(drawn_ids, nn.generate(model, ts, [[1, 2]], 5, temperature=0))
