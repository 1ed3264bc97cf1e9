"""Predictions on corrupted, rotated and shifted images: needs a model and pixels, no training.

Every corrupted version is compared with the clean one image by image, so that the intervals are paired: each bootstrap
replicate draws the same lesions for both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from skinlesion.core.errors import DataError
from skinlesion.core.machine import thread_pool
from skinlesion.core.tables import counted
from skinlesion.evaluation import calibration
from skinlesion.evaluation.corruptions import CORRUPTIONS, MOVEMENTS, SEVERITIES, corrupt
from skinlesion.evaluation.intervals import Resamples, in_columns, proportion, resample, summarise
from skinlesion.evaluation.metrics import balanced_accuracy, ratio

CLEAN = "clean"
_CHUNK = 32  # frames corrupted and predicted at once


@dataclass(frozen=True, eq=False)
class Predicted:
    """A model's predictions for one version of all images: three arrays, a row per image."""

    probabilities: np.ndarray  # float64 [N, K]
    predicted: np.ndarray  # int64 [N]: class that the decision rule predicts
    in_domain: np.ndarray  # bool [N]


def sample_evenly(y: np.ndarray, most: int, seed: int = 0) -> np.ndarray:
    """Rows of at most ``most`` images per class, drawn at random, in their order: int64 [M] of int [N].

    Balanced accuracy is a mean over classes, so an even sample measures it as the whole set does, at less cost.
    """
    rng = np.random.default_rng(seed)
    return np.sort(np.concatenate([rng.permutation(np.flatnonzero(y == c))[:most] for c in np.unique(y)]))


def measure(
    model,
    frames: Sequence[np.ndarray],
    image_ids: Sequence[str],
    y: np.ndarray,
    lesions: np.ndarray,
    *,
    prior: np.ndarray | None = None,
    kinds: Sequence[str] = (*CORRUPTIONS, *MOVEMENTS),
    severities: Sequence[int] = SEVERITIES,
    replicates: int = 2000,
    seed: int = 0,
    progress: bool = False,
) -> pd.DataFrame:
    """Evaluate a model on corrupted and moved versions of images. Costs one prediction per image, kind and severity.

    Raises DataError for an unknown kind or severity, or where images, ids, classes and lesions differ in number.
    ``model``: Predictor, or anything with its ``predict``, which several threads call; ``frames``: uint8 [H, W, 3]
    each, of any sizes; ``image_ids``: of the frames, they decide what is drawn at random; ``y``: int [N], true class in
    the order of the model's labels; ``lesions``: [N], lesion ids; ``prior``: float [K], class mix that the
    probabilities are made for: calibration is measured with images weighed to it, since an even sample
    (:func:`sample_evenly`) has another one.
    Returns a row per kind and severity, the first one ``clean`` at severity 0: ``level``, ``n_images``, ``n_lesions``,
    and, each with ``_low`` and ``_high``, its 95% interval: ``balanced_accuracy``; ``relative``, the same over that of
    clean; ``same_label``, the fraction of images that keep their label; ``mean_change``, the mean over images of the
    largest change of a probability; ``in_domain``, the fraction that counts so (these three are means over these
    images, whatever their mix of classes); and, weighed to ``prior``, ``confidence``, the mean of the largest
    probability, ``accuracy``, how often that class is the true one, and ``ece``, the adaptive calibration error between
    the two.
    """
    unknown = [str(kind) for kind in kinds if kind not in CORRUPTIONS | MOVEMENTS]
    unknown += [str(severity) for severity in severities if severity not in SEVERITIES]
    if unknown:
        raise DataError(
            f"unknown: {', '.join(unknown)}; kinds are {', '.join(CORRUPTIONS | MOVEMENTS)}, severities 1 to 5"
        )
    if not len(frames) == len(image_ids) == len(y) == len(lesions) or not len(frames):
        raise DataError("robustness needs at least one image, and an id, a class and a lesion id for each")
    resamples = resample(lesions, replicates, seed)
    weight = np.ones(len(y)) if prior is None else _weights(y, np.asarray(prior))
    clean = _predict(model, len(y), frames.__getitem__)
    rows = [{"kind": CLEAN, "severity": 0, "level": 0.0} | _compare(clean, clean, y, resamples, weight)]

    def one(version: tuple[str, int]) -> dict:
        kind, severity = version
        changed = _predict(
            model, len(y), lambda i: corrupt(frames[i], kind, severity, image_id=image_ids[i], seed=seed)
        )
        level = (CORRUPTIONS | MOVEMENTS)[kind].levels[severity - 1]
        found = _compare(changed, clean, y, resamples, weight)
        return {"kind": kind, "severity": severity, "level": float(level)} | found

    todo = [(kind, severity) for kind in kinds for severity in severities]
    with thread_pool() as pool:  # one corrupts while another predicts
        rows += tqdm(pool.map(one, todo), total=len(todo), desc="corrupt", disable=not progress)
    return pd.DataFrame(rows)


