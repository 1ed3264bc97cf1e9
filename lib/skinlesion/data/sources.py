"""One name for any data set: find what kind it is, and read it into a LesionTable."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import NamedTuple

from skinlesion.core.config import parse_place
from skinlesion.core.errors import DataError
from skinlesion.core.tables import counted, some
from skinlesion.core.taxonomy import diagnosis, label_set, parse_words
from skinlesion.data import dermamnist, own_images, published
from skinlesion.data.files import TABLES, WORKBOOKS, Files, find_files
from skinlesion.data.merge import merge
from skinlesion.data.table import LesionTable
from skinlesion.data.tabulate import in_official_test


def load_table(
    data: str | Path | Sequence[str | Path],
    labels: int = 7,
    exclude_official_test: bool = True,
    words: Mapping[str, str] | str | Iterable[str] | None = None,
) -> LesionTable:
    """Read a data set of any known kind, or several as one table.

    Parameters
    ----------
    data : str or path, or sequence of them
        ``"demo"``, or ``"demo:300"`` for that many images; or the path of a data set, whose kind is found by what
        is there or named before it, as in ``"folder:my/images"``. :data:`KINDS` lists them. Several are merged
        (:func:`skinlesion.data.merge.merge`); :func:`source_names` says what each of them is called.
    labels : 7 or 8
    exclude_official_test : bool
        Leave out the images of the official ISIC 2018 test set, wherever they came from; a note counts them.
    words : mapping, or ``WORD=CODE`` texts, optional
        What labels are called in the data set, and the codes that those words stand for, beside the known ones.

    Returns
    -------
    LesionTable
        Rows that cannot be used are in ``problems``. What needs a look at the whole table or at pixels is left to
        :func:`skinlesion.data.check.check_table`.

    Raises
    ------
    DataError
        Where there is nothing, nothing that fits a kind, or the data do not distinguish the labels asked for.

    Examples
    --------
    >>> table = load_table("demo:80")
    >>> len(table), table.labels.codes
    (80, ('akiec', 'bcc', 'bkl', 'df', 'mel', 'nv', 'vasc'))
    >>> print(table.keep(table.frame["sex"] == "female").counts()["nv"])
    8
    """
    tables = load_tables(data, labels, exclude_official_test, words)
    return merge(tables) if len(tables) > 1 else tables[0]


def load_tables(
    data: str | Path | Sequence[str | Path],
    labels: int = 7,
    exclude_official_test: bool = True,
    words: Mapping[str, str] | str | Iterable[str] | None = None,
) -> list[LesionTable]:
    """The sources of :func:`load_table`, each as a table of its own."""
    chosen = label_set(labels)
    known = dict(words) if isinstance(words, Mapping) else parse_words(words or ())
    tables = []
    for name, (kind, files) in _named(data).items():
        table = KINDS[kind].load(files, chosen, words=known).rename(name)
        tables.append(_without_official_test(table) if exclude_official_test else table)
    return tables


def source_names(data: str | Path | Sequence[str | Path]) -> list[str]:
    """What the sources of a table are called, in the order given.

    A source is called by its kind, one's own folder or table by its folder's name; where two would be called alike, by
    that and the name of its place. Raises DataError where there is no such data set, or one is given twice.
    """
    return list(_named(data))


def _named(data: str | Path | Sequence[str | Path]) -> dict[str, tuple[str, Files]]:
    """Kind and files of every source by its name."""
    places = [data] if isinstance(data, str | Path) else data if isinstance(data, Sequence) else ()
    if not places or not all(isinstance(one, str | Path) and str(one) for one in places):
        raise DataError("no data set is named; give demo, or the place of one or more")
    given = [str(one) for one in places]
    found = [detect(one) for one in given]
    if len({(kind, files.place) for kind, files in found}) < len(found):
        raise DataError(f"a data set is given twice: {', '.join(given)}; give each of them once")
    called = [_called(kind, files) for kind, files in found]
    names: dict[str, tuple[str, Files]] = {}
    for name, (kind, files) in zip(called, found, strict=True):
        if called.count(name) > 1 and (stem := _plain(files.place.stem)) != name:
            name = stem if stem.startswith(name) else f"{name}-{stem}"
        numbered = (name if number == 1 else f"{name}-{number}" for number in count(1))
        names[next(one for one in numbered if one not in names)] = kind, files
    return names


def _called(kind: str, files: Files) -> str:
    """The name of a data set by itself."""
    if kind == "ham10000" and files.table(published.DEMO_MARK):
        return "demo"
    if kind not in ("csv", "folder"):
        return kind
    place = files.place
    return _plain((place.parent if place.is_file() else place).name) or kind


def _plain(name: str) -> str:
    """A name that can be a folder's."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")


