"""The on-device page on a graphics processor: offered where there is one, and used only where it is as good."""

import json
import os
import re
import shutil

import pytest

import tiny_model
from app.device import build
from browser import ARGUMENTS, chromium, program  # noqa: F401  (the fixture `browser`)
from device import example, frames, install, kept, largest_difference, native, offering, ready
from exported import SIZE, exported
from skinlesion.core.taxonomy import HAM7
from skinlesion.serving.manifest import PRETRAINED

# SwiftShader is a graphics processor in software: it computes as one does, only slowly.
SWIFTSHADER = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"]
HAS_ADAPTER = "async () => Boolean(await navigator.gpu?.requestAdapter())"

# Passes it off as hardware, and lets a test change its outputs, and what computes them.
DISGUISE = """
Object.defineProperty(GPUAdapterInfo.prototype, "isFallbackAdapter", {get: () => false});
window.Worker = class extends Worker {
  constructor(url, options) {
    const graphics = options.name === "webgpu";
    super(url, graphics ? {...options, name: "PROVIDER"} : options);
    if (graphics) super.addEventListener("message", ({data: {result}}) => {
      if (result?.logits) (window.change ?? CHANGE)(result);
    });
  }
};
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A model folder: the shipped model's kind of network, with two views, small enough for SwiftShader."""
    folder = tmp_path_factory.mktemp("small")
    shutil.copy(exported(tmp_path_factory), folder)
    content = tiny_model.manifest(HAM7, (folder / "model.onnx").read_bytes())
    content |= {"image_size": SIZE}
    for score in content["domain"].values():
        score["threshold"] = -1e9  # an untrained network's scores mean nothing; without advice a card has no times
    (folder / "manifest.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def place(small, tmp_path_factory):
    install()
    root = tmp_path_factory.mktemp("root")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "_pack", lambda site: None)  # plain web servers hand out plain files
        build.build_site(small, root / "page")
    with offering(root, "page") as offered:
        yield offered


@pytest.fixture(scope="module")
def graphics(browser, place):
    started = browser.browser_type.launch(
        executable_path=program(browser.browser_type), args=[*ARGUMENTS, *SWIFTSHADER]
    )
    page = started.new_page()
    page.goto(place.address)
    if not page.evaluate(HAS_ADAPTER):
        (pytest.fail if os.environ.get("CI") else pytest.skip)(
            "this Chromium offers no WebGPU adapter, not even SwiftShader"
        )
    page.close()
    yield started
    started.close()


@pytest.fixture
def visit(graphics, place):
    """Open the page where the graphics processor's outputs are changed by a piece of JavaScript.

    Where a test is about what becomes of them, the processor can compute them, which is quicker than SwiftShader.
    """
    contexts = []

    def opened(change: str, provider: str = "webgpu"):
        contexts.append(graphics.new_context(viewport={"width": 375, "height": 800}))
        page = contexts[-1].new_page()
        page.complaints = []
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.add_init_script(DISGUISE.replace("PROVIDER", provider).replace("CHANGE", f"(result => {{{change}}})"))
        page.goto(place.address)
        ready(page)
        kept(page)
        return page

    yield opened
    for context in contexts:
        context.close()


def status(page):
    """What came of it."""
    text = page.locator("#graphics-status")
    text.filter(has_text=re.compile("^(In use|Not used|No longer used)")).wait_for(timeout=300_000)
    return text.inner_text()


def choose(page):
    box = page.get_by_label("Use the graphics processor")
    box.check()
    return box


@pytest.mark.browser
def test_where_there_is_none_it_is_not_offered(browser, graphics, place):
    for one in (browser, graphics):  # SwiftShader, not passed off as hardware, is none either
        page = one.new_page()
        page.goto(place.address)
        ready(page)
        kept(page)
        assert not page.locator("#setting").is_visible()
        page.close()


@pytest.mark.browser
@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.soak)])
def test_frames_get_the_same_numbers_as_from_native_onnx_runtime(step, graphics, place, small, tmp_path):
    """Ten of fifty frames, all odd sizes and classes among them, where nobody asks for all (make soak)."""
    page = graphics.new_page()
    page.goto(place.address)
    ready(page)
    worst = largest_difference(page, native(small, tmp_path), frames()[::step], "webgpu")
    page.close()
    print(f"largest difference in a probability: {worst:.1e}")
    assert worst < 1e-3


@pytest.mark.soak
@pytest.mark.browser
def test_the_shipped_network_too(graphics, tmp_path):
    build.build_site(output=tmp_path / "page")
    with offering(tmp_path, "page") as offered:
        page = graphics.new_page()
        page.set_default_timeout(1_800_000)
        page.goto(offered.address)
        ready(page)
        assert largest_difference(page, native(PRETRAINED, tmp_path), frames()[:2], "webgpu") < 1e-3
        page.close()


@pytest.mark.browser
def test_what_answers_otherwise_is_not_used(visit):
    page = visit("result.milliseconds = 0; result.logits[1] += 1", provider="wasm")
    box = choose(page)
    assert status(page) == "Not used: it gives other predictions here."
    assert not box.is_checked() and box.is_enabled()
    assert "on its graphics processor" not in example(page, "a melanoma").text_content()
    page.reload()
    ready(page)
    page.locator("#setting").wait_for()
    assert not box.is_checked(), "nor tried again unasked"


@pytest.mark.browser
def test_what_is_as_good_is_downloaded_by_who_chooses_it_used_and_kept_and_left_when_it_fails(visit, place):
    place.asked.clear()
    page = visit("result.milliseconds = 0")
    large = sorted(f"/page/ort/{name}" for name in build.GRAPHICS)
    assert not [path for _, path, _ in place.asked if path in large]
    choose(page)
    assert status(page).startswith("In use: the same predictions, 0 ms an image instead of ")
    assert sorted(path for _, path, _ in place.asked if path in large) == large
    assert {(method, length) for method, _, length in place.asked} == {("GET", 0)}
    assert "on its graphics processor" in example(page, "a melanoma").text_content()
    page.context.set_offline(True)
    page.reload()
    assert status(page).startswith("In use: ")
    page.evaluate("() => { window.change = result => result.logits.fill(NaN); }")
    card = example(page, "a melanoma").text_content()
    assert "on its graphics processor" not in card and "thread" in card
    assert status(page).startswith("No longer used: it failed")
    assert not page.get_by_label("Use the graphics processor").is_checked()
    assert page.complaints == []
