"""Training: one loop that reads top to bottom, in one process or many, resumable at any checkpoint to the bit."""

from __future__ import annotations

import ctypes
import hashlib
import json
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from skinlesion.core.config import TRAINING_FIELDS, Config
from skinlesion.core.errors import ConfigError
from skinlesion.core.random_streams import generator
from skinlesion.core.runs import Run
from skinlesion.core.tables import counted
from skinlesion.core.writing import lock, write_csv, write_json
from skinlesion.data.cache import PixelCache
from skinlesion.data.splits import split_digest
from skinlesion.training import checkpoint, distributed
from skinlesion.training.balance import epoch_rows
from skinlesion.training.distributed import ALONE, batch_norms
from skinlesion.training.inputs.augment import augment, mix
from skinlesion.training.losses import distillation, learned_prior, make_loss
from skinlesion.training.networks.models import Classifier
from skinlesion.training.parent_runs import TEMPERATURE, Teachers, check_parents, parent_key
from skinlesion.training.session import NEW_EPOCH, Session
from skinlesion.training.trained import Trained, load_trained, predict


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
    ended: bool = False  # no step is left, or none that patience waits for

    def made_step(self, epoch: int, step: int, steps: int, loss: float, seconds: float) -> None:
        self.epoch, self.step, self.steps, self.loss = epoch, step, steps, loss
        self.seconds, self.done = self.seconds + seconds, self.done + 1

    @property
    def seconds_left(self) -> float:
        """At the present pace, should no early stop come."""
        remaining = (self.epochs - self.epoch) * self.steps - self.step
        return self.seconds / max(self.done, 1) * remaining


