"""What the readers of all data sources share: listing files, reading CSV, and building the table."""

from __future__ import annotations

import csv
import io
import os
import re
import zipfile
from pathlib import Path, PurePosixPath

import pandas as pd

from skinlesion.core.errors import DataError, ImageError
from skinlesion.core.images import read_bytes
from skinlesion.core.taxonomy import LabelSet
from skinlesion.data.table import COLUMNS, PROBLEM_COLUMNS, LesionTable, no_problems

CSV_SUFFIXES = (".csv", ".tab", ".tsv", ".txt")
DEPTH = 3  # levels of subfolders that are searched: enough for every known download, and quick on a home folder

# What the readers find; the other kinds of problem are found by skinlesion.data.check.
NO_IMAGE = "row without an image"
NO_ROW = "image without a row"
UNKNOWN_LABEL = "unknown label"
DUPLICATE = "duplicate id"
NOT_DERMATOSCOPIC = "not dermatoscopic"
BAD_AGE = "age out of range"

NO_LESIONS = (
    "This data names no lesions: images of one lesion may stand on both sides of a split, and then scores are too good."
)


def list_files(place: Path) -> list[str]:
    """Every file in a folder and in its zip archives, as paths that :func:`skinlesion.core.images.read_bytes` takes.

    Parameters
    ----------
    place : Path
        A folder, searched :data:`DEPTH` levels deep, or one zip archive.

    Returns
    -------
    list of str
        Files that lie higher come first, then by name. Hidden files and folders are left out.

    Raises
    ------
    DataError
        Where an archive is damaged.
    """
    place = place.resolve()
    if place.is_file():
        return _sorted(_zip_members(place) if place.suffix == ".zip" else [str(place)])
    found: list[str] = []
    for folder, below, names in os.walk(place):
        deepest = len(Path(folder).relative_to(place).parts) == DEPTH
        below[:] = [] if deepest else [name for name in below if not name.startswith(".")]
        for name in names:
            path = Path(folder) / name
            found += _zip_members(path) if path.suffix == ".zip" else [str(path)]
    return _sorted(path for path in found if not file_name(path).startswith("."))


def _sorted(paths) -> list[str]:
    return sorted(paths, key=lambda path: (path.replace("!", "/").count("/"), path))


