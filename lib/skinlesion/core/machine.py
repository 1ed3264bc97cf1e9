"""The computer and the packages that results depend on."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import metadata

_PACKAGES = (
    "skin-lesion-lab", "torch", "torchvision", "timm", "numpy", "pandas", "scikit-learn", "pillow", "matplotlib",
    "onnx", "onnxruntime", "papermill", "nbconvert",
)  # fmt: skip


def cores() -> int:
    """The cores that this process may use, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def thread_pool(workers: int | None = None) -> Iterator[ThreadPoolExecutor]:
    """Threads for Pillow and NumPy, which release Python's lock: as many as there are cores, unless given.

    BLAS uses one thread meanwhile: its threads inside these would wait for each other, at several times the cost.
    """
    from threadpoolctl import threadpool_limits  # which predictions do not need

    with threadpool_limits(1), ThreadPoolExecutor(workers or cores()) as pool:
        yield pool


def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that results depend on; none of them is imported."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
