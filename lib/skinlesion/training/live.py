"""Watching a training: a progress bar in a terminal, a line and curves that are updated in a notebook, and
TensorBoard where it is installed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TextIO

import pandas as pd
from tqdm import tqdm

from skinlesion.core.errors import SkinLesionError
from skinlesion.core.tables import counted
from skinlesion.training.fit import Progress

Watch = Callable[[Progress], None]

SCORE = "val_balanced_accuracy"


def together(*watches: Watch | None) -> Watch:
    """One watch that calls each of several in turn; ``None`` among them is left out."""

    def watch(progress: Progress) -> None:
        for each in filter(None, watches):
            each(progress)

    return watch


def tensorboard(folder: Path) -> Watch | None:
    """Every column of the history (losses, scores, learning rate) into ``folder``, one point an epoch.

    ``None`` where TensorBoard is not installed. Steps are epochs, counted from 1. The first time that it is called, it
    writes the whole history in place of what ``folder`` held: of a resumed training no epoch shows twice, and none is
    missing.
    """
    if find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    writer, written = None, 0

    def watch(progress: Progress) -> None:
        nonlocal writer, written
        if len(progress.history) == written:
            return
        if writer is None:
            for old in folder.glob("events.*"):
                old.unlink()
            writer = SummaryWriter(str(folder), purge_step=1)  # void what a running TensorBoard has read of them
        for row in progress.history[written:]:
            for name in row.keys() - {"epoch"}:
                writer.add_scalar(name, row[name], row["epoch"])
        writer.flush()
        written = len(progress.history)

    return watch


def terminal() -> Watch:
    """A tqdm bar over all steps, with loss, validation score and time left; closed at the end.

    Its pace is that of this call's own steps, without those before a resume.
    """
    bar = None

    def watch(progress: Progress) -> None:
        nonlocal bar
        if progress.ended:
            if bar is not None:  # none was drawn for a training that had ended before
                bar.close()
            bar = None
            return
        done, total = progress.epoch * progress.steps + progress.step, progress.epochs * progress.steps
        if bar is None:  # not before the first step, when its clock starts
            bar = tqdm(total=total, initial=done, unit="step", desc="train", dynamic_ncols=True)
        bar.n, bar.total = done, total
        shown = {"epoch": f"{progress.epoch + 1}/{progress.epochs}", "loss": f"{progress.loss:.3f}"}
        last = progress.history[-1] if progress.history else {}
        if SCORE in last:  # none before the first epoch ends, nor where no fold validates
            shown[SCORE] = f"{last[SCORE]:.3f}"
        bar.set_postfix(shown)

    return watch


def lines(file: TextIO | None = None) -> Watch:
    """A printed line per epoch, with loss, validation score and time left: for outputs that are no terminal.

    ``file``: standard output where None.
    """
    printed = None

    def watch(progress: Progress) -> None:
        nonlocal printed
        if printed is None:  # epochs before a resume have been printed before
            printed = len(progress.history)
        for row in progress.history[printed:]:
            print(
                f"epoch {row['epoch']} of {progress.epochs}: loss {row['train_loss']:.3f}"
                + (f", {SCORE} {row[SCORE]:.3f}" if SCORE in row else "")
                + f", about {_minutes(progress.seconds_left)} left",
                file=file,
                flush=True,
            )
        printed = None if progress.ended else len(progress.history)

    return watch


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def notebook(draw: Callable[[pd.DataFrame], object], every: float = 1.0) -> Watch:
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
        elif not progress.ended and time.monotonic() - shown["time"] < every:
            return
        shown["time"] = time.monotonic()
        if progress.ended:  # another training may follow
            shown["epochs"] = 0
        line.update({"text/plain": describe(progress)}, raw=True)

    return watch


@contextmanager
def interruptible() -> Iterator[None]:
    """Around a training in a notebook: an interruption ends in one line that names the way to resume.

    Raises SkinLesionError in place of ``KeyboardInterrupt``; like that one, it stops the cells below.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise SkinLesionError("interrupted; run the cell again to resume from the last checkpoint") from None


def describe(progress: Progress, width: int = 24) -> str:
    """``██████░░░░ 62% · epoch 3 of 8 · step 40 of 118 · loss 0.912 · about 2:31 left``, and how it ended."""
    if progress.ended:
        finished = len(progress.history)
        early = "" if finished == progress.epochs else "; the validation score no longer improved (patience)"
        return f"trained for {finished} of {counted(progress.epochs, 'epoch')}{early}"
    share = (progress.epoch * progress.steps + progress.step) / (progress.epochs * max(progress.steps, 1))
    return (
        f"{'█' * round(share * width):░<{width}} {share:.0%} · epoch {progress.epoch + 1} of {progress.epochs} · "
        f"step {progress.step} of {progress.steps} · loss {progress.loss:.3f} · about "
        f"{_minutes(progress.seconds_left)} left"
    )
