"""HAM10000 ends in the same table, whatever its layout; what cannot be used is named, and what is no data set."""

import csv
import zipfile

import numpy as np
import pytest

from skinlesion.core import images
from skinlesion.core.errors import ConfigError, DataError
from skinlesion.data import sources, splits
from skinlesion.data.published import load_official_test
from skinlesion.data.sources import load_table
from small import jpeg, write_csv, write_images

HAM_COLUMNS = ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization")
HAM_ROWS = [
    ("HAM_0000001", "ISIC_0024306", "nv", "histo", "45.0", "male", "back"),
    ("HAM_0000001", "ISIC_0024307", "nv", "histo", "45.0", "male", "back"),
    ("HAM_0000002", "ISIC_0024308", "mel", "histo", "", "female", "face"),
    ("HAM_0000003", "ISIC_0024309", "akiec", "consensus", "70.0", "unknown", ""),
    ("HAM_0000004", "ISIC_0024310", "akiec", "histo", "0.0", "female", "ear"),
]
HAM_IDS = [row[1] for row in HAM_ROWS]


def write_zip(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


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
    assert all(images.read_image(path).shape == (30, 40, 3) for path in table.frame["path"])
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
    assert table.problems["detail"].iloc[0] == "akiec, more precisely NV"


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
    monkeypatch.setattr("skinlesion.data.demo.dataset.demo_folder", lambda *number: asked.append(number) or ham)
    assert load_table("demo").synthetic and len(load_table("demo:300")) == 5
    assert asked == [(), (300,)]
    with pytest.raises(DataError, match="demo:300"):
        load_table("demo:many")


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "holds no rows"),
        (b"image_id,lesion_id,dx\n", "holds no rows"),
        (b"image_id,dx\nISIC_1,nv\n", "lacks the column lesion_id"),
        (b"image_id,lesion_id,dx\nISIC_1,HAM_1,nv\nISIC_2,HA", "row 3 has 2 values.*cut off"),
        (b"image_id,lesion_id,dx\nISIC_1,HAM_1,n\xe6vus\n", "not UTF-8 text in row 2"),
        (b"PK\3\4 a workbook", "save it as CSV"),
        (b"image_id,lesion_id,dx,dx\nISIC_1,HAM_1,nv,mel\n", "two columns dx, which differ in row 2 .'nv' and 'mel'"),
    ],
)
def test_metadata_that_cannot_be_read(ham, content, message):
    (ham / "HAM10000_metadata.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_table(str(ham))


def test_two_tables_of_one_name_must_agree(tmp_path):
    layout_dataverse_tab(tmp_path)
    edited = [*HAM_ROWS[:-1], (*HAM_ROWS[-1][:2], "df", *HAM_ROWS[-1][3:])]
    for rows in (HAM_ROWS, edited):
        write_csv(tmp_path / "HAM10000_metadata.csv", HAM_COLUMNS, rows)
        if rows is HAM_ROWS:
            check_ham(load_table(str(tmp_path)))
        else:
            with pytest.raises(DataError, match=r"metadata.csv and .*metadata.tab differ; keep the right one"):
                load_table(str(tmp_path))


def test_a_byte_order_mark_does_no_harm(ham):
    path = ham / "HAM10000_metadata.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    check_ham(load_table(str(ham)))


def test_an_archive_that_may_not_be_read_is_not_called_damaged(ham, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("skinlesion.data.files.zipfile.ZipFile", refuse)
    with pytest.raises(DataError, match=r"part_1\.zip cannot be read \(Permission denied\); check its permissions"):
        load_table(str(ham))


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


@pytest.mark.parametrize("data", [[], "", ["demo", ""], None, 7], ids=repr)
def test_no_data_set_is_not_the_folder_that_one_is_in(data, ham, monkeypatch):
    monkeypatch.chdir(ham)
    with pytest.raises(DataError, match="no data set is named; give demo"):
        load_table(data)
    check_ham(load_table(ham))  # a Path is one
    check_ham(load_table([ham]))


def test_a_kind_can_be_forced(ham):
    write_images(ham / "nv", ["a.jpg"])
    write_images(ham / "bcc", ["b.jpg"])
    assert load_table(str(ham)).source == "ham10000"
    table = load_table(f"folder:{ham}")
    assert table.source == "folder" and sorted(table.frame["image_id"]) == ["a", "b"]
    with pytest.raises(DataError, match="holds no labels.csv"):
        load_table(f"csv:{ham}")
    with pytest.raises(DataError, match=r"no metadata\.csv; fill it with: isic"):
        load_table(f"isic-archive:{ham}")
    with pytest.raises(DataError, match="folders, that is unknown; known are ham10000, "):
        load_table(f"folders:{ham}")


@pytest.mark.real
def test_real_ham10000(ham10000):
    table = ham10000
    assert len(table) == 10_015 and len(table.problems) == 0
    assert table.counts().to_dict() == {
        "akiec": 327, "bcc": 514, "bkl": 1099, "df": 115, "mel": 1113, "nv": 6705, "vasc": 142,
    }  # fmt: skip
    assert table.frame["lesion_id"].nunique() == 7470
    assert table.frame["age"].isna().sum() == 57
    assert len(table.near_duplicates) == 18
    assert not table.synthetic


@pytest.mark.real
def test_three_clinics_as_one_table(ham10000_256_dir, milk10k_dir, isic2017_dir):
    """The counts are those that each data set's own documentation gives, and the split of HAM10000 is its own."""
    table = load_table([f"ham10000:{ham10000_256_dir}", f"milk10k:{milk10k_dir}", f"csv:{isic2017_dir}"], 8)
    ham, milk, msk = table.origins
    counts = table.counts_by_source()
    assert (ham, milk) == ("ham10000", "milk10k") and counts.sum().to_dict() == {ham: 10015, milk: 4806, msk: 2593}
    assert counts[ham].to_dict() == {
        "ak": 130, "bcc": 514, "bkl": 1099, "df": 115, "mel": 1113, "nv": 6705, "scc": 197, "vasc": 142,
    }  # fmt: skip
    assert counts.loc[["bcc", "nv", "mel", "vasc"], milk].tolist() == [2499, 541, 389, 41]
    assert counts.loc[["ak", "scc"], milk].sum() == 302 + 468, "AKIEC, parted by the supplement, and SCCKA"
    assert counts.loc[["nv", "mel", "bkl"], msk].tolist() == [1866, 519, 208]
    by_type = table.frame.groupby(["source", "dx_type"]).size()
    assert by_type[ham].to_dict() == {"histo": 5340, "follow_up": 3704, "consensus": 902, "confocal": 69}
    assert set(by_type[milk].index) == {"histo", "consensus"} and set(by_type[msk].index) == {"unknown"}
    alone = splits.make_split(table.of_source(ham))
    together = splits.make_split(table)
    assert list(together["split"][: len(alone)]) == list(alone["split"])
    assert 0.15 < (together.loc[together["source"] == milk, "split"] == "test").mean() < 0.18


@pytest.mark.real
def test_seven_codes_set_the_scc_of_other_clinics_aside(bcn20000_dir, ph2_dir):
    table = load_table([str(bcn20000_dir), str(ph2_dir)])
    assert table.counts_by_source().loc["akiec"].tolist() == [705, 0], "actinic keratoses alone"
    assert (table.problems["problem"] == "diagnosis without a class").sum() == 431
    assert table.counts_by_source().iloc[:, 1].sum() == 200
