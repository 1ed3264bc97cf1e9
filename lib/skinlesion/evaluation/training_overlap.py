"""Which of the evaluated lesions a model may have been trained on: the same images, other images of them, or twins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from skinlesion.core.errors import ConfigError, DataError
from skinlesion.core.runs import Run
from skinlesion.core.tables import counted, id_key, known, match_ids, some, split_words
from skinlesion.evaluation.predictions import Predictions
from skinlesion.evaluation.truth import column, id_column, optional, read_named, read_truth

UNKNOWN, LEAK, CLEAN = "unknown", "leak", "clean"
_TRAINED_ON = ("", "train", "validation")  # of :func:`skinlesion.core.tables.split_words`


@dataclass(frozen=True, eq=False)
class Overlap:
    """What :func:`find_overlap` finds for one model."""

    #: :data:`UNKNOWN` without a training list; :data:`LEAK`; :data:`CLEAN`, as far as ids and groups can tell
    verdict: str
    leaked: np.ndarray  # bool [N], evaluated images whose lesion is in training
    #: How many of them are in training themselves; have other images of their lesion there; have a twin's there
    same_image: int = 0
    same_lesion: int = 0
    twin: int = 0
    training_images: int = 0  # in the list; and evaluated lesions that leaked
    lesions: int = 0
    #: images of the list whose lesion is not known: other images of a lesion may hide among them
    without_lesion: int = 0

    def to_dict(self) -> dict:
        """For JSON: all but ``leaked``, of which the number of images is given."""
        return {key: value for key, value in vars(self).items() if key != "leaked"} | {"images": int(self.leaked.sum())}

    def in_words(self) -> str:
        """The verdict in a sentence or two."""
        if self.verdict == UNKNOWN:
            return "unknown: no training list was given, so evaluated lesions may have been trained on."
        base = counted(self.training_images, "training image")
        hidden = (
            f" The lesion of {counted(self.without_lesion, 'training image')} is not known: more may have leaked."
            if self.without_lesion
            else ""
        )
        if self.verdict == CLEAN:
            return f"clean: no evaluated image, lesion or known twin is among its {base}.{hidden}"
        return (
            f"leak: {counted(int(self.leaked.sum()), 'evaluated image')} of {counted(self.lesions, 'lesion')} used "
            f"in training: {self.same_image:,} among its {base}, {self.same_lesion:,} more by another image of "
            f"their lesion, {self.twin:,} more by a twin.{hidden}"
        )


def read_training(path: str | Path) -> pd.DataFrame:
    """A list of training images: columns ``image_id`` and ``lesion_id`` (``""`` where unknown), str.

    Raises DataError if it cannot be read, has no column of image ids or no training image, or a split is unknown.
    ``path``: CSV with image ids, perhaps ``lesion_id``; where it has a column ``split``, the rows for training and for
    validation count, since validation chooses thresholds and epochs.
    """
    frame = read_named(path)
    try:
        ids, lesions = id_column(frame), optional(frame, "lesion_id")
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    split = split_words(pd.Series(optional(frame, "split"), dtype=str), ids, path)
    trained = np.isin(split.astype(str), _TRAINED_ON)
    if not trained.any():
        raise DataError(f"{path} lists no training image; is it the right file?")
    found = pd.DataFrame({"image_id": ids[trained], "lesion_id": lesions[trained]}, dtype=str)
    return found.drop_duplicates("image_id", ignore_index=True)


def read_groups(path: str | Path) -> pd.Series:
    """The twin group of every image, str by image id, as ``skinlesion data twins`` writes it.

    Raises DataError if it cannot be read, lacks ``image_id`` or ``group``, or has an image in two groups.
    """
    frame = read_named(path)
    try:
        ids, groups = id_column(frame), known(pd.Series(column(frame, "group"))).to_numpy(object)
    except DataError as error:
        raise DataError(f"{path}: {error}; `skinlesion data twins` writes it as groups.csv") from None
    found = pd.DataFrame({"image": ids, "group": groups}, dtype=object).drop_duplicates().set_index("image")["group"]
    if len(twice := found.index[found.index.duplicated()]):
        raise DataError(f"{path} has {some(twice)} in two groups; give the images ids of their own")
    return found


def lesions_of(table: pd.DataFrame) -> pd.Series:
    """The lesion of every image of a table (``image_id``, ``lesion_id``) that is more than the name of the image."""
    named = table[(table["lesion_id"] != "") & (table["lesion_id"] != table["image_id"])]
    return named.drop_duplicates("image_id").set_index("image_id")["lesion_id"]


def _looked_up(tables: Iterable[pd.Series], names: np.ndarray) -> np.ndarray:
    """The value of each image in the first of the tables (str by image id) that has it, object [N]; else ``""``."""
    found = np.full(len(names), "", object)
    for table in tables:
        place = match_ids(names, table.index)
        new = (place >= 0) & (found == "")
        found[new] = table.to_numpy(object)[place[new]]
    return found


def find_overlap(
    evaluated: Predictions,
    training: pd.DataFrame | None,
    lesions: Sequence[pd.Series] = (),
    groups: pd.Series | None = None,
) -> Overlap:
    """Compare evaluated images with a training list; :func:`skinlesion.core.tables.match_ids` says who is who.

    Raises DataError where an id could be several of the others.
    ``training``: DataFrame of :func:`read_training`, None where there is no list; ``lesions``: tables of
    :func:`lesions_of`; ``groups``: see :func:`read_groups`.
    """
    if training is None:
        return Overlap(UNKNOWN, np.zeros(len(evaluated), bool))
    images, trained_images = evaluated.image_ids, training["image_id"].to_numpy(object)
    trained_lesions = training["lesion_id"].to_numpy(object)
    trained_lesions = np.where(trained_lesions == "", _looked_up(lesions, trained_images), trained_lesions)
    same_image = match_ids(images, trained_images) >= 0

    known_lesions = set(map(id_key, trained_lesions))
    same_lesion = np.zeros(len(images), bool)
    for row, names in enumerate(zip(evaluated.lesions, _looked_up(lesions, images), strict=True)):
        same_lesion[row] = not known_lesions.isdisjoint(map(id_key, set(names) - {"", images[row]}))
    same_lesion &= ~same_image

    twins = () if groups is None else (groups,)
    trained_groups = set(_looked_up(twins, trained_images)) - {""}
    twin = np.array([group in trained_groups for group in _looked_up(twins, images)]) & ~same_image & ~same_lesion

    leaked_lesions = set(evaluated.lesions[same_image | same_lesion | twin])  # a lesion leaks with all its images
    leaked = np.array([lesion in leaked_lesions for lesion in evaluated.lesions])
    return Overlap(
        verdict=LEAK if leaked.any() else CLEAN,
        leaked=leaked,
        same_image=int(same_image.sum()),
        same_lesion=int((same_lesion | (leaked & ~same_image & ~twin)).sum()),
        twin=int(twin.sum()),
        training_images=len(trained_images),
        lesions=len(leaked_lesions),
        without_lesion=int((trained_lesions == "").sum()),
    )


def training_lists(places: list[str], given: Iterable[str] = ()) -> list[Path | None]:
    """The training list of every run: what ``RUN=CSV`` texts name, else its folder's own ``split.csv``, else None.

    A run is given as its folder or as the ``predictions.csv`` in it. Raises ConfigError for a text that is not written
    so, a RUN that is none of ``places`` (as given, or the last part of its path), or two lists for one.
    """
    lists: list[Path | None] = []
    names = []  # by which each run may be called
    for place in places:
        path = Path(place).expanduser()
        folder = path.parent if path.name == Run(path.parent).predictions.name else path
        split = Run(folder).split
        lists.append(split if split.exists() else None)
        names.append({place, path.name, path.stem, folder.name})
    named: set[int] = set()
    for text in given:
        name, mark, csv = text.rpartition("=")
        runs = [number for number, known_as in enumerate(names) if name in known_as]
        if not mark or len(runs) != 1:
            raise ConfigError(f"--training {text} must be RUN=CSV with one of the runs: {', '.join(places)}")
        if runs[0] in named:
            raise ConfigError(f"--training {text} is a second list for {name}; put all its images into one CSV")
        named.add(runs[0])
        lists[runs[0]] = Path(csv).expanduser()
    return lists


def training_overlaps(
    runs: Mapping[str, Predictions],
    lists: list[Path | None],
    labels: str | Path | None = None,
    twins: str | Path | None = None,
) -> dict[str, Overlap]:
    """:func:`find_overlap` of every run; which images are of one lesion is taken from all lists, runs and ``labels``.

    ``lists``: a training list (:func:`read_training`) or None a run, in their order; ``labels``: CSV with lesion ids,
    see :func:`skinlesion.evaluation.truth.read_truth`; ``twins``: CSV, see :func:`read_groups`.
    """
    training = [read_training(path) if path else None for path in lists]
    tables = [pd.DataFrame({"image_id": one.image_ids, "lesion_id": one.lesions}) for one in runs.values()]
    tables += [one for one in training if one is not None]
    if labels:
        tables.append(read_truth(labels).reset_index())
    lesions, groups = [lesions_of(table) for table in tables], read_groups(twins) if twins else None
    return {
        name: find_overlap(one, known_list, lesions, groups)
        for (name, one), known_list in zip(runs.items(), training, strict=True)
    }
