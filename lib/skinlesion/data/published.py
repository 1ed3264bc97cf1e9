"""Published data sets as people download them: HAM10000, the ISIC Archive's, the ISIC challenges', MILK10k, Derm7pt.

Every reader takes the files of a place, a label set, and the data's own words with the codes that they stand for,
beside those that are known. Each raises DataError where its table or all images are missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pandas as pd

from skinlesion.core.errors import DataError
from skinlesion.core.images import folded, image_name, slashes
from skinlesion.core.one_hot import one_hot_word
from skinlesion.core.tables import image_ids, known, need_columns
from skinlesion.core.taxonomy import HAM7, ISIC8, ISIC2018_COLUMNS, LabelSet, label_finder
from skinlesion.data.class_maps import FINER, archive_label, finer_label, own_label
from skinlesion.data.files import Files, ImageIndex, find_files
from skinlesion.data.own_images import locate
from skinlesion.data.problems import UNREAD_ARCHIVE
from skinlesion.data.table import LesionTable
from skinlesion.data.tabulate import LEVELS, first_known, tabulate, trained_ids

METADATA = "HAM10000_metadata"
DEMO_MARK = "demo.json"
TEST_TRUTH = "ISIC2018_Task3_Test_GroundTruth"
TEST_PREFIX = "isic2018_task3_test"  # begins the names of the official test set's archive and folder
ARCHIVE = "metadata"  # what `isic image download --collections 212` leaves, beside ISIC_<7 digits>.jpg
MILK10K = "MILK10k_Training_GroundTruth"
ISIC2019 = "ISIC_2019_Training_GroundTruth"
ISIC2018 = "ISIC2018_Task3_Training_GroundTruth"
DERM7PT = "meta"
MILK10K_COLUMNS = ("AKIEC", "BCC", "BKL", "DF", "MEL", "NV", "VASC", "SCCKA", "INF", "BEN_OTH", "MAL_OTH")
ISIC2019_COLUMNS = ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK")

HAM10000_TERMS = (
    "Images: HAM10000 (Tschandl, Rosendahl, Kittler 2018, doi:10.1038/sdata.2018.161), licence CC BY-NC 4.0."
)
SYNTHETIC = (
    "This is synthetic demo data: drawn by a program, no patient's skin. Its scores say nothing about real lesions."
)
_ABOUT = {"age": "age_approx", "site": "anatom_site_general", "dx_type": "diagnosis_confirm_type"}

Words = Mapping[str, str] | None


def load_ham10000(files: Files, labels: LabelSet = HAM7, words: Words = None) -> LesionTable:
    """Read HAM10000 as Harvard Dataverse and Kaggle give it away: metadata and images, in archives or unpacked.

    Eight labels need ``isic2019_labels.csv`` or ISIC 2019's own ground truth beside the metadata.
    """
    metadata = files.read(METADATA, ("image_id", "lesion_id", "dx"), "put it beside the images")
    paths = [path for path in files.images if TEST_PREFIX not in files.names[path].lower()]
    index = _index(files, "put HAM10000_images_part_1.zip and _part_2.zip there", paths)
    demo = files.table(DEMO_MARK) is not None
    near = _optional(files, "near_duplicates", ("image_id", "duplicate_image_id"))
    return tabulate(
        _ham10000_rows(metadata, files, labels),
        index,
        labels,
        words,
        source="demo" if demo else "ham10000",
        map_word=finer_label,
        notes=(SYNTHETIC if demo else HAM10000_TERMS,),
        near_duplicates=tuple(zip(near["image_id"], near["duplicate_image_id"], strict=True)),
    )


def load_official_test(place: Path) -> LesionTable:
    """Read the official test set of ISIC 2018 Task 3 (1,511 images on Dataverse, 1,512 at ISIC), seven labels.

    The ground truth may have Dataverse's columns (``lesion_id, image_id, dx, ...``) or ISIC's (``image`` and one column
    a class). The latter names no lesions.
    """
    place = Path(place).expanduser().resolve()
    files = find_files(place) if place.exists() else Files(place, {})
    get = f"get it and the images with: skinlesion data download ham10000 --parts test --to {place}"
    truth = files.read(TEST_TRUTH, (), get)
    if "dx" in truth:
        need_columns(truth, ("image_id", "lesion_id"), TEST_TRUTH)
    else:
        need_columns(truth, ("image", *ISIC2018_COLUMNS), TEST_TRUTH)
        truth = truth.rename(columns={"image": "image_id"}).assign(dx=one_hot_word(truth, ISIC2018_COLUMNS))
    return tabulate(
        _ham10000_rows(truth, files, HAM7),
        _index(files, get),
        HAM7,
        source="ham10000",
        notes=("The official test set of ISIC 2018 Task 3.", HAM10000_TERMS),
        official_split=dict.fromkeys(truth["image_id"], "test"),
        spare=False,
    )


def load_isic_archive(files: Files, labels: LabelSet = ISIC8, words: Words = None) -> LesionTable:
    """Read a folder that the ISIC Archive's command line tool filled.

    Both forms of the metadata are known: one column ``diagnosis``, and ``diagnosis_1`` to ``diagnosis_5``, of which the
    most specific one with a known class decides.
    """
    fill = f"fill it with: isic image download --collections 212 {files.place}"
    metadata = files.read(ARCHIVE, ("isic_id",), fill)
    if not any(name in metadata for name in LEVELS):
        raise DataError(
            f"{files.table(ARCHIVE)} has neither a column diagnosis nor diagnosis_1 to diagnosis_5; download it again"
        )
    owners = sorted(set(metadata.get("attribution", ())) - {""})
    names = _ABOUT if "anatom_site_general" in metadata else _ABOUT | {"site": "anatom_site_1"}
    rows = _columns(metadata, image_id="isic_id", lesion_id="lesion_id", image_type="image_type", **names)
    rows = _archive_labels(rows, metadata, labels, words)
    notes = ("Images: ISIC Archive" + (f", by {'; '.join(owners)}." if owners else "."),)
    index = _index(files, "let the download run to its end")
    return tabulate(rows, index, labels, source="isic-archive", notes=notes)


def load_milk10k(files: Files, labels: LabelSet = ISIC8, words: Words = None) -> LesionTable:
    """Read MILK10k's training set: ground truth per lesion, metadata per image, supplement, and the images.

    Clinical close-ups are set aside as not dermatoscopic. The supplement tells actinic keratosis from Bowen's disease,
    which eight labels need.
    """
    truth = files.read(MILK10K, ("lesion_id", *MILK10K_COLUMNS), "put it beside MILK10k_Training_Input.zip")
    metadata = files.read(
        "MILK10k_Training_Metadata", ("lesion_id", "isic_id", "image_type"), "download it from the challenge's page"
    )
    supplement = _optional(files, "MILK10k_Training_Supplement", ("isic_id", "diagnosis_full"))
    rows = _columns(
        metadata, image_id="isic_id", lesion_id="lesion_id", image_type="image_type", age="age_approx",
        skin_tone="skin_tone_class",
    )  # fmt: skip
    rows["dx_type"] = _of_images(rows, supplement, "diagnosis_confirm_type")
    truth["class"] = one_hot_word(truth, MILK10K_COLUMNS)
    word = _of_images(rows, truth, "class", "lesion_id", of="lesion_id")
    rows["word"] = _more_precisely(word, _of_images(rows, supplement, "diagnosis_full"))
    return _challenge(
        rows, files, labels, words, "milk10k", "MILK10k_Training_Input.zip", map_word=finer_label,
        notes=("Images: MILK10k (ISIC Archive 2025, doi:10.34970/648456), licence CC BY-NC.",),
    )  # fmt: skip


def load_isic2019(files: Files, labels: LabelSet = ISIC8, words: Words = None) -> LesionTable:
    """Read the training set of ISIC 2019: ground truth, metadata and images. UNK is set aside.

    With seven labels, SCC is set aside too, but for HAM10000's images: in other data it includes invasive carcinoma.
    """
    archive = "ISIC_2019_Training_Input.zip"
    truth = files.read(ISIC2019, ("image", *ISIC2019_COLUMNS), f"put it beside {archive}")
    metadata = _optional(files, "ISIC_2019_Training_Metadata", ("image",))
    rows = pd.DataFrame({"image_id": truth["image"]}, dtype=str)
    for name, column in ({"lesion_id": "lesion_id", "sex": "sex"} | _ABOUT).items():
        rows[name] = _of_images(rows, metadata, column, "image")
    given = pd.DataFrame({"diagnosis": one_hot_word(truth, ISIC2019_COLUMNS)})
    return _challenge(
        _archive_labels(rows, given, labels, words), files, labels, words, "isic2019", archive,
        notes=("Images: ISIC 2019 (HAM10000, BCN20000, MSK; doi:10.1038/sdata.2018.161), licence CC BY-NC 4.0.",),
    )  # fmt: skip


def load_isic2018(files: Files, labels: LabelSet = HAM7, words: Words = None) -> LesionTable:
    """Read the training set of ISIC 2018 Task 3, which is HAM10000: ground truth, lesion groupings and images.

    Eight labels need ``isic2019_labels.csv`` or ISIC 2019's ground truth beside it.
    """
    archive = "ISIC2018_Task3_Training_Input.zip"
    truth = files.read(ISIC2018, ("image", *ISIC2018_COLUMNS), f"put it beside {archive}")
    groups = _optional(files, "ISIC2018_Task3_Training_LesionGroupings", ("image", "lesion_id"))
    given = pd.DataFrame({"image_id": truth["image"], "dx": one_hot_word(truth, ISIC2018_COLUMNS)}, dtype=str)
    rows = _ham10000_rows(given, files, labels)
    rows["lesion_id"] = _of_images(rows, groups, "lesion_id", "image")
    rows["dx_type"] = _of_images(rows, groups, "diagnosis_confirm_type", "image")
    return _challenge(
        rows, files, labels, words, "isic2018", archive, map_word=finer_label,
        notes=("Images: HAM10000 as ISIC 2018 Task 3 (doi:10.1038/sdata.2018.161), licence CC BY-NC 4.0.",),
    )  # fmt: skip


def load_derm7pt(files: Files, labels: LabelSet = HAM7, words: Words = None) -> LesionTable:
    """Read Derm7pt: ``meta/meta.csv``, whose columns ``derm`` and ``clinic`` name the images below ``images/``.

    Clinical images are set aside as not dermatoscopic. ``meta/*_indexes.csv`` are the official split.
    """
    meta = files.read(DERM7PT, ("diagnosis", "derm"), "put it beside release_v0.zip")
    meta["case"] = meta["case_num"] if "case_num" in meta else [f"case {i}" for i in range(len(meta))]
    parts = []
    for column, image_type in (("derm", "dermoscopic"), ("clinic", "clinical")):
        part = _columns(meta, word="diagnosis", lesion_id="case", site="location", sought=column)
        parts.append(part.assign(sought=part["sought"].map(slashes), image_type=image_type, row=part.index.astype(str)))
    rows = pd.concat(parts)
    rows = rows[(rows["sought"] != "") | (rows["image_type"] == "dermoscopic")].reset_index(drop=True)
    rows["image_id"] = image_ids(list(rows["sought"]))
    official: dict[str, str] = {}
    derm = rows[rows["image_type"] == "dermoscopic"]
    for name, split in (("train", "train"), ("valid", "validation"), ("test", "test")):
        chosen = derm["row"].isin(_optional(files, f"{name}_indexes", ("indexes",))["indexes"])
        official |= dict.fromkeys(derm["image_id"][chosen], split)
    return _challenge(
        rows, files, labels, words, "derm7pt", "release_v0.zip", map_word=own_label,
        notes=("Images: Derm7pt (Kawahara et al. 2019, doi:10.1109/JBHI.2018.2824327), for research alone.",),
        official_split=official if len(set(official.values())) == 3 else {},
    )  # fmt: skip


def _challenge(
    rows: pd.DataFrame, files: Files, labels: LabelSet, words: Words, source: str, archive: str, **more
) -> LesionTable:
    """The table of a set all of whose words are known; ``archive`` holds its images."""
    index = _index(files, f"put {archive} there, packed or unpacked")
    if "sought" in rows:
        rows["path"] = locate(rows["sought"], files.place, index)
    return tabulate(rows, index, labels, words, source=source, complete=True, **more)


def _index(files: Files, fix: str, paths: list[str] | None = None) -> ImageIndex:
    """Of the images; DataError with the ``fix`` where there are none."""
    index = ImageIndex(files, paths)
    if not index.paths:
        nested = next((name for name, kind, text in files.left_out if kind == UNREAD_ARCHIVE and "outer" in text), None)
        hint = f"; {nested} is an archive within an archive: unpack the outer one" if nested else ""
        raise DataError(f"{files.place} holds no images; {fix}{hint}")
    return index


def _optional(files: Files, name: str, columns: tuple[str, ...]) -> pd.DataFrame:
    """A table that may be absent; an empty one then."""
    return files.read(name, columns, "") if files.table(name) else pd.DataFrame(columns=list(columns), dtype=str)


def _columns(table: pd.DataFrame, **names: str) -> pd.DataFrame:
    """Columns under our names, given with theirs, and those that describe a patient; ``""`` where there is no such."""
    names = {name: name for name in ("age", "sex", "site", "dx_type")} | names
    return pd.DataFrame({ours: table.get(theirs, "") for ours, theirs in names.items()}, index=table.index, dtype=str)


def _of_images(
    rows: pd.DataFrame, table: pd.DataFrame, column: str, ids: str = "isic_id", of: str = "image_id"
) -> pd.Series:
    """A column of another table by its ids, ``""`` where it says nothing; DataError where two of its rows differ."""
    if column not in table:
        return pd.Series("", index=rows.index)
    said = table[table[column] != ""].assign(key=table[ids].map(_key)).drop_duplicates(["key", column])
    if len(twice := said[said["key"].duplicated(keep=False)].sort_values("key", kind="stable")[:2]):
        name, (one, other) = twice[ids].iloc[0], twice[column]
        raise DataError(f"the column {column} has two values for {name}, {one!r} and {other!r}; delete the wrong row")
    values = dict(zip(said["key"], said[column], strict=True))
    return rows[of].map(lambda name: values.get(_key(name), ""))


def _key(name: str) -> str:
    return folded(image_name(name))


def _ham10000_rows(metadata: pd.DataFrame, files: Files, labels: LabelSet) -> pd.DataFrame:
    """Rows of HAM10000's metadata; for eight labels with ISIC 2019's word behind each akiec."""
    rows = _columns(metadata, image_id="image_id", lesion_id="lesion_id", word="dx", site="localization")
    if labels is ISIC8:
        rows["word"] = _more_precisely(rows["word"], _isic2019_words(rows, files))
    return rows


def _more_precisely(word: pd.Series, finer: pd.Series) -> pd.Series:
    """The words with a finer one behind each akiec."""
    return word.where(word.str.lower() != "akiec", word + FINER + finer.replace("", "unknown"))


def _isic2019_words(rows: pd.DataFrame, files: Files) -> pd.Series:
    """What ISIC 2019 calls each image, ``""`` where it does not."""
    given = _optional(files, "isic2019_labels", ("image_id",))
    if len(given):
        column = "isic2019_label" if "isic2019_label" in given else "label"
        need_columns(given, ("image_id", column), "isic2019_labels.csv")
        return known(_of_images(rows, given, column, "image_id"))
    truth = _optional(files, ISIC2019, ("image", *ISIC2019_COLUMNS))
    if not len(truth):
        raise DataError(
            f"{files.place} has seven labels, not eight: put isic2019_labels.csv (image_id, label) or {ISIC2019}.csv "
            "(from challenge.isic-archive.com, 2019) there, or choose 7 labels"
        )
    ids = truth["image"].map(image_name).str.removesuffix("_downsampled")
    return _of_images(rows, pd.DataFrame({"ids": ids, "word": one_hot_word(truth, ISIC2019_COLUMNS)}), "word", "ids")


def _archive_labels(rows: pd.DataFrame, given: pd.DataFrame, labels: LabelSet, words: Words) -> pd.DataFrame:
    """The rows with label and word by the diagnoses ``given``; SCC is Bowen's disease in HAM10000's images alone."""
    home = trained_ids(rows["image_id"], "ham10000")
    (own, own_word), (other, other_word) = (
        first_known(given, label_finder(labels, words, partial(archive_label, ham10000=here))) for here in (True, False)
    )
    return rows.assign(label=own.where(home, other), word=own_word.where(home, other_word))
