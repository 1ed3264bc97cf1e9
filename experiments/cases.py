"""What people are shown for every stored output of the shipped model: the outcomes, and the table that counts them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from experiments import storage
from experiments.recipes import OUTPUTS
from skinlesion.core.errors import DataError
from skinlesion.decision import BELOW, MELANOMA_NOT_EXCLUDED, NONE, REFER, REFERRALS, Outcomes
from skinlesion.serving.manifest import Manifest

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
    others, facts = storage.read_parquet(OUTPUTS / "domain.parquet")
    if facts["model"] != manifest.identity:
        raise DataError("outputs/domain.parquet is of another model; run python -m experiments.domain anew")
    other = others[[f"p_{code}" for code in manifest.labels.codes]].to_numpy(np.float64)
    found = {}
    for images, p in ((known, decision.probabilities(outputs.logits)), (others, other)):
        for name, rows in images.groupby("set", sort=False).indices.items():
            of = images.iloc[rows]
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
