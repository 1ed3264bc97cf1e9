"""Do activation maps lie on the lesion? Compared with lesion masks, constant and centred maps and shuffled weights.

A map's energy is the share of its positive part that falls inside the mask (Wang et al. 2020, arXiv:1910.01279,
section 4.3, there for boxes); the pointing game checks whether its peak does (Zhang et al. 2016, arXiv:1608.00507).
Lesions are photographed large and centred, so both are high by chance: the baselines are a map that is the same
everywhere, one that is always centred, and the maps of the same network with shuffled weights (the sanity
check of Adebayo et al. 2018, arXiv:1810.03292), which must lose both the aim and the likeness to the model's maps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from PIL import Image

from skinlesion.core import framing, images
from skinlesion.core.errors import DataError
from skinlesion.evaluation.intervals import Resamples, in_columns, resample, summarise
from skinlesion.evaluation.metrics import mean_defined, ratio

SIDE = 64  # pixels of the square that maps and masks are compared on
CENTRE_SIGMA = 0.25  # of the centred baseline, in sides
ALL = "all"
MODEL = "model"
BASELINES = UNIFORM, CENTRE, SHUFFLED = "everywhere the same", "centre", "shuffled weights"


def maps_of(model, frames: Sequence[np.ndarray]) -> np.ndarray:
    """The activation map of each frame's label, float32 [N, h, w].

    Raises DataError for a network that has no activation maps.
    """
    found = [prediction.map for prediction in model.predict(frames)]
    if not found or any(one is None for one in found):
        raise DataError("this network has no activation maps: it does not end in pooling and one linear layer")
    return np.stack(found)


def measure(
    model,
    shuffled: Iterable,
    frames: Sequence[np.ndarray],
    image_ids: Sequence[str],
    y: np.ndarray,
    lesions: np.ndarray,
    masks: Mapping[str, str],
    *,
    fit: str,
    crops: int = 1,
    replicates: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Predict the frames that have a lesion mask and compare the maps with it; see :func:`compare_with_masks`.

    Raises DataError where no frame has a mask, or the network has no activation maps.
    ``model``: Predictor; ``shuffled``: Predictors, the same network with shuffled weights; ``frames``: uint8 [H, W, 3]
    each; ``image_ids``, ``y``, ``lesions``: [N], of the frames; ``masks``: {image_id: path of its mask}; ``fit``,
    ``crops``: how the network's squares are cut from a frame.
    """
    rows = [i for i, name in enumerate(image_ids) if name in masks]
    if not rows:
        raise DataError("this source has no lesion masks")
    shown = [frames[i] for i in rows]
    return compare_with_masks(
        maps_of(model, shown),
        np.stack([fit_mask(images.read_image(masks[image_ids[i]]), fit, crops) for i in rows]),
        y[rows],
        model.manifest.labels.codes,
        lesions[rows],
        shuffled=[maps_of(one, shown) for one in shuffled],
        replicates=replicates,
        seed=seed,
    )


def fit_mask(mask: np.ndarray, fit: str, crops: int = 1) -> np.ndarray:
    """The part of a mask that the network gets, uint8 [H, W, 3] with 255 inside, as a square: bool [SIDE, SIDE]."""
    return framing.resize(mask, (SIDE, SIDE), framing.region(mask.shape[0], mask.shape[1], fit, crops))[..., 0] >= 128


