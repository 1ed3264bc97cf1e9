"""Batch scoring on this machine: what a worker does with a part, and as many workers as there are cores.

Threads do the work: all but 3% of an image's time is spent in the JPEG decoder and the network, which let other threads
run meanwhile, so some thirty cores can be fed by one process; more are by several shards.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass

import numpy as np

from skinlesion.core import images
from skinlesion.core.errors import ImageError, ModelError, SkinLesionError
from skinlesion.core.machine import cores
from skinlesion.core.storage import Folder, is_url
from skinlesion.serving import parts
from skinlesion.serving.listing import Item, fetch
from skinlesion.serving.predictor import BATCH_FRAMES, Prediction, Predictor

# Decoded images that a worker collects before it runs the network: bounded whatever cameras send.
HELD_BYTES = 32_000_000

Report = Callable[[int], object]
Part = tuple[int, list[Item]]


@dataclass(frozen=True)
class Job:
    """What an engine needs besides the parts to score; see :func:`skinlesion.serving.score.score`."""

    sources: tuple[str, ...]
    folder: Folder
    model: str | None
    predictor: Predictor


def on_threads(job: Job, todo: Iterator[Part], report: Report) -> dict[int, int]:
    """Score and write parts on all cores of this machine. Returns {part: images that failed}."""
    # To wait for a store costs no core: with more workers than cores, others compute meanwhile.
    workers = cores() * (2 if any(map(is_url, job.sources)) else 1)
    stopped, lock = threading.Event(), threading.Lock()
    failed: dict[int, int] = {}

    def count_images(count: int) -> None:
        if stopped.is_set():
            raise SkinLesionError("stopped")  # not shown: the error that stopped the others is
        with lock:
            report(count)

    def work(number: int, items: list[Item]) -> tuple[int, int]:
        content, missed = score_part(items, job.predictor, count_images)
        job.folder.write(parts.file_name(number), content)
        return number, missed

    with ThreadPoolExecutor(workers) as pool:
        running = set()
        try:
            for part in todo:
                running.add(pool.submit(work, *part))
                if len(running) > workers:  # no more are listed than are about to be scored
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    failed |= dict(future.result() for future in done)
            failed |= dict(future.result() for future in running)
        except BaseException:
            stopped.set()
            pool.shutdown(cancel_futures=True)
            raise
    return failed


def score_part(items: Sequence[Item], predictor: Predictor, report: Report) -> tuple[bytes, int]:
    """Score the images of one part, what every engine's workers do: the Parquet file, and how many images failed.

    ``report`` is called with the number of images after each batch.
    """
    predictions: list[Prediction | ImageError] = []
    waiting: list[np.ndarray | ImageError] = []
    for data in fetch(items):
        waiting.append(_decoded(data, predictor.manifest.sufficient_side))
        held = sum(frame.size for frame in waiting if not isinstance(frame, ImageError))
        if len(waiting) == BATCH_FRAMES or held > HELD_BYTES:
            predictions += _predicted(predictor, waiting)
            report(len(waiting))
            waiting.clear()
    predictions += _predicted(predictor, waiting)
    report(len(waiting))
    missed = sum(isinstance(one, ImageError) for one in predictions)
    return parts.to_parquet(items, predictions, predictor.manifest), missed


def _decoded(data: bytes | ImageError, sufficient_side: int) -> np.ndarray | ImageError:
    if isinstance(data, ImageError):
        return data
    try:
        return images.decode(data, formats=images.FILE_FORMATS, sufficient_side=sufficient_side)
    except ImageError as error:
        return error


def _predicted(predictor: Predictor, frames: list[np.ndarray | ImageError]) -> list[Prediction | ImageError]:
    good = [frame for frame in frames if not isinstance(frame, ImageError)]
    try:
        found = iter(predictor.predict(good, maps=False))
    except ModelError as error:  # of one of them: the others are predicted
        if len(frames) == 1:
            return [ImageError("unreadable", str(error))]
        return [one for frame in frames for one in _predicted(predictor, [frame])]
    return [frame if isinstance(frame, ImageError) else next(found) for frame in frames]
