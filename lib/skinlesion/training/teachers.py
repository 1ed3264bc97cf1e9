"""Networks that teach another: an ensemble of finished runs answers the same augmented images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from skinlesion.config import Config
from skinlesion.errors import ConfigError
from skinlesion.runs import Run
from skinlesion.training.trained import load_trained

TEMPERATURE = 2.0  # softens the answers of teacher and student alike


def teacher_runs(config: Config) -> list[Run]:
    return [Run(Path(name.strip())) for name in config.teachers.split(",") if name.strip()]


def teachers_stamp(config: Config) -> str:
    """Names the teachers' weights, so that a training is not mixed with another that had other teachers."""
    return " ".join(json.loads(run.need(run.training, "skinlesion train").read_text())["checkpoint"]
                    for run in teacher_runs(config))  # fmt: skip


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
        Where a teacher was trained on another split: it may have seen the student's validation images.
    """

    def __init__(self, config: Config, classes: int, prior: np.ndarray):
        super().__init__()
        self.networks, self.sizes = nn.ModuleList(), []
        shifts = []
        for run in teacher_runs(config):
            own = Config.from_file(run.config_file)
            same = ("seed", "fold", "labels", "max_images", "split_file", "exclude_official_test")
            if any(getattr(own, name) != getattr(config, name) for name in same):
                raise ConfigError(
                    f"the teacher {run.folder} was trained on another split; teacher and student must agree in "
                    + ", ".join(same)
                )
            trained = load_trained(run, own, classes=classes)
            self.networks.append(trained.model.requires_grad_(False))
            self.sizes.append(own.image_size)
            shifts.append(np.log(np.maximum(prior, 1e-8)) - np.log(np.maximum(trained.prior, 1e-8)))
        self.register_buffer("shifts", torch.tensor(np.array(shifts), dtype=torch.float32))

    @torch.inference_mode()
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """float32 [N, 3, S, S] in 0-1 -> probabilities [N, K] at :data:`TEMPERATURE`."""
        total = 0.0
        for network, size, shift in zip(self.networks, self.sizes, self.shifts, strict=True):
            view = x if size == x.shape[-1] else F.interpolate(x, (size, size), mode="bilinear", antialias=True)
            total = total + torch.softmax((network(view) + shift) / TEMPERATURE, dim=1)
        return (total / len(self.networks)).clone()
