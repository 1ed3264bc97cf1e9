"""Results that a run does not make itself: the repository's ``experiments/``, the shipped model, other authors."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

import skinlesion
from skinlesion.core.config import Config
from skinlesion.core.errors import DataError
from skinlesion.core.tables import counted
from skinlesion.evaluation.intervals import Metric, describe, from_columns, is_significant

SHIPPED = Path(skinlesion.__file__).resolve().parent / "pretrained" / "manifest.json"
PUBLISHED = Path(__file__).with_name("published.csv")
COLUMNS = ("row", "about", "base", "folds", "balanced_accuracy", "difference", "difference_low", "difference_high")
METRICS = ("balanced_accuracy", "macro_auroc", "accuracy", "mel_sensitivity")
CAUTION = (
    "Do not read this table as a ranking. Two figures can be compared only if they share the test images, the metric "
    "and the training data; here only the two rows of the reader study do. A split of HAM10000 by lesion, as in this "
    "project, is not the official test set. With a split by image, test lesions are also in training. Accuracy is not "
    "balanced accuracy: two thirds of the images are nevi. With the official test set, skinlesion evaluate --official "
    "measures what the first row measures."
)
LEAK_COLUMNS = (
    "split", "title", "folds", "n_images", "n_lesions", "leaked", *METRICS,
    "inflation", "inflation_low", "inflation_high",
)  # fmt: skip


def published_table() -> pd.DataFrame:
    """Published results on HAM10000 and ISIC 2018 Task 3, one row a figure; read :data:`CAUTION` with it.

    Values are as their authors give them, with the sources to check them. The intervals are estimated here, from the
    number of images of each class; the authors give none.
    """
    return pd.read_csv(PUBLISHED, dtype=str, keep_default_na=False, index_col="authors").rename_axis(None)


def read_experiments(path: str | Path) -> pd.DataFrame:
    """The repository's ``experiments/table.csv``, which an installed package does not bring.

    One row per recipe: metrics out of fold with 95% intervals, and the paired difference to the recipe it changes.
    """
    return _read(path, COLUMNS, "python -m experiments.run table")


def read_leak(path: str | Path) -> pd.DataFrame:
    """The repository's ``experiments/leak.csv``: inflation by leakage, one row a way to split.

    The metrics are those of the same recipe, with 95% intervals over lesions. ``leaked`` is the share of tested images
    whose lesion (or near-duplicate) has an image in training; ``inflation``, the balanced accuracy above that of the
    most careful split, with the interval of the difference.
    """
    return _read(path, LEAK_COLUMNS, "python -m experiments.leak table")


def _read(path: str | Path, columns: tuple[str, ...], command: str) -> pd.DataFrame:
    """A table of the repository; DataError where it is missing or lacks a column, which ``command`` mends."""
    try:
        table = pd.read_csv(path, dtype={"folds": str})
    except (OSError, ValueError) as error:
        raise DataError(f"the table {path} cannot be read ({error}); it comes with the project's repository") from None
    if lacking := [name for name in columns if name not in table]:
        raise DataError(f"{path} lacks {', '.join(lacking)}; run `{command}`")
    return table


def changes_by_base(table: pd.DataFrame | None) -> dict[str, dict[str, Metric]]:
    """The paired differences as metrics, ``{base: {row: metric}}``, the largest first; of no table, none."""
    if table is None:
        return {}
    found: dict[str, dict[str, Metric]] = {}
    for line in table.dropna(subset="difference").sort_values("difference", ascending=False).to_dict("records"):
        found.setdefault(line["base"], {})[line["row"]] = from_columns(line, "difference")
    return {base: found[base] for base in table["base"].dropna().unique() if base in found}


def readable_experiments(table: pd.DataFrame) -> pd.DataFrame:
    """The table for people, the best recipe first: figures with their 95% intervals, and what they were made from."""
    rows = table.sort_values("balanced_accuracy", ascending=False)

    def figure(name: str) -> list[str]:
        return [describe(from_columns(row, name)) for row in rows.to_dict("records")]

    return pd.DataFrame(
        {
            "balanced accuracy": figure("balanced_accuracy"),
            "macro AUROC": figure("macro_auroc"),
            "melanoma recall": figure("mel_sensitivity"),
            "images": [f"{count:,}" for count in rows["n_images"]],
            "folds": rows["folds"].to_list(),
            "core minutes a fold": [f"{minutes:.1f}" if minutes == minutes else "" for minutes in rows["cpu_minutes"]],
        },
        index=pd.MultiIndex.from_frame(rows[["row", "about"]]),
    )


def read_shipped(path: str | Path = SHIPPED) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The shipped model's recipe beside the classic one, and the figures of its networks.

    The first table has a row per parameter that differs, columns ``classic``, ``before`` (the recipe of the network
    that it starts from, where there is one) and ``shipped``; the second, a row per metric and a column per set of
    images, as ``value (low to high)`` with 95% intervals over lesions. Raises DataError if the manifest is missing or
    holds no figures.
    """
    try:
        shipped = json.loads(Path(path).read_text())
        plain, before = Config().to_dict(), shipped.get("started_from")
        values = {
            "classic": plain,
            **({"before": plain | before} if before else {}),
            "shipped": plain | shipped["config"],
        }
        recipes = pd.DataFrame(values).map(lambda value: ", ".join(value) if isinstance(value, list) else value)
        sets = {"validation": shipped["validation"], shipped["measured_on"]: shipped["metrics"]}
        figures = {f"{name}, {counted(found['n_images'], 'image')}": _figures(found) for name, found in sets.items()}
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"the shipped model's manifest {path} cannot be read ({error!r}); install the package again"
        ) from None
    recipes = recipes.drop(index=["data", "fold", "start"])
    return recipes[recipes.nunique(axis=1) > 1], pd.DataFrame(figures)


def _figures(metrics: dict) -> dict[str, str]:
    values = {name.replace("_", " "): metrics[name] for name in ("balanced_accuracy", "macro_auroc", "accuracy", "ece")}
    values |= {f"sensitivity, {code}": found["sensitivity"] for code, found in metrics["per_class"].items()}
    return {name: describe(value) for name, value in values.items()}


def describe_inflation(table: pd.DataFrame) -> str:
    """By how much the shortcut, the table's first row, inflates the figure of the most careful split, its last."""
    shortcut, careful = table.iloc[0], table.iloc[-1]
    folds = len(str(shortcut["folds"]).split())
    more = from_columns(shortcut, "inflation")
    verdict = (
        "The 95% interval excludes 0."
        if is_significant(more)
        else "The difference is not significant on these images (the 95% interval includes 0)."
    )
    return (
        f"By the shortcut, the same recipe reaches a balanced accuracy of {shortcut['balanced_accuracy']:.3f} instead "
        f"of the {careful['balanced_accuracy']:.3f} of the careful split: an inflation of {describe(more)}, on {folds} "
        f"of five folds. {verdict}"
    )
