"""Performance by subgroup, and the border colour that some subgroups are made of."""

from __future__ import annotations

import numpy as np
import pandas as pd

from skinlesion.core.tables import counted
from skinlesion.evaluation.bootstrap import describe
from skinlesion.evaluation.plots.style import ACCENT, CONTRAST, INK, Chart, interval, name_rows, new_figure, styled
from skinlesion.evaluation.subgroup_metrics import NAMES

SIGNIFICANT = 0.05
_SHORT = {
    "sensitivity": "Sensitivity\n(malignant)",
    "specificity": "Specificity\n(malignant)",
    "malignant_auroc": "AUROC\n(malignant)",
    "balanced_accuracy": "Balanced\naccuracy",
    "accuracy": "Accuracy\n",
    "ece": "Calibration\nerror (ECE)",
}


@styled(
    "Value and 95% interval in each subgroup. A diamond marks a gap to the other groups that neither chance nor "
    "the mix of diagnoses explains (p < 0.05)."
)
def subgroup_forest(
    table: pd.DataFrame, names: tuple[str, ...] = ("sensitivity", "specificity", "malignant_auroc")
) -> tuple[Chart, str]:
    """Metrics with 95% intervals of every group, a panel a metric, groups below their attribute's name.

    A gap that neither chance nor the mix of diagnoses explains (p < 0.05, corrected for all gaps) is drawn as a diamond
    in another colour; a group that is too small is marked so.
    ``table``: DataFrame of :func:`skinlesion.evaluation.subgroup_metrics.by_subgroup`; ``names``: metrics of the table.
    """
    names = tuple(name for name in names if (table["metric"] == name).any())
    ticks, rows = _layout(table)
    height = 0.27 * len(ticks) + 1.6
    figure, axes = new_figure(2.6 + 2.35 * len(names), height, 1, len(names), sharey=True)
    for axis, name in zip(axes[0], names, strict=True):
        lines = table[table["metric"] == name].set_index(["attribute", "group"])
        for place, key in rows:
            line = lines.loc[key]
            color, shape = (CONTRAST, "D") if line["p"] < SIGNIFICANT else (ACCENT, "o")
            interval(axis, line, place, color, shape, missing="too few")
        axis.set(title=_SHORT[name], xlabel="value, 95% interval")
        name_rows(axis, [words for words, _ in ticks])
    for label, (_, is_title) in zip(axes[0, 0].get_yticklabels(), ticks, strict=True):
        label.set_fontweight("bold" if is_title else "normal")
    figure.suptitle("Performance by subgroup")
    figure.supxlabel("diamond: gap that neither chance nor the mix of diagnoses explains, p < 0.05", fontsize=9)
    return figure, "Metrics by group with 95% interval. " + _alt(table, names)


def _layout(table: pd.DataFrame) -> tuple[list[tuple[str, bool]], list[tuple[int, tuple[str, str]]]]:
    """Tick words with whether they are an attribute's title, and the place of every group."""
    ticks, rows = [], []
    for attribute, lines in table.groupby("attribute", sort=False):
        ticks.append((attribute[0].upper() + attribute[1:], True))
        for group, own in lines.groupby("group", sort=False):
            rows.append((len(ticks), (attribute, group)))
            lesions = own["lesions"].iloc[0]
            ticks.append((f"{group} ({counted(lesions, 'lesion')})", False))
    return ticks, rows


def _alt(table: pd.DataFrame, names: tuple[str, ...]) -> str:
    alt = []
    for (attribute, group), lines in table.groupby(["attribute", "group"], sort=False):
        by_metric = lines.set_index("metric")
        values = [
            f"{NAMES[name]} {'too few' if pd.isna(by_metric['value'][name]) else describe(by_metric.loc[name], 2)}"
            + (" (significant gap)" if by_metric["p"][name] < SIGNIFICANT else "")
            for name in names
        ]
        alt.append(f"{attribute} {group}: {', '.join(values)}")
    return "; ".join(alt) + "."


@styled(
    "Distribution of the typology angle (low: dark, high: light skin), with the limits of the groups. The bar "
    "shows the error of one estimate: groups that are narrower than it overlap."
)
def skin_tone_histogram(angles: np.ndarray, groups: dict[str, float], error: float | None = None) -> tuple[Chart, str]:
    """Distribution of the typology angles, with the limits of the groups and the error of one estimate.

    ``angles``: float [N], degrees, NaN where unknown; ``groups``: {name: lowest angle}, lightest first, as
    ``skin_tone.GROUPS``; ``error``: standard deviation between images of one lesion, degrees
    (``skin_tone.repeatability``).
    """
    known = np.asarray(angles, float)[np.isfinite(angles)]
    figure, axes = new_figure(8.2, 3.4)
    axis = axes[0, 0]
    axis.hist(known, bins=np.arange(-90, 186, 5), color=ACCENT, edgecolor="white", linewidth=0.4)
    ends = [(name, lowest) for name, lowest in groups.items() if np.isfinite(lowest)]
    top = axis.get_ylim()[1]
    for _, lowest in ends:
        axis.axvline(lowest, color=INK, linewidth=1, linestyle="--")
    uppers = [180.0, *(lowest for _, lowest in ends)]
    lowers = [*(lowest for _, lowest in ends), -90.0]
    for name, low, high in zip(groups, lowers, uppers, strict=True):
        axis.text((low + min(high, 130)) / 2, top * 1.02, name, ha="left", va="bottom", fontsize=8, rotation=40)
    if error is not None and np.isfinite(error):
        axis.errorbar(-60, top * 0.6, xerr=error, color=CONTRAST, capsize=4)
        axis.text(-60, top * 0.66, "error of one estimate", ha="center", fontsize=8)
    axis.set(xlabel="Individual typology angle (degrees), estimated from the image's border", ylabel="Images")
    figure.suptitle("Colour of the images' borders (individual typology angle)")
    shares = {
        name: float(((known > low) & (known <= (high if high < 180 else np.inf))).mean()) if len(known) else 0.0
        for name, low, high in zip(groups, [*lowers[:-1], -np.inf], uppers, strict=True)
    }
    alt = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    return figure, (
        f"Histogram of the estimated typology angle of {counted(len(known), 'image')}: {alt}; unknown for "
        f"{len(angles) - len(known):,}."
    )
