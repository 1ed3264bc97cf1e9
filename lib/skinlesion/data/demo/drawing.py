"""A canvas of skin, and the brushes that draw dermatoscopic structures on it.

Colour comes from absorption, as in skin: pigments multiply the reflectance by ``exp(-amount * spectrum)``, so that
melanin turns light brown, brown and black as it gets denser and blood turns pink, red and purple. What scatters instead
(veils, scars, keratin) is laid over. Texture comes from a few periodic noise tiles that are computed once a process;
each use takes its own random piece, so drawing costs little more than a look-up.
"""

from __future__ import annotations

import math
from functools import lru_cache, reduce
from itertools import product
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

SIDE = 224  # pixels of the square canvas, at the scale of the final image
_TILE = 512  # pixels of the periodic noise tiles; a power of two, so that wrapping round is a bit mask
_CELL = 16  # pixels of a cell in the cell tile

# Absorption of red, green and blue, relative to melanin's and blood's of green. Chosen so that the median log ratio of
# lesion to surrounding skin comes out near HAM10000's; where melanin is dense it takes the red as well.
MELANIN = (0.24, 1.0, 1.2)
DENSE_MELANIN = (0.70, 1.0, 1.02)
KERATIN = (0.24, 0.88, 1.25)
BLOOD = (0.26, 1.0, 0.58)
DARK_BLOOD = (0.85, 1.0, 0.72)


def _noise(rng: np.random.Generator, shortest: float, longest: float, slope: float) -> np.ndarray:
    """Periodic noise with wavelengths between two lengths in pixels, amplitude ~ wavelength ** slope, unit variance."""
    fy, fx = np.fft.fftfreq(_TILE)[:, None], np.fft.rfftfreq(_TILE)[None, :]
    frequency = np.hypot(fy, fx)
    frequency[0, 0] = 1.0
    gain = np.where((frequency >= 1 / longest) & (frequency <= 1 / shortest), frequency**-slope, 0.0)
    tile = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((_TILE, _TILE))) * gain, s=(_TILE, _TILE))
    return (tile / tile.std()).astype(np.float32)


