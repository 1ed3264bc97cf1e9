"""Columns of other people's tables by name, with errors that name column and image."""

from __future__ import annotations

import numpy as np
import pandas as pd

from skinlesion.core.errors import DataError
from skinlesion.core.tables import known, number, some

#: What the column of image ids is called.
ID_COLUMNS = ("image_id", "image", "isic_id", "image_name", "file_name", "filename", "file", "path", "img", "id")


def column(frame: pd.DataFrame, *names: str) -> np.ndarray:
    """The first of these columns that is there, object [N]; DataError if none is."""
    for name in names:
        if name in frame.columns:
            return frame[name].to_numpy(object)
    raise DataError(f"the column {names[0]} is missing; the table has {some(frame.columns, 12)}")


def optional(frame: pd.DataFrame, name: str) -> np.ndarray:
    """The column, object [N]; ``""`` where a value is missing, and for every row where there is no such column."""
    return known(frame[name]).to_numpy(object) if name in frame.columns else np.full(len(frame), "", object)


def numbers(frame: pd.DataFrame, columns: list[str], ids: np.ndarray) -> np.ndarray:
    """These columns as float64 [N, len(columns)], with a decimal point or comma; NaN where a value says so.

    Raises
    ------
    DataError
        Which names the columns that are missing, or the column and the images that hold no number.
    """
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise DataError(f"missing columns: {', '.join(missing)}")
    values = np.empty((len(frame), len(columns)))
    for i, name in enumerate(columns):
        found = [number(text) if text else None for text in frame[name]]
        bad = [image for image, value in zip(ids, found, strict=True) if value is None]
        if bad:
            raise DataError(f"the column {name} holds something that is no number for {some(bad)}")
        values[:, i] = found
    return values
