"""For readers: the experiment table, and the recipe and the figures of the shipped model."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

import skinlesion
from skinlesion.core.config import Config
from skinlesion.core.errors import DataError
from skinlesion.core.tables import counted

SHIPPED = Path(skinlesion.__file__).resolve().parent / "pretrained" / "manifest.json"
COLUMNS = ("row", "about", "base", "folds", "balanced_accuracy", "difference", "difference_low", "difference_high")


def read_experiments(path: str | Path) -> pd.DataFrame:
    """One row a recipe: metrics out of fold with 95% intervals, and the paired difference to the recipe it changes.

    Parameters
    ----------
    path : CSV
        The repository's ``experiments/table.csv``, which an installed package does not bring.

    Raises
    ------
    DataError
        If the file is missing or lacks a column.
    """
    try:
        table = pd.read_csv(path, dtype={"folds": str})
    except (OSError, ValueError) as error:
        raise DataError(
            f"the experiment table {path} cannot be read ({error}); it comes with the project's repository"
        ) from None
    lacking = [name for name in COLUMNS if name not in table]
    if lacking:
        raise DataError(f"{path} lacks {', '.join(lacking)}; run `python -m experiments.run table`")
    return table


def changes_by_base(table: pd.DataFrame | None) -> dict[str, dict[str, dict]]:
    """The paired differences as metrics, ``{base: {row: metric}}``, the largest first; of no table, none."""
    if table is None:
        return {}
    found: dict[str, dict[str, dict]] = {}
    for line in table.dropna(subset="difference").sort_values("difference", ascending=False).itertuples():
        metric = {"value": line.difference, "low": line.difference_low, "high": line.difference_high}
        found.setdefault(line.base, {})[line.row] = metric
    return {base: found[base] for base in table["base"].dropna().unique() if base in found}


def readable_experiments(table: pd.DataFrame) -> pd.DataFrame:
    """The table for people, the best recipe first: figures with their 95% intervals, and what they were made from."""
    rows = table.sort_values("balanced_accuracy", ascending=False)

    def figure(name: str) -> list[str]:
        columns = zip(rows[name], rows[f"{name}_low"], rows[f"{name}_high"], strict=True)
        return [f"{value:.3f} ({low:.3f} to {high:.3f})" for value, low, high in columns]

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

    Returns
    -------
    recipes : a row a parameter that differs, columns ``classic``, ``before`` (the recipe of the network that it starts
        from, where there is one) and ``shipped``
    figures : a row a metric, a column a set of images; ``value (low to high)`` with 95% intervals over lesions

    Raises
    ------
    DataError
        If the manifest is missing or holds no figures.
    """
    try:
        shipped = json.loads(Path(path).read_text())
        plain, before = Config().to_dict(), shipped.get("started_from")
        told = {
            "classic": plain,
            **({"before": plain | before} if before else {}),
            "shipped": plain | shipped["config"],
        }
        recipes = pd.DataFrame(told).map(lambda value: ", ".join(value) if isinstance(value, list) else value)
        sets = {"validation": shipped["validation"], shipped["measured_on"]: shipped["metrics"]}
        figures = {f"{name}, {counted(found['n_images'], 'image')}": _figures(found) for name, found in sets.items()}
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"the shipped model's manifest {path} cannot be read ({error!r}); install the package anew"
        ) from None
    recipes = recipes.drop(index=["data", "fold", "start"])
    return recipes[recipes.nunique(axis=1) > 1], pd.DataFrame(figures)


def _figures(metrics: dict) -> dict[str, str]:
    values = {name.replace("_", " "): metrics[name] for name in ("balanced_accuracy", "macro_auroc", "accuracy", "ece")}
    values |= {f"sensitivity, {code}": found["sensitivity"] for code, found in metrics["per_class"].items()}
    return {name: _figure(value) for name, value in values.items()}


def _figure(metric: dict) -> str:
    """The value with its interval, where it has one: a calibration error has none."""
    value, low, high = (metric[end] for end in ("value", "low", "high"))
    return f"{value:.3f}" if low is None else f"{value:.3f} ({low:.3f} to {high:.3f})"
