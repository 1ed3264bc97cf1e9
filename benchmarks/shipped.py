"""The shipped model, from images to lib/skinlesion/pretrained/, in one resumable command:

    python benchmarks/shipped.py --data "$HAM10000_DIR" --install

1. Five folds are trained by configs/shipped.json (--config), each judged on the part it has not seen. Their pooled
   out-of-fold logits choose temperature, decision rule and thresholds, and nothing else does. Each starts from the same
   part by the recipe before, configs/first.json, which is trained where it is missing.
2. The same recipe is trained once more on all five folds: the network that is shipped.
3. The test part, which nothing has seen or chosen by, is read last, which test_reads.csv notes; the model is exported
   with both figures.

What each fold's network says is kept in benchmarks/shipped/<recipe>/ and committed, so that the folds can be trained
over several sittings and machines. It counts for the recipe and the data that it was made with; `--again` asks all of
them anew. `--only fold-2` trains one part and stops. `--out-of-fold` judges a recipe on its folds, and reads no test
part: the one-square recipes that the shipped ones were preferred to are measured so.
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

from skinlesion.commands.train import train
from skinlesion.core import images
from skinlesion.core.config import Config
from skinlesion.core.errors import SkinLesionError
from skinlesion.core.runs import Run, atomic, write_json
from skinlesion.core.taxonomy import HAM7, LabelSet, label_set, normalise_label
from skinlesion.data import skin_tone, splits
from skinlesion.data.check import check_table
from skinlesion.data.sources import load_table
from skinlesion.data.splits import FOLDS, load_split
from skinlesion.data.table import LesionTable
from skinlesion.evaluation import compare, operating
from skinlesion.evaluation import decision_fit as decision
from skinlesion.evaluation import subgroup_gaps as gaps
from skinlesion.evaluation import subgroup_metrics as subgroups
from skinlesion.evaluation.bootstrap import describe
from skinlesion.evaluation.metrics import evaluate
from skinlesion.evaluation.predictions import Predictions, read
from skinlesion.evaluation.robustness import sample_evenly
from skinlesion.evaluation.subgroups import people, population
from skinlesion.export.card import attach
from skinlesion.export.onnx import export_model
from skinlesion.export.variants import add_variants
from skinlesion.serving.manifest import PRETRAINED
from skinlesion.serving.predictor import Predictor
from skinlesion.training.domain import fit_domain
from skinlesion.training.fold_outputs import is_kept, keep, read_kept
from skinlesion.training.trained import load_trained

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "shipped"
SIZES = ((150, 112), (300, 225), (600, 450), (1200, 900), (2400, 1800))  # width, height


def part_config(config: Config, name: str) -> Config:
    """The recipe of one part: ``fold-k`` validates on fold k, ``final`` on none; start and teachers are its own."""
    fold = -1 if name == "final" else int(name.removeprefix("fold-"))
    places = {key: getattr(config, key).format(part=name) for key in ("start", "teachers", "split_file")}
    return config.but(fold=fold, **places)


def train_start(own: Config, recipe: Path) -> None:
    """Train what a part starts from, where it is missing: ``start`` = .../NAME/PART is made by ``recipe``'s NAME.json.

    A start that is there already is taken as it is: ``train`` refuses it where it knows another split.
    """
    start = Run(own.start)
    if not start.outputs.exists():
        name, part = start.folder.parts[-2:]
        before = part_config(Config.from_file(recipe.with_name(f"{name}.json")).but(data=own.data), part)
        if before.start:
            train_start(before, recipe)
        train(before, start)


def seconds(run: Run) -> float:
    """How long a part was trained, with what it starts from."""
    start = Config.from_file(run.config_file).start
    return json.loads(run.training.read_text())["seconds"] + (seconds(Run(start)) if start else 0)


def outputs(run: Run, which: str) -> tuple[pd.DataFrame, np.ndarray]:
    """Split rows with their logits, and the learned prior, of a trained part's ``validation`` or ``test`` images."""
    with np.load(run.need(run.outputs, "training"), allow_pickle=False) as stored:
        ids, logits, prior = stored["image_id"], stored["logits"], stored["prior"]
    split = load_split(run.split).set_index("image_id", drop=False).loc[ids]
    rows = split.assign(**{f"logit_{number}": column for number, column in enumerate(logits.T)})
    return rows[rows["split"] == which].reset_index(drop=True), prior


def logits_of(rows: pd.DataFrame) -> np.ndarray:
    return rows.filter(regex=r"^logit_\d+$").to_numpy()


def keep_fold(config: Config, run: Run, place: Path, fingerprint: str) -> None:
    """Keep what a fold's network says of its validation images, and how much of its training images it finds familiar.

    The final network knows every image but the test's, so other folds' networks say where its domain ends.
    """
    rows, prior = outputs(run, "validation")
    trained = load_trained(run, config, classes=len(prior))
    keep(place, rows, config, fingerprint, {
        "prior": prior.tolist(), "seconds": seconds(run), "threads": torch.get_num_threads(),
        "kept_in_training": fit_domain(trained.model, run, config).kept_in_training,
    })  # fmt: skip


