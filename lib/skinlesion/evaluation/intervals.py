"""Uncertainty: intervals by resampling lesions, and of proportions, which have to hold near 0 and 1.

Images of one lesion resemble each other, so the lesion is what is drawn with replacement (the cluster bootstrap; Field
and Welsh 2007, doi:10.1111/j.1467-9868.2007.00593.x). A replicate is stored as a count of every lesion: metrics built
from sums need one matrix product for all replicates, and ranking metrics need one sort for all of them.

Resampling cannot show an error that the sample lacks: where all of 57 images are right, every replicate is, too, and
its interval has no width. Proportions (recall, specificity, accuracy) have Wilson's score interval instead, computed
for the effective number of images: the number divided by the design effect. Of seven such intervals Franco, Little,
Louis and Slud (2019, J. Surv. Stat. Methodol. 7:334-364, doi:10.1093/jssam/smy019) recommend Wilson's. Its coverage for
lesions as in HAM10000 stands in ``experiments/coverage.csv``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtri

LEVEL = 0.95

#: What every figure is: ``value``, the ends ``low`` and ``high`` of its 95% interval (float, or None where undefined)
#: and ``n``, the images that it rests on. A calibration error has ``by_chance`` and ``p`` instead of an interval.
Metric = dict[str, Any]

_AT_ONCE = 640_000  # counts of images handled at once: 64 replicates of 10,000 images fit the processor's cache
_IN_MEMORY = 64 * 1024**2  # bytes of counts; more are in a temporary file, whose pages the kernel may take back
_Z = float(ndtri((1 + LEVEL) / 2))


@dataclass(frozen=True, eq=False)
class Resamples:
    """Which lesions every replicate drew."""

    lesion: np.ndarray  # int64 [N]: lesion index of every image
    #: uint16 [1 + R, G]: how often a replicate (row) drew a lesion (column). Row 0 is the sample itself, one of each,
    #: so that a metric's value and its replicates come from the same formula.
    counts: np.ndarray

    def totals(self, rows: np.ndarray) -> np.ndarray:
        """Sum of ``rows`` (float [N] or [N, M], a row per image) over each replicate's images, float64 [1 + R(, M)]."""
        rows = np.asarray(rows, np.float64)
        flat = rows.reshape(len(rows), -1)
        lesions = self.counts.shape[1]
        sums = np.stack([np.bincount(self.lesion, column, minlength=lesions) for column in flat.T], axis=1)
        chunks = [self.counts[chunk].astype(np.float64) @ sums for chunk in self._chunks(lesions)]
        return np.concatenate(chunks).reshape(len(self.counts), *rows.shape[1:])

    def image_counts(self, order: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """How often each image of ``order`` (int [M]) was drawn, a few replicates at a time: (slice, uint16 [r, M])."""
        lesion = self.lesion[order]
        for rows in self._chunks(len(order)):
            yield rows, self.counts[rows].take(lesion, axis=1)

    def _chunks(self, width: int) -> Iterator[slice]:
        """Rows of the counts, as many at once as keep memory the same for any number of images."""
        step = max(1, _AT_ONCE // max(1, width))
        for start in range(0, len(self.counts), step):
            yield slice(start, min(start + step, len(self.counts)))


def resample(lesions: np.ndarray, replicates: int = 2000, seed: int = 0) -> Resamples:
    """Draw lesions with replacement; the same lesions and seed give the same replicates, however the rows are ordered.

    ``lesions``: [N], lesion id of every image; ``replicates``: 0 for no intervals. Raises ValueError for fewer.
    """
    if replicates < 0:
        raise ValueError(f"replicates must be 0 or more, not {replicates}")
    names, lesion = np.unique(np.asarray(lesions).astype(str), return_inverse=True)
    random = np.random.default_rng(seed)
    shape = (1 + replicates, len(names))
    if 2 * shape[0] * shape[1] <= _IN_MEMORY:
        counts = np.empty(shape, np.uint16)
    else:
        with tempfile.TemporaryFile() as file:  # stays while it is mapped
            counts = np.memmap(file, np.uint16, "w+", shape=shape)
    counts[0] = 1
    for row in counts[1:]:
        row[:] = np.bincount(random.integers(len(names), size=len(names)), minlength=len(names))
    return Resamples(lesion.reshape(-1), counts)


def summarise(values: np.ndarray, n: int) -> Metric:
    """A metric with its 95% percentile interval.

    Replicates in which the metric is undefined (NaN: a class was not drawn) don't count. Where the metric of the sample
    itself is undefined, all three numbers are None. Returns a dict with value, low, high (float or None) and n (int).
    ``values``: float [1 + R], the value, then that of every replicate; ``n``: images that the metric rests on.
    """
    value, replicates = values[0], values[1:][np.isfinite(values[1:])]
    found: Metric = {"value": float(value) if np.isfinite(value) else None, "low": None, "high": None, "n": int(n)}
    if np.isfinite(value) and len(replicates):
        found["low"], found["high"] = np.quantile(replicates, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    return found


def describe(metric: Metric, digits: int = 3) -> str:
    """``0.812 (0.790 to 0.834)``, or ``undefined`` where no image carries the metric.

    Of a calibration error: ``0.031 (by chance 0.020; p = 0.004)``.
    """
    if metric["value"] is None:
        return "undefined"
    value = f"{metric['value']:.{digits}f}"
    if metric.get("by_chance") is not None:
        return f"{value} (by chance {metric['by_chance']:.{digits}f}; p {p_in_words(metric['p'])})"
    if metric["low"] is None:
        return value
    return f"{value} ({metric['low']:.{digits}f} to {metric['high']:.{digits}f})"


def in_columns(metrics: dict[str, Metric]) -> dict:
    """``{name: value, name_low: …, name_high: …}`` of several metrics: their columns in a table."""
    ends = (("", "value"), ("_low", "low"), ("_high", "high"))
    return {f"{name}{mark}": metric[end] for name, metric in metrics.items() for mark, end in ends}


def from_columns(row, name: str) -> Metric:
    """A metric's value and interval, from a row of a table as :func:`in_columns` makes one."""
    return {"value": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]}


def is_significant(difference: Metric) -> bool:
    """Whether the 95% interval leaves out zero."""
    return difference["low"] is not None and (difference["low"] > 0 or difference["high"] < 0)


def p_in_words(p: float) -> str:
    """``= 0.012``, or ``< 0.001``."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def proportion(hit: np.ndarray, lesion: np.ndarray) -> Metric:
    """A share of images with its 95% interval, which always has a width.

    Returns a dict with value, low, high (float, 0 to 1; None where N is 0) and n (N).
    ``hit``: bool [N], the images that count as a success, among all that the share is of; ``lesion``: int [N], lesion
    index of every image, 0 or above.
    """
    images = np.bincount(lesion)
    hits = np.bincount(lesion, np.asarray(hit, np.float64))[images > 0]
    images = images[images > 0].astype(np.float64)
    n = len(hit)
    if not n:
        return {"value": None, "low": None, "high": None, "n": 0}
    value = float(hits.sum() / n)
    effective = n / design_effect(len(images), n, *(sums[None] for sums in moments(hits, images)))[0]
    low, high = wilson(value, effective)
    return {"value": value, "low": min(float(low), value), "high": max(float(high), value), "n": n}


def proportions(shares: dict[str, tuple[np.ndarray, np.ndarray]], lesion: np.ndarray) -> dict[str, Metric]:
    """:func:`proportion` of several: {name: (hit, among)}, both bool [N]: which images count, and among which."""
    return {name: proportion(hit[among], lesion[among]) for name, (hit, among) in shares.items()}


def rates(called: np.ndarray, true: np.ndarray, lesion: np.ndarray) -> dict[str, Metric]:
    """Sensitivity, specificity, PPV and NPV of calling some images (bool [N]) what others truly are (bool [N])."""
    shares = {
        "sensitivity": (called, true),
        "specificity": (~called, ~true),
        "ppv": (true, called),
        "npv": (~true, ~called),
    }
    return proportions(shares, lesion)


def moments(hits: np.ndarray, images: np.ndarray) -> tuple:
    """Sums over lesions: hits, hits squared, hits times images, images squared (float [..., G] each -> [...])."""
    return hits.sum(-1), (hits**2).sum(-1), (hits * images).sum(-1), (images**2).sum(-1)


def design_effect(lesions, n, hits, hits2, hits_images, images2) -> np.ndarray:
    """By how much lesions with several images raise a proportion's variance above that of independent images.

    The linearised variance between lesions, with its G - 1 degrees of freedom, over the binomial one (Korn and Graubard
    1998, Survey Methodology 24:193-201). It is at least 1, since few lesions estimate it badly, and 1 where every
    lesion has one image; where all images agree, or there is one lesion, nothing estimates it, and the images of a
    lesion count as copies (Kish's effect at a correlation of 1). Returns float64 [...], 1 or more.
    ``lesions``, ``n``: int or int [...], number of lesions and of images; ``hits``, ``hits2``, ``hits_images``,
    ``images2``: float [...], see :func:`moments`.
    """
    lesions, share = np.asarray(lesions), hits / n
    between = hits2 - 2 * share * hits_images + share**2 * images2  # squared residuals of lesions
    independent = n * share * (1 - share)
    estimated = (independent > 1e-9) & (lesions > 1)
    scale = np.where(lesions == n, 1.0, lesions / np.maximum(lesions - 1, 1))
    effect = np.divide(between * scale, independent, out=np.ones_like(independent), where=estimated)
    return np.where(estimated, np.maximum(effect, 1.0), images2 / n)


def wilson(share, n) -> tuple:
    """Wilson's 95% score interval (1927, doi:10.1080/01621459.1927.10502953) of a share of n independent images."""
    centre = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * np.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)
