"""Recipes on a source that they were not trained on: two of HAM10000, MILK10k and MSK train, the third is tested.

    python -m experiments.across train --data "ham10000:$HAM10000_256_DIR" "milk10k:$MILK10K_DIR" "csv:$ISIC2017_DIR"
    python -m experiments.across train base recolor --held ham10000 isic2017_msk --data …
    python -m experiments.across recolor
    python -m experiments.across table

``train`` trains the rows of ``[across]`` in recipes.toml that are not stored yet (resumable, under --output), without
the lesions that have a twin in the source that is held out (--held, MILK10k if not given), and stores what each network
outputs there in outputs/across.parquet. The test part of that source stays unread.
``recolor`` stores in outputs/recolored.parquet what the networks make of melanomas with another camera's border colour.
``table`` writes across.csv: metrics of seven classes with 95% intervals over lesions, and the paired difference to the
row's base. Nothing is fitted: the prediction is that of the logits less the log of the class mix seen in training.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from experiments import storage
from experiments.domain import SOURCES
from experiments.recipes import OUTPUTS, ROOT, config, load
from experiments.run import checked_table
from experiments.shipped import SPLIT
from skinlesion import crossval
from skinlesion.commands.train import twin_features
from skinlesion.core import framing, images
from skinlesion.core.config import Config
from skinlesion.core.errors import SkinLesionError
from skinlesion.core.runs import Run
from skinlesion.core.taxonomy import label_set
from skinlesion.core.writing import write_csv
from skinlesion.data.sources import load_table
from skinlesion.data.splits import DROPPED, load_split
from skinlesion.evaluation.comparison import pick, seven_labels
from skinlesion.evaluation.intervals import in_columns
from skinlesion.evaluation.metrics import evaluate
from skinlesion.evaluation.predictions import Predictions
from skinlesion.pipeline.record import commit
from skinlesion.training.inputs.augment import border_color, light_gain, to_inputs
from skinlesion.training.networks.models import Classifier
from skinlesion.training.standalone import train
from skinlesion.training.trained import load_trained

HELD, HOME = "milk10k", "ham10000"  # the source that is held out first, and the one whose colours are taken
MEAN = "mean"  # of the sources, in across.csv
STORED = OUTPUTS / "across.parquet"
RECOLORED = OUTPUTS / "recolored.parquet"
TABLE = ROOT / "experiments" / "across.csv"
METRICS = ("balanced_accuracy", "macro_auroc", "malignant_auroc", "mel.sensitivity", "mel.auroc")


def store(name: str, held: str, data: list[str], output: Path) -> None:
    """Train a row without one source, unless that is done, and store its outputs there."""
    own = config(name, load("across")).but(data=data, holdout_source=held, fold=-1)
    part, run, fingerprint = f"source-{held}", Run(output / held / name), checked_table(own).fingerprint()
    if storage.is_stored(STORED, name, part, own, fingerprint):
        return
    train(own, run, features=twin_features(own))
    facts = {"commit": commit(ROOT), "dropped": int((load_split(run.split)["split"] == DROPPED).sum())}
    outputs = crossval.outputs_of_run(run, "test", part, own, fingerprint, **facts)
    tested = pd.read_csv(SPLIT).query("split == 'test'")["image_id"]  # the source's own test part stays unread
    outputs = without(outputs, tested)
    seven = set(load_table(own.data, 7, own.exclude_official_test).frame["image_id"])
    outputs.images["in_seven"] = outputs.images["image_id"].isin(seven)
    storage.store(STORED, name, outputs)


def without(outputs: crossval.Outputs, images: pd.Series) -> crossval.Outputs:
    """Outputs but for these images."""
    rows = ~outputs.images["image_id"].isin(images).to_numpy()
    return replace(outputs, images=outputs.images[rows].reset_index(drop=True), logits=outputs.logits[rows])


def recolored(model: Classifier, own: Config, paths: list[str], light: torch.Tensor) -> pd.DataFrame:
    """Malignant probability of images as they are, and with the border colour ``light``, float32 [3]: softmax alone."""
    malignant = [one.malignant for one in label_set(own.labels)]
    x = to_inputs(torch.from_numpy(squares(paths, own)))
    gain = light_gain(border_color(x).clamp_min(1e-3), light)[:, :, None, None]
    with torch.inference_mode():
        before, after = (model.eval()(each).softmax(1)[:, malignant].sum(1) for each in (x, (x * gain).clamp(0, 1)))
    return pd.DataFrame({"before": before.numpy(), "after": after.numpy()})


def squares(paths: list[str], own: Config) -> np.ndarray:
    return np.concatenate([framing.fit_crops(images.read_image(path), own.image_size, own.fit, 1) for path in paths])


def recolor(name: str, output: Path, count: int = 200) -> pd.DataFrame:
    """What a trained row makes of melanomas whose border takes the colour of HAM10000's follow-up nevi."""
    run = Run(output / HELD / name)
    own = Config.from_file(run.config_file)
    frame = load_table(own.data, own.labels, own.exclude_official_test).frame
    model = load_trained(run, own, classes=len(label_set(own.labels))).model
    follow_up = frame[frame["dx_type"] == "follow_up"].sample(count, random_state=0)
    light = border_color(to_inputs(torch.from_numpy(squares(list(follow_up["path"]), own)))).mean(0)
    found = []
    for source, rows in frame[(frame["label"] == "mel") & frame["source"].isin([HOME, HELD])].groupby("source"):
        chosen = rows.sample(min(count, len(rows)), random_state=0)
        lines = recolored(model, own, list(chosen["path"]), light)
        found.append(lines.assign(row=name, source=source, image_id=chosen["image_id"].to_numpy()))
    return pd.concat(found, ignore_index=True)


