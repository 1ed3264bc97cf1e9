"""The leak meter: the same recipe, scored under three ways to split. What would the usual shortcut have claimed?

    OMP_NUM_THREADS=1 python benchmarks/leak.py run --data "$HAM10000_DIR" [--folds 0 1 2 3 4]
    python benchmarks/leak.py table

The project's own test part is set aside first and not looked at; the rest is dealt into five folds

- by image, as is often done: images of one lesion fall on both sides;
- by lesion, as the data name them;
- by lesion, near-duplicates under two lesion ids counted as one: the project's own folds. The deal before is this one,
  with the partners of these pairs dealt anew, so that nothing else differs between the two.

Each fold is scored by a network trained on the other four. Nothing is chosen on it: the last epoch's weights count,
and the decision is by the logits less the log prior seen in training. ``run`` trains what is not answered yet (an
interrupted training goes on) and keeps what each network says in benchmarks/leak/answers/, to be committed; ``table``
pools the folds and writes benchmarks/leak/table.csv. The more folds, the more images are scored under all three, and
the narrower the interval of the difference.
"""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.special import softmax
from sklearn.model_selection import StratifiedKFold
from tqdm import tqdm

from skinlesion.core.config import Config, parse_setting
from skinlesion.core.errors import DataError, SkinLesionError
from skinlesion.core.runs import Run, atomic, write_json
from skinlesion.core.taxonomy import label_set
from skinlesion.data import splits
from skinlesion.data.cache import build_cache
from skinlesion.data.check import check_table
from skinlesion.data.sources import load_table
from skinlesion.data.table import LesionTable
from skinlesion.evaluation.bootstrap import Resamples, resample, summarise
from skinlesion.evaluation.leak import TABLE
from skinlesion.evaluation.metrics import confusion_metrics, evaluate
from skinlesion.evaluation.predictions import Predictions
from skinlesion.training.fit import fit
from skinlesion.training.fold_outputs import is_kept, keep, read_kept
from skinlesion.training.trained import predict

ROOT = Path(__file__).resolve().parents[1]
ANSWERS = TABLE.parent / "answers"
TITLES = {
    "image": "By image: the usual shortcut",
    "lesion": "By lesion",
    "near-duplicates": "By lesion, near-duplicates as one",
}
CAREFUL = "near-duplicates"


def deal(table: LesionTable, seed: int = 0) -> pd.DataFrame:
    """The fold (0 to 4) of every image under each way to split, a column each; -1: the test part, never used here."""
    own = splits.make_split(table, seed=seed)
    part = own["fold"].to_numpy()
    rest = np.flatnonzero(part != splits.TEST_FOLD)
    by_image = np.full(len(table), splits.TEST_FOLD)
    dealer = StratifiedKFold(n_splits=splits.FOLDS, shuffle=True, random_state=seed)
    for number, (_, chosen) in enumerate(dealer.split(rest, table.frame["label"].to_numpy()[rest])):
        by_image[rest[chosen]] = number
    by_lesion, random = part.copy(), np.random.default_rng(seed)
    lesion_of = table.frame.set_index("image_id")["lesion_id"]
    for lesion in sorted({lesion_of[partner] for _, partner in table.near_duplicates}):
        images = (table.frame["lesion_id"] == lesion).to_numpy() & (part != splits.TEST_FOLD)
        by_lesion[images] = random.integers(splits.FOLDS)
    return pd.DataFrame({"image": by_image, "lesion": by_lesion, "near-duplicates": part})


def leaked(table: LesionTable, part: np.ndarray, fold: int) -> np.ndarray:
    """Which images of a fold have kin (the same lesion or a near-duplicate) in the other four, bool [images of it]."""
    groups = splits.lesion_groups(table)
    return np.isin(groups[part == fold], groups[(part != fold) & (part != splits.TEST_FOLD)])


def run(arguments: argparse.Namespace) -> None:
    """Train every fold of every split, and keep what it says about that fold's images."""
    config = Config.from_file(arguments.config).but(data=arguments.data, keep="last", patience=0)
    config = config.but(**dict(map(parse_setting, arguments.set)))
    torch.set_num_threads(arguments.threads)
    found = load_table(config.data, config.labels)
    table = check_table(splits.take_subset(found, config.max_images, seed=config.seed)).table
    if not table.has_lesions:
        raise DataError(f"{config.data} names no lesions, so there is no leak to measure")
    cache = build_cache(table, size=config.image_size, fit=config.fit, crops=config.crops)
    parts = deal(table, config.seed)
    todo = [(name, fold) for fold in arguments.folds for name in arguments.splits]
    for name, fold in tqdm(todo, desc="leak meter", unit="run"):
        files = Run(arguments.output / name / f"fold-{fold}")
        own = config.but(fold=fold)
        if not is_kept(arguments.answers / name / f"fold-{fold}", own, table.fingerprint()):
            write_json(files.config_file, own.to_dict())
            one(own, table, cache, parts[name].to_numpy(), files, arguments.answers / name / f"fold-{fold}")


