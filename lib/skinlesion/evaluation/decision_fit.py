"""What is chosen on validation: temperature, decision rule and referral threshold, as one Decision."""

from __future__ import annotations

import numpy as np

from skinlesion.core.taxonomy import LabelSet
from skinlesion.decision import Decision, calibrated, decision_scores
from skinlesion.evaluation.calibration import fit_temperature
from skinlesion.evaluation.conformal import LEVEL, choose_sets
from skinlesion.evaluation.thresholds import choose_borderline, choose_decision_weights, choose_referral

_ABSENT = -20.0  # shift, in nats, of a class without training images: never predicted
_OVERLOOKED = 0.1  # share of the melanomas led by another class that may stay without a notice


def choose(
    logits: np.ndarray,
    y: np.ndarray,
    labels: LabelSet,
    *,
    training_prior: np.ndarray,
    prior: np.ndarray,
    referral_sensitivity: float = 0.9,
    sources: np.ndarray | None = None,
    lesions: np.ndarray | None = None,
    calibrated_on: np.ndarray | None = None,
) -> Decision:
    """Choose a decision on validation images.

    Parameters
    ----------
    logits : float [N, K]
    y : int [N]
    labels : LabelSet
    training_prior : float [K]
        Class mix of training, after balancing.
    prior : float [K]
        Class mix that the probabilities are calibrated for: that of the data before balancing. Zero where a class has
        no image.
    referral_sensitivity : float
        For malignant lesions: the threshold is the highest with which the advice, label included, reaches it.
    sources : str [N], optional
        Where each image is from; the sensitivity is then reached in every source with enough malignant images.
    lesions : [N], optional
        Lesion ids; prediction sets are chosen by lesion, and not at all without.
    calibrated_on : bool [N], optional
        The images of the class mix ``prior``: the temperature is fitted on them alone. All by default.
    """
    present = np.asarray(prior) > 0
    shift = np.full(len(prior), _ABSENT)
    shift[present] = np.log(prior[present]) - np.log(training_prior[present])
    rows = np.ones(len(y), bool) if calibrated_on is None else calibrated_on
    temperature = fit_temperature(logits[rows], y[rows], shift)
    p = calibrated(logits, temperature, shift)
    weights, tau = choose_decision_weights(p, y, np.where(present, prior, prior[present].min()))
    malignant = np.array([diagnosis.malignant for diagnosis in labels])
    labelled = malignant[decision_scores(p, weights).argmax(axis=1)]
    score, truth = np.minimum(1.0, p[:, malignant].sum(axis=1)), malignant[y]
    threshold = choose_referral(score, truth, labelled, referral_sensitivity, sources)
    borderline = choose_borderline(score, truth, labelled, threshold)
    return Decision(
        labels=labels,
        prior=np.asarray(prior, np.float64),
        prior_shift=shift,
        temperature=temperature,
        weights=weights,
        tau=tau,
        referral_threshold=threshold,
        borderline=borderline,
        melanoma_level=choose_melanoma_level(p, y, labels.index("mel"), borderline),
        set_level=None if lesions is None else LEVEL,
        set_thresholds=None if lesions is None else choose_sets(p, y, lesions, labels),
    )


def choose_melanoma_level(probabilities: np.ndarray, y: np.ndarray, melanoma: int, lowest: float) -> float | None:
    """The highest level that 90% of the melanomas reach in whose probabilities another class leads.

    Parameters
    ----------
    probabilities : float [N, K], on validation
    y : int [N]
    melanoma : int, its column
    lowest : float
        The lower end of the grey zone. A level below it would put the notice beside the advice ``below``.

    Returns
    -------
    float, or None where no melanoma is led by another class
    """
    missed = (y == melanoma) & (probabilities.argmax(axis=1) != melanoma)
    if not missed.any():
        return None
    return max(lowest, float(np.quantile(probabilities[missed, melanoma], _OVERLOOKED, method="lower")))
