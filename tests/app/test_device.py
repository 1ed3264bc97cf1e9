"""The on-device page as the app serves it and as it is built; its JavaScript by itself decides as the server does."""

import base64
import contextlib
import io
import json
import re
import shutil
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
from PIL import Image

import tiny_model
from app import pictures, present
from app.device import build
from app.device.__main__ import main
from app.device.page import SOURCES, model_facts, node_needed
from app.headers import DEVICE_HEADERS
from app.web import create_app
from device import built, install, rgba, shipped  # noqa: F401  (the fixtures `site` and `predictor`)
from skinlesion.core import framing
from skinlesion.core.framing import join_maps
from skinlesion.core.taxonomy import HAM7, ISIC8
from skinlesion.data.demo.dataset import draw_example
from skinlesion.serving.manifest import Manifest
from skinlesion.serving.predictor import Predictor
from webapp import HEADERS

STRICT = "default-src 'none'; script-src 'self'; style-src 'self'"  # how the other pages' policy begins


@pytest.fixture(scope="module")
def node():
    install()


def client_of(site, tmp_path):
    """A client of an app with the tiny model; where there is a page, it is of that model."""
    model = tiny_model.write(tmp_path / "model")
    if site.exists():
        (site / "model.json").write_text(json.dumps({"file": "network.onnx", **model_facts(Manifest.read(model))}))
    return create_app({"MODEL": model, "SITE": site}).test_client()


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


@pytest.mark.parametrize(
    "other", [{"version": "2025.01.01-00000000"}, {"threshold": 0.4321}, {"crops": 2}, {"measured": "Nobody knows."}]
)
def test_a_page_of_another_model_is_not_shown_but_how_to_build_it_again(tmp_path, other):
    site = tmp_path / "site"
    site.mkdir()
    (site / "index.html").write_text("<header><!-- navigation --></header>")
    client = client_of(site, tmp_path)
    assert "make site" not in client.get("/device/").text
    known = json.loads((site / "model.json").read_text())
    (site / "model.json").write_text(json.dumps(known | other))
    answer = client.get("/device/").text
    assert "built with another model" in answer and "make site" in answer
    assert (known | other)["version"] in answer and known["version"] in answer
    del known["measured"]  # an older page
    (site / "model.json").write_text(json.dumps(known))
    assert "built with another model" in client.get("/device/").text


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
        assert {name: answer.headers[name] for name in (*HEADERS, *DEVICE_HEADERS)} == HEADERS | DEVICE_HEADERS
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
    monkeypatch.setattr(build, "_run", lambda *_, **__: "v18.19.0\n")
    monkeypatch.setattr(shutil, "which", lambda name: name)
    assert main([]) == 2
    assert re.search(r"needs Node.js \d+ or newer, not v18", capsys.readouterr().err)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert main([]) == 2
    assert "install them first" in capsys.readouterr().err
    (tmp_path / "thesis.txt").touch()
    assert main(["--output", str(tmp_path)]) == 2
    assert "name a new folder" in capsys.readouterr().err
    assert main(["--output", str(tmp_path / "thesis.txt")]) == 2
    assert "name a new folder" in capsys.readouterr().err
    assert main(["--model", str(tmp_path)]) == 2
    assert (tmp_path / "thesis.txt").exists()


