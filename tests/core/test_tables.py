"""One table reader for all that people write, one list of words for "missing", one way to match ids."""

import numpy as np
import pandas as pd
import pytest

from skinlesion.core.errors import DataError
from skinlesion.core.tables import (
    MISSING,
    counted,
    fold_number,
    image_ids,
    is_missing,
    known,
    lesion_names,
    match_ids,
    name_columns,
    number,
    read_table,
    split_words,
)

ROWS = [("image", "label", "age"), ("a.jpg", "nv", "45.5"), ("b.jpg", "Bösartig, mel", "")]


def written(separator=",", end="\n", encoding="utf-8", before="", after=""):
    lines = [separator.join(f'"{value}"' if separator in value else value for value in row) for row in ROWS]
    return (before + end.join(lines) + end + after).encode(encoding)


@pytest.mark.parametrize(
    "data",
    [
        written(),
        written(";"),
        written("\t"),
        written("|"),
        written(";", "\r\n", "utf-8-sig"),
        written(end="\r"),
        written("\t", "\r\n", "utf-16"),
        written(encoding="utf-16-le"),
        written(encoding="utf-16-be"),
        written(";", before="sep=;\n"),
        written(";", "\r\n", "utf-8-sig", before="sep=;\r\n"),
        written("\t", before='"sep=\t"\n'),
        written(after="\n\n,,\n"),
        written(";", after=";;\n", before="\n"),
        written(encoding="utf-8-sig", before="\ufeff\u200b"),
        written().replace(b"a.jpg", "\u202aa.jpg\u00a0".encode()),
    ],
)
def test_every_form_of_a_table_reads_alike(tmp_path, data):
    (tmp_path / "t.csv").write_bytes(data)
    frame = read_table(tmp_path / "t.csv")
    assert [tuple(frame.columns), *frame.itertuples(index=False, name=None)] == ROWS


def test_text_that_is_written_as_a_formula_is_the_text(tmp_path):
    (tmp_path / "t.csv").write_bytes(b'id,note\n="007","=""1e5"""\n="",\n"=",x\n')
    assert read_table(tmp_path / "t.csv").to_numpy().tolist() == [["007", "1e5"], ["=", "x"]]


def test_unnamed_and_repeated_columns(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(",image,dx,dx\n0,a,nv,nv\n1,b,mel,mel\n")  # as pandas writes an index
    assert read_table(path).to_dict("list") == {"image": ["a", "b"], "dx": ["nv", "mel"]}
    path.write_text("image,dx,dx\na,nv,nv\nb,mel,nv\n")
    with pytest.raises(DataError, match=r"two columns dx, which differ in row 3 \('mel' and 'nv'\); rename or delete"):
        read_table(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"image,dx\na,nv\nb\n", "row 3 has 1 value where the header has 2"),
        (b"image,age\na,45,5\n", "row 2 has 3 values.*without quotes"),
        (b'image,dx\na,nv\nb,"nv\n', "row 3 .*is a quotation mark open"),
        (b"image,dx\na,n\xe6vus\n", "not UTF-8 text in row 2"),
        (b"image,dx\na,nv\0\n", "zero bytes"),
        (b"PK\3\4", "workbook.*save it as CSV"),
        (b"\x1f\x8b\x08", "unpack it"),
        (b"", "holds no rows"),
    ],
)
def test_what_cannot_be_read_is_refused_by_row_and_remedy(tmp_path, data, message):
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        read_table(tmp_path / "t.csv")
    assert "\n" not in str(caught.value) and "t.csv" in str(caught.value)


def test_missing_is_one_word_list():
    for word in ("", "NA", "N/A", "nan", "NaN", "null", "None", "unknown", "UNKNOWN", " - ", "#REF!"):
        assert is_missing(word) and number(word) != number(word) and fold_number(word) == -1
    assert not any(is_missing(word) for word in ("0", "nv", "no", "unk", "L1", "nevus"))
    values = pd.Series([" NA ", "L1", "null", "-", "none such"])
    assert known(values).tolist() == ["", "L1", "", "", "none such"]
    assert all(word == word.lower() for word in MISSING)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0,5", 0.5),
        (".5", 0.5),
        ("45.0", 45),
        (" 1e-3 ", 0.001),
        ("-2", -2),
        ("1_000", None),
        ("²", None),
        ("old", None),
    ],
)
def test_numbers(text, value):
    assert number(text) == value


def test_folds():
    assert [fold_number(text) for text in ("3", "3.0", "fold3", "Fold 3", "fold_3", "-1")] == [3, 3, 3, 3, 3, -1]
    assert fold_number("one") is None and fold_number("3.5") is None and fold_number("9" * 400) is None


