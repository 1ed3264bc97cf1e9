"""Skin tone as far as a dermatoscopic image shows it: the individual typology angle of the skin around the lesion.

The angle (Chardon, Cretois, Hourseau 1991, doi:10.1111/j.1467-2494.1991.tb00561.x) is made for a colorimeter. From an
image it is an estimate with no truth to check it by: light, exposure, white balance and the contact fluid all move it,
a reddish or hairy border too, and cameras differ between the places that images come from. It ranks images of one
source better than it names a person's skin type, and differences between its groups may be those between cameras.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.ndimage import maximum_filter
from skimage.color import rgb2lab

from skinlesion.core import images
from skinlesion.core.images import image_name
from skinlesion.core.machine import thread_pool
from skinlesion.data.files import find_files
from skinlesion.data.table import LesionTable

#: Lower ends of the groups in degrees (Del Bino et al. 2006, doi:10.1111/j.1600-0749.2006.00338.x), lightest first.
GROUPS = {
    "very light": 55.0,
    "light": 41.0,
    "intermediate": 28.0,
    "tan": 10.0,
    "brown": -30.0,
    "dark": -np.inf,
}
UNKNOWN = "unknown"

BORDER = 0.15  # of each side: where lesions, which are photographed centred, seldom reach
SHADE = 0.6  # of the image's light skin: darker pixels are vignette, frame or hair, whatever the skin
GLARE = 97.0  # L* above it: reflections and bubbles
LEAST = 0.02  # of the image's pixels must be left, or there is no angle
MARGIN = 0.03  # of the longer side: a mask is widened by it, for lesions fade out
SIDE = 128  # pixels; larger images are thinned out, which moves a median by nothing that matters
SUFFIX = "_segmentation"


def typology_angle(frame: np.ndarray, mask: np.ndarray | None = None) -> float:
    """The individual typology angle of the lesion-free border, degrees; NaN where too little skin is seen.

    Of the outer :data:`BORDER` of the frame, uint8 [H, W, 3], what lies in the corners (outside the inscribed ellipse),
    is much darker than the border's light pixels (:data:`SHADE`; vignette, black frame, hair), glares, or belongs to
    the lesion (``mask``, bool [H, W]) is left out. The angle is ``arctan((L* - 50) / b*)`` of the medians of what
    remains. A colour cast can make b* negative: for light skin the angle then goes on past 90 degrees (its tangent
    alone would call pale skin dark), for L* below 50 there is no angle.
    """
    step = max(1, int(np.ceil(max(frame.shape[:2]) / SIDE)))
    frame = frame[::step, ::step]
    chosen = _border(*frame.shape[:2])
    if mask is not None:
        margin = max(1, round(MARGIN * max(frame.shape[:2])))
        chosen &= ~maximum_filter(np.asarray(mask, bool)[::step, ::step], 2 * margin + 1)
    colors = rgb2lab(frame[chosen])
    if not len(colors):
        return float("nan")
    lightness = colors[:, 0]
    skin = colors[(lightness >= SHADE * np.quantile(lightness, 0.9)) & (lightness < GLARE)]
    if len(skin) < LEAST * frame.shape[0] * frame.shape[1]:
        return float("nan")
    light, _, yellow = np.median(skin, axis=0)
    if light < 50 and yellow <= 0:
        return float("nan")
    return float(np.degrees(np.arctan2(light - 50, yellow)))


def _border(height: int, width: int) -> np.ndarray:
    y = np.abs((np.arange(height) + 0.5) / height - 0.5)[:, None]
    x = np.abs((np.arange(width) + 0.5) / width - 0.5)[None, :]
    return (np.maximum(x, y) > 0.5 - BORDER) & (x**2 + y**2 <= 0.25)


def tone_groups(angles: np.ndarray) -> pd.Categorical:
    """The name of the group of :data:`GROUPS` that each angle (float [N], degrees) belongs to, ``unknown`` for NaN."""
    names = [next((name for name, lowest in GROUPS.items() if angle > lowest), UNKNOWN) for angle in angles]
    return pd.Categorical(names, categories=[*GROUPS, UNKNOWN])


def repeatability(angles: np.ndarray, lesions: np.ndarray) -> float:
    """Standard deviation of the angle (float [N], NaN where unknown) between images of one lesion, degrees.

    The same skin, so this is the error. Pooled over all lesions (ids [N]) with several images (root of the mean
    within-lesion variance); NaN where there are none.
    """
    known = pd.Series(angles, dtype=float).dropna()
    groups = known.groupby(np.asarray(lesions, str)[known.index])
    freedom = len(known) - groups.ngroups
    return float(np.sqrt(((known - groups.transform("mean")) ** 2).sum() / freedom)) if freedom else float("nan")


def per_lesion(angles: np.ndarray, lesions: np.ndarray) -> np.ndarray:
    """Every image's angle replaced by the median over its lesion's images, which err less, float64 [N]."""
    return pd.Series(angles, dtype=float).groupby(np.asarray(lesions, str)).transform("median").to_numpy()


def lesion_masks(place: str | Path) -> dict[str, str]:
    """image_id -> path of its lesion mask (``<image_id>_segmentation.png``) in a data set's folder and archives."""
    place = Path(place)
    named = {path: image_name(name) for path, name in find_files(place).names.items()} if place.is_dir() else {}
    return {
        name.removesuffix(SUFFIX): path
        for path, name in named.items()
        if name.endswith(SUFFIX) and path.lower().endswith(".png")
    }


def skin_tones(table: LesionTable) -> np.ndarray:
    """The typology angle of every row, float64 [N] in degrees; lesion masks are used where the data set has them.

    Raises ImageError where an image or a mask cannot be read.
    """
    masks = lesion_masks(table.location)

    def one(row: tuple[str, str]) -> float:
        image_id, path = row
        frame = images.read_image(path)
        mask = images.read_image(masks[image_id])[..., 0] > 127 if image_id in masks else None
        return typology_angle(frame, mask if mask is not None and mask.shape == frame.shape[:2] else None)

    rows = list(zip(table.frame["image_id"], table.frame["path"], strict=True))
    with thread_pool() as pool:
        return np.array(list(pool.map(one, rows)))
