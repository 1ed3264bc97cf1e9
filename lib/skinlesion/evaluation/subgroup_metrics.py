"""Metrics by subgroup of people, sites or diagnoses, and whether gaps between subgroups are significant.

A group is compared with all others whose group is known. Groups differ in their mix of diagnoses (older people have
more carcinomas), which alone makes a gap. So groups are permuted among the lesions *of each class* many times: the mean
of the permuted gaps is what the mix explains, their spread is chance, and a gap far outside of it needs another cause.
All gaps are tested together against the largest standardised gap of each permutation (the single-step max-T of Westfall
and Young 1993, Resampling-Based Multiple Testing): the probability that any of them is called significant where none is
stays at 5%, and since gaps that move together are permuted together, less power is lost than with Bonferroni or Holm.

Attributes overlap (a clinic's camera, its patients' skin and its way to confirm a diagnosis come together), so a gap
belongs to a group, not to its name: it may be another attribute's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from skinlesion.core.errors import DataError
from skinlesion.core.tables import counted
from skinlesion.evaluation import calibration
from skinlesion.evaluation.intervals import Resamples, proportions, resample, summarise
from skinlesion.evaluation.metrics import ranking, ratio
from skinlesion.evaluation.predictions import Predictions
from skinlesion.evaluation.subgroups import UNKNOWN

ENOUGH = 10  # lesions of a kind without which a group's figure for it is not given
ENOUGH_FOR_CALIBRATION = ENOUGH * calibration.BINS

NAMES = {
    "balanced_accuracy": "Balanced accuracy",
    "accuracy": "Accuracy",
    "malignant_auroc": "AUROC, malignant against benign",
    "sensitivity": "Sensitivity for malignant lesions at the referral threshold",
    "specificity": "Specificity at the referral threshold",
    "ece": "Calibration error (ECE)",
}


@dataclass(frozen=True, eq=False)
class _Rows:
    """What the metrics of any set of images are sums or rankings of; a row per image."""

    sums: np.ndarray  # [N, 2K + 2 + bins]: class, class if right, malignant referred, benign referred, gaps
    malignant_probability: np.ndarray
    is_malignant: np.ndarray
    malignant_classes: np.ndarray

    @classmethod
    def of(cls, predictions: Predictions, threshold: float | None) -> _Rows:
        truth = np.eye(len(predictions.labels))[predictions.y]
        right = (predictions.predicted == predictions.y)[:, None]
        score = predictions.malignant_probability
        referred = np.full(len(score), np.nan) if threshold is None else predictions.referred(threshold)
        referred_malignant = np.where(predictions.is_malignant, referred, 0.0)
        referred_benign = np.where(predictions.is_malignant, 0.0, referred)
        gaps = calibration.gaps(*calibration.top_label(predictions.probabilities, predictions.y))
        sums = np.column_stack([truth, truth * right, referred_malignant, referred_benign, gaps])
        malignant = np.array([diagnosis.malignant for diagnosis in predictions.labels])
        return cls(sums, score, predictions.is_malignant, malignant)

    def metrics(self, resamples: Resamples, classes: np.ndarray, wanted: list[str]) -> dict[str, np.ndarray]:
        """The wanted metrics of every row of ``resamples.counts``, [1 + R] each; NaN where undefined."""
        k = len(self.malignant_classes)
        totals = resamples.totals(self.sums)
        true, right, caught, alarms = totals[:, :k], totals[:, k : 2 * k], totals[:, 2 * k], totals[:, 2 * k + 1]
        n = true.sum(axis=1)
        balanced_accuracy = np.full(len(n), np.nan)
        if classes.any():
            balanced_accuracy = ratio(right, true)[:, classes].mean(axis=1)
        found = {
            "balanced_accuracy": balanced_accuracy,
            "accuracy": ratio(right.sum(axis=1), n),
            "sensitivity": ratio(caught, true[:, self.malignant_classes].sum(axis=1)),
            "specificity": 1 - ratio(alarms, true[:, ~self.malignant_classes].sum(axis=1)),
            "ece": ratio(np.abs(totals[:, 2 * k + 2 :]).sum(axis=1), n),
        }
        if "malignant_auroc" in wanted:
            found["malignant_auroc"], _ = ranking(self.malignant_probability, self.is_malignant, resamples)
        return {name: found[name] for name in wanted}

    def shares(self, image: np.ndarray, lesion: np.ndarray) -> dict[str, dict]:
        """The metrics that are proportions, of some images (bool [N]), with their intervals."""
        k = len(self.malignant_classes)
        right = self.sums[:, k : 2 * k].sum(axis=1) > 0
        caught, alarm = self.sums[:, 2 * k] > 0, self.sums[:, 2 * k + 1] > 0
        malignant = self.is_malignant
        return proportions(
            {
                "accuracy": (right, image),
                "sensitivity": (caught, image & malignant),
                "specificity": (~alarm, image & ~malignant),
            },
            lesion,
        )


def by_subgroup(
    predictions: Predictions,
    groups: pd.DataFrame,
    threshold: float | None = None,
    hold: str = "",
    replicates: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Every metric of :data:`NAMES` for every group, with its gap to all others and a test of that gap.

    A lesion counts for the group that most of its images name. Balanced accuracy is the mean sensitivity over the kinds
    of which the group and the others have at least :data:`ENOUGH` lesions each; sensitivity, specificity and AUROC need
    as many malignant, benign or both, and ECE, whose bins are those of all images, :data:`ENOUGH_FOR_CALIBRATION`
    lesions. Where there are fewer, the figure is left out and ``note`` says why. Raises DataError if ``groups`` does
    not have one word per image, or no column ``hold``.
    ``groups``: DataFrame of words [N], one column per attribute, as
    :func:`skinlesion.evaluation.subgroups.group_images` gives; ``unknown`` is no group. Categories keep their order,
    other words come by their number of images.
    ``threshold``: of the referral, on the malignant probability; without it there is no sensitivity and specificity.
    ``hold``: an attribute of ``groups`` whose mix explains gaps as the mix of kinds does: groups of all other
    attributes are permuted within it too. With "diagnosis by", followed-up nevi (easy ones) trade places with such
    alone. ``replicates``: of the lesion bootstrap behind the intervals, and of the permutations behind the test.
    Returns a row per group and metric: ``attribute, group, images, lesions, malignant`` (lesions), ``metric``; ``value,
    low, high, n`` (as everywhere, n in images of the group); ``gap`` (the group minus the others), ``gap_low,
    gap_high``; ``gap_by_mix``, the gap that the mix of kinds (and of ``hold``) makes; ``p``, corrected for all gaps in
    the table; ``note``; ``kinds``, those that balanced accuracy is over.
    """
    _check_groups(groups, predictions, hold)
    bootstrap = resample(predictions.lesions, replicates, seed)
    kind = _most_frequent(bootstrap.lesion, predictions.y)
    permutations = held = _permutations(kind, replicates, seed)
    if hold:
        of_held = _most_frequent(bootstrap.lesion, _words(groups[hold])[1])
        held = _permutations(kind * len(groups) + of_held, replicates, seed)
    rows = _Rows.of(predictions, threshold)
    wanted = [name for name in NAMES if threshold is not None or name not in ("sensitivity", "specificity")]
    if not predictions.are_probabilities:
        wanted.remove("ece")
    codes, lines, tests = np.array(predictions.labels.codes), [], []
    for attribute in groups:
        order = permutations if attribute == hold else held
        for group, sides in _sides(groups[attribute], bootstrap.lesion):
            counts = np.stack([np.bincount(kind[side], minlength=len(codes)) for side in sides])
            rest = counts[1] if sides[1].any() else counts[0]
            classes = (counts[0] >= ENOUGH) & (rest >= ENOUGH)
            about = {
                "attribute": attribute,
                "group": group,
                "images": int(sides[0][bootstrap.lesion].sum()),
                "lesions": int(sides[0].sum()),
                "malignant": int(counts[0][rows.malignant_classes].sum()),
            }
            lacking = {
                name: tuple(_lacking(name, side, classes, rows.malignant_classes) for side in counts) for name in wanted
            }
            for line, test in _compare(rows, bootstrap, order, sides, classes, lacking):
                kinds = codes[classes] if line["metric"] == "balanced_accuracy" else ()
                lines.append(about | line | {"kinds": " ".join(kinds)})
                tests.append(test)
    numbers = ["value", "low", "high", "gap", "gap_low", "gap_high", "gap_by_mix", "p"]  # floats, though all be missing
    return pd.DataFrame(lines).assign(p=_adjusted(tests)).astype(dict.fromkeys(numbers, float))


