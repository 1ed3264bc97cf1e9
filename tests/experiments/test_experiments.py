"""The scripts behind the committed figures, run on a small data set; and the committed table itself."""

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from conftest import REPOSITORY
from skinlesion.core.config import Config
from skinlesion.core.errors import DataError
from skinlesion.core.runs import Run
from skinlesion.core.taxonomy import HAM7, ISIC8
from skinlesion.evaluation.predictions import Predictions
from skinlesion.serving.predictor import Predictor
from skinlesion.training import checkpoint
from skinlesion.training.experiments import in_words, read_experiments, read_shipped
from skinlesion.training.trained import facts_of
from small import small_table

TINY = {"image_size": 24, "fit": "squash", "epochs": 2, "batch_size": 16, "learning_rate": 0.003, "keep": "last"}


def script(name):
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    table = small_table(tmp_path_factory.mktemp("images"), lesions=12)
    place = tmp_path_factory.mktemp("csv") / "images.csv"
    frame = table.frame[["path", "label", "image_id", "lesion_id"]].assign(
        site="back", age=[30, 60] * (len(table) // 2)
    )
    frame.to_csv(place, index=False)
    return str(place)


def test_every_row_is_a_valid_recipe_with_a_word_on_what_it_is():
    for path in (REPOSITORY / "configs" / "experiments").glob("*.json"):
        recipe = json.loads(path.read_text())
        assert len(recipe["about"]) > 5
        if "rows" in recipe:
            assert set(recipe) <= {"about", "base", "rows", "refit"}
            assert all(path.with_name(f"{row}.json").exists() for row in [Path(recipe["base"]).stem, *recipe["rows"]])
            continue
        config = Config.from_file(path)
        if "base" in recipe:
            base = Config.from_file(path.parent / recipe["base"])
            assert {name for name in recipe if name not in ("about", "base")} == {
                name for name, value in config.to_dict().items() if value != base.to_dict()[name]
            }, f"{path.stem} repeats or forgets what it changes"


def test_experiments_are_judged_out_of_fold(data, tmp_path, monkeypatch, capsys):
    experiments = script("experiments")
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    (recipes / "plain.json").write_text(json.dumps({"about": "a small start", **TINY}))
    (recipes / "other.json").write_text(json.dumps({"about": "one change", "base": "plain.json", "balance": "sqrt"}))
    (recipes / "views.json").write_text(json.dumps({"about": "four views", "base": "plain.json", "views": 4}))
    (recipes / "both.json").write_text(
        json.dumps({"about": "the two averaged", "base": "plain.json", "rows": ["plain", "other"]})
    )
    (recipes / "age.json").write_text(
        json.dumps({"about": "with age", "base": "plain.json", "rows": ["plain"], "refit": ["age", "sex", "site"]})
    )
    (recipes / "refit.json").write_text(
        json.dumps({"about": "what to compare with", "base": "plain.json", "rows": ["plain"], "refit": []})
    )
    monkeypatch.setattr(experiments, "RECIPES", recipes)
    monkeypatch.setattr(experiments, "TABLE", tmp_path / "table.csv")
    monkeypatch.setattr(experiments, "ANSWERS", tmp_path / "answers")
    output, kept = tmp_path / "runs", tmp_path / "answers"

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["experiments.py", "--output", str(output), *arguments])
        experiments.main()

    call("run", "--data", data, "--folds", "0", "1")
    stamps = {path: path.stat().st_mtime_ns for path in kept.glob("*/fold-*")}
    assert len(stamps) == 12
    assert not list((output / "views").glob("*/checkpoints")), "other views ask the same network"
    call("run", "--data", data, "--folds", "0", "1")
    assert stamps == {path: path.stat().st_mtime_ns for path in kept.glob("*/fold-*")}, "done is done"
    call("table")

    table = read_experiments(tmp_path / "table.csv").set_index("row")
    assert table.loc["both", "parameters"] == table.loc[["plain", "other"], "parameters"].sum(), "it costs their sum"
    parts = [pd.read_csv(kept / "other" / f"fold-{fold}.csv.gz") for fold in (0, 1)]
    assert not set(parts[0]["lesion_id"]) & set(parts[1]["lesion_id"])
    codes, truth, even = list(HAM7.codes), [], []
    for fold, part in enumerate(parts):
        prior = json.loads((kept / "other" / f"fold-{fold}.json").read_text())["prior"]
        truth += list(part["label"])
        even.append(part[codes].to_numpy() - np.log(prior))
    even, truth = np.concatenate(even), np.array(truth)
    expected = balanced_accuracy_score(truth, np.array(codes)[even.argmax(1)])
    assert table.loc["other", "balanced_accuracy"] == pytest.approx(expected, abs=1e-4)
    natural = np.array([(truth == code).mean() for code in codes])
    p = np.exp(even) * natural
    auroc = roc_auc_score(truth, p / p.sum(1, keepdims=True), multi_class="ovr", labels=codes)
    assert table.loc["other", "macro_auroc"] == pytest.approx(auroc, abs=1e-4)
    assert table.loc["other", "difference"] == pytest.approx(
        expected - table.loc["plain", "balanced_accuracy"], abs=2e-4
    )
    assert np.isnan(table.loc["plain", "difference"])

    seen = {
        row: np.concatenate(
            [
                log_softmax(
                    pd.read_csv(kept / row / f"fold-{fold}.csv.gz")[codes].to_numpy()
                    - np.log(json.loads((kept / row / f"fold-{fold}.json").read_text())["prior"]),
                    axis=1,
                )
                for fold in (0, 1)
            ]
        )
        for row in ("plain", "other", "views")
    }
    assert np.abs(seen["views"] - seen["plain"]).max() > 1e-4
    both = balanced_accuracy_score(truth, np.array(codes)[(seen["plain"] + seen["other"]).argmax(1)])
    assert table.loc["both", "balanced_accuracy"] == pytest.approx(both, abs=1e-4)
    fold = np.repeat([0, 1], [len(part) for part in parts])
    ages = np.concatenate([part["age"] for part in parts])
    ones = np.ones((len(truth), 2))  # site and unknown sex are the same everywhere
    x = np.hstack([seen["plain"], (ages[:, None] - 50) / 20, ones])
    answer = np.empty(len(truth), object)
    for k in (0, 1):
        model = LogisticRegression(class_weight="balanced", max_iter=2000).fit(x[fold != k], truth[fold != k])
        answer[fold == k] = model.predict(x[fold == k])
    expected = balanced_accuracy_score(truth, answer.astype(str))
    assert table.loc["age", "balanced_accuracy"] == pytest.approx(expected, abs=1e-4)


