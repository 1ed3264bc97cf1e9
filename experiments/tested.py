"""Predictions of finished recipes on the test split of HAM10000: what README's and docs' tables are computed from.

    python -m experiments.tested reports/NAME-quick      # store those of a finished run under its recipe's name

``experiments/outputs/test.parquet`` holds a row per image and recipe, with the columns of ``predictions.csv``, and in
the schema's metadata facts about the trainings. The shipped model's file is written by ``experiments.shipped``.
"""

from __future__ import annotations

import argparse
import json
import platform
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from experiments import storage
from experiments.recipes import OUTPUTS
from skinlesion.core.runs import Run
from skinlesion.core.taxonomy import label_set
from skinlesion.evaluation.predictions import Predictions
from skinlesion.evaluation.reading import read_predictions
from skinlesion.training.trained import facts_of

STORED = OUTPUTS / "test.parquet"


def write(recipe: str, test: Predictions, facts: dict, part: str = "test") -> None:
    """Store a recipe's predictions on one part; numbers read back as the same float64."""
    frame = pd.DataFrame({
        "image_id": test.image_ids, "lesion_id": test.lesions, "label": np.array(test.labels.codes)[test.y],
        "part": part,
    })  # fmt: skip
    for prefix, values in (("p_", test.probabilities), ("score_", test.scores)):
        frame = frame.join(pd.DataFrame(values, columns=[prefix + code for code in test.labels.codes]))
    storage.put(STORED, recipe, frame, {part: facts})


def joined(parts: list[Predictions]) -> Predictions:
    """Predictions of different images, for the same classes, as one."""
    by_row = ("image_ids", "lesions", "split", "fold", "y", "probabilities", "scores", "source", "dx_type")
    return replace(parts[0], **{name: np.concatenate([getattr(one, name) for one in parts]) for name in by_row})


def read(recipe: str) -> tuple[Predictions, dict]:
    """A recipe's predictions on the part that it was stored for, and the facts stored with them."""
    frame, facts = storage.read_parquet(STORED, recipe)
    (part, about), *_ = facts.items()
    codes = [name.removeprefix("p_") for name in frame if name.startswith("p_")]
    n = len(frame)
    test = Predictions(
        image_ids=frame["image_id"].to_numpy(object), lesions=frame["lesion_id"].to_numpy(object),
        split=np.full(n, part, object), fold=np.full(n, -1), labels=label_set(codes),
        y=frame["label"].map(codes.index).to_numpy(np.int64),
        probabilities=frame[[f"p_{code}" for code in codes]].to_numpy(),
        scores=frame[[f"score_{code}" for code in codes]].to_numpy(),
    )  # fmt: skip
    return test, about


def store_run(folder: Path) -> str:
    """Store a finished run's predictions under the last word of the folder's name, which is returned."""
    run = Run(folder)
    test, facts = read_predictions(run.need(run.predictions, "04_evaluation")).of_split("test"), facts_of(run)
    recipe = run.folder.name.rpartition("-")[2]
    write(recipe, test, {key: facts[key] for key in ("epochs", "best_epoch", "seconds", "device", "processes")} | {
        "machine": f"{platform.machine()} {platform.system()}",
        "fingerprint": json.loads(run.table_info.read_text())["fingerprint"],
        "config": {key: value for key, value in run.config().to_dict().items() if key != "data"},
    })  # fmt: skip
    return recipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished run, called <anything>-<recipe>")
    print(f"stored the predictions of {store_run(parser.parse_args().run)}")


if __name__ == "__main__":
    main()
