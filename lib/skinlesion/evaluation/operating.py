"""Where to act: the decision rule and the referral threshold, both chosen on validation and then reported on test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skinlesion.errors import DataError
from skinlesion.evaluation.bootstrap import resample, summarise
from skinlesion.evaluation.metrics import confusion_metrics

#: Strengths of the prior correction that are tried: 0 leaves the probabilities alone, 1 removes the class prior.
TAUS = np.round(np.arange(0, 1.501, 0.05), 2)

_NEIGHBOURS = 4  # grid steps either side over which the curve is smoothed


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold and how it does; the four metrics are dicts with value, low, high and n (images)."""

    threshold: float
    sensitivity: dict
    specificity: dict
    ppv: dict
    npv: dict


def decision_scores(probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """``probabilities * weights``, rows scaled to sum to one, float64 [N, K]; the argmax is the predicted class."""
    scores = np.asarray(probabilities, np.float64) * weights
    return scores / scores.sum(axis=1, keepdims=True)


def choose_decision_weights(probabilities: np.ndarray, y: np.ndarray, prior: np.ndarray) -> tuple[np.ndarray, float]:
    """Class weights ``prior ** -tau`` that serve balanced accuracy (post-hoc logit adjustment, arXiv:2007.07314).

    Balanced accuracy as a function of tau is a ragged staircase where classes are rare, so its moving average over
    neighbouring values of tau (0.2 either side) decides; of equals, the smallest tau.

    Parameters
    ----------
    probabilities : float [N, K], on validation
    y : int [N], true class
    prior : float [K], the class prior that the probabilities are made for; need not sum to one

    Returns
    -------
    weights : float64 [K], mean 1
    tau : float, one of :data:`TAUS`

    Raises
    ------
    DataError
        If there are no images or a class has no prior.
    """
    prior = np.asarray(prior, np.float64)
    if not len(y):
        raise DataError("a decision rule needs validation images; the validation split is empty")
    if not (np.isfinite(prior).all() and (prior > 0).all()):
        raise DataError("every class needs a prior above zero; a class without training images cannot be predicted")
    k = len(prior)
    confusion = np.empty((len(TAUS), k, k))
    for i, tau in enumerate(TAUS):
        predicted = decision_scores(probabilities, _weights(prior, tau)).argmax(axis=1)
        confusion[i] = np.bincount(np.asarray(y) * k + predicted, minlength=k * k).reshape(k, k)
    accuracy = confusion_metrics(confusion)["balanced_accuracy"]
    smooth = [accuracy[max(0, i - _NEIGHBOURS) : i + _NEIGHBOURS + 1].mean() for i in range(len(TAUS))]
    tau = float(TAUS[int(np.argmax(np.round(smooth, 12)))])
    return _weights(prior, tau), tau


def _weights(prior: np.ndarray, tau: float) -> np.ndarray:
    weights = (prior / prior.max()) ** -tau
    return weights / weights.mean()


def choose_threshold(malignant_probability: np.ndarray, is_malignant: np.ndarray, sensitivity: float = 0.9) -> float:
    """The highest threshold at which "refer where probability >= threshold" finds this fraction of malignant images.

    Parameters
    ----------
    malignant_probability : float [N], on validation
    is_malignant : bool [N]
    sensitivity : float in (0, 1]

    Raises
    ------
    DataError
        If there is no malignant image to choose by.
    """
    malignant = np.sort(np.asarray(malignant_probability, np.float64)[np.asarray(is_malignant, bool)])[::-1]
    if not len(malignant):
        raise DataError("a referral threshold needs malignant validation images; the validation split holds none")
    needed = int(np.ceil(sensitivity * len(malignant) - 1e-9))
    return float(malignant[needed - 1])


def operating_point(
    malignant_probability: np.ndarray,
    is_malignant: np.ndarray,
    threshold: float,
    lesions: np.ndarray,
    replicates: int = 2000,
    seed: int = 0,
) -> OperatingPoint:
    """Sensitivity, specificity, PPV and NPV of "refer where probability >= threshold", with lesion bootstrap intervals.

    Parameters
    ----------
    malignant_probability : float [N]
    is_malignant : bool [N]
    lesions : [N], lesion ids
    """
    truth = np.asarray(is_malignant, bool).astype(np.int64)
    referred = (np.asarray(malignant_probability) >= threshold).astype(np.int64)
    confusion = resample(lesions, replicates, seed).totals(np.eye(4)[truth * 2 + referred]).reshape(-1, 2, 2)
    values = confusion_metrics(confusion)
    support = {
        "sensitivity": truth.sum(),
        "specificity": (1 - truth).sum(),
        "ppv": referred.sum(),
        "npv": (1 - referred).sum(),
    }
    return OperatingPoint(threshold, **{name: summarise(values[name][:, 1], n) for name, n in support.items()})


def in_plain_words(point: OperatingPoint, prevalence: float, per: int = 1000) -> str:
    """What the operating point would do to ``per`` lesions of which the fraction ``prevalence`` is malignant.

    Raises
    ------
    DataError
        If sensitivity or specificity is unknown, or the prevalence is no fraction.
    """
    if not 0 <= prevalence <= 1:
        raise DataError(f"prevalence must be a fraction between 0 and 1, not {prevalence!r}")
    if point.sensitivity["value"] is None or point.specificity["value"] is None:
        raise DataError("sensitivity and specificity need malignant and benign images; one of the two is missing")
    malignant = round(per * prevalence)
    benign = per - malignant
    found = round(malignant * point.sensitivity["value"])
    alarms = benign - round(benign * point.specificity["value"])
    return (
        f"Of {per:,} lesions like these, {malignant:,} would be malignant: {found:,} of them would be referred and "
        f"{malignant - found:,} missed. Of the {benign:,} benign ones, {alarms:,} would be referred without need and "
        f"{benign - alarms:,} rightly watched. "
        + (
            f"So {found:,} of {found + alarms:,} referred lesions would be malignant."
            if found + alarms
            else "No lesion would be referred."
        )
    )
