"""How fast training is, each figure beside what it is compared with, in one call: ``make bench``.

Three ways to make the same optimisation step (same network, batch and machine) are timed in turn, several rounds over,
and the medians of the paired ratios are reported:

ceiling    forward, backward and step on one constant batch that lies in memory already
ours       ``skinlesion.training.fit``: memory-mapped pixels, augmentation on batched tensors
standard   torchvision's ImageFolder, PIL transforms (resize, rotation, flips, scale) and a DataLoader with as many
           workers as serve it best

The images are the synthetic demo set's, JPEGs of 200 x 150 px.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from skinlesion import images
from skinlesion.config import Config
from skinlesion.data.cache import build_cache
from skinlesion.data.sources import load_table
from skinlesion.runs import Run, write_json
from skinlesion.training.augment import augment
from skinlesion.training.fit import fit
from skinlesion.training.memory import keep_freed_memory
from skinlesion.training.models import create_model

MODELS = ("classic", "tf_efficientnet_lite0", "mobilenetv2_100")
CONFIG = Config(balance="none", epochs=1, batch_size=32, rotation=180.0, scale=0.2)


def stepper(name: str, size: int):
    """A function that makes one training step on (x, y)."""
    torch.manual_seed(0)
    model = create_model(name, classes=7, image_size=size).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)

    def step(x: torch.Tensor, y: torch.Tensor) -> None:
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def ceiling(name: str, config: Config, frames: np.ndarray, steps: int) -> float:
    """Images a second on a constant batch."""
    step = stepper(name, config.image_size)
    x = augment(torch.from_numpy(frames[: config.batch_size].copy()), config, 0, np.arange(config.batch_size))
    y = torch.arange(config.batch_size) % 7
    step(x, y)
    began = time.perf_counter()
    for _ in range(steps):
        step(x, y)
    return steps * config.batch_size / (time.perf_counter() - began)


def ours(name: str, config: Config, cache, targets: np.ndarray, steps: int) -> float:
    """Images a second of ``fit``, from the end of its first step on."""
    rows = np.arange(len(targets))
    split = np.where(rows < (steps + 1) * config.batch_size, "train", "validation")
    split[rows >= (steps + 1) * config.batch_size + 8] = "test"
    marks: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        fit(
            config.but(model=name), cache, targets, split, Run(folder), classes=7,
            watch=lambda progress: marks.append(time.perf_counter()) if not progress.history else None,
        )  # fmt: skip
    return (len(marks) - 1) * config.batch_size / (marks[-1] - marks[0])


def standard(name: str, config: Config, folder: Path, steps: int, workers: int) -> float:
    """Images a second of the standard recipe, from the end of its first step on."""
    transform = transforms.Compose(
        [
            transforms.Resize((config.image_size, config.image_size)),
            transforms.RandomAffine(config.rotation, scale=(1 - config.scale, 1 + config.scale)),
            transforms.RandomHorizontalFlip(),
            transforms.RandomVerticalFlip(),
            transforms.ToTensor(),
        ]
    )
    data = datasets.ImageFolder(folder, transform)
    loader = DataLoader(data, config.batch_size, shuffle=True, num_workers=workers, drop_last=True)
    step, done, began = stepper(name, config.image_size), 0, 0.0
    for done, (x, y) in enumerate(loader):
        if done == 1:
            began = time.perf_counter()
        step(x.contiguous(memory_format=torch.channels_last), y)
        if done == steps:
            break
    return done * config.batch_size / (time.perf_counter() - began)


def as_folders(table, folder: Path) -> None:
    for code, name, path in table.frame[["label", "image_id", "path"]].itertuples(index=False):
        (folder / code).mkdir(parents=True, exist_ok=True)
        (folder / code / f"{name}.jpg").write_bytes(images.read_bytes(path))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=128, help="input side, pixels (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="repeated pairs (%(default)s)")
    parser.add_argument("--steps", type=int, default=12, help="steps timed in each (%(default)s)")
    given = parser.parse_args()
    keep_freed_memory()  # all three ways profit from it
    config = CONFIG.but(image_size=given.size)
    table = load_table("demo:600")
    cache = build_cache(table, size=given.size, fit=config.fit)
    results = {}
    with tempfile.TemporaryDirectory() as scratch:
        as_folders(table, Path(scratch))
        for name in MODELS:
            tried = {w: standard(name, config, Path(scratch), given.steps, w) for w in range((os.cpu_count() or 1) + 1)}
            workers = max(tried, key=tried.get)
            rounds = [
                {
                    "ceiling": ceiling(name, config, cache.frames, given.steps),
                    "ours": ours(name, config, cache, table.targets, given.steps),
                    "standard": standard(name, config, Path(scratch), given.steps, workers),
                }
                for _ in range(given.rounds)
            ]
            results[name] = {
                "ours / ceiling": statistics.median(r["ours"] / r["ceiling"] for r in rounds),
                "ours / standard": statistics.median(r["ours"] / r["standard"] for r in rounds),
                "standard's workers": workers,
                "images a second": {key: statistics.median(r[key] for r in rounds) for key in rounds[0]},
            }
            print(name, json.dumps(results[name], indent=2))
    write_json(
        Path(__file__).parent / "results" / f"{datetime.now(UTC):%Y-%m-%d}.json",
        {
            "training at px": given.size,
            "rounds": given.rounds,
            "steps": given.steps,
            "batch": config.batch_size,
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "machine": platform.processor() or platform.machine(),
            "torch": torch.__version__,
            "training": results,
        },
    )


if __name__ == "__main__":
    main()
