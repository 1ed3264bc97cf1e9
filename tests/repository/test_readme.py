"""Every command and every line of Python that README and docs show is run: here on something small, or by the tests
that are named beside it."""

import contextlib
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
import tomllib
from pathlib import Path

import pandas as pd
import pytest
import yaml
from PIL import Image

import run_all
import tiny_model
from conftest import REPOSITORY
from skinlesion import cli
from skinlesion.commands.predict import ADVICE
from skinlesion.serving.manifest import Manifest
from skinlesion.serving.predictor import Predictor
from small import small_table
from webapp import picture

BIN = Path(sys.executable).parent
SMALL = ["model=classic", "pretrained=false", "image_size=24", "epochs=1", "batch_size=16"]
PAGES = {
    page.name: page.read_text(encoding="utf-8") for page in [REPOSITORY / "README.md", *REPOSITORY.glob("docs/*.md")]
}

#: Which tests run the commands that begin so: functions of this module, or files, which must name the options shown.
TESTS = {
    "make setup": "test_setup_installs_what_environment_yml_does",
    "make reports": "test_reports_pass_on_what_is_given test_end_to_end.py",
    "make test": "test_continuous_integration_runs_make_test",
    "make lab": "test_lab_opens_the_notebooks",
    "make docs": "test_docs.py",
    "make app": "test_the_app_takes_an_image_from_curl",
    "make index": "test_an_index_is_made_where_the_page_looks_for_it test_index.py",
    "curl": "test_the_app_takes_an_image_from_curl",
    "make site": "test_other_targets_start_their_modules test_device.py",
    "make widget": "test_other_targets_start_their_modules test_voila_browser.py",
    "make bench": "test_bench.py",
    "pip install .": "test_wheel.py test_architecture.py",
    "pip install": "test_what_pip_is_told_to_install_is_there",
    "conda activate": "test_setup_installs_what_environment_yml_does",
    "conda env create": "test_setup_installs_what_environment_yml_does",
    "python run_all.py": "test_end_to_end.py test_execution.py test_group.py",
    "python -m benchmarks": "test_modules_that_pages_name_are_there",
    "python -m experiments": "test_experiments.py",
    "skinlesion data download": "test_cli_data.py",
    "skinlesion data twins": "test_cli_data.py",
    "skinlesion data check": "test_a_data_set_is_checked_trained_on_and_searched",
    "skinlesion train": "test_a_data_set_is_checked_trained_on_and_searched",
    "skinlesion sweep": "test_a_data_set_is_checked_trained_on_and_searched",
    "skinlesion predict": "test_images_are_predicted_and_scored",
    "skinlesion score": "test_images_are_predicted_and_scored test_score.py test_score_remote.py test_score_ray.py",
    "skinlesion evaluate --official": "test_official.py",
    "skinlesion evaluate": "test_evaluate.py",
    "skinlesion compare": "test_comparison.py",
    "skinlesion external": "test_external.py",
    "torchrun": "test_distributed.py test_faults.py",
}

#: Words of the shell, of Ray and of torchrun over several machines, which one machine cannot try.
OTHERS = ("cat ", "export ", "ray ", "torchrun --nnodes")


def commands(text: str) -> list[str]:
    """What a page shows to be typed: the lines of its ``sh`` blocks, and the commands between backticks.

    As a shell would see them, less what only says where they run: ``.venv/bin/``, ``srun`` and environment variables.
    """
    blocks = "".join(re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S))
    lines = re.sub(r"<<'(\w+)'.*?^\1$", "", blocks.replace("\\\n", " "), flags=re.M | re.S).splitlines()
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    lines += re.findall(r"`((?:make|python|conda|pip|curl|\.venv/bin/\S+)\s[^`]+)`", prose)
    lines = [" ".join(re.sub(r"\s+#.*", "", line).split()) for line in lines if not line.startswith("#")]
    return [re.sub(r"^(srun |[A-Z_]+=\S+ )*(\.venv/bin/)?", "", line) for line in dict.fromkeys(lines) if line]


SHOWN = [one for one in commands("\n".join(PAGES.values())) if not one.startswith(OTHERS)]


def options(command: str) -> set[str]:
    return {word for word in shlex.split(command) if re.match("--[a-z]", word)}


def the(beginning: str) -> list[str]:
    """The words of the first command on any page that begins so."""
    return shlex.split(next(command for command in SHOWN if command.startswith(beginning)))


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
        "Type `make lab` or `x.py`.\n```sh\n# first\na --b \\\n  c  # why\n\nX=1 srun .venv/bin/d\n"
        "cat > f <<'E'\nno\nE\n```\n```text\nno\n```\nThen `python\nz.py`."
    )
    assert commands(page) == ["a --b c", "d", "cat > f", "make lab", "python z.py"]


@pytest.mark.parametrize("command", SHOWN)
def test_every_command_is_run_by_a_test(command):
    beginning = max((one for one in TESTS if command.startswith(one)), key=len, default=None)
    assert beginning, "name the tests that run this command, or add one here"
    text = ""
    for name in TESTS[beginning].split():
        if name.endswith(".py"):
            text += next(REPOSITORY.glob(f"tests/*/{name}")).read_text(encoding="utf-8")
        else:
            assert callable(globals()[name])  # it takes its command from the page
            text += Path(__file__).read_text(encoding="utf-8") + " ".join(the(beginning))
    assert not [option for option in options(command) if option not in text]


