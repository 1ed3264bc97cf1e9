"""The experiment table: every row a recipe of ``recipes.toml``, trained on several folds and evaluated out of fold.

    python -m experiments.run train --data "$HAM10000_DIR" [ROW ...] [--folds 0 1 2]
    python -m experiments.run table

``train`` trains what is not stored yet (an interrupted training is resumed) under --output, and stores each network's
outputs on its validation images, with its recipe and its cost, in outputs/rows.parquet. This file is committed, so
that the table can be made over several sittings and machines. A row that changes only ``views`` and ``crops`` uses
the network of its base; ``{fold}`` in ``start`` and ``teachers`` is the fold in training. ``table`` pools a row's folds
and predicts by the logits less the log of the class mix seen in training (nothing is fitted), and writes
experiments/table.csv: metrics with 95% intervals over lesions, and the paired difference to the row's base. The test
split is not used.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from tqdm import tqdm

from experiments import storage
from experiments.recipes import OUTPUTS, ROOT, Recipe, config, load
from skinlesion import crossval
from skinlesion.core.config import Config
from skinlesion.core.errors import ConfigError, SkinLesionError
from skinlesion.core.runs import Run
from skinlesion.core.writing import write_csv, write_json
from skinlesion.crossval import Outputs, Part
from skinlesion.data import splits
from skinlesion.data.cache import PixelCache, build_cache
from skinlesion.data.check import check_table
from skinlesion.data.sources import load_table
from skinlesion.data.table import LesionTable
from skinlesion.evaluation.intervals import in_columns
from skinlesion.evaluation.metrics import evaluate
from skinlesion.evaluation.predictions import Predictions
from skinlesion.pipeline.record import commit
from skinlesion.training.fit import fit
from skinlesion.training.trained import Trained, load_trained

TABLE = ROOT / "experiments" / "table.csv"
METADATA = ("age", "sex", "site")


def checked_table(config: Config) -> LesionTable:
    """The images that a configuration trains on, without broken ones."""
    found = load_table(config.data, config.labels, config.exclude_official_test, config.label_words)
    return check_table(splits.take_subset(found, config.max_images, seed=config.seed)).table


class Rows:
    """The rows of the experiment table: which file their outputs are in, and how they are trained."""

    def __init__(self, recipes: dict[str, Recipe] | None = None, outputs: Path = OUTPUTS / "rows.parquet"):
        self.recipes = load("rows") if recipes is None else recipes
        self.outputs = outputs

    def trained_by(self, name: str) -> str:
        """The row whose networks a row uses: its own, or its base's where it changes nothing that training uses."""
        base = self.recipes[name].base
        once = {row: config(row, self.recipes).but(views=1, crops=1) for row in (name, base) if row}
        return base if base and once[name] == once[base] else name

    def train(self, names: list[str], data: str, folds: list[int], output: Path) -> None:
        """Train these rows (none named: all that train) on these folds, and store their outputs."""
        if unknown := sorted(set(names) - set(self.recipes)):
            raise ConfigError(f"no recipe {', '.join(unknown)} among the rows; known: {', '.join(self.recipes)}")
        names = [name for name in names or self.recipes if not self.recipes[name].rows]
        tables: dict[tuple, LesionTable] = {}
        runs = [(fold, name) for fold in folds for name in names]
        for fold, name in tqdm(runs, desc="experiments", unit="run", disable=None):  # no bar into a file
            own = self.of_fold(name, data, fold)
            key = (own.labels, own.max_images, own.seed)
            if key not in tables:
                tables[key] = checked_table(own)
            part = self.part(own, tables[key])
            if not storage.is_stored(self.outputs, name, part.name, own, tables[key].fingerprint()):
                self.store(name, own, tables[key], part, output)

    def of_fold(self, name: str, data: str, fold: int) -> Config:
        """A row's configuration for one fold."""
        own = config(name, self.recipes)
        paths = {key: getattr(own, key).format(fold=fold) for key in ("start", "teachers")}
        return own.but(data=data, fold=fold, **paths)

    def split(self, own: Config, table: LesionTable) -> pd.DataFrame:
        return splits.choose_split(
            table, split_file=own.split_file, seed=own.seed, fold=own.fold, holdout_source=own.holdout_source
        )[0]

    def part(self, own: Config, table: LesionTable) -> Part:
        """The configuration's fold as a part."""
        return Part(f"fold-{own.fold}", self.split(own, table)["split"].to_numpy(str))

    def store(self, name: str, own: Config, table: LesionTable, part: Part, output: Path) -> None:
        """Train one row on one fold, or load the network of its base, and store its outputs."""
        cache = pixels(own, table)  # before the clock starts
        run, maker = Run(output / name / part.name), self.trained_by(name)
        resumed, began = run.checkpoints.exists(), time.process_time()
        if maker == name:
            trained = self.fit(own, table, part, run)
        else:
            trained = load_trained(Run(output / maker / part.name), own, classes=len(table.labels))
        minutes = None if resumed or maker != name else (time.process_time() - began) / 60
        storage.store(self.outputs, name, crossval.outputs_of(
            part, trained, own, table, cache, columns=METADATA,
            cpu_minutes=minutes, epochs=trained.facts["epochs"], parameters=trained.facts["parameters"],
            threads=torch.get_num_threads(), torch=torch.__version__,
            machine=f"{platform.machine()} {platform.system()}", commit=commit(ROOT) or "",
        ))  # fmt: skip

    def fit(self, own: Config, table: LesionTable, part: Part, run: Run) -> Trained:
        """Train a row on one fold, and first the row that it starts from, where that is missing."""
        if own.start and not (start := Run(own.start)).training.exists():
            self.fit(self.of_fold(start.folder.parent.name, own.data, own.fold), table, part, start)
        write_json(run.config_file, own.to_dict())
        splits.write_split(self.split(own, table), run.split)
        return fit(own, pixels(own, table), table.targets, part.split, run, classes=len(table.labels))

    def ready(self, name: str) -> bool:
        """Whether a row can be evaluated: it is trained, or all that it combines are, on the same folds."""
        recipe, stored = self.recipes[name], storage.read_facts(self.outputs)
        if not recipe.rows:
            return name in stored
        folds = [set(stored.get(row, {})) for row in recipe.rows]
        return all(found == folds[0] for found in folds) and len(folds[0]) > (recipe.refit is not None)

    def read(self, name: str) -> Outputs:
        """A row's outputs; of one that combines others, the mean of theirs, perhaps through a regression."""
        recipe = self.recipes[name]
        if not recipe.rows:
            return storage.read(self.outputs, name)
        combined = averaged([self.read(row) for row in recipe.rows])
        return combined if recipe.refit is None else refitted(combined, list(recipe.refit))

    def table(self) -> pd.DataFrame:
        """A line for every row that is trained on at least one fold."""
        outputs = {name: self.read(name) for name in self.recipes if self.ready(name)}
        predictions = {name: one.predictions() for name, one in outputs.items()}
        rows = tqdm(outputs, desc="table", unit="row", disable=None)  # no bar into a file
        return pd.DataFrame([self.line(name, outputs, predictions) for name in rows]).round(4)

    def line(self, name: str, outputs: dict[str, Outputs], predictions: dict[str, Predictions]) -> dict:
        """One row of the table."""
        base, own = self.recipes[name].base, outputs[name]
        metrics = evaluate(predictions[name])
        line = {
            "row": name, "about": self.recipes[name].about, "base": base,
            "folds": " ".join(part.removeprefix("fold-") for part in own.parts),
            "n_images": len(predictions[name]), "n_lesions": metrics["n_lesions"],
        }  # fmt: skip
        values = {"balanced_accuracy": metrics["balanced_accuracy"], "macro_auroc": metrics["macro_auroc"],
                  "mel_sensitivity": metrics["per_class"]["mel"]["sensitivity"]}  # fmt: skip
        values["difference"] = dict.fromkeys(("value", "low", "high"))
        if base in outputs and outputs[base].parts == own.parts:
            values["difference"] = crossval.difference(predictions[name], predictions[base])["balanced_accuracy"]
        facts = [own.facts[part] for part in own.parts]
        return (
            line
            | in_columns(values)
            | {
                "cpu_minutes": np.mean([one["cpu_minutes"] for one in facts if one.get("cpu_minutes")] or [np.nan]),
                "parameters": facts[0]["parameters"],
                "commit": " ".join(sorted({name for one in facts for name in one["commit"].split()})),
            }
        )


