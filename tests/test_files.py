"""Saving and loading: exact round trips, detection of damage, atomic replacement, reconstruction of models."""

from __future__ import annotations

import builtins
import inspect
import io
import json
import os
import random
import stat
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import nnfunc as nn
from nnfunc import files
from nnfunc._internal import disk, formats
from nnfunc.arrays import Array, ArrayDict
from nnfunc.keys import Key
from nnfunc.layers.structure import map_layers
from nnfunc.models.description import build, constructors, describe
from tests.catalogue import LAYERS, NOT_LAYERS, bent, exported
from tests.reliability import kills

SUFFIXES = [".npz", ".safetensors"]
MODEL = nn.mlp([3, 4, 2], ["relu", "softmax"], keep_prob=0.8, batch_norm=True)


@pytest.fixture(params=SUFFIXES)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == ".safetensors":
        pytest.importorskip("safetensors")
    return tmp_path / f"run{request.param}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


def state(seed: int = 0, dtype: type[np.floating] = np.float32, model: nn.Layer = MODEL) -> nn.TrainState:
    return nn.train_state(model, nn.adam(), nn.key(seed), (3,), dtype)


def assert_same_bits(a: nn.TrainState, b: nn.TrainState) -> None:
    """Also the order of the arrays, the dtypes of dicts without any, NaNs and the signs of zeros are the same."""
    for x, y in zip(a[:3], b[:3], strict=True):
        assert isinstance(x, ArrayDict)
        assert isinstance(y, ArrayDict)
        assert list(x) == list(y)
        assert x.layout is y.layout
        assert (x.dtype, x.vector.shape, x.vector.tobytes()) == (y.dtype, y.vector.shape, y.vector.tobytes())
        assert [(x[k].dtype, x[k].shape, x[k].tobytes()) for k in x.counts] == [
            (y[k].dtype, y[k].shape, y[k].tobytes()) for k in y.counts
        ]
    assert (a.key, type(a.key), a.step, type(a.step)) == (b.key, type(b.key), b.step, type(b.step))


# -- every bit comes back ----------------------------------------------------------------------------------------------

NAMES = st.text(st.sampled_from("abWé漢. /*"), min_size=1, max_size=6)
BITS: dict[Any, Any] = {np.float32: np.uint32, np.float64: np.uint64}


@st.composite
def array_dicts(draw: st.DrawFn, lead: tuple[int, ...] = ()) -> ArrayDict:
    """Any dict: any bits as floats (NaNs, infinities, subnormals), arrays without elements, counts; and stacks."""
    dtype = draw(st.sampled_from(list(BITS)))
    shapes = array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
    floats = shapes.flatmap(lambda s: arrays(BITS[dtype], lead + s)).map(lambda a: a.view(dtype))
    counts = draw(st.dictionaries(NAMES, arrays(np.int64, st.sampled_from([(), lead, (2, 1)])), max_size=2))
    given = draw(st.dictionaries(NAMES, floats, max_size=4)) | counts
    if any(a.dtype.kind == "f" for a in given.values()):
        return ArrayDict(given, stacked=bool(lead))
    return ArrayDict(given).astype(dtype).with_vector(np.empty((*lead, 0)))


@st.composite
def train_states(draw: st.DrawFn) -> nn.TrainState:
    lead = draw(st.sampled_from([(), (1,), (3,)]))
    keys = draw(st.lists(st.integers(0, 2**128 - 1).map(Key), min_size=sum(lead) or 1, max_size=sum(lead) or 1))
    parts = [draw(array_dicts(lead)) for _ in range(3)]
    return nn.TrainState(
        parts[0], parts[1], parts[2], tuple(keys) if lead else keys[0], draw(st.integers(0, 2**63 - 1))
    )


@given(train_states(), st.sampled_from(SUFFIXES))
@example(nn.TrainState(nn.arrays.EMPTY, nn.arrays.EMPTY, nn.arrays.EMPTY, Key(0), 0), ".npz")
@example(
    nn.TrainState(ArrayDict({"a": [1.0], "a.npy": [2.0]}), nn.arrays.EMPTY, nn.arrays.EMPTY, Key(2**128 - 1), 1), ".npz"
)
def test_any_state_comes_back(folder: Path, ts: nn.TrainState, suffix: str) -> None:
    pytest.importorskip("safetensors")
    path = folder / f"any{suffix}"
    nn.save(path, ts)
    saved = nn.load(path)
    assert_same_bits(saved.state, ts)
    assert saved.model is None


