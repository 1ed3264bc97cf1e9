"""HAM10000 as Harvard Dataverse and Kaggle give it away (Tschandl et al. 2018, doi:10.1038/sdata.2018.161)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from skinlesion.core.errors import DataError
from skinlesion.core.images import image_name
from skinlesion.core.tables import known, need_columns, read_table
from skinlesion.core.taxonomy import HAM7, ISIC8, ISIC2018_COLUMNS, LabelSet, label_finder, normalise_label
from skinlesion.data.files import Files, ImageIndex, file_name, find_files
from skinlesion.data.reading import UNKNOWN_LABEL, one_hot_word, tabulate
from skinlesion.data.table import LesionTable

METADATA = "HAM10000_metadata"
NEAR_DUPLICATES = "near_duplicates"
EIGHT_LABELS = "isic2019_labels"
ISIC2019_TRUTH = "ISIC_2019_Training_GroundTruth"
ISIC2019_COLUMNS = ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK")
TEST_TRUTH = "ISIC2018_Task3_Test_GroundTruth"
TEST_PREFIX = "isic2018_task3_test"  # begins the names of the official test set's archive and folder
DEMO_MARK = "demo.json"

TERMS = "Images: HAM10000 (Tschandl, Rosendahl, Kittler 2018, doi:10.1038/sdata.2018.161), licence CC BY-NC 4.0."
SYNTHETIC = (
    "This is synthetic demo data: drawn by a program, no patient's skin. Its scores say nothing about real lesions."
)


def load(place: Path, labels: LabelSet = HAM7, words: Mapping[str, str] | None = None) -> LesionTable:
    """Read the training set: metadata and images, in zip archives or unpacked, in one folder (or Kaggle's one zip).

    Eight labels need ``isic2019_labels.csv`` or ISIC 2019's own ground truth beside the metadata. ``words`` are the
    data's own words and the codes they stand for, beside those that are known. Raises DataError where metadata, all
    images, or the labels asked for are missing.
    """
    files = find_files(place)
    metadata = files.read(METADATA, ("image_id", "lesion_id", "dx"), "put it beside the images")
    index = _index(files, [name for name in files.images if TEST_PREFIX not in name.lower()], place)
    demo = any(file_name(name) == DEMO_MARK for name in files.paths)
    code_of = label_finder(labels, words)
    rows = _rows(metadata, index).assign(label=[code_of(word) for word in metadata["dx"]])
    if labels is ISIC8:
        rows = split_akiec(rows, files, place)
    return tabulate(
        rows,
        labels=labels,
        source="demo" if demo else "ham10000",
        location=place,
        has_lesions=True,
        notes=(SYNTHETIC if demo else TERMS,),
        index=index,
        near_duplicates=_near_duplicates(files),
    )


def load_official_test(place: Path) -> LesionTable:
    """Read the official test set of ISIC 2018 Task 3 (1,511 images on Dataverse, 1,512 at ISIC), seven labels.

    The ground truth may have Dataverse's columns (``lesion_id, image_id, dx, ...``) or ISIC's (``image`` and one column
    a class). The latter names no lesions. Raises DataError where the ground truth or all images are missing.
    """
    place = Path(place).expanduser().resolve()
    files = find_files(place) if place.exists() else Files(place, [])
    get = f"get it and the images with: skinlesion data download ham10000 --parts test --to {place}"
    truth = files.read(TEST_TRUTH, (), get)
    index = _index(files, files.images, place)
    if "dx" in truth:
        need_columns(truth, ("image_id", "lesion_id"), TEST_TRUTH)
    else:
        need_columns(truth, ("image", *ISIC2018_COLUMNS), TEST_TRUTH)
        truth = truth.rename(columns={"image": "image_id"}).assign(dx=one_hot_word(truth, ISIC2018_COLUMNS))
    return tabulate(
        _rows(truth, index).assign(label=[normalise_label(word, HAM7) for word in truth["dx"]]),
        labels=HAM7,
        source="ham10000",
        location=place,
        has_lesions="lesion_id" in truth,
        notes=("The official test set of ISIC 2018 Task 3.", TERMS),
        official_split=dict.fromkeys(truth["image_id"], "test"),
        index=index,
        spare=False,
    )


def _index(files: Files, images: list[str], place: Path) -> ImageIndex:
    if not images:
        nested = next((path for path, _, detail in files.left_out if "outer" in detail), None)
        hint = f"; {nested} is an archive within an archive: unpack the outer one" if nested else ""
        raise DataError(f"{place} holds no images: put HAM10000_images_part_1.zip and _part_2.zip there{hint}")
    return ImageIndex(files, images)


def _rows(metadata: pd.DataFrame, index: ImageIndex) -> pd.DataFrame:
    rows = metadata.rename(columns={"localization": "site"}).assign(word=metadata["dx"])
    return rows.assign(path=[index.find(name) for name in rows["image_id"]])


def split_akiec(rows: pd.DataFrame, files: Files, place: Path) -> pd.DataFrame:
    """Give the images that HAM10000 calls akiec the label that ISIC 2019 gave them: ak or scc."""
    finer = _isic2019_labels(files)
    if finer is None:
        raise DataError(
            f"{place} has seven labels, not eight: put {EIGHT_LABELS}.csv (image_id, label) or {ISIC2019_TRUTH}"
            ".csv (from challenge.isic-archive.com, 2019) there, or choose 7 labels"
        )
    words = rows["image_id"].map(lambda name: finer.get(image_name(name), ""))
    akiec = rows["word"].str.lower() == "akiec"
    split = [code if code in ("ak", "scc") else None for code in (normalise_label(word, ISIC8) for word in words)]
    label = rows["label"].astype(object).where(~akiec, pd.Series(split, index=rows.index, dtype=object))
    unsplit = akiec & label.isna()
    empty, detail = pd.Series("", index=rows.index), "akiec, and ISIC 2019 says " + words.replace("", "nothing")
    return rows.assign(
        label=label,
        problem=empty.mask(unsplit & (rows["path"] != ""), UNKNOWN_LABEL),
        detail=empty.mask(unsplit, detail),
        word=rows["word"].where(~akiec, "akiec, " + words),
    )


def _isic2019_labels(files: Files) -> dict[str, str] | None:
    """image_id -> ISIC 2019's word for it, or None where no file has it."""
    path = files.table(EIGHT_LABELS)
    if path is not None:
        given = read_table(path)
        column = "isic2019_label" if "isic2019_label" in given else "label"
        need_columns(given, ("image_id", column), path)
        return dict(zip(given["image_id"].map(image_name), known(given[column]), strict=True))
    path = files.table(ISIC2019_TRUTH)
    if path is not None:
        given = read_table(path)
        need_columns(given, ("image", *ISIC2019_COLUMNS), path)
        ids = given["image"].map(image_name).str.removesuffix("_downsampled")
        return dict(zip(ids, one_hot_word(given, ISIC2019_COLUMNS), strict=True))
    return None


def _near_duplicates(files: Files) -> tuple[tuple[str, str], ...]:
    path = files.table(NEAR_DUPLICATES)
    if path is None:
        return ()
    pairs = read_table(path)
    need_columns(pairs, ("image_id", "duplicate_image_id"), path)
    return tuple(zip(pairs["image_id"], pairs["duplicate_image_id"], strict=True))
