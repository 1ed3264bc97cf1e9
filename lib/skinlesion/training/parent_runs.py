"""Runs that were trained before, to learn from or to start from, and whether they may be used here."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pandas as pd
import torch

from skinlesion.core.config import Config, listed, split_kind
from skinlesion.core.errors import ConfigError
from skinlesion.core.runs import Run
from skinlesion.data import splits
from skinlesion.training import checkpoint
from skinlesion.training.networks.models import Classifier
from skinlesion.training.trained import facts_of

MAKER = "skinlesion train"


def teacher_runs(config: Config) -> list[Run]:
    """The runs that ``config.teachers`` names; none where it is empty. Raises ConfigError for nothing but commas."""
    runs = [Run(place) for place in listed(config.teachers)]
    if config.teachers and not runs:
        raise ConfigError(f"teachers={config.teachers!r} names no folder; name trained runs, or leave it empty")
    return runs


def earlier_runs(config: Config) -> list[Run]:
    """All runs that a training learns from: its teachers, and the one that it starts from."""
    return teacher_runs(config) + ([Run(config.start)] if config.start else [])


def earlier_stamp(config: Config) -> str:
    """Names the weights of all earlier runs, so that a training is not mixed with another that had other ones."""
    return " ".join(facts_of(run, MAKER)["checkpoint"] for run in earlier_runs(config))


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
        _refuse_known(run, splits.read_parts(config.split_file), config.split_file)
        return
    names: tuple[str, ...] = ("labels", "split_file")
    if not config.split_file:
        names += ("data", "seed", "max_images", "exclude_official_test", "label_words")
    if not config.split_file and config.fold != -1:
        names += ("fold",)
    other = [name for name in names if _settled(earlier, name) != _settled(config, name)]
    if other:
        raise ConfigError(
            f"{run.folder} was trained on another split: "
            + ", ".join(f"{name}={getattr(earlier, name)!r}, here {getattr(config, name)!r}" for name in other)
            + "; make them agree, or train it anew"
        )


def check_lesions(config: Config, run: Run, split: pd.DataFrame) -> None:
    """Refuse earlier runs that were trained on a lesion which ``run``'s split gives to validation or test.

    :func:`check_split` compares recipes, which agree where a data set has grown since at the same place; this compares
    the splits themselves.

    Parameters
    ----------
    config : Config
    run : Run
        The one that is to be trained: it cannot be its own start or teacher.
    split : DataFrame
        Its ``image_id``, ``lesion_id`` and ``split``.

    Raises
    ------
    ConfigError
    """
    for earlier in earlier_runs(config):
        if earlier.folder == run.folder:
            raise ConfigError(f"{run.folder} cannot be its own start or teacher; choose another folder for the new run")
        if earlier.split.exists():
            judged = split[split["split"] != "train"]
            _refuse_known(earlier, split.set_index("image_id")["split"], str(run.split), set(judged["lesion_id"]))


def _refuse_known(run: Run, parts: pd.Series, source: str, lesions: Collection[str] = ()) -> None:
    """Refuse a run that was trained on lesions (near-duplicates as one) of what ``source`` gives to be judged.

    ``parts`` says of each image id where it belongs, ``lesions`` which ones are judged, where that is known.
    """
    theirs = splits.load_split(run.split)
    judged = theirs["image_id"].isin(parts.index[parts != "train"]) | theirs["lesion_id"].isin(lesions)
    trained = theirs["group"].isin(theirs["group"][theirs["split"] == "train"])
    if known := theirs["group"][judged & trained].nunique():
        raise ConfigError(
            f"{run.folder} was trained on {known:,} of the lesions that {source} gives to validation or test; take a "
            "run of the same split, or train it anew"
        )


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
        heads = model.backbone.get_classifier()
        heads = heads if isinstance(heads, tuple) else (heads,)  # distilled transformers have two
        last = {id(parameter) for head in heads for parameter in head.parameters()}
        weights |= {name: own for name, own in model.named_parameters() if id(own) in last}
    try:
        model.load_state_dict(weights)
    except RuntimeError:
        raise ConfigError(
            f"start={config.start!r} is a {earlier.model} at {earlier.image_size} px, which does not fit the "
            f"{config.model} at {config.image_size} px with the classes here; name a run of the same network and size"
        ) from None