def test_ids_of_files():
    assert image_ids(["x/a.JPG", r"C:\data\b.jpeg", "ISIC_1", "v1.2.png"]) == ["a", "b", "ISIC_1", "v1.2"]
    assert image_ids(["mel/0.jpg", r"nv\0.jpg"]) == ["mel/0.jpg", "nv/0.jpg"]
    assert image_ids(["mel/0.jpg", "mel/0.jpg"]) == ["0", "0"], "one file twice is no two files"


def test_ids_of_two_tables_match_without_ending_folder_or_case():
    given = ["ISIC_1", "mel/0.jpg", "nv/0.jpg", "IMG_2.PNG"]
    wanted = ["images/isic_1.JPG", "nv/0.jpg", r"train\mel\0.png", "img_2", "ISIC_9"]
    assert match_ids(wanted, given).tolist() == [0, 2, 1, 3, -1]
    assert match_ids(["nv/7.jpg"], ["mel/7.jpg"]).tolist() == [-1], "another folder is another image"
    with pytest.raises(DataError, match=r"0\.jpg could be mel/0\.jpg, nv/0\.jpg"):
        match_ids(["0.jpg"], given)
    with pytest.raises(DataError, match=r"ISIC_1, a/ISIC_1\.jpg are all ISIC_1"):
        match_ids(["ISIC_1", "a/ISIC_1.jpg"], given)
    assert match_ids(["0.jpg", "007", "x/8"], ["000", "7.0", "08.jpg"]).tolist() == [0, 1, 2], (
        "as spreadsheets write it"
    )
    assert match_ids(["7", "70"], ["007", "7.jpg", "7.5"]).tolist() == [1, -1]
    assert match_ids(["ISIC_1", "ISIC_2_downsampled"], ["isic_1_downsampled.jpg", "ISIC_2"]).tolist() == [0, 1]
    assert match_ids(["ISIC_1"], ["ISIC_1_downsampled", "ISIC_1"]).tolist() == [1]
    assert match_ids([], given).dtype == np.int64


@pytest.mark.parametrize("other", ["nv0.jpg", "NV0", "images/nv0.PNG"])
def test_an_image_that_a_table_has_in_two_forms_is_no_match(other):
    with pytest.raises(DataError, match=f"nv0 is there as {other}, too; keep one row"):
        match_ids(["nv0"], ["nv0", other])
    assert match_ids(["nv0", other], [other, "nv0"]).tolist() == [1, 0], "two images"
    assert match_ids(["nv0.jpg", "mel/1"], ["nv0.png", "nv0.jpg", "mel/1", "nv/1"]).tolist() == [1, 2], "other files"


def test_an_accent_is_one_character_or_two():
    assert match_ids(["Ma\u0308dchen/1.jpg", "NA\u0308VUS"], ["N\u00e4vus.png", "m\u00e4dchen/1"]).tolist() == [1, 0]


def test_an_image_without_a_lesion_is_not_of_another_lesion_by_chance():
    assert lesion_names(["7", "", "", "L"], ["1", "7", "8", "9"]).tolist() == ["7", "image 7", "8", "L"]


def test_columns_and_splits_have_one_meaning_however_they_are_written(tmp_path):
    frame = pd.DataFrame({"Image ID": ["a"], "LESION-id": ["L"], "split": ["Valid"]})
    named = name_columns(frame, ("image_id", "lesion_id", "split", "fold"), "t.csv")
    assert list(named.columns) == ["image_id", "lesion_id", "split"]
    assert split_words(named["split"], ["a"], "t.csv").tolist() == ["validation"]
    assert split_words(pd.Series(["NA", "TEST"]), "ab", "t.csv").tolist() == ["", "test"]
    with pytest.raises(DataError, match="unknown split 'dev' of b in t.csv; use train"):
        split_words(pd.Series(["train", "dev"]), "ab", "t.csv")
    twice = pd.DataFrame({"Lesion ID": ["L"], "lesion_id": ["L"], "lesionid": ["M"]})
    with pytest.raises(DataError, match="several columns for the lesion_id: Lesion ID, lesionid; keep one"):
        name_columns(twice, ("lesion_id",), "t.csv")
    assert list(name_columns(twice.drop(columns="lesionid"), ("lesion_id",), "t.csv")) == ["lesion_id"]


def test_counts_in_words():
    counts = [(1, "class"), (2, "class"), (1234, "image"), (2, "copy"), (2, "epoch"), (2, "batch")]
    expected = ["1 class", "2 classes", "1,234 images", "2 copies", "2 epochs", "2 batches"]
    assert [counted(*count) for count in counts] == expected
