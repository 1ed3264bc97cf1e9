"""Losses by name, all of soft targets [N, K], so that mixed samples need no second path."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from skinlesion.core.config import Config
from skinlesion.training.balance import class_targets, loss_weights, training_prior

FOCAL_GAMMA = 2.0
LDAM_MARGIN = 2.0  # of the rarest class, in logits
DEFERRED = 0.8  # fraction of the epochs after which LDAM-DRW begins to weight the classes


def make_loss(config: Config, counts: np.ndarray, device: torch.device) -> Callable:
    """The loss that ``config.loss`` names, as a function of (logits [N, K], targets [N, K], fraction of training done).

    ``cross_entropy`` is with label smoothing; ``focal``: Lin et al., ICCV 2017, arXiv:1708.02002, gamma 2.
    ``balanced_softmax`` is the cross-entropy of logits shifted by the log prior, so that the logits themselves fit a
    uniform prior (Ren et al., NeurIPS 2020, arXiv:2007.10740; as logit adjustment: Menon et al., ICLR 2021,
    arXiv:2007.07314). ``ldam_drw`` has margins in proportion to count^(-1/4), and in the last fifth of the training
    class weights that even out what is drawn (Cao et al., NeurIPS 2019, arXiv:1906.07413; here on plain logits, without
    the paper's normalised classifier). Where ``balance`` is ``loss``, every one of them weights the classes.
    ``counts``: int [K], training images per class.
    """
    even = torch.from_numpy(loss_weights(class_targets(counts, config.balance, config.target_count))).to(device)
    weight = even if config.balance == "loss" else None
    smoothing = config.label_smoothing
    if config.loss == "focal":
        return lambda logits, targets, done: _focal(logits, targets, weight)
    if config.loss == "balanced_softmax":
        prior = training_prior(counts, config.balance, config.target_count)
        shift = torch.from_numpy(np.log(np.where(prior > 0, prior, 1.0))).float().to(device)  # 0 without images
        return lambda logits, targets, done: F.cross_entropy(logits + shift, targets, weight, label_smoothing=smoothing)
    if config.loss == "ldam_drw":
        rarest = counts[counts > 0].min()
        margin = torch.from_numpy(LDAM_MARGIN * (rarest / np.maximum(counts, rarest)) ** 0.25).float().to(device)
        return lambda logits, targets, done: F.cross_entropy(
            logits - targets * margin, targets, even if done >= DEFERRED else weight
        )
    return lambda logits, targets, done: F.cross_entropy(logits, targets, weight, label_smoothing=smoothing)


def _focal(logits: torch.Tensor, targets: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
    log_p = F.log_softmax(logits, dim=1)
    terms = -targets * (1 - log_p.exp()) ** FOCAL_GAMMA * log_p
    return (terms if weight is None else terms * weight).sum(1).mean()


def distillation(logits: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """Mean KL divergence from the teacher's softened output, times temperature squared, which keeps gradients' size.

    Hinton, Vinyals, Dean 2015, arXiv:1503.02531. ``teacher`` holds probabilities [N, K], softened already.
    """
    log_p = F.log_softmax(logits / temperature, dim=1)
    return F.kl_div(log_p, teacher, reduction="batchmean") * temperature**2


def learned_prior(config: Config, counts: np.ndarray) -> np.ndarray:
    """Class prior that the trained softmax assumes, float64 [K].

    Uniform over the classes present where the loss removes the prior: in balanced softmax, and in LDAM-DRW, which ends
    on evenly weighted classes and whose paper decides by the plain logits.
    """
    prior = training_prior(counts, config.balance, config.target_count)
    if config.loss in ("balanced_softmax", "ldam_drw"):
        return (prior > 0) / np.count_nonzero(prior)
    return prior
