"""Twins: images of one lesion, found by what they show, whatever their ids say.

Two steps: features of any network shortlist pairs, by a matrix product; then each pair's pictures are aligned and
compared (:mod:`skinlesion.data.alignment`), which tells one lesion from two that look alike.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from skinlesion.core import images
from skinlesion.data.alignment import SIDE, similarity

FEATURE_SIDE = 96  # pixels of the squares that features are computed of
#: Correlation of fine structure from which a pair is called twins.
SAME = 0.5
SAME_PICTURE = 0.8  # correlation from which it is one picture, not two of one lesion
DIMENSIONS = 160  # principal components of the features that are compared
NEIGHBOURS = 2  # images of each source that an image is compared with
AT_MOST = 16_000  # pairs that are compared pixel by pixel: the most similar ones by their features
BLOCK = 32  # pairs that are worked on together

_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # luma weights of ITU-R BT.601
_COLOUR_MEAN, _COLOUR_SPREAD = (194.0, 140.0, 145.0), (36.0, 38.0, 43.0)  # of HAM10000's images

PAIR_COLUMNS = ("a", "b", "cosine", "similarity", "overlap")


def grey_square(frame: np.ndarray) -> np.ndarray:
    """The centre square of a frame in grey, uint8 [SIDE, SIDE]: what pairs are confirmed on.

    Parameters
    ----------
    frame : uint8 [H, W, 3]
    """
    return np.round(images.fit(frame, SIDE, "center_crop").astype(np.float32) @ _GREY).astype(np.uint8)


def feature_square(frame: np.ndarray, side: int = FEATURE_SIDE) -> np.ndarray:
    """The centre square in standard colours, uint8 [side, side, 3]: what the network should see for its features.

    Each channel gets the mean and the standard deviation that it has in HAM10000, so that another camera's colours do
    not part twins.

    Parameters
    ----------
    frame : uint8 [H, W, 3]
    side : int, pixels
    """
    square = images.fit(frame, side, "center_crop").astype(np.float32)
    middle = square[side // 8 : side - side // 8, side // 8 : side - side // 8].reshape(-1, 3)  # without dark corners
    standard = (square - middle.mean(0)) / np.maximum(middle.std(0), 5.0)
    return np.clip(np.round(standard * _COLOUR_SPREAD + _COLOUR_MEAN), 0, 255).astype(np.uint8)


def find_twins(
    squares: np.ndarray,
    features: np.ndarray,
    *,
    sources: Sequence[str] | np.ndarray | None = None,
    lesions: Sequence[str] | np.ndarray | None = None,
    neighbours: int = NEIGHBOURS,
    at_most: int = AT_MOST,
    same: float = SAME,
    workers: int | None = None,
) -> pd.DataFrame:
    """Pairs of images that show one lesion.

    Parameters
    ----------
    squares : uint8 [N, SIDE, SIDE]
        :func:`grey_square` of every image.
    features : float [N, D]
        Of any network that changes little where an image is turned or mirrored; :func:`feature_square` says of what.
    sources : str [N], optional
        Where each image is from: every source is searched for an image's neighbours, however small it is.
    lesions : str [N], optional
        Lesion ids, unique over all sources. Images that share one are known to be of one lesion and are not compared.
    neighbours : int
        Images of each source that an image is compared with.
    at_most : int
        Pairs that are compared in all, about 20 ms of a core each.
    same : float
        Correlation from which a pair is listed.
    workers : int, optional
        Threads; as many as there are cores by default.

    Returns
    -------
    DataFrame with the columns :data:`PAIR_COLUMNS`, the most similar pair first
        Rows ``a`` < ``b``; cosine of their features; correlation of their fine structure; the share of the square that
        both show.
    """
    pairs = shortlist(features, sources=sources, lesions=lesions, neighbours=neighbours, at_most=at_most)
    pairs[["similarity", "overlap"]] = confirm(squares, pairs[["a", "b"]].to_numpy(), workers=workers)
    found = pairs[pairs["similarity"] >= same]
    return found.sort_values("similarity", ascending=False, ignore_index=True)[list(PAIR_COLUMNS)]


def shortlist(features, *, sources=None, lesions=None, neighbours=NEIGHBOURS, at_most=AT_MOST) -> pd.DataFrame:
    """The most similar pairs by the cosine of whitened features: ``a, b, cosine``, at most ``at_most`` rows.

    Parameters are those of :func:`find_twins`. Whitening (with 5% of the mean variance added to each component) makes
    what sets images apart count as much as what all of them share.
    """
    number = len(features)
    points = _whiten(np.asarray(features, np.float32)) if number else np.zeros((0, 1), np.float32)
    source = np.zeros(number, np.int64) if sources is None else pd.factorize(np.asarray(sources, object))[0]
    lesion = np.arange(number) if lesions is None else pd.factorize(np.asarray(lesions, object))[0]
    found = []
    for one in range(source.max(initial=-1) + 1):
        there = np.flatnonzero(source == one)
        for start in range(0, number, 1024):
            rows = np.arange(start, min(start + 1024, number))
            cosine = points[rows] @ points[there].T
            cosine[lesion[rows][:, None] == lesion[there][None, :]] = -np.inf
            for rank in range(min(neighbours, len(there))):
                best = cosine.argmax(1)
                value = cosine[np.arange(len(rows)), best]
                cosine[np.arange(len(rows)), best] = -np.inf
                found.append(np.stack([rows, there[best], value, np.full(len(rows), rank)])[:, np.isfinite(value)])
    a, b, value, rank = np.concatenate(found, axis=1) if found else np.zeros((4, 0))
    pairs = pd.DataFrame({"a": np.minimum(a, b).astype(int), "b": np.maximum(a, b).astype(int), "cosine": value})
    pairs = (
        pairs.assign(rank=rank)
        .groupby(["a", "b"], as_index=False)
        .agg(cosine=("cosine", "max"), rank=("rank", "min"), times=("cosine", "size"))
    )
    # likelier are pairs in which each is a neighbour of the other, and nearest neighbours
    likely = pairs["cosine"] + 0.06 * (pairs["times"] > 1) - 0.03 * pairs["rank"]
    order = likely.to_numpy().argsort(kind="stable")[::-1][:at_most]
    return pairs.loc[order, ["a", "b", "cosine"]].reset_index(drop=True)


def _whiten(features: np.ndarray) -> np.ndarray:
    centred = features - features.mean(0)
    variance, axes = np.linalg.eigh(centred.T @ centred / len(centred))
    variance, axes = variance[-DIMENSIONS:], axes[:, -DIMENSIONS:]
    points = centred @ (axes / np.sqrt(np.maximum(variance, 0) + 0.05 * variance.mean() + 1e-12))
    return points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)


def confirm(squares: np.ndarray, pairs: np.ndarray, *, workers: int | None = None) -> np.ndarray:
    """How alike the pairs are at their best common framing.

    Parameters
    ----------
    squares : uint8 [N, SIDE, SIDE]
    pairs : int [M, 2], rows of ``squares``
    workers : int, optional, threads

    Returns
    -------
    float32 [M, 2]
        Correlation of fine structure (-1 where already the coarse one is too small) and the share of the square that
        both show.
    """
    blocks = [pairs[start : start + BLOCK] for start in range(0, len(pairs), BLOCK)]

    def one(block: np.ndarray) -> np.ndarray:
        return similarity(squares[block[:, 0]].astype(np.float32), squares[block[:, 1]].astype(np.float32))

    with threadpool_limits(1), ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        return np.concatenate([*pool.map(one, blocks), np.zeros((0, 2), np.float32)])


def copies(digests: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of rows whose files are the same to the byte, by any digest of the files: the first row with each later."""
    first: dict[str, int] = {}
    return [(first[digest], row) for row, digest in enumerate(digests) if first.setdefault(digest, row) != row]


