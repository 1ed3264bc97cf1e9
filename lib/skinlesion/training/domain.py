"""The distribution of the training images' features, by which a model flags an image as out of distribution.

The score is Mahalanobis' distance of an image's pooled features from those of the training images (Lee et al. 2018,
arXiv:1807.03888, with one mean for all classes), under a covariance of low rank plus noise (probabilistic principal
component analysis: Tipping and Bishop 1999, doi:10.1111/1467-9868.00196), which keeps it small enough for the
model file. Every class has the same weight in mean and covariance: a distance dominated by nevi would flag the rare
malignant lesions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skinlesion.core.config import Config
from skinlesion.core.errors import DataError
from skinlesion.core.runs import Run
from skinlesion.data.cache import linked_cache
from skinlesion.data.splits import load_split
from skinlesion.data.table import LesionTable
from skinlesion.training.networks.models import Classifier
from skinlesion.training.trained import predict

KEPT = 0.95  # fraction of validation images that count as in domain
MOST_COMPONENTS = 160  # of 1,280 features: 0.8 MB in the model file
IMAGES_A_COMPONENT = 8  # fewer would fit the sample, not the distribution
MOST_OF_A_CLASS = 700  # training images whose features are used; more change no figure and cost time


@dataclass(frozen=True, eq=False)
class Domain:
    """A Gaussian over features, of low rank plus noise, and where it ends.

    Attributes
    ----------
    mean : float64 [D]
    components : float64 [D, C]
        Orthonormal directions of the largest variance.
    variances : float64 [C]
        Along the components.
    noise : float
        Variance along every other direction; above zero.
    threshold : float
        Scores below it are out of domain.
    kept_in_training : float
        Fraction of the training images that the threshold accepts. The network was trained on them, so it is above
        :data:`KEPT`.
    """

    mean: np.ndarray
    components: np.ndarray
    variances: np.ndarray
    noise: float
    threshold: float = -np.inf
    kept_in_training: float = 1.0

    def score(self, features: np.ndarray) -> np.ndarray:
        """Minus the distance, in root mean square standard deviations: float64 [N] of [N, D]; higher is more alike.

        About -1 for an image like those of training, for any network.
        """
        away = np.asarray(features, np.float64) - self.mean
        along = (away @ self.components) ** 2
        squared = (along / self.variances).sum(1) + ((away**2).sum(1) - along.sum(1)) / self.noise
        return -np.sqrt(np.maximum(squared, 0) / len(self.mean))

    def to_dict(self) -> dict:
        """The manifest's part of it."""
        return {
            "method": "mahalanobis",
            "threshold": self.threshold,
            "kept": KEPT,
            "kept_in_training": self.kept_in_training,
        }


def fit_gaussian(features: np.ndarray, y: np.ndarray) -> Domain:
    """Mean and covariance of features in which every class has the same weight; no threshold yet.

    Parameters
    ----------
    features : float [N, D]
    y : int [N]

    Raises
    ------
    DataError
        Where there are fewer than two images.
    """
    if len(features) < 2:
        raise DataError("the domain of a model needs two training images or more")
    _, inverse, counts = np.unique(y, return_inverse=True, return_counts=True)
    weights = 1 / counts[inverse] / len(counts)
    features = np.asarray(features, np.float64)
    mean = weights @ features
    scaled = (features - mean) * np.sqrt(weights)[:, None]
    variances, directions = np.linalg.eigh(scaled.T @ scaled)
    variances, directions = np.maximum(variances[::-1], 0), directions[:, ::-1]
    rank = max(1, min(MOST_COMPONENTS, len(mean) // 2, len(features) // IMAGES_A_COMPONENT))
    floor = 1e-6 * variances.mean() + np.finfo(np.float32).tiny  # features that never move must not divide by zero
    noise = max(float(variances[rank:].mean()), floor) if rank < len(mean) else floor
    return Domain(mean, directions[:, :rank], np.maximum(variances[:rank], noise), noise)


def bounded(
    domain: Domain, training: np.ndarray, validation: np.ndarray | None, kept_in_training: float = KEPT
) -> Domain:
    """The domain with its threshold: the score that :data:`KEPT` of the validation images reach.

    Parameters
    ----------
    training, validation : float [N, D], [M, D]
        Features. Without validation images, the score that ``kept_in_training`` of the training images reach.
    """
    scores = domain.score(training)
    if validation is not None:
        threshold = float(np.quantile(domain.score(validation), 1 - KEPT))
    else:
        threshold = float(np.quantile(scores, 1 - kept_in_training))
    return Domain(
        domain.mean, domain.components, domain.variances, domain.noise, threshold, float((scores >= threshold).mean())
    )


def fit_domain(model: Classifier, run: Run, config: Config, *, kept_in_training: float | None = None) -> Domain:
    """Fit the run's domain on its training images, with the threshold that its validation images set.

    Parameters
    ----------
    kept_in_training : float
        For a network that was trained on the validation images too: the fraction of the training images to accept, as
        other folds' networks found it.

    Raises
    ------
    DataError
        Where the run has no pixels or split yet, or neither validation images nor ``kept_in_training``.
    """
    split = load_split(run.need(run.split, "02_preprocessing"))["split"].to_numpy(str)
    targets, cache = LesionTable.load(run).targets, linked_cache(run)
    rng = np.random.default_rng(config.seed)
    training = np.flatnonzero(split == "train")
    classes = [rng.permutation(training[targets[training] == c])[:MOST_OF_A_CLASS] for c in np.unique(targets)]
    training = np.sort(np.concatenate(classes))
    validation = np.flatnonzero(split == "validation")
    if not len(validation) and kept_in_training is None:
        raise DataError("the split has no validation images to choose the domain's threshold on; choose another fold")
    _, features = predict(model, cache, training, views=config.views)
    domain = fit_gaussian(features, targets[training])
    if kept_in_training is not None:
        return bounded(domain, features, None, kept_in_training)
    return bounded(domain, features, predict(model, cache, validation, views=config.views)[1])
