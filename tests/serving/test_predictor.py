"""The predictor against an independent computation, and what it refuses."""

import csv
import io
import json
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
from PIL import Image
from scipy.special import softmax

import tiny_model
from skinlesion.commands.predict import ADVICE
from skinlesion.commands.predict import predict as predict_command
from skinlesion.core.errors import ImageError, ModelError, SkinLesionError
from skinlesion.core.framing import join_maps
from skinlesion.core.taxonomy import HAM7, ISIC8
from skinlesion.decision import NOTICES
from skinlesion.serving import predictor as serving
from skinlesion.serving.manifest import NEEDED
from skinlesion.serving.predictor import BATCH_FRAMES, Predictor, mean_prediction

KEYS = (
    "label", "name", "probability", "probabilities", "scores", "malignant_probability", "referral", "in_domain",
    "domain_score", "notices", "prediction_set",
)  # fmt: skip


def frames(count: int = 24) -> list[np.ndarray]:
    """Plain colours with a little noise, in three sizes that alternate."""
    draw = np.random.default_rng(1)
    sizes = [(40, 60), (33, 17), (64, 64)]
    return [
        np.clip(draw.integers(0, 256, 3) + draw.integers(-9, 10, (*sizes[i % 3], 3)), 0, 255).astype(np.uint8)
        for i in range(count)
    ]


@pytest.fixture(scope="module", params=[HAM7, ISIC8], ids=["7", "8"])
def folder(request, tmp_path_factory):
    return tiny_model.write(tmp_path_factory.mktemp("model"), request.param)


def test_answers_equal_an_independent_computation(folder):
    content = json.loads((folder / "manifest.json").read_text())
    codes = content["labels"]
    linear, bias = tiny_model.weights(len(codes))
    ordered = {name: np.array([content[name][code] for code in codes]) for name in ("prior_shift", "decision_weights")}
    images = frames()
    predictions = Predictor.load(folder, threads=1).predict(images)
    for image, prediction in zip(images, predictions, strict=True):
        logits = (image.reshape(-1, 3) / 255.0 - 0.5).mean(axis=0) @ linear.astype(float) + bias
        probabilities = softmax(logits / 1.7 + ordered["prior_shift"])
        weighted = probabilities * ordered["decision_weights"]
        best = int(np.argmax(weighted))
        malignant = sum(
            p for code, p in zip(codes, probabilities, strict=True) if code in ("akiec", "ak", "scc", "bcc", "mel")
        )
        assert list(prediction.probabilities) == list(prediction.scores) == codes
        np.testing.assert_allclose(list(prediction.probabilities.values()), probabilities, atol=1e-5)
        np.testing.assert_allclose(list(prediction.scores.values()), weighted / weighted.sum(), atol=1e-5)
        assert prediction.label == codes[best]
        assert prediction.name == next(d.name for d in (HAM7 if len(codes) == 7 else ISIC8) if d.code == codes[best])
        assert prediction.probability == prediction.probabilities[prediction.label]
        assert prediction.malignant_probability == pytest.approx(malignant, abs=1e-5)
        red, green = (image[..., channel].mean() / 255 for channel in (0, 1))
        grave = codes[best] in ("akiec", "ak", "scc", "bcc", "mel") or malignant >= 0.4
        advice = "refer" if grave else "borderline" if malignant >= 0.2 else "below"
        melanoma = bool(probabilities[codes.index("mel")] >= 0.05 and codes[probabilities.argmax()] != "mel")
        notices = ["other_camera"] * bool(abs(red - 0.5) > 0.3) + ["melanoma_not_excluded"] * melanoma
        assert prediction.domain_score == pytest.approx(green, abs=1e-5)
        assert prediction.in_domain is bool(green >= 0.1)
        assert prediction.referral == (advice if green >= 0.1 else "none")
        assert list(prediction.notices) == (notices if green >= 0.1 else ["not_dermatoscopic"])
        assert prediction.prediction_set is None
        np.testing.assert_allclose(prediction.map.mean() + bias[best], logits[best], atol=1e-3)
        assert prediction.map.shape == image.shape[:2]


