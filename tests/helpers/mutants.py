"""Runs the tests of a copy of the repository in a process that has the large libraries loaded already."""

import multiprocessing
import os
import sys
from pathlib import Path

LARGE = [
    "matplotlib.pyplot",
    "onnxruntime",
    "pandas",
    "PIL.Image",
    "pytest",
    "scipy.stats",
    "skimage",
    "sklearn.metrics",
    "torch",
]
STARTER = multiprocessing.get_context("forkserver")
STARTER.set_forkserver_preload(LARGE)


def passes(folder: Path, tests: list[str], longest: float) -> bool:
    """Whether the tests pass; those that do not end within ``longest`` seconds do not."""
    process = STARTER.Process(target=_run, args=(str(folder), tests))
    process.start()
    process.join(longest)
    if process.is_alive():
        process.kill()
        process.join()
    return process.exitcode == 0


def _run(folder: str, tests: list[str]) -> None:
    import pytest

    sys.path.insert(0, f"{folder}/lib")
    os.environ["PYTHONPATH"] = f"{folder}/lib"  # for processes that tests start
    os.chdir(folder)
    sys.dont_write_bytecode = True
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    files = [f"tests/{name}" for name in tests]
    sys.exit(pytest.main(["-x", "-q", "-n", "0", "-p", "no:cacheprovider", *files]))
