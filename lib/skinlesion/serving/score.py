"""``skinlesion score``: many images in, Parquet parts out; killed and started again, nothing is lost or doubled.

A source's images, in order, are cut into numbered parts. A part is the unit of everything: a worker scores it, it is
written in one go, and one that is there is not scored again. Which images a part holds depends on the source alone, so
shards, engines and machines can take turns at the same output.

Threads do the work: all but 3% of an image's time is spent in the JPEG decoder and the network, which let other threads
run meanwhile, so some thirty cores can be fed by one process; more are by several shards.
"""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice

import numpy as np
from tqdm import tqdm

from skinlesion.core import images as door
from skinlesion.core.errors import ConfigError, DataError, ImageError, ModelError, SkinLesionError
from skinlesion.core.machine import cores
from skinlesion.core.storage import Folder, is_url
from skinlesion.serving import parts as files
from skinlesion.serving.listing import Item, Survey, fetch, listing
from skinlesion.serving.parts import Plan
from skinlesion.serving.predictor import BATCH_FRAMES, Prediction, Predictor

ENGINES = ("local", "ray")
# Decoded images that a worker collects before it runs the network: bounded whatever cameras send.
HELD_BYTES = 32_000_000

Report = Callable[[int], object]
Part = tuple[int, list[Item]]


@dataclass(frozen=True)
class Job:
    """What an engine needs besides the parts to score; see :func:`score`."""

    sources: tuple[str, ...]
    folder: Folder
    model: str | None
    predictor: Predictor


def score(
    sources: Sequence[str],
    output: str,
    *,
    engine: str = "local",
    shard: str = "1/1",
    model: str | None = None,
    progress: bool = True,
) -> int:
    """Score all images of the sources (:func:`skinlesion.serving.listing.listing`) that are not scored yet.

    ``output`` is a folder or fsspec URL for ``part-000000.parquet``, … (columns:
    :func:`skinlesion.serving.parts.table`) and ``_score.json``, which records what they were made from. ``engine``:
    ``local``, all cores of this machine; ``ray``, those of the cluster at ``RAY_ADDRESS``, or of this machine.
    ``shard``, ``i/N``: of N calls with i from 1 to N each takes its share of the parts. ``model``: a model folder; the
    shipped model where None. ``progress`` shows a bar with the time left on standard error.

    Returns 0, or 1 where an image could not be scored; its row has the reason. Raises SkinLesionError if sources,
    output or model cannot be used, or the output holds scores of others.
    """
    index, count = _shard(shard)
    predictor = Predictor.load(model, threads=1)  # one a worker: many images keep the cores busy, not one
    survey = Survey()
    for _ in survey.watch(listing(sources)):
        pass
    folder = Folder(output)
    plan = Plan.of(survey, predictor.manifest)
    plan.agree(folder)
    mine = range(index - 1, plan.parts, count)
    failed = files.finished(folder, plan, mine)
    todo = _cut(sources, plan, [number for number in mine if number not in failed])
    done, total = (sum(map(plan.size, numbers)) for numbers in (failed, mine))
    job = Job(tuple(sources), folder, model, predictor)
    every = 0.5 if sys.stderr.isatty() else 60  # seconds; a batch system's log gets a line a minute
    with tqdm(desc="score", unit="image", total=total, initial=done, disable=not progress, mininterval=every) as bar:
        failed |= _engine(engine)(job, todo, bar.update)
    files.sweep(folder, mine)
    missed = sum(failed.values())
    print(
        f"images scored{f' of shard {shard}' if count > 1 else ''}: {total:,}, {done:,} of them before, in {folder}"
        + (f"; {missed:,} could not be: see the column error" if missed else "")
    )
    return 1 if missed else 0


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise ConfigError(f"--shard {text}: give i/N, with i from 1 to N, such as 1/8 … 8/8")
    return int(match[1]), int(match[2])


def _cut(sources: Sequence[str], plan: Plan, wanted: Sequence[int]) -> Iterator[Part]:
    """The wanted parts' images, from a second listing of the sources; only one part is in memory.

    Raises DataError at the end, if the sources have changed since the first listing.
    """
    chosen, survey = set(wanted), Survey()
    if not chosen:
        return
    items = survey.watch(listing(sources))
    for number in range(plan.parts):
        part = list(islice(items, plan.part_size))
        if number in chosen:
            yield number, part
    for _ in items:
        pass
    if survey.fingerprint != plan.fingerprint:
        raise DataError("the images changed while they were scored; score them again, into another --output")


def _engine(name: str) -> Callable:
    if name == "local":
        return on_threads
    if name == "ray":
        from skinlesion.serving.score_ray import on_ray

        return on_ray
    raise ConfigError(f"there is no engine {name!r}; choose one of {', '.join(ENGINES)}")


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
        job.folder.write(files.name(number), content)
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
        waiting.append(_decoded(data, predictor.manifest.enough))
        held = sum(frame.size for frame in waiting if not isinstance(frame, ImageError))
        if len(waiting) == BATCH_FRAMES or held > HELD_BYTES:
            predictions += _predicted(predictor, waiting)
            report(len(waiting))
            waiting.clear()
    predictions += _predicted(predictor, waiting)
    report(len(waiting))
    missed = sum(isinstance(one, ImageError) for one in predictions)
    return files.to_parquet(items, predictions, predictor.manifest), missed


def _decoded(data: bytes | ImageError, enough: int) -> np.ndarray | ImageError:
    try:
        return data if isinstance(data, ImageError) else door.decode(data, formats=door.FILE_FORMATS, enough=enough)
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
