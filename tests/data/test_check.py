"""The data check names every problem once, keeps what is good, and stops where nothing useful is left."""

import threading
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageStat

from skinlesion.core import images
from skinlesion.core.errors import DataError
from skinlesion.core.taxonomy import HAM7
from skinlesion.data.check import check_table
from skinlesion.data.problems import CONSEQUENCES
from skinlesion.data.splits import lesion_groups, take_subset
from skinlesion.data.table import LesionTable, Origin


def noise(seed=0, size=(40, 30)):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def table(tmp_path):
    """Six good images of six lesions, three nevi and three melanomas."""
    names = [f"IMG_{i}" for i in range(6)]
    for seed, name in enumerate(names):
        noise(seed, (40 + seed, 30)).save(tmp_path / f"{name}.png")
    frame = pd.DataFrame(
        {
            "image_id": names,
            "lesion_id": [f"L{i}" for i in range(6)],
            "label": ["nv", "mel"] * 3,
            "age": [30.0, np.nan, 0.0, 120.0, 55.0, 60.0],
            "sex": "unknown",
            "site": "back",
            "dx_type": "histo",
            "path": [str(tmp_path / f"{name}.png") for name in names],
        }
    )
    return LesionTable(frame, HAM7, {"csv": Origin("csv", "here")})


def change(table, row, **values):
    frame = table.frame.copy()
    for name, value in values.items():
        frame.loc[row, name] = value
    return replace(table, frame=frame)


def counts(check):
    found = dict(zip(check.summary["problem"], check.summary["count"], strict=True))
    assert set(found) == set(CONSEQUENCES), "every kind is counted, zeros included"
    assert sum(found.values()) == len(check.problems)
    return {kind: count for kind, count in found.items() if count}


def test_a_clean_table_passes_unchanged_and_is_measured(table, tmp_path):
    check = check_table(table)
    assert counts(check) == {}
    pd.testing.assert_frame_equal(check.table.frame, table.frame)
    assert check.images["image_id"].tolist() == table.frame["image_id"].tolist()
    assert check.images["width"].tolist() == [40, 41, 42, 43, 44, 45] and set(check.images["height"]) == {30}
    for row in check.images.itertuples():
        with Image.open(tmp_path / f"{row.image_id}.png") as image:  # Pillow's own statistics are the oracle
            assert [row.red, row.green, row.blue] == pytest.approx(ImageStat.Stat(image).mean)
            assert row.brightness == pytest.approx(ImageStat.Stat(image.convert("L")).mean[0] / 255, abs=0.003)


def test_without_decoding_images_are_not_opened(table, tmp_path):
    (tmp_path / "IMG_0.png").write_bytes(b"no image")
    check = check_table(table, decode=False)
    assert counts(check) == {} and len(check.images) == 0 and "brightness" in check.images


