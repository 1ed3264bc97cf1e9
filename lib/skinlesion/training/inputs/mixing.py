"""Mixup and CutMix on batched tensors, with a mixing weight for each pair of samples."""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import betaincinv

from skinlesion.core.config import Config
from skinlesion.core.random_streams import uniform

ALPHA = {"mixup": 0.2, "cutmix": 1.0}  # a pair's mixing weight is drawn from Beta(alpha, alpha)


def mix(
    x: torch.Tensor, targets: torch.Tensor, config: Config, epoch: int, index: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mix the first sample of a batch with the last, the second with the last but one, and so on.

    Mixup: Zhang et al., ICLR 2018, arXiv:1710.09412. CutMix: Yun et al., ICCV 2019, arXiv:1905.04899.

    Parameters
    ----------
    x : float32 [N, 3, S, S]
    targets : float32 [N, K]
    config : Config
        ``mix`` is none, mixup, cutmix, or both: mixup or CutMix with equal probability for each sample.
    epoch : int
    index : int [N]
        Each sample's position in the epoch.

    Returns
    -------
    tuple of float32 [N, 3, S, S] and float32 [N, K]
    """
    if config.mix == "none":
        return x, targets
    chance = uniform(config.seed, epoch, index, 4, stream="mix")
    cut = np.full(len(x), config.mix == "cutmix") if config.mix != "both" else chance[:, 3] < 0.5
    alpha = np.where(cut, ALPHA["cutmix"], ALPHA["mixup"])
    share = betaincinv(alpha, alpha, chance[:, 0].astype(np.float64)).astype(np.float32)  # inverse of the Beta's CDF
    box = _boxes(share, chance[:, 1], chance[:, 2], x.shape[-1])
    keep = np.where(cut[:, None, None], 1 - box, share[:, None, None]).astype(np.float32)
    weight = torch.from_numpy(keep.mean((1, 2))).to(x.device)[:, None]
    shares = torch.from_numpy(keep).to(x.device)[:, None]
    return torch.lerp(x.flip(0), x, shares), torch.lerp(targets.flip(0), targets, weight)


def _boxes(share: np.ndarray, u: np.ndarray, v: np.ndarray, side: int) -> np.ndarray:
    """Squares of area ``1 - share``, clipped at the border: float32 [N, side, side], 1 inside."""
    half = np.sqrt(1 - share) * side / 2
    line = np.arange(side) + 0.5
    rows = np.abs(line[None] - (v * side)[:, None]) < half[:, None]
    columns = np.abs(line[None] - (u * side)[:, None]) < half[:, None]
    return (rows[:, :, None] & columns[:, None, :]).astype(np.float32)
