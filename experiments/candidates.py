"""Candidates for the shipped model, evaluated out of fold on HAM10000; no test split is read.

    python -m experiments.candidates --data "$HAM10000_DIR" --recipe mobilenet

Five folds are trained by a recipe of ``[recipes]`` in recipes.toml, each evaluated on the fold that it was not trained
on. Each starts from the same part's network of the recipe that ``start`` names, which is trained where it is missing.
The outputs of each fold's network are stored in outputs/recipes.parquet and committed, so that the folds can be
trained over several sittings and machines. They count for the recipe and the data that they were made with; ``--again``
makes all of them anew. ``--folds 2`` trains one fold. At the end experiments/candidates.csv is written:
the out-of-fold figures of every stored recipe, and its paired differences to ``ham10000``.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import pandas as pd
import torch

from experiments import storage
from experiments.recipes import OUTPUTS, ROOT, Recipe, config, load
from experiments.run import checked_table
from skinlesion import crossval
from skinlesion.core.config import Config
from skinlesion.core.errors import SkinLesionError
from skinlesion.core.runs import Run
from skinlesion.core.taxonomy import HAM7
from skinlesion.core.writing import write_csv
from skinlesion.data.splits import FOLDS
from skinlesion.evaluation import comparison
from skinlesion.evaluation.metrics import evaluate
from skinlesion.evaluation.predictions import Predictions
from skinlesion.training.standalone import train

STORED = OUTPUTS / "recipes.parquet"
CANDIDATES = ROOT / "experiments" / "candidates.csv"
COMPARED = ("balanced_accuracy", "macro_auroc", "accuracy", "mel.sensitivity")


def part_config(whole: Config, part: str) -> Config:
    """The recipe of ``fold-k``, which validates on fold k; start and teachers are of the same part."""
    fold = int(part.removeprefix("fold-"))
    start = whole.start if "/" in whole.start or not whole.start else f"reports/{whole.start}/{{part}}"
    places = {"start": start, "teachers": whole.teachers, "split_file": whole.split_file}
    return whole.but(fold=fold, **{key: place.format(part=part) for key, place in places.items()})


def train_start(own: Config, recipes: dict[str, Recipe]) -> None:
    """Train what a part starts from, where it is missing: ``start`` = .../NAME/PART is made by the recipe NAME.

    A start that is there already is taken as it is: ``train`` refuses one that was trained on another split.
    """
    start = Run(own.start)
    if not start.outputs.exists():
        name, part = start.folder.parts[-2:]
        before = part_config(config(name, recipes).but(data=own.data), part)
        if before.start:
            train_start(before, recipes)
        train(before, start, features=None)


def seconds(run: Run) -> float:
    """How long a part was trained, with what it starts from."""
    start = Config.from_file(run.config_file).start
    return json.loads(run.training.read_text())["seconds"] + (seconds(Run(start)) if start else 0)


def store_fold(name: str, own: Config, run: Run, fingerprint: str) -> None:
    """Store the outputs of a fold's network on its validation images."""
    storage.store(STORED, name, crossval.outputs_of_run(
        run, "validation", f"fold-{own.fold}", own, fingerprint,
        seconds=seconds(run), threads=torch.get_num_threads(),
    ))  # fmt: skip


def out_of_fold(name: str, whole: Config) -> Predictions:
    """A recipe's pooled predictions, by a decision that was chosen on the same logits."""
    outputs = storage.read(STORED, name)
    return outputs.decided(outputs.decision(whole.referral_sensitivity))


def write_candidates(recipes: dict[str, Recipe]) -> pd.DataFrame:
    """Write candidates.csv: a line for every metric of every stored recipe, and of its difference to others.

    ``set`` is ``out_of_fold``, ``as_seven_labels`` (of eight), or ``minus_<recipe>``: the paired difference on the
    images that both have, eight labels as seven.
    """
    stored = storage.read_facts(STORED)
    names = [name for name in recipes if name in stored]
    found = {name: out_of_fold(name, config(name, recipes)) for name in names}
    seven = {name: comparison.seven_labels(one) for name, one in found.items()}
    lines = []
    for name in names:
        lines += _lines(name, "out_of_fold", evaluate(found[name]))
        if found[name].labels != HAM7:
            lines += _lines(name, "as_seven_labels", evaluate(seven[name]))
        for other in {"ham10000", "centre"} & set(names) - {name}:
            both = comparison.on_shared_images({name: seven[name], other: seven[other]})
            more = crossval.difference(*both.values(), COMPARED)
            lines += [{"recipe": name, "set": f"minus_{other}", "metric": key} | value for key, value in more.items()]
    table = pd.DataFrame(lines).sort_values(["recipe", "set"], kind="stable", ignore_index=True)
    write_csv(CANDIDATES, table.round(6))
    return table


def _lines(name: str, which: str, metrics: dict) -> list[dict]:
    flat = {key: metrics[key] for key in COMPARED[:3]} | {"ece": metrics["ece"]}
    flat |= {f"{code}.sensitivity": of["sensitivity"] for code, of in metrics["per_class"].items()}
    about = {"recipe": name, "set": which}
    return [
        about | {"metric": key} | {end: value[end] for end in ("value", "low", "high", "n")}
        for key, value in flat.items()
    ]


def make(given: argparse.Namespace) -> None:
    """Train the folds that are wanted and not stored, then evaluate all stored recipes."""
    recipes, name = load("recipes"), given.recipe
    whole = config(name, recipes).but(data=given.data)
    fingerprint = checked_table(whole).fingerprint()
    parts = given.parts or ROOT / "reports" / name
    for part in (f"fold-{fold}" for fold in given.folds):
        run, own = Run(parts / part), part_config(whole, part)
        if not given.again and storage.is_stored(STORED, name, part, own, fingerprint):
            print(f"{part}: the outputs of its network are in {STORED} already")
            continue
        if own.start:
            train_start(own, recipes)
        if not (run.outputs.exists() and Config.from_file(run.config_file) == own):
            train(own, run, features=None)
        store_fold(name, own, run, fingerprint)
    table = write_candidates(recipes)
    print(table[table["recipe"] == name].round(3).to_string(index=False))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--recipe", default="ham10000", help="one of [recipes] in recipes.toml, or of the package")
    parser.add_argument("--parts", type=Path, help="place of the trainings (reports/<recipe>/)")
    parser.add_argument("--folds", type=int, nargs="+", default=list(range(FOLDS)), choices=range(FOLDS),
                        help="the folds that are trained (all five)")  # fmt: skip
    parser.add_argument("--again", action="store_true", help="make every fold's outputs again, stored or not")
    try:
        make(parser.parse_args(argv))
    except SkinLesionError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
