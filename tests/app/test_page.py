"""The parts that the pages are made of, each against something independent."""

import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import mistune
import numpy as np
import pytest
from PIL import Image

import tiny_model
from app import pictures, present
from app.web import create_app, markdown, openapi
from skinlesion.data.demo.dataset import draw_example
from skinlesion.serving.manifest import PRETRAINED, Manifest
from skinlesion.serving.predictor import Predictor, mean_prediction
from webapp import LESION, PAGES, files, picture, send_form

FRAME = np.zeros((20, 20, 3), np.uint8)
OTHER = (30, 200, 90)  # a colour that the tiny model has another answer to


@pytest.fixture(scope="module")
def predictor(model):
    return Predictor.load(model)


def predict(predictor, *colors):
    return predictor.predict([np.full((150, 200, 3), color, np.uint8) for color in colors])


def plain(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", html))


def decoded(url: str) -> bytes:
    return base64.b64decode(url.partition(";base64,")[2])


# Pictures


def test_preview_is_the_frame_made_small():
    frame = np.full((1200, 1800, 3), LESION, np.uint8)
    shown = np.asarray(Image.open(io.BytesIO(decoded(pictures.preview(frame)))))
    assert shown.shape == (640, 960, 3)
    assert np.abs(shown.astype(int) - LESION).max() <= 3


@pytest.mark.parametrize(
    ("fit", "shape", "row", "column"),
    [
        (("squash", 1), (300, 600), 0.875, 0.125),
        (("center_crop", 1), (300, 600), 0.875, 0.3125),
        (("random_crop", 1), (600, 300), 0.6875, 0.125),
        (("random_crop", 2), (300, 600), 0.875, 0.25),
        (("random_crop", 2), (300, 400), 0.875, 0.125),
    ],
)
def test_overlay_lies_where_the_network_looked(fit, shape, row, column):
    """The one bright cell of a 4 x 4 map, at the lower left: in the frame, its centre square or its middle 4:3."""
    activation = np.full((4, 4), -2.0)
    activation[3, 0] = 5.0
    alpha = np.asarray(Image.open(io.BytesIO(decoded(pictures.overlay(activation, shape, *fit)))), float)[..., 3]
    assert alpha.shape[1] / alpha.shape[0] == pytest.approx(shape[1] / shape[0], rel=0.05)
    weights = alpha / alpha.sum()
    centre = (np.arange(alpha.shape[0]) + 0.5) @ weights.sum(1), (np.arange(alpha.shape[1]) + 0.5) @ weights.sum(0)
    assert centre[0] / alpha.shape[0] == pytest.approx(row, abs=0.05)
    assert centre[1] / alpha.shape[1] == pytest.approx(column, abs=0.05)
    assert alpha.max() == 255
    assert alpha[0, -1] == 0


def test_there_is_no_overlay_where_nothing_speaks_for_the_class():
    assert pictures.overlay(np.array([[-1.0, 0.0], [-0.5, -2.0]]), (100, 100), "squash", 1) is None


def test_examples_are_what_the_generator_draws():
    assert {*pictures.EXAMPLE_FOLDER.iterdir()} == {example.path for example in pictures.EXAMPLES}
    for example in pictures.EXAMPLES:
        shown = np.asarray(Image.open(example.path), float)
        assert np.abs(shown - draw_example(example.name, example.seed)).mean() < 4, example  # what JPEG takes away


# Averaging


def test_average_is_the_mean_and_decides_as_the_manifest_says(predictor):
    manifest = predictor.manifest
    several = predict(predictor, LESION, OTHER, (250, 240, 230))
    answer = mean_prediction(several, manifest)
    codes = list(manifest.labels.codes)
    mean = sum(np.array([p.probabilities[code] for code in codes]) for p in several) / 3
    weighted = mean * np.array([manifest.content["decision_weights"][code] for code in codes])
    assert list(answer.probabilities.values()) == pytest.approx(mean)
    assert list(answer.scores.values()) == pytest.approx(weighted / weighted.sum())
    assert (answer.label, answer.probability) == (codes[weighted.argmax()], pytest.approx(mean[weighted.argmax()]))
    malignant = sum(answer.probabilities[code] for code in ("akiec", "bcc", "mel"))
    assert answer.malignant_probability == pytest.approx(malignant)
    grave = malignant >= 0.4 or answer.label in ("akiec", "bcc", "mel")
    assert answer.referral == ("refer" if grave else "borderline" if malignant >= 0.2 else "below")
    assert answer.domain_score == min(p.domain_score for p in several)


def test_one_image_outside_the_domain_puts_the_average_outside(predictor):
    (inside,) = predict(predictor, LESION)
    inside = replace(inside, domain_score=predictor.manifest.domain_threshold)
    outside = replace(inside, domain_score=predictor.manifest.domain_threshold - 0.1)
    assert mean_prediction([inside, inside], predictor.manifest).in_domain
    assert not mean_prediction([inside, outside], predictor.manifest).in_domain


def test_average_of_one_image_is_that_images_answer(predictor):
    for prediction in predict(predictor, LESION, OTHER):
        answer = mean_prediction([prediction], predictor.manifest)
        assert (answer.label, answer.referral, answer.in_domain) == (
            prediction.label, prediction.referral, prediction.in_domain,
        )  # fmt: skip


# Wording


def test_notices_say_when_to_doubt_the_answer(predictor):
    (sure,) = predict(predictor, LESION)
    codes = predictor.manifest.labels.codes
    others = [code for code in codes if code != sure.label]
    sure = replace(sure, notices=(), probabilities={sure.label: 0.94, **dict.fromkeys(others, 0.01)})
    unsure = replace(sure, probabilities={sure.label: 0.46, **dict.fromkeys(others, 0.09)})
    overruled = replace(sure, probabilities={**dict.fromkeys(codes, 0.04), others[0]: 0.76})
    outside = replace(unsure, in_domain=False, referral="none", notices=("not_dermatoscopic",))
    camera = replace(sure, notices=("other_camera", "melanoma_not_excluded"))

    def shown(prediction, **averaged):
        return present.result("a.png", FRAME, prediction, predictor.manifest, **averaged)

    def notices(prediction):
        return shown(prediction).notices

    assert notices(sure) == () and shown(sure).label_differs == ""
    assert [text.partition(":")[0] for text in notices(unsure)] == ["No class is likelier than all others together"]
    assert notices(overruled) == () and shown(overruled).label_differs.startswith("The likeliest class is ")
    assert predictor.manifest.labels[others[0]].name in shown(overruled).label_differs
    assert [text.partition(":")[0].partition(",")[0] for text in notices(camera)] == [
        "Melanoma is not excluded",
        "Camera",
    ]
    assert [text.partition(".")[0] for text in notices(outside)] == ["This does not look like a dermatoscopic image"]
    assert shown(outside, averaged=[outside]).notices[0].startswith("At least one of these does not look like")
    assert shown(outside).likeliest == () and len(shown(unsure).likeliest) == 3


def test_a_label_that_refers_alone_is_named(predictor):
    (answer,) = predict(predictor, LESION)
    alone = replace(answer, referral="refer", malignant_probability=0.3, label="bcc")
    by_probability = replace(alone, malignant_probability=0.4)
    assert re.search(
        r"predicts Basal cell carcinoma \([\d.]+%\), and that alone", present.reason(alone, predictor.manifest)
    )
    assert "at or above" in present.reason(by_probability, predictor.manifest)


def test_what_the_advice_rests_on_is_counted_by_source(predictor):
    (demo,) = present.evidence(predictor.manifest)
    assert "demo" in demo.source
    assert demo.rows == (("40 malignant", "36 (90.0%)", "3", "1", "0"), ("50 benign", "12 (24.0%)", "8", "30", "0"))
    (row,) = predictor.manifest.evidence
    changed = {"source": "PH2", "part": "external", "malignant": 0, "benign_none": 1_000}
    (ph2,) = present.evidence(replace(predictor.manifest, evidence=[row | changed]))
    assert "PH2" in ph2.source and "another source" in ph2.source
    assert ph2.rows == (("50 benign", "12 (24.0%)", "8", "30", "1,000"),)
    (ours,) = present.evidence(replace(predictor.manifest, evidence=[row | {"part": "the part of our own"}]))
    assert ours.source.endswith("the part of our own")


@pytest.mark.parametrize(("where", "flatters"), [("validation", True), ("test", False)])
def test_measured_figures_say_what_they_were_measured_on(tmp_path, where, flatters):
    text = present.measured(Manifest.read(tiny_model.write(tmp_path, measured_on=where)))
    assert "sensitivity 90.0% (95% interval 84.0% to 95.0%) on 123 images" in text
    assert ("validation" in text) == flatters


def test_what_was_not_measured_is_not_claimed(tmp_path):
    nothing = {"value": None, "low": None, "high": None, "n": 0}
    referral = {"threshold": 0.4, "borderline": 0.1} | dict.fromkeys(
        ("sensitivity", "specificity", "by_label"), nothing
    )
    assert present.measured(Manifest.read(tiny_model.write(tmp_path, referral=referral))) == ""


# Answers


def test_several_images_of_one_lesion_are_averaged_only_where_asked_for(client, predictor):
    images = [picture(), picture(OTHER)]
    expected = mean_prediction(predict(predictor, LESION, OTHER), predictor.manifest)
    apart = send_form(client, files(*images)).text
    together = send_form(client, files(*images) | {"combine": "yes"}).text
    assert "Average of" not in apart
    assert re.findall('data-label="(.+?)"', together)[0] == expected.label
    assert re.findall('data-label="(.+?)"', together)[1:] == re.findall('data-label="(.+?)"', apart)
    assert "Average of 2 images" in together
    assert "Average of" not in send_form(client, files(picture(), b"nonsense") | {"combine": "yes"}).text


def test_download_holds_what_the_api_answers(client):
    images = [picture(), b"nonsense", picture(OTHER)]
    page = send_form(client, files(*images) | {"combine": "yes"}).text
    content = json.loads(decoded(re.search('href="(data:application/json;[^"]+)"', page)[1]))
    api = client.post("/api/v1/predict", data=files(images[0], images[2])).json
    assert content["model"] == api["model"]
    first, broken, second = content["predictions"]
    names = ("image", "lesion")
    assert [{k: v for k, v in entry.items() if k not in names} for entry in (first, second)] == api["predictions"]
    assert broken.keys() == {*names, "error"}
    assert [entry["image"] for entry in content["predictions"]] == ["lesion 0.png", "lesion 1.png", "lesion 2.png"]
    (together,) = content["lesions"]
    assert together["malignant_probability"] == pytest.approx(
        np.mean([entry["malignant_probability"] for entry in (first, second)])
    )


def test_an_example_is_answered_as_if_it_had_been_uploaded(client):
    data = (pictures.EXAMPLE_FOLDER / "mel.jpg").read_bytes()
    expected = client.post("/api/v1/predict", data={"image": (io.BytesIO(data), "a.jpg")}).json["predictions"][0]
    answer = send_form(client, {"example": "mel"})
    assert answer.status_code == 200
    likeliest = sorted(expected["probabilities"], key=expected["probabilities"].get, reverse=True)[:3]
    assert re.findall('<li data-code="(.+?)"', answer.text) == likeliest
    assert present.percent(expected["probabilities"][likeliest[0]]) in answer.text
    assert send_form(client, {"example": "../../page"}).status_code == 400


def test_a_network_without_maps_says_so(tmp_path, client):
    without = create_app({"MODEL": tiny_model.write(tmp_path, with_map=False)}).test_client()
    assert "no class activation map" in send_form(without, files(picture())).text
    assert "no class activation map" not in send_form(client, files(picture())).text


# What there is to read


class Outline(HTMLParser):
    """Tags and words of an HTML text; header cells count as cells, headings as one level deeper than they are."""

    def __init__(self, html: str, deeper: int = 0):
        super().__init__()
        self.parts: list[str] = []
        self._deeper = deeper
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        if tag in ("h1", "h2", "h3"):
            tag = f"h{int(tag[1]) + self._deeper}"
        if tag != "div":
            self.parts.append("<td>" if tag == "th" else f"<{tag}>")

    def handle_data(self, data):
        self.parts += data.split()


def test_the_shipped_model_card_is_rendered_as_by_mistune():
    text = (PRETRAINED / "MODEL_CARD.md").read_text()
    ours = Outline(markdown.render(text)).parts
    theirs = Outline(mistune.create_markdown(plugins=["table"])(text), deeper=1).parts
    assert {"<h2>", "<h3>", "<p>", "<ul>", "<td>", "<strong>", "<code>"} <= set(ours)
    assert ours == theirs


def test_markdown_escapes_what_is_no_markdown():
    html = markdown.render(
        "# <script>\n\n`<b>` [a](javascript:alert) **<i>** ![x](https://example.org/x.png)\n\n"
        '| <u> | b" onfocus="alert |\n|---|---|\n| & | **x** |'
    )
    tags, attributes = set(), {}
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, given: tags.add(tag) or attributes.update(given)
    parser.feed(html)
    assert not tags & {"script", "b", "i", "u", "img"}
    assert attributes.pop("href") == "https://example.org/x.png"
    assert attributes.keys() == {"class", "tabindex", "role", "aria-label"}
    assert "&lt;script&gt;" in html
    assert '<a href="https://example.org">there</a>' in markdown.inline("[there](https://example.org)")


def test_about_page_shows_the_cards_figures_and_the_pipelines():
    shipped = create_app()
    manifest = Manifest.read()
    text = plain(shipped.test_client().get("/about").text)
    assert f"{manifest.image_size} × {manifest.image_size} pixels" in text
    assert f"{manifest.content['metrics']['balanced_accuracy']['value']:.1%}"[:-1] in text
    assert present.measured(manifest) in text
    assert manifest.sha256 in text


def test_about_page_does_without_a_model_card(tmp_path):
    (tiny_model.write(tmp_path) / "MODEL_CARD.md").unlink()
    answer = create_app({"MODEL": tmp_path}).test_client().get("/about")
    assert answer.status_code == 200
    assert "no model card" in plain(answer.text)


def test_api_page_shows_everything_that_the_document_describes(client, predictor):
    document = client.get("/api/v1/openapi.json").json
    page = client.get("/api").text
    text = plain(page)
    for path, item in document["paths"].items():
        for method, operation in item.items():
            assert f"{method.upper()} {path}" in text
            assert operation["summary"] in text
    for name, schema in document["components"]["schemas"].items():
        assert f'id="{name}"' in page
        assert all(f"<code>{field}</code>" in page for field in schema["properties"])
    assert document == json.loads(json.dumps(openapi.describe(predictor.manifest.labels, client.application.config)))
    anchors = set(re.findall('href="#(.+?)"', page))
    assert anchors <= set(re.findall('id="(.+?)"', page))


@pytest.mark.parametrize("path", [*PAGES, "/nowhere"])
def test_every_page_names_the_model_and_where_one_is(client, path):
    page = client.get(path).text
    assert "2026.01.02-0123abcd" in plain(page)
    assert "not a medical device" in page
    assert re.findall('href="([^"]+)" aria-current="page"', page) == ([path] if path != "/nowhere" else [])
    assert not re.search(r"<style|<script(?! type=\"module\" src=)| style=| on\w+=", page)  # which the policy forbids
