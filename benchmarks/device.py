"""The on-device page beside native ONNX Runtime: what it downloads, how far its numbers are off, and how fast it is.

    python -m benchmarks.device --data "$HAM10000_DIR"   # about ten minutes; wants an idle machine
    python -m benchmarks.device --brief                  # drawn images and few rounds, to see that it works

Three distances are kept apart, each the largest change of a probability: the page (framing in JavaScript, network in
WebAssembly) against native code (both in the model file) on the same frames; the browser's JPEG decoder against
Pillow's; weights in 16 bits against 32, for which the test images, which the shipped network has not seen, also give
the loss in balanced accuracy. Writes ``benchmarks/results/device.json``; needs Node and Chromium.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from app.device import build
from app.headers import STORED_HEADERS
from benchmarks.measure import CORES, ROOT, circumstances
from skinlesion.core import images
from skinlesion.core.taxonomy import HAM7
from skinlesion.core.writing import write_json
from skinlesion.data.demo.dataset import draw_example
from skinlesion.data.sources import load_table
from skinlesion.data.splits import make_split
from skinlesion.decision import as_seven
from skinlesion.evaluation.intervals import resample, summarise
from skinlesion.evaluation.metrics import confusion_metrics
from skinlesion.export.variants import half_weights
from skinlesion.serving.manifest import PRETRAINED, Manifest
from skinlesion.serving.predictor import Predictor

sys.path.insert(0, str(ROOT / "tests" / "helpers"))
from browser import ARGUMENTS, program
from device import rgba

RESULTS = ROOT / "benchmarks" / "results" / "device.json"
OPEN = "async () => { Object.assign(window, await import('./page.js'), await import('./decision.js')); await loaded; }"
UNPACK = "const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));"
RUN = f"""async ([text, height, width]) => {{
  {UNPACK}
  const outputs = await engine.run({{data: bytes, height, width}});
  return [decide((await loaded).model, outputs.logits, outputs.domain).probabilities, outputs.milliseconds];
}}"""
DECODE = f"""async text => {{
  {UNPACK}
  const {{data, height, width}} = await engine.decode(new Blob([bytes]));
  return [btoa(Array.from(data, value => String.fromCharCode(value)).join("")), height, width];
}}"""
CLASSIFY = f"""async text => {{
  {UNPACK}
  const outputs = await engine.classify(new Blob([bytes]));
  return decide((await loaded).model, outputs.logits, outputs.domain).probabilities;
}}"""


class Handler(SimpleHTTPRequestHandler):
    """Files, with the page's own headers where it is to use threads."""

    isolated = False

    def end_headers(self):
        for name, value in STORED_HEADERS.items() if self.isolated else ():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, *_):
        pass


class Isolated(Handler):
    isolated = True


@contextmanager
def opened(browser, site: Path, handler: type) -> Iterator[Page]:
    """The page, its network loaded."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{server.server_port}/")
    page.locator("html[data-ready]").wait_for(timeout=120_000)
    page.locator("#offline").wait_for(timeout=120_000)  # until then the service worker takes its share of the cores
    page.evaluate(OPEN)
    yield page
    page.close()
    server.shutdown()


def native(path: Path, threads: int = 0) -> Predictor:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # it would take the page's cores
    return Predictor(Manifest.read(), onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]))


def probabilities(predictor: Predictor, frames: list[np.ndarray]) -> np.ndarray:
    return np.array([list(one.probabilities.values()) for one in predictor.predict(frames)])


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def predicted(page: Page, frame: np.ndarray) -> tuple[list[float], float]:
    """The page's probabilities for a frame, and the milliseconds that its network took."""
    return page.evaluate(RUN, [rgba(frame), *frame.shape[:2]])


def decoded(page: Page, data: bytes) -> np.ndarray:
    content, height, width = page.evaluate(DECODE, text(data))
    return np.frombuffer(base64.b64decode(content), np.uint8).reshape(height, width, 4)[..., :3]


def photograph(dx: str, seed: int, size: tuple[int, int] = (600, 450)) -> bytes:
    """A JPEG of a drawn lesion, in the size of HAM10000's images."""
    data = io.BytesIO()
    Image.fromarray(draw_example(dx, seed)).resize(size, Image.Resampling.BICUBIC).save(data, "JPEG", quality=92)
    return data.getvalue()


