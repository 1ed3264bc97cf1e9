"""Splits by lesion: all images of one lesion, of its near-duplicates and of its twins stay together."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from skinlesion.core.errors import DataError
from skinlesion.core.tables import (
    ID_COLUMNS,
    counted,
    folds,
    known,
    match_ids,
    name_columns,
    need_columns,
    read_table,
    some,
    split_words,
)
from skinlesion.core.writing import write_csv
from skinlesion.data.table import LesionTable

SPLITS = ("train", "validation", "test")
FOLDS = 5  # besides the test part, which is as large as one of them
TEST_FOLD = -1
DROPPED, DROPPED_FOLD = "dropped", -2  # twins of test images: they neither train nor are they evaluated


def connected(names: Sequence[str] | np.ndarray, pairs: Iterable[tuple[int, int]]) -> np.ndarray:
    """One number per row, int64 [N]: rows of one name, and those that pairs of rows connect with them, share theirs."""
    name, unique = pd.factorize(np.asarray(names, object))
    parent = np.arange(len(unique))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    for a, b in pairs:
        parent[root(name[a])] = root(name[b])
    return np.array([root(i) for i in range(len(unique))], np.int64)[name]


def lesion_groups(table: LesionTable, *, twins: bool = False) -> np.ndarray:
    """One group number per row, int64 [N]: lesions that a near-duplicate pair connects share theirs.

    With ``twins``, so do lesions that a pair of the table's ``twins`` connects.
    """
    row = {name: number for number, name in enumerate(table.frame["image_id"])}
    pairs = (*table.near_duplicates, *(table.twins if twins else ()))
    return connected(table.frame["lesion_id"], [(row[a], row[b]) for a, b in pairs if a in row and b in row])


def make_split(table: LesionTable, *, seed: int = 0, fold: int = 0, holdout_source: str = "") -> pd.DataFrame:
    """Assign whole lesions to six stratified parts: a test set and five folds, one of which validates.

    Of several sources each is split as it is alone, so that its test lesions stay the ones they are whatever else is
    read. ``fold`` (0 to 4) validates, the other four train; -1: none validates, all five train. With ``holdout_source``
    that source is the test set, and the others' sixth parts (``fold`` 5) train, too. Twins don't change who is tested
    where a table has lesion ids: :func:`keep_twins_together` comes afterwards.

    Returns DataFrame with ``image_id, lesion_id, group, label, source, dx_type, fold, split``; ``fold`` is -1 in the
    test set. Raises DataError where a class has too few lesions to appear in every split, or a source too few for six
    parts.
    """
    check_holdout(table.origins, holdout_source)
    groups = lesion_groups(table, twins=not table.has_lesions)
    lesions = pd.Series(groups).groupby(table.frame["label"].to_numpy()).nunique()
    few = lesions[lesions < FOLDS + 1]
    if len(few):
        raise DataError(
            f"a split by lesion needs {FOLDS + 1} lesions of every class; "
            + ", ".join(f"{code} has {count}" for code, count in few.items())
            + ". Add images or leave the class out."
        )
    source = table.frame["source"].to_numpy()
    part = np.empty(len(table), dtype=np.int64)
    for name in table.origins:
        part[source == name] = _parts(table.of_source(name), name, seed, fold)
    if holdout_source:
        part[part == TEST_FOLD] = FOLDS
        part[source == holdout_source] = TEST_FOLD
    split = np.where(part == TEST_FOLD, "test", np.where(part == fold, "validation", "train"))
    return _rows(table, groups).assign(fold=part, split=split)


def check_holdout(sources: Collection[str], holdout_source: str) -> None:
    """Raise DataError unless the source that is held out, if any, is one of several."""
    if holdout_source and (holdout_source not in sources or len(sources) == 1):
        raise DataError(
            f"holdout_source={holdout_source!r} must be one of several sources; here are {', '.join(sources)}"
        )


def _rows(table: LesionTable, groups: np.ndarray) -> pd.DataFrame:
    """What a split says of every row besides its part."""
    rows = table.frame[["image_id", "lesion_id", "label", "source", "dx_type"]].copy()
    rows.insert(2, "group", groups)
    return rows


def _parts(table: LesionTable, name: str, seed: int, fold: int) -> np.ndarray:
    """The fold of every row of one source, int64 [N]; -1 in its test part. An official split validates in any fold."""
    if table.official_split:
        part = _official(table)["fold"].to_numpy()
        return np.where(part < 0, part, (part + max(fold, 0)) % FOLDS)
    from sklearn.model_selection import StratifiedGroupKFold  # two seconds, which those who read a split do not need

    groups, labels = lesion_groups(table, twins=not table.has_lesions), table.frame["label"]
    if len(table) and labels.value_counts().max() <= FOLDS:
        raise DataError(f"the source {name} has too few images for {FOLDS + 1} parts; add images or leave it out")
    assigner = StratifiedGroupKFold(n_splits=FOLDS + 1, shuffle=True, random_state=seed)
    part = np.empty(len(table), dtype=np.int64)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # which other sources have more of
        for number, (_, chosen) in enumerate(assigner.split(groups, labels, groups)):
            part[chosen] = number
    part[part == FOLDS] = TEST_FOLD
    return part


def _official(table: LesionTable) -> pd.DataFrame:
    """The source's own split."""
    official = pd.DataFrame(table.official_split.items(), columns=["image_id", "split"])
    return _match_to_table(table, official, f"the official split of {table.source}")


