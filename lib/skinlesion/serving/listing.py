"""Where batch scoring takes its images from: folders, zips, patterns and URLs, one after the other.

Nothing here holds all of a source: images come as a stream, in the same order whenever the source is the same. What
grows is the listing of the largest single folder or archive: here by names alone, in a store by 1 kB an image.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from pathlib import PurePosixPath
from typing import NamedTuple

from skinlesion.core.errors import DataError, ImageError, SkinLesionError
from skinlesion.core.images import MAX_BYTES, SUFFIXES, check_size, is_image, printable, slashes
from skinlesion.core.storage import is_local, is_url, resolve

FETCHED_FILES = 32  # read ahead together, and from a store at once
FETCHED_BYTES = 2 * MAX_BYTES
# Threads at work in different parts of a far archive each come back to a block that is here already.
BLOCK_BYTES, BLOCKS = 4 * 2**20, 24
# What stores call a hash or a time of a file.
_MARKS = (
    "ETag", "etag", "Content-MD5", "md5Hash", "mtime", "LastModified", "Last-Modified", "last_modified", "updated",
)  # fmt: skip


class Item(NamedTuple):
    """One image that is still a file: a path or URL, and the member where that is an archive.

    ``mark`` changes when the file does: a store's hash, or a time. ``size`` is in bytes, None where it is unknown.
    """

    url: str
    member: str
    size: int | None
    mark: str

    @property
    def path(self) -> str:
        return printable(f"{self.url}!{self.member}" if self.member else self.url)

    @property
    def name(self) -> str:
        """The file's name without its ending: the image's id in HAM10000 and the ISIC Archive."""
        return printable(PurePosixPath(slashes(self.member or self.url)).stem)


class Survey:
    """How many images passed, and a fingerprint over their names, sizes and marks."""

    def __init__(self):
        self.images = 0
        self._digest = hashlib.sha256()

    def watch(self, items: Iterator[Item]) -> Iterator[Item]:
        for item in items:
            self.images += 1
            self._digest.update(f"{item.path}|{item.size}|{item.mark}\n".encode(errors="surrogateescape"))
            yield item

    @property
    def fingerprint(self) -> str:
        return self._digest.hexdigest()


def listing(sources: Sequence[str], passed_over: Counter[str] | None = None) -> Iterator[Item]:
    """The images of all sources, in a fixed order.

    A source is a folder (looked through to the bottom, archives in it too), a ``.zip`` file, a single image, or a
    pattern with ``*``, ``?`` and ``[…]``; each as a path or a URL. In folders and archives, files that are not named as
    images are passed over, and so are hidden ones and links to folders; ``passed_over`` counts them by kind. Raises
    DataError if there is nothing at a source, or no image in it, or an archive is damaged; SkinLesionError if it is a
    URL that cannot be reached.
    """
    passed_over = Counter() if passed_over is None else passed_over
    for source in sources:
        files, path = resolve(source)
        empty = True
        try:
            for entry in _matches(files, path, source):
                for item in _images_at(files, entry, passed_over):
                    empty = False
                    yield item
        except SkinLesionError:
            raise
        except FileNotFoundError:
            raise DataError(
                f"there is nothing at {source!r}; name a folder, a .zip, an image, a pattern or a URL"
            ) from None
        except Exception as error:  # every store has its own kinds
            raise DataError(
                f"{source!r} cannot be listed ({str(error) or type(error).__name__}); check its name, its "
                "permissions and your credentials"
            ) from error
        if empty:
            raise DataError(f"no images in {source!r}: none is named {', '.join(SUFFIXES)}")


def _matches(files, path: str, source: str) -> list[dict]:
    """What a source names: itself, or what matches it."""
    from fsspec.core import has_magic

    if not has_magic(path) or files.exists(path):
        return [files.info(path)]
    found = sorted(files.glob(path, detail=True).values(), key=lambda entry: entry["name"])
    if not found:
        raise DataError(f"nothing matches {source!r}; put quotes around a pattern and check its folder")
    return found


def _images_at(files, entry: dict, passed_over: Counter[str]) -> Iterator[Item]:
    """The images in a folder or archive, or the image itself."""
    name = entry["name"]
    plain = name.partition("?")[0]  # a signed URL goes on after a question mark
    if entry["type"] == "directory":
        for inner in _contents(files, name):
            if inner["name"].rstrip("/") == name.rstrip("/"):
                continue
            hidden = PurePosixPath(inner["name"]).name.startswith(".")
            if inner["type"] == "directory" and (hidden or inner.get("islink")):  # a link may lead back up
                passed_over["hidden folder" if hidden else "linked folder"] += 1
            elif not hidden or _wanted(inner["name"], passed_over):
                yield from _images_at(files, inner, passed_over)
    elif plain.lower().endswith(".zip"):
        archive = _item(files, entry)
        infos = _archive(archive.url, archive.mark).infolist()
        members = {info.filename: info for info in infos}  # of several of one name, the last is what reading it gives
        if again := len(infos) - len(members):
            passed_over["older file of the same name"] += again
        for info in members.values():
            if _wanted(info.filename, passed_over):
                yield Item(archive.url, info.filename, info.file_size, archive.mark)
    elif _wanted(plain, passed_over):
        yield _item(files, entry)


def _contents(files, folder: str) -> Iterator[dict]:
    """What a folder holds, by name. Of a folder here the names alone are held, a tenth of all entries."""
    if not is_local(files):
        yield from sorted(files.ls(folder, detail=True), key=lambda inner: inner["name"])
        return
    with os.scandir(folder) as found:
        names = sorted(inner.name for inner in found)
    for name in names:
        path = f"{folder.rstrip('/')}/{name}"
        try:
            yield files.info(path)
        except OSError:  # a link that leads nowhere, or just removed: reading it reports that
            yield {"name": path, "type": "file"}


def _item(files, entry: dict) -> Item:
    url = entry["name"] if is_local(files) else files.unstrip_protocol(entry["name"])
    mark = next((str(entry[name]) for name in _MARKS if entry.get(name)), "")
    return Item(url, "", entry.get("size"), mark)


def _wanted(name: str, passed_over: Counter[str]) -> bool:
    """Whether a file is named as an image; others are counted by their endings, but for what macOS adds."""
    path = PurePosixPath(slashes(name))
    hidden, image, ending = path.name.startswith("."), is_image(path.name), path.suffix.lower()
    if image and not hidden and "__MACOSX" not in path.parts:
        return True
    no_file = slashes(name).endswith("/") or "__MACOSX" in path.parts or path.name.startswith("._")
    if not no_file and (image or not hidden):
        kind = "hidden image" if hidden else "mask" if ending in SUFFIXES else f"{ending} file".strip()
        passed_over[kind] += 1
    return False


# Opening an archive means reading its whole directory. The mark keeps a changed one from being taken for the old.
@lru_cache(maxsize=16)
def _archive(url: str, mark: str) -> zipfile.ZipFile:
    files, path = resolve(url)
    far = {"block_size": BLOCK_BYTES, "cache_type": "blockcache", "cache_options": {"maxblocks": BLOCKS}}
    try:
        return zipfile.ZipFile(path if is_local(files) else files.open(path, "rb", **far))
    except Exception as error:
        hint = "; a web server must let parts of a file be read (Accept-Ranges): if it does not, download it first"
        raise DataError(f"the archive {url} cannot be opened ({error}){hint if is_url(url) else ''}") from error


def fetch(items: Sequence[Item]) -> Iterator[bytes | ImageError]:
    """The encoded bytes of each item in order, or why this one cannot be had.

    Raises DataError if a store fails for reasons other than the image, such as a broken connection: trying again helps.
    """
    for archived, group in groupby(items, key=lambda item: item.url if item.member else ""):
        for chunk in _chunks(list(group)):
            yield from map(_member, chunk) if archived else _files(chunk)


def _chunks(items: list[Item]) -> Iterator[list[Item]]:
    """Runs of items that are read together: few enough for the memory."""
    chunk, size = [], 0
    for item in items:
        chunk.append(item)
        size += item.size or 0
        if len(chunk) == FETCHED_FILES or size > FETCHED_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _files(items: list[Item]) -> list[bytes | ImageError]:
    found: dict[str, bytes | Exception] = {}
    fitting = [item for item in items if not _too_large(item)]
    for _, group in groupby(fitting, key=lambda item: item.url.partition("://")[0] if is_url(item.url) else ""):
        near = list(group)
        files = resolve(near[0].url)[0]
        # To name the end spares stores the question for it, one request an image.
        ends = [item.size or None for item in near]
        starts = [0 if end else None for end in ends]
        contents = files.cat_ranges([resolve(item.url)[1] for item in near], starts, ends, on_error="return")
        found |= dict(zip((item.url for item in near), contents, strict=True))
    return [_too_large(item) or _checked(item, found[item.url]) for item in items]


def _member(item: Item) -> bytes | ImageError:
    if refused := _too_large(item):
        return refused
    try:
        return _archive(item.url, item.mark).read(item.member)
    except Exception as error:
        return _checked(item, error)


def _too_large(item: Item) -> ImageError | None:
    """Refuse by the listed size what ``decode`` would refuse once it is in memory."""
    try:
        check_size(item.size or 0)
    except ImageError as error:
        return error
    return None


def _checked(item: Item, found: bytes | Exception) -> bytes | ImageError:
    """The bytes, or the error: an ImageError for a fault of one image, a DataError for one of the connection."""
    if not isinstance(found, Exception):
        return found
    if isinstance(found, FileNotFoundError | KeyError):
        return ImageError("missing", f"there is no image at {item.path}")
    # a damaged, encrypted or oddly compressed member; a file that may not be read
    about_it = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, PermissionError)
    if isinstance(found, about_it) or (isinstance(found, OSError) and not is_url(item.url)):
        return ImageError("unreadable", printable(f"{item.path} cannot be read ({found})"))
    raise DataError(
        f"{item.path} could not be fetched ({found or type(found).__name__}); the same command continues from here"
    ) from found
