"""The one door for image bytes: training, apps and batch scoring read every image through :func:`decode`."""

from __future__ import annotations

import io
import re
import threading
import unicodedata
import warnings
import zipfile
from collections.abc import Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.Image import Transpose
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    COMPRESSION,
    PHOTOMETRIC_INTERPRETATION,
    PLANAR_CONFIGURATION,
    TiffImageFile,
)

from skinlesion.core import container
from skinlesion.core.colour import to_srgb
from skinlesion.core.errors import ImageError

FORMATS = ("JPEG", "PNG", "WEBP")
#: Files of our own may be BMP (PH2's are) and TIFF too. No upload may: TIFF's decoder writes to
#: standard error what it finds wrong with a file, and lists of a million frames keep it busy for minutes.
FILE_FORMATS = (*FORMATS, "BMP", "TIFF")
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff")
MAX_BYTES = 20 * 1024 * 1024  # of one encoded image
MAX_PIXELS = 40_000_000  # of one decoded image; a 4000x3000 photograph has 12 million
MIN_SIDE = 16  # pixels


# Pillow warns of large pictures and of broken EXIF; our own limits decide. Not around each decoding: threads that
# decode at once would undo each other's filters, and end with one that silences the whole process.
warnings.filterwarnings("ignore", module="PIL")