def one(config: Config, table: LesionTable, cache, part: np.ndarray, files: Run, place: Path) -> None:
    """Train on four folds, keep the logits of the fifth."""
    names = np.where(part == splits.TEST_FOLD, "test", np.where(part == config.fold, "validation", "train"))
    trained = fit(config, cache, table.targets, names, files, classes=len(table.labels))
    rows = np.flatnonzero(part == config.fold)
    logits, _ = predict(trained.model, cache, rows, views=config.views)
    frame = table.frame.iloc[rows][["image_id", "lesion_id", "label"]].reset_index(drop=True)
    frame["leaked"] = leaked(table, part, config.fold)
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    keep(place, frame.join(pd.DataFrame(logits, columns=list(table.labels.codes))), config, table.fingerprint(), {
        "source": table.source, "images": int((names == "train").sum()), "seconds": trained.facts["seconds"],
        "epochs": trained.facts["epochs"], "prior": trained.facts["prior"], "threads": torch.get_num_threads(),
        "commit": commit.stdout.strip(),
    })  # fmt: skip


def pooled(places: list[Path]) -> tuple[Predictions, np.ndarray, list[dict]]:
    """The scored folds of one split as one set of predictions at the natural prior, and which images leaked."""
    frames, facts = [], []
    for place in places:
        frame, fact = read_kept(place)
        codes = list(label_set(fact["config"]["labels"]).codes)
        frame[codes] -= np.log(fact["prior"])
        frames.append(frame)
        facts.append(fact)
    whole = pd.concat(frames, ignore_index=True)
    y = whole["label"].map({code: i for i, code in enumerate(codes)}).to_numpy()
    even = whole[codes].to_numpy()
    natural = np.bincount(y, minlength=len(codes)) / len(y)
    with np.errstate(divide="ignore"):  # a class that was not scored has no share
        probabilities = softmax(even + np.log(natural), axis=1)
    n = len(whole)
    return Predictions(
        whole["image_id"].to_numpy(object), whole["lesion_id"].to_numpy(object), np.full(n, "validation", object),
        np.repeat(np.arange(len(frames)), [len(frame) for frame in frames]), label_set(codes), y, probabilities,
        softmax(even, axis=1),
    ), whole["leaked"].to_numpy(bool), facts  # fmt: skip


def difference(a: Predictions, b: Predictions, replicates: int = 2000, seed: int = 0) -> dict:
    """Balanced accuracy of ``a`` less that of ``b``, each replicate drawing the same lesions for both.

    The two may score different images: lesions that only one of them scores count for it alone.
    """
    names = np.unique(np.concatenate([a.lesions, b.lesions]).astype(str))
    every = resample(names, replicates, seed)
    values = []
    for one in (a, b):
        k = len(one.labels)
        place = Resamples(np.searchsorted(names, one.lesions.astype(str)), every.counts)
        confusion = place.totals(np.eye(k * k)[one.y * k + one.predicted]).reshape(-1, k, k)
        values.append(confusion_metrics(confusion)["balanced_accuracy"])
    return summarise(values[0] - values[1], len(a))


def table(arguments: argparse.Namespace) -> None:
    """Write the table of the splits, each on the folds that all of them have."""
    done = {name: {file.stem for file in (arguments.answers / name).glob("fold-*.json")} for name in TITLES}
    folds = sorted(set.intersection(*done.values()))
    if not folds:
        raise DataError(f"no fold in {arguments.answers} is trained under all three splits; run `leak.py run` first")
    scored = {name: pooled([arguments.answers / name / fold for fold in folds]) for name in TITLES}
    lines = []
    for name, (predictions, kin, facts) in scored.items():
        metrics = evaluate(predictions)
        line = {
            "split": name, "title": TITLES[name], "folds": " ".join(fold.removeprefix("fold-") for fold in folds),
            "source": facts[0]["source"], "n_images": len(predictions), "n_lesions": metrics["n_lesions"],
            "trained_on": round(np.mean([fact["images"] for fact in facts])), "leaked": kin.mean(),
        }  # fmt: skip
        values = {key: metrics[key] for key in ("balanced_accuracy", "macro_auroc", "accuracy")}
        values["mel_sensitivity"] = metrics["per_class"]["mel"]["sensitivity"]
        values["claim"] = difference(predictions, scored[CAREFUL][0])
        for metric, value in values.items():
            line |= {metric: value["value"], f"{metric}_low": value["low"], f"{metric}_high": value["high"]}
        commits = " ".join(sorted({fact["commit"] for fact in facts}))
        lines.append(line | {"minutes": np.mean([fact["seconds"] for fact in facts]) / 60, "commit": commits})
    with atomic(arguments.table) as temporary:
        pd.DataFrame(lines).round(4).to_csv(temporary, index=False)
    shown = ["split", "folds", "n_images", "leaked", "balanced_accuracy", "claim", "claim_low", "claim_high"]
    print(pd.DataFrame(lines)[shown].round(3).to_string(index=False))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "reports" / "leak", help="where trainings are kept")
    parser.add_argument("--answers", type=Path, default=ANSWERS, help="where what the networks say is kept")
    commands = parser.add_subparsers(required=True)
    training = commands.add_parser("run", help="train what is not trained yet")
    training.add_argument("--data", required=True)
    training.add_argument("--config", type=Path, default=ROOT / "configs" / "quick.json")
    training.add_argument(
        "--folds", type=int, nargs="+", default=list(range(splits.FOLDS)), choices=range(splits.FOLDS)
    )
    training.add_argument("--splits", nargs="+", default=list(TITLES), choices=tuple(TITLES), help="all three")
    training.add_argument("--threads", type=int, default=1)
    training.add_argument("--set", metavar="NAME=VALUE", nargs="+", default=[], help="change the recipe")
    training.set_defaults(call=run)
    writing = commands.add_parser("table", help="write the table")
    writing.add_argument("--table", type=Path, default=TABLE)
    writing.set_defaults(call=table)
    arguments = parser.parse_args(argv)
    try:
        arguments.call(arguments)
    except SkinLesionError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
