"""Tests that the Python blocks of the README and the guides run in order, with the output shown below them."""

from __future__ import annotations

import ast
import contextlib
import io
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import nnfunc as nn

ROOT = Path(__file__).parent.parent
GUIDES = sorted((ROOT / "examples" / "guides").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "examples" / "README.md", *GUIDES]


NOISE = r"\d\.\de-\d\d|[\d,]+ evaluations, [\d.]+ s"
"""The parts of the output that depend on the machine: rounding errors, and the cost of a search."""


def execute(code: str, names: dict[str, Any]) -> str:
    """The printed output of a block, the value of its last expression, or its error."""
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


@pytest.mark.parametrize("page", [p for p in PAGES if "```python" in p.read_text()], ids=lambda path: path.stem)
def test_a_page_does_what_it_says(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # some save a file
    names: dict[str, Any] = {}
    blocks = re.findall(r"```(python|text)\n(.*?)```", page.read_text(), re.S)
    for (kind, code), (following, expected) in zip(blocks, [*blocks[1:], ("", "")], strict=True):
        if kind == "python":
            result = execute(code, names)
            if following == "text":
                result, expected = (re.sub(NOISE, "…", t) for t in (result, expected))
                words, expected_words = (re.sub(r"\d+\.\d+", "x", t).strip() for t in (result, expected))
                assert words == expected_words
                # another processor rounds otherwise, and training amplifies it
                assert numbers(result) == pytest.approx(numbers(expected), rel=0.05)


def test_links_lead_somewhere_and_the_readme_is_short() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#]+)", page.read_text()):
            assert link.startswith("https://") or (page.parent / link).exists(), f"{page.name}: {link}"
    assert len(PAGES[0].read_text().split()) <= 1300
    linked = "".join(page.read_text() for page in PAGES)
    for script in (ROOT / "examples").glob("*.py"):
        assert f"({script.name})" in linked or f"/{script.name})" in linked, f"{script.name} is on no page"


def test_every_name_is_on_the_page_of_names() -> None:
    listed = set(re.findall(r"`(\w+)`", (ROOT / "examples" / "guides" / "overview.md").read_text()))
    modules = {name for name in nn.__all__ if isinstance(getattr(nn, name), ModuleType)}
    named = {name for name in nn.__all__ if not name[0].isupper() and name not in modules}
    assert named - listed <= SAID_IN_WORDS


def test_each_formula_is_on_the_page_of_formulas() -> None:
    page = (ROOT / "examples" / "guides" / "formulas.md").read_text()
    first = " ".join(line.split("|")[1] for line in page.splitlines() if line.startswith("| `"))
    listed = set(re.findall(r"`(\w+)`", first)) | {"one_hot"}  # a part of a formula
    topics = (nn.layers, nn.losses, nn.optimizers, nn.schedules, nn.penalties)
    assert {name for topic in topics for name in topic.__all__ if not name[0].isupper()} - listed == set()


SAID_IN_WORDS = {
    name for name in nn.__all__ if re.search("cross_entropy|squared_error|absolute_error|probability", name)
}
"""Losses that the page names together."""


@pytest.mark.parametrize("page", [page for page in GUIDES if page.name.startswith("from_")], ids=lambda path: path.stem)
def test_the_tables_of_equivalents_are_code_that_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    x, t = np.random.default_rng(0).normal(size=(20, 2)), np.arange(20) % 3
    names: dict[str, Any] = {"nn": nn, "x": x, "t": t, "loss": nn.sparse_categorical_cross_entropy, "key": nn.key(0)}
    names |= {"forward": lambda params, x: (x, None), "backward": lambda params, cache, dy: (dy, {}), "init": None}
    names["model"] = nn.mlp([2, 16, 3], ["relu", "softmax"])
    names["params"], names["state"] = names["model"].init(nn.key(0), (2,))
    names["optimizer"] = nn.adam()
    names["opt_state"] = names["optimizer"].init(names["params"])
    names["loss_cache"] = names["loss"].forward(nn.predict(names["model"], nn.train_state(
        names["model"], "adam", nn.key(0), (2,)), x), t)[1]  # fmt: skip
    _, names["cache"], _ = names["model"].forward(names["params"], names["state"], x)
    names["step"] = nn.train_step(names["model"], names["loss"], names["optimizer"])
    names["ts"] = nn.train_state(names["model"], names["optimizer"], nn.key(0), (2,))
    names["run"] = nn.train(names["step"], names["ts"], (x, t), epochs=1, key=nn.key(0))
    rows = [line.rsplit("|", 2)[1] for line in page.read_text().split("\n\n")[1].splitlines()[2:]]
    assert len(rows) >= 12
    for code in [code for row in rows for code in re.findall("`(.*?)`", row)]:
        if code not in ("train=False", "forward"):
            exec(code, names)
    assert "a_course" in page.stem or nn.load("run.npz").model is not None


def test_the_playground_says_what_is_wrong_with_its_example() -> None:
    page = (ROOT / "examples" / "playground.html").read_text()
    [code] = re.findall(r"<textarea.*?>\n(.*?)</textarea>", page, re.S)
    [driver] = re.findall(r'<script id="driver".*?>\n(.*?)</script>', page, re.S)
    names: dict[str, Any] = {}
    exec(driver, names)
    others = re.findall(r'<script .*?class="example".*?>\n(.*?)</script>', page, re.S)
    for example, word in zip([code, *others], ["scale", "transpose", "missing-term"], strict=True):
        assert f"WRONG: {word}" in names["report"](example)
    assert "all right" in names["report"](code.replace("mean(axis=0)", "sum(axis=0)"))
    assert "all right" in names["report"]("import numpy as np; inputs = np.ones(3); forward = lambda x: (x, 0)\n"
                                          "print('seen'); backward = lambda dy, cache: dy")  # fmt: skip
    assert "there is no backward" in names["report"]("forward = inputs = None")
    assert re.search(r"seen\n.*line 2.*ZeroDivisionError", names["report"]("print('seen')\n1 / 0"), re.S)
    assert "nnfunc" not in names["report"](code.replace("return dz @", "return None, dz @"))  # none of its lines
