"""Weights from and to PyTorch, Keras and Flax: outputs of real modules, exact round trips, helpful errors."""

from __future__ import annotations

import builtins
import inspect
import os
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnfunc as nn
from nnfunc.arrays import Array, ArrayDict
from nnfunc.interop import flax as from_flax
from nnfunc.interop import keras as from_keras
from nnfunc.interop import torch as from_torch
from nnfunc.interop._weights import read, write
from nnfunc.interop.flax import from_variables, to_variables
from nnfunc.interop.keras import from_weights, layer_names, to_weights
from nnfunc.interop.torch import from_state_dict, to_state_dict
from nnfunc.keys import Key
from nnfunc.layout import Shape
from nnfunc.models.description import constructors
from nnfunc.testing.strategies import Network, networks
from tests.catalogue import bent

rng = np.random.default_rng(0)
X = rng.normal(size=(32, 5)).astype(np.float32)
CONVENTIONS = {
    "torch": from_torch.CONVENTION,
    "flax": from_flax.CONVENTION,
    "flax sequential": from_flax.SEQUENTIAL,
    "keras": from_keras.CONVENTION,
}


READ: dict[str, tuple[Callable[..., Any], str]] = {
    "torch": (from_state_dict, "state_dict"),
    "keras": (from_weights, "weights"),
    "flax": (from_variables, "variables"),
}


def outputs(model: nn.Layer, params: ArrayDict, state: ArrayDict, x: Array = X) -> Array:
    y: Array = model.forward(params, state, x)[0]
    return y


def assert_same_bits(ours: tuple[ArrayDict, ArrayDict], other: tuple[ArrayDict, ArrayDict]) -> None:
    for a, b in zip(ours, other, strict=True):
        assert list(a) == list(b)
        assert a.dtype == b.dtype
        assert a.vector.tobytes() == b.vector.tobytes()
        assert all(np.array_equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in a.counts)


# -- round trips, without the libraries --------------------------------------------------------------------------------


def features(network: Network) -> Shape:
    shape: Shape = network.x.shape[1:]
    return shape


def bits(arrays: ArrayDict, seed: int, dtype: type[np.floating]) -> ArrayDict:
    """Any finite values, among them subnormal ones and negative zeros."""
    vector = np.random.default_rng(seed).normal(size=arrays.vector.shape) * 10.0 ** (seed % 60 - 45)
    return arrays.astype(dtype).with_vector(np.where(vector > 1e30, -0.0, vector))


@pytest.mark.parametrize("name", CONVENTIONS)
@given(networks(), st.integers(0, 2**32), st.sampled_from([np.float32, np.float64]))
def test_any_network_comes_back(name: str, network: Network, seed: int, dtype: type[np.floating]) -> None:
    model, convention = nn.serial(network.model, bent()), CONVENTIONS[name]
    params, state = model.init(nn.key(0), features(network))
    ours = bits(params, seed, dtype), bits(state, seed, dtype)
    names = layer_names(model) if name == "keras" else None
    there = {pair.theirs: array for pair, array in write(convention, model, *ours, names).items()}
    assert len(there) == len(params) + len(state)
    assert all(array.flags.c_contiguous and array.flags.writeable for array in there.values())
    backwards = dict(reversed(there.items()))  # nothing is paired by order
    assert_same_bits(read(convention, model, backwards, features(network), names, None if params else dtype), ours)


@given(networks(), st.integers(0, 2**32))
def test_the_public_functions_come_back(network: Network, seed: int) -> None:
    model, shape = network.model, features(network)
    ours = bits(network.params, seed, np.float64), bits(network.state, seed, np.float64)
    assert_same_bits(from_weights(model, to_weights(model, *ours), shape), ours)
    assert_same_bits(from_variables(model, to_variables(model, *ours), shape), ours)
    assert_same_bits(from_variables(model, to_variables(model, *ours, sequential=True), shape), ours)


@given(networks(), st.integers(0, 2**32))
def test_state_dicts_come_back(network: Network, seed: int) -> None:
    pytest.importorskip("torch")
    ours = bits(network.params, seed, np.float64), bits(network.state, seed, np.float64)
    there = to_state_dict(network.model, *ours)
    assert_same_bits(from_state_dict(network.model, there, features(network)), ours)


MODEL = nn.serial(
    nn.dense(8),
    nn.batch_norm(),
    nn.relu(),
    nn.dropout(0.8),
    nn.residual(nn.layer_norm(), nn.dense(8), nn.gelu(), nn.dense(8, bias=False)),
    nn.serial(nn.dense(4), nn.tanh()),
    nn.dense(3),
)
FRESH = MODEL.init(nn.key(0), (5,))


def test_the_names_of_a_nested_model() -> None:
    """Written out for each library, from what real modules have (see below)."""
    params, state = FRESH
    expected = {
        "torch": "0.weight 0.bias 1.weight 1.bias 1.running_mean 1.running_var 4.0.weight 4.0.bias 4.1.weight 4.1.bias "
        "4.3.weight 5.0.weight 5.0.bias 6.weight 6.bias",
        "flax": "Dense_0/kernel Dense_0/bias BatchNorm_0/scale BatchNorm_0/bias BatchNorm_0/mean BatchNorm_0/var "
        "Residual_0/LayerNorm_0/scale Residual_0/LayerNorm_0/bias Residual_0/Dense_0/kernel Residual_0/Dense_0/bias "
        "Residual_0/Dense_1/kernel Serial_0/Dense_0/kernel Serial_0/Dense_0/bias Dense_1/kernel Dense_1/bias",
        "flax sequential": "layers_0/kernel layers_0/bias layers_1/scale layers_1/bias layers_1/mean layers_1/var "
        "layers_4/layers_0/scale layers_4/layers_0/bias layers_4/layers_1/kernel layers_4/layers_1/bias "
        "layers_4/layers_3/kernel layers_5/layers_0/kernel layers_5/layers_0/bias layers_6/kernel layers_6/bias",
        "keras": "dense/kernel dense/bias batch_normalization/gamma batch_normalization/beta "
        "batch_normalization/moving_mean batch_normalization/moving_variance layer_normalization/gamma "
        "layer_normalization/beta dense_1/kernel dense_1/bias dense_2/kernel dense_3/kernel dense_3/bias "
        "dense_4/kernel dense_4/bias",
    }
    for name, convention in CONVENTIONS.items():
        names = layer_names(MODEL) if name == "keras" else None
        assert [p.theirs for p in write(convention, MODEL, params, state, names)] == expected[name].split()


@pytest.mark.parametrize("name", ["torch", "flax"])
def test_names_of_layers_compositions_and_the_whole(name: str) -> None:
    names = {"": "net", "dense1": "first", "residual1": "block", "residual1.dense2": "last"}
    convention = CONVENTIONS[name]
    there = {p.theirs: a for p, a in write(convention, MODEL, *FRESH, names).items()}
    found = {key.rpartition(convention.separator)[0].replace("/", ".") for key in there}
    middle = {
        "torch": ["0", "1", "1", "5.0", "6"],
        "flax": ["LayerNorm_0", "Dense_0", "BatchNorm_0", "Serial_0.Dense_0", "Dense_1"],
    }
    norm, dense, *rest = middle[name]
    assert found == {"first", f"block.{norm}", f"block.{dense}", "last", *(f"net.{k}" for k in rest)}
    assert_same_bits(read(convention, MODEL, there, (5,), names, None), FRESH)


