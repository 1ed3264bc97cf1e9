"""The files of a data set: every one found is listed or counted, and every image id means one of them."""

from __future__ import annotations

import hashlib
import os
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skinlesion.core import framing, images
from skinlesion.core.errors import DataError, ImageError
from skinlesion.core.images import folded, image_name, is_image, printable, read_bytes, slashes
from skinlesion.core.tables import id_key, need_columns, need_rows, read_table
from skinlesion.data.problems import (
    HIDDEN,
    LINK,
    SEVERAL_FILES,
    SEVERAL_SIZES,
    TOO_DEEP,
    UNREAD_ARCHIVE,
    UNREAD_FORMAT,
    UNREAD_NAME,
)

if TYPE_CHECKING:
    import pandas as pd

DEPTH = 3  # levels of subfolders that are searched: enough for every known download, and quick on a home folder
TABLES = (".csv", ".tab", ".tsv", ".txt")
WORKBOOKS = (".xlsx", ".xls", ".ods")  # which the reader of tables refuses with the remedy

# What lies beside images without being one; counted, no problem.
MASK, THUMBNAIL, COPY, OTHER = "mask", "thumbnail", "identical copy", "other file"

_IMAGES_UNREAD = {
    ".heic": "HEIC", ".heif": "HEIC", ".avif": "AVIF", ".gif": "GIF", ".jp2": "JPEG 2000", ".j2k": "JPEG 2000",
    ".jxl": "JPEG XL", ".dcm": "DICOM", ".dicom": "DICOM", ".cr2": "raw", ".cr3": "raw", ".nef": "raw", ".arw": "raw",
    ".dng": "raw", ".raw": "raw", ".psd": "Photoshop", ".svg": "SVG", ".ico": "icon", ".ppm": "PPM", ".pgm": "PGM",
}  # fmt: skip
_ARCHIVES_UNREAD = (".rar", ".7z", ".tar", ".gz", ".tgz", ".bz2", ".xz")
_MASKS = re.compile(r"(^|[^a-z])(masks?|segmentations?|segm?|superpixels?|annotations?)([^a-z]|$)", re.IGNORECASE)
_THUMBNAILS = re.compile(r"(^|[^a-z])(thumb(nail)?s?|previews?|icons?)([^a-z]|$)", re.IGNORECASE)


class Found(NamedTuple):
    """A file or folder below a place."""

    path: str
    name: str  # below the place
    problem: str = ""  # why it is left out; empty where it is not
    detail: str = ""


@dataclass(frozen=True)
class Files:
    """What a folder, with its zip archives, or one archive holds; or one file."""

    place: Path
    #: of all files that can be read, those that lie higher first: path, as :func:`skinlesion.core.images.read_bytes`
    #: takes it -> name below the place, an archive in the way as if it were a folder: ``part_1/ISIC_1.jpg``
    names: dict[str, str]
    #: list of (name, problem, detail): files and folders that may hold images, and why they are left out
    left_out: list[tuple[str, str, str]] = field(default_factory=list)

    @cached_property
    def images(self) -> list[str]:
        """The paths of the files that are images by name, without masks and thumbnails."""
        return [path for path, name in self.names.items() if not _beside(name)]

    @cached_property
    def beside(self) -> Counter:
        """How many files of each other kind there are: masks, thumbnails, and others by their ending."""
        return Counter(kind for kind in map(_beside, self.names.values()) if kind)

    @property
    def is_one(self) -> bool:
        """Whether the place is one file, and no archive."""
        return self.place.is_file() and self.place.suffix.lower() != ".zip"

    def table(self, name: str) -> str | None:
        """The file called ``name``, whatever its case, with one of :data:`TABLES` as its ending or none."""
        return next(iter(self._tables(name)), None)

    def _tables(self, name: str) -> list[str]:
        """The files that :meth:`table` may mean: of all that are called so, those that lie highest."""
        wanted = {name.lower() + ending for ending in ("", *TABLES)}
        found = [path for path, one in self.names.items() if one.rpartition("/")[2].lower() in wanted]
        return [path for path in found if self.names[path].count("/") == self.names[found[0]].count("/")]

    def read(self, name: str, columns: tuple[str, ...], hint: str) -> pd.DataFrame:
        """The table called ``name``; DataError, with the ``hint``, unless it has these columns, and rows.

        Raises DataError, too, where another one that lies as high has other values in these columns.
        """
        path, *others = self._tables(name) or [""]
        if not path:
            raise DataError(f"{self.place} holds no {name}.csv; {hint}")
        table = need_rows(read_table(path), path)
        need_columns(table, columns, path)
        for other in others:
            try:
                more = read_table(other)
            except DataError:  # it is no table
                continue
            if set(columns) <= set(more) and not more[list(columns)].equals(table[list(columns)]):
                raise DataError(f"{path} and {other} differ; keep the right one, or give each in a folder of its own")
        return table

    def has_table(self, name: str, column: str = "") -> bool:
        """Whether the folder or archive has a table called ``name``, with this ``column`` where one is given."""
        path = None if self.is_one else self.table(name)
        try:
            return path is not None and (not column or column in read_table(path))
        except DataError:
            return False


