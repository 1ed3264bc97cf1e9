"""The Flask page and its API: through the test client, through the real server, and in a browser."""

import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from PIL import Image

import tiny_model
from app import create_app
from browser import LOW_CONTRAST, chromium, strangers, watch  # noqa: F401  (chromium is the fixture `browser`)
from skinlesion import images
from skinlesion.errors import ModelError
from skinlesion.serving.predictor import Predictor
from skinlesion.taxonomy import ISIC8

REPOSITORY = Path(__file__).resolve().parents[1]
LESION = (150, 80, 60)  # a colour that the tiny model has an answer to


def picture(color=LESION, size=(200, 150), format="PNG") -> bytes:
    data = io.BytesIO()
    Image.new("RGB", size, color).save(data, format)
    return data.getvalue()


def files(*contents: bytes) -> dict:
    return {"image": [(io.BytesIO(content), f"lesion {i}.png") for i, content in enumerate(contents)]}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model.write(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def application(model):
    return create_app({"MODEL": model, "THREADS": 1})


@pytest.fixture
def client(application):
    return application.test_client()


# The API


def test_api_gives_the_predictors_own_numbers_in_order(client, model):
    colors = [LESION, (30, 200, 90), (250, 240, 230)]
    answer = client.post("/api/v1/predict", data=files(*map(picture, colors)))
    assert answer.status_code == 200
    manifest = json.loads((model / "manifest.json").read_text())
    assert answer.json["model"] == {name: manifest[name] for name in ("name", "version", "sha256")}
    frames = [np.full((150, 200, 3), color, np.uint8) for color in colors]
    expected = [prediction.to_dict() for prediction in Predictor.load(model).predict(frames)]
    assert len({prediction["label"] for prediction in expected}) > 1  # so that the order shows
    for ours, theirs in zip(answer.json["predictions"], expected, strict=True):
        assert list(ours) == list(theirs)
        assert ours["label"] == theirs["label"]
        assert ours["probabilities"] == pytest.approx(theirs["probabilities"], abs=1e-6)


def test_health_names_the_model(client, model):
    answer = client.get("/healthz")
    sha256 = json.loads((model / "manifest.json").read_text())["sha256"]
    assert (answer.status_code, answer.json["status"], answer.json["model"]["sha256"]) == (200, "ok", sha256)


PROBLEMS = {
    "no file": ({}, 400, "missing"),
    "a form field instead of a file": ({"image": "text"}, 400, "missing"),
    "another field": ({"photo": (io.BytesIO(picture()), "a.png")}, 400, "missing"),
    "text": (files(b"no image at all"), 415, "unsupported-format"),
    "GIF": (files(picture(format="GIF")), 415, "unsupported-format"),
    "cut short": (files(picture(format="JPEG", size=(300, 300))[:-400]), 422, "unreadable"),
    "empty": (files(b""), 422, "unreadable"),
    "too small": (files(picture(size=(9, 200))), 422, "too-small"),
    "too many": (files(*[picture()] * 11), 413, "too-large"),
    "file too large": (files(picture() + bytes(images.MAX_BYTES)), 413, "too-large"),
    "request too large": (files(*[bytes(images.MAX_BYTES)] * 4), 413, "too-large"),
}


@pytest.mark.parametrize(("data", "status", "code"), PROBLEMS.values(), ids=PROBLEMS)
def test_api_problems_have_status_and_stable_code(client, data, status, code):
    answer = client.post("/api/v1/predict", data=data, content_type="multipart/form-data")
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json")
    assert answer.json["code"] == code
    assert answer.json["status"] == status
    assert answer.json["detail"]
    assert check("Problem", answer.json, client) == []


def test_api_names_the_image_that_cannot_be_used(client):
    answer = client.post("/api/v1/predict", data=files(picture(), b"nonsense", picture()))
    assert answer.status_code == 415
    assert answer.json["index"] == 1
    assert "lesion 1.png" in answer.json["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/v1/nothing", 404, "not-found"),
        ("GET", "/api/v1/predict", 405, "method-not-allowed"),
        ("POST", "/healthz", 405, "method-not-allowed"),
    ],
)
def test_api_routing_errors_are_problems(client, method, path, status, code):
    answer = client.open(path, method=method)
    assert (answer.status_code, answer.content_type, answer.json["code"]) == (status, "application/problem+json", code)
    assert status != 405 or answer.headers["Allow"]


