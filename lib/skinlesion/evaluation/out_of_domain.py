"""How well a score separates images of the domain from all others. Needs scores alone, whichever model made them.

FPR95 is the fraction of out-of-distribution images that still pass where 95% of the domain's images do (Hendrycks and
Gimpel 2017, arXiv:1610.02136, and its successors).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from skinlesion.core.errors import DataError
from skinlesion.evaluation.intervals import Resamples, in_columns, resample, summarise
from skinlesion.evaluation.metrics import ranking

KEPT = 0.95
ALL = "all sets, their mean"


def measure(
    model,
    frames: Sequence[np.ndarray],
    lesions: np.ndarray,
    others: Mapping[str, Any],
    *,
    replicates: int = 2000,
    seed: int = 0,
) -> tuple[pd.DataFrame, np.ndarray, dict[str, np.ndarray]]:
    """Score images of the domain and out-of-distribution images with a Predictor, and compare the scores.

    Returns a table of :func:`detection`; scores of the domain, float64 [N]; scores of every set, {set: float64 [M]}.
    ``frames``: uint8 [H, W, 3] each, of the domain; ``lesions``: [N], lesion ids of ``frames``; ``others``: {set:
    object with ``frames`` and ``sources``}, as ``not_dermatoscopic.picture_sets`` returns them.
    """
    inside = _domain_scores(model, frames)
    outside = {name: _domain_scores(model, one.frames) for name, one in others.items()}
    by_source = {name: (outside[name], np.array(one.sources)) for name, one in others.items()}
    return detection(inside, lesions, by_source, replicates=replicates, seed=seed), inside, outside


def _domain_scores(model, frames: Sequence[np.ndarray]) -> np.ndarray:
    return np.array([one.domain_score for one in model.predict(frames)])


def detection(
    inside: np.ndarray,
    lesions: np.ndarray,
    outside: dict[str, tuple[np.ndarray, np.ndarray]],
    *,
    replicates: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """AUROC and FPR95 of a domain score against every set of out-of-distribution images.

    Each replicate draws lesions for the domain and sources (whole photos, not their crops) for the others, so a set cut
    from a handful of photos gets the wide interval that it deserves. Raises DataError where there are no images on one
    side.
    ``inside``: float [N], scores of images of the domain; higher is more in domain; ``lesions``: [N], lesion ids;
    ``outside``: {set: (scores float [M], sources [M])}. Returns a row per set and a last one with their mean: ``set``,
    ``n_images``, ``n_sources``, ``auroc``, ``fpr95``, and both with ``_low`` and ``_high``.
    """
    if not len(inside) or not outside or not all(len(scores) for scores, _ in outside.values()):
        raise DataError("evaluating a domain score needs images of the domain and out-of-distribution images")
    near = resample(lesions, replicates, seed)
    rows, replicate_values = [], []
    for number, (name, (scores, sources)) in enumerate(outside.items()):
        far = resample(sources, replicates, seed + 1 + number)
        values = {
            "auroc": _auroc(inside, np.asarray(scores), near, far),
            "fpr95": _passing(inside, np.asarray(scores), near, far),
        }
        replicate_values.append(values)
        rows.append(_row(name, len(scores), far.counts.shape[1], values))
    mean = {measure: np.mean([one[measure] for one in replicate_values], axis=0) for measure in ("auroc", "fpr95")}
    n_images, n_sources = (sum(row[name] for row in rows) for name in ("n_images", "n_sources"))
    return pd.DataFrame([*rows, _row(ALL, n_images, n_sources, mean)])


def _row(name: str, n_images: int, n_sources: int, values: dict[str, np.ndarray]) -> dict:
    metrics = {measure: summarise(replicates, n_images) for measure, replicates in values.items()}
    return {"set": name, "n_images": n_images, "n_sources": n_sources} | in_columns(metrics)


def _auroc(inside: np.ndarray, outside: np.ndarray, near: Resamples, far: Resamples) -> np.ndarray:
    both = Resamples(
        np.concatenate([near.lesion, far.lesion + near.counts.shape[1]]), np.concatenate([near.counts, far.counts], 1)
    )
    positive = np.arange(len(inside) + len(outside)) < len(inside)
    return ranking(np.concatenate([inside, outside]), positive, both)[0]


def _passing(inside: np.ndarray, outside: np.ndarray, near: Resamples, far: Resamples) -> np.ndarray:
    """Fraction of the others at or above the highest score that :data:`KEPT` of the domain's images reach."""
    order, order_far = np.argsort(-inside, kind="stable"), np.argsort(-outside, kind="stable")
    falling = -outside[order_far]
    result = np.empty(len(near.counts))
    for (rows, drawn), (_, drawn_far) in zip(near.image_counts(order), far.image_counts(order_far), strict=True):
        reached = np.cumsum(drawn, axis=1, dtype=np.int64)
        needed = np.ceil(KEPT * reached[:, -1:] - 1e-9)
        threshold = inside[order][(reached < needed).sum(axis=1)]
        passing = np.cumsum(drawn_far, axis=1, dtype=np.int64)
        above = np.searchsorted(falling, -threshold, side="right")
        result[rows] = np.where(above > 0, passing[np.arange(len(above)), above - 1], 0) / passing[:, -1]
    return result