def test_the_images_exercise_both_sides_of_every_decision(folder):
    predictions = Predictor.load(folder).predict(frames(60))
    assert {p.referral for p in predictions} == {"refer", "borderline", "below", "none"}
    assert {notice for p in predictions for notice in p.notices} == set(NOTICES)
    assert any(p.label != max(p.probabilities, key=p.probabilities.get) for p in predictions)


def test_to_dict_has_exactly_the_contracts_keys_and_survives_json(folder):
    prediction = Predictor.load(folder).predict(frames(1))[0]
    answer = prediction.to_dict()
    assert tuple(answer) == KEYS
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer


def test_batches_answer_as_single_frames_do(folder):
    predictor = Predictor.load(folder)
    images = [np.full((20, 30, 3), i, np.uint8) for i in range(BATCH_FRAMES + 3)] + frames(7)
    together = predictor.predict(images)
    for image, prediction in zip(images, together, strict=True):
        alone = predictor.predict([image])[0]
        assert prediction.label == alone.label
        np.testing.assert_allclose(list(prediction.scores.values()), list(alone.scores.values()), atol=1e-5)
    assert predictor.predict([]) == []


def test_answers_without_maps_are_the_same_answers_and_hold_no_memory_of_their_batch(folder):
    predictor, images = Predictor.load(folder), frames(3)
    full, bare = predictor.predict(images), predictor.predict(images, maps=False)
    assert bare == full and all(answer.map is None for answer in bare)
    assert all(answer.map.base is None for answer in full)


def test_the_maps_of_two_crops_are_joined(tmp_path):
    predictor = Predictor.load(tiny_model.write(tmp_path, fit="random_crop", crops=2))
    frame = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    (answer,) = predictor.predict([frame])  # this network's map is as large as the frame: two of 15 rows and 40 columns
    (outputs,) = predictor._session.run(["map"], {"image": frame[None]})
    parts = outputs[0, HAM7.codes.index(answer.label)].reshape(2, 15, 40)
    assert np.array_equal(answer.map, join_maps(parts, 30, 40)) and answer.map.shape == (20, 54)
    with pytest.raises(ModelError, match="31 rows is not one of 2 crops"):
        predictor.predict([np.zeros((31, 40, 3), np.uint8)])


def test_features_are_the_networks_in_order(folder):
    predictor, images = Predictor.load(folder, threads=1), frames(8)
    expected = [(image.reshape(-1, 3) / 255.0 - 0.5).mean(axis=0) for image in images]
    found = predictor.features(images)
    assert found.dtype == np.float32 and found.shape == (8, 3)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert predictor.features([]).shape == (0, 3)
    with pytest.raises(ValueError, match="uint8"):
        predictor.features([images[0].astype(float)])


