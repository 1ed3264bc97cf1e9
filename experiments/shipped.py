"""The shipped model, from images to lib/skinlesion/pretrained/, in one resumable command:

    python -m experiments.shipped --data "$HAM10000_DIR" --install

1. Five folds are trained by the recipe ``shipped`` (--recipe), each evaluated on the fold that it was not trained on.
   Their pooled out-of-fold logits alone choose temperature, decision rule and thresholds. Each starts from the same
   part's network of the recipe ``first``, which is trained where it is missing.
2. The same recipe is trained once more on all five folds: the network that is shipped.
3. The test split, which nothing was trained on or chosen by, is read last, which test_reads.csv records; the model is
   exported with both sets of figures.

The outputs of each fold's network are stored in experiments/outputs/recipes/ and committed, so that the folds can be
trained over several sittings and machines. They count for the recipe and the data that they were made with; ``--again``
makes all of them anew. ``--only fold-2`` trains one part and stops. ``--out-of-fold`` evaluates a recipe on its folds
without reading the test split. Either way experiments/candidates.csv is written: the out-of-fold figures of
every stored recipe, and its paired differences to the shipped one.
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

from experiments import tested
from experiments.recipes import OUTPUTS, ROOT, Recipe, about, config, load
from experiments.run import checked_table
from skinlesion import crossval
from skinlesion.core import images
from skinlesion.core.config import Config
from skinlesion.core.errors import SkinLesionError
from skinlesion.core.runs import Run, atomic
from skinlesion.core.taxonomy import HAM7, normalise_label
from skinlesion.data import skin_tone
from skinlesion.data.splits import FOLDS, load_split
from skinlesion.data.table import LesionTable
from skinlesion.decision import as_seven as collapse
from skinlesion.evaluation import compare, operating
from skinlesion.evaluation import subgroup_gaps as gaps
from skinlesion.evaluation import subgroup_metrics as subgroups
from skinlesion.evaluation.bootstrap import describe
from skinlesion.evaluation.metrics import evaluate
from skinlesion.evaluation.predictions import Predictions
from skinlesion.evaluation.robustness import sample_evenly
from skinlesion.evaluation.subgroups import people, population
from skinlesion.export.card import attach
from skinlesion.export.onnx import export_model
from skinlesion.export.variants import add_variants
from skinlesion.serving.manifest import PRETRAINED
from skinlesion.serving.predictor import Predictor
from skinlesion.training.domain import fit_domain
from skinlesion.training.standalone import train
from skinlesion.training.trained import load_trained

STORED = OUTPUTS / "recipes"
CANDIDATES = ROOT / "experiments" / "candidates.csv"
READS = ROOT / "experiments" / "test_reads.csv"
COMPARED = ("balanced_accuracy", "macro_auroc", "accuracy", "mel.sensitivity")
SIZES = ((150, 112), (300, 225), (600, 450), (1200, 900), (2400, 1800))  # width, height


def part_config(whole: Config, part: str) -> Config:
    """The recipe of one part: ``fold-k`` validates on fold k, ``final`` on none; start and teachers are the part's."""
    fold = -1 if part == "final" else int(part.removeprefix("fold-"))
    start = whole.start if "/" in whole.start or not whole.start else f"reports/{whole.start}/{{part}}"
    places = {"start": start, "teachers": whole.teachers, "split_file": whole.split_file}
    return whole.but(fold=fold, **{key: place.format(part=part) for key, place in places.items()})


def train_start(own: Config, recipes: dict[str, Recipe]) -> None:
    """Train what a part starts from, where it is missing: ``start`` = .../NAME/PART is made by the recipe NAME.

    A start that is there already is taken as it is: ``train`` refuses one that was trained on another split.
    """
    start = Run(own.start)
    if not start.outputs.exists():
        name, part = start.folder.parts[-2:]
        before = part_config(config(name, recipes).but(data=own.data), part)
        if before.start:
            train_start(before, recipes)
        train(before, start)


def seconds(run: Run) -> float:
    """How long a part was trained, with what it starts from."""
    start = Config.from_file(run.config_file).start
    return json.loads(run.training.read_text())["seconds"] + (seconds(Run(start)) if start else 0)


def store_fold(own: Config, run: Run, place: Path, fingerprint: str) -> None:
    """Store a fold's outputs, and the share of its training images that each of its network's domain scores accepts.

    The final network has no validation images to fit its domain thresholds on; the folds' shares stand in for them.
    """
    classes = len(json.loads(run.training.read_text())["prior"])
    domain = fit_domain(load_trained(run, own, classes=classes).model, run, own)
    crossval.store(place, crossval.outputs_of_run(
        run, "validation", f"fold-{own.fold}", own, fingerprint,
        seconds=seconds(run), threads=torch.get_num_threads(), kept_in_training=dict(domain.kept_in_training),
    ))  # fmt: skip


def same_answer_at_any_size(predictor: Predictor, frames: list[np.ndarray]) -> dict:
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


