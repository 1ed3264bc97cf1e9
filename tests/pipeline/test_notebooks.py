"""Notebooks as they are stored, run cell by cell on copies of smoke size, and the reach of their parameters."""

import ast
import json
import os
import statistics
import subprocess
import sys

import nbformat
import papermill
import pytest
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from conftest import REPOSITORY
from skinlesion import pipeline
from skinlesion.core.config import Config, describe
from skinlesion.pipeline import notebook
from small import NEEDED, another

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_as_stored(path):
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code), "run `nbstripout` or clear all outputs"
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in code) == 1
    assert set(book.metadata) <= {"kernelspec", "language_info"}
    assert book.cells[0].source.splitlines()[0].endswith("?"), "a notebook opens with its question"
    assert book.cells[-2].source == "## Summary" and book.cells[-1].metadata["tags"] == ["summary"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_cells_are_short(path):
    code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    lines = [len(cell.source.splitlines()) for cell in code if "parameters" not in cell.metadata.get("tags", [])]
    assert len(code) <= 25
    assert max(lines) <= 20, "longer code belongs into the library"
    assert statistics.median(lines) < 12


@pytest.mark.parametrize(
    ("recipe", "options"),
    [
        ("classic", ["twins=false", "stress=0"]),
        *(pytest.param(recipe, ["stress=1"], marks=pytest.mark.soak) for recipe in ("classic", "quick")),
    ],
)
def test_every_cell_runs_in_order_with_a_recipes_own_network_on_eight_labels(recipe, options, tmp_path):
    """The end-to-end test runs every cell too, with a smaller network and on seven labels.

    It looks for twins and tests with other images; where nobody asks for all (make soak), this one does without.
    """
    settings = ["max_images=150", "epochs=2", "replicates=50", *options]
    small = pipeline.resolve(preset="smoke", recipe=recipe, data="demo:200", labels=8, settings=settings).to_dict()
    copies = tmp_path / "copies"
    copies.mkdir()
    for path in NOTEBOOKS:
        known = notebook.parameters(path)
        values = {name: value for name, value in small.items() if name in known} | {"run": str(tmp_path / "run")}
        papermill.execute_notebook(str(path), str(copies / path.name), values, prepare_only=True, progress_bar=False)
    command = [sys.executable, "-m", "pytest", "-p", "nbval.plugin", "--nbval-lax", "--nbval-current-env"]
    command += ["--nbval-cell-timeout=300", "-q", "-p", "no:cacheprovider", "-o", "addopts=", str(copies)]
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}  # others load slowly
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    cells = sum(c.cell_type == "code" for p in copies.glob("*.ipynb") for c in nbformat.read(p, 4).cells)
    assert f"{cells} passed" in done.stdout


DECLARED = [(path, name) for path in NOTEBOOKS for name in notebook.parameters(path) if name != "run"]


def opening(book) -> tuple[str, str]:
    """The source of the parameters cell (with what is injected below it), and the statement that opens the run."""
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    tagged = [
        cell.source for cell in code if set(cell.metadata.get("tags", [])) & {"parameters", "injected-parameters"}
    ]
    found = [
        ast.unparse(line)
        for cell in code
        for line in ast.parse(cell.source).body
        if isinstance(line, ast.Assign) and "open_run(globals())" in ast.unparse(line)
    ]
    assert len(found) == 1
    return "\n".join(tagged), found[0]


def written(book, folder) -> dict:
    """``config.json`` after the notebook's cells up to that statement were run, as a kernel would."""
    cell, statement = opening(book)
    namespace: dict = {}
    exec(cell, namespace)
    exec("from skinlesion.core.runs import open_run", namespace)
    exec(statement, namespace)
    return json.loads((folder / "config.json").read_text())


@pytest.mark.parametrize(("path", "name"), DECLARED, ids=lambda value: getattr(value, "stem", value))
def test_a_changed_parameter_is_written_to_the_run(path, name, tmp_path):
    value = another(name)
    (tmp_path / "config.json").write_text(json.dumps(NEEDED.get(name, {})))
    expected = Config().but(**NEEDED.get(name, {}) | {name: value}).to_dict()

    edited = nbformat.read(path, as_version=4)
    cell = next(cell for cell in edited.cells if "parameters" in cell.metadata.get("tags", []))
    lines = [line for line in cell.source.splitlines() if not line.startswith((f"{name}:", "run:"))]
    needed = [f"{key} = {wanted!r}" for key, wanted in NEEDED.get(name, {}).items()]
    cell.source = "\n".join(
        [*lines, f"run: str = {str(tmp_path)!r}", f"{name}: {type(value).__name__} = {value!r}", *needed]
    )
    assert written(edited, tmp_path) == expected

    (tmp_path / "config.json").write_text(json.dumps(NEEDED.get(name, {})))
    values = NEEDED.get(name, {}) | {"run": str(tmp_path), name: value}
    assert written(parameterize_notebook(load_notebook_node(str(path)), values), tmp_path) == expected


def test_every_parameter_is_declared_in_one_notebook():
    assert sorted(name for _, name in DECLARED) == sorted(Config.names())


def declaration(name: str) -> str:
    """A parameter's line in the cell of its notebook."""
    value = Config().to_dict()[name]
    text = json.dumps(value) if isinstance(value, str | list) else repr(value)
    return f"{name}: {type(value).__name__} = {text}  # {describe(name)}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_parameters_cell_holds_its_stages_with_defaults_and_help(path):
    stages = {"01": ["data"], "02": ["preprocessing", "augmentation"], "03": ["training"], "04": ["evaluation"]}
    wanted = [declaration(name) for stage in stages.get(path.stem[:2], []) for name in Config.names(stage)]
    cell = next(c for c in nbformat.read(path, as_version=4).cells if "parameters" in c.metadata.get("tags", []))
    head, run, *written = cell.source.splitlines()
    assert head.startswith("# ") and run.startswith("run: str = ")
    assert written == wanted, "below the first two lines, the cell must be\n" + "\n".join(wanted)
