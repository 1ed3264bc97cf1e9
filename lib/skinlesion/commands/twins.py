"""``skinlesion data twins``: images of one lesion in one or several data sets, as pairs, groups and a gallery."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from PIL import Image

from skinlesion.core import framing, images
from skinlesion.core.errors import DataError
from skinlesion.core.runs import atomic
from skinlesion.core.tables import counted
from skinlesion.data.sources import load_table
from skinlesion.data.splits import connected
from skinlesion.data.twin_search import NAMES, named, search
from skinlesion.serving.features import Features

SHOWN = 60  # pairs in the gallery


def twins(
    paths: Sequence[str],
    model: str | None = None,
    output: str = "twins",
    labels: int = 7,
    words: Sequence[str] = (),
    progress: bool = False,
) -> int:
    """Look for twins within and across data sets and write down what was found.

    The folder ``output`` gets ``pairs.csv`` (the most similar first), ``groups.csv`` (what splits keep together) and
    ``gallery.jpg``, which shows people's skin: it is for the eyes of those who may see the images. Returns the exit
    status. Raises SkinLesionError for data that cannot be read, a model without features (the shipped one where None),
    or a folder that cannot be written. ``paths``: data sets as :func:`skinlesion.data.sources.load_table` takes them;
    ``words``: ``word=code``, the class that an unknown label of the data stands for.
    """
    rows = _rows(paths, labels, words)
    pairs = search(rows, Features(model), progress=progress)
    rows["group"] = pd.factorize(connected(rows["lesion"], pairs[["a", "b"]].itertuples(index=False)))[0]
    folder = Path(output).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in (("pairs.csv", named(pairs, rows)), ("groups.csv", rows[[*NAMES, "group"]])):
        with atomic(folder / name) as temporary:
            table.to_csv(temporary, index=False)
    with atomic(folder / "gallery.jpg") as temporary:
        gallery(pairs[:SHOWN], rows["path"]).save(temporary, "JPEG", quality=85)
    _tell(pairs, rows, folder)
    return 0


def _rows(paths: Sequence[str], labels: int, words: Sequence[str]) -> pd.DataFrame:
    """One row an image: source, image_id, lesion_id, label, path; ``lesion`` is a lesion id unique over all sources."""
    tables = [load_table(path, labels, words=words) for path in paths]
    names = [table.source for table in tables]
    names = [
        name if names.count(name) == 1 else f"{name}:{table.location}"
        for name, table in zip(names, tables, strict=True)
    ]
    if len(set(names)) < len(names):
        raise DataError(f"a data set is given twice: {', '.join(paths)}; give each of them once")
    columns = ["image_id", "lesion_id", "label", "path"]
    parts = [table.frame[columns].assign(source=name) for name, table in zip(names, tables, strict=True)]
    rows = pd.concat(parts, ignore_index=True)[["source", *columns]]
    return rows.assign(lesion=rows["source"] + "/" + rows["lesion_id"])


def gallery(pairs: pd.DataFrame, paths: Sequence[str] | pd.Series, side: int = 128, across: int = 12) -> Image.Image:
    """The pairs' centre squares one above the other, ``across`` pairs a row."""
    paths = list(paths)
    sheet = Image.new("RGB", (across * (side + 4), max(1, -(-len(pairs) // across)) * (2 * side + 12)), "white")
    for number, pair in enumerate(pairs.itertuples(index=False)):
        for lower, row in enumerate((pair.a, pair.b)):
            square = Image.fromarray(framing.fit(images.read(paths[row]), side, "center_crop"))
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
