"""The ISIC challenges' data sets, MILK10k and Derm7pt, in synthetic copies of the layouts that people download."""

import zipfile
from dataclasses import replace

import pandas as pd
import pytest

from skinlesion.core.errors import DataError
from skinlesion.core.one_hot import one_hot_word
from skinlesion.core.runs import Run
from skinlesion.data.sources import detect, load_table
from skinlesion.data.table import LesionTable
from skinlesion.evaluation.subgroups import group_images
from small import jpeg, write_csv, write_images

MILK = ("AKIEC", "BCC", "BEN_OTH", "BKL", "DF", "INF", "MAL_OTH", "MEL", "NV", "SCCKA", "VASC")


def one_hot(name, word, columns):
    return (name, *("1.0" if column == word else "0.0" for column in columns))


def zipped(path, names):
    with zipfile.ZipFile(path, "w") as archive:
        for seed, name in enumerate(names):
            archive.writestr(name, jpeg(seed))


def problems(table):
    return dict(zip(table.problems["image_id"], table.problems["problem"], strict=True))


@pytest.fixture
def milk10k(tmp_path):
    full = {
        "AKIEC": "Solar or actinic keratosis", "BCC": "Basal cell carcinoma", "SCCKA": "Keratoacanthoma",
        "INF": "Lupus", "MEL": "Melanoma in situ", "NV": "Nevus, NOS, Dermal",
    }  # fmt: skip
    lesions = [
        ("IL_1", "AKIEC"),
        ("IL_2", "AKIEC"),
        ("IL_3", "BCC"),
        ("IL_4", "SCCKA"),
        ("IL_5", "INF"),
        ("IL_6", "MEL"),
        ("IL_7", "NV"),
    ]
    full_of = {lesion: full[word] for lesion, word in lesions} | {
        "IL_2": "Squamous cell carcinoma in situ, Bowens disease"
    }
    write_csv(
        tmp_path / "MILK10k_Training_GroundTruth.csv", ("lesion_id", *MILK), [one_hot(*pair, MILK) for pair in lesions]
    )
    rows = [
        (lesion, "dermoscopic", f"ISIC_{i}000001", "70", "male", "trunk", "" if i == 3 else f"{i - 2}")
        for i, (lesion, _) in enumerate(lesions, 1)
    ]
    rows += [("IL_7", "clinical: close-up", "ISIC_7000002", "70", "male", "trunk", "5")]
    write_csv(
        tmp_path / "MILK10k_Training_Metadata.csv",
        ("lesion_id", "image_type", "isic_id", "age_approx", "sex", "site", "skin_tone_class"),
        rows,
    )
    more = [(row[2], full_of[row[0]], "histopathology") for row in rows]
    write_csv(
        tmp_path / "MILK10k_Training_Supplement.csv", ("isic_id", "diagnosis_full", "diagnosis_confirm_type"), more
    )
    zipped(tmp_path / "MILK10k_Training_Input.zip", [f"MILK10k_Training_Input/{row[0]}/{row[2]}.jpg" for row in rows])
    return tmp_path


def test_rated_skin_tone_is_kept_and_changes_no_fingerprint(milk10k, tmp_path):
    table = load_table(str(milk10k))
    assert table.frame["skin_tone"].tolist() == ["-1", "0", "", "4", "5"]
    table.save(Run(tmp_path / "run"))
    assert LesionTable.load(Run(tmp_path / "run")).frame["skin_tone"].tolist() == ["-1", "0", "", "4", "5"]
    bare = replace(table, frame=table.frame.drop(columns="skin_tone"))
    assert bare.fingerprint() == table.fingerprint()
    groups = group_images(table.frame, table.frame["image_id"].to_numpy(object))
    assert groups["rated skin tone"].tolist() == ["unknown", "0, very dark", "unknown", "4", "5, very light"]


