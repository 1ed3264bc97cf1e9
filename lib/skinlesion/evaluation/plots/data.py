"""Figures of the data: counts, distributions, colours, skin tones, sample images."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from skinlesion.core import framing
from skinlesion.core.tables import counted
from skinlesion.core.taxonomy import LabelSet
from skinlesion.evaluation.plots.style import (
    ACCENT,
    CATEGORIES,
    CONTRAST,
    INK,
    MUTED,
    REMAINDER,
    Chart,
    class_name,
    name_rows,
    new_axis,
    new_figure,
    share_legend,
    styled,
)

_GROUPS = ((ACCENT, None), ("#BFDDF0", "//"))  # fill and hatch


@styled
def class_counts(counts: dict[str, np.ndarray], labels: LabelSet) -> tuple[Chart, str]:
    """Bars of counts by class on a logarithmic axis, numbers written on them; one group, or two side by side.

    ``counts``: {group: int [K]}, ``{"images": …, "lesions": …}``; one group alone takes the colours of the classes.
    """
    title, k, height = "Images and lesions by class", len(labels), 0.8 / len(counts)
    figure, axis = new_axis(8.8, max(3.2, (0.3 + 0.2 * len(counts)) * k + 1.2))
    for i, (group, values) in enumerate(counts.items()):
        color, hatch = (labels.colors, None) if len(counts) == 1 else _GROUPS[i]
        place = np.arange(k) + (i - (len(counts) - 1) / 2) * height
        bars = axis.barh(place, values, height * 0.94, color=color, hatch=hatch, edgecolor="#444444", linewidth=0.7,
                         label=group)  # fmt: skip
        share = values / max(values.sum(), 1)
        axis.bar_label(bars, [f"{n:,} ({s:.1%})" for n, s in zip(values, share, strict=True)], padding=4, fontsize=9)
    _class_axis(axis, labels)
    axis.set_xscale("log")
    top = max(np.max(values) for values in counts.values())
    axis.set(title=title, xlabel="Number (logarithmic scale)", xlim=(0.7, top * 6))
    axis.xaxis.set_major_formatter("{x:,.0f}")
    if len(counts) > 1:
        axis.legend(loc="best")
    return figure, f"{title}. {_count_text(counts, labels)}"


@styled
def balancing(before: np.ndarray, after: dict[str, np.ndarray], labels: LabelSet) -> tuple[Chart, str]:
    """Class counts before balancing (outline) and after (bar), one panel a strategy.

    ``before``: int [K]; ``after``: {strategy: float [K]}.
    """
    title = "Training samples per epoch by balancing strategy"
    columns = min(3, len(after))
    rows = -(-len(after) // columns)
    figure, axes = new_figure(9.6, rows * (0.27 * len(labels) + 1.2) + 0.4, rows, columns, sharex=True, sharey=True)
    top = max(np.max(before), *(np.max(values) for values in after.values()))
    for axis, (name, values) in zip(axes.flat, after.items(), strict=False):
        place = np.arange(len(labels))
        axis.barh(place, values, 0.62, color=labels.colors, edgecolor="#444444", linewidth=0.7)
        axis.barh(place, before, 0.84, fill=False, edgecolor=INK, linewidth=1, linestyle=":")
        reach = np.maximum(values, before)
        for row, value in enumerate(values):
            axis.annotate(
                f"{value:,.0f}", (reach[row], row), (4, 0), textcoords="offset points", va="center", fontsize=8
            )
        axis.set(title=name, xlim=(0, top * 1.2))
        axis.xaxis.set_major_formatter("{x:,.0f}")
        _class_axis(axis, labels, short=True)
    for i in range(len(after), axes.size):
        axes.flat[i].set_visible(False)
        axes.flat[i - columns].tick_params(labelbottom=True)
    figure.suptitle(f"{title}: dotted outline before, bar after")
    figure.supxlabel("Samples per epoch", fontsize=10)
    return figure, f"{title}. {_count_text({'before': before} | after, labels)}"


@styled
def ages(years: np.ndarray, y: np.ndarray, labels: LabelSet) -> tuple[Chart, str]:
    """Distribution of ages by class: a histogram a class on a common axis, and boxes side by side.

    ``years``: float [N], NaN where unknown; ``y``: int [N]. Each bar is around a multiple of five, in which ages are
    often given.
    """
    known = np.isfinite(years)
    edges = 5 * (np.arange(np.round(years[known].min() / 5), np.round(years[known].max() / 5) + 2) - 0.5)
    groups = [years[known & (y == i)] for i in range(len(labels))]
    k = len(labels)
    figure = new_figure(9.4, 0.62 * k + 1.4)[0]
    figure.clear()
    grid = figure.add_gridspec(k, 2, width_ratios=(1.25, 1))
    boxes = figure.add_subplot(grid[:, 1])
    first: Axes | None = None
    for row, (diagnosis, group) in enumerate(zip(labels, groups, strict=True)):
        axis = first = figure.add_subplot(grid[row, 0], sharex=first)
        axis.hist(group, edges, color=diagnosis.color, edgecolor="#444444", linewidth=0.4)
        axis.set_ylabel(class_name(diagnosis, 24), rotation=0, ha="right", va="center", fontsize=9)
        axis.set(yticks=[])
        axis.spines["left"].set_visible(False)
        axis.grid(axis="y", visible=False)
        axis.tick_params(labelbottom=row == k - 1)
    axis.set_xlabel("Age (years); height: images, each class on its own scale")
    _boxes(boxes, groups, labels)
    boxes.set(xlabel="Age (years); box: quartiles")
    figure.suptitle("Age by class")
    alt = ", ".join(
        f"{code} {np.median(group):.1f} ({len(group):,})" if len(group) else f"{code} none"
        for code, group in zip(labels.codes, groups, strict=True)
    )
    return figure, f"Age by class. Median (number of images): {alt}. Unknown: {int((~known).sum()):,}."


def _boxes(axis, groups: list[np.ndarray], labels: LabelSet) -> None:
    drawn = axis.boxplot(
        groups, orientation="horizontal", positions=range(len(groups)), widths=0.6, patch_artist=True,
        medianprops={"color": INK, "linewidth": 1.6},
        flierprops={"marker": ".", "markersize": 3, "markerfacecolor": MUTED, "markeredgecolor": "none"},
    )  # fmt: skip
    for box, color in zip(drawn["boxes"], labels.colors, strict=True):
        box.set(facecolor=color, edgecolor="#444444")
    _class_axis(axis, labels, short=True)


@styled
def stacked_bars(table: pd.DataFrame, labels: LabelSet, title: str, legend: str) -> tuple[Chart, str]:
    """Composition of every class; beyond nine categories the rarest are put together as "other", unknown comes last.

    ``table``: DataFrame of counts, one row per class (in the label set's order), one column per category; ``legend``:
    what the categories are.
    """
    xlabel = "Fraction of the class's images"
    named = table.drop(columns=list(REMAINDER), errors="ignore").sum().sort_values(ascending=False, kind="stable").index
    kept = list(named[: len(CATEGORIES)])
    shown = table[kept].copy()
    if len(kept) < len(named) or "other" in table:
        shown["other"] = table[list(named[len(kept) :])].sum(axis=1) + table.get("other", 0)
    if "unknown" in table:
        shown["unknown"] = table["unknown"]
    fractions = shown.div(shown.sum(axis=1).clip(lower=1), axis=0)
    figure, axis = new_axis(9.6, 0.42 * len(labels) + 1.5)
    left = np.zeros(len(labels))
    for i, category in enumerate(fractions.columns):
        color = REMAINDER.get(category) or CATEGORIES[i]
        width = fractions[category].to_numpy()
        bars = axis.barh(
            range(len(labels)), width, 0.74, left=left, color=color, edgecolor="white", label=str(category)
        )
        dark = sum(int(color[j : j + 2], 16) * w for j, w in ((1, 0.3), (3, 0.59), (5, 0.11))) < 130
        texts = [f"{w:.0%}" if w >= 0.07 else "" for w in width]
        axis.bar_label(bars, texts, label_type="center", color="white" if dark else INK, fontsize=8)
        left += width
    _class_axis(axis, labels)
    axis.set(title=title, xlabel=xlabel, xlim=(0, 1))
    share_legend(figure, axis, title=legend)
    alt = "; ".join(
        f"{code}: " + ", ".join(f"{name} {value:.0%}" for name, value in row.items() if value >= 0.005)
        for code, (_, row) in zip(labels.codes, fractions.iterrows(), strict=True)
    )
    return figure, f"{title}, {xlabel.lower()}. {alt}."


@styled
def image_grid(
    images: list[np.ndarray],
    titles: list[str],
    columns: int,
    title: str,
    alt: str,
    colors: list[str] | None = None,
    width: float = 9.0,
) -> tuple[Chart, str]:
    """Images, uint8 [H, W, 3] each, in a grid, row by row.

    ``titles``: one per image, written above it, perhaps empty; ``alt``: what the pictures show, since pixels can't say
    it themselves; ``colors``: border colour of every image; ``width``: inches.
    """
    rows = -(-len(images) // columns)
    wide = width / columns - 0.1  # inches, of a picture
    high = wide * max(image.shape[0] / image.shape[1] for image in images)
    above = 0.08 + 0.16 * max(text.count("\n") + 1 if text else 0 for text in titles)
    height = rows * (high + above) + 0.4
    edges = {"left": 0.05 / width, "right": 1 - 0.05 / width, "bottom": 0.04 / height}
    places = edges | {"top": 1 - (0.36 + above) / height, "wspace": 0.1 / wide, "hspace": above / high}
    figure, axes = new_figure(width, height, rows, columns, layout="none", gridspec_kw=places)
    for i, axis in enumerate(axes.flat):
        axis.set(xticks=[], yticks=[])
        axis.grid(False)
        if i >= len(images):
            axis.set_visible(False)
            continue
        axis.imshow(images[i], interpolation="antialiased")
        axis.set_title(titles[i], fontsize=8, fontweight="normal", pad=4)
        axis.spines[:].set(visible=colors is not None, linewidth=2.5)
        if colors is not None:
            axis.spines[:].set_color(colors[i])
    figure.suptitle(title, y=1 - 0.08 / height)
    return figure, alt


@styled
def color_swatches(colors: np.ndarray, y: np.ndarray, labels: LabelSet) -> tuple[Chart, str]:
    """A row of mean colours a class, dark to light: the images at evenly spaced ranks of brightness.

    ``colors``: float [N, 3], mean red, green and blue of each image, 0 to 255.
    """
    per_class = 60
    title = "Mean colour by class"
    strip = np.full((len(labels), per_class, 3), 255, np.uint8)
    alt = []
    for i, code in enumerate(labels.codes):
        own = colors[y == i]
        if len(own):
            own = own[np.argsort(own.mean(axis=1), kind="stable")]
            strip[i] = own[np.linspace(0, len(own) - 1, per_class).round().astype(int)].round()
            alt.append(f"{code} {own[:, 0].mean():.0f}/{own[:, 1].mean():.0f}/{own[:, 2].mean():.0f}")
    figure, axis = new_axis(8.8, 0.42 * len(labels) + 1.2)
    axis.imshow(strip, aspect="auto", interpolation="nearest", extent=(0, 100, len(labels) - 0.5, -0.5))
    for row in range(len(labels) - 1):
        axis.axhline(row + 0.5, color="white", linewidth=5)
    axis.set(title=title, xlabel="Rank by brightness within the class (percentile, dark to light)")
    axis.grid(False)
    axis.spines[:].set_visible(False)
    axis.tick_params(axis="y", length=0)
    axis.set_yticks(range(len(labels)), [class_name(diagnosis) for diagnosis in labels])
    return figure, f"{title}; mean red/green/blue of each class (0 to 255): {', '.join(alt)}."


@styled
def color_scatter(
    x: np.ndarray, values: np.ndarray, y: np.ndarray, labels: LabelSet, title: str, xlabel: str, ylabel: str
) -> tuple[Chart, str]:
    """Two numbers of every image as a cloud, the mean of every class on top.

    ``x``, ``values``: float [N], horizontal and vertical; ``y``: int [N]; ``xlabel``, ``ylabel``: with units.
    """
    figure, axis = new_axis(9.2, 5.0)
    order = np.random.default_rng(0).permutation(len(y))  # else the last class would hide the others
    axis.scatter(x[order], values[order], s=5, c=np.array(labels.colors)[y[order]], alpha=0.35, linewidths=0)
    alt = []
    for i, (diagnosis, shape) in enumerate(zip(labels, "osD^vPX*", strict=False)):
        if (y == i).any():
            place = x[y == i].mean(), values[y == i].mean()
            axis.plot(*place, shape, color=diagnosis.color, markersize=12, markeredgecolor=INK, markeredgewidth=1.3,
                      linestyle="none", label=class_name(diagnosis))  # fmt: skip
            alt.append(f"{diagnosis.code} {place[0]:.1f}, {place[1]:.1f}")
    axis.set(title=title, xlabel=xlabel, ylabel=ylabel)
    share_legend(figure, axis, title="mean of the class", labelspacing=0.9)
    return figure, f"{title}. Mean {xlabel} and {ylabel} by class: {'; '.join(alt)}."


def _class_axis(axis, labels: LabelSet, short: bool = False) -> None:
    name_rows(axis, labels.codes if short else [class_name(diagnosis) for diagnosis in labels])


def _count_text(counts: dict[str, np.ndarray], labels: LabelSet) -> str:
    return " ".join(
        f"{group}: " + ", ".join(f"{code} {n:,.0f}" for code, n in zip(labels.codes, values, strict=True)) + "."
        for group, values in counts.items()
    )


@styled
def frame_fitting(frames: list[np.ndarray], codes: list[str], size: int, fit: str, crops: int = 1) -> tuple[Chart, str]:
    """The ways to make a square of a frame, side by side, an image a row.

    ``frames``: uint8 [H, W, 3] each; ``codes``: class of each; ``size``, ``fit``, ``crops``: of the run, as in its
    configuration.
    """
    shown, titles = [], []
    for frame, code in zip(frames, codes, strict=True):
        whole = np.full((128, 171, 3), 255, np.uint8)
        shrink = min(whole.shape[0] / frame.shape[0], whole.shape[1] / frame.shape[1])
        small = framing.resize(frame, (round(frame.shape[0] * shrink), round(frame.shape[1] * shrink)))
        whole[: small.shape[0], : small.shape[1]] = small
        squares = [framing.fit_square(frame, 128, way) for way in ("squash", "center_crop")]
        shown += [whole, *squares, *framing.fit_crops(frame, size, fit, crops)]
        own = [f"this run: {fit}, {size} px", "second crop"][:crops]
        titles += [f"{code}: whole frame", "squash", "center_crop", *own]
    alt = f"{len(frames)} images, each as the whole frame, squashed, as the centre square, and fitted as in this run."
    return image_grid(shown, titles, columns=3 + crops, title="Frame fitting", alt=alt)


@styled
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
