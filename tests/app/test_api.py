"""The API: its numbers, its errors, its tokens, and that it does what its description says."""

import io
import json

import numpy as np
import pytest
from jsonschema import Draft202012Validator

import tiny_model
from app.web import create_app
from app.web.problems import CODES
from app.web.settings import from_environment
from skinlesion.core import images
from skinlesion.core.errors import ConfigError
from skinlesion.core.taxonomy import ISIC8
from skinlesion.serving.manifest import Manifest
from skinlesion.serving.predictor import Predictor
from webapp import LESION, files, picture

TOKENS = ("correct-horse", "battery.staple==")


def check(schema: str, value: object, client) -> list:
    """What is wrong with ``value`` by one of the API description's own schemas."""
    document = client.get("/api/v1/openapi.json").json
    rules = {"$ref": f"#/components/schemas/{schema}", "components": document["components"]}
    return [error.message for error in Draft202012Validator(rules).iter_errors(value)]


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


def test_model_tells_what_is_public_and_nothing_else(tmp_path):
    folder = tiny_model.write(tmp_path, config={"data": "/home/somebody/data"}, versions={"python": "3"}, secret="x")
    client = create_app({"MODEL": folder}).test_client()
    answer = client.get("/api/v1/model").json
    written = json.loads((folder / "manifest.json").read_text())
    assert answer == {name: value for name, value in written.items() if name in answer}
    assert {"labels", "referral", "metrics", "sha256", "prior", "domain", "data", "licence"} <= set(answer)
    assert not {"config", "versions", "secret", "file", "prior_shift"} & set(answer)
    assert check("ModelDetails", answer, client) == []


def test_the_shipped_models_details_fit_the_description():
    client = create_app().test_client()
    answer = client.get("/api/v1/model").json
    assert answer["sha256"] == Manifest.read().sha256
    assert check("ModelDetails", answer, client) == []


# Errors


PROBLEMS = {
    "no file": ({}, 400, "missing"),
    "a form field instead of a file": ({"image": "text"}, 400, "missing"),
    "another field": ({"photo": (io.BytesIO(picture()), "a.png")}, 400, "missing"),
    "text": (files(b"no image at all"), 415, "unsupported-format"),
    "GIF": (files(picture(format="GIF")), 415, "unsupported-format"),
    "TIFF": (files(picture(format="TIFF")), 415, "unsupported-format"),
    "cut short": (files(picture(format="JPEG", size=(300, 300))[:-400]), 422, "unreadable"),
    "empty": (files(b""), 422, "unreadable"),
    "too small": (files(picture(size=(9, 200))), 422, "too-small"),
    "too many": (files(*[picture()] * 11), 413, "too-large"),
    "too many parts": ({f"field {i}": "x" for i in range(105)}, 413, "too-large"),
    "file too large": (files(picture() + bytes(images.MAX_BYTES)), 413, "too-large"),
    "request too large": (files(*[bytes(images.MAX_BYTES)] * 4), 413, "too-large"),
}  # fmt: skip


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


def test_pixels_are_limited_by_image_and_by_request(model):
    client = create_app({"MODEL": model, "MAX_PIXELS": 20_000, "MAX_REQUEST_PIXELS": 50_000}).test_client()
    small, large = picture(size=(200, 100)), picture(size=(201, 100))
    assert client.post("/api/v1/predict", data=files(small, small)).status_code == 200
    for sent, index, words in (((small, large), 1, "20,000 are accepted"), ((small,) * 3, 2, "50,000 pixels together")):
        answer = client.post("/api/v1/predict", data=files(*sent))
        assert (answer.status_code, answer.json["code"], answer.json["index"]) == (422, "too-many-pixels", index)
        assert words in answer.json["detail"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "image/png"},
        {"Content-Type": "application/json"},
        {"Content-Type": "multipart/form-data; boundary=x", "Content-Encoding": "gzip"},
    ],
    ids=["image", "JSON", "compressed"],
)
def test_a_body_that_is_no_form_is_refused_as_such(client, headers):
    answer = client.post("/api/v1/predict", data=picture(), headers=headers)
    assert (answer.status_code, answer.content_type) == (415, "application/problem+json")
    assert answer.json["code"] == "unsupported-media-type"
    assert check("Problem", answer.json, client) == []
    page = client.post("/", data=picture(), headers=headers)
    assert (page.status_code, page.mimetype) == (415, "text/html")


def test_who_sends_too_many_images_reads_how_many_may_be_sent(client):
    answer = client.post("/api/v1/predict", data=files(*[picture()] * 40))
    assert answer.status_code == 413
    assert "40 images" in answer.json["detail"]
    assert "at most 10" in answer.json["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/v1/nothing", 404, "not-found"),
        ("POST", "/api/nothing", 404, "not-found"),
        ("GET", "/api/v1/predict", 405, "method-not-allowed"),
        ("DELETE", "/api/v1/model", 405, "method-not-allowed"),
        ("POST", "/healthz", 405, "method-not-allowed"),
    ],
)
def test_api_routing_errors_are_problems(client, method, path, status, code):
    answer = client.open(path, method=method)
    assert (answer.status_code, answer.content_type, answer.json["code"]) == (status, "application/problem+json", code)
    assert status != 405 or answer.headers["Allow"]


