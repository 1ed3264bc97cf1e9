"""Batch scoring on a Ray cluster: each part is a Ray task, and this process writes what the tasks send back.

Tasks, not a Ray Data pipeline, for three reasons. A part has a name and lands whole, once, under it: Ray Data names its
files after its own blocks, so after a lost driver no part could be identified, skipped or counted. A task that dies
with its node is simply run again by Ray, where a pool of actors has to be rebuilt. And images never pass through the
object store: a worker fetches them from the source itself, and sends back some 100 bytes for each.

One process writes, so it is enough that this one reaches the output; the source must be reached by all nodes, and each
needs this package (``pip install 'skin-lesion-lab[scale]'``). The model travels with the tasks.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from skinlesion.core.errors import DataError, SkinLesionError
from skinlesion.serving import parts
from skinlesion.serving.manifest import FILE, model_folder
from skinlesion.serving.predictor import Predictor
from skinlesion.serving.score_local import Job, Part, Report, score_part

LOST_NODES = 10  # how often a task is begun again elsewhere before there must be another reason


def on_ray(job: Job, todo: Iterator[Part], report: Report) -> dict[int, int]:
    """Score parts on all cores of a cluster, and write them. Returns {part: images that failed}.

    Raises SkinLesionError if Ray is not installed, its cluster is not reached or lost, or a worker cannot go on.
    """
    ray = _connect()
    model = ray.put(_packed(job))
    task = ray.remote(num_cpus=1, max_retries=LOST_NODES)(_score)
    running: dict = {}
    failed: dict[int, int] = {}

    def collect(wanted: int) -> None:
        """Write finished parts until no more than ``wanted`` are under way."""
        while len(running) > wanted:
            for reference in ray.wait(list(running), num_returns=1)[0]:
                number, images = running.pop(reference)
                content, failed[number] = _result(ray, reference)
                job.folder.write(parts.file_name(number), content)
                report(images)

    for number, items in todo:
        running[task.remote(items, model)] = number, len(items)
        # as many wait as are computed, so that no core has to; a cluster may grow while it works
        collect(2 * max(1, int(ray.cluster_resources().get("CPU", 1))))
    collect(0)
    return failed


def _connect():
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no usage report leaves this machine
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")  # the first is reported; Ray would trace the others too
    try:
        import ray
    except ImportError:
        raise SkinLesionError("Ray is not installed; pip install 'skin-lesion-lab[scale]'") from None
    if ray.is_initialized():
        return ray
    address = os.environ.get("RAY_ADDRESS")
    start = {"address": address} if address else {"address": "local", "include_dashboard": False}
    try:
        _listens(address)
        ray.init(**start, log_to_driver=False, logging_level="ERROR")
    except Exception as error:  # Ray raises many kinds here
        if not address:
            raise SkinLesionError(
                f"Ray did not start on this machine ({error}); leave out --engine ray, or try again when less runs here"
            ) from error
        raise SkinLesionError(
            f"no Ray cluster responds at {address} ({error}); check RAY_ADDRESS, and that "
            "RAY_AUTH_MODE and the token are the cluster's (`ray get-auth-token`), or unset RAY_ADDRESS to "
            "use this machine alone"
        ) from error
    return ray


def _listens(address: str | None) -> None:
    """Raise OSError if nobody listens at host:port; Ray itself would end this process there, without a word to us."""
    host, _, port = (address or "").rpartition(":")
    if host and port.isdigit() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=30).close()


def _result(ray, reference) -> tuple[bytes, int]:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, SkinLesionError):
            raise error.cause from None
        raise SkinLesionError(f"a Ray worker failed ({error.cause!r}); the same command continues from here") from error
    except ray.exceptions.RayError as error:
        raise DataError(
            f"Ray lost a part {LOST_NODES} times ({type(error).__name__}), most often because a node's memory ran out; "
            "the same command continues from here"
        ) from error


def _packed(job: Job) -> dict[str, bytes]:
    """The model's files; those of the shipped one too, so that all nodes use the same."""
    return {name: (model_folder(job.model) / name).read_bytes() for name in (FILE, job.predictor.manifest.file)}


def _score(items: list, model: dict[str, bytes]) -> tuple[bytes, int]:
    """What a worker does with a part."""
    return score_part(items, _predictor(tuple(model.items())), lambda count: None)


@lru_cache(maxsize=1)  # a worker process lives for many tasks
def _predictor(model: tuple[tuple[str, bytes], ...]) -> Predictor:
    with tempfile.TemporaryDirectory() as folder:
        for name, content in model:
            (Path(folder) / name).write_bytes(content)
        return Predictor.load(folder, threads=1)
