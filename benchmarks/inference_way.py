"""One way to answer an encoded image, as a worker: ``python -m benchmarks.inference_way WAY FOLDER``.

ours      ``skinlesion.serving``: ONNX Runtime; many images as batch scoring does it, a thread a core with a few each
eager     the same network, preprocessing and mirrored views in torch; many images as one batch that uses all cores
compiled  the same after ``torch.compile``
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.measure import CORES
from benchmarks.worker import answer_forever, median_seconds, peak_memory
from skinlesion.core import images
from skinlesion.serving.manifest import PRETRAINED, Manifest

BATCH = 16


class Ours:
    def __init__(self):
        from skinlesion.serving.predictor import BATCH_FRAMES, Predictor

        self._one, self._many, self._few = Predictor.load(), Predictor.load(threads=1), BATCH_FRAMES

    def one(self, data: bytes) -> None:
        self._one.predict([images.decode(data)])

    def many(self, data: list[bytes]) -> None:
        groups = [data[i : i + self._few] for i in range(0, len(data), self._few)]
        with ThreadPoolExecutor(CORES) as pool:
            list(pool.map(lambda group: self._many.predict([images.decode(d) for d in group]), groups))


class Torch:
    """The shipped network's twin with random weights: as much to compute."""

    def __init__(self, compiled: bool):
        import numpy as np
        import torch

        from skinlesion.export.onnx import Exported
        from skinlesion.training.domain import MOST_COMPONENTS, Domain
        from skinlesion.training.networks.models import create_model

        torch.set_num_threads(CORES)
        manifest = Manifest.read(None).content
        network = create_model(
            manifest["architecture"], classes=len(manifest["labels"]), image_size=manifest["image_size"]
        )
        width = network.backbone.num_features
        domain = Domain(np.zeros(width), np.eye(width, MOST_COMPONENTS), np.ones(MOST_COMPONENTS), 1.0)
        views, crops = manifest["views"], manifest.get("crops", 1)
        module = Exported(network, manifest["image_size"], manifest["fit"], domain, views, crops).eval()
        module = module.to(memory_format=torch.channels_last)
        self._torch, self._network = torch, torch.compile(module, dynamic=False) if compiled else module

    def _answer(self, frames) -> None:
        import numpy as np

        with self._torch.inference_mode():
            self._network(self._torch.from_numpy(np.stack(frames)))

    def one(self, data: bytes) -> None:
        self._answer([images.decode(data)])

    def many(self, data: list[bytes]) -> None:
        with ThreadPoolExecutor(CORES) as pool:
            frames = list(pool.map(images.decode, data))
        for start in range(0, len(frames), BATCH):
            self._answer(frames[start : start + BATCH])


def main() -> None:
    name, folder = sys.argv[1:]
    data = [path.read_bytes() for path in sorted(Path(folder).glob("*.jpg"))]
    began = time.perf_counter()
    way = Ours() if name == "ours" else Torch(compiled=name == "compiled")
    way.one(data[0])
    ready = time.perf_counter() - began
    way.many((data * BATCH)[:BATCH])
    answer_forever(
        {"ready, seconds": ready, "model, MB": (PRETRAINED / "model.onnx").stat().st_size / 1e6},
        {
            "latency": lambda times: median_seconds(lambda: way.one(data[0]), times),
            "throughput": lambda count: count / median_seconds(lambda: way.many((data * count)[:count]), 1),
            "memory": peak_memory,
        },
    )


if __name__ == "__main__":
    main()
