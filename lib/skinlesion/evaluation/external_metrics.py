"""A finished model on external images. Nothing is chosen on them: thresholds are the model's own."""

from __future__ import annotations

import numpy as np
import pandas as pd

from skinlesion.evaluation import calibration
from skinlesion.evaluation.intervals import Metric, describe, proportions, resample, summarise
from skinlesion.evaluation.metrics import ranking
from skinlesion.evaluation.predictions import Predictions

#: What every figure is called for people, in the order of tables.
NAMES = {
    "mel_nv_auroc": "AUROC, melanoma against nevus",
    "malignant_auroc": "AUROC, malignant against benign",
    "sensitivity": "Sensitivity for malignant lesions at the referral threshold",
    "specificity": "Specificity at the referral threshold",
    "observed": "Share of malignant images",
    "predicted": "Mean predicted probability of malignancy",
    "ece": "Calibration error (ECE)",
    "malignant_ece": "Calibration error of the probability of malignancy",
    "in_domain": "Share of images that count as dermatoscopic",
}


def external_metrics(
    predictions: Predictions, threshold: float, in_domain: np.ndarray | None = None, replicates: int = 2000
) -> dict[str, Metric]:
    """Ranking, sensitivity and specificity at the referral threshold, and calibration on external images.

    Returns a metric for each of :data:`NAMES`, None where a kind of image is missing. Melanoma against nevus is ranked
    by the probability of melanoma, among images of these two kinds. Both calibration errors are over bins of equal
    mass; the second is of one probability, that of malignancy, against the ground truth.
    ``threshold``: on the malignant probability, as the model was shipped with; a malignant label is referred, too;
    ``in_domain``: bool [N].
    """
    resamples = resample(predictions.lesions, replicates)
    p, y, malignant = predictions.probabilities, predictions.y, predictions.is_malignant
    score, referred = predictions.malignant_probability, predictions.referred(threshold)
    images, predicted = resamples.totals(np.column_stack([np.ones(len(y)), score])).T
    mel, nv = (predictions.labels.index(code) for code in ("mel", "nv"))
    pair, everything = np.isin(y, (mel, nv)), np.ones(len(y), bool)
    mel_nv = np.full(1, np.nan)
    if pair.any():
        mel_nv, _ = ranking(p[pair, mel], y[pair] == mel, resample(predictions.lesions[pair], replicates))
    found = {
        "mel_nv_auroc": summarise(mel_nv, int(pair.sum())),
        "malignant_auroc": summarise(ranking(score, malignant, resamples)[0], len(y)),
        "predicted": summarise(predicted / images, len(y)),
        "ece": calibration.by_chance([calibration.top_label(p, y)], resamples),
        "malignant_ece": calibration.by_chance([(score, malignant)], resamples),
    }
    shares = {
        "sensitivity": (referred, malignant),
        "specificity": (~referred, ~malignant),
        "observed": (malignant, everything),
        "in_domain": (everything, ~everything) if in_domain is None else (np.asarray(in_domain, bool), everything),
    }
    found |= proportions(shares, resamples.lesion)
    return {name: found[name] for name in NAMES}


def beside_home(found: dict[str, Metric], home: dict[str, Metric]) -> pd.DataFrame:
    """The figures on external images beside those in the model's manifest, as text, a row a figure.

    ``found``: of :func:`external_metrics`; ``home``: some of the same names -> metric.
    """
    rows = {
        words: {"external": describe(found[name]), "own test": describe(home[name]) if name in home else ""}
        for name, words in NAMES.items()
        if found[name]["value"] is not None
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def change_in_words(found: dict[str, Metric], home: dict[str, Metric]) -> str:
    """What changed, as text: ranking, the referral threshold, and whether probabilities are too high or too low."""
    parts = []
    if found["malignant_auroc"]["value"] is not None:
        parts.append(f"The AUROC for malignant against benign images is {describe(found['malignant_auroc'])}.")
        parts.append(
            f"At the referral threshold the sensitivity is {describe(found['sensitivity'])} (on the model's own test "
            f"images {describe(home['sensitivity'])}) and the specificity {describe(found['specificity'])} (on the "
            f"model's own {describe(home['specificity'])})."
        )
    predicted, observed = found["predicted"], found["observed"]
    if observed["low"] is None or predicted["value"] is None:
        return " ".join(parts)
    if observed["low"] <= predicted["value"] <= observed["high"]:
        verdict = "the difference is not significant"
    else:
        verdict = "too high" if predicted["value"] > observed["value"] else "too low"
    parts.append(
        f"The mean predicted probability of malignancy is {predicted['value']:.3f} where {describe(observed)} are "
        f"malignant: {verdict}."
    )
    return " ".join(parts)
