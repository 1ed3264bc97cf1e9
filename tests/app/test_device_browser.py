"""The on-device page in a browser: served by the app and by any web server, it predicts as the server does."""

import base64
import os
import re
import shutil
import struct
import time

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from app import present
from app.device import build
from app.device.page import SOURCES
from app.pictures import EXAMPLE_FOLDER
from app.words import text
from browser import LOW_CONTRAST, chromium, pages, strangers, violations  # noqa: F401  (the fixture `browser`)
from device import built, example, frames, kept, largest_difference, offering, ready, shipped  # noqa: F401
from skinlesion.core import images
from skinlesion.data.demo.dataset import draw_example
from skinlesion.serving.manifest import PRETRAINED
from small import encoded
from webapp import serving

pytestmark = pytest.mark.browser

NO_GRAPHICS = "No available adapters."  # the browser's remark where it has no graphics processor to offer


@pytest.fixture
def elsewhere(site, tmp_path):
    """A copy of the built page, and its address under a plain web server."""
    shutil.copytree(site, tmp_path / "root" / "some" / "where")
    with offering(tmp_path / "root", "some/where") as offered:
        yield offered


@pytest.fixture(scope="module")
def home(site):
    with serving(
        PRETRAINED, prelude=f"import app.device.page, pathlib; app.device.page.SITE = pathlib.Path({str(site)!r})"
    ) as server:
        yield f"http://{server.host}:{server.port}"


@pytest.fixture(scope="module")
def opened(browser, home):
    """An open page of the app, ready; it remembers what was asked for, and what the browser complained about."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.asked, page.complaints = [], []
    context.on("request", lambda request: page.asked.append((request.method, request.url, request.post_data_buffer)))
    page.on("console", lambda message: message.text == NO_GRAPHICS or page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.goto(home + "/device/")
    ready(page)
    yield page
    context.close()


@pytest.fixture
def visit(opened):
    """That page as every test finds it: without results, on a desktop in daylight."""
    opened.set_viewport_size({"width": 1440, "height": 900})
    opened.emulate_media(color_scheme="light")
    if opened.get_by_role("article").count():
        opened.get_by_role("button", name="Clear").click()
    return opened


def test_fifty_frames_get_the_same_numbers_as_from_native_onnx_runtime(visit, predictor):
    worst = largest_difference(visit, predictor, frames())
    print(f"largest difference in a probability: {worst:.1e}")
    assert worst < 1e-3


DECODE = """async text => {
  const {engine} = await import("./page.js");
  const frame = await engine.decode(new Blob([Uint8Array.from(atob(text), letter => letter.charCodeAt(0))]));
  return [btoa(Array.from(frame.data, value => String.fromCharCode(value)).join("")), frame.height, frame.width];
}"""


def decoded(page, content):
    text, height, width = page.evaluate(DECODE, base64.b64encode(content).decode())
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)[..., :3].astype(int)


def jpeg(pixels, **options):
    return encoded(pixels, "JPEG", quality=95, **options)


def test_images_are_decoded_as_the_server_decodes_them(visit):
    frame = draw_example("mel", 8)
    gamma = PngImagePlugin.PngInfo()
    gamma.add(b"gAMA", struct.pack(">I", 100_000))  # a screen would show it brighter; the network never saw that
    alpha = np.random.default_rng(1).integers(0, 256, (*frame.shape[:2], 1), dtype=np.uint8)
    turned = Image.Exif()
    turned[0x0112] = 6
    for content, near in (
        (encoded(frame), 0),
        (encoded(frame, pnginfo=gamma), 0),
        (encoded(np.concatenate([frame, alpha], axis=2)), 3),  # canvases keep colours multiplied by their opacity
        (jpeg(frame), 4),
        (jpeg(frame, exif=turned), 4),
    ):
        expected = images.decode(content).astype(int)
        found = decoded(visit, content)
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= near


def test_what_cannot_be_used_is_said(visit, tmp_path):
    for content, words in (
        (b"no image", "is not a JPEG, PNG or WebP image"),
        (encoded(np.zeros((10, 40, 3), np.uint8)), "40 x 10 pixels; each side needs 16"),
        (b"\0" * (20 * 2**20 + 1), "at most 20971520 are accepted"),
    ):
        (tmp_path / "odd.png").write_bytes(content)
        visit.locator("#image").set_input_files(tmp_path / "odd.png")
        card = visit.get_by_role("article").filter(has_text=words)
        card.wait_for()
        assert card.get_by_role("heading").inner_text() == "odd.png"
    visit.get_by_role("button", name="Clear").click()
    assert visit.get_by_role("article").count() == 0


SCORED = """async score => {
  const {engine} = await import("./page.js"), {classify} = engine;
  engine.classify = async image => {
    engine.classify = classify;
    const outputs = await classify(image);
    return {...outputs, domain: {...outputs.domain, not_dermatoscopic: score}};
  };
}"""


def example_scored(visit, score):
    """An example's card, whatever the model: the score that decides is changed on its way from the network."""
    visit.evaluate(SCORED, score)
    return example(visit, "a melanoma")


