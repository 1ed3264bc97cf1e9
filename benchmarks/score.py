"""How fast batch scoring is, against decoding and the model alone on the same cores, run right before it.

``alone`` is a process a core that decodes images which are in memory already and runs the network on a few at a time:
no listing, no reading, no table, no interpreter shared. ``score`` is all of ``skinlesion score``, from the listing and
the model's loading to the last part on disk. The images are synthetic, JPEGs of 600 x 450 px as HAM10000's are.
"""

from __future__ import annotations

import multiprocessing
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.measure import CORES, bars, chart, class_folders
from skinlesion.core import images
from skinlesion.serving.predictor import BATCH_FRAMES, Predictor
from skinlesion.serving.score import score


def _prepare(data: list[bytes]) -> None:
    global _data, _predictor
    _data, _predictor = data, Predictor.load(threads=1)
    _work(1)


def _work(batches: int) -> None:
    for batch in range(batches):
        chosen = [_data[(batch * BATCH_FRAMES + i) % len(_data)] for i in range(BATCH_FRAMES)]
        _predictor.predict([images.decode(data, formats=images.FILE_FORMATS) for data in chosen])


def alone(pool, count: int) -> float:
    """Images a second of decoding and network alone."""
    batches = -(-count // BATCH_FRAMES // CORES)
    began = time.perf_counter()
    pool.map(_work, [batches] * CORES, chunksize=1)
    return batches * CORES * BATCH_FRAMES / (time.perf_counter() - began)


def scored(folder: Path, count: int) -> float:
    """Images a second of ``skinlesion score``."""
    with tempfile.TemporaryDirectory() as output:
        began = time.perf_counter()
        if score([str(folder)], output, progress=False):
            raise SystemExit("some images could not be scored")
        return count / (time.perf_counter() - began)


def charts(*, brief: bool = False) -> list[dict]:
    """The section's chart."""
    count, pairs = (64 * CORES, 1) if brief else (1280, 3)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        class_folders(folder, count)
        data = [path.read_bytes() for path in sorted(folder.rglob("*.jpg"))[:28]]
        with multiprocessing.get_context("spawn").Pool(CORES, _prepare, (data,)) as pool:
            pool.map(_work, [1] * CORES, chunksize=1)
            rounds = [{"alone": alone(pool, count), "skinlesion score": scored(folder, count)} for _ in range(pairs)]
    note = (
        f"{count:,} files of 600 x 450 px, from the listing and the model's loading to the last part on disk; alone: a "
        "process a core, images in memory."
    )
    rate = statistics.median(one["skinlesion score"] for one in rounds) / CORES
    return [
        chart("Batch scoring, images/s", bars(rounds, "alone", "images/s"), "decode and model alone", note=note,
              measured={"images a second and core": rate, "pairs": rounds}),
    ]  # fmt: skip