def choose_split(
    table: LesionTable,
    *,
    split_file: str = "",
    seed: int = 0,
    fold: int = 0,
    holdout_source: str = "",
    tested: bool = True,
) -> tuple[pd.DataFrame, str]:
    """The split to use, and in words where it comes from: a given file, else the source's own, else a new one.

    With ``tested`` False, a given split may lack test images.
    """
    if split_file:
        split = read_given_split(table, split_file, fold=fold, tested=tested)
        origin = f"given in {Path(split_file).name}"
    elif table.official_split and len(table.origins) == 1 and not holdout_source:
        split, origin = _official(table), f"the official one of {table.source}"
    else:
        split = make_split(table, seed=seed, fold=fold, holdout_source=holdout_source)
        origin = "made here: whole lesions, stratified by label"
        origin += " in each source" if len(table.origins) > 1 else ""
        origin += f"; {holdout_source} is the test set" if holdout_source else ""
    split = keep_twins_together(split, table)
    check_split(split, fold=fold, tested=tested or not split_file)
    if dropped := int((split["split"] == DROPPED).sum()):
        origin += f"; {counted(dropped, 'image')} of lesions that are tested dropped from training and validation"
    return split, origin


def keep_twins_together(split: pd.DataFrame, table: LesionTable) -> pd.DataFrame:
    """The split with the table's twins in one part: test images stay the ones they are.

    Twins of test images in other parts are dropped (split ``dropped``, fold -2); a group in several folds, or in
    training and validation, goes where most of its images are.
    """
    result = split.assign(group=lesion_groups(table, twins=True))
    parts = result.groupby("group")[["fold", "split"]].nunique()
    for group in parts.index[(parts > 1).any(axis=1)]:
        own = result[(result["group"] == group) & (result["split"] != DROPPED)]
        tested = own["split"] == "test"
        if tested.any():
            result.loc[own.index[~tested], ["fold", "split"]] = DROPPED_FOLD, DROPPED
        elif len(own):
            most = own[own["fold"] == own["fold"].mode().iloc[0]].iloc[0]
            result.loc[own.index, ["fold", "split"]] = most["fold"], most["split"]
    return result


def read_given_split(table: LesionTable, path: str | Path, *, fold: int = 0, tested: bool = True) -> pd.DataFrame:
    """A split that the user gives: a CSV with ``image_id`` and ``split`` (train, validation, test), perhaps ``fold``.

    The ids may also stand in another one of :data:`skinlesion.core.tables.ID_COLUMNS`.

    Ids may have folders and endings; a blank ``fold`` is 1 for training, 0 for validation, -1 for test images. Raises
    DataError where images are missing from it, words are unknown, a split is empty (validation may be, where no
    ``fold`` validates: -1; test, where not ``tested``), a class has no images to train or validate on, or a lesion, its
    near-duplicates or identical images stand in two splits.
    """
    split = _match_to_table(table, read_table(path), f"the split file {path}")
    check_split(split, fold=fold, tested=tested)
    return split


def _match_to_table(table: LesionTable, given: pd.DataFrame, name: str) -> pd.DataFrame:
    """The split of every row of the table, from a table of ids and words."""
    given = name_columns(given, (*ID_COLUMNS, "split", "fold"), name)
    key = next((column for column in ID_COLUMNS if column in given), ID_COLUMNS[0])
    need_columns(given, (key, "split"), name)
    repeated = given[key][given[key].duplicated()]
    if len(repeated):
        twice, source = repeated.iloc[0], next(iter(table.origins))
        shared = f"; where sources share an id, write {source}/{twice}" if len(table.origins) > 1 else ""
        raise DataError(f"{name} names {twice} twice; keep one row of each image{shared}")
    ids = table.frame["image_id"]
    try:
        where = match_ids(list(ids), list(given[key]))
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
    unnamed = ids[where < 0]
    if len(unnamed):
        raise DataError(f"{name} leaves out {counted(len(unnamed), 'image')}, {unnamed.iloc[0]} among them; add them")
    given = given.iloc[where]
    split = pd.Series(split_words(given["split"], ids, name))
    if (split == "").any():
        raise DataError(f"{name} has no split for {some(ids[(split == '').to_numpy()])}; use {', '.join(SPLITS)}")
    fold = split.map({"train": 1, "validation": 0, "test": TEST_FOLD, DROPPED: DROPPED_FOLD}).to_numpy("int64")
    if "fold" in given:
        blank = (known(given["fold"]) == "").to_numpy()
        try:
            fold = np.where(blank, fold, folds(list(given["fold"]), list(ids)))
        except DataError as error:
            raise DataError(f"{name}: {error}") from None
    return _rows(table, lesion_groups(table)).assign(fold=fold, split=split.to_numpy())


