"""Images as other cameras would have taken them: poorer optics and compression, other colours, things in the way.

Complements the geometry of :mod:`skinlesion.training.inputs.augment`. Every sample is processed alone, while it sits
in the processor's cache: as fast on a CPU as the whole batch at once, and independent of the rest of its batch.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from types import ModuleType

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

# RGB -> luma and two chroma components around 0 (JFIF 1.02, after ITU-R BT.601)
_RGB_TO_YCC = torch.tensor(
    [[0.299, 0.587, 0.114], [-0.168735892, -0.331264108, 0.5], [0.5, -0.418687589, -0.081312411]], dtype=torch.float64
)
_YCC_TO_RGB = _RGB_TO_YCC.inverse()


# --- a poorer camera: each takes and gives one image, float32 [3, S, S] in 0-1 (its caller clips what overshoots) -----


def vignette(image: torch.Tensor, depth: float, row: float, column: float) -> torch.Tensor:
    """Light that falls off with the squared distance from (``row``, ``column``), in sides from the centre.

    The darkest corner loses ``depth`` of its light.
    """
    distance = _squared_distance(image, row, column)
    return image * (1 - depth / distance.max() * distance)


def field_of_view(image: torch.Tensor, radius: float, edge: float, row: float, column: float) -> torch.Tensor:
    """Black outside a circle, as a dermatoscope's tube leaves it; all measures in sides, positions from the centre."""
    distance = _squared_distance(image, row, column).sqrt()
    return image * ((radius - distance) / edge + 0.5).clamp(0, 1)


