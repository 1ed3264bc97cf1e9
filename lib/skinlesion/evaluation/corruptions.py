"""Dermatoscopic images made worse on purpose, one way at a time, in five severities (after Hendrycks and Dietterich
2019, arXiv:1903.12261; their levels are for photos, these for dermatoscopy).

Needs NumPy and Pillow only, and works on frames of any size: lengths are in sides, that is, fractions of the shorter
one. What is drawn at random depends on the seed and the image's id alone, so that the severities of one image have the
same hairs in the same places, only more of them. Training with
:mod:`skinlesion.training.inputs.degrade` has other forms of some of these.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from skinlesion.core import framing, images

SEVERITIES = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Corruption:
    """One way to make an image worse."""

    about: str  # what ``levels`` count, for people
    levels: tuple[float, float, float, float, float]  # from mild to severe
    #: (float32 [H, W, 3] in 0-1, level, generator) -> the same shape; may overshoot 0-1
    change: Callable[[np.ndarray, float, np.random.Generator], np.ndarray]


def corrupt(frame: np.ndarray, name: str, severity: int, *, image_id: str, seed: int = 0) -> np.ndarray:
    """One corruption of one image, uint8 [H, W, 3] before and after.

    ``name``: a key of :data:`CORRUPTIONS` or :data:`MOVEMENTS`; ``severity``: 1 (mild) to 5; ``image_id`` and ``seed``
    decide what is drawn at random.
    """
    kind = (CORRUPTIONS | MOVEMENTS)[name]
    rng = np.random.default_rng([seed, zlib.crc32(f"{name}/{image_id}".encode())])
    changed = kind.change(frame.astype(np.float32) / 255, kind.levels[severity - 1], rng)
    return _to_bytes(changed)


def _to_bytes(image: np.ndarray) -> np.ndarray:
    return np.floor(np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


# --- the camera ------------------------------------------------------------------------------------------------------


def _noise(image: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    return image + sigma * rng.standard_normal(image.shape, np.float32)


def _blur(image: np.ndarray, sides: float, rng: np.random.Generator) -> np.ndarray:
    radius = sides * min(image.shape[:2])
    return _from_picture(Image.fromarray(_to_bytes(image)).filter(ImageFilter.GaussianBlur(radius)))


def _jpeg(image: np.ndarray, quality: float, rng: np.random.Generator) -> np.ndarray:
    file = images.encode(Image.fromarray(_to_bytes(image)), "JPEG", quality=round(quality))
    return images.decode(file).astype(np.float32) / 255


def _brightness(image: np.ndarray, stops: float, rng: np.random.Generator) -> np.ndarray:
    return image * np.float32(2.0 ** (stops * rng.choice((-1, 1))))


def _contrast(image: np.ndarray, kept: float, rng: np.random.Generator) -> np.ndarray:
    middle = image.mean()
    return middle + np.float32(kept) * (image - middle)


def _color_cast(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Gains that keep their mean at 1 and point in a random direction of hue."""
    hue = rng.uniform(0, 2 * math.pi) + np.array([0, 2, 4]) * math.pi / 3
    return image * (1 + strength * np.cos(hue)).astype(np.float32)


def _zoom(image: np.ndarray, factor: float, rng: np.random.Generator) -> np.ndarray:
    height, width = image.shape[:2]
    top, left = height / 2 * (1 - 1 / factor), width / 2 * (1 - 1 / factor)
    box = (top, left, height - top, width - left)
    return framing.resize(_to_bytes(image), (height, width), box).astype(np.float32) / 255


def _vignette(image: np.ndarray, loss: float, rng: np.random.Generator) -> np.ndarray:
    """A dark rim: light falls to nothing outside a circle that leaves ``1 - loss`` of the diagonal."""
    row, column = rng.uniform(-0.05, 0.05, 2)
    distance = _distance(image, row, column) / (math.hypot(*image.shape[:2]) / min(image.shape[:2]) / 2)
    return image * np.clip((1 - loss - distance) / 0.12 + 0.5, 0, 1)[..., None]


