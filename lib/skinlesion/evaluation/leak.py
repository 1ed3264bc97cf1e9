"""Inflation by leakage: the table that ``experiments/leak.py`` of the repository makes."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from skinlesion.core.errors import DataError
from skinlesion.evaluation.bootstrap import describe

METRICS = ("balanced_accuracy", "macro_auroc", "accuracy", "mel_sensitivity")
COLUMNS = (
    "split", "title", "folds", "n_images", "n_lesions", "leaked", *METRICS,
    "inflation", "inflation_low", "inflation_high",
)  # fmt: skip


def read_leak(path: str | Path) -> pd.DataFrame:
    """One row a way to split: the metrics of the same recipe, with 95% intervals over lesions.

    ``leaked`` is the share of tested images whose lesion (or near-duplicate) has an image in training;
    ``inflation``, the balanced accuracy above that of the most careful split, with the interval of the difference.

    Parameters
    ----------
    path : CSV
        The repository's ``experiments/leak.csv``, which an installed package does not bring.

    Raises
    ------
    DataError
        If the file is missing or lacks a column.
    """
    try:
        table = pd.read_csv(path, dtype={"folds": str})
    except (OSError, ValueError) as error:
        raise DataError(
            f"the table of leakage {path} cannot be read ({error}); it comes with the project's repository"
        ) from None
    lacking = [name for name in COLUMNS if name not in table]
    if lacking:
        raise DataError(f"{path} lacks {', '.join(lacking)}; run `python -m experiments.leak table`")
    return table


def describe_inflation(table: pd.DataFrame) -> str:
    """By how much the shortcut, the table's first row, inflates the figure of the most careful split, its last."""
    shortcut, careful = table.iloc[0], table.iloc[-1]
    folds = len(str(shortcut["folds"]).split())
    more = {"value": shortcut["inflation"], "low": shortcut["inflation_low"], "high": shortcut["inflation_high"]}
    verdict = (
        "The difference is not significant on these images (the 95% interval includes 0)."
        if more["low"] <= 0 <= more["high"]
        else "The 95% interval excludes 0."
    )
    return (
        f"By the shortcut, the same recipe reaches a balanced accuracy of {shortcut['balanced_accuracy']:.3f} instead "
        f"of the {careful['balanced_accuracy']:.3f} of the careful split: an inflation of {describe(more)}, on {folds} "
        f"of five folds. {verdict}"
    )
