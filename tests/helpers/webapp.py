"""What the tests of the web app share: images, the form as a browser sends it, and the server as people run it."""

import http.client
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from flask import Flask
from PIL import Image, ImageDraw

from app.web import pages
from skinlesion.data.demo.dataset import draw_example
from skinlesion.serving.manifest import PRETRAINED
from skinlesion.serving.predictor import Predictor
from small import encoded

REPOSITORY = Path(__file__).resolve().parents[2]
LESION = (150, 80, 60)  # a colour that the tiny model has an answer to
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
}


def page_paths() -> list[str]:
    """The paths of all pages, as their views declare them."""
    alone = Flask("alone", static_folder=None)
    alone.register_blueprint(pages.blueprint)
    return sorted(rule.rule for rule in alone.url_map.iter_rules() if "GET" in rule.methods)


PAGES = page_paths()


def picture(color=LESION, size=(200, 150), format="PNG", **options) -> bytes:
    return encoded(Image.new("RGB", size, color), format, **options)


def photograph(seed: int) -> Image.Image:
    """An enlarged lesion of 12 megapixels with hairs and noise of a pixel's size: made, no photograph."""
    draw = np.random.default_rng(seed)
    picture = Image.fromarray(draw_example("mel", seed)).resize((4000, 3000), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(picture)
    for x, y, angle in zip(draw.integers(0, 4000, 60), draw.integers(0, 3000, 60), draw.uniform(0, 6, 60), strict=True):
        steps = np.arange(0, 1500, 30)
        hair = zip(x + steps * np.cos(angle + steps / 900), y + steps * np.sin(angle + steps / 900), strict=True)
        pen.line(list(hair), fill=(30, 20, 15), width=int(draw.integers(1, 6)))
    noisy = np.asarray(picture, np.int16) + draw.normal(0, 8, (3000, 4000, 3)).round().astype(np.int16)
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def files(*contents: bytes) -> dict:
    return {"image": [(io.BytesIO(content), f"lesion {i}.png") for i, content in enumerate(contents)]}


def send_form(client, data: dict):
    """Post to the page as a browser does."""
    return client.post("/", data=data, content_type="multipart/form-data", headers={"Sec-Fetch-Site": "same-origin"})


def choose(page, folder: Path, *names: str):
    """In a browser: files of a folder for the form."""
    page.get_by_label("Images", exact=True).set_input_files([folder / name for name in names])


def classify(page, button: str = "Classify"):
    page.get_by_role("button", name=button).click()
    page.get_by_role("article").first.wait_for()
    page.wait_for_load_state()  # styles and scripts too


def body_of(data: bytes, count: int = 1) -> tuple[bytes, dict]:
    """A multipart body by hand, and its headers."""
    part = b'--edge\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n' + data + b"\r\n"
    return part * count + b"--edge--\r\n", {"Content-Type": "multipart/form-data; boundary=edge"}


@dataclass
class Server:
    """``python -m app.web`` in a process of its own."""

    process: subprocess.Popen
    host: str
    port: int
    errors: list[str] = field(default_factory=list)  # lines on standard error

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.host, self.port, timeout=300)

    def ask(self, method: str, path: str, body=None, headers=None):
        connection = self.connect()
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer, content


@contextmanager
def serving(model: Path, *, prelude: str = "", environ: dict | None = None) -> Iterator[Server]:
    """Start the server on a free port, after the Python code ``prelude``; stop it, which must succeed, at the end."""
    code = f"import sys\n{prelude}\nfrom app.web.__main__ import main\nsys.exit(main(sys.argv[1:]))"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "--port", "0", "--model", str(model)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | (environ or {}),
    )
    errors: list[str] = []
    reader = threading.Thread(target=lambda: errors.extend(process.stderr))
    reader.start()
    try:
        host, port = re.search(r"http://([\d.]+):(\d+)/", process.stdout.readline()).groups()
        yield Server(process, host, int(port), errors)
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(300)
        reader.join(300)
    assert status == 0, errors


@pytest.fixture(scope="module", name="advising")
def shipped_without_domain(tmp_path_factory) -> Path:
    """The shipped model without a threshold of `not_dermatoscopic`: drawn lesions get advice, whatever its weights."""
    folder = tmp_path_factory.mktemp("shipped") / "model"
    shutil.copytree(PRETRAINED, folder)
    content = json.loads((folder / "manifest.json").read_text())
    content["domain"]["not_dermatoscopic"]["threshold"] = -1e9
    (folder / "manifest.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module", name="home")
def shipped_served(advising):
    """The address of the app with that model: importing it, and the one above, gives the fixture `home`."""
    with serving(advising) as server:
        yield f"http://{server.host}:{server.port}"


@pytest.fixture(scope="module", name="predictor")
def shipped_alone(advising):
    """That model as the library has it."""
    return Predictor.load(advising, threads=1)
