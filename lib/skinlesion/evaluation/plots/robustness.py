"""How answers hold: corruptions, movements and leaving out what the model is unsure of."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from skinlesion.corruptions import CORRUPTIONS, MOVEMENTS
from skinlesion.evaluation.plots.style import ACCENT, CONTRAST, INK, MUTED, new_figure, styled

_COLUMNS = 4


@styled
def corruption_curves(table: pd.DataFrame, title: str = "Worse images: balanced accuracy relative to clean"):
    """A panel a corruption: balanced accuracy relative to clean, and the share that is still called in domain.

    Parameters
    ----------
    table : DataFrame of :func:`skinlesion.evaluation.robustness.measure`

    Returns
    -------
    Figure, str
    """
    kinds = [kind for kind in CORRUPTIONS if kind in set(table["kind"])]
    rows = -(-len(kinds) // _COLUMNS)
    figure, axes = new_figure(11.0, 2.4 * rows + 1.2, rows, _COLUMNS, sharex=True, sharey=True)
    clean = table[table["kind"] == "clean"]
    told = []
    for axis, kind in zip(axes.flat, kinds, strict=False):
        curve = pd.concat([clean, table[table["kind"] == kind]])
        _curve(axis, curve, "relative", CONTRAST, "balanced accuracy, relative to clean", "-")
        _curve(axis, curve, "in_domain", ACCENT, "images called in domain, fraction", "--")
        axis.axhline(1, color=INK, linewidth=1, linestyle=":")
        axis.set(title=kind, xticks=range(6), ylim=(0, 1.25))
        axis.set_xlabel(f"severity ({CORRUPTIONS[kind].about})", fontsize=8)
        worst = curve.iloc[-1]
        told.append(f"{kind} {worst['relative']:.2f} ({worst['relative_low']:.2f} to {worst['relative_high']:.2f})")
    for axis in list(axes.flat)[len(kinds) :]:
        axis.set_visible(False)
    for axis in axes[:, 0]:
        axis.set_ylabel("fraction")
    figure.suptitle(title)
    _legend_below(figure, axes[0, 0])
    severity = int(table["severity"].max())
    return figure, (
        f"{title}; clean {clean['balanced_accuracy'].iloc[0]:.3f} on {clean['n_images'].iloc[0]:,} images. "
        f"At severity {severity}: {'; '.join(told)}."
    )


@styled
def movement_curves(table: pd.DataFrame, title: str = "Held differently: does the answer stay?") -> tuple[Figure, str]:
    """Fraction of images that keep their label, and the mean largest change of a probability, under movements."""
    kinds = [kind for kind in MOVEMENTS if kind in set(table["kind"])]
    figure, axes = new_figure(4.6 * len(kinds) + 0.8, 3.9, 1, len(kinds), sharey=True)
    told = []
    for axis, kind in zip(axes.flat, kinds, strict=True):
        curve = table[table["kind"] == kind]
        _curve(axis, curve, "same_label", ACCENT, "same label, fraction of images", "-", x="level")
        _curve(axis, curve, "mean_change", CONTRAST, "largest change of a probability, mean", "--", x="level")
        axis.set(title=kind, xlabel=MOVEMENTS[kind].about, ylim=(0, 1.02))
        told += [
            f"{kind} by {row['level']:g} {MOVEMENTS[kind].about}: {row['same_label']:.2f} keep their label, "
            f"probabilities move by {row['mean_change']:.3f}"
            for _, row in curve.iterrows()
        ]
    axes[0, 0].set_ylabel("fraction, or probability")
    figure.suptitle(title)
    _legend_below(figure, axes[0, 0])
    return figure, f"{title} {'; '.join(told)}."


@styled
def coverage_curves(curves: dict[str, pd.DataFrame], title: str = "Answering only what it is surest of"):
    """Balanced accuracy, risk and the malignant that are left over, against coverage; a colour a kind of confidence.

    Parameters
    ----------
    curves : {name of the confidence: DataFrame of :func:`skinlesion.evaluation.selective.coverage_curve`}, at most 3

    Returns
    -------
    Figure, str
    """
    panels = (
        ("balanced_accuracy", "Balanced accuracy", "mean over the classes that still occur"),
        ("risk", "Risk", "fraction of answered images with a wrong label"),
        ("malignant_answered", "Malignant images answered", "fraction of all malignant images"),
    )
    figure, axes = new_figure(11.0, 4.2, 1, 3, sharex=True)
    for axis, (measure, name, label) in zip(axes.flat, panels, strict=True):
        for (about, curve), color, line in zip(
            curves.items(), (ACCENT, CONTRAST, MUTED), ("-", "--", "-."), strict=False
        ):
            _curve(axis, curve, measure, color, about, line, x="coverage")
        axis.set(title=name, xlabel="coverage (fraction of images answered)", xlim=(1.02, 0))
        axis.set_ylabel(label, fontsize=9)
    axes[0, 2].axline((1, 1), slope=1, color=INK, linewidth=1, linestyle=":")
    figure.suptitle(title)
    _legend_below(figure, axes[0, 0])
    told = []
    for about, curve in curves.items():
        half = curve.iloc[(curve["coverage"] - 0.5).abs().argmin()]
        told.append(
            f"by {about}: all images, risk {curve.iloc[0]['risk']:.2f} and balanced accuracy "
            f"{curve.iloc[0]['balanced_accuracy']:.2f}; at a coverage of {half['coverage']:.2f}, "
            f"risk {half['risk']:.2f}, balanced accuracy {half['balanced_accuracy']:.2f} over "
            f"{half['classes']:.0f} classes, {half['malignant_answered']:.2f} of the malignant answered"
        )
    return figure, f"{title}. {'; '.join(told)}."


def _curve(axis, table: pd.DataFrame, measure: str, color: str, label: str, line: str, x: str = "severity") -> None:
    axis.plot(table[x], table[measure], line, color=color, marker="o", markersize=3.5, label=label)
    low, high = (table[f"{measure}_{end}"].astype(float).to_numpy() for end in ("low", "high"))
    if np.isfinite(low).any():
        axis.fill_between(table[x], low, high, color=color, alpha=0.18, linewidth=0)


def _legend_below(figure: Figure, axis) -> None:
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=3)