def test_a_case_report_is_one_file_and_one_printed_page_here_too(visit, browser, predictor, tmp_path):
    card = example_scored(visit, 1e9)
    card.get_by_text(text("report.title")).click()
    card.get_by_label("Notes").fill("Left arm,\n<b>since May</b>")
    with visit.expect_download() as saved:
        card.get_by_role("button", name=text("report.save")).click()
    saved.value.save_as(tmp_path / "report.html")
    content = (tmp_path / "report.html").read_text()
    assert set(re.findall(r'(?:src|href)="(?!data:)([^"]*)"', content)) == set()
    assert predictor.manifest.sha256 in content and "&lt;b&gt;since May" in content
    report = browser.new_page()
    report.goto((tmp_path / "report.html").as_uri())
    assert (
        report.get_by_role("heading", level=2).first.inner_text() == card.get_by_role("heading", level=2).inner_text()
    )
    assert report.locator(".picture img:not(.map)").count() == 1 + card.locator(".map").count(), "beside its map"
    assert report.locator("img").evaluate_all("all => all.every(one => one.naturalWidth > 0)")
    assert violations(report) == []
    assert [pages(report, paper) for paper in ("A4", "Letter")] == [1, 1]
    report.close()


def test_an_image_without_advice_gets_no_figure_at_first_and_no_class(visit):
    card = example_scored(visit, -1e9)
    assert card.get_by_role("heading", level=2).inner_text() == text("advice.none")
    assert "%" not in card.inner_text()
    for part in ("risk", "mark-key", "grey-key", "likeliest", "differs"):
        assert not re.search(r"\d|\w", card.locator(f"[data-part={part}]").text_content()), part
    assert card.get_by_role("heading", name=text("evidence.title")).count() == 0
    card.get_by_text(text("card.anyway")).click()
    assert card.locator("tbody tr").count() == card.locator("tbody tr:not(.chosen)").count() == 8
    assert text("card.label") not in card.locator("tbody .tag").all_inner_texts()
    assert "Prediction set" not in card.inner_text() and "sensitivity" not in card.inner_text()
    assert visit.locator("#visit tbody tr").first.locator("td").first.inner_text() == ""


def test_an_image_gets_its_card_and_nothing_of_it_is_sent(visit, predictor, home):
    answers = ((frame, *predictor.predict([frame])) for frame in frames())
    frame, expected = next((frame, one) for frame, one in answers if one.in_domain and one.map.max() > 0)
    visit.locator("#image").set_input_files({"name": "lesion.png", "mimeType": "image/png", "buffer": encoded(frame)})
    card = visit.get_by_role("article").first
    card.wait_for()
    shown = present.result("lesion.png", frame, expected, predictor.manifest)
    top = shown.rows[0]
    assert card.get_by_role("heading", level=2).inner_text() == shown.advice
    assert shown.reason in card.inner_text()
    likeliest = card.locator(".likeliest li")
    assert likeliest.count() == len(shown.likeliest)
    assert likeliest.first.locator(".class").inner_text() == top.diagnosis.name
    assert likeliest.first.locator("strong").inner_text() == present.percent(top.probability)
    assert re.search(r"\d+ ms in the network", card.locator(".technical").text_content())
    assert (
        f"lesion.png: {shown.advice}. {top.diagnosis.name}, {present.percent(top.probability)}."
        == visit.locator("#status").inner_text()
    )
    map, slider = card.get_by_role("img", name="Class activation map"), card.get_by_role("slider")
    assert not map.is_visible()
    card.get_by_label("Show the evidence").check()
    assert map.is_visible()
    slider.fill("80")
    assert map.evaluate("canvas => canvas.style.opacity") == "0.8"
    kept(visit)
    assert {(method, body) for method, _, body in visit.asked} == {("GET", None)}
    assert strangers([url for _, url, _ in visit.asked], home) == []
    assert not [url for _, url, _ in visit.asked if "?" in url or (len(url) > 100 and not url.startswith("data:"))]
    assert visit.complaints == []


def test_it_can_be_installed_and_its_icon_is_the_svg(visit):
    kept(visit)
    session = visit.context.new_cdp_session(visit)
    assert session.send("Page.getAppManifest")["errors"] == []
    errors = session.send("Page.getInstallabilityErrors")["installabilityErrors"]
    assert {error["errorId"] for error in errors} <= {"in-incognito"}, "as every page of a test is"
    pixels = visit.evaluate("""async () => {
      const image = document.querySelector(".brand img");
      await image.decode();
      const context = new OffscreenCanvas(192, 192).getContext("2d");
      context.drawImage(image, 0, 0, 192, 192);
      return Array.from(context.getImageData(0, 0, 192, 192).data);
    }""")
    expected = np.asarray(Image.open(SOURCES / "icon-192.png"), float)
    opaque = expected[..., 3:] == 255
    assert np.abs((np.array(pixels).reshape(192, 192, 4) - expected) * opaque).mean() < 1


