"""A page of prose, tables and figures in the look of the reports, for results that no notebook shows."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from skinlesion.core.writing import write_text
from skinlesion.report.page import environment, page_parts
from skinlesion.report.tables import readable, table_html


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    #: In order: str, a paragraph; (address, words), a link; (DataFrame, caption), a table with its index as row
    #: headings; (bytes, text alternative, caption), a PNG
    parts: tuple


def write_document(
    path: str | Path, title: str, lead: str, sections: list[Section], notes: tuple[str, ...] = ()
) -> None:
    """Write one HTML file that holds everything it shows; ``notes`` stand above all else."""
    page = environment().get_template("document.html.j2").render(
        title=title, lead=lead, notes=notes,
        sections=[(f"s{number}", section.title, [_part(part) for part in section.parts])
                  for number, section in enumerate(sections, 1)],
        **page_parts(),
    )  # fmt: skip
    write_text(path, page)


def _part(part: str | tuple) -> dict:
    if isinstance(part, str):
        return {"kind": "text", "text": part}
    if isinstance(part[0], str):
        return {"kind": "link", "address": part[0], "text": part[1]}
    if isinstance(part[0], pd.DataFrame):
        frame, caption = part
        return {"kind": "table", "html": readable(table_html(frame, caption), caption)}
    png, alt, caption = part
    source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    return {"kind": "figure", "source": source, "alt": alt, "caption": caption}
