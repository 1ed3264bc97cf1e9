"""What acting by a threshold does: the advice and other thresholds on images that did not choose them, and the benefit.

Is acting on the probabilities better than referring everybody, or nobody? Decision curves show it. Who refers from a
probability of t on holds one missed malignant lesion to be as bad as (1 - t) / t needless referrals. By that exchange
rate, net benefit = true positives - false positives * t / (1 - t), both as fractions of all lesions (Vickers and Elkin
2006, doi:10.1177/0272989X06295361). It is counted in malignant lesions found, per lesion seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from skinlesion.core.errors import DataError
from skinlesion.decision import NONE, REFERRALS, Decision, referral_zones
from skinlesion.evaluation.intervals import Resamples, in_columns, proportion, rates, resample, summarise
from skinlesion.evaluation.decision_fit import choose_threshold, choose_threshold_by_specificity
from skinlesion.evaluation.metrics import ratio
from skinlesion.evaluation.predictions import Predictions

#: What a threshold separates.
QUESTIONS = {"malignant": "Malignant against benign", "melanoma": "Melanoma against the rest"}

#: What a threshold can be chosen for: the sensitivity or the specificity that it shall reach.
AIMS = tuple((measure, fraction) for measure in ("specificity", "sensitivity") for fraction in (0.80, 0.90, 0.95))


#: What every figure for another prevalence rests on.
SAME_MIX = (
    "This assumes the same mix of diagnoses among the malignant and among the benign lesions as in these images; "
    "intervals do not include a change of that mix."
)

THRESHOLDS = np.arange(1, 51) / 100  # of decision curves

_EPSILON = 1e-12  # probabilities of 0 and 1 would stay where they are at any prevalence


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold and how it does; the four metrics are dicts with value, low, high and n (images)."""

    threshold: float
    sensitivity: dict
    specificity: dict
    ppv: dict
    npv: dict

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
    points = {}
    for question in QUESTIONS:
        score, positive = binary_task(validation, question)
        if not 0 < positive.sum() < len(positive):
            continue
        choose = {"sensitivity": choose_threshold, "specificity": choose_threshold_by_specificity}
        thresholds = {
            f"{measure} {fraction:.2f}": choose[measure](score, positive, fraction) for measure, fraction in AIMS
        }
        score, positive = binary_task(test, question)
        points[question] = {
            aim: operating_point(score >= threshold, positive, threshold, test.lesions)
            for aim, threshold in thresholds.items()
        }
    return points


def points_on_the_curve(
    score: np.ndarray, positive: np.ndarray, lesions: np.ndarray, replicates: int = 2000, seed: int = 0
) -> dict[str, dict]:
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


def referral_point(predictions: Predictions, threshold: float) -> OperatingPoint:
    """:func:`operating_point` of the advice as it is shown: at the threshold, or by a malignant label."""
    return operating_point(predictions.referred(threshold), predictions.is_malignant, threshold, predictions.lesions)


