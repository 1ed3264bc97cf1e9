"""The course of a training."""

from __future__ import annotations

import pandas as pd
from matplotlib.ticker import MaxNLocator

from skinlesion.core.tables import counted
from skinlesion.evaluation.plots.style import ACCENT, CONTRAST, INK, Chart, new_figure, styled

_PANELS = (("loss", "Loss (cross-entropy)"), ("accuracy", "Accuracy"), ("balanced_accuracy", "Balanced accuracy"))


@styled(
    "Loss, accuracy, balanced accuracy and learning rate by epoch; the dotted line marks the selected epoch. A "
    "validation loss that rises while the training loss falls shows overfitting."
)
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
