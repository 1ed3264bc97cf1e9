"""How a canvas is photographed: framing, light, hair, gel, ruler, vignette, focus and noise."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from skinlesion.data.demo.drawing import SIDE, Canvas, noise, ramp

WIDTH, HEIGHT = 200, 150  # pixels
_MARGIN = 64  # pixels of mirrored skin around the canvas; the widest, most shifted frame reaches 61 over its edge

_x = np.arange(WIDTH, dtype=np.float32)[None, :] - (WIDTH - 1) / 2
_y = np.arange(HEIGHT, dtype=np.float32)[:, None] - (HEIGHT - 1) / 2


class Sitting:
    """A lesion in front of the camera; :meth:`photograph` takes one more picture of it.

    What belongs to the patient and the device (hairiness, colour of the light) is chosen once; framing, exposure, the
    hairs themselves and focus differ from picture to picture.
    """

    def __init__(self, canvas: Canvas):
        rng = self.rng = canvas.rng
        planes = [*np.clip(canvas.rgb() * 255 + 0.5, 0, 255).astype(np.uint8), (canvas.depth > 0) * np.uint8(255)]
        # The mask rides along as a fourth colour.
        self._skin = Image.merge("RGBX", [Image.fromarray(np.pad(plane, _MARGIN, mode="reflect")) for plane in planes])
        self._hairy = rng.random() < 0.38
        self._dark_hair = rng.random() < 0.75
        # Light: the pink, orange or bluish cast of a device, in log units of red, green and blue.
        warmth = np.clip(rng.normal(0, 0.07), -0.14, 0.12) * np.array([0.3, 1.0, 1.0])
        self._cast = warmth + rng.normal(0, (0.03, 0.025, 0.035))
        self._round_field = rng.random() < 0.13

    def photograph(self) -> tuple[np.ndarray, np.ndarray]:
        """One picture, uint8 [150, 200, 3], and the lesion's mask in it, bool [150, 200]."""
        rng = self.rng
        frame, mask = self._frame()
        light = np.empty((3, HEIGHT, WIDTH), np.float32)
        light[:] = np.asarray(frame).transpose(2, 0, 1)
        light *= self._illumination() * np.float32(1 / 255)
        if self._hairy:
            self._hairs(light)
        if rng.random() < 0.06:
            self._bubbles(light)
        if rng.random() < 0.07:
            self._ruler(light)
        if self._round_field:
            self._vignette(light)
        light += noise(rng, "grain", HEIGHT, WIDTH) * rng.uniform(0.004, 0.013)
        light *= 255
        light += 0.5
        return np.ascontiguousarray(np.clip(light, 0, 255, out=light).astype(np.uint8).transpose(1, 2, 0)), mask

    def _frame(self) -> tuple[Image.Image, np.ndarray]:
        rng = self.rng
        zoom, angle = math.exp(rng.uniform(-0.16, 0.2)), rng.uniform(-math.pi, math.pi)
        c, s = math.cos(angle) / zoom, math.sin(angle) / zoom
        flip = rng.choice((-1, 1))
        shift_x, shift_y = np.clip(rng.normal(0, (8, 5)), -16, 16)
        middle = SIDE / 2 + _MARGIN
        # Rows of the affine map from a pixel of the picture to one of the canvas.
        a, b, d, e = c * flip, -s, s * flip, c
        left = middle - a * (WIDTH / 2 + shift_x) - b * (HEIGHT / 2 + shift_y)
        top = middle - d * (WIDTH / 2 + shift_x) - e * (HEIGHT / 2 + shift_y)
        placed = self._skin.transform(
            (WIDTH, HEIGHT), Image.Transform.AFFINE, (a, b, left, d, e, top), Image.Resampling.BILINEAR
        )
        focus = ImageFilter.BoxBlur(rng.beta(1.5, 4) * 1.6)
        return placed.convert("RGB").filter(focus), np.asarray(placed)[..., 3] > 127

    def _illumination(self) -> np.ndarray:
        """Gain of every colour and pixel, [3, 150, 200]: cast, exposure, a slope and a fall-off towards the corners."""
        rng = self.rng
        gain = np.exp(self._cast + rng.normal(0, 0.02, 3) + rng.normal(0.02, 0.06)).astype(np.float32)
        slope_x, slope_y = (rng.normal(0, 0.04, 2) / (WIDTH / 2)).tolist()
        falloff = rng.uniform(0, 0.14) / (WIDTH**2 + HEIGHT**2) * 4
        return (1 + slope_x * _x + slope_y * _y - falloff * (_x**2 + _y**2)) * gain[:, None, None]

    def _sketch(self) -> tuple[Image.Image, ImageDraw.ImageDraw]:
        """A mask at twice the size, to draw antialiased lines on."""
        image = Image.new("L", (2 * WIDTH, 2 * HEIGHT))
        return image, ImageDraw.Draw(image)

    def _hairs(self, light: np.ndarray) -> None:
        rng = self.rng
        sketch, pen = self._sketch()
        lie = rng.uniform(0, math.pi)
        t = np.linspace(0, 1, 14)[:, None]
        for _ in range(int(rng.integers(2, 6) + rng.exponential(7))):
            start = rng.uniform((-40, -40), (2 * WIDTH + 40, 2 * HEIGHT + 40))
            angle, length = lie + rng.normal(0, 0.45), rng.uniform(60, 300)
            end = start + length * np.array([math.cos(angle), math.sin(angle)])
            knee = (start + end) / 2 + rng.normal(0, 0.24 * length, 2)
            curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * knee + t**2 * end
            pen.line(
                curve.ravel().tolist(),
                fill=int(rng.integers(90, 230)),
                width=int(rng.choice((1, 2, 3), p=(0.4, 0.45, 0.15))),
            )
        alpha = np.asarray(sketch.reduce(2), np.float32) * (1 / 255)
        tone = rng.uniform(0.08, 0.3) if self._dark_hair else rng.uniform(0.7, 0.9)
        color = tone * np.array([1.0, 0.86, 0.74] if self._dark_hair else [1.0, 0.9, 0.72], np.float32)[:, None, None]
        light += alpha * (0.85 if self._dark_hair else 0.45) * (color - light)

    def _bubbles(self, light: np.ndarray) -> None:
        """Air in the gel: a bright rim, a faint dark one, and a lit spot."""
        for _ in range(int(self.rng.integers(1, 7))):
            x, y = self.rng.uniform((-90, -65), (90, 65)).tolist()
            radius = self.rng.uniform(2, 9)
            away = np.sqrt((_x - x) ** 2 + (_y - y) ** 2) - radius
            rim = np.exp(-((away / 0.9) ** 2)) * ramp((_x - x) + (_y - y), radius, -radius)
            light += 0.22 * rim - 0.07 * np.exp(-((away - 1.5) ** 2))
            spot = np.exp(-((_x - x + radius / 2) ** 2 + (_y - y + radius / 2) ** 2) / 1.5)
            light += 0.25 * spot

    def _ruler(self, light: np.ndarray) -> None:
        """Millimetre ticks in a corner."""
        rng = self.rng
        sketch, pen = self._sketch()
        step, angle, length = rng.uniform(11, 20), rng.uniform(-0.5, 0.5), rng.uniform(12, 20)
        x, y = rng.choice((0, 2 * WIDTH - 110)) + rng.uniform(0, 20), rng.choice((6, 2 * HEIGHT - 30))
        for tick in range(int(rng.integers(4, 9))):
            left, top = x + tick * step * math.cos(angle), y + tick * step * math.sin(angle)
            pen.line((left, top, left - length * math.sin(angle), top + length * math.cos(angle)), fill=220, width=3)
        light *= 1 - np.asarray(sketch.reduce(2), np.float32) * (0.9 / 255)

    def _vignette(self, light: np.ndarray) -> None:
        """The black corners of a device with a round field."""
        x, y = self.rng.normal(0, 5, 2).tolist()
        radius, soft = self.rng.uniform(94, 122), self.rng.uniform(3, 10)
        away = np.sqrt((_x - x) ** 2 + (_y - y) ** 2)
        light *= 1 - 0.94 * ramp(away, radius - soft, radius + soft)
        light *= 1 - 0.25 * ramp(away, 0.55 * radius, radius)
