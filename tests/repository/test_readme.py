"""Every command of README and docs/model.md is run: here, on something small, or by the tests named beside it."""

import ast
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from PIL import Image

import run_all
import tiny_model
from conftest import REPOSITORY
from skinlesion import cli
from skinlesion.core.taxonomy import HAM7
from small import small_table
from webapp import picture

BIN = Path(sys.executable).parent
SMALL = ["model=classic", "pretrained=false", "image_size=24", "epochs=1", "batch_size=16"]

#: Which tests run a command of these pages; those of other files must name its options.
TESTS = {
    "make reports": "test_reports_pass_on_what_is_asked test_end_to_end.py::test_everything_promised_is_there",
    "make reports DATA=path/to/HAM10000 RUN=ham10000": "test_reports_pass_on_what_is_asked",
    'make reports DATA=path/to/HAM10000 RUN=classic PRESET=full ARGS="--config classic"':
        "test_reports_pass_on_what_is_asked",
    "make test": "test_continuous_integration_runs_make_test",
    "make setup TORCH_INDEX=https://download.pytorch.org/whl/cpu": "test_setup_installs_what_environment_yml_does",
    "conda env create -f environment.yml": "test_setup_installs_what_environment_yml_does",
    "make lab": "test_lab_opens_the_notebooks",
    "make bench": "test_bench.py::test_one_command_writes_results_page_and_document",
    "make app": "test_the_app_answers_curl",
    "make app MODEL=reports/demo/model": "test_the_app_answers_curl",
    "make app HOST=0.0.0.0": "test_the_app_answers_curl",
    "curl -F image=@IMAGE.jpg http://127.0.0.1:5000/api/v1/predict": "test_the_app_answers_curl",
    "make site":
        "test_other_targets_start_their_modules "
        "test_device.py::test_all_there_is_to_download_is_at_most_twenty_megabytes",
    "make widget":
        "test_other_targets_start_their_modules test_voila.py::test_a_person_uploads_an_image_and_reads_the_answer",
    "python run_all.py": "test_end_to_end.py::test_everything_promised_is_there",
    "python run_all.py --data demo --preset quick --run mine --set epochs=10 image_size=160":
        "test_end_to_end.py::test_everything_promised_is_there",
    "python run_all.py --run mine --set epochs=10 image_size=160 --from 04":
        "test_execution.py::test_the_command_end_to_end",
    "python run_all.py --data PATH --config classic quick --folds 0 1 2 --jobs 3 --run all":
        "test_group.py::test_what_the_command_asks_for test_group.py::test_two_runs_at_once_and_their_comparison "
        "test_end_to_end.py::test_everything_promised_is_there",
    ".venv/bin/skinlesion data download ham10000": "test_cli_data.py::test_download_passes_its_options_on",
    ".venv/bin/skinlesion data check PATH": "test_a_data_set_is_checked_trained_on_and_searched",
    ".venv/bin/skinlesion train --data PATH --config quick --run runs/one --set checkpoint_every=100":
        "test_a_data_set_is_checked_trained_on_and_searched",
    ".venv/bin/skinlesion sweep --data PATH --config quick --space SPACE.json --run runs/sweep":
        "test_a_data_set_is_checked_trained_on_and_searched",
    ".venv/bin/torchrun --nproc-per-node 2 -m skinlesion.cli -- train --data PATH --config quick --run runs/two":
        "test_distributed.py::test_torchrun_killed_and_started_again test_faults.py::test_sigterm",
    ".venv/bin/skinlesion predict IMAGE.jpg": "test_images_are_predicted_and_scored",
    ".venv/bin/skinlesion score /data/isic --output scores": "test_images_are_predicted_and_scored",
    ".venv/bin/skinlesion score s3://bucket/in --output s3://bucket/out --shard 3/16":
        "test_score_remote.py::test_an_object_store test_score.py::test_shards_share_the_work",
    ".venv/bin/skinlesion evaluate PREDICTIONS.csv --labels TRUTH.csv --output evaluation":
        "test_evaluate.py::test_a_submission_through_the_command_line",
    ".venv/bin/skinlesion compare reports/one reports/two --output comparison":
        "test_compare.py::test_the_command_writes_table_figure_and_report_and_reads_the_split_that_is_asked_for",
    ".venv/bin/skinlesion evaluate --official DIR --output official":
        "test_official.py::test_one_command_from_the_folder_to_the_score",
    ".venv/bin/skinlesion external --data PATH --output elsewhere":
        "test_external.py::test_the_command_from_end_to_end",
    "python benchmarks/shipped.py --data PATH --again --install":
        "test_experiments.py::test_the_shipped_model_is_made_from_what_was_out_of_fold",
}  # fmt: skip


