"""The arrows of docs/developing.md, kept by import-linter; the hooks; and the versions in constraints.txt."""

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.specifiers import SpecifierSet

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
