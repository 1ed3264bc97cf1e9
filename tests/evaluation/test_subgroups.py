"""Figures by group: the values against scikit-learn and the plain bootstrap, the test against simulation."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, recall_score, roc_auc_score

from skinlesion.core.errors import DataError
from skinlesion.core.taxonomy import HAM7
from skinlesion.evaluation import calibration, plots, subgroup_gaps, subgroup_metrics, subgroups
from skinlesion.evaluation.intervals import proportion, resample, summarise
from skinlesion.evaluation.plots import skin_tone_histogram, subgroup_forest
from skinlesion.evaluation.predictions import Predictions

THRESHOLD = 0.4


def make(n=600, seed=0, images_a_lesion=1, worse=None):
    """Predictions whose signal is weaker for the images that ``worse`` [N] marks."""
    rng = np.random.default_rng(seed)
    lesion = np.arange(n) // images_a_lesion
    y = rng.choice(7, n // images_a_lesion, p=[0.08, 0.1, 0.15, 0.04, 0.15, 0.44, 0.04])[lesion]
    strength = np.where(np.zeros(n, bool) if worse is None else worse, 0.3, 2.0)
    p = np.exp(rng.normal(size=(n, 7)) + strength[:, None] * np.eye(7)[y])
    p /= p.sum(axis=1, keepdims=True)
    ids, lesions = np.array([f"i{i}" for i in range(n)], object), np.array([f"l{i}" for i in lesion], object)
    return Predictions(ids, lesions, np.full(n, "test", object), np.full(n, -1), HAM7, y, p, p)


def words(n, seed=0, names=("a", "b", "c")):
    return np.random.default_rng(seed).choice(names, n)


def line(table, attribute, group, metric):
    found = table[(table.attribute == attribute) & (table.group == group) & (table.metric == metric)]
    assert len(found) == 1
    return found.iloc[0]


def test_values_are_those_of_scikit_learn_on_the_group_alone():
    predictions = make()
    groups = pd.DataFrame({"site": words(600)})
    table = subgroup_metrics.by_subgroup(predictions, groups, THRESHOLD, replicates=20)
    gaps = calibration.gaps(*calibration.top_label(predictions.probabilities, predictions.y))
    for name in "abc":
        own = (groups["site"] == name).to_numpy()
        y, called = predictions.y[own], predictions.predicted[own]
        malignant, score = predictions.is_malignant[own], predictions.malignant_probability[own]
        referred = (score >= THRESHOLD) | np.isin(called, [0, 1, 4])  # by probability, or by a malignant label
        kinds = [HAM7.index(code) for code in line(table, "site", name, "balanced_accuracy").kinds.split()]
        counts = [np.bincount(predictions.y[side], minlength=7) for side in (own, ~own)]
        assert kinds == [k for k in range(7) if min(c[k] for c in counts) >= subgroup_metrics.ENOUGH]
        expected = {
            "balanced_accuracy": recall_score(y, called, labels=kinds, average="macro", zero_division=0),
            "accuracy": (y == called).mean(),
            "malignant_auroc": roc_auc_score(malignant, score),
            "sensitivity": recall_score(malignant, referred),
            "specificity": recall_score(~malignant, ~referred),
            "ece": np.abs(gaps[own].sum(axis=0)).sum() / own.sum(),
        }
        for metric, value in expected.items():
            found = line(table, "site", name, metric)
            assert found.value == pytest.approx(value, abs=1e-12), metric
        rest = ~own
        gap = line(table, "site", name, "sensitivity").gap
        others = recall_score(predictions.is_malignant[rest], predictions.malignant_probability[rest] >= THRESHOLD)
        assert gap == pytest.approx(expected["sensitivity"] - others, abs=1e-12)


def test_balanced_accuracy_over_all_kinds_is_that_of_scikit_learn():
    predictions = make(4000)
    table = subgroup_metrics.by_subgroup(predictions, pd.DataFrame({"site": words(4000)}), replicates=5)
    own = words(4000) == "b"
    found = line(table, "site", "b", "balanced_accuracy")
    assert found.kinds.split() == list(HAM7.codes)
    assert found.value == pytest.approx(balanced_accuracy_score(predictions.y[own], predictions.predicted[own]))
    assert "sensitivity" not in set(table.metric), "without a threshold there is none"


def test_intervals_are_over_lesions():
    predictions = make(600, images_a_lesion=3)
    groups = pd.DataFrame({"sex": np.repeat(words(200, names=("f", "m")), 3)})
    found = line(subgroup_metrics.by_subgroup(predictions, groups, replicates=400), "sex", "f", "accuracy")
    resamples = resample(predictions.lesions, 400)
    own = (groups["sex"] == "f").to_numpy()[:, None]
    right = (predictions.y == predictions.predicted)[:, None]
    sums = resamples.totals(np.hstack([own & right, own, ~own & right, ~own]))
    value, rest = sums[:, 0] / sums[:, 1], sums[:, 2] / sums[:, 3]
    lesion = resamples.lesion[own[:, 0]]
    expected = proportion(right[own[:, 0], 0], lesion)
    assert (found.low, found.high, found.n) == pytest.approx((expected["low"], expected["high"], own.sum()))
    gap = summarise(value - rest, 1)
    assert (found.gap_low, found.gap_high) == pytest.approx((gap["low"], gap["high"]))


def false_alarms(simulations, n, replicates, threshold=None):
    """In how many simulated evaluations any gap has p <= 0.05, where the model is the same for all groups.

    One attribute is tied to the kind of lesion, so that naive gaps are not zero.
    """
    alarms = 0
    for seed in range(simulations):
        predictions = make(n, seed=seed)
        rng = np.random.default_rng(1000 + seed)
        older = np.where(rng.random(n) < np.where(predictions.is_malignant, 0.8, 0.3), "old", "young")
        groups = pd.DataFrame({"age": older, "site": words(n, seed + 1)})
        alarms += bool(
            (subgroup_metrics.by_subgroup(predictions, groups, threshold, "", replicates, seed).p <= 0.05).any()
        )
    return alarms


def test_the_family_wise_error_is_five_percent():
    assert false_alarms(50, 160, 39) <= 7, "2.5 are expected; one in 500 correct tests has more than 7"


@pytest.mark.soak
def test_the_family_wise_error_is_five_percent_in_many_simulations():
    assert 27 <= false_alarms(1000, 300, 99, THRESHOLD) <= 73, "50 are expected; three standard deviations either way"


def test_a_real_gap_is_found_and_the_mix_is_told_from_it():
    sex = words(1500, 3, ("f", "m"))
    predictions = make(1500, worse=sex == "m")
    table = subgroup_metrics.by_subgroup(
        predictions, pd.DataFrame({"sex": sex, "site": words(1500)}), THRESHOLD, "", 300
    )
    assert line(table, "sex", "m", "balanced_accuracy").p < 0.02
    assert line(table, "sex", "m", "balanced_accuracy").gap < -0.2
    assert table[table.attribute == "site"].p.min() > 0.05
    said = subgroup_gaps.gaps_in_words(table)
    assert "\n- sex m: balanced accuracy" in said and "site" not in said.split("Too small")[0]
    brief = subgroup_gaps.gaps_in_brief(table)
    assert f"{table.p.notna().sum()} gaps" in brief and ("sex m" in brief) and "site" not in brief


def two_levels(easy, n=2000):
    """Predictions that are good where ``easy`` (a function of the true class) holds and poor elsewhere."""
    good, poor = make(n), make(n, worse=np.ones(n, bool))
    assert (good.y == poor.y).all()
    chosen = easy(good.y)
    p = np.where(chosen[:, None], np.eye(7)[good.y] * 0.9 + 0.1 / 7, poor.probabilities)
    return replace(good, probabilities=p, scores=p), chosen


def test_a_gap_of_mix_alone_is_no_gap():
    predictions, nevus = two_levels(lambda y: y == HAM7.index("nv"))
    clinic = np.where(np.random.default_rng(77).random(2000) < np.where(nevus, 0.8, 0.3), "screening", "ward")
    table = subgroup_metrics.by_subgroup(predictions, pd.DataFrame({"c": clinic}), replicates=300)
    found = line(table, "c", "screening", "accuracy")
    assert found.gap > 0.15 and found.gap_low > 0, "a naive comparison would call it real"
    assert found.gap_by_mix == pytest.approx(found.gap, abs=0.04) and found.p > 0.05


def test_an_attribute_can_be_held():
    rng = np.random.default_rng(78)
    predictions, followed = two_levels(lambda y: rng.random(len(y)) < 0.5)
    groups = pd.DataFrame({
        "truth": np.where(followed, "follow-up", "histology"),
        "tone": np.where(rng.random(2000) < np.where(followed, 0.8, 0.2), "light", "dark"),
    })  # fmt: skip
    free = subgroup_metrics.by_subgroup(predictions, groups, replicates=200)
    held = subgroup_metrics.by_subgroup(predictions, groups, hold="truth", replicates=200)
    assert line(free, "tone", "dark", "accuracy").p < 0.02
    assert line(held, "tone", "dark", "accuracy").p > 0.05
    assert line(held, "truth", "histology", "accuracy").p < 0.02, "the held attribute itself is still compared"
    with pytest.raises(DataError, match="no attribute 'camera'"):
        subgroup_metrics.by_subgroup(predictions, groups, hold="camera", replicates=2)


def test_small_groups_get_a_word_instead_of_a_number():
    predictions = make(600)
    site = np.full(600, "trunk", object)
    malignant = np.flatnonzero(predictions.is_malignant)
    site[malignant[:4]] = "hand"
    site[np.flatnonzero(~predictions.is_malignant)[:30]] = "hand"
    site[-5:] = "unknown"
    table = subgroup_metrics.by_subgroup(predictions, pd.DataFrame({"site": site}), THRESHOLD, replicates=50)
    assert set(table.group) == {"trunk", "hand"}, "unknown is no group"
    found = line(table, "site", "hand", "sensitivity")
    assert pd.isna(found.value) and pd.isna(found.p) and "4 malignant lesions, 10 needed" in found.note
    assert line(table, "site", "hand", "specificity").n == 30
    assert "34 lesions, 150 needed" in line(table, "site", "hand", "ece").note
    other = line(table, "site", "trunk", "sensitivity")
    assert other.value is not None and pd.isna(other.gap) and "too few others: 4 malignant" in other.note
    assert "Too small for some or all figures: site (trunk, hand)." in subgroup_gaps.gaps_in_words(table)
    assert "2 of 2 groups are too small for some or all figures" in subgroup_gaps.gaps_in_brief(table)
    alone = subgroup_metrics.by_subgroup(predictions, pd.DataFrame({"site": ["trunk"] * 600}), THRESHOLD, replicates=5)
    assert line(alone, "site", "trunk", "balanced_accuracy").value > 0 and alone.p.isna().all()
    assert subgroup_gaps.gaps_in_words(alone).startswith("No group is large enough")


def test_rows_may_come_in_any_order_and_lesions_have_one_group():
    predictions = make(300, images_a_lesion=3)
    site = words(300, 5)
    table = subgroup_metrics.by_subgroup(predictions, pd.DataFrame({"site": site}), replicates=30)
    order = np.random.default_rng(9).permutation(300)
    again = subgroup_metrics.by_subgroup(predictions.take(order), pd.DataFrame({"site": site[order]}), replicates=30)
    keys = ["attribute", "group", "metric"]
    pd.testing.assert_frame_equal(
        table.sort_values(keys, ignore_index=True), again.sort_values(keys, ignore_index=True), rtol=1e-9
    )
    sizes = table.drop_duplicates("group").set_index("group")
    assert sizes.lesions.sum() == 100 and sizes.images.sum() == 300
    with pytest.raises(DataError, match="299 rows of groups do not fit 300"):
        subgroup_metrics.by_subgroup(predictions, pd.DataFrame({"site": site[1:]}))
    with pytest.raises(DataError, match="write 'unknown'"):
        subgroup_metrics.by_subgroup(predictions, pd.DataFrame({"site": [None, *site[1:]]}))


def test_people():
    frame = pd.DataFrame({
        "image_id": ["a", "b", "c"], "age": [29.9, 75, np.nan], "sex": ["male", "female", "unknown"],
        "site": ["face", "acral", "elbow"], "dx_type": "unknown",
    })  # fmt: skip
    tones = pd.Categorical(["light", "dark", "unknown"], categories=["light", "dark", "unknown"])
    groups = subgroups.group_images(frame, np.array(["c", "a"], object), tones)
    assert groups.astype(str).to_dict("list") == {
        "sex": ["unknown", "male"], "age": ["unknown", "under 30"], "body site": ["elbow", "head and neck"],
        "border colour": ["unknown", "light"],
    }, "an attribute that is unknown throughout is left out"  # fmt: skip
    rated = frame.assign(skin_tone=["3", "", "5"], source=["one", "two", "one"])
    assert subgroups.group_images(rated, np.array(["a", "b", "c"]))["rated skin tone"].tolist() == [
        "3", "unknown", "5, very light",
    ]  # fmt: skip
    rated["skin_tone"] = ["3", "0", "5"]
    assert subgroups.group_images(rated, np.array(["a", "b"]))["rated skin tone"].tolist() == [
        "one, 3",
        "two, 0, very dark",
    ]
    assert subgroups.population(groups)["sex"] == {"unknown": 1, "male": 1}
    assert [subgroups.age_band(years) for years in (0, 30, 44.9, 45, 60, 85)] == [
        "under 30", "30 to 44", "30 to 44", "45 to 59", "60 to 74", "75 and older",
    ]  # fmt: skip
    with pytest.raises(DataError, match="no row for z"):
        subgroups.group_images(frame, np.array(["a", "z"], object))


def test_groups_keep_the_order_of_their_categories():
    ages = pd.Categorical(words(600, 0, ("b", "a")), categories=["b", "a", "none of them"])
    table = subgroup_metrics.by_subgroup(make(), pd.DataFrame({"age": ages}), replicates=5)
    assert list(dict.fromkeys(table.group)) == ["b", "a"]


def test_figures_and_records():
    import json

    predictions = make(900, worse=words(900, 3, ("f", "m")) == "m")
    groups = pd.DataFrame({"sex": words(900, 3, ("f", "m")), "site": np.where(np.arange(900) < 8, "hand", "trunk")})
    groups.loc[8, "site"] = "foot"
    table = subgroup_metrics.by_subgroup(predictions, groups, THRESHOLD, replicates=100)
    figure, alt = subgroup_forest(table)
    assert len(figure.axes) == 3
    labels = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert labels[0] == "Sex" and {"hand (8 lesions)", "foot (1 lesion)"} <= {label.strip() for label in labels}
    assert "(significant gap)" in alt and "too few" in alt and " nan" not in alt
    assert plots.png(figure)
    records = json.loads(json.dumps(subgroup_gaps.for_card(table)["groups"], allow_nan=False))
    male = next(r for r in records if r["group"] == "m")
    assert male["metrics"]["accuracy"]["value"] == line(table, "sex", "m", "accuracy").value
    assert next(r for r in records if r["group"] == "hand")["metrics"]["ece"]["value"] is None
    figure, alt = skin_tone_histogram(
        np.array([60.0, 50, 50, 5, np.nan, 120]), {"very light": 55.0, "light": 41.0, "dark": -np.inf}, 12.0
    )
    assert "very light 40%, light 40%, dark 20%; unknown for 1" in alt
    assert plots.png(figure)