# Tokens


@pytest.fixture(scope="module")
def closed(model):
    """An API that asks for tokens."""
    return create_app({"MODEL": model, "TOKENS": TOKENS})


@pytest.mark.parametrize("path", ["/api/v1/predict", "/api/v1/model"])
def test_tokens_open_the_api(closed, path):
    client = closed.test_client()

    def ask(*headers):
        method = "POST" if path.endswith("predict") else "GET"
        data = files(picture()) if method == "POST" else None
        return client.open(path, method=method, data=data, headers=headers)

    for token in TOKENS:
        for scheme in ("Bearer", "bearer"):
            assert ask(("Authorization", f"{scheme} {token}")).status_code == 200
    wrong = ("Bearer correct-hors", "Bearer ", "Bearer", f"Basic {TOKENS[0]}", TOKENS[0], "Bearer " + ",".join(TOKENS))
    for sent in (*wrong, "Bearer \xe9"):
        answer = ask(("Authorization", sent))
        assert (answer.status_code, answer.json["code"]) == (401, "unauthorized")
        assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    answer = ask()
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")


def test_a_body_without_a_token_is_not_read(closed):
    """It would be refused as too large otherwise."""
    too_large = files(*[bytes(images.MAX_BYTES)] * 4)
    answer = closed.test_client().post("/api/v1/predict", data=too_large)
    assert (answer.status_code, answer.json["code"]) == (401, "unauthorized")


def test_health_and_description_need_no_token(closed):
    for path in ("/healthz", "/api/v1/openapi.json"):
        assert closed.test_client().get(path).status_code == 200


def test_tokens_come_from_the_environment():
    assert from_environment({"SKINLESION_TOKENS": "aB1, cD2="})["TOKENS"] == ("aB1", "cD2=")
    assert from_environment({"SKINLESION_TOKENS": ""})["TOKENS"] == ()
    for wrong in (",", " ", "good,two words", "gr\xfcn"):
        with pytest.raises(ConfigError, match="SKINLESION_TOKENS"):
            from_environment({"SKINLESION_TOKENS": wrong})


# The description


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
    assert check("PredictResponse", answer, client) == []
    assert check("Health", client.get("/healthz").json, client) == []
    del answer["predictions"][0]["scores"]
    assert check("PredictResponse", answer, client)  # the schema can say no


def test_openapi_names_every_code_once(client):
    document = client.get("/api/v1/openapi.json").json
    told = " ".join(response["description"] for response in document["components"]["responses"].values())
    assert all(told.count(f"`{code}`") == 1 for code in CODES)
    assert document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"] == list(CODES)


def test_openapi_asks_for_tokens_only_where_there_are_any(client, closed):
    for asked, expected in ((client, []), (closed.test_client(), [{"token": []}])):
        paths = asked.get("/api/v1/openapi.json").json["paths"]
        assert paths["/api/v1/predict"]["post"]["security"] == expected
        assert ("401" in paths["/api/v1/model"]["get"]["responses"]) == bool(expected)


def test_eight_labels_are_answered_as_described(tmp_path):
    client = create_app({"MODEL": tiny_model.write(tmp_path, ISIC8, with_map=False)}).test_client()
    answer = client.post("/api/v1/predict", data=files(picture())).json
    assert list(answer["predictions"][0]["probabilities"]) == list(ISIC8.codes)
    assert check("PredictResponse", answer, client) == []


def explore(application, examples: int) -> None:
    """Let schemathesis send valid and invalid requests to every address, and run all its checks on the answers."""
    import schemathesis  # two seconds, which every process that collects tests would take
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    @st.composite
    def pictures(draw) -> bytes:
        """Small valid files of every format that is accepted."""
        side = st.integers(images.MIN_SIDE, 40)
        color = draw(st.tuples(*[st.integers(0, 255)] * 3))
        return picture(color, (draw(side), draw(side)), draw(st.sampled_from(images.FORMATS)))

    schemathesis.openapi.format("binary", pictures())
    schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", application)
    met = set()

    def send_many(operation, mode) -> None:
        @settings(
            max_examples=examples,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def send(case) -> None:
            met.add((case.path, mode, case.call_and_validate().status_code))

        send()

    for operation in (result.ok() for result in schema.get_all_operations()):
        for mode in schemathesis.GenerationMode if operation.body else [schemathesis.GenerationMode.POSITIVE]:
            send_many(operation, mode)
    valid, invalid = schemathesis.GenerationMode
    for path in ("/api/v1/predict", "/api/v1/model", "/healthz"):
        assert {status for place, kind, status in met if (place, kind) == (path, valid)} == {200}
    assert {400, 415} & {status for _, kind, status in met if kind == invalid}


def test_schemathesis_finds_nothing(application):
    explore(application, examples=15)


@pytest.mark.soak
def test_schemathesis_finds_nothing_in_many_requests(application):
    explore(application, examples=1000)
