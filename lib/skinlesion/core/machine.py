"""The computer and the packages that results depend on."""

from __future__ import annotations

import os
import platform
from importlib import metadata

_PACKAGES = (
    "skin-lesion-lab", "torch", "torchvision", "timm", "numpy", "pandas", "scikit-learn", "pillow", "matplotlib",
    "onnx", "onnxruntime", "papermill", "nbconvert",
)  # fmt: skip


def cores() -> int:
    """The cores that this process may use, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that results depend on; none of them is imported."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
