"""When is a notebook up to date? Hashes of what it depends on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from skinlesion.core.config import Config, split_kind
from skinlesion.core.errors import DataError


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
            kind, root = split_kind(place)
            digest.update(f"{kind}:\n".encode())
            files = [path for path in root.rglob("[!.]*") if path.is_file()] if root.is_dir() else [root]
            for path in sorted(files):
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
        place = root / name
        files = sorted(path for path in place.rglob("[!.]*") if path.is_file()) if place.is_dir() else [place]
        for path in files:
            if "__pycache__" not in path.parts:
                digest.update(f"{path.relative_to(root)}|{_file_digest(path)}\n".encode())
    return digest.hexdigest()


def _file_digest(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return "missing"