def _cell_tile(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """What :meth:`Canvas.cells` tells of a periodic Voronoi pattern, distances in cells, [_TILE * _TILE] each."""
    across = _TILE // _CELL
    corners = np.stack(np.meshgrid(np.arange(across), np.arange(across)), axis=-1).reshape(-1, 2)
    points = (corners + rng.uniform(0.15, 0.85, corners.shape)) * _CELL
    (near, far), (first, second) = _nearest_two(points.reshape(across, across, 2))
    apart = np.abs(points[first] - points[second])
    apart = np.hypot(*np.minimum(apart, _TILE - apart).T)
    border = (far**2 - near**2) / (2 * apart)
    value = rng.random(len(points))
    found = {"border": border / _CELL, "centre": near / _CELL, "value": value[first]}
    return {kind: tile.astype(np.float32) for kind, tile in found.items()}


def _nearest_two(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance to each pixel's nearest two points and their numbers, [2, _TILE * _TILE] each; the tile is periodic.

    ``points`` [rows, columns, (x, y)] lie one a cell and 0.15 cells or more off its sides, so none beyond the next two
    cells can be second. SciPy's tree gives the same bits, but predicting a drawn image should need no SciPy.
    """
    rows, columns = points.shape[:2]
    numbers = np.arange(rows * columns).reshape(rows, columns)
    pixels = np.arange(_TILE, dtype=float).reshape(-1, _CELL)
    distances = np.full((2, rows, _CELL, columns, _CELL), np.inf)
    nearest = np.zeros(distances.shape, int)
    for shift in product(range(-2, 3), repeat=2):
        number = np.roll(numbers, shift, (0, 1))
        x, y = points.reshape(-1, 2)[number].transpose(2, 0, 1)[..., None]  # [rows, columns, 1]
        dx, dy = np.abs(x - pixels[None, :, :]), np.abs(y - pixels[:, None, :])  # [rows, columns, _CELL]
        dx, dy = np.minimum(dx, _TILE - dx) ** 2, np.minimum(dy, _TILE - dy) ** 2
        distance = np.sqrt(dx[:, None, :, :] + dy.swapaxes(1, 2)[..., None])
        number = np.broadcast_to(number[:, None, :, None], distance.shape)
        closer, second = distance < distances[0], distance < distances[1]
        distances[1] = np.where(closer, distances[0], np.where(second, distance, distances[1]))
        nearest[1] = np.where(closer, nearest[0], np.where(second, number, nearest[1]))
        np.copyto(distances[0], distance, where=closer)
        np.copyto(nearest[0], number, where=closer)
    return distances.reshape(2, -1), nearest.reshape(2, -1)


@lru_cache(maxsize=1)
def tiles() -> dict[str, Any]:
    """Noise and cells, which every drawing takes pieces of; computed in a second, once a process."""
    rng = np.random.default_rng(20180814)
    wrap = ((0, SIDE), (0, SIDE))  # so that a piece may start anywhere
    return {
        "clouds": np.pad(_noise(rng, 14, 300, 1.7), wrap, mode="wrap"),
        "mottle": np.pad(_noise(rng, 6, 28, 0.9), wrap, mode="wrap"),
        "grain": np.pad(_noise(rng, 2.5, 7, 0.6), wrap, mode="wrap"),
        "cells": _cell_tile(rng),
    }


def noise(rng: np.random.Generator, kind: str, height: int = SIDE, width: int = SIDE) -> np.ndarray:
    """A random piece of ``clouds``, ``mottle`` or ``grain``, from coarse to fine; unit variance, read-only view."""
    top, left, turn = (int(number) for number in rng.integers(0, (_TILE, _TILE, 4)))
    piece = tiles()[kind][top : top + height, left : left + width]
    return piece[:: 1 - (turn & 2), :: 1 - 2 * (turn & 1)]


def ramp(values: np.ndarray, low: float | np.ndarray, high: float | np.ndarray) -> np.ndarray:
    """0 below ``low``, 1 above ``high``, linear between; falling where ``low`` > ``high``."""
    return np.clip((values - low) / (high - low), 0.0, 1.0)


class Canvas:
    """A piece of skin with one lesion, 224 x 224 px.

    ``depth`` is the distance from the lesion's border in pixels, roughly, positive inside; ``inside`` how much of a
    pixel the lesion covers, with its soft border (float32 [SIDE, SIDE] each); ``radius`` the lesion's mean radius in
    pixels; ``typical`` how much of its class's structure it shows, 0 (little) to 1; ``damage`` the sun damage of the
    skin, 0 to 1, which the classes that it causes draw.
    """

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        axis = np.arange(SIDE, dtype=np.float32) - SIDE / 2
        self.x, self.y = axis[None, :], axis[:, None]
        # Every lesion bends space a little in its own way, so that no structure is straight or regular.
        self._bend = tuple(axis + 5 * noise(rng, "clouds") + 0.9 * noise(rng, "mottle") for axis in (self.x, self.y))
        self.typical = rng.beta(2.2, 1.2)
        self.damage = rng.beta(1, 4)
        self._density = np.zeros((3, SIDE, SIDE), np.float32)
        self._rgb = np.ones((3, SIDE, SIDE), np.float32)
        self.depth = self.inside = np.zeros((SIDE, SIDE), np.float32)
        self.radius = 0.0
        self._skin()

    # -- choices

    def shows(self, probability: float) -> bool:
        """Whether this lesion shows a structure that a typical one of its class shows with this probability."""
        return self.rng.random() < probability * (0.35 + 0.85 * self.typical)

    def between(self, low: float, high: float) -> float:
        return self.rng.uniform(low, high)

    def around(self, median: float, spread: float) -> float:
        """A lognormal number: ``median`` times or divided by about exp(``spread``)."""
        return float(median * math.exp(spread * np.clip(self.rng.standard_normal(), -2.2, 2.2)))

    # -- the two ways to colour

    def rgb(self) -> np.ndarray:
        """Reflectance so far, 0 to 1, float32 [3, SIDE, SIDE]."""
        self._rgb *= np.exp(self._density)
        self._density[:] = 0
        return self._rgb

    def absorb(self, amount: np.ndarray | float, spectrum: tuple[float, float, float]) -> None:
        """Add a pigment; a negative amount takes some away."""
        for plane, weight in zip(self._density, spectrum, strict=True):
            plane -= amount * np.float32(weight)

    def cover(self, alpha: np.ndarray, color: tuple[int, int, int]) -> None:
        """Lay something that scatters over what is there; ``color`` is 8-bit RGB, ``alpha`` 0 to 1."""
        for plane, value in zip(self.rgb(), color, strict=True):
            plane += alpha * (np.float32(value / 255) - plane)

    # -- patterns

    def cells(self, period: float, *kinds: str, bend: float = 1.0) -> list[np.ndarray]:
        """A Voronoi pattern with cells ``period`` pixels wide, somewhere else in the tile and turned each time.

        Float32 [SIDE, SIDE] of each of ``kinds``: ``border`` and ``centre`` are the distance to the nearest border
        between cells and to the cell's centre in pixels, ``value`` a random number in [0, 1), the same all over a cell.
        """
        angle = self.between(0, 2 * math.pi)
        scale = _CELL / period
        c, s = np.float32(math.cos(angle) * scale), np.float32(math.sin(angle) * scale)
        x = self.x + bend * (self._bend[0] - self.x)
        y = self.y + bend * (self._bend[1] - self.y)
        shift_x, shift_y = self.rng.uniform(_TILE, 2 * _TILE, 2).astype(np.float32)
        column = (c * x - s * y + shift_x).astype(np.int32) & (_TILE - 1)
        row = (s * x + c * y + shift_y).astype(np.int32) & (_TILE - 1)
        found = {kind: tiles()["cells"][kind].take(row * _TILE + column) for kind in kinds}
        return [cells if kind == "value" else cells * np.float32(period) for kind, cells in found.items()]

    def spots(self, period: float, radius: float, share: float = 1.0, soft: float = 1.0) -> np.ndarray:
        """Round dots, at most one a cell and in this ``share`` of the cells; their radii vary by a third."""
        value, centre = self.cells(period, "value", "centre", bend=0.4)
        radii = radius * (0.65 + 0.7 * (value * 7 % 1))
        return np.clip((radii - centre) / soft + 0.5, 0, 1) * (value < share)

    def patch(self, threshold: float, soft: float = 0.5) -> np.ndarray:
        """Irregular areas: 1 where coarse noise exceeds ``threshold`` standard deviations, 0 elsewhere."""
        return ramp(noise(self.rng, "clouds"), threshold - soft / 2, threshold + soft / 2)

    def blob(self, distance: float, size: float, irregular: float = 0.2, soft: float = 3.0) -> np.ndarray:
        """One roundish area of ``size`` pixels, ``distance`` pixels off the middle in a random direction."""
        angle, stretch = self.between(0, 2 * math.pi), self.between(0.75, 1.3)
        dx = (self.x - distance * math.cos(angle)) * stretch
        dy = (self.y - distance * math.sin(angle)) / stretch
        wander = irregular * (size * noise(self.rng, "clouds") + 0.35 * size * noise(self.rng, "mottle"))
        return ramp(size + wander - np.sqrt(dx * dx + dy * dy), -soft, soft)

    # -- skin and outline

    def _skin(self) -> None:
        """Light to dark skin with creases and mottling."""
        rng = self.rng
        melanin, blood = rng.gamma(5.0, 0.026), rng.gamma(6.0, 0.027)
        if rng.random() < 0.10:
            melanin += rng.uniform(0.2, 0.7)
        self._density -= np.array([0.13, 0.15, 0.14], np.float32)[:, None, None]
        (border,) = self.cells(self.between(5, 9), "border", bend=1.5)
        creases = ramp(border, 1.6, 0.0)
        uneven = 1 + 0.14 * noise(rng, "clouds") + 0.07 * noise(rng, "mottle")
        self.absorb(melanin * uneven + self.between(0.01, 0.035) * creases, MELANIN)
        redness = 1 + 0.14 * noise(rng, "clouds") + self.between(0.05, 0.2) * noise(rng, "mottle")
        self.absorb(blood * redness + self.between(0.008, 0.022) * noise(rng, "grain"), BLOOD)

    def sun_damage(self, strength: float) -> None:
        """Sun spots, red mottling and pale follicles all over the skin."""
        self.absorb(strength * 0.2 * self.patch(0.9, 1.2), MELANIN)
        self.absorb(strength * (0.16 * self.patch(0.5, 1.5) + 0.05 * noise(self.rng, "mottle")), BLOOD)
        self.cover(strength * 0.25 * self.spots(self.between(7, 11), 1.6, 0.6, 2.0), (240, 222, 200))

    def outline(self, radius: float, *, stretch: float, lobes: int, irregular: float, soft: float) -> None:
        """Shape the lesion: ``lobes`` overlapping ellipses whose border wanders by ``irregular`` radii."""
        rng, self.radius = self.rng, radius
        ellipses = []
        for lobe in range(lobes):
            spread = 0.0 if lobe == 0 else radius * rng.uniform(0.35, 0.75)
            size = radius * (1.0 if lobes == 1 else rng.uniform(0.5, 0.85))
            place, turn = rng.uniform(0, 2 * math.pi, 2)
            ratio = math.sqrt(rng.uniform(1.0, stretch))
            dx, dy = self.x - spread * math.cos(place), self.y - spread * math.sin(place)
            c, s = math.cos(turn), math.sin(turn)
            along, across = (c * dx + s * dy) * ratio, (c * dy - s * dx) / ratio
            ellipses.append(size - np.sqrt(along * along + across * across))
        field = reduce(lambda one, other: np.logaddexp(one / 6, other / 6) * 6, ellipses)
        field += radius * irregular * noise(rng, "clouds") + (0.6 + 5 * irregular) * noise(rng, "mottle")
        self.depth = field.astype(np.float32)
        self.inside = ramp(self.depth + soft * (0.25 * noise(rng, "mottle") + 0.12 * noise(rng, "grain")), -soft, soft)
        self.inside *= self.inside * (3 - 2 * self.inside)

    # -- structures

    def pigment(
        self, amount: float, spectrum=MELANIN, *, uneven: float = 0.15, lopsided: float = 0.0, dome: float = 0.0
    ) -> None:
        """Fill the lesion: ``uneven`` in patches, ``lopsided`` towards one side, densest in the middle by ``dome``."""
        angle = self.between(0, 2 * math.pi)
        slope = (self.x * math.cos(angle) + self.y * math.sin(angle)) / max(self.radius, 1)
        grain = 0.08 * noise(self.rng, "mottle") + 0.06 * noise(self.rng, "grain")
        level = 1 + lopsided * slope + uneven * noise(self.rng, "clouds") + grain
        level += dome * (1.5 * ramp(self.depth, 0, 0.8 * self.radius) - 0.75)
        density = self.inside * (amount * np.maximum(level, 0.1))
        self.absorb(density, spectrum)
        self.absorb(0.22 * density * density, (1.0, 0.0, 0.0))

    def network(self, strength: float, period: float, width: float, where=1.0, spectrum=MELANIN) -> None:
        """Pigment network: brown lines of this ``width`` round lighter holes ``period`` apart, in pixels."""
        (border,) = self.cells(period, "border")
        lines = 1 / (1 + (border / width) ** 2)
        uneven = np.maximum(0.8 + 0.4 * noise(self.rng, "mottle"), 0)
        self.absorb(self.inside * where * strength * uneven * (lines - 0.3), spectrum)

    def globules(self, strength: float, period: float, radius: float, share: float, where=1.0) -> None:
        self.absorb(self.inside * where * strength * self.spots(period, radius, share), DENSE_MELANIN)

    def ridges(self, strength: float, period: float) -> None:
        """Fingerprint-like parallel lines, or gyri and sulci where the period is long."""
        angle = self.between(0, 2 * math.pi)
        along = self._bend[0] * math.cos(angle) + self._bend[1] * math.sin(angle)
        wander = 2.4 * noise(self.rng, "clouds") + 0.9 * noise(self.rng, "mottle")
        wave = np.sin(2 * math.pi / period * along + wander)
        uneven = np.maximum(0.7 + 0.5 * noise(self.rng, "clouds"), 0)
        self.absorb(self.inside * strength * uneven * wave, KERATIN)

    def streaks(self, strength: float) -> None:
        """Radial streaks and pseudopods along a part of the border."""
        turn, spacing = self.between(0, 2 * math.pi), self.between(4, 6.5)
        theta = np.arctan2(self._bend[1], self._bend[0])
        phase = round(2 * math.pi * self.radius / spacing) * theta + 1.5 * noise(self.rng, "clouds")
        rays = ramp(np.cos(phase) + 0.6 * noise(self.rng, "mottle"), 0.0, 1.2) * ramp(np.cos(theta - turn), -0.2, 0.6)
        reach = np.where(self.depth > 0, 0.3 * self.radius, self.between(3, 6))
        self.absorb(strength * rays * np.exp(-((self.depth / reach) ** 2)), DENSE_MELANIN)

    def vessels(self, strength: float, trees: int, width: float, *, branches: int = 4) -> None:
        """Arborising vessels that enter from the border; with one branch, short serpentine ones anywhere."""
        sketch = Image.new("L", (2 * SIDE, 2 * SIDE))
        pen = ImageDraw.Draw(sketch)
        for _ in range(trees):
            place = self.between(0, 2 * math.pi)
            out = self.radius * (self.between(0.6, 1.1) if branches > 1 else self.between(0, 0.9))
            start = (SIDE / 2 + out * math.cos(place), SIDE / 2 + out * math.sin(place))
            heading = place + math.pi + self.between(-0.8, 0.8)
            length = self.radius * (1.1 if branches > 1 else 0.35) + 6
            self._grow(pen, start, heading, width, length, branches)
        blood = np.asarray(sketch.reduce(2), np.float32) * (1 / 255)
        self.absorb(strength * blood * (0.25 + 0.75 * self.inside), BLOOD)

    def _grow(self, pen, start, heading, width, length, branches) -> None:
        """One winding vessel that thins out, and its side branches."""
        steps = max(4, int(length / 3))
        turns = heading + np.cumsum(self.rng.normal(0, 0.28, steps))
        x = start[0] + np.cumsum(np.cos(turns)) * 3
        y = start[1] + np.cumsum(np.sin(turns)) * 3
        points = (2 * np.stack([x, y], axis=1)).ravel().tolist()
        pen.line(points, fill=int(min(255, 120 + 90 * width)), width=max(1, round(2 * width)), joint="curve")
        for _ in range(branches - 1):
            at = int(self.rng.integers(1, steps))
            side = turns[at] + self.rng.choice((-1, 1)) * self.between(0.4, 1.1)
            self._grow(pen, (x[at], y[at]), side, 0.65 * width, 0.55 * length, branches // 2)

    def lacunae(self, strength: float, period: float, spectrum=BLOOD) -> None:
        """Round red to purple lagoons with pale septa between them."""
        value, border, centre = self.cells(period, "value", "border", "centre", bend=1.2)
        lagoon = ramp(border, 0.02 * period, 0.16 * period)
        lagoon *= ramp(centre, (0.75 + 0.3 * value) * period, 0.3 * period)
        self.absorb(self.inside * strength * lagoon * (0.5 + 0.9 * value), spectrum)

    def scale(self, strength: float, color=(240, 230, 218)) -> None:
        """Flakes of surface keratin: white to yellow, rough, in patches."""
        flakes = ramp(noise(self.rng, "mottle") + 0.5 * noise(self.rng, "grain"), 0.2, 2.4)
        self.cover(strength * flakes * self.inside * self.patch(-0.1, 1.0), color)

    def white_streaks(self, strength: float) -> None:
        """Shiny white lines, short and at right angles to each other."""
        sketch = Image.new("L", (2 * SIDE, 2 * SIDE))
        pen = ImageDraw.Draw(sketch)
        angle = self.between(0, math.pi)
        for _ in range(int(self.rng.integers(8, 22))):
            x, y = SIDE + self.rng.normal(0, self.radius * 0.8, 2)
            turn, half = angle + self.rng.choice((0, math.pi / 2)) + self.rng.normal(0, 0.12), self.between(4, 12)
            dx, dy = half * math.cos(turn), half * math.sin(turn)
            pen.line((x - dx, y - dy, x + dx, y + dy), fill=200, width=2)
        self.cover(strength * self.inside * np.asarray(sketch.reduce(2), np.float32) * (1 / 255), (245, 232, 232))
