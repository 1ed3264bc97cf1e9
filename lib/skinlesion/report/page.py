"""One executed notebook -> one HTML page, by our nbconvert template on top of the stock one."""

from __future__ import annotations

import base64
import hashlib
import html
import itertools
import re
from functools import lru_cache
from pathlib import Path

from skinlesion.core.errors import SkinLesionError
from skinlesion.core.tables import counted
from skinlesion.core.writing import write_text
from skinlesion.report import tables

TEMPLATE = Path(__file__).parent / "template"
SIZE_LIMIT = 5 * 2**20  # bytes that a page should stay under
SYNTHETIC = "Synthetic demo data: a program drew these images, so the numbers say nothing about real skin lesions."

_WIDGET = "application/vnd.jupyter.widget-view+json"
_HEADING = re.compile(r'<h([1-6]) id="([^"]*)">(.*?)<a class="anchor-link" href="[^"]*">¶</a></h\1>', re.DOTALL)


def read_notebook(path: Path):
    """The notebook at ``path`` as a NotebookNode.

    Raises SkinLesionError if there is none or it is damaged.
    """
    import nbformat

    try:
        return nbformat.read(path, as_version=4)
    except FileNotFoundError:
        raise SkinLesionError(f"there is no notebook at {path}") from None
    except (OSError, ValueError, nbformat.reader.NotJSONError) as error:
        raise SkinLesionError(f"{path} is not a readable notebook ({type(error).__name__})") from None


def render_notebook(
    source: Path, target: Path, *, run: str = "", links: dict | None = None, banner: str = "", notice: str = ""
) -> int:
    """Write the HTML page of a notebook with its outputs, whole or not at all. Returns the page's size in bytes.

    Raises SkinLesionError if the notebook is missing or damaged, or the page cannot be written. ``run``: its name, for
    the page's head; ``links``: ``{"previous": (file, title), "next": (file, title)}``, either or none; ``banner``: what
    every page of this run has to say, such as :data:`SYNTHETIC`; ``notice``: what is wrong with this page: that its
    notebook failed, or is out of date.
    """
    notebook = read_notebook(source)
    failed = _tidy(notebook)
    _summary_first(notebook)
    cells, _ = _exporter().from_notebook_node(notebook)
    cells, headings = _number_headings(cells)
    cells = _name_tables(cells)
    title = next((text for level, _, text in headings if level == 1), source.stem)
    page = environment().get_template("report.html.j2").render(
        title=title, name=source.stem, run=run, links=links or {}, banner=banner, notice=notice, failed=failed,
        cells=cells, headings=[h for h in headings if h[0] in (2, 3)], titled=any(h[0] == 1 for h in headings),
        **page_parts(),
    )  # fmt: skip
    write_text(target, page)
    return target.stat().st_size


def notice(entry: dict, *, ran: bool) -> str:
    """What a page must say above its content, given its notebook's entry in ``run.json``; empty if all is well.

    ``ran`` tells whether the page shows an execution or, for want of one, the notebook as it was written.
    """
    below = (
        "What follows is from an earlier run." if ran else "What follows is the notebook as written, without results."
    )
    return {
        "failed": f"This notebook failed: {entry['error']}",
        "skipped": f"Not run, since {entry['error']}. {below}",
        "interrupted": "The run was interrupted here; what follows ends where it stopped.",
        "stale": f"Out of date: something that this notebook depends on has changed. {below}",
        "missing": f"Not run yet. {below}",
    }.get(entry["status"], "")


@lru_cache(maxsize=1)
def environment():
    """The Jinja environment of the pages around the cells; what goes into them is escaped."""
    import jinja2

    return jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATE), autoescape=True, trim_blocks=True)


@lru_cache(maxsize=1)
def page_parts() -> dict[str, str]:
    """Style, script and content security policy of every page.

    The policy lets nothing load from anywhere and no script run but ours, identified by its hash: a notebook's output
    cannot make the page send or fetch anything.
    """
    style, script = ((TEMPLATE / name).read_text(encoding="utf-8") for name in ("style.css", "script.js"))
    known = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{known}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return {"style": style, "script": script, "policy": policy}