def distances(page: Page, half: Predictor, files: list[bytes]) -> dict:
    """How far the page's numbers are off: for the arithmetic, for the decoder, and for huge images."""
    frames = [images.decode(data) for data in files]
    expected = probabilities(half, frames)
    found = np.array([predicted(page, frame)[0] for frame in frames])
    theirs = [decoded(page, data) for data in files]
    levels = np.array([np.abs(a.astype(int) - b).mean() for a, b in zip(theirs, frames, strict=True)])
    change = {}
    for width, height in ((4000, 3000), (6000, 4000)):  # the page reduces the second
        large = photograph("mel", 8, (width, height))
        apart = np.abs(page.evaluate(CLASSIFY, text(large)) - probabilities(half, [images.decode(large)])[0])
        change[f"a file of {width} x {height} pixels"] = float(apart.max())
    return {
        "images": len(files),
        "page against native, same frames": float(np.abs(found - expected).max()),
        "browser's JPEG decoder against Pillow's": float(np.abs(probabilities(half, theirs) - expected).max()),
        "levels of 255 between the decoders, mean and largest mean of an image": [levels.mean(), levels.max()],
    } | change


def speed(page: Page, path: Path, threads: int, rounds: int) -> dict:
    """Milliseconds of one image of 600 x 450 pixels, here and there in turn, after warming up."""
    predictor, frame = native(path, threads), images.decode(photograph("nv", 1))
    inputs, wanted = {"image": frame[None]}, ["logits", "map", "other_camera", "not_dermatoscopic"]
    taken: dict[str, list[float]] = {"page": [], "native": []}
    for number in range(rounds + 5):
        milliseconds = predicted(page, frame)[1]
        began = time.perf_counter()
        predictor._session.run(wanted, inputs)
        if number >= 5:
            taken["native"].append(1000 * (time.perf_counter() - began))
            taken["page"].append(milliseconds)
    ratios = [a / b for a, b in zip(taken["page"], taken["native"], strict=True)]
    middle = {f"{name}, ms": statistics.median(values) for name, values in taken.items()}
    return middle | {"page, fastest ms": min(taken["page"]), "page / native, median": statistics.median(ratios)}


def weights(whole: Predictor, half: Predictor, data: str, most: int) -> dict:
    """What storing the weights in 16 bits changes, on the test images, which the network has not seen."""
    table = load_table(data)
    split = make_split(table, seed=0)
    rows = np.flatnonzero(split["split"] == "test")[: most or None]
    y, lesions = table.targets[rows], split["lesion_id"].to_numpy(str)[rows]
    predictions = {"32 bits": [], "16 bits": []}
    for path in table.frame["path"].iloc[rows]:
        for name, predictor in zip(predictions, (whole, half), strict=True):
            predictions[name] += predictor.predict([images.read_image(path)])
    resamples, k = resample(lesions, 2000, 0), len(HAM7)
    accuracy, p = {}, {}
    for name, own in predictions.items():
        scores = np.array([list(one.scores.values()) for one in own])
        labels = as_seven(scores, whole.manifest.labels).argmax(axis=1)
        confusion = resamples.totals(np.eye(k * k)[y * k + labels]).reshape(-1, k, k)
        accuracy[name] = confusion_metrics(confusion)["balanced_accuracy"]
        p[name] = np.array([list(one.probabilities.values()) for one in own])
    return {
        "images": len(rows),
        "largest change of a probability": float(np.abs(p["16 bits"] - p["32 bits"]).max()),
        "balanced accuracy": {name: float(values[0]) for name, values in accuracy.items()},
        "loss": summarise(accuracy["32 bits"] - accuracy["16 bits"], len(rows)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="HAM10000's folder; without it, drawn images")
    parser.add_argument("--brief", action="store_true")
    arguments = parser.parse_args()
    count, rounds = (5, 5) if arguments.brief else (50, 100)
    files = [photograph(HAM7.codes[i % 7], i) for i in range(count)]
    if arguments.data:
        files = [
            images.read_bytes(path) for path in load_table(arguments.data).frame["path"].sample(count, random_state=0)
        ]
    found = circumstances() | {
        "onnxruntime": onnxruntime.__version__,
        "images": "HAM10000" if arguments.data else "drawn",
    }
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        site = Path(scratch) / "site"
        parts = build.build_site(output=site)
        found["download, MB"] = {name: size / 1e6 for name, size in parts.items()} | {"all": sum(parts.values()) / 1e6}
        half_weights(PRETRAINED / "model.onnx", Path(scratch) / "half.onnx")
        half = native(Path(scratch) / "half.onnx")
        browser = playwright.chromium.launch(executable_path=program(playwright.chromium), args=ARGUMENTS)
        found["browser"] = browser.version
        for threads, handler in ((1, Handler), (CORES, Isolated)):
            with opened(browser, site, handler) as page:
                found[f"one image, {threads} threads"] = speed(page, Path(scratch) / "half.onnx", threads, rounds)
                if threads == 1:
                    found["largest change of a probability"] = distances(page, half, files)
        browser.close()
        if arguments.data:
            found["weights in 16 bits"] = weights(Predictor.load(), half, arguments.data, 20 if arguments.brief else 0)
    if not arguments.brief:
        write_json(RESULTS, found)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
