"""Augmentation on batched tensors: one affine resampling a batch, with other parameters for each sample; mixing."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import betaincinv

from skinlesion.core.colour import BORDER, GAIN
from skinlesion.core.config import Config
from skinlesion.core.random_streams import uniform
from skinlesion.training.inputs import degrade

DRAWS = 12
_MORE = (
    ("rand_augment", degrade.rand_augment, degrade.RAND_AUGMENT_DRAWS),
    ("degrade", degrade.degrade, degrade.DEGRADE_DRAWS),
    ("erase", degrade.erase, degrade.ERASE_DRAWS),
)
_GREY = (0.299, 0.587, 0.114)  # luma weights of ITU-R BT.601

ALPHA = {"mixup": 0.2, "cutmix": 1.0}  # a pair's mixing weight is drawn from Beta(alpha, alpha)


def augment(frames: torch.Tensor, config: Config, epoch: int, index: np.ndarray) -> torch.Tensor:
    """Augment frames, uint8 [N, height, width, 3], into inputs, float32 [N, 3, image_size, image_size] in 0-1.

    The amounts ``rotation``, ``flip``, ``scale``, ``shift``, ``shear``, ``color``, ``recolor``, ``rand_augment``,
    ``degrade`` and ``erase`` of ``config`` are applied in this order. Random numbers derive from its seed, epoch and
    each sample's position in the epoch (``index``, int [N]) alone. The result lies channels last in memory.
    """
    chance = torch.from_numpy(uniform(config.seed, epoch, index, DRAWS)).to(frames.device)
    x = to_inputs(frames)
    if config.rotation or config.flip or config.scale or config.shift or config.shear or config.fit == "random_crop":
        x = _affine(x, config, chance)
    if config.color:
        x = _color(x, config.color, chance[:, 8:11])
    if config.recolor:
        x = _recolor(x, config.recolor, uniform(config.seed, epoch, index, 1, stream="recolor")[:, 0])
    for name, change, draws in _MORE:
        if amount := getattr(config, name):
            x = change(x, amount, torch.from_numpy(uniform(config.seed, epoch, index, draws, stream=name)))
    return x.contiguous(memory_format=torch.channels_last)


def _affine(x: torch.Tensor, config: Config, chance: torch.Tensor) -> torch.Tensor:
    height, width = x.shape[2:]
    signed = chance * 2 - 1
    angle = signed[:, 0] * math.radians(config.rotation)
    shear = torch.tan(signed[:, 1] * math.radians(config.shear))
    zoom = 1 / (1 + signed[:, 2] * config.scale)  # a zoom of 1.2 reads from a window 1/1.2 as wide
    mirror = torch.where(chance[:, 3:5] < 0.5, -1.0, 1.0) if config.flip else torch.ones_like(chance[:, 3:5])

    # the window that is read, in half-sides of the frame: a square of its shorter side
    reach = min(height, width)
    matrix = torch.empty(len(x), 2, 3, device=x.device)
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    matrix[:, 0, 0] = cos * mirror[:, 0] * reach / width
    matrix[:, 0, 1] = (shear * cos - sin) * mirror[:, 1] * reach / width
    matrix[:, 1, 0] = sin * mirror[:, 0] * reach / height
    matrix[:, 1, 1] = (shear * sin + cos) * mirror[:, 1] * reach / height
    matrix[:, 0, 2] = signed[:, 5] * (config.shift * 2 * reach + width - reach) / width
    matrix[:, 1, 2] = signed[:, 6] * (config.shift * 2 * reach + height - reach) / height
    return F.grid_sample(x, _grid(matrix, config.image_size), "bilinear", "reflection", align_corners=False)


def _grid(matrix: torch.Tensor, side: int) -> torch.Tensor:
    """``F.affine_grid`` of [N, 2, 3] for squares, [N, side, side, 2], by outer sums: 20 times as fast as a product."""
    place = torch.arange(1, 2 * side, 2, device=matrix.device) / side - 1  # of the pixels' centres
    across = matrix[:, :, 0, None] * place
    down = matrix[:, :, 1, None] * place + matrix[:, :, 2, None]
    return (across[:, :, None, :] + down[:, :, :, None]).permute(0, 2, 3, 1)


def _color(x: torch.Tensor, amount: float, chance: torch.Tensor) -> torch.Tensor:
    """Brightness, contrast around the image's mean and saturation: together one affine map of its RGB."""
    brightness, contrast, saturation = (1 + (chance * 2 - 1) * amount).unbind(1)
    mean = brightness * x.mean((1, 2, 3))
    grey = torch.tensor(_GREY, device=x.device)
    matrix = saturation[:, None, None] * torch.eye(3, device=x.device) + (1 - saturation)[:, None, None] * grey
    matrix *= (brightness * contrast)[:, None, None]
    offset = (mean * (1 - contrast))[:, None, None].expand(-1, 3, 1)
    return torch.baddbmm(offset, matrix, x.flatten(2)).view_as(x).clamp_(0, 1)


def border_color(x: torch.Tensor) -> torch.Tensor:
    """Mean colour of the outer eighth of each side: float32 [N, 3, S, S] -> [N, 3]."""
    edge = x.shape[-1] // BORDER
    inner = x[:, :, edge:-edge, edge:-edge]
    return (x.sum((2, 3)) - inner.sum((2, 3))) / (x.shape[-1] ** 2 - inner.shape[-1] ** 2)


def light_gain(own: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The gain a channel that turns one colour into another, as another light does (von Kries): float32 [N, 3] each."""
    return (other / own).clamp(1 / GAIN, GAIN)


def _recolor(x: torch.Tensor, amount: float, chance: np.ndarray) -> torch.Tensor:
    """Give some images the border colour of another image of the batch (the first that of the last, …).

    Where cameras and classes go together in the data, the camera's colour then no longer tells the class.
    """
    own = border_color(x).clamp_min(1e-3)
    gain = light_gain(own, own.flip(0))
    chosen = torch.from_numpy(chance < amount).to(x.device)
    return (x * torch.where(chosen[:, None], gain, 1.0)[:, :, None, None]).clamp_(0, 1)


def to_inputs(pixels: torch.Tensor) -> torch.Tensor:
    """Pixels as inputs of a network, channels last in memory: uint8 [N, S, S, 3] -> float32 [N, 3, S, S] in 0-1."""
    return pixels.permute(0, 3, 1, 2).float().div_(255.0)


def mix(
    x: torch.Tensor, targets: torch.Tensor, config: Config, epoch: int, index: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mix the first sample of a batch with the last, the second with the last but one, and so on.

    From and to float32 [N, 3, S, S] and targets, float32 [N, K]. ``config.mix`` is none, mixup (Zhang et al., ICLR
    2018, arXiv:1710.09412), cutmix (Yun et al., ICCV 2019, arXiv:1905.04899), or both: either with equal probability
    for each sample, by its position in the epoch (``index``, int [N]).
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
