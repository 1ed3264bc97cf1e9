"""Thresholds: chosen on validation alone, judged elsewhere, against brute force over every threshold there is."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import recall_score, roc_curve

from skinlesion.core.errors import DataError
from skinlesion.core.taxonomy import HAM7
from skinlesion.evaluation import operating
from skinlesion.evaluation.bootstrap import resample
from skinlesion.evaluation.predictions import Predictions


def make(n=500, seed=0, split="validation"):
    random = np.random.default_rng(seed)
    y = random.choice(7, n, p=[0.04, 0.06, 0.12, 0.03, 0.15, 0.55, 0.05])
    p = np.exp(random.normal(size=(n, 7)) + 1.5 * np.eye(7)[y])
    p /= p.sum(axis=1, keepdims=True)
    ids = np.array([f"{split}_{i}" for i in range(n)], object)
    lesions = np.array([f"{split}_lesion_{i // 2}" for i in range(n)], object)
    return Predictions(ids, lesions, np.full(n, split, object), np.full(n, -1), HAM7, y, p, p)


@pytest.mark.parametrize("wanted", [0.5, 0.8, 0.9, 1.0])
@pytest.mark.parametrize("steps", [None, 20])
def test_threshold_is_the_lowest_that_reaches_the_specificity(wanted, steps):
    random = np.random.default_rng(1)
    truth = random.random(400) < 0.3
    p = np.clip(random.normal(0.3 + 0.3 * truth, 0.15), 0, 1)
    p = np.round(p * steps) / steps if steps else p
    threshold = operating.choose_threshold_by_specificity(p, truth, wanted)
    assert recall_score(~truth, p < threshold) >= wanted
    assert all((p[~truth] < t).mean() < wanted for t in np.unique(p) if t < threshold)
    with pytest.raises(DataError, match="negative"):
        operating.choose_threshold_by_specificity(p, np.ones(400, bool))


def test_the_two_questions():
    predictions = make()
    score, malignant = operating.binary_task(predictions, "malignant")
    np.testing.assert_allclose(score, predictions.probabilities[:, [0, 1, 4]].sum(axis=1))
    assert (malignant == np.isin(predictions.y, [0, 1, 4])).all()
    score, melanoma = operating.binary_task(predictions, "melanoma")
    assert (score == predictions.probabilities[:, 4]).all() and (melanoma == (predictions.y == 4)).all()


def test_thresholds_keep_their_aim_on_validation_and_are_evaluated_on_test_by_hand():
    validation, test = make(seed=0), make(seed=1, split="test")
    points = operating.operating_points(validation, test, replicates=50)
    assert set(points) == {"malignant", "melanoma"}
    for question, by_aim in points.items():
        assert list(by_aim) == [f"{m} {f:.2f}" for m in ("specificity", "sensitivity") for f in (0.8, 0.9, 0.95)]
        for aim, point in by_aim.items():
            measure, fraction = aim.split()
            own = operating.operating_point(
                *operating.binary_task(validation, question), point.threshold, validation.lesions, 0
            )
            assert float(fraction) <= getattr(own, measure)["value"] < float(fraction) + 0.02
            score, positive = operating.binary_task(test, question)
            assert point.sensitivity["value"] == pytest.approx((score[positive] >= point.threshold).mean())
            assert point.specificity["value"] == pytest.approx((score[~positive] < point.threshold).mean())
            assert point.sensitivity["low"] < point.sensitivity["value"] < point.sensitivity["high"]


def test_test_labels_do_not_move_a_threshold_and_a_question_without_answer_is_left_out():
    validation, test = make(seed=0), make(seed=1, split="test")
    scrambled = replace(test, y=np.random.default_rng(2).permutation(test.y))
    one, other = (operating.operating_points(validation, t, replicates=0) for t in (test, scrambled))
    for question in one:
        assert [p.threshold for p in one[question].values()] == [p.threshold for p in other[question].values()]
    without = validation.take(validation.y != HAM7.index("mel"))
    assert set(operating.operating_points(without, test, replicates=0)) == {"malignant"}


@pytest.mark.parametrize("steps", [None, 12])
def test_points_on_the_curve_are_the_best_over_every_threshold(steps):
    predictions = make(300, seed=4)
    score, positive = operating.binary_task(predictions, "malignant")
    score = np.round(score * steps) / steps if steps else score
    found = operating.points_on_the_curve(score, positive, predictions.lesions, replicates=30, seed=6)
    resamples = resample(predictions.lesions, 30, seed=6)
    expected = {aim: [] for aim in found}
    for counts in resamples.counts:
        rows = np.repeat(np.arange(300), counts[resamples.lesion])
        false, true, _ = roc_curve(positive[rows], score[rows], drop_intermediate=False)
        for aim, values in expected.items():
            measure, fraction = aim.split()[0], float(aim.split()[1])
            if measure == "specificity":
                values.append(true[1 - false >= fraction - 1e-12].max())
            else:
                values.append((1 - false)[true >= fraction - 1e-12].max())
    for aim, values in expected.items():
        assert found[aim]["value"] == pytest.approx(values[0], abs=1e-12)
        low, high = np.percentile(values[1:], [2.5, 97.5])
        assert (found[aim]["low"], found[aim]["high"]) == pytest.approx((low, high), abs=1e-12)
    assert found["specificity 0.90"]["n"] == positive.sum() and found["sensitivity 0.90"]["n"] == (~positive).sum()