def test_one_layer_is_a_model() -> None:
    ours = nn.dense(3).init(nn.key(0), (2,))
    assert list(to_variables(nn.dense(3), *ours)["params"]) == ["kernel", "bias"]
    for names in (None, {"": "fc"}):
        assert_same_bits(
            from_variables(nn.dense(3), to_variables(nn.dense(3), *ours, names=names), (2,), names=names), ours
        )
    assert_same_bits(from_weights(nn.dense(3), to_weights(nn.dense(3), *ours), (2,)), ours)


def counter() -> nn.Layer:
    """A layer of the full form whose state is a count."""

    def init(key: Key, input_shape: Shape, dtype: Any = np.float32) -> tuple[ArrayDict, ArrayDict]:
        return ArrayDict({"scale": np.ones(input_shape, dtype)}), ArrayDict({"calls": np.array(0)})

    def forward(params: Any, state: Any, x: Any, *, key: Any = None, train: bool = False) -> Any:
        return x * params["scale"], x, state

    def backward(params: Any, cache: Any, dy: Any, *, need_dx: bool = True, out: Any = None) -> Any:
        return dy * params["scale"], ArrayDict({"scale": (dy * cache).sum(axis=0)})

    return nn.Layer(init, forward, backward, "counter")


def test_the_state_of_own_layers() -> None:
    model = nn.serial(counter(), nn.dense(2))
    params, state = model.init(nn.key(0), (3,))
    state = state.replace({"counter1.calls": 7})
    variables = to_variables(model, params, state)
    assert variables["batch_stats"] == {"Counter_0": {"calls": 7}}
    assert_same_bits(from_variables(model, variables, (3,), dtype=np.float32), (params, state))
    assert_same_bits(from_weights(model, to_weights(model, params, state), (3,)), (params, state))


def test_a_train_state_goes_as_it_is() -> None:
    ts = nn.train_state(MODEL, nn.adam(), nn.key(0), (5,))
    assert to_weights(MODEL, ts).keys() == to_weights(MODEL, ts.params, ts.state).keys()
    assert to_weights(MODEL, dict(ts.params), dict(ts.state)).keys() == to_weights(MODEL, ts).keys()  # type: ignore[arg-type]  # as `forward` takes them


def test_nothing_is_shared() -> None:
    params, state = FRESH
    weights = to_weights(MODEL, params, state)
    again = from_weights(MODEL, weights, (5,))
    for array in weights.values():
        array[...] = 9
    assert_same_bits(again, FRESH)


# -- models that are no chain, tied and frozen ones --------------------------------------------------------------------

GRAPH = nn.serial(
    nn.parallel(image=nn.serial(nn.flatten(), nn.dense(4), nn.batch_norm()), table=nn.dense(4)),
    nn.shared(nn.serial(nn.dense(4), nn.tanh())),
    nn.branch(nn.concatenate(), head=nn.serial(nn.subtract(), nn.dense(2))),
)
"""Two inputs, one tower for both, two outputs."""


def test_a_graph_comes_back_under_nested_names() -> None:
    ours = GRAPH.init(nn.key(0), ((2, 3), (5,)))
    there = {p.theirs: a for p, a in write(from_torch.CONVENTION, GRAPH, *ours, None).items()}
    assert list(there) == [
        *("0.0.1.weight", "0.0.1.bias", "0.0.2.weight", "0.0.2.bias", "0.0.2.running_mean", "0.0.2.running_var"),
        *("0.1.weight", "0.1.bias", "1.0.0.weight", "1.0.0.bias", "2.1.1.weight", "2.1.1.bias"),
    ]
    assert_same_bits(read(from_torch.CONVENTION, GRAPH, there, ((2, 3), (5,)), None, None), ours)
    assert_same_bits(from_weights(GRAPH, to_weights(GRAPH, *ours), ((2, 3), (5,))), ours)
    assert_same_bits(from_variables(GRAPH, to_variables(GRAPH, *ours), ((2, 3), (5,))), ours)


@pytest.mark.parametrize("where", ["dense1.*", ["batch_norm1.*", "residual1.layer_norm1.gamma"], "*"])
@pytest.mark.parametrize("name", READ)
def test_what_is_frozen_is_a_weight_like_any_other(name: str, where: Any) -> None:
    model = nn.freeze(MODEL, where)
    ours = model.init(nn.key(0), (5,))
    assert any(k.startswith("frozen.") for k in ours[1])
    pairs = write(CONVENTIONS[name], model, *ours, layer_names(model) if name == "keras" else None)
    whole = write(CONVENTIONS[name], MODEL, *FRESH, layer_names(MODEL) if name == "keras" else None)
    assert list(pairs) == list(whole)  # also whether an array is of the state
    assert all(np.array_equal(pairs[p], whole[p]) for p in pairs)
    assert_same_bits(READ[name][0](model, {p.theirs: a for p, a in pairs.items()}, (5,)), ours)


def autoencoder(transpose: bool) -> nn.Layer:
    model = nn.serial(nn.dense(4), nn.tanh(), nn.dense(4))
    return nn.tie(model, "dense2.W", "dense1.W", transpose)


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("transpose", [False, True])
def test_a_tied_array_is_there_once_but_where_modules_of_torch_have_both(name: str, transpose: bool) -> None:
    model = autoencoder(transpose)
    ours = model.init(nn.key(0), (4,))
    there = given_arrays_of(name, model, ours)
    assert len(there) == len(ours[0]) + (name == "torch" and not transpose)
    assert_same_bits(READ[name][0](model, there, (4,)), ours)
    if len(there) == 4:
        first, _, second, _ = "0.weight", "0.bias", "2.weight", "2.bias"
        assert np.array_equal(there[first], there[second])
        assert_same_bits(from_state_dict(model, {k: a for k, a in there.items() if k != second}, (4,)), ours)
        with pytest.raises(ValueError, match=r"'2.weight'] differs from state_dict\['0.weight'\], but the two"):
            from_state_dict(model, {**there, second: there[first] + 1}, (4,))


def given_arrays_of(name: str, model: nn.Layer, ours: tuple[ArrayDict, ArrayDict]) -> dict[str, Any]:
    names = layer_names(model) if name == "keras" else None
    return {p.theirs: a for p, a in write(CONVENTIONS[name], model, *ours, names).items()}


def test_a_module_of_torch_with_tied_weights() -> None:
    torch = pytest.importorskip("torch")
    net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Tanh(), torch.nn.Linear(4, 4))
    net[2].weight = net[0].weight
    params, state = from_state_dict(autoencoder(False), net.state_dict(), (4,))
    x = rng.normal(size=(3, 4)).astype(np.float32)
    close(outputs(autoencoder(False), params, state, x), net(torch.tensor(x)).detach().numpy(), np.float32)
    net.load_state_dict(to_state_dict(autoencoder(False), params * 2, state))
    assert np.array_equal(net[2].weight.detach().numpy().T, 2 * params["dense1.W"])


def test_an_array_of_many_axes_is_no_stack_and_not_transposed() -> None:
    """It is of a layer of one's own, whatever that is called."""

    def forward(params: Any, x: Any) -> Any:
        return x * params["W"].sum(), x

    def backward(params: Any, cache: Any, dy: Any) -> Any:
        return dy * params["W"].sum(), {"W": np.full(params["W"].shape, (dy * cache).sum())}

    model = nn.serial(nn.layer(forward, backward, lambda key, shape: {"W": np.ones((2, 3, 4, 5))}, name="dense"))
    ours = model.init(nn.key(0), (3,))
    there = {p.theirs: a.shape for p, a in write(from_torch.CONVENTION, model, *ours, None).items()}
    assert there == {"0.W": (2, 3, 4, 5)}
    assert_same_bits(from_variables(model, to_variables(model, *ours), (3,)), ours)


