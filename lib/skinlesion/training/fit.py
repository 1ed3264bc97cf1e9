"""Training: one loop that reads top to bottom, resumable at any checkpoint to the bit."""

from __future__ import annotations

import hashlib
import io
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch.optim.swa_utils import AveragedModel

from skinlesion.config import Config
from skinlesion.data.cache import PixelCache
from skinlesion.errors import ModelError
from skinlesion.runs import Run, atomic, write_json
from skinlesion.training import checkpoint
from skinlesion.training.augment import augment, plain
from skinlesion.training.balance import epoch_rows, loss_weights, training_prior
from skinlesion.training.chance import generator
from skinlesion.training.memory import keep_freed_memory
from skinlesion.training.models import Classifier, create_model

#: What the trained weights depend on, besides pixels, labels and split.
TRAINING_FIELDS = (
    "seed", "fold", "image_size", "fit", "balance", "target_count", "rotation", "flip", "scale", "shift", "shear",
    "color", "model", "pretrained", "epochs", "batch_size", "optimizer", "learning_rate", "weight_decay", "warmup",
    "cosine", "label_smoothing", "average", "patience",
)  # fmt: skip


@dataclass
class Progress:
    """Where training stands; what a progress bar or a live figure needs."""

    epoch: int
    epochs: int
    step: int = 0
    steps: int = 0
    loss: float = math.nan
    seconds: float = 0.0  # in steps of this call
    done: int = 0  # steps made by this call
    history: list[dict] = field(default_factory=list)  # one entry a finished epoch

    def at(self, epoch: int, step: int, steps: int, loss: float, seconds: float) -> None:
        self.epoch, self.step, self.steps, self.loss = epoch, step, steps, loss
        self.seconds, self.done = self.seconds + seconds, self.done + 1

    @property
    def seconds_left(self) -> float:
        """At the present pace, should no early stop come."""
        remaining = (self.epochs - self.epoch) * self.steps - self.step
        return self.seconds / max(self.done, 1) * remaining


@dataclass(frozen=True)
class Trained:
    """A finished training: the network with its best weights, and how it got there."""

    model: Classifier
    history: pd.DataFrame  # one row an epoch
    best_epoch: int  # chosen on validation, counted from 1
    prior: np.ndarray  # class prior seen in training, float64 [K]
    facts: dict  # what training.json says


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def training_key(config: Config, content: str, targets: np.ndarray, split: np.ndarray) -> str:
    """Names a training by all it depends on, so that a resumed one is never mixed with another."""
    wanted = {name: getattr(config, name) for name in TRAINING_FIELDS}
    state = hashlib.sha256(json.dumps([wanted, content], sort_keys=True).encode())
    state.update(targets.tobytes() + "".join(split).encode())
    return state.hexdigest()[:12]


