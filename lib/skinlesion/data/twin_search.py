"""Twins of whole data sets: every image is looked at once, pairs are found, written down and shown."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import pandas as pd
from tqdm import tqdm

from skinlesion.core import framing, images
from skinlesion.core.machine import thread_pool
from skinlesion.core.runs import Run
from skinlesion.core.writing import cache_folder, write_csv
from skinlesion.data.splits import lesion_groups
from skinlesion.data.table import LesionTable
from skinlesion.data.twins import SIDE, contradictions, feature_squares, field_of_view, find_twins, grey_square

VERSION = 2  # of what is found: pairs that another version stored are searched anew
BATCH = 16  # images that go through the network together
SHOWN = 12  # pairs in a report
NAMES = ("source", "image_id", "lesion_id", "label")


class Features(Protocol):
    """Features of squares, uint8 [N, S, S, 3] -> float32 [N, D]; those of one ``name`` are the same."""

    name: str

    def __call__(self, squares: np.ndarray) -> np.ndarray: ...


def decode_all(
    paths: Sequence[str] | pd.Series, features: Features, *, inner: bool = True, progress: bool = False
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Decode every image once: grey squares uint8 [N, SIDE, SIDE], features, SHA-256 of the file.

    Features are float32 [N, 2, D] of :func:`feature_squares`; [N, 1, D] without their ``inner`` ones. Raises ImageError
    where an image cannot be read: ``skinlesion data check`` lists those.
    """

    def one(path: str) -> tuple[np.ndarray, np.ndarray, str]:
        frame, data = images.read_with_bytes(path)
        view = field_of_view(frame)
        return grey_square(frame, view), feature_squares(frame, view, inner=inner), hashlib.sha256(data).hexdigest()

    paths, kinds = list(paths), 2 if inner else 1
    squares, found, digests = np.empty((len(paths), SIDE, SIDE), np.uint8), [], []
    bar = tqdm(total=len(paths), desc="comparing images", unit="image", disable=not progress)
    with thread_pool() as pool, bar:
        for start in range(0, len(paths), BATCH):
            grey, coloured, digest = zip(*pool.map(one, paths[start : start + BATCH]), strict=True)
            squares[start : start + len(grey)] = grey
            values = features(np.concatenate(coloured))
            found.append(values.reshape(len(grey), kinds, -1))
            digests += digest
            bar.update(len(grey))
    return squares, np.concatenate(found or [np.zeros((0, kinds, 1), np.float32)]), digests


def search(rows: pd.DataFrame, features: Features, *, inner: bool = True, progress: bool = False) -> pd.DataFrame:
    """All pairs of images that show one lesion, the most similar first.

    ``rows`` has N images' ``path``, ``lesion`` (an id unique over all sources), ``label`` and ``source``. With
    ``inner`` the inner part of every image is compared, too: that finds cropped twins, at twice the time. Returns the
    columns of :func:`find_twins`; ``kind``: ``copy`` for files that are the same to the byte, else ``twin``;
    ``contradiction``: one picture under two labels.
    """
    squares, values, digests = decode_all(rows["path"], features, inner=inner, progress=progress)
    pairs = find_twins(squares, values, sources=rows["source"], lesions=rows["lesion"])
    file, _ = pd.factorize(np.array(digests, object))
    same = pd.DataFrame({"a": np.unique(file, return_index=True)[1][file], "b": np.arange(len(file))})
    same = same[same["a"] < same["b"]].assign(cosine=1.0, similarity=1.0, overlap=1.0)  # each copy with the first one
    both = pd.concat([same, pairs]).drop_duplicates(["a", "b"], ignore_index=True)
    both["kind"] = np.where(file[both["a"].to_numpy(int)] == file[both["b"].to_numpy(int)], "copy", "twin")
    return both.assign(contradiction=contradictions(both, rows["label"]))


def named(pairs: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The pairs with source, image, lesion and label of both sides instead of their rows."""
    sides = [rows.loc[pairs[side], list(NAMES)].add_suffix(f"_{side}").reset_index(drop=True) for side in ("a", "b")]
    return pd.concat([*sides, pairs.drop(columns=["a", "b"]).round(4)], axis=1)


def with_twins(
    table: LesionTable, features: Features | None, *, progress: bool = False
) -> tuple[LesionTable, pd.DataFrame | None]:
    """The table with its ``twins``, found quickly, and the pairs as :func:`named` gives them, with their ``group`` in
    splits.

    Only centre squares are compared. Pairs are stored in the cache under what they were found in and by. Without
    ``features`` twins are not looked for: the table as it is, and None.
    """
    if features is None:
        return table, None
    rows = table.frame.assign(lesion=table.frame["lesion_id"])
    pairs = _stored(rows, features, progress)
    found = named(pairs, rows)
    table = replace(table, twins=tuple(zip(found["image_id_a"], found["image_id_b"], strict=True)))
    return table, found.assign(group=lesion_groups(table, twins=True)[pairs["a"].to_numpy(int)])


def write_twins(found: pd.DataFrame | None, run: Run) -> None:
    """Write what :func:`with_twins` found as ``twins.csv``; where none were searched, remove an earlier run's."""
    if found is None:
        run.twins.unlink(missing_ok=True)
    else:
        write_csv(run.twins, found)


def _stored(rows: pd.DataFrame, features: Features, progress: bool) -> pd.DataFrame:
    """:func:`search`, or what it found before in the same images."""
    state = hashlib.sha256(f"{VERSION} {features.name}".encode())
    for path, *others in rows[["path", "lesion", "label", "source"]].itertuples(index=False):
        state.update(f"{images.stamp(path)} {others}\n".encode())
    place = cache_folder() / "twins" / f"{state.hexdigest()[:24]}.csv"
    if place.exists():
        return pd.read_csv(place)
    pairs = search(rows, features, inner=False, progress=progress)
    write_csv(place, pairs)
    return pairs


def gallery(found: pd.DataFrame, table: LesionTable, *, side: int = 120) -> tuple[list, list[str]]:
    """Pictures of pairs from the most to the least similar, uint8 [side, side, 3], two a pair, and their titles."""
    order = found.sort_values("similarity", ascending=False)
    order = order.iloc[np.unique(np.linspace(0, len(order) - 1, min(SHOWN, len(order))).round().astype(int))]
    paths = table.frame.set_index("image_id")["path"]
    pictures, titles = [], []
    for pair in order.to_dict("records"):
        for end in ("a", "b"):
            name = pair[f"image_id_{end}"]
            pictures.append(framing.fit_square(images.read_image(paths[name]), side, "center_crop"))
            titles.append(f"{name[-20:]}\n{pair[f'label_{end}']}, {pair['similarity']:.2f}")
    return pictures, titles


def count_pairs(found: pd.DataFrame, table: LesionTable) -> pd.DataFrame:
    """How many pairs of each kind :func:`with_twins` found: one column, ``pairs``, a row a kind.

    The table's ``near_duplicates`` are what the source lists, and copies that the data check found.
    """
    listed = {frozenset(pair) for pair in table.near_duplicates}
    known = np.array([frozenset(pair) in listed for pair in table.twins], bool)
    copy = (found["kind"] == "copy").to_numpy()
    counts = {
        "byte-identical copies": copy.sum(),
        "twins found by content": (~copy).sum(),
        "of these, listed by the source": (~copy & known).sum(),
        "of these, one picture under two labels": (~copy & found["contradiction"].to_numpy(bool)).sum(),
    }
    return pd.Series(counts, name="pairs", dtype=int).rename_axis("kind").to_frame()
