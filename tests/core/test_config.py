import json
import re

import pytest

from skinlesion.core.config import Config, list_parameters, parse_setting
from skinlesion.core.errors import ConfigError, DataError, SkinLesionError
from skinlesion.core.recipes import list_recipes, load_recipe, recipe_names
from skinlesion.core.runs import open_run
from skinlesion.core.writing import atomic, write_json


def test_the_defaults_are_the_classic_recipe():
    assert load_recipe("classic") == Config()


def test_recipes_by_name_and_by_path(tmp_path):
    assert {"classic", "full", "quick", "shipped", "sources"} <= {*recipe_names()}
    assert (load_recipe("shipped").labels, load_recipe("shipped").recolor) == (8, 0.5)
    (tmp_path / "mine.json").write_text('{"epochs": 2}')
    assert load_recipe(str(tmp_path / "mine.json")) == Config(epochs=2)
    with pytest.raises(ConfigError, match="no recipe 'mine'; .* one of: .*full, .*shipped"):
        load_recipe("mine")
    assert [line.split(":")[0].strip() for line in list_recipes().splitlines()] == recipe_names()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"epochs": "3"}, "epochs must be int"),
        ({"epochs": True}, "epochs must be int"),
        ({"epochs": 0}, "epochs=0 is out of range"),
        ({"learning_rate": float("inf")}, "learning_rate=inf is out of range; it must be a finite number"),
        ({"weight_decay": float("nan")}, "weight_decay=nan is out of range"),
        ({"balance": "both"}, "one of .*classic"),
        ({"epoch": 3}, "did you mean 'epochs'"),
        ({"learning_rate": "fast"}, "learning_rate must be float"),
        ({"flip": 1}, "flip must be bool"),
        ({"fold": 5}, "fold=5 is out of range; it must be at least -1 and at most 4"),
        ({"fold": -2}, "fold=-2 is out of range"),
        ({"loss": "hinge"}, "one of .*ldam_drw"),
        ({"mix": "cutup"}, "one of .*cutmix"),
        ({"keep": "first"}, "one of .*last"),
        ({"freeze": -1}, "freeze=-1 is out of range; it must be at least 0"),
        ({"distill": 1.5}, "distill=1.5 is out of range"),
        ({"crops": 3}, "one of .*2"),
        ({"crops": 2, "fit": "squash"}, "fit must be center_crop or random_crop"),
        ({"target_count": -1}, "target_count=-1 is out of range"),
        ({"views": 3}, "views=3 is out of range; it must be one of 1, 2, 4, 8"),
        ({"scale": 1}, "scale=1.0 is out of range; it must be at least 0 and below 1"),
        ({"prevalence": 0}, "prevalence=0.0 is out of range; it must be above 0 and below 1"),
        ({"referral_sensitivity": 1.5}, "it must be above 0 and at most 1"),
        ({"epochs": 3, "first_epochs": 4}, "from 0 to epochs, which is 3"),
        ({"seed": 2**32}, "at least 0 and below 4294967296"),
    ],
)
def test_bad_values_are_refused_and_named(change, said):
    with pytest.raises(ConfigError, match=said):
        Config().but(**change)


def test_values_at_the_ends_of_a_range_are_taken():
    ends = {"fold": -1, "rotation": 180, "erase": 1, "referral_sensitivity": 1, "seed": 2**32 - 1, "first_epochs": 30}
    assert Config().but(**ends).to_dict() == Config().to_dict() | ends


def test_a_parameter_is_listed_with_type_default_range_stage_and_help():
    text = list_parameters()
    assert (
        "\n  image_size: int = 128, at least 16 and at most 1024\n      side of the network's square input, pixels\n"
        in text
    )
    stages = [line.rstrip(":") for line in text.splitlines() if not line.startswith(" ")]
    assert stages == ["data", "preprocessing", "augmentation", "training", "evaluation"]
    assert text.index("augmentation:") < text.index("  rotation: float") < text.index("\ntraining:")
    declared = [line for line in text.splitlines() if re.match(r"  \w", line)]
    assert [line.split(":")[0].strip() for line in declared] == list(Config.names())


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


def write_recipes(folder, **recipes):
    for name, values in recipes.items():
        (folder / f"{name}.json").write_text(json.dumps(values))


def test_a_recipe_builds_on_another(tmp_path):
    (tmp_path / "rows").mkdir()
    write_recipes(tmp_path, ground={"about": "below all", "epochs": 7, "learning_rate": 0.5, "flip": False})
    write_recipes(
        tmp_path / "rows", first={"base": "../ground.json", "epochs": 9}, second={"base": "first.json", "seed": 4}
    )
    assert Config.from_file(tmp_path / "rows" / "first.json") == Config(epochs=9, learning_rate=0.5, flip=False)
    assert Config.from_file(tmp_path / "rows" / "second.json") == Config(
        epochs=9, learning_rate=0.5, flip=False, seed=4
    )
    assert not {"about", "base"} & set(Config.from_file(tmp_path / "rows" / "second.json").to_dict())


def test_a_mistake_in_a_base_is_named_where_it_is(tmp_path):
    write_recipes(
        tmp_path, good={"epochs": 3}, bad={"epoch": 3}, on_bad={"base": "bad.json"}, lost={"base": "none.json"}
    )
    write_recipes(tmp_path, wrong={"base": "good.json", "epochs": 0})
    for name, said in (("on_bad", "/bad.json: unknown"), ("lost", "no configuration at .*/none.json"),
                       ("wrong", "/wrong.json: epochs=0")):  # fmt: skip
        with pytest.raises(ConfigError, match=said):
            Config.from_file(tmp_path / f"{name}.json")


def test_a_run_remembers_its_configuration(tmp_path):
    place = {"run": str(tmp_path / "r"), "__annotations__": {"run": str}}
    first = place | {
        "epochs": 3,
        "learning_rate": 1,
        "__annotations__": {"run": str, "epochs": int, "learning_rate": float},
    }
    run, _ = open_run(first | {"views": 4, "fit": print})  # neither is declared: a later cell's own variables
    later = dict.fromkeys(["run", "seed"])
    _, config = open_run(place | {"seed": 5, "__annotate__": lambda form: later, "__annotations__": None})
    assert config == Config(epochs=3, learning_rate=1.0, seed=5)
    assert json.loads(run.config_file.read_text())["learning_rate"] == 1.0
    for wrong, message in (({"epoch": 3}, "did you mean 'epochs'"), ({"epochs": "3"}, "epochs must be int")):
        with pytest.raises(ConfigError, match=message):
            open_run(place | wrong | {"__annotations__": {"run": str} | dict.fromkeys(wrong)})
    with pytest.raises(ConfigError, match="must declare run"):
        open_run({})
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


def test_a_recipe_based_on_itself_is_named(tmp_path):
    (tmp_path / "a.json").write_text('{"base": "b.json"}')
    (tmp_path / "b.json").write_text('{"base": "a.json"}')
    with pytest.raises(ConfigError, match=r"a\.json -> b\.json -> a\.json"):
        Config.from_file(tmp_path / "a.json")
    (tmp_path / "c.json").write_text('{"base": 3}')
    with pytest.raises(ConfigError, match="base must be the name"):
        Config.from_file(tmp_path / "c.json")


def test_a_seed_below_zero_is_refused():
    with pytest.raises(ConfigError, match="seed"):
        Config(seed=-1)
