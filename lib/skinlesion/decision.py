"""From a network's logits to what is reported of an image: probabilities, scores, label and advice. NumPy only.

Evaluation, exported models and every front end compute with this module; ``app/device/decision.js`` is its copy for
browsers, held to it by shared test vectors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skinlesion.core.taxonomy import LabelSet

#: The advice for an image.
REFER, WATCH = "refer", "watch"


def softmax(values: np.ndarray) -> np.ndarray:
    """Softmax over the last axis of float [..., K]: float64 of the same shape."""
    values = np.asarray(values, np.float64)
    weights = np.exp(values - values.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def calibrated(logits: np.ndarray, temperature: float, shift: np.ndarray | float = 0.0) -> np.ndarray:
    """``softmax(logits / temperature + shift)``, float64 [N, K]; the shift (in nats) moves the class prior."""
    return softmax(np.asarray(logits, np.float64) / temperature + shift)


def decision_scores(probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """``probabilities * weights``, rows scaled to sum to one, float64 [N, K]; the argmax is the predicted class."""
    scores = np.asarray(probabilities, np.float64) * weights
    return scores / scores.sum(axis=-1, keepdims=True)


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What :meth:`Decision.decide` makes of N images; arrays in the order of the images.

    Attributes
    ----------
    probabilities, scores : float64 [N, K]
    label : int64 [N]
        Index of the predicted class, the largest of ``scores``.
    malignant_probability : float64 [N]
    referral : tuple of str [N]
        The advice: :data:`REFER` or :data:`WATCH`.
    """

    probabilities: np.ndarray
    scores: np.ndarray
    label: np.ndarray
    malignant_probability: np.ndarray
    referral: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Decision:
    """What is chosen on validation and turns logits into a prediction; arrays are in the order of ``labels``.

    Attributes
    ----------
    labels : LabelSet
    temperature : float
        Divides the logits before the softmax (Guo et al. 2017, arXiv:1706.04599).
    prior : float64 [K]
        The class mix that the probabilities are calibrated for; sums to 1.
    prior_shift : float64 [K]
        Added to the tempered logits, in nats: from the class mix of training to ``prior``.
    weights : float64 [K]
        Multiply the probabilities in the decision rule; positive.
    tau : float
        The strength with which ``weights`` correct for the prior: they go with ``prior ** -tau``.
    referral_threshold : float
        The lowest malignant probability that is referred.
    """

    labels: LabelSet
    temperature: float
    prior: np.ndarray
    prior_shift: np.ndarray
    weights: np.ndarray
    tau: float
    referral_threshold: float

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Calibrated probabilities of logits, both [N, K]; float64."""
        return calibrated(logits, self.temperature, self.prior_shift)

    def scores(self, logits: np.ndarray) -> np.ndarray:
        """Decision scores of logits, both [N, K]; float64, rows sum to 1."""
        return decision_scores(self.probabilities(logits), self.weights)

    def malignant_probability(self, probabilities: np.ndarray) -> np.ndarray:
        """Sum over the malignant classes, float64 [N] of [N, K]; at most 1, whatever was rounded."""
        columns = [self.labels.index(code) for code in self.labels.malignant]
        return np.minimum(1.0, np.asarray(probabilities, np.float64)[:, columns].sum(axis=1))

    def decide(self, probabilities: np.ndarray) -> Outcomes:
        """Scores, labels and advice for calibrated probabilities, float [N, K]."""
        probabilities = np.asarray(probabilities, np.float64)
        scores = decision_scores(probabilities, self.weights)
        malignant = self.malignant_probability(probabilities)
        return Outcomes(
            probabilities=probabilities,
            scores=scores,
            label=scores.argmax(axis=1),
            malignant_probability=malignant,
            referral=tuple(REFER if p >= self.referral_threshold else WATCH for p in malignant),
        )

    def decide_mean(self, probabilities: np.ndarray) -> Outcomes:
        """One outcome for several images of a lesion, float [N, K]: their mean, then the same rules as for one image.

        The mean rule of Kittler et al. 1998 (doi:10.1109/34.667881).
        """
        return self.decide(np.mean(probabilities, axis=0, keepdims=True))

    def to_dict(self, *, sensitivity: dict, specificity: dict) -> dict:
        """The manifest's part of it, with the figures that were measured at the referral threshold.

        Parameters
        ----------
        sensitivity, specificity : dict of value, low, high, n
        """

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
