"""Networks that teach another: an ensemble of finished runs answers the same augmented images."""

from __future__ import annotations

import json

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from skinlesion.config import Config, split_kind
from skinlesion.errors import ConfigError
from skinlesion.runs import Run
from skinlesion.training.trained import load_trained

TEMPERATURE = 2.0  # softens the answers of teacher and student alike


def teacher_runs(config: Config) -> list[Run]:
    """The runs that ``config.teachers`` names; none where it is empty."""
    runs = [Run(name.strip()) for name in config.teachers.split(",") if name.strip()]
    if config.teachers and not runs:
        raise ConfigError(f"teachers={config.teachers!r} names no folder; name trained runs, or leave it empty")
    return runs


def teachers_stamp(config: Config) -> str:
    """Names the teachers' weights, so that a training is not mixed with another that had other teachers."""
    return " ".join(json.loads(run.need(run.training, "skinlesion train").read_text())["checkpoint"]
                    for run in teacher_runs(config))  # fmt: skip


def _check_split(run: Run, teacher: Config, student: Config) -> None:
    """Refuse a teacher that may have trained on the student's validation or test images."""
    names = ("labels", "split_file")  # a split file decides alone
    if not student.split_file:
        names += ("data", "seed", "max_images", "exclude_official_test")
    if not student.split_file and student.fold != -1:  # -1 trains on all five folds, whichever a teacher left out
        names += ("fold",)
    other = [name for name in names if _settled(teacher, name) != _settled(student, name)]
    if other:
        raise ConfigError(
            f"the teacher {run.folder} was trained on another split: "
            + ", ".join(f"{name}={getattr(teacher, name)!r}, here {getattr(student, name)!r}" for name in other)
            + "; make them agree, or train the teacher anew"
        )


def _settled(config: Config, name: str) -> object:
    """A value to compare: places in full, since one folder goes by many names."""
    value = getattr(config, name)
    return split_kind(value)[1].resolve() if name in ("data", "split_file") else value


class Teachers(nn.Module):
    """Softened mean probabilities of an ensemble, for the class prior that the student learns.

    Parameters
    ----------
    config : Config
        The student's; ``teachers`` names the runs.
    classes : int
    prior : float [K]
        The student's learned prior.

    Raises
    ------
    ConfigError
        Where a teacher was trained on another split: it may have seen the student's validation or test images. A
        student of all five folds (``fold`` -1) may have teachers of any one.
    DataError
        Where a teacher is not trained yet.
    """

    def __init__(self, config: Config, classes: int, prior: np.ndarray):
        super().__init__()
        self.networks, self.sizes = nn.ModuleList(), []
        shifts = []
        for run in teacher_runs(config):
            own = Config.from_file(run.config_file)
            _check_split(run, own, config)
            trained = load_trained(run, own, classes=classes)
            self.networks.append(trained.model.requires_grad_(False))
            self.sizes.append(own.image_size)
            shifts.append(np.log(np.maximum(prior, 1e-8)) - np.log(np.maximum(trained.prior, 1e-8)))
        self.register_buffer("shifts", torch.tensor(np.array(shifts), dtype=torch.float32))

    @torch.no_grad()  # not inference_mode: the student's loss keeps the answer for its backward pass
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """float32 [N, 3, S, S] in 0-1 -> probabilities [N, K] at :data:`TEMPERATURE`."""
        total = 0.0
        for network, size, shift in zip(self.networks, self.sizes, self.shifts, strict=True):
            view = x if size == x.shape[-1] else F.interpolate(x, (size, size), mode="bilinear", antialias=True)
            total = total + torch.softmax((network(view) + shift) / TEMPERATURE, dim=1)
        return total / len(self.networks)
