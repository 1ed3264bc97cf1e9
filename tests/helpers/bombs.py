"""Image files by hand that cost whoever decodes them carelessly much time or memory, and what they do cost.

``python tests/helpers/bombs.py`` prints that as JSON: in a process of its own, which no test has set up.
"""

import json
import math
import struct
import sys
import zlib
from collections import Counter
from pathlib import Path

from PIL import Image, ImageFile

from skinlesion.core import images
from skinlesion.core.errors import ImageError
from small import encoded
from webapp import picture


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width=64, height=64, extra=b"", pixels=None) -> bytes:
    """A PNG by hand: any size in its header, anything before its pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes(64 * 193) if pixels is None else pixels))
    return b"\x89PNG\r\n\x1a\n" + header + extra + body + chunk(b"IEND", b"")


def jpeg(width=64, height=64, extra=b"", **options) -> bytes:
    """A JPEG with another size in its header, and anything behind its first two bytes."""
    data = bytearray(picture(size=(64, 64), format="JPEG", **options))
    start = data.index(b"\xff\xc2" if options.get("progressive") else b"\xff\xc0")
    data[start + 5 : start + 9] = struct.pack(">HH", height, width)
    return bytes(data[:2] + extra + data[2:])


def scans(count: int) -> bytes:
    data = jpeg(1000, 1000, progressive=True)
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * count + data[-2:]


def exif(entries: int) -> bytes:
    """EXIF whose entries all claim the same 60,000 bytes."""
    tags = b"".join(struct.pack("<HHII", i + 1, 7, 60_000, 8) for i in range(entries))
    content = (b"Exif\0\0II*\0" + struct.pack("<IH", 8, entries) + tags)[:65_000]
    return b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content


def webp(width: int, height: int) -> bytes:
    frames = [Image.new("RGBA", (64, 64), (9, 2, 3, alpha)) for alpha in (20, 200)]
    data = bytearray(encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:]))
    data[24:30] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return bytes(data)


BOMBS = {
    "PNG of 10 gigapixels": (lambda: png(100_000, 100_000), "too-many-pixels"),
    "PNG of 41 megapixels": (lambda: png(8200, 5000), "too-many-pixels"),
    "PNG that ends early": (lambda: png(6000, 6000), "unreadable"),
    "PNG with 300 MB of text": (
        lambda: png(extra=chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(10**6))) * 300),
        None,
    ),
    "PNG with 500 profiles": (lambda: png(extra=chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(10**6))) * 500), None),
    "PNG of a million chunks": (lambda: png(extra=chunk(b"abCd", b"") * 10**6), "unreadable"),
    "JPEG of 4 gigapixels": (lambda: jpeg(65_000, 65_000), "too-many-pixels"),
    "JPEG of 36 megapixels in a kilobyte": (lambda: jpeg(6000, 6000), "unreadable"),
    "JPEG of 1,000 scans": (lambda: scans(1000), "unreadable"),
    "JPEG of 4 million segments": (lambda: jpeg(extra=b"\xff\xfe\0\2" * 4_000_000), "unreadable"),
    "JPEG with 300 MB of EXIF": (lambda: jpeg(extra=exif(5000)), None),
    "WebP of 268 megapixels": (lambda: webp(16383, 16383), "too-many-pixels"),
    "WebP animation of 36 megapixels": (lambda: webp(6000, 6000), "animated"),
    "PNG animation": (
        lambda: encoded(
            Image.new("RGB", (32, 32)), "PNG", save_all=True, append_images=[Image.new("RGB", (32, 32), "red")]
        ),
        "animated",
    ),
}


def peak_memory() -> float:
    """The most memory that the process has held since this was last asked, in MB (Linux)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    Path("/proc/self/clear_refs").write_text("5")
    return int(line.split()[1]) / 1000


def cost(data: bytes) -> dict:
    """What decoding brings (the error's code, or None), holds (MB) and does: calls of functions, pixels to decode."""
    calls, pixels, load = Counter(), [], ImageFile.ImageFile.load

    def counted_load(image):
        pixels.append(math.prod(image.size))
        return load(image)

    peak_memory()
    before = peak_memory()
    ImageFile.ImageFile.load = counted_load
    sys.setprofile(lambda _frame, event, _argument: calls.update((event,)))
    try:
        images.decode(data)
        code = None
    except ImageError as error:
        code = error.code
    finally:
        sys.setprofile(None)
        ImageFile.ImageFile.load = load
    made = calls["call"] + calls["c_call"]
    return {"code": code, "calls": made, "pixels": sum(pixels), "megabytes": peak_memory() - before}


if __name__ == "__main__":
    for kind in images.FORMATS:  # whatever is loaded once
        images.decode(picture(format=kind))
    print(json.dumps({name: cost(make()) for name, (make, _) in BOMBS.items()}))
