"""The device page converts embedded colour profiles as the library does."""

import base64
from pathlib import Path

import numpy as np
import pytest

from browser import chromium  # noqa: F401 - the fixture `browser`
from profiles import ADOBE_RGB, DISPLAY_P3, profile
from skinlesion.core import images
from small import encoded

APP = Path(__file__).parents[2] / "app"
FRAME, IMPORTS = APP / "device" / "frame.js", (APP / "static" / "bitmap.js", APP / "device" / "fault.js")
DECODE = """async ([code, data, kind]) => {
  const { decode } = await import(`data:text/javascript;base64,${code}`);
  const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0));
  const frame = await decode(new Blob([bytes], { type: kind }), 160);
  return [frame.height, frame.width, Array.from(frame.data)];
}"""


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("space", [None, DISPLAY_P3, ADOBE_RGB], ids=["none", "p3", "adobe"])
def test_the_browser_agrees_with_the_library_within_a_grey_level(browser, space, kind):
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95, "subsampling": 0}}.get(kind, {})
    data = encoded(pixels, kind, icc_profile=profile(space) if space else None, **options)
    page = browser.new_page()
    page.goto("about:blank")
    frame = FRAME.read_text()
    for module in IMPORTS:
        code = base64.b64encode(module.read_bytes()).decode()
        frame = frame.replace(f"./{module.name}", f"data:text/javascript;base64,{code}")
    given = [base64.b64encode(content).decode() for content in (frame.encode(), data)]
    height, width, values = page.evaluate(DECODE, [*given, f"image/{kind.lower()}"])
    page.close()
    theirs = np.array(values).reshape(height, width, 4)[..., :3]
    assert np.abs(theirs - images.decode(data).astype(int)).max() <= 1
