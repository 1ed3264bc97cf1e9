"""The data sets of the ISIC challenges and of Derm7pt, as they are downloaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from skinlesion.core.errors import DataError
from skinlesion.core.images import image_name, slashes
from skinlesion.core.tables import image_ids, known
from skinlesion.core.taxonomy import HAM7, ISIC8, ISIC2018_COLUMNS, LabelSet, label_finder, to_label
from skinlesion.data import class_maps
from skinlesion.data.files import Files, ImageIndex, find_files
from skinlesion.data.ham10000 import split_akiec
from skinlesion.data.overlap import trained_ids
from skinlesion.data.reading import NO_CLASS, NOT_DERMATOSCOPIC, one_hot_word, tabulate
from skinlesion.data.table import LesionTable

MILK10K = "MILK10k_Training_GroundTruth"
ISIC2019 = "ISIC_2019_Training_GroundTruth"
ISIC2018 = "ISIC2018_Task3_Training_GroundTruth"
DERM7PT = "meta"
TERMS = {
    "milk10k": "Images: MILK10k (ISIC Archive 2025, doi:10.34970/648456), licence CC BY-NC.",
    "isic2019": "Images: ISIC 2019 (HAM10000, BCN20000, MSK; doi:10.1038/sdata.2018.161), licence CC BY-NC 4.0.",
    "isic2018": "Images: HAM10000 as ISIC 2018 Task 3 (doi:10.1038/sdata.2018.161), licence CC BY-NC 4.0.",
    "derm7pt": "Images: Derm7pt (Kawahara et al. 2019, doi:10.1109/JBHI.2018.2824327), for research alone.",
}
_SPLITS = {"train_indexes": "train", "valid_indexes": "validation", "test_indexes": "test"}

Words = Mapping[str, str] | None


def load_milk10k(place: Path, labels: LabelSet = ISIC8, words: Words = None) -> LesionTable:
    """Read MILK10k's training set: ground truth a lesion, metadata a row an image, supplement, and the images.

    Clinical close-ups are set aside as not dermatoscopic. The supplement tells actinic keratosis from Bowen's disease,
    which eight labels need. Raises DataError where a table or all images are missing.
    """
    files, truth = _open(place, MILK10K, ("lesion_id", *class_maps.MILK10K), "MILK10k_Training_Input.zip")
    metadata = _need(files, "MILK10k_Training_Metadata", ("lesion_id", "isic_id", "image_type"))
    supplement = _optional(files, "MILK10k_Training_Supplement", ("isic_id", "diagnosis_full"))
    of_lesion = dict(zip(truth["lesion_id"], one_hot_word(truth, tuple(class_maps.MILK10K)), strict=True))
    rows = pd.DataFrame({"image_id": metadata["isic_id"], "lesion_id": metadata["lesion_id"]}, dtype=str)
    rows["word"] = rows["lesion_id"].map(of_lesion).fillna("")
    full = _joined(rows, supplement, "diagnosis_full")
    rows["dx_type"] = _joined(rows, supplement, "diagnosis_confirm_type")
    for name, column in (("age", "age_approx"), ("sex", "sex"), ("site", "site"), ("skin_tone", "skin_tone_class")):
        rows[name] = metadata.get(column, "")
    kind = known(metadata["image_type"]).str.lower()
    strange = ~kind.str.startswith("dermoscopic")
    rows["problem"], rows["detail"] = [
        pd.Series("", index=rows.index).mask(strange, text) for text in (NOT_DERMATOSCOPIC, kind)
    ]
    given = [class_maps.milk10k(word, text) for word, text in zip(rows["word"], full, strict=True)]
    rows["word"] = rows["word"].where((full == "") | (rows["word"] != "AKIEC"), "AKIEC, " + full)
    return _finish(rows, given, files, labels, words, "milk10k", place)


def load_isic2019(place: Path, labels: LabelSet = ISIC8, words: Words = None) -> LesionTable:
    """Read the training set of ISIC 2019: ground truth, metadata and images. UNK is set aside.

    With seven labels, SCC is set aside too, but for HAM10000's images: in other data it includes invasive carcinoma.
    Raises DataError where the ground truth or all images are missing.
    """
    columns = tuple(class_maps.ISIC2019)
    files, truth = _open(place, ISIC2019, ("image", *columns), "ISIC_2019_Training_Input.zip")
    metadata = _optional(files, "ISIC_2019_Training_Metadata", ("image",)).rename(columns={"image": "isic_id"})
    rows = pd.DataFrame({"image_id": truth["image"], "word": one_hot_word(truth, columns)}, dtype=str)
    for name, column in (
        ("lesion_id", "lesion_id"),
        ("age", "age_approx"),
        ("sex", "sex"),
        ("site", "anatom_site_general"),
    ):
        rows[name] = _joined(rows, metadata, column)
    home = trained_ids(rows["image_id"], "ham10000")
    given = [class_maps.isic2019(word, own) for word, own in zip(rows["word"], home, strict=True)]
    return _finish(rows, given, files, labels, words, "isic2019", place)


def load_isic2018(place: Path, labels: LabelSet = HAM7, words: Words = None) -> LesionTable:
    """Read the training set of ISIC 2018 Task 3, which is HAM10000: ground truth, lesion groupings and images.

    Eight labels need ``isic2019_labels.csv`` or ISIC 2019's ground truth beside it. Raises DataError where the ground
    truth or all images are missing, or eight labels cannot be distinguished.
    """
    files, truth = _open(place, ISIC2018, ("image", *ISIC2018_COLUMNS), "ISIC2018_Task3_Training_Input.zip")
    groups = _optional(files, "ISIC2018_Task3_Training_LesionGroupings", ("image", "lesion_id"))
    groups = groups.rename(columns={"image": "isic_id"})
    rows = pd.DataFrame({"image_id": truth["image"], "word": one_hot_word(truth, ISIC2018_COLUMNS)}, dtype=str)
    rows["lesion_id"] = _joined(rows, groups, "lesion_id")
    rows["dx_type"] = _joined(rows, groups, "diagnosis_confirm_type")
    given = [class_maps.ISIC2018.get(word, "") for word in rows["word"]]
    return _finish(rows, given, files, labels, words, "isic2018", place)


def load_derm7pt(place: Path, labels: LabelSet = HAM7, words: Words = None) -> LesionTable:
    """Read Derm7pt: ``meta/meta.csv``, whose columns ``derm`` and ``clinic`` name the images below ``images/``.

    Clinical images are set aside as not dermatoscopic. ``meta/*_indexes.csv`` are the official split. Raises DataError
    where the table or all images are missing.
    """
    files, meta = _open(place, DERM7PT, ("diagnosis", "derm"), "release_v0.zip")
    meta["case"] = meta["case_num"] if "case_num" in meta else [f"case {i}" for i in range(len(meta))]
    derm = pd.DataFrame({"sought": meta["derm"].map(slashes), "problem": "", "detail": ""}, dtype=str)
    clinic = pd.DataFrame(
        {"sought": meta.get("clinic", pd.Series("", index=meta.index)).map(slashes), "problem": NOT_DERMATOSCOPIC,
         "detail": "clinical"}, dtype=str,
    )  # fmt: skip
    rows = pd.concat([part.assign(word=meta["diagnosis"], lesion_id=meta["case"], sex=meta.get("sex", ""),
                                  site=meta.get("location", "")) for part in (derm, clinic)])  # fmt: skip
    rows["row"] = rows.index
    rows = rows[rows["sought"] != ""].drop_duplicates("sought").reset_index(drop=True)
    rows["image_id"] = image_ids(list(rows["sought"]))
    given = [class_maps.derm7pt(word) for word in rows["word"]]
    official = _official_split(files, rows[rows["problem"] == ""])
    return _finish(rows, given, files, labels, words, "derm7pt", place, official_split=official)


def _official_split(files: Files, rows: pd.DataFrame) -> dict[str, str]:
    """image_id -> part by Derm7pt's lists of row numbers; empty unless all three are there."""
    official: dict[str, str] = {}
    for name, part in _SPLITS.items():
        chosen = set(_optional(files, name, ("indexes",))["indexes"])
        official |= dict.fromkeys(rows["image_id"][rows["row"].astype(str).isin(chosen)], part)
    return official if len(set(official.values())) == len(_SPLITS) else {}


def _open(place: Path, truth: str, columns: tuple[str, ...], archive: str) -> tuple[Files, pd.DataFrame]:
    files = find_files(place)
    table = files.read(truth, columns, f"put it beside {archive}")
    if not files.images:
        raise DataError(f"{place} holds no images; put {archive} there, packed or unpacked")
    return files, table


def _need(files: Files, name: str, columns: tuple[str, ...]) -> pd.DataFrame:
    return files.read(name, columns, "download it from the challenge's page")


def _optional(files: Files, name: str, columns: tuple[str, ...]) -> pd.DataFrame:
    """A table that may be absent; an empty one then."""
    return _need(files, name, columns) if files.table(name) else pd.DataFrame(columns=list(columns), dtype=str)


def _joined(rows: pd.DataFrame, table: pd.DataFrame, column: str) -> pd.Series:
    """A column of another table by image id, ``""`` where it says nothing."""
    if column not in table:
        return pd.Series("", index=rows.index)
    known_ids = dict(zip(table["isic_id"].map(image_name), table[column], strict=True))
    return rows["image_id"].map(lambda name: known_ids.get(image_name(name), ""))


def _finish(
    rows: pd.DataFrame, given: list[str], files: Files, labels: LabelSet, words: Words, source: str, place: Path, **more
) -> LesionTable:
    """Find the images, turn classes into labels, and set aside what is no class of the label set."""
    index = ImageIndex(files, files.images)
    own = label_finder(labels, words)
    sought = rows["sought"] if "sought" in rows else rows["image_id"]
    rows["path"] = _paths(sought, index) if source == "derm7pt" else [index.find(name) for name in sought]
    codes = [
        _mapped(word, words, own) or to_label(code, labels) for word, code in zip(rows["word"], given, strict=True)
    ]
    rows["label"] = pd.Series(codes, index=rows.index, dtype=object)
    if source == "isic2018" and labels is ISIC8:
        rows = split_akiec(rows, files, place)
    elif "problem" not in rows:
        rows["problem"] = rows["detail"] = ""
    aside = rows["label"].isna() & (rows["word"] != "") & (rows["problem"] == "") & (rows["path"] != "")
    rows["problem"] = rows["problem"].mask(aside, NO_CLASS)
    rows["detail"] = rows["detail"].mask(aside, rows["word"] + f": none of the {len(labels)} classes")
    return tabulate(
        rows,
        labels=labels,
        source=source,
        location=place,
        has_lesions=True,
        notes=(TERMS[source],),
        index=index,
        **more,
    )


def _mapped(word: str, words: Words, own: Callable[[object], str | None]) -> str | None:
    """The code that the user gave a word, before all maps."""
    return own(word) if words and word.strip().lower() in {name.strip().lower() for name in words} else None


def _paths(sought: pd.Series, index: ImageIndex) -> list[str]:
    """Images by the end of their path, whatever the folder that all lie in is called."""
    ends: dict[str, list[str]] = {}
    for path in index.paths:
        parts = index.files.inner(path).casefold().split("/")
        for start in range(len(parts)):
            ends.setdefault("/".join(parts[start:]), []).append(path)
    return [index.choose(name, ends.get(name.casefold(), [])) for name in sought]
