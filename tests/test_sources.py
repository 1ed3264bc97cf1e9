"""Every data source ends in the same table, whatever its layout; what cannot be used is named."""

import csv
import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from skinlesion import images
from skinlesion.data import sources
from skinlesion.data.dermamnist import LEAK
from skinlesion.data.ham10000 import load_official_test
from skinlesion.data.isic_archive import code_of
from skinlesion.data.sources import load_table
from skinlesion.errors import ConfigError, DataError
from skinlesion.taxonomy import HAM7, ISIC8

HAM_COLUMNS = ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization")
HAM_ROWS = [
    ("HAM_0000001", "ISIC_0024306", "nv", "histo", "45.0", "male", "back"),
    ("HAM_0000001", "ISIC_0024307", "nv", "histo", "45.0", "male", "back"),
    ("HAM_0000002", "ISIC_0024308", "mel", "histo", "", "female", "face"),
    ("HAM_0000003", "ISIC_0024309", "akiec", "consensus", "70.0", "unknown", ""),
    ("HAM_0000004", "ISIC_0024310", "akiec", "histo", "0.0", "female", "ear"),
]
HAM_IDS = [row[1] for row in HAM_ROWS]


def jpeg(seed=0, size=(40, 30)):
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG")
    return buffer.getvalue()


def write_csv(path, columns, rows, delimiter=",", quoting=csv.QUOTE_MINIMAL):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, delimiter=delimiter, quoting=quoting)
        writer.writerow(columns)
        writer.writerows(rows)
    return path