def choose(config: Config, labels: LabelSet, rows: pd.DataFrame, learned: np.ndarray) -> decision.Decision:
    """Temperature, decision rule and thresholds by what these images' logits say."""
    y = rows["label"].map({code: i for i, code in enumerate(labels.codes)}).to_numpy()
    prior = np.bincount(y, minlength=len(labels)) / len(y)
    return decision.choose(
        logits_of(rows), y, labels, training_prior=learned, prior=prior,
        referral_sensitivity=config.referral_sensitivity,
    )  # fmt: skip


def predictions(chosen: decision.Decision, split: pd.DataFrame) -> Predictions:
    logits = logits_of(split)
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
    by_group = subgroups.by_subgroup(judged, groups, threshold, hold="diagnosis by" if "diagnosis by" in groups else "")
    attach(folder, population=population(groups), subgroups=gaps.for_card(by_group))


def answers_of(name: str, folds: list[int]) -> tuple[pd.DataFrame, list[dict]]:
    """What the folds' networks said of the images that they had not seen, and the facts of their trainings."""
    kept = [read_kept(RESULTS / name / f"fold-{fold}") for fold in folds]
    return pd.concat([rows for rows, _ in kept], ignore_index=True), [facts for _, facts in kept]


def judge(config: Config, name: str, folds: list[int]) -> None:
    """Choose on the out-of-fold logits and write what was measured there: for a recipe that is not shipped.

    Also what the shipped model, and the same one asked about the centre square alone, have more, on the same images and
    replicates; eight labels are taken as seven for that.
    """
    rows, facts = answers_of(name, folds)
    learned = np.mean([fact["prior"] for fact in facts], axis=0)
    out_of_fold = predictions(choose(config, label_set(config.labels), rows, learned), rows)
    file = RESULTS / name / "metrics.json"
    found = {"out_of_fold": evaluate(out_of_fold)}
    tell(found)
    out_of_fold.write(RESULTS / name / "out_of_fold.csv")
    if out_of_fold.labels != HAM7:
        out_of_fold = as_seven(out_of_fold)
        found["as_seven_labels"] = evaluate(out_of_fold)
    for other in ("shipped", "centre"):
        if other != name and (known := RESULTS / other / "out_of_fold.csv").exists():
            both = compare.shared({name: out_of_fold, other: read(known)})
            found[f"{other}_has_more"] = compare.compare(both).differences[other]
    write_json(file, (json.loads(file.read_text()) if file.exists() else {}) | found)  # a test part read earlier stays


def as_seven(predictions: Predictions) -> Predictions:
    """Answers of eight labels as answers of seven: actinic keratosis and squamous cell carcinoma are both ``akiec``."""
    place = np.array([HAM7.codes.index(normalise_label(code, HAM7)) for code in predictions.labels.codes])
    probabilities, scores = np.zeros((2, len(HAM7), len(predictions)))
    np.add.at(probabilities, place, predictions.probabilities.T)
    np.maximum.at(scores, place, predictions.scores.T)  # which of the eight is named decides
    return replace(predictions, labels=HAM7, y=place[predictions.y], probabilities=probabilities.T, scores=scores.T)


def tell(metrics: dict[str, dict]) -> None:
    for which, found in metrics.items():
        figures = found | {"melanoma sensitivity": found["per_class"]["mel"]["sensitivity"]}
        shown = ("balanced_accuracy", "macro_auroc", "melanoma sensitivity")
        print(f"{which}: " + ", ".join(f"{name} {describe(figures[name])}" for name in shown))


