"""Data sets besides HAM10000 end in the same table: the ISIC archive's, DermaMNIST, folders by class, CSV files."""

import numpy as np
import pytest

from skinlesion.core import images
from skinlesion.core.errors import DataError, ImageError
from skinlesion.core.taxonomy import HAM7, ISIC8
from skinlesion.data.check import check_table
from skinlesion.data.class_maps import archive_label
from skinlesion.data.dermamnist import CORRECTED, EXTENDED, LEAK
from skinlesion.data.sources import load_table
from small import write_csv, write_images

ISIC_OLD = ("isic_id", "attribution", "age_approx", "anatom_site_general", "diagnosis", "diagnosis_confirm_type", "sex")


def test_isic_archive_with_the_old_diagnosis_column(tmp_path):
    rows = [
        ("ISIC_0000001", "ViDIR Group", "40", "anterior torso", "nevus", "histopathology", "male"),
        ("ISIC_0000002", "ViDIR Group", "", "", "squamous cell carcinoma", "single image expert consensus", "female"),
        ("ISIC_0000003", "Rosendahl", "60", "head/neck", "actinic keratosis", "", ""),
        ("ISIC_0000004", "Rosendahl", "60", "head/neck", "vascular lesion", "", ""),
    ]
    write_csv(tmp_path / "metadata.csv", ISIC_OLD, rows)
    write_images(tmp_path, [f"{row[0]}.jpg" for row in rows])
    table = load_table(str(tmp_path), labels=8)
    assert table.source == "isic-archive" and not table.has_lesions
    assert table.frame["label"].tolist() == ["nv", "scc", "ak", "vasc"]
    assert table.frame["dx_type"].tolist() == ["histo", "consensus", "unknown", "unknown"]
    assert table.frame["site"].tolist() == ["anterior torso", "unknown", "head/neck", "head/neck"]
    assert "Rosendahl; ViDIR Group" in table.notes[0]
    seven = load_table(str(tmp_path))
    assert seven.frame["label"].tolist() == ["nv", "akiec", "vasc"]
    (problem,) = seven.problems.itertuples()
    assert (problem.image_id, problem.problem) == ("ISIC_0000002", "diagnosis without a class")


def test_squamous_cell_carcinoma_of_the_isic_archive_is_akiec_in_ham10000_or_in_situ_alone(tmp_path):
    words = [
        "Squamous cell carcinoma, NOS",
        "Squamous cell carcinoma in situ, Bowens disease",
        "Squamous cell carcinoma",
    ]
    rows = [(f"ISIC_{number:07}", word) for number in (24400, 100) for word in words]
    rows = [(f"ISIC_{int(name[5:]) + i:07}", word) for i, (name, word) in enumerate(rows)]
    write_csv(tmp_path / "metadata.csv", ("isic_id", "diagnosis_3"), rows)
    write_images(tmp_path, [f"{name}.jpg" for name, _ in rows])
    seven, eight = (load_table(str(tmp_path), labels=labels).frame for labels in (7, 8))
    assert seven["image_id"].tolist() == [rows[i][0] for i in (0, 1, 2, 4)] and set(seven["label"]) == {"akiec"}
    assert len(eight) == 6 and set(eight["label"]) == {"scc"}


def test_isic_archive_with_diagnosis_levels(tmp_path):
    columns = ("isic_id", "lesion_id", "image_type", *(f"diagnosis_{i}" for i in range(1, 6)))
    vascular = "Benign soft tissue proliferations - Vascular"
    melanocytic = "Malignant melanocytic proliferations (Melanoma)"
    rows = [
        ("ISIC_0000001", "IL_1", "dermoscopic", "Malignant", melanocytic, "Melanoma, NOS", "", ""),
        ("ISIC_0000002", "IL_2", "dermoscopic", "Malignant", melanocytic, "Melanoma in situ", "Lentigo maligna", ""),
        ("ISIC_0000003", "IL_3", "dermoscopic", "Benign", vascular, "", "", ""),
        ("ISIC_0000004", "", "dermoscopic", "Benign", "Cysts", "Milium", "", ""),
        ("ISIC_0000005", "", "dermoscopic", "Benign", "Benign epidermal proliferations", "Solar lentigo", "", ""),
        ("ISIC_0000006", "IL_6", "clinical: close-up", "Benign", vascular, "", "", ""),
    ]
    write_csv(tmp_path / "metadata.csv", columns, rows)
    write_images(tmp_path, [f"{row[0]}.jpg" for row in rows])
    table = load_table(str(tmp_path), labels=8)
    assert table.frame["label"].tolist() == ["mel", "mel", "vasc", "bkl"]
    assert table.frame["lesion_id"].tolist() == ["IL_1", "IL_2", "IL_3", "ISIC_0000005"]
    assert any("1 image without a lesion id" in note for note in table.notes)
    problems = dict(zip(table.problems["image_id"], table.problems["problem"], strict=True))
    assert problems == {"ISIC_0000004": "unknown label", "ISIC_0000006": "not dermatoscopic"}
    assert "Milium" in table.problems["detail"].tolist()


