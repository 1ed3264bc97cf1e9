"""What a model does on sources that it was not trained on: one table of runs that each held one source out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from skinlesion.core.errors import DataError
from skinlesion.core.runs import Run
from skinlesion.core.writing import write_csv
from skinlesion.evaluation.intervals import describe, in_columns
from skinlesion.report.document import Section, write_document

INDEX = "index.html"
TABLE = "held_out.csv"
_MEASURES = {"balanced_accuracy": "balanced accuracy", "macro_auroc": "macro AUROC"}
_LEAD = (
    "Each run is tested on one source and trained on the others, without the images of lesions that are tested. In "
    "brackets: 95% intervals over lesions. Figures that chose a recipe are too good for that recipe."
)


def summarise(runs: Mapping[str, str], folder: Path) -> None:
    """Write ``index.html`` and ``held_out.csv`` into the folder of a group of runs.

    ``runs``: {name of a run, a folder in ``folder``: the source that it held out}. A name ends with that source; runs
    whose names are alike before it have one recipe. Raises DataError where a run has no readable ``metrics.json``.
    """
    table, shown = _tables(runs, folder)
    write_csv(folder / TABLE, table)
    by = ["images counted"] if table["recipe"].nunique() == 1 else ["recipe", "images counted"]
    grouped = table.groupby(by, sort=False)
    means = grouped[list(_MEASURES)].mean().rename(columns=_MEASURES).assign(sources=grouped["held_out"].nunique())
    links = tuple((f"{name}/index.html", f"The run that holds out {runs[name]}: {name}") for name in runs)
    sections = [
        Section(
            "Figures of each source",
            ((shown.set_index("held out"), "Each source, tested by a model that was not trained on it"),),
        ),
        Section("Mean over sources", ((means, "Mean of each recipe over the sources that its runs held out"),)),
        Section("Runs", links),
    ]
    write_document(folder / INDEX, "Tested on sources that were held out", _LEAD, sections)


def _tables(runs: Mapping[str, str], folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The figures of each run, of all its images and of those with histology: for programs, and for people."""
    values, shown = [], []
    for name, source in runs.items():
        metrics = _metrics(folder / name)
        parts = {"all": metrics}
        if metrics.get("histology_only"):
            parts["histology only"] = metrics["histology_only"]
        for kind, part in parts.items():
            measures = {measure: part[measure] for measure in _MEASURES}
            sizes = {"images counted": kind, "n_images": part["n_images"], "n_lesions": part["n_lesions"]}
            recipe = name.removesuffix(source).rstrip("-")
            values.append({"held_out": source, "run": name, "recipe": recipe} | sizes | in_columns(measures))
            words = {"images counted": kind, "images": part["n_images"], "lesions": part["n_lesions"]}
            words |= {title: describe(measures[measure]) for measure, title in _MEASURES.items()}
            shown.append({"held out": source, "run": name} | words)
    return pd.DataFrame(values), pd.DataFrame(shown)


def _metrics(folder: Path) -> dict:
    path = Run(folder).metrics
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        raise DataError(f"{path} is missing or damaged; run 04_evaluation of that run again") from None
