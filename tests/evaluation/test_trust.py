"""Out-of-domain detection, selective prediction, activation maps, prediction sets: by scikit-learn and by hand."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import balanced_accuracy_score, roc_auc_score, roc_curve

from skinlesion.core.errors import DataError
from skinlesion.core.taxonomy import HAM7
from skinlesion.data.demo.not_dermatoscopic import picture_sets
from skinlesion.evaluation import attention, decision_fit, out_of_domain, plots, uncertainty
from skinlesion.evaluation.plots import robustness as figures
from skinlesion.evaluation.predictions import Predictions
from skinlesion.evaluation.uncertainty import choose_sets, set_coverage

# --- out-of-distribution images ---------------------------------------------------------------------------------------


def test_foreign_sets_are_the_same_every_time_and_no_two_pictures_alike():
    first, again = picture_sets(6), picture_sets(6)
    other = picture_sets(6, seed=1)
    assert len(first) == 9
    for name, made in first.items():
        assert len(made.frames) == len(made.sources) == 6
        assert all(frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3 for frame in made.frames)
        assert all((a == b).all() for a, b in zip(made.frames, again[name].frames, strict=True))
        assert any(a.shape != b.shape or (a != b).any() for a, b in zip(made.frames, other[name].frames, strict=True))
        distinct = {frame.tobytes() for frame in made.frames}
        assert len(distinct) == 6 or name == "blank"
        assert min(min(frame.shape[:2]) for frame in made.frames) >= 16
    assert all(frame.std(axis=(0, 1)).max() < 60 for frame in first["blank"].frames)


# --- does the score tell them? ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scores():
    rng = np.random.default_rng(0)
    inside = rng.normal(0, 1, 400).round(1)  # ties
    outside = {"near": rng.normal(-1, 1, 90).round(1), "far": rng.normal(-4, 1, 60).round(1)}
    return inside, {name: (values, np.arange(len(values)) // 3) for name, values in outside.items()}


def test_auroc_and_fpr95_are_scikit_learns(scores):
    inside, outside = scores
    table = out_of_domain.detection(inside, np.arange(400) // 2, outside, replicates=200).set_index("set")
    for name, (values, _) in outside.items():
        truth = np.repeat([1, 0], [len(inside), len(values)])
        both = np.concatenate([inside, values])
        false_positives, true_positives, _ = roc_curve(truth, both, drop_intermediate=False)
        row = table.loc[name]
        assert row["auroc"] == pytest.approx(roc_auc_score(truth, both))
        assert row["fpr95"] == pytest.approx(false_positives[np.argmax(true_positives >= 0.95)])
        assert row["auroc_low"] <= row["auroc"] <= row["auroc_high"]
        assert row["fpr95_low"] <= row["fpr95"] <= row["fpr95_high"]
        assert row["n_sources"] == len(values) / 3
    mean = table.loc[out_of_domain.ALL]
    assert mean["auroc"] == pytest.approx(table["auroc"].iloc[:2].mean()) and mean["n_images"] == 150
    with pytest.raises(DataError, match="images of the domain and"):
        out_of_domain.detection(inside, np.arange(400), {})


def test_each_replicate_is_the_metric_of_the_images_it_drew(scores):
    inside, outside = scores
    far, sources = outside["near"]
    near_draws = out_of_domain.resample(np.arange(400) // 2, 20, 0)
    far_draws = out_of_domain.resample(sources, 20, 1)
    found = out_of_domain._passing(inside, far, near_draws, far_draws)
    for replicate in (0, 7, 20):
        drawn = np.repeat(inside, near_draws.counts[replicate][near_draws.lesion])
        foreign = np.repeat(far, far_draws.counts[replicate][far_draws.lesion])
        needed = np.sort(drawn)[::-1][int(np.ceil(0.95 * len(drawn) - 1e-9)) - 1]
        assert found[replicate] == pytest.approx((foreign >= needed).mean())


# --- selective prediction --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def predictions():
    rng = np.random.default_rng(3)
    y = rng.choice(7, 500, p=[0.05, 0.05, 0.1, 0.05, 0.15, 0.5, 0.1])
    logits = rng.normal(0, 1, (500, 7)) + 2.0 * np.eye(7)[y] * rng.random((500, 1)) ** 0.5
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    ids = np.array([f"i{i}" for i in range(500)])
    scores = p * np.linspace(1, 2, 7)
    scores /= scores.sum(1, keepdims=True)
    return Predictions(ids, ids.copy(), np.full(500, "test"), np.full(500, -1), HAM7, y, p, scores)


def surest_first(predictions):
    confidence = [p[np.argmax(s)] for p, s in zip(predictions.probabilities, predictions.scores, strict=True)]
    return np.argsort(-np.array(confidence), kind="stable"), np.array(confidence)


def test_the_curve_is_that_of_the_surest_images(predictions):
    curve = uncertainty.coverage_curve(predictions, replicates=200)
    assert curve["coverage"].tolist() == list(uncertainty.COVERAGES)
    surest, confidence = surest_first(predictions)
    malignant = predictions.is_malignant
    for _, row in curve.iterrows():
        retained = surest[: round(row["coverage"] * 500)]
        y, predicted = predictions.y[retained], predictions.predicted[retained]
        present = np.isin(predicted, np.unique(y))
        assert row["risk"] == pytest.approx((y != predicted).mean())
        if present.all():  # scikit-learn warns of others
            assert row["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(y, predicted))
        assert row["malignant_retained"] == pytest.approx(malignant[retained].sum() / malignant.sum())
        missed = [not HAM7[HAM7.codes[c]].malignant for c in predicted[malignant[retained]]]
        assert row["malignant_missed"] == pytest.approx(np.mean(missed))
        assert row["risk_low"] <= row["risk"] <= row["risk_high"]
        assert row["threshold"] == confidence[retained].min()
    assert curve["risk"].iloc[0] > curve["risk"].iloc[-1], "a confidence that means something"


# --- activation maps -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def looked():
    """Masks with the lesion in the left half; maps that see it, that miss it and that say nothing for the class."""
    side = attention.SIDE
    masks = np.zeros((6, side, side), bool)
    masks[:, :, : side // 2] = True
    maps = np.full((6, 4, 4), -1.0)
    maps[0:3, 1, 0] = 2.0
    maps[3:5, 1, 3] = 2.0
    y = np.array([0, 0, 0, 1, 1, 2])
    opposite = maps[:, :, ::-1]
    return (
        maps,
        masks,
        y,
        attention.compare_with_masks(maps, masks, y, ("a", "b", "c"), np.arange(6), shuffled=[opposite, opposite]),
    )


def test_energy_and_pointing_are_those_of_the_hand_made_maps(looked):
    table = looked[3].set_index(["class", "map"])
    assert table.loc[("a", "model"), ["energy", "pointing"]].tolist() == [1, 1]
    assert table.loc[("b", "model"), ["energy", "pointing"]].tolist() == [0, 0]
    every = table.loc["all"]
    assert every.loc["model", "n_images"] == 6 and every.loc["model", "n_energy"] == 5
    assert every.loc["model", "energy"] == pytest.approx(3 / 5)
    assert every.loc[attention.BASELINES[0], ["energy", "pointing"]].tolist() == [0.5, 0.5], "chance: the mask's area"
    assert every.loc[attention.BASELINES[1], "energy"] == pytest.approx(0.5)
    assert every.loc[attention.BASELINES[0], "energy_gain"] == pytest.approx(3 / 5 - 0.5)
    assert table.loc[("a", attention.BASELINES[2]), "energy_gain"] == 1
    assert np.isnan(table.loc[("c", "model"), "energy"].astype(float)), "nothing speaks for it"
    assert every.loc["model", "energy_low"] <= 3 / 5 <= every.loc["model", "energy_high"]


def test_likeness_is_spearmans_correlation(looked):
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(0, 1, (2, 5, 8, 8))
    masks = np.ones((5, attention.SIDE, attention.SIDE), bool)
    table = attention.compare_with_masks(
        ours, masks, np.zeros(5, int), ("a",), np.arange(5), shuffled=[theirs], replicates=50
    )
    row = table.set_index(["class", "map"]).loc[("a", attention.BASELINES[2])]
    each = [
        spearmanr(attention.enlarged(a).ravel(), attention.enlarged(b).ravel())[0]
        for a, b in zip(ours, theirs, strict=True)
    ]
    assert row["likeness"] == pytest.approx(np.mean(each), abs=1e-6)


def test_masks_are_framed_as_the_network_frames():
    mask = np.zeros((30, 60, 3), np.uint8)
    mask[:, 15:45] = 255
    assert attention.fit_mask(mask, "center_crop").mean() == 1
    assert attention.fit_mask(mask, "squash").mean() == pytest.approx(0.5, abs=0.02)
    assert attention.fit_mask(mask, "random_crop", 2).mean() == pytest.approx(0.75, abs=0.02)


def test_a_network_without_maps_says_not_run():
    class Mapless:
        def predict(self, frames):
            return [type("Answer", (), {"map": None}) for _ in frames]

    with pytest.raises(DataError, match="activation maps"):
        attention.maps_of(Mapless(), [np.zeros((20, 20, 3), np.uint8)])


# --- figures ---------------------------------------------------------------------------------------------------------


def test_figures_say_what_they_show(looked, scores, predictions):
    *_, table = looked
    inside, outside = scores
    detection = out_of_domain.detection(inside, np.arange(400), outside, replicates=50)
    curve = uncertainty.coverage_curve(predictions, replicates=50)
    drawn = {
        "far: AUROC 0.99": figures.domain_detection(detection),
        "in domain 96.2%, near 75.6%, far 0.0%": figures.domain_scores(
            inside, {name: values for name, (values, _) in outside.items()}, float(np.quantile(inside, 0.05))
        ),
        "model 0.60": figures.map_aim(table),
        f"risk {curve['risk'].iloc[0]:.2f}": figures.coverage_curve(curve),
    }
    for said, (figure, alt) in drawn.items():
        assert plots.png(figure).startswith(b"\x89PNG")
        assert said in alt


# --- prediction sets --------------------------------------------------------------------------------------------------

K = len(HAM7)


def lesion_images(lesions, seed, most=4):
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
    one = lesion_images(600, 0, most=1)
    found = choose_sets(one.probabilities, one.y, one.lesions, HAM7, level)
    for i in range(K):
        own = np.sort(one.probabilities[one.y == i, i])
        rank = int(np.floor((1 - level) * (len(own) + 1) + 1e-9))
        assert found[i] == own[rank - 1]


def test_new_lesions_of_every_class_are_covered_and_sets_are_no_larger_than_needed():
    sets = (lesion_images(3000, 1), lesion_images(6000, 2))
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
    some = lesion_images(900, 3)
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
    some = lesion_images(500, 4)
    source = np.where(np.arange(len(some)) % 3 == 0, "here", "there")
    known = replace(some, source=source, dx_type=np.where(source == "here", "histo", "unknown"))
    chosen = choose_sets(some.probabilities, some.y, some.lesions, HAM7)
    table = set_coverage(known, chosen).set_index(["attribute", "group"])
    right = (some.probabilities >= chosen)[np.arange(len(some)), some.y]
    for key, rows in ((("source", "here"), source == "here"), (("histology", "yes"), source == "here")):
        assert table.loc[key, "value"] == right[rows].mean() and table.loc[key, "n"] == rows.sum()
    assert ("histology", "no") not in table.index


def test_a_decision_has_the_sets_of_its_validation_lesions_and_lists_them():
    some = lesion_images(900, 5)
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
