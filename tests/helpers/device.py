"""What the tests of the on-device page share: the page, a web server like any other, and what a visitor does."""

import base64
import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

from app.device import build
from shared import made_once
from skinlesion.core import framing
from skinlesion.core.errors import SkinLesionError
from skinlesion.core.framing import join_maps
from skinlesion.core.taxonomy import HAM7
from skinlesion.data.demo.dataset import draw_example
from skinlesion.export.variants import half_weights
from skinlesion.serving.manifest import PRETRAINED, Manifest
from skinlesion.serving.predictor import Predictor

ASK = """async ([text, width, height, provider]) => {
  const modules = ["page", "decision", "engine"].map(name => import(`./${name}.js`));
  const [page, {decide}, {start}] = await Promise.all(modules);
  const data = Uint8Array.from(atob(text), letter => letter.charCodeAt(0)), {model} = await page.loaded;
  if (provider && !window.other) await (window.other = start(provider)).load(false);
  const outputs = await (provider ? window.other : page.engine).run({data, width, height});
  return {...decide(model, outputs.logits, outputs.domain), maps: Array.from(outputs.maps.data)};
}"""


def install():
    """Node with the locked packages. Like the browser, it may be missing on somebody's machine, but not under CI."""
    try:
        build.install()
    except SkinLesionError as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(error))


@pytest.fixture(scope="module", name="site")
def built(tmp_path_factory):
    """The page, built anew for a run of tests."""
    install()
    return made_once(tmp_path_factory, "site", lambda folder: build.build_site(output=folder))


def native(folder: Path, scratch: Path) -> Predictor:
    """The page's weights of a model under native ONNX Runtime, with the framing inside the file."""
    half_weights(folder / "model.onnx", scratch / "half.onnx")
    session = onnxruntime.InferenceSession(scratch / "half.onnx", providers=["CPUExecutionProvider"])
    return Predictor(Manifest.read(folder), session)


@pytest.fixture(scope="module", name="predictor")
def shipped(tmp_path_factory) -> Predictor:
    return native(PRETRAINED, tmp_path_factory.mktemp("native"))


class Recorder(SimpleHTTPRequestHandler):
    """Any web server: it sets no header of ours, and the page lies under some path of it."""

    def log_message(self, *_):
        self.server.asked.append((self.command, self.path, int(self.headers.get("Content-Length") or 0)))


@contextmanager
def offering(root: Path, path: str) -> Iterator[SimpleNamespace]:
    """The page at ``path`` below ``root``, under a plain web server that remembers what it was asked."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Recorder, directory=root))
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/{path}/"
    yield SimpleNamespace(folder=root / path, address=address, asked=server.asked, stop=server.shutdown)
    server.shutdown()
    server.server_close()


def ready(page):
    page.locator("html[data-ready]").wait_for(timeout=300_000)


def kept(page):
    page.locator("#offline").wait_for(timeout=300_000)


def example(page, drawn):
    """Classify an example; returns its card."""
    before = page.get_by_role("article").count()
    page.get_by_role("button", name=f"drawn as {drawn}").click()
    page.get_by_role("article").nth(before).wait_for()
    return page.get_by_role("article").first


def rgba(frame: np.ndarray) -> str:
    """A frame as the page's own decoder hands it on, in letters."""
    return base64.b64encode(np.dstack([frame, np.full_like(frame[..., :1], 255)]).tobytes()).decode()


def frames() -> list[np.ndarray]:
    """Fifty drawn lesions, some of odd sizes."""
    drawn = [draw_example(dx, seed) for seed in range(8) for dx in HAM7.codes][:50]
    odd = ((100, 80), (81, 207), (333, 451), (450, 600), (768, 1024))
    return [framing.resize(frame, odd[i // 10]) if i % 10 == 0 else frame for i, frame in enumerate(drawn)]


def largest_difference(page, predictor, fifty: list[np.ndarray], provider: str | None = None) -> float:
    """Between the page's probabilities and native ONNX Runtime's; domain scores and maps are compared on the way."""
    worst = 0.0
    for frame, expected in zip(fifty, predictor.predict(fifty), strict=True):
        said = page.evaluate(ASK, [rgba(frame), frame.shape[1], frame.shape[0], provider])
        probabilities = np.array(list(expected.probabilities.values()))
        worst = max(worst, np.abs(np.array(said["probabilities"]) - probabilities).max())
        assert said["domainScore"] == pytest.approx(expected.domain_score, abs=1e-3)
        labels, crops = predictor.manifest.labels, predictor.manifest.crops
        side = math.isqrt(len(said["maps"]) // len(labels) // crops)
        parts = np.array(said["maps"]).reshape(len(labels), crops, side, side)[said["best"]]
        if labels.codes[said["best"]] == expected.label:
            assert np.abs(join_maps(parts, *frame.shape[:2]) - expected.map).max() < 1e-2
    return worst