def _zip_members(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return [
                f"{path}!{name}"
                for name in archive.namelist()
                if not name.endswith("/") and not name.startswith("__MACOSX/")
            ]
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is damaged ({error}); download it again") from None


def file_name(path: str) -> str:
    """The last part of a path on disk or in an archive (``a.zip!b/c.jpg`` -> ``c.jpg``)."""
    return PurePosixPath(path.replace(os.sep, "/").replace("!", "/")).name


def stem(path: str) -> str:
    """:func:`file_name` without its ending."""
    return PurePosixPath(file_name(path)).stem


def find_csv(files: list[str], name: str) -> str | None:
    """The file called ``name``, whatever its case, with one of :data:`CSV_SUFFIXES` or none."""
    wanted = {name.lower() + suffix for suffix in ("", *CSV_SUFFIXES)}
    return next((path for path in files if file_name(path).lower() in wanted), None)


def read_csv(path: str | Path) -> pd.DataFrame:
    """Read a comma, tab or semicolon delimited file; all columns are str, and ``""`` where empty.

    Raises
    ------
    DataError
        Where it is missing, empty, no text, or its rows have different numbers of values.
    """
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except ImageError as error:
        raise DataError(str(error).replace("no image at", "no file at")) from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no UTF-8 text ({error.reason}); save it as CSV in UTF-8") from None
    header = text.partition("\n")[0]
    separator = max(",\t;", key=header.count)
    try:
        rows = list(csv.reader(io.StringIO(text), delimiter=separator, strict=True))
    except csv.Error as error:
        raise DataError(f"{path} is no readable CSV ({error})") from None
    rows = [row for row in rows if row]
    if len(rows) < 2:
        raise DataError(f"{path} holds no rows below its header; is it the right file?")
    width = len(rows[0])
    for number, row in enumerate(rows, 1):
        if len(row) != width:
            raise DataError(
                f"{path}: row {number} has {len(row)} values where the header has {width}; was the file cut off?"
            )
    return pd.DataFrame(rows[1:], columns=[name.strip() for name in rows[0]], dtype=str)


def need_columns(frame: pd.DataFrame, names: tuple[str, ...], path: str | Path) -> None:
    """Raise DataError, with what the file ``path`` has instead, unless all these columns are there."""
    missing = [name for name in names if name not in frame]
    if missing:
        raise DataError(
            f"{path} lacks the column {' and '.join(missing)}; it has {', '.join(frame.columns)}. Is it the right file?"
        )


def one_hot_word(frame: pd.DataFrame, names: tuple[str, ...]) -> pd.Series:
    """The column that holds the 1 in every row of an ISIC ground truth; ``""`` where not exactly one does."""
    marks = frame[list(names)].apply(pd.to_numeric, errors="coerce") == 1
    return marks.idxmax(axis=1).where(marks.sum(axis=1) == 1, "")


def tabulate(
    rows: pd.DataFrame,
    *,
    labels: LabelSet,
    source: str,
    location: Path,
    has_lesions: bool,
    notes: tuple[str, ...] = (),
    images: dict[str, str] | None = None,
    **more,
) -> LesionTable:
    """Build the table, and set aside what no table can hold: rows without image or known label, and repeated ids.

    Parameters
    ----------
    rows : DataFrame of str
        ``image_id``, ``path`` (``""`` where there is no image), ``word`` (the source's own label) and ``label`` (the
        code it stands for, or None); perhaps ``lesion_id, age, sex, site, dx_type``, and ``problem`` and ``detail``
        (a reader's own reason to set a row aside, or ``""``).
    images : dict image_id -> path
        All images found; those that no row names are listed as :data:`NO_ROW`.
    **more
        Further fields of :class:`LesionTable`.
    """
    rows = rows.reset_index(drop=True)
    rows["image_id"] = rows["image_id"].str.strip()
    for name in ("lesion_id", "age", "sex", "site", "dx_type"):
        rows[name] = rows[name].str.strip() if name in rows else ""
    problem, detail = _find_problems(rows)
    unnamed = rows["lesion_id"] == ""
    if has_lesions and unnamed[problem == ""].any():
        count = int(unnamed[problem == ""].sum())
        notes += (f"{count:,} images name no lesion; each of them counts as a lesion of its own.",)
    rows["lesion_id"] = rows["lesion_id"].where(~unnamed & has_lesions, rows["image_id"])
    age = pd.to_numeric(rows["age"], errors="coerce").astype(float)
    for name in ("sex", "site", "dx_type"):
        rows[name] = rows[name].str.lower().replace("", "unknown")

    asides = pd.DataFrame({"image_id": rows["image_id"], "problem": problem, "detail": detail})[problem != ""]
    strange = (problem == "") & age.isna() & ~rows["age"].str.lower().isin(["", "unknown", "nan", "na"])
    ages = pd.DataFrame(
        {"image_id": rows["image_id"], "problem": BAD_AGE, "detail": rows["age"] + " is not a number; left empty"}
    )[strange]
    images = images or {}
    spare = sorted(set(images) - set(rows["image_id"]))
    orphans = pd.DataFrame({"image_id": spare, "problem": NO_ROW, "detail": [images[name] for name in spare]})
    return LesionTable(
        frame=rows.assign(age=age)[problem == ""][list(COLUMNS)].reset_index(drop=True),
        labels=labels,
        source=source,
        location=str(location),
        has_lesions=has_lesions,
        notes=notes,
        problems=pd.concat([no_problems(), asides, ages, orphans], ignore_index=True)[list(PROBLEM_COLUMNS)],
        **more,
    )


def _find_problems(rows: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """The first thing wrong with every row, and the detail; ``""`` where all is well."""
    problem = rows["problem"].copy() if "problem" in rows else pd.Series("", index=rows.index)
    detail = rows["detail"].copy() if "detail" in rows else pd.Series("", index=rows.index)
    same_id = rows.groupby("image_id", sort=False)
    conflict = (same_id["word"].transform("nunique") > 1) | (same_id["lesion_id"].transform("nunique") > 1)
    for mask, kind, text in (
        (rows["image_id"] == "", NO_IMAGE, "the row names no image"),
        (conflict, DUPLICATE, "several rows, which disagree about label or lesion: " + rows["word"]),
        (same_id.cumcount() > 0, DUPLICATE, "repeats an earlier row"),
        (rows["path"] == "", NO_IMAGE, "no such image was found"),
        (rows["label"].isna(), UNKNOWN_LABEL, rows["word"].replace("", "no label")),
    ):
        mask = mask & (problem == "")
        problem = problem.mask(mask, kind)
        detail = detail.mask(mask, text)
    return problem, detail


_OFFICIAL_TEST = re.compile(r"ISIC_(\d{7})")


def official_test(image_ids: pd.Series) -> pd.Series:
    """Which ids belong to the official test set of ISIC 2018 Task 3 (ISIC_0034524 to ISIC_0036064), bool [N]."""
    number = pd.to_numeric(image_ids.str.extract(_OFFICIAL_TEST, expand=False), errors="coerce")
    return number.between(34524, 36064)