def test_the_order_of_the_names_comes_back(path: Path) -> None:
    """It is that of the vector, so sums over that depend on it; safetensors sorts its names."""
    ts = state()._replace(params=ArrayDict({"dense10.W": [1.0], "dense9.b": [2.0], "dense9.W": [3.0]}))
    nn.save(path, ts)
    assert list(nn.load(path).state.params) == ["dense10.W", "dense9.b", "dense9.W"]


rng = np.random.default_rng(0)
X, Y = rng.normal(size=(40, 3)), rng.integers(0, 2, 40)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "optimizer",
    [
        nn.adam(nn.schedules.cosine_decay(0.05, 12)),
        nn.momentum(nn.schedules.linear_warmup(3, 0.1)),
        nn.clip_by_global_norm(nn.nesterov(0.1), 1),
        nn.clip_by_global_norm(nn.optimizers.ema(nn.optimizers.lookahead(nn.adam(0.05), every=4)), 1),
        nn.optimizers.partition({"*W": nn.optimizers.muon(0.05), "*": nn.optimizers.lookahead("adam")}),
    ],
    ids=["adam", "momentum", "clipped", "averaged", "partition"],
)
@pytest.mark.parametrize("K", [None, 3])
def test_going_on_is_never_stopping(
    path: Path, K: int | None, optimizer: nn.Optimizer, dtype: type[np.floating]
) -> None:
    step = nn.train_step(MODEL, nn.sparse_categorical_cross_entropy, optimizer, penalty=nn.l2(0.1))
    key = nn.split(nn.key(0), K) if K else nn.key(0)

    def run(ts: nn.TrainState, epochs: int) -> list[nn.Epoch]:
        return list(nn.train(step, ts, (X, Y), epochs=epochs, batch_size=16, key=nn.key(1)))

    start = nn.train_state(MODEL, optimizer, key, (3,), dtype)
    whole = run(start, 4)
    nn.save(path, run(start, 2)[-1].state, MODEL)
    saved = nn.load(path)
    assert_same_bits(saved.state, whole[1].state)
    rest = run(saved.state, 2)
    assert_same_bits(rest[-1].state, whole[-1].state)
    assert [e.number for e in rest] == [3, 4]
    assert np.array_equal(np.asarray(rest[-1].loss), np.asarray(whole[-1].loss))


def test_a_file_can_be_read_without_nnfunc(tmp_path: Path) -> None:
    load_file = pytest.importorskip("safetensors.numpy").load_file
    ts = state()._replace(step=7)
    for suffix in SUFFIXES:
        nn.save(tmp_path / f"run{suffix}", ts, MODEL)
    members = np.load(tmp_path / "run.npz", allow_pickle=False)
    about = json.loads(members["nnfunc"].item())
    assert about["version"] == 1
    assert about["params"]["names"] == list(ts.params)
    for found in (members, load_file(tmp_path / "run.safetensors")):
        assert np.array_equal(found["params/dense1.W"], ts.params["dense1.W"])
        assert np.array_equal(found["state/batch_norm1.var"], ts.state["batch_norm1.var"])
        assert found["opt_state/step"] == 0
        assert found["step"] == 7
        assert [int(word) for word in found["key"]] == list(divmod(ts.key, 2**64)) if isinstance(ts.key, Key) else False


# -- damage is noticed -------------------------------------------------------------------------------------------------


def assert_noticed_or_harmless(path: Path, content: bytes, ts: nn.TrainState) -> bool:
    """Whether damage was noticed; where it was not, nothing that is read may be another."""
    path.write_bytes(content)
    try:
        saved = nn.load(path)
    except ValueError as error:
        return str(path) in str(error)
    assert_same_bits(saved.state, ts)
    assert saved.model is not None
    assert saved.model == SMALL
    return False


SMALL = nn.serial(nn.dense(1, "zeros"))


def small(path: Path) -> tuple[bytes, nn.TrainState]:
    ts = nn.train_state(SMALL, nn.gd(), nn.key(0), (2,))
    nn.save(path, ts, SMALL)
    return path.read_bytes(), ts


def test_every_truncation_is_noticed(path: Path) -> None:
    content, ts = small(path)
    assert all(assert_noticed_or_harmless(path, content[:n], ts) for n in range(len(content)))


def test_every_flipped_byte_is_noticed_or_harmless(path: Path) -> None:
    """Harmless: a time stamp in an npz, a blank in the header of safetensors that becomes a tab."""
    content, ts = small(path)
    data = set(data_bytes(path))
    flips = random.Random(0)
    for i, byte in enumerate(content):
        for mask in (0xFF, flips.randrange(1, 256)):
            noticed = assert_noticed_or_harmless(path, content[:i] + bytes([byte ^ mask]) + content[i + 1 :], ts)
            assert noticed or i not in data


