"""One answer from several images of one lesion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skinlesion.serving.manifest import Manifest
from skinlesion.serving.predictor import Prediction


def average(predictions: Sequence[Prediction], manifest: Manifest) -> Prediction:
    """The mean rule (Kittler et al. 1998, doi:10.1109/34.667881): mean probabilities, then the same decisions as ever.

    The decision rule and the operating point are the manifest's own, applied to the means. ``domain_score`` is the
    lowest of the images', so that one image unlike the training data is enough to doubt the whole; there is no map.

    Parameters
    ----------
    predictions : sequence of Prediction
        One or more, by the model of ``manifest``.
    """
    codes = manifest.labels.codes
    mean = np.mean([[p.probabilities[code] for code in codes] for p in predictions], axis=0)
    scores = mean * manifest.decision_weights
    scores = scores / scores.sum()
    best = int(scores.argmax())
    malignant = float(np.mean([p.malignant_probability for p in predictions]))
    return Prediction(
        label=codes[best],
        name=manifest.labels.names[best],
        probability=float(mean[best]),
        probabilities=dict(zip(codes, mean.tolist(), strict=True)),
        scores=dict(zip(codes, scores.tolist(), strict=True)),
        malignant_probability=malignant,
        referral="refer" if malignant >= manifest.referral["threshold"] else "watch",
        in_domain=all(p.in_domain for p in predictions),
        domain_score=min(p.domain_score for p in predictions),
    )
