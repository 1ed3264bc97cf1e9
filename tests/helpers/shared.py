"""What is expensive to make and only read: once a run of tests, whichever of its processes needs it first."""

import os
from collections.abc import Callable
from pathlib import Path

from skinlesion.core.runs import lock


def made_once(tmp_path_factory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder that ``make(folder)`` leaves; a second process waits for the first. Tests that change it copy it."""
    root = tmp_path_factory.getbasetemp()
    place = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / "shared" / name
    with lock(place, wait=True):
        if not (place / "made").exists():
            make(place / "product")
            (place / "made").touch()
    return place / "product"
