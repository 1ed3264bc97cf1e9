"""Decision curves against counting by hand, and prevalence against drawing another population."""

import numpy as np
import pytest

from skinlesion.core.errors import DataError
from skinlesion.evaluation.decision_curve import curve_in_words, decision_curve, move_prevalence
from skinlesion.evaluation.intervals import resample


def draw(n=600, seed=0):
    random = np.random.default_rng(seed)
    p = random.beta(0.8, 2.5, n)
    return p, random.random(n) < p, random.integers(0, n // 2, n).astype(str)


def plain(p, truth, threshold):
    """Net benefit as Vickers and Elkin write it."""
    referred = p >= threshold
    return (referred & truth).mean() - (referred & ~truth).mean() * threshold / (1 - threshold)


def test_value_and_interval_are_those_of_a_plain_loop():
    p, truth, lesions = draw()
    thresholds = np.array([0.02, 0.1, 0.3])
    curve = decision_curve(p, truth, lesions, thresholds=thresholds, replicates=40, seed=3)
    resamples = resample(lesions, 40, seed=3)
    for i, t in enumerate(thresholds):
        model, gain = [], []
        for counts in resamples.counts:
            rows = np.repeat(np.arange(len(p)), counts[resamples.lesion])
            everybody = plain(np.ones(len(rows)), truth[rows], t)
            model.append(plain(p[rows], truth[rows], t))
            gain.append(model[-1] - max(everybody, 0))
        row = curve.iloc[i]
        assert row["net_benefit"] == pytest.approx(model[0], abs=1e-12)
        assert (row["low"], row["high"]) == pytest.approx(np.percentile(model[1:], [2.5, 97.5]), abs=1e-12)
        assert row["refer_all"] == pytest.approx(truth.mean() - (~truth).mean() * t / (1 - t), abs=1e-12)
        assert row["gain"] == pytest.approx(gain[0], abs=1e-12)
        assert (row["gain_low"], row["gain_high"]) == pytest.approx(np.percentile(gain[1:], [2.5, 97.5]), abs=1e-12)
    assert curve.attrs == {name: pytest.approx(truth.mean()) for name in ("prevalence", "own")} | {"n": 600}


def test_one_case_by_hand():
    p, truth = np.array([0.9, 0.6, 0.2, 0.2, 0.05]), np.array([1, 0, 1, 0, 0], bool)
    curve = decision_curve(p, truth, np.arange(5), thresholds=np.array([0.2, 0.5]), replicates=0)
    assert list(curve["net_benefit"]) == pytest.approx([2 / 5 - 2 / 5 * 0.25, 1 / 5 - 1 / 5])
    assert list(curve["refer_all"]) == pytest.approx([2 / 5 - 3 / 5 * 0.25, 2 / 5 - 3 / 5])
    assert curve["low"].isna().all()


def test_moving_the_prevalence_is_bayes_rule_and_comes_back():
    p = np.array([0.0, 0.2, 0.5, 1.0])
    moved = move_prevalence(p, 0.4, 0.1)
    odds = 0.2 / 0.8 * (0.1 / 0.9) / (0.4 / 0.6)
    assert moved[1] == pytest.approx(odds / (1 + odds), abs=1e-12)
    assert moved[0] < 1e-11 and moved[3] > 1 - 1e-10
    np.testing.assert_allclose(move_prevalence(moved, 0.1, 0.4), p, atol=1e-10)


def test_another_prevalence_equals_a_population_drawn_with_it():
    p, truth, _ = draw(200, seed=1)
    malignant, benign = np.flatnonzero(truth), np.flatnonzero(~truth)
    rows = np.concatenate([np.repeat(malignant, len(benign)), np.repeat(benign, 49 * len(malignant))])  # 2% malignant
    moved = move_prevalence(p, truth.mean(), 0.02)
    expected = plain(moved[rows], truth[rows], 0.05)
    thresholds = np.array([0.05])
    curve = decision_curve(p, truth, np.arange(200), prevalence=0.02, thresholds=thresholds, replicates=0)
    assert curve.loc[0, "net_benefit"] == pytest.approx(expected, abs=1e-12)
    assert curve.attrs["prevalence"] == 0.02


def test_a_useless_model_gains_nothing_and_the_words_say_so():
    random = np.random.default_rng(0)
    truth = random.random(800) < 0.3
    useless = decision_curve(random.random(800), truth, np.arange(800), replicates=200)
    assert (useless["gain_low"] <= 0).all()
    assert "at none of the thresholds up to 50%" in curve_in_words(useless)
    p, truth, lesions = draw(2000)
    words = curve_in_words(decision_curve(p, truth, lesions, replicates=200), threshold=0.2)
    assert "At a threshold of 20%, which accepts 4 needless referrals for one positive lesion" in words
    assert "referring every lesion or none at " in words and f"{truth.mean():.1%}" in words


def test_both_kinds_and_a_fraction_are_needed():
    with pytest.raises(DataError, match="positive and negative"):
        decision_curve(np.array([0.1, 0.9]), np.array([True, True]), np.arange(2))
    with pytest.raises(DataError, match="prevalence must be a fraction"):
        decision_curve(np.array([0.1, 0.9]), np.array([True, False]), np.arange(2), prevalence=2.0)
