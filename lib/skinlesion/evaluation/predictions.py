"""``predictions.csv``: what a model said about every image, ours or anybody's, and what is true."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from skinlesion.errors import DataError
from skinlesion.runs import atomic
from skinlesion.taxonomy import HAM7, ISIC8, LabelSet, normalise_label

#: How far a row of probabilities may miss a sum of one; files rounded to three decimals do by a few 1e-4.
SUM_TOLERANCE = 1e-3

_ID_COLUMNS = ("image_id", "image", "isic_id")
_LABEL_COLUMNS = ("label", "dx")


@dataclass(frozen=True, eq=False)
class Predictions:
    """One row an image.

    Attributes
    ----------
    image_ids : str [N], unique
    lesions : str [N]
        Lesion id; the image id where none is known.
    split : str [N]
        ``train``, ``validation``, ``test``, or empty where the file says nothing.
    fold : int64 [N]
        Cross-validation fold, -1 where there is none.
    labels : LabelSet
        Its order is that of the columns of ``probabilities`` and ``scores``.
    y : int64 [N]
        Index of the true class.
    probabilities : float64 [N, K]
        Rows sum to one; ranking and calibration are judged by these.
    scores : float64 [N, K]
        The largest one decides on the class; the probabilities themselves where a model has no other rule.

    Raises
    ------
    DataError
        If the arrays don't fit together, ids repeat, a number is not finite, or a row is no distribution.
    """

    image_ids: np.ndarray
    lesions: np.ndarray
    split: np.ndarray
    fold: np.ndarray
    labels: LabelSet
    y: np.ndarray
    probabilities: np.ndarray
    scores: np.ndarray

    def __post_init__(self):
        n, k = len(self.image_ids), len(self.labels)
        if n == 0:
            raise DataError("there are no predictions")
        for name in ("lesions", "split", "fold", "y"):
            if np.shape(getattr(self, name)) != (n,):
                raise DataError(f"{name} must have one entry for each of the {n} images")
        if ((self.y < 0) | (self.y >= k)).any():
            raise DataError(f"class indices must lie between 0 and {k - 1}")
        ids, times = np.unique(self.image_ids.astype(str), return_counts=True)
        if (times > 1).any():
            raise DataError(f"image ids must be unique; these repeat: {_some(ids[times > 1])}")
        for name in ("probabilities", "scores"):
            values = getattr(self, name)
            if values.shape != (n, k):
                raise DataError(f"{name} must have the shape {(n, k)}, not {values.shape}")
            self._require(np.isfinite(values).all(axis=1), f"{name} must be finite numbers")
        p = self.probabilities
        self._require(((p >= 0) & (p <= 1 + SUM_TOLERANCE)).all(axis=1), "probabilities must lie between 0 and 1")
        self._require(
            np.abs(p.sum(axis=1) - 1) <= SUM_TOLERANCE,
            f"the probabilities of an image must sum to 1 (within {SUM_TOLERANCE}); apply a softmax first",
        )

    def _require(self, holds: np.ndarray, message: str) -> None:
        if not holds.all():
            raise DataError(f"{message}; they are not for {_some(self.image_ids[~holds])}")

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def predicted(self) -> np.ndarray:
        """Index of the class that the decision rule names, int64 [N]."""
        return self.scores.argmax(axis=1)

    @property
    def has_lesions(self) -> bool:
        """Whether real lesion ids are known."""
        return bool((self.lesions != self.image_ids).any())

    @property
    def malignant_probability(self) -> np.ndarray:
        """Summed probability of the malignant classes, float64 [N]."""
        return self.probabilities[:, self._malignant].sum(axis=1)

    @property
    def is_malignant(self) -> np.ndarray:
        """Whether the true class is malignant, bool [N]."""
        return self._malignant[self.y]

    @property
    def _malignant(self) -> np.ndarray:
        return np.array([diagnosis.malignant for diagnosis in self.labels])

    def take(self, rows: np.ndarray) -> Predictions:
        """The rows that an index array (or a bool mask [N]) names, in its order."""
        return Predictions(
            self.image_ids[rows],
            self.lesions[rows],
            self.split[rows],
            self.fold[rows],
            self.labels,
            self.y[rows],
            self.probabilities[rows],
            self.scores[rows],
        )

    def of(self, split: str) -> Predictions:
        """The rows of one split.

        Raises
        ------
        DataError
            If there are none.
        """
        rows = self.split == split
        if not rows.any():
            known = ", ".join(sorted(repr(str(name)) for name in np.unique(self.split.astype(str))))
            raise DataError(f"no prediction belongs to the split {split!r}; the splits here are {known}")
        return self.take(rows)

    def write(self, path: str | Path) -> None:
        """Write ``predictions.csv`` whole or not at all; every number reads back as the same float64."""
        columns = {
            "image_id": self.image_ids,
            "lesion_id": self.lesions,
            "split": self.split,
            "fold": np.where(self.fold < 0, "", self.fold.astype(str)),
            "label": np.array(self.labels.codes)[self.y],
        }
        columns |= {f"p_{code}": self.probabilities[:, i] for i, code in enumerate(self.labels.codes)}
        columns |= {f"score_{code}": self.scores[:, i] for i, code in enumerate(self.labels.codes)}
        with atomic(path) as temporary:
            pd.DataFrame(columns).to_csv(temporary, index=False, lineterminator="\n", encoding="utf-8")


def read(path: str | Path, labels_csv: str | Path | None = None) -> Predictions:
    """Read a ``predictions.csv``; ``lesion_id``, ``split``, ``fold`` and ``score_…`` columns may be absent or empty.

    Parameters
    ----------
    path : CSV with ``image_id``, a probability column ``p_<code>`` for each of the 7 or 8 classes, and ``label``
    labels_csv : CSV with ``image_id`` and ``label`` (or ``dx``), optionally ``lesion_id``
        Where the truth comes from instead of the column ``label``; it may hold more images than were predicted.

    Raises
    ------
    DataError
        For a file that cannot be read or breaks the contract; the message names the column or the images.
    """
    frame = _read_table(path)
    try:
        labels = _labels_of(frame)
        ids = _column(frame, *_ID_COLUMNS)
        lesions = _optional(frame, "lesion_id")
        words = _optional(frame, "label")
        if labels_csv is not None:
            words, found = _join(ids, labels_csv)
            lesions = np.where(lesions == "", found, lesions)
        elif "label" not in frame.columns:
            raise DataError("the column label is missing; add it or name a CSV of labels (--labels)")
        probabilities = _numbers(frame, [f"p_{code}" for code in labels.codes], ids)
        score_columns = [f"score_{code}" for code in labels.codes]
        has_scores = any((_optional(frame, column) != "").any() for column in score_columns)
        return Predictions(
            image_ids=ids,
            lesions=np.where(lesions == "", ids, lesions),
            split=_optional(frame, "split"),
            fold=_folds(_optional(frame, "fold")),
            labels=labels,
            y=_class_indices(words, labels, ids),
            probabilities=probabilities,
            scores=_numbers(frame, score_columns, ids) if has_scores else probabilities,
        )
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _read_table(path: str | Path) -> pd.DataFrame:
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", skipinitialspace=True)
    except FileNotFoundError:
        raise DataError(f"there is no file at {path}") from None
    except (OSError, ValueError) as error:  # pandas' parser errors are ValueErrors
        raise DataError(f"{path} is not a readable CSV file ({error})") from None
    return frame.rename(columns=lambda name: str(name).strip())


def _labels_of(frame: pd.DataFrame) -> LabelSet:
    found = {name.removeprefix("p_") for name in frame.columns if name.startswith("p_")}
    for labels in (HAM7, ISIC8):
        if found == set(labels.codes):
            return labels
    if not found:
        raise DataError("there are no probability columns; name them p_<code>, e.g. p_mel")
    nearest = min((HAM7, ISIC8), key=lambda labels: len(found ^ set(labels.codes)))
    missing = [f"p_{code}" for code in nearest.codes if code not in found]
    surplus = [f"p_{code}" for code in sorted(found - set(nearest.codes))]
    told = [f"{', '.join(names)} {word}" for names, word in ((missing, "missing"), (surplus, "unknown")) if names]
    raise DataError(f"the probability columns are neither the 7 nor the 8 classes: {'; '.join(told)}")


def _column(frame: pd.DataFrame, *names: str) -> np.ndarray:
    for name in names:
        if name in frame.columns:
            return frame[name].str.strip().to_numpy(object)
    raise DataError(f"the column {names[0]} is missing")


def _optional(frame: pd.DataFrame, name: str) -> np.ndarray:
    return _column(frame, name) if name in frame.columns else np.full(len(frame), "", object)


def _numbers(frame: pd.DataFrame, columns: list[str], ids: np.ndarray) -> np.ndarray:
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise DataError(f"missing columns: {', '.join(missing)}")
    values = np.empty((len(frame), len(columns)))
    for i, column in enumerate(columns):
        try:
            values[:, i] = _column(frame, column).astype(np.float64)
        except ValueError:
            bad = [image for image, text in zip(ids, frame[column], strict=True) if not _is_number(text)]
            raise DataError(f"the column {column} holds something that is no number for {_some(bad)}") from None
    return values


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _folds(texts: np.ndarray) -> np.ndarray:
    try:
        return np.array([int(text) if text else -1 for text in texts], np.int64)
    except ValueError as error:
        raise DataError(f"the column fold must hold whole numbers or nothing ({error})") from None


def _class_indices(words: np.ndarray, labels: LabelSet, ids: np.ndarray) -> np.ndarray:
    codes = {word: normalise_label(word, labels) for word in set(words)}
    unlabelled = ids[words == ""]
    if len(unlabelled):
        raise DataError(
            f"these images have no label: {_some(unlabelled)}; fill it in or name a CSV of labels (--labels)"
        )
    unknown = sorted(word for word, code in codes.items() if code is None)
    if unknown:
        raise DataError(f"unknown labels: {_some(unknown)}; the classes are {', '.join(labels.codes)}")
    return np.array([labels.index(codes[word]) for word in words], np.int64)


def _join(ids: np.ndarray, labels_csv: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Label and lesion id (or "") of every image from another table."""
    frame = _read_table(labels_csv)
    try:
        keys, words, lesions = (
            _column(frame, *_ID_COLUMNS),
            _column(frame, *_LABEL_COLUMNS),
            _optional(frame, "lesion_id"),
        )
    except DataError as error:
        raise DataError(f"{labels_csv}: {error}") from None
    rows = dict(zip(keys, zip(words, lesions, strict=True), strict=True))
    if len(rows) < len(keys):
        values, times = np.unique(keys.astype(str), return_counts=True)
        raise DataError(f"{labels_csv} names these images more than once: {_some(values[times > 1])}")
    missing = [image for image in ids if image not in rows]
    if missing:
        raise DataError(f"{labels_csv} has no label for {_some(missing)}")
    words, lesions = zip(*(rows[image] for image in ids), strict=True) if len(ids) else ((), ())
    return np.array(words, object), np.array(lesions, object)


def _some(names, at_most: int = 5) -> str:
    """The first few of many names, and how many there are."""
    names = [str(name) for name in names]
    return ", ".join(names[:at_most]) + (f", … ({len(names):,} in all)" if len(names) > at_most else "")
