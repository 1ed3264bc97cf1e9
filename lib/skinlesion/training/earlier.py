"""Runs that were trained before, to learn from or to start from, and whether they may be used here."""

from __future__ import annotations

from pathlib import Path

import torch

from skinlesion.config import Config, listed, split_kind
from skinlesion.data import splits
from skinlesion.errors import ConfigError
from skinlesion.runs import Run
from skinlesion.training import checkpoint
from skinlesion.training.models import Classifier
from skinlesion.training.trained import facts_of

MAKER = "skinlesion train"


def teacher_runs(config: Config) -> list[Run]:
    """The runs that ``config.teachers`` names; none where it is empty. Raises ConfigError for nothing but commas."""
    runs = [Run(place) for place in listed(config.teachers)]
    if config.teachers and not runs:
        raise ConfigError(f"teachers={config.teachers!r} names no folder; name trained runs, or leave it empty")
    return runs


def earlier_stamp(config: Config) -> str:
    """Names the weights of all earlier runs, so that a training is not mixed with another that had other ones."""
    runs = teacher_runs(config) + ([Run(config.start)] if config.start else [])
    return " ".join(facts_of(run, MAKER)["checkpoint"] for run in runs)


def recipe_of(run: Run) -> Config:
    """The recipe that a run's weights were trained by.

    The folder's ``config.json`` may be of a training that was begun there since. Runs of older versions have it alone.
    """
    facts = facts_of(run, MAKER)
    return Config().but(**facts["config"]) if "config" in facts else Config.from_file(run.config_file)


def check_split(run: Run, config: Config) -> None:
    """Refuse an earlier run that may have trained on this one's validation or test images.

    A training of all five folds (``fold`` -1) may use runs of any one fold. Where a split file is given, it decides:
    no lesion that it gives to validation or test may have an image that the run was trained on.

    Raises
    ------
    ConfigError
        Where it may have, or where its folder was split anew since it was trained.
    DataError
        Where it is not trained yet.
    """
    facts, earlier = facts_of(run, MAKER), recipe_of(run)
    known = facts.get("split")  # older versions did not say
    if known and run.split.exists() and known != splits.digest(splits.load_split(run.split)["split"]):
        raise ConfigError(f"{run.folder} was split anew since it was trained; train it again, or take another run")
    if config.split_file and Path(config.split_file).exists() and run.split.exists():
        known = _known_lesions(run, config.split_file)
        if known:
            raise ConfigError(
                f"{run.folder} was trained on {known:,} of the lesions that {config.split_file} gives to validation or "
                "test; take a run of the same split, or train it anew"
            )
        return
    names: tuple[str, ...] = ("labels", "split_file")
    if not config.split_file:
        names += ("data", "seed", "max_images", "exclude_official_test")
    if not config.split_file and config.fold != -1:
        names += ("fold",)
    other = [name for name in names if _settled(earlier, name) != _settled(config, name)]
    if other:
        raise ConfigError(
            f"{run.folder} was trained on another split: "
            + ", ".join(f"{name}={getattr(earlier, name)!r}, here {getattr(config, name)!r}" for name in other)
            + "; make them agree, or train it anew"
        )


def _known_lesions(run: Run, split_file: str) -> int:
    """How many lesions (near-duplicates as one) the run was trained on that the file gives to validation or test."""
    theirs, ours = splits.load_split(run.split), splits.read_parts(split_file)
    judged = theirs["group"][theirs["image_id"].isin(ours.index[ours != "train"])]
    return judged[judged.isin(theirs["group"][theirs["split"] == "train"])].nunique()


def _settled(config: Config, name: str) -> object:
    """A value to compare: places in full, since one folder goes by many names."""
    value = getattr(config, name)
    return split_kind(value)[1].resolve() if name in ("data", "split_file") else value


def load_start(model: Classifier, config: Config) -> None:
    """Put the best weights of the run ``config.start`` into ``model``; with other labels, all but the last layer.

    Raises
    ------
    ConfigError
        Where it was trained on another split, or is another network.
    DataError
        Where it is not trained yet.
    """
    run = Run(config.start)
    check_split(run, config)
    earlier = recipe_of(run)
    tensors, _ = checkpoint.read(run.folder / facts_of(run, MAKER)["checkpoint"])
    weights = {name: torch.as_tensor(tensor) for name, tensor in tensors.items()}
    if earlier.labels != config.labels:
        last = set(map(id, model.backbone.get_classifier().parameters()))
        weights |= {name: own for name, own in model.named_parameters() if id(own) in last}
    try:
        model.load_state_dict(weights)
    except RuntimeError:
        raise ConfigError(
            f"start={config.start!r} is a {earlier.model} at {earlier.image_size} px, which does not fit the "
            f"{config.model} at {config.image_size} px with the classes here; name a run of the same network"
        ) from None
