"""The look of every figure, and the one way in which figures reach a notebook or a file."""

from __future__ import annotations

import base64
import io
import textwrap
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

from matplotlib import patheffects, rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from skinlesion.core.runs import atomic, write_text
from skinlesion.core.taxonomy import Diagnosis

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

P = ParamSpec("P")
DPI = 110  # 9 inches fill a report's column, and a chart stays below 100 KB
INK = "#222222"
MUTED = "#6B6B6B"
ACCENT = "#0072B2"
CONTRAST = "#D55E00"

#: Colours of categories that are no diagnoses (Paul Tol's "muted" scheme, which colour-blind readers can tell apart).
CATEGORIES = ("#332288", "#88CCEE", "#44AA99", "#117733", "#999933", "#DDCC77", "#CC6677", "#882255", "#AA4499")
REMAINDER = {"other": "#B8B8B8", "unknown": "#E4E4E4"}

LINES = ("-", (0, (6, 1.5)), (0, (9, 1.5, 1.5, 1.5)))  # a second way to tell curves apart

_CHART_COLORS = 16_384  # antialiased lines and letters make a few thousand shades, photographs far more

STYLE: dict[RcKeyType, Any] = {
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.w_pad": 0.08,
    "figure.titlesize": 13,
    "figure.titleweight": "bold",
    "font.family": "DejaVu Sans",  # comes with matplotlib, so figures look alike everywhere
    "font.size": 10,
    "text.color": INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.labelsize": 10,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#999999",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}


def styled(plot: Callable[P, tuple[Figure, str]]) -> Callable[P, tuple[Figure, str]]:
    """Make a function that returns (figure, text) draw in the house style."""

    @wraps(plot)
    def draw(*args: P.args, **kwargs: P.kwargs) -> tuple[Figure, str]:
        with rc_context(STYLE):
            return plot(*args, **kwargs)

    return draw


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, **grid):
    """A figure (inches) and its axes, an array [rows, columns]. It belongs to no global state: nothing to close."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **grid)


def png(figure: Figure) -> bytes:
    """The figure as PNG, the same bytes every time; a chart in 256 colours, a third of the size; photographs in all."""
    buffer = io.BytesIO()
    with rc_context(STYLE):
        figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    small = io.BytesIO()
    with Image.open(buffer) as image:
        drawn = image.convert("RGB")
        if drawn.getcolors(_CHART_COLORS):
            drawn = drawn.quantize(256, dither=Image.Dither.NONE)
        drawn.save(small, "PNG", optimize=True)
    return small.getvalue()


def write(figure: Figure, alt: str, path: str | Path) -> bytes:
    """Write the PNG to ``path`` and its text alternative beside it (``.txt``), each whole or not at all."""
    data = png(figure)
    with atomic(path) as temporary:
        temporary.write_bytes(data)
    write_text(Path(path).with_suffix(".txt"), alt + "\n")
    return data


def show(figure: Figure, alt: str, save: str | Path | None = None) -> None:
    """Show a figure in a notebook with its text alternative, and write both to ``save`` (a ``.png``) if given."""
    from IPython.display import display

    data = png(figure) if save is None else write(figure, alt, save)
    display(
        {"image/png": base64.b64encode(data).decode("ascii"), "text/plain": alt},
        raw=True,
        metadata={"image/png": {"alt": alt}},
    )


def class_name(diagnosis: Diagnosis, width: int = 26) -> str:
    """``Melanoma (mel)``, broken into lines of about ``width`` letters."""
    return textwrap.fill(f"{diagnosis.name} ({diagnosis.code})", width, break_long_words=False)


def outlined(width: float = 1.8) -> list:
    """A thin dark rim for lines and points, without which yellow is lost on white."""
    return [patheffects.withStroke(linewidth=width + 0.8, foreground="#444444")]


def share_legend(figure: Figure, axis, **options) -> None:
    """One legend to the right of all panels."""
    figure.legend(*axis.get_legend_handles_labels(), loc="outside right center", **options)
