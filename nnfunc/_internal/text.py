"""Report formatting: tables and paragraphs of at most 80 columns, and HTML for notebooks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

WIDTH = 80


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[int], width: int = WIDTH) -> str:
    """Formats a table with a ruled head. The columns `right` (numbers) are right-aligned; others are cut if too long.

    >>> print(text_table(["layer", "error"], [["dense1", "2"], ["relu1", "0.5"]], right=[1]))
    layer   error
    -------------
    dense1      2
    relu1     0.5
    """
    widths = [max(len(c) for c in column) for column in zip(head, *rows, strict=True)]
    spare = width - sum(widths) - 2 * (len(head) - 1)
    for i in (i for i in range(len(head)) if i not in right):  # the layer's path first
        cut = min(max(-spare, 0), max(widths[i] - 12, 0))
        widths[i], spare = widths[i] - cut, spare + cut
    lines = [_line(cells, widths, right) for cells in (head, *rows)]
    return "\n".join([lines[0], "-" * min(len(lines[0]), width), *lines[1:]])


def _line(cells: Sequence[str], widths: list[int], right: Collection[int]) -> str:
    cut = [c if len(c) <= w else "…" + c[len(c) - w + 1 :] if i == 0 else c[: w - 1] + "…"
           for i, (c, w) in enumerate(zip(cells, widths, strict=True))]  # fmt: skip
    return "  ".join(
        c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(cut, widths, strict=True))
    ).rstrip()


def paragraphs(texts: Iterable[str]) -> list[str]:
    """Wraps each text into lines."""
    from textwrap import fill

    return [fill(text, WIDTH, break_on_hyphens=False) for text in texts]


def html_table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    marked: Collection[int],
    said: Iterable[str],
    summary: str,
) -> str:
    """Formats a table with the rows `marked` in colour, then `said` as a list, then the summary.

    >>> html_table(["a"], [["<"]], [], ["b"], "c")
    '<table><tr><th>a</th></tr><tr><td>&lt;</td></tr></table><ul><li>b</li></ul><p>c</p>'
    """
    from html import escape

    lines = [f"<tr>{''.join(f'<th>{escape(h)}</th>' for h in head)}</tr>"]
    for i, row in enumerate(rows):
        style = ' style="color:#D55E00;font-weight:bold"' if i in marked else ""
        lines.append(f"<tr{style}>{''.join(f'<td>{escape(c)}</td>' for c in row)}</tr>")
    items = "".join(f"<li>{escape(text)}</li>" for text in said)
    return f"<table>{''.join(lines)}</table><ul>{items}</ul><p>{escape(summary)}</p>"
