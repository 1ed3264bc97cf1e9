"""Twins: images of one lesion, found by what they show, whatever their ids say.

Two steps: features of any network shortlist pairs, by a matrix product; then each pair's pictures are aligned and
compared (:mod:`skinlesion.data.alignment`), which separates one lesion from two that look alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec

import numpy as np
import pandas as pd

from skinlesion.core import framing
from skinlesion.core.framing import Box
from skinlesion.core.machine import thread_pool
from skinlesion.core.similarity import unit
from skinlesion.data.alignment import SIDE, similarity

FEATURE_SIDE = 64  # pixels of the squares that features are computed of
INNER = 0.75  # share of the side that the inner square has
#: Correlation of fine structure from which a pair is called twins.
SAME = 0.5
UNSURE = 0.35  # correlation from which the pair is compared a second time
SAME_PICTURE = 0.8  # correlation from which it is one picture, not two of one lesion
DIMENSIONS = 160  # principal components of the features that are compared
NEIGHBOURS = 3  # images of each source that an image is compared with
PAIRS_AN_IMAGE = 0.75  # that are compared pixel by pixel: the most similar ones by their features
FEWEST_PAIRS = 50  # that are compared however little alike their features are
LEAST_COSINE = 0.3  # of the features of all others: of HAM10000's listed pairs, none is below 0.35
BLOCK = 4  # pairs that are worked on together: what they take should fit into a processor's cache

LARGE = 100_000  # images of a source beyond which FAISS finds neighbours, where it is installed
_KNOWN = 8  # nearer images of the same lesion that are searched for besides

_RINGS, _BLACK = 16, 40.0  # rings a half-side; mean grey level below which one is black
_INSIDE = 0.85  # half the side of what is taken of a round field of view, in its radii
_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # luma weights of ITU-R BT.601
_COLOUR_MEAN, _COLOUR_SPREAD = (194.0, 140.0, 145.0), (36.0, 38.0, 43.0)  # of HAM10000's images

PAIR_COLUMNS = ("a", "b", "cosine", "similarity", "overlap")


def grey_square(frame: np.ndarray, view: Box | None = None) -> np.ndarray:
    """What pairs are confirmed on, uint8 [SIDE, SIDE]: the :func:`field_of_view` of a frame, uint8 [H, W, 3], in grey.

    ``view`` is that field, where it is known.
    """
    square = framing.resize(frame, (SIDE, SIDE), view or field_of_view(frame))
    return np.round(square.astype(np.float32) @ _GREY).astype(np.uint8)


def field_of_view(frame: np.ndarray) -> Box:
    """The centre square of a frame, uint8 [H, W, 3], or what lies inside the black frame round it, in pixels.

    The frame is found as black rings round the centre, from the outermost one inwards. What is left has little of it in
    its corners alone.
    """
    top, left, bottom, right = framing.center_square(*frame.shape[:2])
    small = framing.resize(frame, (SIDE, SIDE), (top, left, bottom, right)).astype(np.float32) @ _GREY
    line = (np.arange(SIDE) + 0.5) / SIDE * 2 - 1
    ring = (np.hypot(line[:, None], line[None, :]) * _RINGS).astype(int).reshape(-1)
    light = np.bincount(ring, small.reshape(-1)) / np.bincount(ring)
    radius = (np.flatnonzero(light >= _BLACK).max(initial=0) + 1) / _RINGS  # in half-sides
    if radius >= 1.2 or radius < 0.3:  # no frame, or a picture that is black all over
        return top, left, bottom, right
    rim = (bottom - top) / 2 * (1 - min(1.0, _INSIDE * radius))
    return top + rim, left + rim, bottom - rim, right - rim


def feature_squares(frame: np.ndarray, view: Box | None = None, *, inner: bool = True) -> np.ndarray:
    """What the network should see for its features, uint8 [1 or 2, FEATURE_SIDE, FEATURE_SIDE, 3].

    The :func:`field_of_view` of a frame, uint8 [H, W, 3] (``view``, where it is known) and, where ``inner`` is wanted,
    the inner part of it, as a cropped twin would show it; both in standard colours: each channel gets the mean and the
    spread that it has in HAM10000, so that another camera's colours do not part twins.
    """
    top, left, bottom, right = view or field_of_view(frame)
    rim = (bottom - top) * (1 - INNER) / 2
    boxes = [(top, left, bottom, right)] + [(top + rim, left + rim, bottom - rim, right - rim)] * inner
    return np.stack([_standard(framing.resize(frame, (FEATURE_SIDE, FEATURE_SIDE), box)) for box in boxes])


def _standard(square: np.ndarray) -> np.ndarray:
    edge = len(square) // 8
    middle = square[edge:-edge, edge:-edge].reshape(-1, 3).astype(np.float32)  # without dark corners
    standard = (square - middle.mean(0)) / np.maximum(middle.std(0), 5.0)
    return np.clip(np.round(standard * _COLOUR_SPREAD + _COLOUR_MEAN), 0, 255).astype(np.uint8)


def find_twins(
    squares: np.ndarray,
    features: np.ndarray,
    *,
    sources: Sequence[str] | np.ndarray | None = None,
    lesions: Sequence[str] | np.ndarray | None = None,
) -> pd.DataFrame:
    """Pairs of images that show one lesion, the most similar first: a DataFrame with :data:`PAIR_COLUMNS`.

    Rows ``a`` < ``b``; cosine of their features; correlation of their fine structure; the share of the square that both
    show.

    Parameters
    ----------
    squares : uint8 [N, SIDE, SIDE], :func:`grey_square` of every image
    features : float [N, D] or [N, 1 or 2, D]
        Of any network, of :func:`feature_squares`: of the first, or of both, which also finds cropped twins. Take the
        mean over the eight symmetries of a square, so that they do not change where an image is turned or mirrored.
        Layers in the middle of a network tell pictures apart better than its last one, which is made for diagnoses.
    sources : str [N], optional; every source is searched for an image's neighbours, however small it is
    lesions : str [N], optional; ids, unique over all sources: images that share one are not compared
    """
    pairs = shortlist(features, sources=sources, lesions=lesions)
    pairs[["similarity", "overlap"]] = confirm(squares, pairs[["a", "b"]].to_numpy())
    found = pairs[pairs["similarity"] >= SAME]
    return found.sort_values("similarity", ascending=False, ignore_index=True)[list(PAIR_COLUMNS)]


def shortlist(features, *, sources=None, lesions=None, neighbours=NEIGHBOURS, at_most=None) -> pd.DataFrame:
    """The most similar pairs by the cosine of whitened features: ``a, b, cosine``, at most ``at_most`` rows.

    Parameters are those of :func:`find_twins`. Whitening (with 5% of the mean variance added to each component) makes
    what sets images apart count as much as what all of them share.
    """
    number = len(features)
    at_most = max(FEWEST_PAIRS, round(PAIRS_AN_IMAGE * number)) if at_most is None else at_most
    whole, inner = _whiten(np.asarray(features, np.float32)) if number else np.zeros((2, 0, 1), np.float32)
    source = np.zeros(number, np.int64) if sources is None else pd.factorize(np.asarray(sources, object))[0]
    lesion = np.arange(number) if lesions is None else pd.factorize(np.asarray(lesions, object))[0]
    found: list[np.ndarray] = []
    for one in range(source.max(initial=-1) + 1):
        there = np.flatnonzero(source == one)
        nearest = _nearest_by_index if len(there) > LARGE and find_spec("faiss") else _nearest
        found += nearest(whole, inner, there, lesion, neighbours)
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
    pairs = pairs.loc[order, ["a", "b", "cosine"]].reset_index(drop=True)
    return pairs[(pairs.index < FEWEST_PAIRS) | (pairs["cosine"] >= LEAST_COSINE)].reset_index(drop=True)


def _nearest(
    whole: np.ndarray, inner: np.ndarray, there: np.ndarray, lesion: np.ndarray, neighbours: int
) -> Iterator[np.ndarray]:
    """The nearest rows among ``there``, of other lesions: row, neighbour, cosine and rank, float [4, M] in parts."""
    for start in range(0, len(whole), 1024):
        rows = np.arange(start, min(start + 1024, len(whole)))
        cosine = whole[rows] @ whole[there].T
        if inner is not whole:  # either may be cropped
            np.maximum(cosine, whole[rows] @ inner[there].T, out=cosine)
            np.maximum(cosine, inner[rows] @ whole[there].T, out=cosine)
        cosine[lesion[rows][:, None] == lesion[there][None, :]] = -np.inf
        for nearer in range(min(neighbours, len(there))):
            best = cosine.argmax(1)
            value = cosine[np.arange(len(rows)), best]
            cosine[np.arange(len(rows)), best] = -np.inf
            yield np.stack([rows, there[best], value, np.full(len(rows), nearer)])[:, np.isfinite(value)]


def _nearest_by_index(
    whole: np.ndarray, inner: np.ndarray, there: np.ndarray, lesion: np.ndarray, neighbours: int
) -> Iterator[np.ndarray]:
    """As :func:`_nearest`, nearly: by a graph (HNSW, arXiv:1603.09320), in a time that grows little with the number."""
    import faiss  # an extra: pip install 'skin-lesion-lab[scale]'

    parts = []
    for stored, query in ((whole, whole), (inner, whole), (whole, inner))[: 1 if inner is whole else 3]:
        index = faiss.IndexHNSWFlat(whole.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
        index.add(np.ascontiguousarray(stored[there]))
        value, place = index.search(np.ascontiguousarray(query), neighbours + _KNOWN)
        row = np.repeat(np.arange(len(whole)), place.shape[1])
        parts.append(pd.DataFrame({"a": row, "b": there[place.ravel()], "cosine": value.ravel()})[place.ravel() >= 0])
    found = pd.concat(parts)
    found = found[lesion[found["a"]] != lesion[found["b"]]].groupby(["a", "b"], as_index=False)["cosine"].max()
    rank = found.groupby("a")["cosine"].rank(method="first", ascending=False) - 1
    yield found.assign(rank=rank)[rank < neighbours].to_numpy(float).T


def _whiten(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of the whole and of the inner squares, float32 [N, d] each; one array twice without inner ones."""
    whole, inner = (features, features) if features.ndim == 2 else (features[:, 0], features[:, -1])
    mean = whole.mean(0)
    variance, axes = np.linalg.eigh((whole - mean).T @ (whole - mean) / len(whole))
    variance, axes = variance[-DIMENSIONS:], axes[:, -DIMENSIONS:]
    axes = axes / np.sqrt(np.maximum(variance, 0) + 0.05 * variance.mean() + 1e-12)
    first = unit((whole - mean) @ axes)
    return first, first if features.ndim == 2 or features.shape[1] == 1 else unit((inner - mean) @ axes)


