"""One's own images: one subfolder a class, or a CSV file with paths and labels."""

from __future__ import annotations

from pathlib import Path, PurePath

import pandas as pd

from skinlesion.core.errors import DataError
from skinlesion.core.images import is_image
from skinlesion.core.taxonomy import LabelSet, normalise_label
from skinlesion.data.reading import NO_LESIONS, list_files, read_csv, stem, tabulate
from skinlesion.data.table import LesionTable

#: Column names that are understood in a CSV file, whatever their case; the first line of each is what we'd call it.
ALIASES = {
    "path": ("path", "image_path", "filepath", "file_path", "filename", "file_name", "file", "image"),
    "label": ("label", "dx", "diagnosis", "class", "target"),
    "image_id": ("image_id", "image_name", "isic_id", "id"),
    "lesion_id": ("lesion_id", "lesion"),
    "age": ("age", "age_approx"),
    "sex": ("sex", "gender"),
    "site": ("site", "localization", "localisation", "anatom_site_general", "anatomical_site"),
}


def load_folder(place: Path, labels: LabelSet, words: dict[str, str] | None = None) -> LesionTable:
    """Read a folder with one subfolder a class, named by code or by name (``nv``, ``melanoma``, ...).

    Images in subfolders of any other name are set aside as unknown labels. An image's id is its file name without
    suffix, or its path in the folder where two classes use the same name.

    Parameters
    ----------
    place : Path
    labels : LabelSet
    words : dict, optional
        The data's own words (in lower case) and the codes they stand for, beside those that are known.

    Raises
    ------
    DataError
        Where there is no subfolder with images.
    """
    place = place.resolve()
    paths = [path for path in list_files(place) if is_image(path) and ".zip!" not in path]
    inner = [Path(path).relative_to(place) for path in paths]
    rows = pd.DataFrame({"path": paths, "inner": [name.as_posix() for name in inner]}, dtype=str)
    rows["word"] = [name.parts[0] if len(name.parts) > 1 else "" for name in inner]
    if not (rows["word"] != "").any():
        raise DataError(
            f"{place} has no subfolder with images; it needs one a class, such as {', '.join(labels.codes)}"
        )
    rows["image_id"] = _ids(rows["inner"])
    rows["label"] = pd.Series([_code(word, labels, words) for word in rows["word"]], dtype=object)
    rows["word"] = rows["word"].where(rows["word"] != "", "not in a class's subfolder")
    return tabulate(rows, labels=labels, source="folder", location=place, has_lesions=False, notes=(NO_LESIONS,))


def load_csv(path: Path, labels: LabelSet, words: dict[str, str] | None = None) -> LesionTable:
    """Read a CSV file with an image path (relative to the file) and a label a row; :data:`ALIASES` names its columns.

    Where there is no such file, or no column for the path but one for the id, the image is the one of that name in the
    folder of the CSV file or in a folder or zip archive below it.

    Parameters
    ----------
    path : Path
    labels : LabelSet
    words : dict, optional
        The data's own words (in lower case) and the codes they stand for, beside those that are known.

    Raises
    ------
    DataError
        Where a column is missing or two could be meant.
    """
    path = path.resolve()
    given = read_csv(path)
    columns = {meaning: _column(given, meaning, path) for meaning in ALIASES}
    rows = given[[name for name in columns.values() if name]].rename(
        columns={name: meaning for meaning, name in columns.items() if name}
    )
    if "path" not in rows:
        rows["path"] = rows["image_id"]
    if columns["image_id"] is None:
        rows["image_id"] = _ids(rows["path"].str.strip())
    rows["path"] = _find(rows["path"], path.parent)
    rows["word"] = rows["label"]
    rows["label"] = pd.Series([_code(word, labels, words) for word in rows["word"]], dtype=object)
    return tabulate(
        rows,
        labels=labels,
        source="csv",
        location=path,
        has_lesions=columns["lesion_id"] is not None,
        notes=() if columns["lesion_id"] else (NO_LESIONS,),
    )


def _code(word: str, labels: LabelSet, words: dict[str, str] | None) -> str | None:
    return (words or {}).get(word.strip().lower()) or normalise_label(word, labels)


def _find(given: pd.Series, folder: Path) -> list[str]:
    """The file that each path means: itself, else the only image of that name in the folder or below; else ``""``."""
    paths = [str((folder / name.strip()).resolve()) if name.strip() else "" for name in given]
    found = [path if path and Path(path).is_file() else "" for path in paths]
    if all(found):
        return found
    named: dict[str, list[str]] = {}
    for path in filter(is_image, list_files(folder)):
        named.setdefault(stem(path), []).append(path)
    candidates = [named.get(stem(name) if is_image(name) else name, []) for name in given.str.strip()]
    return [path or (own[0] if len(own) == 1 else "") for path, own in zip(found, candidates, strict=True)]


def _column(given: pd.DataFrame, meaning: str, path: Path) -> str | None:
    found = [name for name in given.columns if name.strip().lower() in ALIASES[meaning]]
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(f"{path} has several columns for the {meaning}: {', '.join(found)}; keep one of them")
    has_id = meaning == "path" and any(name.strip().lower() in ALIASES["image_id"] for name in given.columns)
    if meaning in ("path", "label") and not has_id:
        raise DataError(
            f"{path} has no column for the {meaning}; looked for {', '.join(ALIASES[meaning])} among "
            f"{', '.join(given.columns)}. (Metadata of HAM10000 or the ISIC Archive? Give the folder that holds it.)"
        )
    return None


def _ids(paths: pd.Series) -> pd.Series:
    """File names without suffix where those are unique, else the paths themselves."""
    names = paths.map(lambda path: stem(path) if path else "")
    once = names[paths.drop_duplicates().index]
    return paths.map(lambda path: PurePath(path).as_posix()) if once.duplicated().any() else names
