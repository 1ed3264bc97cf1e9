"""What is true of every image, from the tables in which people keep it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from skinlesion.core.errors import DataError
from skinlesion.core.images import image_name
from skinlesion.core.tables import known, read_table, some
from skinlesion.core.taxonomy import HAM7, ISIC8, ISIC2018_COLUMNS, LabelSet
from skinlesion.evaluation.tables import ID_COLUMNS, column, numbers, optional

#: An image of ISIC 2018's official test set to which the official scorer gives no weight: 1,511 of 1,512 count.
WITHOUT_WEIGHT = "ISIC_0035068"

#: What a table may say of an image beside its label.
TRUTH_COLUMNS = ("lesion_id", "source", "dx_type", "split", "fold")

_LABEL_COLUMNS = ("label", "dx")
_NO_CLASS = "UNK"  # a column of ISIC 2019's ground truth


def read_truth(path: str | Path) -> pd.DataFrame:
    """Read an ISIC ground truth (one column a class, 1 in one of them), HAM10000's metadata, or a run's ``split.csv``.

    Parameters
    ----------
    path : CSV with ``image_id`` (or ``image``, ``isic_id``), and ``label`` (or ``dx``) or a column a class; perhaps
        the columns of :data:`TRUTH_COLUMNS`, ``score_weight``

    Returns
    -------
    DataFrame of str, indexed by image id: ``word`` (the table's own label), those of :data:`TRUTH_COLUMNS` (each
    ``""`` where unknown) and ``counts`` (bool; False for images that the official scorer leaves out)

    Raises
    ------
    DataError
        If it is none of these, names an image twice, or weighs images by anything but 0 and 1.
    """
    frame = read_table(path)
    try:
        ids = column(frame, *ID_COLUMNS)
        codes = _class_columns(frame)
        words = (
            _one_hot(frame, codes, ids) if codes else known(pd.Series(column(frame, *_LABEL_COLUMNS))).to_numpy(object)
        )
        counts = np.array([not codes or image_name(name) != WITHOUT_WEIGHT for name in ids], bool)
        if "score_weight" in frame:
            weights = numbers(frame, ["score_weight"], ids)[:, 0]
            if not np.isin(weights, (0, 1)).all():
                raise DataError("score_weight must be 0 or 1 for every image; other weights are not supported")
            counts &= weights == 1
        names, times = np.unique(ids.astype(str), return_counts=True)
        if (times > 1).any():
            raise DataError(f"these images are named more than once: {some(names[times > 1])}")
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    more = {name: optional(frame, name) for name in TRUTH_COLUMNS}
    return pd.DataFrame({"word": words, **more, "counts": counts}, index=pd.Index(ids, name="image_id"))


def _class_columns(frame: pd.DataFrame) -> tuple[str, ...]:
    """The columns of a one-hot ground truth; empty where the table is none."""
    for columns in (ISIC2018_COLUMNS, tuple(code.upper() for code in ISIC8.codes)):
        if set(columns) <= set(frame.columns):
            return (*columns, _NO_CLASS) if _NO_CLASS in frame.columns else columns
    return ()


def _one_hot(frame: pd.DataFrame, codes: tuple[str, ...], ids: np.ndarray) -> np.ndarray:
    marks = numbers(frame, list(codes), ids)
    wrong = ~(np.isin(marks, (0, 1)).all(axis=1) & (marks.sum(axis=1) == 1))
    if wrong.any():
        raise DataError(f"one class must be marked 1 and the others 0; not so for {some(ids[wrong])}")
    return np.array([code.lower() for code in codes], object)[marks.argmax(axis=1)]


def column_set(labels: LabelSet) -> tuple[str, ...]:
    """Column names of a challenge submission for these labels: ISIC 2018 Task 3's order for the seven."""
    return ISIC2018_COLUMNS if labels is HAM7 else tuple(code.upper() for code in labels.codes)