def test_milk10k(milk10k):
    assert detect(str(milk10k))[0] == "milk10k"
    seven, eight = load_table(str(milk10k)), load_table(str(milk10k), labels=8)
    assert seven.frame["label"].tolist() == ["akiec", "akiec", "bcc", "mel", "nv"]
    assert eight.frame["label"].tolist() == ["ak", "scc", "bcc", "scc", "mel", "nv"]
    assert set(eight.frame["dx_type"]) == {"histo"} and eight.has_lesions and eight.source == "milk10k"
    assert problems(seven) == {
        "ISIC_4000001": "diagnosis without a class",  # SCCKA: none of the seven
        "ISIC_5000001": "diagnosis without a class",
        "ISIC_7000002": "not dermatoscopic",
    }
    assert "ISIC_4000001" not in problems(eight)
    (milk10k / "MILK10k_Training_Supplement.csv").unlink()
    assert load_table(str(milk10k)).frame["label"].tolist()[:2] == ["akiec", "akiec"]
    assert problems(load_table(str(milk10k), labels=8))["ISIC_1000001"] == "diagnosis without a class"


def test_a_table_that_contradicts_itself_about_a_lesion_or_image_is_refused(milk10k):
    truth = milk10k / "MILK10k_Training_GroundTruth.csv"
    whole = truth.read_text()
    row = whole.splitlines()[6]
    truth.write_text(f"{whole}{row}\n{row.lower()}\n")  # twice the same is no contradiction
    assert load_table(str(milk10k)).frame["label"].tolist() == ["akiec", "akiec", "bcc", "mel", "nv"]
    write_csv(truth, ("lesion_id", *MILK), [one_hot("IL_6", word, MILK) for word in ("MEL", "NV")])
    with pytest.raises(DataError, match="class has two values for IL_6, 'MEL' and 'NV'; delete the wrong row"):
        load_table(str(milk10k))
    truth.write_text(whole)
    with (milk10k / "MILK10k_Training_Supplement.csv").open("a") as file:
        file.write("isic_2000001.jpg,Solar or actinic keratosis,histopathology\n")
    with pytest.raises(DataError, match="diagnosis_full has two values for ISIC_2000001"):
        load_table(str(milk10k), labels=8)


def test_a_row_of_a_ground_truth_marks_one_class_or_none():
    marks = [("1.0", "0,0"), ("1", "1"), ("1", "0.7"), ("0", "0"), ("nan", "1"), ("1", ""), ("1", "yes"), ("x", "y")]
    rows = pd.DataFrame(marks, columns=["MEL", "NV"])
    assert one_hot_word(rows, ("MEL", "NV")).tolist() == ["MEL", "", "", "", "NV", "MEL", "", ""]


def test_isic_2019(tmp_path):
    columns = ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK")
    words = {
        "ISIC_0024306": "SCC",
        "ISIC_0053454": "SCC",
        "ISIC_0053455": "UNK",
        "ISIC_0000002_downsampled": "MEL",
        "ISIC_0053456": "NV",
    }
    write_csv(
        tmp_path / "ISIC_2019_Training_GroundTruth.csv",
        ("image", *columns),
        [one_hot(*pair, columns) for pair in words.items()],
    )
    rows = [(name, "40", "anterior torso", f"BCN_{i}" if i != 1 else "", "female") for i, name in enumerate(words)]
    write_csv(
        tmp_path / "ISIC_2019_Training_Metadata.csv",
        ("image", "age_approx", "anatom_site_general", "lesion_id", "sex"),
        rows,
    )
    zipped(tmp_path / "ISIC_2019_Training_Input.zip", [f"ISIC_2019_Training_Input/{name}.jpg" for name in words])
    seven, eight = load_table(str(tmp_path)), load_table(str(tmp_path), labels=8)
    assert seven.source == "isic2019" and seven.frame["label"].tolist() == ["akiec", "mel", "nv"]
    assert eight.frame["label"].tolist() == ["scc", "scc", "mel", "nv"]
    assert problems(seven) == {"ISIC_0053454": "diagnosis without a class", "ISIC_0053455": "diagnosis without a class"}
    assert eight.frame["lesion_id"].tolist() == ["BCN_0", "ISIC_0053454", "BCN_3", "BCN_4"]
    assert eight.frame["site"].iloc[0] == "anterior torso" and eight.frame["age"].iloc[0] == 40


