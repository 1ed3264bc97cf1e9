"""Robustness of the predictions: corruptions, movements, and deferring uncertain images."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd

from skinlesion.core.tables import counted
from skinlesion.evaluation.corruptions import CORRUPTIONS, MOVEMENTS
from skinlesion.evaluation.plots.style import (
    ACCENT,
    CONTRAST,
    INK,
    Chart,
    hide_unused,
    new_figure,
    share_legend,
    styled,
)

_COLUMNS = 4


@styled(
    "Balanced accuracy relative to uncorrupted images, and the fraction of images that counts as in domain, by "
    "severity. Where the first line falls and the second does not, the model fails without notice."
)
def corruption_curves(table: pd.DataFrame):
    """A panel a corruption: balanced accuracy relative to clean images, and the fraction that counts as in domain.

    ``table``: DataFrame of :func:`skinlesion.evaluation.robustness.measure`.
    """
    title = "Balanced accuracy on corrupted images"
    lines = {"relative": "balanced accuracy, relative to clean images", "in_domain": "fraction of images in domain"}
    figure, clean, last = _panels(table, title, lines, top=1.25)
    alt = [f"{kind} {row['relative']:.2f} ({row['relative_low']:.2f} to {row['relative_high']:.2f})"
            for kind, row in last.items()]  # fmt: skip
    return figure, (
        f"{title}; clean {clean['balanced_accuracy']:.3f} on {counted(clean['n_images'], 'image')}. "
        f"At severity {int(table['severity'].max())}: {'; '.join(alt)}."
    )


@styled("Mean confidence and accuracy by severity. Where confidence stays above accuracy, the model is overconfident.")
def corruption_calibration(table: pd.DataFrame):
    """A panel a corruption: the mean of the largest probability, and how often that class is the true one.

    Parameters and result as of :func:`corruption_curves`.
    """
    title = "Confidence and accuracy on corrupted images"
    lines = {"accuracy": "accuracy", "confidence": "confidence (mean largest probability)"}
    figure, clean, last = _panels(table, title, lines, top=1.0)

    def words(row) -> str:
        return f"confidence {row['confidence']:.2f}, accuracy {row['accuracy']:.2f}, calibration error {row['ece']:.3f}"

    alt = [f"{kind} {words(row)}" for kind, row in last.items()]
    severity = int(table["severity"].max())
    return figure, f"{title}. Clean: {words(clean)}. At severity {severity}: {'; '.join(alt)}."


def _panels(table: pd.DataFrame, title: str, lines: dict[str, str], top: float):
    """A panel a corruption with two measures against severity; the clean row, and the last row of every corruption."""
    kinds = [kind for kind in CORRUPTIONS if kind in set(table["kind"])]
    rows = -(-len(kinds) // _COLUMNS)
    figure, axes = new_figure(11.0, 2.4 * rows + 1.2, rows, _COLUMNS, sharex=True, sharey=True)
    clean = table[table["kind"] == "clean"]
    last = {}
    for axis, kind in zip(axes.flat, kinds, strict=False):
        curve = pd.concat([clean, table[table["kind"] == kind]])
        for (measure, label), color, line in zip(lines.items(), (CONTRAST, ACCENT), ("-", "--"), strict=True):
            _curve(axis, curve, measure, color, label, line)
        axis.axhline(1, color=INK, linewidth=1, linestyle=":")
        axis.set(title=kind, xticks=range(6), ylim=(0, top))
        axis.set_xlabel(textwrap.fill(f"severity ({CORRUPTIONS[kind].about})", 30), fontsize=8)
        last[kind] = curve.iloc[-1]
    hide_unused(axes, len(kinds))
    for axis in axes[:, 0]:
        axis.set_ylabel("fraction")
    figure.suptitle(title)
    share_legend(figure, axes[0, 0], below=True, ncols=3)
    return figure, clean.iloc[0], last


@styled(
    "Fraction of images that keep their label, and the mean change of a probability, by size of the movement. A "
    "stable model keeps the first line near 1 and the second near 0."
)
def movement_curves(table: pd.DataFrame) -> tuple[Chart, str]:
    """Fraction of images that keep their label, and the mean largest change of a probability, under movements."""
    title = "Stability under rotation and shift"
    kinds = [kind for kind in MOVEMENTS if kind in set(table["kind"])]
    figure, axes = new_figure(4.6 * len(kinds) + 0.8, 3.9, 1, len(kinds), sharey=True)
    alt = []
    for axis, kind in zip(axes.flat, kinds, strict=True):
        curve = table[table["kind"] == kind]
        _curve(axis, curve, "same_label", ACCENT, "same label, fraction of images", "-", x="level")
        _curve(axis, curve, "mean_change", CONTRAST, "largest change of a probability, mean", "--", x="level")
        axis.set(title=kind, xlabel=f"{kind} ({MOVEMENTS[kind].about})", ylim=(0, 1.02))
        alt += [
            f"{kind} by {row['level']:g} {MOVEMENTS[kind].about}: {row['same_label']:.2f} keep their label, "
            f"probabilities change by {row['mean_change']:.3f}"
            for _, row in curve.iterrows()
        ]
    axes[0, 0].set_ylabel("fraction, or probability")
    figure.suptitle(title)
    share_legend(figure, axes[0, 0], below=True, ncols=3)
    return figure, f"{title}: {'; '.join(alt)}."


def robustness_figures(table: pd.DataFrame) -> dict[str, tuple[Chart, str]]:
    """All figures of :func:`skinlesion.evaluation.robustness.measure`'s table, by file name."""
    return {
        "corruptions": corruption_curves(table),
        "corruption_calibration": corruption_calibration(table),
        "movements": movement_curves(table),
    }


