"""Figures of external validation, and of the inflation by leakage."""

from __future__ import annotations

import numpy as np
import pandas as pd

from skinlesion.evaluation.bootstrap import describe
from skinlesion.evaluation.calibration import reliability
from skinlesion.evaluation.metrics import threshold_counts
from skinlesion.evaluation.plots.scores import forest
from skinlesion.evaluation.plots.style import ACCENT, CONTRAST, INK, MUTED, Chart, new_figure, styled
from skinlesion.evaluation.predictions import Predictions

BINS = 10


@styled(
    "Left: ROC curve on external images with the model's referral threshold. Right: observed fraction of "
    "malignant images by predicted probability. Points below the diagonal are probabilities that are too high."
)
def external_figure(predictions: Predictions, metrics: dict[str, dict], threshold: float) -> tuple[Chart, str]:
    """ROC curve of malignant against benign with the referral threshold, and reliability of the malignant probability.

    Parameters
    ----------
    metrics : of ``external.external_metrics``
    threshold : on the malignant probability
    """
    score, malignant = predictions.malignant_probability, predictions.is_malignant
    figure, (axes,) = new_figure(9.0, 4.4, 1, 2)
    curve, calibrated = axes
    if 0 < malignant.sum() < len(malignant):
        found, false = threshold_counts(score, malignant)
        curve.plot(np.append(0, false) / (~malignant).sum(), np.append(0, found) / malignant.sum(), color=ACCENT)
        x, y = 1 - metrics["specificity"]["value"], metrics["sensitivity"]["value"]
        curve.errorbar(
            x, y,
            xerr=_arms(metrics["specificity"]), yerr=_arms(metrics["sensitivity"])[::-1],
            fmt="D", color=CONTRAST, markeredgecolor=INK, capsize=3, label=f"referral threshold {threshold:.3f}",
        )  # fmt: skip
        curve.legend(loc="lower right")
    curve.plot([0, 1], [0, 1], color=MUTED, linestyle=":", linewidth=1.2)
    curve.set(title=f"Malignant against benign\nAUROC {describe(metrics['malignant_auroc'])}",
              xlabel="1 - specificity", ylabel="Sensitivity", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))  # fmt: skip
    table = reliability(score, malignant, BINS)
    calibrated.plot([0, 1], [0, 1], color=MUTED, linestyle=":", linewidth=1.2, label="perfect calibration")
    calibrated.plot(table["confidence"], table["accuracy"], "o-", color=ACCENT, label=f"observed, {BINS} bins")
    calibrated.axvline(threshold, color=CONTRAST, linewidth=1.2, linestyle="--", label="referral threshold")
    calibrated.set(title=f"Probability of malignancy\nECE {describe(metrics['malignant_ece'])}",
                   xlabel="Predicted probability", ylabel="Fraction malignant",
                   xlim=(0, 1), ylim=(0, 1.02))  # fmt: skip
    calibrated.legend(loc="best")
    figure.suptitle("Performance on external images")
    return figure, (
        f"ROC curve with AUROC {describe(metrics['malignant_auroc'])}; at the referral threshold sensitivity "
        f"{describe(metrics['sensitivity'])} and specificity {describe(metrics['specificity'])}. Mean predicted "
        f"probability of malignancy {describe(metrics['predicted'])}, malignant {describe(metrics['observed'])}."
    )


def _arms(metric: dict) -> np.ndarray:
    """Lengths of an interval's arms, [2, 1], upper first: the specificity is drawn from the other end."""
    if metric["low"] is None:
        return np.zeros((2, 1))
    return np.array([[metric["high"] - metric["value"]], [metric["value"] - metric["low"]]])


@styled(
    "The same recipe, evaluated with three ways to split the data. The last row is the most careful split; what the "
    "first row reaches above it is inflation by leakage."
)
def leakage_figure(table: pd.DataFrame) -> tuple[Chart, str]:
    """The same recipe's balanced accuracy by each way to split the data (``evaluation.experiments.read_leak``)."""
    rows = {}
    for line in table.itertuples():
        value, low, high = (getattr(line, f"balanced_accuracy{end}") for end in ("", "_low", "_high"))
        rows[f"{line.title}\n({line.leaked:.1%} of images share a lesion with training)"] = {
            "value": value, "low": low, "high": high, "n": line.n_images,
        }  # fmt: skip
    colors = (CONTRAST,) + (ACCENT,) * (len(rows) - 1)
    return forest(rows, "One recipe, three ways to split the data", "Balanced accuracy", colors)
