"""Do two processes train what one does at the same global batch, with batch normalisation? To within which noise?

    python -m experiments.processes            # ten minutes on two cores
    python -m experiments.processes --brief    # two seeds on few images, to see that it works

A pair is `skinlesion train` alone and under torchrun with two processes that talk through gloo, one thread each, on
the same images with the same seed; the last epoch's weights are evaluated on the validation images. The network has no
dropout: that each process normalises its own 16 of 32 images is all that differs, besides rounding. The drawn demo data
are split once for all seeds, with three folds to evaluate on, so that one image weighs little. Loss is that of
history.csv, balanced accuracy that of the logits less the log prior seen in training.

Writes ``experiments/processes.json``: for each metric the mean paired difference, two processes minus one, with
its 95% t-interval over seeds, the standard deviation of these differences, and that of one process between seeds.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from scipy.special import softmax
from scipy.stats import ttest_rel
from tqdm import tqdm

from experiments.recipes import ROOT
from skinlesion import crossval
from skinlesion.core.runs import Run
from skinlesion.core.writing import write_json
from skinlesion.data.sources import load_table
from skinlesion.data.splits import make_split, write_split
from skinlesion.evaluation.metrics import evaluate

RESULTS = ROOT / "experiments" / "processes.json"
CLI = ("-m", "skinlesion.cli")
WAYS = {"one": CLI, "two": ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *CLI, "--")}
TESTED = (0, 1, 2)  # folds
RECIPE = "quick"  # EfficientNet-Lite0 from ImageNet weights, batches of 32
SETTINGS = {"image_size": 64, "epochs": 3, "target_count": 80, "average": 0.0, "keep": "last"}
METRICS = {"val_loss": "log_loss", "val_balanced_accuracy": "balanced_accuracy", "val_macro_auroc": "macro_auroc"}


def write_one_split(data: str, file: Path) -> None:
    """The split of every training: several folds validate."""
    split = make_split(load_table(data))
    split.loc[split["fold"].isin(TESTED), "split"] = "validation"
    write_split(split, file)


def train(way: str, data: str, folder: Path, settings: dict) -> Run:
    """Train by the command line in a fresh interpreter, one thread a process."""
    changes = [f"{name}={value}" for name, value in settings.items()]
    command = [sys.executable, *WAYS[way], "train", "--data", data, "--config", RECIPE, "--run", str(folder)]
    subprocess.run([*command, "--set", *changes], check=True, stdout=subprocess.DEVNULL,
                   env=os.environ | {"OMP_NUM_THREADS": "1"})  # fmt: skip
    return Run(folder)


def measured(run: Run) -> dict[str, float]:
    """The metrics of a run's validation images, with the loss that history.csv has."""
    outputs = crossval.outputs_of_run(run, "validation", "fold-0", run.config(), "")
    predictions = replace(outputs.predictions(), probabilities=softmax(outputs.logits, axis=1))
    metrics = evaluate(predictions, replicates=0)
    return {name: metrics[metric]["value"] for name, metric in METRICS.items()} | {"images": len(predictions)}


def summarise(one: list[float], two: list[float]) -> dict:
    """The paired difference of a metric, a pair a seed."""
    interval = ttest_rel(two, one).confidence_interval(0.95)
    difference = np.subtract(two, one)
    return {
        "difference": {"value": float(difference.mean()), "low": float(interval.low), "high": float(interval.high)},
        "deviation of differences": float(difference.std(ddof=1)),
        "deviation between seeds": float(np.std(one, ddof=1)),
        "one": one,
        "two": two,
    }


def measure(data: str, seeds: int, settings: dict) -> dict:
    found: dict[str, list[dict]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as place:
        split = Path(place) / "split.csv"
        write_one_split(data, split)
        trainings = [(seed, way) for seed in range(seeds) for way in WAYS]
        for seed, way in tqdm(trainings, unit="training", disable=None):  # no bar into a file
            own = settings | {"seed": seed, "split_file": split}
            found[way].append(measured(train(way, data, Path(place) / f"{way}-{seed}", own)))
    return {
        "data": data, "recipe": RECIPE, "settings": settings, "seeds": seeds,
        "validation images": found["one"][0]["images"],
        "metrics": {name: summarise(*([run[name] for run in runs] for runs in found.values())) for name in METRICS},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brief", action="store_true")
    brief = parser.parse_args().brief
    found = measure("demo:150", 2, SETTINGS | {"epochs": 1}) if brief else measure("demo:1500", 8, SETTINGS)
    for name, facts in found["metrics"].items():
        print(f"{name}: two processes minus one {{value:+.3f}} ({{low:+.3f}} to {{high:+.3f}})".format(
            **facts["difference"]), f"deviation {facts['deviation of differences']:.3f}, between seeds of one process "
            f"{facts['deviation between seeds']:.3f}", sep="; ")  # fmt: skip
    if not brief:
        facts = {
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "machine": f"{os.cpu_count()} cores",
            "torch": torch.__version__,
        }
        write_json(RESULTS, facts | found)


if __name__ == "__main__":
    main()
