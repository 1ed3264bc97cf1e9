"""The other side of :class:`benchmarks.measure.Worker`; needs nothing but Python, for rivals import it too."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path


def answer_forever(facts: dict, questions: dict[str, Callable]) -> None:
    """Say ``facts`` once, then answer each line ``{"do": name, …}`` by the function of that name.

    Answers go to what was standard output; whatever else prints is sent to standard error.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    print(json.dumps(facts), file=answers)
    for line in sys.stdin:
        question = json.loads(line)
        print(json.dumps(questions[question.pop("do")](**question)), file=answers)


def timed(call: Callable[[], object], times: int) -> list[float]:
    """Seconds of each of so many calls."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        found.append(time.perf_counter() - began)
    return found


def median_seconds(call: Callable[[], object], times: int) -> float:
    return statistics.median(timed(call, times))


def peak_memory() -> float:
    """The most that this process has held, MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1000
