"""The shipped model, from images to lib/skinlesion/pretrained/, in one resumable command:

    python -m experiments.shipped --install --photographs "$MILK10K_DIR" --unseen "$BCN20000_DIR" --data \\
        "ham10000:$HAM10000_256_DIR" "milk10k:$MILK10K_DIR" "csv:$ISIC2017_DIR"

1. The recipe ``shipped`` is trained on all sources (HAM10000, MILK10k, MSK), less a validation part and a test part of
   each. ``split.csv`` holds the parts; lesions, and twins found by content, are in one of them.
2. Logits and domain scores of both parts are stored per image in outputs/shipped.parquet.
3. On the validation part alone are chosen: temperature and decision rule, thresholds of the advice and of the domain
   scores. Probabilities are calibrated for the class mix of HAM10000.
4. The test part is read last, which test_reads.csv records, and the model is exported with both sets of figures.

``--rewrite`` makes 3 and 4 anew from the stored outputs, for the model that is installed, without training it again.
The recipe's other folds are trained by :mod:`experiments.folds`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from experiments import storage
from experiments.recipes import OUTPUTS, ROOT
from skinlesion import crossval
from skinlesion.core import framing, images
from skinlesion.core.config import Config
from skinlesion.core.errors import SkinLesionError
from skinlesion.core.recipes import load_recipe
from skinlesion.core.runs import Run
from skinlesion.core.tables import read_table
from skinlesion.core.writing import write_csv, write_json
from skinlesion.crossval import Outputs
from skinlesion.data.cache import recorded_cache
from skinlesion.data.files import ImageIndex, find_files
from skinlesion.data.sources import load_table
from skinlesion.data.splits import load_split
from skinlesion.data.table import LesionTable
from skinlesion.decision import NOT_DERMATOSCOPIC, OTHER_CAMERA, Decision
from skinlesion.evaluation import decision_fit, operating
from skinlesion.evaluation.intervals import describe
from skinlesion.evaluation.metrics import evaluate
from skinlesion.evaluation.retrieval import Cases
from skinlesion.evaluation.robustness import sample_evenly
from skinlesion.export.card import attach, of_each
from skinlesion.export.onnx import export_model
from skinlesion.export.variants import add_variants
from skinlesion.serving.manifest import FILE, PRETRAINED
from skinlesion.serving.predictor import Predictor
from skinlesion.training.domain import PROBE_ACCEPTED, Domain, fit_domain
from skinlesion.training.inputs.augment import to_inputs
from skinlesion.training.networks.models import Classifier, mean_outputs
from skinlesion.training.standalone import train
from skinlesion.training.trained import load_trained, predict

HOME = "ham10000"  # the source whose class mix the probabilities are calibrated for
NAME = "shipped"
STORED = OUTPUTS / f"{NAME}.parquet"
SPLIT = ROOT / "experiments" / "split.csv"
READS = ROOT / "experiments" / "test_reads.csv"
MSK = "isic2017_msk"  # which is read as any CSV: as what its licence and origin are known by
CLOSE_UPS, UNSEEN = 200, 150  # images that the probe of the domain is fitted on
SIZES = ((150, 112), (300, 225), (600, 450), (1200, 900), (2400, 1800))  # width, height


def close_ups(place: Path) -> tuple[list[str], list[str]]:
    """Paths of MILK10k's clinical close-ups: those that the probe is fitted on, and those that measure it."""
    metadata = read_table(place / "MILK10k_Training_Metadata.csv")
    kind = metadata["image_type"].str.startswith("clinical")
    found = find_files(place)
    index = ImageIndex(found, list(found.names))
    paths = [index.find(name) for name in sorted(metadata.loc[kind, "isic_id"])]
    return paths[:CLOSE_UPS], paths[CLOSE_UPS:]


