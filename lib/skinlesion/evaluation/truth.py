"""Reading ground truth from anybody's tables: ISIC's, HAM10000's metadata, or a run's ``split.csv``."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from skinlesion.core.errors import DataError
from skinlesion.core.images import image_name
from skinlesion.core.one_hot import need_agreement, one_hot_columns, one_hot_word
from skinlesion.core.tables import ID_COLUMNS, SHORTENED, counted, known, name_columns, number, read_table, some

#: An image of ISIC 2018's official test set to which the official scorer gives no weight: 1,511 of 1,512 count.
WITHOUT_WEIGHT = "ISIC_0035068"
#: What a table may say of an image beside its label.
TRUTH_COLUMNS = ("lesion_id", "source", "dx_type", "split", "fold")
_LABEL_COLUMNS = ("label", "dx")


def read_named(path: str | Path) -> pd.DataFrame:
    """A table (:func:`skinlesion.core.tables.read_table`) whose known columns have their names, ``Lesion ID`` too.

    Raises DataError where the columns ``label`` and ``dx`` stand for different classes: one of them is no truth.
    """
    known_columns = (*dict.fromkeys(ID_COLUMNS), *_LABEL_COLUMNS, *TRUTH_COLUMNS, "score_weight", "group")
    frame = name_columns(read_table(path), known_columns, path)
    need_agreement({name: frame[name] for name in _LABEL_COLUMNS if name in frame}, path)
    return frame


def column(frame: pd.DataFrame, *names: str) -> np.ndarray:
    """The first of these columns that is there, object [N]; DataError if none is."""
    for name in names:
        if name in frame.columns:
            return frame[name].to_numpy(object)
    raise DataError(f"the column {names[0]} is missing; the table has {some(frame.columns, 12)}")


def id_column(frame: pd.DataFrame) -> np.ndarray:
    """The image ids, object [N]; DataError where there is no such column, a row has none, or one is shortened."""
    ids = column(frame, *ID_COLUMNS)
    if (blank := ids == "").any():
        raise DataError(f"{counted(int(blank.sum()), 'row')} without an image id; fill it in, or delete the row")
    if short := next((name for name in ids if re.fullmatch(SHORTENED, name)), ""):
        raise DataError(f"a spreadsheet shortened image ids, such as {short}; write the table anew, with them as text")
    return ids


def optional(frame: pd.DataFrame, name: str) -> np.ndarray:
    """The column, object [N]; ``""`` where a value is missing, and for every row where there is no such column."""
    return known(frame[name]).to_numpy(object) if name in frame.columns else np.full(len(frame), "", object)


def numbers(frame: pd.DataFrame, columns: list[str], ids: np.ndarray) -> np.ndarray:
    """These columns as float64 [N, len(columns)], with a decimal point or comma; NaN where a value says so.

    Raises a DataError that names the columns that are missing, or the column and the images that hold no number.
    """
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise DataError(f"missing columns: {', '.join(missing)}")
    values = np.empty((len(frame), len(columns)))
    for i, name in enumerate(columns):
        found = [number(text) if text else None for text in frame[name]]
        bad = np.flatnonzero([value is None for value in found])
        if len(bad):
            text = repr(frame[name].iloc[bad[0]]) if frame[name].iloc[bad[0]] else "nothing"
            raise DataError(f"the column {name} holds {text}, which is not a number, for {some(ids[bad])}")
        values[:, i] = found
    return values


def read_truth(path: str | Path) -> pd.DataFrame:
    """Read an ISIC ground truth (a column per class, 1 in one of them), HAM10000's metadata, or a run's ``split.csv``.

    ``path``: CSV with ``image_id`` (or ``image``, ``isic_id``), and ``label`` (or ``dx``) or a column per class;
    perhaps the columns of :data:`TRUTH_COLUMNS`, ``score_weight``. Raises DataError if it is none of these, has two
    rows of an image, or weighs images by anything but 0 and 1. Returns a DataFrame of str, indexed by image id:
    ``word`` (the table's own label), those of :data:`TRUTH_COLUMNS` (each ``""`` where unknown) and ``counts`` (bool;
    False for images that the official scorer leaves out).
    """
    frame = read_named(path)
    try:
        ids = id_column(frame)
        codes = one_hot_columns(frame)
        words = _one_hot(frame, codes, ids) if codes else known(pd.Series(column(frame, *_LABEL_COLUMNS)))
        labels = {name: frame[name] for name in _LABEL_COLUMNS if codes and name in frame}
        need_agreement(labels | {f"{', '.join(codes[:2])}, …": words}, path)
        counts = np.array([not codes or image_name(name) != WITHOUT_WEIGHT for name in ids], bool)
        if "score_weight" in frame:
            weights = numbers(frame, ["score_weight"], ids)[:, 0]
            if not np.isin(weights, (0, 1)).all():
                raise DataError("score_weight must be 0 or 1 for every image; other weights are not supported")
            counts &= weights == 1
        names, times = np.unique(ids.astype(str), return_counts=True)
        if (times > 1).any():
            raise DataError(f"these images occur more than once: {some(names[times > 1])}")
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    more = {name: optional(frame, name) for name in TRUTH_COLUMNS}
    return pd.DataFrame(
        {"word": words.to_numpy(object), **more, "counts": counts}, index=pd.Index(ids, name="image_id")
    )


def _one_hot(frame: pd.DataFrame, codes: tuple[str, ...], ids: np.ndarray) -> pd.Series:
    words = one_hot_word(frame, codes)
    if (wrong := (words == "").to_numpy()).any():
        raise DataError(f"one class must be marked 1 and the others 0; not so for {some(ids[wrong])}")
    return words.str.lower()
