"""Whatever is in an image file: bombs cost nothing, unusual pixels are read right, broken files are refused,
and none of thousands of damaged ones is an error 500 or takes much memory."""

import io
import json
import math
import os
import platform
import struct
import subprocess
import sys
import time
import zlib
from collections import Counter

import numpy as np
import PIL
import pytest
from PIL import Image, ImageOps

from bombs import BOMBS, peak_memory
from conftest import store_soak
from skinlesion.core import images
from small import encoded
from webapp import REPOSITORY, files, picture

SECONDS = 1.0  # of computing for one request, on a machine that does nothing else (make soak)
MEGABYTES = 300  # above what the process holds before; one image of the largest size takes twice that
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@pytest.fixture(scope="module")
def costs() -> dict:
    """What each bomb costs, by name."""
    script = REPOSITORY / "tests" / "helpers" / "bombs.py"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "lib")])}
    return json.loads(subprocess.run([sys.executable, script], env=environment, capture_output=True, check=True).stdout)


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_cost_nothing(name, costs):
    """Refused, or read without what makes them bombs: few calls, few pixels, 10 MB."""
    assert costs[name]["code"] == BOMBS[name][1]
    assert costs[name]["calls"] < 25_000
    if name != "PNG that ends early":  # its pixels are not there to be decoded
        assert costs[name]["pixels"] <= 2 * 64 * 64  # Pillow loads some twice
    assert costs[name]["megabytes"] < 10


@pytest.fixture(scope="module")
def scene() -> Image.Image:
    """Something smooth, in which every turn and every channel shows; JPEG and WebP keep it nearly as it is."""
    y, x = np.mgrid[0:40, 0:56]
    return Image.fromarray(np.stack([x * 4, y * 6, 255 - x * 2 - y], axis=2).astype(np.uint8))


def difference(data: bytes, expected) -> float:
    return np.abs(images.decode(data).astype(int) - np.asarray(expected, dtype=int)).mean()


@pytest.mark.parametrize("kind", images.FORMATS)
@pytest.mark.parametrize("turn", range(1, 9))
def test_images_are_turned_upright(scene, kind, turn):
    tags = Image.Exif()
    tags[0x0112] = turn
    data = encoded(scene, kind, exif=tags, quality=95)
    with Image.open(io.BytesIO(data)) as image:
        expected = ImageOps.exif_transpose(image).convert("RGB")
    assert difference(data, expected) == 0


def test_every_kind_of_pixel_gets_the_right_answer(scene):
    grey = scene.convert("L")
    deep = np.asarray(grey).astype(np.uint16) * 257
    clear = scene.copy()
    clear.putalpha(128)
    half = (np.asarray(scene, dtype=float) + 255) / 2
    palette = scene.quantize(256)
    see_through = palette.copy()
    see_through.info["transparency"] = 0
    cases = {
        "grey PNG": (encoded(grey, "PNG"), grey.convert("RGB"), 0),
        "grey JPEG": (encoded(grey, "JPEG", quality=95), grey.convert("RGB"), 2),
        "16-bit PNG": (encoded(Image.fromarray(deep), "PNG"), grey.convert("RGB"), 0),
        "dark 16-bit PNG": (encoded(Image.fromarray(deep // 8), "PNG"), np.asarray(grey)[..., None] / 8, 1),
        "black and white PNG": (encoded(scene.convert("1"), "PNG"), scene.convert("1").convert("RGB"), 0),
        "palette PNG": (encoded(palette, "PNG"), palette.convert("RGB"), 0),
        "alpha PNG": (encoded(clear, "PNG"), half, 1),
        "alpha WebP": (encoded(clear, "WEBP", lossless=True), half, 1),
        "grey and alpha PNG": (encoded(clear.convert("LA"), "PNG"), (np.asarray(grey)[..., None] + 255.0) / 2, 1),
        "progressive JPEG": (encoded(scene, "JPEG", quality=95, progressive=True), scene, 2),
        "CMYK JPEG": (encoded(scene.convert("CMYK"), "JPEG", quality=95), scene, 3),
        "JPEG with a second picture": (
            encoded(scene, "MPO", save_all=True, append_images=[grey], quality=95),
            scene,
            2,
        ),
    }
    for name, (data, expected, tolerance) in cases.items():
        assert difference(data, np.broadcast_to(expected, (40, 56, 3))) <= tolerance, name
    assert images.decode(encoded(see_through, "PNG")).shape == (40, 56, 3)


@pytest.mark.parametrize("kind", images.FORMATS)
def test_what_is_cut_short_or_tiny_is_refused(client, scene, kind):
    data = encoded(scene, kind, quality=95)
    for length in (1, 10, len(data) // 2, len(data) - 40):
        answer = client.post("/api/v1/predict", data=files(data[:length]))
        assert (answer.status_code, answer.json["code"]) in ((415, "unsupported-format"), (422, "unreadable"))
    answer = client.post("/api/v1/predict", data=files(picture(size=(1, 1), format=kind)))
    assert (answer.status_code, answer.json["code"]) == (422, "too-small")


def test_the_content_tells_the_format_and_not_the_name(client):
    for content, name, status in ((picture(), "a.exe", 200), (b"MZ" + bytes(2000), "a.jpg", 415)):
        data = {"image": (io.BytesIO(content), name, "image/jpeg")}
        assert client.post("/api/v1/predict", data=data).status_code == status


# --- damaged files ----------------------------------------------------------------------------------------------------


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
