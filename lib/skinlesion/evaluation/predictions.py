"""``predictions.csv``: a model's output for every image, ours or anybody's, and its true class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from skinlesion.core.errors import DataError
from skinlesion.core.runs import atomic
from skinlesion.core.tables import counted, folds, image_ids, known, match_ids, read_table, some
from skinlesion.core.taxonomy import LabelSet, label_finder, label_set, nearest_words, parse_words
from skinlesion.decision import as_seven, softmax
from skinlesion.evaluation.tables import (
    ID_COLUMNS,
    LOGITS,
    SCORES,
    TRUTH_COLUMNS,
    class_columns,
    column,
    column_set,
    numbers,
    optional,
    read_truth,
    what_they_hold,
)

#: How far a row of probabilities may miss a sum of one; files rounded to three decimals do by a few 1e-4.
SUM_TOLERANCE = 1e-3

#: What every result on a challenge submission has to say.
SCORES_ONLY = (
    "These are decision scores, as a challenge submission carries them, and no probabilities: they predict a class and "
    "rank images, so calibration (ECE, Brier score, log loss) and net benefit are not reported. AUROC is that of the "
    "scores; the probabilities behind them may rank better."
)

LOGITS_GIVEN = "The columns hold logits; the probabilities are their softmax, without temperature scaling."

HISTOLOGY = "histo"  # in dx_type, as HAM10000's metadata call it


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
            words = getattr(self, name)
            filled = np.full(n, "", object) if not len(words) else known(pd.Series(words)).to_numpy(object)
            object.__setattr__(self, name, filled)
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
    def joined(
        cls, frame: pd.DataFrame, labels: LabelSet, y: np.ndarray, found: list, notes: tuple[str, ...] = ()
    ) -> Predictions:
        """A model's predictions beside the true classes; those of eight labels as seven where the truth has seven.

        Parameters
        ----------
        frame : DataFrame with ``image_id`` and ``lesion_id``, perhaps ``source`` and ``dx_type``, a row an image
        labels : LabelSet
        y : int64 [N], index of the true class
        found : list of :class:`skinlesion.serving.predictor.Prediction`, N of them
        notes : tuple of str
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
            **origin(frame),
        )

    def take(self, rows: np.ndarray) -> Predictions:
        """The rows that an index array (or a bool mask [N]) names, in its order."""
        by_row = ("image_ids", "lesions", "source", "dx_type", "split", "fold", "y", "probabilities", "scores")
        return replace(self, **{name: getattr(self, name)[rows] for name in by_row})

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
        """Write ``predictions.csv`` whole or not at all; every number reads back as the same float64.

        Raises
        ------
        DataError
            For decision scores, which the file would pass off as probabilities.
        """
        if not self.are_probabilities:
            raise DataError("decision scores cannot be written as predictions.csv, which holds probabilities")
        columns = {
            "image_id": self.image_ids,
            "lesion_id": self.lesions,
            "source": self.source,
            "dx_type": self.dx_type,
            "split": self.split,
            "fold": np.where(self.fold < 0, "", self.fold.astype(str)),
            "label": np.array(self.labels.codes)[self.y],
        }
        columns |= {f"p_{code}": self.probabilities[:, i] for i, code in enumerate(self.labels.codes)}
        columns |= {f"score_{code}": self.scores[:, i] for i, code in enumerate(self.labels.codes)}
        with atomic(path) as temporary:
            pd.DataFrame(columns).to_csv(temporary, index=False, lineterminator="\n", encoding="utf-8")

    def write_submission(self, path: str | Path) -> None:
        """Write the challenge's format with the decision scores: the largest of a row is the predicted class."""
        order = [self.labels.index(name.lower()) for name in column_set(self.labels)]
        frame = pd.DataFrame(self.scores[:, order], columns=list(column_set(self.labels)))
        frame.insert(0, "image", self.image_ids)
        with atomic(path) as temporary:
            frame.to_csv(temporary, index=False, lineterminator="\n", encoding="utf-8")


def origin(frame: pd.DataFrame) -> dict[str, Any]:
    """``source`` and ``dx_type`` of the rows of a table or a split, as :class:`Predictions` takes them."""
    return {name: frame[name].to_numpy(object) for name in ("source", "dx_type") if name in frame}


