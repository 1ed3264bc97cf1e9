"""What a checkpoint holds, and what a training needs to go on from it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel

from skinlesion.core.config import Config
from skinlesion.core.errors import DivergedError, ModelError
from skinlesion.core.runs import Run
from skinlesion.core.tables import counted
from skinlesion.training import checkpoint
from skinlesion.training.distributed import World
from skinlesion.training.networks.models import Classifier, check_outputs, create_model, freeze_stages
from skinlesion.training.parent_runs import load_start, start_run
from skinlesion.training.trained import device

NEW_EPOCH = {"step": 0, "loss_sum": 0.0, "confusion": None}


def first_network(config: Config, run: Run, classes: int) -> Classifier:
    """The network that a training in ``run`` begins with, with the weights that it starts from.

    Raises ConfigError for a network that cannot be trained so, or a start of another network. Raises DataError or
    ModelError where the weights to start from are missing or damaged.
    """
    torch.manual_seed(config.seed)
    pretrained = config.pretrained and not config.start
    model = create_model(
        config.model, classes=classes, image_size=config.image_size, pretrained=pretrained, constancy=config.constancy
    )
    if config.first_epochs:
        check_outputs(model, config.model, classes, config.first_size)
    if start := start_run(config, run):
        load_start(model, config, start)
    freeze_stages(model, config.freeze, config.model)  # what it refuses is refused before anything is written
    return model


class Session:
    """Network, averaged weights, optimizer, and the state that goes into a checkpoint's JSON.

    Every process of a training holds the same one; the first one writes it.
    """

    def __init__(self, config: Config, run: Run, folder: Path, classes: int, world: World):
        self.config, self.folder, self.world, self.device = config, folder, world, device()
        model = first_network(config, run, classes)
        world.share_weights(model)
        self._frozen = freeze_stages(model, config.freeze, config.model)
        self.model = model.to(self.device).to(memory_format=torch.channels_last)
        self.average = AveragedModel(self.model, avg_fn=self._mean, use_buffers=True) if config.average else None
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer]
        learning = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = kind(learning, lr=config.learning_rate, weight_decay=config.weight_decay)
        self.best: dict[str, torch.Tensor] = {}  # weights of the best epoch so far, ``state["best_epoch"]``
        self.state: dict[str, Any] = {"epoch": 0, "total_steps": 0, "seconds": 0.0, "history": []} | NEW_EPOCH
        self.state |= {"best": -1.0, "best_epoch": 0, "stale": 0, "processes": world.size}

    @property
    def evaluated(self) -> Classifier:
        """The network that validation evaluates: the averaged one where there is one."""
        return cast(Classifier, self.average.module) if self.average else self.model

    def set_training(self) -> None:
        """Training mode, but for the batch normalisation of frozen stages."""
        self.model.train()
        for module in self._frozen:
            module.eval()

    def learn(self, loss: torch.Tensor, share: float, learning_rate: float) -> None:
        """Take one step down the gradient; ``share``: this process's part of the batch."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.world.average_gradients(self.model, share)
        self.optimizer.step()
        if self.average:
            self.average.update_parameters(self.model)

    def _mean(self, mean: torch.Tensor, new: torch.Tensor, count: torch.Tensor | int) -> torch.Tensor:
        # a shorter memory at first, or the random first weights would stay in the mean for long
        decay = min(self.config.average, (1 + int(count)) / (10 + int(count)))
        return torch.lerp(mean, new, 1 - decay) if mean.is_floating_point() else new

    def check_loss(self, value: float) -> None:
        """Raise DivergedError where the loss is no longer a number."""
        if not np.isfinite(value):
            raise self._diverged(f"the loss became {value}")

    def check_weights(self) -> None:
        """Raise DivergedError where a weight is no longer a number, though the last loss still was."""
        if not all(np.isfinite(tensor.cpu().numpy()).all() for tensor in self.model.state_dict().values()):
            raise self._diverged("the weights became infinite")

    def _diverged(self, what: str) -> DivergedError:
        kept = any(self.folder.glob("step-*"))
        return DivergedError(
            f"{what} in epoch {self.state['epoch'] + 1}, step {self.state['step'] + 1}; lower learning_rate (now "
            f"{self.config.learning_rate}) and train again. "
            + (f"The last good state is stored in {self.folder}" if kept else "No checkpoint was due before that")
        )

    def keep_best(self) -> None:
        """Remember the weights of the evaluated network: it is the best one so far."""
        self.best = {name: tensor.cpu().clone() for name, tensor in self.evaluated.state_dict().items()}

    def save(self) -> None:
        """Write a checkpoint of this step."""
        if not self.world.first:
            return
        tensors, weights = checkpoint.flatten_optimizer(self.optimizer), {"model": self.model.state_dict()}
        weights |= {"best": self.best} | ({"average": self.average.state_dict()} if self.average else {})
        for part, of in weights.items():
            tensors |= {f"{part}.{name}": tensor for name, tensor in of.items()}
        checkpoint.save_step(self.folder, self.state["total_steps"], tensors, self.state)

    def resume(self) -> None:
        """Go on from the newest checkpoint that is whole; every process from the same.

        Raises DataError where a process does not see the folder of the first one. Raises ModelError where the
        checkpoint is of another network.
        """
        self.world.need_shared(self.folder)
        saved = checkpoint.newest(self.folder) if self.world.first else None
        step = self.world.broadcast(saved[1]["total_steps"] if saved else -1)
        if self.world.first:
            checkpoint.drop_after(self.folder, step)
        if step >= 0:
            self._restore(*(saved or checkpoint.read(checkpoint.step_file(self.folder, step))))

    def _restore(self, tensors: dict[str, torch.Tensor], state: dict) -> None:
        def of(part: str) -> dict[str, torch.Tensor]:
            mine = (name for name in tensors if name.startswith(f"{part}."))
            return {name.removeprefix(f"{part}."): tensors[name] for name in mine}

        try:
            self.model.load_state_dict(of("model"))
            if self.average:
                self.average.load_state_dict(of("average"))
            checkpoint.restore_optimizer(self.optimizer, tensors)
            self.best = of("best")
            if state["best_epoch"] and not self.best:
                raise KeyError("best")
        except (RuntimeError, ValueError, KeyError):
            raise ModelError(
                f"the checkpoints in {self.folder} do not fit a {self.config.model} as it is built here; perhaps "
                "another version of timm or torch wrote them. Delete that folder to train from the beginning"
            ) from None
        before = state["processes"]
        if before != self.world.size and self.world.first:
            warnings.warn(
                f"this training began with {counted(before, 'process')} and continues with {self.world.size}: it will "
                "not equal an uninterrupted one to the bit",
                stacklevel=2,
            )
        self.state = state | {"processes": self.world.size}