def predictions(name: str, held: str) -> Predictions:
    """A row's predictions of the seven classes, on a source that it was not trained on."""
    outputs = storage.read(STORED, name).take([f"source-{held}"])
    return seven_labels(outputs.predictions()).take(outputs.images["in_seven"].to_numpy(bool))


def picked(predictions: Predictions) -> dict[str, dict]:
    """The metrics of :data:`METRICS`."""
    metrics = evaluate(predictions)
    return {name: pick(metrics, name) for name in METRICS}


def table() -> pd.DataFrame:
    """A line per held-out source, row and metric, with the difference to the row's base; at last the mean."""
    recipes, stored, lines = load("across"), storage.read_facts(STORED), []
    for held, name in product(SOURCES, recipes):
        recipe, part = recipes[name], f"source-{held}"
        if part not in stored.get(name, {}):
            continue
        own = predictions(name, held)
        values = picked(own)
        base = part in stored.get(recipe.base, {})
        more = crossval.difference(own, predictions(recipe.base, held), METRICS) if base else {}
        for key in METRICS:
            ends = {end: values[key][end] for end in ("value", "low", "high", "n")}
            ends |= in_columns({"difference": more[key] if base else dict.fromkeys(("value", "low", "high"))})
            lines.append({"held": held, "row": name, "about": recipe.about, "base": recipe.base, "metric": key} | ends)
    return pd.concat([pd.DataFrame(lines), mean(pd.DataFrame(lines))], ignore_index=True)


def mean(lines: pd.DataFrame) -> pd.DataFrame:
    """The mean over the sources, of rows that were tested on each; intervals as of independent samples."""
    found = []
    for about, of in lines.groupby(["row", "about", "base", "metric"], sort=False):
        if len(of) < len(SOURCES):
            continue
        line = {"held": MEAN, **dict(zip(("row", "about", "base", "metric"), about, strict=True)), "n": of["n"].sum()}
        for name, low, high in (("value", "low", "high"), ("difference", "difference_low", "difference_high")):
            value = of[name].astype(float).mean(skipna=False)
            half = np.sqrt(((of[high].astype(float) - of[low].astype(float)) ** 2).sum(skipna=False)) / 2 / len(of)
            line |= {name: value, low: value - half, high: value + half}
        found.append(line)
    return pd.DataFrame(found)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "recolor", "table"))
    parser.add_argument("rows", nargs="*", help="rows to train (all)")
    parser.add_argument("--data", nargs="+", default=[], help="HAM10000, MILK10k and MSK")
    parser.add_argument(
        "--held", nargs="+", default=[HELD], choices=SOURCES, help="the source that is tested (%(default)s)"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "reports" / "across", help="folder of the trainings")
    given = parser.parse_args(argv)
    try:
        if given.what == "train":
            for name, held in product(given.rows or load("across"), given.held):
                store(name, held, given.data, given.output)
        elif given.what == "recolor":
            found = [recolor(name, given.output) for name in given.rows or load("across")]
            storage.write_parquet(RECOLORED, pd.concat(found, ignore_index=True), {"commit": commit(ROOT)})
        else:
            write_csv(TABLE, table().round(5))
    except SkinLesionError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
