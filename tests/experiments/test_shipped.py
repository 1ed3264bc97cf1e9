"""The model that the package ships: what it is, and that it predicts the same for a picture at any size."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from skinlesion.core import images
from skinlesion.core.config import Config
from skinlesion.core.taxonomy import ISIC8
from skinlesion.data.sources import load_table
from skinlesion.serving.manifest import PRETRAINED
from skinlesion.serving.predictor import Predictor
from small import encoded


@pytest.fixture(scope="module")
def predictor():
    return Predictor.load()


@pytest.fixture(scope="module")
def frames():
    table = load_table("demo:70")
    return [images.read_image(path) for path in table.frame["path"][::5]]


@pytest.fixture(scope="module")
def predictions(predictor, frames):
    return predictor.predict(frames)


def largest_changes(before, after):
    """Of each image, the probability that moved most."""
    pairs = zip(before, after, strict=True)
    return [max(abs(a.probabilities[code] - b.probabilities[code]) for code in ISIC8.codes) for a, b in pairs]


def test_it_is_small_and_says_what_it_is(predictor):
    content = predictor.manifest.content
    assert content["bytes"] <= 12e6
    assert (PRETRAINED / "model.onnx").stat().st_size == content["bytes"]
    assert predictor.manifest.labels == ISIC8
    assert not predictor.manifest.synthetic
    assert "non-commercial" in content["licence"]
    assert content["data"]["source"] == "ham10000 + milk10k + isic2017_msk"
    assert content["data"]["images"] == 17_414
    Config().but(**content["config"])  # a whole recipe that this version still reads
    text = json.dumps(content)
    assert "/home/" not in text and str(PRETRAINED.parents[3]) not in text, "no path of the machine that made it"
    assert b"stack_trace" not in (PRETRAINED / "model.onnx").read_bytes()
    card = (PRETRAINED / "MODEL_CARD.md").read_text()
    assert content["sha256"] in card
    assert f"{content['metrics']['balanced_accuracy']['value'] * 100:.1f}%" in card


def test_the_file_with_16_bits_answers_as_the_model_does(predictor, frames, predictions):
    entry = predictor.manifest.content["variants"]["fp16"]
    path = PRETRAINED / entry["file"]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    smaller = Predictor(replace(predictor.manifest, file=path.name), session)
    for a, b in zip(predictions, smaller.predict(frames), strict=True):
        assert b.probabilities == pytest.approx(a.probabilities, abs=0.02)


@pytest.mark.parametrize("size", [(200, 150), (450, 338), (1200, 900), (2400, 1800)], ids=str)
def test_the_same_picture_gets_the_same_answer_at_any_size(predictor, frames, predictions, size):
    resized = [np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS)) for frame in frames]
    found = predictor.predict(resized)
    assert np.mean(largest_changes(predictions, found)) < 0.05
    assert np.mean([a.label == b.label for a, b in zip(predictions, found, strict=True)]) >= 0.8


def test_compression_moves_it_little(predictor, frames, predictions):
    def through_jpeg(frame):
        return images.decode(encoded(frame, "JPEG", quality=50))

    assert np.mean(largest_changes(predictions, predictor.predict([through_jpeg(frame) for frame in frames]))) < 0.1


def test_turned_by_mirrors_it_answers_alike(predictor, frames, predictions):
    assert predictor.manifest.content["views"] >= 4, "four views include the half turn"
    turned = predictor.predict([np.ascontiguousarray(frame[::-1, ::-1]) for frame in frames])
    for a, b in zip(predictions, turned, strict=True):
        assert a.probabilities == pytest.approx(b.probabilities, abs=1e-3)
