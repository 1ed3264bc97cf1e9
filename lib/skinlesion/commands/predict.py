"""``skinlesion predict``: image files in, a table, JSON or a challenge submission out."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from skinlesion.core.errors import ImageError
from skinlesion.core.taxonomy import HAM7, ISIC2018_COLUMNS, LabelSet

if TYPE_CHECKING:
    from skinlesion.serving.predictor import Prediction, Predictor

FORMATS = ("table", "json", "csv")

#: The advice in the table for people, as in the apps.
ADVICE = {
    "refer": "specialist assessment suggested",
    "borderline": "borderline",
    "below": "below the threshold, which does not rule out cancer",
    "none": "no advice",
}
LABEL_DIFFERS = "Where the label is not the likeliest class: the decision rule gives rare classes more weight."
DISCLAIMER = "Research software, not a medical device; it does not replace an examination."

Result = tuple[str, "Prediction | ImageError"]


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser("predict", help="classify images")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="JPEG, PNG, WebP, BMP or TIFF files")
    parser.add_argument("--model", metavar="DIR", help="a model folder (the shipped model by default)")
    parser.add_argument("--format", choices=FORMATS, default="table", help="of the output (%(default)s)")
    parser.add_argument("--output", metavar="F", help="write to a file instead of the screen")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    return predict(arguments.images, arguments.model, arguments.format, arguments.output)


def predict(images: Sequence[str], model: str | None = None, format: str = "table", output: str | None = None) -> int:
    """Predict every file and write the predictions whole, to ``output`` or standard output.

    Returns 0, or 1 where an image could not be read. Raises ModelError if the model cannot be loaded and
    SkinLesionError if ``output`` cannot be written. Images are called by their names without ending, or by their paths
    where two have one name. ``format``: ``table`` for people; ``json``, an array of one object per image; ``csv``, the
    ISIC 2018 Task 3 submission format with normalised decision scores (those of AK and SCC are summed), in which
    unreadable images are left out and named on standard error.
    """
    from skinlesion.core.images import printable
    from skinlesion.core.writing import need_writable, write_text
    from skinlesion.serving.predictor import Predictor

    if output is not None:
        need_writable(output, folder=False)
    predictor = Predictor.load(model)
    results = [(printable(path), _predict(predictor, path)) for path in images]
    text = {"table": _table, "json": _json, "csv": _csv}[format](results, predictor.manifest.labels)
    if output is None:
        sys.stdout.write(text)
    else:
        write_text(output, text)
    failed = [(path, result) for path, result in results if isinstance(result, ImageError)]
    if format == "csv":
        for path, error in failed:
            print(f"left out {path}: {error}", file=sys.stderr)
    return 1 if failed else 0


def _predict(predictor: Predictor, path: str) -> Prediction | ImageError:
    from skinlesion.core.images import read_image

    if os.path.isdir(path):  # noqa: PTH112, which raises nothing for a name that is too long
        return ImageError("missing", f"it is a folder: skinlesion score {path} --output DIR, or name its images")
    try:
        return predictor.predict([read_image(path, predictor.manifest.sufficient_side)])[0]
    except ImageError as error:
        return error


def _json(results: list[Result], _labels: LabelSet) -> str:
    entries = [
        {"image": path, "error": str(result)} if isinstance(result, ImageError) else {"image": path, **result.to_dict()}
        for path, result in results
    ]
    return json.dumps(entries, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _csv(results: list[Result], labels: LabelSet) -> str:
    from skinlesion.core.tables import image_ids
    from skinlesion.decision import as_seven

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", *ISIC2018_COLUMNS])
    names = image_ids([path for path, _ in results])
    for name, (_, result) in zip(names, results, strict=True):
        if not isinstance(result, ImageError):
            (scores,) = as_seven([list(result.scores.values())], labels)
            writer.writerow([name, *(scores[HAM7.index(column.lower())] for column in ISIC2018_COLUMNS)])
    return text.getvalue()


def _table(results: list[Result], labels: LabelSet) -> str:
    header = ("image", "malignant", "advice", "likeliest class", "probability", "label", "notices")
    rows = [header, *(_row(path, result, labels) for path, result in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    shown = [one for _, one in results if not isinstance(one, ImageError) and one.referral != "none"]
    differ = any(one.label != _likeliest(one) for one in shown)
    return "\n".join([*lines, *([LABEL_DIFFERS] if differ else []), DISCLAIMER]) + "\n"


def _percent(share: float) -> str:
    """Neither all nor nothing unless it is."""
    return "<0.1%" if 0 < share < 0.001 else ">99.9%" if 0.999 < share < 1 else f"{share:.1%}"


def _likeliest(prediction: Prediction) -> str:
    return max(prediction.probabilities, key=prediction.probabilities.__getitem__)


def _row(path: str, result: Prediction | ImageError, labels: LabelSet) -> tuple[str, ...]:
    if isinstance(result, ImageError):
        return (path, "-", "-", "-", "-", "-", f"error: {result}")
    likeliest = _likeliest(result)
    shown = result.referral != "none"  # of an image that is not dermatoscopic, the figures mean nothing
    return (
        path,
        _percent(result.malignant_probability) if shown else "-",
        ADVICE[result.referral],
        labels[likeliest].name if shown else "-",
        _percent(result.probabilities[likeliest]) if shown else "-",
        result.label if shown else "-",
        ", ".join(notice.replace("_", " ") for notice in result.notices),
    )
