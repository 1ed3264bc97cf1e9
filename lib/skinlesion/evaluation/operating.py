"""How thresholds do on images that did not choose them: the referral threshold, its advice, and others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skinlesion.decision import NONE, REFERRALS, Decision, referral_zones
from skinlesion.evaluation.decision_fit import choose_threshold, choose_threshold_by_specificity
from skinlesion.evaluation.intervals import Metric, proportion, rates, resample, summarise
from skinlesion.evaluation.metrics import ratio
from skinlesion.evaluation.predictions import Predictions

#: What a threshold separates.
QUESTIONS = {"malignant": "Malignant against benign", "melanoma": "Melanoma against the rest"}

#: What a threshold can be chosen for: the sensitivity or the specificity that it shall reach.
AIMS = tuple((measure, fraction) for measure in ("specificity", "sensitivity") for fraction in (0.80, 0.90, 0.95))


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold and how it does."""

    threshold: float
    sensitivity: Metric
    specificity: Metric
    ppv: Metric
    npv: Metric

    @property
    def measured(self) -> bool:
        """Whether there were malignant and benign images, which sensitivity and specificity need."""
        return self.sensitivity["value"] is not None and self.specificity["value"] is not None


def binary_task(predictions: Predictions, question: str) -> tuple[np.ndarray, np.ndarray]:
    """The score (float [N]) and the truth (bool [N]) of one of :data:`QUESTIONS`."""
    if question == "malignant":
        return predictions.malignant_probability, predictions.is_malignant
    melanoma = predictions.labels.index("mel")
    return predictions.probabilities[:, melanoma], predictions.y == melanoma


def operating_points(validation: Predictions, test: Predictions) -> dict[str, dict[str, OperatingPoint]]:
    """Every threshold of :data:`AIMS`, chosen on validation, as it does on test.

    The intervals are those of *these* thresholds on test images; that another validation split would have chosen other
    ones is not in them. Returns a dict question -> dict aim -> OperatingPoint: aims read ``"specificity 0.90"``. A
    question is left out where validation has no positive or no negative image.
    """
    choose = {"sensitivity": choose_threshold, "specificity": choose_threshold_by_specificity}
    points: dict[str, dict[str, OperatingPoint]] = {}
    for question in QUESTIONS:
        (score, positive), (tested, truth) = (binary_task(part, question) for part in (validation, test))
        if not 0 < positive.sum() < len(positive):
            continue
        points[question] = {}
        for measure, fraction in AIMS:
            threshold = choose[measure](score, positive, fraction)
            point = operating_point(tested >= threshold, truth, threshold, test.lesions)
            points[question][f"{measure} {fraction:.2f}"] = point
    return points


def points_on_the_curve(
    score: np.ndarray, positive: np.ndarray, lesions: np.ndarray, replicates: int = 2000, seed: int = 0
) -> dict[str, Metric]:
    """The best sensitivity at a given specificity and the reverse, read off the ROC curve of these very images.

    A description of the ranking, not a prediction: the threshold is found on the images that it is evaluated on, anew
    in every replicate. Where there is a validation split, use :func:`operating_points`. Returns a dict aim -> metric:
    ``"specificity 0.90"`` -> the sensitivity there, ``"sensitivity 0.90"`` -> the specificity there.
    ``score``: float [N], higher for positives; ``positive``: bool [N]; ``lesions``: [N], lesion id of every image;
    ``replicates``: bootstrap replicates over lesions.
    """
    score, positive = np.asarray(score, np.float64), np.asarray(positive, bool)
    resamples = resample(lesions, replicates, seed)
    values = {aim: np.full(len(resamples.counts), np.nan) for aim in AIMS}
    order = np.argsort(-score, kind="stable")
    last = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)  # a threshold cannot part a tie group
    hit = positive[order]
    for rows, counts in resamples.image_counts(order):
        found = np.cumsum(counts * hit, axis=1, dtype=np.int64)
        false = np.cumsum(counts * ~hit, axis=1, dtype=np.int64)
        positives, negatives = found[:, -1:], false[:, -1:]
        found, false = found[:, last], false[:, last]
        for measure, fraction in AIMS:
            if measure == "specificity":
                allowed = np.floor((1 - fraction) * negatives + 1e-9)
                reached = np.where(false <= allowed, found, 0).max(axis=1)
                values[measure, fraction][rows] = _where_both(reached, positives[:, 0], negatives[:, 0])
            else:
                needed = np.ceil(fraction * positives - 1e-9)
                alarms = np.where(found >= needed, false, negatives).min(axis=1)
                spared = negatives[:, 0] - alarms
                values[measure, fraction][rows] = _where_both(spared, negatives[:, 0], positives[:, 0])
    support = {"specificity": positive.sum(), "sensitivity": (~positive).sum()}
    points = {aim: summarise(values[aim], support[aim[0]]) for aim in AIMS}
    for (measure, _), one in points.items():
        if one["low"] == one["high"] and one["value"] in (0, 1):  # all or none are right, in every replicate
            among = positive if measure == "specificity" else ~positive
            one |= proportion(np.full(among.sum(), one["value"] == 1), resamples.lesion[among])
    return {f"{measure} {fraction:.2f}": one for (measure, fraction), one in points.items()}


