"""The training command by itself; what kills and full disks do to it is in test_faults.py."""

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from importlib import metadata

import pytest

from conftest import REPOSITORY
from skinlesion import cli
from skinlesion.cli import main
from skinlesion.core.config import Config
from skinlesion.core.errors import ConfigError, DataError, SkinLesionError
from skinlesion.core.runs import Run
from skinlesion.core.writing import lock
from skinlesion.data.splits import load_split
from skinlesion.evaluation.reading import read_predictions
from skinlesion.training import standalone as command
from small import small_table, write_images

TINY = Config(data="demo:60", image_size=24, epochs=1, batch_size=16)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run = Run(tmp_path_factory.mktemp("finished"))
    command.train(TINY, run, features=None, progress=False)
    return run


@pytest.mark.parametrize("terminal", [True, False])
def test_bars_are_shown_on_a_terminal_and_lines_elsewhere(tmp_path, monkeypatch, capsys, terminal):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    assert command.train(TINY, Run(tmp_path), features=None) == 0
    shown = capsys.readouterr()
    assert ("train:" in shown.err, "epoch 1 of 1: loss" in shown.out) == (terminal, not terminal)


def test_an_interrupted_recipe_leaves_no_answers_of_the_one_before(tmp_path, monkeypatch):
    run = Run(tmp_path)
    assert command.train(TINY, run, features=None, progress=False) == 0
    assert run.outputs.exists()

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(SkinLesionError, match="the same command continues from it"):
        patch.setattr(command, "fit", interrupted)
        command.train(TINY.but(views=2), run, features=None, progress=False)
    assert Config.from_file(run.config_file).views == 2
    assert not run.outputs.exists(), "they were another recipe's"
    assert command.train(TINY.but(views=2), run, features=None, progress=False) == 0
    assert run.outputs.exists()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"model": "typo"}, ConfigError),
        ({"model": "resnet18", "image_size": 24, "first_epochs": 1, "first_size": 1024, "start": "nobody"}, DataError),
        ({"start": "itself", "fold": 1}, ConfigError),
        ({"teachers": "itself", "fold": 1}, ConfigError),
        ({"freeze": 2}, ConfigError),
        ({"data": "nowhere"}, DataError),
        ({"split_file": "nowhere.csv"}, DataError),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_what_is_refused_leaves_a_finished_run_as_it_was(finished, changes, error):
    changes = {name: str(finished.folder) if value == "itself" else value for name, value in changes.items()}
    before = {path: path.read_bytes() for path in finished.folder.rglob("*") if path.is_file()}
    with pytest.raises(error):
        command.train(TINY.but(**changes), finished, features=None, progress=False)
    assert {path: path.read_bytes() for path in finished.folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("role", ["start", "teachers"])
def test_a_run_trained_on_what_is_tested_is_refused_though_the_recipes_agree(role, tmp_path):
    """The data have grown since at the same place: what was training then is test now."""
    table = small_table(tmp_path / "images", lesions=10).frame
    place, config = tmp_path / "data.csv", TINY.but(data=f"csv:{tmp_path / 'data.csv'}")
    table = table.assign(image=table["path"])[["image", "label", "lesion_id"]]
    table[table["lesion_id"].rank(method="dense") % 5 > 0].to_csv(place, index=False)
    command.train(config, Run(tmp_path / "earlier"), features=None, progress=False)
    config = config.but(**{role: str(tmp_path / "earlier")})
    assert command.train(config, Run(tmp_path / "same"), features=None, progress=False) == 0
    table.to_csv(place, index=False)
    with pytest.raises(ConfigError, match=r"was trained on \d+ of the lesions") as refused:
        command.train(config, Run(tmp_path / "grown"), features=None, progress=False)
    assert not Run(tmp_path / "grown").config_file.exists()
    command.train(config.but(**{role: ""}), Run(tmp_path / "alone"), features=None, progress=False)
    known = load_split(Run(tmp_path / "earlier").split).query("split == 'train'")
    evaluated = load_split(Run(tmp_path / "alone").split).query("split != 'train'")
    both = set(evaluated["lesion_id"]) & set(known["lesion_id"])
    assert both and f"on {len(both)} of the lesions" in str(refused.value)


@pytest.mark.parametrize("role", ["start", "teachers"])
def test_a_run_is_not_its_own_start_or_teacher(finished, role):
    with pytest.raises(ConfigError, match="its own start or teacher"):
        command.train(TINY.but(**{role: str(finished.folder)}), finished, features=None, progress=False)


def test_one_process_a_folder(tmp_path):
    with lock(tmp_path / "run"), pytest.raises(SkinLesionError, match=f"process {os.getpid()} is at work"):
        command.train(TINY, Run(tmp_path / "run"), features=None, progress=False)
    assert not Run(tmp_path / "run").config_file.exists()


@pytest.mark.parametrize(("change", "named"), [({"seed": 1}, "seed, split"), ({"views": 2}, "views")])
def test_the_evaluation_of_another_training_is_not_left_as_if_it_were_this_ones(finished, tmp_path, change, named):
    run = Run(tmp_path / "run")
    shutil.copytree(finished.folder, run.folder)
    run.predictions.write_text("of these weights")
    assert command.train(TINY, run, features=None, progress=False) == 0, "the same training again"
    before = {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match=f"holds predictions.csv of another training .with another {named}"):
        command.train(TINY.but(**change), run, features=None, progress=False)
    assert {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()} == before
    run.predictions.unlink()
    assert command.train(TINY.but(**change), run, features=None, progress=False) == 0


def test_signals_are_what_they_were_before(tmp_path, monkeypatch):
    before = [signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)]

    def interrupted(*arguments, **options):
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(DataError):
        command.train(TINY.but(data="nowhere"), Run(tmp_path), features=None, progress=False)
    assert [signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)] == before
    monkeypatch.setattr(command, "fit", interrupted)
    with pytest.raises(SkinLesionError, match="interrupted before the first checkpoint"):
        command.train(TINY, Run(tmp_path), features=None, progress=False)
    assert [signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_retraining_that_was_interrupted_does_not_pass_for_trained(tmp_path, monkeypatch):
    """Its weights are still those of the recipe before, whose training images they know."""
    run = Run(tmp_path / "earlier")
    command.train(TINY, run, features=None, progress=False)

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(SkinLesionError):
        patch.setattr(command, "fit", interrupted)
        command.train(TINY.but(fold=1), run, features=None, progress=False)
    with pytest.raises(ConfigError, match="was split again since it was trained"):
        command.train(TINY.but(fold=1, start=str(run.folder)), Run(tmp_path / "next"), features=None, progress=False)


def test_only_the_first_process_loads_the_network_that_finds_twins(tmp_path, monkeypatch):
    loaded, world = [], command.distributed.world()
    monkeypatch.setattr("skinlesion.serving.features.Features", lambda **options: loaded.append(options))
    monkeypatch.setattr(command, "_train", lambda *_: None)
    monkeypatch.setattr(command, "with_twins", lambda table, features, **_: (table, None))
    arguments = ["train", "--data", "demo:60", "--set", "twins=True", "image_size=24", "--run", str(tmp_path)]
    with monkeypatch.context() as patch:
        patch.setattr(command.distributed, "join", lambda: nullcontext(replace(world, rank=1)))
        patch.setattr(command.distributed.World, "need_shared", lambda *_: None)
        patch.setattr(command.distributed.World, "wait", lambda _: None)
        assert cli.main(arguments) == 0
    assert not loaded
    assert cli.main(arguments) == 0
    assert loaded == [{"views": 1}]


@pytest.mark.parametrize("names", [["mel/0.jpg", "nv/0.jpg"], ["mel/0.jpg", "nv/1.JPEG"]])
def test_images_of_one_name_keep_their_folders(tmp_path, monkeypatch, model, names):
    for name in names:
        write_images(tmp_path / name.partition("/")[0], [name.partition("/")[2]])
    monkeypatch.chdir(tmp_path)
    assert main(["predict", *names, "--model", str(model), "--format", "csv", "--output", "p.csv"]) == 0
    (tmp_path / "truth.csv").write_text("image,dx\n" + "".join(f"{name},{name.partition('/')[0]}\n" for name in names))
    predictions = read_predictions("p.csv", "truth.csv")
    expected = names if names[1].endswith("0.jpg") else ["0", "1"]
    assert list(predictions.image_ids) == expected
    assert [predictions.labels.codes[i] for i in predictions.y] == ["mel", "nv"]


@pytest.mark.parametrize(
    ("package", "call", "fix"),
    [
        ("pandas", "from skinlesion.cli import main; sys.exit(main(['data', 'check', 'demo']))", "pip install"),
        ("nbformat", "import runpy; runpy.run_path('run_all.py', run_name='__main__')", "make setup"),
        ("skinlesion", "import runpy; runpy.run_path('run_all.py', run_name='__main__')", "make setup"),
    ],
)
def test_a_package_that_is_not_installed_is_named_with_the_fix(package, call, fix):
    code = f"import sys; sys.modules['{package}'] = None; sys.argv = ['it', '--run', 'unused']; {call}"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and package in done.stderr and fix in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_folder_is_no_image_but_can_be_scored(tmp_path, model, capsys):
    assert main(["predict", str(tmp_path), "--model", str(model)]) == 1
    assert f"error: it is a folder: skinlesion score {tmp_path} --output DIR" in capsys.readouterr().out


def test_without_a_command_all_are_listed(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["skinlesion"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    listed = capsys.readouterr().out
    assert all(f"\n    {name} " in listed for name in ("data", "train", "predict", "compare"))


def test_the_version_is_the_packages(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert not ended.value.code and capsys.readouterr().out == f"skinlesion {metadata.version('skin-lesion-lab')}\n"


@pytest.mark.parametrize(
    "words",
    [
        ["data", "check", ""],
        ["evaluate", "p.csv", "--output", ""],
        ["predict", "a.jpg", ""],
        ["predict", "a.jpg", "--model", ""],
        ["train", "--data", "demo:60", "--run", ""],
    ],
    ids=" ".join,
)
def test_an_empty_value_is_not_the_folder_that_one_is_in(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("error: a value of ") and shown.err.count("\n") == 1 and not shown.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ["predict", "a.jpg", "--model", "nowhere", "--output"],
        ["data", "check", "nowhere", "--output"],
        ["data", "twins", "nowhere", "--output"],
        ["index", "--data", "nowhere", "--model", "nowhere", "--output"],
        ["external", "--data", "nowhere", "--model", "nowhere", "--output"],
        ["evaluate", "--official", "nowhere", "--model", "nowhere", "--output"],
        ["evaluate", "predictions.csv", "--prevalence", "2", "--output"],
        ["compare", "nowhere", "nobody", "--output"],
        ["score", "nowhere", "--output"],
    ],
    ids=" ".join,
)
def test_a_place_that_cannot_be_written_is_refused_before_all_else(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "predictions.csv").write_text("image,label,MEL,NV,BCC,AKIEC,BKL,DF,VASC\na,mel,1,0,0,0,0,0,0\n")
    wrong = "folder" if words[0] == "predict" or "check" in words else "file"
    for place in (wrong, "file/inside"):
        assert main([*words, place]) == 2
        shown = capsys.readouterr().err
        assert shown.startswith(f"error: {tmp_path / place} cannot be written: ") and "choose another" in shown
    assert (tmp_path / "file").read_text() == "mine" and list((tmp_path / "folder").iterdir()) == []


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["p.csv", "--model", "m"], "--model goes with --official alone"),
        (["--official", "d", "--labels", "t.csv"], "do not go with --official"),
        (["--official", "d", "--label", "wart=bkl"], "do not go with --official"),
    ],
)
def test_options_without_effect_are_refused(words, named, tmp_path, capsys):
    assert main(["evaluate", *words, "--output", str(tmp_path / "out")]) == 2
    assert named in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_names_that_the_system_or_a_table_refuses_end_in_one_line(tmp_path, model, capsys):
    long, odd = "x" * 300, os.fsdecode(os.fsencode(tmp_path) + b"/n\xe6vus.jpg")
    assert main(["data", "check", long]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ") and shown.count("\n") == 1 and "check its name" in shown
    write_images(tmp_path, [odd])
    out = tmp_path / "out.json"
    command = ["predict", odd, odd.replace("n", "N"), f"{long}.jpg", "--model", str(model)]
    assert main([*command, "--format", "json", "--output", str(out)]) == 1
    found = json.loads(out.read_text(encoding="utf-8"))
    assert ["label" in one for one in found] == [True, False, False] and found[0]["image"].endswith(r"n\xe6vus.jpg")