def fit(
    config: Config,
    cache: PixelCache,
    targets: np.ndarray,
    split: np.ndarray,
    run: Run,
    *,
    classes: int,
    watch: Callable[[Progress], None] | None = None,
) -> Trained:
    """Train on the training split, choose the epoch on validation, never look at the test split.

    Parameters
    ----------
    config : Config
    cache : PixelCache
        Pixels of all N rows.
    targets : int64 [N]
        Class index of every row.
    split : str [N]
        ``train``, ``validation`` or ``test``.
    run : Run
        Checkpoints, ``history.csv`` and ``training.json`` go into its folder. A training that was interrupted goes on
        from its newest whole checkpoint; the result equals an uninterrupted one's to the bit (same machine, same number
        of threads).
    classes : int
    watch : callable, optional
        Called after every step and every epoch.

    Raises
    ------
    ModelError
        If the loss is no longer a number; checkpoints stay as they are.
    """
    keep_freed_memory()
    train, validation = np.flatnonzero(split == "train"), np.flatnonzero(split == "validation")
    counts = np.bincount(targets[train], minlength=classes)
    session = _Session(config, run.checkpoints / training_key(config, cache.content, targets, split), classes)
    session.resume()
    state = session.state
    progress = Progress(state["epoch"], config.epochs, history=state["history"])

    while state["epoch"] < config.epochs and not (config.patience and state["stale"] >= config.patience):
        epoch = state["epoch"]
        order = epoch_rows(targets[train], config.balance, classes=classes, seed=config.seed, epoch=epoch,
                           target_count=config.target_count)  # fmt: skip
        _train_epoch(session, cache, targets, train[order], counts, progress, watch)

        began = time.perf_counter()
        entry = {"epoch": epoch + 1, "learning_rate": session.optimizer.param_groups[0]["lr"]}
        entry |= _scores("train", state["loss_sum"] / len(order), np.array(state["confusion"]))
        entry |= validate(session.judged, cache, targets, validation, classes)
        state["seconds"] += time.perf_counter() - began
        state["history"].append(entry | {"seconds": round(state["seconds"], 2)})
        if entry["val_balanced_accuracy"] > state["best"]:
            state |= {"best": entry["val_balanced_accuracy"], "best_epoch": epoch + 1, "stale": 0}
            checkpoint.write(session.best_file, dict(session.judged.state_dict()), {"epoch": epoch + 1})
        else:
            state["stale"] += 1
        state |= {"epoch": epoch + 1} | _NEW_EPOCH
        session.save()
        with atomic(run.history) as temporary:
            pd.DataFrame(state["history"]).to_csv(temporary, index=False)
        if watch:
            watch(progress)

    prior = training_prior(counts, config.balance, config.target_count)
    facts = {
        "checkpoint": str(session.best_file.relative_to(run.folder)),
        "best_epoch": state["best_epoch"],
        "epochs": len(state["history"]),
        "seconds": round(state["seconds"], 1),
        "device": str(session.device),
        "prior": prior.tolist(),
        "parameters": sum(p.numel() for p in session.model.parameters()),
    }
    write_json(run.training, facts)
    return load_trained(run, config, classes=classes)


def load_trained(run: Run, config: Config, *, classes: int) -> Trained:
    """The best network of a run that was trained, in evaluation mode."""
    facts = json.loads(run.need(run.training, "03_training").read_text())
    model = create_model(config.model, classes=classes, image_size=config.image_size)
    tensors, _ = checkpoint.read(run.folder / facts["checkpoint"])
    try:
        model.load_state_dict(tensors)
    except RuntimeError:
        raise ModelError(
            f"the weights of {run.folder} are not of a {config.model} with {classes} classes; run 03_training again"
        ) from None
    history = pd.read_csv(run.need(run.history, "03_training"))
    model = model.to(device(), memory_format=torch.channels_last).eval()
    return Trained(model, history, facts["best_epoch"], np.array(facts["prior"]), facts)


_NEW_EPOCH = {"step": 0, "loss_sum": 0.0, "confusion": None}