@pytest.mark.parametrize("name", CONVENTIONS)
def test_every_built_in_layer_with_arrays_is_in_the_tables(name: str) -> None:
    found, arguments = set(), {"cell": nn.dense(3), "keep_prob": 0.5, "pairs": (1, 1)}
    for kind, make in constructors().items():
        required = [
            p for p in inspect.signature(make).parameters.values() if p.default is p.empty and p.kind.value == 1
        ]
        inner = nn.lstm(3) if kind == "bidirectional" else nn.dense(3)
        layer = make(*[{"layer": inner, "forward": inner, **arguments}.get(p.name, 3) for p in required])
        if layer.wire is None:
            for shape in ((8,), (8, 8), (8, 8, 8)):
                with suppress(ValueError, TypeError):
                    arrays = layer.init(nn.key(0), shape)
                    found |= {(kind, k) for k in (*arrays[0], *arrays[1])}
    assert {("dense", "W"), ("batch_norm", "var"), ("layer_norm", "beta")} <= found
    elsewhere = {"flax": ("attention",), "keras": ("attention",)}.get(name.split()[0], ())
    found = {(kind, k) for kind, k in found if kind not in (*elsewhere, "learned_positions")}  # made of others there
    assert found <= {(kind, k) for kind, table in CONVENTIONS[name].arrays.items() for k in table}


# -- dtypes ------------------------------------------------------------------------------------------------------------


def test_the_dtype_is_that_of_the_weights() -> None:
    model = nn.dense(2, bias=False)

    def dtype_of(there: Any, **asked: Any) -> np.dtype[np.floating]:
        params, state = from_weights(model, {"dense/kernel": np.ones((3, 2), there)}, (3,), **asked)
        assert params.dtype == state.dtype
        return params.dtype

    assert dtype_of(np.float16) == dtype_of(np.float32) == dtype_of(np.float64, dtype=np.float32) == np.float32
    assert dtype_of(np.float64) == dtype_of(np.int64) == dtype_of(np.float16, dtype=np.float64) == np.float64
    third = {"dense/kernel": np.full((3, 2), 1 / 3)}
    assert from_weights(model, third, (3,))[0]["W"][0, 0] == 1 / 3


# -- errors ------------------------------------------------------------------------------------------------------------

SMALL = nn.mlp([2, 4, 3], ["relu", "softmax"])


def given_arrays(name: str, names: Mapping[str, str] | None = None, model: nn.Layer = SMALL) -> dict[str, Any]:
    """The weights of a model as a flat dict."""
    names = layer_names(model, names=names) if name == "keras" else names
    params, state = model.init(nn.key(0), (2 if model is SMALL else 6,))
    return {p.theirs: a for p, a in write(CONVENTIONS[name], model, params, state, names).items()}


@pytest.mark.parametrize("name", READ)
def test_other_names_are_shown_with_the_names_that_are_meant(name: str) -> None:
    read, what = READ[name]
    there = given_arrays(name, {"dense1": "encoder", "dense2": "head"})
    with pytest.raises(ValueError, match=f"{what} does not fit the model: it has no ") as caught:
        read(SMALL, there, (2,))
    message = str(caught.value)
    assert "for dense1.W" in message
    assert "the model has nothing for encoder" in message
    assert message.endswith("Judging by shapes, try names={'dense1': 'encoder', 'dense2': 'head'}")
    assert_same_bits(
        read(SMALL, there, (2,), names={"dense1": "encoder", "dense2": "head"}), SMALL.init(nn.key(0), (2,))
    )
    del there[next(iter(there))]
    with pytest.raises(ValueError, match=r"it has no .*; the model has nothing for .*\. Use names="):
        read(SMALL, there, (2,))


@pytest.mark.parametrize("name", READ)
def test_layers_that_only_an_order_could_tell_apart_are_not_proposed(name: str) -> None:
    """A file sorts its names."""
    read, _ = READ[name]
    model = nn.mlp([6, 6, 6], ["tanh", "identity"])

    def message(first: str, second: str) -> str:
        there = given_arrays(name, {"dense1": first, "dense2": second}, model)
        with pytest.raises(ValueError, match="does not fit the model") as caught:
            read(model, dict(sorted(there.items())), (6,))
        return str(caught.value)

    assert message("encoder", "decoder").endswith("Use names= to say which layer is which")
    assert message("block_9", "block_10").endswith("try names={'dense1': 'block_9', 'dense2': 'block_10'}")


def test_numbers_of_keras_count_where_a_file_has_sorted_the_paths() -> None:
    model = nn.mlp([6, 6, 6], ["tanh", "identity"])
    params, state = model.init(nn.key(0), (6,))
    weights = to_weights(model, params, state, names={"dense1": "net/dense_9", "dense2": "net/dense_10"})
    assert from_weights(model, dict(sorted(weights.items())), (6,)) == (params, state)


def test_what_goes_out_is_one_finite_network() -> None:
    params, state = SMALL.init(nn.key(0), (2,))
    with pytest.raises(ValueError, match=r"dense1.W contains nan at \[0, 0\]: the network has diverged"):
        to_weights(SMALL, params * float("nan"), state)
    ts = nn.train_state(SMALL, "adam", nn.key(0), (2,))
    with pytest.raises(ValueError, match="params is a TrainState, which has a state, but state"):
        to_weights(SMALL, ts, ArrayDict({"a": np.ones(1)}))


@pytest.mark.parametrize("name", READ)
def test_missing_extra_transposed_and_nan(name: str) -> None:
    read, what = READ[name]
    there = given_arrays(name)
    W, b = list(there)[:2]
    with pytest.raises(ValueError, match=f"{what} does not fit .* it has no {b} .4,. for dense1.b. A layer without"):
        read(SMALL, {k: a for k, a in there.items() if k != b}, (2,))
    with pytest.raises(
        ValueError, match=f"{what} does not fit the model: the model has nothing for more \\(1,\\). Remove arrays"
    ):
        read(SMALL, {**there, "more": np.ones(1)}, (2,))
    right, wrong = there[W].shape, there[W].shape[::-1]
    hint = f"{W} {wrong}, expected {right} (it is transposed: pass {what}['{W}'].T)"
    with pytest.raises(ValueError, match="has shapes that differ from the model's") as caught:
        read(SMALL, {**there, W: there[W].T}, (2,))
    assert hint in str(caught.value)
    with pytest.raises(ValueError, match=rf"{b} \(5,\), expected \(4,\)$"):
        read(SMALL, {**there, b: np.ones(5)}, (2,))
    for value, words in (
        (np.nan, "nan at [2]: its network has diverged"),
        (1e39, "1e+39 at [2]: too large for float32"),
    ):
        broken = np.array([0, 0, value, value])
        with pytest.raises(ValueError, match="contains") as caught:
            read(SMALL, {**there, b: broken}, (2,), dtype=np.float32)
        assert str(caught.value) == f"{what}['{b}'] contains {words}"


