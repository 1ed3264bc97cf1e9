"""What makes a training step quicker on this machine: bfloat16, torch.compile, frozen stages? Ratios to the plain step.

    python -m benchmarks.steps            # about five minutes; wants an idle machine
    python -m benchmarks.steps --brief    # the classic network and two steps, to see that it works

A step is forward, backward and optimizer on one batch of 32 images in memory, as in benchmarks/training.py's ceiling;
all ways of a network in turn; torch.compile where there is a C++ compiler. Writes ``benchmarks/results/steps.json``.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import time
from datetime import UTC, datetime
from functools import partial

import torch
from torch.nn import functional as F

from benchmarks.measure import CORES, ROOT, apart, in_turn
from benchmarks.training import CONFIG, MODELS
from skinlesion.core.writing import write_json
from skinlesion.training.fit import keep_freed_memory
from skinlesion.training.networks.models import create_model, freeze_stages

RESULTS = ROOT / "benchmarks" / "results" / "steps.json"
WAYS: dict[str, dict] = {
    "plain": {},
    "bfloat16": {"precision": "bfloat16"},
    "torch.compile": {"compiled": True},
    "two stages frozen": {"freeze": 2},
}


def images_a_second(
    name: str, steps: int, precision: str = "float32", compiled: bool = False, freeze: int = 0
) -> float:
    """Images a second, after two steps that are not counted."""
    keep_freed_memory()
    torch.set_num_threads(CORES)
    size, batch = CONFIG.image_size, CONFIG.batch_size
    model = create_model(name, classes=7, image_size=size).to(memory_format=torch.channels_last).train()
    for module in freeze_stages(model, freeze, name):
        module.eval()
    network = torch.compile(model) if compiled else model
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 1e-3)
    x = torch.rand(batch, 3, size, size).to(memory_format=torch.channels_last)
    y = torch.arange(batch) % 7

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            logits = network(x).float()
        loss = F.cross_entropy(logits, y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    step()
    step()
    began = time.perf_counter()
    for _ in range(steps):
        step()
    return steps * batch / (time.perf_counter() - began)


def compare(name: str, steps: int, rounds: int) -> dict:
    """A network's ratios to the plain step: median, least and largest of the rounds."""
    ways = {way: options for way, options in WAYS.items() if not (name == "classic" and "freeze" in options)}
    if not shutil.which("g++"):
        ways.pop("torch.compile")
    measured = in_turn(
        {way: partial(apart, partial(images_a_second, name, steps, **options)) for way, options in ways.items()}, rounds
    )
    found = {}
    for way in ways:
        ratios = [done[way] / done["plain"] for done in measured]
        found[way] = {"ratio": statistics.median(ratios), "low": min(ratios), "high": max(ratios)} | {
            "images/s": statistics.median(done[way] for done in measured)
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brief", action="store_true")
    brief = parser.parse_args().brief
    names = list(MODELS)[:1] if brief else list(MODELS)
    found = {MODELS[name][0]: compare(name, *((2, 1) if brief else (10, 3))) for name in names}
    for name, ways in found.items():
        print(name, {way: {key: round(value, 2) for key, value in facts.items()} for way, facts in ways.items()})
    if not brief:
        facts = {
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "machine": f"{CORES} cores",
            "torch": torch.__version__,
            "image size": CONFIG.image_size,
        }
        write_json(RESULTS, facts | {"networks": found})


if __name__ == "__main__":
    main()
