"""What a prediction says to a person: the one wording that the Flask page and the Voila view share."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from skinlesion.serving.manifest import Manifest
from skinlesion.serving.predictor import Prediction
from skinlesion.taxonomy import Diagnosis

PREVIEW_SIDE = 480  # pixels, the longer side

SYNTHETIC = (
    "This model was trained on synthetic demo images. It shows how the software works; "
    "what it says about real skin means nothing."
)
RESEARCH = (
    "Research software, no medical device. It replaces no examination; see a doctor about any lesion that worries you."
)
SCORES = (
    "Probabilities are calibrated: of all images that get 30%, about 30% are of that class. Decision scores weigh rare "
    "classes up, so that none is overlooked, and only serve to choose the class; they are no probabilities."
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
    """One image as the templates show it: an answer, or the ``error`` that says why there is none."""

    title: str
    error: str | None = None
    preview: str | None = None
    prediction: Prediction | None = None
    diagnosis: Diagnosis | None = None
    rows: tuple[Row, ...] = ()
    advice: str = ""
    reason: str = ""
    notices: tuple[str, ...] = ()


def result(title: str, frame: np.ndarray, prediction: Prediction, manifest: Manifest) -> Result:
    """Put a prediction into words; classes are ordered by probability."""
    rows = [
        Row(d, prediction.probabilities[d.code], prediction.scores[d.code], d.code == prediction.label)
        for d in manifest.labels
    ]
    rows.sort(key=lambda row: row.probability, reverse=True)
    return Result(
        title=title,
        preview=preview(frame),
        prediction=prediction,
        diagnosis=manifest.labels[prediction.label],
        rows=tuple(rows),
        advice="Refer to a dermatologist" if prediction.referral == "refer" else "Watch",
        reason=reason(prediction, manifest),
        notices=tuple(_notices(prediction, rows)),
    )


def reason(prediction: Prediction, manifest: Manifest) -> str:
    """Why "refer" or "watch", with what was measured at the operating point."""
    side = "at or above" if prediction.referral == "refer" else "below"
    text = (
        f"The probability of a malignant or pre-malignant lesion is {percent(prediction.malignant_probability)}, "
        f"{side} this model's operating point of {percent(manifest.referral['threshold'])}."
    )
    measured = [_measure(name, manifest.referral[name]) for name in ("sensitivity", "specificity")]
    measured = [part for part in measured if part]
    return f"{text} Measured there: {'; '.join(measured)}." if measured else text


def percent(share: float) -> str:
    """A share of 1 in per cent; neither all nor nothing unless it is."""
    if 0 < share < 0.001:
        return "under 0.1%"
    if 0.999 < share < 1:
        return "over 99.9%"
    return f"{share:.1%}"


def preview(frame: np.ndarray) -> str:
    """A frame, made small, as a ``data:`` URL: shown again without having been stored anywhere."""
    picture = Image.fromarray(frame)
    picture.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()


def _measure(name: str, figure: dict) -> str | None:
    if figure["value"] is None:
        return None
    text = f"{name} {percent(figure['value'])}"
    if figure["low"] is not None and figure["high"] is not None:
        text += f" (95% interval {percent(figure['low'])} to {percent(figure['high'])})"
    return f"{text} on {figure['n']} images"


def _notices(prediction: Prediction, rows: list[Row]) -> list[str]:
    notices = []
    if not prediction.in_domain:
        notices.append(
            "This image does not look like the dermatoscopic images the model has learnt from. "
            "Do not rely on this answer; check that it was taken through a dermatoscope and shows one lesion."
        )
    if not rows[0].chosen:
        notices.append(
            f"{rows[0].diagnosis.name} has the higher probability, {percent(rows[0].probability)}; "
            "the class above was chosen by the decision scores, which weigh rare classes up."
        )
    return notices