@pytest.mark.parametrize("name", READ)
def test_wrong_arguments(name: str) -> None:
    read, what = READ[name]
    there = given_arrays(name)
    with pytest.raises(ValueError, match="names: unknown layer 'dens1': did you mean 'dense1'"):
        read(SMALL, there, (2,), names={"dens1": "a"})
    with pytest.raises(ValueError, match=r"dense1.W and dense2.W would both be .* in .*different names in names="):
        read(SMALL, there, (2,), names={"dense1": "a", "dense2": "a"})
    for names in ({"dense1": 1}, "dense1"):
        with pytest.raises(TypeError, match=r"names=.*: expected a dict from layers of the model to names"):
            read(SMALL, there, (2,), names=names)
    with pytest.raises(TypeError, match=f"{what} is list, expected "):
        read(SMALL, list(there.values()), (2,))
    with pytest.raises(TypeError, match="model is str, expected a layer"):
        read("SMALL", there, (2,))
    with pytest.raises(TypeError, match=rf"{what}\['more'\] has dtype <U1, expected real numbers"):
        read(SMALL, {**there, "more": ["a"]}, (2,))
    masked = np.ma.array(there[W := next(iter(there))], mask=True)
    with pytest.raises(TypeError, match=rf"{what}\['{W}'\] is a masked array"):
        read(SMALL, {**there, W: masked}, (2,))
    with pytest.raises(TypeError, match=r"input_shape=2: expected the shape of one example as a tuple"):
        read(SMALL, there, 2)


WRITE: list[Callable[..., Any]] = [to_state_dict, to_weights, to_variables]


@pytest.mark.parametrize("write", WRITE)
def test_what_cannot_be_written(write: Callable[..., Any]) -> None:
    if write is to_state_dict:
        pytest.importorskip("torch")
    params, state = FRESH
    ts = nn.train_state(MODEL, nn.adam(), nn.split(nn.key(0), 2), (5,))
    for arguments in (
        (MODEL, ts),
        (MODEL, ts.params, ts.state),
        (SMALL, nn.stack([SMALL.init(nn.key(0), (2,))[0]] * 2)),
    ):
        with pytest.raises(ValueError, match=r"params are a stack of networks, expected one: .* nn\.unstack"):
            write(*arguments)
    unsaid = ArrayDict({k: np.stack([a, a]) for k, a in SMALL.init(nn.key(0), (2,))[0].items()})
    with pytest.raises(ValueError, match=r"dense1: the parameters do not match the model: .*, or a stack of them"):
        write(SMALL, unsaid)
    assert write(MODEL, nn.unstack(ts)[0]).keys() == write(MODEL, params, state).keys()
    with pytest.raises(
        ValueError, match=r"batch_norm1: the state has no mean and no var: pass the state from model.init"
    ):
        write(MODEL, params)
    longer = ArrayDict({**state, "batch_norm1.var": np.ones(9, np.float32)})
    with pytest.raises(
        ValueError, match=r"batch_norm1: the state has var \(9,\), expected \(8,\): pass the state from"
    ):
        write(MODEL, params, longer)
    with pytest.raises(ValueError, match=r"the model has no layer for batch_norm1.mean, batch_norm1.var"):
        write(SMALL, SMALL.init(nn.key(0), (2,))[0], state)
    with pytest.raises(ValueError, match=r"do not (fit|match) the model"):
        write(SMALL, params, state)
    with pytest.raises(ValueError, match="unknown layer 'dense9'"):
        write(MODEL, params, state, names={"dense9": "a"})
    with pytest.raises(ValueError, match="would both be"):
        write(MODEL, params, state, names={"dense1": "a", "dense2": "a"})
    with pytest.raises(TypeError, match="params is list, expected an ArrayDict or a TrainState"):
        write(MODEL, [], state)


def test_a_name_inside_an_array_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'a/kernel/.*' would be inside an array"):
        to_variables(SMALL, *SMALL.init(nn.key(0), (2,)), names={"dense1": "a", "dense2": "a/kernel"})


def test_two_flax_arrays_of_one_name_are_refused() -> None:
    variables = {"params": {"Dense_0": {"kernel": np.ones((2, 3))}}, "old": {"Dense_0": {"kernel": np.ones((2, 3))}}}
    with pytest.raises(ValueError, match="variables contains two arrays named 'Dense_0/kernel'"):
        from_variables(nn.dense(3, bias=False), variables, (2,))


def test_keras_names_are_flat() -> None:
    with pytest.raises(ValueError, match="'residual1' is a composition, which Keras ignores"):
        to_weights(MODEL, *FRESH, names={"residual1": "block"})


def test_missing_pytorch_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> object:
        if name == "torch":
            raise ImportError(name)
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match="to_state_dict needs PyTorch: pip install torch"):
        to_state_dict(MODEL, *FRESH)
    assert_same_bits(from_state_dict(SMALL, given_arrays("torch"), (2,)), SMALL.init(nn.key(0), (2,)))


# -- PyTorch -----------------------------------------------------------------------------------------------------------


def close(a: Array, b: Array, dtype: type[np.floating]) -> None:
    np.testing.assert_allclose(a, b, rtol=0, atol={np.float32: 5e-6, np.float64: 1e-13}[dtype])


def torch_net() -> Any:
    """A module with the layers of MODEL, in training mode."""
    N = pytest.importorskip("torch").nn

    class Residual(N.Sequential):  # type: ignore[misc, name-defined]  # unknown where PyTorch is not installed
        def forward(self, x: Any) -> Any:
            return x + super().forward(x)

    block = Residual(N.LayerNorm(8), N.Linear(8, 8), N.GELU(), N.Linear(8, 8, bias=False))
    tail = N.Sequential(N.Linear(8, 4), N.Tanh())
    return N.Sequential(N.Linear(5, 8), N.BatchNorm1d(8), N.ReLU(), N.Dropout(0.2), block, tail, N.Linear(4, 3))


def trained(net: Any) -> Any:
    """Some steps of training, so that no array is as it was, then evaluation mode."""
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.Adam(net.parameters(), 0.05)
    dtype = next(net.parameters()).dtype
    for x in torch.tensor(rng.normal(size=(20, 16, 5)), dtype=dtype):
        optimizer.zero_grad()
        net(x).square().sum().backward()
        optimizer.step()
    return net.eval()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_sequential_of_torch(dtype: type[np.floating]) -> None:
    torch = pytest.importorskip("torch")
    kind = {np.float32: torch.float32, np.float64: torch.float64}[dtype]
    net = trained(torch_net().to(kind))
    expected = net(torch.tensor(X, dtype=kind)).detach().numpy()
    params, state = from_state_dict(MODEL, net.state_dict(), (5,))
    assert params.dtype == state.dtype == dtype
    close(outputs(MODEL, params, state, X.astype(dtype)), expected, dtype)

    again = torch_net().to(kind).eval()
    there = to_state_dict(MODEL, params, state)
    again.load_state_dict(there)  # strict: all keys, and no others
    for name, tensor in net.state_dict().items():
        assert "num_batches" in name or torch.equal(tensor, there[name])
        assert tensor.dtype == there[name].dtype
    assert np.array_equal(again(torch.tensor(X, dtype=kind)).detach().numpy(), expected)


