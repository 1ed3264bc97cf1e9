"""How good the predictions are: every metric as value, 95% interval and the number of images that it rests on.

Two kinds of numbers: accuracy, sensitivity, kappa and the like are of the class that the decision rule predicts (the
largest score); AUROC, average precision and calibration are of the probabilities.

Conventions are scikit-learn's. A ratio with an empty denominator is undefined (None, and left out of macro means)
rather than zero; Matthews' coefficient of a constant prediction is 0.

The official scorer of the ISIC challenges (isic-challenge-scoring on PyPI) gives the same balanced accuracy, AUC and
average precision to the last digits. It differs, by its conventions, in the rest:

- its sensitivity, specificity, PPV, NPV, accuracy and Dice of a class count it as predicted where its own score is
  above 0.5, whatever the others are; ours count the class that the decision rule predicts;
- an image whose highest score is shared by two classes counts as wrong there; here the first of them in the order of
  the label set is predicted (see :func:`ties`);
- a ratio with an empty denominator counts as 1 there;
- it weighs images by ``score_weight``, which is 0 for one image of the 2018 test set (ISIC_0035068) and else 1; here
  images of weight 0 are left out when the ground truth is read.
"""

from __future__ import annotations

import numpy as np

from skinlesion.evaluation import calibration
from skinlesion.evaluation.intervals import Resamples, proportion, proportions, rates, resample, summarise
from skinlesion.evaluation.predictions import Predictions

#: What every metric is called for people.
NAMES = {
    "balanced_accuracy": "Balanced accuracy",
    "macro_auroc": "Macro AUROC",
    "malignant_auroc": "AUROC, malignant against benign",
    "weighted_auroc": "Weighted AUROC",
    "accuracy": "Accuracy",
    "macro_f1": "Macro F1",
    "kappa": "Cohen's kappa",
    "mcc": "Matthews' coefficient",
    **calibration.NAMES,
    "sensitivity": "Sensitivity (recall)",
    "specificity": "Specificity",
    "ppv": "PPV (precision)",
    "npv": "NPV",
    "f1": "F1",
    "auroc": "AUROC",
    "average_precision": "Average precision",
}

#: Metrics of one class against the rest.
PER_CLASS = ("sensitivity", "specificity", "ppv", "npv", "f1", "auroc", "average_precision")

#: Metrics of a whole set of predictions.
OVERALL = tuple(name for name in NAMES if name not in PER_CLASS)

#: Metrics of a part of the images: one source, or those confirmed by histology.
OF_A_PART = ("balanced_accuracy", "macro_auroc", "malignant_auroc", "accuracy", "ece")


def evaluate(
    predictions: Predictions, replicates: int = 2000, seed: int = 0, referred: np.ndarray | None = None
) -> dict:
    """Everything that ``metrics.json`` holds.

    Every metric is a dict with value, low, high and n. n is the number of images in its denominator: those of the
    class (sensitivity, AUROC, average precision), of the other classes (specificity), called so (PPV) or called
    otherwise (NPV), either of the class or called so (F1), and all of them for the overall metrics. Decision scores
    have no calibration: those metrics are None with n = 0. A calibration error has no interval, but what chance alone
    would show: see :func:`skinlesion.evaluation.calibration.by_chance`.

    Parameters
    ----------
    predictions : Predictions
    replicates : int, bootstrap replicates over lesions; with 0, only proportions have intervals
    seed : int, of the bootstrap
    referred : bool [N], optional
        The images that are referred: gives the parts a sensitivity and a specificity for malignant lesions.

    Returns
    -------
    dict
        The metrics of :data:`OVERALL`; ``per_class`` {code: the metrics of :data:`PER_CLASS`}; ``labels``,
        ``n_images``, ``n_lesions``, ``replicates``, ``interval``. Where sources are known, ``by_source`` {source: the
        metrics of :data:`OF_A_PART`, ``n_images``, ``n_lesions``, ``n_malignant`` and ``per_class`` sensitivity}; where
        the confirmation is known, ``histology_only``, the same of the images with histology, and their ``by_source``.

    Examples
    --------
    >>> import pandas as pd
    >>> codes = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
    >>> chosen = ("mel", "nv", "nv", "nv")
    >>> rows = [{f"p_{code}": 0.7 if code == one else 0.05 for code in codes} for one in chosen]
    >>> truth = {"image_id": ["a", "b", "c", "d"], "label": ["mel", "mel", "nv", "nv"]}
    >>> pd.DataFrame(rows).assign(**truth).to_csv("predictions.csv", index=False)
    >>> from skinlesion import read_predictions
    >>> found = evaluate(read_predictions("predictions.csv"))
    >>> found["balanced_accuracy"]["value"], found["per_class"]["mel"]["sensitivity"]["value"]
    (0.75, 0.5)
    """
    if not isinstance(predictions, Predictions):
        raise TypeError("give Predictions, as skinlesion.read_predictions makes them of a file")
    resamples = resample(predictions.lesions, replicates, seed)
    found = summarised(predictions, replicate_values(predictions, resamples), resamples, seed)
    histology = predictions.has_histology

    def sources(rows: np.ndarray) -> dict[str, dict]:
        names = sorted(set(predictions.source[rows]) - {""})
        return {name: part(rows & (predictions.source == name)) for name in names}

    def part(rows: np.ndarray) -> dict:
        return _of_a_part(predictions.take(rows), None if referred is None else referred[rows], replicates, seed)

    if by_source := sources(np.ones(len(predictions), bool)):
        found["by_source"] = by_source
    if histology.any():
        found["histology_only"] = part(histology) | {"by_source": sources(histology)}
    return found


