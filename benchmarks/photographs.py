"""A photograph of 12 megapixels through API, page and on-device page, which decode it at reduced scale.

    python -m benchmarks.photographs            # about five minutes; wants an idle machine
    python -m benchmarks.photographs --brief    # three rounds, to see that it works

Each way runs in turn with a server that decodes all pixels, and with that work in one Python process: a JPEG
decoded whole, and one exact resize. The picture is made: an enlarged lesion with hairs and noise of a pixel's size.
Writes ``benchmarks/results/photographs.json``; needs Node and Chromium.
"""

from __future__ import annotations

import argparse
import http.client
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from app.device import build
from benchmarks.device import Isolated
from benchmarks.measure import ROOT, circumstances, memory
from benchmarks.serve import app
from skinlesion.core import framing, images
from skinlesion.core.writing import write_json
from skinlesion.serving.manifest import Manifest

sys.path.insert(0, str(ROOT / "tests" / "helpers"))
from browser import ARGUMENTS, program
from webapp import body_of, encoded, photograph

#: The app as it is, and where it decodes every pixel.
WAYS = {"reduced": "", "whole": "import skinlesion.serving.manifest as m; m.SUFFICIENT = 10**9; "}
START = "import sys; from app.web.__main__ import main; sys.exit(main(['--port', '0']))"


def ask(port: int, data: bytes) -> None:
    body, headers = body_of(data)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    connection.request("POST", "/api/v1/predict", body, headers)
    answer = connection.getresponse()
    answer.read()
    if answer.status != 200:
        raise SystemExit(f"the app responded {answer.status}")


def opened(browser, address: str) -> Page:
    page = browser.new_page()
    page.set_default_timeout(300_000)
    page.goto(address)
    return page


def upload(page: Page, address: str, path: Path) -> float:
    """Seconds from the choice of a file to its card, on the page that uploads."""
    page.goto(address)
    began = time.perf_counter()
    page.locator("#image").set_input_files(path)
    page.get_by_role("button", name="Classify").click()
    page.get_by_role("article").first.wait_for()
    return time.perf_counter() - began


def on_device(page: Page, path: Path) -> float:
    """Likewise, on the page that computes by itself."""
    if page.get_by_role("article").count():
        page.get_by_role("button", name="Clear").click()
    began = time.perf_counter()
    page.locator("#image").set_input_files(path)
    page.get_by_role("article").first.wait_for()
    return time.perf_counter() - began


def seconds_of(work: Callable[..., object], *arguments) -> float:
    began = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - began


def measure(rounds: int, scratch: Path, stack: ExitStack) -> dict:
    data = encoded(photograph(8), "JPEG", quality=92)
    path = scratch / "large.jpg"
    path.write_bytes(data)
    size = Manifest.read().image_size
    build.build_site(output=scratch / "site")
    device = ThreadingHTTPServer(("127.0.0.1", 0), partial(Isolated, directory=scratch / "site"))
    threading.Thread(target=device.serve_forever, daemon=True).start()
    stack.callback(device.shutdown)
    browser = stack.enter_context(sync_playwright()).chromium
    browser = browser.launch(executable_path=program(browser), args=ARGUMENTS)
    stack.callback(browser.close)
    in_python = partial(seconds_of, lambda: framing.fit_square(images.decode(data), size, "center_crop"))
    ways: dict[str, Callable[[], float]] = {"whole decode and one exact resize, in Python": in_python}
    held = {}
    for name, patch in WAYS.items():
        process, port = stack.enter_context(app("-c", patch + START))
        held[name] = process
        address = f"http://127.0.0.1:{port}/"
        ways[f"API, {name}"] = partial(seconds_of, ask, port, data)
        if name == "reduced":
            ways["page"] = partial(upload, opened(browser, address), address, path)
    page = opened(browser, f"http://127.0.0.1:{device.server_port}/")
    page.locator("html[data-ready]").wait_for()
    ways["on device"] = partial(on_device, page, path)
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 2):
        for name, way in ways.items():
            seconds = way()
            if number >= 2:  # the first ones warm up
                taken[name].append(seconds)
    middle = {name: statistics.median(values) for name, values in taken.items()}
    base = next(iter(middle.values()))
    return {
        "seconds, median": middle,
        "of the first": {name: value / base for name, value in middle.items()},
        "server resident after it, MB": {name: memory("VmRSS", process.pid) for name, process in held.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brief", action="store_true", help="three rounds, and no result written")
    rounds = 3 if parser.parse_args().brief else 20
    about = circumstances() | {"rounds": rounds}
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        found = about | measure(rounds, Path(scratch), stack)
    if rounds == 20:
        write_json(ROOT / "benchmarks" / "results" / "photographs.json", found)
    for name, seconds in found["seconds, median"].items():
        print(f"{name}: {seconds:.2f} s, {found['of the first'][name]:.2f} of the first")


if __name__ == "__main__":
    main()