def attach_groups(folder: Path, table: LesionTable, test: Predictions, threshold: float) -> None:
    """Put into a model folder's card whose lesions the data are, and for whom the model works."""
    tones = skin_tone.tone_groups(skin_tone.per_lesion(skin_tone.skin_tones(table), table.frame["lesion_id"]))
    groups = people(table.frame, test.image_ids, tones)
    by_group = subgroups.by_subgroup(test, groups, threshold, hold="diagnosis by" if "diagnosis by" in groups else "")
    attach(folder, population=population(groups), subgroups=gaps.for_card(by_group))


def out_of_fold(name: str, whole: Config) -> Predictions:
    """A recipe's pooled predictions, by a decision that was chosen on the same logits."""
    outputs = crossval.read(STORED / f"{name}.parquet")
    return outputs.decided(outputs.decision(whole.referral_sensitivity))


def write_candidates(recipes: dict[str, Recipe]) -> pd.DataFrame:
    """Write candidates.csv: a line for every metric of every stored recipe, and of its difference to others.

    ``set`` is ``out_of_fold``, ``as_seven_labels`` (of eight), or ``minus_<recipe>``: the paired difference on the
    images that both have, eight labels as seven.
    """
    names = [name for name in ("first", "shipped", *recipes) if (STORED / f"{name}.parquet").exists()]
    found = {name: out_of_fold(name, config(name, recipes)) for name in names}
    seven = {name: one if one.labels == HAM7 else as_seven(one) for name, one in found.items()}
    lines = []
    for name in names:
        lines += _lines(name, "out_of_fold", evaluate(found[name]))
        if found[name].labels != HAM7:
            lines += _lines(name, "as_seven_labels", evaluate(seven[name]))
        for other in {"shipped", "centre"} & set(names) - {name}:
            both = compare.shared({name: seven[name], other: seven[other]})
            more = crossval.difference(*both.values(), COMPARED)
            lines += [{"recipe": name, "set": f"minus_{other}", "metric": key} | value for key, value in more.items()]
    table = pd.DataFrame(lines).sort_values(["recipe", "set"], kind="stable", ignore_index=True)
    with atomic(CANDIDATES) as temporary:
        table.round(6).to_csv(temporary, index=False)
    return table


def _lines(name: str, which: str, metrics: dict) -> list[dict]:
    flat = {key: metrics[key] for key in COMPARED[:3]} | {"ece": metrics["ece"]}
    flat |= {f"{code}.sensitivity": of["sensitivity"] for code, of in metrics["per_class"].items()}
    about = {"recipe": name, "set": which}
    return [
        about | {"metric": key} | {end: value[end] for end in ("value", "low", "high", "n")}
        for key, value in flat.items()
    ]


def as_seven(predictions: Predictions) -> Predictions:
    """Predictions of eight labels as seven: actinic keratosis and squamous cell carcinoma are both ``akiec``."""
    place = np.array([HAM7.codes.index(normalise_label(code, HAM7)) for code in predictions.labels.codes])
    seven = {name: collapse(getattr(predictions, name), predictions.labels) for name in ("probabilities", "scores")}
    return replace(predictions, labels=HAM7, y=place[predictions.y], **seven)


def tell(which: str, metrics: dict) -> None:
    """Print the headline figures."""
    figures = metrics | {"melanoma sensitivity": metrics["per_class"]["mel"]["sensitivity"]}
    shown = ("balanced_accuracy", "macro_auroc", "melanoma sensitivity")
    print(f"{which}: " + ", ".join(f"{name} {describe(figures[name])}" for name in shown))


