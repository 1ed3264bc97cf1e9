"""From a network's logits to what is reported of an image: probabilities, scores, label and advice. NumPy only.

Evaluation, exported models and every front end compute with this module; ``app/device/decision.js`` is its copy for
browsers, held to it by shared test vectors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from skinlesion.core.taxonomy import HAM7, LabelSet

#: The advice for an image, the gravest first; ``NONE`` where it is not dermatoscopic.
REFERRALS = REFER, BORDERLINE, BELOW, NONE = "refer", "borderline", "below", "none"

#: Codes of what to know beside the advice.
NOTICES = NOT_DERMATOSCOPIC, OTHER_CAMERA, MELANOMA_NOT_EXCLUDED = (
    "not_dermatoscopic", "other_camera", "melanoma_not_excluded",
)  # fmt: skip


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


def referral_zones(
    malignant_probability: np.ndarray, malignant_label: np.ndarray, threshold: float, borderline: float
) -> np.ndarray:
    """The advice for dermatoscopic images: ``refer``, ``borderline`` or ``below``, str [N].

    ``threshold`` and ``borderline``, the lower end of the grey zone below it, are probabilities; who equals one has
    reached it. Where ``malignant_label``, bool [N], says that the decision rule predicts a malignant class, the image
    is referred whatever its ``malignant_probability``, float [N].
    """
    p = np.asarray(malignant_probability)
    return np.where(malignant_label | (p >= threshold), REFER, np.where(p >= borderline, BORDERLINE, BELOW))


def as_seven(values: ArrayLike, labels: LabelSet) -> np.ndarray:
    """Probabilities or decision scores [N, K] for the seven codes, float64 [N, 7]: AK and SCC are summed as AKIEC."""
    place = [HAM7.index("akiec" if code in ("ak", "scc") else code) for code in labels.codes]
    values = np.asarray(values, np.float64)
    collapsed = np.zeros((len(values), len(HAM7)))
    np.add.at(collapsed.T, place, values.T)
    return collapsed


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What :meth:`Decision.decide` makes of N images; arrays in the order of the images."""

    probabilities: np.ndarray  # float64 [N, K]
    scores: np.ndarray
    label: np.ndarray  # int64 [N]: index of the predicted class, the largest of ``scores``
    malignant_probability: np.ndarray  # float64 [N]
    referral: tuple[str, ...]  # the advice, one of :data:`REFERRALS`
    #: tuple [N] of tuples of str: some of :data:`NOTICES`, in that order; where an image is not dermatoscopic, that
    #: alone
    notices: tuple[tuple[str, ...], ...]
    #: tuple [N] of tuples of str, or of None: codes of the classes that cannot be left out at the decision's level;
    #: None where it has none
    prediction_set: tuple[tuple[str, ...] | None, ...]


