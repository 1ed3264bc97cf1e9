"""How often 95% intervals of a proportion hold the true one, for lesions with as many images as in HAM10000.

    python -m experiments.coverage    # writes experiments/coverage.csv; about a minute on one core

Images of a lesion share their outcome with probability sqrt(correlation) each, so any two of them correlate by
``correlation``; recall in HAM10000 has 0.45 to 0.78 between images of one lesion (the shipped recipe, out of fold).
``lesions`` is whose number of images a lesion is drawn from: all of HAM10000's, or its melanomas', which have most.
For 50 true proportions from 0.50 to 0.99, and at each number of images:

- ``mean``, the coverage averaged over them;
- ``least``, the lowest coverage of one with at least one expected error (n (1 - p) >= 1);
- ``narrowest``, the smallest width of an interval;
- ``bootstrap``, the mean coverage of the percentile bootstrap over lesions, up to 300 images.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd

from experiments.recipes import ROOT
from skinlesion.core.writing import write_csv
from skinlesion.evaluation.intervals import design_effect, moments, wilson

FILE = ROOT / "experiments" / "coverage.csv"
SIZES = {"all": (5514, 1423, 490, 34, 5, 4), "melanoma": (230, 278, 100, 4, 1, 1)}  # lesions with 1, 2, … images
CORRELATIONS = (0.0, 0.3, 0.6, 0.9)
IMAGES = (15, 30, 57, 115, 300, 1500)
TRUE = np.linspace(0.5, 0.99, 50)
SAMPLES, BOOTSTRAPPED, RESAMPLES = 2000, 100, 400


def lesions_of(n: int, sizes: tuple[int, ...], samples: int, random: np.random.Generator) -> np.ndarray:
    """Images of every lesion of samples with n images each, int [samples, n]; the last one is cut, the rest are 0."""
    drawn = random.choice(np.arange(1, len(sizes) + 1), (samples, n), p=np.divide(sizes, np.sum(sizes)))
    before = np.cumsum(drawn, axis=1) - drawn
    return np.clip(n - before, 0, drawn)


def coverage(n: int, sizes: tuple[int, ...], correlation: float, random: np.random.Generator) -> dict:
    """Coverage of samples with n images; see the head of this file."""
    samples = SAMPLES if n < 1000 else SAMPLES // 4
    images = lesions_of(n, sizes, samples, random)
    lesion = np.repeat(np.arange(images.size), images.ravel())  # one index for all samples
    alike = random.random(lesion.size) < np.sqrt(correlation)
    level = np.where(alike, random.random(images.size)[lesion], random.random(lesion.size))
    covered, narrowest, first = [], 1.0, []
    for p in TRUE:
        hits = np.bincount(lesion, level < p, minlength=images.size).reshape(images.shape)
        sums = moments(hits.astype(float), images.astype(float))
        effective = n / design_effect((images > 0).sum(axis=1), n, *sums)
        low, high = wilson(sums[0] / n, effective)
        covered.append(np.mean((low <= p) & (p <= high)))
        narrowest = min(narrowest, float((high - low).min()))
        first.append(hits[:BOOTSTRAPPED])
    covered = np.array(covered)
    return {
        "mean": covered.mean(),
        "least": covered[n * (1 - TRUE) >= 1 - 1e-9].min(),
        "narrowest": narrowest,
        "bootstrap": bootstrap(np.stack(first, axis=1), images, random) if n <= 300 else np.nan,
    }


def bootstrap(hits: np.ndarray, images: np.ndarray, random: np.random.Generator) -> float:
    """Mean coverage of the percentile bootstrap over lesions; hits int [samples, true proportions, lesions]."""
    covered = []
    for own, size in zip(hits, images, strict=False):
        known = size > 0
        drawn = random.multinomial(known.sum(), np.full(known.sum(), 1 / known.sum()), RESAMPLES)
        low, high = np.quantile(drawn @ own[:, known].T / (drawn @ size[known])[:, None], (0.025, 0.975), axis=0)
        covered.append((low <= TRUE) & (high >= TRUE))
    return float(np.mean(covered))


def line(lesions: str, correlation: float, n: int) -> dict:
    """One line of the table, the same wherever it is computed."""
    random = np.random.default_rng([list(SIZES).index(lesions), round(10 * correlation), n])
    found = {"lesions": lesions, "correlation": correlation, "images": n}
    return found | coverage(n, SIZES[lesions], correlation, random)


def main() -> None:
    table = pd.DataFrame([line(*which) for which in product(SIZES, CORRELATIONS, IMAGES)])
    write_csv(FILE, table.round(4))
    print(table.round(3).to_string(index=False))


if __name__ == "__main__":
    main()