def check_split(split: pd.DataFrame, *, fold: int = 0, tested: bool = True) -> None:
    """Raise DataError unless a network can be trained on this split, and evaluated on images that it has not seen.

    Every split needs images, and training and validation need some of every class; every lesion, with its
    near-duplicates and identical images, lies in one split alone. Where no ``fold`` validates (-1), the validation
    split may be empty; where nothing is ``tested``, the test split may.
    """
    learning = SPLITS[:2] if fold >= 0 else SPLITS[:1]
    needed = (*learning, "test") if tested else learning
    split = split[split["split"] != DROPPED]
    empty = [name for name in needed if name not in set(split["split"])]
    if empty:
        raise DataError(f"the {' and '.join(empty)} split is empty; give each of {', '.join(needed)} some images")
    for column in ("lesion_id", "group"):
        spread = split.groupby(column)["split"].nunique()
        if (spread > 1).any():
            name = split.loc[split[column] == spread.idxmax(), "lesion_id"].iloc[0]
            raise DataError(
                f"{counted(int((spread > 1).sum()), 'lesion')} in two splits (or near-duplicates or identical images), "
                f"{name} among them; give all images of a lesion the same split"
            )
    classes = set(split["label"])
    for name in learning:
        lacking = sorted(classes.difference(split["label"][split["split"] == name]))
        if lacking:
            raise DataError(
                f"the {name} split has no images of {some(lacking)}; move some lesions there, or leave the class out"
            )


def write_split(split: pd.DataFrame, path: str | Path) -> None:
    """Write what :func:`make_split` made, as ``split.csv``, whole or not at all."""
    write_csv(path, split)


def load_split(path: str | Path) -> pd.DataFrame:
    """Read ``split.csv``, with the columns of :func:`make_split`."""
    given = read_table(path)
    need_columns(given, ("image_id", "lesion_id", "group", "label", "fold", "split"), path)
    try:
        return given.astype({"group": "int64", "fold": "int64"})
    except ValueError as error:
        raise DataError(f"{path} is damaged ({error}); run 02_preprocessing again") from None


def split_digest(parts: Iterable[str]) -> str:
    """A split's identity: SHA-256, hexadecimal, over the part of every image, in the table's order."""
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def per_image_leak(table: LesionTable, *, seed: int) -> dict[str, float]:
    """What a split that assigns images, not lesions, would leak.

    Returns a dict: ``test_images``: images in the test part; ``leaked``: those whose lesion also has a training image;
    ``share``: their ratio.
    """
    from sklearn.model_selection import StratifiedKFold

    groups = lesion_groups(table)
    assigner = StratifiedKFold(n_splits=FOLDS + 1, shuffle=True, random_state=seed)
    folds = [chosen for _, chosen in assigner.split(groups, table.frame["label"])]
    test, train = folds[-1], np.concatenate(folds[1:-1])  # fold 0 validates, as in make_split
    leaked = int(np.isin(groups[test], groups[train]).sum())
    return {"test_images": len(test), "leaked": leaked, "share": leaked / len(test)}


def take_subset(table: LesionTable, count: int, *, seed: int) -> LesionTable:
    """About ``count`` images of each source in whole lesions, nine or more of every class where it has them."""
    if not count:
        return table
    source, mask = table.frame["source"].to_numpy(), np.zeros(len(table), bool)
    for name in table.origins:
        mask[source == name] = _subset_rows(table.of_source(name), count, seed)
    subset = table.keep(mask)
    kept = set(subset.frame["image_id"])
    return replace(subset, near_duplicates=tuple(pair for pair in table.near_duplicates if kept.issuperset(pair)))


def _subset_rows(table: LesionTable, count: int, seed: int) -> np.ndarray:
    """The rows of one source that :func:`take_subset` takes, bool [N]."""
    rng, groups = np.random.default_rng(seed), lesion_groups(table)
    label = table.frame["label"].to_numpy()
    chosen: list[int] = []
    for code in table.labels.codes:
        ids, sizes = np.unique(groups[label == code], return_counts=True)
        order = rng.permutation(len(ids))
        wanted = count * sizes.sum() / len(table)
        enough = int(np.searchsorted(np.cumsum(sizes[order]), wanted)) + 1
        chosen.extend(ids[order[: max(enough, 9)]])
    return np.isin(groups, chosen)
