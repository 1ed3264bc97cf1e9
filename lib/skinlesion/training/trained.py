"""A finished training: loading its best network, and the network's outputs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from skinlesion.core.config import Config
from skinlesion.core.errors import DataError, ModelError
from skinlesion.core.runs import Run
from skinlesion.core.writing import atomic
from skinlesion.data.cache import PixelCache
from skinlesion.training import checkpoint
from skinlesion.training.inputs.augment import to_inputs
from skinlesion.training.networks.models import Classifier, create_model, mean_outputs


@dataclass(frozen=True)
class Trained:
    """A finished training: the network with its best weights, and how it got there."""

    model: Classifier
    history: pd.DataFrame  # one row per epoch
    best_epoch: int  # chosen on validation, counted from 1
    prior: np.ndarray  # class prior of the training samples, float64 [K]
    facts: dict  # the content of training.json


def device() -> torch.device:
    """A GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def facts_of(run: Run, maker: str = "03_training") -> dict:
    """The content of ``training.json``, of a finished training.

    Raises DataError where there is none (it names the ``maker``), or it is damaged.
    """
    path = run.need(run.training, maker)
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return facts | {"checkpoint": str(facts["checkpoint"]), "prior": [float(share) for share in facts["prior"]]}
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error!r}); train that run again from its checkpoints") from None


def load_trained(run: Run, config: Config, *, classes: int) -> Trained:
    """The best network of a run that was trained, in evaluation mode.

    Raises DataError where the run is not trained yet, or its ``training.json`` is damaged. Raises ModelError where its
    weights are damaged, or of another network.
    """
    facts = facts_of(run)
    model = create_model(config.model, classes=classes, image_size=config.image_size, constancy=config.constancy)
    tensors, _ = checkpoint.read(run.folder / facts["checkpoint"])
    try:
        model.load_state_dict(tensors)
    except RuntimeError:
        raise ModelError(
            f"the weights of {run.folder} are not of a {config.model} with {classes} classes; run 03_training again"
        ) from None
    history = pd.read_csv(run.need(run.history, "03_training"))
    model = model.to(device()).to(memory_format=torch.channels_last).eval()
    return Trained(model, history, facts["best_epoch"], np.array(facts["prior"]), facts)


@torch.inference_mode()
def predict(
    model: Classifier, cache: PixelCache, rows: np.ndarray, *, views: int = 1, batch_size: int = 64
) -> tuple[np.ndarray, np.ndarray]:
    """Logits float32 [len(rows), K] and pooled features float32 [len(rows), D], means over ``views`` symmetries.

    The cache's crops take turns where it has two a frame.
    """
    crops = cache.crops.shape[1]
    was_training, where = model.training, next(model.parameters()).device
    model.eval()
    logits, features, batch_size = [], [], max(1, batch_size // views)
    for start in range(0, len(rows), batch_size):
        pixels = cache.crops[rows[start : start + batch_size]].swapaxes(0, 1)
        x = to_inputs(torch.from_numpy(np.concatenate(pixels)).to(where))
        mean, pooled, _ = mean_outputs(model, x.contiguous(memory_format=torch.channels_last), views, crops)
        logits.append(mean.cpu().numpy())
        features.append(pooled.cpu().numpy())
    model.train(was_training)
    return np.concatenate(logits), np.concatenate(features)


def write_outputs(
    trained: Trained, cache: PixelCache, image_ids: np.ndarray, split: np.ndarray, run: Run, *, views: int = 1
) -> None:
    """Write logits and features of the validation and test rows to ``outputs.npz``; no label is used.

    ``cache`` has the pixels of all N rows, ``image_ids`` and ``split`` are str [N], and ``views`` counts the mirror
    images whose outputs are averaged. Raises ModelError where a logit is infinite or no number.
    """
    rows = np.flatnonzero(np.isin(split, ("validation", "test")))
    # a training of all folds on a split without test images leaves none to predict
    logits, features = np.empty((0, len(trained.prior))), np.empty((0, 0))
    if len(rows):
        logits, features = predict(trained.model, cache, rows, views=views)
    if not np.isfinite(logits).all():
        raise ModelError("the trained network's logits are not finite; lower learning_rate and train again")
    _savez(
        run.outputs, image_id=image_ids[rows], logits=logits, features=features.astype(np.float16), prior=trained.prior
    )


def write_features(image_ids: np.ndarray, features: np.ndarray, run: Run) -> None:
    """Write features of training images, float [N, D], to ``features.npz``: similar cases are searched among them."""
    _savez(run.features, image_id=image_ids, features=features.astype(np.float16))


def _savez(path: Path, **arrays: np.ndarray) -> None:
    """Write arrays to an ``.npz`` file, whole or not at all."""
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
