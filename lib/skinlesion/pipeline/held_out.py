"""What a model does on sources that it was not trained on: one table of runs that each held one source out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from skinlesion.core.errors import DataError
from skinlesion.core.runs import Run, atomic
from skinlesion.evaluation.bootstrap import describe
from skinlesion.report.document import Section, write_document

INDEX = "index.html"
TABLE = "held_out.csv"
_MEASURES = {"balanced_accuracy": "balanced accuracy", "macro_auroc": "macro AUROC"}
_LEAD = (
    "Each run is tested on one source and trained on the others, without the images of lesions that are tested. In "
    "brackets: 95% intervals over lesions. Figures that a recipe was chosen by are no measure of the recipe chosen."
)


def summarise(runs: Mapping[str, str], folder: Path) -> None:
    """Write ``index.html`` and ``held_out.csv`` into the folder of a group of runs.

    Parameters
    ----------
    runs : {name of a run: the source that it held out}
        A name ends with that source; runs whose names are alike before it have one recipe.
    folder : Path
        Each run is a folder in it.

    Raises
    ------
    DataError
        Where a run has no readable ``metrics.json``.
    """
    metrics = {name: _metrics(folder / name) for name in runs}
    rows = [
        {"run": name, "recipe": name.removesuffix(runs[name]).rstrip("-"), "held out": runs[name]}
        | {"images counted": kind, "part": part}
        for name, found in metrics.items()
        for kind, part in (("all", found), ("histology only", found.get("histology_only")))
        if part
    ]
    shown = pd.DataFrame([_row(row) for row in rows]).set_index("held out")
    values = pd.DataFrame([_numbers(row) for row in rows])
    with atomic(folder / TABLE) as temporary:
        values.to_csv(temporary, index=False)
    by = ["images counted"] if values["recipe"].nunique() == 1 else ["recipe", "images counted"]
    grouped = values.groupby(by, sort=False)
    means = grouped[list(_MEASURES)].mean().rename(columns=_MEASURES).assign(sources=grouped["held_out"].nunique())
    links = tuple((f"{name}/index.html", f"The run that holds out {runs[name]}: {name}") for name in runs)
    sections = [
        Section("Figures of each source", ((shown, "Each source, tested by a model that was not trained on it"),)),
        Section("Mean over sources", ((means, "Mean of each recipe over the sources that its runs held out"),)),
        Section("Runs", links),
    ]
    write_document(folder / INDEX, "Tested on sources that were held out", _LEAD, sections)


def _metrics(folder: Path) -> dict:
    path = Run(folder).metrics
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        raise DataError(f"{path} is missing or damaged; run 04_evaluation of that run again") from None


def _row(row: dict) -> dict:
    part = row["part"]
    told = {"held out": row["held out"], "run": row["run"], "images counted": row["images counted"]}
    told |= {"images": part["n_images"], "lesions": part["n_lesions"]}
    return told | {words: describe(part[name]) for name, words in _MEASURES.items()}


def _numbers(row: dict) -> dict:
    part = row["part"]
    told = {"held_out": row["held out"], "run": row["run"], "recipe": row["recipe"]}
    told |= {"images counted": row["images counted"]}
    told |= {"n_images": part["n_images"], "n_lesions": part["n_lesions"]}
    for name in _MEASURES:
        told |= {name: part[name]["value"], f"{name}_low": part[name]["low"], f"{name}_high": part[name]["high"]}
    return told
