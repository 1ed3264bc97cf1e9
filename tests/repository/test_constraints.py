"""The versions of constraints.txt: what `make setup` and the Dockerfiles install."""

import importlib.metadata
import re
import tomllib

from packaging.specifiers import SpecifierSet

from conftest import REPOSITORY

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
