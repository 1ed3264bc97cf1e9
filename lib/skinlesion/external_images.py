"""A model evaluated on an external data set: nothing is chosen there, and training images are left out."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.neighbors import NearestNeighbors
from tqdm.contrib.concurrent import thread_map

from skinlesion.core import framing, images
from skinlesion.core.errors import ConfigError, DataError
from skinlesion.core.runs import Run
from skinlesion.core.tables import counted
from skinlesion.core.taxonomy import KIND_SEPARATOR
from skinlesion.core.writing import need_writable, write_json
from skinlesion.data.check import check_table
from skinlesion.data.sources import load_table
from skinlesion.data.table import LesionTable
from skinlesion.data.tabulate import AND_OF_OTHERS, NO_LESIONS, OF_HAM10000, trained_ids
from skinlesion.evaluation import calibration, plots
from skinlesion.evaluation.intervals import Metric, describe, proportions, resample, summarise
from skinlesion.evaluation.metrics import ranking
from skinlesion.evaluation.operating import evidence
from skinlesion.evaluation.plots import external_figure
from skinlesion.evaluation.predictions import Predictions
from skinlesion.export.card import attach
from skinlesion.serving.manifest import Manifest, model_folder
from skinlesion.serving.predictor import Predictor

SEEN = "used in training"
SIDE = 16  # pixels of a thumbnail
#: Root mean square difference of two thumbnails, in grey levels. In HAM10000 copies that were made smaller, mirrored or
#: compressed anew lie below 3.1, and no two different images below 6.
NEAR = 4.0

#: What every figure is called for people, in the order of tables.
NAMES = {
    "mel_nv_auroc": "AUROC, melanoma against nevus",
    "malignant_auroc": "AUROC, malignant against benign",
    "sensitivity": "Sensitivity for malignant lesions at the referral threshold",
    "specificity": "Specificity at the referral threshold",
    "observed": "Share of malignant images",
    "predicted": "Mean predicted probability of malignancy",
    "ece": "Calibration error (ECE)",
    "malignant_ece": "Calibration error of the probability of malignancy",
    "in_domain": "Share of images that count as dermatoscopic",
}


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
    """Predict and evaluate external images; write ``predictions.csv``, ``external.json`` and a figure to ``output``.

    ``data``: a data set, as ``skinlesion data check`` takes it; ``model``: a model folder; the shipped model where
    None; ``training``: all data sets that the model was trained on, to leave out what they hold too, by id and by
    content. Without it, ids alone are compared, with those of HAM10000 where the model was trained on them. ``words``:
    ``WORD=CODE``, the class that each unknown label of the data set stands for; ``into_card``: also put the figures
    into the model's manifest and card; refused where images of a training source that was not compared may be among
    them.
    Returns the exit status. Raises ConfigError if the figures may not be put into the card, DataError if the data
    cannot be used, or nothing is left of them, ModelError if the model cannot be loaded.
    """
    need_writable(output)
    progress = sys.stderr.isatty()
    predictor = Predictor.load(model)
    manifest = predictor.manifest
    table = load_table(data, len(manifest.labels), exclude_official_test=False, words=words)
    table, notes = _new_images(check_table(table, progress=progress).table, manifest, training, into_card, progress)
    if not table.has_lesions:
        notes.append("The data name no lesions, so intervals are over images.")
    found = predictor.predict_files(list(table.frame["path"]), progress=progress)
    predictions = Predictions.from_model(table.frame, table.labels, table.targets, found)
    in_domain = np.array([one.in_domain for one in found])
    threshold = manifest.decision.referral_threshold
    metrics = external_metrics(predictions, threshold, in_domain, replicates)
    record = _record(table, manifest, predictions, in_domain, metrics, notes)
    run = Run(output)
    predictions.write(run.predictions)
    write_json(run.folder / "external.json", record)
    plots.write(*external_figure(predictions, metrics, threshold), run.figures / "external.png")
    _print(record, table)
    if into_card:
        folder = model_folder(model)
        others = manifest.content.get("evaluation", {}).get("external", [])
        attach(folder, external=[*(one for one in others if one["name"] != record["name"]), record])
        print(f"put into the card of {folder}")
    print(f"wrote {run.folder}")
    return 0


def _new_images(
    table: LesionTable, manifest: Manifest, training: str | Sequence[str] | None, into_card: bool, progress: bool
) -> tuple[LesionTable, list[str]]:
    """The images that the model was not trained on, and notes; ConfigError if that is too uncertain for its card."""
    known = None if training is None else load_table(training, len(manifest.labels), exclude_official_test=False)
    unknown = ", ".join(not_compared(manifest, table, known))
    among = f"Images of {unknown}, which the model was trained on, may be among these"
    fix = "name all data sets that it was trained on: --training A B"
    if unknown and into_card:
        raise ConfigError(f"{among}, so their figures cannot go into its card; {fix}")
    table, notes = without_training(table, manifest, known, progress)
    if unknown:
        notes.append(f"{among}: they were not compared, and figures may be too high; {fix}")
    return table, notes


def _record(
    table: LesionTable, manifest: Manifest, predictions: Predictions, in_domain: np.ndarray, metrics: dict, notes: list
) -> dict:
    """What ``external.json`` and the model's manifest say of the evaluation."""
    name = Path(table.location).parent.name if table.source == "csv" else Path(table.location).name
    place = np.full(len(table), name)
    return {
        "name": name,
        "source": table.source,
        "fingerprint": table.fingerprint(),
        "n_images": len(table),
        "n_lesions": int(table.frame["lesion_id"].nunique()) if table.has_lesions else None,
        "counts": {code: int(count) for code, count in table.counts().items() if count},
        "threshold": manifest.decision.referral_threshold,
        "model": manifest.identity,
        "notes": [*(note for note in table.notes if note != NO_LESIONS), *notes],
        "metrics": metrics,
        "evidence": evidence(predictions, manifest.decision, place, "external", dermatoscopic=in_domain),
        "home": at_home(manifest),
    }


