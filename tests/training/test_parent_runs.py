"""Trainings that start from another one or distil it, and starts that are a recipe, which is trained first."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

import workers
from skinlesion.core import recipes
from skinlesion.core.config import Config
from skinlesion.core.errors import ConfigError, DataError, SkinLesionError
from skinlesion.core.runs import Run
from skinlesion.core.writing import write_json
from skinlesion.data.cache import build_cache
from skinlesion.data.splits import DROPPED, load_split, make_split, write_split
from skinlesion.export.onnx import recorded_config
from skinlesion.training import checkpoint, standalone
from skinlesion.training.fit import fit, training_key
from skinlesion.training.trained import facts_of, predict
from small import another, small_csv, small_table

CONFIG = Config(image_size=24, epochs=3, batch_size=8, learning_rate=3e-3, patience=0, keep="last")
STILL = {"epochs": 1, "learning_rate": 1e-12, "average": 0.0}  # so that what is answered is what was started from


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return small_table(tmp_path_factory.mktemp("images"), lesions=6)


@pytest.fixture(scope="module")
def data(table):
    return build_cache(table, size=24, fit="squash"), table.targets, make_split(table)


def train(data, folder, config, *, classes=7):
    cache, targets, split = data
    run = Run(folder)
    write_json(run.config_file, config.to_dict())
    write_split(split, run.split)
    return fit(config, cache, targets, split["split"].to_numpy(str), run, classes=classes)


def with_split(data, **options):
    """The same pixels and labels, split otherwise."""
    cache, targets, split = data
    return cache, targets, split.assign(**options)


@pytest.fixture(scope="module")
def earlier(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("earlier")
    return folder, train(data, folder, CONFIG)


def test_a_training_starts_from_the_earlier_weights(earlier, data, tmp_path):
    folder, first = earlier
    second = train(data, tmp_path / "second", CONFIG.but(start=str(folder), **STILL))
    weights = second.model.state_dict()
    trained = [name for name, _ in first.model.named_parameters()]
    assert all(torch.allclose(weights[name], first.model.state_dict()[name], atol=1e-9) for name in trained)
    fresh = train(data, tmp_path / "fresh", CONFIG.but(**STILL)).model.state_dict()
    assert not all(torch.allclose(fresh[name], weights[name], atol=1e-3) for name in trained)


def test_at_another_size_too(table, data, tmp_path):
    config = CONFIG.but(model="resnet10t", epochs=1)
    first = train(data, tmp_path / "small", config)
    larger = build_cache(table, size=40, fit="squash")
    changes = {"start": str(tmp_path / "small"), "image_size": 40, **STILL}
    second = train((larger, *data[1:]), tmp_path / "large", config.but(**changes))
    for name, weight in first.model.named_parameters():
        assert torch.allclose(second.model.state_dict()[name], weight, atol=1e-9), name
    said, _ = predict(second.model, larger, np.flatnonzero(data[2]["split"] == "validation"))
    assert np.isfinite(said).all()


def test_other_earlier_weights_make_another_training(earlier, data, tmp_path):
    folder, _ = earlier
    one = train(data, tmp_path / "run", CONFIG.but(start=str(folder), **STILL)).facts["checkpoint"]
    train(data, tmp_path / "other", CONFIG.but(seed=0, epochs=1))
    two = train(data, tmp_path / "run", CONFIG.but(start=str(tmp_path / "other"), **STILL)).facts["checkpoint"]
    assert one != two


def test_with_other_labels_all_but_the_last_layer_is_taken_over(earlier, data, tmp_path):
    folder, first = earlier
    second = train(data, tmp_path / "eight", CONFIG.but(start=str(folder), labels=8, **STILL), classes=8)
    for name, weight in first.model.named_parameters():
        if "classifier" in name:
            assert second.model.state_dict()[name].shape[0] == 8 and weight.shape[0] == 7
        else:
            assert torch.allclose(second.model.state_dict()[name], weight, atol=1e-9), name


@pytest.mark.parametrize("role", ["start", "teachers"])
def test_no_lesion_that_is_evaluated_may_have_trained_a_parent(earlier, table, data, tmp_path, role):
    folder, split = earlier[0], data[2]
    child = CONFIG.but(**{role: str(folder)}, epochs=1)
    lesion = split.loc[split["split"] == "train", "lesion_id"].iloc[0]
    moved = split["split"].where(split["lesion_id"] != lesion, "validation")
    with pytest.raises(ConfigError, match="was trained on 1 of the lesions that this run has for validation or test"):
        train(with_split(data, split=moved), tmp_path / "a", child)
    twin = split["split"].where(split["lesion_id"] != lesion, DROPPED)
    with pytest.raises(ConfigError, match="was trained on 1 of the lesions"):
        train(with_split(data, split=twin), tmp_path / "twin", child)
    with pytest.raises(ConfigError, match=r"was trained on \d+ of the lesions"):
        train(with_split(data, split=make_split(table, fold=1)["split"]), tmp_path / "b", child.but(fold=1))
    every = make_split(table, fold=-1)["split"]
    train(with_split(data, split=every), tmp_path / "all", child.but(fold=-1))
    with pytest.raises(ConfigError, match=r"was trained on \d+ of the lesions"):
        train(data, tmp_path / "c", child.but(**{role: str(tmp_path / "all")}))


def test_a_near_duplicate_of_a_training_lesion_counts_as_that_lesion(earlier, data, tmp_path):
    run, split = Run(tmp_path / "parent"), data[2]
    a, b = (split.loc[split["split"] == part, "group"].iloc[0] for part in ("train", "validation"))
    train(with_split(data, group=split["group"].replace(b, a)), run.folder, CONFIG.but(epochs=1))
    with pytest.raises(ConfigError, match="was trained on 1 of the lesions"):
        train(data, tmp_path / "child", CONFIG.but(start=str(run.folder), epochs=1))


def test_other_data_need_a_split_file_that_vouches_for_them(earlier, data, tmp_path):
    folder, split = earlier[0], data[2]
    other = with_split(data, image_id="new " + split["image_id"], lesion_id="new " + split["lesion_id"])
    with pytest.raises(ConfigError, match="was trained on other data, .* or give a split_file"):
        train(other, tmp_path / "a", CONFIG.but(start=str(folder), **STILL))
    train(other, tmp_path / "b", CONFIG.but(start=str(folder), split_file="mine.csv", **STILL))


def test_what_a_run_was_trained_on_is_what_counts(table, data, tmp_path):
    """Not what its folder has been made ready for since."""
    run, start = Run(tmp_path / "earlier"), CONFIG.but(start=str(tmp_path / "earlier"), epochs=1)
    train(data, run.folder, CONFIG.but(epochs=1))
    write_json(run.config_file, CONFIG.but(epochs=1, fold=1, image_size=32).to_dict())
    train(data, tmp_path / "b", start)
    write_split(make_split(table, fold=1), run.split)
    with pytest.raises(ConfigError, match="was split again since it was trained"):
        train(data, tmp_path / "c", start)
    write_split(make_split(table), run.split)
    train(data, tmp_path / "d", start)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"checkpoint": "a", "prior": null}'])
def test_damaged_facts_are_told(data, tmp_path, content):
    Run(tmp_path).training.write_text(content)
    with pytest.raises(DataError, match=r"training\.json is damaged .*train that run again"):
        train(data, tmp_path / "next", CONFIG.but(start=str(tmp_path)))


def test_what_cannot_be_started_from_is_refused(earlier, data, tmp_path):
    folder, _ = earlier
    start = CONFIG.but(start=str(folder), epochs=1)
    with pytest.raises(ConfigError, match="is a classic at 24 px, which does not fit the resnet10t at 24 px"):
        train(data, tmp_path / "b", start.but(model="resnet10t"))
    with pytest.raises(DataError, match=r"training\.json is not there yet; run skinlesion train"):
        train(data, tmp_path / "c", start.but(start=str(tmp_path / "nobody")))


def test_a_distilled_transformer_has_two_last_layers(table, data, tmp_path):
    config = CONFIG.but(model="deit_tiny_distilled_patch16_224", image_size=32, epochs=1)
    wide = build_cache(table, size=32, fit="squash")
    first = train((wide, *data[1:]), tmp_path / "seven", config)
    config = config.but(start=str(tmp_path / "seven"), labels=8, **STILL)
    second = train((wide, *data[1:]), tmp_path / "eight", config, classes=8).model.state_dict()
    for name, weight in first.model.named_parameters():
        if "head" in name:
            assert second[name].shape[0] == 8 and weight.shape[0] == 7
        else:
            assert torch.allclose(second[name], weight, atol=1e-9), name


def test_a_manifest_tells_what_the_start_was_trained_by(earlier, data, tmp_path):
    """Not what its folder has been made ready for since."""
    run = Run(tmp_path / "earlier")
    train(data, run.folder, CONFIG.but(epochs=1))
    write_json(run.config_file, CONFIG.but(epochs=7).to_dict())
    child = Run(tmp_path / "child")
    stated = recorded_config(CONFIG.but(start=str(run.folder)), "demo", child)
    assert stated["started_from"]["epochs"] == 1 and stated["config"]["start"] == "earlier"
    assert "started_from" not in recorded_config(CONFIG.but(start=str(tmp_path / "nobody")), "demo", child)
    child.folder.mkdir()
    run.folder.rename(child.folder / "start")
    assert recorded_config(CONFIG.but(start="classic"), "demo", child)["started_from"]["epochs"] == 1


#: Told by the pixels, the targets, the split and the parent runs' weights, or without effect on the weights.
NOT_IN_THE_KEY = {
    "data",
    "max_images",
    "exclude_official_test",
    "label_words",
    "split_file",
    "holdout_source",
    "twins",
    "start",
    "crops",
    "views",
    "checkpoint_every",
}


def test_every_parameter_up_to_training_makes_another_training_but_those_that_opt_out(data):
    """Also where data are the same: images may be of no more classes than both label sets share."""
    cache, targets, split = data
    rest = cache.content, targets, split["split"].to_numpy(str), "weights of the parent runs"
    base = Config(fit="center_crop")
    changed = {name: another(name) for name in Config.names("data", "preprocessing", "augmentation", "training")} | {
        "fit": "squash"
    }
    del changed["teachers"], changed["start"]  # weights that have to be there: tested above
    keys = {name: training_key(base.but(**{name: value}), *rest) for name, value in changed.items()}
    same = training_key(base, *rest)
    assert {name for name, key in keys.items() if key == same} == NOT_IN_THE_KEY - {"start"}


# --- a start that is a recipe -----------------------------------------------------------------------------------------

FIRST = {"image_size": 24, "epochs": 2, "batch_size": 16, "learning_rate": 3e-3, "patience": 0, "rotation": 0.0}
NEXT = FIRST | {"start": "first", "epochs": 3, "fit": "center_crop", "fold": 1}


@pytest.fixture
def own_recipes(tmp_path, monkeypatch):
    """The folder of two recipes, ``first`` and one that goes on from it, in place of the package's."""
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "first.json").write_text(json.dumps(FIRST))
    monkeypatch.setattr(recipes, "FOLDER", tmp_path / "recipes")
    return tmp_path / "recipes"


