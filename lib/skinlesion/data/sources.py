"""One name for any data set: find what kind it is, and read it into a LesionTable."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path

from skinlesion.core.config import split_kind
from skinlesion.core.errors import DataError
from skinlesion.core.tables import counted
from skinlesion.core.taxonomy import diagnosis, label_set, parse_words
from skinlesion.data import challenges, dermamnist, ham10000, isic_archive, plain, reading
from skinlesion.data.files import TABLES, Files, file_name, find_files
from skinlesion.data.merge import merge
from skinlesion.data.table import LesionTable


def load_table(
    data: str | Sequence[str],
    labels: int = 7,
    exclude_official_test: bool = True,
    words: Mapping[str, str] | str | Iterable[str] | None = None,
) -> LesionTable:
    """Read a data set of any known kind, or several as one table.

    Parameters
    ----------
    data : str or sequence of str
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
    chosen = label_set(labels)
    known = dict(words) if isinstance(words, Mapping) else parse_words(words or ())
    tables = []
    for name, (kind, place) in _named(data).items():
        table = KINDS[kind].load(place, chosen, words=known).rename(name)
        tables.append(_without_official_test(table) if exclude_official_test else table)
    return merge(tables) if len(tables) > 1 else tables[0]


def source_names(data: str | Sequence[str]) -> list[str]:
    """What the sources of a table are called, in the order given.

    A source is called by its kind, one's own folder or table by its folder's name; where two would be called alike, by
    that and the name of its place. Raises DataError where there is no such data set, or one is given twice.
    """
    return list(_named(data))


def _named(data: str | Sequence[str]) -> dict[str, tuple[str, Path]]:
    """Kind and place of every source by its name."""
    given = [data] if isinstance(data, str) else list(data)
    found = [_find(one) for one in given]
    if len(set(found)) < len(found):
        raise DataError(f"a data set is given twice: {', '.join(given)}; give each of them once")
    called = [_called(kind, place) for kind, place in found]
    names: dict[str, tuple[str, Path]] = {}
    for name, (kind, place) in zip(called, found, strict=True):
        if called.count(name) > 1 and (stem := _plain(place.stem)) != name:
            name = stem if stem.startswith(name) else f"{name}-{stem}"
        numbered = (name if number == 1 else f"{name}-{number}" for number in count(1))
        names[next(one for one in numbered if one not in names)] = kind, place
    return names


def _called(kind: str, place: Path) -> str:
    """The name of a data set by itself."""
    if kind == "ham10000" and any(file_name(path) == ham10000.DEMO_MARK for path in find_files(place).paths):
        return "demo"
    if kind not in ("csv", "folder"):
        return kind
    return _plain((place.parent if place.is_file() else place).name) or kind


def _plain(name: str) -> str:
    """A name that can be a folder's."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")


def _find(data: str) -> tuple[str, Path]:
    """As :func:`detect`, and the demo set, drawn where it is not there yet."""
    from skinlesion.data.demo.dataset import demo_folder

    demo = re.fullmatch(r"demo(?::(.+))?", data)
    if not demo:
        return detect(data)
    if demo[1] is None:
        return "ham10000", demo_folder()
    if not demo[1].isdecimal() or int(demo[1]) == 0:
        raise DataError(f"demo:{demo[1]} must be demo, or demo: and a number of images, such as demo:300")
    return "ham10000", demo_folder(int(demo[1]))


def detect(data: str) -> tuple[str, Path]:
    """The kind and the place that ``data`` names.

    Raises DataError where there is nothing at that place or nothing that fits; it lists what each kind needs and what
    was found.
    """
    kind, place = split_kind(data)
    if kind and kind not in KINDS:
        raise DataError(f"{data} names a kind of data set, {kind}, that is unknown; known are {', '.join(KINDS)}")
    if not place.exists():
        raise DataError(f"there is no data at {place}; name a folder or a file, or demo for the built-in set")
    if kind:
        if KINDS[kind].form == ("folder" if place.is_file() else "file"):
            raise DataError(f"{place} is no {kind} data set, which needs {KINDS[kind].needs}")
        return kind, place.resolve()
    files = find_files(place)
    for kind, one in KINDS.items():
        if one.fits(files):
            return kind, place.resolve()
    needs = "\n".join(f"  {kind:<13} {one.needs}" for kind, one in KINDS.items())
    tables = sorted(place.glob("*.csv")) if place.is_dir() else []
    raise DataError(
        f"{place} fits no kind of data set. {_contents(place)} Needed is one of\n{needs}\n"
        + (f"If {tables[0].name} lists the images, give {tables[0]}.\n" if tables else "")
        + _left_out(files)
        + f"A kind can be forced by writing it before the path, as in folder:{place}"
    )


def _is_one_file(files: Files) -> bool:
    return files.place.is_file() and files.place.suffix.lower() != ".zip"


def _has_table(name: str, files: Files) -> bool:
    return not _is_one_file(files) and files.table(name) is not None


def _is_dermamnist(files: Files) -> bool:
    place = files.place
    if place.is_file():
        return place.suffix.lower() == ".npz"  # the reader tells other sets from it, and says so
    return any(dermamnist.is_dermamnist(path) for path in place.glob("*.npz"))


def _is_folder(files: Files) -> bool:
    """Whether some image, or an archive, lies in a folder with a class's name."""
    if _is_one_file(files):
        return False
    inner = [files.inner(path).split("/") for path in files.images]
    return any(diagnosis(part) for parts in inner for part in parts[:-1][:2])


