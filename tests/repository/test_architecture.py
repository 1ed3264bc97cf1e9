"""The arrows of docs/developing.md, kept by import-linter; the hooks; and the versions in constraints.txt."""

import ast
import doctest
import importlib.metadata
import inspect
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

import skinlesion
from conftest import REPOSITORY


def lint(config: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--config", config],
        cwd=REPOSITORY, env=os.environ | {"PYTHONPATH": f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'lib'}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_imports_point_one_way():
    done = lint(REPOSITORY / "pyproject.toml")
    assert done.returncode == 0, done.stdout
    assert ", 0 broken" in done.stdout


def test_the_hooks_run_the_same_ruff_as_make_lint():
    hooks, pinned = ((REPOSITORY / name).read_text() for name in (".pre-commit-config.yaml", "constraints.txt"))
    assert re.search(r"ruff-pre-commit\n\s+rev: v(\S+)", hooks)[1] == re.search(r"^ruff==(.+)$", pinned, re.M)[1]


def test_a_wrong_arrow_would_be_noticed(tmp_path):
    config = tmp_path / ".importlinter"
    config.write_text(
        "[importlinter]\nroot_packages=\n    skinlesion\n    app\n[importlinter:contract:wrong]\n"
        "name=Training knows no data\ntype=forbidden\nsource_modules=\n    skinlesion.training\n"
        "forbidden_modules=\n    skinlesion.data\n"
    )
    done = lint(config)
    assert done.returncode != 0
    assert "skinlesion.training" in done.stdout and "BROKEN" in done.stdout


PINS = dict(re.findall(r"^([\w.-]+)==(\S+)$", (REPOSITORY / "constraints.txt").read_text(), re.MULTILINE))


def test_every_pinned_package_takes_the_oldest_python_that_is_promised():
    promised = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["requires-python"]
    oldest = re.fullmatch(r">=(\d+\.\d+)", promised)[1] + ".2"  # Debian's
    installed = {name for name in PINS if _distribution(name)}
    assert len(installed) > 100
    wants = {name: _distribution(name).metadata["Requires-Python"] for name in installed}
    assert not {name: want for name, want in wants.items() if want and not SpecifierSet(want).contains(oldest)}


def _distribution(name):
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None


HEAVY = ("onnxruntime", "numpy", "pandas", "scipy", "sklearn", "matplotlib", "torch", "tqdm")


def loaded(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded after ``code``."""
    code += "\nimport json, sys\nprint(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_the_package_loads_nothing_heavy():
    assert not loaded("import skinlesion") & set(HEAVY)


def test_predicting_needs_the_three_packages_that_are_always_installed():
    here = loaded("from skinlesion import draw_example, load_model\nload_model().predict([draw_example('nv', 0)])")
    assert here & set(HEAVY) == {"onnxruntime", "numpy"}


@pytest.mark.parametrize("module", ["experiments.figures", "app.web", "app.voila", "app.device"])
def test_a_python_without_the_package_is_told_where_it_is(module):
    bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(  # -S: without what is installed
        [sys.executable, "-S", "-m", module], cwd=REPOSITORY, env=bare, capture_output=True, text=True
    )
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and "make setup" in done.stderr


def test_type_checkers_see_the_names_that_importers_get():
    tree = ast.parse(Path(skinlesion.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    shown = {
        alias.name: node.module.removeprefix("skinlesion.")
        for node in block.body
        for alias in node.names
        if node.module.startswith("skinlesion.")
    }
    assert shown == skinlesion._PUBLIC
    assert set(skinlesion.__all__) <= set(dir(skinlesion))


def test_no_progress_bar_is_drawn_into_a_file():
    """Every bar says when it is left out; that of live.terminal() is for terminals by its name."""
    bars = {}
    for path in (file for place in ("lib", "experiments", "benchmarks") for file in (REPOSITORY / place).rglob("*.py")):
        calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
        for call in calls:
            if isinstance(call.func, ast.Name) and call.func.id in ("tqdm", "thread_map"):
                bars[f"{path.name}:{call.lineno}"] = {word.arg for word in call.keywords} & {"disable", None}
    assert len(bars) > 8
    assert [place.partition(":")[0] for place, said in bars.items() if not said] == ["live.py"]


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'load_modle'"):
        skinlesion.load_modle  # noqa: B018
    with pytest.raises(ImportError):
        from skinlesion import load_modle  # noqa: F401


@pytest.mark.parametrize("name", [name for name in skinlesion.__all__ if name != "__version__"])
def test_examples_in_docstrings_are_true(name, tmp_path, monkeypatch):
    """As ``python -m doctest`` would run them, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    one = getattr(skinlesion, name)
    assert inspect.getdoc(one)
    found = doctest.DocTestFinder(recurse=False).find(one, name, globs=dict(vars(inspect.getmodule(one))))
    examples = [test for test in found if test.examples]
    assert examples or inspect.isclass(one), "a public function shows how it is called"
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL)
    for test in examples:
        said = []
        assert runner.run(test, out=said.append).failed == 0, "".join(said)


def test_the_packages_own_example_is_true(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    failed, attempted = doctest.testmod(skinlesion)
    assert not failed and attempted