def test_no_test_is_named_for_a_command_that_is_gone():
    assert not [one for one in TESTS if not any(command.startswith(one) for command in SHOWN)]


@pytest.mark.parametrize("command", [one for one in SHOWN if one.startswith("skinlesion") or "-m skinlesion" in one])
def test_the_command_line_knows_every_word(command):
    words = shlex.split(command)
    cli.parser().parse_args(words[words.index("--") + 1 :] if "--" in words else words[1:])


@pytest.mark.parametrize("command", [one for one in SHOWN if one.startswith("python run_all.py")])
def test_the_series_knows_every_word(command):
    run_all.parser().parse_args(shlex.split(command)[2:])


def test_modules_that_pages_name_are_there():
    named = {shlex.split(command)[2] for command in SHOWN if command.startswith("python -m ")}
    assert named and all((REPOSITORY / f"{name.replace('.', '/')}.py").exists() for name in named)


def test_what_pip_is_told_to_install_is_there():
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for command in SHOWN:
        if command.startswith("pip install"):
            place = re.fullmatch(r"\.(?:\[(\w+)\])?", shlex.split(command)[-1])
            assert place and (place[1] is None or place[1] in extras)


def test_every_target_of_make_is_listed_by_its_help():
    listed = subprocess.run(["make", "help"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    shown = {shlex.split(command)[1] for command in SHOWN if command.startswith("make ")}
    assert shown <= set(re.findall(r"^ +make ([\w-]+) ", listed, re.M))
    assert "[DATA=demo|path]" in listed


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the files that the pages name, made by the commands that they show where there are such."""
    folder = tmp_path_factory.mktemp("reader")
    for name in ("IMAGE.jpg", "isic/a.jpg", "isic/b.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(picture(format="JPEG"))
    header, row = "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\n", "{},{},{},0,0,0,0,0\n"
    (folder / "PREDICTIONS.csv").write_text(header + row.format("a", 0.7, 0.3) + row.format("b", 0.1, 0.9))
    (folder / "TRUTH.csv").write_text(header + row.format("a", 1, 0) + row.format("b", 1, 0))
    local = [word.replace("/data/", "") for word in the("skinlesion score /data")]
    with contextlib.chdir(folder):
        assert cli.main(local[1:]) == 0
    return folder


PYTHON = [
    (page, code, output)
    for page, text in sorted(PAGES.items())
    for code, output in re.findall(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```)?", text, re.M | re.S)
]


@pytest.mark.parametrize(("code", "output"), [one[1:] for one in PYTHON], ids=[one[0] for one in PYTHON])
def test_python_on_the_pages_runs_and_prints_what_they_show(code, output, place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    exec(code, {})
    assert not output or capsys.readouterr().out == output


def test_the_readme_shows_what_its_example_prints():
    assert [output for page, _, output in PYTHON if page == "README.md" and output]


def test_reports_pass_on_what_is_given():
    shown = {command: recipe(command) for command in SHOWN if command.startswith("make reports")}
    given = {
        command: run_all.parser().parse_args(words[words.index("run_all.py") + 1 :]) for command, words in shown.items()
    }
    assert {command: (one.data, one.preset, one.run, one.config) for command, one in given.items()} == {
        "make reports": (["demo"], ["quick"], None, [None]),
        "make reports DATA=path/to/HAM10000 RUN=ham10000": (["path/to/HAM10000"], ["quick"], "ham10000", [None]),
        'make reports DATA="path/to/HAM10000 path/to/MILK10k" RUN=both': (
            ["path/to/HAM10000", "path/to/MILK10k"], ["quick"], "both", [None],
        ),
        'make reports DATA="ham10000:path/to/HAM10000 milk10k:path/to/MILK10k path/to/clinic/labels.csv" RUN=three': (
            ["ham10000:path/to/HAM10000", "milk10k:path/to/MILK10k", "path/to/clinic/labels.csv"], ["quick"], "three",
            [None],
        ),
        'make reports DATA=path/to/HAM10000 RUN=classic PRESET=full ARGS="--config classic"': (
            ["path/to/HAM10000"], ["full"], "classic", ["classic"],
        ),
    }  # fmt: skip


def test_continuous_integration_runs_make_test():
    assert (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8").rstrip().endswith("\nmake test")
    assert recipe("make test")[-2:] == ["-m", "pytest"]


def test_setup_installs_what_environment_yml_does():
    lines = subprocess.run(
        ["make", "-n", "-W", "pyproject.toml", *the("make setup TORCH_INDEX")[1:]],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    extras = re.search(r"--extra-index-url (\S+) -c constraints.txt -e '(.+)'", lines)
    assert extras[1] == "https://download.pytorch.org/whl/cpu"
    environment = yaml.safe_load((REPOSITORY / the("conda env create")[-1]).read_text(encoding="utf-8"))
    assert environment["dependencies"][-1]["pip"] == ["-c constraints.txt", f"-e {extras[2]}"]
    assert environment["name"] == the("conda activate")[-1]


def test_lab_opens_the_notebooks():
    done = subprocess.run(
        [*recipe("make lab"), "--show-config-json"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["ServerApp"]["root_dir"] == "notebooks"


@pytest.mark.parametrize("command", ["make site", "make widget"])
def test_other_targets_start_their_modules(command):
    words = recipe(f"{command} MODEL=mine")
    assert words[1] == "-m" and words[-2:] == ["--model", "mine"]
    help_page = subprocess.run([sys.executable, *words[1:3], "--help"], cwd=REPOSITORY, capture_output=True, text=True)
    assert help_page.returncode == 0, help_page.stderr
    assert not [option for option in options(shlex.join(words)) if option not in help_page.stdout]


def test_an_index_is_made_where_the_page_looks_for_it():
    for model in (None, "mine"):
        words = recipe(shlex.join([*the("make index"), *([f"MODEL={model}"] if model else [])]))
        given = cli.parser().parse_args(words[1:])
        assert (Path(words[0]).name, given.data, given.model) == ("skinlesion", ["data/ham10000"], model)
        assert f"$(wildcard {given.output})" in (REPOSITORY / "Makefile").read_text()
    for command in ("make app", "make widget"):
        words = recipe(f"{command} MODEL=mine")
        assert words[words.index("--index") + 1] == "", "an index of the shipped model is not shown beside another"
        words = recipe(f"{command} MODEL=mine INDEX=cases")
        assert words[words.index("--index") + 1] == "cases"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_the_app_takes_an_image_from_curl(tmp_path):
    """Both ways to start the app, each by make, and the call of its API."""
    if not shutil.which("curl"):
        (pytest.fail if os.environ.get("CI") else pytest.skip)("curl is not installed")
    assert recipe("make app HOST=0.0.0.0")[3:5] == ["--host", "0.0.0.0"]
    tiny_model.write(tmp_path / "reports/demo/model")
    (tmp_path / "IMAGE.jpg").write_bytes(picture(format="JPEG"))
    model = the("make app MODEL=reports/demo")[-1].removeprefix("MODEL=")
    started, without_npm = {}, os.environ | {"PATH": str(tmp_path)}  # else it builds the on-device page beforehand
    try:
        for name, words in {"shipped": [], "tiny": [f"MODEL={tmp_path / model}"]}.items():
            port = free_port()
            command = [shutil.which("make"), *make("app", f"PORT={port}", *words)[1:]]
            started[name] = (
                port,
                subprocess.Popen(
                    command, cwd=REPOSITORY, env=without_npm, start_new_session=True, stdout=subprocess.DEVNULL
                ),
            )
        for name, (port, process) in started.items():
            call = [word.replace("5000", str(port)) for word in the("curl")]
            until = time.monotonic() + 300
            while (done := subprocess.run([*call, "-s"], cwd=tmp_path, capture_output=True)).returncode:
                assert time.monotonic() < until and process.poll() is None, "the app did not start"
                time.sleep(0.2)
            response = json.loads(done.stdout)
            assert response["model"]["name"] == name
            labels = Manifest.read(None if name == "shipped" else tmp_path / model).labels
            assert [set(one["probabilities"]) for one in response["predictions"]] == [set(labels.codes)]
    finally:
        for _, process in started.values():
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


def test_images_are_predicted_and_scored(place):
    words = the("skinlesion predict")
    done = subprocess.run([BIN / words[0], *words[1:]], cwd=place, capture_output=True, text=True, check=True)
    one = Predictor.load().predict_files([place / "IMAGE.jpg"])[0]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("IMAGE.jpg ")]
    assert ADVICE[one.referral] in line and (one.label in line.split()) == one.in_domain
    scores = pd.read_parquet(place / "scores")
    assert list(scores["image_id"]) == ["a", "b"] and set(scores["label"]) == {one.label}


def test_a_data_set_is_checked_trained_on_and_searched(tmp_path, monkeypatch, capsys):
    table = small_table(tmp_path / "drawn", lesions=8)
    for path, code in zip(table.frame["path"], table.frame["label"], strict=True):
        folder = tmp_path / "PATH" / code
        folder.mkdir(parents=True, exist_ok=True)
        Image.open(path).save(folder / Path(path).name)
    (tmp_path / "SPACE.json").write_text('{"learning_rate": [0.001, 0.01]}')
    monkeypatch.chdir(tmp_path)
    assert cli.main(the("skinlesion data check")[1:]) == 0
    assert f"{len(table.frame)} images" in capsys.readouterr().out
    assert cli.main([*the("skinlesion train")[1:], *SMALL]) == 0
    assert len(pd.read_csv("runs/one/history.csv")) == 1
    assert json.loads(Path("runs/one/config.json").read_text())["checkpoint_every"] == 100
    assert cli.main([*the("skinlesion sweep --data PATH")[1:], "--trials", "2", "--set", *SMALL]) == 0
    assert len(pd.read_csv("runs/sweep/sweep.csv")) == 2
