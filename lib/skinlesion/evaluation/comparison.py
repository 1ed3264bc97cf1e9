"""Several models on the same lesions: what each reaches, and how it differs from the first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from skinlesion.core.errors import DataError
from skinlesion.core.runs import Run
from skinlesion.core.tables import counted, match_ids
from skinlesion.core.taxonomy import HAM7
from skinlesion.decision import as_seven
from skinlesion.evaluation.intervals import Metric, describe, is_significant, resample, summarise
from skinlesion.evaluation.metrics import NAMES, flat_values, replicate_values, summarised
from skinlesion.evaluation.predictions import Predictions
from skinlesion.evaluation.reading import read_predictions
from skinlesion.evaluation.training_overlap import Overlap
from skinlesion.evaluation.truth import read_named

#: What is compared: metrics of the whole, or ``<code>.<metric>`` of one class.
COMPARED = (
    "balanced_accuracy", "macro_auroc", "accuracy", "macro_f1", "mel.sensitivity", "mel.specificity", "mel.auroc",
    "ece", "brier",
)  # fmt: skip

#: Metrics of which less is better.
LESS_IS_BETTER = ("ece", "classwise_ece", "brier", "log_loss")


@dataclass(frozen=True, eq=False)
class Comparison:
    """What :func:`compare` finds."""

    metrics: dict[str, dict[str, Metric]]  # {run: {name: metric}}: the metrics of :data:`COMPARED`, the first run first
    #: {run: {name: metric}}: every other run minus the first one, on the same replicates. None where one of the two has
    #: no such metric.
    differences: dict[str, dict[str, Metric]]
    n_images: int
    n_lesions: int
    notes: tuple[str, ...]

    def table(self) -> pd.DataFrame:
        """For people: a row per metric, a column per run, each value with its interval."""
        return pd.DataFrame(self.metrics).map(describe).rename(title)

    def differences_table(self) -> pd.DataFrame:
        """For people: the same for the differences to the first run, marked where they are significant."""
        marked = pd.DataFrame(self.differences).map(lambda one: describe(one) + " *" * is_significant(one))
        return marked.rename(title)


def title(name: str) -> str:
    """``"mel.auroc"`` -> ``"AUROC, mel"``."""
    code, mark, metric = name.partition(".")
    return f"{NAMES[metric]}, {code}" if mark else NAMES[name]


def compare(runs: dict[str, Predictions], replicates: int = 2000, seed: int = 0) -> Comparison:
    """Evaluate every run on the same images, each replicate drawing the same lesions for all.

    Raises DataError if there are fewer than two runs, or they don't cover the same images with the same truth.

    Parameters
    ----------
    runs : {name: Predictions}, two or more; the others are compared with the first
    """
    if len(runs) < 2:
        raise DataError("a comparison needs two runs or more")
    first, *others = runs
    start = runs[first]
    everything = {first: start} | {name: _aligned(first, start, name, runs[name]) for name in others}
    lesions = next((one.lesions for one in everything.values() if one.has_lesions), start.lesions)
    resamples = resample(lesions, replicates, seed)
    values, metrics = {}, {}
    for name, predictions in everything.items():
        arrays = replicate_values(predictions, resamples)
        result = summarised(replace(predictions, lesions=lesions), arrays, resamples)
        metrics[name] = {m: pick(result, m) for m in COMPARED}
        values[name] = flat_values(arrays, predictions.labels.codes)
    differences: dict[str, dict[str, Metric]] = {name: {} for name in others}
    for name in others:
        for m in COMPARED:
            minus = values[name][m] - values[first][m]
            differences[name][m] = summarise(minus, len(start) if np.isfinite(minus[0]) else 0)
    notes = tuple(dict.fromkeys(f"{name}: {note}" for name, one in everything.items() for note in one.notes))
    return Comparison(metrics, differences, len(start), resamples.counts.shape[1], notes)


def pick(metrics: dict, name: str) -> Metric:
    """A metric of :func:`skinlesion.evaluation.metrics.evaluate`'s result: of the whole, or ``<code>.<metric>``."""
    code, mark, metric = name.partition(".")
    return metrics["per_class"][code][metric] if mark else metrics[name]