@pytest.mark.parametrize(
    "word, seven, eight",
    [
        ("Melanoma Invasive", "mel", "mel"),
        ("Melanoma metastasis", "mel", "mel"),
        ("Nevus, NOS, Compound", "nv", "nv"),
        ("Basal cell carcinoma", "bcc", "bcc"),
        ("Solar or actinic keratosis", "akiec", "ak"),
        ("Squamous cell carcinoma, NOS", "akiec", "scc"),
        ("Squamous cell carcinoma, Invasive", None, "scc"),
        ("Squamous cell carcinoma in situ, Bowens disease", "akiec", "scc"),
        ("Pigmented benign keratosis", "bkl", "bkl"),
        ("Lichen planus like keratosis", "bkl", "bkl"),
        ("Dermatofibroma", "df", "df"),
        ("Hemangioma, Hobnail", "vasc", "vasc"),
        ("Epidermal nevus", None, None),  # no melanocytic nevus
        ("Lentigo NOS", None, None),
        ("Benign epidermal proliferations", None, None),
        ("", None, None),
    ],
)
def test_vocabulary_of_the_isic_archive(word, seven, eight):
    assert (archive_label(word, HAM7, ham10000=True), archive_label(word, ISIC8, ham10000=True)) == (seven, eight)


def test_the_official_test_set_is_left_out_unless_asked_for(tmp_path):
    names = ["ISIC_0034523", "ISIC_0034524", "ISIC_0035000", "ISIC_0036064", "ISIC_0036065"]
    write_csv(tmp_path / "metadata.csv", ("isic_id", "diagnosis"), [(name, "nevus") for name in names])
    write_images(tmp_path, [f"{name}.jpg" for name in [*names, "ISIC_0034600"]])  # the last one has no row
    table = load_table(str(tmp_path))
    assert table.frame["image_id"].tolist() == ["ISIC_0034523", "ISIC_0036065"]
    assert any(note.startswith("3 images of the official ISIC 2018 test set") for note in table.notes)
    assert len(table.problems) == 0
    whole = load_table(str(tmp_path), exclude_official_test=False)
    assert len(whole) == 5 and whole.problems["problem"].tolist() == ["image without a row"]


def write_dermamnist(path, parts=(("train", 8), ("val", 2), ("test", 4)), side=28):
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in parts:
        arrays[f"{part}_images"] = rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
        arrays[f"{part}_labels"] = (np.arange(count) % 7).astype(np.uint8)[:, None]
    np.savez_compressed(path, **arrays)
    return arrays


def test_dermamnist(tmp_path):
    arrays = write_dermamnist(tmp_path / "dermamnist_64.npz", side=64)
    for place in (tmp_path, tmp_path / "dermamnist_64.npz"):
        table = load_table(str(place))
        assert table.source == "dermamnist" and not table.has_lesions
        assert table.frame["label"].tolist()[:8] == ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc", "akiec"]
        split = [table.official_split[name] for name in table.frame["image_id"]]
        assert split == ["train"] * 8 + ["validation"] * 2 + ["test"] * 4
    assert np.array_equal(images.read_image(table.frame["path"].iloc[9]), arrays["val_images"][1])
    assert table.frame["lesion_id"].equals(table.frame["image_id"])


def test_dermamnist_says_what_its_split_leaks(tmp_path):
    """The published count of leaking test images agrees with what a random split of HAM10000's images must leak."""
    write_dermamnist(tmp_path / "dermamnist.npz")
    assert LEAK in load_table(str(tmp_path)).notes and "773 of its 2,005" in LEAK
    lesions = {1: 5514, 2: 1423, 3: 490, 4: 34, 5: 5, 6: 4}  # images per lesion -> lesions
    lesion = np.repeat(np.arange(7470), np.repeat(list(lesions), list(lesions.values())))
    rng = np.random.default_rng(0)
    leaked, shared = [], []
    for _ in range(200):
        order = rng.permutation(lesion)
        train, rest, test = order[:7007], order[:-2005], order[-2005:]
        leaked.append(np.isin(test, rest).sum())
        shared.append(len(np.intersect1d(test, train)))
    assert abs(773 - np.mean(leaked)) < 3 * np.std(leaked)
    assert abs(641 - np.mean(shared)) < 3 * np.std(shared)


