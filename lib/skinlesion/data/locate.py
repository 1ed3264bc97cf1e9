"""The file that each row of a CSV file means, when the row names a path."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from skinlesion.core.images import is_image, slashes, without_ending
from skinlesion.data.files import ImageIndex


def locate(given: Sequence[str], folder: Path, index: ImageIndex) -> list[str]:
    """The file of every path in a table, ``""`` where it is not there.

    A path is taken as it is written, relative to ``folder``. Where none of the table's paths can be read so, for the
    table was written at another place, they are sought below ``folder`` (archives count as folders), leading folders
    left out until most are found: as many for every row. The folder right above an image is never left out, unless it
    is ``folder`` itself: a file of the same name in another folder is another image. Names without a folder and
    without an ending are ids, found wherever they are.

    Parameters
    ----------
    given : sequence of str, as the table has them; ``\\`` counts as ``/``
    folder : Path, of the table
    index : ImageIndex, of the images in the folder and below
    """
    paths = [slashes(text) for text in given]
    ids = [bool(path) and "/" not in path and not is_image(path) for path in paths]
    found = [_as_written(path, folder) for path in paths]
    named = [path for path, is_id in zip(paths, ids, strict=True) if path and not is_id]
    if named and not any(file for file, is_id in zip(found, ids, strict=True) if not is_id):
        elsewhere = _elsewhere(sorted(set(named)), folder, index)
        found = [file or elsewhere.get(path, "") for file, path in zip(found, paths, strict=True)]
    return [file or (index.find(path) if is_id else "") for file, path, is_id in zip(found, paths, ids, strict=True)]


def _as_written(path: str, folder: Path) -> str:
    try:
        whole = os.path.normpath(folder / path)
        return whole if path and Path(whole).is_file() else ""
    except (OSError, ValueError):  # too long for a file's name, or with characters that none has
        return ""


def _elsewhere(paths: list[str], folder: Path, index: ImageIndex) -> dict[str, str]:
    """Files below ``folder`` for paths written at another place; the same number of leading folders is left out."""
    ends: dict[tuple[str, ...], list[str]] = {}
    for path in index.paths:
        parts = _parts(index.files.inner(path))
        for start in range(len(parts)):
            ends.setdefault(parts[start:], []).append(path)
    split = {path: _parts(path) for path in paths}
    best: dict[str, list[str]] = {}
    for left_out in range(max(len(parts) for parts in split.values())):
        now = {}
        for path, parts in split.items():
            rest, before = parts[left_out:], parts[left_out - 1 : left_out]  # of a short path, nothing
            # a bare name is a path only where nothing was left out, or what was is the table's own folder
            if len(rest) > 1 or (rest and (len(parts) == 1 or before == (folder.name.casefold(),))):
                now[path] = ends.get(rest, [])
        if sum(map(bool, now.values())) > sum(map(bool, best.values())):
            best = now
    return {path: _choose(path, candidates, index) for path, candidates in best.items() if candidates}


def _choose(path: str, candidates: list[str], index: ImageIndex) -> str:
    """One of several files that end alike: those with the very ending that is written go first."""
    exact = [one for one in candidates if PurePosixPath(index.files.inner(one)).suffix == PurePosixPath(path).suffix]
    return index.choose(path, exact or candidates)


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part for part in without_ending(path).casefold().split("/") if part not in ("", "."))
