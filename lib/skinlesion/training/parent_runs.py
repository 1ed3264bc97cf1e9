"""Parent runs: finished trainings that another one starts from (``start``) or distils (``teachers``).

One rule: no parent was trained on a lesion that this run evaluates; one of which that cannot be shown is refused.
``start`` may also name a recipe, which :mod:`skinlesion.training.start` trains into ``RUN/start`` first.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from skinlesion.core.config import Config, comma_list
from skinlesion.core.errors import ConfigError
from skinlesion.core.recipes import recipe_names
from skinlesion.core.runs import Run
from skinlesion.data.splits import load_split, split_digest
from skinlesion.training import checkpoint
from skinlesion.training.networks.models import Classifier
from skinlesion.training.trained import facts_of, load_trained

MAKER = "skinlesion train"

TEMPERATURE = 2.0  # softens the predictions of teacher and student alike


def teacher_runs(config: Config) -> list[Run]:
    """The runs that ``config.teachers`` names; none where it is empty. Raises ConfigError for nothing but commas."""
    runs = [Run(place) for place in comma_list(config.teachers)]
    if config.teachers and not runs:
        raise ConfigError(f"teachers={config.teachers!r} names no folder; name trained runs, or leave it empty")
    return runs


def start_run(config: Config, run: Run) -> Run | None:
    """The run that ``run`` starts from: ``RUN/start`` where ``config.start`` names a recipe; None where it is empty."""
    if config.start in recipe_names():
        return Run(run.folder / "start")
    return Run(config.start) if config.start else None


def parent_runs(config: Config, run: Run) -> list[Run]:
    """All runs that a training learns from: its teachers, and the one that it starts from."""
    return [*teacher_runs(config), *filter(None, [start_run(config, run)])]


def parent_key(config: Config, run: Run) -> str:
    """Names the weights of all parent runs, so that a training is not mixed with another that had other ones."""
    return " ".join(facts_of(parent, MAKER)["checkpoint"] for parent in parent_runs(config, run))


def recipe_of(run: Run) -> Config:
    """The recipe of a finished training; the folder's ``config.json`` may be of one that was begun there since."""
    return Config().but(**facts_of(run, MAKER)["config"])


def check_parents(config: Config, run: Run, split: pd.DataFrame | None = None) -> None:
    """Refuse parent runs that were trained on a lesion which this run evaluates, or of which that cannot be known.

    A training of all five folds (``fold`` -1) may use runs of any one fold: it evaluates the test split alone.
    ``split``, that of ``run`` where None, has ``image_id``, ``lesion_id`` and ``split``. Raises ConfigError where a
    parent may not be used, was split again since it was trained, or has other labels than its student; DataError where
    it is not trained yet.
    """
    for parent in parent_runs(config, run):
        if parent.folder == run.folder:
            raise ConfigError(f"{run.folder} cannot be its own start or teacher; choose another folder for the new run")
        own = load_split(run.need(run.split, "02_preprocessing")) if split is None else split
        facts, theirs = facts_of(parent, MAKER), load_split(parent.need(parent.split, MAKER))
        if facts["split"] != split_digest(theirs["split"]):
            raise ConfigError(
                f"{parent.folder} was split again since it was trained; train it again, or take another run"
            )
        if not config.split_file and not theirs["image_id"].isin(own["image_id"]).any():
            raise ConfigError(
                f"{parent.folder} was trained on other data, so it cannot be known whether it was trained on images "
                "that are evaluated here; take a run of the same data, or give a split_file"
            )
        evaluated = own[own["split"] != "train"]  # dropped images are twins of test images
        both = theirs["image_id"].isin(evaluated["image_id"]) | theirs["lesion_id"].isin(evaluated["lesion_id"])
        trained = theirs["group"].isin(theirs["group"][theirs["split"] == "train"])  # near-duplicates count as one
        if known := theirs["group"][both & trained].nunique():
            raise ConfigError(
                f"{parent.folder} was trained on {known:,} of the lesions that this run has for validation or test; "
                "take a run of the same split, or train it again"
            )
    for teacher in teacher_runs(config):
        if (labels := recipe_of(teacher).labels) != config.labels:
            raise ConfigError(f"{teacher.folder} has {labels} labels, the student {config.labels}; take another")


def load_start(model: Classifier, config: Config, start: Run) -> None:
    """Put the best weights of the run ``start`` into ``model``; with other labels, all but the last layer.

    Raises ConfigError where it is another network. Raises DataError or ModelError where it is not trained yet, or its
    weights are damaged.
    """
    parent = recipe_of(start)
    tensors, _ = checkpoint.read(start.folder / facts_of(start, MAKER)["checkpoint"])
    weights = {name: torch.as_tensor(tensor) for name, tensor in tensors.items()}
    if parent.labels != config.labels:
        heads = model.backbone.get_classifier()
        heads = heads if isinstance(heads, tuple) else (heads,)  # distilled transformers have two
        last = {id(parameter) for head in heads for parameter in head.parameters()}
        weights |= {name: own for name, own in model.named_parameters() if id(own) in last}
    try:
        model.load_state_dict(weights)
    except RuntimeError:
        raise ConfigError(
            f"start={config.start!r} is a {parent.model} at {parent.image_size} px, which does not fit the "
            f"{config.model} at {config.image_size} px with the classes here; name a run of the same network and size"
        ) from None


class Teachers(nn.Module):
    """Softened mean probabilities of the ensemble in ``config.teachers``, for the ``prior`` [K] that the student
    learns.

    Raises DataError where a teacher is not trained yet.
    """

    shifts: torch.Tensor

    def __init__(self, config: Config, classes: int, prior: np.ndarray):
        super().__init__()
        self.networks, self.sizes = nn.ModuleList(), []
        shifts = []
        for run in teacher_runs(config):
            own = recipe_of(run)
            trained = load_trained(run, own, classes=classes)
            self.networks.append(trained.model.requires_grad_(False))
            self.sizes.append(own.image_size)
            shifts.append(np.log(np.maximum(prior, 1e-8)) - np.log(np.maximum(trained.prior, 1e-8)))
        self.register_buffer("shifts", torch.tensor(np.array(shifts), dtype=torch.float32))

    @torch.no_grad()  # not inference_mode: the student's loss needs the result in its backward pass
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """float32 [N, 3, S, S] in 0-1 -> probabilities [N, K] at :data:`TEMPERATURE`."""
        outputs = []
        for network, size, shift in zip(self.networks, self.sizes, self.shifts, strict=True):
            view = x if size == x.shape[-1] else F.interpolate(x, (size, size), mode="bilinear", antialias=True)
            outputs.append(torch.softmax((network(view) + shift) / TEMPERATURE, dim=1))
        return sum(outputs[1:], outputs[0]) / len(outputs)
