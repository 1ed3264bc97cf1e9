"""Test-time augmentation: the answers to a square image and its mirror images, averaged."""

from __future__ import annotations

import torch

#: Dimensions that each view flips, and whether it swaps height and width first: the eight symmetries of a square.
_SYMMETRIES = [(dims, swap) for swap in (False, True) for dims in ((), (3,), (2,), (2, 3))]


def view(x: torch.Tensor, number: int) -> torch.Tensor:
    """Symmetry ``number`` (0 to 7; 0 is the image itself) of [N, C, S, S]."""
    dims, swap = _SYMMETRIES[number]
    return torch.flip(x.transpose(2, 3) if swap else x, dims)


def unview(x: torch.Tensor, number: int) -> torch.Tensor:
    """The inverse of :func:`view`, for activation maps [N, K, h, w]."""
    dims, swap = _SYMMETRIES[number]
    x = torch.flip(x, dims)
    return x.transpose(2, 3) if swap else x


def answer(model, x: torch.Tensor, views: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """``model.answer`` averaged over the first ``views`` symmetries, its maps turned back; float32 each.

    A linear classifier of pooled features stays one: the mean logits are its answer to the mean features and maps.

    Parameters
    ----------
    model : skinlesion.training.models.Classifier
    x : float32 [N, 3, S, S] in 0-1
    views : 1, 2, 4 or 8

    Returns
    -------
    tuple of logits [N, K], features [N, D] and maps [N, C, h, w]
    """
    if views == 1:
        return model.answer(x)
    together = torch.cat([view(x, number) for number in range(views)])  # one pass: larger batches are quicker
    together = together.contiguous(memory_format=torch.channels_last)
    logits, features, maps = (part.reshape(views, -1, *part.shape[1:]) for part in model.answer(together))
    if maps.dim() == 5:
        maps = torch.stack([unview(m, number) for number, m in enumerate(maps)])
    return logits.mean(0), features.mean(0), maps.mean(0)
