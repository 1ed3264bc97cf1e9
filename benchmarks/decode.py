"""Decode and resize: files of 600 x 450 px to frames of 128 px, against the JPEG decoder alone on as many threads.

bare            Pillow's libjpeg-turbo in as many threads as cores: decode the file, keep nothing
ours            ``skinlesion.data.cache.build_cache``: table, limits, decode, resize, pixels and hash on disk
PIL             ImageFolder, ``Resize`` and ``PILToTensor`` in a DataLoader, as many workers as cores
torchvision.io  ``decode_image`` and the antialiased tensor ``resize`` in the same DataLoader
"""

from __future__ import annotations

import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image
from torch.utils.data import DataLoader
from torchvision import datasets, transforms
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms.v2 import functional

from benchmarks.measure import CORES, apart, bars, chart, class_folders, in_turn
from skinlesion.data.cache import build_cache
from skinlesion.data.sources import load_table

SIZE = 128


def bare(folder: Path) -> float:
    """Images a second, as all of these."""
    paths = sorted(folder.rglob("*.jpg"))

    def one(path: Path) -> None:
        with Image.open(path) as image:
            image.load()

    began = time.perf_counter()
    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(one, paths))
    return len(paths) / (time.perf_counter() - began)


def ours(folder: Path) -> float:
    table = load_table(f"folder:{folder}")
    with tempfile.TemporaryDirectory() as place:
        os.environ["SKINLESION_CACHE"] = place
        began = time.perf_counter()
        build_cache(table, size=SIZE, fit="squash", workers=CORES)
        return len(table) / (time.perf_counter() - began)


def pil(folder: Path) -> float:
    resize = transforms.Compose([transforms.Resize((SIZE, SIZE)), transforms.PILToTensor()])
    return _loaded(datasets.ImageFolder(folder, resize))


def _decoded(path: str):
    return decode_image(path, ImageReadMode.RGB)


def _resized(frame):
    return functional.resize(frame, [SIZE, SIZE], antialias=True)


def torchvision_io(folder: Path) -> float:
    return _loaded(datasets.ImageFolder(folder, _resized, loader=_decoded))


def _loaded(data) -> float:
    began = time.perf_counter()
    for _ in DataLoader(data, 32, num_workers=CORES):
        pass
    return len(data) / (time.perf_counter() - began)


def charts(*, brief: bool = False) -> list[dict]:
    """The section's charts."""
    count, rounds = (56, 1) if brief else (1120, 3)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        class_folders(folder, count)
        ways = {"the bare decoder": bare, "ours": ours, "PIL in a DataLoader": pil,
                "torchvision.io in a DataLoader": torchvision_io}  # fmt: skip
        rounds = in_turn({name: lambda way=way: apart(way, folder) for name, way in ways.items()}, rounds)
    note = f"{count:,} JPEGs of 600 x 450 px to {SIZE} px, {CORES} threads or workers each."
    found = bars(rounds, "the bare decoder", "images/s")
    return [chart("Decode and resize, images/s", found, "the bare decoder", note=note, rounds=rounds)]
