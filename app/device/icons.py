"""The on-device page's icons: ``static/icon.svg`` drawn again as PNG, since home screens take no SVG."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

BLUE = "#0b5cad"
GRID = 32  # units a side, as in the SVG
FINE = 8  # drawn so many times larger, then reduced, for smooth edges
SAFE = 0.8  # of a maskable icon's side: systems may cut off what is outside this circle

#: The lesion's outline: cubic curves from a start, each as two control points and an end.
START = (16.0, 7.0)
CURVES = (
    ((21, 7), (25, 10.4), (25, 15.5)),
    ((25, 20.6), (21, 25), (15.5, 25)),
    ((10, 25), (7, 21), (7, 16)),
    ((7, 11), (11, 7), (16, 7)),
)
DOTS = ((14, 14, 2.6), (19, 18, 2))  # x, y, radius


def write_icons(folder: Path) -> None:
    """Write ``icon-<side>.png`` with round corners, and ``icon-full-<side>.png``, which systems cut to shape."""
    for side in (192, 512):
        draw(side, full=False).save(folder / f"icon-{side}.png", optimize=True)
        draw(side, full=True).save(folder / f"icon-full-{side}.png", optimize=True)


def draw(side: int, *, full: bool) -> Image.Image:
    """The icon, RGBA, ``side`` pixels wide; ``full`` fills the square and keeps the drawing within the safe circle."""
    large = side * FINE
    scale = large / GRID * (SAFE if full else 1)
    middle = large / 2

    def at(points: np.ndarray) -> list[tuple[float, float]]:
        return [tuple(point) for point in (points - GRID / 2) * scale + middle]

    picture = Image.new("RGBA", (large, large))
    pen = ImageDraw.Draw(picture)
    pen.rounded_rectangle((0, 0, large - 1, large - 1), 0 if full else 7 * scale, fill=BLUE)
    pen.polygon(at(_outline()), fill="white")
    for x, y, radius in DOTS:
        pen.ellipse([*at(np.array([[x - radius, y - radius]]))[0], *at(np.array([[x + radius, y + radius]]))[0]], BLUE)
    return picture.resize((side, side), Image.Resampling.BOX)


def _outline(steps: int = 64) -> np.ndarray:
    """Points along the curves, float [n, 2]."""
    t = np.linspace(0, 1, steps)[:, None]
    start, points = np.array(START), []
    for first, second, end in (map(np.array, curve) for curve in CURVES):
        points.append((1 - t) ** 3 * start + 3 * (1 - t) ** 2 * t * first + 3 * (1 - t) * t**2 * second + t**3 * end)
        start = end
    return np.concatenate(points)
