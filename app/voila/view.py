"""The view: images chosen or tried, a result for each, a comparison of several, and the what-if."""

from __future__ import annotations

import os
from typing import NamedTuple

import ipywidgets
import numpy as np
from markupsafe import escape

from app import pictures, present, similar
from app.voila.parts import HERE, guarded, render
from app.voila.what_if import WhatIf
from app.words import in_words, text
from skinlesion.core import images
from skinlesion.core.errors import SkinLesionError
from skinlesion.serving.neighbours import INDEX, Neighbours
from skinlesion.serving.predictor import Prediction, Predictor, mean_prediction

MODEL = "SKINLESION_MODEL"  # the environment variable that names the model's folder; empty for the shipped model
MAX_IMAGES = 10  # at a time, as many as the page's form takes


class Outcome(NamedTuple):
    """One image of the view: its frame and prediction, or the error that says why there is none."""

    title: str
    frame: np.ndarray | None
    prediction: Prediction | None
    error: str | None = None


def _usable(outcomes: list[Outcome]) -> list[tuple[str, np.ndarray, Prediction]]:
    """Title, frame and prediction of those that have one."""
    return [(a.title, a.frame, a.prediction) for a in outcomes if a.frame is not None and a.prediction is not None]


def open_view() -> ipywidgets.Widget:
    """The view for the environment's model; where there is none, what to do about it."""
    try:
        predictor = Predictor.load(os.environ.get(MODEL) or None)
        place = os.environ.get(INDEX)
        return View(predictor, Neighbours.load(place, predictor.manifest) if place else None).page
    except SkinLesionError as error:
        return ipywidgets.HTML(render("no_model", style=_style(), error=error))


