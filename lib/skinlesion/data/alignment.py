"""How alike two pictures are at their best common framing, by their fine structure alone.

One picture is turned, mirrored, zoomed and shifted until it fits the other best: first among fixed framings and all
shifts, by Fourier transforms, then by the affine Gauss-Newton steps of Evangelidis and Psarakis, "Parametric image
alignment using enhanced correlation coefficient maximization", doi:10.1109/TPAMI.2008.113. Only fine structure is
compared: brightness, colours and the coarse shape, which many lesions share, do not count.
"""

from __future__ import annotations

from functools import cache

import numpy as np

SIDE = 64  # pixels of the squares that are compared
COARSE = SIDE // 2  # pixels where the framing is sought
PROMISING = 0.5  # correlation at the coarse size from which the fine structure is looked at

_ZOOMS, _TURNS = (0.6, 0.77, 1.0, 1.3, 1.67), 12  # the framings that are tried, besides mirroring and every shift
_TRIED = 2  # framings whose alignment is improved
_NOISE = 0.1  # grey levels: structure that is weaker than this counts less and less
_BLACK, _CORNER = 40.0, 0.85  # grey levels of a black corner; where corners begin, in half-sides from the centre
_LEAST_OVERLAP = 0.3  # of the square's area


def similarity(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How alike pairs of pictures are.

    ``a``, ``b``: float32 [P, SIDE, SIDE], grey pictures, pair by pair. Returns float32 [P, 2]: the correlation of their
    fine structure, -1 where already the coarse one is below :data:`PROMISING`; the share of the square that both show.
    """
    half_a, half_b = (x.reshape(len(x), COARSE, 2, COARSE, 2).mean((2, 4)) for x in (a, b))
    tried = _framing(_structure(half_a, 0.7, 2.5), _structure(half_b, 0.7, 2.5))
    left, right = (_structure(half, 0.6, 4.0) for half in (half_a, half_b))
    warps, correlations, _ = zip(*(_align(left, right, warp, steps=5) for warp in tried), strict=True)
    best = (np.argmax(correlations, axis=0), np.arange(len(a)))
    warp, coarse = np.stack(warps)[best], np.stack(correlations)[best]
    result = np.stack([np.full(len(a), -1.0, np.float32), np.zeros(len(a), np.float32)], axis=1)
    left = np.flatnonzero(coarse >= PROMISING)
    if len(left):
        a, b = a[left], b[left]
        warp, _, _ = _align(_structure(a, 0.8, 2.5), _structure(b, 0.8, 2.5), warp[left], steps=3)
        _, fine, overlap = _align(_structure(a, 0.6, 1.5), _structure(b, 0.6, 1.5), warp, steps=2)
        result[left] = np.stack([fine, overlap], axis=1)
    return result


def _structure(grey: np.ndarray, fine: float, coarse: float) -> np.ndarray:
    """Structure between two sizes (in pixels) with its local contrast evened out, float32 [P, S, S].

    Black corners have none: the edge of a round field of view would make twins of all images of one camera.
    """
    side = grey.shape[1]
    inner, outer, around = (_gaussian(side, sigma) for sigma in (fine, coarse, 1.5 * coarse))
    black = (grey < _BLACK) & (np.square(_places(side)).sum(0) > _CORNER**2) & _is_round(grey)[:, None, None]
    bright = np.where(black, 0, grey).sum((1, 2)) / np.maximum((~black).sum((1, 2)), 1)
    grey = np.where(black, bright[:, None, None], grey).astype(np.float32)
    structure = inner @ grey @ inner.T - outer @ grey @ outer.T
    contrast = np.sqrt(np.maximum(around @ np.square(structure) @ around.T, 0))
    structure[outer @ black.astype(np.float32) @ outer.T > 0.05] = 0
    return structure / (contrast + 0.5 * contrast.mean((1, 2), keepdims=True) + _NOISE)


def _is_round(grey: np.ndarray) -> np.ndarray:
    """Whether at least three corners are black, bool [P]: a shadow on one side is no round field of view."""
    size = grey.shape[1] // 16
    ends = (slice(None, size), slice(-size, None))
    return sum((grey[:, rows, columns].mean((1, 2)) < _BLACK).astype(int) for rows in ends for columns in ends) >= 3


@cache
def _gaussian(side: int, sigma: float) -> np.ndarray:
    """A Gaussian blur as a matrix, float32 [side, side]; at the border only what is inside counts."""
    distance = np.arange(side)[:, None] - np.arange(side)[None, :]
    weights = np.exp(-0.5 * np.square(distance / sigma))
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


@cache
def _places(side: int) -> np.ndarray:
    """Rows and columns of a square's pixels, from -1 to 1: float32 [2, side, side]."""
    line = (np.arange(side, dtype=np.float32) + 0.5) / side * 2 - 1
    return np.stack(np.meshgrid(line, line, indexing="ij"))


@cache
def _framings() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Turns below 90 degrees and zooms [V, 2, 2]; where each reads each pixel, and by what each shift is divided."""
    matrices = []
    for zoom in _ZOOMS:
        for turn in range(_TURNS // 4):
            angle = 2 * np.pi * turn / _TURNS
            matrices.append(zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]))
    matrix = np.array(matrices, np.float32)
    places = np.einsum("vij,jrc->virc", matrix, _places(COARSE))
    inside = (np.abs(places) <= 1).all(1).astype(np.float32)
    both = np.fft.irfft2(np.fft.rfft2(np.ones((COARSE, COARSE)), (SIDE, SIDE)) * _conjugate(inside), (SIDE, SIDE))
    scale = np.where(both >= _LEAST_OVERLAP * COARSE**2, 1 / np.sqrt(np.maximum(both, 1)), 0)
    return matrix, places, scale.astype(np.float32)


def _symmetries(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``a`` [P, S, S] turned by quarters and mirrored [P, 8, S, S], and where that moves its places [8, 2, 2]."""
    quarter, mirror = np.array([[0, -1], [1, 0]], np.float32), np.diag([1, -1]).astype(np.float32)
    pictures, moves = [], []
    for turned in range(4):
        move = np.linalg.matrix_power(quarter, turned)
        for picture, matrix in ((a, move), (a[:, :, ::-1], move @ mirror)):
            pictures.append(np.rot90(picture, turned, (1, 2)))
            moves.append(matrix)
    return np.stack(pictures, axis=1), np.stack(moves)


def _conjugate(values: np.ndarray) -> np.ndarray:
    return np.conj(np.fft.rfft2(values, (SIDE, SIDE)))


def _framing(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The turns, mirror images, zooms and shifts of ``b`` [P, COARSE, COARSE] that fit ``a`` best: warps [T, P, 2, 3].

    No two of the :data:`_TRIED` differ in their shift alone. Quarter turns and mirror images are made of ``a``, which
    takes fewer transforms.
    """
    matrix, places, scale = _framings()
    pictures, moves = _symmetries(a)
    seen, inside = _sample(b[:, None], places[None])
    product = np.fft.rfft2(pictures, (SIDE, SIDE))[:, :, None] * _conjugate(seen * inside)[:, None]
    score = np.fft.irfft2(product, (SIDE, SIDE))
    score *= scale
    score = score.reshape(len(a), len(moves) * len(matrix), -1)
    place = score.argmax(2)
    score = np.take_along_axis(score, place[:, :, None], 2)[:, :, 0]
    variant = np.argsort(-score, axis=1)[:, :_TRIED].T  # [T, P]
    shift = np.stack(np.divmod(place[np.arange(len(a)), variant], SIDE), axis=2)
    shift = (shift + COARSE) % SIDE - COARSE  # a shift beyond the half is a negative one
    move, framing = np.divmod(variant, len(matrix))
    moved = -np.einsum("tpij,tpj->tpi", matrix[framing], (shift * 2 / COARSE).astype(np.float32))
    return np.concatenate([matrix[framing] @ moves[move], moved[..., None]], axis=3)


def _align(a: np.ndarray, b: np.ndarray, warp: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Improve warps [P, 2, 3] by Gauss-Newton steps: the best ones, their correlations [P] and overlaps [P]."""
    count, side = len(a), a.shape[1]
    grid = np.concatenate([_places(side), np.ones((1, side, side), np.float32)])  # rows, columns, 1
    slopes = np.stack(np.gradient(b, axis=(1, 2)), 1) * (side / 2)
    best, score, overlap = warp.copy(), np.full(count, -1.0, np.float32), np.zeros(count, np.float32)
    for step in range(steps + 1):
        places = np.einsum("pij,jrc->pirc", warp, grid)
        seen, inside = _sample(b[:, None], places[:, None])
        seen, inside = seen[:, 0], inside[:, 0]
        area = inside.sum((1, 2)) + 1e-3
        left = (a - ((a * inside).sum((1, 2)) / area)[:, None, None]) * inside
        right = (seen - ((seen * inside).sum((1, 2)) / area)[:, None, None]) * inside
        norms = [np.sqrt(np.square(x).sum((1, 2))) + 1e-2 for x in (left, right)]  # flat pictures correlate with none
        value = (left * right).sum((1, 2)) / (norms[0] * norms[1])
        size = np.abs(np.linalg.det(warp[:, :, :2]))
        better = (value > score) & (area >= _LEAST_OVERLAP * side**2) & (size > 0.2) & (size < 5)
        best[better], score[better], overlap[better] = warp[better], value[better], area[better] / side**2
        if step == steps:
            break
        slope, _ = _sample(slopes, np.repeat(places[:, None], 2, axis=1))
        jacobian = (slope * inside[:, None])[:, :, None] * grid  # [P, 2, 3, side, side]
        jacobian = jacobian.reshape(count, 6, -1)
        error = (left * (norms[1] / norms[0])[:, None, None] - right).reshape(count, -1, 1)
        normal = jacobian @ jacobian.swapaxes(1, 2) + 1e-3 * area[:, None, None] * np.eye(6, dtype=np.float32)
        change = np.linalg.solve(normal, jacobian @ error).reshape(count, 2, 3)
        warp = warp + np.clip(change, -0.08, 0.08)
    return best, score, overlap


def _sample(values: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Read ``values`` [P, 1 or V, S, S] between their pixels at ``places`` [1 or P, V, 2, r, c], each from -1 to 1.

    Returns what was read [P, V, r, c] and whether that was inside, as 0 or 1 [1 or P, V, r, c].
    """
    side = values.shape[-1]
    at = (places + 1) * (side / 2) - 0.5
    inside = ((at >= 0) & (at <= side - 1)).all(2).astype(np.float32)
    at = np.clip(at, 0, side - 1.001)
    corner = at.astype(np.int32)
    down, across = np.moveaxis((at - corner).astype(np.float32), 2, 0)
    start = np.arange(values.shape[0] * values.shape[1], dtype=np.int32).reshape(*values.shape[:2], 1, 1) * side**2
    first = start + corner[:, :, 0] * side + corner[:, :, 1]
    flat = np.ascontiguousarray(values).reshape(-1)
    top = flat[first] * (1 - across) + flat[first + 1] * across
    bottom = flat[first + side] * (1 - across) + flat[first + side + 1] * across
    return top * (1 - down) + bottom * down, inside
