"""Training, images a second: four ways to make the same optimisation step (same network, batch and machine), in turn.

ceiling    forward, backward and step on one constant batch that lies in memory already, network and memory set up as
           ours
ours       ``skinlesion.training.fit``: memory-mapped pixels, augmentation on batched tensors
standard   as it is usually written: torchvision's ImageFolder, PIL transforms (resize, rotation, flips, scale, colour)
           and a DataLoader with as many workers as serve it best, a timm network as it comes
fastai     the recipe of its vision tutorial on that network, with as many workers and the same augmentation: items
           are resized one by one (PIL), batches are augmented as tensors. Run by the interpreter of its own environment
           as ``python -m benchmarks.training NAME FOLDER STEPS WORKERS``

The images are synthetic, JPEGs of 600 x 450 px, the size of HAM10000's release, in two sources of equal size.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import timm
import torch
import torch.nn.functional as F
from torch.utils.data import ConcatDataset, DataLoader
from torchvision import datasets, transforms

from benchmarks.measure import CORES, ROOT, apart, bars, chart, class_folders, in_turn, rival
from skinlesion.core.config import Config
from skinlesion.core.runs import Run
from skinlesion.data.cache import build_cache
from skinlesion.data.sources import load_table
from skinlesion.training.fit import fit, keep_freed_memory
from skinlesion.training.networks.models import create_model

#: Title and side of the input in pixels, by network; MobileNetV2's is that of the recipe `sources`.
MODELS = {
    "classic": ("classic", 128),
    "tf_efficientnet_lite0": ("EfficientNet-Lite0", 128),
    "mobilenetv2_100": ("MobileNetV2", 160),
}
CONFIG = Config(balance="none", epochs=1, batch_size=32, image_size=128, rotation=180.0, scale=0.2, color=0.15)


def config(name: str) -> Config:
    """The configuration of one network's steps."""
    return CONFIG.but(model=name, image_size=MODELS[name][1])


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


def ceiling(name: str, folder: Path, steps: int) -> float:
    """Images a second on a constant batch."""
    keep_freed_memory()
    size, batch = config(name).image_size, CONFIG.batch_size
    step = stepper(create_model(name, classes=7, image_size=size).to(memory_format=torch.channels_last))
    x = torch.rand(batch, 3, size, size).to(memory_format=torch.channels_last)
    y = torch.arange(batch) % 7
    step(x, y)
    began = time.perf_counter()
    for _ in range(steps):
        step(x, y)
    return steps * batch / (time.perf_counter() - began)


def ours(name: str, folder: Path, steps: int) -> float:
    """Images a second of ``fit``, from the end of its first step on."""
    table = load_table([f"folder:{source}" for source in sorted(folder.iterdir())])
    os.environ["SKINLESION_CACHE"] = str(folder.with_name("cache"))
    own = config(name)
    cache = build_cache(table, size=own.image_size, fit=own.fit)
    rows, trained = np.arange(len(table)), (steps + 1) * CONFIG.batch_size
    split = np.where(rows < trained, "train", np.where(rows < trained + 8, "validation", "test"))
    marks: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        fit(
            own, cache, table.targets, split, Run(scratch), classes=7,
            watch=lambda progress: marks.append(time.perf_counter()) if not progress.history else None,
        )  # fmt: skip
    return (len(marks) - 1) * CONFIG.batch_size / (marks[-1] - marks[0])


def plain_network(name: str) -> torch.nn.Module:
    """The network as a user of timm has it; the classic CNN is ours alone."""
    if name == "classic":
        return create_model(name, classes=7, image_size=config(name).image_size)
    return timm.create_model(name, num_classes=7)


def standard(name: str, folder: Path, steps: int, workers: int) -> float:
    """Images a second of the standard recipe, from the end of its first step on: what is loaded by then is its gain."""
    size = config(name).image_size
    transform = transforms.Compose(
        [
            transforms.Resize((size, size)),
            transforms.RandomAffine(CONFIG.rotation, scale=(1 - CONFIG.scale, 1 + CONFIG.scale)),
            transforms.RandomHorizontalFlip(),
            transforms.RandomVerticalFlip(),
            transforms.ColorJitter(CONFIG.color, CONFIG.color, CONFIG.color),
            transforms.ToTensor(),
        ]
    )
    data = ConcatDataset([datasets.ImageFolder(source, transform) for source in sorted(folder.iterdir())])
    loader = DataLoader(data, CONFIG.batch_size, shuffle=True, num_workers=workers, drop_last=True)
    step, done, began = stepper(plain_network(name)), 0, 0.0
    for done, (x, y) in enumerate(loader):
        if done == 1:
            began = time.perf_counter()
        step(x, y)
        if done == steps:
            break
    return done * CONFIG.batch_size / (time.perf_counter() - began)


