"""What notebooks and reports say of an evaluation, and the measurements on an exported model behind it."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import balanced_accuracy_score, recall_score

from skinlesion.core.errors import DataError
from skinlesion.core.taxonomy import HAM7
from skinlesion.evaluation import attention, out_of_domain, robustness, sections, uncertainty
from skinlesion.evaluation.assessment import assess
from skinlesion.evaluation.predictions import Predictions
from skinlesion.evaluation.subgroup_metrics import by_subgroup

THRESHOLD = 0.3


@pytest.fixture(scope="module")
def test():
    random = np.random.default_rng(0)
    y = random.choice(7, 400, p=[0.08, 0.1, 0.15, 0.07, 0.15, 0.38, 0.07])
    p = np.exp(random.normal(size=(400, 7)) + 2 * np.eye(7)[y])
    p /= p.sum(axis=1, keepdims=True)
    ids = np.array([f"i{i}" for i in range(400)], object)
    return Predictions(ids, ids, np.full(400, "test", object), np.full(400, -1), HAM7, y, p, p)


@pytest.fixture(scope="module")
def groups(test):
    sex = pd.DataFrame({"sex": np.random.default_rng(1).choice(["female", "male", "rare"], 400, p=[0.5, 0.49, 0.01])})
    return by_subgroup(test, sex, THRESHOLD, replicates=20)


def test_the_summary_is_scikit_learns_figures(test, groups):
    assessment = assess(test, referral_threshold=THRESHOLD, replicates=20)
    covered = uncertainty.coverage_curve(test, replicates=20)
    text = sections.summary(assessment, groups, covered, prevalence=0.1)
    assert f"**Balanced accuracy {balanced_accuracy_score(test.y, test.predicted):.3f} (" in text
    recall = recall_score(test.y, test.predicted, average=None)
    worst = int(np.argmin(recall))
    assert f"melanoma {recall[HAM7.index('mel')]:.3f} (" in text
    assert f"lowest for {HAM7.names[worst].lower()}, {recall[worst]:.3f} (" in text
    refer = test.referred(THRESHOLD)
    sensitivity, specificity = recall_score(test.is_malignant, refer), recall_score(~test.is_malignant, ~refer)
    assert f"sensitivity {sensitivity:.3f} (" in text and f"specificity {specificity:.3f} (" in text
    needless = round(900 * (1 - specificity))
    assert f"100 of them malignant, it refers {round(100 * sensitivity)} (" in text
    assert f" malignant and {needless} (" in text and "same mix of diagnoses" in text
    sure = np.sort(test.probabilities.max(axis=1))[-200]
    wrong = (test.predicted != test.y)[test.probabilities.max(axis=1) >= sure].mean()
    assert f"{wrong:.1%} (" in text


def test_histology_and_sources_stand_beside_the_whole(test, groups):
    half = np.arange(400) % 2 == 0
    dx_type = np.where(np.arange(400) % 4 < 2, "histo", "follow_up")
    parts = {"histology only": dx_type == "histo", "here": half, "there, histology only": ~half & (dx_type == "histo")}
    known = replace(test, source=np.where(half, "here", "there"), dx_type=dx_type)
    assessment = assess(known, referral_threshold=THRESHOLD, replicates=20)
    table = sections.parts_table(assessment.metrics)
    expected = ["all", "histology only", "here", "here, histology only", "there", "there, histology only"]
    assert table.index.tolist() == expected
    for part, rows in parts.items():
        shown = table.loc[part]
        assert shown["images"] == f"{rows.sum():,}"
        figure = balanced_accuracy_score(test.y[rows], test.predicted[rows])
        assert shown["Balanced accuracy"].startswith(f"{figure:.3f} (")
        recall = recall_score(test.is_malignant[rows], test.referred(THRESHOLD)[rows])
        assert shown["Referral: sensitivity"].startswith(f"{recall:.3f} (")
    text = sections.summary(assessment, groups, uncertainty.coverage_curve(known, replicates=5), prevalence=0.1)
    assert f"**With histology only:** balanced accuracy {table.loc['histology only', 'Balanced accuracy']}" in text
    assert f"**By source:** here balanced accuracy {table.loc['here', 'Balanced accuracy']}" in text
    mel = sections.class_table(assessment.metrics).loc["mel", "Sensitivity, histology only"]
    assert mel.endswith(f"n = {(parts['histology only'] & (test.y == HAM7.index('mel'))).sum()}")
    assert sections.parts_table(assess(test, replicates=0).metrics).empty


def test_a_summary_without_a_threshold_says_nothing_of_referral(test, groups):
    text = sections.summary(assess(test, replicates=0), groups, uncertainty.coverage_curve(test, replicates=5), 0.1)
    assert "Referral" not in text and "No threshold was chosen" in text


def test_the_subgroup_table_has_a_row_a_figure(groups):
    table = sections.subgroup_table(groups)
    assert table.index.name == "group" and set(table["metric"]) == {"sensitivity", "specificity", "AUROC"}
    row = groups[(groups["group"] == "female") & (groups["metric"] == "sensitivity")].iloc[0]
    shown = table[table["metric"] == "sensitivity"].loc["sex: female"]
    assert shown["value"].startswith(f"{row['value']:.3f} (") and shown["gap to the others"] == f"{row['gap']:+.3f}"
    assert shown["lesions"] == row["lesions"]


def test_the_most_harmful_corruption_is_named():
    low = {"relative_low": 0.1, "relative_high": 0.9, "severity": 3, "n_images": 1200}
    rows = [{"kind": "blur", "relative": 0.5} | low, {"kind": "noise", "relative": 0.25} | low]
    words = robustness.in_words(pd.DataFrame(rows))
    assert words.startswith("1,200 images. At severity 3 **noise**") and "25% (10% to 90%)" in words


# --- measurements on an exported model --------------------------------------------------------------------------------


class Bright:
    """A model whose domain score and activation map are the brightness of the frame."""

    manifest = SimpleNamespace(labels=HAM7)

    def predict(self, frames):
        return [SimpleNamespace(domain_score=frame.mean(), map=frame[..., 0].astype(np.float32)) for frame in frames]


def test_out_of_distribution_images_are_compared_by_the_models_scores():
    inside = [np.full((4, 4, 3), value, np.uint8) for value in (90, 100, 110)]
    sets = {
        "dark": SimpleNamespace(frames=[np.full((4, 4, 3), value, np.uint8) for value in (5, 105)], sources=["a", "b"])
    }
    table, near, far = out_of_domain.measure(Bright(), inside, np.arange(3), sets, replicates=0)
    assert near.tolist() == [90, 100, 110] and far["dark"].tolist() == [5, 105]
    expected = out_of_domain.detection(near, np.arange(3), {"dark": (far["dark"], np.array(["a", "b"]))}, replicates=0)
    pd.testing.assert_frame_equal(table, expected)
    assert table["auroc"].iloc[0] == pytest.approx(4 / 6), "of the six pairs, four are ordered rightly"


def test_activation_maps_are_measured_where_there_is_a_mask(tmp_path):
    mask = np.zeros((64, 64), np.uint8)
    mask[:, 32:] = 255
    Image.fromarray(mask).save(tmp_path / "b.png")
    left, right = (np.zeros((64, 64, 3), np.uint8) for _ in range(2))
    left[:, :32], right[:, 32:] = 200, 200
    rows = (["a", "b"], np.array([0, 4]), np.array(["l1", "l2"]))
    masks = {"b": str(tmp_path / "b.png")}
    for frame, energy in ((right, 1.0), (left, 0.0)):
        table = attention.measure(Bright(), [], [left, frame], *rows, masks, fit="squash", replicates=0)
        model = table[(table["map"] == attention.MODEL) & (table["class"] == attention.ALL)].iloc[0]
        assert model["n_images"] == 1 and model["energy"] == pytest.approx(energy, abs=0.02)
    with pytest.raises(DataError, match="no lesion masks"):
        attention.measure(Bright(), [], [left, right], *rows, {}, fit="squash")