@styled(
    "Results on the images that are not deferred, by their share (coverage), with 95% intervals. From left to "
    "right, more of the least certain images are deferred."
)
def coverage_curve(curve: pd.DataFrame) -> tuple[Chart, str]:
    """Balanced accuracy, risk and the malignant images not deferred, against coverage.

    ``curve``: DataFrame of :func:`skinlesion.evaluation.selective.coverage_curve`.
    """
    about = "calibrated probability of the label"
    title = "Results when the least certain images are deferred"
    panels = (
        ("balanced_accuracy", "Balanced accuracy", "mean over the classes that still occur"),
        ("risk", "Risk", "wrong labels, fraction of images not deferred"),
        ("malignant_retained", "Malignant images not deferred", "fraction of all malignant images"),
    )
    figure, axes = new_figure(11.0, 4.2, 1, 3, sharex=True)
    for axis, (measure, name, label) in zip(axes.flat, panels, strict=True):
        _curve(axis, curve, measure, ACCENT, about, "-", x="coverage")
        axis.set(title=name, xlabel="coverage (fraction of images not deferred)", xlim=(1.02, 0))
        axis.set_ylabel(label, fontsize=9)
    axes[0, 2].axline((1, 1), slope=1, color=INK, linewidth=1, linestyle=":")
    figure.suptitle(title)
    share_legend(figure, axes[0, 0], below=True, ncols=3)
    whole, half = curve.iloc[0], curve.iloc[(curve["coverage"] - 0.5).abs().argmin()]
    return figure, (
        f"{title}. by {about}: all images, risk {whole['risk']:.2f} and balanced accuracy "
        f"{whole['balanced_accuracy']:.2f}; at a coverage of {half['coverage']:.2f}, "
        f"risk {half['risk']:.2f}, balanced accuracy {half['balanced_accuracy']:.2f} over "
        f"{half['classes']:.0f} classes, {half['malignant_retained']:.2f} of the malignant images not deferred."
    )


def _curve(axis, table: pd.DataFrame, measure: str, color: str, label: str, line: str, x: str = "severity") -> None:
    axis.plot(table[x], table[measure], line, color=color, marker="o", markersize=3.5, label=label)
    low, high = (table[f"{measure}_{end}"].astype(float).to_numpy() for end in ("low", "high"))
    if np.isfinite(low).any():
        axis.fill_between(table[x], low, high, color=color, alpha=0.18, linewidth=0)
