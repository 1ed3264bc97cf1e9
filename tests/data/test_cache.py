import json

import numpy as np
import onnxruntime
import pytest

from exported import SIZE, exported, network
from skinlesion.core import framing, images
from skinlesion.core.errors import DataError
from skinlesion.data import cache
from skinlesion.training.trained import predict
from small import small_table


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.setenv("SKINLESION_CACHE", str(tmp_path / "cache"))
    return small_table(tmp_path / "images", lesions=6)


@pytest.mark.parametrize("fit", framing.FITS)
def test_pixels_are_what_the_one_resize_gives(table, fit):
    built = cache.build_cache(table, size=24, fit=fit)
    for i in (0, 7, len(table) - 1):
        frame = images.read_image(table.frame["path"][i])
        assert np.array_equal(built.pixels[i], framing.fit_square(frame, 24, fit))
    assert built.pixels.dtype == np.uint8
    assert not built.pixels.flags.writeable


def test_two_squares_are_kept_beside_the_centre(table):
    built = cache.build_cache(table, size=24, fit="random_crop", crops=2)
    frame = images.read_image(table.frame["path"][3])
    expected = [framing.resize(frame, (24, 24), box) for box in framing.crop_boxes(*frame.shape[:2], 2)]
    assert np.array_equal(built.crops[3], expected)
    assert np.array_equal(built.pixels[3], framing.fit_square(frame, 24, "random_crop"))
    alone = cache.build_cache(table, size=24, fit="random_crop")
    assert alone.folder != built.folder
    assert np.array_equal(alone.crops[:, 0], alone.pixels)


def test_what_training_answers_on_two_squares_is_what_the_exported_network_answers(table, tmp_path_factory):
    built = cache.build_cache(table, size=SIZE, fit="random_crop", crops=2)
    path = exported(tmp_path_factory, "random_crop", 2)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    rows = np.array([5, 0, 3])
    found = predict(network(), built, rows, views=4)
    frames = [images.read_image(table.frame["path"][row]) for row in rows]
    theirs = [session.run(["logits", "features"], {"image": frame[None]}) for frame in frames]
    for ours, expected in zip(found, zip(*theirs, strict=True), strict=True):
        assert np.abs(ours - np.concatenate(expected)).max() < 1e-4


def test_random_crops_keep_the_whole_frame(table):
    built = cache.build_cache(table, size=24, fit="random_crop")
    assert built.frames.shape[1:] == (28, 37, 3)
    assert np.array_equal(
        built.frames[3], framing.fit_training_frame(images.read_image(table.frame["path"][3]), 24, "random_crop")
    )


@pytest.mark.parametrize("shape", [(60, 40), (40, 40), (40, 53), (30, 90)])
def test_frames_of_any_shape_become_landscape(shape):
    frame = np.full((*shape, 3), 77, np.uint8)
    assert (framing.fit_training_frame(frame, 24, "random_crop") == 77).all()


def test_images_are_decoded_once(table, monkeypatch):
    first = cache.build_cache(table, size=24, fit="squash")
    monkeypatch.setattr(images, "read_image", lambda path: pytest.fail("decoded again"))
    again = cache.build_cache(table, size=24, fit="squash")
    assert again.content == first.content
    assert np.array_equal(again.pixels, first.pixels)


def test_an_interrupted_build_goes_on_and_ends_the_same(table, monkeypatch):
    monkeypatch.setattr(cache, "BLOCK", 8)
    whole = cache.build_cache(table, size=20, fit="squash", workers=1)
    read, calls = images.read_image, []

    def breaks(path):
        calls.append(path)
        if len(calls) == 30:
            raise KeyboardInterrupt
        return read(path)

    monkeypatch.setattr(images, "read_image", breaks)
    with pytest.raises(KeyboardInterrupt):
        cache.build_cache(table, size=24, fit="squash", workers=1)
    folder = next(f for f in whole.folder.parent.iterdir() if f != whole.folder)
    done = json.loads((folder / "done.json").read_text())["images"]
    assert done == 24
    with pytest.raises(DataError, match="missing or damaged"):
        cache.open_cache(folder)

    monkeypatch.setattr(images, "read_image", lambda path: calls.append(path) or read(path))
    calls.clear()
    finished = cache.build_cache(table, size=24, fit="squash", workers=1)
    assert calls == list(table.frame["path"][done:])
    expected = [framing.fit_square(read(path), 24, "squash") for path in table.frame["path"]]
    assert np.array_equal(finished.pixels, expected)


def test_another_image_makes_another_cache(table):
    before = cache.cache_key(table, 24, "squash")
    assert cache.cache_key(table, 25, "squash") != before
    assert cache.cache_key(table, 24, "center_crop") != before
    path = table.frame["path"][0]
    with open(path, "ab") as file:
        file.write(b" ")
    assert cache.cache_key(table, 24, "squash") != before


def test_an_image_that_cannot_be_read_is_named(table):
    with open(table.frame["path"][2], "wb") as file:
        file.write(b"rubbish")
    with pytest.raises(DataError, match=f"{table.frame['image_id'][2]}.*data check"):
        cache.build_cache(table, size=24, fit="squash")
