"""What is chosen on validation: temperature, decision rule and referral threshold, as one Decision."""

from __future__ import annotations

import numpy as np

from skinlesion.core.taxonomy import LabelSet
from skinlesion.decision import Decision, calibrated
from skinlesion.evaluation.calibration import fit_temperature
from skinlesion.evaluation.operating import choose_decision_weights, choose_threshold

_ABSENT = -20.0  # shift, in nats, of a class without training images: never predicted


def choose(
    logits: np.ndarray,
    y: np.ndarray,
    labels: LabelSet,
    *,
    training_prior: np.ndarray,
    prior: np.ndarray,
    referral_sensitivity: float = 0.9,
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
        For malignant lesions: the threshold is the highest that reaches it.
    """
    present = np.asarray(prior) > 0
    shift = np.full(len(prior), _ABSENT)
    shift[present] = np.log(prior[present]) - np.log(training_prior[present])
    temperature = fit_temperature(logits, y, shift)
    p = calibrated(logits, temperature, shift)
    weights, tau = choose_decision_weights(p, y, np.where(present, prior, prior[present].min()))
    malignant = np.array([diagnosis.malignant for diagnosis in labels])
    return Decision(
        labels=labels,
        prior=np.asarray(prior, np.float64),
        prior_shift=shift,
        temperature=temperature,
        weights=weights,
        tau=tau,
        referral_threshold=choose_threshold(p[:, malignant].sum(axis=1), malignant[y], referral_sensitivity),
    )
