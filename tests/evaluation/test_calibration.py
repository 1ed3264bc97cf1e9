import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, brier_score_loss, log_loss, recall_score

from skinlesion.core.errors import DataError
from skinlesion.core.taxonomy import HAM7
from skinlesion.decision import calibrated, decision_scores, softmax
from skinlesion.evaluation import calibration, decision_fit, operating
from skinlesion.evaluation.calibration import AFTER, BEFORE, temperature_scaling
from skinlesion.evaluation.intervals import resample
from skinlesion.evaluation.metrics import replicate_values
from skinlesion.evaluation.predictions import Predictions


def draw(n=4000, seed=0, spread=2.0):
    """Logits and labels that follow their softmax exactly, so that temperature 1 is right."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(n, 7)) * spread
    p = softmax(logits)
    return logits, (p.cumsum(axis=1) < random.random((n, 1))).sum(axis=1).clip(0, 6)


def split_error(confidence, correct):
    """The calibration error by sorting and splitting, for a number of images that 15 divides."""
    parts = np.array_split(np.argsort(confidence), 15)
    return sum(len(part) / len(correct) * abs(confidence[part].mean() - correct[part].mean()) for part in parts)


def top_label_error(p, y):
    return split_error(p.max(axis=1), p.argmax(axis=1) == y)


def torch_temperature(logits, y, shift):
    log_temperature = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([log_temperature], lr=0.5, max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-15)
    logits, shift = torch.tensor(logits), torch.tensor(shift)

    def closure():
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(logits / log_temperature.exp() + shift, torch.tensor(y))
        loss.backward()
        return loss

    optimiser.step(closure)
    return log_temperature.exp().item()


@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0])
@pytest.mark.parametrize("shifted", [False, True])
def test_temperature_agrees_with_lbfgs(factor, shifted):
    logits, y = draw(1500)
    shift = np.log(np.array([3, 5, 11, 1, 11, 67, 2]) / 100) * shifted
    found = calibration.fit_temperature(logits * factor, y, shift)
    assert found == pytest.approx(torch_temperature(logits * factor, y, shift), rel=1e-4)


def test_temperature_undoes_overconfidence_and_lowers_the_calibration_error():
    logits, y = draw(6000)
    assert calibration.fit_temperature(logits * 2.5, y) == pytest.approx(2.5, rel=0.06)
    before = calibrated(logits * 2.5, 1.0)
    after = calibrated(logits * 2.5, calibration.fit_temperature(logits * 2.5, y))
    assert top_label_error(before, y) > 0.15
    assert top_label_error(after, y) < 0.03


def test_separable_logits_stop_at_the_bound_and_bad_ones_are_refused():
    y = np.arange(7)
    assert calibration.fit_temperature(np.eye(7), y) == pytest.approx(0.05, rel=1e-3)
    with pytest.raises(DataError, match="finite"):
        calibration.fit_temperature(np.full((7, 7), np.nan), y)
    with pytest.raises(DataError, match="at least one"):
        calibration.fit_temperature(np.empty((0, 7)), y[:0])


def test_bins_have_equal_mass_and_ties_share_one():
    confidence = np.random.default_rng(0).random(1500)
    assert (np.bincount(calibration.equal_mass_bins(confidence)) == 100).all()
    tied = np.repeat([0.2, 0.5, 0.9], [500, 900, 100])
    bins = calibration.equal_mass_bins(tied)
    assert all(len(set(bins[tied == value])) == 1 for value in (0.2, 0.5, 0.9))
    assert len(set(bins)) == 3


def test_reliability_table_and_error_by_hand():
    confidence = np.array([0.5, 0.6, 0.8, 1.0])
    correct = np.array([True, False, True, True])
    table = calibration.reliability(confidence, correct, bins=2)
    np.testing.assert_allclose(table["confidence"], [0.55, 0.9])
    np.testing.assert_allclose(table["accuracy"], [0.5, 1.0])
    assert list(table["count"]) == [2, 2]
    error = np.abs(calibration.gaps(confidence, correct, bins=2).sum(axis=0)).sum() / 4
    assert error == pytest.approx(0.5 * 0.05 + 0.5 * 0.1)


def test_errors_equal_a_sort_and_split_and_the_metrics_use_the_same():
    logits, y = draw(1500)
    p = calibrated(logits, 0.5)
    classwise = np.mean([split_error(p[:, c], y == c) for c in range(7)])
    ids = np.arange(1500).astype(str).astype(object)
    predictions = Predictions(ids, ids, np.full(1500, ""), np.full(1500, -1), HAM7, y, p, p)
    values = replicate_values(predictions, resample(ids, 0))
    assert values["ece"][0] == pytest.approx(top_label_error(p, y), abs=1e-12)
    assert values["classwise_ece"][0] == pytest.approx(classwise, abs=1e-12)


def test_the_error_by_chance_is_that_of_calibrated_models():
    """Against labels that really are drawn from the probabilities, and a model that is overconfident."""
    logits, y = draw(1500)
    p = calibrated(logits, 1.0)
    random, limits = np.random.default_rng(5), p.cumsum(axis=1)[:, :-1]
    labels = (random.random((200, 1500, 1)) > limits).sum(axis=2)
    drawn = [top_label_error(p, own) for own in labels]
    found = calibration.by_chance([calibration.top_label(p, y)], resample(np.arange(1500), 400))
    assert found["value"] == pytest.approx(top_label_error(p, y), abs=1e-12)
    assert found["by_chance"] == pytest.approx(np.mean(drawn), rel=0.03)
    assert found["by_chance_high"] == pytest.approx(np.quantile(drawn, 0.95), rel=0.06)
    over = calibration.by_chance([calibration.top_label(calibrated(logits, 0.5), y)], resample(np.arange(1500), 400))
    assert over["p"] == pytest.approx(1 / 401) and over["value"] > over["by_chance_high"]


def test_a_calibrated_model_is_rarely_called_miscalibrated():
    """5% of tests at 5%; images of a lesion that agree make more than that unless lesions are drawn."""
    random, alarms = np.random.default_rng(3), {"lesions": 0, "images": 0}
    confidence = np.repeat(random.uniform(0.3, 1, 100), 4)
    units = {"lesions": resample(np.repeat(np.arange(100), 4), 99), "images": resample(np.arange(400), 99)}
    for trial in range(120):
        correct = np.repeat(random.random(100), 4) < confidence
        for unit, resamples in units.items():
            alarms[unit] += calibration.by_chance([(confidence, correct)], resamples, trial)["p"] <= 0.05
    assert alarms["lesions"] <= 14 < alarms["images"]


def test_brier_and_log_loss_agree_with_sklearn():
    logits, y = draw(300)
    p = softmax(logits)
    (brier,), (logs,) = (
        calibration.calibration_values(p, y, resample(np.arange(300), 0))[m] for m in ("brier", "log_loss")
    )
    assert brier == pytest.approx(brier_score_loss(y, p, labels=range(7)), abs=1e-12)
    assert logs == pytest.approx(log_loss(y, p, labels=range(7)), abs=1e-12)
    wrong = calibration.calibration_values(np.eye(7), np.roll(np.arange(7), 1), resample(np.arange(7), 0))
    assert np.isfinite(wrong["log_loss"]).all()


# --- thresholds -------------------------------------------------------------------------------------------------------


def imbalanced(n=3000, seed=0):
    random = np.random.default_rng(seed)
    prior = np.array([0.03, 0.05, 0.11, 0.02, 0.11, 0.66, 0.02])
    y = random.choice(7, n, p=prior)
    return softmax(random.normal(size=(n, 7)) + 2 * np.eye(7)[y] + np.log(prior)), y, prior


def test_decision_weights_raise_balanced_accuracy_and_are_near_the_best_on_the_grid():
    p, y, prior = imbalanced()
    weights, tau = decision_fit.choose_decision_weights(p, y, prior)

    def balanced(tau):
        return balanced_accuracy_score(y, (p / prior**tau).argmax(axis=1))

    chosen = balanced_accuracy_score(y, decision_scores(p, weights).argmax(axis=1))
    assert chosen == pytest.approx(balanced(tau), abs=1e-12)
    assert chosen > balanced(0) + 0.1
    assert chosen > max(balanced(t) for t in decision_fit.TAUS) - 0.02
    assert weights.mean() == pytest.approx(1) and weights.argmin() == prior.argmax()


def test_no_correction_where_none_helps_and_none_without_a_prior():
    y = np.arange(7)
    weights, tau = decision_fit.choose_decision_weights(np.eye(7), y, np.arange(1, 8) / 28)
    assert tau == 0 and (weights == 1).all()
    with pytest.raises(DataError, match="prior above zero"):
        decision_fit.choose_decision_weights(np.eye(7), y, np.array([0, 1, 1, 1, 1, 1, 1]))
    with pytest.raises(DataError, match="empty"):
        decision_fit.choose_decision_weights(np.eye(7)[:0], y[:0], np.ones(7))


@pytest.mark.parametrize("wanted", [0.5, 0.8, 0.9, 1.0])
@pytest.mark.parametrize("steps", [None, 20])
def test_threshold_is_the_highest_that_reaches_the_sensitivity(wanted, steps):
    random = np.random.default_rng(1)
    truth = random.random(400) < 0.3
    p = np.clip(random.normal(0.3 + 0.3 * truth, 0.15), 0, 1)
    p = np.round(p * steps) / steps if steps else p
    threshold = decision_fit.choose_threshold(p, truth, wanted)
    assert recall_score(truth, p >= threshold) >= wanted
    above = [t for t in np.unique(p) if t > threshold]
    assert all((p[truth] >= t).mean() < wanted for t in above)


def test_threshold_needs_malignant_images():
    with pytest.raises(DataError, match="malignant"):
        decision_fit.choose_threshold(np.array([0.1]), np.array([False]))


def test_operating_point_by_hand_with_intervals():
    p = np.array([0.9, 0.8, 0.2, 0.7, 0.1, 0.1, 0.3, 0.2])
    truth = np.array([1, 1, 1, 0, 0, 0, 0, 0], bool)
    point = operating.operating_point(p >= 0.7, truth, 0.7, np.arange(8))
    assert (point.sensitivity["value"], point.sensitivity["n"]) == (pytest.approx(2 / 3), 3)
    assert (point.specificity["value"], point.specificity["n"]) == (0.8, 5)
    assert (point.ppv["value"], point.ppv["n"]) == (pytest.approx(2 / 3), 3)
    assert (point.npv["value"], point.npv["n"]) == (0.8, 5)
    assert 0 <= point.specificity["low"] < 0.8 < point.specificity["high"] <= 1
    nothing = operating.operating_point(p >= 2, truth, 2.0, np.arange(8))
    assert nothing.ppv == {"value": None, "low": None, "high": None, "n": 0}


def point(sensitivity, specificity):
    metrics = {name: {"value": value, "low": None, "high": None, "n": 9} for name, value in
               (("sensitivity", sensitivity), ("specificity", specificity), ("ppv", 0.5), ("npv", 0.5))}  # fmt: skip
    return operating.OperatingPoint(0.4, **metrics)


def test_plain_words_add_up():
    words = operating.in_plain_words(point(0.9, 0.75), prevalence=0.2)
    assert words == (
        "Of 1,000 lesions like these, 200 would be malignant: 180 of them would be referred and 20 missed. Of the 800 "
        "benign ones, 200 would be referred without need and 600 rightly not. So 180 of 380 referred lesions would be "
        "malignant."
    )
    uncertain = point(0.9, 0.75)
    uncertain.sensitivity.update(low=0.85, high=0.95)
    uncertain.specificity.update(low=0.7, high=0.8)
    words = operating.in_plain_words(uncertain, prevalence=0.2)
    assert "180 (170 to 190) of them would be referred and 20 (10 to 30) missed" in words
    assert "200 (160 to 240) would be referred without need and 600 (560 to 640) rightly not" in words
    assert "No lesion would be referred" in operating.in_plain_words(point(0.0, 1.0), prevalence=0.2)


def test_plain_words_need_malignant_and_benign_images():
    assert point(0.9, 0.9).measured and not point(0.9, None).measured and not point(None, 0.9).measured


def drawn(n, seed, sharpness):
    """Logits ``sharpness`` times those that the labels were drawn by."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(n, 7)) * 1.5
    p = softmax(logits)
    y = np.array([random.choice(7, p=row) for row in p])
    return sharpness * logits, y


