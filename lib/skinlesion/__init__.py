"""Skin Lesion Lab: classify skin lesions in dermatoscopic images, from data check to exported model.

The names below are what most people import; everything else is found in the packages, whose names say what they hold.
``import skinlesion`` loads none of them: each name loads what it needs on first use, so predicting needs no torch.

>>> import skinlesion
>>> model = skinlesion.load_model()
>>> image = skinlesion.draw_example("mel", seed=13)
>>> model.predict([image])[0].label
'mel'
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from skinlesion.core.config import Config as Config
    from skinlesion.core.errors import SkinLesionError as SkinLesionError
    from skinlesion.core.images import read_image as read_image
    from skinlesion.data.demo.dataset import draw_example as draw_example
    from skinlesion.data.sources import load_table as load_table
    from skinlesion.data.table import LesionTable as LesionTable
    from skinlesion.evaluation.metrics import evaluate as evaluate
    from skinlesion.evaluation.predictions import Predictions as Predictions
    from skinlesion.evaluation.reading import read_predictions as read_predictions
    from skinlesion.serving.predictor import Prediction as Prediction
    from skinlesion.serving.predictor import Predictor as Predictor

# ONNX Runtime's official builds report every model that is loaded to their maker (since 1.29 on Linux too), and read
# this variable once, when they are imported. Images and predictions are not part of it, but nobody agreed to it here.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"

#: Public name -> the module that defines it.
_PUBLIC = {
    "Config": "core.config",
    "LesionTable": "data.table",
    "Prediction": "serving.predictor",
    "Predictions": "evaluation.predictions",
    "Predictor": "serving.predictor",
    "SkinLesionError": "core.errors",
    "draw_example": "data.demo.dataset",
    "evaluate": "evaluation.metrics",
    "load_table": "data.sources",
    "read_image": "core.images",
    "read_predictions": "evaluation.reading",
}

__all__ = ["__version__", "load_model", *_PUBLIC]


def load_model(folder: str | Path | None = None, *, threads: int = 0) -> Predictor:
    """Load an exported model; the shipped one where ``folder`` is None.

    Parameters
    ----------
    folder : path, optional
        Holds ``model.onnx`` and ``manifest.json``, such as ``reports/NAME/model``.
    threads : int
        Threads that one call computes with; 0: one per core.

    Returns
    -------
    Predictor
        It may be shared between threads.

    Raises
    ------
    ModelError
        If there is no model, its file is not the one that the manifest describes, or the two contradict each other.

    Examples
    --------
    >>> from skinlesion import draw_example, load_model
    >>> model = load_model()
    >>> model.manifest.labels.codes
    ('ak', 'bcc', 'bkl', 'df', 'mel', 'nv', 'scc', 'vasc')
    >>> prediction = model.predict([draw_example("mel", seed=13)])[0]
    >>> print(prediction.name, round(prediction.probability, 2), prediction.referral)
    Melanoma 0.95 refer
    """
    from skinlesion.serving.predictor import Predictor

    return Predictor.load(folder, threads=threads)


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    globals()[name] = value  # the next access finds it without this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