def write_zip(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def write_images(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        (folder / name).write_bytes(jpeg(seed))


@pytest.fixture
def ham(tmp_path):
    """HAM10000 as Dataverse gives it: two archives and a CSV file."""
    write_csv(tmp_path / "HAM10000_metadata.csv", HAM_COLUMNS, HAM_ROWS)
    write_zip(tmp_path / "HAM10000_images_part_1.zip", {f"{name}.jpg": jpeg(i) for i, name in enumerate(HAM_IDS[:3])})
    write_zip(tmp_path / "HAM10000_images_part_2.zip", {f"{name}.jpg": jpeg(9) for name in HAM_IDS[3:]})
    return tmp_path


def check_ham(table):
    assert list(table.frame["image_id"]) == HAM_IDS
    assert list(table.frame["label"]) == ["nv", "nv", "mel", "akiec", "akiec"]
    assert table.frame["lesion_id"].nunique() == 4
    assert all(images.read(path).shape == (30, 40, 3) for path in table.frame["path"])
    assert table.source == "ham10000" and len(table.problems) == 0


def test_ham10000_is_read_straight_from_its_archives(ham):
    table = load_table(str(ham))
    check_ham(table)
    assert table.frame["age"].isna().tolist() == [False, False, True, False, False]
    assert table.frame["age"].iloc[4] == 0.0
    assert table.frame["site"].tolist() == ["back", "back", "face", "unknown", "ear"]
    assert table.frame["dx_type"].iloc[3] == "consensus" and table.has_lesions
    assert images.read_bytes(table.frame["path"].iloc[1]) == jpeg(1)


def layout_kaggle(folder):
    write_csv(folder / "HAM10000_metadata.csv", HAM_COLUMNS, HAM_ROWS)
    for name in ("HAM10000_images_part_1", "ham10000_images_part_1"):  # Kaggle has both
        write_images(folder / name, [f"{image}.jpg" for image in HAM_IDS[:3]])
    write_images(folder / "HAM10000_images_part_2", [f"{image}.jpg" for image in HAM_IDS[3:]])
    write_csv(folder / "hmnist_8_8_L.csv", ("pixel0000", "label"), [("1", "2")])
    return folder


def layout_kaggle_zip(folder):
    members = {"HAM10000_metadata.csv": "\n".join(",".join(row) for row in [HAM_COLUMNS, *HAM_ROWS])}
    members |= {f"HAM10000_images_part_1/{name}.jpg": jpeg(3) for name in HAM_IDS}
    members |= {f"ham10000_images_part_1/{name}.jpg": jpeg(3) for name in HAM_IDS}
    return write_zip(folder / "archive.zip", members)


def layout_dataverse_tab(folder):
    write_csv(folder / "HAM10000_metadata.tab", HAM_COLUMNS, HAM_ROWS, "\t", csv.QUOTE_ALL)
    write_zip(folder / "images.zip", {f"deep/inside/{name}.jpg": jpeg(2) for name in HAM_IDS})
    return folder


def layout_bare(folder):
    write_csv(folder / "HAM10000_metadata", HAM_COLUMNS, HAM_ROWS)
    write_images(folder, [f"{name}.jpg" for name in HAM_IDS])
    return folder


def layout_with_everything(folder):
    """Masks and the official test set lie beside the images, zipped and unpacked, and must not count as images."""
    layout_bare(folder)
    mask = {f"masks/{name}_segmentation.png": b"png" for name in HAM_IDS}
    write_zip(folder / "HAM10000_segmentations_lesion_tschandl.zip", mask)
    write_zip(folder / "ISIC2018_Task3_Test_Images.zip", {"ISIC2018_Task3_Test_Images/ISIC_0034524.jpg": jpeg()})
    write_images(folder / "ISIC2018_Task3_Test_Input", ["ISIC_0034525.jpg"])
    (folder / "__MACOSX").mkdir()
    (folder / "._ISIC_0024306.jpg").write_bytes(b"resource fork")
    return folder


@pytest.mark.parametrize(
    "layout", [layout_kaggle, layout_kaggle_zip, layout_dataverse_tab, layout_bare, layout_with_everything]
)
def test_ham10000_in_every_known_layout(layout, tmp_path):
    check_ham(load_table(str(layout(tmp_path))))


def test_rows_and_images_without_a_partner_repeats_and_unknown_labels_are_set_aside(ham):
    rows = [
        *HAM_ROWS,
        HAM_ROWS[0],  # the same row again
        ("HAM_0000005", "ISIC_0099999", "nv", "histo", "30", "male", "back"),  # no such image
        ("HAM_0000006", "ISIC_0024320", "wart", "histo", "30", "male", "back"),
        ("HAM_0000007", "ISIC_0024321", "nv", "histo", "old", "male", "back"),
        ("HAM_0000008", "ISIC_0024322", "nv", "histo", "30", "male", "back"),
        ("HAM_0000008", "ISIC_0024322", "mel", "histo", "30", "male", "back"),  # nobody knows which
    ]
    write_csv(ham / "HAM10000_metadata.csv", HAM_COLUMNS, rows)
    write_images(ham, [f"ISIC_002432{i}.jpg" for i in range(4)])
    table = load_table(str(ham))
    found = sorted(zip(table.problems["image_id"], table.problems["problem"], strict=True))
    assert found == [
        ("ISIC_0024306", "duplicate id"),
        ("ISIC_0024320", "unknown label"),
        ("ISIC_0024321", "age out of range"),
        ("ISIC_0024322", "duplicate id"),
        ("ISIC_0024322", "duplicate id"),
        ("ISIC_0024323", "image without a row"),
        ("ISIC_0099999", "row without an image"),
    ]
    details = table.problems.set_index("problem")["detail"]
    assert details["unknown label"] == "wart" and details["age out of range"].startswith("old ")
    assert list(table.frame["image_id"]) == [*HAM_IDS, "ISIC_0024321"]
    assert np.isnan(table.frame["age"].iloc[-1])


@pytest.mark.parametrize("column", ["label", "isic2019_label"])
def test_eight_labels_from_a_label_file(ham, column):
    rows = [("ISIC_0024309", "AK"), ("ISIC_0024310", "SCC"), ("ISIC_0024306", "NV")]
    write_csv(ham / "isic2019_labels.csv", ("image_id", column), rows)
    table = load_table(str(ham), labels=8)
    assert table.frame["label"].tolist() == ["nv", "nv", "mel", "ak", "scc"]
    assert load_table(str(ham), labels=7).frame["label"].tolist()[3:] == ["akiec", "akiec"]


def test_eight_labels_from_the_ground_truth_of_isic_2019(ham):
    columns = ("image", "MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK")
    truth = {"ISIC_0024309": "SCC", "ISIC_0024310_downsampled": "AK"}
    rows = [(name, *("1.0" if column == code else "0.0" for column in columns[1:])) for name, code in truth.items()]
    write_csv(ham / "ISIC_2019_Training_GroundTruth.csv", columns, rows)
    assert load_table(str(ham), labels=8).frame["label"].tolist() == ["nv", "nv", "mel", "scc", "ak"]


def test_an_akiec_that_isic_2019_does_not_name_is_set_aside(ham):
    write_csv(ham / "isic2019_labels.csv", ("image_id", "label"), [("ISIC_0024309", "AK"), ("ISIC_0024310", "NV")])
    table = load_table(str(ham), labels=8)
    assert len(table) == 4
    assert table.problems["problem"].tolist() == ["unknown label"]
    assert table.problems["detail"].iloc[0] == "akiec, and ISIC 2019 says NV"


def test_eight_labels_without_a_label_file_name_the_fix(ham):
    with pytest.raises(DataError, match=r"isic2019_labels\.csv.*or choose 7 labels"):
        load_table(str(ham), labels=8)
    with pytest.raises(ConfigError, match=r"7 .* or 8"):
        load_table(str(ham), labels=9)


def test_near_duplicates_are_read(ham):
    write_csv(
        ham / "near_duplicates.csv",
        ("image_id", "duplicate_image_id", "similarity"),
        [("ISIC_0024306", "ISIC_0024308", "0.98")],
    )
    assert load_table(str(ham)).near_duplicates == (("ISIC_0024306", "ISIC_0024308"),)


@pytest.mark.parametrize("form", ["dataverse", "isic"])
def test_official_test_set(tmp_path, form):
    if form == "dataverse":
        rows = [
            ("HAMTEST_1", "ISIC_0034524", "nv", "follow_up", "40.0", "female", "back"),
            ("HAMTEST_2", "ISIC_0034525", "akiec", "histo", "", "male", "face"),
        ]
        write_csv(tmp_path / "ISIC2018_Task3_Test_GroundTruth.csv", HAM_COLUMNS, rows)
    else:
        columns = ("image", "MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
        rows = [("ISIC_0034524", *"0100000"), ("ISIC_0034525", *"0001000")]
        write_csv(tmp_path / "ISIC2018_Task3_Test_GroundTruth.csv", columns, rows)
    members = {f"ISIC2018_Task3_Test_Images/ISIC_003452{i}.jpg": jpeg() for i in (4, 5)}
    write_zip(tmp_path / "ISIC2018_Task3_Test_Images.zip", members)
    table = load_official_test(tmp_path)
    assert table.frame["label"].tolist() == ["nv", "akiec"]
    assert table.has_lesions == (form == "dataverse")
    assert set(table.official_split.values()) == {"test"}
    assert len(table.problems) == 0


def test_a_missing_official_test_set_names_the_command(tmp_path):
    with pytest.raises(DataError, match="skinlesion data download ham10000 --parts test"):
        load_official_test(tmp_path)


def test_a_folder_with_the_demos_mark_is_synthetic(ham):
    (ham / "demo.json").write_text("{}")
    table = load_table(str(ham))
    assert table.source == "demo" and table.synthetic
    assert any("synthetic demo data" in note for note in table.notes)


def test_demo_by_name_and_number(ham, monkeypatch):
    (ham / "demo.json").write_text("{}")
    asked = []
    monkeypatch.setattr("skinlesion.data.demo.demo_folder", lambda *number: asked.append(number) or ham)
    assert load_table("demo").synthetic and len(load_table("demo:300")) == 5
    assert asked == [(), (300,)]
    with pytest.raises(DataError, match="demo:300"):
        load_table("demo:many")


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
    assert load_table(str(tmp_path)).frame["label"].tolist() == ["nv", "akiec", "akiec", "vasc"]


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
    assert any("1 images name no lesion" in note for note in table.notes)
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
        ("Squamous cell carcinoma, Invasive", "akiec", "scc"),
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
    assert (code_of(word, HAM7), code_of(word, ISIC8)) == (seven, eight)


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
    assert np.array_equal(images.read(table.frame["path"].iloc[9]), arrays["val_images"][1])
    assert table.frame["lesion_id"].equals(table.frame["image_id"])


def test_dermamnist_says_what_its_split_leaks(tmp_path):
    """The published count of leaking test images agrees with what a random split of HAM10000's images must leak."""
    write_dermamnist(tmp_path / "dermamnist.npz")
    assert LEAK in load_table(str(tmp_path)).notes and "773 of its 2,005" in LEAK
    lesions = {1: 5514, 2: 1423, 3: 490, 4: 34, 5: 5, 6: 4}  # images a lesion -> lesions
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
    with pytest.raises(DataError, match="no DermaMNIST file"):
        load_table(str(tmp_path / "other.npz"))
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
    assert table.frame["sex"].tolist() == ["f", "unknown"]
    assert table.problems[["image_id", "problem"]].to_numpy().tolist() == [["x", "row without an image"]]


def test_csv_columns_that_are_missing_or_ambiguous(tmp_path):
    path = write_csv(tmp_path / "a.csv", ("picture", "label"), [("a.jpg", "nv")])
    with pytest.raises(DataError, match=r"no column for the path; looked for path, image_path.*picture, label"):
        load_table(str(path))
    path = write_csv(tmp_path / "b.csv", ("path", "file", "label"), [("a.jpg", "a.jpg", "nv")])
    with pytest.raises(DataError, match="several columns for the path: path, file"):
        load_table(str(path))


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "holds no rows"),
        (b"image_id,lesion_id,dx\n", "holds no rows"),
        (b"image_id,dx\nISIC_1,nv\n", "lacks the column lesion_id"),
        (b"image_id,lesion_id,dx\nISIC_1,HAM_1,nv\nISIC_2,HA", "row 3 has 2 values.*cut off"),
        (b"\xff\xfe\x00i\x00m", "no UTF-8 text"),
    ],
)
def test_metadata_that_cannot_be_read(ham, content, message):
    (ham / "HAM10000_metadata.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_table(str(ham))


def test_a_byte_order_mark_does_no_harm(ham):
    path = ham / "HAM10000_metadata.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    check_ham(load_table(str(ham)))


def test_damaged_and_nested_archives(ham):
    whole = (ham / "HAM10000_images_part_1.zip").read_bytes()
    for name in ("HAM10000_images_part_1.zip", "HAM10000_images_part_2.zip"):
        (ham / name).unlink()
    with pytest.raises(DataError, match=r"put HAM10000_images_part_1\.zip"):
        load_table(str(ham))
    write_zip(ham / "dataverse_files.zip", {"HAM10000_images_part_1.zip": whole})
    with pytest.raises(DataError, match="unpack the outer one"):
        load_table(str(ham))
    (ham / "HAM10000_images_part_1.zip").write_bytes(whole[:-40])
    with pytest.raises(DataError, match=r"part_1\.zip is damaged.*download it again"):
        load_table(str(ham))


def test_a_place_that_fits_no_kind_lists_what_each_needs_and_what_is_there(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "sub").mkdir()
    with pytest.raises(DataError) as caught:
        load_table(str(tmp_path))
    text = str(caught.value)
    assert all(name in text and kind.needs in text for name, kind in sources.KINDS.items())
    assert "It holds notes.txt, sub/." in text
    with pytest.raises(DataError, match="there is no data at"):
        load_table(str(tmp_path / "nowhere"))


def test_a_kind_can_be_forced(ham):
    write_images(ham / "nv", ["a.jpg"])
    write_images(ham / "bcc", ["b.jpg"])
    assert load_table(str(ham)).source == "ham10000"
    table = load_table(f"folder:{ham}")
    assert table.source == "folder" and sorted(table.frame["image_id"]) == ["a", "b"]
    with pytest.raises(DataError, match="is no csv data set"):
        load_table(f"csv:{ham}")
    with pytest.raises(DataError, match=r"no metadata\.csv; fill it with: isic"):
        load_table(f"isic-archive:{ham}")
    with pytest.raises(DataError, match="folders, that is unknown; known are ham10000, "):
        load_table(f"folders:{ham}")


@pytest.mark.real
def test_real_ham10000(ham10000_dir):
    table = load_table(str(ham10000_dir))
    assert len(table) == 10_015 and len(table.problems) == 0
    assert table.counts().to_dict() == {
        "akiec": 327, "bcc": 514, "bkl": 1099, "df": 115, "mel": 1113, "nv": 6705, "vasc": 142,
    }  # fmt: skip
    assert table.frame["lesion_id"].nunique() == 7470
    assert table.frame["age"].isna().sum() == 57
    assert len(table.near_duplicates) == 18
    assert not table.synthetic


@pytest.mark.real
def test_real_ham10000_with_eight_labels(ham10000_dir):
    table = load_table(str(ham10000_dir), labels=8)
    assert table.counts().to_dict() == {
        "ak": 130, "bcc": 514, "bkl": 1099, "df": 115, "mel": 1113, "nv": 6705, "scc": 197, "vasc": 142,
    }  # fmt: skip
