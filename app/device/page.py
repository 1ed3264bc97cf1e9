"""What the on-device page is made of: where its files are, and what it holds of the model."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from app import present
from app.words import TEXTS, in_words
from skinlesion.decision import Decision
from skinlesion.serving.manifest import Manifest

SOURCES = Path(__file__).resolve().parent

#: Where ``make site`` puts the page.
SITE = SOURCES.parents[1] / "build" / "site"

#: In the page's folder, what its predictions are made with.
MODEL = "model.json"

#: In the page, where a server's own navigation goes.
NAVIGATION = "<!-- navigation -->"

#: Sections of the words that its results are worded with.
WORDS = ("advice", "card", "device", "kind", "notice", "percent", "reason")


def node_needed() -> str:
    """The oldest version of Node that builds the page."""
    package = json.loads((SOURCES / "package.json").read_text(encoding="utf-8"))
    return package["engines"]["node"].removeprefix(">=")


def decision_facts(decision: Decision) -> dict:
    """The part of a model that ``device/decision.js`` decides by."""
    sets = decision.set_thresholds
    return {
        "labels": [{"code": diagnosis.code, "malignant": diagnosis.malignant} for diagnosis in decision.labels],
        "temperature": decision.temperature,
        "prior_shift": decision.prior_shift.tolist(),
        "decision_weights": decision.weights.tolist(),
        "threshold": decision.referral_threshold,
        "borderline": decision.borderline,
        "melanoma_level": decision.melanoma_level,
        "prediction_set": None if sets is None else dict(zip(decision.labels.codes, sets.tolist(), strict=True)),
        "set_level": decision.set_level,
    }


def model_facts(manifest: Manifest) -> dict:
    """Which model it is, and what turns its outputs into a prediction in words; ``Model`` in ``device/types.d.ts``.

    A page with other facts than the app's model gives other predictions than the app.
    """
    return {
        "name": manifest.name,
        "version": manifest.version,
        "outputs": list(manifest.outputs),
        "image_size": manifest.image_size,
        "fit": manifest.fit,
        "crops": manifest.crops,
        **decision_facts(manifest.decision),
        "labels": [asdict(in_words(diagnosis)) for diagnosis in manifest.labels],
        "domain": manifest.domain_thresholds,
        "measured": present.measured(manifest),
        "evidence": manifest.evidence,  # its table is in the page
        "words": {key: words for key, words in TEXTS.items() if key.partition(".")[0] in WORDS},
    }


def built_model(site: Path) -> dict | None:
    """What the page in that folder says of its model; None where no page is."""
    path = site / MODEL
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def up_to_date(site: Path, manifest: Manifest) -> bool:
    """Whether the page in that folder is there, and gives that model's predictions."""
    built = built_model(site)
    return built is not None and model_facts(manifest).items() <= built.items()
