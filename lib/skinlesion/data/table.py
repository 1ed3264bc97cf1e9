"""The table that every data source ends in: one row per image."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace

import pandas as pd

from skinlesion.core.errors import DataError
from skinlesion.core.runs import Run
from skinlesion.core.taxonomy import KIND_SEPARATOR, LabelSet, label_set
from skinlesion.core.writing import write_csv, write_json

COLUMNS = ("image_id", "lesion_id", "source", "label", "age", "sex", "site", "dx_type", "path")
OPTIONAL = ("skin_tone",)  # columns of sources that have them
PROBLEM_COLUMNS = ("image_id", "problem", "detail", "source")


def no_problems() -> pd.DataFrame:
    return pd.DataFrame(columns=list(PROBLEM_COLUMNS), dtype=str)


@dataclass(frozen=True)
class Origin:
    """Where the rows of one source are from."""

    kind: str  # one of :data:`skinlesion.data.sources.KINDS`, or ``demo``
    location: str  # where it was read from
    has_lesions: bool = True  # whether lesion ids are real; else they repeat image ids, and no split can promise much


@dataclass(frozen=True)
class LesionTable:
    """One row per image, whatever it was read from.

    Attributes
    ----------
    frame : DataFrame with the columns :data:`COLUMNS`
        ``source`` is a key of ``origins``; ``label`` is a code of ``labels``; ``age`` is in years, NaN where unknown;
        ``sex``, ``site`` and ``dx_type`` (:data:`skinlesion.data.class_maps.CONFIRMED_BY`) are words, ``"unknown"``
        where missing; ``path`` is what :func:`skinlesion.core.images.read_image` takes. Perhaps ``skin_tone`` as a
        source's raters saw it, ``"0"`` (very dark) to ``"5"`` (very light), ``""`` where unknown.
    labels : LabelSet
    origins : dict name -> Origin
        Of every source, in the order in which they were given.
    near_duplicates : tuple of (image_id, image_id)
        Pairs that show the same lesion under two lesion ids, as the source lists them or its files prove.
    twins : tuple of (image_id, image_id)
        Further pairs of one lesion, found by what they show (:mod:`skinlesion.data.twins`).
    notes : tuple of str
        What every report on this data has to say.
    problems : DataFrame with the columns :data:`PROBLEM_COLUMNS`
        Rows that were set aside and files that were left out, and why.
    passed_over : dict kind -> count
        Files beside the images that are none: masks, thumbnails, identical copies, other files by their ending.
    official_split : dict image_id -> split
        The source's own split, where it has one.
    """

    frame: pd.DataFrame
    labels: LabelSet
    origins: dict[str, Origin]
    near_duplicates: tuple[tuple[str, str], ...] = ()
    twins: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    problems: pd.DataFrame = field(default_factory=no_problems)
    official_split: dict[str, str] = field(default_factory=dict)
    passed_over: dict[str, int] = field(default_factory=dict)

    def __post_init__(self):
        if len(self.origins) == 1:  # whose name every row has
            (name,) = self.origins
            for part in ("frame", "problems"):
                if "source" not in getattr(self, part):
                    object.__setattr__(self, part, getattr(self, part).assign(source=name))
        missing = [column for column in COLUMNS if column not in self.frame.columns]
        if missing:
            raise DataError(f"the table lacks the columns {', '.join(missing)}")

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def source(self) -> str:
        """The kinds of all sources, with :data:`KIND_SEPARATOR` between them."""
        return KIND_SEPARATOR.join(dict.fromkeys(origin.kind for origin in self.origins.values()))

    @property
    def location(self) -> str:
        """Where it was read from, all places likewise."""
        return KIND_SEPARATOR.join(origin.location for origin in self.origins.values())

    @property
    def has_lesions(self) -> bool:
        """Whether some source has real lesion ids."""
        return any(origin.has_lesions for origin in self.origins.values())

    @property
    def synthetic(self) -> bool:
        """Whether images are drawn by a program: all of them, or those of one of several sources."""
        return any(origin.kind == "demo" for origin in self.origins.values())

    @property
    def targets(self):
        """Class index of every row, int64 [N]."""
        return self.frame["label"].map({code: i for i, code in enumerate(self.labels.codes)}).to_numpy("int64")

    def counts(self) -> pd.Series:
        """Images a class, in the label set's order."""
        return self.frame["label"].value_counts().reindex(list(self.labels.codes), fill_value=0)

    def counts_by_source(self) -> pd.DataFrame:
        """Images of each class (rows) and source (columns), in the label set's and in the given order."""
        counts = pd.crosstab(self.frame["label"], self.frame["source"])
        return counts.reindex(index=list(self.labels.codes), columns=list(self.origins), fill_value=0)

    def keep(self, mask) -> LesionTable:
        """The rows where ``mask`` (bool [N]) holds."""
        return replace(self, frame=self.frame[mask].reset_index(drop=True))

    def of_source(self, name: str) -> LesionTable:
        """The rows of one source, as a table of their own."""
        rows = self.keep(self.frame["source"] == name)
        return replace(
            rows,
            origins={name: self.origins[name]},
            official_split={image: self.official_split[image] for image in rows.frame["image_id"]
                            if image in self.official_split},
            problems=self.problems[self.problems["source"] == name].reset_index(drop=True),
        )  # fmt: skip

    def rename(self, name: str) -> LesionTable:
        """A table of one source under another name of it."""
        (origin,) = self.origins.values()
        frame, problems = self.frame.assign(source=name), self.problems.assign(source=name)
        return replace(self, origins={name: origin}, frame=frame, problems=problems)

    def set_aside(self, mask: pd.Series, problem: str | pd.Series, detail: str | pd.Series) -> LesionTable:
        """Take out the rows where ``mask`` (bool [N]) holds, and list them in ``problems``.

        ``problem`` and ``detail`` are one text for all of them, or one per row.
        """
        if not mask.any():
            return self
        rows = self.frame[mask]
        gone = rows[["image_id", "source"]].assign(problem=problem, detail=detail)
        return replace(self.keep(~mask), problems=pd.concat([self.problems, gone], ignore_index=True))

    def fingerprint(self) -> str:
        """SHA-256 over what training uses (no paths, no :data:`OPTIONAL`, no name of a source that is the only one)."""
        unsaid = ["path", *OPTIONAL] if len(self.origins) > 1 else ["path", *OPTIONAL, "source"]
        rows = self.frame.drop(columns=unsaid, errors="ignore").sort_values("image_id").to_csv(index=False)
        return hashlib.sha256(rows.encode()).hexdigest()

    def facts(self) -> dict:
        """What a model's manifest says about the data it was made from."""
        return {
            "source": self.source,
            "synthetic": self.synthetic,
            "fingerprint": self.fingerprint(),
            "images": len(self),
            "lesions": int(self.frame["lesion_id"].nunique()),
            "sources": {
                name: {"kind": self.origins[name].kind, "images": len(rows), "lesions": int(rows.nunique())}
                for name, rows in self.frame.groupby("source", sort=False)["lesion_id"]
            },
        }

    def save(self, run: Run) -> None:
        """Write ``table.csv`` and ``table.json`` into the run's folder; problems are the data check's to write."""
        write_csv(run.table_file, self.frame)
        info = {
            "labels": list(self.labels.codes),
            "source": self.source,
            "location": self.location,
            "origins": {name: asdict(origin) for name, origin in self.origins.items()},
            "counts": {name: column.to_dict() for name, column in self.counts_by_source().items()},
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
        """Read what :meth:`save` wrote. Raises DataError where 01_eda has to run, or to run again."""
        path, rows = run.need(run.table_info, "01_eda"), run.need(run.table_file, "01_eda")
        text = {column: str for column in (*COLUMNS, *OPTIONAL) if column != "age"}
        try:
            info = json.loads(path.read_text())
            frame = pd.read_csv(rows, dtype=text, keep_default_na=False, na_values={"age": ""})
            return cls(
                frame=frame.astype({"age": float}),
                labels=label_set(info["labels"]),
                origins={name: Origin(**origin) for name, origin in info["origins"].items()},
                near_duplicates=tuple((a, b) for a, b in info["near_duplicates"]),
                twins=tuple((a, b) for a, b in info["twins"]),
                notes=tuple(info["notes"]),
                official_split=info["official_split"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path} or {rows.name} is damaged, or another version wrote it ({error!r}); run 01_eda again"
            ) from None
