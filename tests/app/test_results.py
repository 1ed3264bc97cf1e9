"""What the result page and its downloads hold, against the API and the predictor."""

import base64
import csv
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from app import present, words
from app.device.page import MODEL, model_facts
from app.web import create_app
from skinlesion.serving.manifest import Manifest
from skinlesion.serving.predictor import Predictor, mean_prediction
from webapp import LESION, files, picture, send_form

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
