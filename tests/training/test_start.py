"""A start that is a recipe: it is trained first, on the same data and split, and goes on after any interruption."""

import json

import pandas as pd
import pytest
import torch

import workers
from skinlesion.core import recipes
from skinlesion.core.config import Config
from skinlesion.core.errors import ConfigError, SkinLesionError
from skinlesion.core.runs import Run
from skinlesion.data.splits import load_split
from skinlesion.training import checkpoint, standalone
from skinlesion.training.trained import facts_of
from small import small_csv

FIRST = {"image_size": 24, "epochs": 2, "batch_size": 16, "learning_rate": 3e-3, "patience": 0, "rotation": 0.0}
NEXT = FIRST | {"start": "first", "epochs": 3, "fit": "center_crop", "fold": 1}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of two recipes, ``first`` and one that goes on from it, in place of the package's."""
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "first.json").write_text(json.dumps(FIRST))
    monkeypatch.setattr(recipes, "FOLDER", tmp_path / "recipes")
    return tmp_path / "recipes"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    place = tmp_path_factory.mktemp("images")
    small_csv(place, lesions=8)
    return str(place / "table.csv")


def weights(run: Run) -> dict[str, torch.Tensor]:
    return checkpoint.read(run.folder / facts_of(run)["checkpoint"])[0]


def test_a_recipe_is_trained_first_and_its_weights_are_the_start(folder, data, tmp_path, capsys):
    run, start = Run(tmp_path / "run"), Run(tmp_path / "run" / "start")
    config = Config(data=data).but(**NEXT | {"learning_rate": 1e-12, "epochs": 1})
    standalone.train(config, run, progress=False)
    assert Config().but(**facts_of(start)["config"]) == Config(data=data, fold=1).but(**FIRST)
    pd.testing.assert_frame_equal(load_split(start.split), load_split(run.split))
    own, theirs = weights(run), weights(start)
    learned = [name for name in own if name.endswith("weight")]
    assert all(torch.allclose(own[name], theirs[name], atol=1e-9) for name in learned)
    assert json.loads(run.config_file.read_text())["start"] == "first"
    printed = capsys.readouterr().out
    assert printed.index("training the start first: first, 2 epochs") < printed.index("epoch 1 of 2: loss ")
    assert printed.index("epoch 2 of 2: loss ") < printed.index("epoch 1 of 1: loss ")


def test_an_interruption_anywhere_changes_nothing(folder, data, tmp_path, monkeypatch):
    config = Config(data=data).but(**NEXT)
    standalone.train(config, Run(tmp_path / "whole"), progress=False)
    run = Run(tmp_path / "stopped")
    for place, epochs in ((run.folder / "start", 1), (run.folder, 2)):

        def lines(place=place, epochs=epochs):
            def watch(progress):
                if (place / "history.csv").exists() and len(progress.history) == epochs and progress.epochs > epochs:
                    raise KeyboardInterrupt

            return watch

        with monkeypatch.context() as patch, pytest.raises(SkinLesionError, match="the same command goes on from it"):
            patch.setattr(standalone.live, "lines", lines)
            standalone.train(config, run, progress=False)
    standalone.train(config, run, progress=False)
    for one, other in ((Run(tmp_path / "whole"), run), (Run(tmp_path / "whole" / "start"), Run(run.folder / "start"))):
        expected, found = weights(one), weights(other)
        assert all(torch.equal(found[name], expected[name]) for name in expected)
        assert facts_of(one)["checkpoint"] == facts_of(other)["checkpoint"]


def test_another_start_makes_another_training(folder, data, tmp_path):
    run, config = Run(tmp_path / "run"), Config(data=data).but(**NEXT | {"epochs": 1})
    standalone.train(config, run, progress=False)
    before = facts_of(run)["checkpoint"]
    standalone.train(config, run, progress=False)
    assert facts_of(run)["checkpoint"] == before
    (folder / "first.json").write_text(json.dumps(FIRST | {"epochs": 1}))
    standalone.train(config, run, progress=False)
    assert facts_of(run)["checkpoint"] != before


def test_a_recipe_of_another_network_is_refused_before_anything_is_written(folder, data, tmp_path):
    config = Config(data=data).but(**NEXT | {"model": "resnet10t"})
    with pytest.raises(ConfigError, match=r"start='first' is a recipe of a classic, .* set model=classic"):
        standalone.train(config, Run(tmp_path / "run"), progress=False)
    assert not (tmp_path / "run" / "config.json").exists()


def train_here(folder, data, place):
    recipes.FOLDER = folder
    standalone.train(Config(data=data).but(**NEXT), Run(place), progress=False)


def test_two_processes_train_the_start_together(folder, data, tmp_path):
    started = workers.ranks(train_here, *2 * [(folder, data, tmp_path / "run")])
    for process in started:
        process.join(300)
    assert [process.exitcode for process in started] == [0, 0]
    for run in (Run(tmp_path / "run" / "start"), Run(tmp_path / "run")):
        assert facts_of(run)["processes"] == 2 and not any(run.folder.glob(".shared-*"))
    assert facts_of(Run(tmp_path / "run"))["epochs"] == 3