class View:
    """Everything on the page; ``page`` is the widget. What it shows follows from what is chosen, and nothing else."""

    def __init__(self, predictor: Predictor, index: Neighbours | None = None):
        self._predictor, self._index = predictor, index
        self._known: dict[str, Outcome] = {}  # examples classified before
        self._uploaded: list[Outcome] = []
        self._results: list[present.Result] = []  # what the cards show, in the order of ``outcomes``
        self.upload = ipywidgets.FileUpload(
            accept=",".join(f"image/{name.lower()}" for name in images.FORMATS),
            multiple=True,
            description=text("voila.choose"),
            icon="",
            tooltip=text("voila.choose_tip"),
        )
        self.tries = {
            example.name: ipywidgets.ToggleButton(
                description=example.drawn_as, tooltip=text("voila.try_tip", name=example.drawn_as)
            )
            for example in pictures.EXAMPLES
        }
        self.clear = ipywidgets.Button(description=text("voila.clear"), tooltip=text("voila.clear_tip"))
        self.status, self.cards, self.comparison = (ipywidgets.HTML() for _ in range(3))
        self.together = ipywidgets.Checkbox(description=text("voila.together"), indent=False)
        heading = ipywidgets.HTML(render("section", title=text("voila.compare"), id="comparison"))
        self.compare = ipywidgets.VBox([heading, self.together, self.comparison])
        self.whatif = WhatIf(predictor)
        self.page = self._assemble()
        self.upload.observe(guarded(self.status, self._take), "value")
        self.together.observe(guarded(self.status, lambda _change: self._show_comparison()), "value")
        self.clear.on_click(guarded(self.status, self._clear))
        for button in self.tries.values():
            button.observe(guarded(self.status, lambda _change: self._show()), "value")
        self._show()

    def _assemble(self) -> ipywidgets.Widget:
        manifest = self._predictor.manifest
        head = render(
            "head",
            style=_style(),
            manifest=manifest,
            measured=present.measured(manifest),
            formats=images.format_names(),
            most=MAX_IMAGES,
            most_bytes=images.MAX_BYTES,
        )
        tries = ipywidgets.HBox([_try(example, self.tries[example.name]) for example in pictures.EXAMPLES])
        words = ipywidgets.HTML(f"<p>{escape(text('voila.try'))}</p>")
        choose = ipywidgets.VBox([self.upload, words, tries, self.clear])
        page = ipywidgets.VBox(
            [ipywidgets.HTML(head), choose, self.status, self.cards, self.compare, self.whatif.panel]
        )
        for widget, name in (
            (choose, "choose"), (tries, "tries"), (self.clear, "quiet"), (self.status, "live"), (self.status, "status"),
        ):  # fmt: skip
            widget.add_class(f"lab-{name}")
        for widget in (choose, self.compare):
            widget.add_class("card")
        return page

    @property
    def outcomes(self) -> list[Outcome]:
        """All images of the view: what was uploaded, then the examples that are pressed."""
        return [*self._uploaded, *(self._known[name] for name, button in self.tries.items() if button.value)]

    def _take(self, change: dict) -> None:
        files = change["new"]
        self._uploaded = []
        for number, file in enumerate(files[:MAX_IMAGES], start=1):
            self.status.value = f"<p>{escape(text('voila.working', number=number, total=len(files)))}</p>"
            self._uploaded.append(self._classify(file["name"], bytes(file["content"])))
        self._uploaded += [
            Outcome(file["name"], None, None, text("voila.too_many", most=MAX_IMAGES)) for file in files[MAX_IMAGES:]
        ]
        self._show()

    def _classify(self, title: str, data: bytes) -> Outcome:
        try:
            frame = images.decode(data, sufficient_side=self._predictor.manifest.sufficient_side)
            wanted = self._index is not None
            return Outcome(title, frame, self._predictor.predict([frame], features=wanted)[0])
        except SkinLesionError as error:  # raised in a callback, anything would go unseen
            return Outcome(title, None, None, str(error))

    def _clear(self, _button: ipywidgets.Button) -> None:
        self._uploaded = []
        self.upload.value = ()
        for button in self.tries.values():
            button.value = False
        self._show()

    def _show(self) -> None:
        for example in pictures.EXAMPLES:
            if self.tries[example.name].value and example.name not in self._known:
                data = example.path.read_bytes()
                self._known[example.name] = self._classify(text("example", name=example.drawn_as), data)
        outcomes = self.outcomes
        self._results = [self._result(each) for each in outcomes]
        self.cards.value = render("cards", results=self._results, manifest=self._predictor.manifest)
        usable = _usable(outcomes)
        done = text("voila.done", usable=len(usable), total=len(outcomes))
        self.status.value = f"<p>{escape(done)}</p>" if outcomes else ""
        self.clear.layout.display = None if outcomes else "none"
        self._show_comparison()
        self.whatif.offer([(f"{i}. {title}", frame) for i, (title, frame, _) in enumerate(usable, start=1)])

    def _show_comparison(self) -> None:
        usable = _usable(self.outcomes)
        self.compare.layout.display = None if len(usable) > 1 else "none"
        if len(usable) < 2:
            return
        manifest = self._predictor.manifest
        columns = [result for result in self._results if result.prediction]
        if self.together.value:
            averaged = [prediction for _, _, prediction in usable]
            average = mean_prediction(averaged, manifest)
            title = text("average", n=len(usable))
            columns.append(present.result(title, None, average, manifest, averaged=averaged))
        self.comparison.value = render("comparison", columns=columns, classes=list(map(in_words, manifest.labels)))

    def _result(self, outcome: Outcome) -> present.Result:
        title, frame, prediction, error = outcome
        if frame is None or prediction is None:
            return present.Result(title, error=error)
        cases = similar.shown(self._index, prediction, frame, (title,))
        return present.result(title, frame, prediction, self._predictor.manifest, cases)


def _try(example: pictures.Example, button: ipywidgets.ToggleButton) -> ipywidgets.Widget:
    picture = pictures.preview(images.read_image(example.path))
    return ipywidgets.VBox([ipywidgets.HTML(f'<img src="{picture}" alt="">'), button])


def _style() -> str:
    sheets = (HERE.parent / "static" / "result.css", HERE / "widget.css")
    return "\n".join(sheet.read_text(encoding="utf-8") for sheet in sheets)
