"""From logits to answers: everything that is chosen on validation, in one place, ready for the exported model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skinlesion.core.taxonomy import LabelSet
from skinlesion.evaluation.calibration import fit_temperature, probabilities
from skinlesion.evaluation.operating import choose_decision_weights, choose_threshold, decision_scores

_ABSENT = -20.0  # shift, in nats, of a class without training images: never predicted


@dataclass(frozen=True)
class Decision:
    """What turns logits into probabilities, a label and a referral.

    Attributes
    ----------
    labels : LabelSet
    prior : float64 [K]
        Class mix that the probabilities are calibrated for.
    prior_shift : float64 [K]
        Added to the tempered logits, in nats: from the mix seen in training to ``prior``.
    temperature : float
        Fitted on validation.
    weights : float64 [K], tau : float
        Decision rule: scores are probabilities times ``weights``, which go with ``prior ** -tau``.
    referral_threshold : float
        On the malignant probability.
    """

    labels: LabelSet
    prior: np.ndarray
    prior_shift: np.ndarray
    temperature: float
    weights: np.ndarray
    tau: float
    referral_threshold: float

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Calibrated probabilities, float64 [N, K]."""
        return probabilities(logits, self.temperature, self.prior_shift)

    def scores(self, logits: np.ndarray) -> np.ndarray:
        """Normalised decision scores, float64 [N, K]; the label is the argmax."""
        return decision_scores(self.probabilities(logits), self.weights)

    def to_dict(self, *, sensitivity: dict, specificity: dict) -> dict:
        """The manifest's part of it, with what the referral was measured to do on the test split."""

        def by_code(values: np.ndarray) -> dict[str, float]:
            return dict(zip(self.labels.codes, map(float, values), strict=True))

        return {
            "temperature": self.temperature,
            "prior": by_code(self.prior),
            "prior_shift": by_code(self.prior_shift),
            "decision_weights": by_code(self.weights),
            "decision_tau": self.tau,
            "referral": {
                "threshold": self.referral_threshold,
                "sensitivity": sensitivity,
                "specificity": specificity,
                "chosen_on": "validation",
            },
        }


def choose(
    logits: np.ndarray,
    y: np.ndarray,
    labels: LabelSet,
    *,
    training_prior: np.ndarray,
    prior: np.ndarray,
    referral_sensitivity: float = 0.9,
) -> Decision:
    """Choose a decision on validation.

    Parameters
    ----------
    logits : float [N, K]
    y : int [N]
    labels : LabelSet
    training_prior : float [K]
        Class mix that the network saw, after balancing.
    prior : float [K]
        Class mix that probabilities shall hold for: that of the data before balancing. Zero where a class has no image.
    referral_sensitivity : float
        For malignant lesions: the threshold is the highest that reaches it.
    """
    present = np.asarray(prior) > 0
    shift = np.full(len(prior), _ABSENT)
    shift[present] = np.log(prior[present]) - np.log(training_prior[present])
    temperature = fit_temperature(logits, y, shift)
    p = probabilities(logits, temperature, shift)
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
