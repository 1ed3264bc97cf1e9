"""Thresholds against brute force, chosen on validation alone and evaluated on other images; decision curves by hand."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import recall_score, roc_curve

from skinlesion.core.errors import DataError
from skinlesion.core.taxonomy import HAM7
from skinlesion.decision import REFERRALS, Decision
from skinlesion.evaluation import decision_fit, operating
from skinlesion.evaluation.decision_curve import curve_in_words, decision_curve, move_prevalence
from skinlesion.evaluation.intervals import resample
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
    threshold = decision_fit.choose_threshold_by_specificity(p, truth, wanted)
    assert recall_score(~truth, p < threshold) >= wanted
    assert all((p[~truth] < t).mean() < wanted for t in np.unique(p) if t < threshold)
    with pytest.raises(DataError, match="negative"):
        decision_fit.choose_threshold_by_specificity(p, np.ones(400, bool))


def test_the_two_questions():
    predictions = make()
    score, malignant = operating.binary_task(predictions, "malignant")
    np.testing.assert_allclose(score, predictions.probabilities[:, [0, 1, 4]].sum(axis=1))
    assert (malignant == np.isin(predictions.y, [0, 1, 4])).all()
    score, melanoma = operating.binary_task(predictions, "melanoma")
    assert (score == predictions.probabilities[:, 4]).all() and (melanoma == (predictions.y == 4)).all()


def test_thresholds_keep_their_aim_on_validation_and_are_evaluated_on_test_by_hand():
    validation, test = make(seed=0), make(seed=1, split="test")
    points = operating.operating_points(validation, test)
    assert set(points) == {"malignant", "melanoma"}
    for question, by_aim in points.items():
        assert list(by_aim) == [f"{m} {f:.2f}" for m in ("specificity", "sensitivity") for f in (0.8, 0.9, 0.95)]
        for aim, point in by_aim.items():
            measure, fraction = aim.split()
            score, positive = operating.binary_task(validation, question)
            own = operating.operating_point(score >= point.threshold, positive, point.threshold, validation.lesions)
            assert float(fraction) <= getattr(own, measure)["value"] < float(fraction) + 0.02
            score, positive = operating.binary_task(test, question)
            assert point.sensitivity["value"] == pytest.approx((score[positive] >= point.threshold).mean())
            assert point.specificity["value"] == pytest.approx((score[~positive] < point.threshold).mean())
            assert point.sensitivity["low"] < point.sensitivity["value"] < point.sensitivity["high"]


def test_test_labels_do_not_move_a_threshold_and_a_question_without_answer_is_left_out():
    validation, test = make(seed=0), make(seed=1, split="test")
    scrambled = replace(test, y=np.random.default_rng(2).permutation(test.y))
    one, other = (operating.operating_points(validation, t) for t in (test, scrambled))
    for question in one:
        assert [p.threshold for p in one[question].values()] == [p.threshold for p in other[question].values()]
    without = validation.take(validation.y != HAM7.index("mel"))
    assert set(operating.operating_points(without, test)) == {"malignant"}


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


def test_where_all_replicates_are_alike_only_shares_of_none_and_all_get_wilsons_interval():
    score, positive, one_lesion = np.array([0.9, 0.1, 0.5]), np.array([True, True, False]), np.zeros(3)
    found = operating.points_on_the_curve(score, positive, one_lesion, replicates=20)
    assert found["specificity 0.90"] == {"value": 0.5, "low": 0.5, "high": 0.5, "n": 2}
    assert found["sensitivity 0.90"]["value"] == 0 and found["sensitivity 0.90"]["high"] > 0.5


def referred(score, labelled, threshold):
    return (score >= threshold) | labelled


def arrays(n=600, seed=3):
    """Malignant probability, truth and whether the label is malignant, which finds half of the malignant images."""
    random = np.random.default_rng(seed)
    truth = random.random(n) < 0.3
    score = np.clip(random.normal(0.15 + 0.25 * truth, 0.12), 0, 1)
    return score, truth, (truth & (random.random(n) < 0.5)) | (random.random(n) < 0.02)


@pytest.mark.parametrize("wanted", [0.7, 0.9, 1.0])
def test_the_referral_threshold_is_the_highest_that_reaches_the_sensitivity_with_the_label(wanted):
    score, truth, labelled = arrays()
    threshold = decision_fit.choose_referral(score, truth, labelled, wanted)
    assert recall_score(truth, referred(score, labelled, threshold)) >= wanted
    higher = [t for t in np.unique(score) if threshold < t <= decision_fit.HIGHEST]
    assert all(referred(score, labelled, t)[truth].mean() < wanted for t in higher)
    assert threshold >= decision_fit.choose_threshold(score, truth, wanted), "the label finds some of them"


def test_where_the_label_alone_is_enough_what_is_likelier_malignant_is_still_referred():
    score, truth, _ = arrays()
    assert decision_fit.choose_referral(score, truth, truth, 0.9) == decision_fit.HIGHEST == 0.5


def test_every_source_with_enough_malignant_images_reaches_the_sensitivity():
    score, truth, labelled = arrays(1200)
    sources = np.repeat(["easy", "hard", "tiny"], [600, 580, 20])
    score = np.where(sources == "easy", score, score * 0.6)
    score[sources == "tiny"] = 0
    threshold = decision_fit.choose_referral(score, truth, labelled, 0.9, sources)
    found = referred(score, labelled, threshold)
    assert all(found[truth & (sources == name)].mean() >= 0.9 for name in ("easy", "hard"))
    assert threshold > 0, "a few images of a source choose nothing"
    assert found[truth].mean() >= 0.9


def test_at_most_one_in_forty_malignant_images_lies_below_the_grey_zone():
    score, truth, labelled = arrays()
    threshold = decision_fit.choose_referral(score, truth, labelled, 0.9)
    borderline = decision_fit.choose_borderline(score, truth, labelled, threshold)

    def below(edge):
        return (truth & ~labelled & (score < edge)).sum()

    assert below(borderline) <= 0.025 * truth.sum() and borderline < threshold
    assert all(below(t) > 0.025 * truth.sum() for t in np.unique(score) if borderline < t <= threshold)
    assert decision_fit.choose_borderline(score, truth, truth, 0.3) == 0.3, "none is missed, so there is no grey zone"


def test_the_melanoma_notice_misses_one_in_ten_of_the_overlooked_and_stands_beside_no_all_clear():
    random = np.random.default_rng(0)
    p, y = random.dirichlet(np.ones(7), 2000), random.integers(0, 7, 2000)
    level = decision_fit.choose_melanoma_level(p, y, 4, 0.0)
    overlooked = (y == 4) & (p.argmax(axis=1) != 4)
    assert (p[overlooked, 4] >= level).mean() == pytest.approx(0.9, abs=0.005)
    assert decision_fit.choose_melanoma_level(p, y, 4, 0.3) == 0.3
    assert decision_fit.choose_melanoma_level(p, np.zeros(2000, int), 4, 0.3) is None


def test_evidence_counts_every_image_once_by_source():
    test = make(split="test")
    sources = np.where(np.arange(len(test)) % 3, "a", "b")
    ones = np.ones(7)
    decision = Decision(HAM7, 1, ones / 7, 0 * ones, ones, 0, 0.4, 0.2)
    inside = np.random.default_rng(0).random(len(test)) < 0.9
    rows = operating.evidence(test, decision, sources, "test", inside)
    outcomes = decision.decide(test.probabilities, not_dermatoscopic=~inside)
    for row in rows:
        for kind, truth in (("malignant", test.is_malignant), ("benign", ~test.is_malignant)):
            mine = truth & (sources == row["source"])
            counts = {advice: sum(np.array(outcomes.referral)[mine] == advice) for advice in REFERRALS}
            assert {advice: row[f"{kind}_{advice}"] for advice in REFERRALS} == counts
            assert row[kind] == sum(counts.values()) == mine.sum()
            alone = mine & inside & test.malignant_label & (test.malignant_probability < 0.4)
            assert row[f"{kind}_by_label"] == alone.sum()
    facts = decision.to_dict(**operating.measure_advice(test, decision, sources, "test", inside))
    assert facts["evidence"] == rows
    found = np.array(outcomes.referral) == "refer"
    assert facts["referral"]["sensitivity"]["value"] == pytest.approx(found[test.is_malignant].mean())
    assert facts["referral"]["specificity"]["value"] == pytest.approx(1 - found[~test.is_malignant].mean())
    shown = inside & test.malignant_label & (test.malignant_probability < 0.4)
    assert facts["referral"]["by_label"]["value"] == pytest.approx(shown.mean())
    assert (facts["referral"]["threshold"], facts["referral"]["borderline"]) == (0.4, 0.2)


# --- decision curves --------------------------------------------------------------------------------------------------


def draw(n=600, seed=0):
    random = np.random.default_rng(seed)
    p = random.beta(0.8, 2.5, n)
    return p, random.random(n) < p, random.integers(0, n // 2, n).astype(str)


def net_benefit(p, truth, threshold):
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
            everybody = net_benefit(np.ones(len(rows)), truth[rows], t)
            model.append(net_benefit(p[rows], truth[rows], t))
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
    expected = net_benefit(moved[rows], truth[rows], 0.05)
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
