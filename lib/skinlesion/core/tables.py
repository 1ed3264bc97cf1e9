"""Tables that other people wrote: one reader, one word list for "missing", and one way to match image ids.

Metadata, ground truth, predictions, splits and label files all come through :func:`read_table`. What it cannot read
without guessing it refuses, in one line that names the row and the fix.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from skinlesion.core.errors import DataError, ImageError
from skinlesion.core.images import folded, image_name, read_bytes, slashes, without_ending

if TYPE_CHECKING:  # pandas takes a third of a second to load, and those who only need ids don't need it
    import pandas as pd

MAX_BYTES = 512 * 2**20  # of one table; predictions for 400,000 images take about 120 MB
SEPARATORS = (",", ";", "\t", "|")
#: What people write where a value is not known, in lower case; :func:`is_missing` compares with it.
MISSING = frozenset((
    "", "na", "n/a", "n.a.", "<na>", "nan", "nat", "null", "nil", "none", "unknown", "-", "--", "?",
    "#n/a", "#ref!", "#value!", "#name?", "#num!", "#null!", "#div/0!",  # spreadsheets' own
))  # fmt: skip
SHORTENED = r"\d(?:[.,]\d+)?[eE]\+\d+"  # what a spreadsheet shows of a long number
#: What the column of image ids is called.
ID_COLUMNS = ("image_id", "image", "isic_id", "image_name", "file_name", "filename", "file", "path", "img", "id")
#: What people call the parts of a split, in lower case, and what we call them.
SPLIT_WORDS = {
    "train": "train", "training": "train", "val": "validation", "valid": "validation", "validation": "validation",
    "test": "test", "testing": "test", "dropped": "dropped",
}  # fmt: skip
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")
#: Marks that nobody sees, such as those of direction that Windows puts before a copied path: they make another name.
_UNSEEN = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\ufeff]")
_WHOLE = re.compile(r"0*(\d+)(?:\.0*)?")
_FOLD = re.compile(r"(?:(?:fold|cv|part)[\s_-]*)?(-?\d+)(?:[.,]0*)?", re.IGNORECASE)


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a delimited text file; all values are str without outer spaces, ``""`` where empty.

    Understood are comma, semicolon, tab and ``|`` as separators, Excel's first line ``sep=;``, UTF-8 with or without a
    byte order mark, UTF-16, and all line ends. Empty rows and columns without a name are dropped; so is a column that
    repeats another one with the same values. ``path``: a file, or a member of a zip archive as
    :func:`skinlesion.core.images.read_bytes` takes it. Returns a DataFrame of str [rows, columns]; raises DataError
    where there is no such file, it is no text, or its rows do not fit its header.
    """
    import pandas as pd

    text, separator = _separated(_text(path))
    numbers, rows = _rows(text, separator, path)
    if not rows:
        raise DataError(f"{path} holds no rows: it is empty; is it the right file?")
    header = rows[0]
    while header and not header[-1]:
        header.pop()
    width = len(header)
    for number, row in zip(numbers[1:], rows[1:], strict=True):
        if len(row) > width and not any(row[width:]):
            del row[width:]  # a separator at the end of the line
        if len(row) != width:
            raise DataError(
                f"{path}: row {number} has {counted(len(row), 'value')} where the header has {width}; was the file cut "
                "off, or does a value hold the separator without quotes?"
            )
    columns = list(zip(*rows[1:], strict=True)) if len(rows) > 1 else [()] * width
    return pd.DataFrame(dict(_distinct(header, columns, numbers[1:], path)), dtype=str)


def _text(path: str | Path) -> str:
    try:
        data = read_bytes(path, max_bytes=MAX_BYTES)
    except ImageError as error:
        raise DataError(str(error).replace("no image at", "no file at")) from None
    if data.startswith((b"PK\3\4", b"\x1f\x8b")):
        raise DataError(f"{path} is compressed or a workbook, not text; unpack it, or save it as CSV (UTF-8)")
    encoding = "utf-8-sig"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif len(data) > 3 and not len(data) % 2 and (data[1] == data[3] == 0 or data[0] == data[2] == 0):
        encoding = "utf-16-le" if data[1] == 0 else "utf-16-be"  # without its mark
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        row = data[: error.start].count(b"\n") + 1
        raise DataError(f"{path} is not UTF-8 text in row {row} ({error.reason}); save it as CSV in UTF-8") from None
    if "\0" in text:
        raise DataError(f"{path} is not text (it holds zero bytes); save it as CSV in UTF-8")
    return _UNSEEN.sub("", text)


