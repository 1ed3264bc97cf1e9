"""Copy what a run left to a place that others read: a folder, or an object store's URL."""

from __future__ import annotations

from pathlib import Path

from skinlesion.core.storage import Folder

#: What others can do nothing with: states that a training goes on from, and its live curves.
KEPT_HERE = ("checkpoints", "tensorboard")
#: Whoever sees one of these may rely on all the rest being there.
LAST = ("report.html", "index.html", "status.json")


def need_place(place: str) -> None:
    """Raise SkinLesionError, before hours are spent, if a place to publish to cannot be reached."""
    Folder(place).names()


def publish(folder: Path, place: str) -> int:
    """Copy a finished run, or a group of them, to ``place/<its name>``. Returns the number of files.

    Files are whole wherever they appear, and the pages by which readers come in are copied last. Raises SkinLesionError
    if the place cannot be reached or written to.
    """
    target = Folder(f"{place.rstrip('/')}/{folder.name}")
    found = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    shared = [path for path in found if not any(part.startswith(".") or part in KEPT_HERE for part in path.parts)]
    for path in sorted(shared, key=lambda path: (path.name in LAST, -len(path.parts), path)):
        target.put(path.as_posix(), folder / path)
    return len(shared)
