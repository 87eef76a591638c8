"""The API reference from the docstrings: a page for each topic, each public name on one of them.

    python .ci/docs.py FOLDER

Needs `pip install ".[dev]"`. Fails if a public name is on no page.
"""

from __future__ import annotations

import inspect
import re
import sys
import warnings
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import ForwardRef

import pdoc
from pdoc import doc, doc_types

import nnfunc as nn

TOPICS = ["keys", "arrays", "stacks", "initializers", "layers", "losses", "penalties", "optimizers", "training"]
TOPICS += ["evaluation", "models", "files", "checks", "inspection", "errors"]
"""The modules of what stands in `nnfunc` itself, in the way the data go."""

OTHERS = ["distributed", "plots", "testing", "interop"]
"""What is imported beside it."""


class Written(str):
    """An annotation as it stands in the source: `ArrayLike`, not the six lines that it is short for."""

    __repr__ = str.__str__


def as_written(annotation: object, *_: object) -> object:
    text = annotation.__forward_arg__ if isinstance(annotation, ForwardRef) else annotation
    return Written(text) if isinstance(text, str) else annotation


def limit(module: ModuleType, exported: set[str]) -> set[str]:
    """Lets the page of a topic show what `nnfunc` exports of it, and returns these names."""
    if module is nn.initializers:
        return {"initializers"}
    own = [name for name, value in vars(module).items() if name in exported and value is getattr(nn, name)]
    module.__all__ = getattr(module, "__all__", own)
    module.__path__ = []  # the files of a package are no pages: `layers.dense` is the function
    base = sys.modules.get(f"{module.__name__}.base")  # says what all of the package share
    module.__doc__ = "\n\n".join(inspect.cleandoc(m.__doc__ or "") for m in (module, base) if m)
    return set(module.__all__)


def without_boilerplate(module: ModuleType) -> None:
    """Named tuples without 'Create new instance of' and 'Alias for field number'."""
    for cls in vars(module).values():
        for field in getattr(cls, "_fields", ()) if isinstance(cls, type) else ():
            cls.__new__.__doc__ = getattr(cls, field).__doc__ = ""


def entry(module: ModuleType) -> str:
    first_sentence = re.split(r"(?<=\.)\s|\n\n", module.__doc__ or "")[0]
    return f"- `{module.__name__}`: {' '.join(first_sentence.split())}"


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    # the lazy ones are imported, the modules have pages of their own
    public = {name for name in nn.__all__ if not isinstance(getattr(nn, name), ModuleType)} | {"initializers"}
    topics, others = ([import_module(f"nnfunc.{name}") for name in names] for names in (TOPICS, OTHERS))
    left = set(public)
    for module in topics:
        left -= limit(module, left)
    for module in topics + others:
        without_boilerplate(module)

    nn.__all__ = TOPICS + OTHERS  # instead of the names, which are on the pages of the topics
    by_topic, beside = ("\n".join(map(entry, modules)) for modules in (topics, others))
    nn.__doc__ = f"""{nn.__doc__}
What stands in `nnfunc` itself, like `nn.dense`, by topic:

{by_topic}

What is imported beside it, like `from nnfunc import plots`:

{beside}
"""
    doc.safe_eval_type = doc_types.safe_eval_type = as_written
    pdoc.render.configure(docformat="google", show_source=False, footer_text=f"nnfunc {nn.__version__}")
    warnings.filterwarnings("ignore", "'nnfunc' may refer to")  # the folder of the checkout
    pdoc.pdoc("nnfunc", r"!nnfunc.*\._.*", output_directory=folder)

    pages = [path.read_text() for path in folder.rglob("*.html")]
    by_name = [(folder / "nnfunc" / f"{name}.html").read_text() for name in TOPICS]
    shown = {name for name in public - {"initializers"} if sum(f'<section id="{name}">' in p for p in by_name) == 1}
    print(f"{folder}/index.html: {len(pages)} pages, {len(public)} names of nnfunc")
    if left or (left := public - shown - {"initializers"}):
        sys.exit(f"not on one page: {sorted(left)}")
    if any("numpy._typing" in page for page in pages):
        sys.exit("annotations are not as they are written")