def _aligned(first: str, start: Predictions, name: str, other: Predictions) -> Predictions:
    """``other`` in the order of ``start``; DataError unless both have the same classes, images and truth."""
    if start.labels != other.labels:
        raise DataError(f"{first} and {name} are not for the same classes; compare models of 7, or of 8 classes")
    place = {image: row for row, image in enumerate(other.image_ids)}
    common = sum(image in place for image in start.image_ids)
    if not common == len(start) == len(other):
        raise DataError(
            f"{first} ({counted(len(start), 'image')}) and {name} ({len(other):,}) share {common:,}, and only "
            "like can be compared; split both alike, or compare on the images that all share with --shared"
        )
    other = other.take(np.array([place[image] for image in start.image_ids]))
    if differ := (start.y != other.y).sum():
        raise DataError(
            f"{first} and {name} disagree about the true class of {counted(differ, 'image')}; label both alike"
        )
    return other


def on_shared_images(runs: dict[str, Predictions]) -> dict[str, Predictions]:
    """Every run cut down to the images that all of them have, with a note of how many those are.

    Raises DataError if they share none.
    """
    common = set.intersection(*(set(one.image_ids) for one in runs.values()))
    if not common:
        raise DataError("the runs have no image in common")
    result = {}
    for name, one in runs.items():
        kept = np.array([image in common for image in one.image_ids])
        note = (f"evaluated on {len(common):,} of its {counted(len(one), 'image')}, those that all runs share.",)
        result[name] = replace(one.take(kept), notes=one.notes + (() if kept.all() else note))
    return result


def without_leaked(runs: dict[str, Predictions], overlaps: dict[str, Overlap]) -> dict[str, Predictions]:
    """The runs without the images that any of them was trained on; empty where there are none, or no others."""
    gone = {name for run, one in overlaps.items() for name in runs[run].image_ids[one.leaked]}
    kept = {run: np.array([name not in gone for name in one.image_ids]) for run, one in runs.items()}
    if not gone or not all(rows.any() for rows in kept.values()):
        return {}
    return {run: one.take(kept[run]) for run, one in runs.items()}


def load_runs(
    places: list[str], labels: str | Path | None = None, split: str = "test", words: Iterable[str] = ()
) -> dict[str, Predictions]:
    """Read run folders or predictions files; of those that name splits, one split.

    Returns {name: Predictions}: the folder's or file's name, with as much of its path as makes it unique. A file
    without labels takes them from the CSV ``labels``, else from the first file that has some; ids are those of the
    first run, whatever folder, ending or case others write them with. Raises DataError if a file is missing or breaks
    the contract. ``places``, ``words``: folders or files, and ``WORD=CODE`` texts, as
    :func:`skinlesion.evaluation.reading.read_predictions` takes them.
    """
    if len(places) < 2:
        raise DataError("a comparison needs two runs or more")
    paths = [Path(place).expanduser() for place in places]
    files = [Run(path).need(Run(path).predictions, "04_evaluation") if path.is_dir() else path for path in paths]
    labelled = {path: "label" in read_named(path) for path in files}
    other = next((path for path in files if labelled[path]), None)
    runs: dict[str, Predictions] = {}
    for name, path in zip(run_names(files), files, strict=True):
        truth = labels or (None if labelled[path] else other)
        everything = read_predictions(path, truth, words, only_labelled=not labels and not labelled[path])
        everything = everything.of_split(split) if everything.has_splits else everything
        first = next(iter(runs.values()), everything).image_ids
        place = match_ids(everything.image_ids, first)
        runs[name] = replace(everything, image_ids=np.where(place < 0, everything.image_ids, first[place]))
    alike = len({one.labels.codes for one in runs.values()}) == 1
    return runs if alike else {name: seven_labels(one) for name, one in runs.items()}


def seven_labels(predictions: Predictions) -> Predictions:
    """Eight labels merged into seven: probabilities and scores of AK and SCC are summed; seven stay as they are."""
    labels = predictions.labels
    if labels == HAM7:
        return predictions
    merged = as_seven(np.eye(len(labels)), labels).argmax(axis=1)
    return replace(
        predictions,
        labels=HAM7,
        y=merged[predictions.y],
        probabilities=as_seven(predictions.probabilities, labels),
        scores=as_seven(predictions.scores, labels),
        notes=(*predictions.notes, "its eight labels are merged into seven, as others have them."),
    )


def run_names(files: list[Path]) -> list[str]:
    """The last parts of every path, as many as make them unique; ``predictions.csv`` itself is left out."""
    parts = [path.resolve().with_suffix("").parts for path in files]
    parts = [one[:-1] if one[-1] == "predictions" else one for one in parts]
    for length in range(1, max(map(len, parts)) + 1):
        found = ["/".join(one[-length:]) for one in parts]
        if len(set(found)) == len(found):
            return found
    repeated = next(place for place, name in enumerate(found) if found.count(name) > 1)
    raise DataError(f"{files[repeated]} is given more than once; give different runs")
