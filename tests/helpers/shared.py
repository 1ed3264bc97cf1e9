"""What is expensive to make and only read: once a run of tests, whichever of its processes needs it first."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from skinlesion.core.writing import lock


def folder_of_the_run(tmp_path_factory) -> Path:
    """The temporary folder that the processes of a run have in common."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def made_once(tmp_path_factory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder that ``make(folder)`` leaves; a second process waits for the first. Tests that change it copy it."""
    place = folder_of_the_run(tmp_path_factory) / "shared" / name
    with lock(place, wait=True):
        if not (place / "made").exists():
            shutil.rmtree(place / "product", ignore_errors=True)  # half made by one that failed
            make(place / "product")
            (place / "made").touch()
    return place / "product"