def test_isic_2018_task_3(tmp_path):
    columns = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
    words = {"ISIC_0024306": "NV", "ISIC_0024307": "AKIEC", "ISIC_0024308": "MEL"}
    truth = (
        "image,"
        + ",".join(columns)
        + "\n"
        + "".join(",".join(one_hot(*pair, columns)) + "\n" for pair in words.items())
    )
    with zipfile.ZipFile(tmp_path / "ISIC2018_Task3_Training_GroundTruth.zip", "w") as archive:
        archive.writestr("ISIC2018_Task3_Training_GroundTruth/ISIC2018_Task3_Training_GroundTruth.csv", truth)
    groups = [(name, "HAM_1" if i < 2 else "HAM_2", "histopathology") for i, name in enumerate(words)]
    write_csv(
        tmp_path / "ISIC2018_Task3_Training_LesionGroupings.csv",
        ("image", "lesion_id", "diagnosis_confirm_type"),
        groups,
    )
    zipped(
        tmp_path / "ISIC2018_Task3_Training_Input.zip", [f"ISIC2018_Task3_Training_Input/{name}.jpg" for name in words]
    )
    table = load_table(str(tmp_path))
    assert table.source == "isic2018" and table.frame["label"].tolist() == ["nv", "akiec", "mel"]
    assert table.frame["lesion_id"].tolist() == ["HAM_1", "HAM_1", "HAM_2"] and len(table.problems) == 0
    with pytest.raises(DataError, match="has seven labels, not eight"):
        load_table(str(tmp_path), labels=8)
    write_csv(tmp_path / "isic2019_labels.csv", ("image_id", "label"), [("ISIC_0024307", "SCC")])
    assert load_table(str(tmp_path), labels=8).frame["label"].tolist() == ["nv", "scc", "mel"]


def test_derm7pt(tmp_path):
    cases = [
        "clark nevus",
        "melanoma (less than 0.76 mm)",
        "lentigo",
        "reed or spitz nevus",
        "seborrheic keratosis",
        "melanoma metastasis",
    ]
    rows = [(i, name, f"Nel/Nel{i:03d}.jpg", f"Nel/Nec{i:03d}.jpg", "male", "back") for i, name in enumerate(cases)]
    write_csv(tmp_path / "meta" / "meta.csv", ("case_num", "diagnosis", "derm", "clinic", "sex", "location"), rows)
    for name, chosen in (("train", (0, 1, 2)), ("valid", (3, 4)), ("test", (5,))):
        write_csv(tmp_path / "meta" / f"{name}_indexes.csv", ("indexes",), [(i,) for i in chosen])
    write_images(tmp_path / "images" / "NEL", [f"Nel{i:03d}.JPG" for i in range(6)])
    write_images(tmp_path / "images" / "NEL", [f"Nec{i:03d}.jpg" for i in range(6)])
    table = load_table(str(tmp_path))
    assert table.source == "derm7pt" and table.frame["label"].tolist() == ["nv", "mel", "nv", "bkl", "mel"]
    assert [table.official_split[name] for name in table.frame["image_id"]] == [
        "train",
        "train",
        "validation",
        "validation",
        "test",
    ]
    found = problems(table)
    assert (
        found.pop("Nel002") == "diagnosis without a class"
        and set(found.values()) == {"not dermatoscopic"}
        and len(found) == 6
    )


def test_no_row_of_derm7pt_is_dropped_unseen(tmp_path):
    rows = [
        (1, "melanoma", "N/1.jpg", "N/1.jpg"),  # one photograph for both
        (2, "clark nevus", "N/2.jpg", "N/c.jpg"),
        (3, "melanoma", "N/2.jpg", ""),  # another case's image
        (4, "clark nevus", "", "N/c.jpg"),
        (5, "clark nevus", "N/5.jpg", "N/c.jpg"),
    ]
    write_csv(tmp_path / "meta" / "meta.csv", ("case_num", "diagnosis", "derm", "clinic"), rows)
    write_images(tmp_path / "images" / "N", ["1.jpg", "2.jpg", "c.jpg", "5.jpg"])
    table = load_table(str(tmp_path))
    assert table.frame["image_id"].tolist() == ["1", "5"]
    found = table.problems[table.problems["problem"] != "not dermatoscopic"]
    assert sorted(zip(found["image_id"], found["problem"], strict=True)) == [
        ("", "row without an image"), ("2", "duplicate id"), ("2", "duplicate id"),
    ]  # fmt: skip


def test_what_is_missing_is_named(milk10k):
    (milk10k / "MILK10k_Training_Input.zip").unlink()
    with pytest.raises(DataError, match=r"no images; put MILK10k_Training_Input\.zip there"):
        load_table(str(milk10k))
    with pytest.raises(DataError, match=r"no ISIC_2019_Training_GroundTruth\.csv"):
        load_table(f"isic2019:{milk10k}")
