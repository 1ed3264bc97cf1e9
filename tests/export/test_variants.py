"""Smaller files of the same model: what they keep and what they lose."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from skinlesion.core import framing
from skinlesion.export.onnx import write_onnx
from skinlesion.export.variants import half_weights, integer_convolutions, without_framing
from skinlesion.training.domain import fit_gaussian
from skinlesion.training.networks.models import create_model

FRAMES = np.random.default_rng(0).integers(0, 256, (24, 45, 60, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("full") / "model.onnx"
    model = create_model("tf_efficientnet_lite0", classes=7, image_size=32).eval()
    features = np.random.default_rng(1).normal(size=(24, 1280))
    write_onnx(model, path, image_size=32, fit="squash", domain=fit_gaussian(features, np.arange(24) % 7))
    return path


def run(path, frames):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["logits", "features", "map"], {"image": frames})


def test_half_weights_take_half_the_room_and_give_the_answers_of_rounded_weights(full, tmp_path):
    half_weights(full, tmp_path / "half.onnx")
    assert (tmp_path / "half.onnx").stat().st_size < 0.56 * full.stat().st_size
    rounded = onnx.load(full)
    for tensor in rounded.graph.initializer:
        weights = onnx.numpy_helper.to_array(tensor)
        if weights.dtype == np.float32 and weights.size >= 256:
            tensor.CopyFrom(onnx.numpy_helper.from_array(weights.astype(np.float16).astype(np.float32), tensor.name))
    onnx.save(rounded, tmp_path / "rounded.onnx")
    for ours, expected in zip(run(tmp_path / "half.onnx", FRAMES), run(tmp_path / "rounded.onnx", FRAMES), strict=True):
        assert np.abs(ours - expected).max() < 1e-5 * (1 + np.abs(expected).max())
    assert np.abs(run(tmp_path / "half.onnx", FRAMES)[0] - run(full, FRAMES)[0]).max() > 0, "they are rounded"


def test_without_framing_it_takes_fitted_frames_and_gives_the_same_answers(full, tmp_path):
    without_framing(full, tmp_path / "alone.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "alone.onnx", providers=["CPUExecutionProvider"])
    assert [(entry.name, entry.type) for entry in session.get_inputs()] == [("levels", "tensor(float)")]
    fitted = np.stack([framing.fit(frame, 32, "squash") for frame in FRAMES]).astype(np.float32)
    names = ["logits", "features", "map"]
    for ours, expected in zip(session.run(names, {"levels": fitted}), run(full, FRAMES), strict=True):
        assert np.abs(ours - expected).max() < 1e-5 * (1 + np.abs(expected).max())


def test_without_framing_it_takes_two_squares_a_frame(tmp_path):
    torch.manual_seed(0)
    model = create_model("tf_efficientnet_lite0", classes=7, image_size=32).eval()
    domain = fit_gaussian(np.random.default_rng(1).normal(size=(24, 1280)), np.arange(24) % 7)
    path = tmp_path / "model.onnx"
    write_onnx(model, path, image_size=32, fit="random_crop", domain=domain, views=4, crops=2)
    without_framing(path, tmp_path / "alone.onnx", crops=2)
    session = onnxruntime.InferenceSession(tmp_path / "alone.onnx", providers=["CPUExecutionProvider"])
    for frames in (FRAMES, FRAMES[:1]):
        squares = np.stack([framing.fit_squares(frame, 32, "random_crop", 2) for frame in frames], axis=1)
        fitted = squares.reshape(-1, 32, 32, 3).astype(np.float32)
        found = session.run(["logits", "features", "map"], {"levels": fitted})
        for ours, expected in zip(found, run(path, frames), strict=True):
            assert np.abs(ours - expected).max() < 1e-4 * (1 + np.abs(expected).max())


def test_integer_convolutions_take_a_third_of_the_room_and_answer_alike(full, tmp_path):
    integer_convolutions(full, tmp_path / "int8.onnx", list(FRAMES))
    assert (tmp_path / "int8.onnx").stat().st_size < 0.4 * full.stat().st_size
    kinds = {node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node}
    assert "QuantizeLinear" in kinds
    ours, expected = run(tmp_path / "int8.onnx", FRAMES)[0], run(full, FRAMES)[0]
    assert np.corrcoef(ours.ravel(), expected.ravel())[0, 1] > 0.9
    larger = np.repeat(np.repeat(FRAMES, 2, 1), 2, 2)
    assert run(tmp_path / "int8.onnx", larger)[0].shape == (24, 7), "frames of other sizes still fit"
