"""The official score: a model on the test set of ISIC 2018 Task 3, from the downloaded folder to the report."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from skinlesion.core import images
from skinlesion.core.errors import DataError, ImageError
from skinlesion.core.runs import Run
from skinlesion.core.tables import counted, need_columns, read_table
from skinlesion.core.writing import need_writable
from skinlesion.data.files import find_files
from skinlesion.data.published import METADATA, load_official_test
from skinlesion.data.table import LesionTable
from skinlesion.data.tabulate import in_official_test
from skinlesion.evaluation.assessment import PREVALENCE
from skinlesion.evaluation.documents import write_evaluation
from skinlesion.evaluation.predictions import Predictions
from skinlesion.evaluation.truth import WITHOUT_WEIGHT
from skinlesion.serving.predictor import Predictor

IMAGES = 1511  # that count: 1,512 in ISIC's release, less the one without weight
VIEW = 4 / 3  # width to height of HAM10000's frames, training and test alike
_TOLERANCE = 0.01  # of that ratio: a pixel of rounding in a small copy


def evaluate_official(
    place: str | Path,
    model: str | Path | None,
    output: str | Path,
    *,
    prevalence: float = PREVALENCE,
    progress: bool = False,
) -> int:
    """Predict and evaluate the official test set; write ``predictions.csv``, ``submission.csv`` and the report.

    ``place`` is the folder that ``skinlesion data download ham10000 --parts test`` made, ``model`` a model folder (the
    shipped model where None), ``output`` as for :func:`skinlesion.evaluation.documents.write_evaluation`. Returns the
    exit status. Raises DataError if ground truth or images are missing or unreadable, ModelError if the model cannot be
    loaded.
    """
    need_writable(output)
    predictor = Predictor.load(model)
    manifest = predictor.manifest
    table, notes = choose(load_official_test(Path(place)), known_training_rows(place))
    if manifest.synthetic:
        notes += ("The model was trained on synthetic images: none of them shows skin.",)
    shapes: list[bool] = []

    def read(path: str | Path) -> np.ndarray:
        frame = _read(path)
        view = same_view(frame)
        shapes.append(view.shape == frame.shape)
        return view

    predicted = predictor.predict_files(list(table.frame["path"]), read=read, progress=progress)
    if recut := shapes.count(False):
        notes += (f"{counted(recut, 'frame')} of another shape than 4:3, the training images', cut to that.",)
    predictions = Predictions.from_model(table.frame, table.labels, table.targets, predicted, notes)
    run = Run(output)
    predictions.write(run.predictions)
    predictions.write_submission(run.folder / "submission.csv")
    return write_evaluation(
        predictions,
        output,
        f"{manifest.name} {manifest.version} on the official test set",
        referral_threshold=manifest.decision.referral_threshold,
        prevalence=prevalence,
    )


def choose(
    table: LesionTable, training: tuple[set[str], set[str]] = (set(), set())
) -> tuple[LesionTable, tuple[str, ...]]:
    """The images of an official test set that count, and notes about the others.

    Left out are ids beyond the official range, the image without weight, and every image whose id or lesion is in
    ``training`` (image ids, lesion ids).

    Raises DataError if nothing is left.
    """
    ids, lesions = table.frame["image_id"], table.frame["lesion_id"]
    strange = ~in_official_test(ids)
    weightless = ids == WITHOUT_WEIGHT
    trained = ids.isin(training[0]) | lesions.isin(training[1])
    kept = table.keep(~(strange | weightless | trained))
    if not len(kept):
        raise DataError(f"{table.location} holds no image of the official test set (ISIC_0034524 to ISIC_0036064)")
    notes = []
    for mask, words in (
        (strange, "no image of the official test set"),
        (trained & ~strange, "used in training, or another image of a lesion that was"),
    ):
        if mask.any():
            notes.append(f"Left out: {counted(int(mask.sum()), 'image')}, {words}.")
    if len(kept) != IMAGES:
        notes.append(f"This is not an official score: {len(kept):,} of the {IMAGES:,} images that count were there.")
    return kept, tuple(notes)


def known_training_rows(place: str | Path) -> tuple[set[str], set[str]]:
    """Image and lesion ids of HAM10000's training set, where its metadata lies in the same folder; else nothing.

    Ids alone part the two sets; the metadata can tell besides whether a test lesion has an image in training.
    """
    path = find_files(Path(place).expanduser()).table(METADATA)
    if path is None:
        return set(), set()
    metadata = read_table(path)
    need_columns(metadata, ("image_id", "lesion_id"), path)
    return set(metadata["image_id"].str.strip()), set(metadata["lesion_id"].str.strip()) - {""}


def same_view(frame: np.ndarray) -> np.ndarray:
    """The frame if it is 4:3, else the largest 4:3 piece around its centre; uint8 [H, W, 3].

    Networks that squash the whole frame into their square would otherwise get lesions stretched as never in training.
    """
    height, width = frame.shape[:2]
    if abs(width / height / VIEW - 1) <= _TOLERANCE:
        return frame
    wide, high = min(width, round(height * VIEW)), min(height, round(width / VIEW))
    top, left = (height - high) // 2, (width - wide) // 2
    return np.ascontiguousarray(frame[top : top + high, left : left + wide])


def _read(path: str | Path) -> np.ndarray:
    try:
        return images.read_image(path)
    except ImageError as error:
        raise DataError(f"{path}: {error}; without it there is no official score. Download the set again") from None
