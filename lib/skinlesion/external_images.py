"""A model evaluated on an external data set: nothing is chosen there, and training images are left out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from skinlesion.core.errors import DataError
from skinlesion.core.runs import Run, write_json
from skinlesion.data.check import check_table
from skinlesion.data.overlap import seen_before, trained_ids
from skinlesion.data.reading import NO_LESIONS
from skinlesion.data.sources import load_table
from skinlesion.data.table import LesionTable
from skinlesion.evaluation import external_validation as external
from skinlesion.evaluation import plots
from skinlesion.evaluation.operating import evidence
from skinlesion.evaluation.plots.external_validation import external_figure
from skinlesion.evaluation.predictions import Predictions
from skinlesion.export.card import attach
from skinlesion.serving.manifest import PRETRAINED, Manifest
from skinlesion.serving.predictor import Predictor

SEEN = "used in training"


def evaluate_external(
    data: str,
    model: str | Path | None,
    output: str | Path,
    *,
    training: str | Sequence[str] | None = None,
    words: list[str] | tuple[str, ...] = (),
    into_card: bool = False,
    replicates: int = 2000,
) -> int:
    """Predict and evaluate external images, and write ``predictions.csv``, ``external.json`` and a figure.

    Parameters
    ----------
    data : a data set, as ``skinlesion data check`` takes it
    model : a model folder; the shipped model where None
    output : folder for the results
    training : the data sets that the model was trained on, to leave out images that it holds too, by id and by content.
        Without it, ids alone are compared, with those of HAM10000 where the model was trained on them.
    words : ``WORD=CODE``: the class that each unknown label of the data set stands for
    into_card : also put the figures into the model's manifest and card

    Returns
    -------
    int, the exit status

    Raises
    ------
    DataError
        If the data cannot be used, or nothing is left of them.
    ModelError
        If the model cannot be loaded.
    """
    progress = sys.stderr.isatty()
    predictor = Predictor.load(model)
    manifest = predictor.manifest
    table = load_table(data, len(manifest.labels), exclude_official_test=False, words=words)
    table = check_table(table, progress=progress).table
    table, notes = without_training(table, manifest, training, progress)
    if not table.has_lesions:
        notes.append("The data name no lesions, so intervals are over images.")
    found = predictor.predict_files(list(table.frame["path"]), progress=progress)
    predictions = Predictions.answered(table.frame, table.labels, table.targets, found)
    in_domain = np.array([one.in_domain for one in found])
    threshold = manifest.decision.referral_threshold
    metrics = external.external_metrics(predictions, threshold, in_domain, replicates)
    home = at_home(manifest)
    name = Path(table.location).parent.name if table.source == "csv" else Path(table.location).name
    record = {
        "name": name,
        "source": table.source,
        "fingerprint": table.fingerprint(),
        "n_images": len(table),
        "n_lesions": int(table.frame["lesion_id"].nunique()) if table.has_lesions else None,
        "counts": {code: int(count) for code, count in table.counts().items() if count},
        "threshold": threshold,
        "model": manifest.identity,
        "notes": [*(note for note in table.notes if note != NO_LESIONS), *notes],
        "metrics": metrics,
        "evidence": evidence(
            predictions, manifest.decision, np.full(len(table), name), "external", dermatoscopic=in_domain
        ),
        "home": home,
    }
    run = Run(output)
    predictions.write(run.predictions)
    write_json(run.folder / "external.json", record)
    plots.write(*external_figure(predictions, metrics, threshold), run.figures / "external.png")
    _print(record, table)
    if into_card:
        folder = Path(model).expanduser() if model is not None else PRETRAINED
        others = manifest.content.get("evaluation", {}).get("external", [])
        attach(folder, external=[*(one for one in others if one["name"] != record["name"]), record])
        print(f"put into the card of {folder}")
    print(f"wrote {run.folder}")
    return 0


def without_training(
    table: LesionTable, manifest: Manifest, training: str | Sequence[str] | None = None, progress: bool = False
) -> tuple[LesionTable, list[str]]:
    """The images that the model was not trained on, and notes about the others.

    Raises
    ------
    DataError
        If no image is left.
    """
    if training is not None:
        known = load_table(training, len(manifest.labels), exclude_official_test=False)
        detail = seen_before(table, known, progress=progress)
        how = "compared with the training data by id and by content"
    else:
        seen = trained_ids(table.frame["image_id"], manifest.content["data"]["source"])
        detail = table.frame["image_id"].where(seen, "").where(~seen, "same id")
        how = "compared with the training data by id alone, for lack of --training"
    mask = (detail != "").to_numpy()
    kept = table.set_aside(mask, SEEN, detail[mask].to_numpy())
    if not len(kept):
        raise DataError(f"the model was trained on all {len(table):,} images of {table.location}; choose other data")
    left_out = (
        f"{int(mask.sum()):,} images that the model was trained on are left out"
        if mask.any()
        else "No image was left out"
    )
    return kept, [f"{left_out}; {how}."]


def at_home(manifest: Manifest) -> dict[str, dict]:
    """The model's own figures that can be compared with those on external images, as metrics."""
    malignant = manifest.decision.malignant_probability(manifest.decision.prior[None])
    prior = {"value": float(malignant[0]), "low": None, "high": None, "n": manifest.content["data"].get("images", 0)}
    home = {"observed": prior} | {name: manifest.referral[name] for name in ("sensitivity", "specificity")}
    if "ece" in manifest.content["metrics"]:
        home["ece"] = manifest.content["metrics"]["ece"]
    return home


def _print(record: dict, table: LesionTable) -> None:
    counts = ", ".join(f"{code} {count:,}" for code, count in record["counts"].items())
    print(
        f"{record['model']['name']} {record['model']['version']} on {record['name']}: {len(table):,} images: {counts}"
    )
    for note in record["notes"]:
        print(note)
    aside = table.problems["problem"].value_counts()
    for problem, count in aside.items():
        print(f"set aside: {count:,} x {problem}")
    print(f"\n{external.beside_home(record['metrics'], record['home']).to_string()}\n")
    print(external.change_in_words(record["metrics"], record["home"]))
