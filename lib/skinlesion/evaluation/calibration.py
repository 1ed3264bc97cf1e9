"""How well probabilities agree with frequencies: temperature scaling, calibration error, Brier score."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from skinlesion.core.errors import DataError

BINS = 15  # the number of Guo et al. 2017, of equal mass rather than equal width

_TEMPERATURES = (0.05, 20.0)  # a network outside of this is broken, not miscalibrated


def fit_temperature(logits: np.ndarray, y: np.ndarray, shift: np.ndarray | float = 0.0) -> float:
    """The temperature with the least mean negative log-likelihood (Guo et al. 2017, arXiv:1706.04599).

    That is convex in 1 / temperature, so the bounded search over its logarithm finds the one minimum.

    Parameters
    ----------
    logits : float [N, K]
    y : int [N], true class
    shift : float [K]
        Added after the division and kept fixed, e.g. the log ratio between the target prior and the training prior.

    Raises
    ------
    DataError
        If there is nothing to fit on, or a logit is not finite.
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

    Parameters
    ----------
    confidence : float [N], claimed probability
    correct : bool [N], whether it came true

    Returns
    -------
    DataFrame with confidence (mean), accuracy (fraction) and count, one row a bin that isn't empty
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


def expected_calibration_error(probabilities: np.ndarray, y: np.ndarray, bins: int = BINS) -> float:
    """Adaptive top-label ECE: mean gap between confidence and accuracy over bins of equal mass.

    Naeini et al. 2015 with the equal-mass bins of Nixon et al. 2019 (arXiv:1904.01685). Chance alone keeps it above
    zero: a perfectly calibrated model shows about 0.01 on 10,000 images and 0.04 on 1,500.

    Parameters
    ----------
    probabilities : float [N, K]
    y : int [N], true class
    bins : int

    Returns
    -------
    float, 0 to 1
    """
    return float(np.abs(gaps(*top_label(probabilities, y), bins).sum(axis=0)).sum() / len(y))


def brier_terms(probabilities: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Squared distance between probabilities and truth of every image, float64 [N], between 0 and 2 (Brier 1950)."""
    truth = np.eye(probabilities.shape[1])[y]
    return ((probabilities - truth) ** 2).sum(axis=1)


def log_loss_terms(probabilities: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Negative log of the true class's probability, float64 [N], in nats; a zero counts as float64's epsilon."""
    return -np.log(np.maximum(probabilities[np.arange(len(y)), y], np.finfo(np.float64).eps))