def test_scaling_undoes_overconfidence_and_its_figures_are_sklearns():
    validation, test = drawn(3000, 0, 2.5), drawn(1200, 1, 2.5)
    lesions = np.arange(1200) // 2
    found = temperature_scaling(*validation, *test, lesions, replicates=60)
    assert found.temperature == pytest.approx(2.5, rel=0.1)
    assert found.temperature == calibration.fit_temperature(*validation)
    np.testing.assert_allclose(found.probabilities[BEFORE], softmax(test[0]), atol=1e-12)
    for name, p in found.probabilities.items():
        metrics = found.metrics[name]
        assert metrics["brier"]["value"] == pytest.approx(brier_score_loss(test[1], p, labels=range(7)), abs=1e-9)
        assert metrics["log_loss"]["value"] == pytest.approx(log_loss(test[1], p, labels=range(7)), abs=1e-9)
        assert metrics["ece"]["value"] == pytest.approx(top_label_error(p, test[1]), abs=1e-12)
        assert all(metrics[m]["low"] <= metrics[m]["value"] <= metrics[m]["high"] for m in ("brier", "log_loss"))
    assert found.metrics[BEFORE]["ece"]["p"] < 0.05 < found.metrics[AFTER]["ece"]["p"]
    assert all(found.change[name]["high"] < 0 for name in ("ece", "classwise_ece", "brier", "log_loss"))
    assert list(found.table().columns) == [BEFORE, AFTER, "Change"]


