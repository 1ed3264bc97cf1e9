"""Prediction sets: the textbook order statistic, coverage of new lesions, and classes that are too rare."""

from dataclasses import replace

import numpy as np
import pytest

from skinlesion.core.taxonomy import HAM7
from skinlesion.evaluation import decision_fit
from skinlesion.evaluation.predictions import Predictions
from skinlesion.evaluation.uncertainty import choose_sets, set_coverage

K = len(HAM7)


def make(lesions, seed, most=4):
    """Images of a lesion have one class and nearly the same probabilities; lesions have 1 to ``most`` images."""
    random = np.random.default_rng(seed)
    y = random.choice(K, lesions, p=np.array([6, 8, 12, 4, 12, 50, 8]) / 100)
    lesion = np.repeat(np.arange(lesions), random.integers(1, most + 1, lesions))
    logits = (random.normal(size=(lesions, K)) + 1.5 * np.eye(K)[y])[lesion]
    p = np.exp(logits + 0.1 * random.normal(size=logits.shape))
    p /= p.sum(axis=1, keepdims=True)
    ids = np.array([f"i{seed}_{i}" for i in range(len(lesion))], object)
    names = np.array([f"l{i}" for i in lesion], object)
    return Predictions(ids, names, np.full(len(ids), ""), np.full(len(ids), -1), HAM7, y[lesion], p, p)


@pytest.mark.parametrize("level", [0.8, 0.9])
def test_with_one_image_a_lesion_it_is_the_order_statistic(level):
    one = make(600, 0, most=1)
    found = choose_sets(one.probabilities, one.y, one.lesions, HAM7, level)
    for i in range(K):
        own = np.sort(one.probabilities[one.y == i, i])
        rank = int(np.floor((1 - level) * (len(own) + 1) + 1e-9))
        assert found[i] == own[rank - 1]


def test_new_lesions_of_every_class_are_covered_and_sets_are_no_larger_than_needed():
    sets = (make(3000, 1), make(6000, 2))
    chosen = choose_sets(sets[0].probabilities, sets[0].y, sets[0].lesions, HAM7)
    table = set_coverage(sets[1], chosen).set_index(["attribute", "group"])
    for code in HAM7.codes:
        line = table.loc[("class", code)]
        assert line["value"] == pytest.approx(0.9, abs=0.05) and line["low"] < line["value"] < line["high"]
    held = sets[1].probabilities >= chosen
    whole = table.loc[("all", "")]
    assert whole["size"] == held.sum(axis=1).mean() < 4
    assert whole["value"] == held[np.arange(len(held)), sets[1].y].mean()
    assert whole["empty"] == (~held.any(axis=1)).mean()


def test_a_lesion_with_many_images_weighs_as_much_as_any_other():
    p = np.full((59, K), 0.1)
    p[:9, 0], p[9:, 0] = np.arange(0.5, 0.95, 0.05), 0.01  # nine good lesions, and a bad one with 50 images
    lesions = np.array([*range(9), *[9] * 50])
    found = choose_sets(p, np.zeros(59, int), lesions, HAM7, 0.8)[HAM7.index("akiec")]
    assert found == pytest.approx(0.5)


def test_a_class_too_rare_for_the_level_has_no_threshold_and_is_always_listed():
    some = make(900, 3)
    df = np.flatnonzero(some.y == HAM7.index("df"))
    lesions = np.unique(some.lesions[df])
    eight = np.isin(some.lesions, lesions[8:])
    rare = some.take(~eight)
    chosen = choose_sets(rare.probabilities, rare.y, rare.lesions, HAM7)
    assert np.flatnonzero(chosen == 0).tolist() == [HAM7.index("df")]
    assert choose_sets(some.probabilities, some.y, some.lesions, HAM7).all()
    line = set_coverage(some, chosen).set_index(["attribute", "group"]).loc[("class", "df")]
    assert line["value"] == 1 and "too few lesions" in line["note"]


def test_sources_and_confirmations_have_their_own_coverage():
    some = make(500, 4)
    source = np.where(np.arange(len(some)) % 3 == 0, "here", "there")
    known = replace(some, source=source, dx_type=np.where(source == "here", "histo", "unknown"))
    chosen = choose_sets(some.probabilities, some.y, some.lesions, HAM7)
    table = set_coverage(known, chosen).set_index(["attribute", "group"])
    right = (some.probabilities >= chosen)[np.arange(len(some)), some.y]
    for key, rows in ((("source", "here"), source == "here"), (("histology", "yes"), source == "here")):
        assert table.loc[key, "value"] == right[rows].mean() and table.loc[key, "n"] == rows.sum()
    assert ("histology", "no") not in table.index


def test_a_decision_has_the_sets_of_its_validation_lesions_and_lists_them():
    some = make(900, 5)
    prior = np.bincount(some.y, minlength=K) / len(some)
    logits, how = np.log(some.probabilities), {"training_prior": prior, "prior": prior}
    chosen = decision_fit.choose(logits, some.y, HAM7, lesions=some.lesions, **how)
    p = chosen.probabilities(logits)
    expected = choose_sets(p, some.y, some.lesions, HAM7)
    assert chosen.set_level == 0.9 and chosen.set_thresholds.tolist() == expected.tolist()
    held = p >= expected
    listed = chosen.decide(p).prediction_set
    assert [set(one) for one in listed] == [{code for code, has in zip(HAM7.codes, row, strict=True) if has}
                                            for row in held]  # fmt: skip
    without = decision_fit.choose(logits, some.y, HAM7, **how)
    assert without.set_thresholds is None and without.decide(p).prediction_set[0] is None
