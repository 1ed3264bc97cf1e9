"""Test-time augmentation: the mean of the outputs for crops of an image and for their mirror images."""

from __future__ import annotations

import torch

#: Dimensions that each view flips, and whether it swaps height and width then: the eight symmetries of a square.
_SYMMETRIES = [(dims, swap) for swap in (False, True) for dims in ((), (3,), (2,), (2, 3))]


def view(x: torch.Tensor, number: int) -> torch.Tensor:
    """Symmetry ``number`` (0 to 7; 0 is the image itself) of [N, C, S, S]."""
    dims, swap = _SYMMETRIES[number]
    x = torch.flip(x, dims)
    return x.transpose(2, 3) if swap else x


def unview(x: torch.Tensor, number: int) -> torch.Tensor:
    """The inverse of :func:`view`, for activation maps [N, K, h, w]."""
    dims, swap = _SYMMETRIES[number]
    return torch.flip(x.transpose(2, 3) if swap else x, dims)


def mean_outputs(model, x: torch.Tensor, views: int, crops: int = 1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """``model.outputs`` averaged over the first ``views`` symmetries (1, 2, 4 or 8), its maps turned back; float32
    each.

    ``x``, float32 [crops N, 3, S, S] in 0-1, holds the first crops of all N frames, then their second ones. Two crops
    of a frame take turns: symmetry ``v`` is of crop ``v % 2``. Two symmetries in a row differ by mirroring left and
    right, which also swaps the left and the right crop: a frame's mirror image gets the same output. A linear
    classifier of pooled features stays one: the mean logits are its output for the mean features and maps. Returns
    logits [N, K], features [N, D] and each crop's maps [crops, N, C, h, w].
    """
    views = max(views, crops)
    if views == 1:
        logits, features, maps = model.outputs(x)
        return logits, features, maps[None]
    squares = x.reshape(crops, -1, *x.shape[1:])
    together = torch.cat([view(squares[number % crops], number) for number in range(views)])  # larger, so quicker
    together = together.contiguous(memory_format=torch.channels_last)
    logits, features, maps = (part.reshape(views, -1, *part.shape[1:]) for part in model.outputs(together))
    if maps.dim() == 5:
        maps = torch.stack([unview(m, number) for number, m in enumerate(maps)])
    maps = torch.stack([maps[crop::crops].mean(0) for crop in range(crops)])
    return logits.mean(0), features.mean(0), maps
