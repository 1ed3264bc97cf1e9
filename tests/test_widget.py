"""The Voila view: its widgets by themselves, and the page as people use it."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tiny_model
from app import widget
from browser import LOW_CONTRAST, chromium, strangers, watch  # noqa: F401  (chromium is the fixture `browser`)
from skinlesion import images
from skinlesion.serving.predictor import Predictor

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model.write(tmp_path_factory.mktemp("model"))


@pytest.fixture
def lesion(tmp_path) -> Path:
    noise = np.random.default_rng(2).integers(-20, 20, (200, 300, 3))
    Image.fromarray((noise + np.array([150, 80, 60])).astype(np.uint8)).save(tmp_path / "lesion.png")
    return tmp_path / "lesion.png"


def chosen(path: Path, name: str | None = None) -> dict:
    """A file as ipywidgets hands it over."""
    data = path.read_bytes()
    return {
        "name": name or path.name,
        "type": "image/png",
        "size": len(data),
        "content": memoryview(data),
        "last_modified": datetime.now(UTC),
    }


def test_view_answers_every_chosen_file(model, lesion, tmp_path):
    (tmp_path / "notes.png").write_text("no image")
    predictor = Predictor.load(model)
    _, upload, answers = widget.build(predictor).children
    upload.value = (chosen(lesion, "<b>one</b>.png"), chosen(tmp_path / "notes.png"))
    expected = predictor.predict([images.read(lesion)])[0]
    assert re.findall('data-label="(.*?)"', answers.value) == [expected.label]
    assert f"{expected.probability:.1%}" in answers.value
    assert "This image cannot be used" in answers.value
    assert "&lt;b&gt;one" in answers.value
    assert "<b>one" not in answers.value


def test_view_without_a_model_says_how_to_make_one(monkeypatch, tmp_path):
    monkeypatch.setenv("SKINLESION_MODEL", str(tmp_path))
    assert "make reports" in widget.view().value


def test_serving_says_in_one_line_what_stops_it(model, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for arguments, words in (
            (["--model", tmp_path], "make reports"),
            (["--model", model, "--port", str(taken.getsockname()[1])], "choose another --port"),
        ):
            command = [sys.executable, "-m", "app.widget", *arguments]
            done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
            assert done.returncode == 2
            assert words in done.stderr
            assert len(done.stderr.splitlines()) == 1


def test_notebook_is_stored_without_outputs():
    notebook = json.loads((REPOSITORY / "app" / "widget.ipynb").read_text())
    assert [(cell["outputs"], cell["execution_count"]) for cell in notebook["cells"]] == [([], None)]


@pytest.fixture(scope="module")
def voila(model):
    """The view on a free port, started as people start it, from a relative model folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = os.path.relpath(model, REPOSITORY)
    command = [sys.executable, "-m", "app.widget", f"--port={port}", f"--model={folder}"]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline, "Voila did not start within a minute"
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.communicate(timeout=30)


@pytest.mark.browser
def test_a_person_uploads_an_image_and_reads_the_answer(browser, voila, model, lesion):
    expected = Predictor.load(model).predict([images.read(lesion)])[0]
    page = browser.new_page(viewport={"width": 375, "height": 812})
    requests = watch(page)
    page.goto(voila)
    button = page.get_by_role("button", name="Choose images")
    button.wait_for(timeout=60_000)
    assert page.get_by_text("trained on synthetic demo images").is_visible()
    with page.expect_file_chooser() as chooser:
        button.click()
    chooser.value.set_files(lesion)
    answer = page.locator("h2[data-label]")
    answer.wait_for()
    assert (answer.get_attribute("data-label"), answer.inner_text()) == (expected.label, expected.name)
    assert page.locator("tr.chosen td").first.inner_text() == f"{expected.probability:.1%}"
    assert ("Refer" if expected.referral == "refer" else "Watch") in page.locator(".advice").inner_text()
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(folder) / "voila-375.png")
    assert "sys.path" not in page.content()  # sources are stripped
    assert len(requests) > 10
    assert strangers(requests, voila) == []
    assert page.evaluate(LOW_CONTRAST) == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.close()
