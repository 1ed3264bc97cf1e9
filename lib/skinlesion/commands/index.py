"""``skinlesion index``: an index of proven cases, which the apps show beside a prediction."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from skinlesion.commands.data import add_label
from skinlesion.core.errors import DataError
from skinlesion.core.taxonomy import CONFIRMED

if TYPE_CHECKING:
    import numpy as np

    from skinlesion.data.table import LesionTable
    from skinlesion.serving.predictor import Predictor

OUTPUT = "build/index"
#: By more than how the lesion looks: under the microscope, or by the time in which it did not change.
PROVEN = CONFIRMED[:3]
THUMBNAIL = 160  # pixels, the longer side


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser("index", help="make a local index of proven cases, for the apps")
    add = parser.add_argument
    add("--data", metavar="PATH", nargs="+", required=True, help="data sets, or demo; kind:path forces the kind")
    add("--output", default=OUTPUT, metavar="DIR", help="the index's folder (%(default)s)")
    add("--model", metavar="DIR", help="a model folder (the shipped model by default)")
    add("--labels", type=int, choices=(7, 8), help="those of the model, or 7 where more images have them")
    add_label(parser)
    add("--confirmed", nargs="+", choices=CONFIRMED, default=PROVEN, metavar="HOW",
        help=f"how diagnoses must be confirmed, some of {', '.join(CONFIRMED)} ({' '.join(PROVEN)})")  # fmt: skip
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from skinlesion.core.tables import counted
    from skinlesion.core.writing import need_writable
    from skinlesion.data.check import check_table
    from skinlesion.data.splits import lesion_groups
    from skinlesion.serving import neighbours
    from skinlesion.serving.predictor import Predictor

    need_writable(arguments.output)
    predictor, progress, output = Predictor.load(arguments.model), sys.stderr.isatty(), arguments.output
    table = check_table(_load(arguments, len(predictor.manifest.labels)), progress=progress).table
    if len(table.problems):
        print(f"{counted(len(table.problems), 'problem')} left out; `skinlesion data check` lists them")
    table = _proven(table, arguments.confirmed)
    rows = {name: table.frame[name] for name in ("image_id", "lesion_id", "source", "label")}
    facts = neighbours.write(
        output,
        rows | {"confirmed": table.frame["dx_type"]},
        lesion_groups(table, twins=True),
        _images(predictor, table, progress),
        {"model": predictor.manifest.sha256, "labels": list(table.labels.codes), "data": table.facts()},
    )
    print(f"made {output}: {counted(facts['images'], 'image')} of {counted(facts['lesions'], 'lesion')}")
    print("it holds small copies of the images: keep it where they may be seen")
    print(f"show it: make app INDEX={output}, or python -m app.web --index {output}")
    return 0


def _load(arguments: argparse.Namespace, most: int) -> LesionTable:
    """The table in the labels asked for; else in the model's ``most``, or in seven where that leaves more images."""
    from skinlesion.data.sources import load_table

    def load(labels: int) -> LesionTable:
        return load_table(arguments.data, labels, words=arguments.label)

    if arguments.labels or most == 7:
        return load(arguments.labels or 7)
    seven = load(7)
    with suppress(DataError):  # where the data distinguish seven labels
        if len(whole := load(most)) >= len(seven):
            return whole
    print("not all of the data distinguish eight labels, so cases have seven (--labels 8: leave the others out)")
    return seven


def _proven(table: LesionTable, confirmed: Sequence[str]) -> LesionTable:
    """The rows whose diagnosis was confirmed in one of these ways; says how many were not."""
    from skinlesion.core.tables import counted

    known = table.frame["dx_type"].where(table.frame["dx_type"].isin(CONFIRMED), "unknown")
    table = replace(table, frame=table.frame.assign(dx_type=known))
    chosen = known.isin(confirmed)
    by_kind = ", ".join(f"{count:,} {word}" for word, count in known.value_counts().items())
    print(f"{counted(len(table), 'image')}, confirmed by: {by_kind}")
    if not chosen.any():
        raise DataError(f"none of these is confirmed by {', '.join(confirmed)}; --confirmed takes others, too")
    return table.keep(chosen)


def _images(predictor: Predictor, table: LesionTable, progress: bool) -> Iterator[tuple[np.ndarray, np.ndarray, bytes]]:
    """Features, thumbnail and small JPEG of every image."""
    from PIL import Image
    from tqdm import tqdm

    from skinlesion.core import images
    from skinlesion.serving.neighbours import thumbnail

    for path in tqdm(table.frame["path"], desc="index", unit="image", disable=not progress):
        frame = images.read_image(path, predictor.manifest.sufficient_side)
        small = Image.fromarray(frame)
        small.thumbnail((THUMBNAIL, THUMBNAIL))
        yield predictor.features([frame])[0], thumbnail(frame), images.encode(small, "JPEG", quality=80)
