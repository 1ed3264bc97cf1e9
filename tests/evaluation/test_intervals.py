import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from experiments import coverage
from skinlesion.evaluation import intervals
from skinlesion.evaluation.intervals import describe, proportion, resample, summarise

LESIONS = np.array(["b", "a", "a", "c", "b", "d"], object)


def test_there_are_no_fewer_replicates_than_none():
    with pytest.raises(ValueError, match="0 or more, not -1"):
        resample(np.array(["a", "b"]), replicates=-1)


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


@pytest.mark.parametrize(("hits", "n"), [(0, 15), (7, 15), (56, 57), (57, 57), (290, 300)])
def test_independent_images_have_wilsons_interval(hits, n):
    expected = binomtest(hits, n).proportion_ci(method="wilson")
    found = proportion(np.arange(n) < hits, np.random.default_rng(0).permutation(n))
    assert (found["value"], found["n"]) == (hits / n, n)
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high), abs=1e-9)


@pytest.mark.parametrize("copies", [2, 4])
def test_copies_of_an_image_tell_no_more_than_the_image(copies):
    hit = np.arange(200) < 170
    expected = binomtest(170, 200).proportion_ci(method="wilson")
    found = proportion(np.repeat(hit, copies), np.repeat(np.arange(200), copies))
    assert found["n"] == 200 * copies
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high), abs=2e-3)


def test_where_all_images_agree_those_of_a_lesion_count_as_copies():
    lesion = np.repeat(np.arange(19), 3)
    expected = binomtest(19, 19).proportion_ci(method="wilson")
    found = proportion(np.ones(57, bool), lesion)
    assert (found["value"], found["high"]) == (1.0, 1.0)
    assert found["low"] == pytest.approx(expected.low, abs=1e-9)
    one = proportion([True, False], np.array([0, 0]))
    assert one["low"] < 0.1 and one["high"] > 0.9


def test_lesions_that_disagree_within_do_not_narrow_the_interval():
    """Each of 40 lesions has one right and one wrong image: fewer differences between lesions than by chance."""
    expected = binomtest(40, 80).proportion_ci(method="wilson")
    found = proportion(np.tile([True, False], 40), np.repeat(np.arange(40), 2))
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_no_image_no_share():
    assert proportion(np.array([], bool), np.array([], int)) == {"value": None, "low": None, "high": None, "n": 0}


def test_the_committed_simulation_shows_the_coverage():
    table = pd.read_csv(coverage.FILE)
    assert len(table) == len(coverage.SIZES) * len(coverage.CORRELATIONS) * len(coverage.IMAGES)
    assert table["mean"].between(0.93, 0.97).all()
    assert (table["least"] >= 0.90).all()
    assert (table["narrowest"] > 0).all()
    few = table[table["images"] <= 57]
    assert (few["bootstrap"] < few["mean"] - 0.02).all()


def test_a_line_of_the_simulation_follows_from_the_code():
    table = pd.read_csv(coverage.FILE)
    row = table[(table["lesions"] == "melanoma") & (table["correlation"] == 0.6) & (table["images"] == 15)].iloc[0]
    assert coverage.line("melanoma", 0.6, 15) == pytest.approx(row.to_dict(), abs=1e-4)


def test_draws_too_large_for_memory_are_the_same(monkeypatch):
    here = resample(LESIONS, 30)
    monkeypatch.setattr(intervals, "_IN_MEMORY", 0)
    there = resample(LESIONS, 30)
    assert isinstance(there.counts, np.memmap) and (here.counts == there.counts).all()
    monkeypatch.setattr(intervals, "_AT_ONCE", 1)  # a replicate at a time
    rows = np.arange(12.0).reshape(6, 2)
    np.testing.assert_allclose(there.totals(rows), [counts[there.lesion] @ rows for counts in here.counts])
