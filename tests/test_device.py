"""The on-device page: built, served by the app and by any web server, and answering as the server does."""

import base64
import io
import json
import os
import re
import shutil
import struct
import subprocess
import time

import numpy as np
import onnxruntime
import pytest
from PIL import Image, PngImagePlugin

import tiny_model
from app import create_app, device_site, pictures, present
from app.device_icons import draw
from app.on_device import PROTECTION, SOURCES, node_needed
from browser import LOW_CONTRAST, chromium, strangers, violations  # noqa: F401  (the fixture `browser`)
from device import example, frames, install, kept, largest_difference, offering, ready, rgba
from skinlesion import images
from skinlesion.data.demo import draw_example
from skinlesion.serving.manifest import PRETRAINED, Manifest
from skinlesion.serving.predictor import Predictor
from skinlesion.taxonomy import HAM7, ISIC8
from skinlesion.variants import half_weights
from webapp import HEADERS, serving

NO_GRAPHICS = "No available adapters."  # the browser's remark where it has no graphics processor to offer
STRICT = "default-src 'none'; script-src 'self'; style-src 'self'"  # how the other pages' policy begins


@pytest.fixture(scope="module")
def node():
    install()


@pytest.fixture(scope="module")
def site(node, tmp_path_factory):
    folder = tmp_path_factory.mktemp("built") / "site"
    device_site.build(output=folder)
    return folder


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    """The same weights under native ONNX Runtime, with the framing inside the file."""
    path = tmp_path_factory.mktemp("native") / "model.onnx"
    half_weights(PRETRAINED / "model.onnx", path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return Predictor(Manifest.read(), session)


def client_of(site, tmp_path):
    return create_app({"MODEL": tiny_model.write(tmp_path / "model"), "SITE": site}).test_client()


# The app, with and without a built page


def test_where_the_page_is_not_built_the_app_says_how(tmp_path):
    client = client_of(tmp_path / "nowhere", tmp_path)
    answer = client.get("/device/")
    assert answer.status_code == 200
    assert "make site" in answer.text
    assert f"Node.js</a> {node_needed()} or newer" in answer.text
    assert answer.headers["Content-Security-Policy"].startswith(STRICT)
    assert client.get("/device/page.js").status_code == 404
    assert client.get("/device").location.endswith("/device/")


def test_the_app_serves_packed_files_with_the_pages_own_rules_and_no_others(tmp_path):
    site = tmp_path / "site"
    (site / "ort").mkdir(parents=True)
    (site / "index.html").write_text("<header><!-- navigation --></header>")
    (site / "secret.txt").write_text("no part of the page")
    for name in ("page.js", "ort/a.wasm"):
        for suffix in ("", ".br", ".gz"):
            (site / f"{name}{suffix}").write_text(f"{name}{suffix}")
    (tmp_path / "outside.js").write_text("secret")
    client = client_of(site, tmp_path)
    page = client.get("/device/")
    assert '<a href="/device/" aria-current="page">' in page.text
    for wanted, encoding, content in (("br, gzip", "br", "br"), ("gzip", "gzip", "gz"), ("", None, "wasm")):
        answer = client.get("/device/ort/a.wasm", headers={"Accept-Encoding": wanted})
        assert (answer.headers.get("Content-Encoding"), answer.text.rpartition(".")[2]) == (encoding, content)
        assert (answer.mimetype, answer.headers["Vary"]) == ("application/wasm", "Accept-Encoding")
        assert answer.headers["Cache-Control"] == "no-cache"
        assert {name: answer.headers[name] for name in (*HEADERS, *PROTECTION)} == HEADERS | PROTECTION
        again = client.get(
            "/device/ort/a.wasm", headers={"Accept-Encoding": wanted, "If-None-Match": answer.headers["ETag"]}
        )
        assert again.status_code == 304
    for name in ("page.js.br", "secret.txt", "none.js", "../outside.js", "ort/../../outside.js", "ort"):
        refused = client.get(f"/device/{name}")
        assert refused.status_code == 404, name
        assert "unsafe" not in refused.headers["Content-Security-Policy"]
    assert client.post("/device/").status_code == 405
    for path in ("/", "/healthz", "/static/page.css"):
        assert "unsafe" not in client.get(path).headers["Content-Security-Policy"]


def test_without_node_or_with_an_old_one_the_build_says_what_to_install(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(device_site, "_run", lambda *_, **__: "v18.19.0\n")
    monkeypatch.setattr(shutil, "which", lambda name: name)
    assert device_site.main([]) == 2
    assert re.search(r"needs Node.js \d+ or newer, not v18", capsys.readouterr().err)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert device_site.main([]) == 2
    assert "install them first" in capsys.readouterr().err
    (tmp_path / "thesis.txt").touch()
    assert device_site.main(["--output", str(tmp_path)]) == 2
    assert "name a new folder" in capsys.readouterr().err
    assert device_site.main(["--model", str(tmp_path)]) == 2
    assert (tmp_path / "thesis.txt").exists()


# What is built


def test_packages_are_pinned_and_name_no_registry():
    lock = json.loads((SOURCES / "package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert all(entry["integrity"].startswith("sha512-") and "resolved" not in entry for entry in packages.values())
    package = json.loads((SOURCES / "package.json").read_text())
    named = package["dependencies"] | package["devDependencies"]
    assert all(re.fullmatch(r"[\d.]+", version) for version in named.values())


def test_the_icons_are_the_svg_drawn_again():
    for full in (False, True):
        icon = np.asarray(draw(192, full=full), float)
        assert icon.shape == (192, 192, 4)
        assert icon[0, 0, 3] == (255 if full else 0)
        assert np.abs(icon[96, 96, :3] - 255).max() == 0


def test_all_there_is_to_download_is_at_most_twenty_megabytes(site):
    parts = device_site.sizes(site)
    assert sum(parts.values()) < 20e6
    assert parts["model"] < 8e6
    assert 3e6 < parts["graphics"] < 6e6
    assert {path.suffix for path in site.rglob("network.onnx*")} == {".onnx", ".br", ".gz"}
    later = json.loads((site / "sw.js").read_text().removeprefix("const SITE = ").partition(";\n")[0])["later"]
    assert set(later) == {f"ort/{name}" for name in device_site.GRAPHICS}


def test_the_pages_file_is_the_model_without_its_framing(site, predictor):
    session = onnxruntime.InferenceSession(site / "network.onnx", providers=["CPUExecutionProvider"])
    made = predictor.manifest.content
    fitted = images.fit(draw_example("mel", 5), made["image_size"], made["fit"])[None].astype(np.float32)
    names = ["logits", "domain", "map"]
    whole = predictor._session.run(names, {"image": draw_example("mel", 5)[None]})
    for ours, expected in zip(session.run(names, {"levels": fitted}), whole, strict=True):
        assert np.abs(ours - expected).max() < 1e-5 * (1 + np.abs(expected).max())


def test_a_model_that_frames_in_another_way_is_refused(node, tmp_path, capsys):
    assert device_site.main(["--model", str(tiny_model.write(tmp_path / "m")), "--output", str(tmp_path / "o")]) == 2
    assert "export the model again" in capsys.readouterr().err


# The page's JavaScript, by itself


def run(*command, **options):
    done = subprocess.run(command, cwd=SOURCES, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_javascript_is_typed_and_passes_its_own_tests(node):
    run("npm", "run", "lint")
    run("npm", "test")


def edge_cases():
    """Manifests and outputs where rounding, ties, thresholds and overflow could part two implementations."""
    draw = np.random.default_rng(2)
    for labels in (HAM7, ISIC8):
        content = tiny_model.manifest(labels, b"")
        n = len(labels)
        logits = [*draw.normal(0, 3, (40, n)), np.zeros(n), np.full(n, -700.0), np.eye(n)[2] * 1e4, np.eye(n)[4] * -1e4]
        for i, values in enumerate(logits):
            domain = {"method": "energy" if i % 2 else "mahalanobis", "threshold": 0.5, "kept": 0.95}
            outputs = [*content["outputs"], "domain"]
            changed = content | {"domain": domain, "outputs": outputs, "measured_on": "validation" if i % 3 else "test"}
            yield Manifest._from_content(changed), values.astype(np.float32), (0.5, 0.49)[i % 4 // 2]


def test_decisions_and_words_are_the_servers(node):
    cases = list(edge_cases())
    sent = [
        {"model": device_site.rules(m), "logits": x.tolist(), "domain": None if m.domain_method == "energy" else d}
        for m, x, d in cases
    ]
    shares = [0, 1e-9, 0.000999, 0.001, 0.0123, 0.2, 0.9989, 0.99901, 1]
    draw = np.random.default_rng(4)
    fits = (("squash", 300, 400), ("squash", 400, 300), ("center_crop", 300, 500), ("random_crop", 500, 301))
    maps = [draw.normal(0.3, 1, (4, 5)).astype(np.float32) for _ in fits] + [-np.ones((4, 5), np.float32)]
    overlays = [
        {
            "activation": a.ravel().tolist(),
            "grid": {"height": 4, "width": 5},
            "frame": {"height": h, "width": w},
            "fit": f,
        }
        for a, (f, h, w) in zip(maps, [*fits, fits[0]], strict=True)
    ]
    told = json.loads(
        run("node", "tests/cases.js", input=json.dumps({"decisions": sent, "overlays": overlays, "shares": shares}))
    )
    for (manifest, logits, domain), said in zip(cases, told["decisions"], strict=True):
        predictor = Predictor(manifest, None)
        values = logits.astype(np.float64)
        score = domain if manifest.domain_method != "energy" else np.logaddexp.reduce(values)
        expected = predictor._answer(values, float(score), None)
        shown = present.result("", np.zeros((1, 1, 3), np.uint8), expected, manifest)
        assert manifest.labels.codes[said["best"]] == expected.label
        assert np.allclose(said["probabilities"], list(expected.probabilities.values()), rtol=1e-12, atol=1e-300)
        assert np.allclose(said["scores"], list(expected.scores.values()), rtol=1e-12, atol=1e-300)
        assert said["malignantProbability"] == pytest.approx(expected.malignant_probability, abs=1e-14)
        assert said["domainScore"] == pytest.approx(expected.domain_score, rel=1e-12)
        assert (said["referral"], said["inDomain"]) == (expected.referral, expected.in_domain)
        assert (said["advice"], said["reason"]) == (shown.advice, shown.reason)
        assert (said["warning"], tuple(said["notices"])) == (shown.warning, shown.notices)
        assert [manifest.labels.codes[i] for i in said["ranking"]] == [row.diagnosis.code for row in shown.rows]
    assert told["shares"] == [present.percent(share) for share in shares]
    assert told["overlays"][-1] is None
    for activation, (fit, height, width), painted in zip(maps, fits, told["overlays"], strict=False):
        url = pictures.overlay(activation, (height, width), fit)
        expected = np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))), float)
        found = np.array(painted["data"], float).reshape(painted["height"], painted["width"], 4)
        assert found.shape == expected.shape
        assert np.abs(found[..., 3] - expected[..., 3]).max() <= 2
        assert np.abs((found - expected)[..., :3] * expected[..., 3:] / 255).max() <= 2


@pytest.mark.parametrize("fit", ["squash", "center_crop"])
@pytest.mark.parametrize(("width", "height"), [(600, 450), (81, 207), (16, 16), (161, 160), (2400, 17), (1632, 1224)])
def test_frames_are_fitted_to_the_byte_as_everywhere(node, tmp_path, width, height, fit):
    frame = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    said = run("node", "tests/fit.js", str(width), str(height), "160", fit, input=rgba(frame))
    assert np.array_equal(np.array(json.loads(said)).reshape(160, 160, 3), images.fit(frame, 160, fit))


# The page in a browser


@pytest.fixture
def elsewhere(site, tmp_path):
    """A copy of the built page, and its address under a plain web server."""
    shutil.copytree(site, tmp_path / "root" / "some" / "where")
    with offering(tmp_path / "root", "some/where") as offered:
        yield offered


@pytest.fixture(scope="module")
def home(site):
    with serving(
        PRETRAINED, prelude=f"import app.on_device, pathlib; app.on_device.SITE = pathlib.Path({str(site)!r})"
    ) as server:
        yield f"http://{server.host}:{server.port}"


@pytest.fixture(scope="module")
def visit(browser, home):
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


def jpeg(frame, **options):
    data = io.BytesIO()
    Image.fromarray(frame).save(data, "JPEG", quality=95, **options)
    return data.getvalue()


DECODE = """async text => {
  const {engine} = await import("./page.js");
  const frame = await engine.decode(new Blob([Uint8Array.from(atob(text), letter => letter.charCodeAt(0))]));
  return [btoa(Array.from(frame.data, value => String.fromCharCode(value)).join("")), frame.height, frame.width];
}"""


@pytest.mark.browser
def test_fifty_frames_get_the_same_numbers_as_from_native_onnx_runtime(visit, predictor):
    worst = largest_difference(visit, predictor, frames())
    print(f"largest difference in a probability: {worst:.1e}")
    assert worst < 1e-3


def decoded(page, content):
    text, height, width = page.evaluate(DECODE, base64.b64encode(content).decode())
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)[..., :3].astype(int)


def png(pixels, **options):
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG", **options)
    return data.getvalue()


@pytest.mark.browser
def test_images_are_decoded_as_the_server_decodes_them(visit):
    frame = draw_example("mel", 8)
    gamma = PngImagePlugin.PngInfo()
    gamma.add(b"gAMA", struct.pack(">I", 100_000))  # a screen would show it brighter; the network never saw that
    alpha = np.random.default_rng(1).integers(0, 256, (*frame.shape[:2], 1), dtype=np.uint8)
    turned = Image.Exif()
    turned[0x0112] = 6
    for content, near in (
        (png(frame), 0),
        (png(frame, pnginfo=gamma), 0),
        (png(np.concatenate([frame, alpha], axis=2)), 3),  # canvases keep colours multiplied by their opacity
        (jpeg(frame), 4),
        (jpeg(frame, exif=turned), 4),
    ):
        expected = images.decode(content).astype(int)
        found = decoded(visit, content)
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= near


@pytest.mark.browser
def test_what_cannot_be_used_is_said(visit, tmp_path):
    for content, words in (
        (b"no image", "no image that the browser can read"),
        (png(np.zeros((10, 40, 3), np.uint8)), "40 x 10 pixels; each side needs 16"),
        (b"\0" * (20 * 2**20 + 1), "at most 20971520 are accepted"),
    ):
        (tmp_path / "odd.png").write_bytes(content)
        visit.locator("#image").set_input_files(tmp_path / "odd.png")
        card = visit.get_by_role("article").filter(has_text=words)
        card.wait_for()
        assert card.get_by_role("heading").inner_text() == "odd.png"
    visit.get_by_role("button", name="Clear").click()
    assert visit.get_by_role("article").count() == 0


@pytest.mark.browser
def test_an_image_gets_its_card_and_nothing_of_it_is_sent(visit, predictor, home):
    frame = draw_example("bcc", 3)
    (expected,) = predictor.predict([frame])
    visit.locator("#image").set_input_files({"name": "lesion.png", "mimeType": "image/png", "buffer": png(frame)})
    card = visit.get_by_role("article").first
    card.wait_for()
    assert card.get_by_role("heading").inner_text() == expected.name
    shown = present.result("lesion.png", frame, expected, predictor.manifest)
    assert shown.reason in card.inner_text()
    assert f"Probability {present.percent(expected.probability)}" in card.locator(".odds").inner_text()
    assert re.search(r"\d+ ms in the network", card.inner_text())
    assert (
        f"lesion.png: {expected.name}, {present.percent(expected.probability)}. {shown.advice}."
        == visit.locator("#status").inner_text()
    )
    map, slider = card.get_by_role("img", name="Class activation map"), card.get_by_role("slider")
    assert map.is_visible()
    slider.fill("80")
    assert map.evaluate("canvas => canvas.style.opacity") == "0.8"
    kept(visit)
    assert {(method, body) for method, _, body in visit.asked} == {("GET", None)}
    assert strangers([url for _, url, _ in visit.asked], home) == []
    assert not [url for _, url, _ in visit.asked if "?" in url or len(url) > 100]
    assert visit.complaints == []


@pytest.mark.browser
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
    expected = np.asarray(draw(192, full=False), float)
    opaque = expected[..., 3:] == 255
    assert np.abs((np.array(pixels).reshape(192, 192, 4) - expected) * opaque).mean() < 1


@pytest.mark.browser
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
  document.addEventListener("securitypolicyviolation", event => blocked.add(event.effectiveDirective));
  await fetch("https://example.org/").catch(() => {});
  new Image().src = "https://example.org/pixel.png";
  document.body.append(Object.assign(document.createElement("script"), {textContent: "document.title = 'run'"}));
  try { new Worker(URL.createObjectURL(new Blob([""]))); } catch {}
  setTimeout("document.title = 'run'");
  await new Promise(resolve => setTimeout(resolve, 100));
  return [...blocked].sort();
}"""
DIRECTIVES = ["connect-src", "img-src", "script-src", "script-src-elem", "worker-src"]


@pytest.mark.browser
def test_the_policy_stops_what_it_should(visit, browser, home):
    assert visit.evaluate(BLOCKED) == DIRECTIVES
    visit.complaints.clear()
    other = browser.new_page()
    other.goto(home)
    compiled = "WebAssembly.compile(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0])).then(() => true, () => false)"
    assert visit.evaluate(compiled)
    assert not other.evaluate(compiled)
    other.close()


@pytest.mark.browser
def test_after_one_visit_it_works_anywhere_without_a_network_and_with_threads(browser, elsewhere):
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
    assert example(page, "a melanoma").get_by_role("heading").inner_text() == "Melanoma"
    assert page.evaluate("crossOriginIsolated"), "by the headers that the service worker keeps"
    assert {(method, length) for method, _, length in elsewhere.asked} == {("GET", 0)}
    context.close()


@pytest.mark.browser
def test_a_new_version_is_offered_whole_and_replaces_the_old_one(browser, elsewhere):
    folder = elsewhere.folder
    context = browser.new_context()
    page = context.new_page()
    page.goto(elsewhere.address)
    kept(page)
    graphics = "ort/ort-wasm-simd-threaded.asyncify.wasm"
    page.evaluate("name => fetch(name).then(response => response.blob())", graphics)  # as who chooses it does
    first = page.evaluate("caches.keys()")
    script, style = folder / "sw.js", folder / "device.css"
    style.write_text("main { color: rgb(0, 0, 0); }")
    script.write_text(device_site.service_worker(folder))
    style.write_text("main { color: rgb(1, 2, 3); }")  # as during an upload: of a later version than its hash
    failed = page.evaluate(
        "navigator.serviceWorker.ready.then(own => own.update()).then(own => new Promise(resolve =>"
        " own.installing.addEventListener('statechange', event => resolve(event.target.state))))"
    )
    assert failed == "redundant", "a file that belongs to another version stops it"
    script.write_text(device_site.service_worker(folder))
    os.utime(script, (time.time() + 9, time.time() + 9))  # a second is what web servers tell apart
    page.reload()
    button = page.get_by_role("button", name="Load it")
    button.wait_for(timeout=120_000)
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