@pytest.fixture(scope="module")
def csv_file(tmp_path_factory):
    place = tmp_path_factory.mktemp("images")
    small_csv(place, lesions=8)
    return str(place / "table.csv")


def weights(run: Run) -> dict[str, torch.Tensor]:
    return checkpoint.read(run.folder / facts_of(run)["checkpoint"])[0]


def test_a_recipe_is_trained_first_and_its_weights_are_the_start(own_recipes, csv_file, tmp_path, capsys):
    run, start = Run(tmp_path / "run"), Run(tmp_path / "run" / "start")
    config = Config(data=csv_file).but(**NEXT | {"learning_rate": 1e-12, "epochs": 1})
    standalone.train(config, run, features=None, progress=False)
    assert Config().but(**facts_of(start)["config"]) == Config(data=csv_file, fold=1).but(**FIRST)
    pd.testing.assert_frame_equal(load_split(start.split), load_split(run.split))
    own, theirs = weights(run), weights(start)
    learned = [name for name in own if name.endswith("weight")]
    assert all(torch.allclose(own[name], theirs[name], atol=1e-9) for name in learned)
    assert json.loads(run.config_file.read_text())["start"] == "first"
    printed = capsys.readouterr().out
    assert printed.index("training the start first: first, 2 epochs") < printed.index("epoch 1 of 2: loss ")
    assert printed.index("epoch 2 of 2: loss ") < printed.index("epoch 1 of 1: loss ")


