"""What becomes of time and memory as the data grow: 1,000 to 50,000 synthetic images, each step in a fresh process.

    python -m benchmarks.growth             # about 20 minutes on two cores; sizes that are there are not measured again
    python -m benchmarks.growth --brief     # two small sizes, printed

Writes ``benchmarks/results/growth.json``, which `make bench` shows. The images are 28 drawn ones of 200 x 150 px and
links to them, and the networks are as small as can be, so that what grows is the pipeline's own cost. Memory is what a
process allocates (RssAnon, read every 20 ms), less what it held before the step; pages of mapped pixels, which the
kernel takes back when it needs them, are not in it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import CORES, ROOT, bar, chart, circumstances, class_folders, exponent, memory
from skinlesion.core.writing import write_json

RESULTS = ROOT / "benchmarks" / "results" / "growth.json"
SIZES = (1_000, 2_000, 5_000, 10_000, 20_000, 50_000)
STEPS = {"table": "Table and split", "cache": "Pixel cache", "epoch": "Training epoch", "evaluation": "Evaluation",
         "scoring": "Batch scoring"}  # fmt: skip
SIDE = 32  # pixels


class Memory:
    """The most that is allocated while it is watched, MB above what was there."""

    def __enter__(self):
        self._over, self._before, self.most = threading.Event(), memory("RssAnon"), 0.0
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            self.most = max(self.most, memory("RssAnon") - self._before)

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()
        self.most = max(self.most, memory("RssAnon") - self._before)


def prepared(step: str, folder: Path) -> Callable[[], object]:
    """The step as a function that has imported and read all that comes before it."""
    import sklearn.model_selection  # noqa: F401  which make_split loads when it is called

    from skinlesion.data.sources import load_table
    from skinlesion.data.splits import make_split

    images = folder / "images"

    def table_and_split():
        table = load_table(f"folder:{images}")
        return table, make_split(table)["split"].to_numpy(str)

    if step == "table":
        return table_and_split
    if step == "scoring":
        sys.path.insert(0, str(ROOT / "tests" / "helpers"))
        import tiny_model
        from skinlesion.serving.score import score

        model, output = tiny_model.write(folder / "model"), tempfile.mkdtemp(dir=folder)
        return lambda: score([str(images)], output, model=str(model), progress=False)
    if step == "evaluation":
        predictions = invented(sum(1 for _ in images.rglob("*.jpg")))
        from skinlesion.evaluation.metrics import evaluate

        return lambda: evaluate(predictions)
    from skinlesion.data.cache import build_cache

    table, split = table_and_split()
    cached = lambda: build_cache(table, size=SIDE, fit="squash", workers=CORES)  # noqa: E731
    if step == "cache":
        return cached
    from skinlesion.core.config import Config
    from skinlesion.core.runs import Run
    from skinlesion.training.fit import fit

    cache, run = cached(), Run(tempfile.mkdtemp(dir=folder))
    config = Config(image_size=SIDE, balance="none", epochs=1, patience=0)
    return lambda: fit(config, cache, table.targets, split, run, classes=7)


def invented(count: int):
    """Predictions of a fair classifier on so many images, two of each lesion."""
    import numpy as np

    from skinlesion.core.taxonomy import HAM7
    from skinlesion.evaluation.predictions import Predictions

    rng, rows = np.random.default_rng(0), np.arange(count)
    y = rows // 2 % 7
    logits = rng.normal(size=(count, 7)) + 2 * np.eye(7)[y]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return Predictions(
        image_ids=rows.astype(str), lesions=(rows // 2).astype(str), split=np.full(count, "test"),
        fold=np.full(count, -1), labels=HAM7, y=y, probabilities=probabilities, scores=probabilities,
    )  # fmt: skip


def one(step: str, folder: Path, cache: Path) -> dict[str, float]:
    """Seconds and megabytes of one step, in a process of its own."""
    environment = os.environ | {"SKINLESION_CACHE": str(cache), "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'lib'}"}
    command = [sys.executable, "-m", "benchmarks.growth", "--step", step, "--folder", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"error: {step} ended with status {done.returncode}; what it said is above")
    return json.loads(done.stdout.splitlines()[-1])


def measure_size(count: int, repeats: int) -> dict[str, dict[str, float]]:
    """Every step at one size: medians over the repeats."""
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        class_folders(folder / "images", count, width=200, height=150)
        for step in STEPS:
            caches = [folder / f"cache-{i if step == 'cache' else 0}" for i in range(repeats)]
            measured = [one(step, folder, cache) for cache in caches]
            found[step] = {key: statistics.median(m[key] for m in measured) for key in measured[0]}
            print(f"{count:>6,} images, {step}: {found[step]}", flush=True)
    return found


def charts(results: dict) -> list[dict]:
    """Exponents of time, and what memory becomes of: the section of `make bench`."""
    sizes = sorted(map(int, results["sizes"]))
    least, most = str(sizes[0]), str(sizes[-1])
    times, memory = [], []
    for step, title in STEPS.items():
        found = {size: results["sizes"][str(size)][step] for size in sizes}
        slope = exponent(sizes, [found[size]["seconds"] for size in sizes])
        first, last = found[sizes[0]], found[sizes[-1]]
        times.append(bar(title, [slope], f"{first['seconds']:.2g} s to {last['seconds']:.3g} s") | {"ours": True})
        held = [max(1.0, m["memory, MB"]) for m in (first, last)]  # below a megabyte there is nothing to tell
        memory.append(
            bar(title, [exponent([sizes[0], sizes[-1]], held)], f"{held[0]:.0f} MB to {held[1]:.0f} MB")
            | {"ours": True}
        )
    about = f"{int(least):,} to {int(most):,} images of 200 x 150 px; measured {results['date']}."
    return [
        chart("Growth of time, exponent", times, "proportional to the images", better="less", note=about),
        chart("Growth of memory, exponent", memory, "proportional to the images", better="less",
              note="Memory: 0 is flat; what is allocated beyond the start, mapped pixels aside."),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brief", action="store_true", help="100 and 200 images, written nowhere")
    parser.add_argument("--again", action="store_true", help="measure anew what is there")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        call = prepared(given.step, given.folder)
        with Memory() as memory:
            began = time.perf_counter()
            call()
            seconds = time.perf_counter() - began
        print(json.dumps({"seconds": seconds, "memory, MB": memory.most}))
        return
    if given.brief:
        sizes = {str(count): measure_size(count, 1) for count in (100, 200)}
        print(json.dumps(charts({"date": "now", "sizes": sizes}), indent=1))
        return
    results = {"sizes": {}} if given.again or not RESULTS.exists() else json.loads(RESULTS.read_text())
    for count in SIZES:
        if str(count) not in results["sizes"]:
            results["sizes"][str(count)] = measure_size(count, repeats=3 if count <= 5_000 else 1)
            results |= circumstances()
            write_json(RESULTS, results)


if __name__ == "__main__":
    main()
