"""A model elsewhere: figures against scikit-learn, images of the training data found, the command from end to end."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import recall_score, roc_auc_score

import tiny_model
from skinlesion import cli
from skinlesion import external_images as external
from skinlesion.core import images
from skinlesion.core.errors import ConfigError, DataError
from skinlesion.core.taxonomy import HAM7
from skinlesion.data.sources import load_table
from skinlesion.data.tabulate import trained_ids
from skinlesion.evaluation import plots
from skinlesion.evaluation.plots.decisions import external_figure
from skinlesion.evaluation.predictions import Predictions
from skinlesion.evaluation.reading import read_predictions
from skinlesion.external_images import evaluate_external, not_compared, seen_before
from skinlesion.serving.manifest import Manifest
from skinlesion.serving.predictor import Predictor
from small import encoded, small_table


def make(n=300, seed=0, kinds=("mel", "nv")):
    random = np.random.default_rng(seed)
    y = np.array([HAM7.index(code) for code in random.choice(kinds, n)])
    p = np.exp(random.normal(size=(n, 7)) + 1.5 * np.eye(7)[y])
    p /= p.sum(axis=1, keepdims=True)
    ids = np.array([f"i{i}" for i in range(n)], object)
    return Predictions(ids, ids, np.full(n, "", object), np.full(n, -1), HAM7, y, p, p)


def test_figures_are_those_of_scikit_learn():
    predictions = make(kinds=HAM7.codes)
    inside = np.arange(300) % 3 > 0
    found = external.external_metrics(predictions, 0.3, inside, replicates=50)
    score, malignant = predictions.malignant_probability, predictions.is_malignant
    mel, nv = HAM7.index("mel"), HAM7.index("nv")
    pair = np.isin(predictions.y, (mel, nv))
    expected = {
        "mel_nv_auroc": roc_auc_score(predictions.y[pair] == mel, predictions.probabilities[pair, mel]),
        "malignant_auroc": roc_auc_score(malignant, score),
        "sensitivity": recall_score(malignant, score >= 0.3),
        "specificity": recall_score(~malignant, score < 0.3),
        "observed": malignant.mean(),
        "predicted": score.mean(),
        "in_domain": 2 / 3,
    }
    assert {name: found[name]["value"] for name in expected} == pytest.approx(expected, abs=1e-12)
    errors = ("ece", "malignant_ece")
    assert all(one["low"] <= one["value"] <= one["high"] for name, one in found.items() if name not in errors)
    assert all(found[name]["by_chance"] > 0 and found[name]["low"] is None for name in errors)
    assert found["mel_nv_auroc"]["n"] == pair.sum() and found["sensitivity"]["n"] == malignant.sum()


def test_calibration_says_which_way_it_is_off():
    predictions = make(4000)
    truth = np.random.default_rng(1).random(4000) < predictions.malignant_probability
    honest = replace(predictions, y=np.where(truth, HAM7.index("mel"), HAM7.index("nv")))
    figure = {"value": 0.9, "low": 0.8, "high": 0.95, "n": 9}
    home = {"sensitivity": figure, "specificity": figure}
    found = external.external_metrics(honest, 0.3, replicates=100)
    assert found["malignant_ece"]["value"] < 0.03
    assert "the difference is not significant" in external.change_in_words(found, home)
    rare = honest.take(np.flatnonzero(~truth | (np.arange(4000) % 4 == 0)))
    found = external.external_metrics(rare, 0.3, replicates=100)
    assert found["malignant_ece"]["value"] > 0.1 and "too high" in external.change_in_words(found, home)
    assert found["in_domain"]["value"] is None
    table = external.beside_home(found, home)
    assert table.loc[external.NAMES["sensitivity"], "own test"] == "0.900 (0.800 to 0.950)"
    assert external.NAMES["in_domain"] not in table.index


def test_without_melanomas_there_is_no_such_figure():
    found = external.external_metrics(make(kinds=("bcc", "nv")), 0.3, replicates=20)
    assert found["mel_nv_auroc"]["value"] is None and found["malignant_auroc"]["value"] > 0.5
    found = external.external_metrics(make(kinds=("bkl", "df")), 0.3, replicates=20)
    assert found["mel_nv_auroc"]["value"] is found["sensitivity"]["value"] is found["malignant_auroc"]["value"] is None
    for kinds in (("bkl", "df"), ("mel", "nv")):
        predictions = make(kinds=kinds)
        figure, alt = external_figure(predictions, external.external_metrics(predictions, 0.3, replicates=20), 0.3)
        assert " nan" not in alt
    assert plots.png(figure)
    line = figure.axes[0].lines[0]
    area = np.trapezoid(line.get_ydata(), line.get_xdata())
    assert area == pytest.approx(roc_auc_score(predictions.is_malignant, predictions.malignant_probability))


def again(frame, quality, scale, mirror):
    """The same picture as another person may have saved it."""
    image = Image.fromarray(frame)
    image = image.resize((round(image.width * scale), round(image.height * scale)))
    if mirror:
        image = image.transpose(mirror)
    return images.decode(encoded(image, "JPEG", quality=quality))


def test_copies_of_training_images_are_found_and_others_are_not(tmp_path):
    table = load_table("demo:60")
    ours, theirs = table.keep(np.arange(len(table)) % 2 == 0), table.keep(np.arange(len(table)) % 2 == 1)
    flips = (None, Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.ROTATE_180)
    rows = theirs.frame.head(8).copy()
    for i, (path, name) in enumerate(zip(theirs.frame["path"].head(8), "abcdefgh", strict=True)):
        copy = again(images.read_image(path), (60, 95)[i % 2], (0.7, 1.5)[i % 2], flips[i % 4])
        Image.fromarray(copy).save(tmp_path / f"{name}.png")
    rows["image_id"], rows["path"] = list("abcdefgh"), [str(tmp_path / f"{name}.png") for name in "abcdefgh"]
    mixed = replace(ours, frame=pd.concat([ours.frame.head(12), rows], ignore_index=True))
    found = seen_before(mixed, theirs)
    assert list(found[12:]) == [f"near-identical to {name}" for name in theirs.frame["image_id"].head(8)]
    assert (found[:12] == "").all(), "other images of the same lesions are no copies"
    assert (seen_before(theirs.keep(np.arange(len(theirs)) < 3), theirs) == "same id").all()


def test_ids_of_ham10000_are_known():
    ids = pd.Series(["ISIC_0024306", "ISIC_0034320", "ISIC_0034321", "ISIC_0024305", "IMD003", "ISIC_0025030_small"])
    for kind in ("dermamnist", "isic2018", "csv + isic2019"):
        assert list(trained_ids(ids, kind)) == [True, True, False, False, False, True]
    assert not trained_ids(ids, "folder").any()


@pytest.fixture
def elsewhere(tmp_path):
    """A CSV as others write it: names without suffix, images in a subfolder, words of their own."""
    table = small_table(tmp_path / "set" / "images", lesions=6)
    chosen = table.frame[table.frame["label"].isin(["mel", "nv", "bkl"])]
    words = {"mel": "Melanoma", "nv": "Atypical Nevus", "bkl": "wart"}
    place = tmp_path / "set" / "labels.csv"
    pd.DataFrame({"image_name": chosen["image_id"], "diagnosis": chosen["label"].map(words)}).to_csv(place, index=False)
    return place


def test_images_are_found_by_name_and_labels_by_the_words_that_are_given(elsewhere):
    table = load_table(str(elsewhere))
    assert dict(table.counts()[table.counts() > 0]) == {"mel": 9, "nv": 9}
    assert (table.problems["problem"] == "unknown label").sum() == 9
    table = load_table(str(elsewhere), words={"Wart": "bkl"})
    assert table.counts()["bkl"] == 9
    assert all(path.endswith(f"{name}.jpg") for name, path in table.frame[["image_id", "path"]].to_numpy())
    double = elsewhere.parent / "copies" / "mel_0_0.jpg"
    double.parent.mkdir()
    double.write_bytes(b"")
    assert len(load_table(str(elsewhere))) == 17, "of two images of one name none is taken"
    with pytest.raises(DataError, match="no class wart; the classes are akiec"):
        load_table(str(elsewhere), words={"x": "wart"})


def test_the_command_from_end_to_end(elsewhere, tmp_path, capsys):
    model = tiny_model.write(tmp_path / "model")
    out = tmp_path / "out"
    arguments = [
        "external",
        "--data",
        str(elsewhere),
        "--model",
        str(model),
        "--output",
        str(out),
        "--label",
        "wart=bkl",
    ]
    assert cli.main([*arguments, "--card"]) == 0
    said = capsys.readouterr().out
    assert "27 images: bkl 9, mel 9, nv 9" in said and "AUROC, melanoma against nevus" in said
    assert "intervals are over images" in said
    record = json.loads((out / "external.json").read_text())
    predictions = read_predictions(out / "predictions.csv")
    expected = external.external_metrics(predictions, 0.4)
    for name in ("malignant_auroc", "sensitivity", "malignant_ece"):
        assert record["metrics"][name] == pytest.approx(expected[name]), name
    answer = Predictor.load(model).predict(
        [images.read_image(elsewhere.parent / "images" / f"{predictions.image_ids[5]}.jpg")]
    )
    assert dict(zip(HAM7.codes, predictions.probabilities[5], strict=True)) == pytest.approx(
        answer[0].probabilities, abs=1e-4
    )
    assert (out / "figures" / "external.png").exists()
    manifest = Predictor.load(model).manifest.content
    assert manifest["evaluation"]["external"] == [record], "and the model still loads"
    assert "**set**, 27 images (bkl 9, mel 9, nv 9)" in (model / "MODEL_CARD.md").read_text()
    assert cli.main([*arguments, "--card"]) == 0
    assert len(Predictor.load(model).manifest.content["evaluation"]["external"]) == 1, "measured again, not twice"


def test_images_that_the_model_was_trained_on_do_not_count(elsewhere, tmp_path, capsys):
    model, out = tiny_model.write(tmp_path / "model"), tmp_path / "out"
    training = tmp_path / "training.csv"
    known = load_table(str(elsewhere)).frame.head(4)
    known[["path", "label"]].assign(image_id=list("wxyz")).to_csv(training, index=False)
    assert evaluate_external(str(elsewhere), model, out, training=str(training), replicates=10) == 0
    assert "4 images of the model's training data left out; compared with the training data by id and by content" in (
        capsys.readouterr().out
    )
    assert not set(known["image_id"]) & set(read_predictions(out / "predictions.csv").image_ids)
    with pytest.raises(DataError, match=r"only training data of the model \(18 images\)"):
        evaluate_external(str(elsewhere), model, out, training=str(elsewhere))
    with pytest.raises(ConfigError, match="WORD=CODE"):
        evaluate_external(str(elsewhere), model, out, words=["wart"])


def test_sources_whose_images_cannot_be_found_are_told_and_keep_the_figures_out_of_the_card(
    elsewhere, tmp_path, capsys
):
    """A model of three sources: only HAM10000's ids are known; a data set of the same kind is compared by content."""
    kinds = {"ham10000": "ham10000", "clinic": "csv", "milk10k": "milk10k"}
    facts = {"source": "ham10000 + csv + milk10k", "synthetic": False, "images": 90, "lesions": 80, "citation": "none"}
    facts["sources"] = {name: {"kind": kind, "images": 30, "lesions": 20} for name, kind in kinds.items()}
    model, out = tiny_model.write(tmp_path / "model", data=facts), tmp_path / "out"
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    command = ["external", "--data", str(elsewhere), "--model", str(model), "--output", str(out), "--label", "wart=bkl"]
    assert cli.main([*command, "--card"]) == 2
    assert "clinic, milk10k" in (error := capsys.readouterr().err) and "--training A B" in error
    assert not out.exists() and {path.name: path.read_bytes() for path in model.iterdir()} == before
    assert cli.main(command) == 0
    capsys.readouterr()
    (note,) = [one for one in json.loads((out / "external.json").read_text())["notes"] if "not compared" in one]
    assert "clinic, milk10k" in note
    part = tmp_path / "part.csv"
    load_table(str(elsewhere)).frame.head(4)[["image_id", "path", "label"]].to_csv(part, index=False)
    assert cli.main([*command, "--training", str(part)]) == 0
    (note,) = [one for one in json.loads((out / "external.json").read_text())["notes"] if "not compared" in one]
    assert "Images of milk10k, which" in note


def test_every_source_of_a_model_needs_data_of_its_own_to_be_compared_with(elsewhere, tmp_path):
    kinds = {"one": "csv", "other": "csv", "archive": "isic-archive", "home": "ham10000", "task 3": "isic2018"}
    facts = {
        "source": "csv + isic-archive + ham10000 + isic2018",
        "synthetic": False,
        "images": 4,
        "lesions": 4,
        "citation": "none",
    }
    facts["sources"] = {name: {"kind": kind, "images": 1, "lesions": 1} for name, kind in kinds.items()}
    manifest = Manifest.read(tiny_model.write(tmp_path / "model", data=facts))
    table = load_table(str(elsewhere))
    assert not_compared(manifest, table) == ["one", "other", "archive"], "HAM10000 alone is known by ids"
    assert not_compared(manifest, table, table) == ["other", "archive"]
