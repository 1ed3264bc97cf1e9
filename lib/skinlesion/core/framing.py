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
#: predicts on the centre square, or on several crops (:func:`crop_boxes`).
FITS = ("squash", "center_crop", "random_crop")
CROPS = (1, 2)  # crops of a frame that one prediction averages
MARGIN = 1.125  # the frames that random crops are cut from are this much larger than the network's input
WIDEST = 4 / 3  # long side to short side of what two crops cover of a frame: HAM10000's; half of it is in both


Box = tuple[float, float, float, float]  # top, left, bottom and right of a part of a frame, in pixels


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


def resize(frame: np.ndarray, shape: tuple[int, int], box: Box | None = None) -> np.ndarray:
    """Resize a frame, uint8 [H, W, 3], to ``shape`` (height, width), antialiased, as two matrix products: uint8 too.

    ``box`` is the part to take; the whole frame by default.
    """
    h, w, _ = frame.shape
    top, left, bottom, right = box or (0.0, 0.0, float(h), float(w))
    rows = resize_matrix(h, shape[0], top, bottom)
    columns = resize_matrix(w, shape[1], left, right)
    vertical = rows @ frame.reshape(h, w * 3).astype(np.float32)
    vertical = np.floor(vertical * PRODUCT_STEPS + 0.5) / PRODUCT_STEPS
    result = columns @ vertical.reshape(shape[0], w, 3)  # [W', W] @ [H', W, 3]
    return np.floor(result + 0.5).astype(np.uint8)


def center_square(height: int, width: int) -> Box:
    """The largest centred square of a frame."""
    side = min(height, width)
    top, left = (height - side) / 2, (width - side) / 2
    return top, left, top + side, left + side


def region(height: int, width: int, fit: str, crops: int = 1) -> Box:
    """The part of a frame that the network takes, in pixels.

    All of it where ``fit`` is ``squash``; else its centre square, or with two ``crops`` as much of its middle as is no
    longer than :data:`WIDEST`.
    """
    if fit == "squash":
        return 0.0, 0.0, float(height), float(width)
    if crops == 1:
        return center_square(height, width)
    tall, wide = min(float(height), width * WIDEST), min(float(width), height * WIDEST)
    top, left = (height - tall) / 2, (width - wide) / 2
    return top, left, top + tall, left + wide


def region_in_words(fit: str, crops: int = 1) -> str:
    """:func:`region` in words."""
    if fit == "squash":
        return "the whole frame, squashed"
    return "the centre square of the frame" if crops == 1 else "the left and the right crop of the frame, both square"


def crop_boxes(height: int, width: int, crops: int) -> list[Box]:
    """The crops that a prediction averages: the centre square, or the left and the right one of :func:`region`."""
    if crops == 1:
        return [center_square(height, width)]
    top, left, bottom, right = region(height, width, "center_crop", crops)
    side = float(min(height, width))
    return [(top, left, top + side, left + side), (bottom - side, right - side, bottom, right)]


def fit_square(frame: np.ndarray, size: int, fit: str) -> np.ndarray:
    """Fit a frame, uint8 [H, W, 3], into the network's square, uint8 [size, size, 3], as one of :data:`FITS` says."""
    return resize(frame, (size, size), region(frame.shape[0], frame.shape[1], fit))


def fit_crops(frame: np.ndarray, size: int, fit: str, crops: int) -> np.ndarray:
    """The network's input for one prediction, uint8 [crops, size, size, 3]; one crop is that of :func:`fit_square`."""
    if crops == 1:
        return fit_square(frame, size, fit)[None]
    return np.stack([resize(frame, (size, size), box) for box in crop_boxes(frame.shape[0], frame.shape[1], crops)])


def training_shape(size: int, fit: str) -> tuple[int, int]:
    """Height and width of the frames that training takes its input from, pixels.

    Those of the network's input, ``size``; for random crops larger by :data:`MARGIN`, and 4:3 as HAM10000's.
    """
    if fit != "random_crop":
        return size, size
    height = 2 * round(size * MARGIN / 2)
    return height, 4 * height // 3


def fit_training_frame(frame: np.ndarray, size: int, fit: str) -> np.ndarray:
    """The frame that training crops from: landscape, cut or mirrored to 4:3, for ``random_crop``.

    Dermatoscopic images have no up or down, so a portrait one is turned. From uint8 [H, W, 3] to uint8 of
    :func:`training_shape`; ``size`` is the side of the network's input in pixels, ``fit`` one of :data:`FITS`.
    """
    if fit != "random_crop":
        return fit_square(frame, size, fit)
    if frame.shape[0] > frame.shape[1]:
        frame = np.rot90(frame)
    height, width = frame.shape[:2]
    wanted = round(height * 4 / 3)
    if width < wanted:  # narrower than 4:3: mirror the sides
        left = (wanted - width) // 2
        frame = np.pad(frame, ((0, 0), (left, wanted - width - left), (0, 0)), mode="symmetric")
        width = wanted
    left = (width - wanted) / 2
    return resize(frame, training_shape(size, fit), (0.0, left, float(height), left + wanted))


def join_maps(maps: np.ndarray, height: int, width: int) -> np.ndarray:
    """Join the maps of a frame's crops over what they cover; where they overlap, they are averaged.

    ``maps`` are float32 [crops, h, w], in the order of :func:`crop_boxes`; ``height`` and ``width`` are the frame's, in
    pixels. Returns float32 [h', w'] over :func:`region`: the one crop's map as it is, two crops' interpolated linearly,
    with as many cells for the region's sides as keep the crops' finer ones.
    """
    if len(maps) == 1:
        return maps[0]
    top, left, bottom, right = region(height, width, "center_crop", len(maps))
    cells = [math.ceil(WIDEST * count) for count in maps.shape[1:]]
    total, cover = np.zeros(cells), np.zeros(cells)
    for one, box in zip(maps, crop_boxes(height, width, len(maps)), strict=True):
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
