"""Calibration before and after temperature scaling: fitted on validation, evaluated on other images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from skinlesion.decision import calibrated
from skinlesion.evaluation.bootstrap import describe, resample, summarise
from skinlesion.evaluation.calibration import calibration_errors, fit_temperature
from skinlesion.evaluation.metrics import CALIBRATION, NAMES, calibration_values

BEFORE, AFTER = "Before scaling", "After scaling"


@dataclass(frozen=True, eq=False)
class Scaling:
    """A fitted temperature and what it changes."""

    temperature: float
    #: {name: float64 [N, K]}: of the evaluated images, under :data:`BEFORE` and :data:`AFTER`, as
    #: ``plots.reliability_diagram`` takes them
    probabilities: dict[str, np.ndarray]
    #: {name: {metric: value, low, high, n}}: the metrics of ``metrics.CALIBRATION`` under the same names
    metrics: dict[str, dict]
    #: {metric: value, low, high, n}: after minus before on the same replicates; below zero is better
    change: dict[str, dict]

    def table(self) -> pd.DataFrame:
        """For people: a row a metric, columns before, after and change."""
        columns = self.metrics | {"Change": self.change}
        return pd.DataFrame(
            {name: {NAMES[m]: describe(column[m]) for m in CALIBRATION} for name, column in columns.items()}
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
            name: {metric: summarise(value[metric], len(y)) for metric in CALIBRATION}
            | calibration_errors(both[name], np.asarray(y), resamples, seed)
            for name, value in values.items()
        },
        {name: summarise(values[AFTER][name] - values[BEFORE][name], len(y)) for name in CALIBRATION},
    )
