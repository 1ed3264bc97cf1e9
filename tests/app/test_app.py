"""The pages: what they and their downloads hold, against the API and the predictor, and that people can use them."""

import base64
import csv
import io
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tiny_model
from app import present, words
from app.device.page import MODEL, model_facts
from app.web import create_app
from browser import LOW_CONTRAST, chromium, strangers, watch  # noqa: F401  (chromium is the fixture `browser`)
from skinlesion.core import images
from skinlesion.core.taxonomy import ISIC8
from skinlesion.decision import REFERRALS
from skinlesion.serving.manifest import Manifest
from skinlesion.serving.predictor import Predictor, mean_prediction
from webapp import LESION, files, picture, send_form, serving


def test_page_shows_class_probabilities_advice_and_warnings(client, model):
    prediction = Predictor.load(model).predict([np.full((150, 200, 3), LESION, np.uint8)])[0]
    answer = send_form(client, files(picture()))
    text = re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", answer.text))
    assert answer.status_code == 200
    likeliest = max(prediction.probabilities, key=prediction.probabilities.get)
    assert f'<li data-code="{likeliest}"' in answer.text
    assert prediction.name in text
    for probability in prediction.probabilities.values():
        assert f"{probability:.1%}" in text or "under 0.1%" in text
    assert present.text(f"advice.{prediction.referral}") in text
    assert "referral threshold of 40.0%" in text
    assert "sensitivity 90.0% (95% interval 84.0% to 95.0%) on 123 images" in text
    assert ("does not look like" in text) == (not prediction.in_domain)
    assert "trained on synthetic demo images" in text
    assert "not a medical device" in text
    assert "2026.01.02-0123abcd" in text
    assert "data:image/jpeg;base64," in answer.text


def test_page_advice_and_domain_notice_follow_the_prediction(client, model):
    """Every advice is shown, and no other beside it."""
    draw, predictor = np.random.default_rng(0), Predictor.load(model)
    seen = set()
    for color in draw.integers(0, 256, (40, 3)).tolist():
        prediction = predictor.predict([np.full((150, 200, 3), color, np.uint8)])[0]
        kind = prediction.referral
        if kind in seen:
            continue
        seen.add(kind)
        text = send_form(client, files(picture(tuple(color)))).text
        assert re.findall('data-referral="(.+?)"', text) == [kind]
        assert [one for one in REFERRALS if f">{present.text(f'advice.{one}')}<" in text] == [kind]
        assert ("does not look like" in text, "<ol" not in text) == (kind == "none", kind == "none")
    assert len(seen) == 4


def test_page_without_synthetic_data_has_no_demo_notice(tmp_path):
    folder = tiny_model.write(tmp_path, data={"source": "ham10000", "synthetic": False})
    assert "trained on synthetic" not in create_app({"MODEL": folder}).test_client().get("/").text


def test_page_shows_good_and_bad_images_side_by_side(client):
    answer = send_form(client, files(picture(), b"nonsense", picture((20, 90, 160))))
    assert answer.status_code == 415
    assert answer.text.count("data-label=") == 2
    assert answer.text.count("This image cannot be used") == 1
    assert "Download as JSON" in answer.text
    assert "Download as JSON" not in send_form(client, files(b"nonsense")).text


def test_page_without_a_file_asks_for_one(client):
    answer = send_form(client, {"image": (io.BytesIO(b""), "")})
    assert answer.status_code == 400
    assert 'role="alert"' in answer.text
    assert "<form" in answer.text


def test_page_escapes_file_names(client):
    answer = send_form(client, {"image": (io.BytesIO(picture()), "<script>alert(1)</script>.png")})
    assert "<script>alert" not in answer.text
    assert "&lt;script&gt;" in answer.text


def test_page_errors_are_pages(client):
    answer = client.get("/nowhere")
    assert (answer.status_code, answer.mimetype) == (404, "text/html")
    assert "<h1>Not Found</h1>" in answer.text


def test_eight_labels_and_no_map_are_served(tmp_path):
    folder = tiny_model.write(tmp_path, ISIC8, with_map=False)
    client = create_app({"MODEL": folder}).test_client()
    assert "Squamous cell carcinoma" in send_form(client, files(picture())).text


# In a browser


@pytest.fixture(scope="module")
def server(model):
    with serving(model) as started:
        yield started


@pytest.mark.browser
@pytest.mark.parametrize(
    ("width", "scheme", "script"), [(375, "light", True), (1440, "dark", True), (375, "dark", False)]
)
def test_a_person_uploads_images_and_reads_the_answers(browser, server, model, tmp_path, scheme, width, script):
    colors = {"one.png": LESION, "two.jpg": (30, 200, 90)}
    for name, color in colors.items():
        Image.new("RGB", (300, 200), color).save(tmp_path / name, quality=95)
    expected = Predictor.load(model).predict([images.read_image(tmp_path / name) for name in colors])
    context = browser.new_context(
        viewport={"width": width, "height": 812}, color_scheme=scheme, java_script_enabled=script
    )
    page = context.new_page()
    requests = watch(page)
    home = f"http://{server.host}:{server.port}/"
    page.goto(home)
    looks(page, "form", width, scheme, script)
    page.get_by_label("Images", exact=True).set_input_files([tmp_path / name for name in colors])
    page.get_by_role("button", name="Classify").click()
    page.get_by_role("heading", name="Results for 2 images").wait_for()
    assert page.get_by_role("article").locator("h2").all_inner_texts() == [
        present.text(f"advice.{prediction.referral}") for prediction in expected
    ]
    for card, prediction in zip(page.get_by_role("article").all(), expected, strict=True):
        shown = [row.locator("td").first.text_content() for row in card.locator("[data-part=rows] tr").all()]
        ordered = sorted(prediction.probabilities.values(), reverse=True)
        assert [float(text.strip("underov %")) for text in shown] == pytest.approx([100 * p for p in ordered], abs=0.11)
        assert card.get_by_alt_text("Preview").evaluate("image => image.decode().then(() => image.naturalWidth)") == 300
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
    page.goto(f"http://{server.host}:{server.port}/")
    names = []
    for _ in range(20):
        page.keyboard.press("Tab")
        names.append(page.evaluate("(document.activeElement.labels?.[0] ?? document.activeElement).textContent.trim()"))
    assert names[0] == "Skip to content"
    assert names.index("Images") < names.index("Classify")
    page.close()


