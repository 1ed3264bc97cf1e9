"""Images of one data set that another one has too: by id, and by what they show."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd

from skinlesion.core import framing, images
from skinlesion.core.taxonomy import TOGETHER
from skinlesion.data.reading import isic_number
from skinlesion.data.table import LesionTable

SIDE = 16  # pixels of a thumbnail
#: Root mean square difference of two thumbnails, in grey levels. In HAM10000 copies that were made smaller, mirrored or
#: compressed anew lie below 3.1, and no two different images below 6.
NEAR = 4.0

OF_HAM10000 = ("ham10000", "isic-archive", "dermamnist")  # data sets whose images are those of HAM10000


def trained_ids(image_ids: pd.Series, source: str) -> np.ndarray:
    """Which ids a model trained on a kind of data set may have been trained on, bool [N].

    HAM10000 is ISIC_0024306 to ISIC_0034320, under whatever name it is given away; ids of other sources aren't known.
    """
    if not set(source.split(TOGETHER)) & set(OF_HAM10000):
        return np.zeros(len(image_ids), bool)
    return isic_number(image_ids).between(24306, 34320).to_numpy()


def thumbnail(frame: np.ndarray) -> np.ndarray:
    """The frame at 16 x 16 pixels, mirrored so that its darker halves come first: float32 [768].

    ``frame``: uint8 [H, W, 3].
    """
    small, half = framing.resize(frame, (SIDE, SIDE)).astype(np.float32), SIDE // 2
    down = small[:half].sum() > small[half:].sum()
    across = small[:, :half].sum() > small[:, half:].sum()
    return small[:: -1 if down else 1, :: -1 if across else 1].reshape(-1)


def thumbnails(table: LesionTable, progress: bool = False) -> np.ndarray:
    """The thumbnail of every row, float32 [N, 768]. Raises ImageError where an image cannot be read."""
    from tqdm.contrib.concurrent import thread_map

    how = {"desc": "comparing", "unit": "image", "disable": not progress}
    paths = table.frame["path"]
    return np.array(thread_map(lambda path: thumbnail(images.read(path)), paths, max_workers=os.cpu_count(), **how))


def seen_before(table: LesionTable, training: LesionTable, progress: bool = False) -> pd.Series:
    """What of each row the training data hold: ``same id``, ``near-identical to <id>``, or an empty text.

    Finds the same picture saved again (smaller, mirrored, compressed), not another picture of the same lesion. Returns
    Series of str [len(table)].
    """
    known, own = thumbnails(training, progress), thumbnails(table, progress)
    squares = (own**2).sum(1)[:, None] + (known**2).sum(1)[None, :] - 2 * own @ known.T
    nearest = squares.argmin(axis=1)
    # exactly for the nearest ones: the difference of large sums above is good to about one grey level
    distance = np.sqrt(((own - known[nearest]) ** 2).mean(axis=1))
    names = training.frame["image_id"].to_numpy(object)[nearest]
    detail = pd.Series(np.where(distance <= NEAR, "near-identical to " + names, ""), table.frame.index, dtype=object)
    return detail.mask(table.frame["image_id"].isin(training.frame["image_id"]), "same id")
