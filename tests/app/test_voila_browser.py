"""The Voila view as people use it: served, in a browser."""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from app.words import text
from browser import LOW_CONTRAST, chromium, strangers, violations, watch  # noqa: F401  (chromium is the fixture `browser`)
from skinlesion.core import images
from skinlesion.serving.predictor import Predictor

REPOSITORY = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def lesion(tmp_path_factory) -> Path:
    noise = np.random.default_rng(2).integers(-20, 20, (100, 150, 3))
    path = tmp_path_factory.mktemp("image") / "lesion.png"
    Image.fromarray((noise + np.array([90, 120, 150])).astype(np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def voila(model, tmp_path_factory):
    """The view on a free port, started as people start it, from a relative model folder; and where its log is."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "app.voila", f"--port={port}", f"--model={os.path.relpath(model, REPOSITORY)}"]
    log = tmp_path_factory.mktemp("voila") / "log"
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=REPOSITORY, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + 300
        while "Kernel started" not in log.read_text():  # the one that waits for the first visitor
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, f"Voila did not start: {log.read_text()}"
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/", log
    finally:
        process.terminate()
        process.communicate(timeout=300)


@pytest.fixture(scope="module")
def page(browser, voila):
    """The view, opened once on a phone, and all it has asked for."""
    url, _ = voila
    page = browser.new_page(viewport={"width": 375, "height": 812})
    page.requests = watch(page)
    page.console = []
    page.on("console", lambda message: page.console.append((message.type, message.text)))
    page.goto(url, wait_until="commit")
    page.get_by_role("button", name="Choose images").wait_for(timeout=300_000)
    yield page
    page.close()


def test_the_start_is_told_in_short_lines(voila):
    said = voila[1].read_text()
    assert "Voilà is running at" in said and "Deprecat" not in said
    assert max(map(len, said.splitlines())) < 400


def choose(page, *files) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose images").click()
    chooser.value.set_files(files)


@pytest.fixture
def uploaded(page, lesion):
    """The view with the lesion's card, whatever another test has chosen."""
    card = page.get_by_role("article").filter(has_text=lesion.name).first
    if not card.count():
        choose(page, lesion)
        card.wait_for(timeout=300_000)
    return page


def number(page, row: str, column: int) -> float:
    return float(page.locator(f'.lab-moves tr[data-code="{row}"] data').nth(column).get_attribute("value"))


def comes_to(page, row: str, column: int, expected: float) -> None:
    """Wait for a number of the table, which is a widget of its own and follows the pictures' caption."""
    until = time.monotonic() + 300
    while number(page, row, column) != pytest.approx(expected, abs=1e-6):
        assert time.monotonic() < until, f"{row} stays at {number(page, row, column)}, not {expected}"
        time.sleep(0.02)


def status(url: str, **headers) -> int:
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=300).status
    except urllib.error.HTTPError as error:
        return error.code


def test_a_person_uploads_an_image_and_reads_the_answer(uploaded, page, voila, model, lesion):
    expected = Predictor.load(model).predict([images.read_image(lesion)])[0]
    assert page.get_by_text("trained on synthetic demo images").is_visible()
    answer = page.locator("li[data-code]").first
    answer.wait_for(timeout=300_000)
    likeliest = max(expected.probabilities, key=expected.probabilities.get)
    assert answer.get_attribute("data-code") == likeliest
    assert f"{expected.probabilities[likeliest]:.1%}" in answer.inner_text()
    assert text(f"advice.{expected.referral}") in page.locator(".advice").first.inner_text()
    assert [entry for entry in page.console if entry[0] in ("warning", "error")] == []
    assert "sys.path" not in page.content()  # sources are stripped
    assert "Using pre-heated kernel" in voila[1].read_text()


def test_a_slider_moved_by_keyboard_moves_the_answer(uploaded, page, model, lesion):
    slider = page.get_by_role("slider", name="Brightness (%)")
    slider.focus()
    for _ in range(7):
        page.keyboard.press("ArrowRight")
    page.locator(".lab-pair").get_by_text("Brightness 107%").wait_for(timeout=300_000)
    frame = images.read_image(lesion)
    brighter = np.asarray(ImageEnhance.Brightness(Image.fromarray(frame)).enhance(1.07))
    predictor = Predictor.load(model)
    before, now = (predictor.predict([picture])[0] for picture in (frame, brighter))
    for code in before.probabilities:
        comes_to(page, code, 0, before.probabilities[code])
        comes_to(page, code, 1, now.probabilities[code])
    assert abs(before.malignant_probability - now.malignant_probability) > 1e-3
    page.get_by_role("img", name=re.compile("Along Brightness from 50% to 150%")).wait_for(timeout=300_000)
    page.get_by_role("button", name="Reset the sliders").click()
    page.locator(".lab-pair").get_by_text("Nothing changed yet").wait_for(timeout=300_000)
    comes_to(page, "all", 1, before.malignant_probability)


def test_the_map_covers_the_image_as_strongly_as_asked(uploaded, page):
    shown = page.get_by_label("Show the evidence").first
    assert not shown.is_checked()
    page.get_by_role("article").first.focus()
    page.keyboard.press("m")
    assert shown.is_checked(), "as its label says"
    opacity, cover = page.get_by_label("Opacity").first, "map => Number(getComputedStyle(map).opacity)"
    for strength in ("20", "90"):
        opacity.fill(strength)
        assert page.locator(".result img.map").first.evaluate(cover) == pytest.approx(int(strength) / 100)


@pytest.mark.parametrize("width", [320, 1280])
def test_the_picture_is_enlarged_by_keyboard_within_the_window(uploaded, page, width):
    page.set_viewport_size({"width": width, "height": 800})
    page.get_by_role("button", name="Enlarge").first.focus()
    page.keyboard.press("Enter")
    large = page.get_by_role("dialog")
    outer = large.bounding_box()
    assert outer["x"] >= 0
    assert outer["x"] + outer["width"] <= width
    before = large.locator(".stack").bounding_box()["width"]
    page.keyboard.press("+")
    assert large.locator(".stack").bounding_box()["width"] == pytest.approx(1.5 * before, rel=0.02)
    page.keyboard.press("Escape")
    assert not large.is_visible()
    assert page.evaluate("document.activeElement.textContent") == "Enlarge"


def test_an_example_is_compared_with_the_upload(uploaded, page):
    page.get_by_role("button", name="a melanoma").click()
    page.get_by_role("heading", name="Side by side").wait_for(timeout=300_000)
    assert page.get_by_role("button", name="a melanoma").get_attribute("aria-pressed") == "true"
    page.get_by_label("These images show one lesion: average them").check()
    page.get_by_role("columnheader", name="Average of 2 images").wait_for(timeout=300_000)


@pytest.mark.parametrize("width", [320, 375, 768, 1440])
def test_it_reads_well_at_every_width_in_light_and_dark(uploaded, page, width):
    page.set_viewport_size({"width": width, "height": 900})
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        if folder := os.environ.get("SCREENSHOTS"):
            page.screenshot(path=Path(folder) / f"voila-{width}-{scheme}.png", full_page=True)
        assert page.evaluate(LOW_CONTRAST) == []
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize(("width", "scheme"), [(375, "light"), (1440, "dark")])
def test_axe_finds_nothing(uploaded, page, width, scheme):
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    assert violations(page) == []


def test_more_than_one_message_carries_is_refused_before_it_is_sent(page, lesion):
    page.evaluate("document.querySelector('[data-most-bytes]').dataset.mostBytes = 100")
    choose(page, lesion)
    page.get_by_text("choose at most 1 MB").wait_for()
    page.evaluate("document.querySelector('[data-most-bytes]').dataset.mostBytes = 1e8")


def test_a_broken_image_gets_its_reason(page, tmp_path):
    (tmp_path / "broken.png").write_text("no image")
    choose(page, tmp_path / "broken.png")
    page.get_by_text("This image cannot be used").wait_for(timeout=300_000)


def test_nobody_else_is_asked_for_anything(page, voila):
    assert len(page.requests) > 10
    assert strangers(page.requests, voila[0]) == []


def test_only_the_view_is_served_and_only_to_this_machine(voila):
    url, _ = voila
    for file in ("widget.py", "widget.ipynb", "static/icon.svg", "static/examples/mel.jpg"):
        assert status(f"{url}voila/files/{file}") == 403
    kernel = "api/kernels/00000000-0000-0000-0000-000000000000"
    assert status(url + kernel) == 404
    assert status(url + kernel, Host="evil.example") == 403
    assert status(f"{url}api/contents") != 200
