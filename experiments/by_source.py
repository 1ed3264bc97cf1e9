"""The shipped model beside the one before, by source, on the same images: the figures that a change of camera shows.

    python -m experiments.by_source
    python -m experiments.by_source --full-frames "$HAM10000_DIR"   # after the shipped model has changed

Reads outputs/shipped.parquet, and of the model before (EfficientNet-Lite0, HAM10000 alone): its networks' outputs out
of fold (outputs/recipes.parquet), its predictions on the test split of HAM10000 and on the other sources
(outputs/test.parquet). Writes by_source.csv. Eight labels are merged into seven; images that the
seven codes set aside (invasive squamous cell carcinoma) are left out. Lesions with a twin in HAM10000 are left out of
the other sources: the model before was trained on them. Intervals are over lesions, twins as one.

The shipped model sees HAM10000 as squares of 256 px, as it was trained; ``--full-frames`` predicts the validation part
on frames of 200 x 150 px, too, which the model before was trained on.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from experiments import shipped, storage, tested
from experiments.across import METRICS, picked
from experiments.recipes import OUTPUTS, ROOT
from skinlesion import crossval
from skinlesion.core.errors import DataError
from skinlesion.core.writing import write_csv
from skinlesion.data.sources import load_table
from skinlesion.decision import as_seven
from skinlesion.evaluation.comparison import seven_labels
from skinlesion.evaluation.predictions import Predictions
from skinlesion.serving.manifest import Manifest
from skinlesion.serving.predictor import Predictor

TABLE = ROOT / "experiments" / "by_source.csv"
FULL_FRAMES = "shipped_full_frames"  # in outputs/test.parquet


def parts() -> pd.DataFrame:
    """Source, part and group of twins of every image, by image id."""
    return pd.read_csv(shipped.SPLIT, dtype=str).set_index("image_id")


def now() -> Predictions:
    """The shipped model on its validation and test parts, merged into seven labels."""
    outputs = storage.read(shipped.STORED, shipped.NAME)
    decision = shipped.choose(outputs.take(["validation"]), 0.9)
    merged = seven_labels(outputs.decided(decision))
    kept = outputs.images["in_seven"].to_numpy(bool)
    split = outputs.images["part"].to_numpy(object)
    return replace(merged, split=split).take(kept)


def predict_full_frames(place: Path) -> None:
    """Store the shipped model's predictions on the validation part of HAM10000 at 200 x 150 px."""
    known, model = now(), Predictor.load()
    known = known.take((known.split == "validation") & (known.source == shipped.HOME))
    path = load_table(str(place)).frame.set_index("image_id")["path"]
    found = model.predict_files(list(path[known.image_ids]), progress=True)
    labels = model.manifest.labels
    probabilities = as_seven(np.array([list(one.probabilities.values()) for one in found]), labels)
    scores = as_seven(np.array([list(one.scores.values()) for one in found]), labels)
    predictions = replace(known, probabilities=probabilities, scores=scores)
    facts = {"model": model.manifest.identity, "config": model.manifest.content["config"]}
    tested.write(FULL_FRAMES, predictions, facts, "validation")


def full_frames(known: Predictions) -> Predictions:
    """What :func:`predict_full_frames` stored, with sources and confirmation as ``known`` has them."""
    stored, facts = tested.read(FULL_FRAMES)
    if facts["model"] != Manifest.read(None).identity:
        raise DataError(f"{FULL_FRAMES} is of another model; run python -m experiments.by_source --full-frames again")
    place = pd.Series(np.arange(len(known)), index=known.image_ids)[stored.image_ids].to_numpy()
    source = np.full(len(stored), f"{shipped.HOME}_full_frames", object)
    return replace(stored, source=source, dx_type=known.take(place).dx_type)


def before() -> Predictions:
    """The model before on the images that it was not trained on."""
    outputs = storage.read(OUTPUTS / "recipes.parquet", "ham10000")
    out_of_fold = outputs.decided(outputs.decision(0.9))
    return tested.joined([out_of_fold, tested.read("ham10000")[0], tested.read("before")[0]])


def aligned(wanted: Predictions, other: Predictions, group: pd.Series) -> tuple[Predictions, Predictions]:
    """Both on the images that both have, in one order, with groups of twins as lesions and one's sources."""
    place = pd.Series(np.arange(len(other)), index=other.image_ids)
    here = np.isin(wanted.image_ids, other.image_ids)
    one = wanted.take(here)
    two = other.take(place[one.image_ids].to_numpy())
    shared = {"lesions": group[one.image_ids].to_numpy(object), "source": one.source, "dx_type": one.dx_type,
              "split": one.split}  # fmt: skip
    return replace(one, **shared), replace(two, **shared)


def lines() -> pd.DataFrame:
    """A line per part, source, confirmation, model and metric."""
    known, current, earlier = parts(), now(), before()
    seen = set(known.loc[known["source"] == shipped.HOME, "group"])
    found = []
    for one in (current, full_frames(current)):
        new, old = aligned(one, earlier, known["group"])
        unseen = (new.source == shipped.HOME) | ~np.isin(new.lesions.astype(str), list(seen))
        found += _lines(new, old, unseen | (one is not current))
    return pd.DataFrame(found)


def _lines(new: Predictions, old: Predictions, kept: np.ndarray) -> list[dict]:
    found = []
    for part in ("validation", "test"):
        for source in np.unique(new.source):
            for confirmed in ("all", "histology"):
                rows = (new.split == part) & (new.source == source) & kept
                rows &= new.has_histology | (confirmed == "all")
                if not rows.any():
                    continue
                a, b = new.take(rows), old.take(rows)
                more = crossval.difference(a, b, METRICS)
                for model, metrics in (("shipped", picked(a)), ("before", picked(b)), ("difference", more)):
                    about = {"part": part, "source": source, "images": confirmed, "model": model}
                    found += [about | {"metric": name} | metrics[name] for name in METRICS]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full-frames", type=Path, metavar="HAM10000", help="predict its frames again first")
    place = parser.parse_args().full_frames
    if place:
        predict_full_frames(place)
    write_csv(TABLE, lines().round(5))


if __name__ == "__main__":
    main()