def data_bytes(path: Path) -> Iterator[int]:
    """Where the arrays and the text stand in a file."""
    content = path.read_bytes()
    if path.suffix == ".npz":
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                at = member.header_offset
                lengths = np.frombuffer(content[at + 26 : at + 30], "<u2")
                start = at + 30 + int(lengths.sum())
                yield from range(start, start + member.file_size)
    else:
        yield from range(8 + int.from_bytes(content[:8], "little"), len(content))


@given(
    st.binary(max_size=200), st.sampled_from(SUFFIXES), st.sampled_from([b"", b"PK\x03\x04", b"\x93NUMPY", b"\x80\x04"])
)
def test_any_other_file_is_refused(folder: Path, content: bytes, suffix: str, start: bytes) -> None:
    pytest.importorskip("safetensors")
    path = folder / f"other{suffix}"
    path.write_bytes(start + content)
    with pytest.raises(ValueError, match="holds no train state that can be read"):
        nn.load(path)


def test_files_of_other_programs_are_refused(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    np.savez(tmp_path / "a.npz", W=np.ones(2))
    safetensors.save_file({"W": np.ones(2)}, tmp_path / "a.safetensors")
    safetensors.save_file({"W": np.ones(2)}, tmp_path / "b.safetensors", {"nnfunc": "{}"})
    np.savez(tmp_path / "c.npz", nnfunc=np.array("[1, 2"), W=np.ones(2))
    np.savez(tmp_path / "d.npz", nnfunc=np.array({"version": 1}, dtype=object))  # only by pickle
    np.savez(tmp_path / "e.npz", nnfunc=np.array("[" * 100_000))
    with zipfile.ZipFile(tmp_path / "f.npz", "w") as archive:
        archive.writestr("readme.txt", "no array")
    np.save(tmp_path / "g.npy", np.ones(2))
    os.rename(tmp_path / "g.npy", tmp_path / "g.npz")
    (tmp_path / "h.npz").touch()
    (tmp_path / "h.safetensors").touch()
    found = {p.name: p for p in tmp_path.iterdir()}
    assert len(found) == 10
    for path in found.values():
        whole = path.stem == "a"
        said = "is whole, but nn.save did not write it" if whole else "holds no train state that can be read"
        with pytest.raises(ValueError, match=said) as caught:
            nn.load(path)
        assert str(path) in str(caught.value)
    with pytest.raises(ValueError, match=r"interop\.arrays\.read_arrays or np\.load reads it"):
        nn.load(found["a.npz"])
    with pytest.raises(ValueError, match=r"safetensors\.numpy\.load_file reads it"):
        nn.load(found["a.safetensors"])
    with pytest.raises(ValueError, match="it is empty"):
        nn.load(found["h.npz"])


def test_a_newer_file_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "STATES", 3)
    nn.save(path, state())
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"run.*has format version 3, expected 2: a newer nnfunc reads it"):
        nn.load(path)


WRONG_CONTENT: list[tuple[dict[str, object], dict[str, object], str]] = [
    ({"version": "1"}, {}, "holds no train state that can be read"),
    ({"version": True}, {}, "holds no train state that can be read"),
    ({"version": 0}, {}, "holds no train state that can be read"),
    ({"model": {"serial": {"layers": []}}}, {}, "it has no layer for"),
    ({}, {"key": np.zeros((3, 2), np.uint64)}, "it has another number of keys than of networks"),
    ({}, {"key": np.zeros((0, 2), np.uint64)}, "it has another number of keys than of networks"),
    ({}, {"key": np.array([-1, 5])}, "its key is none"),
    ({}, {"step": np.array(-1)}, "its step is no number of updates"),
    ({}, {"step": np.array(2.5)}, "its step is no number of updates"),
    ({}, {"step": np.array([1, 2])}, "its step is no number of updates"),
    ({"state": {"names": [], "dtype": "float32", "stack": [2]}}, {}, "those of stacks of different sizes"),
    ({"params": {"names": ["dense1.W"], "dtype": "float32", "stack": [7]}}, {}, "a stack of the size that it says"),
]


@pytest.mark.parametrize(("about", "arrays", "message"), WRONG_CONTENT)
def test_content_that_save_never_writes_is_refused(
    tmp_path: Path, about: dict[str, object], arrays: dict[str, Any], message: str
) -> None:
    """A checksum that fits protects from damage only, not from other programs."""
    path = tmp_path / "run.npz"
    nn.save(path, state())
    with np.load(path) as members:
        content = dict(members) | arrays
    text = json.dumps(json.loads(str(content.pop("nnfunc"))) | about)
    content["crc32"] = np.array(files._checksum(text, content), np.uint32)
    np.savez(path, nnfunc=np.array(text), **content)
    with pytest.raises(ValueError, match=message):
        nn.load(path)