def test_change_is_paired_and_evaluated_images_do_not_move_the_temperature():
    validation, test = (
        drawn(800, 0, 1.7),
        drawn(300, 1, 0.6),
    )  # of a shift that makes it underconfident
    lesions = np.arange(300)
    found = temperature_scaling(*validation, *test, lesions, replicates=25, seed=4)
    assert found.temperature == temperature_scaling(*validation, *drawn(300, 2, 3.0), lesions, replicates=0).temperature
    resamples = resample(lesions, 25, seed=4)
    truth = np.eye(7)[test[1]]
    terms = {name: ((p - truth) ** 2).sum(axis=1) for name, p in found.probabilities.items()}
    loop = [np.repeat(terms[AFTER] - terms[BEFORE], counts[resamples.lesion]).mean() for counts in resamples.counts]
    assert found.change["brier"]["value"] == pytest.approx(loop[0], abs=1e-12)
    low, high = np.percentile(loop[1:], [2.5, 97.5])
    assert (found.change["brier"]["low"], found.change["brier"]["high"]) == pytest.approx((low, high), abs=1e-12)
    assert found.change["brier"]["low"] > 0  # what helped at home harms there


def test_the_shift_is_in_both():
    (validation, validation_y), (logits, y) = drawn(400, 0, 2.0), drawn(100, 1, 2.0)
    shift = np.linspace(-1, 1, 7)
    found = temperature_scaling(validation, validation_y, logits, y, np.arange(100), shift=shift, replicates=0)
    np.testing.assert_allclose(found.probabilities[BEFORE], softmax(logits + shift), atol=1e-12)
    expected = softmax(logits / found.temperature + shift)
    np.testing.assert_allclose(found.probabilities[AFTER], expected, atol=1e-12)
