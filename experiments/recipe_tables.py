"""Tables of recipes that were trained on HAM10000 alone, for :mod:`experiments.tables`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pandas as pd

from benchmarks.tables import result, table
from experiments import storage
from experiments.recipes import OUTPUTS
from experiments.tables import HERE, on_test, signed
from skinlesion.evaluation.intervals import describe, from_columns
from skinlesion.evaluation.metrics import evaluate

#: What a column of experiments/candidates.csv is called on the model's page.
CANDIDATES = {
    "first": "Lite0, the frame squashed",
    "centre": "Lite0, the centre crop",
    "ham10000": "Lite0, left and right crop: shipped before",
    "mobilenet": "MobileNetV2, the centre crop",
    "mobilenet_squares": "MobileNetV2, left and right crop; folds 3 and 4 alone",
    "labels_8": "Lite0 with eight labels, left and right crop; merged into seven",
}


@cache
def candidates() -> pd.DataFrame:
    return pd.read_csv(HERE / "candidates.csv", index_col=["recipe", "set", "metric"])


def candidate(recipe: str, which: str, metric: str) -> dict:
    """A metric of experiments/candidates.csv."""
    return candidates().loc[(recipe, which, metric)].to_dict()


def recipes() -> str:
    """Recipes trained on HAM10000 alone on its test split, metric by metric."""
    names = ("ham10000", "quick", "classic")
    metrics, facts = zip(*(on_test(name) for name in names), strict=True)
    configs = [one["config"] for one in facts]
    rows = [
        ["network", *(f"{one['model']}, {one['image_size']} px" for one in configs)],
        ["trained on", *("folds 0 to 4" if one["fold"] == -1 else "folds 1 to 4" for one in configs)],
    ]
    titles = {"balanced_accuracy": "balanced accuracy", "macro_auroc": "macro AUROC", "accuracy": "accuracy",
              "ece": "calibration error (ECE)"}  # fmt: skip
    rows += [[title, *(describe(one[key]) for one in metrics)] for key, title in titles.items()]
    for code in metrics[0]["per_class"]:
        recall = [one["per_class"][code]["sensitivity"] for one in metrics]
        rows.append([f"recall {code} (n = {recall[0]['n']:,})", *map(describe, recall)])
    return table(["", *(f"`{name}`" for name in names)], rows)


def chosen_against() -> str:
    """What recipes reach out of fold on HAM10000 alone."""
    reads = pd.read_csv(HERE / "test_reads.csv").dropna().set_index("recipe")
    rows = []
    for name, about in CANDIDATES.items():
        which = "as_seven_labels" if name == "labels_8" else "out_of_fold"
        own = candidates().loc[(name, which)].to_dict("index")
        shipped_before = name == "ham10000"
        rows.append([
            f"**{name}**" if shipped_before else name, about, f"{own['accuracy']['n']:,.0f}",
            describe(own["balanced_accuracy"]),
            "" if shipped_before else signed(candidate(name, "minus_ham10000", "balanced_accuracy")),
            f"{own['macro_auroc']['value']:.3f}", describe(own["mel.sensitivity"]),
            describe(from_columns(reads.loc[name], "balanced_accuracy")) if name in reads.index else "",
        ])  # fmt: skip
    return table(["recipe", "network and input", "images", "balanced accuracy", "minus `ham10000`",
                  "macro AUROC", "melanoma recall", "test split"], rows)  # fmt: skip


def differences() -> str:
    """The differences that decided, paired, on the same images."""
    rows = []
    for title, name, other, sign in (
        ("two crops instead of the centre crop (Lite0)", "centre", "ham10000", -1),
        ("MobileNetV2 instead of Lite0 (centre crop)", "mobilenet", "centre", 1),
        ("MobileNetV2 (centre crop) instead of `ham10000`", "mobilenet", "ham10000", 1),
        ("eight labels instead of seven (merged into seven)", "labels_8", "ham10000", 1),
    ):
        found = [candidate(name, f"minus_{other}", key) for key in
                 ("balanced_accuracy", "macro_auroc", "accuracy", "mel.sensitivity")]  # fmt: skip
        if sign < 0:
            found = [{"value": -one["value"], "low": -one["high"], "high": -one["low"]} for one in found]
        rows.append([title, *map(signed, found)])
    return table(["difference", "balanced accuracy", "macro AUROC", "accuracy", "melanoma recall"], rows)


def eight_labels() -> str:
    """Out-of-fold recall of the eight classes."""
    found = candidates().loc[("labels_8", "out_of_fold")]
    rows = [["balanced accuracy", describe(found.loc["balanced_accuracy"].to_dict())]]
    rows += [[f"recall {name.partition('.')[0]} (n = {one.n:,.0f})", describe(one.to_dict())]
             for name, one in found.iterrows() if name.endswith(".sensitivity")]  # fmt: skip
    return table(["eight labels, out of fold", ""], rows)


def accuracy_for_compute() -> str:
    """Recipes of rising cost on validation folds 0 to 2."""
    names = {"linear_probe": "linear probe, 96 px", "classic": "classic, 96 px, short",
             "proxy": "fine-tune, 96 px, short", "size_160": "fine-tune, 160 px, short"}  # fmt: skip
    lines = pd.read_csv(HERE / "table.csv", index_col="row").loc[list(names)]
    points = [(one.cpu_minutes, names[row], from_columns(one, "balanced_accuracy")) for row, one in lines.iterrows()]
    outputs = storage.read(OUTPUTS / "recipes.parquet", "ham10000")
    whole = outputs.decided(outputs.decision(0.9))
    minutes = np.mean([outputs.facts[f"fold-{fold}"]["seconds"] for fold in (0, 1, 2)]) / 60
    points.append((minutes, "`ham10000`", evaluate(whole.take(whole.fold <= 2))["balanced_accuracy"]))
    base = lines.loc["classic", "cpu_minutes"]
    rows = [[name, f"{cost:.1f}", f"{cost / base:.1f}", describe(figure)]
            for cost, name, figure in sorted(points, key=lambda point: point[0])]  # fmt: skip
    return table(["recipe", "core minutes a fold", "times classic's", "balanced accuracy"], rows)


def classic_twice() -> str:
    """How far a second training of one recipe moved its figure."""
    reads = pd.read_csv(HERE / "test_reads.csv")
    first, second = reads.loc[reads["recipe"] == "classic", "balanced_accuracy"]
    return f"`classic`, trained a second time, went from {first:.3f} to {second:.3f}"


def steps_accuracy() -> str:
    """What two of these do to balanced accuracy."""
    lines = pd.read_csv(HERE / "table.csv", index_col="row")
    rows = {"bfloat16 on the plain CNN": "classic_bfloat16", "two stages frozen": "freeze_2"}
    return ", ".join(f"{title} {describe(from_columns(lines.loc[row], 'difference'))}" for title, row in rows.items())


def processes() -> str:
    """Two processes minus one."""
    found = result("experiments/processes.json")
    titles = {"val_loss": "loss", "val_balanced_accuracy": "balanced accuracy", "val_macro_auroc": "macro AUROC"}
    rows = []
    for key, title in titles.items():
        one = found["metrics"][key]
        rows.append([title, describe(one["difference"]), f"{one['deviation of differences']:.3f}",
                     f"{one['deviation between seeds']:.3f}"])  # fmt: skip
    return table([f"two processes minus one, {found['seeds']} seeds", "mean difference, 95% t-interval",
                  "standard deviation of a pair's difference", "of one process between seeds"], rows)  # fmt: skip


FIGURES: dict[str, Callable[[], str]] = {
    one.__name__.replace("_", "-"): one
    for one in (
        recipes, chosen_against, differences, eight_labels, accuracy_for_compute, classic_twice, steps_accuracy,
        processes,
    )
}  # fmt: skip
