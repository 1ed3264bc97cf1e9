"""Inflation by leakage: the same recipe, evaluated under three ways to split. How much does the usual shortcut inflate?

    OMP_NUM_THREADS=1 python -m experiments.leak train --data "$HAM10000_DIR" [--folds 0 1 2 3 4]
    python -m experiments.leak table

The project's own test split is set aside first and not used; the rest is assigned to five folds

- by image, as is often done: images of one lesion fall on both sides;
- by lesion, as the data name them;
- by lesion, near-duplicates under two lesion ids counted as one: the project's own folds. The assignment by lesion is
  this one, with the partners of these pairs assigned anew, so that nothing else differs between the two.

Each fold is predicted by a network trained on the other four. Nothing is chosen on it: the last epoch's weights count,
and the prediction is by the logits less the log of the class mix seen in training. ``train`` trains what is not stored
yet (an interrupted training is resumed) and stores the outputs in outputs/leak.parquet, to be committed; ``table``
pools the folds and writes experiments/leak.csv. The more folds, the more images are predicted under all three, and the
narrower the interval of the difference.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import StratifiedKFold
from tqdm import tqdm

from experiments import storage
from experiments.recipes import OUTPUTS, ROOT, config
from experiments.run import checked_table, pixels
from skinlesion import crossval
from skinlesion.core.config import Config, parse_setting
from skinlesion.core.errors import DataError, SkinLesionError
from skinlesion.core.runs import Run
from skinlesion.core.writing import write_csv, write_json
from skinlesion.crossval import Outputs, Part
from skinlesion.data import splits
from skinlesion.data.cache import PixelCache
from skinlesion.data.table import LesionTable
from skinlesion.evaluation.intervals import in_columns
from skinlesion.evaluation.metrics import evaluate
from skinlesion.pipeline.record import commit
from skinlesion.training.fit import fit

STORED = OUTPUTS / "leak.parquet"
TABLE = ROOT / "experiments" / "leak.csv"
TITLES = {
    "image": "By image: the usual shortcut",
    "lesion": "By lesion",
    "near-duplicates": "By lesion, near-duplicates as one",
}
CAREFUL = "near-duplicates"


def assign(table: LesionTable, seed: int = 0) -> pd.DataFrame:
    """The fold (0 to 4) of every image under each way to split, a column each; -1: the test split, not used here."""
    own = splits.make_split(table, seed=seed)
    part = own["fold"].to_numpy()
    rest = np.flatnonzero(part != splits.TEST_FOLD)
    by_image = np.full(len(table), splits.TEST_FOLD)
    folds = StratifiedKFold(n_splits=splits.FOLDS, shuffle=True, random_state=seed)
    for number, (_, chosen) in enumerate(folds.split(rest, table.frame["label"].to_numpy()[rest])):
        by_image[rest[chosen]] = number
    by_lesion, random = part.copy(), np.random.default_rng(seed)
    lesion_of = table.frame.set_index("image_id")["lesion_id"]
    for lesion in sorted({lesion_of[partner] for _, partner in table.near_duplicates}):
        images = (table.frame["lesion_id"] == lesion).to_numpy() & (part != splits.TEST_FOLD)
        by_lesion[images] = random.integers(splits.FOLDS)
    return pd.DataFrame({"image": by_image, "lesion": by_lesion, "near-duplicates": part})


def leaked(table: LesionTable, part: np.ndarray, fold: int) -> np.ndarray:
    """Whether each image of a fold has one of its lesion, or a twin, in the other four: bool [images of it]."""
    groups = splits.lesion_groups(table)
    return np.isin(groups[part == fold], groups[(part != fold) & (part != splits.TEST_FOLD)])


def train(given: argparse.Namespace) -> None:
    """Train every fold of every split, and store its outputs."""
    whole = config(given.recipe, {}).but(data=given.data, keep="last", patience=0)
    whole = whole.but(**dict(map(parse_setting, given.set)))
    torch.set_num_threads(1)  # all folds alike, and as those that are stored
    table = checked_table(whole)
    if not table.has_lesions:
        raise DataError(f"{whole.data} has no lesion ids, so leakage cannot be measured; use a source that has them")
    cache, assigned = pixels(whole, table), assign(table, whole.seed)
    runs = [(fold, name) for fold in given.folds for name in TITLES]
    for fold, name in tqdm(runs, desc="leak", unit="run", disable=None):  # no bar into a file
        folds, own = assigned[name].to_numpy(), whole.but(fold=fold)
        (part,) = crossval.parts_of(folds, [fold], left_out=folds == splits.TEST_FOLD)
        if not storage.is_stored(given.outputs, name, part.name, own, table.fingerprint()):
            outputs = trained_outputs(own, table, cache, part, Run(given.output / name / part.name))
            outputs.images["leaked"] = leaked(table, folds, fold)
            storage.store(given.outputs, name, outputs)


def trained_outputs(own: Config, table: LesionTable, cache: PixelCache, part: Part, run: Run) -> Outputs:
    """Train on four folds; the outputs on the fifth."""
    write_json(run.config_file, own.to_dict())
    trained = fit(own, cache, table.targets, part.split, run, classes=len(table.labels))
    return crossval.outputs_of(
        part, trained, own, table, cache, source=table.source, images=int((part.split == "train").sum()),
        seconds=trained.facts["seconds"], epochs=trained.facts["epochs"], threads=torch.get_num_threads(),
        commit=commit(ROOT) or "",
    )  # fmt: skip


def write_table(given: argparse.Namespace) -> None:
    """Write the table of the splits, each on the folds that all of them have."""
    done = storage.read_facts(given.outputs)
    folds = sorted(set.intersection(*(set(done.get(name, {})) for name in TITLES)))
    if not folds:
        raise DataError(f"no fold in {given.outputs} is trained under all three splits; run `leak train` first")
    outputs = {name: storage.read(given.outputs, name).take(folds) for name in TITLES}
    predictions = {name: one.predictions() for name, one in outputs.items()}
    lines = []
    for name, own in tqdm(outputs.items(), desc="table", unit="split", disable=None):  # no bar into a file
        metrics, facts = evaluate(predictions[name]), [own.facts[part] for part in own.parts]
        line = {
            "split": name, "title": TITLES[name], "folds": " ".join(fold.removeprefix("fold-") for fold in folds),
            "source": facts[0]["source"], "n_images": len(own.images), "n_lesions": metrics["n_lesions"],
            "trained_on": round(np.mean([fact["images"] for fact in facts])), "leaked": own.images["leaked"].mean(),
        }  # fmt: skip
        values = {key: metrics[key] for key in ("balanced_accuracy", "macro_auroc", "accuracy")}
        values["mel_sensitivity"] = metrics["per_class"]["mel"]["sensitivity"]
        values["inflation"] = crossval.difference(predictions[name], predictions[CAREFUL])["balanced_accuracy"]
        commits = " ".join(sorted({fact["commit"] for fact in facts}))
        lines.append(
            line
            | in_columns(values)
            | {"minutes": np.mean([fact["seconds"] for fact in facts]) / 60, "commit": commits}
        )
    write_csv(given.table, pd.DataFrame(lines).round(4))
    shown = ["split", "folds", "n_images", "leaked", "balanced_accuracy", "inflation"]
    print(pd.DataFrame(lines)[shown].round(3).to_string(index=False))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "reports" / "leak", help="place of the trainings")
    parser.add_argument("--outputs", type=Path, default=STORED, help="file of the stored outputs")
    commands = parser.add_subparsers(required=True)
    training = commands.add_parser("train", help="train what is not stored yet")
    training.add_argument("--data", required=True)
    training.add_argument("--recipe", default="quick", help="a recipe of the package")
    training.add_argument(
        "--folds", type=int, nargs="+", default=list(range(splits.FOLDS)), choices=range(splits.FOLDS)
    )
    training.add_argument("--set", metavar="NAME=VALUE", nargs="+", default=[], help="change the recipe")
    training.set_defaults(call=train)
    writing = commands.add_parser("table", help="write the table")
    writing.add_argument("--table", type=Path, default=TABLE)
    writing.set_defaults(call=write_table)
    given = parser.parse_args(argv)
    try:
        given.call(given)
    except SkinLesionError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
