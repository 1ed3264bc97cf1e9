"""Selective prediction: how good predictions are when uncertain cases are deferred.

Needs predictions alone. Risk is the fraction of wrong labels among the images that are retained, coverage the fraction
that is (El-Yaniv and Wiener 2010, JMLR 11; Geifman and El-Yaniv 2017, arXiv:1705.08500).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from skinlesion.evaluation.bootstrap import in_columns, proportions, resample, summarise
from skinlesion.evaluation.metrics import confusion_metrics
from skinlesion.evaluation.predictions import Predictions

#: Fractions of the images that are retained.
COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
MEASURES = ("balanced_accuracy", "risk", "malignant_retained", "malignant_missed")


def coverage_curve(predictions: Predictions, *, replicates: int = 2000, seed: int = 0) -> pd.DataFrame:
    """What is right among the images that a model is surest of, by the calibrated probability of the label.

    Returns
    -------
    DataFrame, a row for each of :data:`COVERAGES`: ``coverage``, ``threshold`` (the least confidence that is retained),
    ``n_images``, ``classes`` (how many still occur), and each of :data:`MEASURES` with ``_low`` and ``_high``: balanced
    accuracy over the classes that still occur; risk; the fraction of all malignant images that is retained; the
    fraction of the retained malignant images whose label is benign. Images as sure as the last one are retained too.
    """
    resamples = resample(predictions.lesions, replicates, seed)
    k, y, predicted = len(predictions.labels), predictions.y, predictions.predicted
    confidence = predictions.probabilities[np.arange(len(y)), predicted]
    cells = np.eye(k * k)[y * k + predicted]
    malignant = predictions.is_malignant
    falling = np.sort(confidence)[::-1]
    rows = []
    for coverage in COVERAGES:
        threshold = falling[max(1, round(coverage * len(confidence))) - 1]
        retained = confidence >= threshold
        found = confusion_metrics(resamples.totals(cells * retained[:, None]).reshape(-1, k, k))
        shares = {
            "risk": (predicted != y, retained),
            "malignant_retained": (retained, malignant),
            "malignant_missed": (~predictions.malignant_label, retained & malignant),
        }
        metrics = {"balanced_accuracy": summarise(found["balanced_accuracy"], int(retained.sum()))}
        metrics |= proportions(shares, resamples.lesion)
        counts: dict[str, Any] = {
            "coverage": float(retained.mean()),
            "threshold": float(threshold),
            "n_images": int(retained.sum()),
            "classes": len(np.unique(y[retained])),
        }
        rows.append(counts | in_columns(metrics))
    return pd.DataFrame(rows)
