import numpy as np
import pytest

from skinlesion.evaluation.bootstrap import describe, resample, summarise

LESIONS = np.array(["b", "a", "a", "c", "b", "d"], object)


def test_each_replicate_draws_as_many_lesions_as_there_are():
    resamples = resample(LESIONS, replicates=50, seed=1)
    assert resamples.counts.shape == (51, 4)
    assert (resamples.counts.sum(axis=1) == 4).all()
    assert (resamples.counts[0] == 1).all()
    assert (resamples.counts[1:] != 1).any()


def test_images_of_one_lesion_come_and_go_together():
    resamples = resample(LESIONS, replicates=200, seed=1)
    (rows, counts), *_ = resamples.image_counts(np.arange(6))
    assert (counts[:, 1] == counts[:, 2]).all() and (counts[:, 0] == counts[:, 4]).all()
    assert (counts[:, 0] != counts[:, 1]).any()
    assert rows == slice(0, len(counts))


def test_same_seed_same_replicates_in_any_row_order_and_another_seed_others():
    order = np.array([3, 5, 0, 4, 2, 1])
    first, shuffled = resample(LESIONS, 30, seed=4), resample(LESIONS[order], 30, seed=4)
    assert (first.counts == shuffled.counts).all()
    assert (first.lesion[order] == shuffled.lesion).all()
    assert (first.counts != resample(LESIONS, 30, seed=5).counts).any()


def test_totals_equal_sums_over_the_repeated_rows():
    resamples = resample(LESIONS, replicates=150, seed=2)
    rows = np.random.default_rng(0).normal(size=(6, 2, 3))
    totals = resamples.totals(rows)
    assert totals.shape == (151, 2, 3)
    for counts, total in zip(resamples.counts, totals, strict=True):
        np.testing.assert_allclose(total, np.repeat(rows, counts[resamples.lesion], axis=0).sum(axis=0), atol=1e-12)
    np.testing.assert_allclose(resamples.totals(rows[:, 0, 0]), totals[:, 0, 0], atol=1e-12)


def test_interval_is_the_percentile_interval_of_the_defined_replicates():
    replicates = np.random.default_rng(0).normal(size=400)
    result = summarise(np.concatenate([[0.1], replicates, [np.nan] * 30]), n=7)
    assert result == {
        "value": 0.1,
        "low": pytest.approx(np.percentile(replicates, 2.5)),
        "high": pytest.approx(np.percentile(replicates, 97.5)),
        "n": 7,
    }


@pytest.mark.filterwarnings("error")
def test_undefined_values_are_null_and_silent():
    assert summarise(np.array([np.nan, 0.3, np.nan]), n=0) == {"value": None, "low": None, "high": None, "n": 0}
    assert summarise(np.array([0.5]), n=3) == {"value": 0.5, "low": None, "high": None, "n": 3}
    assert summarise(np.array([0.5, np.nan]), n=3) == {"value": 0.5, "low": None, "high": None, "n": 3}


def test_description():
    assert describe({"value": 0.5, "low": 0.41234, "high": 0.6, "n": 3}) == "0.500 (0.412 to 0.600)"
    assert describe({"value": 0.5, "low": None, "high": None, "n": 3}, 1) == "0.5"
    assert describe({"value": None, "low": None, "high": None, "n": 0}) == "undefined"
    error = {"value": 0.031, "low": None, "high": None, "n": 3, "by_chance": 0.02, "p": 0.0041}
    assert describe(error) == "0.031 (by chance 0.020; p = 0.004)"
    assert describe(error | {"p": 0.0005}) == "0.031 (by chance 0.020; p < 0.001)"


def test_interval_over_lesions_covers_the_truth_where_one_over_images_does_not():
    """150 lesions with four images each, all four right or all four wrong; the true accuracy is 0.7."""
    random = np.random.default_rng(3)
    lesions = np.repeat(np.arange(150), 4)
    covered = {"lesions": 0, "images": 0}
    trials = 150
    for trial in range(trials):
        right = np.repeat(random.random(150) < 0.7, 4)
        for unit, groups in (("lesions", lesions), ("images", np.arange(600))):
            resamples = resample(groups, replicates=200, seed=trial)
            accuracy = resamples.totals(right) / resamples.totals(np.ones(600))
            interval = summarise(accuracy, 600)
            covered[unit] += interval["low"] <= 0.7 <= interval["high"]
    assert 0.89 < covered["lesions"] / trials <= 0.99
    assert covered["images"] / trials < 0.8
