"""The shipped model, from images to lib/skinlesion/pretrained/, in one resumable command:

    python benchmarks/shipped.py --data "$HAM10000_DIR"

1. Five folds are trained by configs/shipped.json (--config), each judged on the part it has not seen. Their pooled
   out-of-fold logits choose temperature, decision rule and thresholds, and nothing else does.
2. The same recipe is trained once more on all five folds: the network that is shipped.
3. The test part, which nothing has seen or chosen by, is read once; the model is exported with both figures.

`--only fold-2` trains one part, so that several machines can share the work; with `--install`, that fold's network is
shipped as a preview, with figures from its validation fold; what can be chosen is chosen on the pooled out-of-fold
answers of the folds trained so far, and the test part stays unread.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from skinlesion import images
from skinlesion.config import Config
from skinlesion.data import skin_tone
from skinlesion.data.splits import FOLDS, load_split
from skinlesion.data.table import LesionTable
from skinlesion.evaluation import decision, operating, subgroups
from skinlesion.evaluation.bootstrap import describe
from skinlesion.evaluation.metrics import evaluate
from skinlesion.evaluation.people import people, population
from skinlesion.evaluation.predictions import Predictions
from skinlesion.export import export_model
from skinlesion.runs import Run, write_json
from skinlesion.serving.card import attach
from skinlesion.serving.manifest import PRETRAINED
from skinlesion.serving.predictor import Predictor
from skinlesion.training.command import train
from skinlesion.training.domain import Domain, fit_domain
from skinlesion.training.models import Classifier
from skinlesion.training.trained import load_trained

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "shipped"
SIZES = ((150, 112), (300, 225), (600, 450), (1200, 900), (2400, 1800))  # width, height


def part_config(config: Config, name: str) -> Config:
    """The recipe of one part: ``fold-k`` validates on fold k, ``final`` on none."""
    return config.but(fold=-1 if name == "final" else int(name.removeprefix("fold-")))


def outputs(run: Run, which: str) -> tuple[np.ndarray, pd.DataFrame, np.ndarray]:
    """Logits, split rows and learned prior of a trained part on its ``validation`` or ``test`` images."""
    with np.load(run.need(run.outputs, "training"), allow_pickle=False) as stored:
        ids, logits, prior = stored["image_id"], stored["logits"], stored["prior"]
    split = load_split(run.split).set_index("image_id", drop=False).loc[ids]
    chosen = (split["split"] == which).to_numpy()
    return logits[chosen], split[chosen], prior


def choose(config: Config, table: LesionTable, logits: np.ndarray, split: pd.DataFrame, learned) -> decision.Decision:
    """Temperature, decision rule and thresholds by what these images' logits say."""
    y = split["label"].map({code: i for i, code in enumerate(table.labels.codes)}).to_numpy()
    prior = np.bincount(y, minlength=len(table.labels)) / len(y)
    return decision.choose(
        logits, y, table.labels, training_prior=learned, prior=prior, referral_sensitivity=config.referral_sensitivity
    )


def predictions(chosen: decision.Decision, logits: np.ndarray, split: pd.DataFrame) -> Predictions:
    codes = {code: i for i, code in enumerate(chosen.labels.codes)}
    return Predictions(
        image_ids=split["image_id"].to_numpy(str),
        lesions=split["lesion_id"].to_numpy(str),
        split=split["split"].to_numpy(str),
        fold=split["fold"].to_numpy(np.int64),
        labels=chosen.labels,
        y=split["label"].map(codes).to_numpy(np.int64),
        probabilities=chosen.probabilities(logits),
        scores=chosen.scores(logits),
    )


def final_domain(config: Config, parts: Path, model: Classifier) -> Domain:
    """The final network knows every image but the test's, so other folds' networks say where its domain ends.

    Each finds what fraction of its training images a threshold keeps that is drawn on its validation images.
    """
    kept = []
    for fold in range(FOLDS):
        run, recipe = Run(parts / f"fold-{fold}"), part_config(config, f"fold-{fold}")
        trained = load_trained(run, recipe, classes=len(LesionTable.load(run).labels))
        kept.append(fit_domain(trained.model, run, recipe).kept_in_training)
    return fit_domain(model, Run(parts / "final"), config, kept_in_training=float(np.mean(kept)))


def same_answer_at_any_size(predictor: Predictor, frames: list[np.ndarray]) -> dict:
    """How much the answer moves when the same picture comes with more or fewer pixels (Lanczos)."""
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


def attach_groups(folder: Path, table: LesionTable, judged: Predictions, threshold: float) -> None:
    """Put into a model folder's card whom the data are of, and for whom the model works."""
    tones = skin_tone.tone_groups(skin_tone.per_lesion(skin_tone.skin_tones(table), table.frame["lesion_id"]))
    groups = people(table.frame, judged.image_ids, tones)
    gaps = subgroups.by_subgroup(judged, groups, threshold, hold="diagnosis by" if "diagnosis by" in groups else "")
    attach(folder, population=population(groups), subgroups=subgroups.for_card(gaps))


