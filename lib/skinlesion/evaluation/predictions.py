"""``predictions.csv``: a model's output for every image, ours or anybody's, and its true class."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from skinlesion.core.errors import DataError
from skinlesion.core.tables import SPLIT_WORDS, known, some
from skinlesion.core.taxonomy import HAM7, ISIC2018_COLUMNS, LabelSet, label_set
from skinlesion.core.writing import write_csv
from skinlesion.decision import as_seven

#: How far a row of probabilities may miss a sum of one; files rounded to three decimals do by a few 1e-4.
SUM_TOLERANCE = 1e-3

HISTOLOGY = "histo"  # in dx_type, as HAM10000's metadata call it


@dataclass(frozen=True, eq=False)
class Predictions:
    """One row per image.

    Attributes
    ----------
    image_ids : str [N], unique
    lesions : str [N]
        Lesion id; the image id where none is known.
    split : str [N]
        ``train``, ``validation``, ``test`` (also where other words of :data:`skinlesion.core.tables.SPLIT_WORDS` are
        given), a name of the file's own, or empty where it says nothing.
    fold : int64 [N]
        Cross-validation fold, -1 where there is none.
    labels : LabelSet
        Its order is that of the columns of ``probabilities`` and ``scores``.
    y : int64 [N]
        Index of the true class.
    probabilities : float64 [N, K]
        Rows sum to one; ranking and calibration use these.
    scores : float64 [N, K]
        The largest one decides on the class; the probabilities themselves where a model has no other rule.
    are_probabilities : bool
        False for a challenge submission, whose decision scores stand in ``probabilities`` too: they rank images, need
        not sum to one, and no calibration is reported for them.
    notes : tuple of str
        What every result on these predictions has to say.
    source : str [N]
        Which source each image is from; empty where unknown.
    dx_type : str [N]
        How the diagnosis was made, ``histo`` for histology; empty where unknown.

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
    are_probabilities: bool = True
    notes: tuple[str, ...] = ()
    source: np.ndarray = field(default_factory=lambda: np.empty(0, object))
    dx_type: np.ndarray = field(default_factory=lambda: np.empty(0, object))

    def __post_init__(self):
        n, k = len(self.image_ids), len(self.labels)
        if n == 0:
            raise DataError("there are no predictions")
        for name in ("source", "dx_type"):
            words = getattr(self, name) if len(getattr(self, name)) else np.full(n, "", object)
            object.__setattr__(self, name, known(pd.Series(words)).to_numpy(object))
        object.__setattr__(self, "split", np.array([_split_name(word) for word in self.split], object))
        for name in ("lesions", "split", "fold", "y", "source", "dx_type"):
            if np.shape(getattr(self, name)) != (n,):
                raise DataError(f"{name} must have one entry for each of the {n} images")
        if ((self.y < 0) | (self.y >= k)).any():
            raise DataError(f"class indices must lie between 0 and {k - 1}")
        ids, times = np.unique(self.image_ids.astype(str), return_counts=True)
        if (times > 1).any():
            raise DataError(f"image ids must be unique; these repeat: {some(ids[times > 1])}")
        for name in ("probabilities", "scores"):
            values: np.ndarray = getattr(self, name)
            if values.shape != (n, k):
                raise DataError(f"{name} must have the shape {(n, k)}, not {values.shape}")
            self._require(np.isfinite(values).all(axis=1), f"{name} must be finite numbers")
        p, kind = self.probabilities, "probabilities" if self.are_probabilities else "scores"
        self._require(np.all((p >= 0) & (p <= 1 + SUM_TOLERANCE), axis=1), f"{kind} must lie between 0 and 1")
        if self.are_probabilities:
            self._require(
                np.abs(p.sum(axis=1) - 1) <= SUM_TOLERANCE,
                f"the probabilities of an image must sum to 1 (within {SUM_TOLERANCE}); apply a softmax first",
            )

    def _require(self, holds: np.ndarray, message: str) -> None:
        if not holds.all():
            raise DataError(f"{message}; they are not for {some(self.image_ids[~holds])}")

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def predicted(self) -> np.ndarray:
        """Index of the class that the decision rule predicts, int64 [N]."""
        return self.scores.argmax(axis=1)

    @property
    def has_splits(self) -> bool:
        """Whether some row names its split."""
        return bool((self.split != "").any())

    @property
    def has_lesions(self) -> bool:
        """Whether real lesion ids are known."""
        return bool((self.lesions != self.image_ids).any())

    @property
    def has_histology(self) -> np.ndarray:
        """Whether the diagnosis is confirmed by histology, bool [N]."""
        return self.dx_type == HISTOLOGY

    @property
    def malignant_probability(self) -> np.ndarray:
        """Summed probability (or score) of the malignant classes, float64 [N]."""
        return self.probabilities[:, self._malignant].sum(axis=1)

    @property
    def is_malignant(self) -> np.ndarray:
        """Whether the true class is malignant, bool [N]."""
        return self._malignant[self.y]

    @property
    def malignant_label(self) -> np.ndarray:
        """Whether the predicted class is malignant, bool [N]: the advice then is to refer."""
        return self._malignant[self.predicted]

    def referred(self, threshold: float) -> np.ndarray:
        """Which images the advice refers: from this malignant probability on, or by a malignant label; bool [N]."""
        return (self.malignant_probability >= threshold) | self.malignant_label

    @property
    def _malignant(self) -> np.ndarray:
        return np.array([diagnosis.malignant for diagnosis in self.labels])

    @classmethod
    def from_model(
        cls, frame: pd.DataFrame, labels: LabelSet, y: np.ndarray, found: list, notes: tuple[str, ...] = ()
    ) -> Predictions:
        """A model's predictions beside the true classes; those of eight labels as seven where the truth has seven.

        ``frame``: DataFrame with ``image_id`` and ``lesion_id``, perhaps ``source`` and ``dx_type``, a row per image;
        ``y``: int64 [N], index of the true class; ``found``: N :class:`skinlesion.serving.predictor.Prediction`.
        """

        def values(name: str) -> np.ndarray:
            columns = np.array([list(getattr(prediction, name).values()) for prediction in found])
            model = label_set(list(found[0].probabilities))
            return columns if model is labels else as_seven(columns, model)

        return cls(
            image_ids=frame["image_id"].to_numpy(object),
            lesions=frame["lesion_id"].to_numpy(object),
            split=np.full(len(frame), "", object),
            fold=np.full(len(frame), -1),
            labels=labels,
            y=y,
            probabilities=values("probabilities"),
            scores=values("scores"),
            notes=notes,
            **origin_columns(frame),
        )

    def take(self, rows: np.ndarray) -> Predictions:
        """The rows that an index array (or a bool mask [N]) names, in its order."""
        by_row = ("image_ids", "lesions", "source", "dx_type", "split", "fold", "y", "probabilities", "scores")
        return replace(self, **{name: getattr(self, name)[rows] for name in by_row})

    def of_split(self, split: str) -> Predictions:
        """The rows of one split. Raises DataError if there are none."""
        rows = self.split == _split_name(split)
        if not rows.any():
            known = ", ".join(sorted(repr(str(name)) for name in np.unique(self.split.astype(str))))
            raise DataError(f"no prediction belongs to the split {split!r}; the splits here are {known}")
        return self.take(rows)

    def write(self, path: str | Path) -> None:
        """Write ``predictions.csv`` whole or not at all; every number reads back as the same float64.

        Raises DataError for decision scores, which the file would pass off as probabilities.
        """
        if not self.are_probabilities:
            raise DataError("decision scores cannot be written as predictions.csv, which holds probabilities")
        codes = self.labels.codes
        columns = {
            "image_id": self.image_ids, "lesion_id": self.lesions, "source": self.source, "dx_type": self.dx_type,
            "split": self.split, "fold": np.where(self.fold < 0, "", self.fold.astype(str)),
            "label": np.array(codes)[self.y],
        }  # fmt: skip
        columns |= {f"p_{code}": self.probabilities[:, i] for i, code in enumerate(codes)}
        columns |= {f"score_{code}": self.scores[:, i] for i, code in enumerate(codes)}
        write_csv(path, pd.DataFrame(columns))

    def write_submission(self, path: str | Path) -> None:
        """Write the challenge's format with the decision scores: the largest of a row is the predicted class."""
        order = [self.labels.index(name.lower()) for name in submission_columns(self.labels)]
        frame = pd.DataFrame(self.scores[:, order], columns=list(submission_columns(self.labels)))
        frame.insert(0, "image", self.image_ids)
        write_csv(path, frame)


def _split_name(word: str) -> str:
    return SPLIT_WORDS.get(str(word).lower(), word)


def origin_columns(frame: pd.DataFrame) -> dict[str, Any]:
    """``source`` and ``dx_type`` of the rows of a table or a split, as :class:`Predictions` takes them."""
    return {name: frame[name].to_numpy(object) for name in ("source", "dx_type") if name in frame}


def submission_columns(labels: LabelSet) -> tuple[str, ...]:
    """Column names of a challenge submission for these labels: ISIC 2018 Task 3's order for the seven."""
    return ISIC2018_COLUMNS if labels is HAM7 else tuple(code.upper() for code in labels.codes)