# --- things in the way -----------------------------------------------------------------------------------------------


def _hair(image: np.ndarray, count: float, rng: np.random.Generator) -> np.ndarray:
    """Dark hairs, curved, that lie roughly in one direction."""
    sheet = _Sheet(image)
    lie, tone = rng.uniform(0, math.pi), rng.uniform(0.05, 0.25)
    t = np.linspace(0, 1, 16)[:, None]
    for _ in range(int(count)):
        angle, length = lie + rng.normal(0, 0.4), rng.uniform(0.4, 1.4)
        start = rng.uniform(-0.2, 1.2, 2) * sheet.extent
        end = start + length * np.array([math.cos(angle), math.sin(angle)])
        knee = (start + end) / 2 + rng.normal(0, 0.15 * length, 2)
        sheet.line((1 - t) ** 2 * start + 2 * t * (1 - t) * knee + t**2 * end, width=rng.uniform(0.004, 0.012))
    return sheet.over(image, tone * np.array([1.0, 0.86, 0.74]), 0.9)


def _ruler(image: np.ndarray, reach: float, rng: np.random.Generator) -> np.ndarray:
    """A scale along one edge, every fifth tick longer, with ``reach`` sides of the frame under it."""
    sheet = _Sheet(image)
    step, low = rng.uniform(0.03, 0.05), rng.random() < 0.5
    across, along = (1.0, sheet.extent[0]) if rng.random() < 0.5 else (sheet.extent[0], 1.0)
    for tick in range(int(along / step) + 1):
        depth = reach * (1.0 if tick % 5 == 0 else 0.6)
        ends = np.array([[tick * step, 0.0], [tick * step, depth]])
        if low:
            ends[:, 1] = across - ends[:, 1]
        sheet.line(ends if along == sheet.extent[0] else ends[:, ::-1], width=0.008)
    return sheet.over(image, np.array([0.06, 0.06, 0.08]), 0.95)


def _ink(image: np.ndarray, strokes: float, rng: np.random.Generator) -> np.ndarray:
    """Strokes of a surgeon's violet marker on a ring round the middle."""
    sheet = _Sheet(image)
    turn, radius = rng.uniform(0, 2 * math.pi), rng.uniform(0.36, 0.46)
    for stroke in range(int(strokes)):
        middle = turn + stroke * 2.399963  # the golden angle: spread evenly however many there are
        angle = middle + np.linspace(-0.25, 0.25, 12) * rng.uniform(0.6, 1.4)
        place = (radius + rng.normal(0, 0.015)) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        sheet.line(sheet.extent / 2 + place, width=rng.uniform(0.025, 0.04))
    return sheet.over(image, np.array([0.25, 0.12, 0.45]), 0.75)


def _bubbles(image: np.ndarray, count: float, rng: np.random.Generator) -> np.ndarray:
    """Air in the gel: a bright rim, a faint dark one round it, and a lit spot."""
    image = image.copy()
    extent = np.array([image.shape[1], image.shape[0]]) / min(image.shape[:2])
    for _ in range(int(count)):
        x, y = (rng.uniform(0, 1, 2) - 0.5) * extent
        radius = rng.uniform(0.015, 0.09)
        away = _distance(image, y, x) - radius
        spot = _distance(image, y - radius / 2.5, x - radius / 2.5)
        light = 0.35 * np.exp(-((away / 0.008) ** 2)) - 0.15 * np.exp(-(((away - 0.014) / 0.01) ** 2))
        image += (light + 0.5 * np.exp(-((spot / 0.01) ** 2))).astype(np.float32)[..., None]
    return image


