"""``skinlesion score``: many images in, Parquet parts out; killed and started again, nothing is lost or doubled.

A source's images, in order, are cut into numbered parts. A part is the unit of everything: a worker scores it, it is
written in one go, and one that is there is not scored again. Which images a part holds depends on the source alone, so
shards, engines and machines can take turns at the same output.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

from tqdm import tqdm

from skinlesion.core.errors import ConfigError, DataError
from skinlesion.core.storage import Folder, is_url
from skinlesion.core.writing import need_writable
from skinlesion.serving import parts
from skinlesion.serving.listing import Survey, listing
from skinlesion.serving.parts import Plan
from skinlesion.serving.predictor import Predictor
from skinlesion.serving.score_local import Job, Part, on_threads
from skinlesion.serving.score_ray import on_ray

ENGINES = {"local": on_threads, "ray": on_ray}


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
    if engine not in ENGINES:
        raise ConfigError(f"there is no engine {engine!r}; choose one of {', '.join(ENGINES)}")
    if not is_url(output):
        need_writable(output)
    predictor = Predictor.load(model, threads=1)  # one a worker: many images keep the cores busy, not one
    survey, passed_over = Survey(), Counter[str]()
    for _ in survey.watch(listing(sources, passed_over)):
        pass
    folder = Folder(output)
    plan = Plan.of(survey, predictor.manifest)
    plan.record(folder)
    mine = range(index - 1, plan.parts, count)
    failed = parts.finished(folder, plan, mine)
    todo = _cut(sources, plan, [number for number in mine if number not in failed])
    done, total = (sum(map(plan.size, numbers)) for numbers in (failed, mine))
    job = Job(tuple(sources), folder, model, predictor)
    every = 0.5 if sys.stderr.isatty() else 60  # seconds; a batch system's log gets a line a minute
    with tqdm(desc="score", unit="image", total=total, initial=done, disable=not progress, mininterval=every) as bar:
        failed |= ENGINES[engine](job, todo, bar.update)
    parts.remove_partial(folder, mine)
    missed = sum(failed.values())
    print(
        f"images scored{f' of shard {shard}' if count > 1 else ''}: {total:,}, {done:,} of them before, in {folder}"
        + (f"; {missed:,} could not be: see the column error" if missed else "")
    )
    if passed_over:
        print("passed over: " + ", ".join(f"{count:,} x {kind}" for kind, count in passed_over.most_common()))
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