def test_a_row_trains_what_it_starts_from_as_that_row_says(data, tmp_path, monkeypatch):
    experiments = script("experiments")
    first = {"about": "small images", **TINY, "model": "test_efficientnet"}
    place = str(tmp_path / "by itself" / "first" / "fold-{fold}")
    then = {
        "about": "larger ones",
        "base": "first.json",
        "image_size": 32,
        "start": place.replace("by itself", "needed"),
    }
    for name, recipe in (("first", first), ("then", then)):
        (tmp_path / f"{name}.json").write_text(json.dumps(recipe))
    monkeypatch.setattr(experiments, "RECIPES", tmp_path)
    for output, row in (("by itself", "first"), ("needed", "then")):
        monkeypatch.setattr(experiments, "ANSWERS", tmp_path / output / "answers")
        command = ["--output", str(tmp_path / output), "run", row, "--data", data, "--folds", "0"]
        monkeypatch.setattr("sys.argv", ["experiments.py", *command])
        experiments.main()
    runs = [Run(tmp_path / output / "first" / "fold-0") for output in ("by itself", "needed")]
    one, other = (facts_of(run)["checkpoint"] for run in runs)
    assert one == other, "the same recipe on the same pixels"
    weights = [checkpoint.read(run.folder / one)[0] for run in runs]
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())
    assert facts_of(Run(tmp_path / "needed" / "then" / "fold-0"))["config"]["image_size"] == 32