def _where_both(count: np.ndarray, total: np.ndarray, others: np.ndarray) -> np.ndarray:
    """``count / total``, NaN where a replicate lacks either kind of image."""
    return np.where(others > 0, ratio(count, total), np.nan)


def operating_point(
    referred: np.ndarray, positive: np.ndarray, threshold: float, lesions: np.ndarray
) -> OperatingPoint:
    """Sensitivity, specificity, PPV and NPV, with 95% intervals, of referring some images (bool [N] each).

    ``threshold``: by which they are referred; ``lesions``: [N], lesion ids.
    """
    truth, referred = np.asarray(positive, bool), np.asarray(referred, bool)
    return OperatingPoint(threshold, **rates(referred, truth, resample(lesions, 0).lesion))


def measure_advice(
    predictions: Predictions,
    decision: Decision,
    sources: np.ndarray,
    part: str,
    dermatoscopic: np.ndarray | bool = True,
) -> dict:
    """What :meth:`skinlesion.decision.Decision.to_dict` takes: how the advice does on these images.

    ``predictions``: by ``decision``, none of whose choices was made on them unless ``part`` says so; ``sources``: str
    [N], where each image is from; ``part``: what the images are, such as ``test`` or ``out of fold``;
    ``dermatoscopic``: bool [N], whether an image counts as such; the others get no advice, so none of them is referred.
    """
    threshold = decision.referral_threshold
    shown = predictions.referred(threshold) & dermatoscopic
    point = operating_point(shown, predictions.is_malignant, threshold, predictions.lesions)
    alone = shown & (predictions.malignant_probability < threshold)
    lesion = resample(predictions.lesions, 0).lesion
    return {
        "sensitivity": point.sensitivity,
        "specificity": point.specificity,
        "by_label": proportion(alone, lesion),
        "evidence": evidence(predictions, decision, sources, part, dermatoscopic),
    }


def evidence(
    predictions: Predictions,
    decision: Decision,
    sources: np.ndarray,
    part: str,
    dermatoscopic: np.ndarray | bool = True,
) -> list[dict]:
    """How many malignant and benign images are in each zone of the advice, by source.

    One row per source: ``source``, ``part``; ``malignant``, ``benign``: images; ``malignant_refer``,
    ``malignant_borderline``, ``malignant_below``, ``malignant_none`` and the same for ``benign_``: how many of them get
    that advice; ``malignant_by_label`` and ``benign_by_label``: how many the label alone refers.
    Parameters as of :func:`measure_advice`.
    """
    score, labelled = predictions.malignant_probability, predictions.malignant_label
    zone = referral_zones(score, labelled, decision.referral_threshold, decision.borderline)
    zone = np.where(dermatoscopic, zone, NONE)
    alone = labelled & (score < decision.referral_threshold) & dermatoscopic
    rows = []
    for source in np.unique(np.asarray(sources, str)):
        row: dict = {"source": str(source), "part": part}
        for kind, truth in (("malignant", predictions.is_malignant), ("benign", ~predictions.is_malignant)):
            inside = truth & (np.asarray(sources, str) == source)
            row |= {kind: int(inside.sum())}
            row |= {f"{kind}_{name}": int((inside & (zone == name)).sum()) for name in REFERRALS}
            row |= {f"{kind}_by_label": int((inside & alone).sum())}
        rows.append(row)
    return rows


def in_plain_words(point: OperatingPoint, prevalence: float) -> str:
    """What the referral threshold would do to 1,000 lesions of which the fraction ``prevalence`` is malignant.

    ``point``: measured on malignant and benign images, see :attr:`OperatingPoint.measured`.
    """
    malignant = round(1000 * prevalence)
    benign = 1000 - malignant
    found = count_in_words(point.sensitivity, malignant)
    missed = count_in_words(point.sensitivity, malignant, others=True)
    spared = count_in_words(point.specificity, benign)
    alarms = count_in_words(point.specificity, benign, others=True)
    referred = round(malignant * point.sensitivity["value"]), benign - round(benign * point.specificity["value"])
    return (
        f"Of 1,000 lesions like these, {malignant:,} would be malignant: {found} of them would be referred and "
        f"{missed} missed. Of the {benign:,} benign ones, {alarms} would be referred without need and "
        f"{spared} rightly not. "
        + (
            f"So {referred[0]:,} of {sum(referred):,} referred lesions would be malignant."
            if sum(referred)
            else "No lesion would be referred."
        )
    )


def count_in_words(rate: Metric, of: int, *, others: bool = False) -> str:
    """``18 (17 to 19)``: how many of some lesions a rate with its interval makes, or how many it leaves out."""
    ends = [round(of * rate[key]) if rate[key] is not None else None for key in ("value", "low", "high")]
    value, low, high = [None if end is None else of - end for end in ends] if others else ends
    low, high = (high, low) if others else (low, high)
    return f"{value:,}" if low is None else f"{value:,} ({low:,} to {high:,})"
