"""Which notebook runs when.

The series is a chain. A notebook is up to date as long as nothing it depends on has changed: its own code and prose,
the parameters of it and of those before it, the parts of the library that it imports, the data's files, and what the
notebooks before it wrote. The last is compared by content, so a notebook that runs again and writes the same makes none
run after it; changed evaluation code doesn't train again.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import skinlesion
from skinlesion import report
from skinlesion.core.config import Config
from skinlesion.core.errors import ConfigError, SkinLesionError
from skinlesion.core.machine import versions
from skinlesion.core.runs import Run
from skinlesion.core.taxonomy import KIND_SEPARATOR
from skinlesion.core.writing import lock, write_json
from skinlesion.pipeline import notebook, record, stamps

CELL_TIMEOUT = 7200  # seconds
LIBRARY = Path(skinlesion.__file__).parent


@dataclass(frozen=True)
class Step:
    """One notebook: its name, and the names of what it leaves in the run's folder."""

    name: str
    outputs: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()  # files of the repository that it shows, relative to the folder above the notebooks'
    package: tuple[str, ...] = ()  # what it reads of the package, besides what it imports
    plots: bool = True  # whether a figure drawn otherwise is a reason to run it again


SERIES = (
    Step("01_eda", ("table.csv", "table.json", "data_check.csv"), package=("pretrained/model.onnx",)),
    Step("02_preprocessing", ("split.csv", "pixels.json")),
    Step(
        "03_training",
        ("checkpoints", "training.json", "outputs.npz", "history.csv"),
        reads=("experiments/table.csv",),
        package=("recipes",),
        plots=False,
    ),
    Step(
        "04_evaluation",
        ("predictions.csv", "metrics.json", "decision.json", "candidate", "features.npz", "evaluation.json"),
        reads=("experiments/leak.csv",),
    ),
    Step("05_export", ("model",)),
)


def run_series(
    config: Config,
    folder: Path,
    notebooks: Path,
    *,
    steps: tuple[Step, ...] = SERIES,
    start: str | None = None,
    only: str | None = None,
    force: bool = False,
    cell_timeout: int = CELL_TIMEOUT,
    preset: str = "",
    stream=None,
) -> int:
    """Bring a run up to date: execute what is out of date, in order, and write every report into its ``folder``.

    ``notebooks`` is the folder with ``<step>.ipynb`` for each of ``steps``. ``start`` and ``only`` are a step's name or
    its beginning (``"03"``): run it and all after it, or it alone, up to date or not; ``force`` runs all of them.
    ``cell_timeout``: seconds that one cell may take; ``preset``: for the record; ``stream``: text file for progress,
    stdout by default.

    Returns the exit status: 0 if every notebook that had to run did, 1 if one failed or the run could not go on, 130
    after Ctrl-C. Raises SkinLesionError, before anything runs, for a parameter that doesn't fit, an unknown step,
    a folder of a group or with a run on other data (unless ``force``), or another process at work in the folder.
    """
    names = check_parameters(config, notebooks, steps)
    run = Run(folder)
    if (run.folder / record.STATUS).exists():
        raise ConfigError(f"{run.folder} is that of a group of runs; choose another --run for this one")
    if not force:
        _refuse_other_data(run, config)
    selected, wanted = list(steps), set(steps) if force else set()
    if start:
        wanted |= set(steps[steps.index(_find(steps, start)) :])
    if only:
        selected = [_find(steps, only)]
        wanted |= set(selected)
        _need_inputs(run, steps, selected[0])
    with lock(run.folder):
        write_json(run.config_file, config.to_dict())
        series = _Series(config, run, notebooks.resolve(), steps, names, cell_timeout, preset, stream or sys.stdout)
        return series.bring_up_to_date(selected, wanted)


def _refuse_other_data(run: Run, config: Config) -> None:
    """Raise ConfigError where the folder holds results on other data, which would be replaced."""
    before = record.json_object(run.summary).get("config", {}).get("data", [])
    drawn = all(place.startswith("demo") for place in (*before, *config.data))
    if before and before != list(config.data) and not drawn:
        raise ConfigError(
            f"{run.folder} holds a run on {' '.join(before)}, not on {' '.join(config.data)}; "
            f"give --data {' '.join(before)}, or another --run; --force replaces that run"
        )