class _Session:
    """What a checkpoint holds: network, averaged weights, optimizer, and the state that goes into its JSON."""

    def __init__(self, config: Config, folder: Path, classes: int):
        self.config, self.folder, self.device = config, folder, device()
        torch.manual_seed(config.seed)
        model = create_model(config.model, classes=classes, image_size=config.image_size, pretrained=config.pretrained)
        self.model = model.to(self.device, memory_format=torch.channels_last)
        self.average = AveragedModel(self.model, avg_fn=self._mean, use_buffers=True) if config.average else None
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer]
        self.optimizer = kind(self.model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
        self.state = {"epoch": 0, "total_steps": 0, "seconds": 0.0, "history": []} | _NEW_EPOCH
        self.state |= {"best": -1.0, "best_epoch": 0, "stale": 0}

    @property
    def best_file(self) -> Path:
        return self.folder / "best.safetensors"

    @property
    def judged(self) -> Classifier:
        """The network that validation judges: the averaged one where there is one."""
        return self.average.module if self.average else self.model

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


def _train_epoch(session: _Session, cache: PixelCache, targets, rows, counts, progress: Progress, watch) -> None:
    """Go through ``rows`` once, from the step that the session's state names."""
    config, state, model = session.config, session.state, session.model
    epoch, steps = state["epoch"], math.ceil(len(rows) / config.batch_size)
    batches = np.array_split(np.arange(len(rows)), steps)  # nearly equal sizes: no rump that upsets batch norm
    confusion = np.array(state["confusion"] or np.zeros((len(counts), len(counts))), dtype=np.int64)
    weight = torch.from_numpy(loss_weights(counts)).to(session.device) if config.balance == "loss" else None
    model.train()
    for step in range(state["step"], steps):
        began = time.perf_counter()
        index = batches[step]
        chosen = rows[index]
        torch.manual_seed(int(generator(config.seed, epoch, stream=f"dropout {step}").integers(2**62)))
        x = augment(torch.from_numpy(cache.frames[chosen]).to(session.device), config, epoch, index)
        y = torch.from_numpy(targets[chosen]).to(session.device)
        for group in session.optimizer.param_groups:
            group["lr"] = learning_rate(config, (epoch + step / steps) / config.epochs)
        logits = model(x)
        loss = F.cross_entropy(logits, y, weight=weight, label_smoothing=config.label_smoothing)
        value = loss.item()
        if not math.isfinite(value):
            raise ModelError(
                f"the loss became {value} in epoch {epoch + 1}, step {step + 1}; lower learning_rate (now "
                f"{config.learning_rate}). The last good state is kept in {session.folder}"
            )
        session.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        session.optimizer.step()
        if session.average:
            session.average.update_parameters(model)

        np.add.at(confusion, (targets[chosen], logits.argmax(1).cpu().numpy()), 1)
        seconds = time.perf_counter() - began
        state["step"], state["total_steps"] = step + 1, state["total_steps"] + 1
        state["loss_sum"], state["confusion"] = state["loss_sum"] + value * len(chosen), confusion.tolist()
        state["seconds"] += seconds
        if config.checkpoint_every and (step + 1) % config.checkpoint_every == 0 and step + 1 < steps:
            session.save()
        progress.at(epoch, step + 1, steps, value, seconds)
        if watch:
            watch(progress)


def learning_rate(config: Config, done: float) -> float:
    """The learning rate after the fraction ``done`` of all steps: linear warm-up, then constant or a cosine to zero."""
    if done < config.warmup:
        return config.learning_rate * (done + 1e-3) / config.warmup
    if not config.cosine:
        return config.learning_rate
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * (done - config.warmup) / (1 - config.warmup)))


@torch.inference_mode()
def predict(
    model: Classifier, cache: PixelCache, rows: np.ndarray, *, batch_size: int = 64
) -> tuple[np.ndarray, np.ndarray]:
    """Logits float32 [len(rows), K] and pooled features float32 [len(rows), D], without augmentation."""
    was_training, where = model.training, next(model.parameters()).device
    model.eval()
    logits, features = [], []
    for start in range(0, len(rows), batch_size):
        x = plain(torch.from_numpy(cache.pixels[rows[start : start + batch_size]]).to(where))
        answer, pooled, _ = model.answer(x.contiguous(memory_format=torch.channels_last))
        logits.append(answer.cpu().numpy())
        features.append(pooled.cpu().numpy())
    model.train(was_training)
    return np.concatenate(logits), np.concatenate(features)


def write_outputs(trained: Trained, cache: PixelCache, image_ids: np.ndarray, split: np.ndarray, run: Run) -> None:
    """Write the logits of the validation and test rows to ``outputs.npz``; no label is looked at."""
    rows = np.flatnonzero(split != "train")
    logits, _ = predict(trained.model, cache, rows)
    if not np.isfinite(logits).all():
        raise ModelError("the trained network answers with infinite numbers; lower learning_rate and train again")
    buffer = io.BytesIO()
    np.savez(buffer, image_id=image_ids[rows], logits=logits, prior=trained.prior)
    with atomic(run.outputs) as temporary:
        temporary.write_bytes(buffer.getvalue())


def validate(model: Classifier, cache: PixelCache, targets: np.ndarray, rows: np.ndarray, classes: int) -> dict:
    """Cross-entropy, accuracy and balanced accuracy on ``rows``, as ``val_loss``, ``val_accuracy``, ..."""
    logits, _ = predict(model, cache, rows)
    loss = F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(targets[rows])).item()
    confusion = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(confusion, (targets[rows], logits.argmax(1)), 1)
    return _scores("val", loss, confusion)


def _scores(name: str, loss: float, confusion: np.ndarray) -> dict[str, float]:
    """Loss, accuracy and balanced accuracy (mean recall over the classes present) from a confusion matrix [K, K]."""
    right, total = np.diag(confusion), confusion.sum(1)
    recall = right[total > 0] / total[total > 0]
    return {
        f"{name}_loss": loss,
        f"{name}_accuracy": float(right.sum() / total.sum()),
        f"{name}_balanced_accuracy": float(recall.mean()),
    }
