"""Ground truth as the ISIC challenges write it: a column per class, and a 1 in that of each image."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from skinlesion.core.errors import DataError
from skinlesion.core.tables import counted, is_missing, number
from skinlesion.core.taxonomy import HAM7, ISIC8, ISIC2018_COLUMNS, normalise_label

if TYPE_CHECKING:
    import pandas as pd

UNKNOWN = "UNK"  # ISIC 2019's column for none of the classes


def one_hot_columns(frame: pd.DataFrame) -> tuple[str, ...]:
    """The columns of a one-hot ground truth; empty where the table is none."""
    for columns in (ISIC2018_COLUMNS, tuple(code.upper() for code in ISIC8.codes)):
        if set(columns) <= set(frame.columns):
            return (*columns, UNKNOWN) if UNKNOWN in frame.columns else columns
    return ()


def one_hot_word(frame: pd.DataFrame, names: tuple[str, ...]) -> pd.Series:
    """The column that holds the 1 in every row of an ISIC ground truth; ``""`` unless the others hold 0 or nothing."""
    marks = frame[list(names)].map(lambda text: 0.0 if is_missing(text) else number(text)).astype(float).fillna(-1)
    return marks.idxmax(axis=1).where(marks.isin((0, 1)).all(axis=1) & (marks.sum(axis=1) == 1), "")


def need_agreement(words: Mapping[str, pd.Series], path: str | Path) -> None:
    """Raise DataError where two columns (name -> the word of every row) stand for different classes: one is wrong."""
    code = {word: normalise_label(word, HAM7) for column in words.values() for word in set(column)}
    for one, other in combinations(words, 2):
        pairs = list(zip(words[one], words[other], strict=True))
        if differ := [pair for pair in pairs if len({code[word] for word in pair} - {None}) > 1]:
            raise DataError(
                f"the columns {one} and {other} of {path} differ in {counted(len(differ), 'row')} ({differ[0][0]!r} "
                f"and {differ[0][1]!r} in the first one); keep the one that is the truth"
            )