@pytest.mark.parametrize(("width", "scheme"), [(375, "light"), (375, "dark"), (1440, "light"), (1440, "dark")])
def test_the_page_is_accessible_and_fits(visit, width, scheme):
    visit.set_viewport_size({"width": width, "height": 800})
    visit.emulate_media(color_scheme=scheme)
    if not visit.get_by_role("article").count():
        example(visit, "a melanoma")
    visit.evaluate("document.querySelector('details').open = true")
    assert violations(visit) == []
    assert visit.evaluate(LOW_CONTRAST) == []
    assert visit.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


BLOCKED = """async () => {
  const blocked = new Set();
  const all = new Promise(resolve => document.addEventListener("securitypolicyviolation", event => {
    if (blocked.add(event.effectiveDirective).size === 5) resolve();
  }));
  await fetch("https://example.org/").catch(() => {});
  new Image().src = "https://example.org/pixel.png";
  document.body.append(Object.assign(document.createElement("script"), {textContent: "document.title = 'run'"}));
  try { new Worker(URL.createObjectURL(new Blob([""]))); } catch {}
  setTimeout("document.title = 'run'");
  await Promise.race([all, new Promise(resolve => setTimeout(resolve, 60_000))]);
  return [...blocked].sort();
}"""
DIRECTIVES = ["connect-src", "img-src", "script-src", "script-src-elem", "worker-src"]


def test_the_policy_stops_what_it_should(visit, browser, home):
    before = len(visit.asked)
    assert visit.evaluate(BLOCKED) == DIRECTIVES
    visit.complaints.clear()
    del visit.asked[before:]
    other = browser.new_page()
    other.goto(home)
    compiled = "WebAssembly.compile(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0])).then(() => true, () => false)"
    assert visit.evaluate(compiled)
    assert not other.evaluate(compiled)
    other.close()


def test_after_one_visit_it_works_anywhere_without_a_network_and_with_threads(browser, elsewhere, predictor):
    context = browser.new_context(viewport={"width": 375, "height": 812}, is_mobile=True, has_touch=True)
    page = context.new_page()
    page.goto(elsewhere.address)
    ready(page)
    assert page.get_by_label("photograph the lesion").get_attribute("capture") == "environment"
    assert page.evaluate(BLOCKED) == DIRECTIVES
    assert page.evaluate("[crossOriginIsolated, document.documentElement.dataset.ready]") == [False, "1"]
    kept(page)
    elsewhere.stop()
    context.set_offline(True)
    page.reload()
    ready(page)
    frame = images.read_image(EXAMPLE_FOLDER / "mel.jpg")
    shown = present.result("", frame, predictor.predict([frame])[0], predictor.manifest)
    card = example(page, "a melanoma")
    assert card.get_by_role("heading", level=2).inner_text() == shown.advice
    assert card.locator(".likeliest .class").all_inner_texts()[:1] == [
        row.diagnosis.name for row in shown.likeliest[:1]
    ]
    assert page.evaluate("crossOriginIsolated"), "by the headers that the service worker keeps"
    assert {(method, length) for method, _, length in elsewhere.asked} == {("GET", 0)}
    context.close()


def test_a_new_version_is_offered_whole_and_replaces_the_old_one(browser, elsewhere):
    folder = elsewhere.folder
    context = browser.new_context()
    page = context.new_page()
    page.goto(elsewhere.address)
    kept(page)
    graphics = "ort/ort-wasm-simd-threaded.asyncify.wasm"
    page.evaluate("name => fetch(name).then(response => response.blob())", graphics)  # as who chooses it does
    first = page.evaluate("caches.keys()")
    script, style = folder / "sw.js", folder / "result.css"
    style.write_text("main { color: rgb(0, 0, 0); }")
    script.write_text(build.service_worker(folder))
    style.write_text("main { color: rgb(1, 2, 3); }")  # as during an upload: of a later version than its hash
    failed = page.evaluate(
        "navigator.serviceWorker.ready.then(own => own.update()).then(own => new Promise(resolve =>"
        " own.installing.addEventListener('statechange', event => resolve(event.target.state))))"
    )
    assert failed == "redundant", "a file that belongs to another version stops it"
    script.write_text(build.service_worker(folder))
    os.utime(script, (time.time() + 9, time.time() + 9))  # a second is what web servers tell apart
    page.reload()
    button = page.get_by_role("button", name="Load it")
    button.wait_for(timeout=300_000)
    assert page.evaluate("getComputedStyle(document.querySelector('main')).color") != "rgb(1, 2, 3)"
    with page.expect_event("load"):
        button.click()
    ready(page)
    assert page.evaluate("getComputedStyle(document.querySelector('main')).color") == "rgb(1, 2, 3)"
    second = page.evaluate("caches.keys()")
    assert len(first) == len(second) == 1
    assert first != second
    assert page.evaluate(
        "async name => Boolean(await (await caches.open((await caches.keys())[0])).match(name))", graphics
    )
    for large in ("network.onnx", "ort-wasm-simd-threaded.wasm", graphics):  # one visit, two updates
        assert sum(path.endswith(large) for _, path, _ in elsewhere.asked) == 1, "nothing large comes twice"
    context.close()
