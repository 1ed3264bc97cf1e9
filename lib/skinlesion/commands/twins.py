"""``skinlesion data twins``: images of one lesion in one or several data sets, as pairs, groups and a gallery."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from PIL import Image

from skinlesion.core import framing, images
from skinlesion.core.tables import counted
from skinlesion.core.writing import atomic, need_writable, write_csv
from skinlesion.data.sources import load_tables
from skinlesion.data.splits import connected
from skinlesion.data.twin_search import NAMES, named, search
from skinlesion.serving.features import Features

SHOWN = 60  # pairs in the gallery


def run(arguments: argparse.Namespace) -> int:
    """Look for twins within and across data sets and write down what was found.

    The folder ``output`` gets ``pairs.csv`` (the most similar first), ``groups.csv`` (what splits keep together) and
    ``gallery.jpg``, which shows people's skin: it is for the eyes of those who may see the images.
    """
    need_writable(arguments.output)
    tables = load_tables(arguments.data, arguments.labels, words=arguments.label)
    rows = pd.concat([table.frame for table in tables], ignore_index=True)
    if problems := sum(len(table.problems) for table in tables):
        print(f"{counted(problems, 'problem')} left out; `skinlesion data check` lists them")
    rows["lesion"] = rows["source"] + "/" + rows["lesion_id"]
    pairs = search(rows, Features(arguments.model), progress=sys.stderr.isatty())
    rows["group"] = pd.factorize(connected(rows["lesion"], pairs[["a", "b"]].itertuples(index=False)))[0]
    folder = Path(arguments.output).expanduser()
    write_csv(folder / "pairs.csv", named(pairs, rows))
    write_csv(folder / "groups.csv", rows[[*NAMES, "group"]])
    with atomic(folder / "gallery.jpg") as temporary:
        gallery(pairs[:SHOWN], rows["path"]).save(temporary, "JPEG", quality=85)
    _tell(pairs, rows, folder)
    return 0


def gallery(pairs: pd.DataFrame, paths: Sequence[str] | pd.Series, side: int = 128, across: int = 12) -> Image.Image:
    """The pairs' centre squares one above the other, ``across`` pairs per row."""
    paths = list(paths)
    sheet = Image.new("RGB", (across * (side + 4), max(1, -(-len(pairs) // across)) * (2 * side + 12)), "white")
    for number, pair in enumerate(pairs.itertuples(index=False)):
        for lower, row in enumerate((pair.a, pair.b)):
            square = Image.fromarray(framing.fit_square(images.read_image(paths[row]), side, "center_crop"))
            sheet.paste(square, (number % across * (side + 4), number // across * (2 * side + 12) + lower * (side + 2)))
    return sheet


def _tell(pairs: pd.DataFrame, rows: pd.DataFrame, folder: Path) -> None:
    lesions, groups = counted(rows["lesion"].nunique(), "lesion id"), counted(rows["group"].nunique(), "group")
    print(f"{counted(len(rows), 'image')} of {lesions}: {groups}")
    source = rows["source"].to_numpy(object)
    where = [" and ".join(sorted({source[a], source[b]})) for a, b in zip(pairs["a"], pairs["b"], strict=True)]
    for (kind, place), count in pairs.assign(where=where).groupby(["kind", "where"]).size().items():
        print(f"{counted(count, 'byte-identical copy' if kind == 'copy' else 'twin pair')} in {place}")
    print(f"{counted(int(pairs['contradiction'].sum()), 'picture')} under two labels")
    print(f"made {folder}: pairs.csv, groups.csv, gallery.jpg (it shows the images: keep it where they may be seen)")
