"""Accuracy for compute, read from committed results; `make bench-full DATA=…` remakes them.

    python -m benchmarks.accuracy train --data "$HAM10000_DIR"    # the rows below on validation folds 0 to 2
    python -m benchmarks.accuracy ph2 --data path/to/ph2          # the shipped model and sklesion elsewhere
    python -m benchmarks.accuracy test --data reports/NAME        # keep what a finished run said of the test split

Two sets of images, never mixed: the validation folds 0 to 2, each answered by a network that has not seen it, and the
test split, read for each of three recipes when it was done (benchmarks/accuracy/<recipe>.json). Minutes are of
training alone, by the steps' clock, on one core.

`sklesion` was in all likelihood trained on all of HAM10000, so its answers there would be no measurement; of PH2
neither has seen an image. PH2 has no age, sex or place, which sklesion takes too: it is told that they are unknown.
"""

from __future__ import annotations

import argparse
import gzip
import json
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.measure import ROOT, Worker, chart, rival
from skinlesion.core import images
from skinlesion.core.runs import Run, atomic, write_json
from skinlesion.core.taxonomy import HAM7
from skinlesion.evaluation.external_validation import external_metrics
from skinlesion.evaluation.metrics import evaluate
from skinlesion.evaluation.predictions import Predictions, read
from skinlesion.serving.manifest import Manifest
from skinlesion.training.trained import facts_of

PLACE = ROOT / "benchmarks" / "accuracy"
SHIPPED = ROOT / "benchmarks" / "shipped" / "shipped"
FOLDS = (0, 1, 2)
ROWS = {"classic": "classic, 96 px, short", "linear_probe": "linear probe, 96 px", "proxy": "fine-tune, 96 px, short",
        "size_160": "fine-tune, 160 px, short"}  # fmt: skip
RECIPES = ("classic", "quick")  # whose finished runs were kept, besides the shipped model
UNIT = "balanced accuracy; 1 is perfect"


def point(name: str, figure: dict, says: str, *, ours: bool = True) -> dict:
    """A bar of a figure with its 95% interval."""
    return {"name": name, "says": says, "ours": ours, **{key: figure[key] for key in ("value", "low", "high")}}


def on_validation() -> dict:
    """Rows of the experiment table and the shipped recipe's folds, in order of their minutes."""
    table = pd.read_csv(ROOT / "benchmarks" / "experiments" / "table.csv", dtype={"folds": str}).set_index("row")
    points, base = [], table["cpu_minutes"]["classic"]
    for row, name in ROWS.items():
        if row in table.index and table["folds"][row].split() == list(map(str, FOLDS)):
            facts = table.loc[row]
            figure = {key: facts[f"balanced_accuracy{end}"] for key, end in
                      (("value", ""), ("low", "_low"), ("high", "_high"))}  # fmt: skip
            points.append((facts["cpu_minutes"], point(name, figure, _minutes(facts["cpu_minutes"], base))))
    minutes = np.mean([json.loads((SHIPPED / f"fold-{fold}.json").read_text())["seconds"] for fold in FOLDS]) / 60
    points.append((minutes, point("the shipped recipe", shipped_on_validation(), _minutes(minutes, base))))
    note = (
        "Validation folds 0 to 2 of HAM10000, split by lesion, each answered by a network that has not seen it; 95% "
        "intervals over lesions. One core. The shipped recipe's decision rule was chosen on these answers, the "
        "others' is the logits less the log of the prior."
    )
    found = [bar for _, bar in sorted(points, key=lambda pair: pair[0])]
    return chart("Balanced accuracy, validation folds", found, "", note=note)


def _minutes(minutes: float, base: float) -> str:
    return f"{minutes:.1f} min a fold, {minutes / base:.1f} x classic's"


def shipped_on_validation() -> dict:
    """Balanced accuracy of the shipped recipe's answers on the same folds."""
    answers = read(SHIPPED / "out_of_fold.csv")
    return evaluate(answers.take(np.isin(answers.fold, FOLDS)))["balanced_accuracy"]


def on_test() -> dict:
    """What the test split said of three finished recipes."""
    found = []
    for name in RECIPES:
        facts = json.loads((PLACE / f"{name}.json").read_text())
        says = f"{facts['epochs']} epochs, {facts['seconds'] / 60:.0f} min"
        figure = facts["metrics"]["balanced_accuracy"]
        found.append(point(f"{name}, {facts['config']['image_size']} px", figure, says))
    shipped = Manifest.read(None).content
    says = f"{shipped['started_from']['epochs']} + {shipped['config']['epochs']} epochs, all five folds"
    figure = shipped["metrics"]["balanced_accuracy"]
    found.append(point(f"shipped, {shipped['image_size']} px", figure, says))
    note = (
        f"The test split of HAM10000, {figure['n']:,} images, read for each recipe after all of it was chosen on "
        "validation; 95% intervals over lesions, one seed. The table in README.md has the other metrics."
    )
    return chart("Balanced accuracy, test split", found, "", note=note)