def as_shown(
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

    One row a source: ``source``, ``part``; ``malignant``, ``benign``: images; ``malignant_refer``,
    ``malignant_borderline``, ``malignant_below``, ``malignant_none`` and the same for ``benign_``: how many of them get
    that advice; ``malignant_by_label`` and ``benign_by_label``: how many the label alone refers.
    Parameters as of :func:`as_shown`.
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
    found, missed = count(point.sensitivity, malignant), count(point.sensitivity, malignant, others=True)
    alarms, spared = count(point.specificity, benign, others=True), count(point.specificity, benign)
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


def count(rate: dict, of: int, *, others: bool = False) -> str:
    """``18 (17 to 19)``: how many of some lesions a rate with its interval makes, or how many it leaves out."""
    ends = [round(of * rate[key]) if rate[key] is not None else None for key in ("value", "low", "high")]
    value, low, high = [None if end is None else of - end for end in ends] if others else ends
    low, high = (high, low) if others else (low, high)
    return f"{value:,}" if low is None else f"{value:,} ({low:,} to {high:,})"


def move_prevalence(probability: np.ndarray, before: float, after: float) -> np.ndarray:
    """Probabilities for a population in which the fraction ``after`` is malignant, not ``before``; float64 [N].

    By Bayes' rule, if malignant and benign lesions look the same in both (Saerens et al. 2002,
    doi:10.1162/089976602753284446).
    """
    shift = logit(after) - logit(before)
    return expit(logit(np.clip(probability, _EPSILON, 1 - _EPSILON)) + shift)


def decision_curve(
    probability: np.ndarray,
    positive: np.ndarray,
    lesions: np.ndarray,
    *,
    prevalence: float | None = None,
    thresholds: np.ndarray = THRESHOLDS,
    replicates: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Net benefit at every threshold probability, with lesion bootstrap intervals.

    Raises DataError if malignant or benign images are missing, or the prevalence is no fraction.

    Parameters
    ----------
    probability : float [N], calibrated for the class mix of these images
    positive : bool [N]
    prevalence : in (0, 1), fraction of malignant lesions in the population to speak of: probabilities are moved there
        and lesions weighed accordingly; that of the images where None
    thresholds : float [T] in (0, 1)

    Returns
    -------
    DataFrame, one row a threshold: ``threshold``; ``net_benefit``, ``low``, ``high``; ``refer_all`` (referring nobody
    is 0); ``gain``, ``gain_low``, ``gain_high``: net benefit beyond the better of those two. ``attrs``: ``prevalence``,
    ``own`` (that of the images) and ``n``.
    """
    positive = np.asarray(positive, bool)
    if not 0 < positive.sum() < len(positive):
        raise DataError("a decision curve needs positive and negative images; one of the two is missing")
    own = float(positive.mean())
    if prevalence is not None:
        if not 0 < prevalence < 1:
            raise DataError(f"prevalence must be a fraction between 0 and 1, not {prevalence!r}")
        probability = move_prevalence(probability, own, prevalence)
    resamples = resample(lesions, replicates, seed)
    found, false, share = _rates(np.asarray(probability), positive, thresholds, resamples)
    share = share if prevalence is None else np.full_like(share, prevalence)
    price = thresholds / (1 - thresholds)
    net = found * share - false * (1 - share) * price
    everybody = share - (1 - share) * price
    gain = net - np.maximum(everybody, 0)
    rows = []
    for i, threshold in enumerate(thresholds):
        benefit, more = summarise(net[:, i], len(positive)), summarise(gain[:, i], len(positive))
        row = {"threshold": float(threshold), "net_benefit": benefit["value"], "low": benefit["low"]}
        rows.append(row | {"high": benefit["high"], "refer_all": float(everybody[0, i])} | in_columns({"gain": more}))
    table = pd.DataFrame(rows)
    table.attrs = {"prevalence": own if prevalence is None else float(prevalence), "own": own, "n": len(positive)}
    return table


def _rates(probability: np.ndarray, positive: np.ndarray, thresholds: np.ndarray, resamples: Resamples):
    """True and false positive rate at every threshold, [1 + R, T], and the fraction of positives, [1 + R, 1]."""
    referred = probability[:, None] >= thresholds
    truth = np.stack([positive, ~positive], axis=1)
    kinds = resamples.totals(truth)
    found, false = (ratio(resamples.totals(referred & truth[:, [k]]), kinds[:, [k]]) for k in (0, 1))
    return found, false, kinds[:, :1] / kinds.sum(axis=1, keepdims=True)


def curve_in_words(curve: pd.DataFrame, threshold: float = 0.05) -> str:
    """Where referring by the model is better than both simple rules, and its net benefit at one threshold."""
    better = curve.loc[curve["gain_low"] > 0, "threshold"].to_numpy()
    row = curve.iloc[(curve["threshold"] - threshold).abs().argmin()]
    share = curve.attrs["prevalence"]
    where = (
        f"at {len(better)} of the {len(curve)} thresholds between {curve['threshold'].min():.0%} and "
        f"{curve['threshold'].max():.0%} (the first is {better.min():.0%}, the last {better.max():.0%})"
        if len(better)
        else f"at none of the thresholds up to {curve['threshold'].max():.0%}"
    )
    odds = (1 - row["threshold"]) / row["threshold"]
    moved = "" if curve.attrs["prevalence"] == curve.attrs["own"] else f" {SAME_MIX}"
    interval = "" if pd.isna(row["gain_low"]) else f" ({1000 * row['gain_low']:.1f} to {1000 * row['gain_high']:.1f})"
    return (
        f"Where {share:.1%} of the lesions are positive, referring by the model is significantly better than referring "
        f"every lesion or none {where}. At a threshold of {row['threshold']:.0%}, which accepts {odds:.0f} needless "
        f"referrals for one positive lesion, its net benefit is {1000 * row['gain']:.1f}{interval} per 1,000 lesions "
        f"above the better of the two.{moved}"
    )
