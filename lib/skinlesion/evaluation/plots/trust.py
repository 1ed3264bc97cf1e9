"""Whom and when to trust: subgroups, out-of-distribution images, and activation maps against lesion masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from skinlesion.core.tables import counted
from skinlesion.evaluation.attention import ALL, MODEL, enlarged
from skinlesion.evaluation.bootstrap import describe
from skinlesion.evaluation.plots.style import (
    ACCENT,
    CATEGORIES,
    CONTRAST,
    INK,
    MUTED,
    Chart,
    interval,
    name_rows,
    new_axis,
    new_figure,
    share_legend,
    styled,
)
from skinlesion.evaluation.subgroup_metrics import NAMES


@styled(
    "AUROC and FPR95 of the domain score for each kind of out-of-distribution image, with 95% intervals. At an "
    "AUROC of 0.5 (dotted) the score cannot detect that kind."
)
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


@styled(
    "Distribution of the domain score for test images (top) and each kind of out-of-distribution image; the "
    "dashed line is the threshold. Images to its right pass as in domain."
)
def domain_scores(
    inside: np.ndarray,
    outside: dict[str, np.ndarray],
    threshold: float,
) -> tuple[Chart, str]:
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


@styled(
    "Fraction inside the lesion, by class, for the model and three baselines, with 95% intervals. Only a lead "
    "over all baselines shows that the map follows the lesion."
)
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


def domain_figures(
    table: pd.DataFrame, inside: np.ndarray, outside: dict[str, np.ndarray], threshold: float
) -> dict[str, tuple[Chart, str]]:
    """All figures of :func:`skinlesion.evaluation.out_of_domain.measure`'s results, by file name."""
    return {
        "domain_detection": domain_detection(table),
        "domain_scores": domain_scores(inside, outside, threshold),
    }


def map_figures(table: pd.DataFrame) -> dict[str, tuple[Chart, str]]:
    """All figures of :func:`skinlesion.evaluation.attention.compare_with_masks`'s table, by file name."""
    return {"maps_energy": map_aim(table), "maps_pointing": map_aim(table, "pointing")}


@styled(
    "Images with the class activation map (bright: evidence for the predicted class) and the outline of the "
    "lesion. The bright part should lie inside the outline."
)
def map_gallery(
    frames: Sequence[np.ndarray],
    maps: np.ndarray,
    masks: np.ndarray,
    captions: Sequence[str],
) -> tuple[Chart, str]:
    """Images on the network's square with the map's positive part over them and the lesion's outline.

    ``frames``: uint8 [S, S, 3] each, fitted as the network fits them; ``maps``: float [N, h, w]; ``masks``: bool [N,
    SIDE, SIDE].
    """
    title = "Class activation maps"
    columns = min(6, len(frames))
    rows = -(-len(frames) // columns)
    figure, axes = new_figure(1.9 * columns, 2.1 * rows + 0.5, rows, columns)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, frame, one, mask, caption in zip(axes.flat, frames, maps, masks, captions, strict=False):
        heat = np.maximum(enlarged(one), 0)
        extent = (0, 1, 1, 0)
        axis.imshow(frame, extent=extent)
        axis.imshow(heat, extent=extent, cmap="magma", alpha=0.7 * heat / max(heat.max(), 1e-9))
        axis.contour(mask, levels=[0.5], colors="white", linewidths=1.2, extent=(0, 1, 0, 1))
        axis.set_title(caption, fontsize=8)
    figure.suptitle(title)
    alt = f"{len(frames)} images with class activation maps and lesion outlines: {'; '.join(captions)}."
    return figure, f"{title}: {alt}"


SIGNIFICANT = 0.05
_SHORT = {
    "sensitivity": "Sensitivity\n(malignant)",
    "specificity": "Specificity\n(malignant)",
    "malignant_auroc": "AUROC\n(malignant)",
}


@styled(
    "Value and 95% interval in each subgroup. A diamond marks a gap to the other groups that neither chance nor "
    "the mix of diagnoses explains (p < 0.05)."
)
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
    figure, axis = new_axis(8.2, 3.4)
    axis.hist(known, bins=range(-90, 186, 5), color=ACCENT, edgecolor="white", linewidth=0.4)
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
