"""What people are shown of the shipped model: how often the domain notices come, and which advice on every image.

    python -m experiments.domain --photographs "$MILK10K_DIR" --unseen "$BCN20000_DIR" --ph2 "$PH2_DIR"

Predicts photographs that are not dermatoscopic and other clinics' images, and writes outputs/domain.parquet: a row an
image with its set, its diagnosis (none of close-ups), whether the probe was fitted on it, its score, notices and
probabilities. :func:`stored` and :func:`counted` put them beside the outputs of the shipped model.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from experiments import storage
from experiments.recipes import OUTPUTS
from skinlesion.core import images
from skinlesion.core.errors import DataError
from skinlesion.decision import (
    BELOW,
    MELANOMA_NOT_EXCLUDED,
    NONE,
    NOT_DERMATOSCOPIC,
    OTHER_CAMERA,
    REFER,
    REFERRALS,
    Outcomes,
)
from skinlesion.serving.manifest import Manifest
from skinlesion.serving.predictor import Predictor

STORED = OUTPUTS / "domain.parquet"
SOURCES = {"ham10000": "HAM10000", "milk10k": "MILK10k", "isic2017_msk": "MSK"}


def stored(manifest: Manifest) -> dict[str, tuple[np.ndarray, Outcomes]]:
    """The diagnoses of each set of images, str [N], empty where there is none, and the outcomes.

    Raises
    ------
    DataError
        Where the images of other clinics were predicted by another model.
    """
    decision, outputs = manifest.decision, storage.read(OUTPUTS / "shipped.parquet", "shipped")
    flags = {name: outputs.images[name] < limit for name, limit in manifest.domain_thresholds.items()}
    known = outputs.images.assign(set=outputs.images["source"].map(SOURCES) + ", " + outputs.images["part"], **flags)
    others, facts = storage.read_parquet(STORED)
    if facts["model"] != manifest.identity:
        raise DataError("outputs/domain.parquet is of another model; run python -m experiments.domain again")
    other = others[[f"p_{code}" for code in manifest.labels.codes]].to_numpy(np.float64)
    found = {}
    for frame, p in ((known, decision.probabilities(outputs.logits)), (others, other)):
        for name, rows in frame.groupby("set", sort=False).indices.items():
            of = frame.iloc[rows]
            marks = {flag: of[flag].to_numpy(bool) for flag in manifest.domain_thresholds}
            found[str(name)] = of["label"].to_numpy(str), decision.decide(p[rows], **marks)
    return found


def counted(manifest: Manifest) -> pd.DataFrame:
    """A row a set, in words and numbers."""
    grave, codes = np.array([one.malignant for one in manifest.labels]), np.array(manifest.labels.codes)
    rows = []
    for name, (labels, found) in stored(manifest).items():
        referral, top = np.array(found.referral), found.probabilities.argmax(axis=1)
        advised = referral != NONE
        by_label = (referral == REFER) & (found.malignant_probability < manifest.decision.referral_threshold)

        def zones(of: np.ndarray, referral: np.ndarray = referral) -> str:
            return " / ".join(f"{np.sum(referral[of] == zone):,}" for zone in REFERRALS) if of.any() else ""

        rows.append({
            "images": f"{name} ({len(labels):,})",
            "malignant": zones(np.isin(labels, codes[grave])),
            "benign": zones(np.isin(labels, codes[~grave])),
            "all": zones(np.ones(len(labels), bool)),
            "referred by the label alone": by_label.sum(),
            "referred, a benign class likeliest": (advised & (referral == REFER) & ~grave[top]).sum(),
            "label is not the likeliest class": (advised & (found.label != top)).sum(),
            "melanoma not excluded": sum(MELANOMA_NOT_EXCLUDED in one for one in found.notices),
            "no class above 0.5": (advised & (found.probabilities.max(axis=1) < 0.5)).sum(),
            "malignant class, not referred": (
                (grave[found.label] & advised & (referral != REFER)) | (grave[top] & (referral == BELOW))
            ).sum(),
        })  # fmt: skip
    return pd.DataFrame(rows)


def measure(sets: dict[str, tuple[list[str], list[str]]], labels: dict[str, str]) -> pd.DataFrame:
    """Predictions of the images of each set: paths that the probe was fitted on, and others; and labels by path."""
    predictor, rows = Predictor.load(), []
    for name, (fitted, others) in sets.items():
        for path in (*fitted, *others):
            (one,) = predictor.predict([images.read_image(path)], maps=False)
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
    from experiments import shipped  # not before: it loads all that trains
    from skinlesion.data.sources import load_table

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
