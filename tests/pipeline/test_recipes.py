"""From what was asked for to one configuration and a name for the run."""

from pathlib import Path

import pytest

from skinlesion import pipeline
from skinlesion.core.config import Config
from skinlesion.core.errors import ConfigError, DataError
from skinlesion.core.recipes import load_recipe, recipe_names
from skinlesion.pipeline.stamps import data_fingerprint


def test_later_layers_win(tmp_path):
    quick = load_recipe("quick")
    assert pipeline.resolve(data=str(tmp_path)) == quick.but(data=str(tmp_path))
    smoke = pipeline.resolve(preset="smoke", data=str(tmp_path), labels=8, settings=["image_size=32", "seed=7"])
    assert (smoke.model, smoke.epochs, smoke.max_images, smoke.batch_size) == (quick.model, 1, 240, 32)
    assert (smoke.image_size, smoke.seed, smoke.labels, smoke.data) == (32, 7, 8, (str(tmp_path),))
    assert pipeline.resolve(recipe="classic") == Config()
    assert pipeline.resolve(data="demo", settings=[f"data={tmp_path}"]).data == (str(tmp_path),)


def test_the_demo_alone_is_trained_in_less_time(tmp_path):
    quick = load_recipe("quick")
    for data in (None, "demo", "demo:600"):
        demo = pipeline.resolve(data=data, settings=["seed=7"])
        assert demo.image_size < quick.image_size and demo.epochs < quick.epochs and demo.seed == 7
        assert demo.but(image_size=quick.image_size, epochs=quick.epochs, data=quick.data, seed=0) == quick
    assert pipeline.resolve(settings=["epochs=9"]).epochs == 9
    full = [{"recipe": "quick"}, {"data": ["demo", str(tmp_path)]}, {"settings": [f"data={tmp_path}"]}]
    assert {pipeline.resolve(**asked).epochs for asked in full} == {quick.epochs}
    assert pipeline.resolve(preset="full") == load_recipe("full")


@pytest.mark.parametrize("name", recipe_names())
def test_every_listed_recipe_can_be_started(name):
    assert pipeline.resolve(recipe=name) == load_recipe(name)


def test_a_recipe_may_be_any_json_file(tmp_path):
    (tmp_path / "mine.json").write_text('{"epochs": 2}')
    assert pipeline.resolve(recipe=str(tmp_path / "mine.json")).epochs == 2


def test_relative_places_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    assert pipeline.resolve(data="images").data == (str(tmp_path / "images"),)
    assert pipeline.resolve(data=["demo", "images"]).data == ("demo", str(tmp_path / "images"))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "training.json").write_text("{}")
    (tmp_path / "quick").mkdir()  # a recipe's name stays a recipe
    assert pipeline.resolve(settings=["start=quick"]).start == "quick"
    found = pipeline.resolve(settings=["start=one", "teachers=one, two"])
    assert (found.start, found.teachers) == (str(tmp_path / "one"), f"{tmp_path / 'one'},{tmp_path / 'two'}")


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({"recipe": "nope"}, ConfigError, "classic, full, quick, shipped"),
        ({"preset": "huge"}, ConfigError, "smoke, quick, full"),
        ({"data": "/no/such/place"}, DataError, "/no/such/place"),
        ({"settings": ["split_file=/no/file.csv"]}, DataError, "split_file"),
        ({"settings": ["external_data=."]}, DataError, "fits no kind of data set"),
        ({"settings": ["epoch=3"]}, ConfigError, "'epochs'"),
        ({"settings": ["epochs=three"]}, ConfigError, "epochs must be int"),
        ({"data": ""}, ConfigError, "data names no data set"),
        ({"settings": ["start=/no/run"]}, DataError, "no trained run at '/no/run' .*or name a recipe: classic, full"),
        ({"settings": ["teachers=quick"]}, DataError, r"no trained run at 'quick' \(teachers\)"),
        ({"settings": ["teachers= , "]}, ConfigError, "names no folder"),
    ],
)
def test_what_cannot_be_resolved_is_named(asked, error, message):
    with pytest.raises(error, match=message):
        pipeline.resolve(**asked)


def test_run_names():
    real = Config(data="/x/HAM10000 (full).zip")
    assert pipeline.run_name(Config(), "smoke") == "demo"
    assert pipeline.run_name(real, "quick") == "ham10000-full-quick"
    assert pipeline.run_name(real, "quick", "recipes/classic.json") == "ham10000-full-classic"
    several = Config(data=["/x/HAM10000", "milk10k:/x/milk", "demo"])
    assert pipeline.run_name(several, "quick") == "ham10000-milk-demo-quick"
    assert pipeline.run_folder(Path("/r"), "a.b-1") == Path("/r/a.b-1")
    for bad in ("", "..", "a/b", "../x", ".hidden", "a b"):
        with pytest.raises(ConfigError):
            pipeline.run_folder(Path("/r"), bad)


def test_data_may_be_a_sized_demo_or_carry_its_kind(tmp_path):
    assert pipeline.resolve(data="demo:600").data == ("demo:600",)
    assert pipeline.run_name(pipeline.resolve(data="demo:600"), "quick") == "demo"
    (tmp_path / "pictures").mkdir()
    config = pipeline.resolve(data=f"folder:{tmp_path}/pictures")
    assert config.data == (f"folder:{tmp_path.resolve()}/pictures",)
    for bad in (f"folder:{tmp_path}/none", f"{tmp_path}/none", "demo:many"):
        with pytest.raises(DataError, match="there is nothing at"):
            pipeline.resolve(data=bad)


def test_a_changed_file_of_any_source_changes_the_stamp_of_the_data(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "images.zip").write_bytes(b"zip")
    config = Config(data=[str(tmp_path / "one"), f"folder:{tmp_path}/two", "demo:80"])
    before = data_fingerprint(config)
    assert data_fingerprint(config) == before
    assert data_fingerprint(config.but(data=config.data[:2])) != before
    (tmp_path / "two" / "images.zip").write_bytes(b"another")
    assert data_fingerprint(config) != before
