"""Intervals of proportions: Wilson's for independent images, wider for lesions with several, never of width zero."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from experiments import coverage
from skinlesion.evaluation.proportion import proportion


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
