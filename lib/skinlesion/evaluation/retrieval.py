"""What similar cases alone achieve: every image gets the class that most of its nearest training images have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skinlesion.core.errors import DataError
from skinlesion.core.similarity import NEAREST, unit
from skinlesion.evaluation.intervals import Metric, describe, resample, summarise
from skinlesion.evaluation.metrics import balanced_accuracy
from skinlesion.evaluation.predictions import Predictions


@dataclass(frozen=True, eq=False)
class Cases:
    """Labelled images with the network's features."""

    features: np.ndarray  # float [N, D]
    y: np.ndarray  # int [N], class index
    lesions: np.ndarray  # str [N]

    def vote(self, features: np.ndarray, lesions: np.ndarray) -> np.ndarray:
        """The class of most of the :data:`NEAREST` lesions whose images are nearest, by cosine similarity; int64 [M].

        A lesion counts once, with its nearest image. Of classes with as many, the one with the nearest image. Raises
        DataError if all cases are of an image's own lesion.
        ``features``: float [M, D]; ``lesions``: str [M], each image's own, whose cases do not vote.
        """
        similarity = unit(features) @ unit(self.features).T
        called = np.empty(len(features), np.int64)
        for row, order in enumerate(np.argsort(-similarity, axis=1, kind="stable")):
            order = order[self.lesions[order] != lesions[row]]
            if not len(order):
                raise DataError(f"all cases are of the lesion {lesions[row]}, so none is left to vote")
            first = np.sort(np.unique(self.lesions[order], return_index=True)[1])[:NEAREST]
            classes = self.y[order[first]]
            called[row] = classes[np.bincount(classes)[classes].argmax()]
        return called


def measure(
    predictions: Predictions, features: np.ndarray, cases: Cases, replicates: int = 2000, seed: int = 0
) -> dict:
    """Balanced accuracy of the vote, and that of the predictions minus it, with intervals over lesions.

    Returns a dict: ``balanced_accuracy`` and ``difference`` as value, low, high and n; ``neighbours`` and ``cases``,
    their numbers. Raises DataError if there are not as many features as predictions.
    ``predictions``: of images that are not among the cases; ``features``: float [N, D], in their order.
    """
    if len(features) != len(predictions):
        raise DataError(f"there are {len(features):,} rows of features for {len(predictions):,} predictions")
    found = compare_vote(predictions, cases.vote(features, predictions.lesions), replicates, seed)
    return found | {"neighbours": NEAREST, "cases": len(cases.y)}


def compare_vote(
    predictions: Predictions, vote: np.ndarray, replicates: int = 2000, seed: int = 0
) -> dict[str, Metric]:
    """``balanced_accuracy`` of a vote, int [N], class index, and ``difference``, the predictions' minus it."""
    resamples, classes = resample(predictions.lesions, replicates, seed), len(predictions.labels)
    reached, own = (
        balanced_accuracy(called, predictions.y, classes, resamples) for called in (vote, predictions.predicted)
    )
    found = {"balanced_accuracy": reached, "difference": own - reached}
    return {name: summarise(values, len(predictions)) for name, values in found.items()}


def in_words(found: dict, own: Metric) -> str:
    """:func:`measure`'s result beside the model's own balanced accuracy, in two sentences of Markdown."""
    return (
        f"The vote of the {found['neighbours']} most similar lesions among {found['cases']:,} training images has a "
        f"balanced accuracy of **{describe(found['balanced_accuracy'])}**, the model's label {describe(own)}. The "
        f"difference is {describe(found['difference'])}."
    )
