"""Figures of decisions and comparisons: decision curves, thresholds, other models, external images, leakage."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from skinlesion.core.tables import counted
from skinlesion.evaluation.calibration import reliability
from skinlesion.evaluation.comparison import COMPARED, LESS_IS_BETTER, Comparison, title
from skinlesion.evaluation.decision_curve import curve_in_words
from skinlesion.evaluation.intervals import Metric, describe, from_columns
from skinlesion.evaluation.operating import QUESTIONS, OperatingPoint
from skinlesion.evaluation.plots.scores import forest
from skinlesion.evaluation.plots.style import (
    ACCENT,
    CONTRAST,
    INK,
    MUTED,
    Chart,
    hide_unused,
    interval,
    name_rows,
    new_figure,
    share_legend,
    styled,
)
from skinlesion.evaluation.predictions import Predictions

_PER = 1000  # lesions that net benefit is counted for
_MEASURES = ("sensitivity", "specificity")


@styled
def decision_curve(curves: dict[str, pd.DataFrame]) -> tuple[Chart, str]:
    """Net benefit by threshold probability against referring all or none, one panel a curve.

    ``curves``: {panel title: table of :func:`skinlesion.evaluation.decision_curve.decision_curve`}.
    """
    heading = "Decision curve"
    figure, axes = new_figure(min(10, 1 + 4.5 * len(curves)), 4.2, 1, len(curves))
    for axis, (name, curve) in zip(axes[0], curves.items(), strict=True):
        x = 100 * curve["threshold"]
        if curve["low"].notna().all():
            axis.fill_between(x, _PER * curve["low"], _PER * curve["high"], color=ACCENT, alpha=0.2, linewidth=0,
                              label="95% interval")  # fmt: skip
        axis.plot(x, _PER * curve["net_benefit"], color=ACCENT, label="refer by the model")
        axis.plot(x, _PER * curve["refer_all"], color=CONTRAST, linestyle="--", label="refer all")
        axis.axhline(0, color=INK, linestyle=":", linewidth=1.2, label="refer none")
        top = _PER * curve[["refer_all", "net_benefit", "high"]].max().max()
        axis.set(
            title=f"{textwrap.fill(name, 26)}\n{curve.attrs['prevalence']:.1%} positive, n = {curve.attrs['n']:,}",
            xlabel="Referral threshold\n(probability, %)",
            ylim=(-0.25 * top, 1.12 * top),
            xlim=(0, x.max()),
        )
    axes[0, 0].set_ylabel(f"Net benefit (true positives per {_PER:,}\nlesions, less weighted false positives)")
    axes[0, 0].legend(loc="upper right")
    figure.suptitle(heading)
    return figure, f"{heading}. " + " ".join(f"{name}: {curve_in_words(curve)}" for name, curve in curves.items())


@styled
def operating_points(points: dict[str, dict[str, OperatingPoint]]) -> tuple[Chart, str]:
    """Sensitivity and specificity at every threshold with intervals, one panel a question.

    ``points``: what :func:`skinlesion.evaluation.operating.operating_points` returns.
    """
    heading = "Thresholds chosen on validation, evaluated on test"
    figure, axes = new_figure(1.6 + 4.2 * len(points), 4.4, 1, len(points), sharey=True)
    alt = []
    for axis, (question, by_aim) in zip(axes[0], points.items(), strict=True):
        for row, (aim, point) in enumerate(by_aim.items()):
            measure, wanted = aim.split()
            axis.plot(float(wanted), row, "|", color=INK, markersize=20, markeredgewidth=1.6, zorder=1,
                      label="aim on validation" if row == 0 else None)  # fmt: skip
            for name, color, lift, shape in (("sensitivity", CONTRAST, -0.13, "o"), ("specificity", ACCENT, 0.13, "s")):
                interval(axis, getattr(point, name), row + lift, color, shape, name if row == 0 else None)
            alt.append(
                f"{QUESTIONS[question]}, aim {measure} {wanted}: "
                + ", ".join(f"{name} {describe(getattr(point, name), 2)}" for name in _MEASURES)
            )
        name_rows(axis, list(by_aim))
        axis.set(title=QUESTIONS[question], xlabel="value, 95% interval")
    axes[0, 0].set_ylabel("Chosen for")
    figure.suptitle(heading)
    share_legend(figure, axes[0, 0], below=True, ncols=3)
    return figure, f"{heading}. {'; '.join(alt)}."


@styled
def differences(comparison: Comparison) -> tuple[Chart, str]:
    """Every run minus the first one with intervals, one panel a metric."""
    heading = "Paired differences"
    first, *others = comparison.metrics
    shown = [m for m in COMPARED if any(comparison.differences[run][m]["value"] is not None for run in others)]
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure, axes = new_figure(10, rows * (0.34 * len(others) + 1.25) + 0.5, rows, columns, sharey=True)
    for axis, metric in zip(axes.flat, shown, strict=False):
        for row, run in enumerate(others):
            interval(axis, comparison.differences[run][metric], row, ACCENT)
        axis.axvline(0, color=INK, linewidth=1, linestyle="--", zorder=1)
        less = metric in LESS_IS_BETTER
        axis.set(title=title(metric), xlabel="lower is better" if less else "higher is better")
        name_rows(axis, others)
        axis.xaxis.set_major_locator(MaxNLocator(4))
    hide_unused(axes, len(shown))
    figure.suptitle(f"{heading}: minus {first}, on the same {counted(comparison.n_lesions, 'lesion')}, 95% interval")
    alt = "; ".join(
        f"{run}: " + ", ".join(f"{title(m)} {describe(comparison.differences[run][m])}" for m in shown)
        for run in others
    )
    return figure, f"{heading} to {first} with 95% interval. {alt}."


BINS = 10


@styled
def external_figure(predictions: Predictions, metrics: dict[str, Metric], threshold: float) -> tuple[Chart, str]:
    """ROC curve of malignant against benign with the referral threshold, and reliability of the malignant probability.

    ``metrics``: of :func:`skinlesion.external_images.external_metrics`; ``threshold``: on the malignant probability.
    """
    from sklearn.metrics import roc_curve

    score, malignant = predictions.malignant_probability, predictions.is_malignant
    figure, (axes,) = new_figure(9.0, 4.4, 1, 2)
    curve, calibrated = axes
    if 0 < malignant.sum() < len(malignant):
        false, found, _ = roc_curve(malignant, score)
        curve.plot(false, found, color=ACCENT)
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


def _arms(metric: Metric) -> np.ndarray:
    """Lengths of an interval's arms, [2, 1], upper first: the specificity is drawn from the other end."""
    if metric["low"] is None:
        return np.zeros((2, 1))
    return np.array([[metric["high"] - metric["value"]], [metric["value"] - metric["low"]]])


@styled
def leakage_figure(table: pd.DataFrame) -> tuple[Chart, str]:
    """The same recipe's balanced accuracy by each way to split the data, of ``reference_results.read_leak``."""
    rows = {
        f"{line['title']}\n({line['leaked']:.1%} of images share a lesion with training)": from_columns(
            line, "balanced_accuracy"
        )
        for line in table.to_dict("records")
    }
    colors = (CONTRAST,) + (ACCENT,) * (len(rows) - 1)
    return forest(rows, "One recipe, three ways to split the data", "Balanced accuracy", colors)