def read(
    path: str | Path,
    labels_csv: str | Path | None = None,
    words: Mapping[str, str] | Iterable[str] = (),
    *,
    only_labelled: bool = False,
) -> Predictions:
    """Read a ``predictions.csv``, a challenge submission, or anybody's table with a row an image.

    Parameters
    ----------
    path : CSV
        Either ``image_id``, a probability column ``p_<code>`` for each of the 7 or 8 classes, and ``label``
        (the other columns of :meth:`Predictions.write` may be absent or empty); or the ISIC 2018 Task 3 format
        ``image,MEL,NV,BCC,AKIEC,BKL,DF,VASC`` (eight labels: their own), which holds decision scores and no truth; or
        a column a class under any of its names, see :func:`skinlesion.evaluation.tables.class_columns`, with
        probabilities, logits (softmax makes probabilities of them) or scores.
    labels_csv : CSV, see :func:`skinlesion.evaluation.tables.read_truth`
        Where the truth comes from instead of the column ``label``, and lesions and split where ``path`` names none. It
        may hold more images than were predicted. Ids may have folders and endings in either table, see
        :func:`skinlesion.core.tables.match_ids`.
    words : mapping, or ``WORD=CODE`` texts
        What labels are called, and the codes that those words stand for, beside the known ones.
    only_labelled : bool
        Leave out images that ``labels_csv`` does not have, and note how many, instead of refusing them.

    Raises
    ------
    DataError
        For a file that cannot be read or breaks the contract; the message names the column or the images.

    Examples
    --------
    A challenge submission, and the ground truth as the challenge publishes it:

    >>> from pathlib import Path
    >>> header = "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\\n"
    >>> _ = Path("submission.csv").write_text(header + "one,.7,.1,.1,.1,0,0,0\\ntwo,.2,.8,0,0,0,0,0\\n")
    >>> _ = Path("truth.csv").write_text(header + "one,1,0,0,0,0,0,0\\ntwo,1,0,0,0,0,0,0\\n")
    >>> predictions = read("submission.csv", "truth.csv")
    >>> [predictions.labels.codes[row] for row in predictions.predicted]
    ['mel', 'nv']
    """
    frame = read_table(path)
    try:
        labels, names, kind = class_columns(frame)
        ids = pd.Series(image_ids(column(frame, *ID_COLUMNS)), dtype=object).to_numpy(object)
        probabilities, kind, notes = _probabilities(numbers(frame, names, ids), names[0], labels, kind)
        own_scores = _scores(frame, labels, ids) if kind != SCORES else None
        given = {name: optional(frame, name) for name in ("label", *TRUTH_COLUMNS)}
        counts = np.ones(len(ids), bool)
        if labels_csv is not None:
            given, counts, more = _join(ids, given, labels_csv, only_labelled)
            notes += more
        elif "label" not in frame.columns:
            raise DataError("the column label is missing; add it or name a CSV of labels (--labels)")
        given = {name: values[counts] for name, values in given.items()}
        ids, probabilities = ids[counts], probabilities[counts]
        return Predictions(
            image_ids=ids,
            lesions=np.where(given["lesion_id"] == "", ids, given["lesion_id"]),
            source=given["source"],
            dx_type=given["dx_type"],
            split=given["split"],
            fold=folds(given["fold"], ids),
            labels=labels,
            y=_class_indices(given["label"], labels, ids, words),
            probabilities=probabilities,
            scores=probabilities if own_scores is None else own_scores[counts],
            are_probabilities=kind != SCORES,
            notes=notes,
        )
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _probabilities(
    values: np.ndarray, first: str, labels: LabelSet, kind: str
) -> tuple[np.ndarray, str, tuple[str, ...]]:
    """Probabilities (or scores) of a table's values, what these are, and notes about it."""
    kind = kind or what_they_hold(values)
    if kind == LOGITS:
        return softmax(values), kind, (LOGITS_GIVEN,)
    if kind == SCORES:
        return values, kind, (SCORES_ONLY,)
    if first != f"p_{labels.codes[0]}":  # rounded to few digits by who wrote them
        values = values / values.sum(axis=1, keepdims=True)
    return values, kind, ()


def _scores(frame: pd.DataFrame, labels: LabelSet, ids: np.ndarray) -> np.ndarray | None:
    """The model's own decision scores, or None where there are none."""
    names = [f"score_{code}" for code in labels.codes]
    given = any((optional(frame, name) != "").any() for name in names)
    return numbers(frame, names, ids) if given else None


def _join(ids: np.ndarray, given: dict[str, np.ndarray], labels_csv: str | Path, only_labelled: bool):
    """What another table has of these images, which of them count, and notes about it."""
    truth = read_truth(labels_csv)
    where = match_ids(ids, list(truth.index))
    missing = where < 0
    if missing.all() or (missing.any() and not only_labelled):
        raise DataError(f"{labels_csv} has no label for {some(ids[missing])}")
    rows = truth.iloc[where]
    joined = {name: np.where(given[name] == "", rows[name].to_numpy(object), given[name]) for name in TRUTH_COLUMNS}
    counts = rows["counts"].to_numpy(bool) | missing
    notes: tuple[str, ...] = ()
    if not counts.all():
        notes += (f"Left out, since the official scorer gives them no weight: {some(ids[~counts])}.",)
    if missing.any():
        notes += (f"{counted(int(missing.sum()), 'image')} without a label in {Path(labels_csv).name} left out.",)
        counts &= ~missing
    not_predicted = int(truth["counts"].sum() - counts.sum())
    if not_predicted:
        every = int(truth["counts"].sum())
        notes += (f"No prediction for {not_predicted:,} of the {counted(every, 'image')} in {Path(labels_csv).name}.",)
    return joined | {"label": rows["word"].to_numpy(object)}, counts, notes


def _class_indices(words: np.ndarray, labels: LabelSet, ids: np.ndarray, own: Mapping | Iterable[str]) -> np.ndarray:
    code_of = label_finder(labels, own if isinstance(own, Mapping) else parse_words(own))
    unlabelled = ids[words == ""]
    if len(unlabelled):
        raise DataError(
            f"these images have no label: {some(unlabelled)}; fill it in or name a CSV of labels (--labels)"
        )
    unknown = sorted(word for word in set(words) if code_of(word) is None)
    if unknown:
        near = nearest_words(unknown[0])
        hint = f" (nearest known: {' or '.join(near)})" if near else ""
        raise DataError(
            f"unknown labels: {some(unknown)}{hint}; the classes are {', '.join(labels.codes)}. Map a word with "
            f"--label '{unknown[0]}=CODE'"
        )
    return np.array([labels.index(str(code_of(word))) for word in words], np.int64)