@lru_cache(maxsize=1)
def _exporter():
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(template_name=TEMPLATE.name, extra_template_basedirs=[str(TEMPLATE.parent)])
    exporter.log.setLevel("ERROR")  # a figure without a description gets one that says so
    exporter.register_filter("counted", counted)
    return exporter


def _summary_first(notebook) -> None:
    """Move the cell tagged ``summary`` below the question, with the heading above it, if it has something to show."""
    cells = notebook.cells
    at = next((i for i, cell in enumerate(cells) if "summary" in cell.metadata.get("tags", [])), 0)
    if at < 2 or not cells[at].get("outputs") or any(output.output_type == "error" for output in cells[at].outputs):
        return
    start = at - 1 if cells[at - 1].source.startswith("## ") else at
    moved = cells[start : at + 1]
    del cells[start : at + 1]
    cells[1:1] = moved


def _tidy(notebook) -> bool:
    """Prepare outputs for reading: progress as it ended, no live widgets; mark the error that ended the run, if any."""
    from nbconvert.preprocessors import CoalesceStreamsPreprocessor

    notebook.cells = [c for c in notebook.cells if "papermill-error-cell-tag" not in c.metadata.get("tags", [])]
    streams, last = CoalesceStreamsPreprocessor(), None
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [one for one in cell.outputs if _WIDGET not in one.get("data", {})]
            streams.preprocess_cell(cell, {}, 0)  # text that was printed piece by piece in one, as a terminal shows it
            _join_captions(cell.outputs)
            for one in cell.outputs:
                if one.output_type == "stream":
                    one.text = one.text.strip("\n")
            cell.outputs = [one for one in cell.outputs if one.output_type != "stream" or one.text.strip()]
            if "raises-exception" not in cell.metadata.get("tags", []):
                last = next((one for one in cell.outputs if one.output_type == "error"), last)
    if last is not None:
        last["ended_run"] = True
    return last is not None


def _join_captions(outputs: list) -> None:
    """Give every figure the caption that is shown as text after it (see ``plots.show``), and drop that text."""
    for before, output in itertools.pairwise(outputs.copy()):
        caption = output.get("metadata", {}).get("caption")
        kind = next((kind for kind in before.get("data", {}) if kind.startswith("image/")), None)
        if caption and kind:
            before.metadata.setdefault(kind, {})["caption"] = caption
            outputs.remove(output)


def _unique(name: str, taken: set[str], numbered: str) -> str:
    """The name if it is free, else the first free one with a number from 2 on, as ``numbered`` writes them."""
    found, number = name, 2
    while found in taken:
        found, number = numbered.format(name, number), number + 1
    return found


def _number_headings(cells: str) -> tuple[str, list[tuple[int, str, str]]]:
    """Give every heading an id of its own; return the page and (level, id, text) of each."""
    found: list[tuple[int, str, str]] = []

    def replace(match: re.Match) -> str:
        level, text = int(match[1]), match[3].strip()
        name = re.sub(r"[^\w-]+", "-", match[2]).strip("-") or "section"
        taken = {anchor for _, anchor, _ in found}
        name = _unique(name, taken, "{}-{}")
        found.append((level, name, html.unescape(re.sub(r"<[^>]+>", "", text))))
        anchor = f'<a class="anchor" href="#{name}" aria-hidden="true" tabindex="-1">#</a>' if level > 1 else ""
        return f'<h{level} id="{name}">{text}{anchor}</h{level}>'

    return _HEADING.sub(replace, cells), found


_TABLE = re.compile(r'<h[1-6] id="[^"]*">(?P<heading>.*?)</h[1-6]>|<table\b.*?</table>', re.DOTALL)


def _name_tables(cells: str) -> str:
    """Make every table readable and name it by its caption or the heading above; no name occurs twice."""
    heading = "Table"
    taken: set[str] = set()

    def replace(match: re.Match) -> str:
        nonlocal heading
        if match["heading"] is not None:
            heading = html.unescape(re.sub(r"<a .*?</a>|<[^>]+>", "", match["heading"]))
            return match[0]
        name = tables.caption_of(match[0]) or heading
        name = _unique(name, taken, "{} ({})")
        taken.add(name)
        return tables.readable(match[0], name)

    return _TABLE.sub(replace, re.sub(r"<style scoped[^>]*>.*?</style>", "", cells, flags=re.DOTALL))
