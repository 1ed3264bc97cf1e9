"""Reading CSV files that other people wrote: columns by name, and errors that name column and image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from skinlesion.core.errors import DataError

ID_COLUMNS = ("image_id", "image", "isic_id")


def read_table(path: str | Path) -> pd.DataFrame:
    """A comma, semicolon or tab delimited file; every column is str, ``""`` where empty.

    Raises
    ------
    DataError
        If it is missing or no such table.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            header = file.readline()
        separator = max(",;\t", key=header.count)
        frame = pd.read_csv(
            path, dtype=str, keep_default_na=False, encoding="utf-8-sig", skipinitialspace=True, sep=separator
        )
    except FileNotFoundError:
        raise DataError(f"there is no file at {path}") from None
    except (OSError, ValueError) as error:  # pandas' parser errors and bad UTF-8 are ValueErrors
        raise DataError(f"{path} is not a readable CSV file ({error})") from None
    return frame.rename(columns=lambda name: str(name).strip())


def column(frame: pd.DataFrame, *names: str) -> np.ndarray:
    """The first of these columns that is there, without outer spaces, object [N]; DataError if none is."""
    for name in names:
        if name in frame.columns:
            return frame[name].str.strip().to_numpy(object)
    raise DataError(f"the column {names[0]} is missing")


def optional(frame: pd.DataFrame, name: str) -> np.ndarray:
    """The column, or ``""`` for every row where there is none, object [N]."""
    return column(frame, name) if name in frame.columns else np.full(len(frame), "", object)


def numbers(frame: pd.DataFrame, columns: list[str], ids: np.ndarray) -> np.ndarray:
    """These columns as float64 [N, len(columns)]; DataError names the column and the images that break it."""
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise DataError(f"missing columns: {', '.join(missing)}")
    values = np.empty((len(frame), len(columns)))
    for i, name in enumerate(columns):
        try:
            values[:, i] = column(frame, name).astype(np.float64)
        except ValueError:
            bad = [image for image, text in zip(ids, frame[name], strict=True) if not _is_number(text)]
            raise DataError(f"the column {name} holds something that is no number for {some(bad)}") from None
    return values


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def some(names, at_most: int = 5) -> str:
    """The first few of many names, and how many there are."""
    names = [str(name) for name in names]
    return ", ".join(names[:at_most]) + (f", … ({len(names):,} in all)" if len(names) > at_most else "")
