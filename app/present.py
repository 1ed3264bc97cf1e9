"""A prediction in words for people: the one wording that the Flask page and the Voila view share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app import pictures
from skinlesion.core.taxonomy import Diagnosis
from skinlesion.serving.manifest import Manifest
from skinlesion.serving.predictor import Prediction

#: Below it, the most probable class is more likely wrong than right.
UNSURE = 0.5

SYNTHETIC = (
    "This model was trained on synthetic demo images. It shows how the software works; "
    "its predictions for real skin mean nothing."
)
RESEARCH = (
    "Research software, not a medical device. It does not replace an examination; "
    "see a doctor about any lesion that worries you."
)
SCORES = (
    "Probabilities are calibrated on images like the training images: "
    "of all that get 30%, about 30% are of that class. Decision scores give rare classes more weight, "
    "so that none is overlooked, and serve only to choose the class; they are not probabilities."
)


@dataclass(frozen=True)
class Row:
    """One class of one prediction."""

    diagnosis: Diagnosis
    probability: float
    score: float
    chosen: bool


@dataclass(frozen=True)
class Result:
    """One image as the templates show it: a prediction, or the ``error`` that says why there is none.

    ``warning`` says why not to rely on the result at all, ``notices`` what else to know before believing it.
    ``preview`` and ``overlay`` are ``data:`` URLs. An average of several images has neither; an ``overlay`` is
    missing too where the network has no activation map, or nothing in it speaks for the class.
    """

    title: str
    error: str | None = None
    preview: str | None = None
    prediction: Prediction | None = None
    diagnosis: Diagnosis | None = None
    rows: tuple[Row, ...] = ()
    advice: str = ""
    reason: str = ""
    warning: str = ""
    notices: tuple[str, ...] = ()
    overlay: str | None = None
    measured: str = ""
    referral_threshold: float = 0.0


def result(title: str, frame: np.ndarray | None, prediction: Prediction, manifest: Manifest) -> Result:
    """Put a prediction into words; classes are ordered by probability. ``frame`` is None for an average."""
    rows = [
        Row(d, prediction.probabilities[d.code], prediction.scores[d.code], d.code == prediction.label)
        for d in manifest.labels
    ]
    rows.sort(key=lambda row: row.probability, reverse=True)
    overlay = None
    if frame is not None and prediction.map is not None:
        overlay = pictures.overlay(prediction.map, frame.shape, manifest.fit, manifest.crops)
    return Result(
        title=title,
        preview=None if frame is None else pictures.preview(frame),
        prediction=prediction,
        diagnosis=manifest.labels[prediction.label],
        rows=tuple(rows),
        advice=_advice(prediction),
        reason=reason(prediction, manifest),
        warning="" if prediction.in_domain else _warning(several=frame is None),
        notices=tuple(_notices(prediction, rows)),
        overlay=overlay,
        measured=measured(manifest),
        referral_threshold=manifest.decision.referral_threshold,
    )


def _advice(prediction: Prediction) -> str:
    if prediction.referral == "refer":
        return "Refer to a dermatologist"
    return "Watch for changes" if prediction.in_domain else "Watch, as far as this result can be relied on"


def reason(prediction: Prediction, manifest: Manifest) -> str:
    """Why "refer" or "watch", in one sentence."""
    side = "at or above" if prediction.referral == "refer" else "below"
    return (
        f"The probability of a malignant or pre-malignant lesion is {percent(prediction.malignant_probability)}, "
        f"{side} this model's referral threshold of {percent(manifest.decision.referral_threshold)}."
    )


def measured(manifest: Manifest) -> str:
    """What the referral threshold was measured to do, on which images; empty where nothing was measured."""
    figures = [_figure(name, manifest.referral[name]) for name in ("sensitivity", "specificity")]
    parts = [figure for figure in figures if figure]
    if not parts:
        return ""
    text = f"Measured at this threshold: {'; '.join(parts)}."
    if manifest.content.get("measured_on") == "validation":
        text += " These are the validation images that the threshold was chosen on, so the figures are optimistic."
    return text


def percent(share: float) -> str:
    """A share of 1 in per cent; neither all nor nothing unless it is."""
    if 0 < share < 0.001:
        return "under 0.1%"
    if 0.999 < share < 1:
        return "over 99.9%"
    return f"{share:.1%}"


def _figure(name: str, figure: dict) -> str | None:
    if figure["value"] is None:
        return None
    text = f"{name} {percent(figure['value'])}"
    if figure["low"] is not None and figure["high"] is not None:
        text += f" (95% interval {percent(figure['low'])} to {percent(figure['high'])})"
    return f"{text} on {figure['n']:,} images"


def _warning(*, several: bool) -> str:
    which = "At least one of these images" if several else "This image"
    return (
        f"{which} does not look like the dermatoscopic images that the model was trained on. "
        "Do not rely on this result; check that it was taken through a dermatoscope and shows one lesion."
    )


def _notices(prediction: Prediction, rows: list[Row]) -> list[str]:
    notices = []
    top = rows[0]
    if top.probability < UNSURE:
        notices.append(
            f"The model is unsure: even its most probable class, {top.diagnosis.name}, has only "
            f"{percent(top.probability)}, so it is more likely wrong than right."
        )
    if not top.chosen:
        notices.append(
            f"The most probable class is {top.diagnosis.name}, {percent(top.probability)}. "
            f"{prediction.name}, {percent(prediction.probability)}, was chosen by the decision scores, "
            "which give rare classes more weight."
        )
    return notices
