"""One image and many, from encoded bytes to predictions: each way in a process that keeps its model, in turn.

ours      ``skinlesion.serving``: ONNX Runtime; many images as batch scoring does it, a thread a core with a few each
eager     the same network, preprocessing and mirrored views in torch; many images as one batch that uses all cores
compiled  the same after ``torch.compile``

``python -m benchmarks.inference WAY FOLDER`` is one of them as a worker. What they compute is the shipped model's work,
mirrored views included; sklesion is another network, larger and fed other inputs, so its bars say what its user waits
for and not how well its code is written.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from benchmarks.measure import (
    CORES,
    Worker,
    answer_forever,
    bar,
    bars,
    chart,
    drawn,
    median_seconds,
    memory,
    rival,
)
from skinlesion.core import images
from skinlesion.serving.manifest import PRETRAINED, Manifest

WAYS = {"ours": "our ONNX path", "eager": "torch eager", "compiled": "torch.compile"}
SKLESION = "sklesion 0.2.2 (Keras)"
BATCH = 16


def charts(*, brief: bool = False) -> list[dict]:
    """The section's charts."""
    times, count, rounds = (2, 16, 1) if brief else (15, 64, 3)
    compiler = shutil.which("g++") or shutil.which("clang++")
    note = "JPEG of 600 x 450 px; decoding, resizing and four mirrored views are in it."
    if not compiler:
        note += " torch.compile was not run: it needs a C++ compiler."
    if not rival("sklesion"):
        note += " sklesion was not run: make its environment with `make bench-rivals`."
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        for seed in range(7):
            (Path(scratch) / f"{seed}.jpg").write_bytes(drawn(seed, 600, 450))
        workers = {}
        for way, title in WAYS.items():
            if way == "compiled" and not compiler:
                continue
            try:
                workers[title] = stack.enter_context(Worker("benchmarks.inference", way, scratch))
            except SystemExit:
                if way != "compiled":
                    raise
                note += " torch.compile was not run: it failed on this machine."
        if rival("sklesion"):
            workers[SKLESION] = stack.enter_context(
                Worker("benchmarks.sklesion_way", scratch, python=rival("sklesion"))
            )
        measured = [
            {
                name: (w.ask(do="latency", times=times), w.ask(do="throughput", count=count))
                for name, w in workers.items()
            }
            for _ in range(rounds)
        ]
        held = {name: worker.ask(do="memory") for name, worker in workers.items()}
        facts = {name: worker.ready for name, worker in workers.items()}
    latency = [{name: found[0] * 1000 for name, found in r.items()} for r in measured]
    throughput = [{name: found[1] for name, found in r.items()} for r in measured]
    base = WAYS["eager"]
    size = [cost(name, facts[name]["model, MB"], facts[base]["model, MB"], "MB") for name in facts if name != base]
    peak = [cost(name, held[name], held[base], "MB") for name in held if name != base]
    ready = [cost(n, f["ready, seconds"], facts[base]["ready, seconds"], "s") for n, f in facts.items() if n != base]
    usual = statistics.median(r[base] for r in latency)
    return [
        chart("Latency of one image, ms", bars(latency, base, "ms"), f"torch eager, {usual:.1f} ms", better="less",
              note=note, rounds=latency),
        chart("Throughput of many images, images/s", bars(throughput, base, "images/s"), base, note=note,
              rounds=throughput),
        chart("Peak memory, MB", peak, f"torch eager, {held[base]:.0f} MB", better="less",
              note="The whole process, after both.", measured=held),
        chart("Ready to answer, s", ready, "torch eager", better="less",
              note="Loading and the first image; imports aside.",
              measured={n: f["ready, seconds"] for n, f in facts.items()}),
        chart("Model file, MB", size, "model.onnx", better="less",
              measured={n: f["model, MB"] for n, f in facts.items()}),
    ]  # fmt: skip


def cost(name: str, value: float, base: float, unit: str) -> dict:
    """A bar of one measurement."""
    return bar(name, [value / base], f"{value:,.3g} {unit}")


class Ours:
    def __init__(self):
        from skinlesion.serving.predictor import BATCH_FRAMES, Predictor

        self._one, self._many, self._few = Predictor.load(), Predictor.load(threads=1), BATCH_FRAMES

    def one(self, data: bytes) -> None:
        self._one.predict([images.decode(data)])

    def many(self, data: list[bytes]) -> None:
        groups = [data[i : i + self._few] for i in range(0, len(data), self._few)]
        with ThreadPoolExecutor(CORES) as pool:
            list(pool.map(lambda group: self._many.predict([images.decode(d) for d in group]), groups))


class Torch:
    """The shipped network's twin with random weights: as much to compute."""

    def __init__(self, compiled: bool):
        import numpy as np
        import torch

        from skinlesion.export.onnx import Exported
        from skinlesion.training.domain import MOST_COMPONENTS, Domain
        from skinlesion.training.networks.models import create_model

        torch.set_num_threads(CORES)
        manifest = Manifest.read(None).content
        network = create_model(
            manifest["architecture"], classes=len(manifest["labels"]), image_size=manifest["image_size"]
        )
        width = network.backbone.num_features
        domain = Domain(np.zeros(width), np.eye(width, MOST_COMPONENTS), np.ones(MOST_COMPONENTS), 1.0)
        views, crops = manifest["views"], manifest.get("crops", 1)
        module = Exported(network, manifest["image_size"], manifest["fit"], domain, views, crops).eval()
        module = module.to(memory_format=torch.channels_last)
        self._torch, self._network = torch, torch.compile(module, dynamic=False) if compiled else module

    def _answer(self, frames) -> None:
        import numpy as np

        with self._torch.inference_mode():
            self._network(self._torch.from_numpy(np.stack(frames)))

    def one(self, data: bytes) -> None:
        self._answer([images.decode(data)])

    def many(self, data: list[bytes]) -> None:
        with ThreadPoolExecutor(CORES) as pool:
            frames = list(pool.map(images.decode, data))
        for start in range(0, len(frames), BATCH):
            self._answer(frames[start : start + BATCH])


def main() -> None:
    name, folder = sys.argv[1:]
    data = [path.read_bytes() for path in sorted(Path(folder).glob("*.jpg"))]
    began = time.perf_counter()
    way = Ours() if name == "ours" else Torch(compiled=name == "compiled")
    way.one(data[0])
    ready = time.perf_counter() - began
    way.many((data * BATCH)[:BATCH])
    answer_forever(
        {"ready, seconds": ready, "model, MB": (PRETRAINED / "model.onnx").stat().st_size / 1e6},
        {
            "latency": lambda times: median_seconds(lambda: way.one(data[0]), times),
            "throughput": lambda count: count / median_seconds(lambda: way.many((data * count)[:count]), 1),
            "memory": lambda: memory("VmHWM"),
        },
    )


if __name__ == "__main__":
    main()
