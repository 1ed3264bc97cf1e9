"""Figures of training and evaluation: learning curves, confusions, ranking, calibration, intervals."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from skinlesion.core.tables import counted
from skinlesion.core.taxonomy import LabelSet
from skinlesion.evaluation.calibration import reliability, top_label
from skinlesion.evaluation.intervals import Metric, describe
from skinlesion.evaluation.metrics import NAMES, ratio
from skinlesion.evaluation.plots.data import image_grid
from skinlesion.evaluation.plots.style import (
    ACCENT,
    CONTRAST,
    INK,
    LINES,
    MUTED,
    Chart,
    class_name,
    hide_unused,
    interval,
    name_rows,
    new_axis,
    new_figure,
    outlined,
    share_legend,
    styled,
)
from skinlesion.evaluation.predictions import Predictions


@styled
def confusion_matrix(predictions: Predictions) -> tuple[Chart, str]:
    """Images by true and predicted class: counts, and the fraction of each row beside them."""
    title = "Confusion matrix"
    labels, k = predictions.labels, len(predictions.labels)
    counts = np.bincount(predictions.y * k + predictions.predicted, minlength=k * k).reshape(k, k)
    rows = ratio(counts, counts.sum(axis=1, keepdims=True))
    figure, axes = new_figure(9.6, 0.42 * k + 1.9, 1, 2, sharey=True)
    figure.suptitle(f"{title} ({counted(len(predictions), 'image')})")
    for axis, name, texts in (
        (axes[0, 0], "Images", np.vectorize("{:,}".format)(counts)),
        (axes[0, 1], "Fraction of the true class", np.where(np.isnan(rows), "–", np.char.mod("%.2f", rows))),
    ):
        # Both panels are shaded by the fraction, else nevi alone would have a colour.
        axis.imshow(np.nan_to_num(rows), cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for i, j in np.ndindex(k, k):
            ink = "white" if rows[i, j] > 0.55 else MUTED if counts[i, j] == 0 else INK
            axis.text(j, i, texts[i, j], ha="center", va="center", fontsize=9, color=ink)
        axis.set(title=name, xlabel="Predicted class", xticks=range(k), xticklabels=labels.codes)
        axis.set_yticks(range(k), [class_name(diagnosis) for diagnosis in labels])
        axis.grid(False)
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0)
    axes[0, 0].set_ylabel("True class")
    recalls = ", ".join(f"{code} {rows[i, i]:.2f}" for i, code in enumerate(labels.codes) if np.isfinite(rows[i, i]))
    return figure, f"{title} of {counted(len(predictions), 'image')}. Recall by class: {recalls}."


@styled
def labelled_images(images: list[np.ndarray], predictions: Predictions) -> tuple[Chart, str]:
    """Images with true and predicted class above each, four in a row.

    ``images``: uint8 [H, W, 3] each; ``predictions``: Predictions of these images, in their order.
    """
    title = "Most confident errors"
    codes = predictions.labels.codes
    texts = [
        f"{codes[true]}, predicted {codes[label]}"
        for true, label in zip(predictions.y, predictions.predicted, strict=True)
    ]
    colors = [predictions.labels.colors[true] for true in predictions.y]
    return image_grid(images, texts, 4, title, f"{title}, true and predicted class: {'; '.join(texts)}.", colors)


@styled
def roc_curves(predictions: Predictions, metrics: dict):
    """ROC curve of every class that occurs, with AUROC and interval from ``metrics`` (see ``metrics.evaluate``)."""
    from sklearn.metrics import roc_curve

    title = "ROC curves, one class against the rest"
    figure, axis = new_axis(7.9, 5.0)
    axis.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=":", label="chance, 0.50")
    for score, positive, look in _curves(predictions, metrics, "auroc"):
        false, found, _ = roc_curve(positive, score)
        axis.plot(false, found, **look)
    axis.set(xlabel="False positive rate (1 − specificity)", ylabel="True positive rate (sensitivity)", title=title)
    return _finish_curves(figure, axis, predictions, metrics, "auroc", title)


@styled
def precision_recall_curves(predictions: Predictions, metrics: dict) -> tuple[Chart, str]:
    """Precision against recall of every class that occurs, with average precision and interval from ``metrics``."""
    from sklearn.metrics import precision_recall_curve

    title = "Precision-recall curves, one class against the rest"
    figure, axis = new_axis(7.9, 5.0)
    for score, positive, look in _curves(predictions, metrics, "average_precision"):
        precision, recall, _ = precision_recall_curve(positive, score)
        precision[-1] = precision[-2]  # at a recall of 0 there is none
        axis.step(recall, precision, where="post", **look)
    axis.set(xlabel="Recall (sensitivity)", ylabel="Precision (PPV)", title=title)
    return _finish_curves(figure, axis, predictions, metrics, "average_precision", title)


def _curves(predictions: Predictions, metrics: dict, name: str):
    """Of every class that occurs: its probabilities, which images are of it, and how its curve looks."""
    for i, diagnosis in enumerate(predictions.labels):
        positive = predictions.y == i
        if 0 < positive.sum() < len(positive):
            label = f"{class_name(diagnosis)}\n{describe(metrics['per_class'][diagnosis.code][name])}"
            look = {"color": diagnosis.color, "linestyle": LINES[i % len(LINES)], "path_effects": outlined()}
            yield predictions.probabilities[:, i], positive, look | {"clip_on": False, "label": label}


def _finish_curves(figure, axis, predictions: Predictions, metrics: dict, name: str, title: str):
    axis.set(xlim=(0, 1), ylim=(0, 1.005))
    axis.set_aspect("equal")
    share_legend(figure, axis, title=f"{NAMES[name]} (95% interval)", handlelength=3, labelspacing=0.7)
    alt = ", ".join(f"{code} {describe(metrics['per_class'][code][name])}" for code in predictions.labels.codes)
    return figure, f"{title}. {NAMES[name]} with 95% interval: {alt}."


@styled
def reliability_diagram(
    probabilities: dict[str, np.ndarray], y: np.ndarray, metrics: dict[str, dict[str, Metric]]
) -> tuple[Chart, str]:
    """Accuracy against confidence in bins of equal size, one panel a set of probabilities, confidences below.

    ``probabilities``: {name: float [N, K]}, e.g. before and after temperature scaling. ``y``: int [N]; ``metrics``:
    {name: metrics}, of which ``ece``, the calibration error, is shown.
    """
    names = list(probabilities)
    figure, axes = new_figure(4.6 * len(names), 5.2, 2, len(names), sharex=True, sharey="row", height_ratios=(4, 1))
    alt = []
    for column, name in enumerate(names):
        confidence, correct = top_label(probabilities[name], y)
        table = reliability(confidence, correct)
        text = describe(metrics[name]["ece"])
        top, bottom = axes[:, column]
        top.plot([0, 1], [0, 1], color=MUTED, linestyle=":", linewidth=1.2, label="perfect calibration")
        top.vlines(table["confidence"], table["confidence"], table["accuracy"], color=CONTRAST, alpha=0.5, linewidth=3,
                   label="gap")  # fmt: skip
        top.plot(table["confidence"], table["accuracy"], "o-", color=ACCENT, markersize=5, label="observed, 15 bins")
        top.set(title=f"{name}\nECE {text}", ylim=(0, 1.02), xlim=(0, 1))
        top.legend(loc="upper left")
        bottom.hist(confidence, bins=np.linspace(0, 1, 41), color=ACCENT, edgecolor="white", linewidth=0.4)
        bottom.set(xlabel="Confidence (largest probability; line: mean)")
        bottom.axvline(confidence.mean(), color=INK, linewidth=1)
        alt.append(f"{name}: mean confidence {confidence.mean():.2f}, accuracy {correct.mean():.2f}, ECE {text}")
    axes[0, 0].set_ylabel("Accuracy (fraction correct)")
    axes[1, 0].set_ylabel("Images")
    figure.suptitle("Reliability of the probabilities")
    return figure, f"Reliability diagram, accuracy against confidence. {'; '.join(alt)}."


@styled
def class_reliability(probabilities: np.ndarray, y: np.ndarray, labels: LabelSet) -> tuple[Chart, str]:
    """Predicted probability of every class against its observed fraction, in bins of equal size, one panel a class.

    ``probabilities``: float [N, K]; ``y``: int [N].
    """
    heading = "Reliability of the probabilities by class"
    columns = 4
    rows = -(-len(labels) // columns)
    figure, axes = new_figure(10, 2.5 * rows + 0.6, rows, columns, sharex=True, sharey=True)
    alt = []
    for i, (axis, diagnosis) in enumerate(zip(axes.flat, labels, strict=False)):
        table = reliability(probabilities[:, i], y == i)
        axis.plot([0, 1], [0, 1], color=MUTED, linestyle=":", linewidth=1.2)
        axis.plot(table["confidence"], table["accuracy"], "o-", color=diagnosis.color, markersize=4,
                  path_effects=outlined())  # fmt: skip
        axis.set(title=class_name(diagnosis, 24), xlim=(0, 1), ylim=(0, 1.02))
        alt.append(f"{diagnosis.code} predicted {probabilities[:, i].mean():.3f}, observed {(y == i).mean():.3f}")
    hide_unused(axes, len(labels))
    figure.supxlabel("Predicted probability (mean of the bin)", fontsize=10)
    figure.supylabel("Observed fraction", fontsize=10)
    figure.suptitle(heading)
    return figure, f"{heading}, 15 bins of equal size. Mean over all images: {'; '.join(alt)}."


@styled
def forest(
    rows: dict[str, Metric],
    title: str,
    xlabel: str,
    colors: tuple[str, ...] | None = None,
    reference: float | None = None,
) -> tuple[Chart, str]:
    """Point and 95% interval of one metric a row, e.g. paired differences with ``reference=0``.

    ``rows``: {name: metric}; ``colors``: one per row; ``reference``: where to draw a line to compare with.
    """
    figure, axis = new_axis(8.2, 0.42 * len(rows) + 1.5)
    for row, (metric, color) in enumerate(zip(rows.values(), colors or (ACCENT,) * len(rows), strict=True)):
        interval(axis, metric, row, color)
        if metric["value"] is not None:
            axis.annotate(describe(metric), (1.02, row), xycoords=("axes fraction", "data"), va="center", fontsize=9)
    if reference is not None:
        axis.axvline(reference, color=INK, linewidth=1, linestyle="--", zorder=1)
    name_rows(axis, list(rows))
    axis.set(title=title, xlabel=xlabel)
    alt = "; ".join(f"{name} {describe(metric)}" for name, metric in rows.items())
    return figure, f"{title}, value with 95% interval: {alt}."


@styled
def metric_forest(
    metrics: dict, labels: LabelSet, names: tuple[str, ...] = ("sensitivity", "ppv", "auroc")
) -> tuple[Chart, str]:
    """Per-class metrics (see ``metrics.evaluate``) as points with intervals, a panel a metric."""
    title = "Metrics by class"
    figure, axes = new_figure(1.9 + 2.7 * len(names), 0.5 * len(labels) + 1.6, 1, len(names), sharey=True)
    by_class = metrics["per_class"]
    for axis, name in zip(axes[0], names, strict=True):
        rows = [by_class[code][name] for code in labels.codes]
        for row, (metric, color) in enumerate(zip(rows, labels.colors, strict=True)):
            interval(axis, metric, row, color)
        lows = [m["value"] if m["low"] is None else m["low"] for m in rows if m["value"] is not None]
        left = np.floor(10 * min(lows, default=0)) / 10  # tenths below the lowest interval
        axis.set(title=NAMES[name], xlim=(left - 0.02, 1.02), xlabel="value, 95% interval")
    images = [by_class[code]["sensitivity"]["n"] for code in labels.codes]
    ticks = [f"{class_name(diagnosis)}\n{counted(n, 'image')}" for diagnosis, n in zip(labels, images, strict=True)]
    for axis in axes[0]:
        name_rows(axis, ticks)
    figure.suptitle(title)
    alt = "; ".join(
        f"{code}: " + ", ".join(f"{NAMES[name]} {describe(by_class[code][name], 2)}" for name in names)
        for code in labels.codes
    )
    return figure, f"{title}, value with 95% interval. {alt}."


_PANELS = (("loss", "Loss (cross-entropy)"), ("accuracy", "Accuracy"), ("balanced_accuracy", "Balanced accuracy"))


@styled
def training_curves(history: pd.DataFrame, chosen_epoch: int) -> tuple[Chart, str]:
    """Loss, accuracy, balanced accuracy and learning rate by epoch.

    ``history``: DataFrame with epoch, train_loss, val_loss, train_accuracy, val_accuracy, val_balanced_accuracy,
    learning_rate; train_balanced_accuracy may be absent; ``chosen_epoch``: the epoch whose weights are used.
    """
    title = "Training curves"
    figure, axes = new_figure(9.4, 6.2, 2, 2, sharex=True)
    epochs = history["epoch"]
    marker = "o" if len(history) <= 40 else None
    for axis, (name, label) in zip(axes.flat, _PANELS, strict=False):
        for part, color, line in (("train", ACCENT, "--"), ("val", CONTRAST, "-")):
            if f"{part}_{name}" in history:
                words = {"train": "training", "val": "validation"}[part]
                axis.plot(
                    epochs, history[f"{part}_{name}"], line, color=color, label=words, marker=marker, markersize=3
                )
        axis.set_title(label)
        axis.set_ylabel("nats" if name == "loss" else "fraction")
    rate = axes[1, 1]
    rate.plot(epochs, history["learning_rate"], color=INK, marker=marker, markersize=3)
    rate.set(
        title="Learning rate", ylabel="step size", yscale="log" if (history["learning_rate"] > 0).all() else "linear"
    )
    for axis in axes.flat:
        axis.axvline(chosen_epoch, color=INK, linewidth=1, linestyle=":", label=f"selected epoch: {chosen_epoch}")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axis.set_xlim(epochs.min() - 0.5, epochs.max() + 0.5)
    for axis in axes[1]:
        axis.set_xlabel("Epoch")
    axes[0, 0].legend()
    figure.suptitle(title)
    kept = history.loc[epochs == chosen_epoch].iloc[0]
    return figure, (
        f"{title}: loss, accuracy, balanced accuracy and learning rate over {counted(len(history), 'epoch')}. "
        f"Selected epoch {chosen_epoch}: validation loss {kept['val_loss']:.3f}, accuracy {kept['val_accuracy']:.3f}, "
        f"balanced accuracy {kept['val_balanced_accuracy']:.3f}."
    )
