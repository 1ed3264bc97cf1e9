"""How well probabilities agree with frequencies: temperature scaling, calibration error, Brier score."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from skinlesion.core.errors import DataError
from skinlesion.decision import calibrated
from skinlesion.evaluation.intervals import Metric, Resamples, describe, resample, summarise

#: Metrics that only probabilities have, and what they are called for people.
NAMES = {
    "ece": "ECE, adaptive",
    "classwise_ece": "ECE, classwise",
    "brier": "Brier score",
    "log_loss": "Log loss (nats)",
}
BEFORE, AFTER = "Before scaling", "After scaling"

BINS = 15  # the number of Guo et al. 2017, of equal mass rather than equal width

_DRAWN = 32  # labellings drawn at once

_TEMPERATURES = (0.05, 20.0)  # a network outside of this is broken, not miscalibrated


def fit_temperature(logits: np.ndarray, y: np.ndarray, shift: np.ndarray | float = 0.0) -> float:
    """The temperature with the least mean negative log-likelihood (Guo et al. 2017, arXiv:1706.04599).

    That is convex in 1 / temperature, so the bounded search over its logarithm finds the one minimum. Raises DataError
    if there is nothing to fit on, or a logit is not finite.
    ``logits``: float [N, K]; ``y``: int [N], true class; ``shift``: float [K], added after the division and kept fixed,
    e.g. the log ratio between the target prior and the training prior.
    """
    logits = np.asarray(logits, np.float64)
    if not len(logits) or not np.isfinite(logits).all():
        raise DataError("a temperature needs at least one image, and finite logits; check the validation split")
    rows = np.arange(len(logits))

    def loss(log_temperature: float) -> float:
        return -log_softmax(logits / np.exp(log_temperature) + shift, axis=1)[rows, y].mean()

    found = minimize_scalar(loss, bounds=np.log(_TEMPERATURES), method="bounded", options={"xatol": 1e-8})
    return float(np.exp(found.x))


def equal_mass_bins(confidence: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Bin index of every confidence, int64 [N]: cut at the quantiles, equal values always in one bin."""
    edges = np.quantile(confidence, np.arange(1, bins) / bins)
    return np.searchsorted(edges, confidence, side="right")


