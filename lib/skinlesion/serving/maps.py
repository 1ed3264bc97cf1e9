"""One activation map a frame, from those of its crops."""

from __future__ import annotations

import math

import numpy as np

from skinlesion.core.framing import WIDEST, region, squares


def whole(maps: np.ndarray, height: int, width: int) -> np.ndarray:
    """Join the maps of a frame's crops over what they cover; where they overlap, they are averaged.

    ``maps`` are float32 [crops, h, w], of :func:`skinlesion.core.framing.squares`, in that order; ``height`` and
    ``width`` are the frame's, in pixels. Returns float32 [h', w'] over :func:`skinlesion.core.framing.region`: the one
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
