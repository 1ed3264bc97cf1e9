"""The data check that runs before anything trains: bad rows are set aside, counted and named, never silently."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from skinlesion.core import colour, images
from skinlesion.core.errors import DataError, ImageError
from skinlesion.core.tables import counted, id_key
from skinlesion.core.writing import write_csv
from skinlesion.data.files import is_mask
from skinlesion.data.problems import (
    BAD_AGE,
    CONSEQUENCES,
    IDENTICAL,
    MASK,
    NO_IMAGE,
    TWO_FORMS,
    TWO_LABELS,
    TWO_LABELS_OF_ONE,
    UNDECODABLE,
    UNKNOWN_PAIR,
)
from skinlesion.data.table import LesionTable

OLDEST = 120  # years
IMAGE_COLUMNS = ("image_id", "width", "height", "red", "green", "blue", "brightness")
LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
_MASK = "it is black and white, as lesion masks are"


@dataclass(frozen=True)
class Check:
    """What the check found."""

    table: LesionTable  # the rows that can be used
    #: one row a decoded image: ``image_id``, ``width`` and ``height`` in pixels, mean ``red``, ``green`` and
    #: ``blue`` (0 to 255), and ``brightness``, the mean luma (0 to 1). Without rows where nothing was decoded.
    images: pd.DataFrame
    #: ``problem, count, consequence``; every kind of problem, those that did not occur included. Of several
    #: sources, the count in each of them in a column of its name, too.
    summary: pd.DataFrame
    #: dict use -> count: what became of embedded colour profiles: images converted to sRGB, and unusable profiles
    #: ignored
    profiles: dict[str, int] = field(default_factory=dict)

    @property
    def problems(self) -> pd.DataFrame:
        """``image_id, problem, detail, source``: those of the table."""
        return self.table.problems

    def describe(self) -> str:
        """What ``skinlesion data check`` prints: the images that can be used, notes, and what was left out and why."""
        table = self.table
        lines = [f"{name} at {origin.location}" for name, origin in table.origins.items()]
        counts = ", ".join(f"{code} {count:,}" for code, count in table.counts().items())
        lesions = f" of {counted(table.frame['lesion_id'].nunique(), 'lesion')}" if table.has_lesions else ""
        lines += [f"{counted(len(table), 'image')}{lesions} can be used: {counts}", *table.notes]
        if len(table.origins) > 1:
            lines += ["", self.by_source().to_string(), ""]
        lines += [f"Colour profiles: {counted(count, 'image')} {use}." for use, count in self.profiles.items()]
        beside = ", ".join(counted(count, kind) for kind, count in table.passed_over.items())
        lines += [f"Not counted as images: {beside or 'no file'}."]
        found = self.summary["count"] > 0
        if found.any():
            lines += ["", self.summary[found].to_string(index=False)]
        return "\n".join([*lines, "", f"Looked for and not found: {', '.join(self.summary['problem'][~found])}."])

    def by_source(self) -> pd.DataFrame:
        """Usable images of each class, all of them, their lesions, and problems: a row each, a column per source."""
        frame, counts = self.table.frame, self.table.counts_by_source()
        rows = {
            "images": counts.sum(),
            "lesions": frame.groupby("source")["lesion_id"].nunique(),
            "problems": self.problems["source"].value_counts(),
        }
        more = pd.DataFrame(rows).T.reindex(columns=counts.columns).fillna(0).astype(int)
        return pd.concat([counts, more]).assign(all=lambda found: found.sum(axis=1)).rename_axis(None, axis=1)

    def write(self, path: str | Path) -> None:
        """Write the problems as CSV, whole or not at all."""
        write_csv(path, self.problems)


def check_table(table: LesionTable, decode: bool = True, workers: int | None = None, progress: bool = False) -> Check:
    """Check a table and, unless ``decode`` is False, every image in it, by ``workers`` threads (one a processor).

    Rows that the reader of the data set could not use are in ``table.problems`` already; this adds ages out of range,
    lesions with two labels, near-duplicate pairs that name unknown images, images that cannot be decoded, masks,
    identical images, and lesion ids in two forms. Identical images with one label, and lesions that differ in the form
    of their ids alone, become near-duplicate pairs, so that a split keeps them together. Decoding also measures sizes
    and mean colours. Raises DataError if fewer than two classes are left; the message counts what was wrong.
    """
    known = set(table.frame["image_id"]) | set(table.problems["image_id"])
    checked = _check_pairs(_check_lesions(_check_ages(table)), known)
    measured = pd.DataFrame(columns=list(IMAGE_COLUMNS))
    profiles: dict[str, int] = {}
    if decode:
        checked, measured, profiles = _check_images(checked, workers, progress)
    checked = _check_forms(checked)
    summary = _summary(checked)
    _check_rest(table, checked, summary)
    return Check(table=checked, images=measured, summary=summary, profiles=profiles)


def _report(table: LesionTable, problem: str, details: list[tuple[str, str]]) -> LesionTable:
    """The table with one more problem listed, of images by id, and no row less."""
    more = pd.DataFrame(details, columns=["image_id", "detail"], dtype=str).assign(problem=problem)
    sources = dict(zip(table.frame["image_id"], table.frame["source"], strict=True))
    more["source"] = more["image_id"].map(sources).fillna(next(iter(table.origins)) if len(table.origins) == 1 else "")
    return replace(table, problems=pd.concat([table.problems, more], ignore_index=True))


def _check_ages(table: LesionTable) -> LesionTable:
    age = table.frame["age"]
    wrong = age.notna() & ~age.between(0, OLDEST)
    details = [f"{years:g} years; left empty" for years in age[wrong]]
    checked = replace(table, frame=table.frame.assign(age=age.mask(wrong)))
    return _report(checked, BAD_AGE, list(zip(table.frame.loc[wrong, "image_id"], details, strict=True)))


def _check_lesions(table: LesionTable) -> LesionTable:
    by_lesion = table.frame.groupby("lesion_id")["label"]
    words = table.frame["lesion_id"] + " is " + _all_labels(by_lesion)
    return table.set_aside(by_lesion.transform("nunique") > 1, TWO_LABELS, words)


def _check_forms(table: LesionTable) -> LesionTable:
    """List lesion ids of a source that differ in case or zeros alone; they may be one lesion, so they become pairs."""
    rows = table.frame[table.frame["lesion_id"] != table.frame["image_id"]].drop_duplicates(["source", "lesion_id"])
    groups = rows.groupby([rows["source"], rows["lesion_id"].map(id_key)], sort=False)
    first = groups[["image_id", "lesion_id"]].transform("first")
    again = rows["image_id"] != first["image_id"]
    pairs = tuple(zip(first["image_id"][again], rows["image_id"][again], strict=True))
    words = (rows["lesion_id"] + " may be the same lesion as " + first["lesion_id"])[again]
    table = replace(table, near_duplicates=(*table.near_duplicates, *pairs))
    return _report(table, TWO_FORMS, list(zip(rows["image_id"][again], words, strict=True)))


def _all_labels(groups) -> pd.Series:
    return groups.transform(lambda labels: " and ".join(sorted(set(labels)))).astype("str")  # no rows: no kind


def _check_pairs(table: LesionTable, known: set[str]) -> LesionTable:
    unknown = [(name, f"in the pair {', '.join(pair)}") for pair in table.near_duplicates for name in pair]
    left = set(table.frame["image_id"])
    pairs = tuple(pair for pair in table.near_duplicates if left.issuperset(pair))
    return _report(replace(table, near_duplicates=pairs), UNKNOWN_PAIR, [row for row in unknown if row[0] not in known])


def _check_images(
    table: LesionTable, workers: int | None, progress: bool
) -> tuple[LesionTable, pd.DataFrame, dict[str, int]]:
    from tqdm.contrib.concurrent import thread_map  # Pillow decodes without holding Python's lock

    how = {"desc": "decoding", "unit": "image", "disable": not progress}
    found = thread_map(_measure, table.frame["path"], max_workers=workers or os.cpu_count(), **how)
    wrong = pd.Series([one if isinstance(one, str) else "" for one in found], index=table.frame.index)
    problem = wrong.where(wrong == "", UNDECODABLE).mask(wrong.str.startswith("missing"), NO_IMAGE)
    problem = problem.mask(wrong == _MASK, MASK)
    table = table.set_aside(wrong != "", problem, wrong)
    decoded = [one for one in found if not isinstance(one, str)]
    sizes_and_colors = [(one.width, one.height, *one.color, one.brightness) for one in decoded]
    measured = pd.DataFrame(sizes_and_colors, columns=IMAGE_COLUMNS[1:])
    measured.insert(0, "image_id", table.frame["image_id"].to_numpy())
    profiles = Counter(one.profile for one in decoded)
    table = _check_identical(table, pd.Series([one.digest for one in decoded], dtype=object))
    measured = measured[measured["image_id"].isin(table.frame["image_id"])].reset_index(drop=True)
    return table, measured, {use: profiles[use] for use in (colour.CONVERTED, colour.IGNORED) if profiles[use]}


def _check_identical(table: LesionTable, digests: pd.Series) -> LesionTable:
    """Set aside identical images with two labels; the others become near-duplicates, unless one lesion holds them.

    Where sources disagree, the first one given keeps its images: another source must not change its split.
    """
    frame = table.frame
    groups = frame.groupby(digests, sort=False)
    first = groups[["image_id", "lesion_id", "source", "label"]].transform("first")
    at_home = frame["label"].where(frame["source"] == first["source"]).groupby(digests, sort=False).transform("nunique")
    two = (at_home > 1) | ((frame["source"] != first["source"]) & (frame["label"] != first["label"]))
    again = ~two & (frame["image_id"] != first["image_id"]) & (frame["lesion_id"] != first["lesion_id"])
    pairs = tuple(zip(first["image_id"][again], frame["image_id"][again], strict=True))
    copies = [(name, f"the same file as {other}") for other, name in pairs]
    table = _report(replace(table, near_duplicates=(*table.near_duplicates, *pairs)), IDENTICAL, copies)
    words = "the same file as " + first["image_id"] + ": " + _all_labels(groups["label"])
    return table.set_aside(two, TWO_LABELS_OF_ONE, words)


class _Measured(NamedTuple):
    """What is measured of one image."""

    digest: bytes  # SHA-256 of what identical images share
    profile: str  # what became of its colour profile, see :func:`skinlesion.core.colour.profile_use`
    width: int
    height: int
    color: tuple[float, float, float]  # mean red, green and blue, 0 to 255
    brightness: float  # mean luma, 0 to 1


def _measure(path: str) -> _Measured | str:
    """The measures of an image, or what is wrong with it."""
    try:
        frame, data = images.read_with_bytes(path)
    except ImageError as error:
        return f"{error.code}: {error}"
    if is_mask(frame):
        return _MASK
    height, width, _ = frame.shape
    # summed along whole rows first, which numpy does twenty times faster than along three channels
    columns = frame.reshape(height, -1).sum(axis=0, dtype=np.uint32)
    means = columns.reshape(width, 3).sum(axis=0, dtype=np.uint64) / (width * height)
    red, green, blue = means.tolist()
    return _Measured(
        digest=hashlib.sha256(data).digest(),
        profile=colour.profile_use(data),
        width=width,
        height=height,
        color=(red, green, blue),
        brightness=float(means @ LUMA) / 255,
    )


def _summary(table: LesionTable) -> pd.DataFrame:
    kinds, problems = list(CONSEQUENCES), table.problems
    counts = pd.crosstab(problems["problem"], problems["source"]).reindex(index=kinds, fill_value=0)
    summary = pd.DataFrame({"problem": kinds, "count": problems["problem"].value_counts().reindex(kinds, fill_value=0)})
    if len(table.origins) > 1:
        summary[list(table.origins)] = counts.reindex(columns=list(table.origins), fill_value=0)
    return summary.assign(consequence=list(CONSEQUENCES.values())).reset_index(drop=True)


def _check_rest(given: LesionTable, checked: LesionTable, summary: pd.DataFrame) -> None:
    classes = int((checked.counts() > 0).sum())
    if classes >= 2:
        return
    worst = summary[summary["count"] > 0].nlargest(3, "count")
    examples = checked.problems.drop_duplicates("problem").set_index("problem")
    wrong = "; ".join(
        f"{row.count:,} x {row.problem} ({examples.image_id[row.problem]}: {examples.detail[row.problem]})"
        for row in worst.itertuples(index=False)
    )
    raise DataError(
        f"nothing useful is left of {given.location}: {counted(len(checked), 'image')} of "
        f"{counted(classes, 'class')}, and at least two classes are needed. "
        + (f"What was wrong: {wrong}" if wrong else "Nothing was set aside: add images.")
        + "".join(f" {note}" for note in checked.notes if "Unknown labels" in note)
    )