def not_compared(manifest: Manifest, table: LesionTable, known: LesionTable | None = None) -> list[str]:
    """The sources of the model's training data of which ``table`` may hold images that nothing here can find.

    Those of HAM10000 are known by their ids, others where ``known`` has data of their kind; a program's images are
    among no other data.
    """
    data = manifest.content["data"]
    kinds = {name: source["kind"] for name, source in data.get("sources", {}).items()}
    kinds = kinds or {kind: kind for kind in data["source"].split(KIND_SEPARATOR)}
    by_id = {*OF_HAM10000, *(() if table.synthetic else ("demo",))} - {*AND_OF_OTHERS}
    given = Counter(origin.kind for origin in known.origins.values()) if known else Counter()
    rest = []
    for name, kind in kinds.items():
        given[kind] -= 1  # each data set that is given stands for one of its kind
        if kind not in by_id and given[kind] < 0:
            rest.append(name)
    return rest


def without_training(
    table: LesionTable, manifest: Manifest, known: LesionTable | None = None, progress: bool = False
) -> tuple[LesionTable, list[str]]:
    """The images that the model was not trained on, as far as can be known, and notes about the others.

    Raises DataError if no image is left.
    """
    detail = pd.Series("", table.frame.index, dtype=object)
    how = "compared with the training data by id alone, for lack of --training"
    if known is not None:
        detail = seen_before(table, known, progress=progress)
        how = "compared with the training data by id and by content"
    seen = trained_ids(table.frame["image_id"], manifest.content["data"]["source"]) & (detail == "")
    detail = detail.mask(seen, "same id")
    mask = (detail != "").to_numpy()
    kept = table.set_aside(mask, SEEN, detail[mask].to_numpy())
    if not len(kept):
        raise DataError(
            f"{table.location} holds only training data of the model ({counted(len(table), 'image')}); choose "
            "other data"
        )
    left_out = f"{counted(int(mask.sum()), 'image')} of the model's training data" if mask.any() else "No image was"
    return kept, [f"{left_out} left out; {how}."]


def seen_before(table: LesionTable, training: LesionTable, progress: bool = False) -> pd.Series:
    """What of each row the training data hold: ``same id``, ``near-identical to <id>``, or an empty text.

    Finds the same picture saved again (smaller, mirrored, compressed), not another picture of the same lesion. Returns
    Series of str [len(table)]. Raises ImageError where an image cannot be read.
    """
    nearest = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(_thumbnails(training, progress))
    distance, row = (found[:, 0] for found in nearest.kneighbors(_thumbnails(table, progress)))
    detail = pd.Series("near-identical to " + training.frame["image_id"].to_numpy(object)[row], table.frame.index)
    detail = detail.where(distance <= NEAR * SIDE * np.sqrt(3), "")
    return detail.mask(table.frame["image_id"].isin(training.frame["image_id"]), "same id")


