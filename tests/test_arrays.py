"""The immutable dict of arrays."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import ArrayLike

import nnfunc as nn
from nnfunc.arrays import Array, ArrayDict

names = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3).map(".".join)
dicts = st.dictionaries(
    names, arrays(np.float64, array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3), elements=st.floats(-9, 9))
)


@given(dicts)
def test_it_is_the_mapping_it_was_made_from(plain: dict[str, Array]) -> None:
    d = ArrayDict(plain)
    assert d == plain
    assert dict(d).keys() == plain.keys() == set(d)
    assert len(d) == len(plain)
    assert d.size == d.vector.size == sum(v.size for v in plain.values())
    for k, v in plain.items():
        np.testing.assert_array_equal(d[k], v)
        assert v.size == 0 or np.shares_memory(d[k], d.vector)
        assert not np.shares_memory(d[k], v)
    assert ArrayDict(d.to_dict()) == d
    assert d.with_vector(d.vector) == d
    assert d.map(lambda x: x) == d


@given(dicts)
def test_it_survives_pickling_and_copying_and_stays_immutable(plain: dict[str, Array]) -> None:
    d = ArrayDict(plain)
    for other in (pickle.loads(pickle.dumps(d)), copy.deepcopy(d), copy.copy(d)):
        assert nn.arrays.equal(d, other)
        assert list(d) == list(other)
        with pytest.raises(ValueError, match="WRITEABLE"):
            other.vector.setflags(write=True)


@given(dicts)
def test_groups_are_slices_of_the_vector(plain: dict[str, Array]) -> None:
    d = ArrayDict(plain)
    for prefix in ("a", "b", "a.b"):
        group = d.group(prefix)
        assert dict(group).keys() == {k[len(prefix) + 1 :] for k in plain if k.startswith(prefix + ".")}
        for k, v in group.items():
            np.testing.assert_array_equal(v, plain[f"{prefix}.{k}"])
        assert group.size == 0 or np.shares_memory(group.vector, d.vector)


@given(dicts, st.integers(1, 3))
def test_a_stack_and_back(plain: dict[str, Array], K: int) -> None:
    members = [ArrayDict({k: v + i for k, v in plain.items()}, np.float64) for i in range(K)]
    stacked = nn.stack(members)
    assert stacked.vector.shape == (K, members[0].size)
    for k in plain:
        np.testing.assert_array_equal(stacked[k], np.stack([m[k] for m in members]))
    assert all(nn.arrays.equal(a, b) for a, b in zip(nn.unstack(stacked), members, strict=True))
    assert not plain or nn.arrays.equal(ArrayDict(dict(stacked), np.float64, stacked=True), stacked)


@given(dicts)
def test_arithmetic_is_by_name(plain: dict[str, Array]) -> None:
    d = ArrayDict(plain, np.float64)
    backwards = ArrayDict(dict(reversed(list(plain.items()))), np.float64)
    for result, expected in (
        (d + backwards, {k: 2 * v for k, v in plain.items()}),
        (d - backwards, {k: 0 * v for k, v in plain.items()}),
        (2 * d - 1, {k: 2 * v - 1 for k, v in plain.items()}),
        (1 - d / 2, {k: 1 - v / 2 for k, v in plain.items()}),
        (-d * backwards, {k: -v * v for k, v in plain.items()}),
        (np.float64(2) * d, {k: 2 * v for k, v in plain.items()}),
    ):
        assert nn.arrays.allclose(result, expected)
        assert list(result) == list(d)


def test_unequal_dicts_are_an_error_that_lists_the_difference() -> None:
    a = ArrayDict({"W": np.ones((2, 3)), "b": np.ones(3)})
    with pytest.raises(ValueError, match=r"lacks b and has unexpected c"):
        a + ArrayDict({"W": np.ones((2, 3)), "c": np.ones(3)})
    with pytest.raises(ValueError, match=r"different shapes: W \(3, 2\), expected \(2, 3\)"):
        a + ArrayDict({"W": np.ones((3, 2)), "b": np.ones(3)})
    with pytest.raises(ValueError, match="lacks b"):
        nn.adam().step(a, {"W": np.ones((2, 3))}, nn.adam().init(a))
    with pytest.raises(ValueError, match="lacks b"):
        a.map(np.add, {"W": np.ones((2, 3))})


def test_select_replace_and_slices() -> None:
    d = ArrayDict({"dense1.W": np.ones((2, 3)), "dense1.b": np.zeros(3), "dense2.W": np.ones((3, 1))})
    assert list(d.select("*.W")) == ["dense1.W", "dense2.W"]
    assert list(d.select(["*.b", "dense2.*"])) == ["dense1.b", "dense2.W"]
    assert d.slices("*.W") == (slice(0, 6), slice(9, 12))
    assert d.slices("dense*") == (slice(0, 12),)
    with pytest.raises(ValueError, match=r"pattern '\*.V' does not match any name: dense1.W"):
        d.select("*.V")
    new = d.replace({"dense1.b": [1, 2, 3]})
    np.testing.assert_array_equal(new["dense1.b"], [1.0, 2.0, 3.0])
    assert not d["dense1.b"].any()
    with pytest.raises(ValueError, match=r"dense1.b has shape \(2,\), expected \(3,\)"):
        d.replace({"dense1.b": [1, 2]})
    with pytest.raises(KeyError, match=r"dense1\.b"):
        d.replace({"dense1.B": [1, 2, 3]})
    with pytest.raises(KeyError, match=r"did you mean 'dense1.W'"):
        d["dense1.w"]


def test_names_of_a_group_are_put_together() -> None:
    d = ArrayDict({"b.W": [1.0], "a.W": [2.0], "b.b": [3.0]})
    assert list(d) == ["b.W", "b.b", "a.W"]
    np.testing.assert_array_equal(d.group("b").vector, [1.0, 3.0])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array([object()]), "W has dtype object"),
        (np.array(["a"]), "W has dtype <U1"),
        (np.array([1j]), "W has dtype complex128"),
        ([[1.0], [1.0, 2.0]], "W is not an array: its rows have different lengths"),
    ],
)
def test_what_is_no_array_of_numbers_is_refused(value: ArrayLike, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        ArrayDict({"W": value})


def test_mixed_dtypes_and_bad_names_are_refused() -> None:
    with pytest.raises(TypeError, match=r"W: float32, b: float64.*pass dtype"):
        ArrayDict({"W": np.zeros(1, np.float32), "b": np.zeros(1)})
    with pytest.raises(ValueError, match="expected a non-empty string"):
        ArrayDict({1: np.zeros(1)})  # type: ignore[dict-item]  # what must fail
    with pytest.raises(TypeError, match=r"dtype=int64: expected np\.float32"):
        ArrayDict({"W": np.zeros(1)}, np.int64)
    with pytest.raises(ValueError, match="same length in every array"):
        ArrayDict({"W": np.zeros((2, 3)), "b": np.zeros(3)}, stacked=True)
    with pytest.raises(ValueError, match=r"vector has shape \(2,\), expected \(1,\)"):
        ArrayDict({"W": np.zeros(1)}).with_vector([1.0, 2.0])


def test_whole_numbers_stand_beside_the_vector() -> None:
    d = ArrayDict({"step": np.array(3), "m": [1, 2]})
    assert d.counts == ("step",)
    assert d["step"].dtype == np.int64
    assert d.vector.size == 2
    with pytest.raises(ValueError, match="read-only"):
        d["step"][...] = 4
    assert int(pickle.loads(pickle.dumps(d))["step"]) == 3
    assert "step" in d
    assert d.replace(step=4)["step"] == 4
    with pytest.raises(TypeError, match="params contains integers in step"):
        nn.adam().init(d)


def test_repr_tells_names_shapes_dtype_count_and_bytes() -> None:
    text = repr(nn.stack([ArrayDict({"dense1.W": np.ones((20, 30), np.float32)})] * 2))
    assert text == "ArrayDict of 1 array: 1,200 numbers, float32, 4.7 KiB, a stack of 2\n  dense1.W  (2, 20, 30)"


def test_equality() -> None:
    a = ArrayDict({"W": [1.0, np.nan]})
    assert a == {"W": np.array([1.0, np.nan])}
    assert a != ArrayDict({"W": [1.0, 2.0]})
    assert not nn.arrays.equal(a, a.astype(np.float32))
    assert not nn.arrays.equal(a, {"V": np.array([1.0, np.nan])})
    assert nn.arrays.allclose({"W": [1.0]}, {"W": [1.0 + 1e-9]})
    assert not nn.arrays.allclose({"W": [1.0]}, {"W": [[1.0]]})
    with pytest.raises(TypeError, match="unhashable"):
        hash(a)


# -- parts and joins ---------------------------------------------------------------------------------------------------


def test_join_is_the_inverse_of_group() -> None:
    params, _ = nn.serial(enc=nn.dense(3), dec=nn.serial(nn.dense(2))).init(nn.key(0), (4,))
    joined = nn.arrays.join(enc=params.group("enc"), dec=params.group("dec"))
    assert joined == params
    assert joined.layout is params.layout
    counts = nn.arrays.join(a=ArrayDict({"W": [1.0], "step": np.array(3)}), b=ArrayDict({"W": [2.0]}))
    assert list(counts) == ["a.W", "b.W", "a.step"]
    assert counts.group("a")["step"] == 3


def test_join_of_what_does_not_go_together() -> None:
    one, other = ArrayDict({"W": [1.0]}), ArrayDict({"W": [1.0]}, np.float32)
    with pytest.raises(TypeError, match=r"dtypes \(float32, float64\)"):
        nn.arrays.join(a=one, b=other)
    with pytest.raises(ValueError, match=r"stacks of shapes \(\), \(2,\)"):
        nn.arrays.join(a=one, b=nn.stack([one, one]))
    with pytest.raises(TypeError, match="b is dict, expected an ArrayDict"):
        nn.arrays.join(a=one, b={"W": np.ones(1)})  # type: ignore[arg-type]  # what must fail


def test_all_but_a_pattern() -> None:
    params, _ = nn.serial(nn.dense(3), nn.dense(2)).init(nn.key(0), (4,))
    assert list(params.without("dense1.*")) == ["dense2.W", "dense2.b"]
    assert list(params.without(["*.W", "dense2.b"])) == ["dense1.b"]
    assert len(params.without("*")) == 0
    assert params.without("*").dtype == params.dtype
    with pytest.raises(ValueError, match="does not match any name"):
        params.without("dense3.*")


def test_the_dtype_of_the_left_one_stays() -> None:
    params = ArrayDict({"W": [1.0]}, np.float32)
    assert (params | {"rate": 0.1}).dtype == np.float32
    assert (params | {"W": np.array([2.0])}).dtype == np.float32
    assert (params | {"step": np.array(3)})["step"].dtype == np.int64


def test_numbers_that_a_dtype_cannot_hold_are_an_error() -> None:
    params = ArrayDict({"W": [1.0]}, np.float32)
    calls: tuple[Callable[[], ArrayDict], ...] = (
        lambda: ArrayDict({"W": [1e300]}, np.float32),
        lambda: params.with_vector([1e300]),
        lambda: params.replace(W=[1e300]),
        lambda: params | {"W": [1e300]},
        lambda: ArrayDict({"W": [1e300]}).astype(np.float32),
        lambda: params.like({"W": [1e300]}),
    )
    for call in calls:
        with pytest.raises(ValueError, match=r"contains 1e\+300 at \[0\], too large for float32"):
            call()
    assert np.isinf(ArrayDict({"W": [np.inf]}, np.float32)["W"]).all()  # what was infinite stays so


def test_names_with_brackets_can_be_chosen() -> None:
    params = ArrayDict({"W[0]": [1.0], "b": [2.0]})
    assert list(params.select("W[0]")) == ["W[0]"]
    moved, _ = nn.gd({"W[0]": 1.0, "*": 0.0}).step(params, params, nn.gd().init(params))
    assert moved.vector.tolist() == [0.0, 2.0]


def test_groups_that_are_asked_for_in_vain_are_not_kept() -> None:
    params = ArrayDict({"W": [1.0]})
    for i in range(1000):
        assert len(params.group(f"x{i}")) == 0
    assert not params._groups


def test_slots_keep_their_order_whatever_dict_they_come_in() -> None:
    def rule(w: Array, g: Array, a: Array, b: Array, *, t: int) -> tuple[Array, ...]:
        return w - a - 2 * b - g, a + g, b + 2 * g

    optimizer = nn.optimizer(rule, ("z", "a"))
    params, grads = ArrayDict({"W": [1.0, 2.0], "b": [3.0]}), ArrayDict({"W": [1.0, 1.0], "b": [1.0]})
    state = optimizer.init(params)
    params, state = optimizer.step(params, grads, state)
    turned = {k: state[k] for k in sorted(state)}
    assert optimizer.step(params, grads, turned)[0] == optimizer.step(params, grads, state)[0]  # type: ignore[arg-type]  # a plain dict will do
    for slots in (("a.x", "b"), ("m", "m"), ("step",), ("",)):
        with pytest.raises(ValueError, match="distinct names without dots"):
            nn.optimizer(rule, slots)
