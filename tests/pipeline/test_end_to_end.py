"""The whole series on the demo set, and training on the real one, as a user would run them."""

import json
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, roc_auc_score

import run_all
from browser import faults
from shared import made_once
from skinlesion import cli
from skinlesion.core import images
from skinlesion.core.taxonomy import HAM7
from skinlesion.evaluation.reading import read_predictions
from skinlesion.serving.predictor import Predictor

STEPS = ("01_eda", "02_preprocessing", "03_training", "04_evaluation", "05_export")

#: The smallest network that has activation maps, so that every cell of every notebook has something to do, and part of
#: few drawings: the whole demo set takes longer to draw than to train on.
SMALL = ["--data", "demo:200", "--preset", "smoke", "--run", "e2e", "--set", "max_images=150", "stress=1"]
SMALL += ["model=test_efficientnet", "pretrained=false"]

DEVICE = 'href="http://127.0.0.1:5000/device/"'  # where `make app` has the on-device page


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    def make(folder):
        (folder / "e2e").mkdir(parents=True)
        (folder / "e2e" / "sweep.csv").write_text("trial,status,val_balanced_accuracy\n4,stopped,0.8125\n")
        assert run_all.main(SMALL, reports=folder) == 0

    return made_once(tmp_path_factory, "series", make)


@pytest.fixture(scope="module")
def run(reports):
    return reports / "e2e"


def test_everything_promised_is_there(run):
    names = ["index.html", "run.json", "metrics.json", "predictions.csv", "split.csv", "data_check.csv", "history.csv"]
    names += [f"{step}.html" for step in STEPS]
    names += [f"model/{name}" for name in ("model.onnx", "manifest.json", "MODEL_CARD.md")]
    assert not [name for name in names if not (run / name).exists()]
    assert not list(run.rglob("*.partial"))


def test_every_page_says_that_the_data_are_synthetic_and_stays_small(run):
    for page in run.glob("*.html"):
        assert "synthetic demo data" in page.read_text().lower(), page.name
        assert page.stat().st_size < 5e6, page.name
        text = page.read_text().replace(DEVICE, "")
        assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", text), page.name


@pytest.mark.browser
def test_every_page_is_accessible_at_every_width(run):
    """Of the layout in a wide window, which is that of all pages, axe looks at two."""
    pages = sorted(run.glob("*.html"))
    wide = [run / "index.html", run / "04_evaluation.html"]
    assert set(wide) < set(pages)
    with ThreadPoolExecutor(1) as thread:  # Playwright keeps an event loop in its thread, which papermill must not meet
        assert thread.submit(faults, pages, wide).result() == []


def test_the_on_device_page_is_linked_where_the_app_has_it(run):
    assert DEVICE in (run / "05_export.html").read_text()


def test_the_table_of_a_sweep_in_the_folder_is_shown(run):
    page = (run / "03_training.html").read_text()
    assert "Results of the sweep" in page and "0.8125" in page


def test_the_test_split_shares_no_lesion(run):
    split = pd.read_csv(run / "split.csv")
    assert (split.groupby("lesion_id")["split"].nunique() == 1).all()
    assert set(split["split"]) == {"train", "validation", "test"}


def test_metrics_are_those_of_the_predictions(run):
    metrics = json.loads((run / "metrics.json").read_text())
    test = read_predictions(run / "predictions.csv").of_split("test")
    assert metrics["balanced_accuracy"]["value"] == pytest.approx(balanced_accuracy_score(test.y, test.predicted))
    assert metrics["macro_auroc"]["value"] == pytest.approx(
        np.mean([roc_auc_score(test.y == i, test.probabilities[:, i]) for i in range(7)])
    )
    recall = np.diag(confusion_matrix(test.y, test.predicted, normalize="true"))
    ours = [metrics["per_class"][code]["sensitivity"]["value"] for code in HAM7.codes]
    assert ours == pytest.approx(list(recall))
    assert metrics["accuracy"]["low"] <= metrics["accuracy"]["value"] <= metrics["accuracy"]["high"]


def test_the_exported_model_gives_the_evaluated_answers(run):
    predictor = Predictor.load(run / "model")
    table = pd.read_csv(run / "table.csv").set_index("image_id")
    test = read_predictions(run / "predictions.csv").of_split("test")
    answers = predictor.predict([images.read_image(table.loc[name, "path"]) for name in test.image_ids])
    ours = np.array([[answer.probabilities[code] for code in HAM7.codes] for answer in answers])
    assert np.abs(ours - test.probabilities).max() < 1e-4
    assert [answer.label for answer in answers] == [HAM7.codes[i] for i in test.predicted]


def test_the_command_line_answers_from_it(run, tmp_path, capsys):
    table = pd.read_csv(run / "table.csv")
    first, second = (tmp_path / "a.jpg", tmp_path / "b.jpg")
    first.write_bytes(images.read_bytes(table["path"][0]))
    second.write_bytes(b"no image")
    status = cli.main(["predict", str(first), str(second), "--model", str(run / "model"), "--format", "json"])
    good, bad = json.loads(capsys.readouterr().out)
    assert status == 1
    assert sum(good["probabilities"].values()) == pytest.approx(1)
    assert "JPEG" in bad["error"]


def test_a_second_run_has_nothing_to_do(reports, run, capsys):
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*.ipynb")}
    assert run_all.main(SMALL, reports=reports) == 0
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*.ipynb")} == before
    assert json.loads((run / "run.json").read_text())


@pytest.mark.soak
def test_a_page_can_be_made_again_alone(reports, run):
    """`--only` is tested in test_pipeline.py; here, that an evaluation made again is the same."""
    before = (run / "03_training.ipynb").stat().st_mtime_ns
    predictions = (run / "predictions.csv").read_text()
    assert run_all.main([*SMALL, "--only", "04"], reports=reports) == 0
    assert (run / "03_training.ipynb").stat().st_mtime_ns == before
    assert (run / "predictions.csv").read_text() == predictions


@pytest.mark.real
def test_training_on_ham10000(ham10000_dir, tmp_path, capsys):
    settings = ["max_images=120", "epochs=1", "image_size=64"]
    arguments = ["train", "--data", str(ham10000_dir), "--run", str(tmp_path), "--set", *settings]
    assert cli.main(arguments) == 0
    assert "from ham10000; 0 problems" in capsys.readouterr().out
    history = pd.read_csv(tmp_path / "history.csv")
    assert np.isfinite(history["val_loss"]).all()
    with np.load(tmp_path / "outputs.npz") as outputs:
        split = pd.read_csv(tmp_path / "split.csv").set_index("image_id")["split"]
        assert set(split[outputs["image_id"]]) == {"validation", "test"}