def pixels(own: Config, table: LesionTable) -> PixelCache:
    """The decoded frames that a configuration trains on."""
    return build_cache(table, size=own.image_size, fit=own.fit, crops=own.crops)


def averaged(members: list[Outputs]) -> Outputs:
    """The mean of several rows' log-probabilities for an even class mix; it costs the sum of them."""
    frames = [
        pd.DataFrame(log_softmax(one.balanced_logits(), axis=1), index=pd.Index(one.images["image_id"]))
        for one in members
    ]
    mean = sum(frame.loc[frames[0].index].to_numpy() for frame in frames) / len(frames)
    facts = {part: together([one.facts[part] for one in members]) for part in members[0].parts}
    even = {"prior": [1.0] * len(members[0].labels)}  # nothing is left to subtract: its logarithm is 0
    return Outputs(members[0].images, mean, members[0].labels, {part: one | even for part, one in facts.items()})


def together(facts: list[dict]) -> dict:
    """The cost of networks that predict together: the sum of them."""
    minutes = [fact.get("cpu_minutes") for fact in facts]
    return {
        "cpu_minutes": None if None in minutes else sum(minutes),
        "parameters": sum(fact["parameters"] for fact in facts),
        "commit": " ".join(fact["commit"] for fact in facts),
    }


def refitted(outputs: Outputs, columns: list[str]) -> Outputs:
    """The outputs, with metadata, through a logistic regression that is fitted on the other folds."""
    images, codes = outputs.images, np.array(outputs.labels.codes)
    words = images[columns].assign(**{name: images[name].astype(str) for name in columns if name != "age"})
    facts = pd.get_dummies(words, dtype=float) if columns else pd.DataFrame(index=images.index)
    if "age" in columns:
        facts["unknown_age"] = images["age"].isna().astype(float)
        facts["age"] = (images["age"].fillna(images["age"].mean()) - 50) / 20
    x = np.hstack([log_softmax(outputs.balanced_logits(), axis=1), facts.to_numpy(float)])
    label, logits = images["label"].to_numpy(str), outputs.logits.copy()
    for part in outputs.parts:
        inside = (images["part"] == part).to_numpy()
        # a solver that reaches the optimum: another one's figures would change with the rounding of the machine
        model = LogisticRegression(class_weight="balanced", solver="newton-cholesky", tol=1e-8)
        model.fit(x[~inside], label[~inside])
        places = [int(np.flatnonzero(codes == code)[0]) for code in model.classes_]
        logits[np.ix_(inside, places)] = model.predict_log_proba(x[inside])
    return Outputs(images, logits, outputs.labels, outputs.facts)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train", help="train rows")
    training.add_argument("rows", nargs="*", metavar="ROW", help="names in recipes.toml; all that train by default")
    training.add_argument("--data", required=True)
    training.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2], choices=range(splits.FOLDS))
    training.add_argument("--output", type=Path, default=ROOT / "reports" / "experiments", help="of the trainings")
    commands.add_parser("table", help="write experiments/table.csv")
    given = parser.parse_args(argv)
    try:
        if given.command == "train":
            Rows().train(given.rows, given.data, given.folds, given.output)
            return
        table = Rows().table()
    except SkinLesionError as error:
        sys.exit(f"error: {error}")
    write_csv(TABLE, table)
    columns = ["row", "folds", "balanced_accuracy", "macro_auroc", "mel_sensitivity", "difference", "cpu_minutes"]
    print(table[columns].round(3).to_string(index=False))


if __name__ == "__main__":
    main()
