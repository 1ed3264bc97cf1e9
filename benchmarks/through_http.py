"""The app through HTTP, against decoder and model alone in the same minute, on the same cores: part of `make bench`.

benchmarks/serve.py measures the same more thoroughly, and what it does under overload and after thousands of requests.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

from benchmarks.measure import bar
from benchmarks.serve import CORES, DATA, REPOSITORY, app, latency, repeat, served, start
from skinlesion.core import images
from skinlesion.serving.predictor import Predictor


def p99(taken: list[float]) -> float:
    """The time within which 99 of 100 calls were done."""
    return sorted(taken)[min(len(taken) - 1, int(0.99 * len(taken)))]


def under_load(seconds: float) -> dict[str, float]:
    """One pair: p99 and rate of as many clients as cores, and of as many callers of decoder and model."""
    predictor = Predictor.load(threads=1)
    alone, alone_taken = repeat(lambda: predictor.predict([images.decode(DATA)]), CORES, seconds)
    with app() as (_, port):
        served(port, CORES, 1)
        _, taken = served(port, CORES, seconds)
        rate, _ = served(port, 2 * CORES, seconds)
    return {"rate": rate, "rate, alone": alone, "p99": p99(taken), "p99, alone": p99(alone_taken)}


def measure(*, brief: bool = False) -> list[dict]:
    """The section's charts."""
    os.environ["SKINLESION_RATE"] = "0"
    rounds, seconds = (1, 2) if brief else (4, 6)
    pairs = [under_load(seconds) for _ in range(rounds)]
    single, begun = latency(rounds=5 if brief else 60), start(rounds=1 if brief else 3)
    alone = loaded()

    def middle(key: str) -> float:
        return statistics.median(pair[key] for pair in pairs)

    less, same = {"against": "decode and model alone", "better": "less"}, "600 x 450 px, clients on the same cores."
    return [
        {"title": "Requests/s", "against": "decode and model alone", "better": "more", "note": same, "pairs": pairs,
         "bars": [bar("http", [p["rate"] / p["rate, alone"] for p in pairs], f"{middle('rate'):.1f} requests/s")]},
        {"title": "Latency", **less, "note": "p50 of one client; p99 with as many clients as cores. " + same, "bars": [
            bar("http, p50", [single["p50, http / decode and model alone"]],
                f"{single['p50, seconds']['http'] * 1000:.1f} ms"),
            bar("http, p99", [p["p99"] / p["p99, alone"] for p in pairs], f"{middle('p99') * 1000:.1f} ms"),
        ]},
        {"title": "Start and memory", "against": "the model alone in Python", "better": "less",
         "measured": [begun, alone],
         "note": "From the command to the first answer, and what is resident after it.", "bars": [
             bar("http, seconds to the first answer", [begun["first answer, seconds"] / alone["seconds"]],
                 f"{begun['first answer, seconds']:.2f} s"),
             bar("http, resident", [begun["resident after it, MB"] / alone["MB"]],
                 f"{begun['resident after it, MB']:.0f} MB"),
         ]},
    ]  # fmt: skip


def loaded() -> dict[str, float]:
    """Seconds and memory of a Python that predicts once and ends."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.once"], input=DATA, capture_output=True, check=True, cwd=REPOSITORY
    )
    return {"seconds": time.perf_counter() - began, "MB": int(done.stdout) / 1000}