def test_dermamnist_refuses_what_it_cannot_be(tmp_path):
    write_dermamnist(tmp_path / "dermamnist.npz")
    with pytest.raises(DataError, match="seven labels"):
        load_table(str(tmp_path), labels=8)
    write_dermamnist(tmp_path / "dermamnist_64.npz")
    with pytest.raises(DataError, match=r"dermamnist\.npz, dermamnist_64\.npz; name the file"):
        load_table(str(tmp_path))
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(DataError, match="not a DermaMNIST file"):
        load_table(str(tmp_path / "other.npz"))
    arrays = write_dermamnist(tmp_path / "dermamnist.npz")
    scaled = {name: array / 255 if name.endswith("images") else array for name, array in arrays.items()}
    np.savez(tmp_path / "scaled.npz", **scaled)
    with pytest.raises(DataError, match="RGB of 8 bits"):
        load_table(str(tmp_path / "scaled.npz"))
    with pytest.raises(ImageError, match="float64, not pixels of 8 bits"):
        images.read_image(f"{tmp_path}/scaled.npz!train/0")
    whole = (tmp_path / "dermamnist.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="damaged"):
        load_table(str(tmp_path / "cut.npz"))


def test_folder_with_one_subfolder_a_class(tmp_path):
    write_images(tmp_path / "nv", ["a.jpg", "b.png"])
    write_images(tmp_path / "Melanoma", ["c.JPG"])
    write_images(tmp_path / "warts", ["d.jpg"])
    write_images(tmp_path, ["loose.jpg"])
    table = load_table(str(tmp_path))
    assert table.source == "folder" and not table.has_lesions and table.notes
    assert dict(zip(table.frame["image_id"], table.frame["label"], strict=True)) == {"a": "nv", "b": "nv", "c": "mel"}
    problems = {row.image_id: (row.problem, row.detail) for row in table.problems.itertuples()}
    assert problems["d"] == ("unknown label", "warts") and problems["loose"][0] == "unknown label"


def test_the_folder_of_a_class_within_another_ones_is_neither(tmp_path):
    """As a slip of the mouse leaves it: 20 nevi in mel/nv are no melanomas."""
    for folder, name in (("mel", "a"), ("mel/nv", "b"), ("nv", "c"), ("bkl/solar lentigo/clinic 1", "d")):
        write_images(tmp_path / folder, [f"{name}.jpg"])
    table = load_table(str(tmp_path))
    assert dict(zip(table.frame["image_id"], table.frame["label"], strict=True)) == {"a": "mel", "c": "nv", "d": "bkl"}
    assert table.problems[["image_id", "problem", "detail"]].to_numpy().tolist() == [["b", "unknown label", "mel/nv"]]


def test_folder_in_which_two_classes_use_one_file_name(tmp_path):
    write_images(tmp_path / "nv", ["1.jpg"])
    write_images(tmp_path / "mel", ["1.jpg"])
    assert sorted(load_table(str(tmp_path)).frame["image_id"]) == ["mel/1.jpg", "nv/1.jpg"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_with_paths_relative_to_it(tmp_path, delimiter):
    write_images(tmp_path / "pictures", ["a.jpg", "b.jpg"])
    rows = [
        ("pictures/a.jpg", "Nevus", "L1", "33", "F"),
        (str(tmp_path / "pictures/b.jpg"), "mel", "L1", "", ""),
        ("x.jpg", "mel", "L2", "", ""),
    ]
    path = write_csv(tmp_path / "mine.csv", ("Image_Path", "DX", "Lesion", "Age", "Gender"), rows, delimiter)
    table = load_table(str(path))
    assert table.source == "csv" and table.has_lesions
    assert table.frame["image_id"].tolist() == ["a", "b"] and table.frame["label"].tolist() == ["nv", "mel"]
    assert table.frame["lesion_id"].tolist() == ["L1", "L1"] and table.frame["age"].iloc[0] == 33
    assert table.frame["sex"].tolist() == ["female", "unknown"]
    assert table.problems[["image_id", "problem"]].to_numpy().tolist() == [["x", "row without an image"]]


def test_csv_columns_that_are_missing_or_ambiguous(tmp_path):
    path = write_csv(tmp_path / "a.csv", ("picture", "label"), [("a.jpg", "nv")])
    with pytest.raises(DataError, match=r"no column for the path; looked for path, image_path.*picture, label"):
        load_table(str(path))
    path = write_csv(tmp_path / "b.csv", ("path", "file", "label"), [("a.jpg", "b.jpg", "nv")])
    with pytest.raises(DataError, match="several columns for the path: path, file"):
        load_table(str(path))


def test_other_medmnist_sets_get_no_skin_labels(tmp_path):
    """PathMNIST has nine classes, RetinaMNIST five, BloodMNIST eight, OCTMNIST grey images."""
    draw = np.random.default_rng(0)
    for name, classes, shape in (("path", 9, (3,)), ("retina", 5, (3,)), ("blood", 8, (3,)), ("oct", 7, ())):
        arrays = {}
        for part in ("train", "val", "test"):
            arrays[f"{part}_images"] = draw.integers(0, 256, (36, 28, 28, *shape), dtype=np.uint8)
            arrays[f"{part}_labels"] = (np.arange(36) % classes).astype(np.uint8)[:, None]
        path = tmp_path / f"{name}.npz"
        np.savez(path, **arrays)
        with pytest.raises(DataError, match="not a DermaMNIST file"):
            load_table(str(path))
    with pytest.raises(DataError, match="fits no kind"):
        load_table(str(tmp_path))
    write_dermamnist(tmp_path / "renamed.npz")
    assert len(load_table(str(tmp_path))) == 14, "known by what it holds"


def write_counts(path, counts):
    """A file with the published number of images, of one pixel each."""
    arrays = {}
    for part, count in zip(("train", "val", "test"), counts, strict=True):
        arrays[f"{part}_images"] = np.zeros((count, 1, 1, 3), np.uint8)
        arrays[f"{part}_labels"] = (np.arange(count) % 7).astype(np.uint8)[:, None]
    np.savez_compressed(path, **arrays)


def test_the_corrected_and_the_extended_dermamnist_are_known_for_what_they_are(tmp_path):
    path = tmp_path / "any.npz"
    for counts, note in (((7007, 1003, 2005), LEAK), ((8215, 573, 1227), CORRECTED), ((10015, 193, 1511), EXTENDED)):
        write_counts(path, counts)
        assert load_table(str(path), exclude_official_test=False).notes[0] == note
    table = load_table(str(path))
    assert len(table) == 10015 + 193 and table.official_split == {}, "its test part is the official test set"
    assert "1,511 images of the official ISIC 2018 test set left out." in table.notes
    write_dermamnist(tmp_path / "dermamnist_corrected_28.npz")
    assert load_table(str(tmp_path / "dermamnist_corrected_28.npz")).notes[0] == CORRECTED


@pytest.mark.parametrize("form", ["isic_0034524", "ISIC_0034524_downsampled", "Isic_0034524"])
def test_official_test_images_are_left_out_whatever_they_are_called(tmp_path, form):
    write_images(tmp_path / "nv", [f"{form}.JPG", "a.jpg"])
    write_images(tmp_path / "mel", ["b.jpg"])
    assert sorted(load_table(str(tmp_path)).frame["image_id"]) == ["a", "b"]


def test_missing_values_are_missing_in_every_column(tmp_path):
    write_images(tmp_path, [f"{i}.jpg" for i in range(8)])
    words = ["NA", "n/a", "nan", "NULL", "none", "Unknown", "-", ""]
    rows = [(f"{i}.jpg", word, ("nv", "mel")[i % 2], word, word, word) for i, word in enumerate(words)]
    path = write_csv(tmp_path / "t.csv", ("path", "lesion_id", "dx", "age", "sex", "site"), rows)
    table = load_table(str(path))
    assert len(table) == 8 and not table.has_lesions and table.frame["lesion_id"].nunique() == 8
    assert table.frame["age"].isna().all() and set(table.frame["sex"]) == set(table.frame["site"]) == {"unknown"}
    assert len(table.problems) == 0
    rows = [(f"{i}.jpg", word) for i, word in enumerate([*words[:-2], "nv", "mel"])]
    table = load_table(str(write_csv(tmp_path / "u.csv", ("path", "dx"), rows)))
    assert set(table.problems["detail"]) == {"no label"} and len(table) == 2


def test_unknown_labels_are_listed_with_the_nearest_word_and_the_option(tmp_path):
    write_images(tmp_path, [f"{i}.jpg" for i in range(5)])
    rows = [("0.jpg", "nv"), ("1.jpg", "mel"), ("2.jpg", "melanomma"), ("3.jpg", "wart"), ("4.jpg", "wart")]
    path = write_csv(tmp_path / "t.csv", ("path", "dx"), rows)
    (note,) = [note for note in load_table(str(path)).notes if note.startswith("Unknown labels")]
    assert "'wart' (2 images)" in note and "'melanomma' (1 image, nearest known: melanoma" in note
    assert note.endswith("add --label 'wart=CODE'.")
    assert load_table(str(path), words=["wart=bkl", "melanomma=mel"]).counts()[["bkl", "mel"]].tolist() == [2, 2]


def test_isic_levels_in_a_csv_of_ones_own(tmp_path):
    write_images(tmp_path, ["a.jpg", "b.jpg", "c.jpg"])
    columns = ("isic_id", *(f"diagnosis_{i}" for i in range(1, 6)))
    rows = [
        ("a", "Benign", "Benign melanocytic proliferations", "Nevus", "", ""),
        ("b", "Malignant", "", "Melanoma", "", ""),
        ("c", "Benign", "", "Milium", "", ""),
    ]
    table = load_table(str(write_csv(tmp_path / "t.csv", columns, rows)))
    assert table.frame["label"].tolist() == ["nv", "mel"]
    assert table.problems[["image_id", "detail"]].to_numpy().tolist() == [["c", "Milium"]]


def test_a_csv_with_a_column_per_class(tmp_path):
    classes = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
    marks = [[int(one == word) for one in classes] for word in ("NV", "VASC", "MEL")]
    write_images(tmp_path, ["a.jpg", "b.jpg", "c.jpg"])
    rows = [(name, *row) for name, row in zip("abc", marks, strict=True)]
    place = str(write_csv(tmp_path / "t.csv", ("image", *classes), rows))
    assert load_table(place).frame["label"].tolist() == ["nv", "vasc", "mel"]
    words = ("nevus", "angioma", "melanoma")
    rows = [(*row, word) for row, word in zip(rows, words, strict=True)]
    write_csv(tmp_path / "t.csv", ("image", *classes, "Diagnosis"), rows)
    assert load_table(place).frame["label"].tolist() == ["nv", "vasc", "mel"]
    write_csv(tmp_path / "t.csv", ("image", *classes, "Diagnosis"), [*rows[:2], (*rows[2][:-1], "nevus")])
    with pytest.raises(DataError, match="Diagnosis and MEL, NV, … .*differ in 1 row .'nevus' and 'MEL'"):
        load_table(place)


def test_class_folders_below_other_folders_and_workbooks_name_the_fix(tmp_path):
    for part in ("Train", "Test"):
        for label in ("nevus", "melanoma"):
            write_images(tmp_path / part / label, ["1.jpg", "2.jpg"])
    with pytest.raises(DataError, match="class folders one level lower, in Test, Train; give those folders instead"):
        load_table(str(tmp_path))
    assert len(load_table([str(tmp_path / "Train"), str(tmp_path / "Test")])) == 8
    (tmp_path / "labels.xlsx").write_bytes(b"PK\3\4")
    with pytest.raises(DataError, match="workbook.*save it as CSV"):
        load_table(str(tmp_path / "labels.xlsx"))


def test_columns_with_spaces_and_lesions_called_as_other_images(tmp_path):
    write_images(tmp_path, [f"{i}.jpg" for i in range(1, 5)])
    rows = [("1.jpg", "", "mel"), ("2.jpg", "1", "nv"), ("3.jpg", "1", "nv"), ("4.jpg", "9", "mel")]
    table = load_table(str(write_csv(tmp_path / "t.csv", ("File Name", "Lesion ID", "Diagnosis"), rows)))
    assert check_table(table).table.frame["lesion_id"].tolist() == ["image 1", "1", "1", "9"]


def test_lesion_ids_that_a_spreadsheet_shortened_are_told(tmp_path):
    write_images(tmp_path, ["1.jpg", "2.jpg"])
    for lesions, told in ((("1.23E+11", "9.9E+10"), True), (("1E5", "E+11"), False)):
        rows = [("1.jpg", lesions[0], "mel"), ("2.jpg", lesions[1], "nv")]
        notes = load_table(str(write_csv(tmp_path / "t.csv", ("path", "lesion_id", "label"), rows))).notes
        assert any("shortened by a spreadsheet" in note for note in notes) == told
