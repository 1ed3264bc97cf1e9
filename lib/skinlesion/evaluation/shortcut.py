"""Shortcuts: what the border of an image says about the class, and what its colour does to the referral.

The border shows skin and camera, hardly ever the lesion. Where a small model reads the class from it, figures within
one data set are too high, and a network may recognise the camera instead of the disease.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from skinlesion.core.colour import BORDER, GAIN
from skinlesion.core.errors import DataError
from skinlesion.core.tables import counted
from skinlesion.evaluation.intervals import Metric, describe, is_significant, resample, summarise
from skinlesion.evaluation.metrics import ranking, ratio
from skinlesion.evaluation.predictions import Predictions

FOLDS = 5
LEAST = 20  # benign images that a border colour is the mean of


def border_color(frame: np.ndarray) -> np.ndarray:
    """Mean colour of the outer eighth of each side: uint8 [H, W, 3] -> float64 [3], grey levels."""
    return frame[_border(*frame.shape[:2])].mean(axis=0)


def border_features(frame: np.ndarray) -> np.ndarray:
    """Mean, spread and outer deciles of each channel in the border, and the mean of the corners: float64 [15]."""
    height, width = frame.shape[:2]
    pixels = frame[_border(height, width)].astype(np.float64)
    down, across = height // BORDER, width // BORDER
    corners = frame[np.r_[:down, height - down : height]][:, np.r_[:across, width - across : width]]
    parts = pixels.mean(0), pixels.std(0), *np.quantile(pixels, (0.1, 0.9), axis=0), corners.mean((0, 1))
    return np.concatenate(parts)


def _border(height: int, width: int) -> np.ndarray:
    """Where the border is, bool [height, width]."""
    inside = np.zeros((height, width), bool)
    inside[height // BORDER : height - height // BORDER, width // BORDER : width - width // BORDER] = True
    return ~inside


def border_auroc(
    frames: Sequence[np.ndarray], images: Predictions, *, replicates: int = 2000, seed: int = 0
) -> dict[str, Metric]:
    """AUROC of malignant against benign, read from the border alone and by the network.

    The small model is a logistic regression on :func:`border_features`, their squares and products, cross-validated by
    lesion on these images. Returns a dict of metrics: ``border``, ``network``, and ``difference``, network less border,
    paired by lesion. Raises DataError where there are fewer than two malignant or benign lesions.
    ``frames``: uint8 [H, W, 3] each, of the images that were predicted.
    """
    malignant = images.is_malignant
    folds = min(FOLDS, *(len(np.unique(images.lesions[malignant == value])) for value in (True, False)))
    if folds < 2:
        raise DataError("the border is read with two malignant and two benign lesions or more")
    model = make_pipeline(StandardScaler(), PolynomialFeatures(2, include_bias=False), StandardScaler(),
                          LogisticRegression(C=0.01, class_weight="balanced", max_iter=1000))  # fmt: skip
    score = cross_val_predict(
        model,
        np.stack([border_features(frame) for frame in frames]),
        malignant,
        groups=images.lesions,
        cv=StratifiedGroupKFold(folds, shuffle=True, random_state=seed),
        method="decision_function",
    )
    resamples = resample(images.lesions, replicates, seed)
    border, network = (ranking(values, malignant, resamples)[0] for values in (score, images.malignant_probability))
    found = {"border": border, "network": network, "difference": network - border}
    return {name: summarise(values, len(images)) for name, values in found.items()}


def recolor(frame: np.ndarray, own: np.ndarray, color: np.ndarray) -> np.ndarray:
    """The frame as under another light (von Kries): one gain a channel, which turns one colour into another.

    ``frame``: uint8 [H, W, 3], as is the result; ``own``, ``color``: float [3], grey
    levels, its border's colour before and after.
    """
    gain = np.clip(np.asarray(color) / np.maximum(own, 0.25), 1 / GAIN, GAIN)
    return np.clip(np.round(frame * gain), 0, 255).astype(np.uint8)


def camera_groups(frame: pd.DataFrame) -> np.ndarray:
    """What goes with the camera, str [N]: the source; within one source, how the diagnosis was confirmed.

    ``frame``: DataFrame with ``dx_type``, and ``source`` where there are several.
    """
    several = "source" in frame and frame["source"].nunique() > 1
    return frame["source" if several else "dx_type"].to_numpy(str)


def border_colors(frames: Sequence[np.ndarray], benign: np.ndarray, groups: np.ndarray) -> dict[str, np.ndarray]:
    """Mean border colour of the benign images of each group of at least :data:`LEAST`; of all where there is none.

    ``frames``: uint8 [H, W, 3] each, N of them; ``benign``: bool [N]; ``groups``: str [N], of :func:`camera_groups`.
    Returns {group: float64 [3]}.
    """
    rows = np.flatnonzero(benign)
    colors = pd.DataFrame([border_color(frames[row]) for row in rows.tolist()], columns=range(3), dtype=float)
    by_group = colors.groupby(np.asarray(groups, object)[rows])
    found = by_group.mean()[by_group.size() >= LEAST]
    if found.empty:
        return {"all": colors.mean().to_numpy()} if len(colors) else {}
    return {str(name): color.to_numpy() for name, color in found.iterrows()}


def recoloring(
    model,
    frames: Sequence[np.ndarray],
    squares: Sequence[np.ndarray],
    images: Predictions,
    colors: Mapping[str, np.ndarray],
    *,
    threshold: float,
    replicates: int = 2000,
    seed: int = 0,
) -> list[dict]:
    """How much less often malignant images are referred once their border has another colour.

    One dict a colour and set of images (``malignant``, ``melanoma``): ``border``, ``images``, and the metrics
    ``before``, ``after`` and ``change`` of the share that is referred. ``model``: Predictor, or anything with its
    ``predict``; ``frames``: uint8 [H, W, 3] each, of ``images``, whose malignant ones are used; ``squares``: uint8 [S,
    S, 3] each, the same images as they were when ``colors``, {group: float [3]} of :func:`border_colors`, were
    measured; ``threshold``: malignant probability from which an image is referred.
    """
    rows = np.flatnonzero(images.is_malignant)
    if not len(rows):
        return []
    own = images.take(rows)
    resamples = resample(own.lesions, replicates, seed)
    melanoma = np.array([own.labels.codes[y] == "mel" for y in own.y])

    def referred(pictures: list[np.ndarray]) -> np.ndarray:
        return np.array([one.malignant_probability >= threshold for one in model.predict(pictures)], float)

    before, found = referred([frames[row] for row in rows.tolist()]), []
    for name, color in colors.items():
        after = referred([recolor(frames[row], border_color(squares[row]), color) for row in rows.tolist()])
        for kind, chosen in (("malignant", np.ones(len(rows), bool)), ("melanoma", melanoma)):
            total = resamples.totals(chosen)
            shares = {"before": before, "after": after, "change": after - before}
            values = {key: ratio(resamples.totals(share * chosen), total) for key, share in shares.items()}
            metrics = {key: summarise(value, int(chosen.sum())) for key, value in values.items()}
            found.append({"border": name, "images": kind, **metrics})
    return found


def tables(found: dict) -> tuple[pd.DataFrame, pd.DataFrame]:
    """AUROC and change of referral for people, from ``{"auroc": border_auroc(…), "recolored": recoloring(…)}``."""
    names = {"border": "border and corner colours alone", "network": "network", "difference": "difference"}
    auroc = {words: describe(found["auroc"][key]) for key, words in names.items()}
    first = pd.DataFrame({"AUROC, malignant against benign": auroc}).rename_axis("read from")
    rows = [
        {"images": f"{row['images']} ({row['change']['n']:,})", "border colour of benign images": row["border"]}
        | {words: describe(row[key], 2) for key, words in (("before", "referred"), ("after", "after recolouring"),
                                                           ("change", "change"))}
        for row in found["recolored"]
    ]  # fmt: skip
    return first, pd.DataFrame(rows).set_index("images") if rows else pd.DataFrame()


def in_words(found: dict) -> str:
    """What the probe found, in two sentences."""
    auroc = found["auroc"]
    text = (
        f"A logistic regression separates malignant from benign by the border's colours with an AUROC of "
        f"{describe(auroc['border'])}; the network has {describe(auroc['network'])}."
    )
    rows = [row for row in found["recolored"] if row["change"]["value"] is not None]
    if not rows:
        return text
    worst = max(rows, key=lambda row: abs(row["change"]["value"]))
    change = worst["change"]
    return (
        f"{text} The largest change of the referral by another border colour: {describe(change, 2)} for "
        f"{counted(change['n'], worst['images'] + ' image')} ({worst['border']}); "
        f"the interval {'excludes' if is_significant(change) else 'includes'} 0."
    )
