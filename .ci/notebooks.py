"""The notebooks in examples/notebooks, executed: those of scripts made of their cells, the others as they stand.

    python .ci/notebooks.py          writes them
    python .ci/notebooks.py --check  fails if one does not run, is not that of its script or prints other words

A script's docstring gives the title, its cells with the tag active-py stay out. Needs `pip install ".[notebooks]"`.
"""

from __future__ import annotations

import ast
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

EXAMPLES = Path(__file__).parent.parent / "examples"
NOTEBOOKS = EXAMPLES / "notebooks"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def of_script(script: Path) -> NotebookNode:
    notebook = jupytext.read(script, fmt="py:percent")
    title, about = (ast.get_docstring(ast.parse(script.read_text())) or "").splitlines()[0].split(": ", 1)
    text = f"# {title}\n\n{about[0].upper()}{about[1:]}\n\nThe steps of [{script.name}](../{script.name})."
    cells = [cell for cell in notebook.cells[1:] if "active-py" not in cell.metadata.get("tags", [])]
    notebook.cells = [nbformat.v4.new_markdown_cell(text), *cells]
    for i, cell in enumerate(notebook.cells):
        cell.id = f"{script.stem}-{i}"
    return notebook


def executed(notebook: NotebookNode) -> NotebookNode:
    NotebookClient(
        notebook,
        kernel_name="python3",
        resources={"metadata": {"path": NOTEBOOKS}},
        record_timing=False,
        coalesce_streams=True,
        extra_arguments=["--InlineBackend.rc={'figure.dpi': 72}", "--log-level=ERROR"],
    ).execute()
    notebook.metadata = NotebookNode(kernelspec=KERNEL, language_info={"name": "python"})
    return notebook


def sources(notebook: NotebookNode) -> list[str]:
    return [cell.source for cell in notebook.cells]


def words(notebook: NotebookNode) -> list[str]:
    """What the cells print and show, but for numbers, which differ from processor to processor, and pictures."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    texts = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs]
    return [re.sub(r"[-+\d.,e]*\d|\s+", " ", text) for text in texts]


def make(path: Path, check: bool) -> str:
    """Writes a notebook, or says what is wrong with it."""
    script = EXAMPLES / f"{path.stem}.py"
    old = nbformat.read(path, as_version=4) if path.exists() else nbformat.v4.new_notebook()
    source = of_script(script) if script.exists() else nbformat.from_dict(old)
    try:
        new = executed(source)
    except Exception as error:
        return f"does not run: {error}"
    if not check:
        nbformat.write(new, path)
    elif sources(new) != sources(old):
        return f"is not that of {script.name}"
    elif words(new) != words(old):
        return "prints other words than it shows"
    return ""


if __name__ == "__main__":
    os.environ.pop("MPLBACKEND", None)  # the kernel's own shows figures in the notebook
    scripts = [p.stem for p in EXAMPLES.glob("*.py") if "\n# %%" in p.read_text()]
    paths = sorted({NOTEBOOKS / f"{name}.ipynb" for name in scripts} | set(NOTEBOOKS.glob("*.ipynb")))
    check = sys.argv[1:] == ["--check"]
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(make, paths, [check] * len(paths)))
    for path, wrong in zip(paths, results, strict=True):
        print(f"{path.name}: {wrong or 'runs'}" + f", {path.stat().st_size / 1000:.0f} kB" * path.exists())
    if any(results):
        sys.exit("python .ci/notebooks.py makes the notebooks anew")