def confirm(squares: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """How alike pairs of ``squares`` (uint8 [N, SIDE, SIDE]; rows, int [M, 2]) are at their best common framing.

    Returns float32 [M, 2]: correlation of fine structure (-1 where already the coarse one is too small) and the share
    of the square that both show.
    """
    blocks = [pairs[start : start + BLOCK] for start in range(0, len(pairs), BLOCK)]

    def one(block: np.ndarray) -> np.ndarray:
        a, b = (squares[block[:, side]].astype(np.float32) for side in (0, 1))
        found = similarity(a, b)
        unsure = np.flatnonzero((found[:, 0] >= UNSURE) & (found[:, 0] < SAME))
        if len(unsure):  # the other way round, the search may end elsewhere
            again = similarity(b[unsure], a[unsure])
            found[unsure] = np.where(again[:, :1] > found[unsure, :1], again, found[unsure])
        return found

    with thread_pool() as pool:
        return np.concatenate([*pool.map(one, blocks), np.zeros((0, 2), np.float32)])


def contradictions(pairs: pd.DataFrame, labels: Sequence[str] | np.ndarray) -> np.ndarray:
    """Which ``pairs`` of :func:`find_twins` are one picture (not only one lesion) under two ``labels``, bool [M]."""
    label = np.asarray(labels, object)
    differ = label[pairs["a"].to_numpy(int)] != label[pairs["b"].to_numpy(int)]
    return differ & (pairs["similarity"].to_numpy() >= SAME_PICTURE)
