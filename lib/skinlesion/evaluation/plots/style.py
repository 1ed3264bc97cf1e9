"""The style of every figure, and the one way in which figures and tables reach a notebook or a file."""

from __future__ import annotations

import base64
import io
import textwrap
import tomllib
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import numpy as np
import pandas as pd
from matplotlib import patheffects, rc_context, rc_params_from_file
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from skinlesion.core.images import encode
from skinlesion.core.taxonomy import Diagnosis
from skinlesion.core.writing import write_bytes, write_text
from skinlesion.report.tables import table_html

P = ParamSpec("P")
DPI = 110  # CSS pixels an inch: 9 inches fill a report's column
SCALE = 2  # image pixels a CSS pixel: sharp on phones and when enlarged
INK = "#222222"
MUTED = "#6B6B6B"
ACCENT = "#0072B2"
CONTRAST = "#D55E00"

#: Colours of categories that are no diagnoses (Paul Tol's "muted" scheme, which colour-blind readers can tell apart).
CATEGORIES = ("#332288", "#88CCEE", "#44AA99", "#117733", "#999933", "#DDCC77", "#CC6677", "#882255", "#AA4499")
REMAINDER = {"other": "#B8B8B8", "unknown": "#E4E4E4"}

LINES = ("-", (0, (6, 1.5)), (0, (9, 1.5, 1.5, 1.5)))  # a second way to tell curves apart

_CHART_COLORS = 16_384  # antialiased lines and letters make a few thousand shades, photographs far more

STYLE = rc_params_from_file(Path(__file__).with_name("report.mplstyle"), use_default_template=False)
_CAPTIONS = tomllib.loads(Path(__file__).with_name("captions.toml").read_text(encoding="utf-8"))


class Chart(Figure):
    """A figure with a caption, see :func:`styled`."""

    caption = ""


def styled(plot: Callable[P, tuple[Chart, str]]) -> Callable[P, tuple[Chart, str]]:
    """Make a function that returns (figure, text alternative) draw in this style, with its caption.

    ``captions.toml`` has the caption under the function's name: what is plotted, then what to see.
    """

    @wraps(plot)
    def draw(*args: P.args, **kwargs: P.kwargs) -> tuple[Chart, str]:
        with rc_context(STYLE):
            figure, alt = plot(*args, **kwargs)
        figure.caption = _CAPTIONS[plot.__name__]
        return figure, alt

    return draw


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, *, layout: Any = None, **grid):
    """A chart (inches) and its axes, an array [rows, columns]. It belongs to no global state: nothing to close.

    ``layout`` is matplotlib's; "none" is fast with many axes, whose places ``gridspec_kw`` gives.
    """
    figure = Chart(figsize=(width, height), dpi=SCALE * DPI, layout=layout)
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **grid)


def new_axis(width: float, height: float) -> tuple[Chart, Axes]:
    """A chart (inches) with one axis, see :func:`new_figure`."""
    figure, axes = new_figure(width, height)
    return figure, axes[0, 0]


def png(figure: Figure) -> bytes:
    """The figure as PNG, the same bytes every time; a chart in 256 colours, a third of the size; photographs in all."""
    canvas = FigureCanvasAgg(figure)
    with rc_context(STYLE):
        canvas.draw()  # savefig would draw twice
    drawn = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    if drawn.getcolors(_CHART_COLORS):
        return encode(drawn.quantize(256, dither=Image.Dither.NONE), "PNG", optimize=True)
    # to optimise a page of photographs takes seven seconds, and saves a twentieth of its size
    return encode(drawn, "PNG", compress_level=3)


def write(figure: Figure, alt: str, path: str | Path) -> bytes:
    """Write the PNG to ``path`` and its text alternative beside it (``.txt``), each whole or not at all."""
    data = png(figure)
    write_bytes(path, data)
    write_text(Path(path).with_suffix(".txt"), alt + "\n")
    return data


def show(figure: Chart, alt: str, save: str | Path | None = None, caption: str = "") -> None:
    """Show a figure in a notebook with its text alternative and caption.

    ``save``: a ``.png``, where the picture goes, too, and its text alternative beside it; ``caption``: instead of the
    figure's own.
    """
    from IPython.display import display

    kind, data = _for_a_page(png(figure) if save is None else write(figure, alt, save))
    width, height = (round(inches * DPI) for inches in figure.get_size_inches())
    display(
        {kind: base64.b64encode(data).decode("ascii"), "text/plain": alt},
        raw=True,
        metadata={kind: {"alt": alt, "width": width, "height": height}},
    )
    if caption := caption or figure.caption:
        display({"text/markdown": f"*{caption}*", "text/plain": caption}, raw=True, metadata={"caption": caption})


def show_all(figures: dict[str, tuple[Chart, str]], folder: str | Path) -> None:
    """Show figures one after the other, and save each in ``folder`` under its name."""
    for name, (figure, alt) in figures.items():
        show(figure, alt, save=Path(folder) / f"{name}.png")


def show_table(frame: pd.DataFrame, caption: str, digits: int = 3) -> None:
    """Show a table in a notebook with its caption; see :func:`skinlesion.report.tables.table_html`."""
    from IPython.display import display

    text = f"{caption}\n{frame.to_string()}"
    display({"text/html": table_html(frame, caption, digits), "text/plain": text}, raw=True)


def _for_a_page(data: bytes) -> tuple[str, bytes]:
    """A chart as it is, photographs as JPEG, a tenth of the size: a page should stay below 5 MB."""
    with Image.open(io.BytesIO(data)) as image:
        if image.mode == "P":
            return "image/png", data
        return "image/jpeg", encode(image, "JPEG", quality=88)


def class_name(diagnosis: Diagnosis, width: int = 26) -> str:
    """``Melanoma (mel)``, broken into lines of about ``width`` letters."""
    return textwrap.fill(f"{diagnosis.name} ({diagnosis.code})", width, break_long_words=False)


def outlined(width: float = 1.8) -> list:
    """A thin dark rim for lines and points, without which yellow is lost on white."""
    return [patheffects.withStroke(linewidth=width + 0.8, foreground="#444444")]


def name_rows(axis, names: Sequence[str]) -> None:
    """Names of an axis's rows, the first one on top; no lines between them."""
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.grid(axis="y", visible=False)


def interval(
    axis, metric, row: float, color: str, shape: str = "o", label: str | None = None, missing: str = "undefined"
) -> None:
    """A metric's value and interval in a row of an axis, or the word ``missing``."""
    if pd.isna(metric["value"]):
        axis.annotate(missing, (0.5, row), xycoords=("axes fraction", "data"), ha="center", va="center", color=MUTED,
                      fontsize=8)  # fmt: skip
        return
    if not pd.isna(metric["low"]):
        axis.plot([metric["low"], metric["high"]], [row, row], color=color, linewidth=2.6, path_effects=outlined(2.6),
                  solid_capstyle="butt")  # fmt: skip
    axis.plot(metric["value"], row, shape, color=color, markersize=6, markeredgecolor="#444444", zorder=3, label=label)


def hide_unused(axes, used: int) -> None:
    """Hide the panels of a grid beyond the first ``used``."""
    for axis in axes.flat[used:]:
        axis.set_visible(False)


def share_legend(figure: Chart, axis, *, below: bool = False, **options) -> None:
    """One legend to the right of all panels, or below them."""
    place: Any = "outside lower center" if below else "outside right center"
    figure.legend(*axis.get_legend_handles_labels(), loc=place, **options)