def commands(text: str) -> list[str]:
    """What a page asks its reader to type: the lines of its ``sh`` blocks, and the commands between backticks."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    inline = re.findall(r"`((?:make|python|conda|pip|curl|\.venv/bin/\S+)\s[^`]+)`", prose)
    shown = [" ".join(re.sub(r"\s+#.*", "", one).split()) for one in lines + inline]
    return [one for one in dict.fromkeys(shown) if one and not one.startswith("#")]


README = commands("\n".join((REPOSITORY / page).read_text(encoding="utf-8") for page in ("README.md", "docs/model.md")))


def options(command: str) -> set[str]:
    return {word for word in shlex.split(command) if re.match("--[a-z]", word)}


def the(beginning: str) -> list[str]:
    """The words of the one command of the README that begins so."""
    (found,) = (command for command in README if command.startswith(beginning))
    return shlex.split(found)


def make(*words: str, dry: bool = False) -> list[str]:
    """A call of make in this environment, in which there is nothing to set up."""
    return ["make", *(["-n"] if dry else []), "-o", f"{BIN.parent}/.installed", f"VENV={BIN.parent}", *words]


def recipe(command: str) -> list[str]:
    """The last command line that ``make`` would run."""
    words = shlex.split(command)
    done = subprocess.run(make(*words[1:], dry=True), cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return shlex.split(done.stdout.strip().splitlines()[-1])


@pytest.fixture(autouse=True)
def not_from_within_make(monkeypatch):
    """`make test` hands its own settings to the makes that it starts; a reader's shell has none."""
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES"):
        monkeypatch.delenv(name, raising=False)


def test_commands_are_found_in_blocks_and_between_backticks():
    page = (
        "Type `make lab` or `x.py`.\n```sh\n# first\na --b \\\n  c  # why\n\n```\n```text\nd\n```\nThen `python\nz.py`."
    )
    assert commands(page) == ["a --b c", "make lab", "python z.py"]


@pytest.mark.parametrize("command", README)
def test_every_command_is_run_by_a_test(command):
    assert command in TESTS, "name the tests that run this command, or add one here"
    elsewhere = ""
    for name in TESTS[command].split():
        file, _, test = name.rpartition("::")
        text = (next(REPOSITORY.glob(f"tests/*/{file}")) if file else Path(__file__)).read_text(encoding="utf-8")
        assert test in {node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}, name
        elsewhere += text
    assert not [option for option in options(command) if option not in elsewhere]


def test_no_test_is_named_for_a_command_that_is_gone():
    assert set(TESTS) == set(README)


@pytest.mark.parametrize("command", [one for one in README if "skinlesion" in one.split()[0] or "-m skinlesion" in one])
def test_the_command_line_knows_every_word(command):
    words = shlex.split(command)
    cli._parser().parse_args(words[words.index("--") + 1 :] if "--" in words else words[1:])


@pytest.mark.parametrize("command", [one for one in README if one.startswith("python run_all.py")])
def test_the_series_knows_every_word(command):
    run_all.parser().parse_args(shlex.split(command)[2:])


def test_reports_pass_on_what_is_asked():
    asked = [recipe(command) for command in README if command.startswith("make reports")]
    parsed = [run_all.parser().parse_args(words[words.index("run_all.py") + 1 :]) for words in asked]
    assert [(one.data, one.preset, one.run, one.config) for one in parsed] == [
        ("demo", ["quick"], None, [None]),
        ("path/to/HAM10000", ["quick"], "ham10000", [None]),
        ("path/to/HAM10000", ["full"], "classic", ["classic"]),
    ]