def check_parameters(config: Config, notebooks: Path, steps: tuple[Step, ...] = SERIES) -> dict[str, list[str]]:
    """The names of the configuration's values that each notebook takes, ``{"03_training": ["epochs", …], …}``.

    Raises ConfigError if a notebook has no ``run``, or a parameter besides that the configuration lacks or refuses the
    value of; if a value that was changed reaches no notebook; or if no fold validates.
    """
    names = {}
    for step in steps:
        declared = notebook.parameters(notebooks / f"{step.name}.ipynb")
        if declared.pop("run", None) is None:
            raise ConfigError(f'{step.name}.ipynb needs a parameter run: str = "…", the run\'s folder')
        try:
            Config().but(**declared)
        except ConfigError as error:
            raise ConfigError(f"the parameters cell of {step.name}.ipynb: {error}") from None
        names[step.name] = list(declared)
    default = Config().to_dict()
    taken = {name for found in names.values() for name in found}
    for name, value in config.to_dict().items():
        if name not in taken and value != default[name]:
            raise ConfigError(f"{name}={value!r} would have no effect: no notebook has a parameter {name!r}")
    if config.fold == -1 and not config.split_file:
        raise ConfigError(
            "fold=-1 leaves no validation images, on which the series chooses its thresholds; give a fold from 0 to 4, "
            "or train alone: skinlesion train ... --set fold=-1"
        )
    return names


def _find(steps: tuple[Step, ...], name: str) -> Step:
    for step in steps:
        if step.name.startswith(name):
            return step
    raise ConfigError(f"there is no notebook {name!r}; choose one of {', '.join(step.name for step in steps)}")


def _need_inputs(run: Run, steps: tuple[Step, ...], single: Step) -> None:
    for step in steps[: steps.index(single)]:
        for output in step.outputs:
            if not (run.folder / output).exists():
                raise ConfigError(
                    f"{single.name} needs {output} of {step.name}, which this run lacks; leave out --only"
                )


#: What a notebook's entry in ``run.json`` holds besides its name and title, before it first runs.
_NEW = {
    "status": "missing", "stamp": None, "started": None, "seconds": None, "cells": None, "error": None, "bytes": None,
}  # fmt: skip
_LINES = {
    "done": "done in {clock}",
    "current": "up to date",
    "failed": "FAILED after {clock}: {error}",
    "skipped": "skipped: {error}",
    "interrupted": "interrupted",
    "stale": "left out of date",
    "missing": "not run",
}


