"""Every metric that needs predictions alone, computed once: for the command, its report and the notebook."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from skinlesion.core.errors import DataError
from skinlesion.core.tables import counted
from skinlesion.evaluation import operating
from skinlesion.evaluation.decision_curve import decision_curve
from skinlesion.evaluation.decision_fit import choose_referral
from skinlesion.evaluation.intervals import Metric
from skinlesion.evaluation.metrics import evaluate, ties
from skinlesion.evaluation.operating import QUESTIONS, OperatingPoint
from skinlesion.evaluation.predictions import Predictions

FEW = 30  # images of a class below which its metrics are uncertain

SENSITIVITY = 0.9  # for malignant lesions, at the referral threshold where none is given

PREVALENCE = 0.02  # of malignant lesions: that of a screening clinic rather than of a data set

#: The decision curves: both questions on these images, and the first one moved to another prevalence.
CURVES = QUESTIONS | {"malignant_elsewhere": "Malignant against benign, at another prevalence"}

#: The note where there are no images to choose thresholds on.
NOT_CHOSEN = (
    "No threshold was chosen: there are no validation rows to choose one on. Sensitivity at a given specificity, and "
    "the reverse, are read off the ROC curve of these same images: they describe them and predict nothing for others."
)


@dataclass(frozen=True, eq=False)
class Assessment:
    """What :func:`assess` finds."""

    evaluated: Predictions  # one split, or all rows where the predictions have no splits
    metrics: dict  # dict, see :func:`skinlesion.evaluation.metrics.evaluate`
    #: {question: {aim: OperatingPoint}}: thresholds chosen on validation, evaluated on the ``evaluated`` rows; empty
    #: without validation rows
    points: dict[str, dict[str, OperatingPoint]]
    #: {question: {aim: metric}}: the descriptive stand-in where ``points`` is empty
    on_the_curve: dict[str, dict[str, Metric]]
    #: OperatingPoint or None: of the advice to refer: at the referral threshold, or by a malignant label
    referral: OperatingPoint | None
    #: {question: DataFrame}: decision curves, see :data:`CURVES`; empty for decision scores
    curves: dict[str, pd.DataFrame]
    notes: tuple[str, ...]

    def to_dict(self) -> dict:
        """``metrics.json``: the metrics, the thresholds' results, the decision curves and the notes."""
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
    """Evaluate one split (all rows where there are no splits); thresholds are chosen on the validation rows alone.

    Raises DataError if there are splits, but not this one. ``split``: with ``"validation"``, no threshold is chosen: it
    would be evaluated on the images that chose it; ``referral_threshold``: on the malignant probability, chosen before
    these images were seen; where None, the threshold with which 90% of the malignant validation images are referred;
    ``prevalence``: in (0, 1), fraction of malignant lesions in the population of the last of :data:`CURVES`.
    """
    if not everything.has_splits and split != "test":
        raise DataError(f"the predictions name no splits, so none is {split!r}; add the column split, or leave it out")
    evaluated = everything.of_split(split) if everything.has_splits else everything
    validation = (everything.split == "validation") & (split != "validation")
    points = operating.operating_points(everything.take(validation), evaluated) if validation.any() else {}
    tasks = {question: operating.binary_task(evaluated, question) for question in QUESTIONS}
    # those that have positive and negative images
    both = {question: task for question, task in tasks.items() if 0 < task[1].sum() < len(evaluated)}
    if referral_threshold is None and "malignant" in points:
        chosen_on = everything.take(validation)
        referral_threshold = choose_referral(
            chosen_on.malignant_probability, chosen_on.is_malignant, chosen_on.malignant_label, SENSITIVITY
        )
    referred, referral = None, None
    if referral_threshold is not None:
        referred = evaluated.referred(referral_threshold)
        referral = operating.operating_point(referred, evaluated.is_malignant, referral_threshold, evaluated.lesions)
    metrics = evaluate(evaluated, replicates, seed, referred)
    if referral is not None:  # of all images, as each part has it
        metrics |= {"sensitivity": referral.sensitivity, "specificity": referral.specificity}
    on_the_curve = {} if points else {
        question: operating.points_on_the_curve(*task, evaluated.lesions, replicates, seed)
        for question, task in both.items()
    }  # fmt: skip

    def curve(task: tuple[np.ndarray, np.ndarray], share: float | None = None) -> pd.DataFrame:
        return decision_curve(*task, evaluated.lesions, prevalence=share, replicates=replicates, seed=seed)

    curves = {}
    if evaluated.are_probabilities:
        curves = {question: curve(task) for question, task in both.items()}
        if "malignant" in both:
            curves["malignant_elsewhere"] = curve(both["malignant"], prevalence)
    notes = _notes(evaluated, chosen_threshold=referral is not None)
    return Assessment(evaluated, metrics, points, on_the_curve, referral, curves, notes)


def _notes(evaluated: Predictions, *, chosen_threshold: bool) -> tuple[str, ...]:
    """Limits of the figures, which are shown before them."""
    notes = [*evaluated.notes]
    if not evaluated.has_lesions:
        notes.append(
            "The lesion ids are unknown: images count as independent, so the intervals are too narrow where lesions "
            "have several images."
        )
    if not chosen_threshold:
        notes.append(NOT_CHOSEN)
    counts = np.bincount(evaluated.y, minlength=len(evaluated.labels))
    few = [f"{code} ({n})" for code, n in zip(evaluated.labels.codes, counts, strict=True) if n < FEW]
    if few:
        notes.append(f"Fewer than {FEW} images: {', '.join(few)}. The metrics of these classes are uncertain.")
    tied, official = ties(evaluated)
    if tied:
        notes.append(
            f"In {counted(tied, 'image')} two classes share the highest score; the first one is taken. The official "
            f"scorer counts those as wrong, which makes the balanced accuracy {official:.3f}."
        )
    return tuple(notes)


def confident_errors(evaluated: Predictions, most: int = 12) -> np.ndarray:
    """Rows of wrong predictions, the largest decision score first: int64 [at most ``most``]."""
    wrong = np.flatnonzero(evaluated.predicted != evaluated.y)
    return wrong[np.argsort(-evaluated.scores[wrong, evaluated.predicted[wrong]])][:most]
