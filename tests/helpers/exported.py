"""A small network with activation maps as it is exported, for all tests that only read the file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from shared import made_once
from skinlesion.export.onnx import write_onnx
from skinlesion.training.domain import Domain, fit_gaussian
from skinlesion.training.networks.models import create_model

SIZE = 32  # pixels


def network():
    torch.manual_seed(0)
    return create_model("test_efficientnet", classes=7, image_size=SIZE).eval()


def domain(features: int) -> Domain:
    """Any one, with a probe."""
    fitted = fit_gaussian(np.random.default_rng(1).normal(size=(24, features)), np.arange(24) % 7)
    return replace(fitted, probe=np.linspace(-1, 1, features + 1))


def exported(tmp_path_factory, fit: str = "squash", crops: int = 1) -> Path:
    """The ONNX file of :func:`network`, with two views a crop; made once a run of tests."""

    def make(folder: Path) -> None:
        folder.mkdir()
        model = network()
        known = domain(model.backbone.num_features)
        how = {"fit": fit, "views": 2 * crops, "crops": crops}
        write_onnx(model, folder / "model.onnx", image_size=SIZE, domain=known, **how)

    return made_once(tmp_path_factory, f"exported-{fit}-{crops}", make) / "model.onnx"
