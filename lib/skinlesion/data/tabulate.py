"""From the rows of any data source to a LesionTable that says what became of every row and file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from skinlesion.core.images import image_name
from skinlesion.core.tables import SHORTENED, counted, known, lesion_names, number
from skinlesion.core.taxonomy import KIND_SEPARATOR, LabelSet, diagnosis, label_finder, nearest_words, normalise_label
from skinlesion.data.class_maps import CONFIRMED_BY
from skinlesion.data.files import COPY, ImageIndex
from skinlesion.data.problems import (
    BAD_AGE,
    DUPLICATE,
    NO_CLASS,
    NO_IMAGE,
    NO_ROW,
    NOT_DERMATOSCOPIC,
    ONE_FILE,
    SEVERAL_FILES,
    SEVERAL_SIZES,
    UNKNOWN_LABEL,
)
from skinlesion.data.table import COLUMNS, OPTIONAL, PROBLEM_COLUMNS, LesionTable, Origin, no_problems

NO_LESIONS = (
    "This data names no lesions: images of one lesion may stand on both sides of a split, and then scores are too good."
)
#: The ISIC Archive's columns for a diagnosis, the most specific first; its older metadata have the last one alone.
LEVELS = (*(f"diagnosis_{level}" for level in range(5, 0, -1)), "diagnosis")
AND_OF_OTHERS = ("isic-archive", "isic2019")  # kinds of data that hold HAM10000's images, under its ids, and others'
OF_HAM10000 = ("ham10000", "isic2018", "dermamnist", *AND_OF_OTHERS)
_SEXES = {"m": "male", "f": "female"}
_ISIC = re.compile(r"ISIC_(\d{7})(?!\d)", re.IGNORECASE)


def first_known(given: pd.DataFrame, code_of: Callable[[object], str | None]) -> tuple[pd.Series, pd.Series]:
    """Of the columns in :data:`LEVELS`, the first with a known class: its code (or None) and its word, a row each."""
    words = []
    for row in given[[name for name in LEVELS if name in given]].itertuples(index=False):
        present = [word for word in row if word]
        words.append(next((word for word in present if code_of(word)), present[0] if present else ""))
    return _labels(words, code_of, given.index), pd.Series(words, index=given.index, dtype=str)


def tabulate(
    rows: pd.DataFrame,
    index: ImageIndex,
    labels: LabelSet,
    words: Mapping[str, str] | None = None,
    *,
    source: str,
    location: Path | None = None,
    map_word: Callable[[object, LabelSet], str | None] = normalise_label,
    complete: bool = False,
    notes: tuple[str, ...] = (),
    spare: bool = True,
    **more,
) -> LesionTable:
    """Build the table, and set aside what no table can hold: rows without image or known label, and repeated ids.

    Parameters
    ----------
    rows : DataFrame of str
        ``image_id`` and ``word`` (the source's own label); perhaps ``path`` (``""`` where there is no image; else what
        ``index`` finds for the id), ``label`` (the code that the word stands for, or None; else what ``words`` or
        ``map_word`` make of it), ``sought`` (what ``index`` looks up, if not the id), ``image_type`` (the ISIC
        Archive's word: dermoscopic or another one) and ``lesion_id, age, sex, site, dx_type``
    index : ImageIndex of the images that were found: what had to be left out is listed
    location : Path, where the source is, if not the place of the index's files
    complete : bool, whether all words of the source are known: those without a label are no class of ours
    spare : bool, list the images that are not in ``rows`` as :data:`NO_ROW`
    **more : further fields of :class:`LesionTable`
    """
    if "label" not in rows:
        rows = rows.assign(label=_labels(rows["word"], label_finder(labels, words, map_word), rows.index))
    rows = _cleaned(rows)
    if "path" not in rows:
        rows["path"] = [index.find(name) for name in rows["image_id"]]
    problem, detail = _find_problems(rows, labels, index.notes, complete)
    used = problem == ""
    has_lesions = bool((rows["lesion_id"][used] != "").any())
    notes += _lesion_notes(rows["lesion_id"], used, "official_split" in more)
    rows["lesion_id"] = lesion_names(rows["lesion_id"], rows["image_id"]) if has_lesions else rows["image_id"]
    written, rows["age"] = rows["age"], rows["age"].map(number).astype(float)
    listed = pd.DataFrame({"image_id": rows["image_id"], "problem": problem, "detail": detail})
    strange = used & rows["age"].isna() & (written != "")
    ages = listed.assign(problem=BAD_AGE, detail=written + " is not a number; left empty")
    files = pd.DataFrame(_file_problems(rows, index, spare), columns=["image_id", "problem", "detail"], dtype=str)
    problems = pd.concat([no_problems(), listed[~used], ages[strange], files], ignore_index=True)
    columns = [*COLUMNS, *(name for name in OPTIONAL if name in rows)]
    return LesionTable(
        frame=rows.assign(source=source).loc[used, columns].reset_index(drop=True),
        labels=labels,
        origins={source: Origin(source, str(location or index.files.place), has_lesions)},
        notes=notes + _unknown_words(rows["word"][problem == UNKNOWN_LABEL]),
        problems=problems.assign(source=source)[list(PROBLEM_COLUMNS)],
        passed_over=dict((index.files.beside + Counter({COPY: index.copies})).most_common()),
        **more,
    )


def _lesion_notes(ids: pd.Series, used: pd.Series, split_is_given: bool) -> tuple[str, ...]:
    """What is missing or doubtful about the lesion ids of all rows, of which ``used`` (bool) get into the table."""
    notes: tuple[str, ...] = ()
    if len(short := ids[ids.str.fullmatch(SHORTENED)]):
        notes += (
            f"Lesion ids such as {short.iloc[0]} ({counted(len(short), 'image')}) were shortened by a spreadsheet: "
            "lesions that differ may share one. Write the table anew, with this column as text.",
        )
    unnamed = ids[used] == ""
    if unnamed.all():
        return notes if split_is_given else (*notes, NO_LESIONS)
    if unnamed.any():
        notes += (f"{counted(int(unnamed.sum()), 'image')} without a lesion id; each counts as a lesion of its own.",)
    return notes


def _labels(words, code_of: Callable[[object], str | None], index: pd.Index) -> pd.Series:
    return pd.Series([code_of(word) for word in words], index=index, dtype=object)


def _cleaned(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the columns of a table as one writes them here; ``""`` where an id, age or word is missing."""
    rows = rows.reset_index(drop=True)
    rows["image_id"] = rows["image_id"].str.strip()
    for name in ("word", "lesion_id", "age", "sex", "site", "dx_type", "image_type"):
        rows[name] = known(rows[name]) if name in rows else ""
    for name in ("sex", "site", "dx_type"):
        rows[name] = rows[name].str.lower().replace("", "unknown")
    rows["dx_type"] = rows["dx_type"].replace(CONFIRMED_BY)
    rows["sex"] = rows["sex"].replace(_SEXES)
    return rows


def _file_problems(rows: pd.DataFrame, index: ImageIndex, spare: bool) -> list[tuple[str, str, str]]:
    """The problems with files: (name, problem, detail) each."""
    found = [(image_name(name), *note) for name, note in index.notes.items() if note[0] == SEVERAL_SIZES]
    if spare:
        found += [(image_name(index.files.names[path]), NO_ROW, path) for path in index.unused(rows["path"])]
    return found + index.files.left_out


def _find_problems(rows: pd.DataFrame, labels: LabelSet, resolved: dict, complete: bool) -> tuple[pd.Series, pd.Series]:
    """The first thing wrong with every row, and the detail; ``""`` where all is well."""
    problem, detail = (pd.Series("", index=rows.index) for _ in range(2))
    image_type, word = rows["image_type"].str.lower(), rows["word"]
    comparable = rows.assign(lesion_id=rows["lesion_id"].mask(rows["lesion_id"] == ""))
    same_id, same_file = (comparable.groupby(name, sort=False) for name in ("image_id", "path"))
    shared = (rows["path"] != "") & (same_file["image_id"].transform("nunique") > 1)
    refused = [resolved.get(name, ("", "")) for name in rows["sought" if "sought" in rows else "image_id"]]
    several = pd.Series([note[0] == SEVERAL_FILES for note in refused], index=rows.index, dtype=bool)
    no_code = rows["label"].isna()
    without = no_code & (word != "") & (complete | word.map(lambda text: diagnosis(text) is not None).astype(bool))
    for mask, kind, text in (
        ((image_type != "") & ~image_type.str.startswith("dermoscopic"), NOT_DERMATOSCOPIC, image_type),
        (rows["image_id"] == "", NO_IMAGE, "the row names no image"),
        (_disagree(same_id), DUPLICATE, "several rows, which disagree about label or lesion: " + word),
        (same_id.cumcount() > 0, DUPLICATE, "repeats an earlier row"),
        ((rows["path"] == "") & several, SEVERAL_FILES, pd.Series([note[1] for note in refused], index=rows.index)),
        (rows["path"] == "", NO_IMAGE, "no such image was found"),
        (shared & _disagree(same_file), ONE_FILE, "rows with other labels or lesions have it too: " + rows["path"]),
        (shared & (same_file.cumcount() > 0), ONE_FILE, "an earlier row has it too: " + rows["path"]),
        (without, NO_CLASS, word + f": none of the {len(labels)} classes"),
        (no_code, UNKNOWN_LABEL, word.replace("", "no label")),
    ):
        mask = mask & (problem == "")
        problem = problem.mask(mask, kind)
        detail = detail.mask(mask, text)
    return problem, detail


def _disagree(groups) -> pd.Series:
    """Whether the rows of each group have different labels or lesions; a lesion that is not known agrees with all."""
    return (groups["word"].transform("nunique") > 1) | (groups["lesion_id"].transform("nunique") > 1)


def _unknown_words(words: pd.Series) -> tuple[str, ...]:
    """One line that lists unknown labels, what is known that looks like them, and the option that maps them."""
    counts = words[words != ""].value_counts()
    if not len(counts):
        return ()
    listed = []
    for word, count in list(counts.items())[:8]:
        near = nearest_words(word)
        listed.append(f"{word!r} ({counted(count, 'image')}{', nearest known: ' + ' or '.join(near) if near else ''})")
    more = f" and {len(counts) - 8:,} more" if len(counts) > 8 else ""
    return (f"Unknown labels: {', '.join(listed)}{more}. To use them, add --label '{counts.index[0]}=CODE'.",)


def isic_number(image_ids: pd.Series) -> pd.Series:
    """The number in ids like ``ISIC_0024306``, float [N]; NaN in others."""
    return pd.to_numeric(image_ids.str.extract(_ISIC, expand=False), errors="coerce")


def in_official_test(image_ids: pd.Series) -> pd.Series:
    """Which ids belong to the official test set of ISIC 2018 Task 3 (ISIC_0034524 to ISIC_0036064), bool [N]."""
    return isic_number(image_ids).between(34524, 36064)


def trained_ids(image_ids: pd.Series, source: str) -> np.ndarray:
    """Which ids a model trained on a kind of data set may have been trained on, bool [N].

    HAM10000 is ISIC_0024306 to ISIC_0034320, under whatever name it is given away; ids of other sources aren't known.
    """
    if not set(source.split(KIND_SEPARATOR)) & set(OF_HAM10000):
        return np.zeros(len(image_ids), bool)
    return isic_number(image_ids).between(24306, 34320).to_numpy()