def check(schema: str, value: object, client) -> list:
    """What is wrong with ``value`` by one of the API description's own schemas."""
    document = client.get("/api/v1/openapi.json").json
    rules = {"$ref": f"#/components/schemas/{schema}", "components": document["components"]}
    return [error.message for error in Draft202012Validator(rules).iter_errors(value)]


def test_openapi_describes_what_the_api_answers(client):
    document = client.get("/api/v1/openapi.json").json
    assert document["openapi"].startswith("3.1")
    described = {(path, method.upper()) for path, methods in document["paths"].items() for method in methods}
    routes = {
        (rule.rule, method)
        for rule in client.application.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
        if rule.endpoint.startswith("api.")
    }
    assert described == routes
    answer = client.post("/api/v1/predict", data=files(picture())).json
    assert check("Answer", answer, client) == []
    assert check("Health", client.get("/healthz").json, client) == []
    del answer["predictions"][0]["scores"]
    assert check("Answer", answer, client)  # the schema can say no


def test_eight_labels_and_no_map_are_served(tmp_path):
    folder = tiny_model.write(tmp_path, ISIC8, with_map=False)
    client = create_app({"MODEL": folder}).test_client()
    answer = client.post("/api/v1/predict", data=files(picture())).json
    assert list(answer["predictions"][0]["probabilities"]) == list(ISIC8.codes)
    assert check("Answer", answer, client) == []
    assert "Squamous cell carcinoma" in client.post("/", data=files(picture())).text


# The page


def test_page_shows_class_probabilities_advice_and_warnings(client, model):
    prediction = Predictor.load(model).predict([np.full((150, 200, 3), LESION, np.uint8)])[0]
    answer = client.post("/", data=files(picture()))
    text = re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", answer.text))
    assert answer.status_code == 200
    assert f'data-label="{prediction.label}"' in answer.text
    assert prediction.name in text
    for probability in prediction.probabilities.values():
        assert f"{probability:.1%}" in text or "under 0.1%" in text
    assert ("Refer to a dermatologist" in text) == (prediction.referral == "refer")
    assert "operating point of 40.0%" in text
    assert "sensitivity 90.0% (95% interval 84.0% to 95.0%) on 123 images" in text
    assert ("does not look like" in text) == (not prediction.in_domain)
    assert "trained on synthetic demo images" in text
    assert "no medical device" in text
    assert "2026.01.02-0123abcd" in text
    assert "data:image/jpeg;base64," in answer.text


def test_page_advice_and_domain_notice_follow_the_prediction(client, model):
    """Both sides of both decisions are shown."""
    draw = np.random.default_rng(0)
    seen = set()
    for color in draw.integers(0, 256, (40, 3)).tolist():
        prediction = Predictor.load(model).predict([np.full((150, 200, 3), color, np.uint8)])[0]
        kind = (prediction.referral, prediction.in_domain)
        if kind in seen:
            continue
        seen.add(kind)
        text = client.post("/", data=files(picture(tuple(color)))).text
        assert ("Refer to a dermatologist" in text, "does not look like" in text) == (kind[0] == "refer", not kind[1])
    assert len(seen) == 4


def test_page_without_synthetic_data_has_no_demo_notice(tmp_path):
    folder = tiny_model.write(tmp_path, data={"source": "ham10000", "synthetic": False})
    assert "synthetic" not in create_app({"MODEL": folder}).test_client().get("/").text


def test_page_shows_good_and_bad_images_side_by_side(client):
    answer = client.post("/", data=files(picture(), b"nonsense", picture((20, 90, 160))))
    assert answer.status_code == 415
    assert answer.text.count("data-label=") == 2
    assert answer.text.count("This image cannot be used") == 1


def test_page_without_a_file_asks_for_one(client):
    answer = client.post("/", data={"image": (io.BytesIO(b""), "")}, content_type="multipart/form-data")
    assert answer.status_code == 400
    assert 'role="alert"' in answer.text
    assert "<form" in answer.text


