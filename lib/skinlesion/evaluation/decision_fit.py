"""What is chosen on validation: temperature, decision rule and referral threshold, as one Decision."""

from __future__ import annotations

import numpy as np

from skinlesion.core.errors import DataError
from skinlesion.core.taxonomy import LabelSet
from skinlesion.decision import Decision, calibrated, decision_scores
from skinlesion.evaluation.calibration import fit_temperature
from skinlesion.evaluation.metrics import confusion_metrics
from skinlesion.evaluation.uncertainty import LEVEL, choose_sets

#: Strengths of the prior correction that are tried: 0 leaves the probabilities alone, 1 removes the class prior, which
#: is best for balanced accuracy where probabilities are calibrated. More would predict the rarest
#: class even where the network is certain of another.
TAUS = np.round(np.arange(0, 1.001, 0.05), 2)
_NEIGHBOURS = 4  # grid steps either side over which the curve is smoothed
_CLOSE = 0.005  # balanced accuracy that a gentler correction may cost
HIGHEST = 0.5  # referral threshold: what is more likely malignant than not is always referred
MISSED = 0.025  # share of the malignant images that may lie below the grey zone
ENOUGH = 30  # malignant images of a source that can choose its referral threshold
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
    """Choose a decision on validation images: ``logits``, float [N, K], and ``y``, int [N].

    ``training_prior``: float [K], class mix of training, after balancing; ``prior``: float [K], class mix that the
    probabilities are calibrated for: that of the data before balancing; zero where a class has no image;
    ``referral_sensitivity``: for malignant lesions; the threshold is the highest with which the advice, label included,
    reaches it; ``sources``: str [N], where each image is from; the sensitivity is then reached in every source with
    enough malignant images; ``lesions``: [N], lesion ids; prediction sets are chosen by lesion, and not at all without;
    ``calibrated_on``: bool [N], the images of the class mix ``prior``, on which the temperature is fitted; all by
    default.
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

    None where no melanoma is led by another class; at least ``lowest``, the lower end of the grey zone, below which the
    notice would stand beside the advice ``below``.
    ``probabilities``: float [N, K], on validation; ``y``: int [N]; ``melanoma``: its column.
    """
    missed = (y == melanoma) & (probabilities.argmax(axis=1) != melanoma)
    if not missed.any():
        return None
    return max(lowest, float(np.quantile(probabilities[missed, melanoma], _OVERLOOKED, method="lower")))


def choose_decision_weights(probabilities: np.ndarray, y: np.ndarray, prior: np.ndarray) -> tuple[np.ndarray, float]:
    """Class weights ``prior ** -tau`` that serve balanced accuracy (post-hoc logit adjustment, arXiv:2007.07314).

    Balanced accuracy as a function of tau is a ragged staircase where classes are rare, so its moving average over
    neighbouring values of tau (0.2 either side) decides. On its plateau the smallest tau within half a point of the
    best is taken: it costs the least accuracy, and overrules the probabilities the least. Raises DataError if there are
    no images or a class has no prior.
    ``probabilities``: float [N, K], on validation; ``y``: int [N], true class; ``prior``: float [K], the class prior
    that the probabilities are made for; need not sum to one. Returns the weights, float64 [K] with a mean of 1, and
    tau, one of :data:`TAUS`.
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
    smooth = np.array([accuracy[max(0, i - _NEIGHBOURS) : i + _NEIGHBOURS + 1].mean() for i in range(len(TAUS))])
    tau = float(TAUS[int(np.argmax(smooth >= smooth.max() - _CLOSE))])
    return _weights(prior, tau), tau


def _weights(prior: np.ndarray, tau: float) -> np.ndarray:
    weights = (prior / prior.max()) ** -tau
    return weights / weights.mean()


def choose_threshold(malignant_probability: np.ndarray, is_malignant: np.ndarray, sensitivity: float = 0.9) -> float:
    """The highest threshold at which "refer where probability >= threshold" finds this fraction of malignant images.

    Raises DataError if there is no malignant image to choose by.
    ``malignant_probability``: float [N], on validation; ``is_malignant``: bool [N]; ``sensitivity``: float in (0, 1].
    """
    malignant = np.asarray(malignant_probability, np.float64)[np.asarray(is_malignant, bool)]
    return -_covering(-malignant, sensitivity, "malignant")


def choose_threshold_by_specificity(score: np.ndarray, positive: np.ndarray, specificity: float = 0.9) -> float:
    """The lowest threshold at which "refer where score >= threshold" spares this fraction of the negative images.

    Parameters and errors as of :func:`choose_threshold`.
    """
    negative = np.asarray(score, np.float64)[~np.asarray(positive, bool)]
    return float(np.nextafter(_covering(negative, specificity, "negative"), np.inf))


def _covering(scores: np.ndarray, fraction: float, kind: str) -> float:
    """The lowest of the scores (float [M]) that this fraction of them does not exceed."""
    if not len(scores):
        raise DataError(f"a threshold needs {kind} validation images; the validation split holds none")
    return float(np.sort(scores)[int(np.ceil(fraction * len(scores) - 1e-9)) - 1])


def choose_referral(
    malignant_probability: np.ndarray,
    is_malignant: np.ndarray,
    malignant_label: np.ndarray,
    sensitivity: float = 0.9,
    sources: np.ndarray | None = None,
) -> float:
    """The highest threshold, up to one half, at which the advice ``refer`` finds this fraction of malignant images.

    An image is referred where its malignant probability reaches the threshold or its label is malignant. Raises
    DataError if there is no malignant image to choose by.
    ``malignant_probability``: float [N], on validation; ``is_malignant``, ``malignant_label``: bool [N], the truth and
    the decision rule's prediction; ``sensitivity``: float in (0, 1]; ``sources``: [N], the fraction is then found in
    each source with :data:`ENOUGH` malignant images, and in all images together.
    """
    truth, found = np.asarray(is_malignant, bool), np.asarray(malignant_label, bool)
    referred = np.where(found, 1.0, malignant_probability)  # a malignant label is referred at any threshold
    threshold = choose_threshold(referred, truth, sensitivity)
    for source in np.unique(sources) if sources is not None else ():
        inside = truth & (np.asarray(sources) == source)
        if inside.sum() >= ENOUGH:
            threshold = min(threshold, choose_threshold(referred[inside], truth[inside], sensitivity))
    return min(threshold, HIGHEST)


def choose_borderline(
    malignant_probability: np.ndarray, is_malignant: np.ndarray, malignant_label: np.ndarray, threshold: float
) -> float:
    """The highest lower end of the grey zone with at most :data:`MISSED` of the malignant images below it.

    ``malignant_probability``: float [N], on validation; ``is_malignant``, ``malignant_label``: bool [N], the truth and
    the decision rule's prediction; ``threshold``: the referral threshold, which the result does not exceed.
    """
    truth = np.asarray(is_malignant, bool)
    unlabelled = np.sort(np.asarray(malignant_probability)[truth & ~np.asarray(malignant_label, bool)])
    allowed = int(np.floor(MISSED * truth.sum() + 1e-9))
    return float(min(threshold, unlabelled[allowed])) if allowed < len(unlabelled) else float(threshold)