def _check_groups(groups: pd.DataFrame, predictions: Predictions, hold: str) -> None:
    if hold and hold not in groups:
        raise DataError(f"there is no attribute {hold!r} to hold; there are {', '.join(groups)}")
    if len(groups) != len(predictions):
        raise DataError(f"{counted(len(groups), 'row')} of groups do not fit {counted(len(predictions), 'prediction')}")
    if groups.isna().any(axis=None):
        raise DataError(f"every image needs a word for every attribute; write {UNKNOWN!r} where none is known")


def _sides(column: pd.Series, lesion: np.ndarray) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray]]]:
    """Every group of an attribute: which lesions are in it, and all others whose group is known, bool [L] each."""
    words, code = _words(column)
    of_lesion = _most_frequent(lesion, code)
    known = words[of_lesion] != UNKNOWN
    for number, word in enumerate(words):
        inside = of_lesion == number
        if word != UNKNOWN and inside.any():
            yield word, (inside, known & ~inside)


def _words(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """The groups of an attribute in their order, and which of them every image is in, int64 [N]."""
    categories = getattr(column.dtype, "categories", None)
    words = column.value_counts().index if categories is None else categories
    return np.array(words, object), words.get_indexer(column)


def _lacking(metric: str, lesions: np.ndarray, classes: np.ndarray, malignant: np.ndarray) -> str:
    """Why a group's lesions of each kind, int [K], are too few for a metric; empty where they aren't.

    ``classes``, ``malignant``: bool [K], the kinds that balanced accuracy is over, and those that are malignant.
    """
    total = lesions.sum()
    if not total:
        return "0 lesions"
    if metric == "balanced_accuracy":
        few = classes.sum() < 2
        return f"fewer than two kinds with {ENOUGH} lesions both in the group and outside" if few else ""
    if metric in ("accuracy", "ece"):
        needed = ENOUGH_FOR_CALIBRATION if metric == "ece" else ENOUGH
        return f"{counted(total, 'lesion')}, {needed} needed" if total < needed else ""
    have = {"malignant": lesions[malignant].sum(), "benign": lesions[~malignant].sum()}
    if metric != "malignant_auroc":
        have.pop("benign" if metric == "sensitivity" else "malignant")
    return "; ".join(f"{counted(n, f'{word} lesion')}, {ENOUGH} needed" for word, n in have.items() if n < ENOUGH)


def _compare(
    rows: _Rows,
    bootstrap: Resamples,
    permutations: np.ndarray,
    sides: tuple[np.ndarray, np.ndarray],
    classes: np.ndarray,
    lacking: dict[str, tuple[str, ...]],
) -> list[tuple]:
    """One (line, gap of the sample and of every permutation) a metric; the gaps are None where there is no test.

    ``sides``: bool [L] each, the group's lesions and the others'; ``lacking``: {metric: why either are too few}.
    """
    given = [name for name, (few, _) in lacking.items() if not few]
    tested = [name for name in given if not lacking[name][1]]

    def measured(counts: np.ndarray, wanted: list[str]) -> dict[str, np.ndarray]:
        drawn = replace(bootstrap, counts=counts.astype(np.uint16))  # of other lesions none
        return rows.metrics(drawn, classes, wanted) if wanted else {}

    here, others = measured(bootstrap.counts * sides[0], given), measured(bootstrap.counts * sides[1], tested)
    permuted = [measured(side[permutations], tested) for side in sides]
    image = sides[0][bootstrap.lesion]
    shares = rows.shares(image, bootstrap.lesion)
    n = {
        "balanced_accuracy": int(rows.sums[image, : len(classes)][:, classes].sum()),
        "malignant_auroc": shares["sensitivity"]["n"],
        "ece": shares["accuracy"]["n"],
    }
    result = []
    for name, (few, others_few) in lacking.items():
        line: dict[str, Any] = {"metric": name, "value": None, "low": None, "high": None, "n": 0}
        line |= dict.fromkeys(("gap", "gap_low", "gap_high", "gap_by_mix"))
        if name in given:
            line |= shares[name] if name in shares else summarise(here[name], n[name])
            if name == "ece":  # its replicates lie above it, see calibration.by_chance
                line |= {"low": None, "high": None}
        gaps = None
        if name in tested:
            gap = summarise(here[name] - others[name], line["n"])
            gaps = permuted[0][name] - permuted[1][name]
            line |= {"gap": gap["value"], "gap_low": gap["low"], "gap_high": gap["high"]}
            line["gap_by_mix"] = float(gaps.mean())
        line["note"] = f"too few: {few}" if few else f"no test, too few others: {others_few}" if others_few else ""
        result.append((line, gaps))
    return result


def _most_frequent(lesion: np.ndarray, code: np.ndarray) -> np.ndarray:
    """The code that most images of each lesion have (of equals, the lowest), int64 [L]."""
    counts = np.zeros((lesion.max() + 1, code.max() + 1), np.int64)
    np.add.at(counts, (lesion, code), 1)
    return counts.argmax(axis=1)


def _permutations(kind: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Orders of the lesions that trade places within their kind alone, int32 [1 + R, L]; the first moves none."""
    random = np.random.default_rng(seed)
    permutations = np.tile(np.arange(len(kind), dtype=np.int32), (1 + count, 1))
    for number in np.unique(kind):
        places = np.flatnonzero(kind == number)
        permutations[1:, places] = random.permuted(permutations[1:, places], axis=1)
    return permutations


def _adjusted(tests: list[np.ndarray | None]) -> list[float | None]:
    """p-values corrected for all tests: how often a permutation's largest standardised gap is as large."""
    adjusted: list[float | None] = [None] * len(tests)
    tested = {number: gaps for number, gaps in enumerate(tests) if gaps is not None}
    if not tested:
        return adjusted
    gaps = np.stack(list(tested.values()))
    spread = gaps.std(axis=1, keepdims=True)
    distance = np.abs(ratio(gaps - gaps.mean(axis=1, keepdims=True), spread))
    distance = np.nan_to_num(distance)  # a gap that no permutation can change is not tested
    largest = distance.max(axis=0)
    for number, own in zip(tested, distance[:, 0], strict=True):
        adjusted[number] = float((largest >= own - 1e-12).mean())
    return adjusted