class _Sheet:
    """A mask over a frame, drawn at twice its size so that lines are antialiased; positions (x, y) in sides."""

    def __init__(self, image: np.ndarray):
        height, width = image.shape[:2]
        self._scale = 2 * min(height, width)
        self.extent = np.array([width, height]) / min(height, width)
        self._mask = Image.new("L", (2 * width, 2 * height))
        self._pen = ImageDraw.Draw(self._mask)

    def line(self, points: np.ndarray, width: float) -> None:
        pixels = max(1, round(width * self._scale))
        self._pen.line((points * self._scale).ravel().tolist(), fill=255, width=pixels, joint="curve")

    def over(self, image: np.ndarray, color: np.ndarray, opacity: float) -> np.ndarray:
        covered = np.asarray(self._mask.reduce(2), np.float32)[..., None] * np.float32(opacity / 255)
        return image + covered * (color.astype(np.float32) - image)


# --- movements, which should not change the prediction -------------------------------------------------------------


def _rotate(image: np.ndarray, degrees: float, rng: np.random.Generator) -> np.ndarray:
    """Turned about the middle, either way; what comes in at the corners is mirrored skin."""
    height, width = image.shape[:2]
    margin = math.ceil((math.hypot(height, width) - min(height, width)) / 2)
    picture = Image.fromarray(np.pad(_to_bytes(image), ((margin, margin), (margin, margin), (0, 0)), mode="symmetric"))
    turned = picture.rotate(degrees * rng.choice((-1, 1)), Image.Resampling.BICUBIC)
    return _from_picture(turned.crop((margin, margin, margin + width, margin + height)))


def _shift(image: np.ndarray, sides: float, rng: np.random.Generator) -> np.ndarray:
    """Moved in a random direction, by whole pixels; what comes in is mirrored skin."""
    height, width = image.shape[:2]
    angle, far = rng.uniform(0, 2 * math.pi), sides * min(height, width)
    down, right = round(far * math.sin(angle)), round(far * math.cos(angle))
    margin = math.ceil(far)
    padded = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), mode="symmetric")
    top, left = margin + down, margin + right
    return padded[top : top + height, left : left + width]


def _distance(image: np.ndarray, row: float, column: float) -> np.ndarray:
    """Of every pixel from (``row``, ``column``), in sides from the middle: float64 [H, W]."""
    height, width = image.shape[:2]
    side = min(height, width)
    down = (np.arange(height) + 0.5 - height / 2) / side - row
    right = (np.arange(width) + 0.5 - width / 2) / side - column
    return np.sqrt(down[:, None] ** 2 + right[None, :] ** 2)


def _from_picture(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture, np.float32) / 255


#: Poorer images of the same lesion.
CORRUPTIONS = {
    "noise": Corruption("standard deviation, of full scale", (0.02, 0.04, 0.08, 0.12, 0.18), _noise),
    "blur": Corruption("sigma, in sides", (0.005, 0.01, 0.015, 0.025, 0.04), _blur),
    "jpeg": Corruption("JPEG quality", (50, 30, 20, 10, 5), _jpeg),
    "brightness": Corruption("stops darker or brighter", (0.2, 0.4, 0.6, 0.9, 1.2), _brightness),
    "contrast": Corruption("fraction of the contrast left", (0.8, 0.6, 0.45, 0.3, 0.2), _contrast),
    "colour cast": Corruption("largest gain or loss of a channel", (0.05, 0.1, 0.15, 0.25, 0.35), _color_cast),
    "zoom": Corruption("factor", (1.1, 1.25, 1.5, 1.75, 2.0), _zoom),
    "hair": Corruption("hairs", (4, 8, 16, 32, 64), _hair),
    "ruler": Corruption("length of the long ticks, in sides", (0.06, 0.1, 0.15, 0.22, 0.3), _ruler),
    "ink": Corruption("strokes", (1, 2, 4, 7, 12), _ink),
    "vignette": Corruption("fraction of the half diagonal that is dark", (0.1, 0.2, 0.3, 0.4, 0.5), _vignette),
    "bubbles": Corruption("bubbles", (3, 6, 12, 24, 48), _bubbles),
}

#: The same image held differently: the prediction should not change.
MOVEMENTS = {
    "rotation": Corruption("degrees", (5, 15, 30, 45, 90), _rotate),
    "shift": Corruption("sides", (0.01, 0.02, 0.04, 0.07, 0.1), _shift),
}
