"""The decision by hand, over the full table of cases, and on all stored outputs."""

import json
import subprocess
import sys

import numpy as np
import pytest
from scipy.special import softmax

import decision_vectors
from experiments import storage
from experiments.recipes import OUTPUTS
from skinlesion.core.taxonomy import HAM7, ISIC8
from skinlesion.decision import Decision, as_seven, calibrated


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
    decision = Decision(HAM7, 2.0, np.full(7, 1 / 7), np.zeros(7), weights, 0.5, 0.5, 0.4)
    shares = np.array([2, 1, 0.5, 1, 1, 4, 0.5])  # of ten; malignant are the first two and the fifth
    p = decision.probabilities(2 * np.log(shares[None]))
    np.testing.assert_allclose(p, shares[None] / 10, atol=1e-15)
    outcomes = decision.decide(p)
    assert HAM7.codes[outcomes.label[0]] == "df" and HAM7.codes[p.argmax()] == "nv"
    np.testing.assert_allclose(outcomes.scores[0], shares * weights / 18, atol=1e-15)
    assert outcomes.malignant_probability == pytest.approx([0.4])
    assert (outcomes.referral, outcomes.notices) == (("borderline",), ((),))
    assert decision.malignant_probability(np.array([[0.5, 0.3, 0, 0, 0.2 + 1e-9, 0, 0]])) == [1.0]
    np.testing.assert_array_equal(decision.scores(2 * np.log(shares[None])), outcomes.scores)


def test_thresholds_are_reached_by_what_equals_them():
    def advice(threshold, borderline):
        p = np.array([[0.25, 0, 0.26, 0, 0.25, 0.24, 0]])
        return (
            Decision(HAM7, 1, np.full(7, 1 / 7), np.zeros(7), np.ones(7), 0, threshold, borderline).decide(p).referral
        )

    above = np.nextafter(0.5, 1)
    assert [advice(*zone) for zone in ((0.5, 0.2), (above, 0.5), (above, above))] == [
        ("refer",), ("borderline",), ("below",),
    ]  # fmt: skip


def case(malignant, melanoma, leads):
    """Probabilities of the seven codes with this malignant share, of which ``melanoma``, and the class that leads."""
    p = dict.fromkeys(HAM7.codes, 0.0) | {"mel": melanoma, "bcc": malignant - melanoma}
    rest = 1 - malignant
    return np.array(
        [
            list(
                (
                    p | {"nv": rest * (0.9 if leads == "nv" else 0.1), "bkl": rest * (0.1 if leads == "nv" else 0.9)}
                ).values()
            )
        ]
    )


@pytest.mark.parametrize("strong", [False, True])
@pytest.mark.parametrize("camera", [False, True])
@pytest.mark.parametrize("malignant", [0.02, 0.05, 0.1, 0.2, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("label", ["bcc", "mel", "nv", "bkl"])
def test_the_whole_table_of_cases(label, malignant, camera, strong):
    """Every zone x label x domain against the rules as they are written down, one by one."""
    for melanoma in (0.0, malignant / 2, malignant):
        p = case(malignant, melanoma, "nv")
        weights = np.ones(7)
        weights[HAM7.index(label)] = 1e6 if p[0, HAM7.index(label)] else 1  # makes it the label, whatever leads
        decision = Decision(HAM7, 1, np.full(7, 1 / 7), np.zeros(7), weights, 0, 0.2, 0.05, 0.06)
        found = decision.decide(p, not_dermatoscopic=strong, other_camera=camera)
        grave = HAM7[HAM7.codes[found.label[0]]].malignant
        (advice,), (notices,) = found.referral, found.notices
        if strong:
            assert (advice, notices) == ("none", ("not_dermatoscopic",))
            continue
        assert (advice == "refer") == (grave or found.malignant_probability[0] >= 0.2)
        assert (advice == "below") == (not grave and found.malignant_probability[0] < 0.05)
        assert ("other_camera" in notices, "not_dermatoscopic" in notices) == (camera, False)
        leads = HAM7.codes[p[0].argmax()]
        assert ("melanoma_not_excluded" in notices) == (leads != "mel" and p[0, HAM7.index("mel")] >= 0.06)


def coherent(outcomes, labels):
    """What must hold of everything that is shown, whatever the model."""
    malignant = np.array([one.malignant for one in labels])
    advice = np.array(outcomes.referral)
    harmless_advice = np.isin(advice, ("below", "borderline"))
    assert not (malignant[outcomes.label] & harmless_advice).any(), "a malignant class beside less than an assessment"
    leading = malignant[outcomes.probabilities.argmax(axis=1)] & (outcomes.probabilities.max(axis=1) > 0.5)
    assert not (leading & harmless_advice).any(), "most likely malignant, and not referred"
    for one, notices in zip(advice, outcomes.notices, strict=True):
        assert one != "below" or "melanoma_not_excluded" not in notices
        assert (one == "none") == ("not_dermatoscopic" in notices)
    order = np.argsort(outcomes.malignant_probability)
    rank = np.select([advice == "below", advice == "borderline"], [0, 1], 2)[order]
    benign = ~malignant[outcomes.label][order] & (advice != "none")[order]
    assert (np.diff(rank[benign]) >= 0).all(), "of benign labels, more probability never lowers the advice"


STORED = OUTPUTS / "recipes.parquet"


@pytest.mark.parametrize("recipe", storage.read_facts(STORED))
def test_no_stored_output_makes_an_incoherent_answer(recipe):
    outputs = storage.read(STORED, recipe)
    decision = outputs.decision(0.9)
    p = decision.probabilities(outputs.logits)
    foreign = np.random.default_rng(0).random(len(p)) < 0.1
    coherent(decision.decide(p, not_dermatoscopic=foreign), outputs.labels)
    advice, truth = (
        np.array(decision.decide(p).referral),
        np.array([one.malignant for one in outputs.labels])[outputs.y],
    )
    assert (advice == "refer")[truth].mean() >= 0.9, "label included"
    assert (advice == "below")[truth].mean() <= 0.025


def test_eight_labels_as_seven_sum():
    values = np.random.default_rng(0).dirichlet(np.ones(8), 5)
    seven = as_seven(values, ISIC8)
    ak, scc = ISIC8.index("ak"), ISIC8.index("scc")
    np.testing.assert_allclose(seven[:, HAM7.index("akiec")], values[:, ak] + values[:, scc])
    for code in ("bcc", "bkl", "df", "mel", "nv", "vasc"):
        np.testing.assert_array_equal(seven[:, HAM7.index(code)], values[:, ISIC8.index(code)])
    np.testing.assert_array_equal(as_seven(seven, HAM7), seven)


def test_a_prediction_set_holds_what_reaches_its_threshold_and_classes_without_one():
    thresholds = np.array([0.5, 0.2, 0, 0.1, 0.1, 0.1, 0.1])
    ones = np.ones(7)
    decision = Decision(HAM7, 1, ones / 7, 0 * ones, ones, 0, 0.5, 0.4, None, 0.9, thresholds)
    (found,) = decision.decide(np.array([[0.4, 0.2, 0, 0.1, 0.3, 0, 0]])).prediction_set
    assert found == ("bcc", "bkl", "df", "mel")
    assert Decision(HAM7, 1, ones / 7, 0 * ones, ones, 0, 0.5, 0.4).decide(ones[None] / 7).prediction_set == (None,)


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
    alone, same = decision.decide_mean(p[:1]), decision.decide(p[:1])
    np.testing.assert_array_equal(alone.scores, same.scores)
    assert (alone.referral, alone.notices) == (same.referral, same.notices)


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
