"""A JPEG or PNG file without its metadata, as the decoder gets it.

Metadata is where small files hide much work: EXIF entries that all point at the same bytes, profiles to inflate,
hundreds of thousands of empty segments. So it never reaches the decoder; only the orientation and a colour profile of
bounded size are read from it, here.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from skinlesion.core.errors import ImageError

# Far beyond what cameras and programs write: some ten scans, some hundred segments, chunks of 8 kB.
JPEG_SCANS = 32
JPEG_SEGMENTS = 2_000
PNG_CHUNKS = 10_000
WEBP_CHUNKS = 100  # before the picture; four are defined
_ZEROS = 64  # bytes at the end of a coded picture that look as if they had never been written
PROFILE_BYTES = 256 * 1024  # of an ICC profile; those of cameras, phones and editors have 0.5 to 60 kB

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")  # neither a stuffed byte, nor a restart, nor filling
_APP0, _APP1, _APP2, _APP14, _APP15, _COMMENT = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF, 0xFE
_START, _END, _SCAN, _TEMPORARY = 0xD8, 0xD9, 0xDA, 0x01
_ICC = b"ICC_PROFILE\0"
_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")


class Picture(NamedTuple):
    """What of an image file the decoder gets, and what was read from its metadata."""

    data: bytes  # the file without its metadata
    turn: int = 1  # its orientation (EXIF), 1 to 8
    profile: bytes | None = None  # its ICC profile; None where it has none, or one of more than PROFILE_BYTES


def picture(data: bytes) -> Picture:
    """A JPEG or PNG file apart from its metadata; other formats come back as they are.

    Raises ImageError if the file is an animation, made of more pieces than any picture needs, or a JPEG that lacks its
    end. A PNG that is cut short stays so, for the decoder to find out.
    """
    if data.startswith(_JPEG):
        return _jpeg(data)
    if data.startswith(_PNG):
        return _png(data)
    return Picture(data)


def _jpeg(data: bytes) -> Picture:
    pieces: dict[int, bytes] = {}  # of the profile
    kept, turn, scans, segments, position = [data[:2]], None, 0, 0, 2
    while match := _MARKER.search(data, position):
        start, position, marker = match.start(), match.end(), match[1][0]
        if marker == _END:
            kept.append(data[start:position])
            break
        if marker in (_START, _TEMPORARY):  # they have no length
            continue
        segments += 1
        position += max(2, int.from_bytes(data[position : position + 2], "big"))
        if marker == _SCAN:
            scans += 1
            following = _MARKER.search(data, position)
            position = following.start() if following else len(data)
        if scans > JPEG_SCANS or segments > JPEG_SEGMENTS:
            raise _overfull()
        if marker == _APP1 and turn is None and data.startswith(b"Exif\0\0", start + 4):
            turn = orientation(data[start + 4 : position])
        if marker == _APP2 and not scans and data.startswith(_ICC, start + 4):
            number = start + 4 + len(_ICC)  # of this piece; the number of all follows
            pieces[int.from_bytes(data[number : number + 1])] = data[number + 2 : position]
        if marker in (_APP0, _APP14) or not (_APP0 <= marker <= _APP15 or marker == _COMMENT):
            kept.append(data[start:position])
    else:
        raise damaged()  # of a file that ends in zeros the decoder makes some picture
    profile = b"".join(pieces[number] for number in sorted(pieces))
    usable = set(pieces) == set(range(1, len(pieces) + 1)) and 0 < len(profile) <= PROFILE_BYTES
    return Picture(b"".join(kept), turn or 1, profile if usable else None)


def _png(data: bytes) -> Picture:
    kept, turn, profile, chunks, position = [data[:8]], 1, None, 0, 8
    while position + 8 <= len(data):
        start = position
        length, kind = struct.unpack_from(">I4s", data, start)
        position += 12 + length
        content = slice(start + 8, position - 4)
        chunks += 1
        if chunks > PNG_CHUNKS:
            raise _overfull()
        if kind == b"acTL" and data[content][:4] > b"\0\0\0\1":
            raise animated()
        if kind == b"eXIf":
            turn = orientation(data[content])
        if kind == b"iCCP" and profile is None:
            profile = _inflated(data[content])
        if kind in _CHUNKS:
            if zlib.crc32(data[start + 4 : position - 4]) != int.from_bytes(data[position - 4 : position], "big"):
                raise damaged()  # the decoder does not look, and shows something for a file that ends in zeros
            kept.append(data[start:position])
        if kind == b"IEND":
            break
    return Picture(b"".join(kept), turn, profile or None)


def _inflated(chunk: bytes) -> bytes:
    """The profile in a PNG's iCCP chunk; empty where it is damaged, or has more than PROFILE_BYTES."""
    try:
        profile = zlib.decompressobj().decompress(chunk.partition(b"\0")[2][1:], PROFILE_BYTES + 1)
    except zlib.error:
        return b""
    return profile if len(profile) <= PROFILE_BYTES else b""


def shortened_webp(data: bytes) -> bytes:
    """A WebP file whose picture ends in zeros without the last of them; empty for any other file.

    Flat parts of a picture end in zeros, too, but an encoder writes no byte that a decoder does not need: where this
    can be decoded, the end of the file was never written.
    """
    position, gone = 12, _ZEROS // 2
    for _ in range(WEBP_CHUNKS):
        if position + 8 > len(data):
            break
        kind, length = struct.unpack_from("<4sI", data, position)
        start, end = position + 8, position + 8 + length
        if kind in (b"VP8 ", b"VP8L"):
            if not data[start:end].endswith(bytes(_ZEROS)):
                break
            whole, part = (struct.pack("<I", size - gone) for size in (int.from_bytes(data[4:8], "little"), length))
            return b"".join((data[:4], whole, data[8 : position + 4], part, data[start : end - gone], data[end:]))
        position = end + length % 2
    return b""


def tiff_ends_in_zeros(data: bytes, tags: Mapping[int, Any]) -> bool:
    """Whether JPEG's or deflate's data in a TIFF file end in zeros, not in their own mark: they were never written."""
    if tags.get(259) not in (7, 8, 32946):  # the decoders of others notice, or nobody can
        return False
    starts, sizes = (tags.get(strips) or tags.get(tiles, ()) for strips, tiles in ((273, 324), (279, 325)))
    return any(data[start : start + size].endswith(bytes(_ZEROS)) for start, size in zip(starts, sizes, strict=False))


def orientation(exif: bytes) -> int:
    """The orientation (1 to 8) that EXIF data ask for; 1, upright, where they ask for none or make no sense."""
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start)
        for entry in range(count):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", exif, start + 2 + 12 * entry)
            if tag == 0x0112:
                return value if kind == 3 and 1 <= value <= 8 else 1
    except struct.error:  # it points outside itself
        pass
    return 1


def unsupported_format(data: bytes) -> str:
    """What a file of a common kind that is not read is, in words; ``""`` for anything else."""
    if data[4:8] == b"ftyp":
        brand = data[8:12]
        if brand in (b"avif", b"avis"):
            return "an AVIF file"
        if brand in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"):
            return "a HEIC file (an iPhone's photograph)"
    if data.startswith(b"\x1f\x8b"):
        return "gzip-compressed data"
    if data[128:132] == b"DICM":
        return "a DICOM file"
    return ""


def animated() -> ImageError:
    return ImageError("animated", "the file holds several frames; save the one you mean as a single image")


def damaged() -> ImageError:
    return ImageError("unreadable", "the image is damaged or cut short; save or download it again")


def _overfull() -> ImageError:
    return ImageError("unreadable", "the file is made of far more pieces than a picture needs; save it again")
