"""Skin tone: colour and geometry against painted frames."""

import numpy as np
import pytest
from skimage.color import lab2rgb, rgb2lab

from skinlesion.data import skin_tone
from skinlesion.data.sources import load_table


def painted(angle, lightness, shape=(150, 200)):
    """A frame of one skin colour with this typology angle, uint8; and the angle that its rounded colour really has."""
    yellow = (lightness - 50) / np.tan(np.radians(angle))
    color = np.round(lab2rgb([[[lightness, 8.0, yellow]]])[0, 0] * 255).astype(np.uint8)
    light, _, b = rgb2lab(color[None, None])[0, 0]
    return np.tile(color, (*shape, 1)), float(np.degrees(np.arctan((light - 50) / b)))


def disc(shape, radius):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return (y - shape[0] / 2) ** 2 + (x - shape[1] / 2) ** 2 < radius**2


@pytest.mark.parametrize("angle, lightness", [(70, 78), (48, 66), (35, 62), (20, 56), (-20, 44), (-50, 28)])
def test_the_angle_of_plain_skin(angle, lightness):
    frame, true = painted(angle, lightness)
    assert skin_tone.typology_angle(frame) == pytest.approx(true, abs=0.01)
    assert true == pytest.approx(angle, abs=2)


def test_lesion_vignette_corners_hair_and_glare_do_not_move_it():
    frame, true = painted(40, 64)
    rng = np.random.default_rng(0)
    frame[disc(frame.shape[:2], 40)] = (70, 40, 30)  # the lesion, in the middle
    frame[~disc(frame.shape[:2], 95)] = 0  # a round field of view
    frame[:, rng.integers(0, 200, 12)] = (25, 20, 20)  # hair
    frame[rng.random(frame.shape[:2]) < 0.03] = 255  # bubbles
    assert skin_tone.typology_angle(frame) == pytest.approx(true, abs=0.5)


def test_a_lesion_that_reaches_the_border_is_left_out_by_its_mask():
    frame, true = painted(55, 70)
    lesion = np.zeros(frame.shape[:2], bool)
    lesion[:, :140] = True
    frame[lesion], _ = painted(5, 52, (1,))
    assert abs(skin_tone.typology_angle(frame) - true) > 20
    assert skin_tone.typology_angle(frame, lesion) == pytest.approx(true, abs=0.5)
    assert np.isnan(skin_tone.typology_angle(frame, np.ones_like(lesion))), "nothing but lesion"


def test_casts_and_size():
    bluish = np.tile(np.array([190, 185, 205], np.uint8), (60, 80, 1))
    assert skin_tone.typology_angle(bluish) > 90, "light skin under a blue cast must not turn into dark skin"
    assert np.isnan(skin_tone.typology_angle(bluish // 3)), "dark and blue: no telling"
    frame, true = painted(30, 60, (1500, 2000))
    assert skin_tone.typology_angle(frame) == pytest.approx(true, abs=0.01)


def test_groups_are_cut_where_the_literature_cuts_them():
    words = list(skin_tone.tone_groups(np.array([55.1, 54.9, 41.1, 40.9, 28.1, 27.9, 10.1, 9.9, -29.9, -30.1, np.nan])))
    assert words == ["very light", "light", "light", "intermediate", "intermediate", "tan", "tan", "brown", "brown",
                     "dark", "unknown"]  # fmt: skip


def test_repeatability_is_the_spread_within_lesions():
    rng = np.random.default_rng(1)
    lesions = np.repeat(np.arange(4000), 3)
    angles = rng.normal(40, 30, 4000)[lesions] + rng.normal(0, 7, 12000)
    angles[::10] = np.nan
    assert skin_tone.repeatability(angles, lesions) == pytest.approx(7, rel=0.05)
    assert np.isnan(skin_tone.repeatability(angles[:5], np.arange(5)))


def test_the_demo_set_with_its_masks():
    table = load_table("demo:60")
    masks = skin_tone.lesion_masks(table.location)
    assert set(masks) >= set(table.frame["image_id"])
    angles = skin_tone.skin_tones(table)
    assert angles.shape == (len(table),) and np.isfinite(angles).mean() > 0.9
    assert skin_tone.lesion_masks(table.location + "/nowhere") == {}


@pytest.mark.real
def test_real_images_show_light_skin_for_the_most_part(ham10000):
    some = ham10000.keep(np.arange(len(ham10000)) % 100 == 0)
    tones = skin_tone.tone_groups(skin_tone.skin_tones(some))
    assert (tones == "unknown").mean() < 0.1
    assert np.isin(tones, ["very light", "light"]).mean() > 0.75
