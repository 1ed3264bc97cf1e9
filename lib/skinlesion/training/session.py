"""What a checkpoint holds, and what a training needs to go on from it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.optim.swa_utils import AveragedModel

from skinlesion.config import Config
from skinlesion.training import checkpoint
from skinlesion.training.freeze import freeze_stages
from skinlesion.training.models import Classifier, create_model
from skinlesion.training.trained import device

NEW_EPOCH = {"step": 0, "loss_sum": 0.0, "confusion": None}


class Session:
    """Network, averaged weights, optimizer, and the state that goes into a checkpoint's JSON."""

    def __init__(self, config: Config, folder: Path, classes: int):
        self.config, self.folder, self.device = config, folder, device()
        torch.manual_seed(config.seed)
        model = create_model(config.model, classes=classes, image_size=config.image_size, pretrained=config.pretrained)
        self._frozen = freeze_stages(model, config.freeze, config.model)
        self.model = model.to(self.device, memory_format=torch.channels_last)
        self.average = AveragedModel(self.model, avg_fn=self._mean, use_buffers=True) if config.average else None
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer]
        learning = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = kind(learning, lr=config.learning_rate, weight_decay=config.weight_decay)
        self.state = {"epoch": 0, "total_steps": 0, "seconds": 0.0, "history": []} | NEW_EPOCH
        self.state |= {"best": -1.0, "best_epoch": 0, "stale": 0}

    @property
    def best_file(self) -> Path:
        return self.folder / "best.safetensors"

    @property
    def judged(self) -> Classifier:
        """The network that validation judges: the averaged one where there is one."""
        return self.average.module if self.average else self.model

    def set_training(self) -> None:
        """Training mode, but for the batch normalisation of frozen stages."""
        self.model.train()
        for module in self._frozen:
            module.eval()

    def _mean(self, mean: torch.Tensor, new: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
        # a shorter memory at first, or the random first weights would stay in the mean for long
        decay = min(self.config.average, (1 + int(count)) / (10 + int(count)))
        return torch.lerp(mean, new, 1 - decay) if mean.is_floating_point() else new

    def _parts(self) -> dict[str, torch.nn.Module]:
        return {"model.": self.model} | ({"average.": self.average} if self.average else {})

    def save(self) -> None:
        tensors = checkpoint.flatten_optimizer(self.optimizer)
        for prefix, module in self._parts().items():
            tensors |= {prefix + name: tensor for name, tensor in module.state_dict().items()}
        checkpoint.save_step(self.folder, self.state["total_steps"], tensors, self.state)

    def resume(self) -> None:
        saved = checkpoint.newest(self.folder)
        if saved is None:
            return
        tensors, self.state = saved
        for prefix, module in self._parts().items():
            module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
        checkpoint.restore_optimizer(self.optimizer, tensors)
