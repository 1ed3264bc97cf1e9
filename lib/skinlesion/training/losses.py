"""Losses by name, all of soft targets [N, K], so that mixed samples need no second path."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from skinlesion.config import Config
from skinlesion.training.balance import loss_weights, training_prior

FOCAL_GAMMA = 2.0
LDAM_MARGIN = 2.0  # of the rarest class, in logits
DEFERRED = 0.8  # fraction of the epochs after which LDAM-DRW begins to weight the classes


def make_loss(config: Config, counts: np.ndarray, device: torch.device) -> Callable:
    """The loss that ``config.loss`` names, as a function of (logits [N, K], targets [N, K], fraction of training done).

    ``cross_entropy``
        With label smoothing; weighted where ``balance`` is ``loss``.
    ``focal``
        Lin et al., ICCV 2017, arXiv:1708.02002, gamma 2.
    ``balanced_softmax``
        Cross-entropy of logits shifted by the log prior, so that the network itself learns scores for a uniform prior.
        Ren et al., NeurIPS 2020, arXiv:2007.10740; as logit adjustment: Menon et al., ICLR 2021, arXiv:2007.07314.
    ``ldam_drw``
        Margins in proportion to count^(-1/4), and class weights in the last fifth of the training. Cao et al., NeurIPS
        2019, arXiv:1906.07413; here on plain logits, without the paper's normalised classifier.

    Parameters
    ----------
    config : Config
    counts : int [K]
        Training images a class.
    device : torch.device
    """
    weights = torch.from_numpy(loss_weights(counts)).to(device)
    smoothing = config.label_smoothing
    if config.loss == "focal":
        return lambda logits, targets, done: _focal(logits, targets)
    if config.loss == "balanced_softmax":
        shift = _log_prior(config, counts).to(device)
        return lambda logits, targets, done: F.cross_entropy(logits + shift, targets, label_smoothing=smoothing)
    if config.loss == "ldam_drw":
        margin = torch.from_numpy(np.maximum(counts, 1.0) ** -0.25).float().to(device)
        margin = margin / margin.max() * LDAM_MARGIN
        return lambda logits, targets, done: F.cross_entropy(
            logits - targets * margin, targets, weight=weights if done >= DEFERRED else None
        )
    weight = weights if config.balance == "loss" else None
    return lambda logits, targets, done: F.cross_entropy(logits, targets, weight=weight, label_smoothing=smoothing)


def _log_prior(config: Config, counts: np.ndarray) -> torch.Tensor:
    prior = training_prior(counts, config.balance, config.target_count)
    return torch.from_numpy(np.log(np.maximum(prior, 1e-8))).float()


def _focal(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    log_p = F.log_softmax(logits, dim=1)
    return -(targets * (1 - log_p.exp()) ** FOCAL_GAMMA * log_p).sum(1).mean()


def distillation(logits: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """Mean KL divergence from the teacher's softened answer, times temperature squared to keep the gradients' size.

    Hinton, Vinyals, Dean 2015, arXiv:1503.02531. ``teacher`` holds probabilities [N, K], softened already.
    """
    log_p = F.log_softmax(logits / temperature, dim=1)
    return F.kl_div(log_p, teacher, reduction="batchmean") * temperature**2


def learned_prior(config: Config, counts: np.ndarray) -> np.ndarray:
    """Class prior that the trained softmax answers for, float64 [K]: uniform where the loss removes it."""
    prior = training_prior(counts, config.balance, config.target_count)
    if config.loss == "balanced_softmax":
        return (prior > 0) / np.count_nonzero(prior)
    return prior
