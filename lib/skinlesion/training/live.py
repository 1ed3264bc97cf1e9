"""Watching a training: a progress bar in a terminal, a line and curves that renew themselves in a notebook."""

from __future__ import annotations

import time
from collections.abc import Callable

import pandas as pd
from tqdm import tqdm

from skinlesion.training.fit import Progress


def terminal() -> Callable[[Progress], None]:
    """A tqdm bar over all steps, with loss, validation score and time left."""
    bar = tqdm(unit="step", desc="train", dynamic_ncols=True)

    def watch(progress: Progress) -> None:
        bar.total = progress.epochs * progress.steps
        bar.n = progress.epoch * progress.steps + progress.step
        last = progress.history[-1] if progress.history else {}
        bar.set_postfix(
            epoch=f"{progress.epoch + 1}/{progress.epochs}",
            loss=f"{progress.loss:.3f}",
            val_balanced_accuracy=f"{last.get('val_balanced_accuracy', float('nan')):.3f}",
        )

    return watch


def notebook(draw: Callable[[pd.DataFrame], object], every: float = 1.0) -> Callable[[Progress], None]:
    """A line of text renewed every ``every`` seconds, and the figure that ``draw(history)`` gives after each epoch.

    Both are ordinary outputs that are updated in place, so the last state stays in an executed notebook.
    """
    from IPython.display import display

    line = display("training ...", display_id=True)
    figure = display("", display_id=True)
    shown = {"time": 0.0, "epochs": 0}

    def watch(progress: Progress) -> None:
        finished = len(progress.history)
        if finished > shown["epochs"]:
            shown["epochs"] = finished
            figure.update(draw(pd.DataFrame(progress.history)))
        elif time.monotonic() - shown["time"] < every:
            return
        shown["time"] = time.monotonic()
        line.update(_Line(describe(progress)))

    return watch


def describe(progress: Progress, width: int = 24) -> str:
    """``██████░░░░ 62% · epoch 3 of 8 · step 40 of 118 · loss 0.912 · about 2:31 left``"""
    share = (progress.epoch * progress.steps + progress.step) / (progress.epochs * max(progress.steps, 1))
    left = int(progress.seconds_left)
    return (
        f"{'█' * round(share * width):░<{width}} {share:.0%} · epoch {progress.epoch + 1} of {progress.epochs} · "
        f"step {progress.step} of {progress.steps} · loss {progress.loss:.3f} · about {left // 60}:{left % 60:02d} left"
    )


class _Line:
    def __init__(self, text: str):
        self.text = text

    def __repr__(self) -> str:
        return self.text
