"""``skinlesion predict``: image files in, a table, JSON or a challenge submission out."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Sequence

from skinlesion.core import images as door
from skinlesion.core.errors import ImageError
from skinlesion.core.runs import write_text
from skinlesion.core.tables import image_ids
from skinlesion.core.taxonomy import HAM7, ISIC2018_COLUMNS, LabelSet
from skinlesion.serving.predictor import Prediction, Predictor

FORMATS = ("table", "json", "csv")

Answer = tuple[str, Prediction | ImageError]


def predict(images: Sequence[str], model: str | None = None, format: str = "table", output: str | None = None) -> int:
    """Predict every file and write the answers whole.

    Parameters
    ----------
    images : sequence of str
        Paths as :func:`skinlesion.core.images.read` takes them.
    model : str or None
        A model folder; the shipped model where None.
    format : str
        ``table`` for people; ``json``, an array with one object an image; ``csv``, the ISIC 2018 Task 3 submission
        format with normalised decision scores, in which unreadable images are left out and named on standard error.
        Images are called by their names without ending, or by their paths where two have one name.
    output : str or None
        A file, replaced only once everything is ready; standard output where None.

    Returns
    -------
    int
        0, or 1 where an image could not be read.

    Raises
    ------
    ModelError
        If the model cannot be loaded.
    SkinLesionError
        If ``output`` cannot be written.
    """
    predictor = Predictor.load(model)
    answers = [(str(path), _answer(predictor, path)) for path in images]
    text = {"table": _table, "json": _json, "csv": _csv}[format](answers, predictor.manifest.labels)
    if output is None:
        sys.stdout.write(text)
    else:
        write_text(output, text)
    failed = [(path, answer) for path, answer in answers if isinstance(answer, ImageError)]
    if format == "csv":
        for path, error in failed:
            print(f"left out {path}: {error}", file=sys.stderr)
    return 1 if failed else 0


def _answer(predictor: Predictor, path: str) -> Prediction | ImageError:
    try:
        return predictor.predict([door.read(path)])[0]
    except ImageError as error:
        return error


def _json(answers: list[Answer], _labels: LabelSet) -> str:
    entries = [
        {"image": path, "error": str(answer)} if isinstance(answer, ImageError) else {"image": path, **answer.to_dict()}
        for path, answer in answers
    ]
    return json.dumps(entries, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _csv(answers: list[Answer], labels: LabelSet) -> str:
    columns = ISIC2018_COLUMNS if labels is HAM7 else tuple(code.upper() for code in labels.codes)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", *columns])
    names = image_ids([path for path, _ in answers])
    for name, (_, answer) in zip(names, answers, strict=True):
        if isinstance(answer, Prediction):
            writer.writerow([name, *(answer.scores[column.lower()] for column in columns)])
    return text.getvalue()


def _table(answers: list[Answer], _labels: LabelSet) -> str:
    header = ("image", "predicted class", "probability", "malignant", "advice", "note")
    rows = [header, *(_row(path, answer) for path, answer in answers)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines) + "\n"


def _row(path: str, answer: Prediction | ImageError) -> tuple[str, ...]:
    if isinstance(answer, ImageError):
        return (path, "-", "-", "-", "-", f"error: {answer}")
    return (
        path,
        f"{answer.name} ({answer.label})",
        f"{answer.probability:.1%}",
        f"{answer.malignant_probability:.1%}",
        answer.referral,
        "" if answer.in_domain else "unlike the training images",
    )
