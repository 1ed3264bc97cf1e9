"""Corruptions against Pillow, SciPy and scikit-image; the harness against models whose outputs are known."""

import io
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from skimage.util import random_noise
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from skinlesion.core import framing
from skinlesion.core.errors import DataError
from skinlesion.core.taxonomy import HAM7
from skinlesion.evaluation import calibration, plots, robustness
from skinlesion.evaluation.corruptions import CORRUPTIONS, MOVEMENTS, SEVERITIES, corrupt
from skinlesion.evaluation.plots.robustness import corruption_calibration, corruption_curves, movement_curves

EVERY = CORRUPTIONS | MOVEMENTS


@pytest.fixture(scope="module")
def frame():
    """A dark, oblong lesion off the middle of pinkish, grainy skin."""
    y, x = np.mgrid[:100, :140]
    lesion = np.exp(-(((x - 60) / 30) ** 2) - ((y - 45) / 14) ** 2)[..., None]
    skin = np.array([210, 160, 140]) + 0.2 * x[..., None] + np.random.default_rng(0).normal(0, 5, (100, 140, 1))
    return np.clip(skin - lesion * [120, 110, 90], 0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", EVERY)
def test_severities_get_worse_and_depend_on_seed_and_image_alone(frame, name):
    made = [corrupt(frame, name, severity, image_id="a") for severity in SEVERITIES]
    moved = [np.abs(one.astype(float) - frame).mean() for one in made]
    assert moved[0] > 0 and all(after > before for before, after in pairwise(moved)), moved
    assert all(one.shape == frame.shape and one.dtype == np.uint8 for one in made)
    assert (made[2] == corrupt(frame.copy(), name, 3, image_id="a")).all()
    others = [
        corrupt(frame, name, 3, image_id=i, seed=s) for i, s in (("b", 0), ("c", 0), ("d", 0), ("a", 1), ("a", 2))
    ]
    if name not in ("blur", "jpeg", "contrast", "zoom"):
        assert not all((one == made[2]).all() for one in others)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("shape", [(16, 16), (150, 200), (301, 97)], ids=str)
def test_every_size_is_taken(name, shape):
    frame = np.full((*shape, 3), 150, np.uint8)
    assert corrupt(frame, name, 5, image_id="x").shape == frame.shape


def test_against_other_libraries(frame):
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=10)
    assert (corrupt(frame, "jpeg", 4, image_id="a") == np.asarray(Image.open(buffer))).all()
    blurred = ndimage.gaussian_filter(frame.astype(float), (0.025 * 100, 0.025 * 100, 0), mode="nearest")
    assert np.abs(corrupt(frame, "blur", 4, image_id="a") - blurred)[10:-10, 10:-10].mean() < 1.5
    grey = np.full((300, 300, 3), 128, np.uint8)
    theirs = random_noise(grey / 255, mode="gaussian", var=0.08**2, rng=0)
    assert corrupt(grey, "noise", 3, image_id="a").std() / 255 == pytest.approx(theirs.std(), rel=0.02)
    turned = corrupt(frame[:, 20:120], "rotation", 5, image_id="a")  # a square by a right angle
    differences = [np.abs(np.rot90(frame[:, 20:120], k).astype(float) - turned).mean() for k in (1, 3)]
    assert min(differences) < 0.5
    pixels = framing.resize(frame, (100, 140), (25, 35, 75, 105))
    assert (corrupt(frame, "zoom", 5, image_id="a") == pixels).all()
    assert corrupt(grey, "contrast", 5, image_id="a").std() == 0
    moved = corrupt(frame, "shift", 5, image_id="a").astype(float)
    offsets = [(d, r) for d in range(-10, 11) for r in range(-10, 11) if 9 <= np.hypot(d, r) <= 11]
    inner = [np.abs(moved[12:-12, 12:-12] - frame[12 + d : 88 + d, 12 + r : 128 + r]).max() for d, r in offsets]
    assert min(inner) == 0, "a shift moves pixels and changes none"


class Toy:
    """Bright images are nevi, dark ones melanomas; out of domain from a mean of 240."""

    def predict(self, frames):
        answers = []
        for frame in frames:
            p = np.full(7, 0.01)
            bright = frame.mean() / 255
            p[HAM7.index("nv")], p[HAM7.index("mel")] = bright, 1 - bright
            p = dict(zip(HAM7.codes, (p / p.sum()).tolist(), strict=True))
            answers.append(
                SimpleNamespace(probabilities=p, label=max(p, key=p.get), in_domain=bool(frame.mean() < 240))
            )
        return answers


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(1)
    y = np.where(np.arange(40) % 2, HAM7.index("nv"), HAM7.index("mel"))
    levels = np.where(y == HAM7.index("nv"), 170, 90) + rng.normal(0, 35, 40)
    frames = [np.full((32, 40, 3), np.clip(level, 0, 255), np.uint8) for level in levels]
    ids, lesions = [f"i{i}" for i in range(40)], np.arange(40) // 2
    kinds = ("brightness", "noise", "vignette", "rotation", "shift")
    return frames, ids, y, robustness.measure(Toy(), frames, ids, y, lesions, kinds=kinds, replicates=300)


