import json
from pathlib import Path

import pytest

from skinlesion.config import Config, parse_setting
from skinlesion.errors import ConfigError, DataError, SkinLesionError
from skinlesion.runs import Run, atomic, write_json

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.json"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_recipe_is_valid(path):
    assert Config.from_file(path)


def test_the_defaults_are_the_classic_recipe():
    classic = Config.from_file(CONFIGS[0].parent / "classic.json")
    assert classic == Config()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"epochs": "3"}, "epochs must be int"),
        ({"epochs": True}, "epochs must be int"),
        ({"epochs": 0}, "epochs=0 is out of range"),
        ({"balance": "both"}, "one of .*classic"),
        ({"epoch": 3}, "did you mean 'epochs'"),
        ({"learning_rate": "fast"}, "learning_rate must be float"),
        ({"flip": 1}, "flip must be bool"),
    ],
)
def test_bad_values_are_refused_and_named(change, said):
    with pytest.raises(ConfigError, match=said):
        Config().but(**change)


def test_settings_on_the_command_line():
    assert parse_setting("epochs=3") == ("epochs", 3)
    assert parse_setting("learning_rate=1e-4") == ("learning_rate", 1e-4)
    assert parse_setting("flip=no") == ("flip", False)
    assert parse_setting("split_file=a=b.csv") == ("split_file", "a=b.csv")
    for bad in ("epochs", "epochs=many", "epoch=3", "flip=perhaps"):
        with pytest.raises(ConfigError):
            parse_setting(bad)


def test_a_broken_file_is_named(tmp_path):
    path = tmp_path / "c.json"
    for text, said in (("{", "not readable JSON"), ("[]", "one JSON object"), ('{"epoch": 1}', "c.json: unknown")):
        path.write_text(text)
        with pytest.raises(ConfigError, match=said):
            Config.from_file(path)
    with pytest.raises(ConfigError, match="no configuration"):
        Config.from_file(tmp_path / "d.json")


def test_a_run_remembers_its_configuration(tmp_path):
    run = Run(tmp_path / "r")
    run.config(epochs=3, learning_rate=1)
    assert run.config(seed=5).epochs == 3
    assert json.loads(run.config_file.read_text())["learning_rate"] == 1.0
    with pytest.raises(DataError, match="run 01_eda"):
        run.need(run.table_file, "01_eda")


def test_atomic_leaves_the_old_file_when_writing_fails(tmp_path):
    path = tmp_path / "f.json"
    write_json(path, {"a": 1})
    with pytest.raises(ZeroDivisionError), atomic(path) as temporary:
        temporary.write_text("half")
        _ = 1 / 0
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_a_clear_error():
    with pytest.raises(SkinLesionError, match="free some space"), atomic("/proc/nowhere/f"):
        pass