def ship(config: Config, parts: Path, name: str) -> None:
    """Choose on the out-of-fold logits, read the test part, export, and write what was measured."""
    final = Run(parts / "final")
    table = LesionTable.load(final)
    pieces = [outputs(Run(parts / f"fold-{fold}"), "validation") for fold in range(FOLDS)]
    logits, split = np.concatenate([p[0] for p in pieces]), pd.concat([p[1] for p in pieces])
    test_logits, test_split, learned = outputs(final, "test")
    chosen = choose(config, table, logits, split, learned)
    out_of_fold = predictions(chosen, logits, split)
    test = predictions(chosen, test_logits, test_split)
    metrics = {"out_of_fold": evaluate(out_of_fold), "test": evaluate(test)}
    point = operating.operating_point(
        test.malignant_probability, test.is_malignant, chosen.referral_threshold, test.lesions
    )
    place = table.frame.set_index("image_id")["path"]
    frames = [images.read(place[image]) for image in test.image_ids[:: max(1, len(test) // 100)][:100]]
    model = load_trained(final, config, classes=len(table.labels)).model
    manifest = export_model(
        model, final, config, table.labels, domain=final_domain(config, parts, model),
        decision=chosen.to_dict(sensitivity=point.sensitivity, specificity=point.specificity),
        data=table.facts(),
        metrics=metrics["test"], out_of_fold=metrics["out_of_fold"], frames=frames[:20], name=name,
    )  # fmt: skip
    attach_groups(final.model, table, test, chosen.referral_threshold)
    out_of_fold.write(RESULTS / name / "out_of_fold.csv")
    test.write(RESULTS / name / "test.csv")
    stability = same_answer_at_any_size(Predictor.load(final.model), frames)
    write_json(RESULTS / name / "metrics.json", metrics | {"same_answer_at_any_size": stability})
    for which, found in metrics.items():
        figures = found | {"melanoma sensitivity": found["per_class"]["mel"]["sensitivity"]}
        shown = ("balanced_accuracy", "macro_auroc", "melanoma sensitivity")
        print(f"{which}: " + ", ".join(f"{name} {describe(figures[name])}" for name in shown))
    print(f"made {final.model}, {manifest['bytes'] / 1e6:.1f} MB")


def preview(config: Config, parts: Path, part: str, name: str) -> None:
    """Export one fold's network with what its validation fold says, until all parts are trained.

    What can be chosen is chosen on the out-of-fold answers of all folds that are trained, which are more to choose by.
    """
    run = Run(parts / part)
    table = LesionTable.load(run)
    logits, split, learned = outputs(run, "validation")
    trained = [Run(parts / f"fold-{fold}") for fold in range(FOLDS) if Run(parts / f"fold-{fold}").outputs.exists()]
    pieces = [outputs(one, "validation") for one in trained]
    pooled, pooled_split = np.concatenate([p[0] for p in pieces]), pd.concat([p[1] for p in pieces])
    chosen = choose(config, table, pooled, pooled_split, learned)
    found = predictions(chosen, logits, split)
    point = operating.operating_point(
        found.malignant_probability, found.is_malignant, chosen.referral_threshold, found.lesions
    )
    place = table.frame.set_index("image_id")["path"]
    export_model(
        load_trained(run, config, classes=len(table.labels)).model, run, config, table.labels,
        decision=chosen.to_dict(sensitivity=point.sensitivity, specificity=point.specificity), data=table.facts(),
        metrics=evaluate(found), out_of_fold=evaluate(predictions(chosen, pooled, pooled_split)),
        measured_on="validation", name=f"{name}-preview",
        frames=[images.read(place[image]) for image in found.image_ids[:20]],
    )  # fmt: skip
    attach_groups(run.model, table, found, chosen.referral_threshold)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "shipped.json")
    parser.add_argument("--parts", type=Path, default=ROOT / "reports" / "shipped", help="where trainings are kept")
    parser.add_argument("--only", help="train this part (fold-0 to fold-4, final) and stop")
    parser.add_argument("--install", action="store_true", help="make it the model that the package ships")
    arguments = parser.parse_args()
    config = Config.from_file(arguments.config).but(data=arguments.data)
    for part in [arguments.only] if arguments.only else [*(f"fold-{fold}" for fold in range(FOLDS)), "final"]:
        run = Run(arguments.parts / part)
        if not (run.outputs.exists() and Config.from_file(run.config_file) == part_config(config, part)):
            train(part_config(config, part), run)
    if not arguments.only:
        ship(part_config(config, "final"), arguments.parts, arguments.config.stem)
    elif arguments.install:
        preview(part_config(config, arguments.only), arguments.parts, arguments.only, arguments.config.stem)
    if arguments.install:
        PRETRAINED.mkdir(exist_ok=True)
        for file in (arguments.parts / (arguments.only or "final") / "model").iterdir():
            shutil.copy2(file, PRETRAINED / file.name)


if __name__ == "__main__":
    main()
