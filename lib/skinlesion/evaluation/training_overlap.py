"""Which of the evaluated lesions a model may have been trained on: the same images, other images of them, or twins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from skinlesion.core.errors import ConfigError, DataError
from skinlesion.core.runs import Run
from skinlesion.core.tables import image_name, known, read_table
from skinlesion.evaluation.predictions import Predictions
from skinlesion.evaluation.tables import ID_COLUMNS, column, optional
from skinlesion.evaluation.truth import read_truth

UNKNOWN, LEAK, CLEAN = "unknown", "leak", "clean"
_TRAINED_ON = ("", "train", "training", "validation", "val")  # of the words of a column split


@dataclass(frozen=True, eq=False)
class Overlap:
    """What :func:`find_overlap` finds for one model.

    Attributes
    ----------
    verdict : str
        :data:`UNKNOWN` without a training list; :data:`LEAK`; :data:`CLEAN`, as far as ids and groups can tell.
    leaked : bool [N], evaluated images whose lesion is in training
    same_image, same_lesion, twin : int
        How many of them are in training themselves; have other images of their lesion there; have a twin's there.
    training_images, lesions : int, in the list; and evaluated lesions that leaked
    without_lesion : int, images of the list whose lesion is not known: other images of a lesion may hide among them
    """

    verdict: str
    leaked: np.ndarray
    same_image: int = 0
    same_lesion: int = 0
    twin: int = 0
    training_images: int = 0
    lesions: int = 0
    without_lesion: int = 0

    def to_dict(self) -> dict:
        """For JSON: all but ``leaked``, of which the number of images is given."""
        return {key: value for key, value in vars(self).items() if key != "leaked"} | {"images": int(self.leaked.sum())}

    def in_words(self) -> str:
        """The verdict in a sentence or two."""
        if self.verdict == UNKNOWN:
            return "unknown: no training list was given, so evaluated lesions may have been trained on."
        base = f"{self.training_images:,} training images"
        hidden = (
            f" The lesions of {self.without_lesion:,} training images are not known: more may have leaked."
            if self.without_lesion
            else ""
        )
        if self.verdict == CLEAN:
            return f"clean: no evaluated image, lesion or known twin is among its {base}.{hidden}"
        return (
            f"leak: {self.leaked.sum():,} evaluated images of {self.lesions:,} lesions are not new to it; "
            f"{self.same_image:,} images are among its {base}, {self.same_lesion:,} more have another image of their "
            f"lesion there, {self.twin:,} more a twin.{hidden}"
        )


def read_training(path: str | Path) -> pd.DataFrame:
    """A list of training images: columns ``image_id`` and ``lesion_id`` (``""`` where unknown), str.

    Parameters
    ----------
    path : CSV with image ids, perhaps ``lesion_id``; where it has a column ``split``, the rows for training and for
        validation count, since validation chooses thresholds and epochs

    Raises
    ------
    DataError
        If it cannot be read or has no column of image ids.
    """
    frame = read_table(path)
    try:
        ids, lesions = column(frame, *ID_COLUMNS), optional(frame, "lesion_id")
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    trained = np.isin(np.char.lower(optional(frame, "split").astype(str)), _TRAINED_ON)
    return pd.DataFrame({"image_id": ids[trained], "lesion_id": lesions[trained]}, dtype=str)


def read_groups(path: str | Path) -> dict[str, str]:
    """The twin group of every image, as ``skinlesion data twins`` writes it: columns ``image_id`` and ``group``."""
    frame = read_table(path)
    try:
        ids, groups = column(frame, *ID_COLUMNS), known(pd.Series(column(frame, "group"))).to_numpy(object)
    except DataError as error:
        raise DataError(f"{path}: {error}; `skinlesion data twins` writes it as groups.csv") from None
    return {key(name): group for name, group in zip(ids, groups, strict=True) if group}


def key(name: str) -> str:
    """What an image is called whatever its folder, ending and case."""
    return image_name(name).casefold()


def lesions_of(tables: Iterable[pd.DataFrame]) -> dict[str, str]:
    """The lesion of every image that any of these tables (image_id, lesion_id) knows."""
    found: dict[str, str] = {}
    for table in tables:
        for image, lesion in zip(table["image_id"], table["lesion_id"], strict=True):
            if lesion and lesion != image:
                found.setdefault(key(image), lesion)
    return found


def find_overlap(
    evaluated: Predictions,
    training: pd.DataFrame | None,
    lesion_of: Mapping[str, str] | None = None,
    group_of: Mapping[str, str] | None = None,
) -> Overlap:
    """Compare evaluated images with a training list.

    Parameters
    ----------
    evaluated : Predictions
    training : DataFrame of :func:`read_training`, None where there is no list
    lesion_of, group_of : {:func:`key` of an image: lesion id, or twin group}, of all images of which they are known
    """
    none = np.zeros(len(evaluated), bool)
    if training is None:
        return Overlap(UNKNOWN, none)
    lesion_of, group_of = lesion_of or {}, group_of or {}
    trained = [key(name) for name in training["image_id"]]
    known_lesions = [own or lesion_of.get(name, "") for own, name in zip(training["lesion_id"], trained, strict=True)]
    images, lesions = set(trained), set(known_lesions) - {""}
    groups = {group_of[name] for name in trained if name in group_of}
    names = [key(name) for name in evaluated.image_ids]
    own = [
        {lesion, lesion_of.get(name, "")} - {"", image}
        for lesion, name, image in zip(evaluated.lesions, names, evaluated.image_ids, strict=True)
    ]
    same = np.array([name in images for name in names])
    other = np.array([bool(one & lesions) for one in own]) & ~same
    twin = np.array([group_of.get(name) in groups for name in names]) & ~same & ~other
    touched = set(evaluated.lesions[same | other | twin])  # a lesion leaks with all its images
    leaked = np.array([lesion in touched for lesion in evaluated.lesions])
    return Overlap(
        LEAK if leaked.any() else CLEAN, leaked, int(same.sum()), int((other | (leaked & ~same & ~twin)).sum()),
        int(twin.sum()), len(images), len(touched), sum(not lesion for lesion in known_lesions),
    )  # fmt: skip


def training_lists(places: list[str], given: Iterable[str] = ()) -> list[Path | None]:
    """The training list of every run: what ``RUN=CSV`` texts name, else a run folder's own ``split.csv``, else None.

    Raises
    ------
    ConfigError
        For a text that is not written so, or a RUN that is none of ``places`` (as given, or the last part of its path).
    """
    lists: list[Path | None] = [split if (split := Run(place).split).exists() else None for place in places]
    for text in given:
        name, mark, path = text.rpartition("=")
        fits = [i for i, place in enumerate(places) if name in (place, Path(place).name, Path(place).stem)]
        if not mark or len(fits) != 1:
            raise ConfigError(f"--training {text} must be RUN=CSV with one of the runs: {', '.join(places)}")
        lists[fits[0]] = Path(path).expanduser()
    return lists


def training_overlaps(
    runs: Mapping[str, Predictions],
    lists: list[Path | None],
    labels: str | Path | None = None,
    twins: str | Path | None = None,
) -> dict[str, Overlap]:
    """:func:`find_overlap` of every run; whose images are of one lesion is taken from all lists, runs and ``labels``.

    Parameters
    ----------
    lists : a training list (:func:`read_training`) or None a run, in their order
    labels : CSV with lesion ids, see :func:`skinlesion.evaluation.truth.read_truth`
    twins : CSV, see :func:`read_groups`
    """
    training = [read_training(path) if path else None for path in lists]
    tables = [pd.DataFrame({"image_id": one.image_ids, "lesion_id": one.lesions}) for one in runs.values()]
    tables += [one for one in training if one is not None]
    if labels:
        tables.append(read_truth(labels).reset_index())
    lesion_of, group_of = lesions_of(tables), read_groups(twins) if twins else {}
    return {
        name: find_overlap(one, known_list, lesion_of, group_of)
        for (name, one), known_list in zip(runs.items(), training, strict=True)
    }
