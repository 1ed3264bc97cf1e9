"""One image and many, from encoded bytes to answers: each way in a process that keeps its model, asked in turn.

What they compute is the shipped model's work, mirrored views included; sklesion is another network, larger and fed
other inputs, so its bars say what its user waits for and not how well its code is written.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.measure import Worker, bar, bars, chart, drawn, rival

WAYS = {"ours": "our ONNX path", "eager": "torch eager", "compiled": "torch.compile"}
SKLESION = "sklesion 0.2.2 (Keras)"


def measure(*, brief: bool = False) -> list[dict]:
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
                workers[title] = stack.enter_context(Worker("benchmarks.inference_way", way, scratch))
            except SystemExit:
                if way != "compiled":
                    raise
                note += " torch.compile was not run: it failed on this machine."
        if rival("sklesion"):
            workers[SKLESION] = stack.enter_context(
                Worker("benchmarks.sklesion_way", scratch, python=rival("sklesion"))
            )
        asked = [
            {
                name: (w.ask(do="latency", times=times), w.ask(do="throughput", count=count))
                for name, w in workers.items()
            }
            for _ in range(rounds)
        ]
        held = {name: worker.ask(do="memory") for name, worker in workers.items()}
        facts = {name: worker.ready for name, worker in workers.items()}
    latency = [{name: found[0] * 1000 for name, found in r.items()} for r in asked]
    throughput = [{name: found[1] for name, found in r.items()} for r in asked]
    base = WAYS["eager"]
    size = [cost(name, facts[name]["model, MB"], facts[base]["model, MB"], "MB") for name in facts if name != base]
    memory = [cost(name, held[name], held[base], "MB") for name in held if name != base]
    ready = [cost(n, f["ready, seconds"], facts[base]["ready, seconds"], "s") for n, f in facts.items() if n != base]
    said = statistics.median(r[base] for r in latency)
    return [
        chart("Latency of one image, ms", bars(latency, base, "ms"), f"torch eager, {said:.1f} ms", better="less",
              note=note, rounds=latency),
        chart("Throughput of many images, images/s", bars(throughput, base, "images/s"), base, note=note,
              rounds=throughput),
        chart("Peak memory, MB", memory, f"torch eager, {held[base]:.0f} MB", better="less",
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
