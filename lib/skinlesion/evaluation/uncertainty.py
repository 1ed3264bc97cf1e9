"""Uncertain cases: prediction sets, which hold the true class at a stated level, and deferring images to a person.

Of the lesions of *each* class, the set holds the true class for at least the level's share (label-conditional, or
Mondrian, conformal prediction: Vovk, Gammerman and Shafer 2005, Algorithmic Learning in a Random World, 4.5). Images of
a lesion are alike, so the lesion is the unit: each has the same weight, spread over its images (hierarchical conformal
prediction, Lee, Barber and Willett 2023, arXiv:2306.06342). This holds for new lesions of the sources, and of their
mix, that the thresholds were chosen on; for external images it has to be measured.

Where the least certain images are deferred (selective prediction), risk is the fraction of wrong labels among the
images that are retained, coverage the fraction that is (El-Yaniv and Wiener 2010, JMLR 11; Geifman and El-Yaniv 2017,
arXiv:1705.08500).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from skinlesion.core.taxonomy import LabelSet
from skinlesion.evaluation.intervals import describe, in_columns, proportion, proportions, resample, summarise
from skinlesion.evaluation.metrics import confusion_metrics
from skinlesion.evaluation.predictions import Predictions

LEVEL = 0.9  # share of the lesions of each class whose prediction set is to hold it

#: Fractions of the images that are retained.
COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)


def choose_sets(
    probabilities: np.ndarray, y: np.ndarray, lesions: np.ndarray, labels: LabelSet, level: float = LEVEL
) -> np.ndarray:
    """The lowest probability with which each class belongs to the set, float64 [K].

    It is 0 for a class with too few lesions for the level, which is in every set: G lesions need level * (G + 1) <= G,
    so 0.9 needs 9.
    ``probabilities``: float [N, K], of images that the network was not trained on: out of fold, or validation; ``y``:
    int [N], true class; ``lesions``: [N], lesion ids; ``level``: float in (0, 1), the share of each class's lesions
    whose set is to hold it.
    """
    found = np.zeros(len(labels))
    for i in range(len(labels)):
        own = np.asarray(y) == i
        _, lesion, images = np.unique(np.asarray(lesions)[own].astype(str), return_inverse=True, return_counts=True)
        p = np.asarray(probabilities, np.float64)[own, i]
        order = np.argsort(-p, kind="stable")
        reached = np.cumsum(1 / images[lesion[order]]) if own.any() else np.empty(0)
        needed = level * (len(images) + 1) - 1e-9
        if needed <= len(images):
            found[i] = p[order][np.argmax(reached >= needed)]
    return found


def set_coverage(predictions: Predictions, thresholds: np.ndarray, groups: pd.DataFrame | None = None) -> pd.DataFrame:
    """How often the set holds the true class: over all, by class, by source, by confirmation and by subgroup.

    ``predictions``: none of which chose the ``thresholds``, float64 [K] of :func:`choose_sets`; ``groups``: DataFrame
    of words [N], one column per attribute, see :func:`skinlesion.evaluation.subgroups.group_images`. Returns a row per
    group: ``attribute``, ``group``, ``value``, ``low``, ``high`` (share of images whose set holds the true class, with
    its 95% interval), ``n`` (images), ``size`` (mean number of classes in a set), ``empty`` (share of sets with none),
    ``note``.
    """
    held = predictions.probabilities >= thresholds
    right, size = held[np.arange(len(predictions)), predictions.y], held.sum(axis=1)
    lesion = np.unique(predictions.lesions.astype(str), return_inverse=True)[1]
    codes = np.array(predictions.labels.codes, object)
    words = {"all": np.full(len(predictions), "", object), "class": codes[predictions.y]}
    words["source"] = predictions.source
    words["histology"] = np.where(predictions.has_histology, "yes", np.where(predictions.dx_type == "", "", "no"))
    if groups is not None:
        words |= {name: groups[name].astype(object).to_numpy() for name in groups}
    lines = []
    for attribute, of in words.items():
        names = list(codes) if attribute == "class" else list(pd.unique(of))
        for name in names:
            rows = of == name
            if not rows.any() or (attribute != "all" and name in ("", "unknown")):
                continue
            few = attribute == "class" and not thresholds[predictions.labels.index(name)]
            lines.append(
                {"attribute": attribute, "group": name}
                | proportion(right[rows], lesion[rows])
                | {"size": float(size[rows].mean()), "empty": float((size[rows] == 0).mean())}
                | {"note": "too few lesions for this level: in every set" if few else ""}
            )
    return pd.DataFrame(lines)


def coverage_table(table: pd.DataFrame) -> pd.DataFrame:
    """The table of :func:`set_coverage` for people, one group per row."""
    return pd.DataFrame(
        {
            "group": [f"{row.attribute}: {row.group}" if row.group else row.attribute for row in table.itertuples()],
            "images": [f"{n:,}" for n in table["n"]],
            "set holds the true class": [describe(row) for row in table.to_dict("records")],
            "classes in a set": [f"{size:.1f}" for size in table["size"]],
            "empty sets": [f"{share:.1%}" for share in table["empty"]],
            "note": table["note"],
        }
    ).set_index("group")


def coverage_curve(predictions: Predictions, *, replicates: int = 2000, seed: int = 0) -> pd.DataFrame:
    """What is right among the images that a model is surest of, by the calibrated probability of the label.

    Returns a row for each of :data:`COVERAGES`: ``coverage``, ``threshold`` (the least confidence that is retained),
    ``n_images``, ``classes`` (how many still occur), and, each with ``_low`` and ``_high``: ``balanced_accuracy`` over
    the classes that still occur, ``risk``, ``malignant_retained`` (fraction of all malignant images) and
    ``malignant_missed`` (fraction of the retained malignant images whose label is benign). Images as sure as the last
    one are retained too.
    """
    resamples = resample(predictions.lesions, replicates, seed)
    k, y, predicted = len(predictions.labels), predictions.y, predictions.predicted
    confidence = predictions.probabilities[np.arange(len(y)), predicted]
    cells = np.eye(k * k)[y * k + predicted]
    malignant = predictions.is_malignant
    falling = np.sort(confidence)[::-1]
    rows = []
    for coverage in COVERAGES:
        threshold = falling[max(1, round(coverage * len(confidence))) - 1]
        retained = confidence >= threshold
        found = confusion_metrics(resamples.totals(cells * retained[:, None]).reshape(-1, k, k))
        shares = {
            "risk": (predicted != y, retained),
            "malignant_retained": (retained, malignant),
            "malignant_missed": (~predictions.malignant_label, retained & malignant),
        }
        metrics = {"balanced_accuracy": summarise(found["balanced_accuracy"], int(retained.sum()))}
        metrics |= proportions(shares, resamples.lesion)
        counts: dict[str, Any] = {
            "coverage": float(retained.mean()),
            "threshold": float(threshold),
            "n_images": int(retained.sum()),
            "classes": len(np.unique(y[retained])),
        }
        rows.append(counts | in_columns(metrics))
    return pd.DataFrame(rows)