def _is_csv(files: Files) -> bool:
    if files.place.is_dir():
        return (files.place / plain.LABELS).is_file()
    return files.place.suffix.lower() in TABLES


@dataclass(frozen=True)
class Kind:
    """One kind of data set.

    ``needs`` says in words what must be there, ``fits`` decides whether it is, ``load(place, labels, words)`` reads it.
    ``form`` is ``folder`` or ``file`` where it can only be one of them.
    """

    needs: str
    fits: Callable[[Files], bool]
    load: Callable[..., LesionTable]
    form: str = ""


#: Every kind by the name that can be written before a place, in the order in which a place is tried.
KINDS = {
    "ham10000": Kind(
        "HAM10000_metadata (.csv, .tab or no suffix) and the images as jpg files or in zip archives",
        partial(_has_table, ham10000.METADATA), ham10000.load,
    ),
    "isic-archive": Kind(
        "metadata.csv with a column isic_id, and ISIC_<7 digits>.jpg beside it",
        lambda files: files.has_column(isic_archive.METADATA, "isic_id"), isic_archive.load, form="folder",
    ),
    "milk10k": Kind(
        "MILK10k_Training_GroundTruth, _Metadata and _Supplement, and MILK10k_Training_Input",
        partial(_has_table, challenges.MILK10K), challenges.load_milk10k,
    ),
    "isic2019": Kind(
        "ISIC_2019_Training_GroundTruth and _Metadata, and ISIC_2019_Training_Input",
        partial(_has_table, challenges.ISIC2019), challenges.load_isic2019,
    ),
    "isic2018": Kind(
        "ISIC2018_Task3_Training_GroundTruth and _LesionGroupings, and ISIC2018_Task3_Training_Input",
        partial(_has_table, challenges.ISIC2018), challenges.load_isic2018,
    ),
    "derm7pt": Kind(
        "meta/meta.csv with the columns diagnosis and derm, and images/",
        lambda files: files.has_column(challenges.DERM7PT, "derm"), challenges.load_derm7pt, form="folder",
    ),
    "dermamnist": Kind("one npz file with DermaMNIST's arrays, or the path of it", _is_dermamnist, dermamnist.load),
    "folder": Kind(
        "one subfolder a class, named by code or by name, with images in it (or a zip of it)",
        _is_folder, plain.load_folder,
    ),
    "csv": Kind(
        "a .csv file with columns for image path or id and label, or the folder of labels.csv",
        _is_csv, plain.load_csv,
    ),
}  # fmt: skip


def _contents(place: Path) -> str:
    if place.is_file():
        return "It is a file."
    names = sorted(path.name + ("/" if path.is_dir() else "") for path in place.iterdir())
    if not names:
        return "It is empty."
    more = f" and {len(names) - 8:,} more" if len(names) > 8 else ""
    return f"It holds {', '.join(names[:8])}{more}."


def _left_out(files: Files) -> str:
    """What of a folder could not be read, and the first reason of each kind; ``""`` where nothing was left out."""
    problems = files.left_out
    first = {kind: detail for _, kind, detail in reversed(problems)}
    times = Counter(kind for _, kind, _ in problems)
    reasons = "; ".join(f"{times[kind]:,} x {kind} ({detail})" for kind, detail in first.items())
    return f"Left out: {reasons}.\n" if reasons else ""


def _without_official_test(table: LesionTable) -> LesionTable:
    kept = dermamnist.without_official_test(table)
    mask = reading.official_test(kept.frame["image_id"])
    gone = len(table) - len(kept) + int(mask.sum())
    if not gone:
        return table
    spare = reading.official_test(table.problems["image_id"])
    note = f"{counted(gone, 'image')} of the official ISIC 2018 test set left out."
    return replace(kept.keep(~mask), notes=(*table.notes, note), problems=table.problems[~spare])