def test_a_module_of_torch_with_names_of_its_own() -> None:
    torch = pytest.importorskip("torch")
    N = torch.nn

    class Block(N.Module):  # type: ignore[misc, name-defined]  # unknown where PyTorch is not installed
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.fc, self.out = N.LayerNorm(8), N.Linear(8, 8), N.Linear(8, 8, bias=False)

        def forward(self, x: Any) -> Any:
            return x + self.out(torch.nn.functional.gelu(self.fc(self.norm(x))))

    class Net(N.Module):  # type: ignore[misc, name-defined]  # likewise
        def __init__(self) -> None:
            super().__init__()
            self.head, self.block, self.bn1 = N.Linear(4, 3), Block(), N.BatchNorm1d(8)  # another order
            self.fc1, self.fc2 = N.Linear(5, 8), N.Linear(8, 4)

        def forward(self, x: Any) -> Any:
            x = self.block(torch.relu(self.bn1(self.fc1(x))))
            return self.head(torch.tanh(self.fc2(x)))

    net = trained(Net())
    names = {
        "dense1": "fc1",
        "batch_norm1": "bn1",
        "residual1.layer_norm1": "block.norm",
        "residual1.dense1": "block.fc",
        "residual1.dense2": "block.out",
        "serial1.dense1": "fc2",
        "dense2": "head",
    }
    with pytest.raises(ValueError, match="does not fit the model") as caught:
        from_state_dict(MODEL, net.state_dict(), (5,))
    assert str(caught.value).endswith(f"names={names}")
    params, state = from_state_dict(MODEL, net.state_dict(), (5,), names=names)
    close(outputs(MODEL, params, state), net(torch.tensor(X)).detach().numpy(), np.float32)
    again = Net().eval()
    again.load_state_dict(to_state_dict(MODEL, params, state, names=names))
    assert torch.equal(again(torch.tensor(X)), net(torch.tensor(X)))


def test_a_wrapped_module_of_torch() -> None:
    torch = pytest.importorskip("torch")
    net = torch.nn.DataParallel(torch_net())
    params, state = from_state_dict(MODEL, net.state_dict(), (5,), names={"": "module"})
    net.load_state_dict(to_state_dict(MODEL, params, state, names={"": "module"}))


def test_a_last_softmax_may_be_missing_but_no_layer_between() -> None:
    N = pytest.importorskip("torch").nn
    state_dict = N.Sequential(N.Linear(2, 4), N.ReLU(), N.Linear(4, 3)).state_dict()
    from_state_dict(SMALL, state_dict, (2,))
    between = nn.mlp([2, 4, 3], ["relu", "softmax"], keep_prob=0.5)
    with pytest.raises(ValueError, match=r"names=\{'dense1': '0', 'dense2': '2'\}"):
        from_state_dict(between, state_dict, (2,))
    from_state_dict(between, state_dict, (2,), names={"dense1": "0", "dense2": "2"})


def test_tensors_of_all_kinds() -> None:
    torch = pytest.importorskip("torch")
    layer = nn.dense(3)
    W = torch.tensor(np.arange(6.0).reshape(3, 2) / 8)
    for dtype in (torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float32, torch.float64):
        params, _ = from_state_dict(layer, {"weight": W.to(dtype), "bias": torch.zeros(3, dtype=dtype)}, (2,))
        assert params.dtype == (np.float64 if dtype == torch.float64 else np.float32)
        assert np.array_equal(params["W"], W.numpy().T)
    strided = torch.zeros(6, 4, dtype=torch.float64)
    strided[::2, 1::2] = W
    bias = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
    params, _ = from_state_dict(layer, {"weight": strided[::2, 1::2], "bias": bias}, (2,))
    assert np.array_equal(params["W"], W.numpy().T)
    for tensor in (torch.empty(3, 2, device="meta"), W.to_sparse()):
        with pytest.raises(TypeError, match=r"state_dict\['weight'\] is not a plain tensor"):
            from_state_dict(layer, {"weight": tensor, "bias": bias}, (2,))
    with pytest.raises(
        TypeError, match=r"state_dict is Linear, expected a dict of tensors: pass module.state_dict\(\)"
    ):
        from_state_dict(layer, torch.nn.Linear(2, 3), (2,))
    with pytest.raises(TypeError, match=r"state_dict\['model'\] is a dict, expected an array: pass the inner dict"):
        from_state_dict(layer, {"model": {"weight": W}, "epoch": 3}, (2,))


