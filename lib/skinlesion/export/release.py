"""The evaluated candidate becomes the run's model; no torch is loaded for it."""

from __future__ import annotations

import json
import shutil

from skinlesion.core.runs import Run, new_folder
from skinlesion.export.card import attach

TOLERANCE = 1e-3  # largest difference between torch and ONNX Runtime in a logit, relative to 1 + its size


def release(run: Run) -> dict:
    """Make the evaluated ``candidate`` the run's ``model``, with its evaluation in manifest and card.

    Raises DataError where 04_evaluation has not been run.
    """
    candidate = run.need(run.candidate, "04_evaluation")
    found = json.loads(run.need(run.evaluation, "04_evaluation").read_text())
    with new_folder(run.model) as folder:
        shutil.copytree(candidate, folder, dirs_exist_ok=True)
        return attach(folder, **found)
