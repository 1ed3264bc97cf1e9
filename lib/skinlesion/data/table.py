"""The table that every data source ends in: one row an image."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace

import pandas as pd

from skinlesion.core.errors import DataError
from skinlesion.core.runs import Run, atomic, write_json
from skinlesion.core.taxonomy import LabelSet, label_set

COLUMNS = ("image_id", "lesion_id", "label", "age", "sex", "site", "dx_type", "path")
PROBLEM_COLUMNS = ("image_id", "problem", "detail")


def no_problems() -> pd.DataFrame:
    """An empty list of problems, with its columns."""
    return pd.DataFrame(columns=list(PROBLEM_COLUMNS), dtype=str)


@dataclass(frozen=True)
class LesionTable:
    """One row an image, whatever it was read from.

    Attributes
    ----------
    frame : DataFrame with the columns :data:`COLUMNS`
        ``label`` is a code of ``labels``; ``age`` is in years, NaN where unknown; ``sex``, ``site`` and ``dx_type``
        are words, ``"unknown"`` where missing; ``path`` is what :func:`skinlesion.core.images.read` takes.
    labels : LabelSet
    source : str
        One of :data:`skinlesion.data.sources.KINDS`, or ``demo``.
    location : str
        Where it was read from.
    has_lesions : bool
        Whether ``lesion_id`` is real; where it is False it repeats ``image_id`` and no split can promise anything.
    near_duplicates : tuple of (image_id, image_id)
        Pairs that show the same lesion under two lesion ids, as the source lists them or its files prove.
    twins : tuple of (image_id, image_id)
        Further pairs of one lesion, found by what they show (:mod:`skinlesion.data.twins`).
    notes : tuple of str
        What every report on this data has to say.
    problems : DataFrame with the columns :data:`PROBLEM_COLUMNS`
        Rows that were set aside and files that were left out, and why.
    passed_over : dict sort -> count
        Files beside the images that are none: masks, thumbnails, identical copies, other files by their ending.
    official_split : dict image_id -> split
        The source's own split, where it has one.
    """

    frame: pd.DataFrame
    labels: LabelSet
    source: str
    location: str
    has_lesions: bool = True
    near_duplicates: tuple[tuple[str, str], ...] = ()
    twins: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    problems: pd.DataFrame = field(default_factory=no_problems)
    official_split: dict[str, str] = field(default_factory=dict)
    passed_over: dict[str, int] = field(default_factory=dict)

    def __post_init__(self):
        missing = [column for column in COLUMNS if column not in self.frame.columns]
        if missing:
            raise DataError(f"the table lacks the columns {', '.join(missing)}")

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def synthetic(self) -> bool:
        """Whether the images are drawn by a program."""
        return self.source == "demo"

    @property
    def targets(self):
        """Class index of every row, int64 [N]."""
        return self.frame["label"].map({code: i for i, code in enumerate(self.labels.codes)}).to_numpy("int64")

    def counts(self) -> pd.Series:
        """Images a class, in the label set's order."""
        return self.frame["label"].value_counts().reindex(list(self.labels.codes), fill_value=0)

    def keep(self, mask) -> LesionTable:
        """The rows where ``mask`` (bool [N]) holds."""
        return replace(self, frame=self.frame[mask].reset_index(drop=True))

    def set_aside(self, mask: pd.Series, problem: str, detail: str | pd.Series) -> LesionTable:
        """Take out the rows where ``mask`` (bool [N]) holds, and list them in ``problems``.

        ``detail`` is one text for all of them, or one a row.
        """
        if not mask.any():
            return self
        gone = pd.DataFrame({"image_id": self.frame.loc[mask, "image_id"], "problem": problem, "detail": detail})
        return replace(self.keep(~mask), problems=pd.concat([self.problems, gone], ignore_index=True))

    def fingerprint(self) -> str:
        """SHA-256 over what the rows say (paths left out), hexadecimal."""
        rows = self.frame.drop(columns="path").sort_values("image_id").to_csv(index=False)
        return hashlib.sha256(rows.encode()).hexdigest()

    def facts(self) -> dict:
        """What a model's manifest says about the data it was made from."""
        return {
            "source": self.source,
            "synthetic": self.synthetic,
            "fingerprint": self.fingerprint(),
            "images": len(self),
            "lesions": int(self.frame["lesion_id"].nunique()),
        }

    def save(self, run: Run) -> None:
        """Write ``table.csv`` and ``table.json`` into the run's folder; problems are the data check's to write."""
        with atomic(run.table_file) as temporary:
            self.frame.to_csv(temporary, index=False)
        info = {
            "labels": list(self.labels.codes),
            "source": self.source,
            "location": self.location,
            "has_lesions": self.has_lesions,
            "near_duplicates": [list(pair) for pair in self.near_duplicates],
            "twins": [list(pair) for pair in self.twins],
            "notes": list(self.notes),
            "official_split": self.official_split,
            "fingerprint": self.fingerprint(),
        }
        write_json(run.table_info, info)

    @classmethod
    def load(cls, run: Run) -> LesionTable:
        """Read what :meth:`save` wrote. Raises DataError where 01_eda has not run."""
        info = json.loads(run.need(run.table_info, "01_eda").read_text())
        text = {column: str for column in COLUMNS if column != "age"}
        frame = pd.read_csv(
            run.need(run.table_file, "01_eda"), dtype=text, keep_default_na=False, na_values={"age": ""}
        )
        frame["age"] = frame["age"].astype(float)
        return cls(
            frame=frame,
            labels=label_set(info["labels"]),
            source=info["source"],
            location=info["location"],
            has_lesions=info["has_lesions"],
            near_duplicates=tuple((a, b) for a, b in info["near_duplicates"]),
            twins=tuple((a, b) for a, b in info.get("twins", ())),
            notes=tuple(info["notes"]),
            official_split=info["official_split"],
        )
