"""The official score in one command, on a small test set in the official layout and a model of one linear layer."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from skinlesion import cli
from skinlesion import official_test_set as official
from skinlesion.core.errors import DataError
from skinlesion.core.taxonomy import HAM7, ISIC8
from skinlesion.data.published import load_official_test
from skinlesion.evaluation.metrics import evaluate
from skinlesion.evaluation.reading import read_predictions
from skinlesion.evaluation.truth import WITHOUT_WEIGHT
from skinlesion.serving.predictor import Predictor
from tiny_model import write as write_model

COLORS = np.random.default_rng(2).integers(40, 220, (7, 3))
IDS = [f"ISIC_{34524 + i:07d}" for i in range(28)]


def frame(code, shape=(30, 40), seed=0):
    noise = np.random.default_rng(seed).normal(0, 15, (*shape, 3))
    return np.clip(COLORS[HAM7.index(code)] + noise, 0, 255).astype(np.uint8)


@pytest.fixture
def place(tmp_path):
    """28 test images, one of them not 4:3; besides them one without weight and one that belongs to the training set."""
    folder = tmp_path / "official"
    folder.mkdir()
    rows = []
    for i, name in enumerate([*IDS, WITHOUT_WEIGHT, "ISIC_0024306"]):
        code = HAM7.codes[i % 7]
        shape = (40, 40) if i == 3 else (30, 40)
        Image.fromarray(frame(code, shape, i)).save(folder / f"{name}.png")
        rows.append((f"HAM_{9000000 + i // 2}", name, code))
    with open(folder / "ISIC2018_Task3_Test_GroundTruth.csv", "w", newline="") as file:
        csv.writer(file).writerows([("lesion_id", "image_id", "dx"), *rows])
    return folder


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / "model")


def test_one_command_from_the_folder_to_the_score(place, model, tmp_path, capsys):
    output = tmp_path / "out"
    assert cli.main(["evaluate", "--official", str(place), "--model", str(model), "--output", str(output)]) == 0
    printed = capsys.readouterr().out
    assert "28 images of 14 lesions" in printed
    assert "Left out: 1 image, no image of the official test set." in printed
    assert "This is not an official score: 28 of the 1,511 images" in printed
    assert "1 frame of another shape than 4:3" in printed
    assert "trained on synthetic images" in printed
    predictions = read_predictions(output / "predictions.csv")
    assert list(predictions.image_ids) == IDS
    predictor = Predictor.load(model)
    for i in (0, 3, 9):
        shape = (40, 40) if i == 3 else (30, 40)
        pixels = frame(HAM7.codes[i % 7], shape, i)
        (expected,) = predictor.predict([pixels[5:35] if i == 3 else pixels])
        assert list(predictions.probabilities[i]) == pytest.approx(list(expected.probabilities.values()), abs=1e-5)
    metrics = json.loads((output / "metrics.json").read_text())
    assert metrics["balanced_accuracy"] == evaluate(predictions)["balanced_accuracy"]
    assert metrics["referral"]["threshold"] == 0.4  # the manifest's, chosen before
    submission = read_predictions(output / "submission.csv", place / "ISIC2018_Task3_Test_GroundTruth.csv")
    assert (submission.predicted == predictions.predicted).all()


def test_eight_labels_are_scored_as_seven(place, tmp_path):
    model, output = write_model(tmp_path / "eight", ISIC8), tmp_path / "out"
    assert cli.main(["evaluate", "--official", str(place), "--model", str(model), "--output", str(output)]) == 0
    predictions = read_predictions(output / "predictions.csv")
    (expected,) = Predictor.load(model).predict([frame(HAM7.codes[0], (30, 40), 0)])
    akiec = expected.probabilities["ak"] + expected.probabilities["scc"]
    assert predictions.probabilities[0, HAM7.index("akiec")] == pytest.approx(akiec, abs=1e-5)
    assert predictions.scores[0].sum() == pytest.approx(1)


def test_images_and_lesions_of_the_training_set_are_left_out(place):
    table = load_official_test(place)
    assert official.known_training_rows(place) == (set(), set())
    (place / "HAM10000_metadata.csv").write_text(f"lesion_id,image_id,dx\nHAM_9000001,x,nv\nHAM_0000001,{IDS[6]},nv\n")
    known = official.known_training_rows(place)
    assert known == ({"x", IDS[6]}, {"HAM_9000001", "HAM_0000001"})
    kept, notes = official.choose(table, known)
    assert sorted(set(IDS) - set(kept.frame["image_id"])) == [IDS[2], IDS[3], IDS[6]]
    assert "Left out: 3 images, used in training, or another image of a lesion that was." in notes
    everything = set(IDS) | {"x"}
    with pytest.raises(DataError, match="no image of the official test set"):
        official.choose(table, (everything, set()))


def test_the_full_set_is_official(place, monkeypatch):
    monkeypatch.setattr(official, "IMAGES", 28)
    assert not any("no official score" in note for note in official.choose(load_official_test(place))[1])


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((450, 600), (450, 600)), ((150, 200), (150, 200)), ((448, 600), (448, 600)), ((600, 600), (450, 600)),
     ((450, 900), (450, 600)), ((600, 450), (338, 450))],
)  # fmt: skip
def test_frames_are_cut_to_the_view_that_the_model_learnt_from(shape, expected):
    pixels = np.arange(shape[0] * shape[1] * 3, dtype=np.uint32).reshape(*shape, 3)
    cut = official.same_view(pixels)
    assert cut.shape[:2] == expected
    top, left = (shape[0] - expected[0]) // 2, (shape[1] - expected[1]) // 2
    assert (cut == pixels[top : top + expected[0], left : left + expected[1]]).all()


def test_what_cannot_be_scored_is_said(place, tmp_path, capsys):
    output = tmp_path / "out"

    def run(*arguments):
        status = cli.main(["evaluate", "--official", *map(str, arguments), "--output", str(output)])
        return status, capsys.readouterr().err

    model = write_model(tmp_path / "model")
    status, error = run(tmp_path / "nowhere", "--model", model)
    assert status == 2 and "skinlesion data download ham10000 --parts test" in error
    (place / f"{IDS[4]}.png").write_bytes(b"broken")
    status, error = run(place, "--model", model)
    assert status == 2 and IDS[4] in error and "Download the set again" in error
    assert not output.exists()