def test_images_that_cannot_be_decoded_or_have_vanished(table, tmp_path):
    whole = (tmp_path / "IMG_1.png").read_bytes()
    (tmp_path / "IMG_1.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "IMG_2.png").unlink()
    (tmp_path / "IMG_4.png").write_bytes(b"")
    check = check_table(table, workers=2)
    assert counts(check) == {"undecodable image": 2, "row without an image": 1}
    found = check.problems.set_index("image_id")
    assert found.loc["IMG_1", "problem"] == "undecodable image" and "unreadable" in found.loc["IMG_1", "detail"]
    assert found.loc["IMG_2", "problem"] == "row without an image"
    assert check.table.frame["image_id"].tolist() == ["IMG_0", "IMG_3", "IMG_5"]
    assert check.images["image_id"].tolist() == ["IMG_0", "IMG_3", "IMG_5"]
    assert check.images["width"].tolist() == [40, 43, 45]


def test_all_images_of_a_lesion_with_two_labels_are_set_aside(table):
    check = check_table(change(change(table, 1, lesion_id="L0"), 2, lesion_id="L4"))
    assert counts(check) == {"lesion with two labels": 2}
    assert check.problems["image_id"].tolist() == ["IMG_0", "IMG_1"]
    assert set(check.problems["detail"]) == {"L0 is mel and nv"}
    assert len(check.table) == 4, "one label for both images of L4 is as it should be"


def test_lesion_ids_that_differ_in_case_or_zeros_alone_are_listed_and_kept_together(table):
    for row, lesion in enumerate(("IL_1", "il_1", "007", "7.0", "IMG_4", "img_4")):
        table = change(table, row, lesion_id=lesion)
    check = check_table(table, decode=False)
    assert counts(check) == {"lesion id in two forms": 2} and len(check.table) == 6
    assert check.problems["detail"].tolist() == [
        "il_1 may be the same lesion as IL_1", "7.0 may be the same lesion as 007"
    ]  # fmt: skip
    groups = lesion_groups(check.table)
    assert groups[0] == groups[1] and groups[2] == groups[3] and len(set(groups)) == 4, "IMG_4 has no lesion id"


def test_ages_out_of_range_are_emptied_and_reported(table):
    check = check_table(change(change(table, 0, age=-5.0), 5, age=121.0))
    assert counts(check) == {"age out of range": 2}
    assert check.table.frame["age"].isna().tolist() == [True, True, False, False, False, True]
    assert len(check.table) == 6 and check.table.frame["age"].iloc[3] == 120.0


def test_near_duplicate_pairs_that_name_unknown_images(table, tmp_path):
    (tmp_path / "IMG_5.png").write_bytes(b"damaged")
    pairs = (("IMG_0", "IMG_2"), ("IMG_0", "GONE"), ("IMG_1", "IMG_5"))
    given = LesionTable(table.frame, HAM7, {"csv": Origin("csv", "here")}, near_duplicates=pairs)
    check = check_table(given)
    assert counts(check) == {"near-duplicate of unknown image": 1, "undecodable image": 1}
    assert check.problems.set_index("problem").loc["near-duplicate of unknown image", "image_id"] == "GONE"
    assert check.table.near_duplicates == (("IMG_0", "IMG_2"), ("IMG_1", "IMG_5"))


def test_problems_of_the_reader_are_counted_with_the_others(table, tmp_path):
    rows = [["A", "unknown label", "wart"], ["B", "unknown label", "scar"], ["C", "image without a row", "C.jpg"]]
    problems = pd.DataFrame(rows, columns=["image_id", "problem", "detail"])
    given = LesionTable(table.frame, HAM7, {"csv": Origin("csv", "here")}, problems=problems)
    check = check_table(change(given, 0, age=300.0), decode=False)
    assert counts(check) == {"unknown label": 2, "image without a row": 1, "age out of range": 1}
    check = check_table(given, decode=False)
    check.write(tmp_path / "out" / "data_check.csv")
    written = pd.read_csv(tmp_path / "out" / "data_check.csv")
    assert written.to_numpy().tolist() == [[*row, "csv"] for row in rows]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["data_check.csv"]


def test_it_stops_where_fewer_than_two_classes_are_left(table, tmp_path):
    for name in ("IMG_1", "IMG_3", "IMG_5"):
        (tmp_path / f"{name}.png").write_bytes(b"damaged")
    with pytest.raises(DataError) as caught:
        check_table(table)
    text = str(caught.value)
    assert "nothing useful is left of here: 3 images of 1 class," in text and "3 x undecodable image (IMG_1" in text
    with pytest.raises(DataError, match="0 images of 0 classes.*add images"):
        check_table(table.keep(table.frame["label"] == "none"))


def test_images_are_decoded_once_and_several_at_a_time(table, monkeypatch):
    """What makes it fast: each decoding below waits until another one is under way."""
    decode, decoded, pair = images.decode, Counter(), threading.Barrier(2, timeout=300)

    def watched(data, **how):
        decoded[data] += 1
        pair.wait()
        return decode(data, **how)

    monkeypatch.setattr(images, "decode", watched)
    assert len(check_table(table, workers=2).images) == len(table)
    assert len(decoded) == len(table) and set(decoded.values()) == {1}


@pytest.mark.real
@pytest.mark.parametrize("count", [500, pytest.param(10_015, marks=pytest.mark.soak)])
def test_real_ham10000_is_clean(ham10000, count):
    some = take_subset(ham10000, count, seed=0)
    check = check_table(some)
    assert counts(check) == {}
    assert len(check.table) == len(check.images) == len(some) >= count
    assert set(check.images["width"]) == {200} and set(check.images["height"]) == {150}
    assert check.table.near_duplicates == some.near_duplicates
