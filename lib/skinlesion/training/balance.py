"""Balancing the classes of the training split, after splitting and on nothing else.

Every strategy chooses the rows that an epoch trains on, as a pure function of (seed, epoch).
"""

from __future__ import annotations

import numpy as np

from skinlesion.core.random_streams import generator


def class_targets(counts: np.ndarray, strategy: str, target_count: int = 0) -> np.ndarray:
    """Images a class that one epoch draws, int64 [K], of ``counts``, int [K], training images per class.

    ``none`` and ``loss`` leave the counts; ``classic`` gives every class ``target_count`` (0: the mean count),
    undersampling the larger and oversampling the smaller; ``sqrt`` shares the same total in proportion to the square
    root of the counts; ``weighted`` shares it evenly, in expectation. ``target_count`` is the mean over the classes
    present; 0: as many images as there are.
    """
    counts = np.asarray(counts, dtype=np.int64)
    present = counts > 0
    total = target_count * present.sum() or counts.sum()
    if strategy == "classic":
        return np.where(present, round(total / present.sum()), 0)
    if strategy in ("sqrt", "weighted"):
        share = np.sqrt(counts) if strategy == "sqrt" else present.astype(float)
        return np.rint(total * share / share.sum()).astype(np.int64)
    return counts.copy()


def epoch_rows(
    targets: np.ndarray, strategy: str, *, classes: int, seed: int, epoch: int, target_count: int = 0
) -> np.ndarray:
    """The training rows of one epoch, shuffled.

    A class drawn more often than it has images shows every image equally often before any is shown once more; one drawn
    less often shows a fresh subset every epoch. ``weighted`` draws independently, as a weighted random sampler does.
    ``targets``: int [N], class of every training row. Returns int64 [M], positions in ``targets``.
    """
    rng = generator(seed, epoch, stream="order")
    counts = np.bincount(targets, minlength=classes)
    if strategy == "weighted":
        weight = 1.0 / counts[targets]
        total = class_targets(counts, strategy, target_count).sum()
        return rng.choice(len(targets), total, p=weight / weight.sum())
    chosen = []
    for label, wanted in enumerate(class_targets(counts, strategy, target_count)):
        rows = np.flatnonzero(targets == label)
        if len(rows):
            whole, rest = divmod(int(wanted), len(rows))
            chosen += [np.tile(rows, whole), rng.permutation(rows)[:rest]]
    return rng.permutation(np.concatenate(chosen))


def loss_weights(counts: np.ndarray) -> np.ndarray:
    """Class weights for the cross-entropy, inversely proportional to the counts; the mean over images is one.

    Returns float32 [K]; zero for a class without images.
    """
    counts = np.asarray(counts, dtype=np.float64)
    weights = np.divide(counts.sum() / (counts > 0).sum(), counts, out=np.zeros_like(counts), where=counts > 0)
    return weights.astype(np.float32)


def training_prior(counts: np.ndarray, strategy: str, target_count: int = 0) -> np.ndarray:
    """The class prior of the samples that this strategy trains on, float64 [K]."""
    if strategy == "loss":
        drawn = (np.asarray(counts) > 0).astype(float)
    else:
        drawn = class_targets(counts, strategy, target_count).astype(float)
    return drawn / drawn.sum()