@dataclass(frozen=True, eq=False)
class Decision:
    """What is chosen on validation and turns logits into a prediction; arrays are in the order of ``labels``."""

    labels: LabelSet
    temperature: float  # divides the logits before the softmax (Guo et al. 2017, arXiv:1706.04599)
    prior: np.ndarray  # float64 [K]: the class mix that the probabilities are calibrated for; sums to 1
    #: float64 [K]: added to the tempered logits, in nats: from the class mix of training to ``prior``
    prior_shift: np.ndarray
    weights: np.ndarray  # float64 [K]: multiply the probabilities in the decision rule; positive
    tau: float  # the strength with which ``weights`` correct for the prior: they go with ``prior ** -tau``
    #: the lowest malignant probability that is referred; an image with a malignant label is referred anyway
    referral_threshold: float
    borderline: float  # the lower end of the grey zone below the referral threshold
    #: the lowest probability of melanoma that gets the notice ``melanoma_not_excluded`` where another
    #: class is the likeliest; None where there was no melanoma to choose it by
    melanoma_level: float | None = None
    #: the share of images whose prediction set is to hold the true class; None for a decision without
    #: sets
    set_level: float | None = None
    #: float64 [K] or None: the lowest probability with which each class is in the set; 0 (null in the manifest) for one
    #: that always is, since there were too few lesions of it to choose by
    set_thresholds: np.ndarray | None = None

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Calibrated probabilities of logits, both [N, K]; float64."""
        return calibrated(logits, self.temperature, self.prior_shift)

    def scores(self, logits: np.ndarray) -> np.ndarray:
        """Decision scores of logits, both [N, K]; float64, rows sum to 1."""
        return decision_scores(self.probabilities(logits), self.weights)

    @property
    def _malignant(self) -> np.ndarray:
        return np.array([diagnosis.malignant for diagnosis in self.labels])

    def malignant_probability(self, probabilities: np.ndarray) -> np.ndarray:
        """Sum over the malignant classes, float64 [N] of [N, K]; at most 1, whatever was rounded."""
        return np.minimum(1.0, np.asarray(probabilities, np.float64)[:, self._malignant].sum(axis=1))

    def decide(
        self,
        probabilities: np.ndarray,
        *,
        not_dermatoscopic: np.ndarray | bool = False,
        other_camera: np.ndarray | bool = False,
    ) -> Outcomes:
        """Scores, labels, advice and notices for calibrated probabilities, float [N, K].

        ``not_dermatoscopic`` and ``other_camera``, bool [N] or one for all, are what the domain scores found.
        """
        probabilities = np.asarray(probabilities, np.float64)
        outside = np.broadcast_to(not_dermatoscopic, len(probabilities))
        scores = decision_scores(probabilities, self.weights)
        label = scores.argmax(axis=1)
        malignant = self.malignant_probability(probabilities)
        advice = referral_zones(malignant, self._malignant[label], self.referral_threshold, self.borderline)
        noted = {
            OTHER_CAMERA: np.broadcast_to(other_camera, len(probabilities)),
            MELANOMA_NOT_EXCLUDED: self._melanoma_not_excluded(probabilities),
        }
        return Outcomes(
            probabilities=probabilities,
            scores=scores,
            label=label,
            malignant_probability=malignant,
            referral=tuple(np.where(outside, NONE, advice).tolist()),
            notices=tuple(
                (NOT_DERMATOSCOPIC,) if outside[row] else tuple(notice for notice in noted if noted[notice][row])
                for row in range(len(probabilities))
            ),
            prediction_set=tuple(self._prediction_set(row) for row in probabilities),
        )

    def decide_mean(
        self, probabilities: np.ndarray, *, not_dermatoscopic: bool = False, other_camera: bool = False
    ) -> Outcomes:
        """One outcome for several images of a lesion, float [N, K]: their mean, then the same rules as for one image.

        The mean rule of Kittler et al. 1998 (doi:10.1109/34.667881). The flags are true where one of the images' is.
        """
        mean = np.mean(probabilities, axis=0, keepdims=True)
        return self.decide(mean, not_dermatoscopic=not_dermatoscopic, other_camera=other_camera)

    def _melanoma_not_excluded(self, probabilities: np.ndarray) -> np.ndarray:
        """Bool [N]: melanoma reaches its level though another class is the likeliest."""
        if self.melanoma_level is None:
            return np.zeros(len(probabilities), bool)
        melanoma = self.labels.index("mel")
        return (probabilities[:, melanoma] >= self.melanoma_level) & (probabilities.argmax(axis=1) != melanoma)

    def _prediction_set(self, probabilities: np.ndarray) -> tuple[str, ...] | None:
        if self.set_thresholds is None:
            return None
        reached = probabilities >= self.set_thresholds
        return tuple(code for code, inside in zip(self.labels.codes, reached, strict=True) if inside)

    def to_dict(self, *, sensitivity: dict, specificity: dict, by_label: dict, evidence: list[dict]) -> dict:
        """The manifest's part of it, with what was measured of the advice as it is shown.

        ``sensitivity`` and ``specificity`` ({value, low, high, n}) are those of ``refer``, label included, for
        malignant lesions; ``by_label`` is the share of images that the label alone refers; ``evidence`` is what
        :func:`skinlesion.evaluation.operating.evidence` returns.
        """

        def by_code(values: np.ndarray) -> dict[str, float]:
            return dict(zip(self.labels.codes, map(float, values), strict=True))

        sets = None
        if self.set_thresholds is not None:
            lowest = {code: value or None for code, value in by_code(self.set_thresholds).items()}
            sets = {"level": self.set_level, "thresholds": lowest}
        return {
            "temperature": self.temperature,
            "prior": by_code(self.prior),
            "prior_shift": by_code(self.prior_shift),
            "decision_weights": by_code(self.weights),
            "decision_tau": self.tau,
            "referral": {
                "threshold": self.referral_threshold,
                "borderline": self.borderline,
                "sensitivity": sensitivity,
                "specificity": specificity,
                "by_label": by_label,
                "chosen_on": "validation",
            },
            "melanoma_level": self.melanoma_level,
            "prediction_set": sets,
            "evidence": evidence,
        }