def twin_groups(lesions: Sequence[str] | np.ndarray, pairs: Iterable[tuple[int, int]]) -> np.ndarray:
    """One number a row, int64 [N], shared by rows of one lesion and by all that pairs of twins connect with them.

    Parameters
    ----------
    lesions : str [N]
        Lesion ids, unique over all sources.
    pairs : iterable of (row, row)
    """
    lesion, names = pd.factorize(np.asarray(lesions, object))
    parent = np.arange(len(names))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    for a, b in pairs:
        parent[root(lesion[a])] = root(lesion[b])
    return pd.factorize(np.array([root(i) for i in range(len(names))], np.int64)[lesion])[0].astype(np.int64)


def contradictions(
    pairs: pd.DataFrame, labels: Sequence[str] | np.ndarray, picture: float = SAME_PICTURE
) -> np.ndarray:
    """Which pairs are one picture (not only one lesion) under two labels, bool [M].

    Parameters
    ----------
    pairs : DataFrame of :func:`find_twins` with M rows
    labels : str [N]
    picture : float
        Similarity from which two images are one picture.
    """
    label = np.asarray(labels, object)
    differ = label[pairs["a"].to_numpy(int)] != label[pairs["b"].to_numpy(int)]
    return differ & (pairs["similarity"].to_numpy() >= picture)
