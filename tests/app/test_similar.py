"""Similar cases on page, view and API: of other lesions alone, never without advice, absent without an index."""

import base64
import io
import re
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image

import tiny_model
from app import words
from app.voila.view import View
from app.web import create_app
from browser import LOW_CONTRAST, chromium, violations  # noqa: F401 (a fixture)
from skinlesion.core.errors import ModelError
from skinlesion.serving import neighbours
from skinlesion.serving.neighbours import Neighbours
from skinlesion.serving.predictor import Predictor
from small import encoded
from webapp import PAGES, files, picture, send_form, serving

CASES = 9
HOW = ("histo", "confocal", "follow_up", "consensus", "unknown")
GREY = (40, 0, 40)  # too little green for the tiny model: not dermatoscopic


def case_picture(number: int) -> bytes:
    """A split picture, each its own, of about the same mean colour."""
    pixels = np.full((90, 120, 3), (150, 90, 70), np.uint8)
    pixels[: 10 * number] += 40
    pixels[10 * number :] -= 20
    return encoded(Image.fromarray(pixels), "JPEG")


@pytest.fixture(scope="module")
def place(tmp_path_factory, model):
    predictor, folder = Predictor.load(model), tmp_path_factory.mktemp("cases") / "index"
    frames = [np.asarray(Image.open(io.BytesIO(case_picture(number)))) for number in range(CASES)]
    rows = {
        "image_id": [f"case_{number}" for number in range(CASES)],
        "lesion_id": [f"lesion_{number}" for number in range(CASES)],
        "source": ["clinic"] * CASES,
        "label": ["mel", "nv", "bcc"] * 3,
        "confirmed": [HOW[number % 5] for number in range(CASES)],
    }
    features = predictor.features(frames)
    images = ((features[i], neighbours.thumbnail(frame), case_picture(i)) for i, frame in enumerate(frames))
    sources = {"clinic": {"kind": "csv"}}
    facts = {"model": predictor.manifest.sha256, "labels": list(predictor.manifest.labels.codes)}
    neighbours.write(folder, rows, np.arange(CASES), images, facts | {"data": {"sources": sources}})
    return folder


@pytest.fixture(scope="module")
def client(model, place):
    return create_app({"MODEL": str(model), "INDEX": str(place)}).test_client()


def nearest(model, data: bytes, without: str = "") -> list[str]:
    """The ids by a comparison of all features, one by one."""
    predictor = Predictor.load(model)
    query = predictor.features([np.asarray(Image.open(io.BytesIO(data)))])[0]
    cosine = {}
    for number in range(CASES):
        other = predictor.features([np.asarray(Image.open(io.BytesIO(case_picture(number))))])[0]
        cosine[f"case_{number}"] = query @ other / np.linalg.norm(query) / np.linalg.norm(other)
    return sorted((name for name in cosine if name != without), key=lambda name: -cosine[name])[:6]


def test_the_api_gives_the_six_nearest(client, model):
    data = picture()
    (one,) = client.post("/api/v1/predict", data=files(data)).json["predictions"]
    assert [case["image_id"] for case in one["similar"]] == nearest(model, data)
    number = int(one["similar"][0]["image_id"][-1])
    expected = {
        "image_id": f"case_{number}",
        "lesion_id": f"lesion_{number}",
        "source": "clinic",
        "label": ("mel", "nv", "bcc")[number % 3],
        "confirmed": HOW[number % 5],
        "name": ("Melanoma", "Melanocytic nevus", "Basal cell carcinoma")[number % 3],
    }
    assert one["similar"][0] == expected | {"similarity": pytest.approx(1, abs=0.2)}
    values = [case["similarity"] for case in one["similar"]]
    assert values == sorted(values, reverse=True)
    schema = client.get("/api/v1/openapi.json").json["components"]["schemas"]
    assert set(schema["Case"]["properties"]) == set(one["similar"][0])
    assert "similar" not in schema["Prediction"]["required"]


def test_a_case_of_the_index_is_not_shown_to_itself(client, model):
    (one,) = client.post("/api/v1/predict", data=files(case_picture(4))).json["predictions"]
    assert [case["image_id"] for case in one["similar"]] == nearest(model, case_picture(4), "case_4")
    first = nearest(model, picture())[0]
    for name in (f"{first}.png", f"folder/{first}.png", f"{first.replace('case', 'lesion')}.png"):
        (one,) = client.post("/api/v1/predict", data={"image": (io.BytesIO(picture()), name)}).json["predictions"]
        assert first not in [case["image_id"] for case in one["similar"]], name