# -- Keras -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keras(tmp_path_factory: pytest.TempPathFactory) -> Any:
    backend = next((name for name in ("torch", "jax", "tensorflow") if find_spec(name)), None)
    if not find_spec("keras") or not backend:
        pytest.skip("Keras needs a backend")
    os.environ.setdefault("KERAS_BACKEND", backend)
    os.environ.setdefault("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own imports
        import keras
    return keras


KERAS_MODEL = nn.serial(
    nn.dense(8),
    nn.batch_norm(eps=1e-3, momentum=0.99),
    nn.relu(),
    nn.dropout(0.8),
    nn.serial(nn.dense(4, bias=False), nn.layer_norm(eps=1e-3), nn.gelu()),
    nn.dense(3),
    nn.softmax(),
)


def keras_net(keras: Any) -> Any:
    L = keras.layers
    first = [keras.Input((5,)), L.Dense(8), L.BatchNormalization(), L.ReLU(), L.Dropout(0.2)]
    inner = keras.Sequential([L.Dense(4, use_bias=False), L.LayerNormalization(), L.Activation("gelu")])
    return keras.Sequential([*first, inner, L.Dense(3, activation="softmax")])


def keras_weights(net: Any) -> dict[str, Any]:
    return {w.path: w.numpy() for w in net.weights}


def moved(net: Any) -> None:
    """Weights unlike those of a new model."""
    for w in net.weights:
        w.assign(rng.uniform(0.2, 1, w.shape))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("before", [0, 3])
def test_a_sequential_of_keras(keras: Any, before: int) -> None:
    """Also one that is not the first of its session."""
    keras.utils.clear_session()
    for _ in range(before):
        keras_net(keras)
    net = keras_net(keras)
    moved(net)
    weights = keras_weights(net)
    expected = np.asarray(keras.ops.convert_to_numpy(net(X, training=False)))
    params, state = from_weights(KERAS_MODEL, weights, (5,))
    close(outputs(KERAS_MODEL, params, state), expected, np.float32)

    again = keras_net(keras)
    names = layer_names(KERAS_MODEL, [w.path for w in again.weights])
    there = to_weights(KERAS_MODEL, params, state, names=names)
    for w in again.weights:
        w.assign(there[w.path])
    assert all(np.array_equal(a.numpy(), b.numpy()) for a, b in zip(again.weights, net.weights, strict=True))


@pytest.mark.filterwarnings("ignore")
def test_a_functional_model_of_keras_with_names_of_its_own(keras: Any) -> None:
    L = keras.layers
    x = keras.Input((5,))
    h = L.Dense(8, name="encoder")(x)
    h = L.Add()([h, L.Dense(8, activation="relu")(L.LayerNormalization(name="norm")(h))])
    net = keras.Model(x, L.Dense(2, name="head")(h))
    moved(net)
    model = nn.serial(nn.dense(8), nn.residual(nn.layer_norm(eps=1e-3), nn.dense(8), nn.relu()), nn.dense(2))
    names = {"dense1": "encoder", "residual1.layer_norm1": "norm", "dense2": "head"}
    params, state = from_weights(model, keras_weights(net), (5,), names=names)
    expected = np.asarray(keras.ops.convert_to_numpy(net(X)))
    np.testing.assert_allclose(outputs(model, params, state), expected, rtol=2e-6)
    with pytest.raises(ValueError, match=r"Judging by shapes, try names=\{'dense1': 'encoder', "):
        from_weights(model, keras_weights(net), (5,))


def test_keras_layers_made_in_another_order_need_names() -> None:
    """Their shapes are equal, so nothing else would tell."""
    weights = {f"net/{name}/kernel": np.full((2, 2), i) for i, name in enumerate(["dense_1", "dense"])}
    model = nn.serial(nn.dense(2, bias=False), nn.dense(2, bias=False))
    with pytest.raises(ValueError, match="'net/dense_1' before 'net/dense'") as caught:
        from_weights(model, weights, (2,))
    assert str(caught.value).endswith("names={'dense1': 'net/dense_1', 'dense2': 'net/dense'}")
    names = {"dense1": "dense_1"}  # the other is the only one left
    assert from_weights(model, weights, (2,), names=names)[0]["dense2.W"][0, 0] == 1
    many = {f"dense_{i}/kernel": np.full((2, 2), i) for i in range(2, 12)}
    model = nn.serial(*[nn.dense(2, bias=False)] * 10)
    assert from_weights(model, many, (2,))[0]["dense10.W"][0, 0] == 11


def test_the_name_of_a_keras_model_may_be_left_out() -> None:
    weights = {"net/fc/kernel": np.ones((2, 3)), "net/fc/bias": np.zeros(3)}
    for name in ("fc", "net/fc"):
        assert from_weights(nn.dense(3), weights, (2,), names={"": name})[0]["W"].shape == (2, 3)
    two = {
        f"{path}/fc/{k}": a for path in ("a", "b") for k, a in {"kernel": np.ones((2, 2)), "bias": np.ones(2)}.items()
    }
    model = nn.serial(nn.dense(2), nn.dense(2))
    assert layer_names(model, two, {"dense1": "b/fc", "dense2": "a/fc"}) == {"dense1": "b/fc", "dense2": "a/fc"}
    with pytest.raises(ValueError, match="would both be 'fc/kernel'"):
        from_weights(model, two, (2,), names={"dense1": "fc", "dense2": "fc"})


# -- Flax --------------------------------------------------------------------------------------------------------------

FLAX_MODEL = nn.serial(
    nn.dense(8),
    nn.batch_norm(momentum=0.99),
    nn.relu(),
    nn.residual(nn.layer_norm(eps=1e-6), nn.dense(8), nn.gelu(True)),
    nn.dense(3, bias=False),
)


def flax_variables(jax: Any, module: Any) -> Any:
    """Variables unlike those of a new module."""
    return jax.tree.map(lambda a: rng.uniform(0.2, 1, a.shape).astype(np.float32), module.init(jax.random.key(0), X))


@pytest.mark.filterwarnings("ignore")
def test_a_compact_module_of_flax() -> None:
    jax = pytest.importorskip("jax")
    linen = pytest.importorskip("flax.linen")

    class Residual(linen.Module):  # type: ignore[misc, name-defined]  # unknown where Flax is not installed
        @linen.compact  # type: ignore[untyped-decorator]  # likewise
        def __call__(self, x: Any) -> Any:
            return x + linen.gelu(linen.Dense(8)(linen.LayerNorm()(x)))

    class Net(linen.Module):  # type: ignore[misc, name-defined]  # likewise
        @linen.compact  # type: ignore[untyped-decorator]  # likewise
        def __call__(self, x: Any) -> Any:
            x = linen.Dense(8)(x)
            x = linen.relu(linen.BatchNorm(use_running_average=True)(x))
            x = Residual()(x)
            return linen.Dense(3, use_bias=False)(x)

    variables = flax_variables(jax, Net())
    params, state = from_variables(FLAX_MODEL, variables, (5,))
    close(outputs(FLAX_MODEL, params, state) / 100, np.asarray(Net().apply(variables, X)) / 100, np.float32)
    back = to_variables(FLAX_MODEL, params, state)
    assert jax.tree.all(jax.tree.map(np.array_equal, back, variables))
    assert np.array_equal(Net().apply(back, X), Net().apply(variables, X))


@pytest.mark.filterwarnings("ignore")
def test_a_sequential_of_flax() -> None:
    jax = pytest.importorskip("jax")
    linen = pytest.importorskip("flax.linen")

    class Residual(linen.Sequential):  # type: ignore[misc, name-defined]  # unknown where Flax is not installed
        def __call__(self, x: Any) -> Any:
            return x + super().__call__(x)

    block = Residual([linen.LayerNorm(), linen.Dense(8), linen.gelu])
    norm = linen.BatchNorm(use_running_average=True)
    net = linen.Sequential([linen.Dense(8), norm, linen.relu, block, linen.Dense(3, use_bias=False)])
    variables = flax_variables(jax, net)
    params, state = from_variables(FLAX_MODEL, variables, (5,))
    close(outputs(FLAX_MODEL, params, state) / 100, np.asarray(net.apply(variables, X)) / 100, np.float32)
    back = to_variables(FLAX_MODEL, params, state, sequential=True)
    assert jax.tree.all(jax.tree.map(np.array_equal, back, variables))


@pytest.mark.filterwarnings("ignore")
def test_a_module_of_flax_nnx_and_bfloat16() -> None:
    jax = pytest.importorskip("jax")
    nnx = pytest.importorskip("flax.nnx")

    class Net(nnx.Module):  # type: ignore[misc, name-defined]  # unknown where Flax is not installed
        def __init__(self, rngs: Any) -> None:
            self.fc = nnx.Linear(5, 4, rngs=rngs)
            self.bn = nnx.BatchNorm(4, use_running_average=True, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            return self.bn(self.fc(x))

    net, model = Net(nnx.Rngs(0)), nn.serial(nn.dense(4), nn.batch_norm())
    tree = nnx.to_pure_dict(nnx.state(net))
    names = {"dense1": "fc", "batch_norm1": "bn"}
    params, state = from_variables(model, tree, (5,), names=names)
    close(outputs(model, params, state), np.asarray(net(X)), np.float32)
    short = jax.tree.map(lambda a: a.astype(jax.numpy.bfloat16), tree)
    params, state = from_variables(model, short, (5,), names=names)
    assert params.dtype == np.float32
    assert np.array_equal(params["dense1.W"], np.asarray(short["fc"]["kernel"].astype(np.float32)))


# -- norms of an example, rms norm: real modules of each library, the positions before the features or after them ------

SERIES = rng.normal(size=(7, 6, 4)).astype(np.float32)


def norms(eps: float) -> nn.Layer:
    return nn.serial(nn.group_norm(2, eps=eps), nn.dense(4), nn.instance_norm(eps=eps), nn.dense(4), nn.rms_norm())


def test_norms_of_torch() -> None:
    torch = pytest.importorskip("torch")
    N = torch.nn

    class First(N.Module):  # type: ignore[misc, name-defined]  # unknown where PyTorch is not installed
        """A norm whose channels stand first, on those that stand last."""

        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Any) -> Any:
            return self.inner(x.mT).mT

    instance = N.InstanceNorm1d(4, affine=True)
    net = N.Sequential(First(N.GroupNorm(2, 4)), N.Linear(4, 4), First(instance), N.Linear(4, 4), N.RMSNorm(4, 1e-6))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.uniform_(0.2, 1)
    model, names = norms(1e-5), {"group_norm1": "0.inner", "instance_norm1": "2.inner"}
    params, state = from_state_dict(model, net.state_dict(), (6, 4), names=names)
    close(outputs(model, params, state, SERIES), net(torch.tensor(SERIES)).detach().numpy(), np.float32)
    net.load_state_dict(to_state_dict(model, params, state, names=names))


@pytest.mark.filterwarnings("ignore")
def test_norms_of_keras(keras: Any) -> None:
    L = keras.layers
    group, instance = L.GroupNormalization(2), L.GroupNormalization(-1)
    net = keras.Sequential([keras.Input((6, 4)), group, L.Dense(4), instance, L.Dense(4), L.RMSNormalization()])
    moved(net)
    model = norms(1e-3)
    params, state = from_weights(model, keras_weights(net), (6, 4))
    y = np.asarray(keras.ops.convert_to_numpy(net(SERIES)))
    close(outputs(model, params, state, SERIES) / 4, y / 4, np.float32)
    there = to_weights(model, params, state, names=layer_names(model, [w.path for w in net.weights]))
    assert all(np.array_equal(there[w.path], w.numpy()) for w in net.weights)


@pytest.mark.filterwarnings("ignore")
def test_norms_of_flax() -> None:
    jax = pytest.importorskip("jax")
    linen = pytest.importorskip("flax.linen")

    class Net(linen.Module):  # type: ignore[misc, name-defined]  # unknown where Flax is not installed
        @linen.compact  # type: ignore[untyped-decorator]  # likewise
        def __call__(self, x: Any) -> Any:
            x = linen.Dense(4)(linen.GroupNorm(2)(x))
            return linen.RMSNorm()(linen.Dense(4)(linen.InstanceNorm()(x)))

    drawn = Net().init(jax.random.key(0), SERIES)
    variables = jax.tree.map(lambda a: rng.uniform(0.2, 1, a.shape).astype(np.float32), drawn)
    model = norms(1e-6)
    params, state = from_variables(model, variables, (6, 4), names={"dense1": "Dense_0", "dense2": "Dense_1"})
    close(outputs(model, params, state, SERIES), np.asarray(Net().apply(variables, SERIES)), np.float32)
    assert jax.tree.all(jax.tree.map(np.array_equal, to_variables(model, params, state), variables))


@pytest.mark.filterwarnings("ignore")
def test_trained_slopes(keras: Any) -> None:
    torch = pytest.importorskip("torch")
    model = nn.serial(nn.dense(4), nn.prelu())
    module = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.PReLU(4, 0.7))
    params, state = from_state_dict(model, module.state_dict(), (5,))
    close(outputs(model, params, state), module(torch.tensor(X)).detach().numpy(), np.float32)
    module.load_state_dict(to_state_dict(model, params, state))
    net = keras.Sequential([keras.Input((5,)), keras.layers.Dense(4), keras.layers.PReLU()])
    moved(net)
    params, state = from_weights(model, keras_weights(net), (5,))
    close(outputs(model, params, state), np.asarray(keras.ops.convert_to_numpy(net(X))), np.float32)


