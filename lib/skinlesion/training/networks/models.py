"""Networks by name: the classic CNN, and any timm model with a classifier; and means over mirror images."""

from __future__ import annotations

from difflib import get_close_matches
from itertools import pairwise
from typing import Any, cast

import timm
import torch
from timm.models import PretrainedCfg, group_parameters
from torch import nn
from torch.nn import functional as F

from skinlesion.core.errors import ConfigError
from skinlesion.core.tables import counted
from skinlesion.training.networks import imagenet

_MINKOWSKI = {"grey_world": 1, "shades_of_grey": 6}


class ClassicCNN(nn.Module):
    """The plain CNN of the well-known recipe: convolution and pooling four times, then two fully connected layers.

    The fully connected layers fix the input's side, ``image_size``.
    """

    def __init__(self, classes: int, image_size: int):
        super().__init__()
        widths = (3, 16, 32, 64, 128)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*layers)
        self.hidden = nn.Sequential(
            nn.Flatten(), nn.Linear(widths[-1] * (image_size // 16) ** 2, 256), nn.ReLU(inplace=True)
        )
        self.dropout = nn.Dropout(0.5)
        self.classifier = nn.Linear(256, classes)

    def forward_head(self, features: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """float32 [N, 128, S / 16, S / 16] -> logits [N, K], or the last layer's input, [N, 256]."""
        hidden = self.hidden(features)
        return hidden if pre_logits else self.classifier(self.dropout(hidden))

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """float32 [N, 3, S, S] -> the last feature maps [N, 128, S / 16, S / 16]."""
        return self.features(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(x))

    def get_classifier(self) -> nn.Module:
        """The last layer, by the name that timm's networks have for it."""
        return self.classifier


class Classifier(nn.Module):
    """A backbone with its input normalisation inside: 0-1 pixels in, logits out.

    ``mean`` and ``std`` are those of the backbone's pretraining; the classic recipe uses 0 and 1. ``constancy`` first
    takes the colour of the light out of each image: by its mean (``grey_world``; Buchsbaum 1980,
    doi:10.1016/0016-0032(80)90058-7) or by its Minkowski norm of order 6 (``shades_of_grey``; Finlayson and
    Trezzi 2004).
    """

    backbone: Any  # a network of timm, with methods that nn.Module lacks, or ClassicCNN
    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, backbone: nn.Module, mean: tuple[float, ...], std: tuple[float, ...], constancy: str = "none"):
        super().__init__()
        self.constancy = constancy
        self.backbone = backbone
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """float32 [N, 3, S, S] in 0-1 -> float32 [N, K] logits."""
        return self.backbone(self._normalised(x))

    def _normalised(self, x: torch.Tensor) -> torch.Tensor:
        if self.constancy != "none":
            order = _MINKOWSKI[self.constancy]
            light = x.pow(order).mean((2, 3), keepdim=True).clamp_min(1e-6).pow(1 / order)
            x = x * (light.mean(1, keepdim=True) / light)
        return (x - self.mean) / self.std

    def outputs(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits [N, K], pooled features [N, D] (the last linear layer's input) and the last feature maps."""
        maps = self.backbone.forward_features(self._normalised(x))
        return self.backbone.forward_head(maps), self.backbone.forward_head(maps, pre_logits=True), maps


def create_model(
    name: str, *, classes: int = 1000, image_size: int = 128, pretrained: bool = False, constancy: str = "none"
) -> Classifier:
    """A network with ``classes`` outputs, by default ImageNet's 1,000.

    Parameters
    ----------
    name : str
        ``classic``, or a timm model name such as ``tf_efficientnet_lite0`` or ``resnet18``.
    classes : int
    image_size : int
        Side of the input in pixels. Networks of a fixed input, such as vision transformers, are built for it.
    pretrained : bool
        Start from ImageNet weights: of an installed package if there is one for this model, else of timm's caches, else
        of the hub. The classifier is new unless ``classes`` is the number that it was pretrained with.
    constancy : str
        ``none``, ``grey_world`` or ``shades_of_grey``: see :class:`Classifier`.

    Raises
    ------
    ConfigError
        For an unknown name, ``classic`` with pretrained weights, a network without classifier or one that does not take
        images of ``image_size``.
    ModelError
        Where no pretrained weights can be had (lists what is available offline), or where they are damaged.
    """
    if name == "classic":
        if pretrained:
            raise ConfigError("the classic CNN has no pretrained weights; set pretrained=False or name a timm model")
        if image_size < 16:
            raise ConfigError(f"the classic CNN needs image_size >= 16, not {image_size}")
        return Classifier(ClassicCNN(classes, image_size), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), constancy)
    configuration = _configuration(name)
    backbone: Any
    options: dict[str, Any] = {"img_size": image_size} if configuration.fixed_input_size else {}
    if pretrained:
        backbone = imagenet.pretrained(name, **options)
        if backbone.num_classes != classes:
            backbone.reset_classifier(classes)
    else:
        try:
            backbone = timm.create_model(name, num_classes=classes, **options)
        except Exception as error:  # timm's builders raise anything
            raise ConfigError(f"timm cannot build {name} for images of {image_size} px: {error}") from error
    pad_small_maps(backbone)
    model = Classifier(backbone, tuple(configuration.mean), tuple(configuration.std), constancy)
    check_outputs(model, name, classes, image_size)
    return model


def _configuration(name: str) -> PretrainedCfg:
    """timm's record of a network: its normalisation, and whether it is built for one input size."""
    if not timm.is_model(name):
        near = get_close_matches(name, timm.list_models(), 3) or ["resnet18", "tf_efficientnet_lite0"]
        raise ConfigError(f"unknown model {name!r}; use 'classic' or a timm model, such as {', '.join(near)}")
    try:
        return timm.get_pretrained_cfg(name) or PretrainedCfg()
    except RuntimeError:
        plain = name.partition(".")[0]
        known = ", ".join(timm.list_pretrained(f"{plain}.*")) or "none"
        raise ConfigError(f"{plain} has no weights called {name!r}; there are: {known}") from None


@torch.no_grad()
def check_outputs(model: Classifier, name: str, classes: int, image_size: int) -> None:
    """Refuse a network that cannot be trained: one without classifier, or of another input size. Raises ConfigError."""
    model.eval()
    try:
        logits, features, _ = model.outputs(torch.zeros(2, 3, image_size, image_size))
    except Exception as error:  # each network has its own way to fail
        raise ConfigError(
            f"{name} cannot process images of {image_size} px ({type(error).__name__}: {error}); choose another "
            "image_size, or another timm model with a classifier"
        ) from error
    if logits.shape != (2, classes) or not isinstance(features, torch.Tensor) or features.dim() != 2:
        raise ConfigError(f"{name} has no classifier to train; choose another timm model")
    model.train()


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


def freeze_stages(model: Classifier, count: int, name: str) -> list[nn.Module]:
    """Take the first ``count`` stages of a timm network out of training.

    The stem counts as the first stage; timm defines each network's stages (its ``group_matcher``). Returns a list of
    nn.Module: batch normalisations that must stay in evaluation mode, so that their statistics stay too. Raises
    ConfigError where the network has no such stages, or not as many.
    """
    if not count:
        return []
    if not hasattr(model.backbone, "group_matcher"):
        raise ConfigError(f"{name} has no stages to freeze; set freeze=0")
    groups = group_parameters(model.backbone, model.backbone.group_matcher(coarse=True), reverse=False)
    stages = sorted(groups)
    if count >= len(stages):
        raise ConfigError(f"freeze={count} leaves nothing to train: {name} has {counted(len(stages), 'stage')}")
    frozen = {name for stage in stages[:count] for name in groups[stage]}
    for parameter_name, parameter in model.backbone.named_parameters():
        parameter.requires_grad_(parameter_name not in frozen)
    return [
        module
        for module in model.backbone.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and not module.weight.requires_grad
    ]


# ---- test-time augmentation: the mean of the outputs for crops of an image and for their mirror images

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


def mean_outputs(
    model: Classifier, x: torch.Tensor, views: int, crops: int = 1
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
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
