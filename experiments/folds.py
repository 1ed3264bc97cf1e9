"""The shipped recipe out of fold: every image predicted by a network that was not trained on it, by source.

    python -m experiments.folds train 1 --photographs "$MILK10K_DIR" --unseen "$BCN20000_DIR" --data \\
        "ham10000:$HAM10000_256_DIR" "milk10k:$MILK10K_DIR" "csv:$ISIC2017_DIR"
    python -m experiments.folds table

Fold 0 of the five is the validation part of the shipped model, whose training is that of the fold. ``train`` trains
both stages with another fold as the validation part, which takes as long as the model, and stores logits and domain
scores in outputs/shipped.parquet. ``table`` writes folds.csv from the folds that are stored. The test part is neither
trained on nor read. Decision rule and thresholds of each fold are chosen on the other stored folds.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from experiments import shipped, storage, tested
from experiments.across import picked
from experiments.recipes import ROOT
from skinlesion import crossval
from skinlesion.core.errors import SkinLesionError
from skinlesion.core.recipes import load_recipe
from skinlesion.core.runs import Run
from skinlesion.core.writing import write_csv
from skinlesion.crossval import Outputs
from skinlesion.decision import NOT_DERMATOSCOPIC
from skinlesion.evaluation.comparison import seven_labels
from skinlesion.evaluation.intervals import proportion
from skinlesion.evaluation.predictions import Predictions

NAME = "shipped-folds"  # folds 1 to 4, in the file of the shipped model's outputs
TABLE = ROOT / "experiments" / "folds.csv"
SENSITIVITY = 0.9


def train_fold(fold: int, data: list[str], output: Path, photographs: Path, unseen: Path) -> None:
    """Train the shipped recipe with ``fold`` as its validation part, and store its outputs."""
    run, parts = Run(output / f"fold-{fold}"), pd.read_csv(shipped.SPLIT)
    given = run.folder / "given.csv"  # beside the run's own split.csv, which training writes
    validates = np.where(parts["fold"] == fold, "validation", "train")
    write_csv(given, parts[["image_id"]].assign(split=parts["split"].where(parts["fold"] < 0, validates)))
    own = load_recipe(shipped.NAME).but(data=data, split_file=str(given), fold=-1)
    shipped.train_once(own, run)
    outputs, _ = shipped.compute_outputs(run, own, photographs, unseen, tested=())
    storage.store(shipped.STORED, NAME, renamed(outputs, f"fold-{fold}"))


def renamed(outputs: Outputs, name: str) -> Outputs:
    """The validation part alone, under another name."""
    known = outputs.take(["validation"])
    return replace(known, images=known.images.assign(part=name), facts={name: known.facts["validation"]})


def stored() -> Outputs:
    """Outputs of all folds that were trained."""
    first = renamed(storage.read(shipped.STORED, shipped.NAME), "fold-0")
    return crossval.pool([first, storage.read(shipped.STORED, NAME)])


def decided(outputs: Outputs) -> tuple[Predictions, np.ndarray]:
    """Predictions by a decision chosen on the other folds, fold by fold, and which images are referred, bool [N].

    An image that does not look dermatoscopic gets no advice, and is not referred.
    """
    found, referred = [], []
    for part in outputs.parts:
        one = outputs.take([part])
        decision = shipped.choose(outputs.take([other for other in outputs.parts if other != part]), SENSITIVITY)
        found.append(one.decided(decision))
        seen = one.images[NOT_DERMATOSCOPIC].to_numpy() >= outputs.facts[part]["domain"][NOT_DERMATOSCOPIC]["threshold"]
        referred.append(found[-1].referred(decision.referral_threshold) & seen)
    return tested.joined(found), np.concatenate(referred)


def lines(outputs: Outputs) -> pd.DataFrame:
    """A line per source, confirmation and metric; seven classes, without invasive squamous cell carcinoma."""
    predictions, referred = decided(outputs)
    group = pd.read_csv(shipped.SPLIT, dtype=str).set_index("image_id")["group"]
    own = replace(seven_labels(predictions), lesions=group[predictions.image_ids].to_numpy(object))
    kept = outputs.images.set_index("image_id")["in_seven"][own.image_ids].to_numpy(bool)
    found = []
    for source in ("all", *np.unique(own.source)):
        for images in ("all", "histology"):
            rows = kept & ((own.source == source) | (source == "all")) & (own.has_histology | (images == "all"))
            if rows.any():
                about = {"folds": len(outputs.parts), "source": source, "images": images}
                metrics = picked(own.take(rows)) | referral(own.take(rows), referred[rows])
                found += [about | {"metric": name} | metric for name, metric in metrics.items()]
    return pd.DataFrame(found)


def referral(part: Predictions, referred: np.ndarray) -> dict[str, dict]:
    """Sensitivity and specificity of the referral, bool [N], for malignant lesions."""
    malignant, (lesion, _) = part.is_malignant, pd.factorize(part.lesions)
    return {"sensitivity": proportion(referred[malignant], lesion[malignant]),
            "specificity": proportion(~referred[~malignant], lesion[~malignant])}  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "table"))
    parser.add_argument("folds", nargs="*", type=int, help="folds to train, 1 to 4")
    parser.add_argument("--data", nargs="+", help="the sources, HAM10000 first")
    parser.add_argument("--output", type=Path, default=ROOT / "reports" / shipped.NAME, help="folder of the trainings")
    parser.add_argument("--photographs", type=Path, help="MILK10k, whose close-ups show what is not dermatoscopic")
    parser.add_argument("--unseen", type=Path, help="BCN20000, dermatoscopic images of another camera")
    given = parser.parse_args(argv)
    sound = given.folds and set(given.folds) <= {1, 2, 3, 4}
    if given.what == "train" and not (sound and given.data and given.photographs and given.unseen):
        parser.error("train needs folds from 1 to 4, --data, --photographs and --unseen")
    try:
        if given.what == "train":
            for fold in given.folds:
                train_fold(fold, given.data, given.output, given.photographs, given.unseen)
        else:
            write_csv(TABLE, lines(stored()).round(5))
    except SkinLesionError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
