"""How fast training is, each figure beside what it is compared with, in one call: ``make bench``.

Three ways to make the same optimisation step (same network, batch and machine) are timed in turn, several rounds over,
and the medians of the paired ratios are reported. Each measurement is a process of its own.

ceiling    forward, backward and step on one constant batch that lies in memory already, network and memory set up as
           ours
ours       ``skinlesion.training.fit``: memory-mapped pixels, augmentation on batched tensors
standard   as it is usually written: torchvision's ImageFolder, PIL transforms (resize, rotation, flips, scale, colour)
           and a DataLoader with as many workers as serve it best, a timm network as it comes

The images are the synthetic demo set's, as JPEGs of 600 x 450 px, the size of HAM10000's release, and of 200 x 150 px.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from skinlesion import images
from skinlesion.config import Config
from skinlesion.data.cache import build_cache
from skinlesion.data.sources import load_table
from skinlesion.runs import Run, write_json
from skinlesion.training.fit import fit
from skinlesion.training.memory import keep_freed_memory
from skinlesion.training.models import create_model

MODELS = ("classic", "tf_efficientnet_lite0", "mobilenetv2_100")
CONFIG = Config(balance="none", epochs=1, batch_size=32, rotation=180.0, scale=0.2, color=0.15)
FRAMES = ((600, 450), (200, 150))  # width, height


def stepper(network: torch.nn.Module):
    """A function that makes one training step on (x, y)."""
    network.train()
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)

    def step(x: torch.Tensor, y: torch.Tensor) -> None:
        loss = F.cross_entropy(network(x), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def ceiling(name: str, config: Config, folder: Path, steps: int) -> float:
    """Images a second on a constant batch."""
    keep_freed_memory()
    step = stepper(create_model(name, classes=7, image_size=config.image_size).to(memory_format=torch.channels_last))
    x = torch.rand(config.batch_size, 3, config.image_size, config.image_size).to(memory_format=torch.channels_last)
    y = torch.arange(config.batch_size) % 7
    step(x, y)
    began = time.perf_counter()
    for _ in range(steps):
        step(x, y)
    return steps * config.batch_size / (time.perf_counter() - began)


def ours(name: str, config: Config, folder: Path, steps: int) -> float:
    """Images a second of ``fit``, from the end of its first step on."""
    table = load_table(f"folder:{folder}")
    cache = build_cache(table, size=config.image_size, fit=config.fit)
    rows = np.arange(len(table))
    split = np.where(rows < (steps + 1) * config.batch_size, "train", "validation")
    split[rows >= (steps + 1) * config.batch_size + 8] = "test"
    marks: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        fit(
            config.but(model=name), cache, table.targets, split, Run(scratch), classes=7,
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
            transforms.ColorJitter(config.color, config.color, config.color),
            transforms.ToTensor(),
        ]
    )
    classic = name == "classic"
    network = create_model(name, classes=7, image_size=config.image_size) if classic else timm.create_model(
        name, num_classes=7
    )  # fmt: skip
    data = datasets.ImageFolder(folder, transform)
    loader = DataLoader(data, config.batch_size, shuffle=True, num_workers=workers, drop_last=True)
    step, done, began = stepper(network), 0, 0.0
    for done, (x, y) in enumerate(loader):
        if done == 1:
            began = time.perf_counter()
        step(x, y)
        if done == steps:
            break
    return done * config.batch_size / (time.perf_counter() - began)


def apart(function, *arguments) -> float:
    """Call a function in a fresh process, so that no measurement inherits another's memory or threads."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


def as_folders(folder: Path, width: int, height: int) -> None:
    """The demo set as class folders of JPEGs of one size."""
    for code, name, path in load_table("demo:600").frame[["label", "image_id", "path"]].itertuples(index=False):
        buffer = io.BytesIO()
        frame = Image.fromarray(images.read(path))
        frame.resize((width, height), Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=90)
        (folder / code).mkdir(parents=True, exist_ok=True)
        (folder / code / f"{name}.jpg").write_bytes(buffer.getvalue())


def compare(name: str, config: Config, folder: Path, steps: int, rounds: int) -> dict:
    """All three ways in turn, ``rounds`` times over."""
    tried = {w: apart(standard, name, config, folder, steps, w) for w in range((os.cpu_count() or 1) + 1)}
    workers = max(tried, key=tried.get)
    measured = [
        {
            "ceiling": apart(ceiling, name, config, folder, steps),
            "ours": apart(ours, name, config, folder, steps),
            "standard": apart(standard, name, config, folder, steps, workers),
        }
        for _ in range(rounds)
    ]
    return {
        "ours / ceiling": statistics.median(r["ours"] / r["ceiling"] for r in measured),
        "ours / standard": statistics.median(r["ours"] / r["standard"] for r in measured),
        "standard's workers": workers,
        "images a second": {key: statistics.median(r[key] for r in measured) for key in measured[0]},
        "rounds": measured,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=128, help="input side, pixels (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="repeated pairs (%(default)s)")
    parser.add_argument("--steps", type=int, default=12, help="steps timed in each (%(default)s)")
    parser.add_argument("--models", nargs="+", default=MODELS)
    given = parser.parse_args()
    config = CONFIG.but(image_size=given.size)
    results: dict[str, dict] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for width, height in FRAMES:
            folder = Path(scratch) / f"{width}x{height}"
            as_folders(folder, width, height)
            results[folder.name] = {}
            for name in given.models:
                found = compare(name, config, folder, given.steps, given.rounds)
                results[folder.name][name] = found
                print(folder.name, name, {k: round(v, 2) for k, v in found.items() if "/" in k}, flush=True)
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
            "training, by size of the JPEGs": results,
        },
    )


if __name__ == "__main__":
    main()
