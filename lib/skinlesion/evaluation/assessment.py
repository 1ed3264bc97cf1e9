"""Everything that predictions alone can tell, gathered once: for the command, the report and the notebook."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from skinlesion.evaluation.bootstrap import describe
from skinlesion.evaluation.metrics import evaluate, ties
from skinlesion.evaluation.net_benefit import decision_curve
from skinlesion.evaluation.operating import (
    QUESTIONS,
    OperatingPoint,
    ask,
    operating_point,
    operating_points,
    points_on_the_curve,
)
from skinlesion.evaluation.predictions import Predictions

FEW = 30  # images of a class below which its figures say little

#: What the plain words speak of: the threshold that the apps choose, unless another was asked for.
MAIN_AIM = "sensitivity 0.90"

PREVALENCE = 0.02  # of malignant lesions: that of a screening clinic rather than of a data set

#: The decision curves: both questions on these images, and the first one moved to another prevalence.
CURVES = QUESTIONS | {"malignant_elsewhere": "Malignant against benign, elsewhere"}

#: What has to be said where thresholds have nothing to be chosen on.
NOT_CHOSEN = (
    "No threshold was chosen: there are no validation rows to choose one on. Sensitivity at a given specificity, and "
    "the reverse, are read off the ROC curve of these very images: a description, no forecast of what a threshold does."
)


@dataclass(frozen=True, eq=False)
class Assessment:
    """What :func:`assess` finds.

    Attributes
    ----------
    judged : Predictions
        The rows that all figures rest on: one split, or all of them where no splits are named.
    metrics : dict, see :func:`skinlesion.evaluation.metrics.evaluate`
    points : {question: {aim: OperatingPoint}}
        Thresholds chosen on validation, as they do on the judged rows; empty without validation rows.
    on_the_curve : {question: {aim: metric}}
        The descriptive stand-in where ``points`` is empty.
    referral : OperatingPoint or None
        The threshold that the apps use, or the like: what the plain words speak of.
    curves : {question: DataFrame}
        Decision curves, see :data:`CURVES`; empty for decision scores.
    notes : tuple of str
    """

    judged: Predictions
    metrics: dict
    points: dict[str, dict[str, OperatingPoint]]
    on_the_curve: dict[str, dict[str, dict]]
    referral: OperatingPoint | None
    curves: dict[str, pd.DataFrame]
    notes: tuple[str, ...]

    def to_dict(self) -> dict:
        """``metrics.json``: the metrics, and beside them what thresholds do, the decision curves and the notes."""
        points = {
            question: {aim: asdict(point) for aim, point in by_aim.items()} for question, by_aim in self.points.items()
        }
        return self.metrics | {
            "operating_points": {"chosen_on": "validation", "points": points} if points else None,
            "on_the_roc_curve": self.on_the_curve or None,
            "referral": asdict(self.referral) if self.referral else None,
            "decision_curves": {
                question: curve.attrs | {"curve": curve.to_dict("records")} for question, curve in self.curves.items()
            },
            "notes": list(self.notes),
        }


def assess(
    everything: Predictions,
    *,
    split: str = "test",
    referral_threshold: float | None = None,
    prevalence: float = PREVALENCE,
    replicates: int = 2000,
    seed: int = 0,
) -> Assessment:
    """Judge one split (all rows where no splits are named); thresholds are chosen on the validation rows alone.

    Parameters
    ----------
    everything : Predictions
    split : str
        With ``"validation"``, no threshold is chosen, for it would be judged by the images that chose it.
    referral_threshold : float
        On the malignant probability, chosen before these images were seen. Where None, the threshold that finds 90% of
        the malignant validation images.
    prevalence : float in (0, 1)
        Fraction of malignant lesions in the population that the last of :data:`CURVES` speaks of.

    Raises
    ------
    DataError
        If there are splits, but not this one.
    """
    judged = everything.of(split) if (everything.split != "").any() else everything
    validation = (everything.split == "validation") & (split != "validation")
    points = operating_points(everything.take(validation), judged, replicates, seed) if validation.any() else {}
    asked = {question: ask(judged, question) for question in QUESTIONS}
    both = {question: one for question, one in asked.items() if 0 < one[1].sum() < len(judged)}
    referral: OperatingPoint | None
    if referral_threshold is not None:
        referral = operating_point(*asked["malignant"], referral_threshold, judged.lesions, replicates, seed)
    else:
        referral = points["malignant"][MAIN_AIM] if "malignant" in points else None
    curves = _curves(judged, both, prevalence, replicates, seed) if judged.are_probabilities else {}
    return Assessment(
        judged=judged,
        metrics=evaluate(judged, replicates, seed),
        points=points,
        on_the_curve={}
        if points
        else {question: points_on_the_curve(*one, judged.lesions, replicates, seed) for question, one in both.items()},
        referral=referral,
        curves=curves,
        notes=_notes(judged, chosen_threshold=referral is not None),
    )


def _curves(
    judged: Predictions,
    asked: dict[str, tuple[np.ndarray, np.ndarray]],
    prevalence: float,
    replicates: int,
    seed: int,
) -> dict[str, pd.DataFrame]:
    def curve(question: str, prevalence: float | None = None) -> pd.DataFrame:
        probability, positive = asked[question]
        return decision_curve(
            probability, positive, judged.lesions, prevalence=prevalence, replicates=replicates, seed=seed
        )

    curves = {question: curve(question) for question in asked}
    if "malignant" in asked:
        curves["malignant_elsewhere"] = curve("malignant", prevalence)
    return curves


def _notes(judged: Predictions, *, chosen_threshold: bool) -> tuple[str, ...]:
    """What has to be said before any figure is read."""
    notes = [*judged.notes]
    if not judged.has_lesions:
        notes.append(
            "No lesion ids are known: images count as independent, so the intervals are too narrow where lesions have "
            "several images."
        )
    if not chosen_threshold:
        notes.append(NOT_CHOSEN)
    counts = np.bincount(judged.y, minlength=len(judged.labels))
    few = [f"{code} ({n})" for code, n in zip(judged.labels.codes, counts, strict=True) if n < FEW]
    if few:
        notes.append(f"Fewer than {FEW} images: {', '.join(few)}. Figures of these kinds are little more than a hint.")
    tied, official = ties(judged)
    if tied:
        notes.append(
            f"In {tied:,} images two classes share the highest score; the first one is taken. The official scorer "
            f"counts those as wrong, which makes the balanced accuracy {official:.3f}."
        )
    return tuple(notes)


def answer(assessment: Assessment) -> str:
    """How good, where weakest, and what it would do: one paragraph in plain words."""
    judged, metrics = assessment.judged, assessment.metrics
    per_class = metrics["per_class"]
    known = {
        code: per_class[code]["sensitivity"] for code in judged.labels.codes if per_class[code]["sensitivity"]["n"]
    }
    worst = min(known, key=lambda code: known[code]["value"])
    text = (
        f"When it has to name one kind, it is right for {describe(metrics['balanced_accuracy'])} of the images, each "
        "kind counting alike (balanced accuracy, with 95% interval). "
    )
    if "mel" in known:
        text += f"It names {describe(known['mel'])} of the melanomas as such. "
    text += (
        f"It is weakest on {judged.labels[worst].name.lower()} ({describe(known[worst])}, {known[worst]['n']} images)."
    )
    point = assessment.referral
    if point and point.sensitivity["value"] is not None and point.specificity["value"] is not None:
        kind = "probability" if judged.are_probabilities else "score"
        text += (
            f" Referring from a malignant {kind} of {point.threshold:.3f} on finds {describe(point.sensitivity)} "
            f"of the malignant images and spares {describe(point.specificity)} of the benign ones."
        )
    return text