def test_nothing_of_a_foreign_archive_is_unpacked(tmp_path: Path) -> None:
    """A small archive may unpack to more than there is memory."""
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "a.npy", b"\x93NUMPY\x01\x00" + b"v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (10**13,), }"
        )
    with pytest.raises(ValueError, match=r"is whole, but nn\.save did not write it"):
        nn.load(path)


def test_what_is_larger_than_the_file_is_not_read(tmp_path: Path) -> None:
    """Arrays that are compressed, or larger by their header than the file."""
    path = tmp_path / "run.npz"
    nn.save(path, state(), MODEL)
    with zipfile.ZipFile(path) as archive:
        members = {m.filename: archive.read(m) for m in archive.infolist()}
    for compression, said in ((zipfile.ZIP_DEFLATED, "compressed"), (zipfile.ZIP_STORED, "not what its header says")):
        with zipfile.ZipFile(path, "w", compression) as archive:
            for name, data in members.items():
                archive.writestr(name, data)
            archive.writestr("params/more.npy", npy_of(10**11) if compression == zipfile.ZIP_STORED else b"0" * 10**6)
        tracemalloc.start()
        with pytest.raises(ValueError, match=said):
            nn.load(path)
        assert tracemalloc.get_traced_memory()[1] < 1e6
        tracemalloc.stop()


def npy_of(*shape: int) -> bytes:
    """An array's header, and nothing of the array."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return stream.getvalue()


def test_messages_say_nothing_of_the_content(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    for text in ("secret", '{"version": "secret"}', '{"version": 1, "params": {"names": ["secret"], "secret": 1}}'):
        np.savez(path, nnfunc=np.array(text), secret=np.ones(2), crc32=np.array(0, np.uint32))
        with pytest.raises(ValueError, match="holds no train state") as caught:
            nn.load(path)
        assert "secret" not in str(caught.value)


# -- where a file stands -----------------------------------------------------------------------------------------------


def test_a_link_stays_one_and_leads_to_the_same_suffix(tmp_path: Path) -> None:
    target, link, other = tmp_path / "old.npz", tmp_path / "run.npz", tmp_path / "latest.npz"
    link.symlink_to(target)
    nn.save(link, state())
    assert link.is_symlink()
    assert nn.load(target).state == state()
    (tmp_path / "notes.txt").write_text("mine")
    other.symlink_to(tmp_path / "notes.txt")
    with pytest.raises(ValueError, match=r"leads to '.*notes.txt', expected a file that ends in .npz"):
        nn.save(other, state())
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.skipif(os.name != "posix", reason="pipes and modes of POSIX")
def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "run.npz")
    with pytest.raises(ValueError, match="is a device, a pipe or a socket, expected a file"):
        nn.save(tmp_path / "run.npz", state())
    assert stat.S_ISFIFO((tmp_path / "run.npz").stat().st_mode)
    assert [p.name for p in tmp_path.iterdir()] == ["run.npz"]


@pytest.mark.skipif(os.name != "posix", reason="pipes and modes of POSIX")
def test_what_was_private_is_private_from_the_first_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.npz"
    nn.save(path, state())
    os.chmod(path, 0o640)
    seen: list[int] = []

    def spied(file: Any, *rest: Any) -> None:
        seen.append(stat.S_IMODE(os.fstat(file.fileno()).st_mode))
        formats.write(file, *rest)

    monkeypatch.setattr(files, "write", spied)
    nn.save(path, state())
    assert seen == [0o600]
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    if os.getuid() == 0:  # root gives no one's file away
        os.chown(path, 65534, 65534)
        nn.save(path, state())
        assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65534)


def test_a_folder_that_refuses_modes_and_owners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    path = tmp_path / "run.npz"
    nn.save(path, state())
    monkeypatch.setattr(os, "chmod", refuse)
    nn.save(path, state())
    assert nn.load(path).state == state()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_names_up_to_the_limit_of_the_system(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / ("ä" * 50 + "x" * (255 - 100 - len(suffix)) + suffix)
    nn.save(path, state())
    assert nn.load(path).state == state()


@pytest.mark.skipif(os.name != "posix", reason="a process is killed")
def test_what_a_killed_save_left_is_removed_by_the_next(tmp_path: Path) -> None:
    path, other = tmp_path / "run.npz", tmp_path / "other.npz"
    killed = "files.write = lambda *_: os.kill(os.getpid(), 9); nn.save(sys.argv[1], (nn.arrays.EMPTY,))"
    for victim in (path, other):
        code = f"import os, sys; import nnfunc as nn; from nnfunc import files; {killed}"
        assert subprocess.run([sys.executable, "-c", code, str(victim)], check=False).returncode == -9
    assert len(list(tmp_path.iterdir())) == 2
    nn.save(path, state())
    assert path in (left := list(tmp_path.iterdir()))
    assert len(left) == 2  # that of the other name stays for its own next save


def test_a_file_that_is_being_written_is_no_leftover(tmp_path: Path) -> None:
    with disk.replaced(tmp_path / "run.npz", "") as file:
        file.write(b"half")
        nn.save(tmp_path / "run.npz", state())
        file.write(b" and half")
    assert (tmp_path / "run.npz").read_bytes() == b"half and half"


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
def test_a_file_that_is_about_to_get_its_name_is_no_leftover(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another save of the same name may come at any moment."""
    right = os.replace

    def replace(temporary: Path, target: Path) -> None:
        disk._remove_leftovers(temporary.parent, temporary.name[:10])
        right(temporary, target)

    monkeypatch.setattr(os, "replace", replace)
    nn.save(tmp_path / "run.npz", state())
    assert nn.load(tmp_path / "run.npz").state == state()


