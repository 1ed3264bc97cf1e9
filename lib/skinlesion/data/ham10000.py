"""HAM10000 as Harvard Dataverse and Kaggle give it away (Tschandl et al. 2018, doi:10.1038/sdata.2018.161)."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from skinlesion.core.errors import DataError
from skinlesion.core.images import is_image
from skinlesion.core.taxonomy import HAM7, ISIC8, ISIC2018_COLUMNS, LabelSet, normalise_label
from skinlesion.data.reading import (
    file_name,
    find_csv,
    list_files,
    need_columns,
    one_hot_word,
    read_csv,
    stem,
    tabulate,
)
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


def load(place: Path, labels: LabelSet = HAM7) -> LesionTable:
    """Read the training set: metadata and images, in zip archives or unpacked, in one folder (or Kaggle's one zip).

    Parameters
    ----------
    place : Path
    labels : LabelSet
        Eight labels need ``isic2019_labels.csv`` or ISIC 2019's own ground truth beside the metadata.

    Raises
    ------
    DataError
        Where metadata, all images, or the labels asked for are missing.
    """
    files = list_files(place)
    path = find_csv(files, METADATA)
    if path is None:
        raise DataError(f"{place} holds no {METADATA}; put {METADATA}.csv beside the images")
    metadata = read_csv(path)
    need_columns(metadata, ("image_id", "lesion_id", "dx"), path)
    images = _index([name for name in files if TEST_PREFIX not in name.lower()], place)
    demo = any(file_name(name) == DEMO_MARK for name in files)
    rows = _rows(metadata, images).assign(label=[normalise_label(word, labels) for word in metadata["dx"]])
    if labels is ISIC8:
        rows = _split_akiec(rows, files, place)
    return tabulate(
        rows,
        labels=labels,
        source="demo" if demo else "ham10000",
        location=place,
        has_lesions=True,
        notes=(SYNTHETIC if demo else TERMS,),
        images=images,
        near_duplicates=_near_duplicates(files),
    )


def load_official_test(place: Path) -> LesionTable:
    """Read the official test set of ISIC 2018 Task 3 (1,511 images on Dataverse, 1,512 at ISIC), seven labels.

    The ground truth may have Dataverse's columns (``lesion_id, image_id, dx, ...``) or ISIC's (``image`` and one column
    a class). The latter names no lesions.

    Raises
    ------
    DataError
        Where the ground truth or all images are missing.
    """
    place = Path(place).expanduser().resolve()
    files = list_files(place) if place.exists() else []
    path = find_csv(files, TEST_TRUTH)
    if path is None:
        raise DataError(
            f"{place} holds no {TEST_TRUTH}; get it and the images with: "
            f"skinlesion data download ham10000 --parts test --to {place}"
        )
    truth = read_csv(path)
    images = _index(files, place)
    if "dx" in truth:
        need_columns(truth, ("image_id", "lesion_id"), path)
    else:
        need_columns(truth, ("image", *ISIC2018_COLUMNS), path)
        truth = truth.rename(columns={"image": "image_id"}).assign(dx=one_hot_word(truth, ISIC2018_COLUMNS))
    return tabulate(
        _rows(truth, images).assign(label=[normalise_label(word, HAM7) for word in truth["dx"]]),
        labels=HAM7,
        source="ham10000",
        location=place,
        has_lesions="lesion_id" in truth,
        notes=("The official test set of ISIC 2018 Task 3.", TERMS),
        official_split=dict.fromkeys(truth["image_id"], "test"),
    )


def _index(files: list[str], place: Path) -> dict[str, str]:
    """image_id -> path; Kaggle's archive holds every image twice, of which the first is taken."""
    images: dict[str, str] = {}
    for path in files:
        if is_image(path):
            images.setdefault(stem(path), path)
    if not images:
        nested = next((path for path in files if path.endswith(".zip")), None)
        hint = f"; {nested} is a zip within a zip: unpack the outer one" if nested else ""
        raise DataError(f"{place} holds no images: put HAM10000_images_part_1.zip and _part_2.zip there{hint}")
    return images


def _rows(metadata: pd.DataFrame, images: dict[str, str]) -> pd.DataFrame:
    rows = metadata.rename(columns={"localization": "site"}).assign(word=metadata["dx"])
    return rows.assign(path=[images.get(name.strip(), "") for name in rows["image_id"]])


def _split_akiec(rows: pd.DataFrame, files: list[str], place: Path) -> pd.DataFrame:
    """Give the images that HAM10000 calls akiec the label that ISIC 2019 gave them: ak or scc."""
    finer = _isic2019_labels(files)
    if finer is None:
        raise DataError(
            f"{place} tells seven labels apart, not eight: put {EIGHT_LABELS}.csv (image_id, label) or {ISIC2019_TRUTH}"
            ".csv (from challenge.isic-archive.com, 2019) there, or choose 7 labels"
        )
    words = rows["image_id"].map(finer).fillna("")
    akiec = rows["word"].str.strip().str.lower() == "akiec"
    split = [code if code in ("ak", "scc") else None for code in (normalise_label(word, ISIC8) for word in words)]
    detail = "akiec, and ISIC 2019 says " + words.replace("", "nothing")
    return rows.assign(
        label=rows["label"].astype(object).where(~akiec, pd.Series(split, index=rows.index, dtype=object)),
        word=rows["word"].where(~akiec, detail),
    )


def _isic2019_labels(files: list[str]) -> dict[str, str] | None:
    """image_id -> ISIC 2019's word for it, or None where no file tells."""
    path = find_csv(files, EIGHT_LABELS)
    if path is not None:
        given = read_csv(path)
        column = "isic2019_label" if "isic2019_label" in given else "label"
        need_columns(given, ("image_id", column), path)
        return dict(zip(given["image_id"], given[column], strict=True))
    path = find_csv(files, ISIC2019_TRUTH)
    if path is not None:
        given = read_csv(path)
        need_columns(given, ("image", *ISIC2019_COLUMNS), path)
        ids = given["image"].str.removesuffix("_downsampled")
        return dict(zip(ids, one_hot_word(given, ISIC2019_COLUMNS), strict=True))
    return None


def _near_duplicates(files: list[str]) -> tuple[tuple[str, str], ...]:
    path = find_csv(files, NEAR_DUPLICATES)
    if path is None:
        return ()
    pairs = read_csv(path)
    need_columns(pairs, ("image_id", "duplicate_image_id"), path)
    return tuple(zip(pairs["image_id"].str.strip(), pairs["duplicate_image_id"].str.strip(), strict=True))
