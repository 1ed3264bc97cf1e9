"""Decoded pixels: every image read once, fitted, and stored as uint8 in a memory-mapped array.

A cache is named by what it was made from and how: the rows' images (a zip member's size and CRC, a file's size and
time), the frame fitting, the side and this module's version. Building it can be interrupted at any moment: finished
blocks are counted in a file that is written after their pixels are on disk, and the next call goes on from there.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from skinlesion.core import framing, images
from skinlesion.core.errors import DataError, ImageError
from skinlesion.core.machine import thread_pool
from skinlesion.core.runs import Run
from skinlesion.core.writing import cache_folder, lock, write_errors, write_json
from skinlesion.data.table import LesionTable

VERSION = 2
BLOCK = 256  # images between two saved counts


@dataclass(frozen=True)
class PixelCache:
    """Memory-mapped pixels of a table's rows, in the table's order."""

    pixels: np.ndarray  # uint8 [N, size, size, 3]: input of the network when an epoch is validated
    #: uint8 [N, crops, size, size, 3]: those whose predictions are averaged: ``pixels`` where there is one a frame
    crops: np.ndarray
    #: uint8 [N, height, width, 3]: what training crops from; the same array as ``pixels`` unless the fit is
    #: ``random_crop``
    frames: np.ndarray
    fit: str
    folder: Path
    content: str  # SHA-256 over the decoded pixels

    @property
    def size(self) -> int:
        """Side of the network's input, pixels."""
        return self.pixels.shape[1]


def cache_key(table: LesionTable, size: int, fit: str, crops: int = 1) -> str:
    """Hexadecimal name of the cache for these images and settings."""
    state = hashlib.sha256(f"{VERSION} {size} {fit}{f' {crops}' if crops > 1 else ''}".encode())
    for path in table.frame["path"]:
        state.update(images.stamp(path).encode())
    return state.hexdigest()[:24]


def build_cache(
    table: LesionTable, *, size: int, fit: str, crops: int = 1, workers: int | None = None, progress: bool = False
) -> PixelCache:
    """The pixels of a table, decoding only what is not there yet.

    ``size`` is the side of the network's input in pixels, ``fit`` and ``crops`` are those of
    :mod:`skinlesion.core.framing`, ``workers`` the threads that decode (as many as there are cores by default). Raises
    DataError where an image cannot be read: the data check should have set it aside. Raises SkinLesionError where the
    disk is full or read-only; finished blocks stay.
    """
    folder = cache_folder() / "pixels" / cache_key(table, size, fit, crops)
    with write_errors(f"the pixel cache {folder}", "free some space, or name another folder in SKINLESION_CACHE"):
        folder.mkdir(parents=True, exist_ok=True)
        with lock(folder, wait=True):  # a second process waits, then finds the work done
            if not (folder / "cache.json").exists():
                _fill(table, folder, size, fit, crops, workers, progress)
        return open_cache(folder)


def open_cache(folder: str | Path) -> PixelCache:
    """Open a finished cache. Raises DataError where it is missing or cut short."""
    folder = Path(folder)
    try:
        facts = json.loads((folder / "cache.json").read_text())
        pixels = np.load(folder / "pixels.npy", mmap_mode="r", allow_pickle=False)
        frames, crops = pixels, pixels[:, None]
        if facts.get("crops", 1) > 1:
            crops = np.load(folder / "squares.npy", mmap_mode="r", allow_pickle=False)
        if facts["fit"] == "random_crop":
            frames = np.load(folder / "frames.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"the pixel cache {folder} is missing or damaged ({error}); delete it and run again") from None
    return PixelCache(pixels, crops, frames, facts["fit"], folder, facts["content"])


def record_cache(run: Run, cache: PixelCache) -> None:
    """Note in the run's folder where its pixels lie."""
    write_json(run.pixels, {"folder": str(cache.folder), "content": cache.content})


def recorded_cache(run: Run) -> PixelCache:
    """The cache that :func:`record_cache` noted. Raises DataError where 02_preprocessing has not run, or it is gone."""
    facts = json.loads(run.need(run.pixels, "02_preprocessing").read_text())
    return open_cache(facts["folder"])


def _fill(
    table: LesionTable, folder: Path, size: int, fit: str, crops: int, workers: int | None, progress: bool
) -> None:
    paths = list(table.frame["path"])
    shapes: dict[str, tuple[int, ...]] = {"pixels.npy": (size, size)}
    if crops > 1:
        shapes["squares.npy"] = (crops, size, size)
    if fit == "random_crop":
        shapes["frames.npy"] = framing.training_shape(size, fit)
    done_file = folder / "done.json"
    done = json.loads(done_file.read_text())["images"] if done_file.exists() else 0
    arrays = {name: _open_array(folder / name, (len(paths), *shape, 3), done) for name, shape in shapes.items()}

    def one(i: int) -> None:
        try:
            frame = images.read_image(paths[i])
        except ImageError as error:
            raise DataError(f"{table.frame['image_id'][i]}: {error}. Run the data check again.") from None
        arrays["pixels.npy"][i] = framing.fit_square(frame, size, fit)
        if "squares.npy" in arrays:
            arrays["squares.npy"][i] = framing.fit_crops(frame, size, fit, crops)
        if "frames.npy" in arrays:
            arrays["frames.npy"][i] = framing.fit_training_frame(frame, size, fit)

    bar = tqdm(total=len(paths), initial=done, desc="decode", unit="image", disable=not progress)
    with thread_pool(workers) as pool, bar:
        for start in range(done, len(paths), BLOCK):
            block = range(start, min(start + BLOCK, len(paths)))
            list(pool.map(one, block))
            for array in arrays.values():
                array.flush()
            write_json(done_file, {"images": block.stop})
            bar.update(len(block))
    content = hashlib.sha256(arrays["pixels.npy"].data).hexdigest()
    facts = {"version": VERSION, "images": len(paths), "fit": fit, "crops": crops, "content": content}
    write_json(folder / "cache.json", facts)


def _open_array(path: Path, shape: tuple[int, ...], done: int) -> np.memmap:
    if done:
        return np.lib.format.open_memmap(path, mode="r+")
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    if hasattr(os, "posix_fallocate"):  # else a full disk would be no error, but a signal that ends the process
        with path.open("rb+") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array
