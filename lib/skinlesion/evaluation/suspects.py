"""Suspect labels: which ones a model contradicts, and whether there are more of them than its own errors explain.

Ranked by confident learning (Northcutt, Jiang, Chuang 2021, doi:10.1613/jair.1.12125): a class counts as predicted
where its probability reaches the mean that it has among the images labelled with it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from skinlesion.core.errors import DataError
from skinlesion.core.tables import counted
from skinlesion.evaluation.intervals import describe, resample, summarise
from skinlesion.evaluation.predictions import Predictions

LEVELS = (0.5, 0.8, 0.9, 0.95)  # probabilities from which a prediction counts as certain


def suspects(images: Predictions) -> pd.DataFrame:
    """Images whose label is contradicted with confidence, the most suspect first.

    ``images``: Predictions, by a network that was not trained on these images: out of fold, validation or test. Raises
    DataError for decision scores, which are no probabilities. Columns: ``image_id, lesion_id, split, label,
    predicted``, the probabilities of both classes, ``p_label`` and ``p_predicted``, and ``margin``, the second less the
    first.
    """
    if not images.are_probabilities:
        raise DataError("suspect labels are ranked by probabilities, and these are decision scores")
    p, y, rows = images.probabilities, images.y, np.arange(len(images))
    usual = np.array([p[y == k, k].mean() if (y == k).any() else np.inf for k in range(p.shape[1])])
    confident = np.where(p >= usual, p, -np.inf)
    predicted = confident.argmax(axis=1)
    chosen = np.isfinite(confident.max(axis=1)) & (predicted != y)
    codes = np.array(images.labels.codes)
    table = pd.DataFrame(
        {
            "image_id": images.image_ids, "lesion_id": images.lesions, "split": images.split, "label": codes[y],
            "predicted": codes[predicted], "p_label": p[rows, y], "p_predicted": p[rows, predicted],
        }
    )  # fmt: skip
    table = table.assign(margin=table["p_predicted"] - table["p_label"])[chosen]
    return table.sort_values(["margin", "image_id"], ascending=[False, True], ignore_index=True)


def excess(images: Predictions, *, replicates: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Contradicted labels, beside the number of errors that calibrated probabilities lead one to expect.

    Of images predicted with probability p, calibration leaves a share of 1 - p that is something else. More
    contradicted labels than that are a sign of wrong labels, or of probabilities that are too high. A row
    a level of :data:`LEVELS`: ``level``, ``images`` predicted with at least this probability, ``contradicted``,
    ``expected``, and ``excess``, the first less the second, as a metric with its interval.
    """
    top, wrong = images.probabilities.max(axis=1), images.probabilities.argmax(axis=1) != images.y
    resamples = resample(images.lesions, replicates, seed)
    rows = []
    for level in LEVELS:
        certain = top >= level
        contradicted, expected = wrong & certain, np.where(certain, 1 - top, 0.0)
        rows.append(
            {
                "level": level,
                "images": int(certain.sum()),
                "contradicted": int(contradicted.sum()),
                "expected": float(expected.sum()),
                "excess": summarise(resamples.totals(contradicted - expected), int(certain.sum())),
            }
        )
    return pd.DataFrame(rows)


def in_words(table: pd.DataFrame) -> str:
    """Whether any level has an excess of contradicted labels: its interval lies above 0."""
    most = table.iloc[-1]
    found = [row for row in table.itertuples() if row.excess["low"] is not None and row.excess["low"] > 0]
    counts = (
        f"Of {counted(most['images'], 'image')} predicted with a probability of {most['level']:g} or more, "
        f"{most['contradicted']:,} contradict their label, where calibrated probabilities lead one to expect "
        f"{most['expected']:.1f} errors."
    )
    if not found:
        return f"**No excess of contradicted labels.** {counts} The list says where to look first, not what is wrong."
    row = found[-1]
    return (
        f"**More labels are contradicted than expected** at a probability of {row.level:g} or more: "
        f"{row.contradicted:,} instead of {row.expected:.1f} (excess {describe(row.excess, 1)}). Labels are wrong, or "
        f"the probabilities too high. {counts}"
    )


def excess_table(table: pd.DataFrame) -> pd.DataFrame:
    """:func:`excess` for people."""
    words = [describe(value, 1) for value in table["excess"]]
    shown = table.assign(excess=words).set_index("level").rename_axis("probability of at least")
    return shown.rename(columns={"expected": "expected errors", "excess": "excess (95% interval)"})
