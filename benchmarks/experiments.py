"""The experiment table: every row a recipe in configs/experiments/, trained on several folds and judged out of fold.

    python benchmarks/experiments.py run --data "$HAM10000_DIR" [ROW ...] [--folds 0 1 2]
    python benchmarks/experiments.py table

``run`` trains what is not answered yet (an interrupted training goes on) under --output, and keeps what each network
says of its validation images, with its recipe and its cost, in benchmarks/experiments/answers/: these are committed, so
that the table can be made over several sittings and machines. A row that changes nothing but ``views`` and ``crops``
asks its base's network again; ``{fold}`` in ``start`` and ``teachers`` is the row's fold. ``table`` pools a row's
validation folds, decides by the logits less the log prior seen in training (nothing is fitted), and writes
benchmarks/experiments/table.csv: metrics with 95% intervals over lesions, and the paired difference to the row that the
recipe is based on. No test image is looked at.

A recipe with ``rows`` trains nothing: it averages what these rows answer. With ``refit`` a multinomial logistic
regression is put on top, on the answers and the metadata columns that ``refit`` lists, fitted on all folds but the one
that it answers for.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression
from tqdm import tqdm

from skinlesion.core.config import Config
from skinlesion.core.errors import SkinLesionError
from skinlesion.core.runs import Run, atomic, write_json
from skinlesion.core.taxonomy import label_set
from skinlesion.data import splits
from skinlesion.data.cache import PixelCache, build_cache
from skinlesion.data.check import check_table
from skinlesion.data.sources import load_table
from skinlesion.data.table import LesionTable
from skinlesion.evaluation.metrics import evaluate, paired_difference
from skinlesion.evaluation.predictions import Predictions
from skinlesion.training.fit import fit
from skinlesion.training.fold_outputs import is_kept, keep, read_kept
from skinlesion.training.trained import Trained, load_trained, predict

ROOT = Path(__file__).resolve().parents[1]
RECIPES = ROOT / "configs" / "experiments"
ANSWERS = ROOT / "benchmarks" / "experiments" / "answers"
TABLE = ROOT / "benchmarks" / "experiments" / "table.csv"
METADATA = ("age", "sex", "site")


def recipes(names: list[str]) -> dict[str, Path]:
    """Recipe files by row name, those that train before those that combine; all of them where no name is given."""
    known = {path.stem: path for path in sorted(RECIPES.glob("*.json"), key=lambda p: (combines(p), p.stem))}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"error: no recipe {', '.join(unknown)} in {RECIPES}; known: {', '.join(known)}")
    return {name: known[name] for name in names or known}


def combines(path: Path) -> bool:
    """Whether a recipe combines other rows instead of training."""
    return "rows" in json.loads(path.read_text())


def run(arguments: argparse.Namespace) -> None:
    """Train every row on every fold, and keep what it says about the validation images."""
    trained = {name: path for name, path in recipes(arguments.rows).items() if not combines(path)}
    todo = [(name, path, fold) for fold in arguments.folds for name, path in trained.items()]
    tables: dict[tuple, LesionTable] = {}
    for name, path, fold in tqdm(todo, desc="experiments", unit="run"):
        config = Config.from_file(path).but(data=arguments.data, fold=fold)
        config = config.but(**{key: getattr(config, key).format(fold=fold) for key in ("start", "teachers")})
        files = Run(arguments.output / name / f"fold-{fold}")
        key = (config.labels, config.max_images, config.seed)
        if key not in tables:
            found = load_table(config.data, config.labels, config.exclude_official_test, config.label_words)
            tables[key] = check_table(splits.take_subset(found, config.max_images, seed=config.seed)).table
        if is_kept(place(name, fold), config, tables[key].fingerprint()):
            continue
        base = json.loads(path.read_text()).get("base", "")
        same = base and looks_once(path) == looks_once(path.parent / base)
        weights = Run(arguments.output / Path(base).stem / f"fold-{fold}") if same else files
        one(name, config, tables[key], files, weights)


def looks_once(path: Path) -> Config:
    """A recipe without what it does to a finished network's answers."""
    return Config.from_file(path).but(views=1, crops=1)


def place(name: str, fold: int) -> Path:
    """Where a row's answers of one fold are kept."""
    return ANSWERS / name / f"fold-{fold}"


def pixels(config: Config, table: LesionTable) -> PixelCache:
    return build_cache(table, size=config.image_size, fit=config.fit, crops=config.crops)