def test_continuous_integration_runs_make_test():
    assert (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8").rstrip().endswith("\nmake test")
    assert recipe("make test")[-2:] == ["-m", "pytest"]


def test_setup_installs_what_environment_yml_does():
    lines = subprocess.run(
        ["make", "-n", "-W", "pyproject.toml", *the("make setup")[1:]], cwd=REPOSITORY, capture_output=True, text=True,
        check=True,
    ).stdout  # fmt: skip
    extras = re.search(r"--extra-index-url (\S+) -c constraints.txt -e '(.+)'", lines)
    assert extras[1] == "https://download.pytorch.org/whl/cpu"
    environment = yaml.safe_load((REPOSITORY / the("conda env create")[-1]).read_text(encoding="utf-8"))
    assert environment["dependencies"][-1]["pip"] == ["-c constraints.txt", f"-e {extras[2]}"]


def test_lab_opens_the_notebooks():
    done = subprocess.run(
        [*recipe("make lab"), "--show-config-json"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["ServerApp"]["root_dir"] == "notebooks"


@pytest.mark.parametrize(("command", "module"), [("make site", "app.device"), ("make widget", "app.voila")])
def test_other_targets_start_their_modules(command, module):
    words = recipe(f"{command} MODEL=mine")
    assert words[1:3] == ["-m", module] and words[-2:] == ["--model", "mine"]
    help_page = subprocess.run([sys.executable, *words[1:3], "--help"], cwd=REPOSITORY, capture_output=True, text=True)
    assert not [option for option in options(shlex.join(words)) if option not in help_page.stdout]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_the_app_answers_curl(tmp_path):
    """Both ways to start the app, each by make, and the README's call of its API."""
    if not shutil.which("curl"):
        (pytest.fail if os.environ.get("CI") else pytest.skip)("curl is not installed")
    assert recipe("make app HOST=0.0.0.0")[3:5] == ["--host", "0.0.0.0"]
    tiny_model.write(tmp_path / "reports/demo/model")
    (tmp_path / "IMAGE.jpg").write_bytes(picture(format="JPEG"))
    model = the("make app MODEL=")[-1].removeprefix("MODEL=")
    started = {}
    try:
        for name, words in {"shipped": [], "tiny": [f"MODEL={tmp_path / model}"]}.items():
            port = free_port()
            command = make("app", f"PORT={port}", *words)
            started[name] = port, subprocess.Popen(command, cwd=REPOSITORY, start_new_session=True, stdout=-3)
        for name, (port, process) in started.items():
            asked = [word.replace("5000", str(port)) for word in the("curl")]
            until = time.monotonic() + 60
            while (done := subprocess.run([*asked, "-s"], cwd=tmp_path, capture_output=True)).returncode:
                assert time.monotonic() < until and process.poll() is None, "the app did not start"
                time.sleep(0.2)
            answer = json.loads(done.stdout)
            assert answer["model"]["name"] == name
            assert [set(one["probabilities"]) for one in answer["predictions"]] == [set(HAM7.codes)]
    finally:
        for _, process in started.values():
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


def test_images_are_predicted_and_scored(tmp_path, monkeypatch, capsys):
    for name in ("IMAGE.jpg", "isic/a.jpg", "isic/b.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(picture(format="JPEG"))
    words = the(".venv/bin/skinlesion predict")
    done = subprocess.run([BIN / "skinlesion", *words[1:]], cwd=tmp_path, capture_output=True, text=True, check=True)
    line = done.stdout.splitlines()[-1]
    label = re.match(r"IMAGE.jpg .*\((\w+)\)", line)[1]
    monkeypatch.chdir(tmp_path)
    local = [word.replace("/data/isic", "isic") for word in the(".venv/bin/skinlesion score /")]
    assert cli.main(local[1:]) == 0
    scores = pd.read_parquet("scores")
    assert list(scores["image_id"]) == ["a", "b"] and set(scores["label"]) == {label}


def test_a_data_set_is_checked_trained_on_and_searched(tmp_path, monkeypatch, capsys):
    table = small_table(tmp_path / "drawn", lesions=8)
    for path, code in zip(table.frame["path"], table.frame["label"], strict=True):
        folder = tmp_path / "PATH" / code
        folder.mkdir(parents=True, exist_ok=True)
        Image.open(path).save(folder / Path(path).name)
    (tmp_path / "SPACE.json").write_text('{"learning_rate": [0.001, 0.01]}')
    monkeypatch.chdir(tmp_path)
    assert cli.main(the(".venv/bin/skinlesion data check")[1:]) == 0
    assert f"{len(table.frame)} images" in capsys.readouterr().out
    assert cli.main([*the(".venv/bin/skinlesion train")[1:], *SMALL]) == 0
    assert len(pd.read_csv("runs/one/history.csv")) == 1
    assert json.loads(Path("runs/one/config.json").read_text())["checkpoint_every"] == 100
    assert cli.main([*the(".venv/bin/skinlesion sweep")[1:], "--trials", "2", "--set", *SMALL]) == 0
    assert len(pd.read_csv("runs/sweep/sweep.csv")) == 2
