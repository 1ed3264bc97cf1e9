"""The groups of people, sites and diagnoses that metrics are computed for; gaps between them in words and as JSON."""

from __future__ import annotations

import numpy as np
import pandas as pd

from skinlesion.core.errors import DataError
from skinlesion.core.tables import some
from skinlesion.evaluation.intervals import p_in_words
from skinlesion.evaluation.subgroup_metrics import NAMES, UNKNOWN

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


def people(frame: pd.DataFrame, image_ids: np.ndarray, border: pd.Categorical | None = None) -> pd.DataFrame:
    """The groups of every image, one column an attribute: sex, age, site, diagnosis by, border colour, skin tone.

    Words, age and border colour as ordered categories; attributes that are unknown for all images are left out. Raises
    DataError where an image is not in the frame.

    Parameters
    ----------
    frame : DataFrame with image_id, age (years), sex, site, dx_type, as in ``LesionTable.frame``; perhaps ``skin_tone``
        as a source's raters saw it (0 very dark to 5 very light), and ``source``, whose name is then in the group
    image_ids : str [N], which images, in which order
    border : Categorical [len(frame)], colour of the image's border, which camera and light change as much as skin, as
        ``skinlesion.data.skin_tone.tone_groups`` gives
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


LEVEL = 0.05  # of significance
_TOO_SMALL = "No group is large enough to be compared with the others."


def _tested(table: pd.DataFrame) -> tuple[int, pd.DataFrame]:
    """How many gaps were tested, and those that are significant, the surest first."""
    return int(table["p"].notna().sum()), table[table["p"] < LEVEL].sort_values("p", kind="stable")


def gaps_in_words(table: pd.DataFrame) -> str:
    """Which gaps are significant beyond the mix of cases, and which groups are too small: Markdown."""
    tested, found = _tested(table)
    if not tested:
        return _TOO_SMALL
    words = f"{tested} gaps were tested together. "
    if found.empty:
        words += "None is significant beyond what the mix of cases explains; gaps within the intervals may exist."
    else:
        words += "Significant beyond what the mix of cases explains:\n\n"
        for (attribute, group), rows in found.groupby(["attribute", "group"], sort=False):
            words += f"- {attribute} {group}: " + "; ".join(map(_gap, rows.itertuples())) + "\n"
    small = _small(table).groupby("attribute", sort=False)["group"].agg(", ".join)
    names = "; ".join(f"{attribute} ({groups})" for attribute, groups in small.items())
    return words.rstrip() + (f"\n\nToo small for some or all figures: {names}." if names else "")


def gaps_in_brief(table: pd.DataFrame) -> str:
    """The same in two sentences: how many were tested, which groups differ, how many groups are too small."""
    tested, found = _tested(table)
    if not tested:
        return _TOO_SMALL
    groups = len(table.groupby(["attribute", "group"]))
    names = list(dict.fromkeys(f"{row.attribute} {row.group}" for row in found.itertuples()))
    result = f"metrics differ for {', '.join(names)}" if names else "none differs"
    return (
        f"{tested} gaps between a group and the others were tested together; significantly, and beyond what the mix of "
        f"cases explains, {result}. {len(_small(table))} of {groups} groups are too small for some or all figures."
    )


def _gap(row) -> str:
    name = NAMES[row.metric].lower().replace("auroc", "AUROC").replace("ece", "ECE")
    side = "above" if row.gap > 0 else "below"
    return (
        f"{name} {row.value:.3f}, {abs(row.gap):.3f} {side} the others (by the mix of cases alone "
        f"{row.gap_by_mix:+.3f}; p {p_in_words(row.p)})"
    )


def _small(table: pd.DataFrame) -> pd.DataFrame:
    """The groups that lack a figure or a comparison, one a row."""
    few = table.groupby(["attribute", "group"], sort=False)["p"].apply(lambda p: p.isna().any())
    return few[few].reset_index()


def for_card(table: pd.DataFrame) -> dict:
    """The table as a manifest's ``evaluation.subgroups`` holds it (see :func:`skinlesion.export.card.attach`)."""
    return {"groups": to_records(table), "words": gaps_in_words(table), "brief": gaps_in_brief(table)}


def to_records(table: pd.DataFrame) -> list[dict]:
    """The table as JSON holds it, one entry a group, with its metrics: what a manifest keeps."""
    columns = ["value", "low", "high", "n", "gap", "gap_low", "gap_high", "gap_by_mix", "p", "note", "kinds"]
    records = []
    for (attribute, group), lines in table.groupby(["attribute", "group"], sort=False):
        lines = lines.astype(object).where(lines.notna(), None)
        first = lines.iloc[0]
        records.append(
            {"attribute": attribute, "group": group}
            | {name: int(first[name]) for name in ("images", "lesions", "malignant")}
            | {"metrics": lines.set_index("metric")[columns].to_dict("index")}
        )
    return records
