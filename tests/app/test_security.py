"""What SECURITY.md promises of the app, line by line; each test tries what it says is impossible."""

import ast
import io
import logging
import os
import re
import subprocess
import sys

import pytest
from flask import request
from PIL import Image

import tiny_model
from app.web import create_app
from app.web.settings import LOOPBACK, from_environment
from bombs import chunk, png
from skinlesion.core.errors import ConfigError, ModelError
from skinlesion.serving.predictor import Predictor
from small import encoded
from webapp import HEADERS, PAGES, REPOSITORY, files, picture, send_form

# Headers


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("POST", "/"), ("GET", "/nowhere"), ("POST", "/api/v1/predict"), ("GET", "/healthz"),
     ("GET", "/static/page.css"), ("GET", "/static/none.css"), ("DELETE", "/"), ("OPTIONS", "/api/v1/predict")],
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
    """And it gives back its place: there is room for one upload only."""
    application = create_app({"MODEL": model, "WORKERS": 1, "QUEUE": 0})
    monkeypatch.setattr(Predictor, "predict", lambda *_, **__: 1 / 0)
    client = application.test_client()
    for answer, kind in (
        (send_form(client, files(picture())), "text/html"),
        (client.post("/api/v1/predict", data=files(picture())), "application/problem+json"),
    ):
        assert (answer.status_code, answer.mimetype) == (500, kind)
        assert "ZeroDivision" not in answer.text
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS


def test_debugging_is_off(application):
    assert not application.debug
    assert not application.testing


# Other sites


@pytest.mark.parametrize("path", ["/", "/api/v1/predict"])
@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "http://localhost.evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "http://localhost"}, True),
        ({}, True),
    ],
)
def test_other_sites_cannot_send_anything_through_a_browser(client, path, headers, allowed):
    answer = client.post(path, data=files(picture()), headers=headers)
    assert answer.status_code == (200 if allowed else 403)
    assert allowed or path == "/" or answer.json["code"] == "forbidden"


@pytest.mark.parametrize("path", PAGES)
def test_there_are_no_cookies(client, path):
    assert "Set-Cookie" not in client.get(path).headers
    assert "Set-Cookie" not in send_form(client, files(picture())).headers


@pytest.mark.parametrize("path", ["/", "/healthz", "/api/v1/openapi.json", "/static/page.css", "/nowhere"])
def test_foreign_host_names_are_refused(client, path):
    """DNS rebinding: a name that another person made point here."""
    for name in (
        "evil.example",
        "localhost.evil.example",
        "evil.example:5000",
        "127.0.0.1.evil.example",
        "a b",
        "[::1",
    ):
        answer = client.get(path, headers={"Host": name})
        assert answer.status_code == 400
        assert {header: answer.headers[header] for header in HEADERS} == HEADERS
    for name in ("localhost", "LOCALHOST:5000", "127.0.0.1:80", "[::1]:5000"):
        assert client.get(path, headers={"Host": name}).status_code in (200, 404)


def test_host_names_come_from_the_environment_and_the_address():
    hosts = from_environment({"SKINLESION_HOSTS": "Lab.example, skin.example"}, host="192.0.2.7")["HOSTS"]
    assert hosts == LOOPBACK | {"lab.example", "skin.example", "192.0.2.7"}
    assert from_environment({})["HOSTS"] == LOOPBACK


# Behind a proxy, under a path of its own


def test_behind_a_proxy_every_address_has_its_prefix(model):
    client = create_app({"MODEL": model, "PROXIES": 1}).test_client()
    headers = {"X-Forwarded-Prefix": "/skin", "X-Forwarded-Proto": "https"}
    for path in PAGES:
        page = client.get(path, headers=headers)
        found = re.findall(r'(?:href|src|action)="(/[^"]*)"', page.text)
        assert page.status_code == 200 and found and all(address.startswith("/skin/") for address in found)
    assert "https://localhost/skin/api/v1/predict" in client.get("/api", headers=headers).text
    assert client.get("/api/v1/openapi.json", headers=headers).json["servers"] == [{"url": "/skin"}]


