"""Figures of where a model may fail: subgroups, images out of distribution or corrupted, uncertain cases, its maps."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd

from skinlesion.core.tables import counted
from skinlesion.evaluation.attention import ALL, MODEL
from skinlesion.evaluation.corruptions import CORRUPTIONS, MOVEMENTS
from skinlesion.evaluation.intervals import describe
from skinlesion.evaluation.plots.style import (
    ACCENT,
    CATEGORIES,
    CONTRAST,
    INK,
    MUTED,
    Chart,
    hide_unused,
    interval,
    name_rows,
    new_axis,
    new_figure,
    share_legend,
    styled,
)
from skinlesion.evaluation.subgroup_metrics import NAMES


@styled
def domain_detection(table: pd.DataFrame) -> tuple[Chart, str]:
    """AUROC and FPR95 against every set of out-of-distribution images, with intervals.

    ``table``: DataFrame of :func:`skinlesion.evaluation.out_of_domain.detection`.
    """
    title = "Detection of out-of-distribution images"
    figure, axes = new_figure(10.5, 0.42 * len(table) + 1.8, 1, 2, sharey=True)
    place = np.arange(len(table))
    for axis, (measure, label, color) in zip(
        axes.flat,
        (
            ("auroc", "AUROC, in domain against out of distribution\n(higher is better)", ACCENT),
            ("fpr95", "FPR95, out-of-distribution images that pass\n(lower is better)", CONTRAST),
        ),
        strict=True,
    ):
        low, high = (table[f"{measure}_{end}"].astype(float) for end in ("low", "high"))
        axis.hlines(place, low, high, color=color, linewidth=2.6)
        axis.plot(table[measure], place, "o", color=color, markersize=6, markeredgecolor="#444444")
        axis.set(xlim=(-0.02, 1.02), xlabel=label)
    axes[0, 0].axvline(0.5, color=INK, linewidth=1, linestyle=":")
    names = [
        f"{row['set']}\n{counted(row['n_images'], 'image')} of {counted(row['n_sources'], 'source')}"
        for _, row in table.iterrows()
    ]
    for axis in axes.flat:
        name_rows(axis, names)
    figure.suptitle(title)
    alt = "; ".join(f"{row['set']}: AUROC {row['auroc']:.3f}, FPR95 {row['fpr95']:.3f}" for _, row in table.iterrows())
    return figure, f"{title}, with 95% intervals. {alt}."


@styled
def domain_scores(inside: np.ndarray, outside: dict[str, np.ndarray], threshold: float) -> tuple[Chart, str]:
    """Distributions of the score for images of the domain and for every out-of-distribution set, with the threshold.

    ``inside``: float [N]; ``outside``: {set: float [M]}.
    """
    title = "Domain scores"
    sets = {"in domain": inside, **outside}
    everything = np.concatenate(list(sets.values()))
    low, high = np.quantile(everything, [0.01, 1.0])
    edges = np.linspace(low, high, 61)
    figure, axes = new_figure(8.5, 0.6 * len(sets) + 1.6, len(sets), 1, sharex=True)
    alt = []
    for number, (axis, (name, scores)) in enumerate(zip(axes.flat, sets.items(), strict=True)):
        color = ACCENT if number == 0 else CATEGORIES[(number - 1) % len(CATEGORIES)]
        axis.hist(np.clip(scores, edges[0], edges[-1]), bins=edges, color=color, linewidth=0)
        axis.axvline(threshold, color=INK, linewidth=1.2, linestyle="--")
        axis.set_yticks([])
        passing = float((scores >= threshold).mean())
        axis.set_ylabel(f"{name}\n{passing:.1%} pass", rotation=0, ha="right", va="center", fontsize=8)
        alt.append(f"{name} {passing:.1%}")
    axes[-1, 0].set_xlabel("domain score (higher: more like the training images)")
    figure.suptitle(title)
    return figure, f"{title}: share of images at or above the threshold {threshold:.2f}: {', '.join(alt)}."


@styled
def map_aim(table: pd.DataFrame, measure: str = "energy") -> tuple[Chart, str]:
    """A map's energy (or pointing) inside the lesion by class, for the model and the baselines.

    ``table``: DataFrame of :func:`skinlesion.evaluation.attention.compare_with_masks`; ``measure``: "energy" or
    "pointing".
    """
    title = f"Activation map {'energy' if measure == 'energy' else 'peak'} inside the lesion"
    classes, maps = list(dict.fromkeys(table["class"])), list(dict.fromkeys(table["map"]))
    figure, axis = new_axis(8.8, 0.62 * len(classes) + 1.8)
    for number, (name, color, marker) in enumerate(
        zip(maps, (CONTRAST, MUTED, ACCENT, CATEGORIES[2]), "osD^", strict=False)
    ):
        rows = table[table["map"] == name].set_index("class").loc[classes]
        place = np.arange(len(classes)) + (number - (len(maps) - 1) / 2) * 0.18
        low, high = (rows[f"{measure}_{end}"].astype(float) for end in ("low", "high"))
        axis.hlines(place, low, high, color=color, linewidth=2.2)
        axis.plot(rows[measure].astype(float), place, marker, color=color, markersize=6, label=name)
    counts = table[table["map"] == MODEL].set_index("class")["n_images"]
    name_rows(axis, [f"{name}\n{counted(counts[name], 'image')}" for name in classes])
    axis.set(xlim=(-0.02, 1.02), xlabel="fraction, 95% interval", title=title)
    share_legend(figure, axis, below=True, ncols=4)
    every = table[table["class"] == ALL].set_index("map")[measure]
    alt = ", ".join(f"{name} {value:.2f}" for name, value in every.items())
    return figure, f"{title}, all images: {alt}."


SIGNIFICANT = 0.05
_SHORT = {
    "sensitivity": "Sensitivity\n(malignant)",
    "specificity": "Specificity\n(malignant)",
    "malignant_auroc": "AUROC\n(malignant)",
}


@styled
def subgroup_forest(table: pd.DataFrame) -> tuple[Chart, str]:
    """Referral and ranking with 95% intervals of every group, a panel a metric, groups below their attribute's name.

    A gap that neither chance nor the mix of diagnoses explains (p < 0.05, corrected for all gaps) is drawn as a diamond
    in another colour; a group that is too small is marked so.
    ``table``: DataFrame of :func:`skinlesion.evaluation.subgroup_metrics.by_subgroup`.
    """
    names = [name for name in _SHORT if (table["metric"] == name).any()]
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


def _alt(table: pd.DataFrame, names: list[str]) -> str:
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


_COLUMNS = 4


@styled
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


@styled
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


@styled
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


@styled
def coverage_curve(curve: pd.DataFrame) -> tuple[Chart, str]:
    """Balanced accuracy, risk and the malignant images not deferred, against coverage.

    ``curve``: DataFrame of :func:`skinlesion.evaluation.uncertainty.coverage_curve`.
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
