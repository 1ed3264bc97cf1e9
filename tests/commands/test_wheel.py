"""The package as it is installed: a wheel, outside of the repository."""

import json
import os
import shutil
import subprocess
import sys
import zipfile

import pytest

from conftest import REPOSITORY
from shared import made_once
from skinlesion.core.recipes import recipe_names

#: Starts every recipe as ``skinlesion train`` does and stops each in its first step, which has to be reached.
SCRIPT = """
import json, sys
import skinlesion
from skinlesion import cli
from skinlesion.core.recipes import recipe_names
from skinlesion.training import standalone

class Reached(Exception):
    pass

def lines():
    def watch(progress):
        raise Reached(f"{progress.step} of {progress.steps}, loss {progress.loss:.2f}")
    return watch

standalone.live.lines = lines
steps = {}
for name in recipe_names():
    try:
        status = cli.main(["train", "--config", name, "--data", "demo:66", "--run", f"runs/{name}"])
        steps[name] = f"ended with {status}"
    except Reached as reached:
        steps[name] = str(reached)
print(json.dumps({"place": skinlesion.__file__, "steps": steps}))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with nothing but the installed wheel."""
    return made_once(tmp_path_factory, "wheel", install) / "site"


def install(folder):
    source = folder / "source"
    shutil.copytree(REPOSITORY / "lib", source / "lib", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    for arguments in (
        ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source],
        ["install", "--no-deps", "--no-index", "--target", folder / "site", "--find-links", folder, "skin-lesion-lab"],
    ):
        done = subprocess.run([*pip, *arguments], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_the_wheel_holds_the_packages_data(site):
    (wheel,) = site.parent.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    ours = REPOSITORY / "lib" / "skinlesion"
    data = [path for path in ours.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    expected = {path.relative_to(ours.parent).as_posix() for path in data}
    assert expected <= set(names)


def test_every_recipe_starts_from_the_installed_wheel(site, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["place"].startswith(str(site))
    assert sorted(found["steps"]) == recipe_names()
    assert all(step.startswith("1 of ") and "nan" not in step for step in found["steps"].values()), found
