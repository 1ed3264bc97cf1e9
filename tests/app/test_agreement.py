"""One model, one answer: library, page, API, Voila view, command line and bare ONNX Runtime agree on 50 images."""

import base64
import html
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image, ImageEnhance, ImageOps
from scipy.special import softmax
from test_voila_view import chosen

from app.voila.view import View
from app.web import create_app
from skinlesion.core import images
from skinlesion.core.taxonomy import HAM7, label_set
from skinlesion.data.demo.dataset import draw_example
from skinlesion.serving.manifest import PRETRAINED
from skinlesion.serving.predictor import Predictor
from webapp import send_form

COUNT = 50
SIZES = [(600, 450), (450, 600), (128, 128), (321, 243), (97, 64), (800, 533)]
NUMBERS = ("probability", "malignant_probability", "domain_score")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> list[Path]:
    """Lesions drawn by a program, in many sizes, formats and kinds of pixel, some of them turned."""
    folder = tmp_path_factory.mktemp("pictures")
    lesions = [Image.fromarray(draw_example(code, seed=3)) for code in HAM7.codes]
    paths = []
    for i in range(COUNT):
        image = ImageEnhance.Brightness(lesions[i % 7].resize(SIZES[i % len(SIZES)])).enhance(0.7 + i / 100)
        tags = Image.Exif()
        tags[0x0112] = 1 + i % 8
        kind, options = [("JPEG", {"quality": 80}), ("PNG", {}), ("WEBP", {"quality": 80})][i % 3]
        image = image.convert(["RGB", "RGB", "L", "RGB", "RGB"][i % 5])
        paths.append(folder / f"{i:02}.{kind.lower()}")
        image.save(paths[-1], kind, exif=tags, **options)
    return paths


def predictions_of(folder: Path, pictures: list[Path]) -> list[dict]:
    """The library's, as a notebook asks for them."""
    predictor = Predictor.load(folder, threads=1)
    return [predictor.predict([images.read_image(path)])[0].to_dict() for path in pictures]