def _of_a_part(part: Predictions, referred: np.ndarray | None, replicates: int, seed: int) -> dict:
    """The figures of some of the images, see :func:`evaluate`."""
    resamples = resample(part.lesions, replicates, seed)
    whole = summarised(part, replicate_values(part, resamples), resamples, seed)
    found = {name: whole[name] for name in (*OF_A_PART, "n_images", "n_lesions")}
    found["n_malignant"] = int(part.is_malignant.sum())
    found["per_class"] = {code: {"sensitivity": one["sensitivity"]} for code, one in whole["per_class"].items()}
    if referred is not None:
        malignant = part.is_malignant
        shares = {"sensitivity": (referred, malignant), "specificity": (~referred, ~malignant)}
        found |= proportions(shares, resamples.lesion)
    return found


def summarised(predictions: Predictions, values: dict[str, np.ndarray], resamples: Resamples, seed: int = 0) -> dict:
    """:func:`evaluate`'s result for all images from values that are computed already (:func:`replicate_values`)."""
    n, codes = len(predictions), predictions.labels.codes
    calibrated = n if predictions.are_probabilities else 0
    unit = "lesions" if predictions.has_lesions else "images (no lesion ids are known)"
    overall = {name: summarise(values[name], calibrated if name in calibration.NAMES else n) for name in OVERALL}
    if predictions.are_probabilities:
        overall |= calibration.calibration_errors(predictions.probabilities, predictions.y, resamples, seed)
    per_class = {}
    for i, code in enumerate(codes):
        called, true = predictions.predicted == i, predictions.y == i
        ranked = int(true.sum())
        support = {"f1": int((called | true).sum()), "auroc": ranked if ranked < n else 0, "average_precision": ranked}
        per_class[code] = rates(called, true, resamples.lesion)
        others = [name for name in PER_CLASS if name not in per_class[code]]
        per_class[code] |= {name: summarise(values[name][:, i], support.get(name, n)) for name in others}
    return {
        **overall,
        "accuracy": proportion(predictions.predicted == predictions.y, resamples.lesion),
        "per_class": per_class,
        "labels": list(codes),
        "n_images": n,
        "n_lesions": resamples.counts.shape[1],
        "replicates": len(resamples.counts) - 1,
        "interval": f"95% intervals over {unit}: of proportions Wilson's, else the percentile bootstrap",
    }


def flat_values(values: dict[str, np.ndarray], codes: tuple[str, ...]) -> dict[str, np.ndarray]:
    """:func:`replicate_values` under flat names: [1 + R] for ``accuracy`` and ``mel.auroc`` alike."""
    flat = {name: values[name] for name in OVERALL}
    return flat | {f"{code}.{name}": values[name][:, i] for i, code in enumerate(codes) for name in PER_CLASS}


def replicate_values(predictions: Predictions, resamples: Resamples) -> dict[str, np.ndarray]:
    """Every metric for the sample (row 0) and all replicates: [1 + R] for :data:`OVERALL`, [1 + R, K] for the others.

    NaN where undefined.
    """
    y, k = predictions.y, len(predictions.labels)
    cells = np.eye(k * k)[y * k + predictions.predicted]
    confusion = resamples.totals(cells).reshape(-1, k, k)
    values = confusion_metrics(confusion)
    if predictions.are_probabilities:
        values |= calibration.calibration_values(predictions.probabilities, y, resamples)
    else:
        values |= {name: np.full(len(resamples.counts), np.nan) for name in calibration.NAMES}
    ranked = [ranking(predictions.probabilities[:, c], y == c, resamples) for c in range(k)]
    values["auroc"] = np.stack([auroc for auroc, _ in ranked], axis=1)
    values["average_precision"] = np.stack([precision for _, precision in ranked], axis=1)
    values["macro_auroc"] = mean_defined(values["auroc"])
    values["malignant_auroc"] = ranking(predictions.malignant_probability, predictions.is_malignant, resamples)[0]
    values["weighted_auroc"] = mean_defined(values["auroc"], confusion.sum(axis=2))
    return values