def train(config: Config, table: LesionTable, names: np.ndarray, files: Run) -> Trained:
    """Train a row's network of one fold, and first that of the row it starts from, where that is not there."""
    if config.start and not (start := Run(config.start)).training.exists():
        before = Config.from_file(RECIPES / f"{start.folder.parent.name}.json")
        train(before.but(data=config.data, fold=config.fold), table, names, start)
    write_json(files.config_file, config.to_dict())
    return fit(config, pixels(config, table), table.targets, names, files, classes=len(table.labels))


def one(name: str, config: Config, table: LesionTable, files: Run, weights: Run) -> None:
    split, _ = splits.split_for(table, split_file=config.split_file, seed=config.seed, fold=config.fold)
    names = split["split"].to_numpy(str)
    cache = pixels(config, table)  # before the clock starts
    interrupted, began = files.checkpoints.exists(), time.process_time()
    trained = (
        train(config, table, names, files)
        if weights is files
        else load_trained(weights, config, classes=len(table.labels))
    )
    minutes = None if interrupted or weights is not files else (time.process_time() - began) / 60
    rows = np.flatnonzero(names == "validation")
    logits, _ = predict(trained.model, cache, rows, views=config.views)
    frame = table.frame.iloc[rows][["image_id", "lesion_id", "label", *METADATA]].reset_index(drop=True)
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    said = frame.join(pd.DataFrame(logits, columns=list(table.labels.codes)))
    keep(place(name, config.fold), said, config, table.fingerprint(), {
        "cpu_minutes": minutes, "epochs": trained.facts["epochs"], "prior": trained.facts["prior"],
        "parameters": trained.facts["parameters"], "threads": torch.get_num_threads(), "torch": torch.__version__,
        "machine": f"{platform.machine()} {platform.system()}", "commit": commit.stdout.strip(),
    })  # fmt: skip


def answers(name: str) -> tuple[pd.DataFrame, list[dict]]:
    """A row's answers on its validation folds (logits less the log prior seen in training), and each fold's facts."""
    path = RECIPES / f"{name}.json"
    codes = list(label_set(recipe_config(path).labels).codes)
    recipe = json.loads(path.read_text())
    if "rows" in recipe:
        parts = [answers(row) for row in recipe["rows"]]
        frames = [part[0].set_index("image_id") for part in parts]
        mean = sum(log_softmax(frame.loc[frames[0].index, codes].to_numpy(), axis=1) for frame in frames) / len(frames)
        whole = frames[0].assign(**dict(zip(codes, mean.T, strict=True))).reset_index()
        facts = [together(of_fold) for of_fold in zip(*(part[1] for part in parts), strict=True)]
        return (refit(whole, codes, recipe["refit"]) if "refit" in recipe else whole), facts
    frames, facts = [], []
    for fold in folds_of(name):
        frame, fact = read_kept(place(name, fold))
        frame[codes] -= np.log(fact["prior"])
        frames.append(frame.assign(fold=fold))
        facts.append(fact)
    return pd.concat(frames, ignore_index=True), facts


def together(facts: tuple[dict, ...]) -> dict:
    """What networks that answer together cost: the sum of them."""
    minutes = [fact.get("cpu_minutes") for fact in facts]
    return {
        "cpu_minutes": None if None in minutes else sum(minutes),
        "parameters": sum(fact["parameters"] for fact in facts),
        "commit": " ".join(fact["commit"] for fact in facts),
    }


def refit(whole: pd.DataFrame, codes: list[str], columns: list[str]) -> pd.DataFrame:
    """The row's answers, and metadata, through a logistic regression fitted on the other folds."""
    words = whole[columns].assign(**{c: whole[c].astype(str) for c in columns if c != "age"})
    facts = pd.get_dummies(words, dtype=float) if columns else pd.DataFrame(index=whole.index)
    if "age" in columns:
        facts["unknown_age"] = whole["age"].isna().astype(float)
        facts["age"] = (whole["age"].fillna(whole["age"].mean()) - 50) / 20
    x = np.hstack([log_softmax(whole[codes].to_numpy(), axis=1), facts.to_numpy(float)])
    for fold in whole["fold"].unique():
        inside = (whole["fold"] == fold).to_numpy()
        model = LogisticRegression(class_weight="balanced", max_iter=2000).fit(x[~inside], whole["label"][~inside])
        whole.loc[inside, list(model.classes_)] = model.predict_log_proba(x[inside])
    return whole