def test_page_escapes_file_names(client):
    answer = client.post("/", data={"image": (io.BytesIO(picture()), "<script>alert(1)</script>.png")})
    assert "<script" not in answer.text
    assert "&lt;script&gt;" in answer.text


def test_page_errors_are_pages(client):
    answer = client.get("/nowhere")
    assert (answer.status_code, answer.mimetype) == (404, "text/html")
    assert "<h1>Not Found</h1>" in answer.text


# Safety


HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("POST", "/"), ("GET", "/nowhere"), ("POST", "/api/v1/predict"), ("GET", "/healthz"),
     ("GET", "/static/page.css"), ("GET", "/static/none.css"), ("DELETE", "/")],
)  # fmt: skip
def test_every_response_carries_the_security_headers(client, method, path):
    answer = client.open(path, method=method)
    policy = answer.headers["Content-Security-Policy"]
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert policy.startswith("default-src 'none';")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert path == "/static/page.css" or answer.headers["Cache-Control"] == "no-store"


def test_a_failure_of_ours_is_an_error_500_without_details(model, monkeypatch):
    application = create_app({"MODEL": model})
    monkeypatch.setattr(Predictor, "predict", lambda *_: 1 / 0)
    for path, kind in (("/", "text/html"), ("/api/v1/predict", "application/problem+json")):
        answer = application.test_client().post(path, data=files(picture()))
        assert (answer.status_code, answer.mimetype) == (500, kind)
        assert "ZeroDivision" not in answer.text
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS


def test_a_bad_model_stops_the_start(tmp_path):
    with pytest.raises(ModelError):
        create_app({"MODEL": tmp_path})


def test_the_app_starts_without_torch_pandas_and_matplotlib(model):
    code = (
        "import io, sys; from app import create_app; import app.__main__\n"
        "from PIL import Image\n"
        "data = io.BytesIO(); Image.new('RGB', (60, 40), 'brown').save(data, 'PNG'); data.seek(0)\n"
        "client = create_app({'MODEL': sys.argv[1]}).test_client()\n"
        "assert client.post('/', data={'image': (data, 'a.png')}).status_code == 200\n"
        "print(*sorted({'torch', 'pandas', 'matplotlib', 'sklearn', 'scipy'} & set(sys.modules)))\n"
        "print(*sorted(name for name in sys.modules if name.startswith('skinlesion.')))"
    )
    command = [sys.executable, "-c", code, str(model)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY)
    heavy, ours = done.stdout.splitlines()
    assert heavy == ""
    assert set(ours.split()) == {
        "skinlesion.errors", "skinlesion.images", "skinlesion.taxonomy",
        "skinlesion.serving", "skinlesion.serving.manifest", "skinlesion.serving.predictor",
    }  # fmt: skip


# The real server


@pytest.fixture(scope="module")
def errors(tmp_path_factory):
    """What the real server writes to standard error."""
    return tmp_path_factory.mktemp("server") / "errors.txt"


@pytest.fixture(scope="module")
def server(model, errors):
    """``python -m app`` on a free port, in which no temporary file can be made; gives (address, port)."""
    code = (
        "import sys, tempfile\n"
        f"tempfile.tempdir = {str(errors.parent / 'nowhere')!r}\n"
        "from app.__main__ import main\n"
        "sys.exit(main(['--port', '0', '--model', sys.argv[1]]))"
    )
    command = [sys.executable, "-c", code, str(model)]
    with errors.open("w") as log:
        process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=log, text=True)
        line = process.stdout.readline()
        yield re.search(r"http://([\d.]+):(\d+)/", line).groups()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def body_of(data: bytes, count: int) -> tuple[bytes, dict]:
    part = b'--edge\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n' + data + b"\r\n"
    return part * count + b"--edge--\r\n", {"Content-Type": "multipart/form-data; boundary=edge"}


def ask(server, method: str, path: str, body=None, headers=None):
    connection = http.client.HTTPConnection(*server, timeout=30)
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    return answer, answer.read()


def test_server_listens_on_loopback_and_names_nothing_of_itself(server):
    assert server[0] == "127.0.0.1"
    answer, _ = ask(server, "GET", "/healthz")
    assert answer.status == 200
    assert "waitress" not in str(answer.headers).lower()