def compare_with_masks(
    maps: np.ndarray,
    masks: np.ndarray,
    y: np.ndarray,
    codes: tuple[str, ...],
    lesions: np.ndarray,
    *,
    shuffled: Sequence[np.ndarray] = (),
    replicates: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Energy and pointing of a model's maps and of the baselines, for all images and by class.

    Raises DataError where there are no images, or maps and masks differ in number.
    ``maps``: float [N, h, w], of the predicted class; evidence for it is positive; ``masks``: bool [N, SIDE, SIDE], of
    :func:`fit_mask`; ``y``: int [N], true class, index into ``codes``; ``lesions``: [N], lesion ids; ``shuffled``: the
    same images' maps by the network with shuffled weights, one array a shuffle; their mean counts, since a shuffled
    network's map is often negative everywhere, for every class.
    Returns a row per class (``all`` first) and map (``model`` and :data:`BASELINES`): ``n_images``, ``n_energy``
    (images whose map has a positive part), ``energy``, ``pointing``, ``energy_gain`` and ``pointing_gain`` (the model
    minus this map, paired; missing for the model) and ``likeness`` (mean Spearman correlation with the model's map),
    each with ``_low`` and ``_high``. Maps without any positive part have no energy, and constant ones no likeness: they
    are left out of that mean.
    """
    if not len(maps) == len(masks) == len(y) == len(lesions) or not len(maps):
        raise DataError(
            "evaluating activation maps needs a mask, a class and a lesion id for each of one or more images"
        )
    axis = (np.arange(SIDE) + 0.5) / SIDE - 0.5
    centre = np.exp(-(axis[:, None] ** 2 + axis[None, :] ** 2) / (2 * CENTRE_SIGMA**2))
    inside = masks.reshape(len(masks), -1).astype(np.float64)
    ours = np.stack([enlarged(one) for one in maps])
    candidates = {
        MODEL: ours,
        UNIFORM: np.broadcast_to(np.ones((SIDE, SIDE)), ours.shape),
        CENTRE: np.broadcast_to(centre, ours.shape),
    }
    resamples = resample(lesions, replicates, seed)
    scores = {name: _scores(found, inside, ours) for name, found in candidates.items()}
    if len(shuffled):
        each = [_scores(np.stack([enlarged(one) for one in found]), inside, ours) for found in shuffled]
        scores[SHUFFLED] = {name: mean_defined(np.stack([one[name] for one in each], axis=-1)) for name in each[0]}
    groups = {ALL: np.ones(len(y), bool)} | {code: y == i for i, code in enumerate(codes)}
    return pd.DataFrame(
        [
            {"class": group, "map": name, "n_images": int(rows.sum())} | _row(name, scores, rows, resamples)
            for group, rows in groups.items()
            for name in scores
        ]
    )


def enlarged(one: np.ndarray) -> np.ndarray:
    """A map on the comparison's square, bilinear: float64 [SIDE, SIDE]."""
    picture = Image.fromarray(np.asarray(one, np.float32))
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR), np.float64)


def _scores(found: np.ndarray, inside: np.ndarray, ours: np.ndarray) -> dict[str, np.ndarray]:
    """Each image's energy, pointing and likeness, float64 [N] each; NaN where undefined."""
    flat, positive = found.reshape(len(found), -1), np.maximum(found, 0).reshape(len(found), -1)
    peak = flat == flat.max(axis=1, keepdims=True)  # of a flat top every point counts: chance is the mask's area
    return {
        "energy": ratio((positive * inside).sum(1), positive.sum(1)),
        "pointing": ratio((peak * inside).sum(1), peak.sum(1)),
        "likeness": _correlation(flat, ours.reshape(len(ours), -1)),
    }


def _correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Spearman's correlation of every pair of rows, ties at their mean rank: float64 [N]."""
    a, b = (pd.DataFrame(values).rank(axis=1).to_numpy() for values in (a, b))
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    return ratio((a * b).sum(1), np.sqrt((a**2).sum(1) * (b**2).sum(1)))


def _row(name: str, scores: dict, rows: np.ndarray, resamples: Resamples) -> dict:
    values = dict(scores[name])
    for measure in ("energy", "pointing"):
        gain = np.full(len(rows), np.nan) if name == MODEL else scores[MODEL][measure] - values[measure]
        values[f"{measure}_gain"] = gain
    metrics = {}
    for measure, per_image in values.items():
        defined = rows & np.isfinite(per_image)
        sums = resamples.totals(np.where(defined, per_image, 0.0))
        metrics[measure] = summarise(ratio(sums, resamples.totals(defined)), int(defined.sum()))
    return {"n_energy": int((rows & np.isfinite(values["energy"])).sum())} | in_columns(metrics)
