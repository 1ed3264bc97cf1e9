"""How files are written: whole or not at all, by one process at a time, with errors that name the fix."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from skinlesion.core.errors import SkinLesionError

if TYPE_CHECKING:
    import pandas as pd


@contextmanager
def write_errors(place: str | Path, fix: str = "free some space or choose another folder"):
    """Around what writes to ``place``: raise SkinLesionError, with the fix, if the disk is full or read-only."""
    try:
        yield
    except OSError as error:
        raise SkinLesionError(f"{place} cannot be written ({error.strerror or error}); {fix}") from error


def need_writable(place: str | Path, *, folder: bool = True) -> None:
    """Raise SkinLesionError, before anything is computed, where a folder or file ``place`` could not be written."""
    place = Path(place).expanduser().absolute()
    there = next(path for path in (place, *place.parents) if path.exists())
    if there == place and there.is_dir() != folder:
        what = "it is a folder" if there.is_dir() else "it is a file"
    elif there != place and not there.is_dir():
        what = f"{there} is a file"
    elif not os.access(there if there.is_dir() else there.parent, os.W_OK | os.X_OK):
        what = f"you may not write to {there if there.is_dir() else there.parent}"
    else:
        return
    raise SkinLesionError(f"{place} cannot be written: {what}; choose another --output")


@contextmanager
def atomic(path: str | Path):
    """Yield a temporary path beside ``path``; on success sync it and move it into place, else remove it.

    Raises SkinLesionError if the disk is full or the folder cannot be written to; what was at ``path`` is untouched.
    """
    path, temporary = Path(path), None
    with write_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
            os.close(handle)
            temporary = Path(name)
            yield temporary
            with open(temporary, "rb+") as written:
                os.fsync(written.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
        finally:
            if temporary:
                temporary.unlink(missing_ok=True)


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write bytes, whole or not at all (:func:`atomic`)."""
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    """Write text as UTF-8, whole or not at all (:func:`atomic`)."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: object) -> None:
    """Write JSON, whole or not at all. Raises ValueError for NaN and infinity, which JSON lacks."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_csv(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table as CSV in UTF-8 without its index, whole or not at all (:func:`atomic`)."""
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n", encoding="utf-8")


def replace_folder(new: Path, place: Path) -> None:
    """Move a finished folder to its place, over an older one, which stays until the new one is there."""
    old = place.with_name(f".{place.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if place.exists():
        place.rename(old)
    new.rename(place)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def new_folder(place: str | Path, move: Callable[[Path, Path], object] = replace_folder):
    """Yield a temporary folder beside ``place``; on success ``move`` it there, over an older one, else remove it.

    Raises SkinLesionError if the disk is full or the place cannot be written to.
    """
    place, temporary = Path(place), None
    with write_errors(place):
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}.", suffix=".partial"))
            yield temporary
            temporary.chmod(0o755)
            move(temporary, place)
        finally:
            if temporary:
                shutil.rmtree(temporary, ignore_errors=True)


def cache_folder() -> Path:
    """Where demo images and decoded pixels live: ``SKINLESION_CACHE``, else ``~/.cache/skinlesion``."""
    return Path(os.environ.get("SKINLESION_CACHE") or Path.home() / ".cache" / "skinlesion").expanduser()


@contextmanager
def lock(folder: Path, *, wait: bool = False):
    """Keep a second process out of a folder; the system releases the lock when its holder ends, even killed.

    With ``wait``, wait for that process to end instead of raising an error. Raises SkinLesionError if another process
    holds it, or the folder cannot be written to.
    """
    import fcntl  # there is none on Windows, where the rest of this module is needed to predict

    with write_errors(folder, "choose another folder"):
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / ".lock", "a+")  # noqa: SIM115, closed below
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise SkinLesionError(
                f"process {holder} is at work in {folder}; wait for it to end or choose another --run"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