@pytest.fixture(scope="module")
def model(pictures, tmp_path_factory) -> Path:
    """The shipped network, its thresholds moved among these pictures' figures: each advice and notice occurs."""
    folder = tmp_path_factory.mktemp("agreement") / "model"
    shutil.copytree(PRETRAINED, folder)
    answers = predictions_of(PRETRAINED, pictures)
    content = json.loads((folder / "manifest.json").read_text())
    benign = [
        one["malignant_probability"] for one in answers if not label_set(content["labels"])[one["label"]].malignant
    ]
    content["referral"] |= dict(zip(("borderline", "threshold"), np.quantile(benign, (0.3, 0.6)).tolist(), strict=True))
    content["domain"]["not_dermatoscopic"]["threshold"] = np.quantile([one["domain_score"] for one in answers], 0.1)
    content["melanoma_level"] = np.median([one["probabilities"]["mel"] for one in answers])
    (folder / "manifest.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def expected(model, pictures) -> list[dict]:
    answers = predictions_of(model, pictures)
    assert len(answers) == COUNT
    return answers


def compare(answers: list[dict], expected: list[dict]) -> None:
    for ours, theirs in zip(answers, expected, strict=True):
        for name in ("label", "name", "referral", "in_domain", "notices", "prediction_set"):
            assert ours[name] == theirs[name]
        for name in NUMBERS:
            assert ours[name] == pytest.approx(theirs[name], abs=1e-5)
        for name in ("probabilities", "scores"):
            assert list(ours[name]) == list(theirs[name])
            assert ours[name] == pytest.approx(theirs[name], abs=1e-5)


def test_the_images_tell_answers_apart(expected):
    assert len({answer["label"] for answer in expected}) >= 4
    assert {answer["referral"] for answer in expected} == {"refer", "borderline", "below", "none"}
    assert {"not_dermatoscopic", "melanoma_not_excluded"} <= {word for one in expected for word in one["notices"]}
    assert len({len(answer["prediction_set"]) for answer in expected}) > 1
    assert np.std([answer["malignant_probability"] for answer in expected]) > 0.05


def test_bare_onnx_runtime_agrees(pictures, expected, model):
    """Pillow, the model file, and the manifest's numbers; nothing of ours."""
    content = json.loads((model / "manifest.json").read_text())
    codes = content["labels"]
    shift, weights = (np.array([content[name][code] for code in codes]) for name in ("prior_shift", "decision_weights"))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model / content["file"], options, providers=["CPUExecutionProvider"])
    limits = {name: one["threshold"] for name, one in content["domain"].items()}
    sets = content["prediction_set"]["thresholds"]
    grave = {code for code in codes if label_set(codes)[code].malignant}
    answers = []
    for path in pictures:
        with Image.open(path) as image:
            frame = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        names = ["logits", "other_camera", "not_dermatoscopic"]
        logits, camera, domain = (output[0] for output in session.run(names, {"image": frame[None]}))
        logits = logits.astype(float)
        probabilities = softmax(logits / content["temperature"] + shift)
        scores = probabilities * weights / (probabilities * weights).sum()
        best = int(scores.argmax())
        malignant = sum(probabilities[codes.index(code)] for code in grave)
        referral, melanoma = content["referral"], codes.index("mel")
        refer = malignant >= referral["threshold"] or codes[best] in grave
        advice = "refer" if refer else "borderline" if malignant >= referral["borderline"] else "below"
        unsettled = probabilities[melanoma] >= content["melanoma_level"] and probabilities.argmax() != melanoma
        notices = ["other_camera"] * bool(camera < limits["other_camera"]) + ["melanoma_not_excluded"] * bool(unsettled)
        members = [code for code in codes if probabilities[codes.index(code)] >= (sets[code] or 0)]
        inside = bool(domain >= limits["not_dermatoscopic"])
        answers.append(
            {
                "label": codes[best],
                "name": label_set(codes)[codes[best]].name,
                "probability": probabilities[best],
                "probabilities": dict(zip(codes, probabilities, strict=True)),
                "scores": dict(zip(codes, scores, strict=True)),
                "malignant_probability": malignant,
                "referral": advice if inside else "none",
                "in_domain": inside,
                "domain_score": float(domain),
                "notices": notices if inside else ["not_dermatoscopic"],
                "prediction_set": members,
            }
        )
    compare(answers, expected)


def ten(pictures: list[Path], start: int) -> dict:
    """As many files as a request takes, from ``start`` on."""
    return {"image": [(io.BytesIO(path.read_bytes()), path.name) for path in pictures[start : start + 10]]}


def test_the_api_agrees(pictures, expected, model):
    client = create_app({"MODEL": model}).test_client()
    answers = [client.post("/api/v1/predict", data=ten(pictures, start)).json for start in range(0, COUNT, 10)]
    compare([prediction for answer in answers for prediction in answer["predictions"]], expected)


def test_the_page_agrees(pictures, expected, model):
    """By the JSON that it offers for download; on ten images, for the rest is what the API does."""
    page = send_form(create_app({"MODEL": model}).test_client(), ten(pictures, 0)).text
    link = re.search(r'href="data:application/json[^,]*;base64,([^"]+)"', page)[1]
    compare(json.loads(base64.b64decode(html.unescape(link)))["predictions"], expected[:10])


def test_the_voila_view_agrees(pictures, expected, model):
    view = View(Predictor.load(model, threads=1))
    answers = []
    for start in range(0, COUNT, 10):
        view.upload.value = tuple(chosen(path) for path in pictures[start : start + 10])
        answers += [outcome.prediction.to_dict() for outcome in view.outcomes]
    compare(answers, expected)


def test_the_command_line_agrees(pictures, expected, model):
    options = ["--model", str(model), "--format", "json"]
    command = [sys.executable, "-m", "skinlesion.cli", "predict", *options, *map(str, pictures)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    answers = json.loads(done.stdout)
    assert [answer["image"] for answer in answers] == list(map(str, pictures))
    compare(answers, expected)
