"""Docstrings, which are written to be read as plain text, as Markdown."""

from __future__ import annotations

import re
from typing import Any

from griffe import Class, Extension, Object

DOCTEST = re.compile(r"^( *)>>> .*(?:\n\1.*\S.*)*", re.M)
SECTION = re.compile(r"(?<=\S)\n(?=(?:Args|Returns|Raises|Yields|Attributes):\n)")
ARRAYS = re.compile(r"^Parameters: ", re.M)
NAMES = re.compile(r"^    (\w+, )+\w+: ", re.M)


class Docstrings(Extension):
    def on_instance(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring:
            text = "\n\n".join(map(markdown, obj.docstring.value.split("\n\n")))
            text = ARRAYS.sub("\n**Arrays of parameters**: ", SECTION.sub("\n\n", text))
            text = NAMES.sub(lambda names: names[0].replace(", ", ",\N{NO-BREAK SPACE}"), text)  # have one text
            obj.docstring.value = DOCTEST.sub(lambda example: f"```pycon\n{example[0]}\n```", text)

    def on_class(self, *, cls: Class, **_: Any) -> None:
        """What Python calls is no page's matter, but for what makes an object and what it is called by."""
        for name in {name for name in cls.members if name.startswith("__")} - {"__init__", "__new__", "__call__"}:
            cls.del_member(name)


def markdown(paragraph: str) -> str:
    if paragraph.startswith("    ") or ">>> " in paragraph:
        return paragraph
    if re.search(r"\S {3,}\S", paragraph):  # columns of words
        return re.sub("^", "    ", paragraph, flags=re.M)
    return re.sub(r"`[^`]*`|\*|(?<=: )>", lambda found: found[0] if found[0][0] == "`" else f"\\{found[0]}", paragraph)
