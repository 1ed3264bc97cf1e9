"""One's own images: one subfolder per class, or a CSV file with paths and labels."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import pandas as pd

from skinlesion.core.errors import DataError
from skinlesion.core.images import folded, image_name, is_image, slashes, without_ending
from skinlesion.core.one_hot import need_agreement, one_hot_columns, one_hot_word
from skinlesion.core.tables import column_key, counted, image_ids, need_rows, read_table, some
from skinlesion.core.taxonomy import LabelSet, label_finder
from skinlesion.data.class_maps import own_label
from skinlesion.data.files import Files, ImageIndex, find_files
from skinlesion.data.table import LesionTable
from skinlesion.data.tabulate import LEVELS, first_known, tabulate

#: Column names that are understood in a CSV file, whatever their case, spaces and marks; the first of each is ours.
ALIASES = {
    "path": ("path", "image_path", "filepath", "file_path", "filename", "file_name", "file", "image"),
    "label": ("label", "dx", "diagnosis", "class", "target"),
    "image_id": ("image_id", "image_name", "isic_id", "id"),
    "lesion_id": ("lesion_id", "lesion"),
    "age": ("age", "age_approx"),
    "sex": ("sex", "gender"),
    "site": ("site", "localization", "localisation", "anatom_site_general", "anatomical_site"),
    "dx_type": ("dx_type", "diagnosis_confirm_type"),
}
LABELS = "labels.csv"  # the table of a folder that is given as a csv data set


def load_folder(files: Files, labels: LabelSet, words: Mapping[str, str] | None = None) -> LesionTable:
    """Read a folder (or a zip archive) with one subfolder per class, named by code or name (``nv``, ``melanoma``, …).

    A class's images may lie in zip archives and folders below its own. Images in subfolders of any other name, and of a
    class in the folder of another one, are set aside as unknown labels. An image's id is its file name without suffix,
    or its path in the folder where two files use the same name. Raises DataError where there is no subfolder with
    images.
    """
    index = ImageIndex(files)
    paths = _one_each(index)
    code_of = label_finder(labels, words, own_label)
    inner = _below_wrapper([_in_class(files, path, code_of) for path in paths], code_of)
    word = [_class_word(name.split("/")[:-1], code_of) for name in inner]
    if not any("/" in name for name in inner):
        raise DataError(
            f"{files.place} has no subfolder with images; it needs one per class, such as {', '.join(labels.codes)}"
        )
    if not any(map(code_of, set(word))):
        folders = (name.split("/") for name in inner)
        if above := sorted({parts[0] for parts in folders if len(parts) > 2 and code_of(parts[1])}):
            raise DataError(
                f"{files.place} has its class folders one level lower, in {some(above)}; give those folders instead, "
                "each as a data set"
            )
    rows = pd.DataFrame({"path": paths, "image_id": image_ids(inner), "word": word}, dtype=str)
    return tabulate(rows, index, labels, words, source="folder", map_word=own_label)


def _one_each(index: ImageIndex) -> list[str]:
    """The images of a class folder; of files with one name in one folder, that one which :class:`ImageIndex` takes.

    Different images that share a name but for its ending are images of their own here, where no row has to be theirs.
    """
    named: dict[str, list[str]] = {}
    for path in index.paths:
        named.setdefault(without_ending(index.files.names[path]), []).append(path)
    chosen: list[str] = []
    for name, candidates in named.items():
        best = index.choose(name, candidates)
        if not best:
            del index.notes[name]
        chosen += [best] if best else candidates
    return chosen


def _class_word(folders: list[str], code_of: Callable[[object], str | None]) -> str:
    """The first of an image's folders; all of them where they name different classes, which then is none."""
    codes = {code for folder in folders if (code := code_of(folder))}
    return "/".join(folders) if len(codes) > 1 else folders[0] if folders else "not in a class's subfolder"


