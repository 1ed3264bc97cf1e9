"""The predictor that requests share: all cores for a single one, a core each for several."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from skinlesion.serving.predictor import Prediction, Predictor


class SharedPredictor:
    """A model folder (the shipped model where None) loaded twice: one request gets all cores, several get one each.

    A prediction on all cores is the quickest alone, but several at once get in each other's way; what either way gives
    is in ``benchmarks/results/serve.json``. Predictions differ by the rounding of 32 bits at most.
    """

    def __init__(self, model: str | None = None):
        self._alone, self._together = Predictor.load(model), Predictor.load(model, threads=1)
        self._inside, self._lock = 0, threading.Lock()

    @property
    def manifest(self):
        return self._alone.manifest

    def predict(self, images: Sequence[np.ndarray], **options) -> list[Prediction]:
        """As :meth:`skinlesion.serving.predictor.Predictor.predict`."""
        with self._lock:
            self._inside += 1
            predictor = self._alone if self._inside == 1 else self._together
        try:
            return predictor.predict(images, **options)
        finally:
            with self._lock:
                self._inside -= 1