def training_key(config: Config, content: str, targets: np.ndarray, split: np.ndarray, parents: str) -> str:
    """Names a training by all it depends on, so that a resumed one is never mixed with another.

    ``content`` is that of the pixels, ``parents`` the :func:`skinlesion.training.parent_runs.parent_key`.
    """
    wanted = {name: getattr(config, name) for name in TRAINING_FIELDS}
    state = hashlib.sha256(json.dumps([wanted, content, parents], sort_keys=True).encode())
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

    Under torchrun every process calls it alike; the first one writes.

    Parameters
    ----------
    config : Config
        ``batch_size`` counts over all processes.
    cache : PixelCache
        Pixels of all N rows.
    targets : int64 [N]
        Class index of every row.
    split : str [N]
        ``train``, ``validation`` or ``test``.
    run : Run
        Checkpoints, ``history.csv`` and ``training.json`` go into its folder. A training that was interrupted goes on
        from its newest whole checkpoint; the result equals an uninterrupted one's to the bit (same machine, as many
        threads and processes).
    classes : int
    watch : callable, optional
        Called after every step and every epoch, and once when the training has ended, which may have been before.

    Raises
    ------
    ConfigError
        If a batch is too small for the number of processes or for batch normalisation, or a parent run was trained on
        images that are evaluated here.
    DataError
        If a process does not see the first one's folder, or a parent run is not trained yet.
    ModelError
        If loss or weights are no longer numbers, or a checkpoint is of another network; checkpoints stay as they are.
    SkinLesionError
        If the folder cannot be written to, another process trains there, or a process of this training has ended.
    """
    tell = watch or (lambda progress: None)
    keep_freed_memory()
    check_parents(config, run)
    train, validation = np.flatnonzero(split == "train"), np.flatnonzero(split == "validation")
    counts = np.bincount(targets[train], minlength=classes)
    prior = learned_prior(config, counts)
    folder = run.checkpoints / training_key(config, cache.content, targets, split, parent_key(config, run))
    with distributed.join() as world, lock(folder) if world.first else nullcontext():
        if world.first:
            checkpoint.remove_partial(folder, run.history, run.training)
        session = Session(config, run, folder, classes, world)
        session.resume()
        state = session.state
        teachers = Teachers(config, classes, prior).to(session.device) if config.teachers else None
        progress = Progress(state["epoch"], config.epochs, history=state["history"])
        patience = config.patience if len(validation) else 0
        while state["epoch"] < config.epochs and not (patience and state["stale"] >= patience):
            order = epoch_rows(targets[train], config.balance, classes=classes, seed=config.seed, epoch=state["epoch"],
                               target_count=config.target_count)  # fmt: skip
            _train_epoch(session, teachers, cache, targets, train[order], counts, progress, tell)
            _end_epoch(session, cache, targets, validation, prior)
            _write_history(session, run)
            tell(progress)
        _write_history(session, run)  # again, should a kill have come between the last checkpoint and it
        _write_result(session, run, prior, split)
        world.wait()
        progress.ended = True
        tell(progress)
        return load_trained(run, config, classes=classes)


def _train_epoch(
    session: Session,
    teachers: nn.Module | None,
    cache: PixelCache,
    targets: np.ndarray,
    rows: np.ndarray,
    counts: np.ndarray,
    progress: Progress,
    tell: Callable[[Progress], None],
) -> None:
    """Go through ``rows`` (int64 [M], in the epoch's order) once, from the step that the session's state names.

    ``counts``: int [K], training images per class.
    """
    config, state, world = session.config, session.state, session.world
    epoch, steps = state["epoch"], math.ceil(len(rows) / config.batch_size)
    batches = np.array_split(np.arange(len(rows)), steps)  # nearly equal sizes: no rump that upsets batch norm
    confusion = np.array(state["confusion"] or np.zeros((len(counts), len(counts))), dtype=np.int64)
    loss_of = make_loss(config, counts, session.device)
    sized = config.but(image_size=config.first_size) if epoch < config.first_epochs else config
    session.set_training()
    _check_sizes(session, min(len(batch) for batch in batches))
    for step in range(state["step"], steps):
        began = time.perf_counter()
        index = world.part(batches[step])
        share = len(index) / len(batches[step])
        chosen = rows[index]
        stream = f"dropout {step}" if world.first else f"dropout {step} {world.rank}"
        torch.manual_seed(int(generator(config.seed, epoch, stream=stream).integers(2**62)))
        x = augment(torch.from_numpy(cache.frames[chosen]).to(session.device), sized, epoch, index)
        y = F.one_hot(torch.from_numpy(targets[chosen]), len(counts)).float().to(session.device)
        x, y = mix(x, y, config, epoch, index)
        done = (epoch + step / steps) / config.epochs
        with torch.autocast(session.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            logits = session.model(x).float()
            soft = None if teachers is None else teachers(x).float()
        loss = loss_of(logits, y, done)
        if soft is not None:
            loss = (1 - config.distill) * loss + config.distill * distillation(logits, soft, TEMPERATURE)
        cells = _confusion(targets[chosen], logits.argmax(1).cpu().numpy(), len(counts))
        value, *cells = world.sum(np.array([loss.item() * share, *cells.flat])).tolist()
        session.check_loss(value)
        session.learn(loss, share, learning_rate(config, done))

        confusion += np.array(cells, dtype=np.int64).reshape(confusion.shape)
        due = config.checkpoint_every and (step + 1) % config.checkpoint_every == 0
        if due or step + 1 == steps:
            session.check_weights()
        seconds = time.perf_counter() - began
        state["step"], state["total_steps"] = step + 1, state["total_steps"] + 1
        state["loss_sum"], state["confusion"] = state["loss_sum"] + value * len(batches[step]), confusion.tolist()
        state["seconds"] += seconds
        if due and step + 1 < steps:
            session.save()
        progress.made_step(epoch, step + 1, steps, value, seconds)
        tell(progress)


def _check_sizes(session: Session, smallest: int) -> None:
    config, size = session.config, session.world.size
    if smallest < 2 * size and (size > 1 or batch_norms(session.model)):
        raise ConfigError(
            f"batch_size={config.batch_size} makes batches of {smallest} here, and {config.model} needs {2 * size} in "
            f"{counted(size, 'process')}; raise batch_size" + (" or start fewer processes" if size > 1 else "")
        )


def _end_epoch(
    session: Session, cache: PixelCache, targets: np.ndarray, validation: np.ndarray, prior: np.ndarray
) -> None:
    """Evaluate the epoch that ended, remember the network if it is the best so far, and write a checkpoint."""
    config, state, began = session.config, session.state, time.perf_counter()
    confusion = np.array(state["confusion"])
    entry = {"epoch": state["epoch"] + 1, "learning_rate": session.optimizer.param_groups[0]["lr"]}
    entry |= _scores("train", state["loss_sum"] / int(confusion.sum()), confusion)
    if len(validation):
        entry |= validate(session.evaluated, cache, targets, validation, prior, session.world)
    state["seconds"] += time.perf_counter() - began
    state["history"].append(entry | {"seconds": round(state["seconds"], 2)})
    better = entry.get("val_balanced_accuracy", -1.0) > state["best"]
    state["stale"] = 0 if better else state["stale"] + 1
    state |= {"epoch": entry["epoch"]} | NEW_EPOCH
    if better:
        state["best"] = entry["val_balanced_accuracy"]
    if better or config.keep == "last" or not len(validation):
        state["best_epoch"] = entry["epoch"]
        session.keep_best()
    session.save()


def _write_history(session: Session, run: Run) -> None:
    if session.world.first:
        write_csv(run.history, pd.DataFrame(session.state["history"]))


def _write_result(session: Session, run: Run, prior: np.ndarray, split: np.ndarray) -> None:
    """Write the best weights, and ``training.json``: that the training is finished, and what they were trained by."""
    state, best = session.state, session.folder / "best.safetensors"
    facts = {
        "checkpoint": str(best.relative_to(run.folder)),
        "best_epoch": state["best_epoch"],
        "epochs": len(state["history"]),
        "seconds": round(state["seconds"], 1),
        "device": str(session.device),
        "processes": state["processes"],
        "prior": prior.tolist(),
        "parameters": sum(p.numel() for p in session.model.parameters()),
        "config": session.config.to_dict(),
        "split": split_digest(split),
    }
    if session.world.first:
        checkpoint.write(best, session.best, {"epoch": state["best_epoch"]})
        write_json(run.training, facts)


def learning_rate(config: Config, done: float) -> float:
    """The learning rate after the fraction ``done`` of all steps: linear warm-up, then constant or a cosine to zero."""
    if done < config.warmup:
        return config.learning_rate * min(1.0, (done + 1e-3) / config.warmup)
    if not config.cosine:
        return config.learning_rate
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * (done - config.warmup) / (1 - config.warmup)))


def validate(
    model: Classifier, cache: PixelCache, targets: np.ndarray, rows: np.ndarray, prior: np.ndarray, world=ALONE
) -> dict[str, float]:
    """Cross-entropy, accuracy and balanced accuracy on ``rows``, as ``val_loss``, ``val_accuracy``, ...

    Balanced accuracy is that of the decision for a uniform prior, the logits less the log of the ``prior`` that the
    network learned [K]; loss and accuracy are the logits' own. The processes of ``world`` share the rows.
    """
    logits = np.zeros((len(rows), len(prior)), dtype=np.float32)
    part = world.part(np.arange(len(rows)))
    if len(part):
        logits[part], _ = predict(model, cache, rows[part])
    logits = world.sum(logits).astype(np.float32)
    truth = targets[rows]
    loss = F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(truth)).item()
    even = np.where(prior > 0, logits - np.log(np.maximum(prior, 1e-8)), -np.inf)
    scores = _scores("val", loss, _confusion(truth, logits.argmax(1), len(prior)))
    return scores | {"val_balanced_accuracy": _balanced_accuracy(_confusion(truth, even.argmax(1), len(prior)))}


def _confusion(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    return np.bincount(truth * classes + predicted, minlength=classes**2).reshape(classes, classes)


def _scores(name: str, loss: float, confusion: np.ndarray) -> dict[str, float]:
    """Loss, and accuracy and balanced accuracy from a confusion matrix [K, K]."""
    return {
        f"{name}_loss": loss,
        f"{name}_accuracy": float(np.diag(confusion).sum() / confusion.sum()),
        f"{name}_balanced_accuracy": _balanced_accuracy(confusion),
    }


def _balanced_accuracy(confusion: np.ndarray) -> float:
    """Mean recall over the classes that occur in a confusion matrix [K, K]: true classes are rows."""
    right, total = np.diag(confusion), confusion.sum(1)
    return float((right[total > 0] / total[total > 0]).mean())


_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # from glibc's malloc.h


def keep_freed_memory() -> bool:
    """Make glibc reuse large freed blocks instead of returning them to the kernel, for this process.

    Every step of a training on the CPU would otherwise have the same pages zeroed anew: the classic CNN took 1.5 times
    as long (64 images of 128 px, two cores). Returns False where there is no glibc; nothing changes there.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, 2**31 - 4097))
