"""A row means one file, and no file is passed over without being counted."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skinlesion.core import images
from skinlesion.core.errors import DataError
from skinlesion.data.check import check_table
from skinlesion.data.files import find_files
from skinlesion.data.sources import load_table
from small import encoded, jpeg, write_csv, write_images


def problems(table):
    return {(row.image_id, row.problem) for row in table.problems.itertuples()}


def zipped(path, members, kind=zipfile.ZIP_STORED):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def picture(size=(80, 60), seed=0):
    """A smooth picture, which looks alike in every size: the same for the same seed."""
    y, x = np.mgrid[0:1:60j, 0:1:80j]
    waves = [np.sin(6 * x * (seed + 1) + 4 * y), np.cos(5 * y * (seed + 2)), np.sin(3 * x - 7 * y + seed)]
    pixels = np.stack([(wave + 1) * 127 for wave in waves], axis=2).astype(np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR)


# A row means one file


@pytest.mark.parametrize("separator", ["/", "\\"])
def test_a_file_of_the_same_name_in_another_folder_is_another_image(tmp_path, separator):
    for folder, gone in (("mel", 3), ("nv", 5)):
        (tmp_path / folder).mkdir()
        for i in set(range(8)) - {gone}:
            (tmp_path / folder / f"{i}.jpg").write_bytes(jpeg(i + 10 * (folder == "nv")))
    rows = [(f"{folder}{separator}{i}.jpg", folder) for folder in ("mel", "nv") for i in range(8)]
    table = load_table(str(write_csv(tmp_path / "t.csv", ("path", "label"), rows)))
    assert len(table) == 14
    for row in table.frame.itertuples():
        assert f"/{row.label}/" in row.path
    assert problems(table) == {
        ("mel/3.jpg", "row without an image"),
        ("nv/5.jpg", "row without an image"),
    }


def test_paths_that_were_written_at_another_place(tmp_path):
    folder = tmp_path / "set"
    zipped(folder / "part_1.zip", {f"mel/{i}.jpg": jpeg(i) for i in range(4)})
    write_images(folder / "nv", [f"{i}.jpg" for i in range(3)])  # nv/3.jpg is lost
    rows = [(rf"C:\Users\me\data\{name}\{i}.JPG", name) for name in ("mel", "nv") for i in range(4)]
    table = load_table(str(write_csv(folder / "t.csv", ("file", "label"), rows)))
    assert len(table) == 7 and all(f"/{row.label}/" in row.path.replace("!", "/") for row in table.frame.itertuples())
    assert {name for name, _ in problems(table)} == {"C:/Users/me/data/nv/3.JPG"}
    rows += [("4.jpg", "mel"), ("nv/3.jpg", "nv"), ("../mel/9.jpg", "mel")]  # paths of other depths, all of lost images
    table = load_table(str(write_csv(folder / "t.csv", ("file", "label"), rows)))
    assert len(table) == 7
    lost = {"C:/Users/me/data/nv/3.JPG", "4.jpg", "nv/3.jpg", "../mel/9.jpg"}
    assert problems(table) == {(name, "row without an image") for name in lost}
    rows = [(f"set/{i}.jpg", "nv" if i else "mel") for i in range(3)]  # written from the folder above
    write_images(tmp_path / "two" / "set", [f"{i}.jpg" for i in range(3)])
    assert len(load_table(str(write_csv(tmp_path / "two" / "set" / "t.csv", ("path", "label"), rows)))) == 3


def test_a_column_that_was_sorted_alone_is_told(tmp_path):
    write_images(tmp_path, ["a.jpg", "b.jpg", "1.jpg", "2.jpg"])
    rows = [("1", "2.jpg", "nv"), ("2", "1.jpg", "mel"), ("lesion 7", "a.jpg", "nv"), ("B.png", "b.jpg", "mel")]
    assert len(load_table(str(write_csv(tmp_path / "t.csv", ("id", "path", "label"), rows)))) == 4
    rows[2:] = [("b", "a.jpg", "nv"), ("a", "b.jpg", "mel")]
    with pytest.raises(DataError, match=r"in 2 rows of .* b beside a\.jpg: was one column sorted alone"):
        load_table(str(write_csv(tmp_path / "t.csv", ("id", "path", "label"), rows)))


def test_numbers_whose_zeros_a_spreadsheet_took_are_found(tmp_path):
    write_images(tmp_path, ["007.jpg", "08.jpg", "8.jpg", "009.jpg", "09.jpg"])
    rows = [("7.0", "nv"), ("8", "mel"), ("08", "nv"), ("9", "mel")]
    table = load_table(str(write_csv(tmp_path / "t.csv", ("image_id", "label"), rows)))
    assert [Path(path).name for path in table.frame["path"]] == ["007.jpg", "8.jpg", "08.jpg"]
    assert ("9", "several images for one id") in problems(table)


def test_images_of_isic_2019_are_found_by_the_archives_ids(tmp_path):
    write_images(tmp_path, ["ISIC_0000001_downsampled.jpg", "ISIC_0000002_downsampled.jpg", "ISIC_0000002.jpg"])
    rows = [("ISIC_0000001", "nv"), ("ISIC_0000002", "mel")]
    table = load_table(str(write_csv(tmp_path / "t.csv", ("image_id", "label"), rows)))
    assert [Path(path).stem for path in table.frame["path"]] == ["ISIC_0000001_downsampled", "ISIC_0000002"]


def test_case_is_not_decisive_in_a_path_that_one_file_fits(tmp_path):
    """As on the Windows machine where the table was written; of two files that it would confuse, none is taken."""
    write_images(tmp_path / "Images", ["1.jpg", "2.JPG", "3.Jpg", "3.JPG", "4.png"])
    rows = [("images/1.jpg", "nv"), ("Images/2.jpg", "mel"), ("Images/3.jpg", "nv"), ("Images/4.jpg", "mel")]
    rows += [("Images/3.JPG", "mel")]
    table = load_table(str(write_csv(tmp_path / "t.csv", ("path", "label"), rows)))
    found = [(row.label, row.path.rpartition("/")[2]) for row in table.frame.itertuples()]
    assert found == [("nv", "1.jpg"), ("mel", "2.JPG"), ("mel", "3.JPG")]
    lost = {name for name, problem in problems(table) if problem == "row without an image"}
    assert len(lost) == 2 and all("3.jpg" in name or "4" in name for name in lost)


def test_names_without_a_folder_that_several_images_have_are_refused(tmp_path):
    write_images(tmp_path / "a", ["1.jpg", "2.jpg", "3.jpg"])
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "1.jpg").write_bytes(jpeg(77))
    rows = [("1.jpg", "nv"), ("2.jpg", "mel"), ("3.jpg", "nv")]
    table = load_table(str(write_csv(tmp_path / "t.csv", ("image", "label"), rows)))
    assert table.frame["image_id"].tolist() == ["2", "3"]
    assert problems(table) == {("1", "several images for one id")}


def test_two_rows_never_get_one_file_unnoticed(tmp_path):
    write_images(tmp_path, ["a.jpg", "b.jpg", "c.jpg"])
    rows = [("one", "a.jpg", "nv"), ("two", "./a.jpg", "mel"), ("three", "b.jpg", "nv"), ("four", "b.jpg", "nv"),
            ("five", "c.jpg", "mel")]  # fmt: skip
    table = load_table(str(write_csv(tmp_path / "t.csv", ("id", "path", "label"), rows)))
    assert table.frame["image_id"].tolist() == ["three", "five"]
    assert problems(table) == {(name, "one file for several ids") for name in ("one", "two", "four")}


HAM = ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization")


def ham(folder, ids, **files):
    rows = [(f"L{i}", name, ("nv", "mel")[i % 2], "histo", "50", "male", "back") for i, name in enumerate(ids)]
    write_csv(folder / "HAM10000_metadata.csv", HAM, rows)


def archive_of_isic(folder, ids):
    rows = [(name, f"L{i}", ("nevus", "melanoma")[i % 2]) for i, name in enumerate(ids)]
    write_csv(folder / "metadata.csv", ("isic_id", "lesion_id", "diagnosis"), rows)


def plain_csv(folder, ids):
    rows = [(name, f"L{i}", ("nevus", "melanoma")[i % 2]) for i, name in enumerate(ids)]
    write_csv(folder / "t.csv", ("image_id", "lesion_id", "label"), rows)


@pytest.mark.parametrize("make", [ham, archive_of_isic, plain_csv])
def test_image_mask_thumbnail_and_copy_in_every_reader(tmp_path, make):
    """The rule is one: never a mask, identical copies are one, of one picture the largest, else refused by name."""
    ids = [f"ISIC_002430{i}" for i in range(7)]
    make(tmp_path, ids)
    mask = Image.new("L", (200, 150))
    mask.paste(255, (50, 40, 150, 110))
    for i, name in enumerate(ids[:6]):
        (tmp_path / f"{name}.png").write_bytes(encoded(picture(seed=i)))
    for folder in ("masks", "thumbs"):
        (tmp_path / folder).mkdir()
    (tmp_path / "masks" / f"{ids[0]}.png").write_bytes(encoded(mask))
    (tmp_path / f"{ids[1]}.bmp").write_bytes(encoded(mask, "BMP"))  # a mask by what it shows
    (tmp_path / "thumbs" / f"{ids[2]}.jpg").write_bytes(encoded(picture((40, 30), 2), "JPEG"))
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / f"{ids[3]}.jpg").write_bytes(encoded(picture((160, 120), 3), "JPEG"))
    (tmp_path / "large" / f"{ids[4]}.png").write_bytes(encoded(picture(seed=4)))  # an identical copy
    (tmp_path / "large" / f"{ids[5]}.png").write_bytes(encoded(picture((160, 120), seed=1)))  # another picture
    (tmp_path / "masks" / f"{ids[6]}.png").write_bytes(encoded(mask))  # its image is missing
    table = load_table(str(tmp_path / "t.csv") if make is plain_csv else str(tmp_path))
    shapes = {row.image_id: images.read_image(row.path).shape[:2] for row in table.frame.itertuples()}
    assert shapes == dict.fromkeys(ids[:5], (60, 80)) | {ids[3]: (120, 160)}
    assert problems(table) == {
        (ids[1], "several sizes of one image"),
        (ids[3], "several sizes of one image"),
        (ids[5], "several images for one id"),
        (ids[6], "row without an image"),
    }
    details = table.problems.set_index("image_id")["detail"]
    assert f"{ids[5]}.png" in details[ids[5]] and "large/" in details[ids[5]]
    assert table.passed_over["mask"] == 2 and table.passed_over["thumbnail"] == 1
    assert table.passed_over["identical copy"] == 1


def test_masks_of_any_name_in_a_class_folder_are_no_images_of_the_class(tmp_path):
    for label in ("mel", "nv"):
        (tmp_path / label / "GT").mkdir(parents=True)
        for i in range(3):
            (tmp_path / label / f"{label}{i}.png").write_bytes(encoded(picture(seed=i + 5 * (label == "nv"))))
            mask = Image.new("L", (80, 60))
            mask.paste(255, (20 + i, 10, 50, 45 - 5 * (label == "nv")))  # each another one
            (tmp_path / label / f"{label}{i}_lesion.jpg").write_bytes(encoded(mask, "JPEG"))
            (tmp_path / label / "GT" / f"mask {label}{i}.bmp").write_bytes(encoded(mask.rotate(90, expand=True), "BMP"))
    check = check_table(load_table(str(tmp_path)))
    assert sorted(check.table.frame["image_id"]) == ["mel0", "mel1", "mel2", "nv0", "nv1", "nv2"]
    assert len(check.problems) == 12 and set(check.problems["problem"]) == {"mask among the images"}


def test_identical_files_are_kept_together_and_contradictions_set_aside(tmp_path):
    for name, seed in (("nv/a", 1), ("nv/b", 1), ("nv/c", 2), ("mel/d", 2), ("mel/e", 3)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.jpg").write_bytes(jpeg(seed))
    check = check_table(load_table(str(tmp_path)))
    assert check.table.frame["image_id"].tolist() == ["e", "a", "b"]
    assert check.table.near_duplicates == (("a", "b"),)
    assert problems(check) == {
        ("b", "identical images"),
        ("c", "identical images with two labels"),
        ("d", "identical images with two labels"),
    }


# Nothing passed over is uncounted


def test_links_are_followed_once_and_loops_end(tmp_path):
    store = tmp_path / "store"
    write_images(store / "nevi", ["a.jpg", "b.jpg"])
    write_images(store / "melanomas", ["c.jpg"])
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "nv").symlink_to(store / "nevi")
    (folder / "mel").symlink_to(store / "melanomas")
    (folder / "mel" / "loop").symlink_to(folder)
    (folder / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    table = load_table(str(folder))
    assert sorted(table.frame["image_id"]) == ["a", "b", "c"]
    assert [problem for _, problem in sorted(problems(table))].count("link that leads nowhere or back") == 2


def test_folders_too_deep_hidden_images_and_formats_that_are_not_read_are_counted(tmp_path):
    write_images(tmp_path / "nv", ["a.jpg", ".hidden.jpg", "._a.jpg"])
    write_images(tmp_path / "mel" / "1" / "2" / "3", ["deep.jpg"])
    (tmp_path / "mel" / "b.JPG").write_bytes(jpeg(9))
    for name in ("c.HEIC", "d.avif", "e.gif", "f.dcm", "more.rar"):
        (tmp_path / "mel" / name).write_bytes(b"0")
    (tmp_path / "mel" / "notes.txt").write_text("x")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "nv" / "pipe.jpg")
    check = check_table(load_table(str(tmp_path)))
    assert sorted(check.table.frame["image_id"]) == ["a", "b"]
    counts = dict(zip(check.summary["problem"], check.summary["count"], strict=True))
    assert counts["format that is not read"] == 4 + hasattr(os, "mkfifo")
    assert counts["archive that is not read"] == counts["hidden image"] == counts["folder too deep"] == 1
    details = dict(zip(check.problems["image_id"], check.problems["detail"], strict=True))
    assert details["mel/c.HEIC"] == "HEIC; save it as JPEG or PNG" and "AVIF" in details["mel/d.avif"]
    assert ".txt file" in check.describe() and "format that is not read" in check.describe()


def test_all_left_out_is_told_with_the_reason(tmp_path):
    for name in ("nv/a.heic", "mel/b.heic"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"0")
    (tmp_path / "train.csv").write_text("path,label\nnv/a.heic,nv\nmel/b.heic,mel\n")
    with pytest.raises(DataError, match="HEIC"):
        check_table(load_table(str(tmp_path / "train.csv")))
    with pytest.raises(DataError, match="HEIC"):
        load_table(str(tmp_path))


def test_archives_inside_class_folders_marks_in_names_and_upper_case_endings(tmp_path):
    zipped(tmp_path / "nv" / "more.ZIP", {"deep/a!1.JPG": jpeg(1), "b.png": encoded(picture())})
    write_images(tmp_path / "mel" / "wow!", ["c!.jpg"])
    zipped(tmp_path / "mel" / "odd!.zip", {"d.JPEG": jpeg(4)})
    table = load_table(str(tmp_path))
    assert dict(zip(table.frame["image_id"], table.frame["label"], strict=True)) == {
        "a!1": "nv", "b": "nv", "c!": "mel", "d": "mel"}  # fmt: skip
    check = check_table(table)
    assert len(check.images) == 4
    assert images.stamp(table.frame["path"][0])
    whole = zipped(tmp_path / "whole.zip", {f"set/{label}/{i}.jpg": jpeg(i) for i, label in enumerate(("nv", "mel"))})
    (tmp_path / "alone").mkdir()
    assert load_table(str(whole.rename(tmp_path / "alone" / "whole.zip"))).frame["label"].tolist() == ["mel", "nv"]


def test_an_archive_called_as_a_class_is_that_class_unless_it_holds_class_folders(tmp_path):
    for seed, name in enumerate(("nv", "mel")):
        zipped(tmp_path / "two" / f"{name}.zip", {"1.jpg": jpeg(seed), f"deep/{name}.jpg": jpeg(9 - seed)})
    zipped(tmp_path / "one" / "Melanoma.zip", {"nv/a.jpg": jpeg(0), "mel/b.jpg": jpeg(1)})
    label = {jpeg(0): "nv", jpeg(9): "nv", jpeg(1): "mel", jpeg(8): "mel"}
    for place, count in (("two", 4), ("one", 2)):
        frame = load_table(str(tmp_path / place)).frame
        assert [label[images.read_bytes(path)] for path in frame["path"]] == list(frame["label"])
        assert len(frame) == count


def test_names_that_differ_by_a_blank_are_names_of_two_images(tmp_path):
    label = {}
    for seed, name in enumerate(("nv/a.jpg", "nv/b .jpg", "mel/b.jpg", "mel/ a.jpg")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(jpeg(seed))
        label[jpeg(seed)] = name.partition("/")[0]
    frame = load_table(str(tmp_path)).frame
    assert [label[images.read_bytes(path)] for path in frame["path"]] == list(frame["label"]) and len(frame) == 4


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_of_one_name_absolute_names_and_passwords(tmp_path):
    data = {f"/{label}/{i}.jpg": jpeg(i + 5 * (label == "nv")) for label in ("mel", "nv") for i in range(3)}
    with zipfile.ZipFile(zipped(tmp_path / "set.zip", data), "a") as archive:
        archive.writestr("/mel/0.jpg", jpeg(99))  # which of the two is it?
        archive.writestr("/mel/1.jpg", data["/mel/1.jpg"])
    table = load_table(str(tmp_path))
    assert sorted(table.frame["image_id"]) == ["mel/1.jpg", "mel/2.jpg", "nv/0.jpg", "nv/1.jpg", "nv/2.jpg"]
    assert problems(table) == {("set/mel/0.jpg", "several images for one id")}
    whole = bytearray(zipped(tmp_path / "set.zip", data).read_bytes())
    whole[whole.rfind(b"/mel/1.jpg") - 46 + 8] |= 1  # as the directory marks a member with a password
    (tmp_path / "set.zip").write_bytes(whole)
    table = load_table(str(tmp_path))
    assert len(table) == 5 and problems(table) == {("set/mel/1.jpg", "archive that is not read")}


def test_bmp_is_read_from_files_and_folders_but_not_from_strangers(tmp_path):
    frame = np.asarray(picture())
    for name in ("nv/a.bmp", "mel/b.BMP"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(encoded(picture(), "BMP"))
    assert all(np.array_equal(images.read_image(path), frame) for path in load_table(str(tmp_path)).frame["path"])
    with pytest.raises(images.ImageError, match="is not a JPEG, PNG or WebP image"):
        images.decode(encoded(picture(), "BMP"))


def test_a_damaged_archive_member_is_one_bad_image(tmp_path):
    ids = [f"ISIC_002430{i}" for i in range(4)]
    ham(tmp_path, ids)
    path = zipped(tmp_path / "i.zip", {f"{name}.jpg": jpeg(i) for i, name in enumerate(ids)}, zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo(f"{ids[1]}.jpg").header_offset + 30 + len(f"{ids[1]}.jpg")
    data = bytearray(path.read_bytes())
    data[start : start + 40] = b"\xff" * 40
    path.write_bytes(data)
    check = check_table(load_table(str(tmp_path)))
    assert len(check.table) == 3 and problems(check) == {(ids[1], "undecodable image")}


def test_files_that_are_no_images_are_listed_by_sort(tmp_path):
    write_images(tmp_path / "masks", ["a.jpg"])
    (tmp_path / "b_segmentation.png").write_bytes(b"")
    (tmp_path / "README").write_bytes(b"")
    assert dict(find_files(tmp_path).beside) == {"mask": 2, "other file": 1}


def test_names_that_no_table_can_hold_and_links_to_themselves_are_counted(tmp_path):
    write_images(tmp_path / "nv", ["a.jpg"])
    write_images(tmp_path / "mel", ["0.jpg", "b.jpg", "Na\u0308vus.jpg"])
    (tmp_path / "mel" / "0.jpg").unlink()  # the same picture as nv/a.jpg
    (tmp_path / "nv" / "self.jpg").symlink_to("self.jpg")
    folder = os.fsencode(tmp_path)
    os.mkdir(folder + b"/n\xe6vi")  # noqa: PTH102, a name in Latin-1
    with open(folder + b"/mel/m\xe4l.jpg", "wb") as file:
        file.write(jpeg(5))
    check = check_table(load_table(f"folder:{tmp_path}"))
    check.write(tmp_path / "problems.csv")
    assert sorted(check.table.frame["image_id"]) == ["Na\u0308vus", "a", "b"]
    assert problems(check) == {
        ("nv/self.jpg", "link that leads nowhere or back"),
        (r"n\xe6vi", "name that is not read"),
        (r"mel/m\xe4l.jpg", "name that is not read"),
    }
    rows = [("nv/a.jpg", "nv"), ("mel/b.jpg", "mel"), ("mel/N\u00e4vus.jpg", "mel")]  # macOS takes accents apart
    assert len(load_table(str(write_csv(tmp_path / "t.csv", ("path", "label"), rows)))) == 3
    os.rename(tmp_path / "mel", folder + b"/n\xe6vi/mel")  # noqa: PTH104
    with pytest.raises(DataError, match=r"n\\xe6vi is not UTF-8 text; rename it"):
        find_files(Path(os.fsdecode(folder + b"/n\xe6vi")))