def recipe_config(path: Path) -> Config:
    """The configuration of a row; of one that combines, that of the first row it names."""
    while combines(path):
        path = path.with_name(json.loads(path.read_text())["rows"][0] + ".json")
    return Config.from_file(path)


def judged(whole: pd.DataFrame, labels) -> Predictions:
    """A row's answers as predictions: probabilities for the natural prior, scores for an even one."""
    y = whole["label"].map({code: i for i, code in enumerate(labels.codes)}).to_numpy()
    even = whole[list(labels.codes)].to_numpy()
    natural = np.bincount(y, minlength=len(labels)) / len(y)
    return Predictions(
        image_ids=whole["image_id"].to_numpy(str),
        lesions=whole["lesion_id"].to_numpy(str),
        split=np.full(len(whole), "validation"),
        fold=whole["fold"].to_numpy(),
        labels=labels,
        y=y,
        probabilities=softmax(even + np.log(natural), axis=1),
        scores=softmax(even, axis=1),
    )


def folds_of(name: str) -> list[int]:
    """The folds that a row has answered."""
    return sorted(int(file.stem.removeprefix("fold-")) for file in ANSWERS.glob(f"{name}/fold-*.json"))


def ready(name: str) -> bool:
    """Whether a row is trained on a fold, or all rows that it combines are on the same ones; a refit needs two."""
    recipe = json.loads((RECIPES / f"{name}.json").read_text())
    if "rows" not in recipe:
        return bool(folds_of(name))
    folds = [folds_of(row) for row in recipe["rows"]]
    return all(found == folds[0] for found in folds) and len(folds[0]) > ("refit" in recipe)


def table(arguments: argparse.Namespace) -> None:
    """Write the table of all rows that are trained on at least one fold."""
    lines, done = [], {}
    for name, path in recipes([]).items():
        if ready(name):
            whole, facts = answers(name)
            done[name] = judged(whole, label_set(recipe_config(path).labels)), facts, sorted(whole["fold"].unique())
    for name, (predictions, facts, folds) in done.items():
        recipe = json.loads((RECIPES / f"{name}.json").read_text())
        base = Path(recipe.get("base", "")).stem
        metrics = evaluate(predictions)
        line = {
            "row": name, "about": recipe["about"], "base": base, "folds": " ".join(map(str, folds)),
            "n_images": len(predictions), "n_lesions": metrics["n_lesions"],
        }  # fmt: skip
        values = {"balanced_accuracy": metrics["balanced_accuracy"], "macro_auroc": metrics["macro_auroc"],
                  "mel_sensitivity": metrics["per_class"]["mel"]["sensitivity"]}  # fmt: skip
        comparable = base in done and done[base][2] == folds
        values["difference"] = (
            paired_difference(predictions, done[base][0])["balanced_accuracy"]
            if comparable
            else dict.fromkeys(("value", "low", "high"))
        )
        for metric, value in values.items():
            line |= {metric: value["value"], f"{metric}_low": value["low"], f"{metric}_high": value["high"]}
        line |= {
            "cpu_minutes": np.mean([f["cpu_minutes"] for f in facts if f.get("cpu_minutes")] or [np.nan]),
            "parameters": facts[0]["parameters"],
            "commit": " ".join(sorted({commit for f in facts for commit in f["commit"].split()})),
        }  # fmt: skip
        lines.append(line)
    with atomic(TABLE) as temporary:
        pd.DataFrame(lines).round(4).to_csv(temporary, index=False)
    columns = ["row", "folds", "balanced_accuracy", "macro_auroc", "mel_sensitivity", "difference", "cpu_minutes"]
    print(pd.DataFrame(lines).reindex(columns=columns).round(3).to_string(index=False))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--output", type=Path, default=ROOT / "reports" / "experiments", help="where trainings are kept"
    )
    commands = parser.add_subparsers(required=True)
    training = commands.add_parser("run", help="train rows")
    training.add_argument("rows", nargs="*", metavar="ROW")
    training.add_argument("--data", required=True)
    training.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2])
    training.set_defaults(call=run)
    commands.add_parser("table", help="write the table").set_defaults(call=table)
    arguments = parser.parse_args()
    try:
        arguments.call(arguments)
    except SkinLesionError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
