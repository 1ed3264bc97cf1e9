"""Outputs per image in Parquet files, small enough to commit: a file a kind of experiment, with every recipe of it.

A file has a row per image and recipe (columns ``recipe`` and ``part``), so that parts can be trained over several
sittings and machines. The schema's metadata holds, under the key ``skinlesion``, JSON with the facts of every part of
every recipe.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
from pyarrow import ArrowException, parquet

from skinlesion.core.config import Config
from skinlesion.core.errors import ConfigError, DataError
from skinlesion.core.taxonomy import label_set
from skinlesion.core.writing import atomic, lock
from skinlesion.crossval import Outputs

DIGITS = 4  # decimals of a stored logit; the fifth changes no figure
FACTS = b"skinlesion"  # the key of the facts in a Parquet file's schema metadata
GROUP = 8192  # rows; readers skip the groups that hold other recipes alone


def write_parquet(path: Path, frame: pd.DataFrame, facts: dict) -> None:
    """Write a table, and facts about it as JSON in the schema's metadata, whole or not at all."""
    table = pyarrow.Table.from_pandas(frame, preserve_index=False)
    text = json.dumps(facts, ensure_ascii=False, allow_nan=False)
    table = table.replace_schema_metadata({FACTS: text.encode()})
    numbers = [field.name for field in table.schema if pyarrow.types.is_floating(field.type)]
    ids = [name for name in ("image_id", "lesion_id") if name in table.column_names]
    encoding = dict.fromkeys(numbers, "BYTE_STREAM_SPLIT") | dict.fromkeys(ids, "DELTA_BYTE_ARRAY")
    others = [name for name in table.column_names if name not in encoding]
    with atomic(path) as temporary:  # a third smaller than by the defaults
        parquet.write_table(table, temporary, compression="zstd", compression_level=9, use_dictionary=others or False,
                            column_encoding=encoding, row_group_size=GROUP)  # fmt: skip


def read_parquet(path: Path, recipe: str = "") -> tuple[pd.DataFrame, dict]:
    """What :func:`write_parquet` wrote; of one recipe its rows alone, without the columns that only others have.

    Raises DataError where the file is missing, damaged, another kind of Parquet file, or lacks the recipe.
    """
    with _readable(path):
        facts = json.loads(parquet.read_schema(path).metadata[FACTS])
        frame = parquet.read_table(path, filters=[("recipe", "==", recipe)] if recipe else None).to_pandas()
    if not recipe:
        return frame, facts
    if recipe not in facts:
        raise DataError(f"{path} has no outputs of {recipe}; train it first (stored: {', '.join(facts)})")
    return frame.drop(columns="recipe").dropna(axis="columns", how="all"), facts[recipe]


def read_facts(path: Path) -> dict[str, dict]:
    """The facts of every part of every recipe in a file; of a file that is not there, none."""
    if not path.exists():
        return {}
    with _readable(path):
        return json.loads(parquet.read_schema(path).metadata[FACTS])


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ArrowException, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read ({error!r}); restore it, or train its parts again") from None


def put(path: Path, recipe: str, frame: pd.DataFrame, facts: dict[str, dict]) -> None:
    """Add parts of a recipe to a file, in place of its parts of the same name; other processes may do so meanwhile.

    ``frame``: a row per image, with its ``part``. ``facts``: {part: facts} of the parts that it has.
    """
    frame = frame.assign(recipe=recipe)
    with lock(path.parent, wait=True):
        known = read_facts(path)
        if known:
            before, _ = read_parquet(path)
            replaced = (before["recipe"] == recipe) & before["part"].isin(list(facts))
            frame = pd.concat([before[~replaced], frame])
        logits = sorted(name for name in frame if name.startswith("logit_"))  # by code, as every label set is
        frame = frame[[*(name for name in frame if name not in logits), *logits]]
        known[recipe] = known.get(recipe, {}) | facts
        frame = frame.sort_values(["recipe", "part"], kind="stable", ignore_index=True)
        write_parquet(path, frame, {name: dict(sorted(known[name].items())) for name in sorted(known)})


def store(path: Path, recipe: str, outputs: Outputs) -> None:
    """Store the outputs of a recipe's parts."""
    names = [f"logit_{code}" for code in outputs.labels.codes]
    logits = pd.DataFrame(outputs.logits.round(DIGITS).astype(np.float32), columns=names)
    put(path, recipe, outputs.images.reset_index(drop=True).join(logits), outputs.facts)


def read(path: Path, recipe: str) -> Outputs:
    """The outputs of a recipe. Raises DataError where they are missing, or the file is damaged."""
    frame, facts = read_parquet(path, recipe)
    names = [name for name in frame if name.startswith("logit_")]
    labels = label_set([name.removeprefix("logit_") for name in names])
    logits = frame[names].to_numpy(np.float64).round(DIGITS)
    return Outputs(frame.drop(columns=names), logits, labels, facts)


def is_stored(path: Path, recipe: str, part: str, config: Config, fingerprint: str) -> bool:
    """Whether ``path`` holds a part's outputs by this configuration on these data, whichever machine trained it.

    Raises ConfigError where the stored configuration has a parameter that this version of :class:`Config` lacks.
    """
    facts = read_facts(path).get(recipe, {}).get(part)
    if facts is None or facts["fingerprint"] != fingerprint:
        return False
    return stored_config(facts, path, data=config.data) == config


def stored_config(facts: dict, path: Path, *, data: tuple[str, ...] = ("demo",)) -> Config:
    """The configuration that a part was trained by; ConfigError names ``path`` where it no longer loads."""
    try:
        return Config(data=data).but(**facts["config"])
    except ConfigError as error:
        raise ConfigError(
            f"the recipe stored in {path} does not load: {error}; if a parameter was renamed, run "
            "`python -m experiments.recipes OLD NEW`"
        ) from None
