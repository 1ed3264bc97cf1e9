"""The decision by hand, and against what the shipped model predicted before this module was written."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax

import decision_vectors
from skinlesion.core.taxonomy import HAM7
from skinlesion.data.demo.dataset import draw_example
from skinlesion.decision import Decision, calibrated
from skinlesion.serving.manifest import Manifest
from skinlesion.serving.predictor import Predictor, mean_prediction

#: Logits, domain scores and predictions of 11 drawn images, by version 2026.11.27-6c3f7608 of the shipped model.
STORED = json.loads((Path(__file__).parent / "shipped_predictions.json").read_text())
SEEDS = {"nv": 5, "mel": 8, "vasc": 4, "akiec": 7, "bcc": 1, "bkl": 2, "df": 3}


@pytest.fixture(scope="module")
def frames():
    drawn = {dx: draw_example(dx, seed) for dx, seed in SEEDS.items()}
    return drawn | {
        "mel-left-half": drawn["mel"][:, : drawn["mel"].shape[1] // 2],
        "akiec-dark": drawn["akiec"] // 3,
        "vasc-turned": np.ascontiguousarray(drawn["vasc"].swapaxes(0, 1)),
        "flat-grey": np.full((120, 160, 3), 128, np.uint8),
    }


def close(found, expected, **tolerance):
    """Everything equal, but numbers within a tolerance."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, dict):
            close(found[name], value, **tolerance)
        elif isinstance(value, float):
            assert found[name] == pytest.approx(value, **tolerance), name
        else:
            assert found[name] == value, name


def test_by_hand():
    weights = np.ones(7)
    weights[HAM7.index("df")] = 9
    decision = Decision(HAM7, 2.0, np.full(7, 1 / 7), np.zeros(7), weights, 0.5, 0.5)
    shares = np.array([2, 1, 0.5, 1, 1, 4, 0.5])  # of ten; malignant are the first two and the fifth
    p = decision.probabilities(2 * np.log(shares[None]))
    np.testing.assert_allclose(p, shares[None] / 10, atol=1e-15)
    outcomes = decision.decide(p)
    assert HAM7.codes[outcomes.label[0]] == "df" and HAM7.codes[p.argmax()] == "nv"
    np.testing.assert_allclose(outcomes.scores[0], shares * weights / 18, atol=1e-15)
    assert outcomes.malignant_probability == pytest.approx([0.4]) and outcomes.referral == ("watch",)
    np.testing.assert_array_equal(decision.scores(2 * np.log(shares[None])), outcomes.scores)


def test_the_threshold_is_reached_by_what_equals_it():
    def advice(threshold):
        p = np.array([[0.25, 0, 0.25, 0, 0.25, 0.25, 0]])
        return Decision(HAM7, 1, np.full(7, 1 / 7), np.zeros(7), np.ones(7), 0, threshold).decide(p).referral

    assert advice(0.5) == ("refer",) and advice(np.nextafter(0.5, 1)) == ("watch",)


def test_the_shift_is_added_after_the_division():
    logits, shift = np.random.default_rng(0).normal(0, 3, (40, 7)), np.linspace(-2, 1, 7)
    np.testing.assert_allclose(calibrated(logits, 2.0, shift), softmax(logits / 2 + shift, axis=1), rtol=1e-14)
    assert np.isfinite(calibrated(np.array([[1e4, -1e4]]), 0.05)).all()


def test_several_images_are_decided_by_their_mean_probabilities():
    decision = decision_vectors.decisions()[0]
    p = decision.probabilities(np.random.default_rng(1).normal(0, 3, (3, 7)))
    one = decision.decide_mean(p)
    mean = (p[0] + p[1] + p[2]) / 3
    np.testing.assert_allclose(one.probabilities, mean[None], rtol=1e-14)
    assert one.label == np.argmax(mean * decision.weights)
    np.testing.assert_array_equal(decision.decide_mean(p[:1]).scores, decision.decide(p[:1]).scores)


def test_stored_logits_still_give_the_stored_predictions():
    manifest = Manifest.read()
    logits = np.array([one["logits"] for one in STORED["images"].values()])
    outcomes = manifest.decision.decide(manifest.decision.probabilities(logits))
    for row, one in enumerate(STORED["images"].values()):
        expected = one["prediction"]
        found = {
            "label": manifest.labels.codes[outcomes.label[row]],
            "probabilities": dict(zip(manifest.labels.codes, outcomes.probabilities[row].tolist(), strict=True)),
            "scores": dict(zip(manifest.labels.codes, outcomes.scores[row].tolist(), strict=True)),
            "malignant_probability": float(outcomes.malignant_probability[row]),
            "referral": outcomes.referral[row],
        }
        # processors differ in the last digit of an exponential
        close(found, {name: expected[name] for name in found}, rel=1e-14, abs=0)


def test_the_shipped_model_still_predicts_what_it_did(frames):
    predictor = Predictor.load(threads=1)
    found = dict(zip(frames, predictor.predict(list(frames.values()), maps=False), strict=True))
    assert {one.referral for one in found.values()} == {"refer", "watch"}
    for name, one in STORED["images"].items():
        close(found[name].to_dict(), one["prediction"], rel=1e-3, abs=1e-4)  # processors round 32 bits differently
    mean = mean_prediction([found[name] for name in STORED["mean"]["of"]], predictor.manifest)
    close(mean.to_dict(), STORED["mean"]["prediction"], rel=1e-3, abs=1e-4)


def test_the_vectors_shared_with_javascript_are_this_module_s():
    stored = json.loads(decision_vectors.FILE.read_text())
    computed = json.loads(json.dumps(decision_vectors.vectors()))
    assert stored["models"] == computed["models"], "run python tests/helpers/decision_vectors.py"
    for old, new in zip(stored["cases"], computed["cases"], strict=True):
        for name in ("probabilities", "scores"):
            np.testing.assert_allclose(new["expected"].pop(name), old["expected"].pop(name), rtol=1e-14)
        close(new, old, rel=1e-14, abs=0)


def test_it_needs_numpy_alone():
    code = "import sys, skinlesion.decision; print({'torch', 'scipy', 'pandas', 'onnxruntime'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