def _separated(text: str) -> tuple[str, str]:
    """The text and its separator: what Excel's first line ``sep=;`` names, or what cuts the header into most values."""
    if first := re.match(r'"?sep=(.)"?[ \t]*(\r\n|\r|\n|$)', text, re.IGNORECASE):
        return text[first.end() :], first[1]
    start = text.lstrip("\r\n ")[:65536]

    def values(separator: str) -> int:
        try:
            return len(next(csv.reader(io.StringIO(start, newline=""), delimiter=separator), ()))
        except csv.Error:
            return 0

    return text, max(SEPARATORS, key=values)


def _rows(text: str, separator: str, path: str | Path) -> tuple[list[int], list[list[str]]]:
    """The rows that hold anything, stripped, and the number of each in the file as an editor counts lines."""
    numbers: list[int] = []
    rows: list[list[str]] = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True, skipinitialspace=True)
    try:
        for row in reader:
            row = [value.strip() for value in row]
            # as 007 is written for a spreadsheet to leave it alone
            row = [value[2:-1] if value.startswith('="') and value.endswith('"') else value for value in row]
            if any(row):
                numbers.append(reader.line_num)
                rows.append(row)
    except csv.Error as error:
        raise DataError(
            f"{path} cannot be read as CSV at row {reader.line_num} ({error}); is a quotation mark open?"
        ) from None
    return numbers, rows


def _distinct(header: list[str], columns: list, numbers: list[int], path: str | Path) -> Iterable[tuple]:
    """Columns by name, each name once; raises DataError where two of one name differ."""
    seen: dict[str, tuple] = {}
    for name, values in zip(header, columns, strict=True):
        if not name:
            continue
        if name in seen and seen[name] != values:
            row = next(i for i, pair in enumerate(zip(seen[name], values, strict=True)) if pair[0] != pair[1])
            raise DataError(
                f"{path} has two columns {name}, which differ in row {numbers[row]} ({seen[name][row]!r} and "
                f"{values[row]!r}); rename or delete one of them"
            )
        seen[name] = values
    return seen.items()


def name_columns(frame: pd.DataFrame, names: Iterable[str], path: str | Path) -> pd.DataFrame:
    """The table with its columns under these names where only case, spaces or marks differ: ``Lesion ID``.

    Raises DataError where two columns could be meant that differ.
    """
    wanted = {column_key(name): name for name in names}
    found: dict[str, str] = {}
    for column in frame:
        name = wanted.get(column_key(column), column)
        if not frame[column].equals(frame[found.setdefault(name, column)]):
            raise DataError(f"{path} has several columns for the {name}: {found[name]}, {column}; keep one of them")
    return frame[list(found.values())].set_axis(list(found), axis=1)


def column_key(name: str) -> str:
    """A column's name as it is compared: ``Lesion ID`` and ``lesion_id`` are one."""
    return re.sub(r"[^a-z0-9]+", "", name.lower())


def need_rows(frame: pd.DataFrame, path: str | Path) -> pd.DataFrame:
    """The table itself; DataError where it has a header alone."""
    if not len(frame):
        raise DataError(f"{path} holds no rows below its header; is it the right file?")
    return frame


def need_columns(frame: pd.DataFrame, names: tuple[str, ...], path: str | Path) -> None:
    """Raise DataError, with what the file ``path`` has instead, unless all these columns are there."""
    missing = [name for name in names if name not in frame]
    if missing:
        raise DataError(
            f"{path} lacks the column {' and '.join(missing)}; it has {', '.join(frame.columns)}. Is it the right file?"
        )


def is_missing(text: object) -> bool:
    """Whether a value says that nothing is known: one of :data:`MISSING`, whatever its case and outer spaces."""
    return str(text).strip().lower() in MISSING


def known(values: pd.Series) -> pd.Series:
    """The values as str without outer spaces, ``""`` where :func:`is_missing`."""
    values = values.astype(str).str.strip()
    return values.mask(values.str.lower().isin(MISSING), "")


def number(text: str) -> float | None:
    """A number written with a point or a comma; NaN where missing, None where it is no number."""
    text = str(text).strip()
    if _NUMBER.fullmatch(text):
        return float(text.replace(",", "."))
    return float("nan") if is_missing(text) else None


def fold_number(text: str) -> int | None:
    """``"3"``, ``"3.0"`` and ``"fold3"`` -> 3; -1 (no fold, or the test part) where missing; None for anything else."""
    if is_missing(text):
        return -1
    found = _FOLD.fullmatch(str(text).strip())
    return int(found[1]) if found and len(found[1]) < 10 else None


def folds(values: Iterable[str], names: Iterable[str]) -> np.ndarray:
    """:func:`fold_number` of every value, int64 [N]; DataError names the images where it is none."""
    numbers = [fold_number(value) for value in values]
    bad = [name for name, found in zip(names, numbers, strict=True) if found is None]
    if bad:
        raise DataError(f"the column fold must hold whole numbers or nothing; it does not for {some(bad)}")
    return np.array(numbers, np.int64)