def test_nothing_is_shown_without_advice_or_without_an_index(client, model):
    (one,) = client.post("/api/v1/predict", data=files(picture(GREY))).json["predictions"]
    assert (one["referral"], one["similar"]) == ("none", [])
    assert 'class="similar' not in send_form(client, files(picture(GREY))).text
    plain = create_app({"MODEL": str(model)}).test_client()
    assert "similar" not in plain.post("/api/v1/predict", data=files(picture())).json["predictions"][0]
    assert 'class="similar' not in send_form(plain, files(picture())).text


def test_the_page_shows_pictures_diagnoses_and_how_they_were_confirmed(client, model):
    html = send_form(client, files(picture())).text
    section = re.search(r'<section class="similar.*?</section>', html, re.DOTALL)[0]
    pictures = [base64.b64decode(data) for data in re.findall(r'src="data:image/jpeg;base64,([^"]+)"', section)]
    numbers = [int(name[-1]) for name in nearest(model, picture())]
    assert pictures == [case_picture(number) for number in numbers]
    told = re.findall(r"<li>.*?</li>", section, re.DOTALL)
    for number, item in zip(numbers, told, strict=True):
        assert ("Melanoma", "Melanocytic nevus", "Basal cell carcinoma")[number % 3] in item
        assert words.TEXTS[f"similar.{HOW[number % 5]}"] in item
    assert html.index("Likeliest classes") < html.index(section)


def test_pictures_of_cases_have_no_address_of_their_own(client):
    others = {"/healthz", "/device/", "/device/<path:name>", "/static/<path:filename>"}
    interface = {"/api/v1/predict", "/api/v1/model", "/api/v1/openapi.json"}
    assert {rule.rule for rule in client.application.url_map.iter_rules()} == {*PAGES} | others | interface
    prediction = client.post("/api/v1/predict", data=files(picture())).text
    assert "base64" not in prediction and "picture" not in prediction


def test_the_view_shows_the_same(model, place):
    predictor = Predictor.load(model)
    view = View(predictor, Neighbours.load(place, predictor.manifest))
    about = {"name": "a.png", "type": "image/png", "size": 1, "last_modified": datetime.now(UTC)}
    view.upload.value = (about | {"content": picture()},)
    shown = re.findall(r'src="data:image/jpeg;base64,([^"]+)" alt="Similar', view.cards.value)
    numbers = [int(name[-1]) for name in nearest(model, picture())]
    assert [base64.b64decode(data) for data in shown] == [case_picture(number) for number in numbers]


def test_an_index_of_another_model_stops_the_start(tmp_path, place):
    other = tiny_model.write(tmp_path / "other", with_map=False)
    with pytest.raises(ModelError, match="is of another model"):
        create_app({"MODEL": str(other), "INDEX": str(place)})


@pytest.mark.browser
def test_the_section_is_accessible_fits_small_windows_and_leaves_no_picture_in_reports(browser, model, place, tmp_path):
    (tmp_path / "a.png").write_bytes(picture())
    with serving(model, environ={"SKINLESION_INDEX": str(place)}) as server:
        for width, scheme in ((1280, "light"), (320, "dark")):
            page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
            page.goto(f"http://{server.host}:{server.port}/")
            page.set_input_files("input[type=file]", tmp_path / "a.png")
            page.get_by_role("button", name="Classify", exact=True).click()
            page.wait_for_selector(".similar")
            assert page.locator(".similar img").count() == 6
            assert page.evaluate(
                "[...document.querySelectorAll('.similar img')].every(one => one.naturalWidth === 120)"
            )
            assert violations(page) == []
            assert page.evaluate(LOW_CONTRAST) == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            page.get_by_text("Save a case report").click()
            with page.expect_download() as saved:
                page.get_by_role("button", name="Save as a file").click()
            report = saved.value.path().read_text()
            assert "Likeliest classes" in report
            assert not [i for i in range(CASES) if base64.b64encode(case_picture(i)).decode() in report]
            page.emulate_media(media="print")
            assert not page.locator(".similar").is_visible()
            page.close()
