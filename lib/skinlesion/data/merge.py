"""Several data sets as one table: names that stay apart, and one version of a picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from skinlesion.core import images
from skinlesion.core.errors import DataError, ImageError
from skinlesion.core.tables import counted
from skinlesion.data.problems import ANOTHER_VERSION
from skinlesion.data.table import OPTIONAL, LesionTable

_SAMPLE = 20  # pictures by whose sizes two versions of a data set are compared
_ARCHIVE_ID = r"ISIC_\d{7}"
_ARCHIVE_NAME = r"(?i)^(?:.*/)?(ISIC_\d{7})(?:_downsampled)?(?:\.\w+)?$"  # as ids of files and of ISIC 2019 are
_OWN_IDS = ("folder", "csv", "demo")  # kinds of which each place has ids of its own


def merge(tables: Sequence[LesionTable]) -> LesionTable:
    """One table of several sources, in the order given, each row with its ``source``.

    Image and lesion ids stay as they are; where sources share one, ``source/`` stands in front of it. Two sources of
    one published kind, such as parts of HAM10000, have their lesions in common. Pictures that are given twice are taken
    once: an id of the ISIC Archive (``ISIC_`` and seven digits, whatever its case or ending, not in drawn sets), or of
    two sources of one published kind, means one picture. Of two such sources the one with the larger pictures keeps
    them (the median of 20; the first given where they are equal), and the other's rows are set aside. ``tables``:
    sequence of LesionTable, of one source each, with different names and one label set. Raises DataError where another
    source has all pictures of one.
    """
    tables = _one_version(list(tables))
    ids = pd.concat([table.frame["image_id"] for table in tables])
    tables = [_renamed(table, set(ids[ids.duplicated()])) for table in tables]
    frame = pd.concat([table.frame for table in tables], ignore_index=True)
    frame = frame.fillna({name: "" for name in OPTIONAL if name in frame})
    namer: dict[str, str] = {}  # whose name stands in front of a source's lesions: the first one's of its kind
    first: dict[str, str] = {}
    for table in tables:
        (name,) = table.origins
        namer[name] = name if table.source in _OWN_IDS else first.setdefault(table.source, name)
    lesion, owner = frame["lesion_id"], frame["source"].map(namer)
    mixed = owner.groupby(lesion).transform("nunique") > 1
    frame["lesion_id"] = lesion.mask(mixed, owner + "/" + lesion)
    passed_over: Counter[str] = sum((Counter(table.passed_over) for table in tables), Counter())
    return LesionTable(
        frame=frame,
        labels=tables[0].labels,
        origins={name: origin for table in tables for name, origin in table.origins.items()},
        near_duplicates=tuple(pair for table in tables for pair in table.near_duplicates),
        notes=tuple(f"{name}: {note}" for table in tables for name in table.origins for note in table.notes),
        problems=pd.concat([table.problems for table in tables], ignore_index=True),
        official_split={image: part for table in tables for image, part in table.official_split.items()},
        passed_over=dict(passed_over),
    )


def _one_version(tables: list[LesionTable]) -> list[LesionTable]:
    """The tables without the rows whose picture another one has too."""
    for later in range(1, len(tables)):
        for earlier in range(later):
            one, other = tables[earlier], tables[later]
            ids = _pictures(one)
            both = ids[ids.isin(_pictures(other)) & _means_a_picture(ids, one.source, other.source)]
            if len(both):
                loser, kept = (earlier, other) if _size(other, both) > _size(one, both) else (later, one)
                tables[loser] = _without(tables[loser], both, next(iter(kept.origins)))
    return tables


def _without(table: LesionTable, ids: pd.Series, other: str) -> LesionTable:
    gone = _pictures(table).isin(ids)
    if gone.all():
        raise DataError(
            f"{other} has all {counted(len(table), 'picture')} of {table.location}, too, as large or larger; leave "
            f"out {table.location}: one version of a picture is enough"
        )
    return table.set_aside(gone, ANOTHER_VERSION, f"{other} has this picture, too")


def _pictures(table: LesionTable) -> pd.Series:
    """The id of every picture: the ISIC Archive's as it writes them, str [N]."""
    ids = table.frame["image_id"]
    return ids.str.extract(_ARCHIVE_NAME, expand=False).str.upper().fillna(ids)


def _means_a_picture(ids: pd.Series, kind: str, other: str) -> pd.Series:
    """Whether an id that sources of these kinds share means one picture, bool [N]."""
    if "demo" in (kind, other):  # drawn anew under the same ids
        return pd.Series(False, index=ids.index)
    if kind == other and kind not in _OWN_IDS:
        return pd.Series(True, index=ids.index)
    return ids.str.fullmatch(_ARCHIVE_ID)


def _size(table: LesionTable, ids: pd.Series) -> float:
    """Median number of pixels of a sample of these pictures."""
    paths = table.frame["path"][_pictures(table).isin(ids.iloc[:: -(-len(ids) // _SAMPLE)])]
    return float(np.median([_pixels(path) for path in paths]))


def _pixels(path: str) -> int:
    try:
        height, width, _ = images.read_image(path).shape
        return height * width
    except ImageError:
        return 0  # the data check lists it


def _renamed(table: LesionTable, shared: set[str]) -> LesionTable:
    """The table of one source with its name in front of image ids that others have too."""
    ids, (name,) = table.frame["image_id"], table.origins
    new = ids.mask(ids.isin(shared), name + "/" + ids)
    of = dict(zip(ids, new, strict=True))
    lesions = table.frame["lesion_id"]
    return replace(
        table,
        frame=table.frame.assign(image_id=new, lesion_id=lesions.mask(lesions == ids, new)),
        near_duplicates=tuple((of.get(a, a), of.get(b, b)) for a, b in table.near_duplicates),
        official_split={of.get(image, image): part for image, part in table.official_split.items()},
    )
