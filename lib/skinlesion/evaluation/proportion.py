"""Intervals of proportions (recall, specificity, accuracy, rates of a group) that hold near 0 and 1.

Resampling cannot show an error that the sample lacks: where all of 57 images are right, every bootstrap replicate is,
too, and its interval has no width. Wilson's score interval has one. Images of a lesion are alike, so it is computed for
the effective number of images, the number divided by the design effect; of seven such intervals Franco, Little, Louis
and Slud (2019, J. Surv. Stat. Methodol. 7:334-364, doi:10.1093/jssam/smy019) recommend Wilson's. Its coverage for
lesions as in HAM10000 stands in ``experiments/coverage.csv``.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from skinlesion.evaluation.bootstrap import LEVEL

_Z = float(norm.ppf((1 + LEVEL) / 2))


def proportion(hit: np.ndarray, lesion: np.ndarray) -> dict:
    """A share of images with its 95% interval, which always has a width.

    Parameters
    ----------
    hit : bool [N], the images that count as a success, among all that the share is of
    lesion : int [N], lesion index of every image, 0 or above

    Returns
    -------
    dict with value, low, high (float, 0 to 1; None where N is 0) and n (N)
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


def proportions(shares: dict[str, tuple[np.ndarray, np.ndarray]], lesion: np.ndarray) -> dict[str, dict]:
    """:func:`proportion` of several: {name: (hit, among)}, both bool [N]: which images count, and among which."""
    return {name: proportion(hit[among], lesion[among]) for name, (hit, among) in shares.items()}


def moments(hits: np.ndarray, images: np.ndarray) -> tuple:
    """Sums over lesions: hits, hits squared, hits times images, images squared (float [..., G] each -> [...])."""
    return hits.sum(-1), (hits**2).sum(-1), (hits * images).sum(-1), (images**2).sum(-1)


def design_effect(lesions, n, hits, hits2, hits_images, images2) -> np.ndarray:
    """By how much lesions with several images raise a proportion's variance above that of independent images.

    The linearised variance between lesions, with its G - 1 degrees of freedom, over the binomial one (Korn and Graubard
    1998, Survey Methodology 24:193-201). It is at least 1, since few lesions estimate it badly, and 1 where every
    lesion has one image; where all images agree, or there is one lesion, nothing estimates it, and the images of a
    lesion count as copies (Kish's effect at a correlation of 1).

    Parameters
    ----------
    lesions, n : int or int [...], number of lesions and of images
    hits, hits2, hits_images, images2 : float [...], see :func:`moments`

    Returns
    -------
    float64 [...], 1 or more
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
