"""The shipped model on PH2, 200 images of another clinic, beside sklesion: melanoma against nevus.

    python -m experiments.ph2 --data path/to/ph2

Writes experiments/ph2.json. `sklesion` was probably trained on all of HAM10000, so its predictions there would be no
measurement; PH2 was used in training by neither. PH2 has no age, sex or site, which sklesion takes too: it gets them as
unknown. Without its environment (`make bench-rivals`) the shipped model is measured alone.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.measure import Worker, rival
from experiments.recipes import ROOT
from skinlesion.core import images
from skinlesion.core.taxonomy import HAM7
from skinlesion.core.writing import write_json
from skinlesion.decision import as_seven
from skinlesion.evaluation.predictions import Predictions
from skinlesion.external_images import external_metrics
from skinlesion.serving.manifest import Manifest

RESULT = ROOT / "experiments" / "ph2.json"


def measure(folder: Path) -> None:
    """Predict PH2 by the shipped model and, where its environment is made, by sklesion."""
    labels = pd.read_csv(folder / "labels.csv")
    names = [name for name in labels["image_name"] if (folder / "images" / f"{name}.jpg").exists()]
    if len(names) != len(labels):
        raise SystemExit(f"error: {folder}/images lacks {len(labels) - len(names)} of the images in labels.csv")
    names = sorted(names)
    diagnosis = labels.set_index("image_name")["diagnosis"]
    y = np.array([HAM7.codes.index("mel" if diagnosis[name] == "Melanoma" else "nv") for name in names])
    megabytes = Manifest.read(None).content["bytes"] / 1e6
    says = f"{megabytes:.0f} MB, trained on HAM10000, MILK10k and MSK less their test parts"
    models = {"shipped": (shipped_probabilities(folder, names), says)}
    if rival("sklesion"):
        models["sklesion 0.2.2"] = (sklesion_probabilities(folder, names), "86 MB, probably trained on all of HAM10000")
    found = {
        name: {"says": says} | external_metrics(_predictions(names, y, p), 0.5) for name, (p, says) in models.items()
    }
    melanomas = int((y == HAM7.codes.index("mel")).sum())
    note = f"{len(names)} images of another clinic, {melanomas} of them melanomas; 95% intervals over images."
    if not rival("sklesion"):
        note += " sklesion was not run: make its environment with `make bench-rivals`."
    write_json(RESULT, {"note": note, "model": Manifest.read(None).identity, "models": found})
    for name, metrics in found.items():
        print(name, {key: round(metrics["mel_nv_auroc"][key], 3) for key in ("value", "low", "high")})


def shipped_probabilities(folder: Path, names: list[str]) -> np.ndarray:
    from skinlesion.serving.predictor import Predictor

    predictor = Predictor.load()
    predictions = predictor.predict([images.read_image(folder / "images" / f"{name}.jpg") for name in names])
    labels = predictor.manifest.labels
    return as_seven(np.array([[one.probabilities[code] for code in labels.codes] for one in predictions]), labels)


def sklesion_probabilities(folder: Path, names: list[str]) -> np.ndarray:
    """The worker reads a folder in the order of its names."""
    with tempfile.TemporaryDirectory() as scratch:
        for name in names:
            shutil.copy(folder / "images" / f"{name}.jpg", scratch)
        with Worker("benchmarks.sklesion_way", scratch, python=rival("sklesion")) as worker:
            order = [worker.ready["codes"].index(code) for code in HAM7.codes]
            found = np.array(worker.ask(do="probabilities"))[:, order]
    return found / found.sum(1, keepdims=True)


def _predictions(names: list[str], y: np.ndarray, probabilities: np.ndarray) -> Predictions:
    return Predictions(
        image_ids=np.array(names), lesions=np.array(names), split=np.full(len(names), "test"),
        fold=np.full(len(names), -1), labels=HAM7, y=y, probabilities=probabilities, scores=probabilities,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with labels.csv and images/")
    measure(parser.parse_args().data)


if __name__ == "__main__":
    main()
