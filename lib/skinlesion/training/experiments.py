"""The committed results of the experiment table; ``benchmarks/experiments.py`` makes them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

import skinlesion
from skinlesion.errors import DataError

TABLE = Path(skinlesion.__file__).resolve().parents[2] / "benchmarks" / "experiments" / "table.csv"
COLUMNS = ("row", "about", "base", "folds", "balanced_accuracy", "difference", "difference_low", "difference_high")


def read_experiments(path: str | Path = TABLE) -> pd.DataFrame:
    """One row a recipe: metrics out of fold with 95% intervals, and the paired difference to the recipe it changes.

    Raises
    ------
    DataError
        If the file is missing (the package was installed without its repository) or lacks a column.
    """
    try:
        table = pd.read_csv(path, dtype={"folds": str})
    except (OSError, ValueError) as error:
        raise DataError(
            f"the experiment table {path} cannot be read ({error}); it comes with the project's repository, and "
            "`python benchmarks/experiments.py` makes it"
        ) from None
    lacking = [name for name in COLUMNS if name not in table]
    if lacking:
        raise DataError(f"{path} lacks {', '.join(lacking)}; run `python benchmarks/experiments.py table`")
    return table