def test_without_the_setting_no_proxy_is_believed(model):
    headers = {"X-Forwarded-Prefix": "/skin", "X-Forwarded-Host": "evil.example", "X-Forwarded-For": "203.0.113.9"}
    page = create_app({"MODEL": model}).test_client().get("/", headers=headers)
    assert page.status_code == 200 and "/skin" not in page.text and "evil" not in page.text


def test_the_headers_that_nginx_is_told_to_set_are_those_that_it_takes(model):
    """As nginx would send them for a request to https://lab.example/skin/, whatever the client had put into them."""
    told = (REPOSITORY / "SECURITY.md").read_text()
    written = re.findall(r"^proxy_set_header (X-Forwarded-\w+) (\S+);$", told, re.MULTILINE)
    values = {"$remote_addr": "203.0.113.9", "$scheme": "https", "$http_host": "lab.example"}
    headers = {name: values.get(value, value) for name, value in written}
    app = create_app({"MODEL": model, "PROXIES": 1, "HOSTS": {"lab.example"}})
    seen = []
    app.before_request(lambda: seen.append((request.remote_addr, request.url)))
    page = app.test_client().get("/api", headers=headers | {"Host": "lab.example"})
    assert seen == [("203.0.113.9", "https://lab.example/skin/api")]
    assert "https://lab.example/skin/api/v1/predict" in page.text


def test_a_proxy_brings_no_foreign_host_name_in(model):
    client = create_app({"MODEL": model, "PROXIES": 1}).test_client()
    for host, status in (("localhost", 200), ("evil.example", 400)):
        assert client.get("/", headers={"X-Forwarded-Host": host}).status_code == status


@pytest.mark.parametrize("value", ["yes", "-1", "10"])
def test_a_number_of_proxies_that_cannot_be_is_a_clear_error(value):
    with pytest.raises(ConfigError, match="SKINLESION_PROXIES"):
        from_environment({"SKINLESION_PROXIES": value})


# Too often


def test_each_client_gets_its_rate_and_not_more(model, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 1000.0)  # all within one minute, however busy the machine is
    application = create_app({"MODEL": model, "RATE": 3})

    def ask(address, path="/api/v1/openapi.json", method="GET"):
        return application.test_client().open(path, method=method, environ_base={"REMOTE_ADDR": address})

    assert [ask("192.0.2.1").status_code for _ in range(4)] == [200, 200, 200, 429]
    refused = ask("192.0.2.1", "/", "POST")
    assert (refused.status_code, refused.mimetype) == (429, "text/html")
    assert 1 <= int(refused.headers["Retry-After"]) <= 61  # a minute, rounded up
    assert ask("192.0.2.1").json["code"] == "too-many-requests"
    assert ask("192.0.2.2").status_code == 200
    assert [ask("192.0.2.1", path).status_code for path in ("/", "/healthz", "/static/page.css")] == [200] * 3
    networks = ("2001:db8::1", "2001:db8::2", "2001:db8::ffff:1", "2001:db8::3")
    assert [ask(address).status_code for address in networks] == [200, 200, 200, 429]