def split_words(values: pd.Series, names: Iterable[str], path: str | Path) -> np.ndarray:
    """``train``, ``validation``, ``test``, ``dropped``, or ``""`` where missing, object [N]; DataError for others."""
    words = known(values).str.lower()
    found = words.map(SPLIT_WORDS).where(words != "", "")
    if (unknown := found.isna().to_numpy()).any():
        image, word = next(pair for pair, bad in zip(zip(names, words, strict=True), unknown, strict=True) if bad)
        raise DataError(f"unknown split {word!r} of {image} in {path}; use train, validation, test")
    return found.to_numpy(object)


def lesion_names(lesions: Iterable[str], images: Iterable[str]) -> np.ndarray:
    """Lesion ids, object [N]; where one is missing the image's, which must not be that of another lesion by chance."""
    lesions, images = list(lesions), list(images)
    taken = set(lesions)
    pairs = zip(lesions, images, strict=True)
    return np.array([one or (f"image {image}" if image in taken else image) for one, image in pairs], object)


def id_key(name: str) -> str:
    """An id as ids are compared: without case, what a spreadsheet does to 007 (7 or 7.0), or ISIC 2019 to its ids."""
    whole = _WHOLE.fullmatch(name)
    return whole[1] if whole else folded(name).removesuffix("_downsampled")


def image_ids(paths: Iterable[str]) -> list[str]:
    """Ids for files: :func:`image_name` where those tell all of them apart, else the paths with ``/``."""
    paths = [slashes(path) for path in paths]
    names = {path: image_name(path) for path in set(paths)}
    return [names[path] for path in paths] if len(set(names.values())) == len(names) else paths


def match_ids(wanted: Iterable[str], given: Iterable[str]) -> np.ndarray:
    """Where each id of one table stands in another one, int64 [len(wanted)]; -1 where it does not.

    Ids that are equal match first; then, where no folder, ending or case is decisive, those that are equal without
    them: ``images/ISIC_1.JPG`` matches ``isic_1``; then by :func:`id_key`: numbers, whose zeros a spreadsheet may have
    changed, and ``ISIC_1_downsampled``. Where both name a folder, it has to be the same. Raises DataError where an id
    could be several of the others, for one table has it in two forms, or two ids would be one of them.
    """
    wanted, given = list(wanted), list(given)
    exact, asked = {name: i for i, name in enumerate(given)}, set(wanted)
    loose: dict[str, set[int]] = {}
    for i, name in enumerate(given):
        for key in _keys(name):
            loose.setdefault(key, set()).add(i)
    found = np.full(len(wanted), -1, np.int64)
    for row, name in enumerate(wanted):
        if name in exact:
            found[row] = exact[name]
            others = {given[i] for i in loose[_keys(name)[0]]} - asked
            if again := sorted(other for other in others if _one_ending(name, other)):
                raise DataError(f"{name} is there as {some(again)}, too; keep one row of each image")
            continue
        for key in _keys(name):
            fits = {i for i in loose.get(key, ()) if _same_folder(name, given[i])}
            if len(fits) > 1:
                raise DataError(f"{name} could be {some(sorted(given[i] for i in fits))}; write ids that are equal")
            if fits:
                found[row] = fits.pop()
                break
    there, times = np.unique(found[found >= 0], return_counts=True)
    if (times > 1).any():
        twice = int(there[times > 1][0])
        raise DataError(f"{some([wanted[i] for i in np.flatnonzero(found == twice)])} are all {given[twice]}")
    return found


def _keys(name: str) -> list[str]:
    """What an id may be called elsewhere, most telling first: without ending, without folder, by its key."""
    path = folded(without_ending(slashes(name)))
    last = path.rpartition("/")[2]
    return list(dict.fromkeys((path, last, f"key {id_key(last)}")))


def _one_ending(*names: str) -> bool:
    """Whether no two of these names have different endings, and so are those of different files."""
    return len({folded(name.removeprefix(without_ending(name))) for name in names} - {""}) < 2


def _same_folder(a: str, b: str) -> bool:
    """Whether the folders that both paths name agree, as far as the shorter one goes."""
    one, other = (PurePosixPath(folded(slashes(path))).parts[:-1] for path in (a, b))
    length = min(len(one), len(other))
    return not length or one[-length:] == other[-length:]


def some(names: Iterable, at_most: int = 5) -> str:
    """The first few of many names, and how many there are."""
    names = [str(name) for name in names]
    return ", ".join(names[:at_most]) + (f", … ({len(names):,} in all)" if len(names) > at_most else "")


def counted(number: int, word: str) -> str:
    """``1 class``, ``2 classes``, ``1,234 images``."""
    sibilant = word.endswith(("s", "x", "ch", "sh")) and word != "epoch"
    plural = word[:-1] + "ies" if word.endswith("y") else word + ("es" if sibilant else "s")
    return f"{number:,} {word if number == 1 else plural}"
