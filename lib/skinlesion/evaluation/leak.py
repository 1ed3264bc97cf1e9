"""The leak meter's committed results; ``benchmarks/leak.py`` makes them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

import skinlesion
from skinlesion.core.errors import DataError
from skinlesion.evaluation.bootstrap import describe

TABLE = Path(skinlesion.__file__).resolve().parents[2] / "benchmarks" / "leak" / "table.csv"
METRICS = ("balanced_accuracy", "macro_auroc", "accuracy", "mel_sensitivity")
COLUMNS = ("split", "title", "folds", "n_images", "n_lesions", "leaked", *METRICS, "claim", "claim_low", "claim_high")


def read_leak(path: str | Path = TABLE) -> pd.DataFrame:
    """One row a way to split: what the same recipe scored, with 95% intervals over lesions.

    ``leaked`` is the share of scored images whose lesion (or near-duplicate) has an image in training; ``claim``, the
    balanced accuracy above that of the most careful split, with the interval of the difference.

    Raises
    ------
    DataError
        If the file is missing (the package was installed without its repository, or the benchmark has not run yet) or
        lacks a column.
    """
    try:
        table = pd.read_csv(path, dtype={"folds": str})
    except (OSError, ValueError) as error:
        raise DataError(
            f"the leak meter's table {path} cannot be read ({error}); it comes with the project's repository, and "
            "`python benchmarks/leak.py` makes it"
        ) from None
    lacking = [name for name in COLUMNS if name not in table]
    if lacking:
        raise DataError(f"{path} lacks {', '.join(lacking)}; run `python benchmarks/leak.py table`")
    return table


def claim_in_words(table: pd.DataFrame) -> str:
    """What the shortcut, the table's first row, would have claimed above the most careful split, its last."""
    shortcut, careful = table.iloc[0], table.iloc[-1]
    folds = len(str(shortcut["folds"]).split())
    claim = {"value": shortcut["claim"], "low": shortcut["claim_low"], "high": shortcut["claim_high"]}
    verdict = (
        "The interval holds zero, so these images alone do not tell it from chance."
        if claim["low"] <= 0 <= claim["high"]
        else "The interval leaves zero out."
    )
    return (
        f"The shortcut would have claimed a balanced accuracy of {shortcut['balanced_accuracy']:.3f} where the careful "
        f"split measures {careful['balanced_accuracy']:.3f}: {describe(claim)} more, on {folds} of five folds. "
        + verdict
    )