def _in_class(files: Files, path: str, code_of: Callable[[object], str | None]) -> str:
    """The path below the place; an archive there counts as the place, unless it is a class's by its name alone."""
    name = files.names[path]
    top, _, rest = name.partition("/")
    in_archive = rest and path.startswith(f"{files.place}/") and not path.startswith(f"{files.place}/{top}/")
    own = code_of(top) and not any(map(code_of, rest.split("/")[:-1]))
    return rest if in_archive and not own else name


def _below_wrapper(inner: list[str], code_of: Callable[[object], str | None]) -> list[str]:
    """The paths without the one folder that holds all class folders, where there is such a one."""
    tops = {path.partition("/")[0] for path in inner}
    if len(tops) == 1 and not code_of(next(iter(tops))) and all(path.count("/") > 1 for path in inner):
        return [path.partition("/")[2] for path in inner]
    return inner


def load_csv(files: Files, labels: LabelSet, words: Mapping[str, str] | None = None) -> LesionTable:
    """Read a CSV file with an image path (relative to the file) and a label per row; :data:`ALIASES` names its columns.

    The place is the file, or a folder with :data:`LABELS`; :func:`locate` says which file a path or an id in it means.
    The label may also stand in the ISIC Archive's columns ``diagnosis_1`` to ``diagnosis_5``, of which the most
    specific known one decides, or be the column of a class that holds a 1. Raises DataError where the table or a column
    is missing, two could be meant, or label and classes contradict each other.
    """
    path = files.place
    if path.is_dir():
        path = path / LABELS
        if not path.is_file():
            raise DataError(f"{path.parent} holds no {LABELS}; give the path of the table itself")
    else:
        files = find_files(path.parent)
    given = need_rows(read_table(path), path)
    index = ImageIndex(files)
    rows = _meanings(_with_label(given, path), path)
    written = rows["path"] if "path" in rows else rows["image_id"]
    rows["sought"] = written.map(slashes)
    rows["path"] = locate(written, path.parent, index)
    if "image_id" in rows:
        _need_own_files(rows["image_id"], written, path)
    else:
        rows["image_id"] = image_ids(list(written))
    if "label" in rows:
        rows = rows.rename(columns={"label": "word"})
    else:
        rows["label"], rows["word"] = first_known(given, label_finder(labels, words, own_label))
    spare = bool(set(rows["path"]) & set(index.paths))
    return tabulate(rows, index, labels, words, source="csv", location=path, map_word=own_label, spare=spare)


