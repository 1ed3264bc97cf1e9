"""Whatever is in an image file: bombs cost nothing, unusual pixels are read right, and broken files are refused."""

import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageOps

from bombs import BOMBS
from skinlesion.core import images
from webapp import REPOSITORY, encoded, files, picture


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
        "dark 16-bit PNG": (encoded(Image.fromarray(deep // 300), "PNG"), np.zeros((40, 56, 3)), 1),
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
