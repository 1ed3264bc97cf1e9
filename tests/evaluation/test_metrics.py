"""Every metric against scikit-learn, on the sample and on the very replicates that the intervals come from."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as sk

from skinlesion.core.taxonomy import HAM7, ISIC8
from skinlesion.evaluation import calibration, metrics
from skinlesion.evaluation.intervals import proportion, resample
from skinlesion.evaluation.metrics import (
    NAMES,
    OVERALL,
    PER_CLASS,
    evaluate,
    ranking,
    replicate_values,
)
from skinlesion.evaluation.predictions import Predictions

PROPORTIONS = ("sensitivity", "specificity", "ppv", "npv")
PRIOR = {"akiec": 6, "bcc": 8, "bkl": 12, "df": 4, "mel": 12, "nv": 40, "vasc": 5, "ak": 3, "scc": 3}


def make(n=400, lesions=260, labels=HAM7, seed=0, steps=None, absent=()):
    """Predictions that are right more often than not; probabilities in ``steps`` steps have many ties."""
    random = np.random.default_rng(seed)
    prior = np.array([0 if code in absent else PRIOR[code] for code in labels.codes], float)
    lesion = np.concatenate([np.arange(lesions), random.integers(0, lesions, n - lesions)])
    y = random.choice(len(labels), lesions, p=prior / prior.sum())[lesion]
    logits = random.normal(size=(n, len(labels))) * 1.5 + 2 * np.eye(len(labels))[y]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    if steps:
        p = np.stack([random.multinomial(steps, row) for row in p]) / steps
    scores = p * random.uniform(0.5, 2, len(labels))
    ids = np.array([f"ISIC_{i:07d}" for i in range(n)], object)
    names = np.array([f"HAM_{i:07d}" for i in lesion], object)
    return Predictions(ids, names, np.full(n, "test", object), np.full(n, -1), labels, y, p, scores)


def with_sklearn(y, p, scores) -> dict:
    """The same metrics, one call each; NaN where scikit-learn would warn of an empty denominator."""
    k = p.shape[1]
    called = scores.argmax(axis=1)
    result = {
        "balanced_accuracy": sk.balanced_accuracy_score(y, called),
        "accuracy": sk.accuracy_score(y, called),
        "macro_f1": sk.f1_score(y, called, average="macro"),
        "kappa": sk.cohen_kappa_score(y, called),
        "mcc": sk.matthews_corrcoef(y, called),
        "brier": sk.brier_score_loss(y, p, labels=range(k)),
        "log_loss": sk.log_loss(y, p, labels=range(k)),
    }
    per_class = {name: np.full(k, np.nan) for name in PER_CLASS}
    for c in range(k):
        true, hit = y == c, called == c
        if true.any():
            per_class["sensitivity"][c] = sk.recall_score(true, hit)
            per_class["average_precision"][c] = sk.average_precision_score(true, p[:, c])
        if not true.all():
            per_class["specificity"][c] = sk.recall_score(~true, ~hit)
        if hit.any():
            per_class["ppv"][c] = sk.precision_score(true, hit)
        if not hit.all():
            per_class["npv"][c] = sk.precision_score(~true, ~hit)
        if true.any() or hit.any():
            per_class["f1"][c] = sk.f1_score(true, hit)
        if true.any() and not true.all():
            per_class["auroc"][c] = sk.roc_auc_score(true, p[:, c])
    defined = np.isfinite(per_class["auroc"])
    support = np.bincount(y, minlength=k)[defined]
    result["macro_auroc"] = per_class["auroc"][defined].mean()
    result["weighted_auroc"] = np.average(per_class["auroc"][defined], weights=support)
    return result | per_class


CASES = {
    "seven": {},
    "eight": {"labels": ISIC8, "seed": 1},
    "ties": {"steps": 10, "seed": 2},
    "rare classes": {"n": 60, "lesions": 40, "seed": 3, "steps": 8},
    "absent classes": {"absent": ("df", "vasc"), "seed": 4, "steps": 20},
}


@pytest.mark.parametrize("case", CASES)
def test_value_and_every_replicate_agree_with_sklearn(case):
    predictions = make(**CASES[case])
    resamples = resample(predictions.lesions, replicates=3, seed=5)
    ours = replicate_values(predictions, resamples)
    for r, counts in enumerate(resamples.counts):
        rows = np.repeat(np.arange(len(predictions)), counts[resamples.lesion])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # classes that are predicted but don't occur
            theirs = with_sklearn(predictions.y[rows], predictions.probabilities[rows], predictions.scores[rows])
        assert {*NAMES} - {*theirs} <= {*calibration.NAMES, "malignant_auroc"}, "with_sklearn lacks a new metric"
        for name, expected in theirs.items():
            np.testing.assert_allclose(ours[name][r], expected, rtol=0, atol=1e-9, err_msg=f"{name}, replicate {r}")


def test_macro_auroc_agrees_with_sklearns_multiclass_auroc():
    predictions = make()
    metrics = evaluate(predictions, replicates=0)
    for average in ("macro", "weighted"):
        expected = sk.roc_auc_score(predictions.y, predictions.probabilities, multi_class="ovr", average=average)
        assert metrics[f"{average}_auroc"]["value"] == pytest.approx(expected, abs=1e-12)


def test_auroc_of_a_replicate_agrees_with_sample_weights():
    predictions = make(steps=6, seed=8)
    resamples = resample(predictions.lesions, replicates=5, seed=0)
    positive, score = predictions.y == 5, predictions.probabilities[:, 5]
    auroc, precision = ranking(score, positive, resamples)
    for r, counts in enumerate(resamples.counts):
        weight = counts[resamples.lesion]
        assert auroc[r] == pytest.approx(sk.roc_auc_score(positive, score, sample_weight=weight), abs=1e-12)
        assert precision[r] == pytest.approx(
            sk.average_precision_score(positive, score, sample_weight=weight), abs=1e-12
        )


def test_intervals_are_percentiles_of_a_plain_loop():
    predictions = make(n=150, lesions=100, seed=6)
    metrics = evaluate(predictions, replicates=20, seed=9)
    resamples = resample(predictions.lesions, 20, seed=9)
    loop = []
    for counts in resamples.counts[1:]:
        rows = np.repeat(np.arange(len(predictions)), counts[resamples.lesion])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loop.append(with_sklearn(predictions.y[rows], predictions.probabilities[rows], predictions.scores[rows]))
    for name in ("balanced_accuracy", "macro_auroc", "kappa", "brier"):
        low, high = np.nanpercentile([one[name] for one in loop], [2.5, 97.5])
        assert (metrics[name]["low"], metrics[name]["high"]) == pytest.approx((low, high), abs=1e-9)
    for c, code in enumerate(HAM7.codes):
        for name in set(PER_CLASS) - set(PROPORTIONS):
            low, high = np.nanpercentile([one[name][c] for one in loop], [2.5, 97.5])
            ours = metrics["per_class"][code][name]
            assert (ours["low"], ours["high"]) == pytest.approx((low, high), abs=1e-9), (code, name)


def test_proportions_have_the_interval_of_proportions_over_their_images():
    predictions = make(n=150, lesions=100, seed=6)
    metrics = evaluate(predictions, replicates=0)
    lesion = np.unique(predictions.lesions, return_inverse=True)[1]
    hit = predictions.y == predictions.predicted
    assert metrics["accuracy"] == proportion(hit, lesion)
    mel = HAM7.index("mel")
    true, called = predictions.y == mel, predictions.predicted == mel
    expected = {"sensitivity": (called, true), "specificity": (~called, ~true)}
    expected |= {"ppv": (true, called), "npv": (~true, ~called)}
    for name, (right, among) in expected.items():
        assert metrics["per_class"]["mel"][name] == proportion(right[among], lesion[among])


def test_parts_are_evaluated_as_if_they_were_all():
    predictions = make()
    random = np.random.default_rng(0)
    source = np.where(random.random(len(predictions)) < 0.5, "here", "there")
    dx_type = random.choice(["histo", "follow_up", "unknown"], len(predictions))
    known = replace(predictions, source=source, dx_type=dx_type)
    referred = predictions.malignant_probability > 0.3
    found = evaluate(known, replicates=20, referred=referred)
    bare = evaluate(predictions, replicates=20)
    assert not {"by_source", "histology_only"} & set(bare) and {name: found[name] for name in bare} == bare
    assert list(found["by_source"]) == ["here", "there"] == list(found["histology_only"]["by_source"])
    parts = {
        "here": (found["by_source"]["here"], source == "here"),
        "histology": (found["histology_only"], dx_type == "histo"),
        "both": (found["histology_only"]["by_source"]["there"], (source == "there") & (dx_type == "histo")),
    }
    for part, rows in parts.values():
        alone = predictions.take(rows)
        whole = evaluate(alone, replicates=20)
        for name in ("balanced_accuracy", "macro_auroc", "malignant_auroc", "accuracy", "ece", "n_images", "n_lesions"):
            assert part[name] == whole[name]
        assert part["n_malignant"] == alone.is_malignant.sum()
        assert part["per_class"]["mel"]["sensitivity"] == whole["per_class"]["mel"]["sensitivity"]
        assert part["sensitivity"]["value"] == pytest.approx(sk.recall_score(alone.is_malignant, referred[rows]))
        assert part["specificity"]["value"] == pytest.approx(sk.recall_score(~alone.is_malignant, ~referred[rows]))
        assert part["malignant_auroc"]["value"] == pytest.approx(
            sk.roc_auc_score(alone.is_malignant, alone.malignant_probability)
        )


@pytest.mark.filterwarnings("error")
def test_an_absent_class_is_null_without_a_warning_and_the_result_is_json():
    predictions = make(absent=("df",), seed=4)
    metrics = evaluate(predictions, replicates=40)
    absent = metrics["per_class"]["df"]
    for name in ("sensitivity", "auroc", "average_precision"):
        assert absent[name] == {"value": None, "low": None, "high": None, "n": 0}
    assert absent["specificity"]["n"] == len(predictions)
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics


@pytest.mark.filterwarnings("error")
def test_a_single_class_and_a_constant_prediction():
    predictions = make(seed=1)
    nevi = predictions.take(predictions.y == HAM7.index("nv"))
    metrics = evaluate(nevi, replicates=20)
    assert metrics["macro_auroc"]["value"] is None
    assert metrics["per_class"]["nv"]["auroc"]["n"] == 0
    assert metrics["balanced_accuracy"]["value"] == metrics["per_class"]["nv"]["sensitivity"]["value"]
    constant = np.eye(7)[np.full(len(predictions), 5)]
    same = Predictions(predictions.image_ids, predictions.lesions, predictions.split, predictions.fold, HAM7,
                       predictions.y, constant, constant)  # fmt: skip
    metrics = evaluate(same, replicates=20)
    assert metrics["mcc"]["value"] == 0 and metrics["kappa"]["value"] == 0
    assert metrics["balanced_accuracy"]["value"] == pytest.approx(1 / 7)
    assert metrics["macro_auroc"]["value"] == 0.5
    assert metrics["per_class"]["mel"]["ppv"] == {"value": None, "low": None, "high": None, "n": 0}


def test_contract_of_the_result():
    predictions = make()
    metrics = evaluate(predictions, replicates=100, seed=0)
    assert metrics["n_images"] == 400 and metrics["n_lesions"] == 260 and metrics["replicates"] == 100
    assert metrics["interval"] == "95% intervals over lesions: of proportions Wilson's, else the percentile bootstrap"
    assert tuple(metrics["per_class"]) == HAM7.codes
    everything = [metrics[name] for name in OVERALL]
    everything += [metrics["per_class"][code][name] for code in HAM7.codes for name in PER_CLASS]
    errors = [metrics.pop(name) for name in ("ece", "classwise_ece")]
    for metric in everything:
        if metric not in errors:
            assert set(metric) == {"value", "low", "high", "n"}
            assert metric["low"] <= metric["value"] <= metric["high"]
    for error in errors:
        assert error["low"] is error["high"] is None and 0 < error["by_chance"] < error["by_chance_high"]
    metrics |= dict(zip(("ece", "classwise_ece"), errors, strict=True))
    assert metrics == evaluate(predictions, replicates=100, seed=0)
    assert metrics != evaluate(predictions, replicates=100, seed=1)


def test_n_is_the_number_of_images_behind_each_metric():
    predictions = make(seed=2)
    mel = HAM7.index("mel")
    by_class = evaluate(predictions, replicates=0)["per_class"]["mel"]
    true, called = predictions.y == mel, predictions.predicted == mel
    assert by_class["sensitivity"]["n"] == by_class["auroc"]["n"] == true.sum()
    assert by_class["specificity"]["n"] == (~true).sum()
    assert by_class["ppv"]["n"] == called.sum() and by_class["npv"]["n"] == (~called).sum()
    assert by_class["f1"]["n"] == (true | called).sum()


def test_what_is_no_predictions_names_what_makes_them():
    with pytest.raises(TypeError, match="read_predictions"):
        evaluate("predictions.csv")


def test_row_order_does_not_matter():
    predictions = make(steps=10)
    shuffled = predictions.take(np.random.default_rng(0).permutation(len(predictions)))
    one, other = evaluate(predictions, replicates=30), evaluate(shuffled, replicates=30)
    for name in OVERALL:
        assert one[name] == pytest.approx(other[name], abs=1e-12)


def test_without_lesion_ids_the_result_says_so():
    predictions = make()
    single = Predictions(predictions.image_ids, predictions.image_ids, predictions.split, predictions.fold, HAM7,
                         predictions.y, predictions.probabilities, predictions.scores)  # fmt: skip
    metrics = evaluate(single, replicates=5)
    assert metrics["n_lesions"] == 400
    assert "over images (no lesion ids are known)" in metrics["interval"]


def test_decision_follows_scores_and_ranking_follows_probabilities():
    predictions = make()
    flipped = Predictions(predictions.image_ids, predictions.lesions, predictions.split, predictions.fold, HAM7,
                          predictions.y, predictions.probabilities, -predictions.scores)  # fmt: skip
    before, after = evaluate(predictions, replicates=0), evaluate(flipped, replicates=0)
    assert after["accuracy"]["value"] < 0.1 < before["accuracy"]["value"]
    for name in ("macro_auroc", "ece", "brier"):
        assert before[name] == after[name]


def test_a_new_metric_of_a_class_takes_a_name_and_a_formula(monkeypatch):
    formula = metrics.confusion_metrics

    def with_youden(confusion):
        found = formula(confusion)
        return found | {"youden": found["sensitivity"] + found["specificity"] - 1}

    monkeypatch.setattr(metrics, "PER_CLASS", (*PER_CLASS, "youden"))
    monkeypatch.setattr(metrics, "confusion_metrics", with_youden)
    mel = evaluate(make(), replicates=50)["per_class"]["mel"]
    youden = mel["youden"]
    assert youden["value"] == pytest.approx(mel["sensitivity"]["value"] + mel["specificity"]["value"] - 1)
    assert youden["low"] < youden["value"] < youden["high"] and youden["n"] == 400