# -- recurrent layers: real modules of each library, each of its own kind, then in both directions ---------------------


def recurrent(reset_after: bool = True) -> nn.Layer:
    both = nn.bidirectional(nn.gru(2, reset_after)), nn.bidirectional(nn.lstm(2))
    return nn.serial(nn.rnn(3), nn.gru(5, reset_after), nn.lstm(3), *both, nn.dense(2))


def test_recurrent_layers_of_torch() -> None:
    torch = pytest.importorskip("torch")
    N = torch.nn

    class First(N.Module):  # type: ignore[misc, name-defined]  # unknown where PyTorch is not installed
        """The first of two outputs."""

        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Any) -> Any:
            return self.inner(x)[0]

    def module() -> Any:
        one = [N.RNN(4, 3, batch_first=True), N.GRU(3, 5, batch_first=True), N.LSTM(5, 3, batch_first=True)]
        both = [N.GRU(3, 2, batch_first=True, bidirectional=True), N.LSTM(4, 2, batch_first=True, bidirectional=True)]
        net = N.Sequential(*[First(layer) for layer in (*one, *both)], N.Linear(4, 2))
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.uniform_(-1, 1)
        return net

    net, again, model = module(), module(), recurrent()
    kinds = ("rnn1", "gru1", "lstm1", "bidirectional1", "bidirectional2")
    names = {kind: f"{i}.inner" for i, kind in enumerate(kinds)}
    params, state = from_state_dict(model, net.state_dict(), (6, 4), names=names)
    expected = net(torch.tensor(SERIES)).detach().numpy()
    close(outputs(model, params, state, SERIES), expected, np.float32)
    again.load_state_dict(to_state_dict(model, params, state, names=names))  # strict: all keys, and no others
    close(again(torch.tensor(SERIES)).detach().numpy(), expected, np.float32)
    alone = nn.bidirectional(nn.lstm(2))
    there = N.LSTM(4, 2, batch_first=True, bidirectional=True)
    params, state = from_state_dict(alone, there.state_dict(), (6, 4))
    assert to_state_dict(alone, params, state).keys() == there.state_dict().keys()
    close(outputs(alone, params, state, SERIES), there(torch.tensor(SERIES))[0].detach().numpy(), np.float32)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("name", [None, "encoder"])
def test_recurrent_layers_of_keras(keras: Any, reset_after: bool, name: str | None) -> None:
    L = keras.layers
    keras.utils.clear_session()
    gru = L.GRU(5, reset_after=reset_after, return_sequences=True, name=name)
    layers = [L.SimpleRNN(3, return_sequences=True), gru, L.LSTM(3, return_sequences=True)]
    both = [L.Bidirectional(L.GRU(2, reset_after=reset_after, return_sequences=True)),
            L.Bidirectional(L.LSTM(2, return_sequences=True))]  # fmt: skip
    net = keras.Sequential([keras.Input((6, 4)), *layers, *both, L.Dense(2)])
    for w in net.weights:
        w.assign(rng.uniform(-1, 1, w.shape))
    model, own = recurrent(reset_after), {} if name is None else {"gru1": name}
    params, state = from_weights(model, keras_weights(net), (6, 4), names=own)
    expected = np.asarray(keras.ops.convert_to_numpy(net(SERIES)))
    close(outputs(model, params, state, SERIES), expected, np.float32)
    there = to_weights(model, params, state, names=layer_names(model, [w.path for w in net.weights], own))
    assert there.keys() == {w.path for w in net.weights}
    for w in net.weights:
        w.assign(there[w.path])
    close(np.asarray(keras.ops.convert_to_numpy(net(SERIES))), expected, np.float32)


def test_names_of_recurrent_layers_in_a_new_session_of_keras(keras: Any) -> None:
    keras.utils.clear_session()
    L = keras.layers
    first, both = L.LSTM(2, return_sequences=True), [L.Bidirectional(L.LSTM(2, return_sequences=True)) for _ in "ab"]
    net = keras.Sequential([keras.Input((6, 4)), first, *both, L.GRU(3)], name="net")
    model = nn.serial(nn.lstm(2), *[nn.bidirectional(nn.lstm(2))] * 2, nn.gru(3))
    there = to_weights(model, *model.init(nn.key(0), (6, 4)))
    assert {f"net/{path}" for path in there} == {w.path for w in net.weights}


