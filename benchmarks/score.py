"""How fast batch scoring is, against decoding and the model alone on the same cores, run right before it.

    .venv/bin/python benchmarks/score.py            # five pairs, some minutes; wants an idle machine
    .venv/bin/python benchmarks/score.py --brief    # one small pair, to see that it works

Writes ``benchmarks/results/score.json``. ``alone`` is a process a core that decodes images which are in memory already
and asks the network for a few at a time: no listing, no reading, no table, no interpreter shared. ``score`` is all of
``skinlesion score``, from the listing and the model's loading to the last part on disk. The images are synthetic, JPEGs
of 600 x 450 px as HAM10000's are.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnxruntime
import PIL
from PIL import Image
from tqdm import tqdm

from skinlesion.core import images
from skinlesion.core.machine import cores
from skinlesion.core.runs import write_json
from skinlesion.core.taxonomy import HAM7
from skinlesion.data.demo.dataset import draw_example
from skinlesion.serving.predictor import BATCH_FRAMES, Predictor
from skinlesion.serving.score import score

REPOSITORY = Path(__file__).resolve().parents[1]
DIFFERENT = 14  # images; the others are copies


def photographs() -> list[bytes]:
    """A few JPEGs of drawn lesions, with a sensor's noise: without, they would be too small and too quick to decode."""
    found, rng = [], np.random.default_rng(0)
    for seed in range(DIFFERENT):
        drawn = Image.fromarray(draw_example(HAM7.codes[seed % 7], seed=seed)).resize((600, 450))
        noisy = np.clip(np.asarray(drawn) + rng.normal(0, 4, (450, 600, 3)), 0, 255).astype(np.uint8)
        data = io.BytesIO()
        Image.fromarray(noisy).save(data, "JPEG", quality=95)
        found.append(data.getvalue())
    return found


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
    batches = -(-count // BATCH_FRAMES // cores())
    began = time.perf_counter()
    pool.map(_work, [batches] * cores(), chunksize=1)
    return batches * cores() * BATCH_FRAMES / (time.perf_counter() - began)


def scored(folder: Path, count: int) -> float:
    """Images a second of ``skinlesion score``."""
    with tempfile.TemporaryDirectory() as output:
        began = time.perf_counter()
        if score([str(folder)], output, progress=False):
            raise SystemExit("some images could not be scored")
        return count / (time.perf_counter() - began)


def measure(count: int, pairs: int) -> dict:
    data = photographs()
    measured = []
    with tempfile.TemporaryDirectory() as place:
        for i in range(count):
            (Path(place) / f"{i:05}.jpg").write_bytes(data[i % DIFFERENT])
        with multiprocessing.get_context("spawn").Pool(cores(), _prepare, (data,)) as pool:
            pool.map(_work, [1] * cores(), chunksize=1)
            for _ in tqdm(range(pairs), desc="pairs", unit="pair"):
                measured.append({"alone": alone(pool, count), "score": scored(Path(place), count)})
    medians = {name: statistics.median(pair[name] for pair in measured) for name in ("alone", "score")}
    return {
        "images": count,
        "bytes an image": round(statistics.mean(map(len, data))),
        "images a second": medians,
        "images a second and core": medians["score"] / cores(),
        "ratio": medians["score"] / medians["alone"],
        "pairs": measured,
    }


def charts(*, brief: bool = False) -> list[dict]:
    """The section of `make bench`."""
    found = measure(64 * cores(), 1) if brief else measure(1280, 3)
    ratios = [pair["score"] / pair["alone"] for pair in found["pairs"]]
    bar = {
        "name": "skinlesion score", "value": statistics.median(ratios), "low": min(ratios), "high": max(ratios),
        "pairs": len(ratios), "says": f"{found['images a second']['score']:.1f} images/s",
    }  # fmt: skip
    return [{
        "title": "Batch scoring, images/s", "against": "decode and model alone", "better": "more", "bars": [bar],
        "note": f"{found['images']:,} files of 600 x 450 px, from the listing and the model's loading to the last part "
        "on disk; alone: a process a core, images in memory.", "measured": found,
    }]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brief", action="store_true", help="one small pair")
    parser.add_argument("--images", type=int, default=1280, help="a pair's; a multiple of 32 a core (%(default)s)")
    given = parser.parse_args()
    count, pairs = (64 * cores(), 1) if given.brief else (given.images, 5)
    found = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()} {platform.system()}, {cores()} cores",
        "load before": os.getloadavg()[0],
        "versions": {"onnxruntime": onnxruntime.__version__, "pillow": PIL.__version__},
        **measure(count, pairs),
    }
    target = REPOSITORY / ("build/bench" if given.brief else "benchmarks/results") / "score.json"
    write_json(target, found)
    print(f"score {found['images a second']['score']:.1f}, alone {found['images a second']['alone']:.1f} images/s: "
          f"{found['ratio']:.3f} of it; wrote {target}")  # fmt: skip


if __name__ == "__main__":
    main()