def test_an_interruption_anywhere_changes_nothing(own_recipes, csv_file, tmp_path, monkeypatch):
    config = Config(data=csv_file).but(**NEXT)
    standalone.train(config, Run(tmp_path / "whole"), features=None, progress=False)
    run = Run(tmp_path / "stopped")
    for place, epochs in ((run.folder / "start", 1), (run.folder, 2)):

        def lines(place=place, epochs=epochs):
            def watch(progress):
                if (place / "history.csv").exists() and len(progress.history) == epochs and progress.epochs > epochs:
                    raise KeyboardInterrupt

            return watch

        with monkeypatch.context() as patch, pytest.raises(SkinLesionError, match="the same command continues from it"):
            patch.setattr(standalone.live, "lines", lines)
            standalone.train(config, run, features=None, progress=False)
    standalone.train(config, run, features=None, progress=False)
    for one, other in ((Run(tmp_path / "whole"), run), (Run(tmp_path / "whole" / "start"), Run(run.folder / "start"))):
        expected, found = weights(one), weights(other)
        assert all(torch.equal(found[name], expected[name]) for name in expected)
        assert facts_of(one)["checkpoint"] == facts_of(other)["checkpoint"]


def test_another_start_makes_another_training(own_recipes, csv_file, tmp_path):
    run, config = Run(tmp_path / "run"), Config(data=csv_file).but(**NEXT | {"epochs": 1})
    standalone.train(config, run, features=None, progress=False)
    before = facts_of(run)["checkpoint"]
    standalone.train(config, run, features=None, progress=False)
    assert facts_of(run)["checkpoint"] == before
    (own_recipes / "first.json").write_text(json.dumps(FIRST | {"epochs": 1}))
    standalone.train(config, run, features=None, progress=False)
    assert facts_of(run)["checkpoint"] != before


def test_a_recipe_of_another_network_is_refused_before_anything_is_written(own_recipes, csv_file, tmp_path):
    config = Config(data=csv_file).but(**NEXT | {"model": "resnet10t"})
    with pytest.raises(ConfigError, match=r"start='first' is a recipe of a classic, .* set model=classic"):
        standalone.train(config, Run(tmp_path / "run"), features=None, progress=False)
    assert not (tmp_path / "run" / "config.json").exists()


def train_here(own_recipes, csv_file, place):
    recipes.FOLDER = own_recipes
    standalone.train(Config(data=csv_file).but(**NEXT), Run(place), features=None, progress=False)


def test_two_processes_train_the_start_together(own_recipes, csv_file, tmp_path):
    started = workers.ranks(train_here, *2 * [(own_recipes, csv_file, tmp_path / "run")])
    for process in started:
        process.join(300)
    assert [process.exitcode for process in started] == [0, 0]
    for run in (Run(tmp_path / "run" / "start"), Run(tmp_path / "run")):
        assert facts_of(run)["processes"] == 2 and not any(run.folder.glob(".shared-*"))
    assert facts_of(Run(tmp_path / "run"))["epochs"] == 3
