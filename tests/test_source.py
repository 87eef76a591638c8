"""Models as files of Python: where there is no nnfunc they predict the same bits, for every layer there is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import nnfunc as nn
from nnfunc.checks.calls import drawn_input
from nnfunc.core.values import Value, leaves
from nnfunc.interop.source import source, write
from nnfunc.layers.structure import kernels
from tests.catalogue import EVERY

OWN = ("layer",)  # of functions that are someone's already


def predicted(text: str, x: Value) -> Value:
    names: dict[str, Any] = {}
    exec(compile(text, "model.py", "exec"), names)
    y: Value = names["predict"](x)
    return y


@pytest.mark.parametrize("name", [name for name in EVERY if name not in OWN])
@settings(max_examples=4, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_layer_predicts_the_same_bits(name: str, data: st.DataObject) -> None:
    strategy, shape = EVERY[name]
    layer = data.draw(strategy)
    assume(not any(inner.kernel is not None and inner.kernel.named for _, inner in kernels(layer)))
    params, state = layer.init(nn.key(0), shape, np.float32)
    x = drawn_input(layer, params, shape, 5, nn.key(1))
    text = source(layer, params, state, input_shape=shape)
    assert "nnfunc." not in text.split('"""', 2)[2]
    y, _, _ = layer.forward(params, state, x)
    for ours, theirs in zip(leaves(y), leaves(predicted(text, x)), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


def test_a_layer_of_your_own_is_named() -> None:
    own = nn.layer(lambda params, x: (x, None), lambda params, cache, dy: (dy, {}), name="mine")
    with pytest.raises(ValueError, match="layers of your own, whose functions are yours already: mine1"):
        source(nn.serial(own, nn.dense(2)), *nn.serial(own, nn.dense(2)).init(nn.key(0), (3,)), input_shape=(3,))


WITHOUT = """
import sys
sys.modules["nnfunc"] = None  # an import of it would fail
import numpy as np
sys.path.insert(0, sys.argv[1])
from model import predict
np.save(sys.argv[1] + "/y.npy", predict(np.load(sys.argv[1] + "/x.npy")))
"""


@pytest.mark.parametrize("beside", [False, True])
def test_a_file_stands_alone(beside: bool, tmp_path: Path) -> None:
    model = nn.serial(
        nn.conv2d(4, 3, padding="same"), nn.batch_norm(), nn.relu(), nn.max_pool2d(2), nn.dropout(0.5),
        nn.residual(nn.conv2d(4, 1), nn.gelu()), nn.flatten(), nn.dense(3), nn.softmax(),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(6, 8, 8, 1)).astype(np.float32), np.arange(6) % 3
    step = nn.train_step(model, nn.sparse_categorical_cross_entropy, nn.adam())
    ts, _ = step(nn.train_state(model, step.optimizer, nn.key(0), (8, 8, 1)), (x, t))
    write(tmp_path / "model.py", model, ts, input_shape=(8, 8, 1), beside=beside)
    assert (tmp_path / "model.npz").exists() == beside
    np.save(tmp_path / "x.npy", x)
    subprocess.run([sys.executable, "-I", "-W", "error", "-c", WITHOUT, str(tmp_path)], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), nn.predict(model, ts, x))


def test_frozen_and_tied_arrays_and_several_inputs() -> None:
    model = nn.serial(
        nn.parallel(nn.serial(nn.dense(4), nn.tanh(), nn.dense(3)), nn.embedding(5, 3)), nn.concatenate(),
        nn.branch(nn.dense(2), nn.serial(nn.dense(1), nn.sigmoid())),
    )  # fmt: skip
    shape = ((3,), ())
    frozen = nn.freeze(
        nn.tie(model, "parallel1.serial1.dense2.W", to="parallel1.serial1.dense1.W", transpose=True), "branch1.*"
    )
    params, state = frozen.init(nn.key(0), shape)
    x = np.random.default_rng(0).normal(size=(4, 3)), np.arange(4)
    y, _, _ = frozen.forward(params, state, x)
    found = predicted(source(frozen, params, state, input_shape=shape), x)
    for ours, theirs in zip(leaves(y), leaves(found), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    model = nn.dense(1)
    with pytest.raises(ValueError, match=r"ends in '\.txt', expected \.py"):
        write(tmp_path / "model.txt", model, *model.init(nn.key(0), (2,)), input_shape=(2,))
