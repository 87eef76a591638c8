"""The README's Python blocks run in order, and print, return or raise what its text blocks show."""

from __future__ import annotations

import ast
import contextlib
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nnfunc as nn

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```(python|text)\n(.*?)```", README, re.S)


NOISE = r"\d\.\de-\d\d|[\d,]+ evaluations, [\d.]+ s"
"""What differs from machine to machine: rounding errors, and what a search costs."""


def execute(code: str, names: dict[str, Any]) -> str:
    """What a block prints, the value of its last expression, or its error."""
    tree = ast.parse(code)
    end = tree.body[-1]
    last = end.value if isinstance(end, ast.Expr) else None
    if last:
        tree.body.pop()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            exec(compile(tree, "README.md", "exec"), names)
            value = eval(compile(ast.Expression(last), "README.md", "eval"), names) if last else None
        except ValueError as error:
            return f"ValueError: {error}"
    return printed.getvalue() + (repr(value) if value is not None else "")


def numbers(text: str) -> list[float]:
    return [float(n) for n in re.findall(r"\d+\.\d+", text)]


def test_the_readme_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # it saves a file
    names: dict[str, Any] = {}
    shown = 0
    for (kind, code), (following, expected) in zip(BLOCKS, [*BLOCKS[1:], ("", "")], strict=True):
        if kind == "python":
            result = execute(code, names)
            if following == "text":
                shown += 1
                result, expected = (re.sub(NOISE, "…", t) for t in (result, expected))
                words, expected_words = (re.sub(r"\d+\.\d+", "x", t).strip() for t in (result, expected))
                assert words == expected_words
                # another processor rounds otherwise, and training amplifies it
                assert numbers(result) == pytest.approx(numbers(expected), rel=0.05)
    assert shown == 11


def test_the_table_of_equivalents_is_code_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _, after = README.split("## How do I say this here?")
    x, t = np.random.default_rng(0).normal(size=(20, 2)), np.arange(20) % 3
    names: dict[str, Any] = {"nn": nn, "x": x, "t": t, "loss": nn.sparse_categorical_cross_entropy}
    names |= {"forward": lambda params, x: (x, None), "backward": lambda params, cache, dy: (dy, {}), "init": None}
    rows = [line.split("|")[5] for line in after.split("\n\n")[1].splitlines()[2:]]
    assert len(rows) > 20
    for code in [code for row in rows for code in re.findall("`(.*?)`", row)]:
        if "ts" not in names and "optimizer" in names:
            names["ts"] = nn.train_state(names["model"], names["optimizer"], nn.key(0), (2,))
        if code not in ("train=False", "forward"):
            exec(code, names)
    assert names["metrics"].loss > 0
    assert nn.load("run.npz").model is not None