def test_the_table_says_what_the_model_does(table):
    frames, ids, y, found = table
    assert list(found["kind"].unique()) == ["clean", "brightness", "noise", "vignette", "rotation", "shift"]
    assert (found["n_lesions"] == 20).all() and len(found) == 1 + 5 * 5
    found = found.set_index(["kind", "severity"])

    def said(kind=None, severity=0):
        changed = [corrupt(f, kind, severity, image_id=i) if kind else f for f, i in zip(frames, ids, strict=True)]
        return Toy().predict(changed)

    clean = said()
    for kind, severity in (("brightness", 5), ("vignette", 3)):
        answers, row = said(kind, severity), found.loc[(kind, severity)]
        predicted = [HAM7.index(one.label) for one in answers]
        accuracy, before = (
            balanced_accuracy_score(y, p) for p in (predicted, [HAM7.index(one.label) for one in clean])
        )
        assert row["balanced_accuracy"] == pytest.approx(accuracy)
        assert row["relative"] == pytest.approx(accuracy / before)
        assert row["same_label"] == np.mean([a.label == b.label for a, b in zip(answers, clean, strict=True)])
        change = [
            max(abs(a.probabilities[c] - b.probabilities[c]) for c in HAM7.codes)
            for a, b in zip(answers, clean, strict=True)
        ]
        assert row["mean_change"] == pytest.approx(np.mean(change))
        assert row["in_domain"] == np.mean([one.in_domain for one in answers])
        p = np.array([[one.probabilities[code] for code in HAM7.codes] for one in answers])
        assert row["confidence"] == pytest.approx(p.max(axis=1).mean())
        assert row["accuracy"] == pytest.approx(accuracy_score(y, p.argmax(axis=1)))
        gaps = calibration.gaps(*calibration.top_label(p, y)).sum(axis=0)
        assert row["ece"] == pytest.approx(np.abs(gaps).sum() / len(y))
        assert row["relative_low"] <= row["relative"] <= row["relative_high"]
    assert found.loc[("brightness", 5), "in_domain"] < 1
    still = found.loc[["clean", "rotation", "shift"]]  # plain frames look the same, turned or moved
    assert (still["same_label"] == 1).all() and (still["mean_change"] < 0.01).all()
    assert found.loc[("clean", 0), ["relative", "relative_low", "relative_high"]].tolist() == [1, 1, 1]
    assert robustness.weakest(found.reset_index())["relative"].is_monotonic_increasing


def test_calibration_is_measured_at_the_mix_that_probabilities_are_made_for(table):
    frames, ids, y, _ = table
    few = np.flatnonzero(y == HAM7.index("mel"))[:5]  # an uneven sample, weighed back to even
    rows = np.concatenate([np.flatnonzero(y == HAM7.index("nv")), few])
    prior = np.zeros(7)
    prior[[HAM7.index("nv"), HAM7.index("mel")]] = 0.2, 0.8
    some = [frames[i] for i in rows]
    found = robustness.measure(
        Toy(), some, [ids[i] for i in rows], y[rows], rows, prior=prior, kinds=("blur",), severities=(1,), replicates=0
    ).iloc[0]
    answers = Toy().predict(some)
    right = np.array([HAM7.index(one.label) for one in answers]) == y[rows]
    weight = np.where(y[rows] == HAM7.index("mel"), 0.8 / 5, 0.2 / 20)
    assert found["accuracy"] == pytest.approx(np.average(right, weights=weight))
    sure = [max(one.probabilities.values()) for one in answers]
    assert found["confidence"] == pytest.approx(np.average(sure, weights=weight))


def test_figures_say_what_they_show(table):
    found = table[3]
    for figure, alt in (corruption_curves(found), corruption_calibration(found), movement_curves(found)):
        assert plots.png(figure).startswith(b"\x89PNG")
        assert "everything" not in alt and len(alt) > 80
    worst = found[(found["kind"] == "vignette") & (found["severity"] == 5)].iloc[0]
    assert f"vignette {worst['relative']:.2f}" in corruption_curves(found)[1]


def test_what_cannot_be_measured_is_refused():
    frame = [np.zeros((20, 20, 3), np.uint8)]
    for changes in ({"kinds": ["rain"]}, {"severities": [6]}):
        with pytest.raises(DataError, match="unknown: (rain|6)"):
            robustness.measure(Toy(), frame, ["a"], np.zeros(1, int), np.array(["a"]), **changes)
    with pytest.raises(DataError, match="at least one image"):
        robustness.measure(Toy(), [], [], np.zeros(0, int), np.array([]))


def test_an_even_sample_has_the_rare_and_caps_the_common():
    y = np.repeat([0, 1, 2], [500, 30, 4])
    rows = robustness.sample_evenly(y, 25)
    assert np.bincount(y[rows]).tolist() == [25, 25, 4]
    assert len(set(rows)) == len(rows) and (np.diff(rows) > 0).all()
    assert (rows == robustness.sample_evenly(y, 25)).all() and (rows[:25] != np.arange(25)).any()
