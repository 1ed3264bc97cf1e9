"""The border's colours against images whose borders were made, and models whose outputs are known."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from skinlesion.core.errors import DataError
from skinlesion.core.taxonomy import HAM7
from skinlesion.evaluation import shortcut
from skinlesion.evaluation.predictions import Predictions

MEL, NV, BCC = (HAM7.codes.index(code) for code in ("mel", "nv", "bcc"))
QUICK = {"replicates": 50}


def predicted(y, malignant):
    """Predictions of one image a lesion whose malignant probability is given."""
    p = np.zeros((len(y), len(HAM7)))
    p[:, MEL], p[:, NV] = malignant, 1 - np.asarray(malignant)
    ids = np.array([f"i{number}" for number in range(len(y))])
    return Predictions(ids, ids, np.full(len(y), "test"), np.full(len(y), -1), HAM7, np.asarray(y), p, p)


def pictures(borders, seed=0):
    """Squares of 32 px with a border of about these colours; the middle is noise that has nothing to do with them."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (len(borders), 32, 32, 3), dtype=np.uint8)
    for frame, color in zip(frames, borders, strict=True):
        frame[shortcut._border(32, 32)] = np.clip(rng.normal(color, 6, (32 * 32 - 24 * 24, 3)), 0, 255)
    return frames


def test_the_border_is_the_outer_eighth():
    frame = np.zeros((40, 80, 3), np.uint8)
    frame[5:35, 10:70] = 200
    assert (shortcut.border_color(frame) == 0).all()
    frame[:] = (10, 20, 30)
    np.testing.assert_allclose(shortcut.border_features(frame), [10, 20, 30, 0, 0, 0] + [10, 20, 30] * 3)


def test_a_border_that_gives_the_class_away_is_read_and_another_is_not():
    y = np.array([MEL, NV] * 40)
    told = pictures([(150, 110, 110) if one == MEL else (170, 130, 110) for one in y])
    untold = pictures(np.random.default_rng(1).uniform(100, 200, (len(y), 3)))
    images = predicted(y, np.where(y == MEL, 0.8, 0.1))
    found = shortcut.border_auroc(told, images, **QUICK)
    assert found["border"]["value"] > 0.95 and found["network"]["value"] == 1
    assert found["difference"]["value"] == pytest.approx(1 - found["border"]["value"])
    blind = shortcut.border_auroc(untold, images, **QUICK)
    assert 0.25 < blind["border"]["value"] < 0.75 and blind["difference"]["low"] > 0


def test_too_few_lesions_are_told():
    with pytest.raises(DataError, match="two malignant and two benign"):
        shortcut.border_auroc(pictures([(1, 2, 3)] * 3), predicted([MEL, NV, NV], [0.5] * 3), **QUICK)


def test_recolouring_gives_the_border_another_colour():
    frame = pictures([(120, 100, 90)])[0]
    changed = shortcut.recolor(frame, shortcut.border_color(frame), (150, 80, 90))
    np.testing.assert_allclose(shortcut.border_color(changed), (150, 80, 90), atol=2)
    limit = shortcut.recolor(np.full((8, 8, 3), 40, np.uint8), np.full(3, 40.0), np.full(3, 250.0))
    assert (limit == 80).all(), "no channel gets more than twice as bright"


def test_colours_are_those_of_benign_images_by_group():
    frames = pictures([(100, 100, 100)] * 25 + [(150, 90, 90)] * 25 + [(200, 200, 200)] * 5)
    benign = np.array([True] * 50 + [False] * 5)
    groups = np.array(["a"] * 25 + ["b"] * 25 + ["a"] * 5)
    found = shortcut.border_colors(frames, benign, groups)
    assert list(found) == ["a", "b"]
    np.testing.assert_allclose(found["b"], (150, 90, 90), atol=2)
    few = shortcut.border_colors(frames[:6], benign[:6], groups[:6])
    assert list(few) == ["all"]
    frame = pd.DataFrame({"dx_type": ["histo", "follow_up"], "source": ["here", "here"]})
    assert list(shortcut.camera_groups(frame)) == ["histo", "follow_up"]
    assert list(shortcut.camera_groups(frame.assign(source=["here", "there"]))) == ["here", "there"]


class Redness:
    """A model that refers whatever has a red border."""

    def predict(self, frames):
        return [SimpleNamespace(malignant_probability=float(shortcut.border_color(one)[0] > 140)) for one in frames]


def test_a_model_that_reads_the_border_changes_its_referral():
    y = np.array([MEL] * 8 + [BCC] * 4 + [NV] * 3)
    frames = pictures([(160, 100, 100)] * 15)
    colors = {"dark": np.array([110, 100, 100]), "same": np.array([160, 100, 100])}
    found = shortcut.recoloring(Redness(), frames, frames, predicted(y, [0.5] * 15), colors, threshold=0.5, **QUICK)
    by = {(row["border"], row["images"]): row for row in found}
    assert by["dark", "malignant"]["change"] == {"value": -1, "low": -1, "high": -1, "n": 12}
    assert by["dark", "melanoma"]["change"]["n"] == 8 and by["dark", "melanoma"]["before"]["value"] == 1
    assert by["same", "malignant"]["change"]["value"] == 0
    told = {"auroc": shortcut.border_auroc(frames, predicted(y, [0.5] * 15), **QUICK), "recolored": found}
    assert "-1.00" in shortcut.in_words(told) and "excludes 0" in shortcut.in_words(told)
    assert [len(table) for table in shortcut.tables(told)] == [3, 4]
