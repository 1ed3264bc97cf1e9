"""The scripts behind the committed figures, run on a small data set; and the committed table itself."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from conftest import REPOSITORY
from experiments import candidates, folds, recipes, run, shipped, storage
from skinlesion.core.config import Config
from skinlesion.core.errors import ConfigError, DataError
from skinlesion.core.recipes import load_recipe
from skinlesion.core.runs import Run
from skinlesion.core.taxonomy import HAM7, ISIC8
from skinlesion.data import splits
from skinlesion.data.sources import load_table
from skinlesion.evaluation import comparison
from skinlesion.evaluation.predictions import Predictions
from skinlesion.evaluation.reference_results import (
    changes_by_base,
    read_experiments,
    read_shipped,
    readable_experiments,
)
from skinlesion.serving.predictor import Predictor
from skinlesion.training import checkpoint
from skinlesion.training.trained import facts_of
from small import small_table

TINY = {"image_size": 24, "fit": "squash", "epochs": 2, "batch_size": 16, "learning_rate": 0.003, "keep": "last"}
TABLE = REPOSITORY / "experiments" / "table.csv"


def toml(sections):
    """``{"rows.plain": {...}}`` as TOML."""
    lines = []
    for name, values in sections.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items()), ""]
    return "\n".join(lines)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    table = small_table(tmp_path_factory.mktemp("images"), lesions=12)
    place = tmp_path_factory.mktemp("csv") / "images.csv"
    frame = table.frame[["path", "label", "image_id", "lesion_id"]].assign(
        site="back", age=[30, 60] * (len(table) // 2)
    )
    frame.to_csv(place, index=False)
    return str(place)


@pytest.mark.parametrize("section", ["rows", "recipes"])
def test_every_recipe_is_valid_and_changes_what_it_lists(section):
    known = recipes.load(section)
    for name, recipe in known.items():
        assert len(recipe.about) > 5
        config = recipes.config(name, known)
        if recipe.rows:
            assert not recipe.values and {recipe.base, *recipe.rows} <= set(known)
        elif recipe.base:
            base = recipes.config(recipe.base, known).to_dict()
            changed = {key for key, value in config.to_dict().items() if value != base[key]}
            assert set(recipe.values) == changed, f"{name} repeats or forgets what it changes"


def test_both_stages_are_the_shipped_recipe():
    assert recipes.config("both_stages", recipes.load("across")) == load_recipe("shipped")


def test_combined_rows_stand_after_their_parts():
    names = list(recipes.load("rows"))
    for name, recipe in recipes.load("rows").items():
        assert all(names.index(row) < names.index(name) for row in recipe.rows)


def test_an_unknown_recipe_or_value_names_its_place(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="no recipe 'nothing'"):
        recipes.config("nothing", {})
    monkeypatch.setattr(recipes, "FILE", tmp_path / "recipes.toml")
    recipes.FILE.write_text(toml({"rows.a": {"about": "a typing error", "epoch": 3}, "rows.b": {"epochs": 3}}))
    with pytest.raises(ConfigError, match=r"\[rows.b\].*about"):
        recipes.load("rows")
    recipes.FILE.write_text(toml({"rows.a": {"about": "a typing error", "epoch": 3}}))
    with pytest.raises(ConfigError, match=r"recipes.toml, a: unknown parameter 'epoch'"):
        recipes.config("a", recipes.load("rows"))


def test_every_stored_recipe_loads():
    """Where this fails after a parameter was renamed: ``python -m experiments.recipes OLD NEW``."""
    parts = [(part, path) for path in recipes.stored()
             for recipe in storage.read_facts(path).values() for part in recipe.values()]  # fmt: skip
    assert len(parts) > 140
    for part, path in parts:
        storage.stored_config(part, path)


def test_a_renamed_parameter_is_renamed_wherever_it_is_stored(tmp_path, monkeypatch):
    monkeypatch.setattr(recipes, "FILE", tmp_path / "recipes.toml")
    monkeypatch.setattr(recipes, "OUTPUTS", tmp_path)
    recipes.FILE.write_text(toml({"rows.a": {"about": "long epochs = 3", "epochz": 3}}))
    frame = pd.DataFrame({"image_id": ["a"], "logit_mel": np.float32([0.5])})
    rows, other = tmp_path / "rows.parquet", tmp_path / "other.parquet"
    storage.write_parquet(rows, frame, {"a": {"fold-0": {"config": {"epochz": 3, "seed": 1}}}})
    storage.write_parquet(other, frame, {"b": {"test": {"config": {"epochz": 4}, "seconds": 1}}})
    recipes.main(["epochz", "epochs"])
    assert storage.read_facts(rows) == {"a": {"fold-0": {"config": {"epochs": 3, "seed": 1}}}}
    back, facts = storage.read_parquet(other)
    assert facts == {"b": {"test": {"config": {"epochs": 4}, "seconds": 1}}}
    pd.testing.assert_frame_equal(back, frame, check_dtype=False)
    assert recipes.config("a", recipes.load("rows")).epochs == 3
    recipes.main(["seed"])
    assert storage.read_facts(rows) == {"a": {"fold-0": {"config": {"epochs": 3}}}}
    assert recipes.rename("nothing", "else") == []


@pytest.mark.parametrize("row", ["proxy", "mobilenetv2_160", "labels_8"])
def test_a_line_of_the_committed_table_follows_from_its_outputs(row):
    line = read_experiments(TABLE).set_index("row").loc[row]
    frame, facts = storage.read_parquet(recipes.OUTPUTS / "rows.parquet", row)
    codes = [name.removeprefix("logit_") for name in frame if name.startswith("logit_")]
    even = frame.filter(like="logit_").to_numpy(float).round(4)
    even -= np.log([facts[part]["prior"] for part in frame["part"]])
    predicted = np.array(codes)[even.argmax(axis=1)]
    assert line["balanced_accuracy"] == round(balanced_accuracy_score(frame["label"], predicted), 4)
    assert line["n_images"] == len(frame) and line["n_lesions"] == frame["lesion_id"].nunique()
    assert line["folds"] == " ".join(part.removeprefix("fold-") for part in sorted(facts))


def test_a_line_of_the_candidates_follows_from_its_outputs():
    line = pd.read_csv(candidates.CANDIDATES, index_col=["recipe", "set", "metric"])
    for name in ("ham10000", "mobilenet_squares"):
        outputs = storage.read(candidates.STORED, name)
        predicted = outputs.decided(outputs.decision(0.9)).predicted
        expected = balanced_accuracy_score(outputs.y, predicted)
        assert line.loc[(name, "out_of_fold", "balanced_accuracy"), "value"] == pytest.approx(expected, abs=1e-5)
    known = set(line.index.get_level_values("recipe"))
    assert known == set(storage.read_facts(candidates.STORED))


def test_experiments_are_evaluated_out_of_fold(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(recipes, "FILE", tmp_path / "recipes.toml")
    recipes.FILE.write_text(toml({
        "rows.plain": {"about": "a small start", **TINY},
        "rows.other": {"about": "one change", "base": "plain", "balance": "sqrt"},
        "rows.views": {"about": "four views", "base": "plain", "views": 4},
        "rows.both": {"about": "the two averaged", "base": "plain", "rows": ["plain", "other"]},
        "rows.age": {"about": "with age", "base": "plain", "rows": ["plain"], "refit": ["age", "sex", "site"]},
        "rows.refit": {"about": "what to compare with", "base": "plain", "rows": ["plain"], "refit": []},
    }))  # fmt: skip
    output, stored = tmp_path / "runs", tmp_path / "outputs.parquet"
    rows = run.Rows(recipes.load("rows"), stored)
    rows.train([], data, [0, 1], output)
    stamp = stored.stat().st_mtime_ns
    assert set(storage.read_facts(stored)) == {"plain", "other", "views"}
    assert not list((output / "views").glob("*/checkpoints")), "other views use the same network"
    rows.train([], data, [0, 1], output)
    assert stamp == stored.stat().st_mtime_ns, "done is done"
    with pytest.raises(ConfigError, match="no recipe nothing"):
        rows.train(["nothing"], data, [0], output)
    rows.table().to_csv(tmp_path / "table.csv", index=False)

    table = read_experiments(tmp_path / "table.csv").set_index("row")
    assert table.loc["both", "parameters"] == table.loc[["plain", "other"], "parameters"].sum(), "it costs their sum"
    codes = list(HAM7.codes)

    def even(row):
        frame, facts = storage.read_parquet(stored, row)
        priors = np.log([facts[part]["prior"] for part in frame["part"]])
        return frame, frame[[f"logit_{code}" for code in codes]].to_numpy(float) - priors

    frame, logits = even("other")
    lesions = frame.groupby("part")["lesion_id"].agg(set)
    assert not lesions["fold-0"] & lesions["fold-1"]
    truth = frame["label"].to_numpy(str)
    expected = balanced_accuracy_score(truth, np.array(codes)[logits.argmax(1)])
    assert table.loc["other", "balanced_accuracy"] == pytest.approx(expected, abs=1e-4)
    natural = np.array([(truth == code).mean() for code in codes])
    p = np.exp(logits) * natural
    auroc = roc_auc_score(truth, p / p.sum(1, keepdims=True), multi_class="ovr", labels=codes)
    assert table.loc["other", "macro_auroc"] == pytest.approx(auroc, abs=1e-4)
    assert table.loc["other", "difference"] == pytest.approx(
        expected - table.loc["plain", "balanced_accuracy"], abs=2e-4
    )
    assert np.isnan(table.loc["plain", "difference"])

    logs = {row: log_softmax(even(row)[1], axis=1) for row in ("plain", "other", "views")}
    assert np.abs(logs["views"] - logs["plain"]).max() > 1e-4
    both = balanced_accuracy_score(truth, np.array(codes)[(logs["plain"] + logs["other"]).argmax(1)])
    assert table.loc["both", "balanced_accuracy"] == pytest.approx(both, abs=1e-4)
    ones = np.ones((len(truth), 2))  # site and unknown sex are the same everywhere
    x = np.hstack([logs["plain"], (frame["age"].to_numpy()[:, None] - 50) / 20, ones])
    predicted = np.empty(len(truth), object)
    for part in ("fold-0", "fold-1"):
        inside = (frame["part"] == part).to_numpy()
        model = LogisticRegression(class_weight="balanced", max_iter=20000, tol=1e-8)
        predicted[inside] = model.fit(x[~inside], truth[~inside]).predict(x[inside])
    expected = balanced_accuracy_score(truth, predicted.astype(str))
    assert table.loc["age", "balanced_accuracy"] == pytest.approx(expected, abs=1e-4)


def test_a_row_trains_what_it_starts_from_by_that_rows_recipe(data, tmp_path, monkeypatch):
    monkeypatch.setattr(recipes, "FILE", tmp_path / "recipes.toml")
    start = str(tmp_path / "needed" / "first" / "fold-{fold}")
    recipes.FILE.write_text(toml({
        "rows.first": {"about": "small images", **TINY, "model": "test_efficientnet"},
        "rows.then": {"about": "larger ones", "base": "first", "image_size": 32, "start": start},
    }))  # fmt: skip
    for output, row in (("by itself", "first"), ("needed", "then")):
        rows = run.Rows(recipes.load("rows"), tmp_path / output / "outputs.parquet")
        rows.train([row], data, [0], tmp_path / output)
    runs = [Run(tmp_path / output / "first" / "fold-0") for output in ("by itself", "needed")]
    one, other = (facts_of(run)["checkpoint"] for run in runs)
    assert one == other, "the same recipe on the same pixels"
    weights = [checkpoint.read(run.folder / one)[0] for run in runs]
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())
    assert facts_of(Run(tmp_path / "needed" / "then" / "fold-0"))["config"]["image_size"] == 32


def test_candidates_are_evaluated_out_of_fold(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(recipes, "FILE", tmp_path / "recipes.toml")
    recipes.FILE.write_text(toml({
        "recipes.before": {"about": "what it starts from", **TINY},
        "recipes.tiny": {"about": "tiny", "base": "before", "start": str(tmp_path / "before" / "{part}"), "epochs": 1},
    }))  # fmt: skip
    monkeypatch.setattr(candidates, "STORED", tmp_path / "outputs.parquet")
    monkeypatch.setattr(candidates, "CANDIDATES", tmp_path / "candidates.csv")
    command = ["--data", data, "--recipe", "tiny", "--parts", str(tmp_path / "parts"), "--folds", "0", "3"]
    candidates.main([*command, "--again"])

    outputs = storage.read(candidates.STORED, "tiny")
    assert outputs.parts == ["fold-0", "fold-3"]
    written = pd.read_csv(tmp_path / "candidates.csv", index_col=["recipe", "set", "metric"])["value"]
    decided = outputs.decided(outputs.decision(0.9))
    expected = balanced_accuracy_score(decided.y, decided.predicted)
    assert written["tiny", "out_of_fold", "balanced_accuracy"] == pytest.approx(expected, abs=1e-5)
    before, own = Run(tmp_path / "before" / "fold-3"), Run(tmp_path / "parts" / "fold-3")
    assert Config.from_file(own.config_file).start == str(before.folder)
    assert before.split.read_bytes() == own.split.read_bytes()
    expected = sum(json.loads(run.training.read_text())["seconds"] for run in (before, own))
    assert outputs.facts["fold-3"]["seconds"] == pytest.approx(expected)

    capsys.readouterr()
    candidates.main(command)
    assert capsys.readouterr().out.count("already") == 2, "what is stored of both folds is of these data"


def test_the_shipped_model_follows_from_its_stored_outputs(data, tmp_path, monkeypatch):
    recipe = Config().but(**TINY, pretrained=False)
    table = load_table(data)
    for module in (shipped, folds):
        monkeypatch.setattr(module, "load_recipe", lambda name: recipe)
    monkeypatch.setattr(shipped, "HOME", table.frame["source"].iloc[0])
    monkeypatch.setattr(shipped, "SIZES", ((40, 30), (80, 60)))
    for name, place in (
        ("STORED", "outputs.parquet"),
        ("SPLIT", "split.csv"),
        ("READS", "reads.csv"),
        ("PRETRAINED", "model"),
    ):
        monkeypatch.setattr(shipped, name, tmp_path / place)
    splits.write_split(splits.choose_split(table, split_file="", seed=0, fold=1)[0], shipped.SPLIT)
    milk, other = tmp_path / "milk", tmp_path / "other"
    rng = np.random.default_rng(0)
    for folder, count in ((milk, 8), (other, 4)):
        folder.mkdir()
        for number in range(count):
            pixels = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{folder.name}{number}.png")
    kinds = {"isic_id": [f"milk{n}" for n in range(8)], "image_type": ["clinical: close-up"] * 6 + ["dermoscopic"] * 2}
    pd.DataFrame(kinds).to_csv(milk / "MILK10k_Training_Metadata.csv", index=False)
    pd.DataFrame({"image_id": [f"other{n}" for n in range(4)], "label": "nv"}).to_csv(other / "labels.csv", index=False)
    monkeypatch.setattr(shipped, "CLOSE_UPS", 5)
    assert [len(paths) for paths in (*shipped.close_ups(milk), *shipped.unseen(other))] == [5, 1, 4, 0]
    more = ["--photographs", str(milk), "--unseen", str(other)]
    shipped.main(["--data", data, "--run", str(tmp_path / "run"), *more, "--install"])

    outputs = storage.read(shipped.STORED, shipped.NAME)
    split = pd.read_csv(shipped.SPLIT).set_index("image_id")["split"]
    assert outputs.parts == ["test", "validation"]
    assert (split[outputs.images["image_id"]].to_numpy() == outputs.images["part"]).all()
    made = Predictor.load(tmp_path / "model").manifest
    for part, key in (("test", "metrics"), ("validation", "validation")):
        rows = outputs.take([part])
        label = made.decision.decide(made.decision.probabilities(rows.logits)).label
        expected = balanced_accuracy_score(rows.y, label)
        assert made.content[key]["balanced_accuracy"]["value"] == pytest.approx(expected, abs=1e-6)
    known = outputs.take(["validation"]).images
    assert np.quantile(known["other_camera"], 0.05) == pytest.approx(made.domain_thresholds["other_camera"], abs=1e-5)
    assert made.content["domain"]["not_dermatoscopic"]["method"] == "linear probe"
    (read,) = pd.read_csv(shipped.READS).to_dict("records")
    assert read["balanced_accuracy"] == pytest.approx(made.content["metrics"]["balanced_accuracy"]["value"], abs=1e-4)

    (tmp_path / "model" / "manifest.json").write_text(json.dumps(made.content | {"melanoma_level": 0.99}))
    shipped.main(["--rewrite"])
    again = Predictor.load(tmp_path / "model").manifest
    assert again.content["metrics"] == made.content["metrics"]
    assert again.content["melanoma_level"] == made.content["melanoma_level"]
    assert again.content["referral"] == made.content["referral"] and again.identity == made.identity
    assert len(pd.read_csv(shipped.READS)) == 1, "the same figures are no new reading"

    monkeypatch.setattr(folds, "TABLE", tmp_path / "folds.csv")
    folds.main(["train", "2", "--data", data, "--output", str(tmp_path / "folds"), *more])
    folds.main(["table"])
    both, parts = folds.stored(), pd.read_csv(shipped.SPLIT)
    second = both.take(["fold-2"])
    assert set(second.images["image_id"]) == set(parts.loc[parts["fold"] == 2, "image_id"])
    trained = pd.read_csv(tmp_path / "folds" / "fold-2" / "split.csv").query("split == 'train'")["image_id"]
    assert set(trained) == set(parts.loc[~parts["fold"].isin([2, -1]), "image_id"])
    label = made.decision.decide(made.decision.probabilities(second.logits)).label
    predictions, referred = folds.decided(both)
    rows = (both.images["part"] == "fold-2").to_numpy()
    assert (predictions.predicted[rows] == label).all(), "by the decision that the other fold chose"
    found = pd.read_csv(tmp_path / "folds.csv").query("source == 'all' and images == 'all'").set_index("metric")
    expected = balanced_accuracy_score(both.y, predictions.predicted)
    assert found["value"]["balanced_accuracy"] == pytest.approx(expected, abs=1e-5)
    assert found["value"]["sensitivity"] == pytest.approx(referred[predictions.is_malignant].mean(), abs=1e-5)


def test_eight_labels_are_merged_into_seven():
    random = np.random.default_rng(0)
    scores, y = random.dirichlet(np.ones(8), 300), random.integers(0, 8, 300)
    ids, nothing = np.arange(300).astype(str), np.full(300, "")
    eight = Predictions(ids, ids, nothing, np.zeros(300, int), ISIC8, y, scores, scores)
    seven = comparison.seven_labels(eight)
    folded = {"ak": "akiec", "scc": "akiec"}
    assert [folded.get(code, code) for code in np.array(ISIC8.codes)[eight.y]] == np.array(HAM7.codes)[seven.y].tolist()
    for code in HAM7.codes:
        parts = [i for i, other in enumerate(ISIC8.codes) if folded.get(other, other) == code]
        np.testing.assert_allclose(seven.probabilities[:, HAM7.codes.index(code)], scores[:, parts].sum(1))
    summed = pd.DataFrame(scores, columns=ISIC8.codes).rename(columns=folded).T.groupby(level=0).sum().T
    assert summed.idxmax(axis=1).to_list() == np.array(HAM7.codes)[seven.predicted].tolist()


def test_the_readable_table_has_the_tables_figures():
    table = read_experiments(TABLE)
    told = readable_experiments(table)
    assert len(told) == len(table) and told.index.is_unique
    for row, says in table.set_index(["row", "about"]).iterrows():
        value, low, high = map(float, re.findall(r"[\d.]+", told.loc[row, "balanced accuracy"]))
        assert (value, low, high) == pytest.approx(
            [says[f"balanced_accuracy{end}"] for end in ("", "_low", "_high")], abs=6e-4
        )
    best = told["balanced accuracy"].str.slice(0, 5).astype(float)
    assert best.is_monotonic_decreasing


def test_differences_are_grouped_by_what_they_change():
    table = read_experiments(TABLE)
    found = changes_by_base(table)
    assert sum(map(len, found.values())) == table["difference"].notna().sum()
    for base, rows in found.items():
        assert set(rows) == set(table.loc[(table["base"] == base) & table["difference"].notna(), "row"])
        assert [one["value"] for one in rows.values()] == sorted((one["value"] for one in rows.values()), reverse=True)
    assert changes_by_base(None) == {}


def test_a_missing_table_says_so(tmp_path):
    with pytest.raises(DataError, match="comes with the project's repository"):
        read_experiments(tmp_path / "none.csv")
    (tmp_path / "short.csv").write_text("row,about\na,b\n")
    with pytest.raises(DataError, match="lacks base"):
        read_experiments(tmp_path / "short.csv")


def test_the_shipped_models_recipe_and_figures_are_its_manifests(tmp_path):
    recipes, figures = read_shipped()
    manifest = Predictor.load().manifest.content
    network = manifest["architecture"]
    started = ["before"] if manifest["started_from"] else []
    assert recipes.columns.to_list() == ["classic", *started, "shipped"]
    assert recipes.loc["model"].to_list() == ["classic", *(network for _ in started), network]
    assert recipes.loc["image_size" if manifest["image_size"] != 128 else "views", "shipped"] in (
        manifest["image_size"],
        manifest["views"],
    )
    assert not {"data", "fold", "rotation"} & set(recipes.index), "neither places nor what both have in common"
    recall = manifest["validation"]["per_class"]["mel"]["sensitivity"]
    assert figures.iloc[:, 0]["sensitivity, mel"] == "{value:.3f} ({low:.3f} to {high:.3f})".format(**recall)
    assert figures.columns[1].startswith(f"{manifest['measured_on']}, {manifest['metrics']['n_images']:,}")
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(DataError, match="install the package again"):
        read_shipped(tmp_path / "manifest.json")