def add_smaller_files(run: Run, table: LesionTable, each: int = 200) -> None:
    """Put smaller files beside a model, where they cost little (:mod:`skinlesion.export.variants`); print the cost.

    Evaluated on ``each`` of every class of the training images: the test split is to choose nothing.
    """
    known = load_split(run.split).query("split == 'train'")
    y = known["label"].map({code: i for i, code in enumerate(table.labels.codes)}).to_numpy()
    chosen, place = sample_evenly(y, each), table.frame.set_index("image_id")["path"]
    frames = [images.read(place[image]) for image in known["image_id"].iloc[chosen]]
    lesions = known["lesion_id"].to_numpy(str)[chosen]
    files = add_variants(run.model, frames, y[chosen], lesions, frames[:: max(1, len(frames) // 100)])
    print(files[["megabytes", "balanced_accuracy", "loss", "loss_low", "loss_high", "kept"]].to_string())


def note_reading(name: str, what: str, metrics: dict) -> int:
    """Add a line to the list of all readings of the test split; returns how many there are now.

    A split that recipes were compared on is no longer a test of their choice: whoever reads a figure should know.
    """
    figures = {key: metrics[key] for key in ("balanced_accuracy", "macro_auroc")}
    figures["mel_sensitivity"] = metrics["per_class"]["mel"]["sensitivity"]
    line = {"date": f"{date.today()}", "recipe": name, "what": what}
    line |= {key: round(figure["value"], 4) for key, figure in figures.items()}
    interval = metrics["balanced_accuracy"]
    line |= {f"balanced_accuracy_{end}": round(interval[end], 6) for end in ("low", "high")}
    known = pd.read_csv(READS) if READS.exists() else pd.DataFrame()
    told = ["recipe", *figures]
    if len(known) and (known[told] == pd.Series(line)[told]).all(axis=1).any():
        return len(known)  # the same model, read again: nothing new is measured
    with atomic(READS) as temporary:
        pd.concat([known, pd.DataFrame([line])]).to_csv(temporary, index=False)
    return len(known) + 1


def ship(own: Config, parts: Path, name: str, recipes: dict[str, Recipe], folds: list[int], fingerprint: str) -> None:
    """Choose on the out-of-fold logits, read the test split, export, and write what was measured."""
    final = Run(parts / "final")
    table = LesionTable.load(final)
    outputs = crossval.read(STORED / f"{name}.parquet").take(f"fold-{fold}" for fold in folds)
    chosen = outputs.decision(own.referral_sensitivity)
    before = outputs.decided(chosen)
    test = crossval.outputs_of_run(final, "test", "test", own, fingerprint).decided(chosen, "test")
    metrics = {
        which: evaluate(one, referred=one.referred(chosen.referral_threshold))
        for which, one in (("out of fold", before), ("test", test))
    }
    sources = np.where(test.source == "", table.source, test.source)
    advice = operating.as_shown(test, chosen, sources, "test")
    place = table.frame.set_index("image_id")["path"]
    frames = [images.read(place[image]) for image in test.image_ids[:: max(1, len(test) // 100)][:100]]
    model = load_trained(final, own, classes=len(table.labels)).model
    shares = [outputs.facts[part]["kept_in_training"] for part in outputs.parts]
    familiar = {score: float(np.mean([share[score] for share in shares])) for score in shares[0]}
    manifest = export_model(
        model, final, own, table.labels, domain=fit_domain(model, final, own, kept_in_training=familiar),
        decision=chosen.to_dict(**advice),
        data=table.facts(),
        metrics=metrics["test"], out_of_fold=metrics["out of fold"], frames=frames[:20], name=name,
    )  # fmt: skip
    attach_groups(final.model, table, test, chosen.referral_threshold)
    add_smaller_files(final, table)
    attach(final.model, test_reads=note_reading(name, about(name, recipes), metrics["test"]))
    tested.write(name, test, {
        "same_answer_at_any_size": same_answer_at_any_size(Predictor.load(final.model), frames),
        "seconds": seconds(final), "config": {key: v for key, v in own.to_dict().items() if key != "data"},
    })  # fmt: skip
    for which, found in metrics.items():
        tell(which, found)
    print(f"made {final.model}, {manifest['bytes'] / 1e6:.1f} MB")


def make(given: argparse.Namespace) -> None:
    """Train the parts that are wanted and not stored, then evaluate or ship."""
    recipes, name = load("recipes"), given.recipe
    whole = config(name, recipes).but(data=given.data)
    fingerprint = checked_table(whole).fingerprint()
    parts, place = given.parts or ROOT / "reports" / name, STORED / f"{name}.parquet"
    wanted = [f"fold-{fold}" for fold in given.folds] + ([] if given.out_of_fold else ["final"])
    for part in [given.only] if given.only else wanted:
        run, own = Run(parts / part), part_config(whole, part)
        if not given.again and crossval.is_stored(place, part, own, fingerprint):
            print(f"{part}: the outputs of its network are in {place} already")
            continue
        if own.start:
            train_start(own, recipes)
        if not (run.outputs.exists() and Config.from_file(run.config_file) == own):
            train(own, run)
        if part != "final":
            store_fold(own, run, place, fingerprint)
    if given.only:
        return
    if not given.out_of_fold:
        ship(part_config(whole, "final"), parts, name, recipes, given.folds, fingerprint)
    table = write_candidates(recipes)
    if given.out_of_fold:
        print(table[table["recipe"] == name].round(3).to_string(index=False))
    if given.install:
        PRETRAINED.mkdir(exist_ok=True)
        for file in (parts / "final" / "model").iterdir():
            shutil.copy2(file, PRETRAINED / file.name)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--recipe", default="shipped", help="one of [recipes] in recipes.toml, or of the package")
    parser.add_argument("--parts", type=Path, help="place of the trainings (reports/<recipe>/)")
    parser.add_argument("--folds", type=int, nargs="+", default=list(range(FOLDS)), choices=range(FOLDS),
                        help="the folds that are trained and chosen by (all five)")  # fmt: skip
    parser.add_argument(
        "--only", help="train this part and stop", choices=[f"fold-{k}" for k in range(FOLDS)] + ["final"]
    )
    parser.add_argument("--again", action="store_true", help="make every fold's outputs anew, stored or not")
    parser.add_argument("--out-of-fold", action="store_true", help="evaluate the folds: no final network, no test")
    parser.add_argument("--install", action="store_true", help="make it the model that the package ships")
    given = parser.parse_args(argv)
    if given.install and (given.only or given.out_of_fold):
        parser.error("--install ships the whole; leave --only and --out-of-fold out")
    try:
        make(given)
    except SkinLesionError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