def _beside(name: str) -> str:
    """The kind of a file that is no image, by its name and the folders above it; ``""`` for an image."""
    folder, _, file = name.rpartition("/")
    ending = PurePosixPath(file).suffix.lower()
    if ending not in images.SUFFIXES:
        return f"{ending} file" if ending else OTHER
    if _MASKS.search(folder) or not is_image(file):
        return MASK
    return THUMBNAIL if _THUMBNAILS.search(folder) else ""


def find_files(place: Path) -> Files:
    """List a folder, :data:`DEPTH` levels deep, with the zip archives in it; or one zip archive; or one file.

    Links are followed, but not in a circle. Hidden files that are no images, and what macOS adds to archives, are no
    part of a data set. Raises DataError where an archive is damaged or a folder cannot be listed.
    """
    place = place.resolve()
    if printable(place) != str(place):
        raise DataError(f"the name of {printable(place)} is not UTF-8 text; rename it")
    found = list(_walk(place) if place.is_dir() else _file(str(place), place.name, archive=""))
    left_out = [(one.name, one.problem, one.detail) for one in found if one.problem]
    names = {one.path: one.name for one in found if not one.problem}
    return Files(place, dict(sorted(names.items(), key=lambda item: (item[1].count("/"), item[0]))), left_out)


def _walk(folder: Path, inner: str = "", above: tuple[Path, ...] = ()) -> Iterator[Found]:
    """Every file below a folder, whose name below the place is ``inner``; ``above`` are the folders that it is in."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder} cannot be listed ({error.strerror}); check its permissions") from None
    above = (*above, folder.resolve())
    for entry in entries:
        name = inner + entry.name
        try:
            is_file, is_folder = entry.is_file(), entry.is_dir()
        except OSError as error:
            yield Found(entry.path, printable(name), LINK, f"it cannot be followed ({error.strerror})")
            continue
        if printable(name) != name:
            yield Found(entry.path, printable(name), UNREAD_NAME, "its name is not UTF-8 text; rename it")
        elif is_file:
            yield from _file(entry.path, name, archive=f"{name[:-4]}/")
        elif not is_folder:  # reading a pipe or a device would never end
            if entry.is_symlink():
                yield Found(entry.path, name, LINK, "there is nothing where it leads")
            else:
                yield Found(entry.path, name, UNREAD_FORMAT, "it is not a regular file")
        elif entry.name.startswith("."):
            if _holds_images(entry.path):
                yield Found(entry.path, name, HIDDEN, "a hidden folder with images; rename it")
        elif entry.name == "__MACOSX":
            continue
        elif len(above) > DEPTH:
            detail = f"more than {DEPTH} folders below {above[0]}; name a folder nearer to it"
            yield Found(entry.path, name, TOO_DEEP, detail)
        elif Path(entry.path).resolve() in above:
            yield Found(entry.path, name, LINK, "it leads back to a folder that it is in")
        else:
            yield from _walk(Path(entry.path), f"{name}/", above)


def _holds_images(folder: str) -> bool:
    try:
        return any(is_image(name) and not name.startswith("._") for name in os.listdir(folder))  # noqa: PTH208
    except OSError:
        return False


def _file(path: str, name: str, archive: str | None = None) -> Iterator[Found]:
    """One file, or those in it: names of a zip's members begin with ``archive``; None: it is a member itself."""
    file = PurePosixPath(name)
    ending = file.suffix.lower()
    if file.name.startswith("."):
        if is_image(file.name) and not file.name.startswith("._"):  # such as a Mac's note about another file
            yield Found(path, name, HIDDEN, "its name begins with a point; rename it")
    elif archive is None and ending in (".zip", *_ARCHIVES_UNREAD):
        yield Found(path, name, UNREAD_ARCHIVE, "an archive within an archive: unpack the outer one")
    elif ending in _ARCHIVES_UNREAD:
        yield Found(path, name, UNREAD_ARCHIVE, f"{ending[1:]}; unpack it")
    elif ending in _IMAGES_UNREAD:
        yield Found(path, name, UNREAD_FORMAT, f"{_IMAGES_UNREAD[ending]}; save it as JPEG or PNG")
    elif archive is not None and ending == ".zip":
        yield from _members(path, archive)
    else:
        yield Found(path, name)


