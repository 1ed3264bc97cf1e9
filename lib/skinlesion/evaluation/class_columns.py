"""Which columns of a table of predictions are the classes, and what they hold: anybody's table, not only ours."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from skinlesion.core.errors import DataError
from skinlesion.core.taxonomy import HAM7, ISIC8, LabelSet, diagnosis
from skinlesion.evaluation.truth import column_set

PROBABILITIES, SCORES, LOGITS, UNSAID = "probabilities", "scores", "logits", ""
_AFFIX = r"p|probs?|probability|probabilities|pred|prediction|conf|confidence|softmax|logits?|scores?|output"
_PREFIX = re.compile(rf"({_AFFIX})[\s_.:-]+", re.IGNORECASE)
_SUFFIX = re.compile(rf"[\s_.:-]+({_AFFIX})$", re.IGNORECASE)
_ROUNDED = 1e-2  # by how much rows of probabilities written with few digits miss a sum of one


def class_columns(frame: pd.DataFrame) -> tuple[LabelSet, list[str], str]:
    """The label set, its columns in its order, and what they hold.

    Known are ``p_<code>`` (probabilities), the columns of a challenge submission (scores), and a column a class under
    any name of that class, in any case and with an affix such as ``prob_``, ``logit_`` or ``_score``.

    Returns
    -------
    LabelSet, list of str, and :data:`PROBABILITIES`, :data:`SCORES`, :data:`LOGITS`, or :data:`UNSAID` where only the
    values can tell (:func:`what_they_hold`)

    Raises
    ------
    DataError
        If the columns are neither the 7 nor the 8 classes.
    """
    found = {name.removeprefix("p_") for name in frame.columns if name.startswith("p_")}
    for labels in (HAM7, ISIC8):
        if found == set(labels.codes):
            return labels, [f"p_{code}" for code in labels.codes], PROBABILITIES
        if not found and set(column_set(labels)) <= set(frame.columns):
            return labels, [code.upper() for code in labels.codes], SCORES
    for affix, columns in sorted(_by_affix(frame).items(), key=lambda item: (item[0].startswith("score"), item[0])):
        for labels in (HAM7, ISIC8):
            if set(columns) == set(labels.codes) and (not found or (affix == "p" and len(found) == len(columns))):
                kind = LOGITS if affix.startswith("logit") else UNSAID
                return labels, [columns[code] for code in labels.codes], kind
    if not found:
        raise DataError(
            "there are no probability columns; name them p_<code>, e.g. p_mel, or give an ISIC 2018 submission: "
            f"image,{','.join(column_set(HAM7))}"
        )
    nearest = min((HAM7, ISIC8), key=lambda labels: len(found ^ set(labels.codes)))
    missing = [f"p_{code}" for code in nearest.codes if code not in found]
    surplus = [f"p_{code}" for code in sorted(found - set(nearest.codes))]
    told = [f"{', '.join(names)} {word}" for names, word in ((missing, "missing"), (surplus, "unknown")) if names]
    raise DataError(f"the probability columns are neither the 7 nor the 8 classes: {'; '.join(told)}")


def _by_affix(frame: pd.DataFrame) -> dict[str, dict[str, str]]:
    """{affix: {code: column}} of all columns that are called like a class; a class named twice is in no group."""
    groups: dict[str, dict[str, str]] = {}
    for column in frame.columns:
        prefix, suffix = _PREFIX.match(column), _SUFFIX.search(column)
        word = column[prefix.end() :] if prefix else column[: suffix.start()] if suffix else column
        code, affix = diagnosis(word), prefix or suffix
        if code is not None:
            group = groups.setdefault(affix[1].lower() if affix else "", {})
            group["" if code in group else code] = column
    return groups


def what_they_hold(values: np.ndarray) -> str:
    """Whether float [N, K] are :data:`PROBABILITIES` (rows sum to one), :data:`SCORES` (0 to 1) or :data:`LOGITS`."""
    if ((values < 0) | (values > 1)).any():
        return LOGITS
    return PROBABILITIES if np.abs(values.sum(axis=1) - 1).max(initial=0) <= _ROUNDED else SCORES
