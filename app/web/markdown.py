"""The Markdown that model cards are written in, as HTML: headings, paragraphs, lists, tables; bold, code, links.

A small part of CommonMark and of GitHub's tables, and no more, so that serving a page needs no library for it; the
tests hold it against one that knows all of Markdown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from markupsafe import Markup, escape

_SPANS = re.compile(r"`([^`]+)`|\*\*(.+?)\*\*|\[([^\]]+)\]\((https?://[^)\s]+)\)")
_RULE = re.compile(r"\|?(\s*:?-+:?\s*\|)+\s*:?-*:?\s*")


def render(text: str, *, below: int = 0) -> Markup:
    """HTML of ``text``, in which everything that is no Markdown is escaped; headings ``below`` levels further down."""
    return Markup("\n").join(_block(block, below) for block in _blocks(text))


def _blocks(text: str) -> Iterator[list[str]]:
    """Runs of lines that belong together; a heading is one by itself."""
    block: list[str] = []
    for line in [*text.splitlines(), ""]:
        heading = line.startswith("#")
        list_begins = line.startswith("- ") and block and not block[0].startswith("- ")
        if (heading or list_begins or not line.strip()) and block:
            yield block
            block = []
        if heading:
            yield [line]
        elif line.strip():
            block.append(line.strip())


def _block(lines: list[str], below: int) -> Markup:
    first = lines[0]
    if heading := re.match(r"(#{1,6})\s+(.*)", first):
        level = min(len(heading[1]) + below, 6)
        return Markup("<h{0}>{1}</h{0}>").format(level, inline(heading[2]))
    if first.startswith("- "):
        items = [item.replace("\n", " ") for item in re.split(r"(?:^|\n)- ", "\n".join(lines))[1:]]
        return Markup("<ul>{}</ul>").format(Markup("").join(Markup("<li>{}</li>").format(inline(i)) for i in items))
    if len(lines) > 1 and first.startswith("|") and _RULE.fullmatch(lines[1]):
        return _table(_cells(first), [_cells(line) for line in lines[2:]])
    return Markup("<p>{}</p>").format(inline(" ".join(lines)))


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def _table(head: list[str], body: list[list[str]]) -> Markup:
    """A table whose first column names its rows; a column without a name gets a plain cell, for a header must speak."""
    top = Markup("").join(
        Markup('<th scope="col">{}</th>').format(inline(cell)) if cell else Markup("<td></td>") for cell in head
    )
    rows = Markup("").join(
        Markup('<tr><th scope="row">{}</th>{}</tr>').format(
            inline(cells[0]), Markup("").join(Markup("<td>{}</td>").format(inline(cell)) for cell in cells[1:])
        )
        for cells in body
    )
    return Markup(
        '<div class="wide" tabindex="0" role="group" aria-label="Table: {}">'
        "<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>"
    ).format(" ".join(filter(None, head)), top, rows)


def inline(text: str) -> Markup:
    """Text with its ``code``, **bold** and [links](https://...), without a paragraph round it."""
    parts, end = [], 0
    for found in _SPANS.finditer(text):
        parts.append(escape(text[end : found.start()]))
        code, bold, words, address = found.groups()
        if code:
            parts.append(Markup("<code>{}</code>").format(code))
        elif bold:
            parts.append(Markup("<strong>{}</strong>").format(inline(bold)))
        else:
            parts.append(Markup('<a href="{}">{}</a>').format(address, words))
        end = found.end()
    return Markup("").join([*parts, escape(text[end:])])