@pytest.mark.filterwarnings("ignore")
def test_recurrent_layers_of_flax() -> None:
    jax = pytest.importorskip("jax")
    linen = pytest.importorskip("flax.linen")
    RNN = linen.RNN

    class Net(linen.Module):  # type: ignore[misc, name-defined]  # unknown where Flax is not installed
        @linen.compact  # type: ignore[untyped-decorator]  # likewise
        def __call__(self, x: Any) -> Any:
            x = RNN(linen.GRUCell(5))(RNN(linen.SimpleCell(3))(x))
            x = RNN(linen.LSTMCell(3))(x)
            x = linen.Bidirectional(RNN(linen.GRUCell(2)), RNN(linen.GRUCell(2)))(x)
            x = linen.Bidirectional(RNN(linen.OptimizedLSTMCell(2)), RNN(linen.OptimizedLSTMCell(2)))(x)
            return linen.Dense(2)(x)

    names = {
        f"bidirectional{k}.{direction}": f"{cell}Cell_{number}"
        for k, cell, first in ((1, "GRU", 1), (2, "OptimizedLSTM", 0))
        for number, direction in enumerate(("forward", "backward"), first)
    }
    cells = RNN(linen.SimpleCell(3)), RNN(linen.GRUCell(5)), RNN(linen.LSTMCell(3))
    both = [linen.Bidirectional(RNN(cell(2)), RNN(cell(2))) for cell in (linen.GRUCell, linen.OptimizedLSTMCell)]
    model = recurrent()
    for net, own in ((Net(), names), (linen.Sequential([*cells, *both, linen.Dense(2)]), {})):
        drawn = net.init(jax.random.key(0), SERIES)
        variables = jax.tree.map(lambda a: rng.uniform(-1, 1, a.shape).astype(np.float32), drawn)
        params, state = from_variables(model, variables, (6, 4), names=own)
        close(outputs(model, params, state, SERIES), np.asarray(net.apply(variables, SERIES)), np.float32)
        back = to_variables(model, params, state, names=own, sequential=not own)
        assert jax.tree.all(jax.tree.map(np.array_equal, back, variables))


@pytest.mark.filterwarnings("ignore")
def test_recurrent_cells_of_flax_nnx() -> None:
    nnx = pytest.importorskip("flax.nnx")
    cells = (nnx.SimpleCell, nn.rnn), (nnx.GRUCell, nn.gru), (nnx.LSTMCell, nn.lstm), (nnx.OptimizedLSTMCell, nn.lstm)
    for cell, make in cells:
        net = nnx.RNN(cell(4, 3, rngs=nnx.Rngs(0)))
        tree = nnx.to_pure_dict(nnx.state(net, nnx.Param))
        params, state = from_variables(make(3), tree, (6, 4), names={"": "cell"})
        close(outputs(make(3), params, state, SERIES), np.asarray(net(SERIES)), np.float32)


@pytest.mark.parametrize("norm", [False, True])
def test_an_image_made_of_features_has_its_channels_first_in_torch(norm: bool) -> None:
    torch = pytest.importorskip("torch")
    t = torch.nn
    module = t.Sequential(
        t.Linear(3, 8), t.ReLU(), t.Linear(8, 6 * 5 * 4), *([t.BatchNorm1d(120)] if norm else []), t.ReLU(),
        t.Unflatten(1, (6, 5, 4)), *([t.BatchNorm2d(6)] if norm else []), t.ConvTranspose2d(6, 2, 3),
    ).double()  # fmt: skip
    x = torch.randn(7, 3, dtype=torch.float64)
    module(x)  # so that the averages are not what they were
    module.eval()
    model = nn.serial(
        nn.dense(8), nn.relu(), nn.dense(120), *([nn.batch_norm()] if norm else []), nn.relu(),
        nn.reshape(5, 4, 6), *([nn.batch_norm()] if norm else []), nn.conv_transpose2d(2, 3),
    )  # fmt: skip
    weights = module.state_dict()
    params, state = from_state_dict(model, weights, (3,))
    y, _, _ = model.forward(params, state, x.numpy())
    np.testing.assert_allclose(y, module(x).detach().numpy().transpose(0, 2, 3, 1), rtol=1e-10, atol=1e-12)
    again = to_state_dict(model, params, state)
    for name, tensor in weights.items():
        if "num_batches" not in name:
            np.testing.assert_array_equal(again[name].numpy(), tensor.numpy(), err_msg=name)


@pytest.mark.parametrize("norm", [False, True])
def test_a_flattened_image_has_its_channels_first_in_torch(norm: bool) -> None:
    torch = pytest.importorskip("torch")
    t = torch.nn
    between = [t.BatchNorm1d(3 * 4 * 5), t.ReLU()] if norm else [t.ReLU()]
    module = t.Sequential(
        t.Conv2d(2, 3, 3), t.BatchNorm2d(3), t.ReLU(), t.MaxPool2d(2), t.Flatten(), *between, t.Linear(60, 6), t.Tanh(),
        t.Linear(6, 4),
    ).double()  # fmt: skip
    image = torch.randn(7, 2, 10, 12, dtype=torch.float64)
    module(image)  # so that the averages are not what they were
    module.eval()
    model = nn.serial(
        nn.conv2d(3, 3), nn.batch_norm(), nn.relu(), nn.max_pool2d(2), nn.flatten(),
        *([nn.batch_norm(), nn.relu()] if norm else [nn.relu()]), nn.dense(6), nn.tanh(), nn.dense(4),
    )  # fmt: skip
    weights = module.state_dict()
    params, state = from_state_dict(model, weights, (10, 12, 2))
    y, _, _ = model.forward(params, state, image.numpy().transpose(0, 2, 3, 1))
    np.testing.assert_allclose(y, module(image).detach().numpy(), rtol=1e-10, atol=1e-12)
    again = to_state_dict(model, params, state)
    for name, tensor in weights.items():
        if "num_batches" not in name:
            np.testing.assert_array_equal(again[name].numpy(), tensor.numpy(), err_msg=name)


def test_a_layer_of_yours_between_an_image_and_its_features_keeps_the_channels() -> None:
    torch = pytest.importorskip("torch")
    t = torch.nn

    class Scale(torch.nn.Module):  # type: ignore[misc,name-defined]  # torch is not imported for the check
        def __init__(self) -> None:
            super().__init__()
            self.a = t.Parameter(torch.tensor([0.5, 2.0, 3.0], dtype=torch.float64))

        def forward(self, x: Any) -> Any:
            return x * self.a[:, None, None]

    def backward(p: nn.ArrayDict, x: nn.Array, dy: nn.Array) -> tuple[nn.Array, dict[str, nn.Array]]:
        return dy * p["a"], {"a": (dy * x).reshape(-1, len(p["a"])).sum(0)}

    scale = nn.layer(lambda p, x: (x * p["a"], x), backward, lambda key, shape: {"a": np.ones(shape[-1])}, name="scale")
    module = t.Sequential(t.Conv2d(2, 3, 3), Scale(), t.Flatten(), t.Linear(48, 5)).double()
    image = torch.randn(4, 2, 6, 6, dtype=torch.float64)
    model = nn.serial(nn.conv2d(3, 3), scale, nn.flatten(), nn.dense(5))
    params, state = from_state_dict(model, module.state_dict(), (6, 6, 2))
    y, _, _ = model.forward(params, state, image.numpy().transpose(0, 2, 3, 1))
    np.testing.assert_allclose(y, module(image).detach().numpy(), rtol=1e-10, atol=1e-12)
