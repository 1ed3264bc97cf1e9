"""From what was asked for to one configuration and a name for the run."""

from pathlib import Path

import pytest

from skinlesion import pipeline
from skinlesion.core.config import Config
from skinlesion.core.errors import ConfigError, DataError


@pytest.fixture
def configs(tmp_path):
    folder = tmp_path / "configs"
    folder.mkdir()
    (folder / "quick.json").write_text('{"about": "fast", "epochs": 5, "image_size": 96, "model": "resnet18"}')
    (folder / "classic.json").write_text('{"epochs": 30}')
    return folder


def test_later_layers_win(configs, tmp_path):
    assert pipeline.resolve(configs) == Config().but(epochs=5, image_size=96, model="resnet18")
    smoke = pipeline.resolve(
        configs, preset="smoke", data=str(tmp_path), labels=8, settings=["image_size=32", "seed=7"]
    )
    assert (smoke.model, smoke.epochs, smoke.max_images, smoke.batch_size) == ("resnet18", 1, 240, 32)
    assert (smoke.image_size, smoke.seed, smoke.labels, smoke.data) == (32, 7, 8, str(tmp_path))
    assert pipeline.resolve(configs, recipe="classic").epochs == 30
    assert pipeline.resolve(configs, data="demo", settings=[f"data={tmp_path}"]).data == str(tmp_path)


def test_a_recipe_may_be_any_json_file(configs, tmp_path):
    (tmp_path / "mine.json").write_text('{"epochs": 2}')
    assert pipeline.resolve(configs, recipe=str(tmp_path / "mine.json")).epochs == 2


def test_relative_places_become_absolute(configs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert pipeline.resolve(configs, data="configs").data == str(configs)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "training.json").write_text("{}")
    found = pipeline.resolve(configs, settings=["start=one", "teachers=one, two"])
    assert (found.start, found.teachers) == (str(tmp_path / "one"), f"{tmp_path / 'one'},{tmp_path / 'two'}")


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({"recipe": "nope"}, ConfigError, "classic, quick"),
        ({"preset": "huge"}, ConfigError, "smoke, quick, full"),
        ({"data": "/no/such/place"}, DataError, "/no/such/place"),
        ({"settings": ["split_file=/no/file.csv"]}, DataError, "split_file"),
        ({"settings": ["elsewhere=."]}, DataError, "fits no kind of data set"),
        ({"settings": ["epoch=3"]}, ConfigError, "'epochs'"),
        ({"settings": ["epochs=three"]}, ConfigError, "epochs must be int"),
        ({"data": ""}, DataError, "data"),
        ({"settings": ["start=reports/first/{part}"]}, ConfigError, r"fills in; name one that is there"),
        ({"settings": ["start=/no/run"]}, DataError, "no trained run at '/no/run'"),
        ({"settings": ["teachers= , "]}, ConfigError, "names no folder"),
    ],
)
def test_what_cannot_be_resolved_is_named(configs, asked, error, message):
    with pytest.raises(error, match=message):
        pipeline.resolve(configs, **asked)


def test_run_names():
    real = Config(data="/x/HAM10000 (full).zip")
    assert pipeline.run_name(Config(), "smoke") == "demo"
    assert pipeline.run_name(real, "quick") == "ham10000-full-quick"
    assert pipeline.run_name(real, "quick", "configs/classic.json") == "ham10000-full-classic"
    assert pipeline.run_folder(Path("/r"), "a.b-1") == Path("/r/a.b-1")
    for bad in ("", "..", "a/b", "../x", ".hidden", "a b"):
        with pytest.raises(ConfigError):
            pipeline.run_folder(Path("/r"), bad)


def test_data_may_be_a_sized_demo_or_carry_its_kind(tmp_path):
    configs = Path(__file__).parents[2] / "configs"
    assert pipeline.resolve(configs, data="demo:600").data == "demo:600"
    assert pipeline.run_name(pipeline.resolve(configs, data="demo:600"), "quick") == "demo"
    (tmp_path / "pictures").mkdir()
    config = pipeline.resolve(configs, data=f"folder:{tmp_path}/pictures")
    assert config.data == f"folder:{tmp_path.resolve()}/pictures"
    for bad in (f"folder:{tmp_path}/none", f"{tmp_path}/none", "demo:many", ""):
        with pytest.raises(DataError, match="there is nothing at"):
            pipeline.resolve(configs, data=bad)
