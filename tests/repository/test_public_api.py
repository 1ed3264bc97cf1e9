"""``import skinlesion``: what it offers, how little it loads, and that the examples in its docstrings are true."""

import ast
import doctest
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

import skinlesion

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


def test_type_checkers_see_the_names_that_importers_get():
    tree = ast.parse(Path(skinlesion.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    shown = {
        alias.asname or alias.name: (node.module.removeprefix("skinlesion."), alias.name)
        for node in block.body
        for alias in node.names
        if node.module.startswith("skinlesion.")
    }
    assert shown == skinlesion._PUBLIC
    assert set(skinlesion.__all__) <= set(dir(skinlesion))


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