def test_server_keeps_large_uploads_and_results_off_the_disk(server, errors):
    """No temporary file can be made in that process: spooling fails the request, or leaves a traceback."""
    noise = np.random.default_rng(0).integers(0, 256, (400, 600, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(noise).save(data, "PNG")
    assert len(data.getvalue()) > 2**19  # beyond what Werkzeug and waitress would keep in memory by themselves
    for path in ("/", "/api/v1/predict"):
        answer, text = ask(server, "POST", path, *body_of(data.getvalue(), count=9))
        assert answer.status == 200, text
        assert path != "/" or len(text) > 2**20  # as is the page, with its previews
    assert errors.read_text() == ""


def test_server_refuses_too_large_a_body_from_its_length_alone(server):
    with socket.create_connection((server[0], int(server[1])), timeout=20) as raw:
        raw.sendall(b"POST /api/v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
        answer = http.client.HTTPResponse(raw)
        answer.begin()
        problem = json.loads(answer.read())
    assert (answer.status, problem["code"]) == (413, "too-large")
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS


def run_app(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "app", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, timeout=60)


def test_server_says_in_one_line_what_stops_it(model, server, tmp_path):
    for arguments, words in (
        (("--model", str(tmp_path)), "make reports"),
        (("--model", str(model), "--port", server[1]), "choose another --port"),
    ):
        done = run_app(*arguments)
        assert done.returncode == 2
        assert done.stdout == ""
        assert words in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_server_refuses_a_port_that_is_none():
    done = run_app("--port", "70000")
    assert done.returncode == 2
    assert "from 0 to 65535" in done.stderr


# In a browser


@pytest.mark.browser
@pytest.mark.parametrize(
    ("width", "scheme", "script"), [(375, "light", True), (1440, "dark", True), (375, "dark", False)]
)
def test_a_person_uploads_images_and_reads_the_answers(browser, server, model, tmp_path, scheme, width, script):
    colors = {"one.png": LESION, "two.jpg": (30, 200, 90)}
    for name, color in colors.items():
        Image.new("RGB", (300, 200), color).save(tmp_path / name, quality=95)
    expected = Predictor.load(model).predict([images.read(tmp_path / name) for name in colors])
    context = browser.new_context(
        viewport={"width": width, "height": 812}, color_scheme=scheme, java_script_enabled=script
    )
    page = context.new_page()
    requests = watch(page)
    home = f"http://{server[0]}:{server[1]}/"
    page.goto(home)
    looks(page, "form", width, scheme, script)
    page.get_by_label("Images").set_input_files([tmp_path / name for name in colors])
    page.get_by_role("button", name="Classify").click()
    page.get_by_role("heading", name="Results for 2 images").wait_for()
    assert page.locator("h2").all_inner_texts() == [prediction.name for prediction in expected]
    for card, prediction in zip(page.get_by_role("article").all(), expected, strict=True):
        shown = [row.locator("td").first.inner_text() for row in card.locator("tbody tr").all()]
        ordered = sorted(prediction.probabilities.values(), reverse=True)
        assert [float(text.strip("underov %")) for text in shown] == pytest.approx([100 * p for p in ordered], abs=0.11)
        assert card.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 300
    looks(page, "result", width, scheme, script)
    assert strangers(requests, home) == []
    context.close()


def looks(page, name: str, width: int, scheme: str, script: bool) -> None:
    """Nothing overflows sideways, nothing is hard to read; a screenshot where SCREENSHOTS names a folder."""
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}-{width}-{scheme}.png", full_page=True)
    if script:  # else the page cannot be asked
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert page.evaluate(LOW_CONTRAST) == []


@pytest.mark.browser
def test_the_form_works_by_keyboard_alone(browser, server):
    page = browser.new_page()
    page.goto(f"http://{server[0]}:{server[1]}/")
    names = []
    for _ in range(6):
        page.keyboard.press("Tab")
        names.append(page.evaluate("(document.activeElement.labels?.[0] ?? document.activeElement).textContent.trim()"))
    assert names[0] == "Skip to content"
    assert names.index("Images") < names.index("Classify")
    page.close()
