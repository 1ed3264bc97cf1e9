"""Skin Lesion Lab: classify skin lesions in dermatoscopic images, from data check to exported model.

Importing this package imports nothing heavy; ``skinlesion.data``, ``skinlesion.training``, ``skinlesion.evaluation``
and ``skinlesion.serving`` each bring what they need.
"""

import os

# ONNX Runtime's official builds tell its maker about every model that is loaded (since 1.29 on Linux too), and ask this
# variable once, when they are imported. Images and answers are no part of that, but nobody here was asked either.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
