"""From a frame to the network's square, and back: the one resize, which part of a frame is taken, maps of it joined.

The exported model computes the two matrices of :func:`resize` for itself.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

# Resizing is exact arithmetic, so that NumPy, torch and ONNX Runtime agree on every byte whatever the order of their
# sums: weights are multiples of 2**-12 and the first of the two products is rounded to multiples of 2**-4, which keeps
# every partial sum within the 24 bits of a float32.
WEIGHT_STEPS = 4096
PRODUCT_STEPS = 16
#: Added before the floor that makes weights whole steps: just off one half, which simple ratios would land on.
HALF = 0.5013
#: How a frame is fitted into the network's square. ``random_crop`` trains on squares cut anywhere from the frame and
#: predicts on the centre square, or on several (:func:`squares`).
FITS = ("squash", "center_crop", "random_crop")
CROPS = (1, 2)  # crops of a frame that one prediction averages
WIDEST = 4 / 3  # long side to short side of what two crops cover of a frame: HAM10000's; half of it is in both


@lru_cache(maxsize=256)
def resize_matrix(source: int, target: int, start: float = 0.0, stop: float | None = None) -> np.ndarray:
    """Weights of the antialiased linear (triangle) filter from ``source`` to ``target`` pixels, float32 [target,
    source].

    As Pillow's ``BILINEAR`` with ``reducing_gap=None``: the triangle is as wide as the reduction factor and is cut at
    the image's border. The weights are then rounded to multiples of 1/4096 such that every row sums to exactly one.
    ``start`` and ``stop`` are the part of the side to take, in source pixels; the whole of it by default.
    """
    stop = float(source) if stop is None else stop
    scale = (stop - start) / target
    centers = start + (np.arange(target) + 0.5) * scale
    distance = np.abs(np.arange(source)[None, :] + 0.5 - centers[:, None]) / max(scale, 1.0)
    weights = np.maximum(1.0 - distance, 0.0)
    share = np.cumsum(weights, axis=1) / weights.sum(axis=1, keepdims=True)
    steps = np.floor(share * WEIGHT_STEPS + HALF)
    return (np.diff(steps, prepend=0.0) / WEIGHT_STEPS).astype(np.float32)


def resize(
    frame: np.ndarray, shape: tuple[int, int], box: tuple[float, float, float, float] | None = None
) -> np.ndarray:
    """Resize a frame, uint8 [H, W, 3], to ``shape`` (height, width), antialiased, as two matrix products: uint8 too.

    ``box`` is the part to take, (top, left, bottom, right) in source pixels; the whole frame by default.
    """
    h, w, _ = frame.shape
    top, left, bottom, right = box or (0.0, 0.0, float(h), float(w))
    rows = resize_matrix(h, shape[0], top, bottom)
    columns = resize_matrix(w, shape[1], left, right)
    vertical = rows @ frame.reshape(h, w * 3).astype(np.float32)
    vertical = np.floor(vertical * PRODUCT_STEPS + 0.5) / PRODUCT_STEPS
    result = columns @ vertical.reshape(shape[0], w, 3)  # [W', W] @ [H', W, 3]
    return np.floor(result + 0.5).astype(np.uint8)


def center_square(height: int, width: int) -> tuple[float, float, float, float]:
    """The largest centred square of a frame as a box (top, left, bottom, right), in pixels."""
    side = min(height, width)
    top, left = (height - side) / 2, (width - side) / 2
    return top, left, top + side, left + side


def region(height: int, width: int, how: str, crops: int = 1) -> tuple[float, float, float, float]:
    """The part of a frame that the network takes, as a box (top, left, bottom, right) in pixels.

    All of it where ``how`` is ``squash``; else its centre square, or with two ``crops`` as much of its middle as is no
    longer than :data:`WIDEST`.
    """
    if how == "squash":
        return 0.0, 0.0, float(height), float(width)
    if crops == 1:
        return center_square(height, width)
    tall, wide = min(float(height), width * WIDEST), min(float(width), height * WIDEST)
    top, left = (height - tall) / 2, (width - wide) / 2
    return top, left, top + tall, left + wide


def seen(how: str, crops: int = 1) -> str:
    """:func:`region` in words."""
    if how == "squash":
        return "the whole frame, squashed"
    return "the centre square of the frame" if crops == 1 else "the left and the right crop of the frame, both square"


def squares(height: int, width: int, crops: int) -> list[tuple[float, float, float, float]]:
    """The crops that a prediction averages, as boxes: the centre square, or left and right of :func:`region`."""
    if crops == 1:
        return [center_square(height, width)]
    top, left, bottom, right = region(height, width, "center_crop", crops)
    side = float(min(height, width))
    return [(top, left, top + side, left + side), (bottom - side, right - side, bottom, right)]


def fit_squares(frame: np.ndarray, size: int, how: str, crops: int) -> np.ndarray:
    """The network's input for one prediction, uint8 [crops, size, size, 3]; one crop is :func:`fit`'s."""
    if crops == 1:
        return fit(frame, size, how)[None]
    return np.stack([resize(frame, (size, size), box) for box in squares(frame.shape[0], frame.shape[1], crops)])


def fit(frame: np.ndarray, size: int, how: str) -> np.ndarray:
    """Fit a frame, uint8 [H, W, 3], into the network's square, uint8 [size, size, 3], as one of :data:`FITS` says."""
    return resize(frame, (size, size), region(frame.shape[0], frame.shape[1], how))


def join_maps(maps: np.ndarray, height: int, width: int) -> np.ndarray:
    """Join the maps of a frame's crops over what they cover; where they overlap, they are averaged.

    ``maps`` are float32 [crops, h, w], of :func:`squares`, in that order; ``height`` and
    ``width`` are the frame's, in pixels. Returns float32 [h', w'] over :func:`region`: the one
    crop's map as it is, two crops' interpolated linearly, with as many cells for the region's sides as keep the crops'
    finer ones.
    """
    if len(maps) == 1:
        return maps[0]
    top, left, bottom, right = region(height, width, "center_crop", len(maps))
    cells = [math.ceil(WIDEST * count) for count in maps.shape[1:]]
    total, cover = np.zeros(cells), np.zeros(cells)
    for one, box in zip(maps, squares(height, width, len(maps)), strict=True):
        rows = _weights(maps.shape[1], cells[0], (box[0] - top) / (bottom - top), (box[2] - top) / (bottom - top))
        columns = _weights(maps.shape[2], cells[1], (box[1] - left) / (right - left), (box[3] - left) / (right - left))
        total += rows @ one.astype(np.float64) @ columns.T
        cover += np.outer(rows.sum(1), columns.sum(1))
    return (total / cover).astype(np.float32)


def _weights(source: int, target: int, start: float, stop: float) -> np.ndarray:
    """Linear interpolation from ``source`` cells between two shares of a side to ``target`` cells on all of it.

    Float64 [target, source]; rows sum to one inside, and to zero outside, where these cells hold no information.
    """
    places = (np.arange(target) + 0.5) / target
    inside = (places >= start) & (places <= stop)
    centers = np.clip((places - start) / (stop - start) * source - 0.5, 0, source - 1)
    return np.maximum(1 - np.abs(np.arange(source)[None, :] - centers[:, None]), 0) * inside[:, None]
