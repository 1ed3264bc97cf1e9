"""Tables for people: with a caption, a name in every header, and numbers of one format."""

from __future__ import annotations

import re
from html import escape, unescape
from numbers import Integral, Real
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the series starts without it
    import pandas as pd


def table_html(frame: pd.DataFrame, caption: str, digits: int = 3) -> str:
    """The table as HTML, its index as row headers.

    ``frame``: with a plain index; its name becomes the first column's header; ``caption``: what the table lists;
    ``digits``: decimal places of fractions; whole numbers get thousands separators, a missing value is a dash.
    """
    first = f'<th scope="col">{escape(str(frame.index.name))}</th>' if frame.index.name else "<td></td>"
    header = first + "".join(f'<th scope="col">{escape(str(name))}</th>' for name in frame.columns)
    columns = [frame.iloc[:, i].tolist() for i in range(frame.shape[1])]  # Python's own numbers, by column
    rows = "".join(
        f'<tr><th scope="row">{escape(str(name))}</th>'
        + "".join(f"<td>{_together(escape(_words(value, digits)))}</td>" for value in values)
        + "</tr>\n"
        for name, *values in zip(frame.index, *columns, strict=True)
    )
    return (
        f'<table class="dataframe"><caption>{escape(caption)}</caption>\n<thead><tr>{header}</tr></thead>\n'
        f"<tbody>\n{rows}</tbody></table>"
    )


def _words(value, digits: int) -> str:
    if isinstance(value, str | bool):
        return str(value)
    if isinstance(value, Integral):
        return f"{value:,}"
    import pandas as pd

    if pd.isna(value):
        return "–"
    return f"{value:,.{digits}f}" if isinstance(value, Real) else str(value)


def _together(cell: str) -> str:
    """``0.74 (0.69 to 0.79)``, HTML already, so that it breaks before the bracket, if anywhere."""
    return re.sub(r"^(\S+) (\(\S+ to \S+\).*)$", r'\1 <span class="together">\2</span>', cell)


_ROW = re.compile(r"<tr[^>]*>(.*?)</tr>", re.DOTALL)
_HEADER = re.compile(r"<th>(.*?)</th>", re.DOTALL)


def _one_header(head: re.Match) -> str:
    """pandas' header as one row without empty cells: it puts the names of the index into a second row."""
    rows = [_HEADER.findall(row) for row in _ROW.findall(head[0])]
    if len(rows) == 2 and len(rows[0]) == len(rows[1]):
        rows = [[below or above for above, below in zip(*rows, strict=True)]]
    if len(rows) != 1 or "colspan" in head[0]:
        return head[0]
    cells = (f'<th scope="col">{name}</th>' if name.strip() else "<td></td>" for name in rows[0])
    return f"<thead><tr>{''.join(cells)}</tr></thead>"


def readable(table: str, name: str) -> str:
    """A table's HTML for a page: named, in a box that scrolls, by keyboard too, and below its caption if it has one.

    What pandas writes loses its border and empty header cells.
    """
    table, captioned = re.subn(r"<caption>.*?</caption>\s*", "", table, count=1, flags=re.DOTALL)
    if not captioned:
        table = table.replace('<table border="1" class', "<table class")
        table = re.sub(r"<thead>.*?</thead>", _one_header, table, count=1, flags=re.DOTALL)
    table = re.sub(r"<th>\s*</th>", "<td></td>", table)
    table = re.sub(r"<td>([^<>]* \([^<>]* to [^<>]*)</td>", lambda cell: f"<td>{_together(cell[1])}</td>", table)
    table = table.replace("<table", f'<table aria-label="{escape(name)}"', 1)
    above = f'<p class="caption">{escape(name)}</p>' if captioned else ""
    return f'{above}<div class="scroll" role="region" aria-label="{escape(name)}" tabindex="0">{table}</div>'


def caption_of(table: str) -> str:
    """A table's caption as plain text, empty where it has none."""
    found = re.search(r"<caption>(.*?)</caption>", table, re.DOTALL)
    return unescape(re.sub(r"<[^>]+>", "", found[1])).strip() if found else ""