OTHER = (30, 200, 90)  # a colour that the tiny model has another answer to


def download(page: str, kind: str) -> str:
    return base64.b64decode(re.search(rf'href="data:{kind};charset=utf-8;base64,([^"]+)"', page)[1]).decode()


def test_lesions_of_several_images_are_averaged_by_their_names(client, model):
    images = files(picture(), picture(OTHER), picture(OTHER), b"nonsense")
    page = send_form(client, images | {"lesion": ["arm", "back", " arm ", "arm"]}).text
    predictor = Predictor.load(model)
    frames = [np.full((150, 200, 3), color, np.uint8) for color in (LESION, OTHER)]
    average = mean_prediction(predictor.predict(frames), predictor.manifest)
    assert [words.text("result.lesion", name="arm", n=2) in page, "Lesion back" in page] == [True, False]
    content = json.loads(download(page, "application/json"))
    assert [entry["lesion"] for entry in content["predictions"]] == ["arm", "back", "arm", "arm"]
    (lesion,) = content["lesions"]
    assert lesion["lesion"] == "arm"
    assert lesion["malignant_probability"] == pytest.approx(average.malignant_probability)
    assert lesion["referral"] == average.referral
    overview = re.search(r"<tbody>(.*?)</tbody>", page, re.DOTALL)[1]
    assert re.findall(r'<a href="#([\w-]+)"', overview) == ["lesion-1", *(f"image-{i}" for i in range(1, 5))]
    assert re.findall(r'<article [^>]*id="([\w-]+)"', page) == re.findall(r'<a href="#([\w-]+)"', overview)


def test_a_lesions_name_that_is_too_long_is_refused_and_never_another_lesions(client):
    start = "a" * 40
    answer = send_form(client, files(picture(), picture(OTHER)) | {"lesion": [f"{start}1", f"{start}2"]})
    assert answer.status_code == 400
    assert "has 41 characters; shorten it to 40" in answer.text
    assert send_form(client, files(picture()) | {"lesion": [start]}).status_code == 200


def test_the_table_to_save_has_the_apis_figures(client):
    images = [picture(), b"nonsense", picture(OTHER)]
    page = send_form(client, files(*images) | {"lesion": ["=1+1", "", "=1+1"]}).text
    api = client.post("/api/v1/predict", data=files(images[0], images[2])).json
    rows = list(csv.DictReader(io.StringIO(download(page, "text/csv"), newline="")))
    first, broken, second, lesion = rows
    for row, expected in zip((first, second), api["predictions"], strict=True):
        assert (row["referral"], row["label"], row["model_sha256"]) == (
            expected["referral"], expected["label"], api["model"]["sha256"],
        )  # fmt: skip
        assert float(row["malignant_probability"]) == expected["malignant_probability"]
        for code, share in expected["probabilities"].items():
            assert float(row[f"p_{code}"]) == share
            assert float(row[f"score_{code}"]) == expected["scores"][code]
    assert (broken["label"], bool(broken["error"])) == ("", True)
    assert {row["lesion_id"] for row in (first, second, lesion)} == {"'=1+1"}, "no spreadsheet computes it"
    assert (lesion["image"], bool(lesion["referral"])) == ("", True)


def test_people_see_no_class_where_there_is_no_advice(client, model):
    """The classes stand in a closed disclosure, and nowhere before it."""
    manifest = Manifest.read(model)
    predictor = Predictor.load(model)
    (prediction,) = predictor.predict([np.full((150, 200, 3), LESION, np.uint8)])
    for silent in (True, False):
        changes = {"referral": "none", "notices": ("not_dermatoscopic",)} if silent else {}
        shown = present.result("a.png", np.zeros((20, 20, 3), np.uint8), replace(prediction, **changes), manifest)
        with client.application.test_request_context():
            template = client.application.jinja_env.get_template("_card.html")
            html = template.render(result=shown, id="x", manifest=manifest, when="")
        before, _, after = html.partition('<details class="technical">')
        names = [name for name in manifest.labels.names if name in before]
        assert bool(names) is not silent
        assert all(name in after for name in manifest.labels.names)
        assert ("likeliest" in before) is not silent


def test_nothing_on_a_card_is_green_or_called_harmless(client):
    page = send_form(client, files(picture(), picture(OTHER))).text
    styles = client.get("/static/result.css").text
    assert "harmless" not in page.lower() and "watch" not in page.lower()
    assert not re.search(r"\.advice\.\w+ \{[^}]*(watch|green|009e73)", styles, re.IGNORECASE)


def test_the_way_to_the_on_device_page_is_there_where_the_page_is(model, tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    client = create_app({"MODEL": model, "SITE": site}).test_client()
    assert "/device/" not in client.get("/").text + client.get("/privacy").text
    (site / MODEL).write_text(json.dumps(model_facts(Manifest.read(model))))
    assert all('href="/device/"' in client.get(path).text for path in ("/", "/privacy"))
    (site / MODEL).write_text(json.dumps(model_facts(Manifest.read(model)) | {"version": "older"}))
    assert "/device/" not in client.get("/").text