def _predict(model, images: int, frame: Callable[[int], np.ndarray]) -> Predicted:
    found = []
    for start in range(0, images, _CHUNK):
        found += model.predict([frame(i) for i in range(start, min(start + _CHUNK, images))])
    codes = list(found[0].probabilities)
    return Predicted(
        np.array([[one.probabilities[code] for code in codes] for one in found]),
        np.array([codes.index(one.label) for one in found]),
        np.array([one.in_domain for one in found]),
    )


def _weights(y: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """A weight per image, float64 [N], that gives the classes which occur the mix of ``prior``; the mean is one."""
    weight = prior[y] / np.bincount(y, minlength=len(prior))[y]
    return weight * len(y) / weight.sum()


def _compare(changed: Predicted, clean: Predicted, y: np.ndarray, resamples: Resamples, weight: np.ndarray) -> dict:
    accuracy, before = (
        balanced_accuracy(one.predicted, y, one.probabilities.shape[1], resamples) for one in (changed, clean)
    )
    images = resamples.totals(np.ones(len(y)))
    change = np.abs(changed.probabilities - clean.probabilities).max(axis=1)
    confidence, right = calibration.top_label(changed.probabilities, y)
    total = resamples.totals(weight)
    gaps = resamples.totals(calibration.gaps(confidence, right) * weight[:, None])
    replicates = {
        "balanced_accuracy": accuracy,
        "relative": ratio(accuracy, before),
        "mean_change": resamples.totals(change) / images,
        "confidence": resamples.totals(confidence * weight) / total,
        "accuracy": resamples.totals(right * weight) / total,
        "ece": np.abs(gaps).sum(axis=1) / total,
    }
    metrics = {name: summarise(values, len(y)) for name, values in replicates.items()}
    metrics["same_label"] = proportion(changed.predicted == clean.predicted, resamples.lesion)
    metrics["in_domain"] = proportion(changed.in_domain, resamples.lesion)
    metrics["ece"] |= {"low": None, "high": None}  # its replicates lie above it, see calibration.by_chance
    return {"n_images": len(y), "n_lesions": resamples.counts.shape[1]} | in_columns(metrics)


def in_words(table: pd.DataFrame) -> str:
    """The most harmful corruption of severity 3, in one sentence of Markdown."""
    worst = weakest(table).iloc[0]
    return (
        f"{counted(worst['n_images'], 'image')}. At severity 3 **{worst['kind']}** is the most harmful corruption: "
        f"{worst['relative']:.0%} ({worst['relative_low']:.0%} to {worst['relative_high']:.0%}) of the balanced "
        "accuracy on uncorrupted images remains."
    )


def weakest(table: pd.DataFrame) -> pd.DataFrame:
    """The corruptions of one severity, the most harmful first."""
    kinds = table["kind"].isin(list(CORRUPTIONS)) & (table["severity"] == 3)
    return table[kinds].sort_values("relative", kind="stable").reset_index(drop=True)