def test_make_app_starts_without_the_page_but_stops_at_a_wrong_model(monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(build, "_run", lambda *_, **__: "v18.19.0\n")
    assert main(["--missing", "--output", str(tmp_path / "site")]) == 1
    assert main(["--missing", "--model", str(tmp_path / "nowhere")]) == 2


# What is built


def test_packages_are_pinned_and_name_no_registry():
    lock = json.loads((SOURCES / "package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert all(entry["integrity"].startswith("sha512-") and "resolved" not in entry for entry in packages.values())
    package = json.loads((SOURCES / "package.json").read_text())
    named = package["dependencies"] | package["devDependencies"]
    assert all(re.fullmatch(r"[\d.]+", version) for version in named.values())


@pytest.mark.parametrize("side", [192, 512])
def test_icons_have_the_sizes_that_the_page_names_and_full_ones_no_corner_cut(side):
    for name, corner in (("icon", 0), ("icon-full", 255)):
        icon = np.asarray(Image.open(SOURCES / f"{name}-{side}.png"))
        assert icon.shape == (side, side, 4) and icon[0, 0, 3] == corner


def test_all_there_is_to_download_is_at_most_twenty_megabytes(site):
    parts = build.sizes(site)
    assert sum(parts.values()) < 20e6
    assert parts["model"] < 8e6
    assert 3e6 < parts["graphics"] < 6e6
    assert {path.suffix for path in site.rglob("network.onnx*")} == {".onnx", ".br", ".gz"}
    later = json.loads((site / "sw.js").read_text().removeprefix("const SITE = ").partition(";\n")[0])["later"]
    assert set(later) == {f"ort/{name}" for name in build.GRAPHICS}


def test_the_pages_file_is_the_model_without_its_framing(site, predictor):
    session = onnxruntime.InferenceSession(site / "network.onnx", providers=["CPUExecutionProvider"])
    made, frame = predictor.manifest, draw_example("mel", 5)
    fitted = framing.fit_crops(frame, made.image_size, made.fit, made.crops).astype(np.float32)
    names = ["logits", "other_camera", "not_dermatoscopic", "map"]
    whole = predictor._session.run(names, {"image": frame[None]})
    for ours, expected in zip(session.run(names, {"levels": fitted}), whole, strict=True):
        assert np.abs(ours - expected).max() < 1e-5 * (1 + np.abs(expected).max())


def test_a_model_that_frames_in_another_way_is_refused(node, tmp_path, capsys):
    assert main(["--model", str(tiny_model.write(tmp_path / "m")), "--output", str(tmp_path / "o")]) == 2
    assert "export the model again" in capsys.readouterr().err


# What it is built with


def test_two_builds_at_once_install_the_packages_once(tmp_path, monkeypatch):
    installed, asked, all_asked, lock = [], [], threading.Event(), build.lock

    def asking(*place, **how):
        asked.append(place)
        if len(asked) == 3:
            all_asked.set()
        return lock(*place, **how)

    def slow(*command, cwd=None):
        if command[0] == "npm":
            installed.append(command)
            assert all_asked.wait(300), "the others do not build meanwhile"
            (cwd / "node_modules").mkdir()
        return "v99.0.0"

    (tmp_path / "package-lock.json").write_text("{}")
    monkeypatch.setattr(build, "SOURCES", tmp_path)
    monkeypatch.setattr(build, "SITE", tmp_path / "build" / "site")
    monkeypatch.setattr(build, "_run", slow)
    monkeypatch.setattr(build, "lock", asking)
    monkeypatch.setattr(build, "node_needed", lambda: "20")
    monkeypatch.setattr(build.shutil, "which", lambda name: name)
    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(build.install) for _ in range(3)]:
            done.result()
    assert len(installed) == 1


def test_two_builds_at_once_do_not_write_into_each_others_page(tmp_path, monkeypatch):
    both = threading.Barrier(2)

    def copy(site):
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(1)  # passes only where two builds are here at once

    def written(manifest, weights, parts):
        return {"index.html": manifest.name}

    monkeypatch.setattr(build, "SITE", tmp_path / "build" / "site")
    monkeypatch.setattr(build, "install", lambda: None)
    for name, stand_in in {"_copy": copy, "_pack": print, "_model": print, "_written": written}.items():
        monkeypatch.setattr(build, name, stand_in)
    monkeypatch.setattr(build, "service_worker", lambda site: "")
    model = tiny_model.write(tmp_path / "model")
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(build.build_site, model, build.SITE) for _ in range(2)]:
            done.result()
    assert both.broken
    assert (build.SITE / "index.html").read_text() == Manifest.read(model).name
    assert [path.name for path in build.SITE.parent.iterdir() if path.is_dir()] == ["site"]


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
        sets = {"level": 0.9, "thresholds": dict.fromkeys(labels.codes, 0.1) | {"df": None}}
        for i, values in enumerate(logits):
            domain = {"other_camera": {"threshold": -0.5}, "not_dermatoscopic": {"threshold": 0.5}}
            changed = content | {"domain": domain, "measured_on": "validation" if i % 3 else "test"}
            changed |= {"prediction_set": sets if i % 2 else None, "melanoma_level": 0.2 if i % 5 else None}
            scores = {"other_camera": (-0.5, -0.6)[i % 2], "not_dermatoscopic": (0.5, 0.8, 0.6, 0.49)[i % 4]}
            yield Manifest._from_content(changed), values.astype(np.float32), scores
            decision = Manifest._from_content(changed).decision
            (p,) = decision.malignant_probability(decision.probabilities(values[None].astype(np.float32)))
            if 0.01 < p < 0.9:  # a threshold that rounds to it, and is none that it reaches
                near = changed["referral"] | {"threshold": float(p) + 2e-6, "borderline": float(p) - 3e-5}
                yield Manifest._from_content(changed | {"referral": near}), values.astype(np.float32), scores


def test_decisions_and_words_are_the_servers(node):
    cases = list(edge_cases())
    sent = [{"model": model_facts(m), "logits": x.tolist(), "domain": d} for m, x, d in cases]
    shares = [0, 1e-9, 0.000999, 0.001, 0.0123, 0.2, 0.9989, 0.99901, 1]
    draw = np.random.default_rng(4)
    fits = (
        *(("squash", 1, 300, 400), ("squash", 1, 400, 300), ("center_crop", 1, 300, 500), ("random_crop", 1, 500, 301)),
        *(("random_crop", 2, 450, 600), ("random_crop", 2, 500, 301), ("center_crop", 2, 300, 500)),
    )
    maps = [draw.normal(0.3, 1, (crops, 4, 5)).astype(np.float32) for _, crops, *_ in fits]
    maps.append(-np.ones((1, 4, 5), np.float32))
    overlays = [
        {
            "maps": a.ravel().tolist(),
            "size": {"height": 4 * crops, "width": 5},
            "frame": {"height": h, "width": w},
            "model": {"fit": f, "crops": crops},
        }
        for a, (f, crops, h, w) in zip(maps, [*fits, fits[0]], strict=True)
    ]
    told = json.loads(
        run("node", "tests/cases.js", input=json.dumps({"decisions": sent, "overlays": overlays, "shares": shares}))
    )
    for (manifest, logits, domain), said in zip(cases, told["decisions"], strict=True):
        fixed = SimpleNamespace(
            run=lambda names, feed, x=logits, d=domain: [x[None], *(np.array([d[n]]) for n in names[1:])]
        )
        (expected,) = Predictor(manifest, fixed).predict([np.zeros((1, 1, 3), np.uint8)], maps=False)
        shown = present.result("", np.zeros((1, 1, 3), np.uint8), expected, manifest)
        assert manifest.labels.codes[said["best"]] == expected.label
        assert np.allclose(said["probabilities"], list(expected.probabilities.values()), rtol=1e-12, atol=1e-300)
        assert np.allclose(said["scores"], list(expected.scores.values()), rtol=1e-12, atol=1e-300)
        assert said["malignantProbability"] == pytest.approx(expected.malignant_probability, abs=1e-14)
        assert said["domainScore"] == pytest.approx(expected.domain_score, rel=1e-12)
        assert (tuple(said["notices"]), said["predictionSet"]) == (
            expected.notices,
            expected.to_dict()["prediction_set"],
        )
        assert (said["referral"], said["inDomain"]) == (expected.referral, expected.in_domain)
        assert (said["advice"], said["reason"]) == (shown.advice, shown.reason)
        assert (tuple(said["said"]), said["differs"]) == (shown.notices, shown.label_differs)
        assert [manifest.labels.codes[i] for i in said["ranking"]] == [row.diagnosis.code for row in shown.rows]
    assert told["shares"] == [present.percent(share) for share in shares]
    assert told["overlays"][-1] is None
    for parts, (fit, crops, height, width), painted in zip(maps, fits, told["overlays"], strict=False):
        url = pictures.overlay(join_maps(parts, height, width), (height, width), fit, crops)
        expected = np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))), float)
        found = np.array(painted["data"], float).reshape(painted["height"], painted["width"], 4)
        assert found.shape == expected.shape
        assert np.abs(found[..., 3] - expected[..., 3]).max() <= 2
        assert np.abs((found - expected)[..., :3] * expected[..., 3:] / 255).max() <= 2


FITS = [("squash", 1), ("center_crop", 1), ("random_crop", 2)]
SIZES = [(600, 450), (81, 207), (16, 16), (161, 160), (2400, 17), (1632, 1224)]


def test_frames_are_fitted_to_the_byte_as_everywhere(node):
    frames = [
        np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8) for width, height in SIZES
    ]
    sent = [{"data": rgba(frame), "width": frame.shape[1], "height": frame.shape[0]} for frame in frames]
    given = json.dumps({"frames": sent, "size": 160, "fits": FITS})
    said = json.loads(run("node", "tests/cases.js", input=given))
    for frame, by_fit in zip(frames, said["frames"], strict=True):
        for (fit, crops), levels in zip(FITS, by_fit, strict=True):
            found = np.array(levels).reshape(crops, 160, 160, 3)
            assert np.array_equal(found, framing.fit_crops(frame, 160, fit, crops)), (frame.shape, fit)