def test_a_client_may_come_back_after_as_long_as_it_was_told(model, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr("time.time", lambda: clock[0])
    client = create_app({"MODEL": model, "RATE": 6}).test_client()

    def ask():
        return client.get("/api/v1/openapi.json")

    assert [ask().status_code for _ in range(7)] == [200] * 6 + [429]
    clock[0] += int(ask().headers["Retry-After"])
    assert ask().status_code == 200
    clock[0] += 120
    assert [ask().status_code for _ in range(7)] == [200] * 6 + [429]


def test_there_is_a_rate_where_strangers_are():
    assert from_environment({})["RATE"] == 0
    assert from_environment({}, host="0.0.0.0")["RATE"] > 0
    assert from_environment({"SKINLESION_RATE": "7"})["RATE"] == 7
    for wrong in ("-1", "many", "1.5"):
        with pytest.raises(ConfigError, match="SKINLESION_RATE"):
            from_environment({"SKINLESION_RATE": wrong})


# What stays behind


def test_nothing_about_an_image_is_logged(model, caplog, capfd):
    """Neither names nor contents nor errors nor tokens, even where every library logs all it can."""
    client = create_app({"MODEL": model, "TOKENS": ("sesame-open",)}).test_client()
    tags = Image.Exif()
    tags[0x010E] = "patient-name-in-exif"
    good = encoded(Image.new("RGB", (64, 48), (150, 80, 60)), "JPEG", exif=tags)
    caplog.set_level(logging.DEBUG)
    for content in (good, good[:-90], picture(format="TIFF"), png(extra=chunk(b"tEXt", b"a\0patient-name-in-png"))):
        data = {"image": (io.BytesIO(content), "patient-name-in-file.jpg")}
        client.post("/api/v1/predict", data=data, headers={"Authorization": "Bearer sesame-open"})
        send_form(client, {"image": (io.BytesIO(content), "patient-name-in-file.jpg")})
    client.get("/api/v1/model", headers={"Authorization": "Bearer sesame-wrong"})
    written = capfd.readouterr()
    assert [record.getMessage() for record in caplog.records] == []
    assert (written.out, written.err) == ("", "")


# The model


def test_a_changed_model_stops_the_start(tmp_path):
    folder = tiny_model.write(tmp_path)
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes() + b"\0")
    with pytest.raises(ModelError, match="SHA-256 differs"):
        create_app({"MODEL": folder})
    with pytest.raises(ModelError):
        create_app({"MODEL": tmp_path / "nowhere"})


def test_serving_unpickles_nothing():
    """No module that the app loads of ours names a way to run what a file says."""
    forbidden = {"pickle", "marshal", "shelve", "dill", "joblib", "eval", "exec", "torch"}
    folders = ("app", "lib/skinlesion/serving", "lib/skinlesion/core")
    sources = [source for folder in folders for source in (REPOSITORY / folder).rglob("*.py")]
    assert len(sources) > 40
    for source in sources:
        for node in ast.walk(ast.parse(source.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [node.func.id] if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else []
            assert not forbidden & {name.split(".")[0] for name in names}, source


def test_the_app_starts_without_torch_pandas_and_matplotlib(model):
    code = (
        "import io, sys; from app.web import create_app; import app.web.__main__\n"
        "from PIL import Image\n"
        "data = io.BytesIO(); Image.new('RGB', (60, 40), 'brown').save(data, 'PNG'); data.seek(0)\n"
        "client = create_app({'MODEL': sys.argv[1]}).test_client()\n"
        "assert client.post('/api/v1/predict', data={'image': (data, 'a.png')}).status_code == 200\n"
        "print(*sorted({'torch', 'pandas', 'matplotlib', 'sklearn', 'scipy', 'pickle5'} & set(sys.modules)))\n"
        "print(*sorted(name for name in sys.modules if name.split('.')[:2] in (['skinlesion', 'data'],"
        " ['skinlesion', 'training'], ['skinlesion', 'evaluation'], ['skinlesion', 'pipeline'])))"
    )
    command = [sys.executable, "-c", code, str(model)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert done.stdout.split() == []


def test_nothing_is_reported_to_anybody(model, tmp_path):
    """ONNX Runtime would begin with an identifier of this machine and a store of what to report."""
    code = (
        "import sys; import numpy as np; from skinlesion.serving.predictor import Predictor\n"
        "print(Predictor.load(sys.argv[1]).predict([np.zeros((40, 60, 3), np.uint8)])[0].label)"
    )
    quiet = {"ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "CI", "GITHUB_ACTIONS", "XDG_CACHE_HOME"}
    environment = {name: value for name, value in os.environ.items() if name not in quiet} | {"HOME": str(tmp_path)}
    command = [sys.executable, "-c", code, str(model)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY, env=environment)
    assert done.stdout.strip() and list(tmp_path.rglob("*")) == []


def test_each_line_of_the_threat_table_names_tests_that_exist():
    threats = (REPOSITORY / "SECURITY.md").read_text().partition("## Threats")[2]
    rows = re.findall(r"^\|(?! *threat|-).*\|(.*)\|$", threats, re.MULTILINE)
    assert len(rows) > 15
    for proof in rows:
        named = re.findall(r"`(test_\w+)\.py::(test_\w+)`", proof)
        assert named, proof
        for module, test in named:
            assert f"def {test}(" in (REPOSITORY / "tests" / "app" / f"{module}.py").read_text(), (module, test)