def detect(data: str) -> tuple[str, Files]:
    """The kind that ``data`` names, and the files at its place; the demo set is drawn where it is not there yet.

    Raises DataError where there is nothing at that place or nothing that fits; it lists what each kind needs and what
    was found.
    """
    if demo := re.fullmatch(r"demo(?::(.+))?", data):
        return "ham10000", _demo(demo[1])
    kind, place = parse_place(data)
    if kind and kind not in KINDS:
        raise DataError(f"{data} names a kind of data set, {kind}, that is unknown; known are {', '.join(KINDS)}")
    if not place.exists():
        raise DataError(f"there is no data at {place}; name a folder or a file, or demo for the built-in set")
    files = find_files(place)
    if kind not in ("", "csv", "dermamnist") and files.is_one:
        raise DataError(f"{place} is not a {kind} data set, which needs {KINDS[kind].needs}")
    kind = kind or next((kind for kind, one in KINDS.items() if one.fits(files)), "")
    if kind:
        return kind, files
    needs = "\n".join(f"  {kind:<13} {one.needs}" for kind, one in KINDS.items())
    tables = sorted(place.glob("*.csv")) if place.is_dir() else []
    raise DataError(
        f"{place} fits no kind of data set. {_contents(place)} Needed is one of\n{needs}\n"
        + (f"If {tables[0].name} lists the images, give {tables[0]}.\n" if tables else "")
        + _left_out(files)
        + f"A kind can be forced by writing it before the path, as in folder:{place}"
    )


def _demo(number: str | None) -> Files:
    from skinlesion.data.demo.dataset import demo_folder

    if number and (not number.isdecimal() or int(number) == 0):
        raise DataError(f"demo:{number} must be demo, or demo: and a number of images, such as demo:300")
    return find_files(demo_folder(int(number)) if number else demo_folder())


def _is_dermamnist(files: Files) -> bool:
    if files.is_one:  # the reader tells other sets from it, and says so
        return files.place.suffix.lower() == ".npz"
    return any(dermamnist.is_dermamnist(path) for path in files.place.glob("*.npz"))


def _is_folder(files: Files) -> bool:
    """Whether some image, or an archive, lies in a folder with a class's name."""
    parts = [] if files.is_one else [files.names[path].split("/")[:-1][:2] for path in files.images]
    return any(diagnosis(part) for folders in parts for part in folders)


def _is_csv(files: Files) -> bool:
    place = files.place
    return (place / own_images.LABELS).is_file() if place.is_dir() else place.suffix.lower() in (*TABLES, *WORKBOOKS)


class Kind(NamedTuple):
    """One kind of data set."""

    needs: str  # what must be there, in words
    fits: Callable[[Files], bool]  # whether it is
    load: Callable[..., LesionTable]  # from files, label set and words


#: Every kind by the name that can be written before a place, in the order in which a place is tried.
KINDS = {
    "ham10000": Kind(
        "HAM10000_metadata (.csv, .tab or no suffix) and the images as jpg files or in zip archives",
        lambda files: files.has_table(published.METADATA), published.load_ham10000,
    ),
    "isic-archive": Kind(
        "metadata.csv with a column isic_id, and ISIC_<7 digits>.jpg beside it",
        lambda files: files.has_table(published.ARCHIVE, "isic_id"), published.load_isic_archive,
    ),
    "milk10k": Kind(
        "MILK10k_Training_GroundTruth, _Metadata and _Supplement, and MILK10k_Training_Input",
        lambda files: files.has_table(published.MILK10K), published.load_milk10k,
    ),
    "isic2019": Kind(
        "ISIC_2019_Training_GroundTruth and _Metadata, and ISIC_2019_Training_Input",
        lambda files: files.has_table(published.ISIC2019), published.load_isic2019,
    ),
    "isic2018": Kind(
        "ISIC2018_Task3_Training_GroundTruth and _LesionGroupings, and ISIC2018_Task3_Training_Input",
        lambda files: files.has_table(published.ISIC2018), published.load_isic2018,
    ),
    "derm7pt": Kind(
        "meta/meta.csv with the columns diagnosis and derm, and images/",
        lambda files: files.has_table(published.DERM7PT, "derm"), published.load_derm7pt,
    ),
    "dermamnist": Kind("one npz file with DermaMNIST's arrays, or the path of it", _is_dermamnist, dermamnist.load),
    "folder": Kind(
        "one subfolder per class, named by code or by name, with images in it (or a zip of it)",
        _is_folder, own_images.load_folder,
    ),
    "csv": Kind(
        "a .csv file with columns for image path or id and label, or the folder of labels.csv",
        _is_csv, own_images.load_csv,
    ),
}  # fmt: skip


def _contents(place: Path) -> str:
    if place.is_file():
        return "It is a file."
    names = sorted(path.name + ("/" if path.is_dir() else "") for path in place.iterdir())
    return f"It holds {some(names, 8)}." if names else "It is empty."


def _left_out(files: Files) -> str:
    """What of a folder could not be read, and the first reason of each kind; ``""`` where nothing was left out."""
    problems = files.left_out
    first = {kind: detail for _, kind, detail in reversed(problems)}
    times = Counter(kind for _, kind, _ in problems)
    reasons = "; ".join(f"{times[kind]:,} x {kind} ({detail})" for kind, detail in first.items())
    return f"Left out: {reasons}.\n" if reasons else ""


def _without_official_test(table: LesionTable) -> LesionTable:
    """The table without that set's images, by id; DermaMNIST-E's whole test part, after which it has no split."""
    ids, split = table.frame["image_id"], table.official_split
    gone = in_official_test(ids)
    if dermamnist.EXTENDED in table.notes:
        gone, split = ids.map(split) == "test", {}
    if not gone.any():
        return table
    note = f"{counted(int(gone.sum()), 'image')} of the official ISIC 2018 test set left out."
    problems = table.problems[~in_official_test(table.problems["image_id"])]
    return replace(table.keep(~gone), notes=(*table.notes, note), problems=problems, official_split=split)