def test_the_shipped_model_is_made_from_what_was_out_of_fold(data, tmp_path, monkeypatch, capsys):
    shipped = script("shipped")
    recipe = tmp_path / "tiny.json"
    (tmp_path / "before.json").write_text(json.dumps({"about": "what it starts from", **TINY}))
    recipe.write_text(json.dumps({"base": "before.json", "start": str(tmp_path / "before" / "{part}"), "epochs": 1}))
    monkeypatch.setattr(shipped, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(shipped, "PRETRAINED", tmp_path / "pretrained")
    monkeypatch.setattr(shipped, "SIZES", ((40, 30), (80, 60)))
    command = [
        "shipped.py",
        "--data",
        data,
        "--config",
        str(recipe),
        "--parts",
        str(tmp_path / "parts"),
        "--again",
        "--install",
    ]
    monkeypatch.setattr("sys.argv", command)
    shipped.main()

    found = pd.read_csv(tmp_path / "results" / "tiny" / "out_of_fold.csv")
    test = pd.read_csv(tmp_path / "results" / "tiny" / "test.csv")
    assert sorted(found["fold"].unique()) == [0, 1, 2, 3, 4]
    assert not set(found["lesion_id"]) & set(test["lesion_id"])
    metrics = json.loads((tmp_path / "results" / "tiny" / "metrics.json").read_text())
    scores = [f"score_{code}" for code in HAM7.codes]
    for which, rows in (("out_of_fold", found), ("test", test)):
        answer = np.array(HAM7.codes)[rows[scores].to_numpy().argmax(1)]
        expected = balanced_accuracy_score(rows["label"], answer)
        assert metrics[which]["balanced_accuracy"]["value"] == pytest.approx(expected, abs=1e-6)

    predictor = Predictor.load(tmp_path / "pretrained")
    content = predictor.manifest.content
    assert content["out_of_fold"] == metrics["out_of_fold"]
    assert content["metrics"] == metrics["test"]
    assert {"fp16", "int8"} <= set(content["variants_judged"])
    assert {f"model.{name}.onnx" for name in content["variants"]} == {
        path.name for path in (tmp_path / "pretrained").glob("model.*.onnx")
    }
    (read,) = pd.read_csv(tmp_path / "results" / "test_reads.csv").to_dict("records")
    assert (read["recipe"], content["evaluation"]["test_reads"]) == ("tiny", 1)
    assert read["balanced_accuracy"] == pytest.approx(metrics["test"]["balanced_accuracy"]["value"], abs=1e-4)
    trained_on = pd.read_csv(Run(tmp_path / "parts" / "final").split)
    assert set(trained_on.loc[trained_on["split"] == "train", "image_id"]) == set(found["image_id"])
    for part in ("fold-3", "final"):
        before, run = Run(tmp_path / "before" / part), Run(tmp_path / "parts" / part)
        assert Config.from_file(run.config_file).start == str(before.folder)
        assert before.split.read_bytes() == run.split.read_bytes()
    assert content["started_from"] == content["config"] | {"start": "", "epochs": TINY["epochs"]}
    assert (content["config"]["start"], content["config"]["epochs"]) == ("final", 1)
    facts = json.loads((tmp_path / "results" / "tiny" / "fold-3.json").read_text())
    both = [Run(tmp_path / name / "fold-3").training for name in ("before", "parts")]
    assert facts["seconds"] == pytest.approx(sum(json.loads(file.read_text())["seconds"] for file in both))

    monkeypatch.setattr("sys.argv", [*command[:-2], "--out-of-fold", "--folds", "0", "2"])
    capsys.readouterr()
    shipped.main()
    assert capsys.readouterr().out.count("already") == 2, "what is kept of both folds is of these data"
    judged = pd.read_csv(tmp_path / "results" / "tiny" / "out_of_fold.csv")
    assert sorted(judged["fold"].unique()) == [0, 2]
    again = json.loads((tmp_path / "results" / "tiny" / "metrics.json").read_text())
    answer = np.array(HAM7.codes)[judged[scores].to_numpy().argmax(1)]
    expected = balanced_accuracy_score(judged["label"], answer)
    assert again["out_of_fold"]["balanced_accuracy"]["value"] == pytest.approx(expected, abs=1e-6)
    assert again["test"] == metrics["test"], "what was read of the test part stays"


def test_eight_labels_are_judged_as_seven():
    shipped, random = script("shipped"), np.random.default_rng(0)
    scores, y = random.dirichlet(np.ones(8), 300), random.integers(0, 8, 300)
    ids, nothing = np.arange(300).astype(str), np.full(300, "")
    eight = Predictions(ids, ids, nothing, np.zeros(300, int), ISIC8, y, scores, scores)
    seven = shipped.as_seven(eight)
    folded = {"ak": "akiec", "scc": "akiec"}
    for had, has in ((eight.y, seven.y), (eight.predicted, seven.predicted)):
        names = [folded.get(code, code) for code in np.array(ISIC8.codes)[had]]
        assert names == np.array(HAM7.codes)[has].tolist()
    for code in HAM7.codes:
        parts = [i for i, other in enumerate(ISIC8.codes) if folded.get(other, other) == code]
        np.testing.assert_allclose(seven.probabilities[:, HAM7.codes.index(code)], scores[:, parts].sum(1))


def test_the_table_for_people_says_what_the_table_says():
    table = read_experiments()
    told = in_words(table)
    assert len(told) == len(table) and told.index.is_unique
    for row, says in table.set_index(["row", "about"]).iterrows():
        value, low, high = map(float, re.findall(r"[\d.]+", told.loc[row, "balanced accuracy"]))
        assert (value, low, high) == pytest.approx(
            [says[f"balanced_accuracy{end}"] for end in ("", "_low", "_high")], abs=6e-4
        )
    best = told["balanced accuracy"].str.slice(0, 5).astype(float)
    assert best.is_monotonic_decreasing


def test_a_missing_table_names_the_fix(tmp_path):
    with pytest.raises(DataError, match=r"experiments\.py"):
        read_experiments(tmp_path / "none.csv")
    (tmp_path / "short.csv").write_text("row,about\na,b\n")
    with pytest.raises(DataError, match="lacks base"):
        read_experiments(tmp_path / "short.csv")


def test_the_shipped_models_recipe_and_figures_are_its_manifests(tmp_path):
    recipes, figures = read_shipped()
    manifest = Predictor.load().manifest.content
    network = manifest["architecture"]
    assert recipes.columns.to_list() == ["classic", "before", "shipped"]
    assert recipes.loc["model"].to_list() == ["classic", network, network]
    assert recipes.loc["epochs", "before"] == manifest["started_from"]["epochs"]
    assert recipes.loc["image_size" if manifest["image_size"] != 128 else "views", "shipped"] in (
        manifest["image_size"],
        manifest["views"],
    )
    assert not {"data", "fold", "rotation"} & set(recipes.index), "neither places nor what both have in common"
    recall = manifest["out_of_fold"]["per_class"]["mel"]["sensitivity"]
    assert figures.iloc[:, 0]["sensitivity, mel"] == "{value:.3f} ({low:.3f} to {high:.3f})".format(**recall)
    assert figures.columns[1].startswith(f"{manifest['measured_on']}, {manifest['metrics']['n_images']:,}")
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(DataError, match="install the package anew"):
        read_shipped(tmp_path / "manifest.json")
