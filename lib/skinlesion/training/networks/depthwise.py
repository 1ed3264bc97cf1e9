"""Depthwise convolutions on maps smaller than their kernel, made quick to train on a CPU."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn
from torch.nn import functional as F


class SmallMapConv2d(nn.Conv2d):
    """A depthwise convolution that pads its input itself where the map is smaller than the kernel.

    oneDNN's backward pass leaves its quick path where a side of the map is shorter than the kernel: 5x5 over 1152 maps
    of 4x4, 32 images, took 40 ms with the padding inside the convolution and 14 ms with the maps padded beforehand (3x3
    maps: 46 and 11 ms; two cores, AVX2). On larger maps padding beforehand costs more than it gains, and so it does
    where there are no gradients; there the convolution is left as it is. Values and gradients are the same.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        smaller = x.shape[-2] < self.kernel_size[0] or x.shape[-1] < self.kernel_size[1]
        if not (smaller and x.is_cpu and torch.is_grad_enabled()):
            return super().forward(x)
        vertical, horizontal = cast(tuple[int, int], self.padding)  # pad_small_maps leaves named paddings alone
        padded = F.pad(x, (horizontal, horizontal, vertical, vertical))
        return F.conv2d(padded, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def pad_small_maps(network: nn.Module) -> None:
    """Turn every zero-padded depthwise convolution of stride 1 into a :class:`SmallMapConv2d`, in place.

    Names, shapes and values of the weights stay, so that checkpoints fit either way.
    """
    for module in network.modules():
        if type(module) is nn.Conv2d and _is_padded_depthwise(module):
            module.__class__ = SmallMapConv2d


def _is_padded_depthwise(conv: nn.Conv2d) -> bool:
    depthwise = conv.groups == conv.in_channels > 1 and conv.stride == conv.dilation == (1, 1)
    return depthwise and conv.padding_mode == "zeros" and isinstance(conv.padding, tuple) and any(conv.padding)
