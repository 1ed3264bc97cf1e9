"""The what-if's changes to an image: what each slider means, and a frame with all of them applied."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance

from app.words import text
from skinlesion.core import framing

SIDE = 600  # pixels, the longer side of the frame that is changed; HAM10000's images have it, larger ones are reduced


@dataclass(frozen=True)
class Slider:
    """One way to change an image, in whole steps of ``unit`` from ``low`` to ``high``; ``neutral`` changes nothing."""

    name: str
    low: int
    high: int
    neutral: int
    unit: str

    @property
    def label(self) -> str:
        """What people read beside it."""
        return text(f"what_if.{self.name}")

    def text(self, value: int) -> str:
        """The value as people read it: percentages of a factor, or degrees."""
        sign = "+" if self.neutral == 0 and value > 0 else ""
        return f"{sign}{value}{self.unit}".replace("-", "−")


SLIDERS = (
    Slider("brightness", 50, 150, 100, "%"),
    Slider("rotation", -180, 180, 0, "°"),
    Slider("zoom", 100, 250, 100, "%"),
    Slider("saturation", 0, 200, 100, "%"),
    Slider("warmth", -30, 30, 0, "%"),
)

NEUTRAL = {slider.name: slider.neutral for slider in SLIDERS}


def working_copy(frame: np.ndarray) -> np.ndarray:
    """The frame, uint8 [H, W, 3], reduced where its longer side exceeds ``SIDE``, so that sliders respond at once."""
    height, width = frame.shape[:2]
    scale = SIDE / max(height, width)
    return frame if scale >= 1 else framing.resize(frame, (round(height * scale), round(width * scale)))


def apply(frame: np.ndarray, values: Mapping[str, int]) -> np.ndarray:
    """Turn, cut, then recolour a frame; values at rest leave it as it is, byte for byte.

    Parameters
    ----------
    frame : uint8 [H, W, 3]
    values : a value for the name of every slider
        ``rotation`` turns clockwise about the centre and mirrors the skin at the border into the corners. ``zoom``
        keeps the centre, 100 / zoom of each side. ``brightness`` multiplies, ``saturation`` blends with the picture's
        grey (Pillow's Brightness and Color). ``warmth`` multiplies red by 1 + warmth / 100, blue by 1 - that.

    Returns
    -------
    ndarray, uint8 [h, w, 3]
    """
    if values["rotation"]:
        frame = _turn(frame, values["rotation"])
    if values["zoom"] != 100:
        frame = _centre(frame, *(max(1, round(side * 100 / values["zoom"])) for side in frame.shape[:2]))
    picture = Image.fromarray(frame)
    for enhance, name in ((ImageEnhance.Brightness, "brightness"), (ImageEnhance.Color, "saturation")):
        if values[name] != 100:
            picture = enhance(picture).enhance(values[name] / 100)
    if values["warmth"]:
        share = values["warmth"] / 100
        factors = (1 + share, 1, 1 - share)
        picture = picture.point([min(255, round(level * factor)) for factor in factors for level in range(256)])
    return np.asarray(picture)


def _turn(frame: np.ndarray, degrees: int) -> np.ndarray:
    """Turned clockwise, of the same size: black corners would be something else for the network to look at."""
    height, width = frame.shape[:2]
    diagonal = math.hypot(height, width)
    rows, columns = (math.ceil((diagonal - side) / 2) for side in (height, width))
    mirrored = np.pad(frame, ((rows, rows), (columns, columns), (0, 0)), mode="symmetric")
    turned = np.asarray(Image.fromarray(mirrored).rotate(-degrees, Image.Resampling.BILINEAR))
    return _centre(turned, height, width)


def _centre(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    top, left = (frame.shape[0] - height) // 2, (frame.shape[1] - width) // 2
    return np.ascontiguousarray(frame[top : top + height, left : left + width])
