"""Reading predictions from anybody's tables: ours, challenge submissions, or one with a row per image."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from skinlesion.core.errors import DataError
from skinlesion.core.images import without_ending
from skinlesion.core.one_hot import UNKNOWN
from skinlesion.core.tables import counted, folds, image_ids, lesion_names, match_ids, some
from skinlesion.core.taxonomy import (
    HAM7,
    ISIC8,
    LabelSet,
    diagnosis,
    label_finder,
    nearest_words,
    normalise_label,
    parse_words,
)
from skinlesion.decision import softmax
from skinlesion.evaluation.predictions import SUM_TOLERANCE, Predictions, submission_columns
from skinlesion.evaluation.truth import TRUTH_COLUMNS, id_column, numbers, optional, read_named, read_truth

#: What every result on a challenge submission has to say.
SCORES_ONLY = (
    "These are decision scores, as a challenge submission carries them, and no probabilities: they predict a class and "
    "rank images, so calibration (ECE, Brier score, log loss) and net benefit are not reported. AUROC is that of the "
    "scores; the probabilities behind them may rank better."
)

LOGITS_GIVEN = "The columns hold logits; the probabilities are their softmax, without temperature scaling."

PROBABILITIES, SCORES, LOGITS, UNSTATED = "probabilities", "scores", "logits", ""
_AFFIX = r"p|probs?|probability|probabilities|pred|prediction|conf|confidence|softmax|logits?|scores?|output"
_PREFIX = re.compile(rf"({_AFFIX})[\s_.:-]+", re.IGNORECASE)
_SUFFIX = re.compile(rf"[\s_.:-]+({_AFFIX})$", re.IGNORECASE)
_NOISE = 1e-5  # by how much a probability of 0 or 1 in float32 may lie outside
_ROUNDED = 4e-2  # by how much rows of eight probabilities written with two digits may miss a sum of one


def class_columns(frame: pd.DataFrame) -> tuple[LabelSet, list[str], str]:
    """The label set, its columns in its order, and what they hold.

    Known are ``p_<code>`` (probabilities), the columns of a challenge submission (scores), and a column per class under
    any name of that class, in any case and with an affix such as ``prob_``, ``logit_`` or ``_score``. Raises DataError
    if the columns are neither the 7 nor the 8 classes. The last is one of :data:`PROBABILITIES`, :data:`SCORES`,
    :data:`LOGITS`, or :data:`UNSTATED` where only the values can tell (:func:`kind_of_values`).
    """
    found = {name.removeprefix("p_") for name in frame.columns if name.startswith("p_")}
    for labels in (HAM7, ISIC8):
        if found == set(labels.codes):
            return labels, [f"p_{code}" for code in labels.codes], PROBABILITIES
    complete = {
        affix: (labels, [columns[code] for code in labels.codes])
        for affix, columns in _by_affix(frame).items()
        for labels in (HAM7, ISIC8)
        if set(columns) == set(labels.codes) and (not found or (affix == "p" and len(found) == len(columns)))
    }
    spare = [affix for start in ("logit", "score") for affix in sorted(complete) if affix.startswith(start)]
    own = [affix for affix in complete if affix not in spare]
    if len(own) > 1:
        sets = " and ".join(f"{complete[affix][1][0]}, …" for affix in own)
        raise DataError(f"there are several sets of class columns: {sets}; keep the one that holds the predictions")
    for affix in (*own, *spare)[:1]:  # logits and scores of a model whose probabilities are there add nothing
        labels, columns = complete[affix]
        if set(columns) == set(submission_columns(labels)):
            return labels, columns, SCORES
        return labels, columns, LOGITS if affix.startswith("logit") else UNSTATED
    for labels in (HAM7, ISIC8):
        if not found and set(submission_columns(labels)) <= set(frame.columns):
            return labels, [code.upper() for code in labels.codes], SCORES
    if not found:
        raise DataError(
            "there are no probability columns; name them p_<code>, e.g. p_mel, or give an ISIC 2018 submission: "
            f"image,{','.join(submission_columns(HAM7))}"
        )
    nearest = min((HAM7, ISIC8), key=lambda labels: len(found ^ set(labels.codes)))
    missing = [f"p_{code}" for code in nearest.codes if code not in found]
    surplus = [f"p_{code}" for code in sorted(found - set(nearest.codes))]
    wrong = [f"{', '.join(names)} {word}" for names, word in ((missing, "missing"), (surplus, "unknown")) if names]
    raise DataError(f"the probability columns are neither the 7 nor the 8 classes: {'; '.join(wrong)}")


def _by_affix(frame: pd.DataFrame) -> dict[str, dict[str, str]]:
    """{affix: {code: column}} of all columns that are called like a class; a class with two columns is in no group."""
    groups: dict[str, dict[str, str]] = {}
    for name in frame.columns:
        word, affix = _without_affix(name)
        code = diagnosis(word)
        if code is not None:
            group = groups.setdefault(affix, {})
            group["" if code in group else code] = name
    return groups


def _without_affix(name: str) -> tuple[str, str]:
    """A column's name without its prefix, else without its suffix, and that affix in lower case."""
    if prefix := _PREFIX.match(name):
        return name[prefix.end() :], prefix[1].lower()
    if suffix := _SUFFIX.search(name):
        return name[: suffix.start()], suffix[1].lower()
    return name, ""


def kind_of_values(values: np.ndarray) -> str:
    """Whether float [N, K] are :data:`PROBABILITIES` (rows sum to one), :data:`SCORES` (0 to 1) or :data:`LOGITS`.

    Where most rows are probabilities, a row with a value outside 0 to 1 is a wrong one, and no logits.
    """
    sound = _distributions(values)
    if sound.all() or (((values < 0) | (values > 1)).any() and sound.mean() > 0.5):
        return PROBABILITIES
    return LOGITS if ((values < 0) | (values > 1)).any() else SCORES


