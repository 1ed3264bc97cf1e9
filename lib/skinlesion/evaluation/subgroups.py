"""The groups of people, sites and diagnoses that metrics are computed for."""

from __future__ import annotations

import numpy as np
import pandas as pd

from skinlesion.core.errors import DataError
from skinlesion.core.tables import some

UNKNOWN = "unknown"  # a group that is not compared with others
AGES = {0: "under 30", 30: "30 to 44", 45: "45 to 59", 60: "60 to 74", 75: "75 and older"}
#: Sites that are one region; words that are not listed stand for themselves.
REGIONS = {
    "head and neck": ("face", "scalp", "ear", "neck", "head/neck", "lip", "head", "oral/genital"),
    "trunk": ("trunk", "back", "chest", "abdomen", "genital", "anterior torso", "posterior torso", "lateral torso"),
    "upper extremity": ("upper extremity", "arm", "forearm", "upper arm"),
    "lower extremity": ("lower extremity", "leg", "thigh", "lower leg"),
    "hands and feet": ("hand", "foot", "acral", "palms/soles", "palm", "sole"),
}
_REGION = {word: region for region, words in REGIONS.items() for word in words}
#: Rated skin tones of MILK10k, whose scale goes from 0 (very dark) to 5 (very light).
RATED = {"0": "0, very dark", "1": "1", "2": "2", "3": "3", "4": "4", "5": "5, very light"}
TRUTHS = {"histo": "histology", "follow_up": "follow-up", "consensus": "expert consensus", "confocal": "confocal"}


def age_band(years: float) -> str:
    """The band of :data:`AGES` that an age belongs to, ``unknown`` for NaN."""
    if not np.isfinite(years):
        return UNKNOWN
    return AGES[max(start for start in AGES if start <= max(years, 0))]


def group_images(frame: pd.DataFrame, image_ids: np.ndarray, border: pd.Categorical | None = None) -> pd.DataFrame:
    """The groups of every image, one column per attribute: sex, age, site, diagnosis by, border colour, skin tone.

    Words, age and border colour as ordered categories; attributes that are unknown for all images are left out. Raises
    DataError where an image is not in the frame.
    ``frame``: DataFrame with image_id, age (years), sex, site, dx_type, as in ``LesionTable.frame``; perhaps
    ``skin_tone`` as a source's raters saw it (0 very dark to 5 very light), and ``source``, whose name is then in the
    group; ``image_ids``: str [N], which images, in which order; ``border``: Categorical [len(frame)], colour of the
    image's border, which camera and light change as much as skin, of ``skinlesion.data.skin_tone.tone_groups``.
    """
    rows = frame if border is None else frame.assign(border=border)
    rows = rows.set_index("image_id").reindex(image_ids)
    missing = rows.index[rows["sex"].isna()]
    if len(missing):
        raise DataError(f"the table has no row for {some(missing)}")
    ages = rows["age"].astype(float).map(age_band, na_action=None)
    groups = pd.DataFrame(
        {
            "sex": rows["sex"].astype(object),
            "age": pd.Categorical(ages, categories=[*AGES.values(), UNKNOWN]),
            "body site": rows["site"].map(lambda word: _REGION.get(word, word)).astype(object),
            "diagnosis by": rows["dx_type"].map(lambda word: TRUTHS.get(word, word)).astype(object),
        }
    )
    if border is not None:
        groups["border colour"] = rows["border"]
    if "skin_tone" in rows:
        groups["rated skin tone"] = _rated(rows)
    groups = groups.reset_index(drop=True)
    return groups.loc[:, (groups != UNKNOWN).any()]


def _rated(rows: pd.DataFrame) -> pd.Series:
    """The skin tone that a source's raters saw, with the source's name where there are several."""
    tone = rows["skin_tone"].astype(str).str.strip()
    known = tone.isin(list(RATED))
    several = "source" in rows and rows.loc[known, "source"].nunique() > 1
    words = tone.map(RATED).astype(object)
    return (rows["source"].astype(str) + ", " + words if several else words).where(known, UNKNOWN)


def population(groups: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Images in every group of every attribute, unknown ones included; the most frequent group first."""
    return {name: {str(k): int(v) for k, v in groups[name].value_counts().items()} for name in groups}
