import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss

from skinlesion.decision import softmax
from skinlesion.evaluation import calibration
from skinlesion.evaluation.bootstrap import resample
from skinlesion.evaluation.scaling import AFTER, BEFORE, temperature_scaling


def draw(n, seed, sharpness):
    """Logits ``sharpness`` times those that the labels were drawn by."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(n, 7)) * 1.5
    p = softmax(logits)
    y = np.array([random.choice(7, p=row) for row in p])
    return sharpness * logits, y


def test_scaling_undoes_overconfidence_and_its_figures_are_sklearns():
    validation, test = draw(3000, 0, 2.5), draw(1200, 1, 2.5)
    lesions = np.arange(1200) // 2
    found = temperature_scaling(*validation, *test, lesions, replicates=60)
    assert found.temperature == pytest.approx(2.5, rel=0.1)
    assert found.temperature == calibration.fit_temperature(*validation)
    np.testing.assert_allclose(found.probabilities[BEFORE], softmax(test[0]), atol=1e-12)
    for name, p in found.probabilities.items():
        metrics = found.metrics[name]
        assert metrics["brier"]["value"] == pytest.approx(brier_score_loss(test[1], p, labels=range(7)), abs=1e-9)
        assert metrics["log_loss"]["value"] == pytest.approx(log_loss(test[1], p, labels=range(7)), abs=1e-9)
        assert metrics["ece"]["value"] == pytest.approx(calibration.expected_calibration_error(p, test[1]), abs=1e-12)
        assert all(metrics[m]["low"] <= metrics[m]["value"] <= metrics[m]["high"] for m in ("brier", "log_loss"))
    assert found.metrics[BEFORE]["ece"]["p"] < 0.05 < found.metrics[AFTER]["ece"]["p"]
    assert all(found.change[name]["high"] < 0 for name in ("ece", "classwise_ece", "brier", "log_loss"))
    assert list(found.table().columns) == [BEFORE, AFTER, "Change"]


def test_change_is_paired_and_evaluated_images_do_not_move_the_temperature():
    validation, test = (
        draw(800, 0, 1.7),
        draw(300, 1, 0.6),
    )  # of a shift that makes it underconfident
    lesions = np.arange(300)
    found = temperature_scaling(*validation, *test, lesions, replicates=25, seed=4)
    assert found.temperature == temperature_scaling(*validation, *draw(300, 2, 3.0), lesions, replicates=0).temperature
    resamples = resample(lesions, 25, seed=4)
    terms = {name: calibration.brier_terms(p, test[1]) for name, p in found.probabilities.items()}
    loop = [np.repeat(terms[AFTER] - terms[BEFORE], counts[resamples.lesion]).mean() for counts in resamples.counts]
    assert found.change["brier"]["value"] == pytest.approx(loop[0], abs=1e-12)
    low, high = np.percentile(loop[1:], [2.5, 97.5])
    assert (found.change["brier"]["low"], found.change["brier"]["high"]) == pytest.approx((low, high), abs=1e-12)
    assert found.change["brier"]["low"] > 0  # what helped at home harms there


def test_the_shift_is_in_both():
    (validation, validation_y), (logits, y) = draw(400, 0, 2.0), draw(100, 1, 2.0)
    shift = np.linspace(-1, 1, 7)
    found = temperature_scaling(validation, validation_y, logits, y, np.arange(100), shift=shift, replicates=0)
    np.testing.assert_allclose(found.probabilities[BEFORE], softmax(logits + shift), atol=1e-12)
    expected = softmax(logits / found.temperature + shift)
    np.testing.assert_allclose(found.probabilities[AFTER], expected, atol=1e-12)
