"""What a notebook's parameters cell declares reaches the run, whoever changes it."""

import ast
import json

import nbformat
import pytest
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from conftest import REPOSITORY
from skinlesion.core.config import Config, describe
from skinlesion.pipeline import notebook
from small import NEEDED, another

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
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


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_parameters_cell_holds_its_stages_with_their_help_as_comments(path):
    stages = {"01": ["data"], "02": ["preprocessing", "augmentation"], "03": ["training"], "04": ["evaluation"]}
    names = [name for stage in stages.get(path.stem[:2], []) for name in Config.names(stage)]
    assert list(notebook.parameters(path)) == ["run", *names]
    cell = next(c for c in nbformat.read(path, as_version=4).cells if "parameters" in c.metadata.get("tags", []))
    comments = {line.split(":")[0]: line.split("  # ", 1)[1] for line in cell.source.splitlines()[2:]}
    assert comments == {name: describe(name) for name in names}