def fastai(name: str, folder: Path, steps: int, workers: int) -> float:
    """Images a second of fastai, by its own interpreter."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "lib")))}
    command = [rival("fastai"), "-m", "benchmarks.training", name, folder, str(steps), str(workers)]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"error: fastai ended with status {done.returncode}; make bench-rivals makes its environment")
    return float(done.stdout.splitlines()[-1])


def fastai_here(name: str, folder: str, steps: int, workers: int) -> float:
    """Images a second of fastai, which the interpreter has."""
    import fastai.callback.progress
    import fastai.callback.schedule  # noqa: F401  # these two give Learner no_bar and fit_one_cycle
    from fastai.callback.core import Callback, CancelFitException
    from fastai.learner import Learner
    from fastai.losses import CrossEntropyLossFlat
    from fastai.optimizer import Adam
    from fastai.vision.augment import Resize, ResizeMethod, aug_transforms
    from fastai.vision.data import ImageDataLoaders

    marks: list[float] = []  # the end of each batch

    class Clock(Callback):
        def after_batch(self):
            marks.append(time.perf_counter())
            if len(marks) > steps:
                raise CancelFitException

    augmentation = aug_transforms(
        flip_vert=True, max_rotate=CONFIG.rotation, min_zoom=1 - CONFIG.scale, max_zoom=1 + CONFIG.scale,
        max_lighting=CONFIG.color, max_warp=0, p_affine=1.0, p_lighting=1.0,
    )  # fmt: skip
    loaders = ImageDataLoaders.from_folder(
        folder, valid_pct=0.01, seed=0, bs=CONFIG.batch_size, num_workers=workers,
        item_tfms=Resize(config(name).image_size, method=ResizeMethod.Squish), batch_tfms=augmentation,
    )  # fmt: skip
    learner = Learner(loaders, plain_network(name), loss_func=CrossEntropyLossFlat(), opt_func=Adam, cbs=[Clock()])
    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(1, 1e-3)
    return (len(marks) - 1) * CONFIG.batch_size / (marks[-1] - marks[0])


def best_workers(name: str, folder: Path, steps: int) -> int:
    """How many workers serve the standard recipe best with this network: none, one a core or two a core."""
    return max((0, CORES, 2 * CORES), key=lambda workers: apart(standard, name, folder, steps, workers))


def compare(name: str, folder: Path, steps: int, rounds: int) -> dict:
    """One network's chart."""
    workers = best_workers(name, folder, max(2, steps // 2))
    ways = {
        "the compute ceiling": lambda: apart(ceiling, name, folder, steps),
        "ours": lambda: apart(ours, name, folder, steps),
        "the standard recipe": lambda: apart(standard, name, folder, steps, workers),
    }
    title, size = MODELS[name]
    note = (
        f"{size} px, batches of {CONFIG.batch_size}, {steps} steps; {workers} workers serve the standard recipe best."
    )
    if rival("fastai"):
        ways["fastai"] = lambda: fastai(name, folder, steps, workers)
    else:
        note += " fastai was not run: make its environment with `make bench-rivals`."
    measured = in_turn(ways, rounds)
    others = [way for way in measured[0] if way not in ("ours", "the compute ceiling")]
    times = ", ".join(f"{statistics.median(r['ours'] / r[way] for r in measured):.2f} x {way}" for way in others)
    found = bars(measured, "the compute ceiling", "images/s")
    return chart(
        f"Training {title}, images/s",
        found,
        "the compute ceiling",
        note=f"Ours is {times}. {note}",
        rounds=measured,
        workers=workers,
    )


def charts(*, brief: bool = False) -> list[dict]:
    """The section's charts: one a network."""
    steps, rounds = (2, 1) if brief else (8, 3)
    torch.set_num_threads(CORES)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "images"
        for source in ("one", "two"):
            class_folders(folder / source, 16 * (steps + 2))
        return [compare(name, folder, steps, rounds) for name in (list(MODELS)[:1] if brief else MODELS)]


if __name__ == "__main__":
    print(fastai_here(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