def reliability(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> pd.DataFrame:
    """What was claimed against what came true, in bins of equal mass.

    Returns a DataFrame with confidence (mean), accuracy (fraction) and count, one row a bin that isn't empty.
    ``confidence``: float [N], claimed probability; ``correct``: bool [N], whether it came true.
    """
    frame = pd.DataFrame({"bin": equal_mass_bins(confidence, bins), "confidence": confidence, "accuracy": correct})
    table = (
        frame.astype({"accuracy": float})
        .groupby("bin")
        .agg(confidence=("confidence", "mean"), accuracy=("accuracy", "mean"), count=("accuracy", "size"))
    )
    return table.reset_index(drop=True)


def gaps(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Every image's part in its bin's gap: confidence minus correctness in the bin's column, else 0; float64 [N, bins].

    Summed over images, in absolute value, summed over bins and divided by N, this is the calibration error.
    """
    parts = np.zeros((len(confidence), bins))
    parts[np.arange(len(confidence)), equal_mass_bins(confidence, bins)] = confidence - correct
    return parts


def top_label(probabilities: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Confidence (largest probability, float [N]) and whether that class is the true one (bool [N])."""
    return probabilities.max(axis=1), probabilities.argmax(axis=1) == y


def by_chance(claims: Iterable[tuple[np.ndarray, np.ndarray]], resamples: Resamples, seed: int = 0) -> Metric:
    """A calibration error beside that of a perfectly calibrated model with the same confidences, and a test.

    A calibration error is a sum of absolute deviations: sampling can only raise it, so a bootstrap interval around it
    is none for the error without that noise. Instead, what comes true is drawn from the confidences themselves
    (consistency resampling, Bröcker and Smith 2007, doi:10.1175/WAF993.1; as a test, Vaicenavicius et al. 2019,
    arXiv:1902.06977). The images of a lesion share one random number, since they share one diagnosis.
    ``claims``: (confidence float [N], whether it came true bool [N]), one for the top label, one per class for the
    classwise error, which is their mean; ``resamples``: the lesions, and how many replicates to draw; with none there
    is no test.
    Returns value, low and high (None), n; ``by_chance``, the mean error of a calibrated model, ``by_chance_high``, its
    95% quantile, and ``p``, how often such a model's error is at least as large.
    """
    random, replicates, lesions = np.random.default_rng(seed), len(resamples.counts) - 1, resamples.counts.shape[1]
    errors = []
    for confidence, correct in claims:
        bins, n = equal_mass_bins(confidence), len(confidence)
        values = [_errors((confidence - correct)[None], bins)]
        for start in range(0, replicates, _DRAWN):
            uniform = random.random((min(_DRAWN, replicates - start), lesions))[:, resamples.lesion]
            values.append(_errors(confidence - (uniform < confidence), bins))
        errors.append(np.concatenate(values))
    own, *chance = np.mean(errors, axis=0)
    found = {"value": float(own), "low": None, "high": None, "n": n}
    if not chance:
        return found
    more = float((1 + (np.array(chance) >= own - 1e-12).sum()) / (1 + replicates))
    high = float(np.quantile(chance, 0.95))
    return found | {"by_chance": float(np.mean(chance)), "by_chance_high": high, "p": more}


def _errors(gap: np.ndarray, bins: np.ndarray) -> np.ndarray:
    """Calibration error of gaps float [R, N] in bins int [N]: float64 [R]."""
    return np.abs(gap @ np.eye(BINS)[bins]).sum(axis=1) / gap.shape[1]


def calibration_errors(p: np.ndarray, y: np.ndarray, resamples: Resamples, seed: int = 0) -> dict[str, Metric]:
    """``ece`` of the top label and ``classwise_ece``, see :func:`by_chance`; p float [N, K], y int [N].

    The first is Naeini et al. 2015 with the equal-mass bins of Nixon et al. 2019 (arXiv:1904.01685), 0 to 1.
    """
    each = [(p[:, c], y == c) for c in range(p.shape[1])]
    return {"ece": by_chance([top_label(p, y)], resamples, seed), "classwise_ece": by_chance(each, resamples, seed)}


def calibration_values(p: np.ndarray, y: np.ndarray, resamples: Resamples) -> dict[str, np.ndarray]:
    """The metrics of :data:`NAMES` for the sample (row 0) and all replicates, each [1 + R].

    The bins of the calibration errors are those of the whole sample. Brier's score (1950) lies between 0 and 2; in the
    log loss a probability of 0 counts as float64's epsilon.
    ``p``: float [N, K], probabilities; ``y``: int [N], true class.
    """
    n = resamples.totals(np.ones(len(y)))

    def error(confidence: np.ndarray, correct: np.ndarray) -> np.ndarray:
        return np.abs(resamples.totals(gaps(confidence, correct))).sum(axis=1) / n

    squared = ((p - np.eye(p.shape[1])[y]) ** 2).sum(axis=1)
    logs = -np.log(np.maximum(p[np.arange(len(y)), y], np.finfo(np.float64).eps))
    return {
        "ece": error(*top_label(p, y)),
        "classwise_ece": np.mean([error(p[:, c], y == c) for c in range(p.shape[1])], axis=0),
        "brier": resamples.totals(squared) / n,
        "log_loss": resamples.totals(logs) / n,
    }


@dataclass(frozen=True, eq=False)
class Scaling:
    """A fitted temperature and what it changes."""

    temperature: float
    #: {name: float64 [N, K]}: of the evaluated images, under :data:`BEFORE` and :data:`AFTER`, as
    #: ``plots.reliability_diagram`` takes them
    probabilities: dict[str, np.ndarray]
    #: the metrics of :data:`NAMES` under the same names
    metrics: dict[str, dict[str, Metric]]
    change: dict[str, Metric]  # after minus before on the same replicates; below zero is better

    def table(self) -> pd.DataFrame:
        """For people: a row per metric, columns before, after and change."""
        columns = self.metrics | {"Change": self.change}
        return pd.DataFrame(
            {name: {words: describe(column[m]) for m, words in NAMES.items()} for name, column in columns.items()}
        )


def temperature_scaling(
    validation_logits: np.ndarray,
    validation_y: np.ndarray,
    logits: np.ndarray,
    y: np.ndarray,
    lesions: np.ndarray,
    *,
    shift: np.ndarray | float = 0.0,
    replicates: int = 2000,
    seed: int = 0,
) -> Scaling:
    """Fit a temperature on validation (Guo et al. 2017); evaluate calibration on other images with and without it.

    Raises DataError if validation is empty or a logit is not finite.
    ``validation_logits``: float [M, K]; ``validation_y``: int [M]; ``logits``: float [N, K], ``y``: int [N],
    ``lesions``: [N], of the images to evaluate: test, or external images to see what a shift does to the calibration;
    ``shift``: float [K], added to the logits in both cases, from the class mix seen in training to the one that
    probabilities are for.
    """
    temperature = fit_temperature(validation_logits, validation_y, shift)
    both = {BEFORE: calibrated(logits, 1.0, shift), AFTER: calibrated(logits, temperature, shift)}
    resamples = resample(lesions, replicates, seed)
    values = {name: calibration_values(p, y, resamples) for name, p in both.items()}
    return Scaling(
        temperature,
        both,
        {
            name: {metric: summarise(value[metric], len(y)) for metric in NAMES}
            | calibration_errors(both[name], np.asarray(y), resamples, seed)
            for name, value in values.items()
        },
        {name: summarise(values[AFTER][name] - values[BEFORE][name], len(y)) for name in NAMES},
    )