def keep_run(folder: Path) -> None:
    """Keep what a finished run, such as ``reports/ham10000-quick``, said of the test split, and how it was made.

    Writes ``<recipe>.json``, and ``<recipe>.csv.gz`` with an answer a row.
    """
    run = Run(folder)
    test, facts = read(run.need(run.predictions, "04_evaluation")).of("test"), facts_of(run)
    name = run.folder.name.rpartition("-")[2]
    with tempfile.TemporaryDirectory() as scratch:
        test.write(Path(scratch) / "test.csv")
        with atomic(PLACE / f"{name}.csv.gz") as temporary:
            temporary.write_bytes(gzip.compress((Path(scratch) / "test.csv").read_bytes(), mtime=0))
    config = {key: value for key, value in json.loads(run.config_file.read_text()).items() if key != "data"}
    kept = {key: facts[key] for key in ("epochs", "best_epoch", "seconds", "device", "processes")}
    write_json(PLACE / f"{name}.json", kept | {
        "machine": f"{platform.machine()} {platform.system()}",
        "fingerprint": json.loads(run.table_info.read_text())["fingerprint"],
        "config": config,
        "metrics": evaluate(test),
    })  # fmt: skip


def elsewhere() -> dict | None:
    """Melanoma against nevus on PH2, where it was measured."""
    file = PLACE / "ph2.json"
    if not file.exists():
        return None
    facts = json.loads(file.read_text())
    found = [point(name, m["mel_nv_auroc"], m["says"], ours=name == "shipped") for name, m in facts["models"].items()]
    return chart("PH2: AUROC of melanoma against nevus", found, "", note=facts["note"])


def charts() -> list[dict]:
    """The section of `make bench`."""
    return [found for found in (on_validation(), on_test(), elsewhere()) if found]


def train(data: str) -> None:
    """Train what is not answered yet, one core as in the committed rows, and make the table again."""
    experiments = [sys.executable, str(ROOT / "benchmarks" / "experiments.py")]
    subprocess.run([*experiments, "run", *ROWS, "--data", data, "--folds", *map(str, FOLDS)], check=True, cwd=ROOT)
    subprocess.run([*experiments, "table"], check=True, cwd=ROOT)


def ph2(folder: Path) -> None:
    """Ask the shipped model and, where its environment is made, sklesion about PH2."""
    labels = pd.read_csv(folder / "labels.csv")
    names = [name for name in labels["image_name"] if (folder / "images" / f"{name}.jpg").exists()]
    if len(names) != len(labels):
        raise SystemExit(f"error: {folder}/images lacks {len(labels) - len(names)} of the images in labels.csv")
    names = sorted(names)
    said = labels.set_index("image_name")["diagnosis"]
    y = np.array([HAM7.codes.index("mel" if said[name] == "Melanoma" else "nv") for name in names])
    megabytes = Manifest.read(None).content["bytes"] / 1e6
    says = f"{megabytes:.0f} MB, trained on HAM10000 less its test split"
    models = {"shipped": (shipped_probabilities(folder, names), says)}
    if rival("sklesion"):
        models["sklesion 0.2.2"] = (sklesion_probabilities(folder, names), "86 MB, probably trained on all of HAM10000")
    found = {
        name: {"says": says} | external_metrics(_predictions(names, y, p), 0.5) for name, (p, says) in models.items()
    }
    melanomas = int((y == HAM7.codes.index("mel")).sum())
    note = f"{len(names)} images of another clinic, {melanomas} of them melanomas; 95% intervals over images."
    if not rival("sklesion"):
        note += " sklesion was not run: make its environment with `make bench-rivals`."
    write_json(PLACE / "ph2.json", {"note": note, "model": Manifest.read(None).identity, "models": found})
    for name, metrics in found.items():
        print(name, {key: round(metrics["mel_nv_auroc"][key], 3) for key in ("value", "low", "high")})


def shipped_probabilities(folder: Path, names: list[str]) -> np.ndarray:
    from skinlesion.serving.predictor import Predictor

    predictor = Predictor.load()
    answers = predictor.predict([images.read(folder / "images" / f"{name}.jpg") for name in names])
    return np.array([[answer.probabilities[code] for code in HAM7.codes] for answer in answers])


def sklesion_probabilities(folder: Path, names: list[str]) -> np.ndarray:
    """The worker reads a folder in the order of its names."""
    with tempfile.TemporaryDirectory() as scratch:
        for name in names:
            shutil.copy(folder / "images" / f"{name}.jpg", scratch)
        with Worker("benchmarks.sklesion_way", scratch, python=rival("sklesion")) as worker:
            order = [worker.ready["codes"].index(code) for code in HAM7.codes]
            found = np.array(worker.ask(do="probabilities"))[:, order]
    return found / found.sum(1, keepdims=True)


def _predictions(names: list[str], y: np.ndarray, probabilities: np.ndarray) -> Predictions:
    return Predictions(
        image_ids=np.array(names), lesions=np.array(names), split=np.full(len(names), "test"),
        fold=np.full(len(names), -1), labels=HAM7, y=y, probabilities=probabilities, scores=probabilities,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "ph2", "test"))
    parser.add_argument("--data", required=True)
    given = parser.parse_args()
    if given.what == "train":
        train(given.data)
    elif given.what == "ph2":
        ph2(Path(given.data))
    else:
        keep_run(Path(given.data))


if __name__ == "__main__":
    main()
