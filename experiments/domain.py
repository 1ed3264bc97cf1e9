"""How often the shipped model's notices come: on photographs that are not dermatoscopic, and on other clinics' images.

    python -m experiments.domain --photographs "$MILK10K_DIR" --unseen "$BCN20000_DIR" --ph2 "$PH2_DIR"

Writes outputs/domain.parquet: a row an image with its set, its diagnosis (none of close-ups), whether the probe was
fitted on it, its score, notices and probabilities.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from experiments import shipped, storage
from experiments.recipes import OUTPUTS
from skinlesion.core import images
from skinlesion.data.sources import load_table
from skinlesion.decision import NOT_DERMATOSCOPIC, OTHER_CAMERA
from skinlesion.serving.predictor import Predictor

STORED = OUTPUTS / "domain.parquet"


def measure(sets: dict[str, tuple[list[str], list[str]]], labels: dict[str, str]) -> pd.DataFrame:
    """Predictions of the images of each set: paths that the probe was fitted on, and others; and labels by path."""
    predictor, rows = Predictor.load(), []
    for name, (fitted, others) in sets.items():
        for path in (*fitted, *others):
            (one,) = predictor.predict([images.read(path)], maps=False)
            flags = {code: code in one.notices for code in (NOT_DERMATOSCOPIC, OTHER_CAMERA)}
            about = {"set": name, "image_id": Path(path).stem, "label": labels.get(path, ""), "fitted": path in fitted}
            shares = {f"p_{code}": np.float32(p) for code, p in one.probabilities.items()}
            rows.append({**about, "score": one.domain_score, **flags, **shares})
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, required=True, help="MILK10k, for its clinical close-ups")
    parser.add_argument("--unseen", type=Path, required=True, help="BCN20000")
    parser.add_argument("--ph2", type=Path, required=True, help="PH2")
    given = parser.parse_args()
    labelled = [load_table(f"csv:{place}", 8).frame for place in (given.ph2, given.unseen)]
    found = measure({
        "close-ups": shipped.close_ups(given.photographs),
        "BCN20000": shipped.unseen(given.unseen),
        "PH2": ([], list(labelled[0]["path"])),
    }, labels=pd.concat(labelled).set_index("path")["label"].to_dict())  # fmt: skip
    storage.write_parquet(STORED, found, {"model": Predictor.load().manifest.identity})
    print(found[~found["fitted"]].groupby("set")[[NOT_DERMATOSCOPIC, OTHER_CAMERA]].agg(["mean", "size"]))


if __name__ == "__main__":
    main()