def test_an_output_that_is_not_finite_is_an_error(tmp_path):
    network = tiny_model.graph(7)
    bias = next(one for one in network.graph.initializer if one.name == "bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(7, np.nan, np.float32), "bias"))
    with pytest.raises(ModelError, match="not finite"):
        Predictor.load(tiny_model.write(tmp_path, model=network)).predict(frames(1))


def test_several_images_make_one_prediction(folder):
    predictor = Predictor.load(folder)
    several = predictor.predict(frames(3))
    one = mean_prediction(several, predictor.manifest)
    assert one.probabilities == pytest.approx(
        {code: sum(p.probabilities[code] for p in several) / 3 for code in one.probabilities}
    )
    assert one.domain_score == min(p.domain_score for p in several) and one.map is None
    assert mean_prediction(several[:1], predictor.manifest) == several[0]


def test_a_network_without_a_map_is_served(tmp_path):
    with_map = Predictor.load(tiny_model.write(tmp_path / "with")).predict(frames(3))
    without = Predictor.load(tiny_model.write(tmp_path / "without", with_map=False)).predict(frames(3))
    assert [p.map for p in without] == [None] * 3
    assert without == with_map  # maps take no part in the comparison


SMALL = np.zeros((20, 20, 3), np.uint8)


@pytest.mark.parametrize(
    "images",
    [
        *([frame] for frame in (SMALL[..., 0], SMALL[:, :, :0], SMALL.astype(np.float32), Image.fromarray(SMALL))),
        ["lesion.jpg"],
        "lesion.jpg",
        SMALL,
        Image.fromarray(SMALL),
        None,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_list_of_frames_is_refused(folder, images):
    with pytest.raises(ValueError, match="uint8"):
        Predictor.load(folder).predict(images)


def test_an_array_of_frames_and_an_empty_list_are_taken(folder):
    predictor = Predictor.load(folder)
    assert len(predictor.predict(np.stack([SMALL, SMALL]))) == 2 and predictor.predict([]) == []


def test_a_changed_model_file_is_refused(tmp_path):
    folder = tiny_model.write(tmp_path)
    data = bytearray((folder / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "model.onnx").write_bytes(data)
    with pytest.raises(ModelError, match="SHA-256 differs"):
        Predictor.load(folder)


def test_no_model_names_how_to_make_one(tmp_path):
    with pytest.raises(ModelError, match=r"make reports.*--model reports/demo/model"):
        Predictor.load(tmp_path / "nowhere")


def test_a_run_in_place_of_its_model_names_the_models_folder(tmp_path):
    tiny_model.write(tmp_path / "demo" / "model")
    with pytest.raises(ModelError, match=f"name {tmp_path / 'demo' / 'model'}$"):
        Predictor.load(tmp_path / "demo")


def test_a_missing_network_file_is_named(tmp_path):
    (tiny_model.write(tmp_path) / "model.onnx").unlink()
    with pytest.raises(ModelError, match=r"model\.onnx cannot be read"):
        Predictor.load(tmp_path)


CODES = HAM7.codes
UNKNOWN = {"value": None, "low": None, "high": None, "n": 0}
MEASURED = dict.fromkeys(("sensitivity", "specificity", "by_label"), UNKNOWN)
BROKEN = {
    "other format": ({"format": 1}, r"format 1, not 2.*run_all.py --run NAME --config .* --from 04"),
    "labels in another order": ({"labels": list(reversed(CODES))}, "labels must be 7"),
    "no logits": ({"outputs": ["features"]}, "outputs"),
    "unknown fit": ({"fit": "stretch"}, "fit must be one of"),
    "three crops": ({"fit": "random_crop", "crops": 3}, "crops must be one of"),
    "crops of a squashed frame": ({"fit": "squash", "crops": 2}, "crops must be one of"),
    "path outside the folder": ({"file": "../model.onnx"}, "plain file name"),
    "temperature zero": ({"temperature": 0}, "temperature must be above 0"),
    "temperature as text": ({"temperature": "1"}, "temperature must be a number"),
    "a label short": ({"prior_shift": dict.fromkeys(CODES[1:], 0.0)}, "prior_shift must have one value a label"),
    "prior that does not sum to 1": ({"prior": dict.fromkeys(CODES, 0.5)}, "sum to 1"),
    "negative weight": ({"decision_weights": dict.fromkeys(CODES, -1.0)}, "decision_weights must be positive"),
    "not finite": ({"prior_shift": {code: float("nan") for code in CODES}}, "must be finite"),
    "threshold above 1": ({"referral": {"threshold": 2, "borderline": 0} | MEASURED}, "borderline <= threshold <= 1"),
    "grey zone above the threshold": (
        {"referral": {"threshold": 0.2, "borderline": 0.3} | MEASURED},
        "borderline <= threshold",
    ),
    "no sensitivity": ({"referral": {"threshold": 0.2, "borderline": 0.1}}, "referral.sensitivity is missing"),
    "one domain score": ({"domain": {"other_camera": {"threshold": 1.0}}}, "domain.not_dermatoscopic is missing"),
    "no level": ({"prediction_set": {"thresholds": dict.fromkeys(CODES, 0.1)}}, "prediction_set.level is missing"),
    "a set without a class": ({"prediction_set": {"level": 0.9, "thresholds": {"mel": 0.1}}}, "one value a label"),
    "evidence without counts": ({"evidence": [{"source": "a", "part": "test"}]}, "evidence.malignant is missing"),
    "whether synthetic": ({"data": {"source": "demo"}}, "data.synthetic is missing"),
    "no domain score": ({"outputs": ["logits", "features", "map"]}, "outputs must be logits, features, other_camera"),
    "outputs that the manifest lacks": ({"outputs": list(NEEDED)}, "has the outputs"),
    "evaluations that are no object": ({"evaluation": []}, "evaluation.external must be a list"),
    "external evaluations as text": ({"evaluation": {"external": ["text"]}}, "evaluation.external must be a list"),
    "external evidence as text": (
        {"evaluation": {"external": [{"evidence": 3}]}},
        "evaluation.external must be a list",
    ),
    "no number of crops": ({"crops": None}, "crops must be a whole number"),
}


@pytest.mark.parametrize(("changes", "message"), BROKEN.values(), ids=BROKEN)
def test_a_manifest_that_cannot_be_trusted_is_refused(tmp_path, changes, message):
    with pytest.raises(ModelError, match=message):
        Predictor.load(tiny_model.write(tmp_path, **changes))


@pytest.mark.parametrize("text", ["", "[]", "{", "null"])
def test_a_manifest_that_is_no_json_object_is_refused(tmp_path, text):
    (tiny_model.write(tmp_path) / "manifest.json").write_text(text)
    with pytest.raises(ModelError, match="export the model again"):
        Predictor.load(tmp_path)


def test_a_graph_that_contradicts_its_manifest_is_refused(tmp_path):
    with pytest.raises(ModelError, match="labels"):
        Predictor.load(tiny_model.write(tmp_path / "eight", model=tiny_model.graph(8)))
    with pytest.raises(ModelError, match="has the outputs"):
        Predictor.load(tiny_model.write(tmp_path / "renamed", model=tiny_model.graph(7, output="scores")))


def test_measures_may_be_unknown(tmp_path):
    referral = {"threshold": 0.2, "borderline": 0.1} | MEASURED
    assert Predictor.load(tiny_model.write(tmp_path, referral=referral)).manifest.referral == referral


def test_serving_brings_neither_torch_nor_pandas_nor_matplotlib():
    code = (
        "import sys, skinlesion.serving.predictor, skinlesion.commands.predict; "
        "print(*sorted({'torch', 'pandas', 'matplotlib', 'sklearn', 'scipy', 'onnx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.fixture
def pictures(tmp_path):
    """Three readable files and, second, one that is none."""
    paths = []
    for i, frame in enumerate(frames(3)):
        paths.append(str(tmp_path / f"ISIC_{i}.png"))
        Image.fromarray(frame).save(paths[-1])
    (tmp_path / "notes.jpg").write_text("no image")
    return [paths[0], str(tmp_path / "notes.jpg"), *paths[1:]]


def test_files_are_predicted_in_order_a_few_at_a_time(folder, pictures, monkeypatch):
    predictor, paths = Predictor.load(folder), [pictures[i] for i in (3, 0, 2)]
    monkeypatch.setattr(serving, "FILES", 2)
    found = predictor.predict_files(paths)
    assert found == [predictor.predict([frames(3)[i]])[0] for i in (2, 0, 1)]
    assert all(one.map is None for one in found)
    with pytest.raises(ValueError, match="a list of paths"):
        Predictor.load(folder).predict_files(pictures[0])
    with pytest.raises(ImageError, match="is not a JPEG"):
        predictor.predict_files(pictures)


def test_command_json_is_an_array_in_order_with_errors_inside(folder, pictures, capsys):
    assert predict_command(pictures, str(folder), "json") == 1
    entries = json.loads(capsys.readouterr().out)
    assert [entry["image"] for entry in entries] == pictures
    assert [set(entry) for entry in entries] == [
        {"image", *KEYS},
        {"image", "error"},
        {"image", *KEYS},
        {"image", *KEYS},
    ]
    assert "JPEG" in entries[1]["error"]
    expected = Predictor.load(folder).predict(frames(3))
    assert [entries[i] for i in (0, 2, 3)] == [
        {"image": path, **answer.to_dict()} for path, answer in zip(pictures[:1] + pictures[2:], expected, strict=True)
    ]


def test_command_csv_is_a_challenge_submission(tmp_path, pictures, capsys):
    folder = tiny_model.write(tmp_path / "model")
    target = tmp_path / "submission.csv"
    assert predict_command(pictures, str(folder), "csv", str(target)) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert pictures[1] in printed.err
    rows = list(csv.DictReader(io.StringIO(target.read_text())))
    assert list(rows[0]) == ["image", "MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"]
    assert [row.pop("image") for row in rows] == ["ISIC_0", "ISIC_1", "ISIC_2"]
    for row, prediction in zip(rows, Predictor.load(folder).predict(frames(3)), strict=True):
        scores = {code: float(value) for code, value in row.items()}
        assert max(scores, key=scores.get) == prediction.label.upper()
        assert sum(scores.values()) == pytest.approx(1)


def test_command_csv_of_eight_labels_sums_ak_and_scc(tmp_path, pictures, capsys):
    folder = tiny_model.write(tmp_path / "m", ISIC8)
    assert predict_command(pictures[:1], str(folder), "csv") == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    scores = Predictor.load(folder).predict(frames(1))[0].scores
    assert list(row) == ["image", "MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"]
    assert float(row["AKIEC"]) == pytest.approx(scores["ak"] + scores["scc"])
    assert {code: float(row[code.upper()]) for code in scores if code not in ("ak", "scc")} == pytest.approx(
        {code: score for code, score in scores.items() if code not in ("ak", "scc")}
    )


def test_command_table_has_a_line_an_image(folder, pictures, tmp_path, capsys):
    Image.fromarray(frames()[8]).save(tmp_path / "other.png")
    assert predict_command([*pictures, str(tmp_path / "other.png")], str(folder)) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("Research software, not a medical device")
    assert "error: " in lines[2]
    predictions = Predictor.load(folder).predict([*frames(3), frames()[8]])
    assert predictions[3].referral == "none"
    for one, line in zip(predictions, (lines[1], lines[3], *lines[4:6]), strict=True):
        figures = rf"{one.malignant_probability:.1%} +{ADVICE[one.referral]} .* {one.label} "
        if one.referral == "none":  # not dermatoscopic: no figure and no class means anything
            figures = rf"\S+ +- +{ADVICE['none']} +- +- +- +not dermatoscopic"
        assert re.search(figures, line + " ")
        assert all(notice.replace("_", " ") in line for notice in one.notices)
    differs = [one.label != max(one.probabilities, key=one.probabilities.get) for one in predictions[:3]]
    assert len(lines) == 7 + any(differs) and ("decision rule" in lines[6]) == any(differs)


def test_command_table_says_why_a_label_is_not_the_likeliest_class(folder, pictures, capsys, monkeypatch):
    for label, explained in (("mel", 0), ("nv", 1)):
        probabilities = dict.fromkeys(HAM7.codes, 0.0) | {"mel": 0.6, "nv": 0.4}
        one = replace(Predictor.load(folder).predict(frames(1))[0], label=label, probabilities=probabilities)
        monkeypatch.setattr(Predictor, "predict", lambda *_, one=one: [one])
        predict_command(pictures[:1], str(folder))
        assert capsys.readouterr().out.count("decision rule") == explained
        monkeypatch.undo()


def test_command_output_that_cannot_be_written_is_an_error_and_leaves_nothing(folder, pictures, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SkinLesionError, match="cannot be written"):
        predict_command(pictures, str(folder), "json", str(tmp_path / "file" / "answers.json"))
