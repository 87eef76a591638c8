"""The site: README, guides, examples, and a page of the reference for each module that is a topic.

    python .ci/docs.py FOLDER

Needs `pip install ".[docs]"`. Any warning is an error; so are a public name that is not on one page, and a dead link.
"""

from __future__ import annotations

import logging
import re
import shutil
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote

import griffe
from mkdocs.commands.build import build
from mkdocs.config import load_config

ROOT = Path(__file__).parent.parent
TOPICS = ["layers", "losses", "optimizers", "schedules", "penalties", "initializers", "metrics", "models", "training"]
TOPICS += ["checks", "inspection", "arrays", "keys", "stacks", "files", "errors", "distributed", "testing", "plots"]


@cache
def source() -> griffe.Module:
    return griffe.load("nnfunc", search_paths=[ROOT], allow_inspection=False)


@cache
def pages() -> dict[str, set[str]]:
    """{topic: its public names}, checked: each of nnfunc itself is on one page."""
    package = source()
    interop = [f"interop.{name}" for name in sorted(package["interop"].modules) if name[0] != "_"]
    topics = {name: set(package[name].exports or ()) for name in [*TOPICS, *interop]}
    home = Counter(package[topic][name].canonical_path for topic, names in topics.items() for name in names)
    paths = {name: package[name].canonical_path for name in package.exports if name not in TOPICS}
    if wrong := [name for name, path in paths.items() if home[path] != 1]:
        sys.exit(f"not on one page: {wrong}")
    if empty := [topic for topic, names in topics.items() if not names]:
        sys.exit(f"without __all__: {empty}")
    return topics


def entry(topic: str) -> str:
    first_sentence = re.split(r"(?<=\.)\s|\n\n", source()[topic].docstring.value)[0].replace("\n", " ")
    return f"- [`nnfunc.{topic}`]({topic}.md): {first_sentence}\n"


@cache
def links() -> dict[str, str]:
    """{name alone: its place in the reference}, but for names that arguments have, too, and names of two things."""
    shown = [source()[topic][name] for topic, names in pages().items() for name in names]
    shown += [method for cls in shown if cls.is_class for method in cls.functions.values()]
    arguments = {p.name for function in shown if function.is_function for p in function.parameters}
    places = [(name, f"nnfunc.{topic}.{name}") for topic, names in pages().items() for name in names - arguments]
    count = Counter(name for name, _ in places)
    return {name: place for name, place in places if count[name] == 1}


def on_page_content(html: str, **_: Any) -> str:
    """MkDocs calls this: names in code font lead to the reference."""

    def link(found: re.Match[str]) -> str:
        dotted, name = found[1], found[2]
        place = f"nnfunc{dotted}" if dotted else links().get(name, "")
        return f'<autoref optional identifier="{place}">{found[0]}</autoref>' if place else found[0]

    return re.sub(r"<code>(?:(?:nn|nnfunc)((?:\.\w+)+)|(\w+))(?:\([^<]*\))?</code>", link, html)


def write_sources(docs: Path, topics: dict[str, set[str]]) -> None:
    """The tree of Markdown from which the site is built, with the folders of the repository, so that links hold."""
    shutil.copytree(ROOT / "examples", docs / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    for source, target in {
        "README.md": "README.md",
        ".github/CHANGELOG.md": "project/CHANGELOG.md",
        ".github/CONTRIBUTING.md": "project/CONTRIBUTING.md",
        "tests/data/messages.md": "tests/data/messages.md",
        ".ci/site/katex.js": "site/katex.js",
        ".ci/site/site.css": "site/site.css",
    }.items():
        (docs / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / source, docs / target)
    messages = docs / "tests/data/messages.md"
    messages.write_text(re.sub(r"([\[*])", r"\\\1", messages.read_text()))  # plain text
    for page in docs.rglob("*.md"):
        page.write_text(re.sub(r"(\]\([\w./]+)\.py\)", r"\1.md)", page.read_text()))
    pictures = "\n\n"
    for script in sorted((ROOT / "examples").glob("*.py")):
        picture = f"![{script.stem}]({script.stem}.png)" if script.with_suffix(".png").exists() else ""
        pictures += f"[{picture}{{width=230}}]({script.stem}.md)\n" if picture else ""
        text = (
            f"---\nsearch: {{exclude: true}}\n---\n# {script.name}\n\n{picture}\n\n```python\n{script.read_text()}```\n"
        )
        (docs / "examples" / f"{script.stem}.md").write_text(text)
    (docs / "examples/README.md").write_text((docs / "examples/README.md").read_text() + pictures)
    (docs / "reference").mkdir()
    for topic in topics:
        (docs / "reference" / f"{topic}.md").write_text(f"::: nnfunc.{topic}\n")
    front = "::: nnfunc\n    options: {members: false, summary: false, show_root_heading: false}\n\n"
    (docs / "reference/index.md").write_text(f"# Reference\n\n{front}{''.join(map(entry, [*TOPICS, 'interop']))}")
    interop = "".join(entry(topic) for topic in topics if topic not in TOPICS)
    (docs / "reference/interop.md").write_text(f"::: nnfunc.interop\n\n{interop}")


def dead_links(folder: Path) -> list[str]:
    """The links within the site that lead to no file, or to no place in it."""
    html = {path: path.read_text() for path in folder.rglob("*.html") if path.name != "404.html"}
    places = {path: {"", *re.findall(r'\bid="([^"]*)"', text)} for path, text in html.items()}
    dead = []
    for page, text in html.items():
        for link in set(re.findall(r'\b(?:href|src)="([^":]*)"', text)):  # with a colon it leads elsewhere
            path, _, place = unquote(link).partition("#")
            target = (page.parent / path).resolve() if path else page
            if not target.exists() or place not in places.get(target, {place}):
                dead.append(f"{page.relative_to(folder)}: {link}")
    return dead


if __name__ == "__main__":
    folder = Path(sys.argv[1]).resolve()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    topics = pages()
    with TemporaryDirectory() as docs:
        write_sources(Path(docs), topics)
        config = load_config(str(ROOT / ".ci/site/mkdocs.yml"), docs_dir=docs, site_dir=str(folder), strict=True)
        entries = [{topic: f"reference/{topic}.md"} for topic in topics]
        interop = {"interop": ["reference/interop.md", *entries[len(TOPICS) :]]}
        config.nav.insert(2, {"Reference": ["reference/index.md", *entries[: len(TOPICS)], interop]})
        build(config)
    for topic, names in topics.items():
        page = (folder / "reference" / f"{topic}.html").read_text()
        if missing := [name for name in names if f'id="nnfunc.{topic}.{name}"' not in page]:
            sys.exit(f"not on the page of {topic}: {missing}")
    if dead := dead_links(folder):
        sys.exit("links that lead nowhere:\n" + "\n".join(dead))
    print(f"{folder}/index.html: {len(topics)} pages of the reference, {sum(map(len, topics.values()))} names")