def unseen(place: Path) -> tuple[list[str], list[str]]:
    """Paths of BCN20000, whose cameras the network was not trained on: as in :func:`close_ups`, as many of each."""
    paths = sorted(load_table(f"csv:{place}", 8).frame["path"], key=str)
    step = max(1, len(paths) // UNSEEN)
    fitted = paths[::step]
    return fitted, [path for path in paths[step // 2 :: step] if path not in fitted]


def features_of(model: Classifier, own: Config, paths: list[str]) -> np.ndarray:
    """Pooled features of images, float32 [N, D]."""
    found = []
    for path in paths:
        square = torch.from_numpy(framing.fit_crops(images.read_image(path), own.image_size, own.fit, own.crops))
        with torch.inference_mode():
            found.append(mean_outputs(model, to_inputs(square), own.views, own.crops)[1].numpy())
    return np.concatenate(found)


def compute_outputs(
    run: Run, own: Config, outside: Path | None, other: Path | None, tested: tuple[str, ...] = ("test",)
) -> tuple[Outputs, Domain]:
    """Logits and domain scores of the validation part and what is ``tested``, and the domain that they were scored by.

    ``in_seven``: whether an image has one of the seven codes, too: invasive squamous cell carcinoma has none. ``vote``:
    the class of most of the similar training images that the domain was fitted on.
    """
    table, cache = LesionTable.load(run), recorded_cache(run)
    split = load_split(run.split)["split"].to_numpy(str)
    trained = load_trained(run, own, classes=len(table.labels))
    domain, training, features = fit_domain(trained.model, run, own)
    known = table.frame["image_id"].isin(training).to_numpy()
    cases = Cases(features, table.targets[known], table.frame["lesion_id"].to_numpy(str)[known])
    rows = {part: np.flatnonzero(split == part) for part in ("validation", *tested)}
    found = {part: predict(trained.model, cache, chosen, views=own.views) for part, chosen in rows.items()}
    scores = {part: domain.scores(features) for part, (_, features) in found.items()}
    if outside and other:
        inside = np.concatenate([found["validation"][1], features_of(trained.model, own, unseen(other)[0])])
        domain, held = probed(domain, inside, features_of(trained.model, own, close_ups(outside)[0]))
        scores = {part: domain.scores(features) for part, (_, features) in found.items()}
        scores["validation"][NOT_DERMATOSCOPIC] = held[: len(rows["validation"])]
    in_seven = set(load_table(own.data, 7, own.exclude_official_test).frame["image_id"])
    facts = {"prior": trained.prior.tolist(), "seconds": trained.facts["seconds"], "domain": domain.to_dict(),
             "cases": len(features)}  # fmt: skip
    parts, codes = [], np.array(table.labels.codes)
    for part, (logits, features) in found.items():
        frame = table.frame.iloc[rows[part]][["image_id", "lesion_id", "label", "source", "dx_type"]]
        frame = frame.reset_index(drop=True).assign(
            in_seven=frame["image_id"].isin(in_seven).to_numpy(),
            vote=codes[cases.vote(features, frame["lesion_id"].to_numpy(str))],
            **{name: score.astype(np.float32) for name, score in scores[part].items()},
        )
        parts.append(crossval.one_part(part, frame, logits, table.labels, own, table.fingerprint(), facts))
    return crossval.pool(parts), domain


def train_once(own: Config, run: Run) -> None:
    """Train a recipe in a folder, or go on; nothing is done where it is finished there."""
    if not (run.outputs.exists() and Config.from_file(run.config_file) == own):
        train(own, run, features=None)  # the split file keeps twins together


def probed(domain: Domain, inside: np.ndarray, outside: np.ndarray) -> tuple[Domain, np.ndarray]:
    """The domain with a linear probe for ``not_dermatoscopic``, and the scores that chose its threshold.

    A logistic regression, both kinds with the same weight, on features of unit variance. Its threshold accepts
    :data:`PROBE_ACCEPTED` of ``inside``, by scores of probes that were fitted on the other four fifths (float64 [N]).
    ``inside``, ``outside``: float [N, D], [M, D]; features of dermatoscopic images that the network was not trained on,
    and of photographs that are none.
    """
    scale = inside.std(axis=0) + 1e-3
    features = np.concatenate([inside, outside]) / scale
    kind = np.r_[np.ones(len(inside)), np.zeros(len(outside))]
    model = LogisticRegression(max_iter=5000, class_weight="balanced")
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    scores = cross_val_predict(model, features, kind, cv=folds, method="decision_function")[: len(inside)]
    model.fit(features, kind)
    threshold = float(np.quantile(scores, 1 - PROBE_ACCEPTED))
    probe = np.r_[model.coef_[0] / scale, model.intercept_]
    return replace(
        domain,
        probe=probe,
        thresholds={**domain.thresholds, NOT_DERMATOSCOPIC: threshold},
        accepted_in_training={OTHER_CAMERA: domain.accepted_in_training[OTHER_CAMERA]},
    ), scores


def choose(known: Outputs, sensitivity: float) -> Decision:
    """The decision, chosen on these outputs; the sensitivity is reached in every source."""
    home = (known.images["source"] == HOME).to_numpy()
    prior = np.bincount(known.y[home], minlength=len(known.labels)) / home.sum()
    return decision_fit.choose(
        known.logits, known.y, known.labels, training_prior=known.training_prior, prior=prior,
        referral_sensitivity=sensitivity, sources=known.images["source"].to_numpy(str),
        lesions=known.images["lesion_id"].to_numpy(str), calibrated_on=home,
    )  # fmt: skip


def figures(outputs: Outputs, decision: Decision) -> tuple[dict, dict]:
    """The manifest's figures of the validation and the test part: metrics, and how the advice does."""
    metrics, least = {}, outputs.facts["validation"]["domain"][NOT_DERMATOSCOPIC]["threshold"]
    for part in ("validation", "test"):
        known = outputs.take([part])
        one, seen = known.decided(decision, part), (known.images[NOT_DERMATOSCOPIC] >= least).to_numpy()
        metrics[part] = evaluate(one, referred=one.referred(decision.referral_threshold) & seen)
    advice = operating.measure_advice(one, decision, one.source, "test", seen)
    written = decision.to_dict(**advice) | {"metrics": metrics["test"], "validation": metrics["validation"]}
    return written, metrics


def ship(run: Run, own: Config, outside: Path | None, other: Path | None) -> dict:
    """Choose, read the test part, export, and store what was measured; returns the metrics by part."""
    outputs, domain = compute_outputs(run, own, outside, other)
    storage.store(STORED, NAME, outputs)
    outputs = storage.read(STORED, NAME)
    written, metrics = figures(outputs, choose(outputs.take(["validation"]), own.referral_sensitivity))
    table = LesionTable.load(run)
    place = table.frame.set_index("image_id")["path"]
    frames = [
        images.read_image(place[name])
        for name in outputs.images["image_id"].iloc[:: max(1, len(outputs.images) // 100)]
    ]
    model = load_trained(run, own, classes=len(table.labels)).model
    export_model(
        model, run, own, table.labels, domain=domain, data=table.facts(), frames=frames[:20], name=NAME,
        metrics=written.pop("metrics"), validation=written.pop("validation"), decision=written,
    )  # fmt: skip
    name_msk(run.model)
    add_smaller_files(run, table)
    stable = same_prediction_at_any_size(Predictor.load(run.model), frames)
    attach(run.model, test_reads=note_reading(metrics["test"]), same_at_any_size=stable)
    return metrics


def name_msk(folder: Path) -> None:
    """Name MSK in a model's manifest, with its licence and citation, where it says ``csv``."""
    content = json.loads((folder / FILE).read_text())
    source = content["data"]["source"].replace("csv", MSK)
    content["data"] |= {"source": source, "citation": of_each("citation", source)}
    write_json(folder / FILE, content | {"licence": of_each("licence", source)})


def rewrite(folder: Path) -> dict:
    """Choose and measure anew from the stored outputs, for a model that is there; returns the metrics by part."""
    outputs, content = storage.read(STORED, NAME), json.loads((folder / FILE).read_text())
    decision = choose(outputs.take(["validation"]), content["config"]["referral_sensitivity"])
    written, metrics = figures(outputs, decision)
    write_json(folder / FILE, content | written | {"domain": outputs.facts["validation"]["domain"]})
    attach(folder, test_reads=note_reading(metrics["test"]))
    return metrics


def same_prediction_at_any_size(predictor: Predictor, frames: list[np.ndarray]) -> dict:
    """How much the prediction changes when the same image comes with more or fewer pixels (Lanczos)."""
    reference = predictor.predict(frames)
    result = {}
    for width, height in SIZES:
        other = predictor.predict(
            [np.asarray(Image.fromarray(f).resize((width, height), Image.Resampling.LANCZOS)) for f in frames]
        )
        moved = [max(abs(a.probabilities[c] - b.probabilities[c]) for c in a.probabilities)
                 for a, b in zip(reference, other, strict=True)]  # fmt: skip
        result[f"{width}x{height}"] = {
            "same_label": float(np.mean([a.label == b.label for a, b in zip(reference, other, strict=True)])),
            "mean_largest_change": float(np.mean(moved)),
            "n": len(frames),
        }
    return result


def add_smaller_files(run: Run, table: LesionTable) -> None:
    """Put smaller files beside a model, where they cost little (:mod:`skinlesion.export.variants`); print the cost.

    Evaluated on ``each`` of every class of the validation images: the test part is to choose nothing.
    """
    known = load_split(run.split)
    known = known[known["split"].isin(["validation", "train"])].sort_values("split", ascending=False)
    y = known["label"].map({code: i for i, code in enumerate(table.labels.codes)}).to_numpy()
    chosen, place = sample_evenly(y, 100), table.frame.set_index("image_id")["path"]
    frames = [images.read_image(place[name]) for name in known["image_id"].iloc[chosen]]
    lesions = known["lesion_id"].to_numpy(str)[chosen]
    files = add_variants(run.model, frames, y[chosen], lesions, frames[:: max(1, len(frames) // 100)])
    print(files[["megabytes", "balanced_accuracy", "loss", "loss_low", "loss_high", "kept"]].to_string())


def note_reading(metrics: dict) -> int:
    """Add a line to the list of all readings of the test part; returns how many there are now.

    A split that recipes were compared on is no longer a test of their choice: whoever reads a figure should know.
    """
    figures = {key: metrics[key] for key in ("balanced_accuracy", "macro_auroc")}
    figures["mel_sensitivity"] = metrics["per_class"]["mel"]["sensitivity"]
    line = {"date": f"{date.today()}", "recipe": NAME, "what": "test parts of HAM10000, MILK10k and MSK"}
    line |= {key: round(figure["value"], 4) for key, figure in figures.items()}
    interval = metrics["balanced_accuracy"]
    line |= {f"balanced_accuracy_{end}": round(interval[end], 6) for end in ("low", "high")}
    known = pd.read_csv(READS) if READS.exists() else pd.DataFrame()
    compared = ["recipe", *figures]
    if len(known) and (known[compared] == pd.Series(line)[compared]).all(axis=1).any():
        return len(known)  # the same model, read again: nothing new is measured
    write_csv(READS, pd.concat([known, pd.DataFrame([line])]))
    return len(known) + 1


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=[], help="the sources, HAM10000 first")
    parser.add_argument("--run", type=Path, default=ROOT / "reports" / NAME, help="folder of the training")
    parser.add_argument("--photographs", type=Path, help="MILK10k, whose close-ups show what is not dermatoscopic")
    parser.add_argument("--unseen", type=Path, help="BCN20000, dermatoscopic images of another camera")
    parser.add_argument("--install", action="store_true", help="make it the model that the package ships")
    parser.add_argument("--rewrite", action="store_true", help="choose and measure again from the stored outputs")
    given = parser.parse_args(argv)
    if bool(given.data) == given.rewrite:
        parser.error("give --data to train and export, or --rewrite alone")
    try:
        if given.rewrite:
            metrics = rewrite(PRETRAINED)
        else:
            run, own = Run(given.run), load_recipe(NAME).but(data=given.data, split_file=str(SPLIT), fold=-1)
            train_once(own, run)
            metrics = ship(run, own, given.photographs, given.unseen)
            if given.install:
                PRETRAINED.mkdir(exist_ok=True)
                for file in run.model.iterdir():
                    shutil.copy2(file, PRETRAINED / file.name)
    except SkinLesionError as error:
        sys.exit(f"error: {error}")
    for part, found in metrics.items():
        print(part, *(f"{name} {describe(found[name])}" for name in ("balanced_accuracy", "macro_auroc")))


if __name__ == "__main__":
    main()