def _members(path: str, archive: str) -> Iterator[Found]:
    """The files in a zip archive."""
    try:
        with zipfile.ZipFile(path) as opened:
            members = [info for info in opened.infolist() if not info.is_dir()]
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); check its permissions") from None
    except Exception as error:  # a damaged directory raises many kinds
        raise DataError(f"{path} is damaged ({error}); download it again") from None
    versions: dict[str, set[int]] = {}
    for info in members:
        versions.setdefault(info.filename, set()).add(info.CRC)
    for name, encrypted in {info.filename: info.flag_bits & 1 for info in members}.items():
        parts = PurePosixPath(name).parts
        if not parts or "__MACOSX" in parts or parts[-1].startswith("."):
            continue
        member, inner = f"{path}!{name}", archive + slashes(name).lstrip("/")
        if encrypted:
            yield Found(member, inner, UNREAD_ARCHIVE, "it is encrypted; unpack it with its password")
        elif len(versions[name]) > 1:
            detail = (
                f"{len(versions[name])} different files of this name in the archive; pack it anew with the right one"
            )
            yield Found(member, inner, SEVERAL_FILES, detail)
        else:
            yield from _file(member, inner)


class ImageIndex:
    """Which file an image id means.

    Of several files for one id, a mask is never it, identical copies count once, and of one picture in several sizes
    the largest is taken. Different pictures are refused: the id then means no file.

    Attributes
    ----------
    paths : list of str, the images that there are: those of ``files``, unless others are given
    notes : dict id -> (problem, detail)
        What was resolved (SEVERAL_SIZES) or refused (SEVERAL_FILES) of the ids that were looked up.
    copies : int, files that are identical to the one that is used
    """

    def __init__(self, files: Files, paths: list[str] | None = None):
        self.files, self.paths = files, files.images if paths is None else paths
        self.notes: dict[str, tuple[str, str]] = {}
        self.copies = 0
        self._found: dict[str, str] = {}
        self._considered: set[str] = set()
        self._by_name: dict[str, list[str]] = {}
        self._by_key: dict[str, list[str]] = {}
        for path in self.paths:
            name = folded(image_name(files.names[path]))
            self._by_name.setdefault(name, []).append(path)
            self._by_key.setdefault(id_key(name), []).append(path)

    def unused(self, used: Iterable[str]) -> list[str]:
        """The images that are neither among ``used`` nor were a choice for an id that was looked up."""
        gone = self._considered.union(used)
        return [path for path in self.paths if path not in gone]

    def find(self, name: str) -> str:
        """The path of the image with this id (ending, folder and case don't matter); ``""`` where there is none.

        A number that is no name is the name of the same value: 7 is 007, whose zeros a spreadsheet took.
        """
        key = folded(image_name(name))
        if key not in self._found:
            self._found[key] = self.choose(name, self._by_name.get(key) or self._by_key.get(id_key(key), []))
        return self._found[key]

    def choose(self, name: str, candidates: list[str]) -> str:
        """The one file among several for the id ``name``, ``""`` where none or no single one is it."""
        self._considered.update(candidates)
        if len(candidates) < 2:
            return candidates[0] if candidates else ""
        distinct = _distinct(candidates)
        self.copies += len(candidates) - len(distinct)
        if len(distinct) == 1:
            return distinct[0]
        best, why = _largest(distinct)
        names = self.files.names
        listed = ", ".join(names[path] for path in distinct[:4])
        if best:
            self.notes[name] = (SEVERAL_SIZES, f"{names[best]} of {listed}: {why}")
        else:
            self.notes[name] = (SEVERAL_FILES, f"{listed} are different images; keep one, or name its folder too")
        return best


def _distinct(paths: list[str]) -> list[str]:
    """The first of each group of files with identical bytes; a file that cannot be read is one of its own."""
    seen: dict[object, str] = {}
    for path in paths:
        try:
            seen.setdefault(hashlib.sha256(read_bytes(path)).digest(), path)
        except ImageError:
            seen.setdefault(path, path)
    return list(seen.values())


def _largest(paths: list[str]) -> tuple[str, str]:
    """The largest of several files that show one picture, and why the others are not it; ``""`` where they differ."""
    try:
        pictures = {path: frame for path in paths if not is_mask(frame := images.read_image(path))}
    except ImageError:
        return "", ""
    order = sorted(pictures, key=lambda path: -pictures[path].shape[0] * pictures[path].shape[1])
    if not order or not all(_same_picture(pictures[order[0]], pictures[path]) for path in order[1:]):
        return "", ""
    return order[0], "the others are masks" if len(order) == 1 else "the largest picture"


def is_mask(frame: np.ndarray) -> bool:
    """Whether a frame (uint8 [H, W, 3]) is black and white, but for what compression adds."""
    for part in (frame[::8, ::8], frame):  # the few pixels show of almost every image that it is none
        if np.ptp(part, axis=2).max() > 16 or ((part < 24) | (part > 231)).mean() <= (0.98 if part is frame else 0.9):
            return False
    return True


def _same_picture(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two frames show the same picture in other sizes, neither cut nor mirrored."""
    if abs(np.log(a.shape[0] / a.shape[1] * b.shape[1] / b.shape[0])) > 0.03:
        return False
    small, other = (framing.resize(frame, (16, 16)).astype(np.float32) for frame in (a, b))
    return bool(np.sqrt(((small - other) ** 2).mean()) <= 4.0)  # grey levels, as skinlesion.external_images measured
