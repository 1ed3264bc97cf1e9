"""The demo set's pictures: classes that differ and overlap, lesions that stay themselves, skin of many tones."""

import numpy as np
import pytest
from scipy.spatial import cKDTree
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinlesion.core.errors import DataError
from skinlesion.core.taxonomy import HAM7
from skinlesion.data.demo import dataset as demo
from skinlesion.data.demo import drawing
from skinlesion.data.demo.camera import Sitting
from skinlesion.data.demo.classes import LOOKALIKES, draw_lesion


@pytest.fixture(scope="module")
def drawn():
    """30 pictures with masks of each of the eight labels: {label: [(pixels, mask)]}."""
    return {
        label: [Sitting(draw_lesion(label, np.random.default_rng((5, number)))).photograph() for number in range(30)]
        for label in LOOKALIKES
    }


def test_an_example_is_the_same_each_time_and_needs_a_known_diagnosis():
    for dx in (*HAM7.codes, "ak", "scc"):
        example = demo.draw_example(dx, seed=3)
        assert example.shape == (150, 200, 3) and example.dtype == np.uint8
        np.testing.assert_array_equal(example, demo.draw_example(dx, seed=3))
    assert not np.array_equal(demo.draw_example("nv", 3), demo.draw_example("nv", 4))
    with pytest.raises(DataError, match="'wart'.*akiec"):
        demo.draw_example("wart", 0)


def test_cells_are_those_of_scipys_tree():
    side, rows = drawing._TILE, drawing._TILE // drawing._CELL
    corners = np.stack(np.meshgrid(np.arange(rows), np.arange(rows)), axis=-1)
    points = (corners + np.random.default_rng(1).uniform(0.15, 0.85, corners.shape)) * drawing._CELL
    y, x = np.divmod(np.arange(side * side), side)
    distances, nearest = cKDTree(points.reshape(-1, 2), boxsize=side).query(np.stack([x, y], axis=1), k=2)
    ours = drawing._nearest_two(points)
    np.testing.assert_array_equal(ours[0].T, distances)
    np.testing.assert_array_equal(ours[1].T, nearest)


def contrast(pixels, mask):
    """Log ratio of skin to lesion in red, green and blue."""
    light = np.log(pixels.astype(float) + 1)
    skin = ~mask & (pixels.sum(axis=2) > 200)
    return np.median(light[skin], axis=0) - np.median(light[mask], axis=0)


def measure(drawn, label, number):
    return [number(*contrast(*pair)) for pair in drawn[label] if (~pair[1]).sum() > 1000]


def test_classes_differ_in_colour_and_yet_overlap(drawn):
    # Blood leaves more blue than green, melanin less: in HAM10000 this alone tells 98% of vascular lesions from nevi.
    blood = {label: measure(drawn, label, lambda r, g, b: g - b) for label in ("vasc", "nv")}
    assert separation(blood["vasc"], blood["nv"]) > 0.85
    darkness = {label: measure(drawn, label, lambda r, g, b: r + g + b) for label in LOOKALIKES}
    assert np.median(darkness["mel"]) > np.median(darkness["bkl"]) > np.median(darkness["ak"])
    assert np.std(darkness["mel"]) > np.std(darkness["ak"])
    for one, other in (("mel", "nv"), ("bkl", "nv"), ("ak", "scc"), ("bcc", "scc"), ("df", "bcc")):
        assert 0.15 < separation(darkness[one], darkness[other]) < 0.85, (one, other)


def separation(one, other):
    """AUROC of telling them apart by this number."""
    return roc_auc_score([1] * len(one) + [0] * len(other), one + other)


def test_classes_can_be_learnt_but_not_perfectly(drawn):
    features, labels = [], []
    for label, pairs in drawn.items():
        for pixels, mask in pairs:
            if (~mask).sum() > 1000:
                inside = np.log(pixels[mask] + 1.0)
                spread = np.percentile(inside, (2, 25, 75, 98), axis=0) - np.median(inside, axis=0)
                features.append([mask.mean(), *contrast(pixels, mask), *spread.ravel()])
                labels.append(label)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=200))
    score = balanced_accuracy_score(labels, cross_val_predict(model, np.array(features), labels, cv=4))
    assert 0.25 < score < 0.75  # chance is 0.125


def test_two_pictures_of_a_lesion_are_more_alike_than_two_lesions():
    pairs = []
    for number in range(30):
        sitting = Sitting(draw_lesion("nv", np.random.default_rng((6, number))))
        pairs.append((contrast(*sitting.photograph()), contrast(*sitting.photograph())))
    first, second = np.array(pairs).transpose(1, 0, 2)
    same, other = np.abs(first - second).sum(axis=1), np.abs(first[1:] - first[:-1]).sum(axis=1)
    assert 0 < np.median(same) < 0.4 * np.median(other)


def test_skin_ranges_from_very_light_to_brown(drawn):
    """Individual typology angle, degrees (Chardon et al. 1991): over 41 is light, under 28 tan and darker."""
    angles = []
    for pairs in drawn.values():
        for pixels, mask in pairs:
            skin = pixels[~mask & (pixels.sum(axis=2) > 150)]
            if len(skin) > 1000:
                lightness, _, yellow = to_lab(np.median(skin, axis=0))
                angles.append(np.degrees(np.arctan2(lightness - 50, yellow)))
    angles = np.array(angles)
    assert (angles > 41).mean() > 0.5 and (angles < 28).mean() > 0.02 and angles.min() < 0


def to_lab(rgb):
    """CIE L*a*b* (D65) of an sRGB colour, 0 to 255 (IEC 61966-2-1, CIE 15)."""
    c = np.asarray(rgb) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    matrix = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(matrix @ linear / [0.9505, 1.0, 1.089])
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)
