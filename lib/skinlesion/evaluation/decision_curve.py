"""Is acting on the probabilities better than referring everybody, or nobody? Decision curves show it.

Who refers from a probability of t on holds one missed malignant lesion to be as bad as (1 - t) / t needless referrals.
By that exchange rate, net benefit = true positives - false positives * t / (1 - t), both as fractions of all lesions
(Vickers and Elkin 2006, doi:10.1177/0272989X06295361). It is counted in malignant lesions found, per lesion seen.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from skinlesion.core.errors import DataError
from skinlesion.evaluation.intervals import Resamples, in_columns, resample, summarise
from skinlesion.evaluation.metrics import ratio

#: What every figure for another prevalence rests on.
SAME_MIX = (
    "This assumes the same mix of diagnoses among the malignant and among the benign lesions as in these images; "
    "intervals do not include a change of that mix."
)

THRESHOLDS = np.arange(1, 51) / 100

_EPSILON = 1e-12  # probabilities of 0 and 1 would stay where they are at any prevalence


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
    ``probability``: float [N], calibrated for the class mix of these images; ``positive``: bool [N]; ``prevalence``: in
    (0, 1), fraction of malignant lesions in the population to speak of: probabilities are moved there and lesions
    weighed accordingly; that of the images where None; ``thresholds``: float [T] in (0, 1).
    Returns one row a threshold: ``threshold``; ``net_benefit``, ``low``, ``high``; ``refer_all`` (referring nobody is
    0); ``gain``, ``gain_low``, ``gain_high``: net benefit beyond the better of those two. ``attrs``: ``prevalence``,
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
