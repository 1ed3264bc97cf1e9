"""What a network said of the images that it was not trained on, kept small enough to commit.

Experiments over several sittings and machines are pooled from such files: ``<place>.csv.gz`` holds a row an image,
``<place>.json`` the recipe, the fingerprint of the data and the facts of the training. Neither holds a pixel.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pandas as pd

from skinlesion.core.config import Config
from skinlesion.core.errors import DataError
from skinlesion.core.runs import atomic, write_json

DIGITS = 4  # decimals of a logit; the fifth changes no figure


def keep(place: Path, rows: pd.DataFrame, config: Config, fingerprint: str, facts: dict) -> None:
    """Write both files; the facts last, so that files without them are not finished.

    The recipe is kept without ``data``, which is another place on every machine: the table's ``fingerprint`` says which
    data they were.
    """
    text = rows.round(DIGITS).to_csv(index=False, lineterminator="\n")
    with atomic(place.with_suffix(".csv.gz")) as temporary:
        temporary.write_bytes(gzip.compress(text.encode(), mtime=0))  # neither name nor time: same answers, same file
    recipe = {name: value for name, value in config.to_dict().items() if name != "data"}
    write_json(place.with_suffix(".json"), facts | {"fingerprint": fingerprint, "config": recipe})


def is_kept(place: Path, config: Config, fingerprint: str) -> bool:
    """Whether ``place`` holds what a network of this recipe said of these data, on whichever machine."""
    if not place.with_suffix(".json").exists():
        return False
    facts = json.loads(place.with_suffix(".json").read_text())
    return facts.get("fingerprint") == fingerprint and Config(data=config.data).but(**facts["config"]) == config


def read_kept(place: Path) -> tuple[pd.DataFrame, dict]:
    """The rows and the facts.

    Raises
    ------
    DataError
        Where one of the files is missing or damaged.
    """
    try:
        facts = json.loads(place.with_suffix(".json").read_text())
        return pd.read_csv(place.with_suffix(".csv.gz"), dtype={"image_id": str, "lesion_id": str}), facts
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"{place}.csv.gz and .json cannot be read ({error}); train it again") from None
