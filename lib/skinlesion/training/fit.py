"""Training: one loop that reads top to bottom, resumable at any checkpoint to the bit."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from skinlesion.config import Config
from skinlesion.data.cache import PixelCache
from skinlesion.errors import ModelError
from skinlesion.runs import Run, atomic, write_json
from skinlesion.training import checkpoint
from skinlesion.training.augment import augment
from skinlesion.training.balance import epoch_rows
from skinlesion.training.chance import generator
from skinlesion.training.losses import distillation, learned_prior, make_loss
from skinlesion.training.memory import keep_freed_memory
from skinlesion.training.mixing import mix
from skinlesion.training.models import Classifier
from skinlesion.training.session import NEW_EPOCH, Session
from skinlesion.training.teachers import TEMPERATURE, Teachers, teachers_stamp
from skinlesion.training.trained import Trained, load_trained, predict

#: What the trained weights depend on, besides pixels, labels and split.
TRAINING_FIELDS = (
    "seed", "fold", "image_size", "fit", "balance", "target_count", "rotation", "flip", "scale", "shift", "shear",
    "color", "degrade", "rand_augment", "erase", "mix", "model", "pretrained", "freeze", "epochs", "batch_size",
    "optimizer", "learning_rate", "weight_decay", "warmup", "cosine", "loss", "label_smoothing", "teachers", "distill",
    "average", "keep", "patience",
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


def training_key(config: Config, content: str, targets: np.ndarray, split: np.ndarray) -> str:
    """Names a training by all it depends on, so that a resumed one is never mixed with another."""
    wanted = {name: getattr(config, name) for name in TRAINING_FIELDS}
    state = hashlib.sha256(json.dumps([wanted, content, teachers_stamp(config)], sort_keys=True).encode())
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
    prior = learned_prior(config, counts)
    session = Session(config, run.checkpoints / training_key(config, cache.content, targets, split), classes)
    session.resume()
    state = session.state
    teachers = Teachers(config, classes, prior).to(session.device) if config.teachers else None
    progress = Progress(state["epoch"], config.epochs, history=state["history"])

    patience = config.patience if len(validation) else 0
    while state["epoch"] < config.epochs and not (patience and state["stale"] >= patience):
        epoch = state["epoch"]
        order = epoch_rows(targets[train], config.balance, classes=classes, seed=config.seed, epoch=epoch,
                           target_count=config.target_count)  # fmt: skip
        _train_epoch(session, teachers, cache, targets, train[order], counts, progress, watch)

        began = time.perf_counter()
        entry = {"epoch": epoch + 1, "learning_rate": session.optimizer.param_groups[0]["lr"]}
        entry |= _scores("train", state["loss_sum"] / len(order), np.array(state["confusion"]))
        if len(validation):
            entry |= validate(session.judged, cache, targets, validation, prior)
        state["seconds"] += time.perf_counter() - began
        state["history"].append(entry | {"seconds": round(state["seconds"], 2)})
        better = entry.get("val_balanced_accuracy", -1.0) > state["best"]
        state["stale"] = 0 if better else state["stale"] + 1
        if better:
            state["best"] = entry["val_balanced_accuracy"]
        if better or config.keep == "last" or not len(validation):
            state["best_epoch"] = epoch + 1
            checkpoint.write(session.best_file, dict(session.judged.state_dict()), {"epoch": epoch + 1})
        state |= {"epoch": epoch + 1} | NEW_EPOCH
        session.save()
        with atomic(run.history) as temporary:
            pd.DataFrame(state["history"]).to_csv(temporary, index=False)
        if watch:
            watch(progress)

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


def _train_epoch(session: Session, teachers, cache: PixelCache, targets, rows, counts, progress, watch) -> None:
    """Go through ``rows`` once, from the step that the session's state names."""
    config, state, model = session.config, session.state, session.model
    epoch, steps = state["epoch"], math.ceil(len(rows) / config.batch_size)
    batches = np.array_split(np.arange(len(rows)), steps)  # nearly equal sizes: no rump that upsets batch norm
    confusion = np.array(state["confusion"] or np.zeros((len(counts), len(counts))), dtype=np.int64)
    loss_of = make_loss(config, counts, session.device)
    session.set_training()
    for step in range(state["step"], steps):
        began = time.perf_counter()
        index = batches[step]
        chosen = rows[index]
        torch.manual_seed(int(generator(config.seed, epoch, stream=f"dropout {step}").integers(2**62)))
        x = augment(torch.from_numpy(cache.frames[chosen]).to(session.device), config, epoch, index)
        y = F.one_hot(torch.from_numpy(targets[chosen]), len(counts)).float().to(session.device)
        x, y = mix(x, y, config, epoch, index)
        done = (epoch + step / steps) / config.epochs
        for group in session.optimizer.param_groups:
            group["lr"] = learning_rate(config, done)
        logits = model(x)
        loss = loss_of(logits, y, done)
        if teachers is not None:
            loss = (1 - config.distill) * loss + config.distill * distillation(logits, teachers(x), TEMPERATURE)
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

        confusion += _confusion(targets[chosen], logits.argmax(1).cpu().numpy(), len(counts))
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


def validate(model: Classifier, cache: PixelCache, targets: np.ndarray, rows: np.ndarray, prior: np.ndarray) -> dict:
    """Cross-entropy, accuracy and balanced accuracy on ``rows``, as ``val_loss``, ``val_accuracy``, ...

    Balanced accuracy is that of the decision for a uniform prior, the logits less the log of the ``prior`` that the
    network learned [K]; loss and accuracy are the logits' own.
    """
    logits, _ = predict(model, cache, rows)
    truth = targets[rows]
    loss = F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(truth)).item()
    even = logits - np.log(np.maximum(prior, 1e-8))
    return _scores("val", loss, _confusion(truth, logits.argmax(1), len(prior))) | {
        "val_balanced_accuracy": _scores("", 0.0, _confusion(truth, even.argmax(1), len(prior)))["_balanced_accuracy"]
    }


def _confusion(truth: np.ndarray, answer: np.ndarray, classes: int) -> np.ndarray:
    return np.bincount(truth * classes + answer, minlength=classes**2).reshape(classes, classes)


def _scores(name: str, loss: float, confusion: np.ndarray) -> dict[str, float]:
    """Loss, accuracy and balanced accuracy (mean recall over the classes present) from a confusion matrix [K, K]."""
    right, total = np.diag(confusion), confusion.sum(1)
    recall = right[total > 0] / total[total > 0]
    return {
        f"{name}_loss": loss,
        f"{name}_accuracy": float(right.sum() / total.sum()),
        f"{name}_balanced_accuracy": float(recall.mean()),
    }
