"""``run.json``: what a run did, with what, on which machine."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
from pathlib import Path

from skinlesion.core.config import Config
from skinlesion.core.runs import Run

STATUS = "status.json"  # of a group of runs


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def machine() -> dict[str, object]:
    """Operating system, processor cores and memory (GiB) of this computer."""
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": os.cpu_count(),
        "memory_gib": round(pages * size / 2**30, 1),
    }


def commit(folder: Path) -> str | None:
    """The git commit that ``folder`` is at, with ``-dirty`` where files differ from it; None outside a repository."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            capture_output=True, text=True, timeout=30, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def data(run: Run, config: Config, files: str) -> dict[str, object]:
    """Where the data is from and its fingerprints: of the files, and of the table once the first notebook wrote it."""
    facts = {"location": ", ".join(config.data), "files": files}
    table = json_object(run.table_info)
    names = ("source", "labels", "fingerprint", "notes", "counts")
    return facts | {name: table[name] for name in names if name in table}


def json_object(path: Path) -> dict:
    """The JSON object at ``path``; empty where there is none or it is damaged."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