def _distributions(values: np.ndarray) -> np.ndarray:
    """Which rows of float [N, K] are probabilities, as far as rounding goes; bool [N]."""
    inside = ((values >= -_NOISE) & (values <= 1 + _NOISE)).all(axis=1)
    return inside & (np.abs(values.sum(axis=1) - 1) <= _ROUNDED)


def read_predictions(
    path: str | Path,
    labels_csv: str | Path | None = None,
    words: Mapping[str, str] | Iterable[str] = (),
    *,
    only_labelled: bool = False,
) -> Predictions:
    """Read a ``predictions.csv``, a challenge submission, or anybody's table with a row per image.

    Parameters
    ----------
    path : CSV
        Either ``image_id``, a probability column ``p_<code>`` for each of the 7 or 8 classes, and ``label``
        (the other columns of :meth:`Predictions.write` may be absent or empty); or the ISIC 2018 Task 3 format
        ``image,MEL,NV,BCC,AKIEC,BKL,DF,VASC`` (eight labels: their own), which holds decision scores and no truth; or
        a column per class under any of its names, see :func:`class_columns`, with
        probabilities, logits (softmax makes probabilities of them) or scores.
    labels_csv : CSV, see :func:`skinlesion.evaluation.truth.read_truth`
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
    >>> predictions = read_predictions("submission.csv", "truth.csv")
    >>> [predictions.labels.codes[row] for row in predictions.predicted]
    ['mel', 'nv']
    """
    frame = read_named(path)
    try:
        return _predictions(frame, labels_csv, words, only_labelled)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _predictions(
    frame: pd.DataFrame,
    labels_csv: str | Path | None,
    words: Mapping[str, str] | Iterable[str],
    only_labelled: bool,
) -> Predictions:
    """The predictions of a table, as :func:`read_predictions` takes it."""
    labels, names, kind = class_columns(frame)
    ids = pd.Series(image_ids(id_column(frame)), dtype=object).to_numpy(object)
    if twice := sorted(set(ids).intersection(name for one in ids if (name := without_ending(one)) != one)):
        raise DataError(f"the table has {some(twice)} with and without an ending; keep one row of each image")
    values = numbers(frame, names, ids)
    probabilities, kind, notes = _probabilities(values, ids, kind)
    for name in (name for name in frame if _without_affix(name)[0] == UNKNOWN):
        count = int((numbers(frame, [name], ids)[:, 0] > values.max(axis=1)).sum())
        notes += (f"{name} is no class here: it is left out, though the largest of {counted(count, 'image')}.",)
    own_scores = _scores(frame, labels, ids) if kind != SCORES else None
    given = {name: optional(frame, name) for name in ("label", *TRUTH_COLUMNS)}
    counts = np.ones(len(ids), bool)
    if labels_csv is not None:
        given, counts, more = _join(ids, given, labels_csv, only_labelled)
        notes += more
    elif "label" not in frame.columns:
        raise DataError("the column label is missing; add it or name a CSV of labels (--labels)")
    given = {name: values[counts] for name, values in given.items()}
    scores = (probabilities if own_scores is None else own_scores)[counts]
    ids, probabilities = ids[counts], probabilities[counts]
    if (level := np.ptp(scores, axis=1) == 0).any():
        first = labels.codes[0]
        notes += (f"All values of {some(ids[level])} are equal: they predict nothing, and count as {first}.",)
    return Predictions(
        image_ids=ids,
        lesions=lesion_names(given["lesion_id"], ids),
        source=given["source"],
        dx_type=given["dx_type"],
        split=given["split"],
        fold=folds(given["fold"], ids),
        labels=labels,
        y=_class_indices(given["label"], labels, ids, words),
        probabilities=probabilities,
        scores=scores,
        are_probabilities=kind != SCORES,
        notes=notes,
    )


def _probabilities(values: np.ndarray, ids: np.ndarray, kind: str) -> tuple[np.ndarray, str, tuple[str, ...]]:
    """Probabilities (or scores) of a table's values, what these are, and notes about it."""
    sums = values.sum(axis=1)
    sound, stated = _distributions(values), kind
    percent = (np.abs(sums - 100) <= 100 * _ROUNDED) & (values >= 0).all(axis=1)
    if kind != LOGITS and percent.any() and (sound | percent).mean() > 0.5:
        raise DataError(f"there are percentages, whose rows sum to 100, for {some(ids[percent])}; divide them by 100")
    kind = kind or kind_of_values(values)
    if kind == LOGITS:
        return softmax(values), kind, (LOGITS_GIVEN,)
    if kind == SCORES:
        doubt = f"All rows but those of {some(ids[~sound])} sum to one: if these are probabilities, mend those rows."
        return values, kind, (SCORES_ONLY, doubt) if not stated and sound.mean() > 0.5 else (SCORES_ONLY,)
    clipped = values.clip(0, 1)
    rounded = sound & ((np.abs(sums - 1) > SUM_TOLERANCE) | (clipped != values).any(axis=1))  # by who wrote them
    return np.divide(clipped, clipped.sum(axis=1, keepdims=True), out=values.copy(), where=rounded[:, None]), kind, ()


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
    words = zip(ids[~missing], given["label"][~missing], rows["word"][~missing], strict=True)
    if differ := [name for name, *pair in words if len({normalise_label(word, HAM7) for word in pair} - {None}) > 1]:
        notes += (f"The predictions have another label for {some(differ)}; that of {Path(labels_csv).name} counts.",)
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