def test_without_locks_nothing_is_taken_for_a_leftover(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError("no locks available")

    pytest.importorskip("fcntl")
    with disk.replaced(tmp_path / "run.npz", "") as file:
        monkeypatch.setattr("fcntl.flock", no_locks)
        file.write(b"half")
        nn.save(tmp_path / "run.npz", state())
        file.write(b" and half")
    assert (tmp_path / "run.npz").read_bytes() == b"half and half"


def test_a_file_that_is_cut_short_meanwhile(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is mapped into memory would kill the process."""
    nn.save(path, state())
    right = formats.read

    def cut(file: Any, suffix: str) -> Any:
        os.truncate(path, 100)
        return right(file, suffix)

    monkeypatch.setattr(files, "read", cut)
    with pytest.raises(ValueError, match="holds no train state"):
        nn.load(path)


def test_a_missing_file_and_other_suffixes(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        nn.load(path)
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        nn.load(path)
    with pytest.raises(IsADirectoryError, match=r"path=.* is a folder, expected the name of a file"):
        nn.save(path, state())
    with pytest.raises(FileNotFoundError, match=r"path=.*there is no folder"):
        nn.save(path / "nowhere" / path.name, state())
    for call in (partial(nn.load, "run.pkl"), partial(nn.save, "run.pkl", state())):
        with pytest.raises(ValueError, match=r"path='run.pkl' ends in '.pkl', expected .npz or .safetensors"):
            call()


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> object:
        if name.startswith("safetensors"):
            raise ImportError(name)
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    for call in (lambda p: nn.save(p, state()), nn.load):
        with pytest.raises(ImportError, match=r'pip install "nnfunc\[safetensors\]"'):
            call(tmp_path / "run.safetensors")
    assert list(tmp_path.iterdir()) == []
    nn.save(tmp_path / "run.npz", state())


def test_what_is_no_state_is_refused(path: Path) -> None:
    (epoch,) = nn.train(
        nn.train_step(MODEL, nn.sparse_categorical_cross_entropy, nn.adam()), state(), (X, Y), epochs=1, key=nn.key(0)
    )
    with pytest.raises(TypeError, match=r"ts is Epoch, expected a TrainState: that of an epoch is epoch\.state"):
        nn.save(path, epoch)
    with pytest.raises(TypeError, match=r"ts.state is dict, expected an ArrayDict"):
        nn.save(path, state()._replace(state={}))  # type: ignore[arg-type]  # refused by the types too
    for name in ("a\0b", "a\\b", "\ud800"):
        with pytest.raises(ValueError, match="has characters that a file cannot hold"):
            nn.save(path, state()._replace(params=ArrayDict({name: [1.0]})))
    with pytest.raises(TypeError, match="path is TrainState, expected a str or a Path"):
        nn.save(state(), str(path))  # type: ignore[arg-type]  # exchanged
    with pytest.raises(TypeError, match="model='mlp' is no Layer: expected a Layer"):
        nn.save(path, state(), "mlp")  # type: ignore[arg-type]  # likewise
    with pytest.raises(TypeError, match="model='mlp' is no Layer: expected a Layer"):
        nn.load(path, "mlp")  # type: ignore[arg-type]  # likewise
    with pytest.raises(ValueError, match="it has no layer for"):
        nn.save(path, state(), nn.serial())
    assert list(path.parent.iterdir()) == []


# -- the file is always the old or the new one -------------------------------------------------------------------------


def test_a_failed_save_leaves_the_old_file_and_nothing_else(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nn.save(path, state(0))
    for where, error in (("fsync", OSError("disk full")), ("replace", OSError("no")), ("fsync", KeyboardInterrupt())):
        with monkeypatch.context() as patch:
            patch.setattr(os, where, partial(failing, error))
            with pytest.raises(type(error)):
                nn.save(path, state(1))
        assert_same_bits(nn.load(path).state, state(0))
        assert list(path.parent.iterdir()) == [path]


def failing(error: BaseException, *_: object) -> None:
    raise error


def test_content_is_on_disk_before_the_name(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is synced, then it gets its name, then the folder is synced."""
    seen: list[str] = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(fd: int) -> None:
        seen.append("folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else f"file of {os.fstat(fd).st_size}")
        fsync(fd)

    def noted_replace(a: Path, b: Path) -> None:
        assert a.parent == b.parent
        assert a.suffix == ".tmp"
        seen.append("name")
        replace(a, b)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    nn.save(path, state())
    assert seen == [f"file of {path.stat().st_size}", "name", "folder"]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_permissions_are_those_of_any_new_file_and_links_stay(path: Path) -> None:
    old = os.umask(0o027)
    try:
        nn.save(path, state())
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    link = path.with_name(f"latest{path.suffix}")
    link.symlink_to(path.name)
    nn.save(link, state(1))
    assert link.is_symlink()
    assert_same_bits(nn.load(path).state, state(1))
    path.chmod(0o600)
    nn.save(path, state())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_killed_process_loses_no_file(path: Path) -> None:
    moments = random.Random(0)
    within = 0
    for _ in range(10):
        within += kills.kill(path, moments)
        assert kills.lost(path) == ""
    assert within > 0  # else no kill came while a file was written


# -- models ------------------------------------------------------------------------------------------------------------


def assert_described(layer: nn.Layer) -> None:
    again = build(json.loads(json.dumps(describe(layer))))
    assert again == layer
    assert repr(again) == repr(layer)


@pytest.mark.parametrize("name", sorted(exported("Layer") - NOT_LAYERS - {"layer"}))
@given(data=st.data())
def test_every_built_in_layer_is_described(name: str, data: st.DataObject) -> None:
    layer = data.draw(LAYERS[name].filter(lambda layer: "bent" not in repr(layer)))
    assert_described(layer)


OTHER_ARGUMENTS: dict[str, Any] = {
    "base": 100.0,
    "causal": False,
    "count": 5,
    "cross": True,
    "heads": 2,
    "length": 7,
    "mask": True,
    "padding_id": 2,
    "pairing": "adjacent",
    "rotary": None,
    "activation": "relu",
    "count_padding": True,
    "dilation": 2,
    "factor": 3,
    "filters": 4,
    "final_state": True,
    "forget_bias": 0.5,
    "groups": 2,
    "initial": 0.5,
    "initial_state": True,
    "kernel_size": 3,
    "lengths": True,
    "output": "last",
    "output_padding": 1,
    "padding": "same",
    "pairs": (1, 2),
    "recurrent_initializer": "lecun",
    "reset_after": False,
    "reverse": True,
    "size": 3,
    "stride": 2,
    "value": 0.5,
    "alpha": 0.5,
    "approximate": True,
    "axes": 2,
    "bias": False,
    "bias_initializer": partial(nn.initializers.constant, value=0.1),
    "eps": 0.25,
    "i": 1,
    "initializer": nn.initializers.orthogonal,
    "inputs": 7,
    "keep_prob": 0.5,
    "momentum": 0.5,
    "negative_slope": 0.5,
    "shape": (2, 3),
    "units": 3,
}
"""For each argument of a layer constructor a value that is not its default."""


WITH_LAYERS = {"bidirectional", "branch", "parallel", "residual", "scan", "serial", "shared", "transformer_block"}


@pytest.mark.parametrize("name", sorted(constructors().keys() - WITH_LAYERS))
def test_every_argument_is_described(name: str) -> None:
    make = constructors()[name]
    parameters = inspect.signature(make).parameters.values()
    arguments = {p.name: OTHER_ARGUMENTS[p.name] for p in parameters}
    several = [n for p in parameters if p.kind is p.VAR_POSITIONAL for n in arguments[p.name]]
    layer = make(*several, **{p.name: arguments[p.name] for p in parameters if p.kind is not p.VAR_POSITIONAL})
    assert describe(layer)[layer.name].keys() == arguments.keys()
    assert_described(layer)


def test_nested_models_come_back(path: Path) -> None:
    block = nn.residual(
        nn.layer_norm(1e-3), nn.dense(3, "orthogonal"), nn.serial(nn.elu(0.5), nn.residual(nn.gelu(True)))
    )
    model = nn.serial(
        block, nn.batch_norm(), block, nn.dense(2, nn.initializers.lecun_uniform, bias=False), nn.softmax()
    )
    ts = state(model=model)
    nn.save(path, ts, model)
    saved = nn.load(path)
    assert saved.model is not None
    assert saved.model == model
    assert repr(saved.model) == repr(model)
    assert np.array_equal(nn.predict(saved.model, saved.state, X), nn.predict(model, ts, X))
    assert_same_bits(saved.state, ts)


def my_initializer(key: Key, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
    return np.ones(shape, dtype)


def test_layers_of_a_users_own_are_named(path: Path) -> None:
    model = nn.serial(
        nn.dense(3), bent(), nn.residual(nn.dense(3, my_initializer), bent()), nn.relu()._replace(name="mine")
    )
    message = r"it: bent1, residual1.dense1 \(initializer=my_initializer\), residual1.bent1, mine1. Save without model="
    with pytest.raises(ValueError, match=message):
        nn.save(path, state(model=model), model)
    assert list(path.parent.iterdir()) == []
    with pytest.raises(ValueError, match=r"it: bent\. Save"):
        describe(bent())
    disguised = nn.layer(lambda p, x: (x, None), lambda p, c, dy: (dy, {}), name="relu")
    changed = map_layers(lambda _, layer: nn.tanh() if layer.name == "relu" else layer, nn.serial(nn.relu()))
    numpy_value = nn.dense(2, partial(nn.initializers.constant, value=np.float64(0.1)))
    assert build(describe(changed)) == changed
    for layer in (disguised, numpy_value):  # would come back as another
        with pytest.raises(ValueError, match="not built in"):
            describe(layer)

    ts = state(model=model)
    nn.save(path, ts)
    saved = nn.load(path, model)
    assert saved.model is model
    assert_same_bits(saved.state, ts)


def test_a_model_that_the_parameters_do_not_fit_is_refused(path: Path) -> None:
    nn.save(path, state(), MODEL)
    wider = nn.mlp([3, 5, 2], ["relu", "softmax"], batch_norm=True)
    deeper = nn.mlp([3, 4, 2, 2], ["relu", "relu", "softmax"], batch_norm=True)
    plain = nn.mlp([3, 4, 2], ["relu", "softmax"])
    normed = nn.serial(nn.dense(4), nn.layer_norm(), nn.relu(), nn.dense(2))
    cases = {
        r"dense1: .* W \(3, 4\), b \(4,\), expected W \(3, 5\) and b \(5,\)": wider,
        r"batch_norm2: .*gamma, beta missing": deeper,
        "it has no layer for batch_norm1.gamma, batch_norm1.beta": plain,
        "layer_norm1: .*gamma, beta missing": normed,
        r"residual1.dense1: .*W, b missing": nn.serial(nn.residual(nn.dense(3)), *(layer for _, layer in MODEL.layers)),
        "W, b missing": nn.dense(3),
    }
    for message, model in cases.items():
        with pytest.raises(ValueError, match=message) as caught:
            nn.load(path, model)
        assert str(path) in str(caught.value)
        with pytest.raises(ValueError, match=message):
            nn.save(path, state(), model)
    nn.save(path, state(model=plain), plain)
    with pytest.raises(ValueError, match=r"batch_norm1: .*gamma, beta missing"):
        nn.load(path, MODEL)

    narrow = nn.serial(nn.dense(4, bias=False))  # whose W alone tells the units and the inputs
    nn.save(path, state(model=narrow), narrow)
    for model in (nn.serial(nn.dense(5, bias=False)), nn.serial(nn.dense(4, bias=False, inputs=2))):
        with pytest.raises(ValueError, match=r"dense1: .*: W \(3, 4\), expected W \((inputs, 5|2, 4)\)"):
            nn.load(path, model)

    nn.save(path, state(), MODEL)
    other = nn.mlp([3, 4, 2], ["tanh", "softmax"], batch_norm=True)
    assert nn.load(path, other).model is other  # the given one, not the one in the file
    K = nn.train_state(MODEL, nn.adam(), nn.split(nn.key(0), 3), (3,))
    nn.save(path, K, MODEL)
    assert nn.load(path, MODEL).model is MODEL


def test_descriptions_that_no_layer_has_are_refused() -> None:
    cases: dict[str, object] = {
        "unknown layer 'dens': did you mean 'dense'": {"dens": {"units": 3}},
        "unexpected keyword argument 'unit'": {"dense": {"unit": 3}},
        "missing a required argument|missing 1 required positional argument": {"dense": {}},
        "units='3'": {"dense": {"units": "3"}},
        "unknown initializer 'eval'": {"dense": {"units": 3, "initializer": "eval"}},
        "unknown initializer 'exec'": {"dense": {"units": 3, "initializer": {"exec": {}}}},
        "constant takes no key": {"dense": {"units": 3, "initializer": {"constant": {"key": 1}}}},
        "describes no layer": ["dense"],
        "relu.*describes no layer": {"relu": [1]},
        "layers='abc'": {"serial": {"layers": "abc"}},
        "unknown layer 'os.system'": {"serial": {"layers": [{"os.system": {}}]}},
    }
    for message, description in cases.items():
        with pytest.raises((ValueError, TypeError), match=message):
            build(description)


def test_a_file_with_an_unknown_layer_loads_with_a_model(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "describe", lambda model: {"telepathy": {"heads": 3}})
    nn.save(path, state(), MODEL)
    with pytest.raises(ValueError, match=r"its model cannot be made: unknown layer 'telepathy'.*Pass model="):
        nn.load(path)
    assert nn.load(path, MODEL).model is MODEL


def test_the_import_of_nnfunc_does_not_import_files() -> None:
    code = (
        "import sys, nnfunc; assert 'nnfunc.files' not in sys.modules;"
        "nnfunc.save; assert 'nnfunc.files' in sys.modules and 'safetensors' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# -- tuples of dicts and arrays ----------------------------------------------------------------------------------------


class Replay(NamedTuple):
    """What a run of reinforcement learning keeps."""

    observations: Any
    actions: Any
    average: nn.ArrayDict
    key: Any
    size: int


def test_a_tuple_of_dicts_and_arrays_is_saved_beside_a_state(path: Path) -> None:
    ts = state()
    replay = Replay(np.arange(6, dtype=np.uint8).reshape(2, 3), np.array([True, False]), ts.params * 0.5, nn.key(3), 7)
    value = (ts, replay, {"targets": ts.params, "counts": np.arange(3, dtype=np.int32)}, nn.split(nn.key(1), 2), 0.5)
    nn.save(path, value, MODEL)
    saved = nn.load(path)
    assert saved.model == MODEL
    assert_same_bits(saved.state[0], ts)
    again = saved.state[1]
    assert again._fields == Replay._fields
    assert (again.average, again.key, again.size) == (replay.average, replay.key, 7)
    for a, b in ((again.observations, replay.observations), (again.actions, replay.actions)):
        assert (a.dtype, a.tolist()) == (b.dtype, b.tolist())
    assert saved.state[2]["targets"] == ts.params
    assert saved.state[2]["counts"].dtype == np.int32
    assert saved.state[3:] == (nn.split(nn.key(1), 2), 0.5)


def test_what_a_file_cannot_hold_is_named(path: Path) -> None:
    with pytest.raises(TypeError, match="1 is builtin_function_or_method, expected a dict of arrays"):
        nn.save(path, (state(), print))
    assert list(path.parent.iterdir()) == []


def test_a_state_alone_is_written_as_before(path: Path) -> None:
    nn.save(path, state(), MODEL)
    if path.suffix == ".npz":
        assert json.loads(str(np.load(path)["nnfunc"]))["version"] == 1


def of_today() -> tuple[nn.TrainState, nn.TrainState, nn.ArrayDict, tuple[Key, ...], dict[str, Any], float]:
    """What `nn.save(path, of_today(), MODEL)` wrote to tests/data/today.npz and .safetensors."""

    def counted(like: ArrayDict) -> ArrayDict:
        return like.with_vector(np.arange(like.vector.size).reshape(like.vector.shape) / 8)

    def counted_state(ts: nn.TrainState) -> nn.TrainState:
        return nn.TrainState(counted(ts.params), counted(ts.state), counted(ts.opt_state), ts.key, 9)

    one = counted_state(state(dtype=np.float64))
    two = counted_state(nn.train_state(MODEL, nn.adam(), nn.split(nn.key(0), 2), (3,)))
    numbers = {"buffer": np.arange(6, dtype=np.int16).reshape(2, 3), "mask": np.array([True, False])}
    return one, two, one.params, nn.split(nn.key(1), 3), numbers, 0.25


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_of_today_keep_loading(suffix: str) -> None:
    if suffix == ".safetensors":
        pytest.importorskip("safetensors")
    found, wanted = nn.load(Path(__file__).parent / "data" / f"today{suffix}"), of_today()
    assert found.model == MODEL
    assert_same_bits(found.state[0], wanted[0])
    assert_same_bits(found.state[1], wanted[1])
    assert found.state[2:4] == wanted[2:4]
    assert found.state[5] == wanted[5]
    for name, array in wanted[4].items():
        assert (found.state[4][name].dtype, found.state[4][name].tolist()) == (array.dtype, array.tolist())
