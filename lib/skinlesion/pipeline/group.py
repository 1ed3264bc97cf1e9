"""Several runs at once that depend on nothing of each other: presets, recipes, folds and held-out sources.

At the end they are compared; runs that hold out different sources get one table instead.

Each run is a process with its log beside its reports, so that one which fails, even by running out of memory, leaves
the others alone. ``status.json`` in the group's folder tells schedulers what became of all of them, at any time.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import NamedTuple

from skinlesion.core.config import Config
from skinlesion.core.errors import ConfigError, SkinLesionError
from skinlesion.core.machine import cores
from skinlesion.core.writing import write_json
from skinlesion.pipeline import record
from skinlesion.pipeline.series import run_series

LOG = "log.txt"
COMPARISON = "comparison"
_WORDS = {0: "complete", 130: "interrupted"}


class Member(NamedTuple):
    """What one run of a group differs in from the others."""

    preset: str
    recipe: str | None
    fold: int | None
    source: str  # the one that it holds out; empty for none


def members(
    presets: list[str], recipes: list[str | None], folds: list[int | None], sources: Sequence[str] = ("",)
) -> dict[str, Member]:
    """The runs of a group, each by a name made of what differs between them."""
    found: dict[str, Member] = {}
    for preset, recipe, fold, source in product(presets, recipes, folds, sources):
        words = (
            preset if len(presets) > 1 else "",
            Path(recipe).stem if recipe and len(recipes) > 1 else "",
            f"fold-{fold}" if fold is not None and len(folds) > 1 else "",
            source,
        )
        name = "-".join(filter(None, words)) or "run"
        if name in found or name == COMPARISON:
            raise ConfigError(f"two runs would be called {name!r}; name each preset, recipe and fold once")
        found[name] = Member(preset, recipe, fold, source)
    return found


def run_group(runs: dict[str, tuple[Config, str]], folder: Path, notebooks: Path, *, jobs: int, **options) -> int:
    """Bring all runs of a group up to date, ``jobs`` at a time, which share the cores; compare those that succeeded.

    ``runs``: {name of the run, also of its folder in ``folder``: (Config, preset)}; ``options`` as
    :func:`skinlesion.pipeline.series.run_series` takes them. Runs that hold out a source are put together in
    ``index.html`` (:mod:`skinlesion.pipeline.held_out`). Returns 0 if all runs and their comparison succeeded, 1 if
    not, 130 after Ctrl-C. Raises ConfigError if the folder is that of a single run.
    """
    if (folder / "run.json").exists():
        raise ConfigError(f"{folder} is that of a single run; choose another --run for this group")
    status = _Status(folder, list(runs))
    threads = max(1, cores() // jobs)
    running: list = []

    def one(name: str) -> int:
        config, preset = runs[name]
        process = multiprocessing.get_context("spawn").Process(
            target=_run, args=(config, folder / name, notebooks, threads, options | {"preset": preset})
        )
        running.append(process)
        began = time.monotonic()
        status.tell(name, status="running", started=record.now())
        process.start()
        process.join()
        code = process.exitcode
        assert code is not None  # it has ended
        status.tell(name, status=_WORDS.get(code, "failed"), exit=code, seconds=round(time.monotonic() - began, 1))
        return code

    with ThreadPoolExecutor(jobs) as pool:
        waiting = [pool.submit(one, name) for name in runs]
        try:
            codes = [future.result() for future in waiting]
        except KeyboardInterrupt:
            for future in waiting:
                future.cancel()
            for process in running:
                process.terminate()  # it shuts its kernel down and says so in its reports
            pool.shutdown()
            status.end("interrupted")
            return 130
    good = {name: runs[name][0] for name, code in zip(runs, codes, strict=True) if code == 0}
    failed = not _compare(good, folder, status) or any(codes)
    status.end("failed" if failed else "complete")
    return 1 if failed else 0


def _compare(runs: dict[str, Config], folder: Path, status: _Status) -> bool:
    """Write what shows these runs of a group side by side; False where that failed."""
    from skinlesion.evaluation.documents import compare_files  # not before: they fill memory that the runs need
    from skinlesion.pipeline.held_out import INDEX, summarise

    if held_out := {name: config.holdout_source for name, config in runs.items() if config.holdout_source}:
        return status.conclude("table", INDEX, lambda: summarise(held_out, folder))
    if len(runs) < 2:
        return True
    places, report = [str(folder / name) for name in runs], f"{COMPARISON}/report.html"
    return status.conclude("comparison", report, lambda: compare_files(places, None, folder / COMPARISON))


class _Status:
    """What ``status.json`` holds; lines on the screen as it changes."""

    def __init__(self, folder: Path, names: list[str]):
        self.path = folder / record.STATUS
        self.runs = {name: {"run": name, "status": "waiting"} for name in names}
        self.facts = {"group": folder.name, "status": "running", "started": record.now(), "finished": None,
                      "comparison": None}  # fmt: skip
        self.save()

    def tell(self, name: str, **facts) -> None:
        self.runs[name] |= facts | {"report": f"{name}/index.html", "log": f"{name}/{LOG}"}
        self.save()
        word = self.runs[name]["status"]
        where = f", log: {self.path.parent / name / LOG}" if word in ("running", "failed") else ""
        print(f"{name}  {word}{where}", flush=True)

    def conclude(self, what: str, place: str, write: Callable[[], object]) -> bool:
        """Write what shows all runs, at ``place``; False if there is none to make."""
        try:
            write()
        except SkinLesionError as error:
            self.facts["error"] = f"no {what}: {error}"
            print(f"error: {self.facts['error']}", flush=True)
            return False
        self.facts["comparison"] = place
        return True

    def end(self, status: str) -> None:
        self.facts |= {"status": status, "finished": record.now()}
        self.save()
        print(f"{status}: {self.path}", flush=True)

    def save(self) -> None:
        write_json(self.path, self.facts | {"runs": list(self.runs.values())})


def _run(config: Config, folder: Path, notebooks: Path, threads: int, options: dict) -> None:
    """A run in a process of its own."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # the kernels' too
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOG, "a", encoding="utf-8") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        try:
            code = run_series(config, folder, notebooks, stream=log, **options)
        except SkinLesionError as error:
            print(f"error: {error}", file=log, flush=True)
            code = 2
        except KeyboardInterrupt:
            code = 130
    sys.exit(code)
