"""Do two processes train what one does at the same global batch, with batch normalisation? To within which noise?

    python -m benchmarks.processes            # ten minutes on two cores
    python -m benchmarks.processes --brief    # two seeds on few images, to see that it works

A pair is `skinlesion train` alone and under torchrun with two processes that talk through gloo, one thread each, on
the same images with the same seed; the last epoch's weights are judged on the validation images. The network has no
dropout: that each process normalises its own 16 of 32 images is all that differs, besides rounding. The drawn demo data
are split once for all seeds, with three folds to judge on, so that one image weighs little. Loss is that of
history.csv, balanced accuracy that of the logits less the log prior seen in training.

Writes ``benchmarks/processes/<date>.json``: for each metric the mean paired difference, two processes minus one, with
its 95% t-interval over seeds, the standard deviation of these differences, and that of one process between seeds.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from benchmarks.shipped import logits_of, outputs
from scipy.special import softmax
from scipy.stats import ttest_rel
from tqdm import tqdm

from benchmarks.measure import CORES, ROOT
from skinlesion.core.runs import Run, write_json
from skinlesion.core.taxonomy import HAM7
from skinlesion.data.sources import load_table
from skinlesion.data.splits import make_split, write_split
from skinlesion.evaluation.metrics import evaluate
from skinlesion.evaluation.predictions import Predictions

RESULTS = ROOT / "benchmarks" / "processes"
CLI = ("-m", "skinlesion.cli")
WAYS = {"one": CLI, "two": ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *CLI, "--")}
JUDGED = (0, 1, 2)  # folds
RECIPE = "quick"  # EfficientNet-Lite0 from ImageNet weights, batches of 32
SETTINGS = {"image_size": 64, "epochs": 3, "target_count": 80, "average": 0.0, "keep": "last"}
METRICS = {"val_loss": "log_loss", "val_balanced_accuracy": "balanced_accuracy", "val_macro_auroc": "macro_auroc"}


def write_one_split(data: str, file: Path) -> None:
    """The split of every training: several folds validate."""
    split = make_split(load_table(data))
    split.loc[split["fold"].isin(JUDGED), "split"] = "validation"
    write_split(split, file)


def train(way: str, data: str, folder: Path, settings: dict) -> Run:
    """Train by the command line in a fresh interpreter, one thread a process."""
    changes = [f"{name}={value}" for name, value in settings.items()]
    command = [sys.executable, *WAYS[way], "train", "--data", data, "--config", RECIPE, "--run", str(folder)]
    subprocess.run([*command, "--set", *changes], check=True, stdout=subprocess.DEVNULL,
                   env=os.environ | {"OMP_NUM_THREADS": "1"})  # fmt: skip
    return Run(folder)


def judge(run: Run) -> dict[str, float]:
    """The metrics of a run's validation images."""
    rows, prior = outputs(run, "validation")
    logits = logits_of(rows)
    predictions = Predictions(
        image_ids=rows["image_id"].to_numpy(str), lesions=rows["lesion_id"].to_numpy(str),
        split=rows["split"].to_numpy(str), fold=rows["fold"].to_numpy(), labels=HAM7,
        y=rows["label"].map(HAM7.codes.index).to_numpy(), probabilities=softmax(logits, axis=1),
        scores=softmax(logits - np.log(prior), axis=1),
    )  # fmt: skip
    metrics = evaluate(predictions, replicates=0)
    return {name: metrics[metric]["value"] for name, metric in METRICS.items()} | {"images": len(predictions)}


def summarise(one: list[float], two: list[float]) -> dict:
    """What a metric's values say, a pair a seed."""
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
    judged: dict[str, list[dict]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as place:
        split = Path(place) / "split.csv"
        write_one_split(data, split)
        for seed, way in tqdm([(seed, way) for seed in range(seeds) for way in WAYS], unit="training"):
            own = settings | {"seed": seed, "split_file": split}
            judged[way].append(judge(train(way, data, Path(place) / f"{way}-{seed}", own)))
    return {
        "data": data, "recipe": RECIPE, "settings": settings, "seeds": seeds,
        "validation images": judged["one"][0]["images"],
        "metrics": {name: summarise(*([run[name] for run in runs] for runs in judged.values())) for name in METRICS},
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
        facts = {"machine": f"{CORES} cores", "torch": torch.__version__}
        write_json(RESULTS / f"{datetime.now(UTC):%Y-%m-%d}.json", facts | found)


if __name__ == "__main__":
    main()
