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
from typing import TYPE_CHECKING

import numpy as np

from skinlesion.core import framing, images
from skinlesion.core.errors import DataError, ImageError
from skinlesion.core.images import image_name, is_image, read_bytes, slashes, split_member, without_ending
from skinlesion.core.tables import need_columns, need_rows, read_table

if TYPE_CHECKING:
    import pandas as pd

DEPTH = 3  # levels of subfolders that are searched: enough for every known download, and quick on a home folder
TABLES = (".csv", ".tab", ".tsv", ".txt")

# Why a file or folder is left out; problems that the data check counts.
UNREAD_FORMAT = "format that is not read"
TOO_DEEP = "folder too deep"
LINK = "link that leads nowhere or back"
HIDDEN = "hidden image"
UNREAD_ARCHIVE = "archive that is not read"
SEVERAL_SIZES = "several sizes of one image"
SEVERAL_FILES = "several images for one id"

# What lies beside images without being one; counted, no problem.
MASK, THUMBNAIL, COPY, OTHER = "mask", "thumbnail", "identical copy", "other file"

_IMAGES_UNREAD = {
    ".heic": "HEIC", ".heif": "HEIC", ".avif": "AVIF", ".gif": "GIF", ".jp2": "JPEG 2000", ".j2k": "JPEG 2000",
    ".jxl": "JPEG XL", ".dcm": "DICOM", ".dicom": "DICOM", ".cr2": "raw", ".cr3": "raw", ".nef": "raw", ".arw": "raw",
    ".dng": "raw", ".raw": "raw", ".psd": "Photoshop", ".svg": "SVG", ".ico": "icon", ".ppm": "PPM", ".pgm": "PGM",
}  # fmt: skip
_ARCHIVES_UNREAD = (".rar", ".7z", ".tar", ".gz", ".tgz", ".bz2", ".xz")
_MASKS = re.compile(r"(^|[^a-z])(masks?|segmentations?|segm?|superpixels?|annotations?)([^a-z]|$)", re.IGNORECASE)
_MASK_NAME = re.compile(r"[_-](segmentation|mask|seg)$", re.IGNORECASE)
_THUMBNAILS = re.compile(r"(^|[^a-z])(thumb(nail)?s?|previews?|icons?)([^a-z]|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Files:
    """What a folder, with its zip archives, or one archive holds."""

    place: Path
    #: all files that can be read, as paths that :func:`skinlesion.core.images.read_bytes` takes; those
    #: that lie higher come first, then by name
    paths: list[str]
    #: list of (path, problem, detail): files and folders that may hold images, and why they are left out
    left_out: list[tuple[str, str, str]] = field(default_factory=list)

    _inner: dict[str, str] = field(default_factory=dict, init=False)

    @cached_property
    def _is_folder(self) -> bool:
        return self.place.is_dir()

    def inner(self, path: str) -> str:
        """The path below the data set's place, an archive in the way as if it were a folder: ``part_1/ISIC_1.jpg``."""
        if path not in self._inner:
            self._inner[path] = self._below(path)
        return self._inner[path]

    def _below(self, path: str) -> str:
        archive, member = split_member(path)
        name = os.path.relpath(archive or member, self.place) if self._is_folder else ""
        if archive:
            name = f"{name[:-4]}/{member}" if name else member
        return slashes(name) or file_name(path)

    @cached_property
    def images(self) -> list[str]:
        """The files that are images by name, without masks and thumbnails."""
        return [path for path in self.paths if is_image(path) and not self._beside(path)]

    def _beside(self, path: str) -> str:
        """MASK or THUMBNAIL where a file's name or a folder above it says so."""
        folder, _, name = without_ending(self.inner(path)).rpartition("/")
        if _MASKS.search(folder) or _MASK_NAME.search(name):
            return MASK
        return THUMBNAIL if _THUMBNAILS.search(folder) else ""

    @cached_property
    def beside(self) -> Counter:
        """How many files of each other sort there are: masks, thumbnails, and others by their ending."""
        count: Counter = Counter()
        for path in self.paths:
            sort = self._beside(path) if path.lower().endswith(images.SUFFIXES) else ""
            if sort or not is_image(path):
                ending = PurePosixPath(file_name(path)).suffix.lower()
                count[sort or (f"{ending} file" if ending else OTHER)] += 1
        return count

    def table(self, name: str) -> str | None:
        """The file called ``name``, whatever its case, with one of :data:`TABLES` as its ending or none."""
        wanted = {name.lower() + ending for ending in ("", *TABLES)}
        return next((path for path in self.paths if file_name(path).lower() in wanted), None)

    def read(self, name: str, columns: tuple[str, ...], hint: str) -> pd.DataFrame:
        """The table called ``name``; DataError, with the ``hint``, unless it has these columns, and rows."""
        path = self.table(name)
        if path is None:
            raise DataError(f"{self.place} holds no {name}.csv; {hint}")
        table = need_rows(read_table(path), path)
        need_columns(table, columns, path)
        return table

    def has_column(self, name: str, column: str) -> bool:
        """Whether the folder has a table called ``name`` with this column."""
        path = self.table(name) if self.place.is_dir() else None
        try:
            return path is not None and column in read_table(path)
        except DataError:
            return False


def find_files(place: Path) -> Files:
    """List a folder, :data:`DEPTH` levels deep, with the zip archives in it; or one zip archive; or one file.

    Links are followed. Hidden files that are no images, and what macOS adds to archives, are no part of a data set.
    Raises DataError where an archive is damaged.
    """
    place = place.resolve()
    paths: list[str] = []
    left_out: list[tuple[str, str, str]] = []
    for path, problem in _walk(place):
        problem = problem or _not_read(path)
        if problem:
            left_out.append((path, *problem))
        elif file_name(path).startswith("."):
            continue
        elif path.lower().endswith(".zip") and not split_member(path)[0]:
            found = list(_members(path))
            paths += [member for member, trouble in found if not trouble]
            left_out += [(member, *trouble) for member, trouble in found if trouble]
        else:
            paths.append(path)
    return Files(place, sorted(paths, key=lambda path: (path.replace("!", "/").count("/"), path)), left_out)


def _not_read(path: str) -> tuple[str, str] | None:
    """Why a file that may hold images is left out, by its name; None for all others."""
    name = file_name(path)
    ending = PurePosixPath(name).suffix.lower()
    if name.startswith("."):
        mac = name.startswith("._")  # a Mac's note about another file
        return (HIDDEN, "its name begins with a point; rename it") if is_image(name) and not mac else None
    if ending in _IMAGES_UNREAD:
        return UNREAD_FORMAT, f"{_IMAGES_UNREAD[ending]}; save it as JPEG or PNG"
    if ending in _ARCHIVES_UNREAD:
        return UNREAD_ARCHIVE, f"{ending[1:]}; unpack it"
    return None


def _walk(place: Path) -> Iterator[tuple[str, tuple[str, str] | None]]:
    """Every file below a folder, or why something there is left out. Links are followed, but not in a circle."""
    if place.is_file():
        yield str(place), None
        return
    waiting: list[tuple[Path, tuple]] = [(place, ())]
    while waiting:
        folder, above = waiting.pop()
        status = folder.stat()
        if (status.st_dev, status.st_ino) in above:
            yield str(folder), (LINK, "it leads back to a folder that it is in")
            continue
        above, depth = (*above, (status.st_dev, status.st_ino)), len(above)
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(f"{folder} cannot be listed ({error.strerror}); check its permissions") from None
        for entry in entries:
            problem = _not_walked(entry, depth, place)
            if problem or entry.is_file():
                yield entry.path, problem
            elif not entry.name.startswith(".") and entry.name != "__MACOSX":
                waiting.append((Path(entry.path), above))


def _not_walked(entry: os.DirEntry, depth: int, place: Path) -> tuple[str, str] | None:
    """Why a folder's entry is neither a file to read nor a folder to walk; None where it is, or holds no images."""
    if entry.is_dir():
        if entry.name.startswith("."):
            return (HIDDEN, "a hidden folder with images; rename it") if _holds_images(entry.path) else None
        if depth == DEPTH and entry.name != "__MACOSX":
            return TOO_DEEP, f"more than {DEPTH} folders below {place}; name a folder nearer to it"
        return None
    if entry.is_file():
        return None
    if entry.is_symlink():
        return LINK, "there is nothing where it leads"
    return UNREAD_FORMAT, "it is no regular file"  # reading a pipe or a device would never end


def _holds_images(folder: str) -> bool:
    try:
        return any(is_image(name) and not name.startswith("._") for name in os.listdir(folder))  # noqa: PTH208
    except OSError:
        return False


def _members(path: str) -> Iterator[tuple[str, tuple[str, str] | None]]:
    """The files in a zip archive, or why one is left out."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
    except Exception as error:  # a damaged directory raises many kinds
        raise DataError(f"{path} is damaged ({error}); download it again") from None
    for name, count in Counter(names).items():
        parts = PurePosixPath(name).parts
        if not parts or "__MACOSX" in parts or parts[-1].startswith("."):
            continue
        if PurePosixPath(name).suffix.lower() in (".zip", *_ARCHIVES_UNREAD):
            yield f"{path}!{name}", (UNREAD_ARCHIVE, "an archive within an archive: unpack the outer one")
        elif problem := _not_read(name):
            yield f"{path}!{name}", problem
        else:
            if count > 1:
                yield f"{path}!{name}", (SEVERAL_FILES, f"{count} files of this name in the archive; the last is used")
            yield f"{path}!{name}", None


def file_name(path: str) -> str:
    """The last part of a path on disk or in an archive (``a.zip!b/c.jpg`` -> ``c.jpg``)."""
    name = path.replace(os.sep, "/").rpartition("/")[2]
    return PurePosixPath(split_member(path)[1]).name if "!" in name else name


def stem(path: str) -> str:
    """:func:`file_name` without its ending."""
    return PurePosixPath(file_name(path)).stem


@dataclass
class ImageIndex:
    """Which file an image id means.

    Of several files for one id, a mask is never it, identical copies count once, and of one picture in several sizes
    the largest is taken. Different pictures are refused: the id then means no file.
    """

    files: Files
    paths: list[str]
    #: dict id -> (problem, detail): what was resolved (SEVERAL_SIZES) or refused (SEVERAL_FILES) of the ids that were
    #: looked up
    notes: dict[str, tuple[str, str]] = field(default_factory=dict)
    copies: int = 0  # files that are identical to the one that is used
    _found: dict[str, str] = field(default_factory=dict, init=False)
    _considered: set[str] = field(default_factory=set, init=False)

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        named: dict[str, list[str]] = {}
        for path in self.paths:
            named.setdefault(image_name(file_name(path)).casefold(), []).append(path)
        return named

    def unused(self, used: Iterable[str]) -> list[str]:
        """The images that are neither among ``used`` nor were a choice for an id that was looked up."""
        gone = self._considered.union(used)
        return [path for path in self.paths if path not in gone]

    def find(self, name: str) -> str:
        """The path of the image with this id (ending, folder and case don't matter); ``""`` where there is none."""
        key = image_name(name).casefold()
        if key not in self._found:
            self._found[key] = self.choose(name, self._by_name.get(key, []))
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
        listed = ", ".join(self.files.inner(path) for path in distinct[:4])
        if best:
            self.notes[name] = (SEVERAL_SIZES, f"{self.files.inner(best)} of {listed}: {why}")
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
    frames = {}
    for path in paths:
        try:
            frames[path] = images.read(path)
        except ImageError:
            return "", ""
    pictures = {path: frame for path, frame in frames.items() if not _is_mask(frame)}
    if not pictures:
        return "", ""
    order = sorted(pictures, key=lambda path: -pictures[path].shape[0] * pictures[path].shape[1])
    same = all(_same_picture(pictures[order[0]], pictures[path]) for path in order[1:])
    masks = len(pictures) < len(frames)
    why = "the others are masks" if masks and len(order) == 1 else "the largest picture"
    return (order[0], why) if same else ("", "")


def _is_mask(frame: np.ndarray) -> bool:
    """Whether a frame (uint8 [H, W, 3]) is black and white, but for what compression adds."""
    grey = np.abs(frame.astype(np.int16) - frame[..., :1]).max() <= 8
    return bool(grey and ((frame < 24) | (frame > 231)).mean() > 0.98)


def _same_picture(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two frames show the same picture in other sizes, neither cut nor mirrored."""
    if abs(np.log(a.shape[0] / a.shape[1] * b.shape[1] / b.shape[0])) > 0.03:
        return False
    small, other = (framing.resize(frame, (16, 16)).astype(np.float32) for frame in (a, b))
    return bool(np.sqrt(((small - other) ** 2).mean()) <= 4.0)  # grey levels, as skinlesion.data.overlap measured
