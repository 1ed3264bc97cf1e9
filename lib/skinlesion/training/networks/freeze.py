"""Freezing the first stages of a pretrained network: less to compute, and their pretrained filters stay as they are."""

from __future__ import annotations

from timm.models import group_parameters
from torch import nn

from skinlesion.core.errors import ConfigError
from skinlesion.core.tables import counted
from skinlesion.training.networks.models import Classifier


def freeze_stages(model: Classifier, count: int, name: str) -> list[nn.Module]:
    """Take the first ``count`` stages of a timm network out of training.

    The stem counts as the first stage; timm defines each network's stages (its ``group_matcher``).

    Returns
    -------
    list of nn.Module
        Batch normalisations that must stay in evaluation mode, so that their statistics stay too.

    Raises
    ------
    ConfigError
        Where the network has no such stages, or not as many.
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
