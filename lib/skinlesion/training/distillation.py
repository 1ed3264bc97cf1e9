"""Distillation: the mean prediction of an ensemble of finished runs for the same augmented images."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from skinlesion.core.config import Config
from skinlesion.training.parent_runs import recipe_of, teacher_runs
from skinlesion.training.trained import load_trained

TEMPERATURE = 2.0  # softens the predictions of teacher and student alike


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
    DataError
        Where a teacher is not trained yet.
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