def decode(
    data: bytes,
    *,
    max_bytes: int = MAX_BYTES,
    max_pixels: int = MAX_PIXELS,
    formats: tuple[str, ...] = FORMATS,
    sufficient_side: int = 0,
) -> np.ndarray:
    """Decode an encoded image into RGB, upright and without its metadata: uint8 [H, W, 3].

    The content decides the format, sizes are checked before anything is decoded, the EXIF orientation is applied,
    transparency is laid over white, 16-bit and CMYK are converted, and colours of an embedded RGB profile (Display P3,
    Adobe RGB) become sRGB (:mod:`skinlesion.core.colour`).

    Parameters
    ----------
    data : bytes, the whole file
    max_bytes, max_pixels : int, the largest file, and picture (width x height), that are accepted
    formats : tuple of str, what is accepted, by Pillow's names
    sufficient_side : int
        Pixels of the shorter side that are enough, 0 for all there are. A JPEG is decoded at a half, a quarter or an
        eighth of its size where that leaves so many; any other image, and smaller ones, at their own.

    Raises
    ------
    ImageError
        With a ``code`` that names the limit that the file breaks.
    """
    check_size(len(data), max_bytes)
    if not data:
        raise ImageError("unreadable", "the file is empty; choose another one")
    if other := container.unsupported_format(data):
        raise _unsupported(f"this is {other}, which is not read")
    try:
        picture, turn, profile = container.picture(data)
        with Image.open(io.BytesIO(picture), formats=formats) as image:
            _check_header(image, len(picture), max_pixels)
            profile = profile or image.info.get("icc_profile")
            if image.format == "WEBP":
                turn = container.orientation(image.info.get("exif", b""))
            if sufficient_side:
                fraction = max(1, min(image.size) // sufficient_side)
                width, height = (length // fraction for length in image.size)
                image.draft(image.mode, (width, height))  # a JPEG takes the largest of 1, 2, 4, 8 that leaves this
            deep = bool(image.tile) and ";16" in str(image.tile[0][3])  # what its 8 bits are made of
            image.load()
            if deep and _is_unfilled(image):
                raise _unsupported("this holds 16 bits a channel but uses 12 or fewer, and would come out almost black")
            if _end_is_missing(image, picture):
                raise container.damaged()
            frame = to_srgb(_to_rgb(image), profile)
            return np.asarray(Image.fromarray(frame).transpose(_TURNS[turn])) if turn in _TURNS else frame
    except ImageError:
        raise
    except Image.UnidentifiedImageError:
        raise _unsupported(f"the file is not a {format_names(formats)} image") from None
    except Image.DecompressionBombError:
        raise ImageError("too-many-pixels", f"the image has more than {max_pixels:,} pixels") from None
    except Exception:  # Pillow raises many kinds on broken files; none may reach a user as a traceback
        raise container.damaged() from None


def encode(picture: Image.Image, kind: str, **options) -> bytes:
    """A picture as a file, of the kind and with the options that Pillow knows by these names."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def format_names(formats: tuple[str, ...] = FORMATS) -> str:
    """Formats in words: "JPEG, PNG or WebP"."""
    return " or ".join(", ".join(formats).replace("WEBP", "WebP").rsplit(", ", 1))


def _unsupported(what: str) -> ImageError:
    return ImageError("unsupported-format", f"{what}; save it as JPEG or PNG, with 8 bits a channel")


def _check_header(image: Image.Image, size: int, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError(
            "too-many-pixels", f"the image has {width} x {height} pixels; at most {max_pixels:,} are accepted"
        )
    if min(width, height) < MIN_SIDE:
        raise ImageError("too-small", f"the image has {width} x {height} pixels; each side needs {MIN_SIDE} or more")
    if getattr(image, "is_animated", False):
        raise container.animated()
    if isinstance(image, TiffImageFile) and _mixed_up(image.tag_v2):
        raise _unsupported("this is a TIFF file of 16 bits with each colour apart")
    if image.format == "JPEG" and width * height > 512 * size:  # each block of 8 x 8 pixels takes a bit or more
        raise ImageError("unreadable", "the image is incomplete: the file is too short for its number of pixels")


def _mixed_up(tags: Mapping[int, Any]) -> bool:
    """Whether Pillow takes the bytes of a TIFF file for other pixels: planes of 16 bits that are not compressed."""
    return tags.get(PLANAR_CONFIGURATION) == 2 and tags.get(COMPRESSION, 1) == 1 and max(tags[BITSPERSAMPLE]) > 8


def _is_unfilled(image: Image.Image) -> bool:
    """Whether no colour of an image with 16 bits a channel is brighter than 12 bits can say: cameras' raw values."""
    pixels = np.asarray(image)
    if image.mode.startswith("I"):
        return bool(pixels.max() < 2**12)
    return bool(pixels[..., :3].max() < 2**4)  # Pillow has left the upper 8 bits


def _end_is_missing(image: Image.Image, data: bytes) -> bool:
    """Whether a decoded image ends in zeros that nobody wrote. Uncompressed pixels may be zeros: they are black."""
    if isinstance(image, TiffImageFile):
        return container.tiff_ends_in_zeros(data, image.tag_v2)
    if not (shorter := container.shortened_webp(data)):
        return False
    try:
        with Image.open(io.BytesIO(shorter), formats=("WEBP",)) as rest:
            rest.load()
        return True
    except Exception:  # as it should be
        return False


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I;16"):
        grey = np.asarray(image, dtype=np.float32) / 257  # 65535 becomes 255
        if isinstance(image, TiffImageFile) and image.tag_v2.get(PHOTOMETRIC_INTERPRETATION) == 0:  # zero is white
            grey = 255 - grey  # which Pillow does for 8 bits alone
        return np.repeat(grey.round().astype(np.uint8)[..., None], 3, axis=2)
    if image.mode in ("I", "F", "LAB", "HSV"):
        raise _unsupported(f"pixels of the kind {image.mode} have no agreed meaning as a colour")
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() == (0, 0):
            raise ImageError("unreadable", "every pixel of the image is transparent; save it without transparency")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


#: What Pillow does to make the pictures of EXIF orientations 2 to 8 upright.
_TURNS = dict(enumerate(
    (Transpose.FLIP_LEFT_RIGHT, Transpose.ROTATE_180, Transpose.FLIP_TOP_BOTTOM, Transpose.TRANSPOSE,
     Transpose.ROTATE_270, Transpose.TRANSVERSE, Transpose.ROTATE_90), 2,
))  # fmt: skip


# A zip stays open per process: opening one means reading its whole directory.
@lru_cache(maxsize=8)
def _open_zip(path: str, _stamp: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


_ARCHIVE = re.compile(r"\.(zip|npz)(?=!)", re.IGNORECASE)


def split_member(path: str | Path) -> tuple[str, str]:
    """The archive and the member behind a table's ``path``: ``a.ZIP!b/c.jpg`` -> ``("a.ZIP", "b/c.jpg")``.

    Anything else has ``("", path)``: a file whose own name, or folder's name, holds a ``!``, and what does not exist.
    """
    text = str(path)
    for mark in _ARCHIVE.finditer(text):
        if Path(text[: mark.end()]).is_file():
            return text[: mark.end()], text[mark.end() + 1 :]
    return "", text


@contextmanager
def _reading(path: str | Path):
    """Around what reads a table's ``path``: ImageError, ``missing`` or ``unreadable``, whatever is wrong there."""
    if not isinstance(path, str | Path):
        raise ImageError("missing", f"give the path of a file, not {type(path).__name__}")
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, LookupError):
        raise ImageError("missing", f"there is no image at {printable(path)}") from None
    except ImageError:
        raise
    except Exception as error:  # damaged archives raise what their decompressors do: zlib, EOF, struct, not implemented
        raise ImageError("unreadable", printable(f"{path} cannot be read ({error})")) from None


def read_bytes(path: str | Path, max_bytes: int = MAX_BYTES) -> bytes:
    """The encoded bytes behind a table's ``path``: a file, or ``archive.zip!member``.

    Raises ImageError with code ``missing`` where there is nothing at that path, ``too-large`` where it has more than
    ``max_bytes``, ``unreadable`` where it is damaged or no file.
    """
    with _reading(path):
        archive, member = split_member(path)
        if archive:
            opened = _open_zip(archive, Path(archive).stat().st_mtime_ns)
            check_size(opened.getinfo(member).file_size, max_bytes)
            return opened.read(member)
        file = Path(path)
        if file.is_dir():
            raise ImageError("missing", printable(f"{path} is a folder; name a file in it"))
        if not file.is_file():  # reading a pipe or a device would never end
            raise OSError("it is not a regular file") if file.exists() else FileNotFoundError
        check_size(file.stat().st_size, max_bytes)
        return file.read_bytes()


def check_size(size: int, max_bytes: int = MAX_BYTES) -> None:
    """Raise ImageError where an encoded image has more bytes than are accepted."""
    if size > max_bytes:
        raise ImageError("too-large", f"the file has {size:,} bytes; at most {max_bytes:,} are accepted")


def slashes(path: str) -> str:
    r"""A path with ``/`` between its folders, whichever system wrote it: ``images\1.jpg`` -> ``images/1.jpg``."""
    return str(path).strip().replace("\\", "/").removeprefix("./")


def printable(path: str | Path) -> str:
    r"""A path as text that every file can hold: bytes of a name that are not UTF-8 are written as ``\xe4``."""
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def folded(name: str) -> str:
    """A name as names are compared: without case, and an accent as one character (macOS stores it as two)."""
    return unicodedata.normalize("NFC", name).casefold()


def without_ending(name: str) -> str:
    """A file's name or path without the ending of an image format; any other dot stays."""
    start, dot, ending = name.rpartition(".")
    return start if start and (dot + ending).lower() in SUFFIXES else name


def image_name(path: str) -> str:
    r"""The last part of a path without its ending: ``C:\data\mel\0.JPG`` -> ``0``; an id stays as it is."""
    return without_ending(slashes(path).rpartition("/")[2]).strip()


#: What masks are called: lesions' by anybody, superpixels and attributes by the ISIC challenges of 2017 and 2018.
_MASK = re.compile(r"[_-](segmentation|mask|seg|superpixels|attribute_[a-z_]+)$")


def is_image(path: str) -> bool:
    """Whether a file's name is that of an image; lesion masks (``*_segmentation.png``, ``*_mask.png``) aren't."""
    stem, dot, ending = path.lower().rpartition(".")
    return dot + ending in SUFFIXES and not _MASK.search(stem)


def read_image(path: str | Path, sufficient_side: int = 0) -> np.ndarray:
    """Read and decode a table's ``path``, uint8 [H, W, 3]; BMP and TIFF are accepted too.

    ``set.npz!split/3`` takes image 3 of a MedMNIST array. ``sufficient_side`` as for :func:`decode`.

    Raises
    ------
    ImageError
        Code ``missing`` where nothing is there; else as :func:`decode`.

    Examples
    --------
    >>> from PIL import Image
    >>> Image.new("RGB", (640, 480)).save("lesion.png")
    >>> read_image("lesion.png").shape
    (480, 640, 3)
    """
    return read_with_bytes(path, sufficient_side)[0]


def read_with_bytes(path: str | Path, sufficient_side: int = 0) -> tuple[np.ndarray, bytes]:
    """As :func:`read_image`, with the bytes that identical images share: those of the file, or of the array's frame."""
    archive, member = split_member(path)
    if not archive.lower().endswith(".npz"):
        data = read_bytes(path)
        return decode(data, formats=FILE_FORMATS, sufficient_side=sufficient_side), data
    split, _, index = member.partition("/")
    with _reading(path):
        with _npz_lock:  # threads that miss the cache together would load the array twice
            frames = _open_npz(archive, Path(archive).stat().st_mtime_ns, split)
        frame = frames[int(index)]
        frame = np.broadcast_to(frame if frame.ndim == 3 else frame[..., None], (*frame.shape[:2], 3))
        return np.ascontiguousarray(frame), frame.tobytes()


_npz_lock = threading.Lock()


@lru_cache(maxsize=4)
def _open_npz(path: str, _stamp: int, split: str) -> np.ndarray:
    with np.load(path, allow_pickle=False) as arrays:
        frames = arrays[f"{split}_images"]
    if frames.dtype != np.uint8:
        raise ImageError("unreadable", f"{path} holds numbers of the kind {frames.dtype}, not pixels of 8 bits")
    return frames


def stamp(path: str | Path) -> str:
    """A short text that changes when the image behind a table's ``path`` does, found without reading it.

    A zip member's size and CRC-32; a file's size and modification time; a MedMNIST array's likewise. Raises ImageError
    with code ``missing`` where there is no such image.
    """
    with _reading(path):
        archive, member = split_member(path)
        if archive.lower().endswith(".zip"):
            info = _open_zip(archive, Path(archive).stat().st_mtime_ns).getinfo(member)
            return f"{member} {info.file_size} {info.CRC}"
        file = Path(archive or path)
        status = file.stat()
        return f"{file.name} {member if archive else ''} {status.st_size} {status.st_mtime_ns}"
