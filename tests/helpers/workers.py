"""Trainings in processes of their own, which a test may kill, starve of disk or start several of at once.

They are forked from a server that has imported all that they need already: a new process costs milliseconds.
"""

import contextlib
import ctypes
import multiprocessing
import os
import random
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from skinlesion import cli
from skinlesion.core.config import Config
from skinlesion.core.errors import SkinLesionError
from skinlesion.core.runs import Run
from skinlesion.data.cache import open_cache

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(  # what trainings load, and what the modules load whose functions they are given
    ["skinlesion.pipeline", "skinlesion.serving.features", "skinlesion.training.standalone", "torch.utils.tensorboard",
     "nbformat", "pytest", "sklearn.metrics", "sklearn.model_selection"]
)  # fmt: skip

LINES = "steps.txt"  # where a training notes each step that it has made, and when (seconds)
ERROR = "error.txt"  # what it said when it failed


def start(work: Callable, *arguments, **options) -> multiprocessing.Process:
    """Run ``work`` (a function of a module) in a new process."""
    process = _SERVER.Process(target=work, args=arguments, kwargs=options, daemon=True)
    process.start()
    return process


def run(work: Callable, *arguments, **options) -> int:
    """Run ``work`` in a new process to its end and return the exit status, negative for a signal."""
    process = start(work, *arguments, **options)
    process.join(300)
    assert process.exitcode is not None, "the process hangs"
    return process.exitcode


def train(data: tuple, config: Config, folder: Path, *, before: Callable | None = None, at: int = 0, signal=None):
    """``fit`` on ``data`` (a cache's folder, targets, split), noting its steps; what it raises ends in ``error.txt``.

    ``before`` is called first, with the process to itself; ``signal``, a pipe's end, hears when step ``at`` is done.
    """
    from skinlesion.training.fit import fit

    if before:
        before()
    cache, targets, split = data
    folder.mkdir(parents=True, exist_ok=True)
    noted, told = 0, False
    rank = os.environ.get("RANK", "")
    with open(folder / f"{LINES}{rank}", "a", buffering=1) as lines:

        def watch(progress):
            nonlocal noted, told
            if progress.done == noted:
                return  # an epoch's end, not another step
            noted = progress.done
            step = progress.epoch * progress.steps + progress.step
            print(step, time.monotonic(), file=lines)
            if signal and step >= at and not told:
                told = True
                signal.send(step)

        try:
            fit(config, open_cache(cache), targets, split, Run(folder), classes=7, watch=watch)
        except SkinLesionError as error:
            (folder / f"{ERROR}{rank}").write_text(f"{type(error).__name__}: {error}")
            sys.exit(2)


def steps(folder: Path) -> tuple[list[int], list[float]]:
    """The steps noted so far, those of killed trainings included, and when each was made, in seconds."""
    lines = [line.split() for line in (folder / LINES).read_text().splitlines(keepends=True) if line.endswith("\n")]
    return [int(step) for step, _ in lines], [float(moment) for _, moment in lines]


def command(arguments: list[str], output: Path) -> int:
    """``skinlesion ARGUMENTS`` in this process, with all its output in a file; returns the exit status."""
    with open(output, "w") as stream, contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
        return cli.main(arguments)


def exit_with(work: Callable, *arguments, **options) -> None:
    sys.exit(work(*arguments, **options))


def ranks(work: Callable, *arguments: tuple) -> list[multiprocessing.Process]:
    """Run ``work`` in as many processes as there are tuples of arguments, each with the environment of its rank."""
    port = _quiet_port()
    return [start(_as_rank, rank, len(arguments), port, work, arguments[rank]) for rank in range(len(arguments))]


def _quiet_port() -> int:
    """A free port below those that the system gives away, which another test could get before a rank listens there."""
    for port in random.SystemRandom().sample(range(20_000, 32_000), 1000):
        with contextlib.suppress(OSError), socket.socket() as free:
            free.bind(("127.0.0.1", port))
            return port
    raise OSError("no port between 20,000 and 32,000 is free")


def _as_rank(rank: int, size: int, port: int, work: Callable, arguments: tuple) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1",
                   "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "test"}  # fmt: skip
    work(*arguments)


def obey_permissions() -> None:
    """Give up the right of root to write where permission bits forbid it."""
    header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert ctypes.CDLL(None).capset(header, none) == 0


CANNOT_MOUNT = 77
_NEW_MOUNTS, _NEW_USERS, _REMOUNT = 0x20000, 0x10000000, 32  # CLONE_NEWNS, CLONE_NEWUSER, MS_REMOUNT


def small_disk(place: Path, size: int) -> None:
    """Mount an empty disk of ``size`` bytes that this process alone sees; ends it where the system forbids that."""
    user, group = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None)
    if libc.unshare(_NEW_MOUNTS | _NEW_USERS):
        sys.exit(CANNOT_MOUNT)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    if libc.mount(b"tmpfs", bytes(place), b"tmpfs", 0, f"size={size}".encode()):
        sys.exit(CANNOT_MOUNT)


def enlarge_disk(place: Path, size: int) -> None:
    assert ctypes.CDLL(None).mount(b"tmpfs", bytes(place), b"tmpfs", _REMOUNT, f"size={size}".encode()) == 0
