"""How long a query of an index of similar cases takes, and how much memory: 100,000 lesions, simulated.

    python -m benchmarks.neighbours              # a few minutes; wants an idle machine
    python -m benchmarks.neighbours --brief      # 5,000 lesions, to see that it works

Writes ``benchmarks/results/neighbours.json``. Features are drawn: mixtures whose energy falls along their directions as
that of a trained network's features does (98.6% along 16, 99.8% along 64 directions, as taken by hand of the shipped
model on 900 images of HAM10000). A quarter of the lesions has a second image. The query is compared with the full
product in 32 bits beside it, which also gives the six neighbours that it should find. On a busy machine, as
``load before`` tells it, read the processor time.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.measure import CORES, ROOT, apart, memory
from skinlesion.core.taxonomy import HAM7
from skinlesion.core.writing import write_json
from skinlesion.serving import neighbours
from skinlesion.serving.manifest import Manifest

WIDTH = 1280  # features of an image
PICTURE = bytes(5000)  # as large as a small JPEG
QUERIES = 60


def draw(count: int, seed: int = 0) -> np.ndarray:
    """Features float32 [count, WIDTH]: a mean that all share, and 400 clusters, along ever weaker directions."""
    rng, weights = np.random.default_rng(seed), np.arange(1, WIDTH + 1) ** -1.2
    centres = np.random.default_rng(1).normal(size=(400, WIDTH)) * weights
    found = centres[rng.integers(400, size=count)] + 0.5 * rng.normal(size=(count, WIDTH)) * weights
    return (found + 1.2 * (np.arange(WIDTH) == 0)).astype(np.float32)


def make(place: Path, lesions: int) -> None:
    """An index of that many lesions."""
    group = np.sort(np.r_[np.arange(lesions), np.arange(0, lesions, 4)])
    names = {"image_id": [f"ISIC_{i:07}" for i in range(len(group))], "lesion_id": [f"HAM_{i:07}" for i in group]}
    rows = names | {"source": ["drawn"] * len(group), "label": ["nv"] * len(group), "confirmed": ["histo"] * len(group)}
    facts = {"model": Manifest.read(None).sha256, "labels": list(HAM7.codes)}
    neighbours.write(place, rows, group, _images(len(group)), facts)


def _images(count: int) -> Iterator[tuple[np.ndarray, np.ndarray, bytes]]:
    looks = np.random.default_rng(2).integers(0, 256, (count, 64), dtype=np.uint8)
    for start in range(0, count, 5000):
        for row, features in enumerate(draw(min(5000, count - start), start), start):
            yield features, looks[row], PICTURE


def query(place: str) -> dict:
    """Open the index and query it, in a process of its own."""
    held = {"all": "VmRSS", "own": "RssAnon"}  # with, and without the pages of files, which the system may take back
    before, began = {name: memory(kind) for name, kind in held.items()}, time.perf_counter()
    index = neighbours.Neighbours.load(place, Manifest.read(None))
    opened = time.perf_counter() - began
    frame = np.random.default_rng(3).integers(0, 256, (450, 600, 3), dtype=np.uint8)
    queries, times, found, busy = draw(QUERIES, 10**9), [], [], time.process_time()
    for features in queries:
        began = time.perf_counter()
        found.append([case.image_id for case in index.nearest(features, frame)])
        times.append(1000 * (time.perf_counter() - began))
    after, busy = {name: memory(kind) for name, kind in held.items()}, time.process_time() - busy
    return {
        "opening, s": opened,
        "query, ms": {"median": statistics.median(times), "least": min(times), "most": max(times), "first": times[0]},
        "processor time a query, ms": 1000 * busy / QUERIES,
        "memory, MB": {name: after[name] - before[name] for name in after},
        "found": found,
    }


def compare(place: Path) -> tuple[list[list[str]], list[float]]:
    """The six neighbours of every query by the full product in 32 bits, and its milliseconds."""
    features = np.load(place / neighbours.FEATURES).astype(np.float32)
    with np.load(place / neighbours.ROWS) as stored:
        ids, group = stored["image_id"], stored["group"]
    expected, times = [], []
    for query in neighbours.unit(draw(QUERIES, 10**9)):
        began = time.perf_counter()
        order = np.argsort(-(features @ query))[:100]
        times.append(1000 * (time.perf_counter() - began))
        first = np.sort(np.unique(group[order], return_index=True)[1])[: neighbours.NEAREST]
        expected.append([str(ids[row]) for row in order[first]])
    return expected, times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brief", action="store_true", help="5,000 lesions, into build/bench; no figure is valid")
    lesions = 5_000 if parser.parse_args().brief else 100_000
    load, folder = os.getloadavg()[0], Path(tempfile.mkdtemp())
    try:
        make(folder / "index", lesions)
        measured = apart(query, str(folder / "index"))
        expected, full = compare(folder / "index")
        size = sum(path.stat().st_size for path in (folder / "index").iterdir())
    finally:
        shutil.rmtree(folder)
    agree = [len(set(a) & set(b)) for a, b in zip(measured.pop("found"), expected, strict=True)]
    found = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{CORES} x {platform.machine()}, {platform.system()}",
        "load before": load,
        "lesions": lesions,
        "images": lesions + -(-lesions // 4),
        "queries": QUERIES,
        **measured,
        "full product in 32 bits, ms": statistics.median(full),
        "neighbours of the full product that are found": sum(agree) / (neighbours.NEAREST * QUERIES),
        "on disk, MB": size / 1e6,
    }
    target = (ROOT / "build" / "bench" if lesions == 5_000 else ROOT / "benchmarks" / "results") / "neighbours.json"
    write_json(target, found)
    print(f"{found['query, ms']['median']:.1f} ms a query, {found['memory, MB']['all']:.0f} MB; wrote {target}")


if __name__ == "__main__":
    main()
