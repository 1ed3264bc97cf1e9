"""The series: its notebooks' parameters, and which of them run again when something changed."""

import ast
import io
import os
import re
import subprocess
import sys

import nbformat
import pytest

import run_all
from skinlesion import pipeline
from skinlesion.core.config import Config
from skinlesion.core.errors import ConfigError, SkinLesionError
from skinlesion.core.writing import lock
from skinlesion.pipeline import notebook, series, stamps
from skinlesion.pipeline.series import Step
from small import HEAD, states, summary, write_notebook

# --- parameters cells -------------------------------------------------------------------------------------------------


def test_comments_with_equals_signs_are_read(folders):
    """papermill's own inspection drops such a line, so that its value would silently stay the default."""
    write_notebook(folders[0], "a", parameters=HEAD + "max_images: int = 0  # 0 = all\nseed: int = -1")
    assert notebook.parameters(folders[0] / "a.ipynb") == {
        "run": "../reports/demo", "max_images": 0, "seed": -1
    }  # fmt: skip


@pytest.mark.parametrize(
    ("parameters", "config", "message"),
    [
        (HEAD + "epoch: int = 3", {}, "a.ipynb: unknown parameter 'epoch'; did you mean 'epochs'"),
        (HEAD + "epochs: int = 3.0", {}, "a.ipynb: epochs must be int, not 3.0"),
        (HEAD + "epochs: int = 0", {}, "a.ipynb: epochs=0 is out of range"),
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


IMPORTING = """
import sys
from pathlib import Path
from types import ModuleType
sys.modules["skinlesion.evaluation.plots"] = ModuleType("plots")
exec(Path(sys.argv[1]).read_text())
import skinlesion
home = Path(skinlesion.__file__).parent
files = [Path(module.__file__) for name, module in sys.modules.items()
         if name.startswith("skinlesion.") and hasattr(module, "__file__")]
print(*(file.relative_to(home).as_posix() for file in files))
"""


def test_the_stamp_holds_what_a_notebook_loads(tmp_path):
    """Whatever Python loads for a notebook's imports makes it run again when it changes; plots set aside."""
    book = nbformat.read(run_all.ROOT / "notebooks" / "02_preprocessing.ipynb", as_version=4)
    cells = [cell.source for cell in book.cells if cell.cell_type == "code"]
    lines = [line for line in ast.parse("\n".join(cells)).body if isinstance(line, ast.Import | ast.ImportFrom)]
    (tmp_path / "imports.py").write_text("\n".join(map(ast.unparse, lines)))
    command = [sys.executable, "-c", IMPORTING, tmp_path / "imports.py"]
    loaded = set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    used = set(stamps.used_files("\n".join(cells), series.LIBRARY))
    assert len(loaded) > 10
    assert loaded <= used


def test_imports_are_followed_through_the_package_with_the_data_beside_it(tmp_path):
    library = tmp_path / "skinlesion"
    texts = {
        "__init__.py": "from skinlesion.unused import a",
        "unused.py": "",
        "decision.py": "def f():\n    from skinlesion.core import tables, names as other",
        "core/__init__.py": "",
        "core/tables.py": "import skinlesion.core.deep.inner",
        "core/names.py": "import os",
        "core/words.toml": "",
        "core/deep/__init__.py": "",
        "core/deep/inner.py": "",
        "data/__init__.py": "",
        "evaluation/plots/bars.py": "from skinlesion.evaluation.plots import style\nfrom skinlesion import data",
        "evaluation/plots/style.py": "",
        "pretrained/model.onnx": "",
    }
    for name, text in texts.items():
        (library / name).parent.mkdir(parents=True, exist_ok=True)
        (library / name).write_text(text)
    code = "%matplotlib inline\nfrom skinlesion import (  # two\n    decision,\n)\n"
    code += "from skinlesion.evaluation.plots import bars"
    assert stamps.used_files(code, library) == [
        "core/__init__.py", "core/deep/__init__.py", "core/deep/inner.py", "core/names.py", "core/tables.py",
        "core/words.toml", "decision.py", "evaluation/plots/bars.py", "evaluation/plots/style.py",
    ]  # fmt: skip


def test_of_the_shipped_model_only_the_network_makes_the_data_be_read_again():
    """Twins are found by its features; its card and figures change nothing of them."""
    first, training = (step for step in pipeline.SERIES if step.name in ("01_eda", "03_training"))
    assert first.package == ("pretrained/model.onnx",) and "recipes" in training.package
    assert all((series.LIBRARY / name).exists() for step in pipeline.SERIES for name in step.package)
    for step in pipeline.SERIES:
        used = stamps.used_files(notebook.code(run_all.ROOT / "notebooks" / f"{step.name}.ipynb"), series.LIBRARY)
        assert not [name for name in used if name.startswith(("pretrained", "commands", "pipeline", "cli"))]


@pytest.mark.parametrize("step", pipeline.SERIES, ids=lambda step: step.name)
def test_what_a_notebook_shows_of_the_repository_is_named_and_there(step):
    """What it reads from above its folder, and not from the run's, counts for its freshness."""
    book = nbformat.read(run_all.ROOT / "notebooks" / f"{step.name}.ipynb", as_version=4)
    shown = re.findall(r'read_\w+\("\.\./([^"]+)"', "\n".join(cell.source for cell in book.cells))
    assert set(shown) == set(step.reads)
    assert all((run_all.ROOT / name).exists() for name in step.reads)


# --- freshness: notebooks run in this very process, which is quick ----------------------------------------------------


CHAIN = (
    Step("01_a", ("a.txt",)),
    Step("02_b", ("b.txt",), ("shown.csv",), plots=False),
    Step("03_c", ("c.txt",), package=("recipes",)),
)
USES = "import pathlib\nif not run:\n    from skinlesion.{0} import code\nhere = pathlib.Path(run)\n"
A = USES.format("data") + "(here / 'a.txt').write_text('rows')"
B = USES.format("training") + "(here / 'b.txt').write_text((here / 'a.txt').read_text() + str(epochs))"
C = USES.format("evaluation.plots") + "(here / 'c.txt').write_text((here / 'b.txt').read_text())"


@pytest.fixture
def chain(folders, tmp_path, monkeypatch):
    """Three notebooks, a library of their own, and ``go(**how)``, which returns the names of those that ran."""
    notebooks, folder = folders
    data, library = tmp_path / "data", tmp_path / "library"
    for part in ("core", "data", "training", "evaluation/plots", "recipes"):
        (library / part).mkdir(parents=True)
        (library / part / "code.py").write_text("from skinlesion.core import code" if part != "recipes" else "")
    (library / "training" / "code.py").write_text(
        "from skinlesion.core import code\nfrom skinlesion.evaluation.plots import code"
    )
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
        (lambda chain: (chain.library / "evaluation" / "plots" / "code.py").write_text("2"), ["03"]),
        (lambda chain: (chain.library / "recipes" / "more.json").write_text("2"), ["03"]),
        (lambda chain: (chain.library / "training" / "code.py").write_text("2"), ["02"]),
        (lambda chain: (chain.library / "core" / "code.py").write_text("2"), ["01", "02"]),
        (lambda chain: (chain.library / "serving.py").write_text("2"), []),
        (lambda chain: (chain.notebooks.parent / "shown.csv").write_text("a table"), ["02"]),
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
    with lock(chain.folder), pytest.raises(SkinLesionError, match=f"process {os.getpid()} is at work"):
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


def test_a_run_on_other_data_is_replaced_only_by_force(chain, tmp_path):
    (tmp_path / "other").mkdir()
    before, mine = (chain.folder / "run.json").read_bytes(), chain.config
    chain.config = mine.but(data=[str(tmp_path / "other")])
    with pytest.raises(ConfigError, match=rf"holds a run on {mine.data[0]}, not on .*other; give --data .*--force"):
        chain.go()
    assert (chain.folder / "run.json").read_bytes() == before
    assert chain.go(force=True) == ["01", "02", "03"]
    chain.config = mine.but(data="demo:60")
    assert chain.go(force=True) == ["01", "02", "03"]
    chain.config = mine.but(data="demo:80")
    assert chain.go() == ["01", "02", "03"], "drawn images are no loss"


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
