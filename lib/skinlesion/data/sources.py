"""One name for any data set: tell what kind it is, and read it into a LesionTable."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from skinlesion.config import split_kind
from skinlesion.data import dermamnist, ham10000, isic_archive, plain, reading
from skinlesion.data.table import LesionTable
from skinlesion.errors import DataError
from skinlesion.images import is_image
from skinlesion.taxonomy import LabelSet, label_set, normalise_label

#: kind -> what it needs, in the order in which a place is tried.
NEEDS = {
    "ham10000": "HAM10000_metadata (.csv, .tab or no suffix) and the images as jpg files or in zip archives",
    "isic-archive": "metadata.csv with a column isic_id, and ISIC_<7 digits>.jpg beside it",
    "dermamnist": "one dermamnist*.npz, or the path of that file",
    "folder": "one subfolder a class, named by code or by name, with images in it",
    "csv": "the path of a .csv file with columns for the image path and the label",
}
_READERS: dict[str, Callable[..., LesionTable]] = {
    "ham10000": ham10000.load,
    "isic-archive": isic_archive.load,
    "dermamnist": dermamnist.load,
    "folder": plain.load_folder,
    "csv": plain.load_csv,
}


def load_table(
    data: str, labels: int = 7, exclude_official_test: bool = True, words: dict[str, str] | None = None
) -> LesionTable:
    """Read a data set of any known kind.

    Parameters
    ----------
    data : str
        ``"demo"``, or ``"demo:300"`` for that many images; or the path of a data set, whose kind is told from what
        is there or named before it, as in ``"folder:my/images"``. Kinds are the keys of :data:`NEEDS`.
    labels : 7 or 8
    exclude_official_test : bool
        Leave out the images of the official ISIC 2018 test set, wherever they came from; a note counts them.
    words : dict, optional
        For the kinds ``folder`` and ``csv``: what labels are called there, and the codes that those words stand for.

    Returns
    -------
    LesionTable
        Rows that cannot be used are in ``problems``. What needs a look at the whole table or at pixels is left to
        :func:`skinlesion.data.check.check_table`.

    Raises
    ------
    DataError
        Where there is nothing, nothing that fits a kind, or the labels asked for cannot be told apart.
    """
    chosen = label_set(labels)
    demo = re.fullmatch(r"demo(?::(.+))?", data)
    if demo:
        kind, place = "ham10000", _demo(demo[1])
    else:
        kind, place = detect(data)
    table = _READERS[kind](place, chosen, **_own_words(words, kind, chosen))
    return _without_official_test(table) if exclude_official_test else table


def _own_words(words: dict[str, str] | None, kind: str, labels: LabelSet) -> dict:
    if not words:
        return {}
    if kind not in ("folder", "csv"):
        raise DataError(f"a {kind} data set has labels of its own; words can be given for a folder or a csv file")
    unknown = sorted(set(words.values()) - set(labels.codes))
    if unknown:
        raise DataError(f"there is no class {', '.join(unknown)}; the classes are {', '.join(labels.codes)}")
    return {"words": {word.strip().lower(): code for word, code in words.items()}}


def _demo(count: str | None) -> Path:
    from skinlesion.data.demo import demo_folder

    if count is None:
        return demo_folder()
    if not count.isdecimal() or int(count) == 0:
        raise DataError(f"demo:{count} must be demo, or demo: and a number of images, such as demo:300")
    return demo_folder(int(count))


def detect(data: str) -> tuple[str, Path]:
    """The kind and the place that ``data`` names.

    Raises
    ------
    DataError
        Where there is nothing at that place or nothing that fits; it lists what each kind needs and what was found.
    """
    kind, place = split_kind(data)
    if not place.exists():
        raise DataError(f"there is no data at {place}; name a folder or a file, or demo for the built-in set")
    if kind:
        _check_form(kind, place)
        return kind, place.resolve()
    for kind, fits in _TESTS.items():
        if fits(place):
            return kind, place.resolve()
    needs = "\n".join(f"  {kind:<13} {need}" for kind, need in NEEDS.items())
    tables = sorted(place.glob("*.csv")) if place.is_dir() else []
    raise DataError(
        f"{place} fits no kind of data set. {_contents(place)} Needed is one of\n{needs}\n"
        + (f"If {tables[0].name} lists the images, give {tables[0]}.\n" if tables else "")
        + f"A kind can be forced by writing it before the path, as in folder:{place}"
    )


def _check_form(kind: str, place: Path) -> None:
    if (kind == "csv" and place.is_dir()) or (kind in ("folder", "isic-archive") and place.is_file()):
        raise DataError(f"{place} is no {kind} data set, which needs {NEEDS[kind]}")


def _is_ham10000(place: Path) -> bool:
    if place.is_file() and place.suffix != ".zip":
        return False
    return reading.find_csv(reading.list_files(place), ham10000.METADATA) is not None


def _is_isic_archive(place: Path) -> bool:
    metadata = place / "metadata.csv"
    if not metadata.is_file():
        return False
    with metadata.open(encoding="utf-8-sig", errors="replace") as stream:
        return "isic_id" in stream.readline()


def _is_dermamnist(place: Path) -> bool:
    return place.suffix == ".npz" if place.is_file() else any(place.glob("dermamnist*.npz"))


def _is_folder(place: Path) -> bool:
    if not place.is_dir():
        return False
    named = (inner for inner in place.iterdir() if inner.is_dir() and _is_class(inner.name))
    return any(is_image(path.name) for inner in named for path in inner.iterdir())


def _is_class(name: str) -> bool:
    return any(normalise_label(name, labels) for labels in (label_set(7), label_set(8)))


def _is_csv(place: Path) -> bool:
    return place.is_file() and place.suffix.lower() in reading.CSV_SUFFIXES


_TESTS = {
    "ham10000": _is_ham10000,
    "isic-archive": _is_isic_archive,
    "dermamnist": _is_dermamnist,
    "folder": _is_folder,
    "csv": _is_csv,
}


def _contents(place: Path) -> str:
    if place.is_file():
        return "It is a file."
    names = sorted(path.name + ("/" if path.is_dir() else "") for path in place.iterdir())
    if not names:
        return "It is empty."
    more = f" and {len(names) - 8:,} more" if len(names) > 8 else ""
    return f"It holds {', '.join(names[:8])}{more}."


def _without_official_test(table: LesionTable) -> LesionTable:
    mask = reading.official_test(table.frame["image_id"])
    if not mask.any():
        return table
    spare = reading.official_test(table.problems["image_id"])
    note = f"{int(mask.sum()):,} images of the official ISIC 2018 test set are left out."
    return replace(table.keep(~mask), notes=(*table.notes, note), problems=table.problems[~spare])
