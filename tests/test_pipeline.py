"""The series: resolving a configuration, checking parameters, freshness, execution, failure, interruption."""

import ast
import functools
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

import run_all
from skinlesion import pipeline
from skinlesion.config import Config
from skinlesion.errors import ConfigError, DataError, SkinLesionError
from skinlesion.pipeline import notebook, series, stamps
from skinlesion.pipeline.series import Step

HEAD = '# which run\nrun: str = "../reports/demo"  # the run\'s folder\n'


def write_notebook(folder, name, *code, parameters=HEAD, prose="# A title\n\nA *question*?"):
    cell = nbformat.v4.new_code_cell
    cells = [
        nbformat.v4.new_markdown_cell(prose),
        cell(parameters, metadata={"tags": ["parameters"]}),
        *map(cell, code),
    ]
    for number, one in enumerate(cells):
        one["id"] = f"cell-{number}"  # the default is random
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / f"{name}.ipynb")


@pytest.fixture
def folders(tmp_path):
    notebooks, reports = tmp_path / "notebooks", tmp_path / "reports"
    notebooks.mkdir()
    return notebooks, reports / "one"


def summary(folder):
    return json.loads((folder / "run.json").read_text())


def states(folder):
    return {entry["name"]: entry["status"] for entry in summary(folder)["notebooks"]}


# --- what was asked for -----------------------------------------------------------------------------------------------


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
        ({"settings": ["epoch=3"]}, ConfigError, "'epochs'"),
        ({"settings": ["epochs=three"]}, ConfigError, "epochs must be int"),
        ({"data": ""}, DataError, "data"),
        ({"settings": ["start=reports/first/{part}"]}, ConfigError, r"fills in; name one trained run's folder"),
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


# --- parameters cells -------------------------------------------------------------------------------------------------


def test_comments_with_equals_signs_are_read(folders):
    """papermill's own inspection drops such a line, so that its value would silently stay the default."""
    write_notebook(folders[0], "a", parameters=HEAD + "max_images: int = 0  # 0 = all\nseed: int = -1")
    assert notebook.parameters(folders[0] / "a.ipynb") == {"run": "str", "max_images": "int", "seed": "int"}


@pytest.mark.parametrize(
    ("parameters", "config", "message"),
    [
        (HEAD + "epoch: int = 3", {}, "a.ipynb has a parameter 'epoch'"),
        (HEAD + "epochs: float = 3.0", {}, "epochs: float"),
        (HEAD + "epochs: int = 3.0", {}, "default is 3.0"),
        (HEAD + "epochs = 3", {}, "line 3 of the parameters cell of a.ipynb"),
        (HEAD + "epochs: int = 2 * 3", {}, "line 3"),
        (HEAD + "import os", {}, "line 3"),
        (HEAD + "epochs: int =", {}, "not Python"),
        ("# none\nepochs: int = 3", {}, "needs a parameter run"),
        ('run: str = "here"', {}, "magic command %run"),
        (HEAD + "epochs: int = 3", {"model": "resnet18"}, "model='resnet18' would have no effect"),
        (HEAD + "fold: int = 0", {"fold": -1}, "fold=-1 leaves no validation images"),
    ],
)
def test_parameters_that_do_not_fit_stop_everything(folders, parameters, config, message):
    notebooks, folder = folders
    write_notebook(notebooks, "a", parameters=parameters)
    with pytest.raises(ConfigError, match=message):
        pipeline.run_series(Config().but(**config), folder, notebooks, steps=(Step("a"),))
    assert not folder.exists()


@pytest.mark.parametrize("tags", [[], ["parameters", "parameters"]])
def test_one_parameters_cell(folders, tags):
    cells = [nbformat.v4.new_code_cell(HEAD, metadata={"tags": [tag]}) for tag in tags]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folders[0] / "a.ipynb")
    with pytest.raises(ConfigError, match=f"it has {len(tags)}"):
        notebook.parameters(folders[0] / "a.ipynb")


