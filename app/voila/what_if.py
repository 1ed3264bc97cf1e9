"""The what-if panel: sliders change an image, and the prediction follows; and what each slider does to it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import ipywidgets
import numpy as np
from PIL import Image, ImageEnhance

from app import pictures, present
from app.voila.parts import guarded, render
from app.words import in_words, text
from skinlesion.core import framing
from skinlesion.decision import NONE
from skinlesion.serving.predictor import Prediction, Predictor

POINTS = 21  # of a curve
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


class Curve(NamedTuple):
    """The malignant probability along one slider, the others held: ``shares`` of 1 at the slider's ``values``.

    A share is None where there is no advice.
    """

    slider: Slider
    values: list[int]
    shares: list[float | None]

    @property
    def lines(self) -> list[list[tuple[int, float]]]:
        """Values with their shares, in pieces that end where there is no advice."""
        found: list[list[tuple[int, float]]] = [[]]
        for value, share in zip(self.values, self.shares, strict=True):
            if share is None:
                found.append([])
            else:
                found[-1].append((value, share))
        return [line for line in found if line]


class WhatIf:
    """Sliders over one image. ``panel`` is the widget; :meth:`offer` says which images there are to change.

    The numbers follow every move at once. The curve, which takes ``POINTS`` predictions, is drawn point by point by a
    task of the kernel's event loop, between the moves.
    """

    def __init__(self, predictor: Predictor):
        self._predictor = predictor
        self._frames: list[np.ndarray] = []
        self._heard = True  # whether a control that changes has been changed by a person
        self._along = SLIDERS[0]
        self._drawn: tuple | None = None  # what the curve on show was computed from
        self._task: asyncio.Task | None = None
        self.image = ipywidgets.Dropdown(description=text("overview.image"))
        self.sliders = {slider.name: _control(slider) for slider in SLIDERS}
        self.reset = ipywidgets.Button(description=text("what_if.reset"), tooltip=text("what_if.reset_tip"))
        self.pictures, self.verdict, self.curve, self.table = (ipywidgets.HTML() for _ in range(4))
        self.panel = self._assemble()
        self.image.observe(guarded(self.verdict, self._choose), "index")
        self.reset.on_click(guarded(self.verdict, self._reset))
        for slider in SLIDERS:
            move = guarded(self.verdict, lambda _change, slider=slider: self._move(slider))
            self.sliders[slider.name].observe(move, "value")
        self.offer([])

    def _assemble(self) -> ipywidgets.Widget:
        head = ipywidgets.HTML(render("section", title=text("what_if.title"), lead=text("what_if.lead")))
        seen = ipywidgets.VBox([self.pictures, self.verdict])
        controls = ipywidgets.VBox([self.image, *self.sliders.values(), self.reset])
        parts = {"seen": seen, "controls": controls, "curve": self.curve, "table": self.table}
        panel = ipywidgets.VBox([head, *parts.values()])
        for name, widget in {**parts, "head": head, "live": self.verdict, "quiet": self.reset, "whatif": panel}.items():
            widget.add_class(f"lab-{name}")
        panel.add_class("card")
        return panel

    @property
    def values(self) -> dict[str, int]:
        return {name: control.value for name, control in self.sliders.items()}

    def offer(self, images: list[tuple[str, np.ndarray]]) -> None:
        """Titles and frames to choose from; the one chosen stays so if it is among them. None hides the panel."""
        chosen = self._frames[self.image.index] if self._frames else None
        self._frames = [frame for _, frame in images]
        index = next((i for i, frame in enumerate(self._frames) if frame is chosen), 0)
        with self._unheard():
            self.image.options = [(title, i) for i, (title, _) in enumerate(images)]
            self.image.index = index if images else None
        self.image.layout.display = None if len(images) > 1 else "none"
        self.panel.layout.display = None if images else "none"
        if images and self._frames[index] is not chosen:
            self._choose()

    def _choose(self, _change: dict | None = None) -> None:
        if not self._heard:
            return
        self._frame = working_copy(self._frames[self.image.index])
        self._unchanged = self._predict(NEUTRAL)
        self._drawn = None
        self._reset()

    def _reset(self, _button: ipywidgets.Button | None = None) -> None:
        with self._unheard():
            for name, value in NEUTRAL.items():
                self.sliders[name].value = value
        self._show()

    def _move(self, slider: Slider) -> None:
        if self._heard:
            self._along = slider
            self._show()

    def _show(self) -> None:
        values = self.values
        frame = apply(self._frame, values)
        now = self._predictor.predict([frame])[0]
        self._now = now
        moved = {"before": self._unchanged, "now": now}
        results = {name: present.result("", None, one, self._predictor.manifest) for name, one in moved.items()}
        self._digits = max(one.percents.digits for one in results.values())
        self.verdict.value = render("verdict", **results, changed=values != NEUTRAL)
        self.pictures.value = render(
            "pictures",
            original=pictures.preview(self._frame),
            picture=pictures.preview(frame),
            changes=[(s.label, s.text(values[s.name])) for s in SLIDERS if values[s.name] != s.neutral],
        )
        self.table.value = render(
            "moves",
            **moved,
            digits=self._digits,
            classes=sorted(
                map(in_words, self._predictor.manifest.labels), key=lambda d: -self._unchanged.probabilities[d.code]
            ),
            reduced=None if self._frame is self._frames[self.image.index] else self._frame.shape,
        )
        self._follow(values)

    def _follow(self, values: Mapping[str, int]) -> None:
        """The curve along the slider moved last: computed where it is another one than that on show."""
        held = {name: value for name, value in values.items() if name != self._along.name}
        wanted = (self._along, held)
        if wanted != self._drawn:
            if self._task:
                self._task.cancel()
            self._drawn, self._curve = wanted, Curve(self._along, [], [])
            self._task = asyncio.get_running_loop().create_task(self._draw(self._curve, held))
        self._show_curve()

    async def _draw(self, curve: Curve, held: Mapping[str, int]) -> None:
        for value in np.linspace(curve.slider.low, curve.slider.high, POINTS).round().astype(int).tolist():
            await asyncio.sleep(0.001)  # lets the next move of a slider through, which may cancel this
            prediction = self._predict({**held, curve.slider.name: value})
            curve.values.append(value)
            curve.shares.append(None if prediction.referral == NONE else prediction.malignant_probability)
            self._show_curve()

    def _show_curve(self) -> None:
        if self._now.referral == NONE:
            self.curve.value = ""
            return
        self.curve.value = render(
            "curve",
            curve=self._curve,
            whole=len(self._curve.values) == POINTS,
            here=self.sliders[self._along.name].value,
            now=self._now.malignant_probability,
            digits=self._digits,
            threshold=self._predictor.manifest.decision.referral_threshold,
            borderline=self._predictor.manifest.decision.borderline,
        )

    def _predict(self, values: Mapping[str, int]) -> Prediction:
        return self._predictor.predict([apply(self._frame, values)])[0]

    @contextmanager
    def _unheard(self):
        self._heard = False
        try:
            yield
        finally:
            self._heard = True


def _control(slider: Slider) -> ipywidgets.IntSlider:
    return ipywidgets.IntSlider(
        slider.neutral,
        slider.low,
        slider.high,
        description=text("what_if.slider", name=slider.label, unit=slider.unit),
        layout=ipywidgets.Layout(width="auto"),
        style={"description_width": "auto"},
    )


def working_copy(frame: np.ndarray) -> np.ndarray:
    """The frame, uint8 [H, W, 3], reduced where its longer side exceeds ``SIDE``, so that sliders respond at once."""
    height, width = frame.shape[:2]
    scale = SIDE / max(height, width)
    return frame if scale >= 1 else framing.resize(frame, (round(height * scale), round(width * scale)))


def apply(frame: np.ndarray, values: Mapping[str, int]) -> np.ndarray:
    """Turn, cut, then recolour a frame, uint8 [H, W, 3]; values at rest leave it as it is, byte for byte.

    There is a value for the name of every slider: ``rotation`` turns clockwise about the centre and mirrors the skin at
    the border into the corners. ``zoom`` keeps the centre, 100 / zoom of each side. ``brightness`` multiplies,
    ``saturation`` blends with the picture's grey (Pillow's Brightness and Color). ``warmth`` multiplies red by 1 +
    warmth / 100, blue by 1 - that.
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