def add_smaller_files(run: Run, table: LesionTable, each: int = 200) -> None:
    """Put smaller files beside a model, where they cost little (:mod:`skinlesion.export.variants`); print the cost.

    Judged on ``each`` of every class of the images it was trained on: the test part is to choose nothing.
    """
    known = load_split(run.split).query("split == 'train'")
    y = known["label"].map({code: i for i, code in enumerate(table.labels.codes)}).to_numpy()
    judged, place = sample_evenly(y, each), table.frame.set_index("image_id")["path"]
    frames = [images.read(place[image]) for image in known["image_id"].iloc[judged]]
    lesions = known["lesion_id"].to_numpy(str)[judged]
    files = add_variants(run.model, frames, y[judged], lesions, frames[:: max(1, len(frames) // 100)])
    print(files[["megabytes", "balanced_accuracy", "loss", "loss_low", "loss_high", "kept"]].to_string())


def note_reading(name: str, what: str, metrics: dict) -> int:
    """Add a line to the list of every time that the test part was read; returns how many there are now.

    A part that recipes were compared on is no longer a test of their choice: whoever reads a figure should know.
    """
    figures = {key: metrics[key] for key in ("balanced_accuracy", "macro_auroc")}
    figures["mel_sensitivity"] = metrics["per_class"]["mel"]["sensitivity"]
    line = {"date": f"{date.today()}", "recipe": name, "what": what}
    line |= {key: round(figure["value"], 4) for key, figure in figures.items()}
    place = RESULTS / "test_reads.csv"
    known = pd.read_csv(place) if place.exists() else pd.DataFrame()
    told = ["recipe", *figures]
    if len(known) and (known[told] == pd.Series(line)[told]).all(axis=1).any():
        return len(known)  # the same model, read again: it says nothing new
    with atomic(place) as temporary:
        pd.concat([known, pd.DataFrame([line])]).to_csv(temporary, index=False)
    return len(known) + 1


def ship(config: Config, parts: Path, name: str, about: str, folds: list[int]) -> None:
    """Choose on the out-of-fold logits, read the test part, export, and write what was measured."""
    final = Run(parts / "final")
    table = LesionTable.load(final)
    rows, trainings = answers_of(name, folds)
    test_rows, learned = outputs(final, "test")
    chosen = choose(config, table.labels, rows, learned)
    out_of_fold, test = predictions(chosen, rows), predictions(chosen, test_rows)
    metrics = {"out_of_fold": evaluate(out_of_fold), "test": evaluate(test)}
    point = operating.operating_point(
        test.malignant_probability, test.is_malignant, chosen.referral_threshold, test.lesions
    )
    place = table.frame.set_index("image_id")["path"]
    frames = [images.read(place[image]) for image in test.image_ids[:: max(1, len(test) // 100)][:100]]
    model = load_trained(final, config, classes=len(table.labels)).model
    familiar = float(np.mean([facts["kept_in_training"] for facts in trainings]))
    domain = fit_domain(model, final, config, kept_in_training=familiar)
    manifest = export_model(
        model, final, config, table.labels, domain=domain,
        decision=chosen.to_dict(sensitivity=point.sensitivity, specificity=point.specificity),
        data=table.facts(),
        metrics=metrics["test"], out_of_fold=metrics["out_of_fold"], frames=frames[:20], name=name,
    )  # fmt: skip
    attach_groups(final.model, table, test, chosen.referral_threshold)
    add_smaller_files(final, table)
    attach(final.model, test_reads=note_reading(name, about, metrics["test"]))
    out_of_fold.write(RESULTS / name / "out_of_fold.csv")
    test.write(RESULTS / name / "test.csv")
    stability = same_answer_at_any_size(Predictor.load(final.model), frames)
    more = {"same_answer_at_any_size": stability, "seconds_of_the_final_network": seconds(final)}
    write_json(RESULTS / name / "metrics.json", metrics | more)
    tell(metrics)
    print(f"made {final.model}, {manifest['bytes'] / 1e6:.1f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "shipped.json")
    parser.add_argument("--parts", type=Path, help="where trainings are kept (reports/<recipe>/)")
    parser.add_argument("--folds", type=int, nargs="+", default=list(range(FOLDS)), choices=range(FOLDS),
                        help="the folds that are trained and chosen by (all five)")  # fmt: skip
    parser.add_argument(
        "--only", help="train this part and stop", choices=[f"fold-{k}" for k in range(FOLDS)] + ["final"]
    )
    parser.add_argument("--again", action="store_true", help="ask every fold's network anew, whatever is kept of it")
    parser.add_argument("--out-of-fold", action="store_true", help="judge the folds alone: no final network, no test")
    parser.add_argument("--install", action="store_true", help="make it the model that the package ships")
    arguments = parser.parse_args()
    if arguments.install and (arguments.only or arguments.out_of_fold):
        parser.error("--install ships the whole; leave --only and --out-of-fold out")
    try:
        make(arguments)
    except SkinLesionError as error:
        sys.exit(f"error: {error}")


def make(arguments: argparse.Namespace) -> None:
    """Train the parts that are asked for and not kept, then judge or ship."""
    config, name = Config.from_file(arguments.config).but(data=arguments.data), arguments.config.stem
    found = load_table(config.data, config.labels, config.exclude_official_test, config.label_words)
    fingerprint = check_table(splits.take_subset(found, config.max_images, seed=config.seed)).table.fingerprint()
    parts = arguments.parts or ROOT / "reports" / name
    wanted = [f"fold-{fold}" for fold in arguments.folds] + ([] if arguments.out_of_fold else ["final"])
    for part in [arguments.only] if arguments.only else wanted:
        run, own, place = Run(parts / part), part_config(config, part), RESULTS / name / part
        if not arguments.again and is_kept(place, own, fingerprint):
            print(f"{part}: what its network said is in {place}.csv.gz already")
            continue
        if own.start:
            train_start(own, arguments.config)
        if not (run.outputs.exists() and Config.from_file(run.config_file) == own):
            train(own, run)
        if part != "final":
            keep_fold(own, run, place, fingerprint)
    if arguments.out_of_fold:
        judge(config, name, arguments.folds)
    elif not arguments.only:
        about = json.loads(arguments.config.read_text()).get("about", "")
        ship(part_config(config, "final"), parts, name, about, arguments.folds)
    if arguments.install:
        PRETRAINED.mkdir(exist_ok=True)
        for file in (parts / "final" / "model").iterdir():
            shutil.copy2(file, PRETRAINED / file.name)


if __name__ == "__main__":
    main()