class _Series:
    """The work on one run's folder; ``facts`` is what ``run.json`` holds.

    A notebook's status is ``done`` (ran now), ``current`` (up to date), ``failed``, ``skipped`` (one before it failed),
    ``interrupted``, ``stale`` (left out of date), ``missing`` (never ran), ``running`` or ``waiting``. Its ``stamp`` is
    that of the success whose results lie in the folder, None while there is none.
    """

    def __init__(self, config, run, notebooks, steps, names, cell_timeout, preset, stream):
        self.config, self.run, self.notebooks, self.steps, self.names = config, run, notebooks, steps, names
        self.cell_timeout, self.stream = cell_timeout, stream
        self.data = stamps.data_fingerprint(config)
        before = {entry["name"]: entry for entry in record.json_object(run.summary).get("notebooks", [])}
        self.entries = {}
        for step in steps:
            title, question = notebook.title(notebooks / f"{step.name}.ipynb")
            kept = {key: before.get(step.name, {}).get(key, new) for key, new in _NEW.items()}
            self.entries[step] = {"name": step.name, "title": title, "question": question, **kept}
        self.concluded = set()
        self.shown = {step: entry["status"] for step, entry in self.entries.items()}  # what the pages on disk tell
        self.facts = {
            "run": run.folder.name, "status": "running", "preset": preset, "started": record.now(), "finished": None,
            "config": config.to_dict(), "versions": versions(), "machine": record.machine(),
            "commit": record.commit(notebooks),
        }  # fmt: skip

    def bring_up_to_date(self, selected: list[Step], wanted: set[Step]) -> int:
        for step in selected:
            self.entries[step]["status"] = "waiting"
        self.save()
        failed = None
        try:
            for step in selected:
                stamp = self.stamp(step)
                if failed:
                    self.conclude(step, "skipped", f"{failed.name} failed")
                elif step not in wanted and self.holds(step, stamp):
                    self.conclude(step, "current")
                elif not self.execute(step, stamp):
                    failed = step
            self.finish()
        except KeyboardInterrupt:
            self.finish("interrupted")
            return 130
        except SkinLesionError as error:  # a full disk, a damaged result; nothing more can be done about this run
            self.say(f"error: {error}")
            return 1
        return 1 if failed else 0

    def stamp(self, step: Step) -> str:
        """SHA-256 over everything the notebook depends on."""
        before = self.steps[: self.steps.index(step)]
        names = {name for s in (*before, step) for name in self.names[s.name]}
        path = self.notebooks / f"{step.name}.ipynb"
        used = stamps.used_files(notebook.code(path), LIBRARY)
        used = [name for name in used if step.plots or stamps.PLOTS not in name]
        parts = {
            "notebook": notebook.digest(path),
            "parameters": {name: getattr(self.config, name) for name in sorted(names)},
            "library": stamps.files_digest(LIBRARY, (*used, *step.package)),
            "data": self.data,
            "reads": stamps.files_digest(self.notebooks.parent, step.reads),
            "inputs": stamps.files_digest(self.run.folder, [output for s in before for output in s.outputs]),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def holds(self, step: Step, stamp: str) -> bool:
        return self.entries[step]["stamp"] == stamp and not self.lacking(step)

    def lacking(self, step: Step) -> list[str]:
        return [name for name in (*step.outputs, f"{step.name}.ipynb") if not (self.run.folder / name).exists()]

    def execute(self, step: Step, stamp: str) -> bool:
        """Run one notebook and write its report; True if it succeeded."""
        executed, page = (self.run.folder / f"{step.name}{ending}" for ending in (".ipynb", ".html"))
        executed.unlink(missing_ok=True)
        page.unlink(missing_ok=True)
        entry = self.entries[step]
        entry.update(_NEW, status="running", started=record.now())
        self.save()
        known = self.config.to_dict()
        values = {name: known[name] for name in self.names[step.name]} | {"run": str(self.run.folder)}
        try:
            outcome = notebook.execute(
                self.notebooks / executed.name, executed, values, cell_timeout=self.cell_timeout, stream=self.stream
            )
        except KeyboardInterrupt:
            self.conclude(step, "interrupted")
            raise
        error = outcome.error
        if error is None and (lacking := self.lacking(step)):
            error = f"it ran but did not write {', '.join(lacking)}"
        entry.update(seconds=outcome.seconds, cells=outcome.cells, stamp=None if error else stamp)
        self.conclude(step, "failed" if error else "done", error)
        return error is None

    def conclude(self, step: Step, status: str, error: str | None = None) -> None:
        entry = self.entries[step]
        entry.update(status=status, error=error)
        self.concluded.add(step)
        page = self.run.folder / f"{step.name}.html"
        if status != "current" or self.shown[step] not in ("done", "current") or not page.exists():
            self.write_page(step, page)
        self.save()
        line = _LINES[status].format(clock=notebook.clock(entry["seconds"] or 0), error=error)
        self.say(f"{step.name}  {line}")

    def write_page(self, step: Step, page: Path) -> None:
        """Turn the executed notebook into HTML; one that never ran is shown as written, with a notice."""
        entry = self.entries[step]
        executed = self.run.folder / f"{step.name}.ipynb"
        source = executed if executed.exists() else self.notebooks / executed.name
        index = self.steps.index(step)
        around = {"previous": self.steps[index - 1 : index], "next": self.steps[index + 1 : index + 2]}
        links = {where: (f"{s.name}.html", self.entries[s]["title"]) for where, found in around.items() for s in found}
        entry["bytes"] = report.render_notebook(
            source,
            page,
            run=self.run.folder.name,
            links=links,
            banner=report.SYNTHETIC if self.synthetic else "",
            notice=report.notice(entry, ran=executed.exists()),
        )
        if entry["bytes"] > report.SIZE_LIMIT:
            self.say(
                f"{page.name} has {entry['bytes'] / 2**20:.1f} MB, a page should stay under 5: draw smaller figures"
            )

    @property
    def synthetic(self) -> bool:
        kinds = record.json_object(self.run.table_info).get("source", "").split(KIND_SEPARATOR)
        return "demo" in kinds or any(place.startswith("demo") for place in self.config.data)

    def finish(self, status: str | None = None) -> None:
        """Say of notebooks that were not reached whether their earlier results still hold, and how the run ended."""
        for step, entry in self.entries.items():
            if step not in self.concluded and entry["status"] not in ("failed", "interrupted"):
                holds = self.holds(step, self.stamp(step))
                self.conclude(step, "current" if holds else "stale" if entry["stamp"] else "missing")
        states = {entry["status"] for entry in self.entries.values()}
        ended = "complete" if states <= {"done", "current"} else "failed" if "failed" in states else "incomplete"
        self.facts.update(status=status or ended, finished=record.now())
        self.save()
        self.say(f"{self.facts['status']}: {self.run.folder / 'index.html'}")

    def save(self) -> None:
        self.facts["data"] = record.data(self.run, self.config, self.data)
        self.facts["synthetic"] = self.synthetic
        self.facts["notebooks"] = list(self.entries.values())
        write_json(self.run.summary, self.facts)
        report.write_index(self.run)

    def say(self, line: str) -> None:
        print(line, file=self.stream, flush=True)
