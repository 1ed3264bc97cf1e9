"""The series in real kernels: success, failure, interruption, the command line, progress."""

import functools
import io
import json
import os
import signal
import subprocess
import sys
import time

import nbformat
import pytest

import run_all
from conftest import REPOSITORY
from skinlesion import pipeline
from skinlesion.core.config import Config
from skinlesion.core.writing import lock
from skinlesion.pipeline import notebook
from skinlesion.pipeline.series import Step
from small import HEAD, states, summary, write_notebook


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
        parameters=HEAD + 'epochs: int = 8\ndata: str = "demo"\n' + "model: str = 'classic'\nimage_size: int = 64",
    )  # fmt: skip
    write_notebook(notebooks, "02_b", "import pathlib\npathlib.Path(run, 'b.txt').write_text(str(pathlib.Path(run)))")
    steps = (Step("01_a", ("a.txt",)), Step("02_b", ("b.txt",)))
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
    ("code", "limit", "message"),
    [
        # which the cells before it, too, must not take on a busy machine
        ("import time\ntime.sleep(10**6)", 4, "stopped after 4 seconds;"),
        ("import os\nos._exit(1)", 300, "the kernel died"),
    ],
)
def test_endless_cells_and_dead_kernels(folders, code, limit, message):
    notebooks, folder = folders
    write_notebook(notebooks, "01_a", "print('before')", code)
    status = pipeline.run_series(
        Config(), folder, notebooks, steps=(Step("01_a"),), cell_timeout=limit, stream=io.StringIO()
    )
    assert status == 1
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
        "from skinlesion.core.config import Config\nfrom skinlesion.pipeline import Step, run_series\n"
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
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "interrupted" in said
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)
    assert summary(folder)["status"] == "interrupted"
    assert states(folder) == {"01_a": "interrupted", "02_b": "missing"}
    assert "The run was interrupted here" in (folder / "01_a.html").read_text()
    with lock(folder):
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
        ["--run", ""],
        ["--config", ""],
        ["--data", "x" * 300],
        ["--data", str(REPOSITORY / "docker")],  # a folder without images
        ["--label", "wart"],
        ["--label", "wart=bump"],
        ["--preset", "huge"],
        ["--labels", "9"],
        ["--set", "holdout_source=milk10k"],  # of the demo set alone
        ["--from", "02", "--force"],
        ["--cell-timeout", "0"],
        ["--jobs", "x"],
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


def test_ctrl_c_before_the_first_notebook(folders, monkeypatch, capsys):
    def interrupted(**_):
        raise KeyboardInterrupt

    monkeypatch.setattr(run_all.pipeline, "resolve", interrupted)
    assert run_all.main([], notebooks=folders[0], reports=folders[1].parent) == 130
    assert capsys.readouterr().err == "interrupted\n"


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
    monkeypatch.setattr(notebook.Progress, "seconds", 0.0)
    stream = Terminal()
    with notebook.Progress("03_training", 15, stream) as progress:
        progress.start_cell()
        progress.write("epoch 1:  10%|#         |\repoch 1:  20%|##        | and more than fits into sixty columns\n")
        while "epoch 1" not in stream.getvalue():
            time.sleep(0.01)
    shown = stream.getvalue()
    assert "\n" not in shown
    assert "03_training  cell 1/15  0:00" in shown
    assert "epoch 1:  20%|##" in shown
    assert max(len(part) for part in shown.replace("\x1b[K", "").split("\r")) < 60


def test_progress_elsewhere_is_a_line_a_cell(monkeypatch):
    monkeypatch.setattr(notebook.Progress, "seconds", 0.0)
    stream = io.StringIO()
    with notebook.Progress("03_training", 2, stream) as progress:
        progress.start_cell()
        progress.start_cell()
    assert stream.getvalue() == "03_training  cell 1/2  0:00\n03_training  cell 2/2  0:00\n"


def test_clock():
    assert [notebook.clock(s) for s in (7, 151, 3751, 59.6)] == ["0:07", "2:31", "1:02:31", "1:00"]