def _thumbnails(table: LesionTable, progress: bool) -> np.ndarray:
    """Every image at 16 x 16 pixels, mirrored so that its darker halves come first: float32 [N, 768]."""

    def one(path: str) -> np.ndarray:
        small, half = framing.resize(images.read_image(path), (SIDE, SIDE)).astype(np.float32), SIDE // 2
        down = small[:half].sum() > small[half:].sum()
        across = small[:, :half].sum() > small[:, half:].sum()
        return small[:: -1 if down else 1, :: -1 if across else 1].reshape(-1)

    how = {"desc": "comparing", "unit": "image", "disable": not progress}
    return np.array(thread_map(one, table.frame["path"], max_workers=os.cpu_count(), **how))


def external_metrics(
    predictions: Predictions, threshold: float, in_domain: np.ndarray | None = None, replicates: int = 2000
) -> dict[str, Metric]:
    """Ranking, sensitivity and specificity at the referral threshold, and calibration on external images.

    Returns a metric for each of :data:`NAMES`, None where a kind of image is missing. Melanoma against nevus is ranked
    by the probability of melanoma, among images of these two kinds. Both calibration errors are over bins of equal
    mass; the second is of one probability, that of malignancy, against the ground truth.
    ``threshold``: on the malignant probability, as the model was shipped with; a malignant label is referred, too;
    ``in_domain``: bool [N].
    """
    resamples = resample(predictions.lesions, replicates)
    p, y, malignant = predictions.probabilities, predictions.y, predictions.is_malignant
    score, referred = predictions.malignant_probability, predictions.referred(threshold)
    images, predicted = resamples.totals(np.column_stack([np.ones(len(y)), score])).T
    mel, nv = (predictions.labels.index(code) for code in ("mel", "nv"))
    pair, everything = np.isin(y, (mel, nv)), np.ones(len(y), bool)
    mel_nv = np.full(1, np.nan)
    if pair.any():
        mel_nv, _ = ranking(p[pair, mel], y[pair] == mel, resample(predictions.lesions[pair], replicates))
    found = {
        "mel_nv_auroc": summarise(mel_nv, int(pair.sum())),
        "malignant_auroc": summarise(ranking(score, malignant, resamples)[0], len(y)),
        "predicted": summarise(predicted / images, len(y)),
        "ece": calibration.by_chance([calibration.top_label(p, y)], resamples),
        "malignant_ece": calibration.by_chance([(score, malignant)], resamples),
    }
    shares = {
        "sensitivity": (referred, malignant),
        "specificity": (~referred, ~malignant),
        "observed": (malignant, everything),
        "in_domain": (everything, ~everything) if in_domain is None else (np.asarray(in_domain, bool), everything),
    }
    found |= proportions(shares, resamples.lesion)
    return {name: found[name] for name in NAMES}


def beside_home(found: dict[str, Metric], home: dict[str, Metric]) -> pd.DataFrame:
    """The figures on external images beside those in the model's manifest, as text, a row a figure.

    ``found``: of :func:`external_metrics`; ``home``: some of the same names -> metric.
    """
    rows = {
        words: {"external": describe(found[name]), "own test": describe(home[name]) if name in home else ""}
        for name, words in NAMES.items()
        if found[name]["value"] is not None
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def change_in_words(found: dict[str, Metric], home: dict[str, Metric]) -> str:
    """What changed, as text: ranking, the referral threshold, and whether probabilities are too high or too low."""
    parts = []
    if found["malignant_auroc"]["value"] is not None:
        parts.append(f"The AUROC for malignant against benign images is {describe(found['malignant_auroc'])}.")
        parts.append(
            f"At the referral threshold the sensitivity is {describe(found['sensitivity'])} (on the model's own test "
            f"images {describe(home['sensitivity'])}) and the specificity {describe(found['specificity'])} (on the "
            f"model's own {describe(home['specificity'])})."
        )
    predicted, observed = found["predicted"], found["observed"]
    if observed["low"] is None or predicted["value"] is None:
        return " ".join(parts)
    if observed["low"] <= predicted["value"] <= observed["high"]:
        verdict = "the difference is not significant"
    else:
        verdict = "too high" if predicted["value"] > observed["value"] else "too low"
    parts.append(
        f"The mean predicted probability of malignancy is {predicted['value']:.3f} where {describe(observed)} are "
        f"malignant: {verdict}."
    )
    return " ".join(parts)


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
        f"{record['model']['name']} {record['model']['version']} on {record['name']}: "
        f"{counted(len(table), 'image')}: {counts}"
    )
    for note in record["notes"]:
        print(note)
    for problem, count in table.problems["problem"].value_counts().items():
        print(f"set aside: {count:,} x {problem}")
    print(f"\n{beside_home(record['metrics'], record['home']).to_string()}\n")
    print(change_in_words(record["metrics"], record["home"]))
