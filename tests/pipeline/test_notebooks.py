"""The notebooks as they are stored, and run cell by cell with nbval on copies of smoke size."""

import os
import statistics
import subprocess
import sys

import nbformat
import papermill
import pytest

from conftest import REPOSITORY
from skinlesion.core.config import Config
from skinlesion.pipeline import notebook

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


def test_parameters_have_the_configurations_defaults():
    declared = {}
    for path in NOTEBOOKS:
        cells = nbformat.read(path, as_version=4).cells
        exec(next(cell.source for cell in cells if "parameters" in cell.metadata.get("tags", [])), declared)
    assert {name: declared[name] for name in Config.names()} == Config().to_dict()


def test_every_cell_runs_in_order(tmp_path):
    """The classic recipe on eight labels; the end-to-end test runs the quick one on seven."""
    small = Config(labels=8, max_images=150, image_size=32, epochs=2, replicates=50, stress=1).to_dict()
    copies = tmp_path / "copies"
    copies.mkdir()
    for path in NOTEBOOKS:
        known = notebook.parameters(path)
        values = {name: value for name, value in small.items() if name in known} | {"run": str(tmp_path / "run")}
        papermill.execute_notebook(str(path), str(copies / path.name), values, prepare_only=True, progress_bar=False)
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=300"]
    command += ["-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-o", "addopts=", "-o", "timeout=0", str(copies)]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    cells = sum(c.cell_type == "code" for p in copies.glob("*.ipynb") for c in nbformat.read(p, 4).cells)
    assert f"{cells} passed" in done.stdout
