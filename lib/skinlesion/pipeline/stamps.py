"""When is a notebook up to date? Hashes of what it depends on."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from skinlesion.core.config import Config, parse_place
from skinlesion.core.errors import DataError

PLOTS = "evaluation/plots"
# A pattern, no parser: a notebook's cells may hold IPython's own commands.
_IMPORT = re.compile(r"^[ \t]*(?:from|import) (skinlesion[\w.]*)(?: import (\([^)]*\)|.+))?", re.M)


def data_fingerprint(config: Config) -> str:
    """SHA-256 over the names, sizes and times of all sources' files, and the content of a given split file.

    Cheap by design: no image is read. The demo set is made by the library, whose code is hashed elsewhere. Raises
    DataError if the system refuses to read one of them.
    """
    digest = hashlib.sha256()
    try:
        for place in config.data:
            if place.startswith("demo"):
                digest.update(f"{place}\n".encode())
                continue
            kind, root = parse_place(place)
            digest.update(f"{kind}:\n".encode())
            for path in _files(root):
                stat = path.stat()
                digest.update(f"{path.relative_to(root)}|{stat.st_size}|{stat.st_mtime_ns}\n".encode())
        if config.split_file:
            digest.update(Path(config.split_file).read_bytes())
    except OSError as error:
        raise DataError(f"the data cannot be read: {error}; check its place and its permissions") from None
    return digest.hexdigest()


def files_digest(root: Path, names: Iterable[str]) -> str:
    """SHA-256 over the content of the named files, and of all files in the named folders, below ``root``."""
    digest = hashlib.sha256()
    for name in names:
        for path in _files(root / name):
            content = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "missing"
            digest.update(f"{path.relative_to(root)}|{content}\n".encode())
    return digest.hexdigest()


def _files(place: Path) -> list[Path]:
    return sorted(path for path in place.rglob("[!.]*") if path.is_file()) if place.is_dir() else [place]


def used_files(code: str, library: Path) -> list[str]:
    """The package's files that some code imports, directly or not, and the data files that lie beside them, sorted.

    Paths are relative to ``library``, the package's folder. Figures count for themselves: from :data:`PLOTS` no import
    is followed out.
    """
    # the package's own __init__ names what it offers, and loads none of it
    modules = {*library.rglob("*.py")} - {library / "__init__.py"}
    used: set[Path] = set()
    waiting = _imported(code, library) & modules
    while waiting:
        path = waiting.pop()
        used.add(path)
        found = _imported(path.read_text(encoding="utf-8"), library) & modules - used
        waiting |= {one for one in found if PLOTS not in path.as_posix() or PLOTS in one.as_posix()}
    folders = {path.parent for path in used} - {library}
    used |= {path for folder in folders for path in _files(folder) if path.suffix not in (".py", ".pyc")}
    return sorted(path.relative_to(library).as_posix() for path in used)


def _imported(code: str, library: Path) -> set[Path]:
    """Where the modules that some code names in its imports would lie, and the packages that these are in."""
    found = set()
    for module, names in _IMPORT.findall(code):
        for name in ("", *re.findall(r"\w+", names)):
            place = library.joinpath(*module.split(".")[1:], name)
            found |= {place.with_suffix(".py"), *(folder / "__init__.py" for folder in (place, *place.parents))}
    return found