def test_missing_and_damaged_notebooks_are_named(folders):
    with pytest.raises(SkinLesionError, match="no notebook"):
        notebook.parameters(folders[0] / "a.ipynb")
    (folders[0] / "a.ipynb").write_text("{")
    with pytest.raises(SkinLesionError, match="not a readable notebook"):
        notebook.parameters(folders[0] / "a.ipynb")


def test_the_repositorys_notebooks_fit_the_configuration():
    names = pipeline.check_parameters(Config(), run_all.ROOT / "notebooks")
    assert list(names) == [step.name for step in pipeline.SERIES]


def imported(source: str) -> set[Path]:
    """The package's files that a piece of code names in its imports."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("skinlesion"):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    places = [series.LIBRARY.joinpath(*name.split(".")[1:]) for name in names]
    return {place.with_suffix(".py") for place in places if place.with_suffix(".py").is_file()} | {
        place / "__init__.py" for place in places if place.name == "plots"
    }


@pytest.mark.parametrize("step", pipeline.SERIES, ids=lambda step: step.name)
def test_the_series_names_what_its_notebooks_use(step):
    """Whatever a notebook imports, directly or not, makes it run again when it changes; plots count for themselves."""
    parts = [series.LIBRARY / part for part in (*series.BASE, *step.library)]
    assert all(part.exists() for part in parts)
    book = nbformat.read(run_all.ROOT / "notebooks" / f"{step.name}.ipynb", as_version=4)
    waiting = imported("\n".join(cell.source for cell in book.cells if cell.cell_type == "code"))
    used = set()
    while waiting:
        path = waiting.pop()
        used.add(path)
        if path.parent.name != "plots":
            waiting |= imported(path.read_text()) - used
    if step.name == "03_training":
        used = {path for path in used if path.parent.name != "plots"}
    assert used, "the notebook uses the library"
    assert {path for path in used if not any(path == part or part in path.parents for part in parts)} == set()


# --- freshness: notebooks run in this very process, which is quick ----------------------------------------------------

CHAIN = (
    Step("01_a", ("data",), ("a.txt",)),
    Step("02_b", ("training",), ("b.txt",)),
    Step("03_c", ("evaluation",), ("c.txt",)),
)
A = "import pathlib\nhere = pathlib.Path(run)\n(here / 'a.txt').write_text('rows')"
B = "import pathlib\nhere = pathlib.Path(run)\n(here / 'b.txt').write_text((here / 'a.txt').read_text() + str(epochs))"
C = "import pathlib\nhere = pathlib.Path(run)\n(here / 'c.txt').write_text((here / 'b.txt').read_text())"


@pytest.fixture
def chain(folders, tmp_path, monkeypatch):
    """Three notebooks, a library of their own, and ``go(**how)``, which returns the names of those that ran."""
    notebooks, folder = folders
    data, library = tmp_path / "data", tmp_path / "library"
    for part in ("data", "training", "evaluation"):
        (library / part).mkdir(parents=True)
        (library / part / "code.py").write_text("1")
    data.mkdir()
    (data / "images.zip").write_bytes(b"zip")
    write_notebook(notebooks, "01_a", A, parameters=HEAD + 'data: str = "demo"')
    write_notebook(notebooks, "02_b", B, parameters=HEAD + "epochs: int = 8")
    write_notebook(notebooks, "03_c", C, parameters=HEAD + "replicates: int = 9  # 0 = none")
    ran = []

    def execute(source, target, values, **_):
        book = nbformat.read(source, as_version=4)
        ran.append(source.stem)
        exec(book.cells[2].source, dict(values))
        nbformat.write(book, target)
        return notebook.Outcome(cells=2, seconds=0.0)

    monkeypatch.setattr(notebook, "execute", execute)
    monkeypatch.setattr(series, "LIBRARY", library)

    class Chain:
        config = Config(data=str(data))

        def go(self, **how):
            ran.clear()
            stream = io.StringIO()
            status = pipeline.run_series(self.config, folder, notebooks, steps=CHAIN, stream=stream, **how)
            self.said = stream.getvalue()
            assert status == 0
            return [name[:2] for name in ran]

    chain = Chain()
    chain.notebooks, chain.folder, chain.data, chain.library = notebooks, folder, data, library
    assert chain.go() == ["01", "02", "03"]
    assert chain.go() == []
    return chain


def reword(chain):
    write_notebook(chain.notebooks, "01_a", A, parameters=HEAD + 'data: str = "demo"', prose="# Another title")


def write_differently(chain):
    write_notebook(chain.notebooks, "01_a", A.replace("rows", "cols"), parameters=HEAD + 'data: str = "demo"')


def train_longer(chain):
    chain.config = chain.config.but(epochs=11)


def more_replicates(chain):
    chain.config = chain.config.but(replicates=11)


def change_data(chain):
    (chain.data / "more.csv").write_text("x")


def execute_and_save_in_jupyter(chain):
    path = chain.notebooks / "02_b.ipynb"
    book = nbformat.read(path, as_version=4)
    book.cells[2].outputs = [nbformat.v4.new_output("stream", text="hello")]
    book.cells[2].execution_count = 3
    book.metadata["widgets"] = {}
    nbformat.write(book, path)


@pytest.mark.parametrize(
    ("change", "rerun"),
    [
        (reword, ["01"]),  # it writes the same again, so nothing after it need run
        (write_differently, ["01", "02", "03"]),
        (train_longer, ["02", "03"]),
        (more_replicates, ["03"]),
        (change_data, ["01", "02", "03"]),
        (execute_and_save_in_jupyter, []),
        (lambda chain: (chain.library / "evaluation" / "code.py").write_text("2"), ["03"]),
        (lambda chain: (chain.library / "evaluation" / "more.py").write_text("2"), ["03"]),
        (lambda chain: (chain.library / "training" / "code.py").write_text("2"), ["02"]),
        (lambda chain: (chain.library / "config.py").write_text("2"), ["01", "02", "03"]),
        (lambda chain: (chain.library / "serving.py").write_text("2"), []),
        (lambda chain: (chain.folder / "b.txt").unlink(), ["02"]),
        (lambda chain: (chain.folder / "a.txt").write_text("edited"), ["02", "03"]),
        (lambda chain: (chain.folder / "03_c.ipynb").unlink(), ["03"]),
        (lambda chain: (chain.folder / "run.json").write_text("{"), ["01", "02", "03"]),
    ],
)
def test_only_what_is_out_of_date_runs(chain, change, rerun):
    change(chain)
    assert chain.go() == rerun
    assert chain.go() == []


def test_from_only_and_force(chain):
    assert chain.go(start="02") == ["02", "03"]
    assert chain.go(only="02_b") == ["02"]
    assert chain.go(force=True) == ["01", "02", "03"]
    train_longer(chain)
    assert chain.go(start="03") == ["02", "03"], "what is before it and out of date runs too"
    train_longer(chain)
    chain.config = chain.config.but(epochs=12)
    assert chain.go(only="03") == ["03"]
    assert states(chain.folder) == {"01_a": "current", "02_b": "stale", "03_c": "done"}
    assert summary(chain.folder)["status"] == "incomplete"
    assert "Out of date" in (chain.folder / "02_b.html").read_text()
    assert chain.go() == ["02", "03"]
    assert "Out of date" not in (chain.folder / "02_b.html").read_text()


def test_only_needs_what_the_others_write(chain):
    (chain.folder / "b.txt").unlink()
    with pytest.raises(ConfigError, match=r"03_c needs b\.txt of 02_b"):
        chain.go(only="03")
    with pytest.raises(ConfigError, match="01_a, 02_b, 03_c"):
        chain.go(only="07")


def test_a_lost_page_is_written_again_without_running(chain):
    (chain.folder / "02_b.html").unlink()
    assert chain.go() == []
    assert "A title" in (chain.folder / "02_b.html").read_text()


def test_a_folder_can_move(chain):
    moved = chain.folder.with_name("two")
    chain.folder.rename(moved)
    stream = io.StringIO()
    pipeline.run_series(chain.config, moved, chain.notebooks, steps=CHAIN, stream=stream)
    assert stream.getvalue().count("up to date") == 3


def test_one_process_a_folder(chain):
    with stamps.lock(chain.folder), pytest.raises(SkinLesionError, match=f"process {os.getpid()} is at work"):
        chain.go()
    (chain.folder / ".lock").write_text("999999999")  # left by one that was killed
    assert chain.go() == []


def test_big_pages_are_reported(chain, monkeypatch):
    monkeypatch.setattr("skinlesion.report.SIZE_LIMIT", 1000)
    monkeypatch.setattr("skinlesion.report.index.SIZE_LIMIT", 1000)
    chain.go(only="01")
    assert "01_a.html has" in chain.said
    assert "over the limit" in (chain.folder / "index.html").read_text()


def test_a_promised_file_that_is_not_written_is_a_failure(chain):
    write_notebook(chain.notebooks, "02_b", "pass", parameters=HEAD + "epochs: int = 8")
    (chain.folder / "b.txt").unlink()
    stream = io.StringIO()
    assert pipeline.run_series(chain.config, chain.folder, chain.notebooks, steps=CHAIN, stream=stream) == 1
    assert "did not write b.txt" in stream.getvalue()
    assert states(chain.folder) == {"01_a": "current", "02_b": "failed", "03_c": "skipped"}


def test_the_fingerprint_sees_names_sizes_and_times(tmp_path):
    config = Config(data=str(tmp_path))
    (tmp_path / "images.zip").write_bytes(b"abc")
    first = stamps.data_fingerprint(config)
    (tmp_path / ".DS_Store").write_bytes(b"x")
    assert stamps.data_fingerprint(config) == first
    os.utime(tmp_path / "images.zip", ns=(1, 1))
    assert stamps.data_fingerprint(config) != first
    (tmp_path / "split.csv").write_text("a")
    demo = [stamps.data_fingerprint(Config(split_file=str(tmp_path / "split.csv"))) for _ in range(2)]
    assert demo[0] == demo[1] != stamps.data_fingerprint(Config())


# --- execution, in real kernels ---------------------------------------------------------------------------------------


def test_the_command_end_to_end(folders, monkeypatch, capsys, tmp_path):
    """Two notebooks by ``run_all.py``: the right interpreter, folder, parameters and environment; all files written."""
    notebooks, folder = folders
    other = tmp_path / "jupyter" / "kernels" / "python3"  # a user's own kernel of the same name
    other.mkdir(parents=True)
    (other / "kernel.json").write_text('{"argv": ["/bin/false", "{connection_file}"], "display_name": "x"}')
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    monkeypatch.setenv("MPLBACKEND", "agg")
    facts = "dict(executable=sys.executable, cwd=os.getcwd(), epochs=epochs, backend=os.environ['MPLBACKEND'])"
    write_notebook(
        notebooks, "01_a", f"import json, os, pathlib, sys\npathlib.Path(run, 'a.txt').write_text(json.dumps({facts}))",
        parameters=HEAD + 'epochs: int = 8\ndata: str = "demo"\n' + "model: str = 'classic'\nimage_size: int = 1",
    )  # fmt: skip
    write_notebook(notebooks, "02_b", "import pathlib\npathlib.Path(run, 'b.txt').write_text(str(pathlib.Path(run)))")
    steps = (Step("01_a", (), ("a.txt",)), Step("02_b", (), ("b.txt",)))
    monkeypatch.setattr(pipeline, "run_series", functools.partial(pipeline.run_series, steps=steps))
    (tmp_path / "mine.json").write_text('{"epochs": 4, "model": "resnet18"}')
    asked = ["--run", "one", "--config", str(tmp_path / "mine.json"), "--set", "epochs=2", "image_size=32"]
    assert run_all.main(asked, notebooks=notebooks, reports=folder.parent) == 0
    seen = json.loads((folder / "a.txt").read_text())
    assert seen["executable"] == sys.executable
    assert seen["cwd"] == str(notebooks)
    assert seen["epochs"] == 2
    assert "inline" in seen["backend"]
    assert (folder / "b.txt").read_text() == str(folder)
    assert {"01_a.html", "01_a.ipynb", "index.html", "run.json", "config.json"} <= {p.name for p in folder.iterdir()}
    assert not list(folder.glob("*partial*")) + list(folder.glob(".*partial*"))
    assert Config.from_file(folder / "config.json") == Config().but(epochs=2, model="resnet18", image_size=32)
    said = capsys.readouterr().out
    assert "01_a  cell 1/3" in said
    assert said.strip().endswith(str(folder / "index.html"))
    run = summary(folder)
    assert (run["status"], run["preset"], run["synthetic"]) == ("complete", "quick", True)
    assert run["versions"]["python"].startswith("3.")
    assert run["machine"]["cores"] >= 1

    kept, again = ((folder / f"{name}.ipynb").stat().st_mtime_ns for name in ("01_a", "02_b"))
    assert run_all.main([*asked, "--from", "02"], notebooks=notebooks, reports=folder.parent) == 0
    assert (folder / "01_a.ipynb").stat().st_mtime_ns == kept
    assert (folder / "02_b.ipynb").stat().st_mtime_ns > again


def test_a_failing_notebook(folders):
    """Its page shows the traceback and nothing of an earlier success; what depends on it is skipped."""
    notebooks, folder = folders
    steps = (Step("01_a"), Step("02_b"), Step("03_c"))
    write_notebook(notebooks, "01_a", "print('fine')")
    write_notebook(notebooks, "02_b", "print('early success')")
    write_notebook(notebooks, "03_c", "print('third')", prose="# Third")
    stream = io.StringIO()
    go = lambda: pipeline.run_series(Config(), folder, notebooks, steps=steps, stream=stream)  # noqa: E731
    assert go() == 0
    write_notebook(notebooks, "02_b", "def inner():\n    raise ValueError('no <lesions>')", "inner()", "print('never')")
    assert go() == 1
    page = (folder / "02_b.html").read_text()
    assert "no &lt;lesions&gt;" in page
    assert "inner" in page
    assert "early success" not in page
    assert 'id="error"' in page
    assert states(folder) == {"01_a": "current", "02_b": "failed", "03_c": "skipped"}
    assert summary(folder)["notebooks"][1]["error"] == "cell 4: ValueError: no <lesions>"
    assert "02_b  FAILED" in stream.getvalue()
    third = (folder / "03_c.html").read_text()
    assert "Not run, since 02_b failed. What follows is from an earlier run." in third
    outputs = nbformat.read(folder / "02_b.ipynb", as_version=4).cells
    assert any(output.output_type == "error" for cell in outputs for output in cell.get("outputs", []))
    write_notebook(notebooks, "02_b", "print('mended')")
    assert go() == 0
    assert states(folder) == {"01_a": "current", "02_b": "done", "03_c": "current"}
    assert "Not run, since" not in (folder / "03_c.html").read_text()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import time\ntime.sleep(60)", "ran for more than 1 seconds"),
        ("import os\nos._exit(1)", "the kernel died"),
    ],
)
def test_endless_cells_and_dead_kernels(folders, code, message):
    notebooks, folder = folders
    write_notebook(notebooks, "01_a", "print('before')", code)
    begun = time.monotonic()
    status = pipeline.run_series(
        Config(), folder, notebooks, steps=(Step("01_a"),), cell_timeout=1, stream=io.StringIO()
    )
    assert status == 1
    assert time.monotonic() - begun < 40
    page = (folder / "01_a.html").read_text()
    assert message in page
    assert "before" in page
    assert message in summary(folder)["notebooks"][0]["error"]


def test_ctrl_c(folders):
    """The kernel ends, the run says so, the lock is free, the exit status is 130."""
    notebooks, folder = folders
    write_notebook(
        notebooks,
        "01_a",
        "import os, pathlib, time\npathlib.Path(run, 'pid').write_text(str(os.getpid()))\ntime.sleep(300)",
    )
    write_notebook(notebooks, "02_b", "1")
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from skinlesion.config import Config\nfrom skinlesion.pipeline import Step, run_series\n"
        "sys.exit(run_series(Config(), Path(sys.argv[1]), Path(sys.argv[2]), steps=(Step('01_a'), Step('02_b'))))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, folder, notebooks], stdout=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # shells start background jobs that ignore it
    )  # fmt: skip
    pid_file = folder / "pid"
    while not (pid_file.exists() and pid_file.read_text()):
        assert process.poll() is None, "the run ended before the kernel came up"
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in said
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)
    assert summary(folder)["status"] == "interrupted"
    assert states(folder) == {"01_a": "interrupted", "02_b": "missing"}
    assert "The run was interrupted here" in (folder / "01_a.html").read_text()
    with stamps.lock(folder):
        pass


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["--data", "/no/such/place"],
        ["--set", "epochs=many"],
        ["--set", "epoch=1"],
        ["--config", "nope"],
        ["--run", "../outside"],
        ["--preset", "huge"],
        ["--labels", "9"],
        ["--from", "02", "--force"],
        ["--cell-timeout", "0"],
    ],
)
def test_wrong_arguments_run_nothing(folders, arguments, capsys):
    notebooks, folder = folders
    try:
        status = run_all.main(arguments, notebooks=notebooks, reports=folder.parent)
    except SystemExit as end:  # argparse's own way
        status = end.code
    assert status == 2
    assert "error: " in capsys.readouterr().err
    assert not folder.parent.exists()


def test_importing_the_pipeline_is_light():
    heavy = {"torch", "pandas", "papermill", "nbconvert", "jinja2", "matplotlib"}
    program = f"import sys, skinlesion.pipeline; print(*{heavy} & {{*sys.modules}})"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "\n"


# --- progress ---------------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_on_a_terminal_is_one_line(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    stream = Terminal()
    with notebook.Progress("03_training", 15, stream) as progress:
        progress.start_cell()
        progress.write("epoch 1:  10%|#         |\repoch 1:  20%|##        | and more than fits into sixty columns\n")
        time.sleep(1.3)
    shown = stream.getvalue()
    assert "\n" not in shown
    assert "03_training  cell 1/15  0:00" in shown
    assert "epoch 1:  20%|##" in shown
    assert max(len(part) for part in shown.replace("\x1b[K", "").split("\r")) < 60


def test_progress_elsewhere_is_a_line_a_cell():
    stream = io.StringIO()
    with notebook.Progress("03_training", 2, stream) as progress:
        progress.start_cell()
        progress.start_cell()
    assert stream.getvalue() == "03_training  cell 1/2  0:00\n03_training  cell 2/2  0:00\n"


def test_clock():
    assert [notebook.clock(s) for s in (7, 151, 3751, 59.6)] == ["0:07", "2:31", "1:02:31", "1:00"]


def test_data_may_be_a_sized_demo_or_carry_its_kind(tmp_path):
    configs = Path(__file__).parents[1] / "configs"
    assert pipeline.resolve(configs, data="demo:600").data == "demo:600"
    assert pipeline.run_name(pipeline.resolve(configs, data="demo:600"), "quick") == "demo"
    (tmp_path / "pictures").mkdir()
    config = pipeline.resolve(configs, data=f"folder:{tmp_path}/pictures")
    assert config.data == f"folder:{tmp_path.resolve()}/pictures"
    for bad in (f"folder:{tmp_path}/none", f"{tmp_path}/none", "demo:many", ""):
        with pytest.raises(DataError, match="there is nothing at"):
            pipeline.resolve(configs, data=bad)
