"""The distribution of the training images' features, by which a model flags an image as out of distribution.

Two scores, each with a threshold below which an image is flagged; for both, higher is more alike.

``other_camera`` is mild: minus Mahalanobis' distance of an image's pooled features from those of the training images
(Lee et al. 2018, arXiv:1807.03888, with one mean for all classes), under a covariance of low rank plus noise
(probabilistic principal component analysis: Tipping and Bishop 1999, doi:10.1111/1467-9868.00196), which keeps it small
enough for the model file. ``not_dermatoscopic`` is strong: the share of an image's centred feature energy that lies
along the stored components. Another camera moves an image far along directions in which dermatoscopic images differ
from each other; another kind of picture moves along others. A linear probe of the features can take its place, as
it does in the shipped model, which was made with photographs that are not dermatoscopic at hand.

Every class has the same weight in mean and covariance: a distance dominated by nevi would flag the rare malignant
lesions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from skinlesion.core.config import Config
from skinlesion.core.errors import DataError
from skinlesion.core.runs import Run
from skinlesion.data.cache import recorded_cache
from skinlesion.data.splits import load_split
from skinlesion.data.table import LesionTable
from skinlesion.decision import NOT_DERMATOSCOPIC, OTHER_CAMERA
from skinlesion.training.networks.models import Classifier
from skinlesion.training.trained import predict

#: Fraction of validation images that each score's threshold accepts.
ACCEPTED = {OTHER_CAMERA: 0.95, NOT_DERMATOSCOPIC: 0.995}
PROBE_ACCEPTED = 0.98  # the same for the probe: it then flags five in six close-ups; at 0.995 it would two in three
MOST_COMPONENTS = 160  # of 1,280 features: 0.8 MB in the model file
IMAGES_A_COMPONENT = 8  # fewer would fit the sample, not the distribution
MOST_OF_A_CLASS = 700  # training images whose features are used; more change no figure and cost time


@dataclass(frozen=True, eq=False)
class Domain:
    """A Gaussian over features, of low rank plus noise, and where it ends."""

    mean: np.ndarray  # float64 [D]
    components: np.ndarray  # float64 [D, C]: orthonormal directions of the largest variance
    variances: np.ndarray  # float64 [C]: along the components
    noise: float  # variance along every other direction; above zero
    thresholds: Mapping[str, float] = field(default_factory=dict)  # dict score -> float: images with less are flagged
    #: dict score -> float: fraction of the training images that the threshold accepts. The network was trained on them,
    #: so it is above :data:`ACCEPTED`.
    accepted_in_training: Mapping[str, float] = field(default_factory=dict)
    #: float64 [D + 1], optional: weights and intercept of the linear score ``not_dermatoscopic``; without it, that is
    #: the share of energy
    probe: np.ndarray | None = None

    def scores(self, features: np.ndarray) -> dict[str, np.ndarray]:
        """Both scores of features [N, D], float64 [N] each.

        ``other_camera`` is in root mean square standard deviations, about -1 for an image like those of training, for
        any network; ``not_dermatoscopic`` lies between 0 and 1, or is the probe's log-odds.
        """
        away = np.asarray(features, np.float64) - self.mean
        along, whole = (away @ self.components) ** 2, (away**2).sum(1)
        squared = (along / self.variances).sum(1) + (whole - along.sum(1)) / self.noise
        if self.probe is None:
            strong = along.sum(1) / np.maximum(whole, np.finfo(np.float32).tiny)
        else:
            strong = np.asarray(features, np.float64) @ self.probe[:-1] + self.probe[-1]
        return {OTHER_CAMERA: -np.sqrt(np.maximum(squared, 0) / len(self.mean)), NOT_DERMATOSCOPIC: strong}

    def to_dict(self) -> dict:
        """The manifest's part of it."""
        strong = "energy along the components" if self.probe is None else "linear probe"
        methods = {OTHER_CAMERA: "mahalanobis", NOT_DERMATOSCOPIC: strong}
        accepted = ACCEPTED if self.probe is None else ACCEPTED | {NOT_DERMATOSCOPIC: PROBE_ACCEPTED}
        values = {"threshold": self.thresholds, "kept": accepted, "kept_in_training": self.accepted_in_training}
        return {
            name: {"method": method} | {key: shares[name] for key, shares in values.items() if name in shares}
            for name, method in methods.items()
        }


def fit_gaussian(features: np.ndarray, y: np.ndarray) -> Domain:
    """Mean and covariance of features, float [N, D], in which every class of ``y``, int [N], weighs the same.

    There is no threshold yet. Raises DataError where there are fewer than two images.
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


def with_thresholds(domain: Domain, training: np.ndarray, validation: np.ndarray) -> Domain:
    """The domain with its thresholds, which :data:`ACCEPTED` of the validation images reach; features are [N, D]."""
    training_scores, scores = domain.scores(training), domain.scores(validation)
    thresholds = {name: float(np.quantile(scores[name], 1 - accepted)) for name, accepted in ACCEPTED.items()}
    passed = {name: float((training_scores[name] >= threshold).mean()) for name, threshold in thresholds.items()}
    return replace(domain, thresholds=thresholds, accepted_in_training=passed)


def fit_domain(model: Classifier, run: Run, config: Config) -> tuple[Domain, np.ndarray, np.ndarray]:
    """Fit the run's domain on its training images, with the thresholds that its validation images set.

    Returns Domain; image ids (str [N]) and features (float32 [N, D]) of the training images that it was fitted on.
    Raises DataError where the run has no pixels, split or validation images.
    """
    split = load_split(run.need(run.split, "02_preprocessing"))["split"].to_numpy(str)
    table, cache = LesionTable.load(run), recorded_cache(run)
    targets = table.targets
    rng = np.random.default_rng(config.seed)
    training, validation = np.flatnonzero(split == "train"), np.flatnonzero(split == "validation")
    if not len(validation):
        raise DataError("the split has no validation images to choose the domain's thresholds on; choose another fold")
    classes = [rng.permutation(training[targets[training] == c])[:MOST_OF_A_CLASS] for c in np.unique(targets)]
    training = np.sort(np.concatenate(classes))
    features, known = (predict(model, cache, rows, views=config.views)[1] for rows in (training, validation))
    domain = with_thresholds(fit_gaussian(features, targets[training]), features, known)
    return domain, table.frame["image_id"].to_numpy(str)[training], features