def confusion_metrics(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Metrics of confusion matrices.

    ``confusion``: float [R, K, K], images by true class (rows) and predicted class (columns).
    Returns balanced_accuracy (mean sensitivity over the classes that occur), accuracy, macro_f1 (mean over the classes
    that occur or are predicted), kappa (Cohen 1960), mcc (Gorodkin 2004), each [R]; sensitivity, specificity, ppv, npv,
    f1, each [R, K].
    """
    n = confusion.sum(axis=(1, 2))
    true, called = confusion.sum(axis=2), confusion.sum(axis=1)
    hit = np.diagonal(confusion, axis1=1, axis2=2)
    missed, false = true - hit, called - hit
    rejected = n[:, None] - true - false
    right = hit.sum(axis=1)
    by_chance = (true * called).sum(axis=1)
    spread = (n**2 - (true**2).sum(axis=1)) * (n**2 - (called**2).sum(axis=1))
    sensitivity, f1 = ratio(hit, true), ratio(2 * hit, true + called)
    return {
        "balanced_accuracy": mean_defined(sensitivity),
        "accuracy": ratio(right, n),
        "macro_f1": mean_defined(f1),
        "kappa": ratio(n * right - by_chance, n**2 - by_chance),
        "mcc": np.where(spread > 0, ratio(n * right - by_chance, np.sqrt(spread)), 0.0),
        "sensitivity": sensitivity,
        "specificity": ratio(rejected, rejected + false),
        "ppv": ratio(hit, called),
        "npv": ratio(rejected, rejected + missed),
        "f1": f1,
    }


def balanced_accuracy(called: np.ndarray, y: np.ndarray, classes: int, resamples: Resamples) -> np.ndarray:
    """Balanced accuracy of predicted classes (int [N]) for the sample (row 0) and all replicates, float64 [1 + R]."""
    confusion = resamples.totals(np.eye(classes**2)[y * classes + called]).reshape(-1, classes, classes)
    return confusion_metrics(confusion)["balanced_accuracy"]


def ranking(score: np.ndarray, positive: np.ndarray, resamples: Resamples) -> tuple[np.ndarray, np.ndarray]:
    """AUROC (ties count half) and average precision (step-wise, no interpolation) of every replicate.

    One sort serves all replicates: with the images in ascending order and cumulated counts, every positive image needs
    just the counts below and up to its tie group. Returns two float64 [1 + R]; NaN where a replicate has no positive or
    (AUROC) no negative image.
    ``score``: float [N], higher for positives; ``positive``: bool [N].
    """
    order = np.argsort(score, kind="stable")
    ordered, hits = score[order], np.flatnonzero(positive[order])
    below = np.searchsorted(ordered, ordered[hits], side="left")  # images ranked lower than each positive one
    up_to = np.searchsorted(ordered, ordered[hits], side="right")  # the same, ties included
    hits_below, hits_up_to = np.searchsorted(hits, below), np.searchsorted(hits, up_to)

    auroc, precision = np.empty(len(resamples.counts)), np.empty(len(resamples.counts))
    for rows, counts in resamples.image_counts(order):
        drawn = counts[:, hits].astype(np.float64)
        images, positives = _cumulated(counts), _cumulated(counts[:, hits])
        total, total_positive = images[:, -1:], positives[:, -1:]
        lower = images[:, below] - positives[:, hits_below]
        tied = images[:, up_to] - positives[:, hits_up_to] - lower
        pairs = (total_positive * (total - total_positive))[:, 0]
        auroc[rows] = ratio((drawn * (lower + 0.5 * tied)).sum(axis=1), pairs)
        found = (total_positive - positives[:, hits_below]) / np.maximum(total - images[:, below], 1)
        precision[rows] = ratio((drawn * found).sum(axis=1), total_positive[:, 0])
    return auroc, precision


def _cumulated(counts: np.ndarray) -> np.ndarray:
    """Sum of the counts left of every position, int64 [r, M + 1]."""
    sums = np.zeros((counts.shape[0], counts.shape[1] + 1), np.int64)
    np.cumsum(counts, axis=1, out=sums[:, 1:])
    return sums


def ties(predictions: Predictions) -> tuple[int, float]:
    """Images whose highest score two classes share, and the balanced accuracy if those count as wrong.

    The second is what the official scorer reports.
    """
    scores, k = predictions.scores, len(predictions.labels)
    tied = (scores == scores.max(axis=1, keepdims=True)).sum(axis=1) > 1
    hit = (predictions.predicted == predictions.y) & ~tied
    sensitivity = ratio(np.bincount(predictions.y[hit], minlength=k), np.bincount(predictions.y, minlength=k))
    return int(tied.sum()), float(np.nanmean(sensitivity))


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Element by element; NaN where the denominator is zero."""
    numerator, denominator = np.broadcast_arrays(np.asarray(numerator, np.float64), np.asarray(denominator, np.float64))
    return np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator != 0)


def mean_defined(values: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Mean over the last axis of what is defined (not NaN)."""
    weights = np.isfinite(values) * (1.0 if weights is None else weights)
    return ratio((np.nan_to_num(values) * weights).sum(axis=-1), weights.sum(axis=-1))
