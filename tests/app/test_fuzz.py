"""Damaged files by the thousand against the whole application: never an error 500, never large."""

import math
import platform
import struct
import time
import zlib
from collections import Counter

import numpy as np
import PIL
import pytest
from PIL import Image

from bombs import BOMBS, peak_memory
from conftest import store_soak
from skinlesion.core import images
from webapp import encoded, files

SECONDS = 1.0  # of computing for one request, on a machine that does nothing else (make soak)
MEGABYTES = 300  # above what the process holds before; one image of the largest size takes twice that
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def originals() -> list[bytes]:
    """Small valid files: every format with its variants."""
    y, x = np.mgrid[0:48, 0:64]
    scene = Image.fromarray(np.stack([x * 3, y * 5, 255 - x - y], axis=2).astype(np.uint8))
    grey, clear = scene.convert("L"), scene.convert("RGBA")
    clear.putalpha(grey)
    turned = Image.Exif()
    turned[0x0112] = 6
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    return [
        encoded(scene, "JPEG"),
        encoded(scene, "JPEG", progressive=True, exif=turned),
        encoded(scene, "JPEG", subsampling=0, restart_marker_blocks=2),
        encoded(grey, "JPEG"),
        encoded(scene.convert("CMYK"), "JPEG"),
        encoded(scene, "MPO", save_all=True, append_images=[grey]),
        encoded(scene, "PNG", exif=turned),
        encoded(clear, "PNG"),
        encoded(deep, "PNG"),
        encoded(scene.quantize(40), "PNG", transparency=3),
        encoded(scene.convert("1"), "PNG"),
        encoded(scene, "PNG", save_all=True, append_images=[scene.rotate(90)]),
        encoded(scene, "WEBP", exif=turned),
        encoded(clear, "WEBP", lossless=True),
        encoded(clear, "WEBP", quality=40),
        encoded(scene, "WEBP", save_all=True, append_images=[scene.rotate(90)]),
        encoded(scene, "TIFF", compression="tiff_lzw"),
        encoded(scene, "GIF"),
    ]


def mutant(draw: np.random.Generator, sources: list[bytes]) -> bytes:
    """One to five injuries to one of the files; half of the PNGs get their checksums right again."""
    data = bytearray(sources[draw.integers(len(sources))])
    for _ in range(draw.integers(1, 6)):
        size = max(1, len(data))
        # half of all injuries in the first 200 bytes, where the structure is
        at = int(draw.integers(min(200, size) if draw.random() < 0.5 else size))
        length = int(draw.integers(1, 40))
        match int(draw.integers(7)):
            case 0:
                data[at : at + 1] = bytes([draw.integers(256)])
            case 1:
                value, width = EXTREMES[draw.integers(len(EXTREMES))], int(draw.integers(1, 5))
                order = ("big", "little")[draw.integers(2)]
                data[at : at + width] = (value % 256**width).to_bytes(width, order)
            case 2:
                del data[at : at + length]
            case 3:
                data[at:at] = data[at : at + length] * int(draw.integers(1, 50))
            case 4:
                data[at:at] = draw.bytes(length)
            case 5:
                del data[at:]
            case 6:
                other = sources[draw.integers(len(sources))]
                data[at:] = other[min(at, len(other)) :]
    return mended(data) if data.startswith(b"\x89PNG") and draw.random() < 0.5 else bytes(data)


def mended(data: bytearray) -> bytes:
    """A PNG whose chunks have the checksums that they should."""
    at = 8
    while at + 12 <= len(data):
        end = at + 8 + struct.unpack_from(">I", data, at)[0]
        if end + 4 > len(data):
            break
        struct.pack_into(">I", data, end, zlib.crc32(data[at + 4 : end]))
        at = end + 4
    return bytes(data)


def ordeal(client, cases, seconds: float = math.inf) -> dict:
    """Send every case; what came of it, having checked each answer, and that it took at most so much computing."""
    statuses: Counter = Counter()
    slowest = 0.0
    peak_memory()
    before = peak_memory()
    for data in cases:
        began = time.thread_time()
        answer = client.post("/api/v1/predict", data=files(data))
        slowest = max(slowest, time.thread_time() - began)
        code = "predicted" if answer.status_code == 200 else answer.json["code"]
        statuses[f"{answer.status_code} {code}"] += 1
        assert answer.status_code in (200, 400, 413, 415, 422), (answer.status_code, data[:2000])
        assert slowest < seconds, (slowest, data[:2000])
    growth = peak_memory() - before
    assert growth < MEGABYTES
    return {
        "answers": dict(sorted(statuses.items())),
        "slowest, seconds of computing": round(slowest, 3),
        "memory above the start, MB": round(growth, 1),
    }


def test_the_originals_are_fine(client):
    """Else their mutants would test nothing: all but animations, TIFF and GIF are answered."""
    found = ordeal(client, originals())["answers"]
    assert found == {"200 predicted": 14, "415 unsupported-format": 2, "422 animated": 2}


def test_a_thousand_mutants(client):
    draw, sources = np.random.default_rng(2026), originals()
    found = ordeal(client, (mutant(draw, sources) for _ in range(1000)))["answers"]
    assert min(found[name] for name in ("200 predicted", "415 unsupported-format", "422 unreadable")) > 50


def test_crash_images(client):
    cases = [make() for make, _ in BOMBS.values()]
    cases += [
        bytes(1),
        bytes(10**6),
        b"\xff" * 10**6,
        b"\xff\xd8\xff",
        b"RIFF\xff\xff\xff\xffWEBPVP8 ",
        b"\x89PNG\r\n\x1a\n",
    ]
    ordeal(client, [case for case in cases if len(case) <= images.MAX_BYTES])


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_twenty_thousand_mutants(client):
    """Leaves what it found in experiments/soak.json."""
    draw, sources = np.random.default_rng(20261124), originals()
    found = ordeal(client, (mutant(draw, sources) for _ in range(20_000)), SECONDS)
    about = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": platform.machine(),
        "pillow": PIL.__version__,
        "mutants": 20_000,
        "limits": {"seconds of computing": SECONDS, "memory, MB": MEGABYTES},
    }
    store_soak("fuzz", about | found)
