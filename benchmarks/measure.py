"""What every benchmark shares: fresh processes, and pairs measured in turn.

Rivals import it in their own environments: besides Python, it needs NumPy alone to be imported.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
RIVALS = ROOT / "build" / "rivals"
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def circumstances() -> dict:
    """When and where a measurement begins."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{CORES} x {platform.machine()}",
        "load when begun": round(os.getloadavg()[0], 2),
    }


def apart(function: Callable, *arguments):
    """Call a function in a fresh process, so that no measurement inherits another's memory or threads.

    Forked from a server that has imported torch and the modules that measure with it, and computed nothing.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.decode", "benchmarks.training"])
    with ProcessPoolExecutor(1, mp_context=context) as process:
        return process.submit(function, *arguments).result()


def in_turn(ways: dict[str, Callable[[], float]], rounds: int) -> list[dict[str, float]]:
    """Measure all ways once in each round, so that what changes about the machine changes for all of them."""
    return [{name: way() for name, way in ways.items()} for _ in range(rounds)]


def bar(name: str, ratios: Sequence[float], says: str = "") -> dict:
    """One bar of a chart: the median of repeated pairs, with the least and the largest of them."""
    return {
        "name": name,
        "value": statistics.median(ratios),
        "low": min(ratios),
        "high": max(ratios),
        "pairs": len(ratios),
        "says": says,
    }


def bars(rounds: Sequence[dict[str, float]], base: str, unit: str, *, inverse: bool = False) -> list[dict]:
    """A bar for each way but ``base``, as a ratio to it; ``inverse`` where the way's value is the divisor."""
    found = []
    for name in rounds[0]:
        if name != base:
            ratios = [r[base] / r[name] if inverse else r[name] / r[base] for r in rounds]
            found.append(bar(name, ratios, f"{statistics.median(r[name] for r in rounds):,.4g} {unit}"))
    return found


def chart(title: str, found: Sequence[dict], against: str, *, better: str = "more", note: str = "", **raw) -> dict:
    """Bars that stand beside each other; ``against`` says what 1.0 is, ``raw`` keeps what they were made from."""
    return {"title": title, "against": against, "better": better, "note": note, "bars": list(found), **raw}


def memory(kind: str, process: int | str = "self") -> float:
    """MB of a process, by a name in /proc/PID/status: VmRSS (resident), VmHWM (the most so far), RssAnon (no files)."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.search(rf"{kind}:\s+(\d+)", status)[1]) / 1000


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The slope k of values ~ sizes**k: least squares on logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def rival(name: str) -> Path | None:
    """The interpreter of a rival's own environment, None where ``make bench-rivals`` has not made it."""
    python = RIVALS / name / "bin" / "python"
    return python if python.exists() else None


def drawn(seed: int, width: int, height: int) -> bytes:
    """A JPEG of a drawn lesion with a sensor's noise: without, it would be too small and too quick to decode."""
    from PIL import Image

    from skinlesion.core.taxonomy import HAM7
    from skinlesion.data.demo.dataset import draw_example

    frame = Image.fromarray(draw_example(HAM7.codes[seed % 7], seed=seed)).resize((width, height))
    noise = np.random.default_rng(seed).normal(0, 4, (height, width, 3))
    data = io.BytesIO()
    Image.fromarray(np.clip(np.asarray(frame) + noise, 0, 255).astype(np.uint8)).save(data, "JPEG", quality=90)
    return data.getvalue()


def class_folders(folder: Path, count: int, *, width: int = 600, height: int = 450, different: int = 28) -> None:
    """``count`` images in folders by class; beyond ``different`` ones they are links to the same files."""
    from skinlesion.core.taxonomy import HAM7

    first: list[Path] = []
    for i in range(count):
        path = folder / HAM7.codes[i % 7] / f"{i:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        if i < different:
            path.write_bytes(drawn(i, width, height))
            first.append(path)
        else:
            path.hardlink_to(first[i % different])


class Worker:
    """A process that keeps its model and measures when asked: a line of JSON in, a line of JSON out."""

    def __init__(self, module: str, *arguments: str, python: Path | str = sys.executable):
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3"}  # sklesion's TensorFlow
        environment = os.environ | quiet | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "lib")))}
        self._process = subprocess.Popen(
            [str(python), "-W", "ignore", "-m", module, *arguments], cwd=ROOT, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self.ready = self._hear()

    def ask(self, **question):
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return self._hear()

    def _hear(self):
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"error: {' '.join(map(str, self._process.args))} ended; what it said is above")
        return json.loads(line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait(60)


# ---- the other side of a worker


def answer_forever(facts: dict, questions: dict[str, Callable]) -> None:
    """Print ``facts`` once, then the result for each line ``{"do": name, …}`` by the function of that name.

    Results go to what was standard output; whatever else prints is sent to standard error.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    print(json.dumps(facts), file=answers)
    for line in sys.stdin:
        question = json.loads(line)
        print(json.dumps(questions[question.pop("do")](**question)), file=answers)


def median_seconds(call: Callable[[], object], times: int) -> float:
    """The median of so many calls."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        found.append(time.perf_counter() - began)
    return statistics.median(found)