def _with_label(given: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The table with a column for the label made of an ISIC ground truth's columns; where it has both, they agree."""
    if not (columns := one_hot_columns(given)):
        return given
    marked, labels = one_hot_word(given, columns), set(map(column_key, ALIASES["label"]))
    words = {name: given[name] for name in given if column_key(name) in labels}
    need_agreement(words | {f"{', '.join(columns[:2])}, …": marked}, path)
    return given if words else given.assign(label=marked)


def _need_own_files(ids: pd.Series, paths: pd.Series, table: Path) -> None:
    """Raise DataError where an id is the name of another row's file; not for numbers, which count many things."""
    names = paths.map(lambda path: folded(image_name(path)))
    key = ids.map(lambda name: folded(image_name(name)))
    wrong = (key != names) & key.isin(names) & (key != "") & ~key.str.isdecimal()
    if wrong.any():
        row = wrong.idxmax()
        raise DataError(
            f"in {counted(int(wrong.sum()), 'row')} of {table} the id is the name of another row's file, such as "
            f"{ids[row]} beside {paths[row]}: was one column sorted alone? Mend it, or delete the column of ids"
        )


def _meanings(given: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The columns that are understood, under the names of :data:`ALIASES`."""
    columns = {_column(given, meaning, path): meaning for meaning in ALIASES}
    return given[[name for name in columns if name]].rename(columns=columns)


def _column(given: pd.DataFrame, meaning: str, path: Path) -> str | None:
    keys = set(map(column_key, ALIASES[meaning]))
    found = [name for name in given.columns if column_key(name) in keys]
    if not all(given[name].equals(given[found[0]]) for name in found):
        raise DataError(f"{path} has several columns for the {meaning}: {', '.join(found)}; keep one of them")
    if found:
        return found[0]
    others = ALIASES["image_id"] if meaning == "path" else LEVELS if meaning == "label" else None
    if others and not set(map(column_key, others)) & set(map(column_key, given.columns)):
        raise DataError(
            f"{path} has no column for the {meaning}; looked for {', '.join(ALIASES[meaning])} among "
            f"{', '.join(given.columns)}. (Metadata of HAM10000 or the ISIC Archive? Give the folder that holds it.)"
        )
    return None


def locate(given: Iterable[str], folder: Path, index: ImageIndex) -> list[str]:
    """The file of every path in a table, ``""`` where it is not there; ``\\`` counts as ``/``.

    A path is taken as it is written, relative to the table's ``folder``, or but for case where one file alone fits.
    Where none of the table's paths can be read so, for the table was written on another machine, they are sought below
    ``folder`` (archives count as folders), leading folders left out until most are found: as many for every row. The
    folder right above an image is never left out, unless it is ``folder`` itself: a file of the same name in another
    folder is another image. Names without a folder and without an ending are ids, found wherever they are in the
    ``index`` of the images in the folder and below.
    """
    paths = [slashes(text) for text in given]
    ids = [bool(path) and "/" not in path and not is_image(path) for path in paths]
    by_name: dict[str, list[str]] = {}
    for path in index.paths:
        by_name.setdefault(folded(index.files.names[path]), []).append(path)
    found = [_as_written(path, folder) or _only(by_name.get(folded(path), ())) for path in paths]
    named = [path for path, is_id in zip(paths, ids, strict=True) if path and not is_id]
    if named and not any(file for file, is_id in zip(found, ids, strict=True) if not is_id):
        elsewhere = _elsewhere(sorted(set(named)), folder, index)
        found = [file or elsewhere.get(path, "") for file, path in zip(found, paths, strict=True)]
    return [file or (index.find(path) if is_id else "") for file, path, is_id in zip(found, paths, ids, strict=True)]


def _only(paths: Sequence[str]) -> str:
    return paths[0] if len(paths) == 1 else ""


def _as_written(path: str, folder: Path) -> str:
    forms = dict.fromkeys([path, *(unicodedata.normalize(form, path) for form in ("NFC", "NFD"))])
    wholes = (os.path.normpath(folder / form) for form in forms if path)
    return next(filter(os.path.isfile, wholes), "")


def _elsewhere(paths: list[str], folder: Path, index: ImageIndex) -> dict[str, str]:
    """Files below ``folder`` for paths written on another machine; the same number of leading folders is left out."""
    ends: dict[tuple[str, ...], list[str]] = {}
    for path in index.paths:
        parts = _parts(index.files.names[path])
        for start in range(len(parts)):
            ends.setdefault(parts[start:], []).append(path)
    split = {path: _parts(path) for path in paths}
    best: dict[str, list[str]] = {}
    for left_out in range(max(len(parts) for parts in split.values())):
        now = {}
        for path, parts in split.items():
            rest, before = parts[left_out:], parts[left_out - 1 : left_out]  # of a short path, nothing
            # a bare name is a path only where nothing was left out, or what was is the table's own folder
            if len(rest) > 1 or (rest and (len(parts) == 1 or before == (folded(folder.name),))):
                now[path] = ends.get(rest, [])
        if sum(map(bool, now.values())) > sum(map(bool, best.values())):
            best = now
    chosen = {}
    for path, candidates in best.items():  # files with the very ending that is written go first
        exact = [one for one in candidates if PurePosixPath(one).suffix == PurePosixPath(path).suffix]
        chosen[path] = index.choose(path, exact or candidates)
    return chosen


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part for part in folded(without_ending(path)).split("/") if part not in ("", "."))
