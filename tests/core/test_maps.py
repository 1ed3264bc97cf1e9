"""The maps of a frame's crops, joined over what they cover."""

import numpy as np
import pytest

from skinlesion.core.framing import crop_boxes, join_maps, region


def test_one_squares_map_stays_as_it_is():
    one = np.random.default_rng(0).normal(size=(1, 5, 5)).astype(np.float32)
    assert np.array_equal(join_maps(one, 300, 400), one[0])


@pytest.mark.parametrize("shape", [(450, 600), (600, 450), (500, 500), (400, 450), (300, 900)])
def test_what_both_squares_show_of_one_scene_is_that_scene(shape):
    """A plane over the frame, seen in each square's cells: linear interpolation gives it back inside."""

    def plane(rows, columns):
        return 2.0 + 0.01 * rows[:, None] - 0.02 * columns[None, :]

    def cells(start, stop, count):
        return start + (np.arange(count) + 0.5) / count * (stop - start)

    maps = [plane(cells(top, bottom, 5), cells(left, right, 5)) for top, left, bottom, right in crop_boxes(*shape, 2)]
    joined = join_maps(np.array(maps, np.float32), *shape)
    top, left, bottom, right = region(*shape, "random_crop", 2)
    expected = plane(cells(top, bottom, joined.shape[0]), cells(left, right, joined.shape[1]))
    assert joined.shape == (7, 7)
    assert joined.dtype == np.float32
    inner = (slice(1, -1), slice(1, -1))  # beyond the outermost cells' middles nothing is known of the slope
    along = int(shape[1] > shape[0])
    assert np.abs(joined - expected)[inner].max() < 0.6 * np.ptp(expected) / 7
    middle = np.take(joined, 3, axis=1 - along)[2:5], np.take(expected, 3, axis=1 - along)[2:5]
    assert np.abs(middle[0] - middle[1]).max() < 1e-3


def test_each_end_shows_its_own_squares_map():
    maps = np.stack([np.full((4, 4), 1.0), np.full((4, 4), -3.0)]).astype(np.float32)
    joined = join_maps(maps, 300, 400)
    assert np.allclose(joined[:, 0], 1) and np.allclose(joined[:, -1], -3)
    assert np.allclose(joined[:, 2:4], -1), "in the middle both count alike"
    upright = join_maps(maps, 400, 300)
    assert np.array_equal(upright, joined.T)
