"""Suspect labels: calibrated predictions with true and with exchanged labels."""

import numpy as np
import pytest

from skinlesion.core.errors import DataError
from skinlesion.core.taxonomy import HAM7
from skinlesion.evaluation import suspects
from skinlesion.evaluation.predictions import Predictions

N = 1500


def calibrated(wrong=(), **changes):
    """Predictions whose labels are drawn from their own probabilities; those of the rows ``wrong`` are then another."""
    rng = np.random.default_rng(3)
    p = rng.dirichlet(np.full(len(HAM7), 0.12), N)
    y = np.array([rng.choice(len(HAM7), p=row) for row in p])
    for row in wrong:
        y[row] = p[row].argmin()
    ids = np.array([f"i{number:04}" for number in range(N)])
    parts = {
        "split": np.full(N, "test"),
        "fold": np.full(N, -1),
        "labels": HAM7,
        "y": y,
        "probabilities": p,
        "scores": p,
    }
    return Predictions(ids, ids, **parts | changes)


def test_calibrated_predictions_have_no_excess():
    table = suspects.excess(calibrated(), replicates=200)
    assert list(table["level"]) == list(suspects.LEVELS)
    assert all(row["low"] <= 0 <= row["high"] for row in table["excess"])
    assert suspects.in_words(table).startswith("**No excess")
    assert len(suspects.excess_table(table)) == len(table)


def test_expected_errors_are_those_of_the_probabilities():
    images = calibrated()
    top = images.probabilities.max(axis=1)
    row = suspects.excess(images, replicates=0).set_index("level").loc[0.9]
    assert row["images"] == (top >= 0.9).sum() and row["expected"] == pytest.approx((1 - top[top >= 0.9]).sum())
    assert row["contradicted"] == ((images.probabilities.argmax(axis=1) != images.y) & (top >= 0.9)).sum()


def test_exchanged_labels_are_an_excess_and_come_first():
    top = calibrated().probabilities.max(axis=1)
    wrong = np.flatnonzero(top > 0.97)[:60]
    images = calibrated(wrong)
    words = suspects.in_words(suspects.excess(images, replicates=200))
    assert words.startswith("**More labels are contradicted")
    listed = suspects.suspects(images)
    assert (listed["label"] != listed["predicted"]).all() and listed["margin"].is_monotonic_decreasing
    first = set(listed["image_id"].head(60))
    assert len(first & set(images.image_ids[wrong])) >= 50


def test_scores_cannot_be_compared_with_labels():
    with pytest.raises(DataError, match="decision scores"):
        suspects.suspects(calibrated(are_probabilities=False))
