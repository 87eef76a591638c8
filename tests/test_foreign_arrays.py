"""Arrays from files written by other libraries, bit for bit, and as weights of a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays, floating_dtypes, integer_dtypes

import nnfunc as nn
from nnfunc.interop.arrays import read_arrays
from nnfunc.interop.flax import from_variables, to_variables
from nnfunc.interop.keras import from_weights, to_weights
from nnfunc.interop.torch import from_state_dict

numbers = floating_dtypes(endianness="<", sizes=(16, 32, 64)) | integer_dtypes(endianness="<")
dicts = st.dictionaries(
    st.text("abc.", min_size=1).filter(lambda k: k.strip(".")),
    numbers.flatmap(lambda dtype: arrays(dtype, array_shapes(min_dims=0, max_side=3))),
    min_size=1,
    max_size=3,
)


def widened(array: Any) -> Any:
    return array.astype(np.float32) if array.dtype == np.float16 else array


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@given(given_=dicts)
def test_all_arrays_come_as_they_are(suffix: str, given_: dict[str, Any], tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("arrays") / f"net{suffix}"
    if suffix == ".npz":
        np.savez(path, **given_)
    else:
        pytest.importorskip("safetensors.numpy").save_file(given_, path)
    found = read_arrays(path)
    assert found.keys() == given_.keys()
    for k, a in found.items():
        assert a.dtype == widened(given_[k]).dtype
        assert a.shape == given_[k].shape
        assert a.tobytes() == widened(given_[k]).tobytes()
        assert a.flags.writeable or a.size == 0 or a.dtype.kind != "f"


def test_bfloat16_becomes_the_same_numbers(tmp_path: Path) -> None:
    torch, save = pytest.importorskip("torch"), pytest.importorskip("safetensors.torch").save_file
    tensor = torch.randn(7, 3).to(torch.bfloat16)
    tensor[0] = torch.tensor([float("inf"), -0.0, 1e-40])
    save({"W": tensor, "half": tensor[1:].half()}, tmp_path / "net.safetensors")
    found = read_arrays(tmp_path / "net.safetensors")
    assert found["W"].tobytes() == tensor.float().numpy().tobytes()
    assert found["half"].tobytes() == tensor[1:].half().float().numpy().tobytes()


def test_bfloat16_in_an_npz(tmp_path: Path) -> None:
    dtypes = pytest.importorskip("ml_dtypes")
    a = np.array([1.5, -2.0, 3e38], dtypes.bfloat16)
    np.savez(tmp_path / "net.npz", a=a)
    assert read_arrays(tmp_path / "net.npz")["a"].tolist() == a.astype(np.float32).tolist()


def test_a_file_of_this_package_is_one_too(tmp_path: Path) -> None:
    model = nn.mlp([2, 3, 1], ["relu", "sigmoid"])
    ts = nn.train_state(model, nn.adam(), nn.key(0), (2,))
    nn.save(tmp_path / "run.safetensors", ts, model)
    found = read_arrays(tmp_path / "run.safetensors")
    assert all(np.array_equal(found[f"params/{k}"], a) for k, a in ts.params.items())


MODEL = nn.serial(nn.dense(4), nn.relu(), nn.batch_norm(), nn.dense(2))


def module() -> Any:
    t = pytest.importorskip("torch").nn
    return t.Sequential(t.Linear(3, 4), t.ReLU(), t.BatchNorm1d(4), t.Linear(4, 2))


def test_a_module_of_torch_from_its_file(tmp_path: Path) -> None:
    net = module()
    pytest.importorskip("safetensors.torch").save_file(net.state_dict(), tmp_path / "net.safetensors")
    found = from_state_dict(MODEL, read_arrays(tmp_path / "net.safetensors"), (3,))
    assert found == from_state_dict(MODEL, net.state_dict(), (3,))


@pytest.mark.parametrize("prefix", ["module.", "model.backbone.", "_orig_mod.module."])
def test_what_all_names_begin_with_is_left_out(prefix: str) -> None:
    net = module()
    longer = {f"{prefix}{k}": v for k, v in net.state_dict().items()}
    expected = from_state_dict(MODEL, net.state_dict(), (3,))
    assert from_state_dict(MODEL, longer, (3,)) == expected
    assert from_state_dict(MODEL, longer, (3,), prefix=prefix) == expected
    with_others = {**longer, "head.weight": np.ones((2, 2))}
    assert from_state_dict(MODEL, with_others, (3,), prefix=prefix.rstrip(".")) == expected
    with pytest.raises(ValueError, match=r"the model has nothing for"):
        from_state_dict(MODEL, with_others, (3,))


def test_a_name_that_is_meant_is_not_left_out() -> None:
    """All names of one layer begin alike."""
    one = {"fc.weight": np.ones((2, 3)), "fc.bias": np.ones(2)}
    model = nn.serial(nn.dense(2))
    assert from_state_dict(model, one, (3,), names={"dense1": "fc"})[0]["dense1.W"].shape == (3, 2)
    assert from_state_dict(nn.dense(2), one, (3,))[0]["W"].shape == (3, 2)
    with pytest.raises(ValueError, match=r"By their shapes it may be names=\{'dense1': 'fc'\}"):
        from_state_dict(model, one, (3,))


def test_an_unknown_prefix_is_named() -> None:
    with pytest.raises(ValueError, match=r"prefix='enc': no name begins with it; there are a\.b, encoder$"):
        from_state_dict(MODEL, {"encoder.W": np.ones(1), "a.b.W": np.ones(1)}, (3,), prefix="enc")


def test_weights_of_keras_and_flax_from_a_file(tmp_path: Path) -> None:
    params, state = MODEL.init(nn.key(0), (3,))
    np.savez(tmp_path / "keras.npz", **{f"net/{k}": a for k, a in to_weights(MODEL, params, state).items()})  # type: ignore[arg-type]  # none is allow_pickle
    assert from_weights(MODEL, read_arrays(tmp_path / "keras.npz"), (3,)) == (params, state)
    flat = {f"{c}/{layer}/{k}": a for c, tree in to_variables(MODEL, params, state).items()
            for layer, own in tree.items() for k, a in own.items()}  # fmt: skip
    np.savez(tmp_path / "flax.npz", **flat)
    assert from_variables(MODEL, read_arrays(tmp_path / "flax.npz"), (3,)) == (params, state)


def written(header: Any, body: bytes = b"", length: int | None = None) -> bytes:
    text = json.dumps(header).encode() if not isinstance(header, bytes) else header
    return (len(text) if length is None else length).to_bytes(8, "little") + text + body


F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
DAMAGED: list[tuple[str, bytes, str]] = [
    ("net.pt", b"", r"ends in '\.pt', expected \.npz or \.safetensors: save it as"),
    ("net", b"", r"ends in '', expected \.npz or \.safetensors$"),
    ("net.npz", b"\x80\x04x", r"does not begin as an npz does"),
    ("net.npz", b"PK\x03\x04 cut", r"damaged or cut short"),
    ("net.safetensors", b"", r"header is longer than the file"),
    ("net.safetensors", written({}, length=99), r"header is longer than the file"),
    ("net.safetensors", written(b"{"), r"cannot be read"),
    ("net.safetensors", written(b"[]"), r"cannot be read"),
    ("net.safetensors", written({"a": F32}, b"1234"), r"'a' ends behind the end of the file"),
    ("net.safetensors", written({"a": {**F32, "shape": [3]}}, b"12345678"), r"cannot be read: cannot reshape"),
    ("net.safetensors", written({"a": {**F32, "dtype": "F8_E4M3"}}, b"12345678"), r"'a' is of F8_E4M3, expected one"),
    ("net.safetensors", written({"a": {"dtype": "F32"}}), r"cannot be read: 'data_offsets'"),
]


@pytest.mark.parametrize(("name", "data", "message"), DAMAGED, ids=[message for _, _, message in DAMAGED])
def test_what_cannot_be_read(name: str, data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_arrays(tmp_path / name)


@pytest.mark.parametrize("array", [np.array([{}], object), np.array(["text"]), np.array([1j])])
def test_what_is_no_array_of_numbers(array: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "net.npz", a=array, allow_pickle=True)
    with pytest.raises(ValueError, match=r"cannot be read: ('a' is no array of numbers|Object arrays)"):
        read_arrays(tmp_path / "net.npz")


def test_other_arguments() -> None:
    with pytest.raises(TypeError, match="path is int, expected a str or a Path"):
        read_arrays(3)  # type: ignore[arg-type]  # refused by the types too
    with pytest.raises(FileNotFoundError):
        read_arrays("nowhere/net.npz")