def blur(image: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian blur; ``sigma`` in sides."""
    side = image.shape[-1]
    offset = torch.arange(1 - side, side, device=image.device) / side
    weight = torch.exp(-0.5 * (offset / sigma).square()).unfold(0, side, 1).flip(0)  # of pixel j in pixel i: [S, S]
    weight = weight / weight.sum(1, keepdim=True)  # at the border only what is inside counts
    return weight @ image @ weight.T


def lower_resolution(image: torch.Tensor, factor: float) -> torch.Tensor:
    """Down by ``factor`` (with antialiasing) and back up, bilinear both ways."""
    side = image.shape[-1]
    small = F.interpolate(image[None], size=[round(side / factor)] * 2, mode="bilinear", antialias=True)
    return F.interpolate(small, size=[side, side], mode="bilinear", align_corners=False)[0]


def noise(image: torch.Tensor, sigma: float, row: float, column: float) -> torch.Tensor:
    """Gaussian noise, cut from a fixed sheet at (``row``, ``column``), each in [0, 1)."""
    return torch.add(image, _noise_at(image, row, column), alpha=sigma)


def color_cast(image: torch.Tensor, red: float, green: float, blue: float) -> torch.Tensor:
    """White balance gone wrong: a gain for each channel."""
    return image * torch.tensor([red, green, blue], device=image.device).view(3, 1, 1)


def gamma(image: torch.Tensor, octaves: float) -> torch.Tensor:
    """Raise to the power ``2 ** octaves``: above 0 darkens."""
    return image.pow(2.0**octaves)


def sharpen(image: torch.Tensor, sigma: float, amount: float) -> torch.Tensor:
    """Unsharp mask: add ``amount`` of what a Gaussian blur of ``sigma`` sides would remove."""
    return torch.lerp(image, blur(image, sigma), -amount)


def jpeg(image: torch.Tensor, quality: float, chroma_step: float) -> torch.Tensor:
    """What JPEG leaves of an image in 0-1.

    Both numbers are rounded down. Quality is libjpeg's scale, 1-100. ``chroma_step`` 1 leaves chroma whole (4:4:4);
    2 halves it on both axes (4:2:0).
    """
    pixels, file = image.mul(255).round_().byte().permute(1, 2, 0).cpu().numpy(), io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=int(quality), subsampling=(0, 2)[int(chroma_step) - 1])
    return torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1).to(image) / 255


# In the order in which a camera would do it: function, its share of the probability, each parameter's range
_CAMERA: tuple[tuple[Callable, float, tuple[tuple[float, float], ...]], ...] = (
    (vignette, 1.0, ((0.1, 0.5), (-0.25, 0.25), (-0.25, 0.25))),
    (field_of_view, 0.3, ((0.45, 0.7), (0.005, 0.03), (-0.05, 0.05), (-0.05, 0.05))),
    (blur, 1.0, ((0.003, 0.0125),)),
    (lower_resolution, 1.0, ((1.0, 2.5),)),
    (noise, 1.0, ((0.005, 0.04), (0.0, 1.0), (0.0, 1.0))),
    (color_cast, 1.0, ((0.85, 1.15),) * 3),
    (gamma, 1.0, ((-0.5, 0.5),)),
    (sharpen, 1.0, ((0.003, 0.0125), (0.3, 1.5))),
    (jpeg, 1.0, ((30.0, 96.0), (1.0, 3.0))),
)
DEGRADE_DRAWS = sum(1 + len(ranges) for _, _, ranges in _CAMERA)


def degrade(x: torch.Tensor, probability: float, chance: torch.Tensor) -> torch.Tensor:
    """Images, float32 [N, 3, S, S] in 0-1, as a poorer camera would have given them; the same, channels last in memory.

    ``probability`` is that of each operation for each sample, 0-1; a dark rim around the field of view has 0.3 of it.
    ``chance``, float32 [N, DEGRADE_DRAWS] in [0, 1), holds each sample's uniform numbers, which alone decide what
    happens to it.
    """

    def change(image: torch.Tensor, draws: Sequence[float]) -> torch.Tensor:
        rest = iter(draws)
        for operation, share, ranges in _CAMERA:
            drawn = next(rest) < probability * share
            parameters = [low + (high - low) * next(rest) for low, high in ranges]
            if drawn:
                image = operation(image, *parameters).clamp(0, 1)
        return image

    return _each(x, chance, change)


# --- colours: each takes one image and a magnitude in -1..1; at 0 the image stays as it is ---------------------------


def rotate_hue(image: torch.Tensor, turn: float) -> torch.Tensor:
    """Rotate chroma, in the plane that JPEG calls Cb and Cr, by ``turn`` of a full turn; luma stays."""
    cos, sin = math.cos(2 * math.pi * turn), math.sin(2 * math.pi * turn)
    rotation = torch.tensor([[1, 0, 0], [0, cos, -sin], [0, sin, cos]], dtype=torch.float64)
    mixed = (_YCC_TO_RGB @ rotation @ _RGB_TO_YCC).to(image) @ image.flatten(1)
    return mixed.view_as(image)


def _torchvision() -> ModuleType:
    """torchvision's operations, not loaded before they are used: that takes as long as to load torch."""
    from torchvision.transforms.v2 import functional

    return functional


def posterize(image: torch.Tensor, magnitude: float) -> torch.Tensor:
    """Keep 8 to 4 bits of each channel."""
    bits = 8 - round(4 * abs(magnitude))
    return _torchvision().posterize(image, bits) if bits < 8 else image


def solarize(image: torch.Tensor, magnitude: float) -> torch.Tensor:
    """Invert what is brighter than ``1 - magnitude``."""
    return torch.where(image > 1 - abs(magnitude), 1 - image, image)


# Ranges as in the paper's code and torchvision's; hue and gamma, which it lacks, stay within what skin can pass for
_COLORS: tuple[Callable[[torch.Tensor, float], torch.Tensor], ...] = (
    lambda image, magnitude: _torchvision().adjust_brightness(image, 1 + 0.9 * magnitude),
    lambda image, magnitude: _torchvision().adjust_contrast(image, 1 + 0.9 * magnitude),
    lambda image, magnitude: _torchvision().adjust_saturation(image, 1 + 0.9 * magnitude),
    lambda image, magnitude: _torchvision().adjust_sharpness(image, 1 + 0.9 * magnitude),
    lambda image, magnitude: torch.lerp(image, _torchvision().autocontrast(image), abs(magnitude)),
    lambda image, magnitude: rotate_hue(image, 0.1 * magnitude),
    gamma,
    posterize,
    solarize,
)
RAND_AUGMENT_DRAWS = 4


def rand_augment(x: torch.Tensor, strength: float, chance: torch.Tensor) -> torch.Tensor:
    """RandAugment (Cubuk et al., 2020, arXiv:1909.13719) in colour only: two operations for each sample.

    Each operation's magnitude is drawn uniformly up to ``strength``, from 0 (nothing) to 1 (the paper's magnitude 30;
    its usual 9 is 0.3), its direction by the same number. Arrays as for :func:`degrade`, but ``chance`` [N,
    RAND_AUGMENT_DRAWS].
    """

    def change(image: torch.Tensor, draws: Sequence[float]) -> torch.Tensor:
        for which, magnitude in (draws[:2], draws[2:]):
            image = _COLORS[int(which * len(_COLORS))](image, strength * (2 * magnitude - 1)).clamp(0, 1)
        return image

    return _each(x, chance, change)


# --- things in the way -----------------------------------------------------------------------------------------------

_ERASED_AREA = (0.02, 0.2)  # of the image
_ERASED_ASPECT = (0.3, 1 / 0.3)  # height to width; with the area above, a patch always fits
ERASE_DRAWS = 8


def erase(x: torch.Tensor, probability: float, chance: torch.Tensor) -> torch.Tensor:
    """Random erasing (Zhong et al., 2020, arXiv:1708.04896): a patch of noise or of the image's mean colour.

    ``probability`` is that of a patch in each sample, which covers 2 to 20 % of it. Arrays as for :func:`degrade`, but
    ``chance`` [N, ERASE_DRAWS].
    """

    def change(image: torch.Tensor, draws: Sequence[float]) -> torch.Tensor:
        whether, area, aspect, top, left, kind, row, column = draws
        if whether >= probability:
            return image
        side = image.shape[-1]
        area = _ERASED_AREA[0] + (_ERASED_AREA[1] - _ERASED_AREA[0]) * area
        aspect = _ERASED_ASPECT[0] * (_ERASED_ASPECT[1] / _ERASED_ASPECT[0]) ** aspect  # as often tall as wide
        height, width = round(side * math.sqrt(area * aspect)), round(side * math.sqrt(area / aspect))
        top, left = int(top * (side - height + 1)), int(left * (side - width + 1))
        if kind < 0.5:
            patch = image.mean((1, 2), keepdim=True)
        else:
            patch = 0.5 + 0.25 * _noise_at(image, row, column)[:, :height, :width].clamp(-2, 2)
        image = image.clone()
        image[:, top : top + height, left : left + width] = patch
        return image

    return _each(x, chance, change)


# --- what they share -------------------------------------------------------------------------------------------------


def _each(x: torch.Tensor, chance: torch.Tensor, change: Callable) -> torch.Tensor:
    """``change(image, draws)`` on each sample, its planes apart in memory, collected channels last.

    On one thread: an image is too small for two to gain much, and where other processes want the same cores, threads
    that wait for each other hundreds of times a batch made it 5 to 40 times slower.
    """
    out = x.clone(memory_format=torch.channels_last)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for source, target, draws in zip(x, out, chance.tolist(), strict=True):
            image = source.contiguous()
            changed = change(image, draws)
            if changed is not image:
                target.copy_(changed)
    finally:
        torch.set_num_threads(threads)
    return out


def _squared_distance(image: torch.Tensor, row: float, column: float) -> torch.Tensor:
    side = image.shape[-1]
    place = (torch.arange(side, device=image.device) + 0.5) / side - 0.5  # of the pixels' centres, from the middle
    return (place - row).square()[:, None] + (place - column).square()[None, :]


def _noise_at(image: torch.Tensor, row: float, column: float) -> torch.Tensor:
    """A window of the sheet of noise, as large as the image; ``row`` and ``column`` in [0, 1)."""
    side = image.shape[-1]
    top, left = int(row * (side + 1)), int(column * (side + 1))
    return _noise_sheet(2 * side, image.device)[:, top : top + side, left : left + side]


@lru_cache(maxsize=8)
def _noise_sheet(side: int, device: torch.device) -> torch.Tensor:
    """Standard normal noise, the same in every process: float32 [3, side, side]."""
    return torch.randn(3, side, side, generator=torch.Generator().manual_seed(0)).to(device)
