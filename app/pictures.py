"""Pictures that people see: examples to try, a small copy of a frame, and the activation map that lies over it."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from app.words import text
from skinlesion.core.framing import region

EXAMPLE_FOLDER = Path(__file__).resolve().parent / "static" / "examples"

PREVIEW_SIDE = 960  # pixels, the longer side: enough to enlarge
MAP_SIDE = 96  # likewise; activation maps are coarse, and the browser enlarges this one smoothly

#: Five steps of viridis (bids.github.io/colormap, CC0): even in lightness, and safe for colour-blind readers.
VIRIDIS = np.array([(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)], float)


class Example(NamedTuple):
    """An image to try the page with: drawn, no photograph and nobody's skin; of the code's licence.

    It is ``skinlesion.draw_example(name, seed)`` as a JPEG of quality 85.
    """

    name: str
    seed: int

    @property
    def drawn_as(self) -> str:
        """What it was drawn as, in words."""
        return text(f"examples.{self.name}")

    @property
    def path(self) -> Path:
        return EXAMPLE_FOLDER / f"{self.name}.jpg"


EXAMPLES = (Example("nv", 5), Example("mel", 13), Example("vasc", 7), Example("akiec", 32))


def preview(frame: np.ndarray) -> str:
    """A frame, uint8 [H, W, 3], made small, as a ``data:`` URL: shown again without having been stored anywhere."""
    picture = Image.fromarray(frame)
    picture.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    return _url(picture, "JPEG", quality=85)


def overlay(activation: np.ndarray, shape: tuple[int, ...], fit: str, crops: int) -> str | None:
    """What lies over a frame to show where the evidence for a class is: the stronger, the yellower and denser.

    ``activation``: float [h, w], a class activation map. Only what speaks for the class is shown, relative to its own
    largest value; ``shape``: (H, W, ...) of the frame, in pixels; ``fit``, ``crops``: how the frame becomes the
    network's input, and how many crops: the map covers their region. Returns a PNG with the frame's proportions, as a
    ``data:`` URL; None where nothing speaks for the class.
    """
    if activation.max() <= 0:
        return None
    scale = MAP_SIDE / max(shape[:2])
    height, width = (max(1, round(side * scale)) for side in shape[:2])
    top, left, bottom, right = map(round, region(height, width, fit, crops))
    small = Image.fromarray((np.maximum(activation, 0) / activation.max()).astype(np.float32))
    inside = np.clip(np.asarray(small.resize((right - left, bottom - top), Image.Resampling.BICUBIC)), 0, 1)
    strength = np.zeros((height, width))
    strength[top:bottom, left:right] = inside
    steps = np.linspace(0, 1, len(VIRIDIS))
    color = [np.interp(strength, steps, channel) for channel in VIRIDIS.T]
    pixels = np.stack([*color, 255 * strength], axis=-1).round().astype(np.uint8)
    return _url(Image.fromarray(pixels), "PNG")


def _url(picture: Image.Image, format: str, **options) -> str:
    data = io.BytesIO()
    picture.save(data, format, **options)
    return data_url(f"image/{format.lower()}", data.getvalue())


def data_url(media: str, content: bytes) -> str:
    """A file inside the page that shows or offers it."""
    return f"data:{media};base64,{base64.b64encode(content).decode()}"
