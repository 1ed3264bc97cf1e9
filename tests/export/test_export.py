import hashlib
import json
import shutil
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from exported import SIZE, exported
from exported import domain as small_domain
from exported import network as small_network
from skinlesion.core import framing
from skinlesion.core.config import Config
from skinlesion.core.errors import ModelError
from skinlesion.core.runs import Run
from skinlesion.core.taxonomy import HAM7
from skinlesion.export import onnx as export
from skinlesion.export.variants import half_weights, integer_convolutions, without_framing
from skinlesion.serving.manifest import NEEDED
from skinlesion.training.domain import Domain
from skinlesion.training.inputs.augment import to_inputs
from skinlesion.training.networks.models import create_model

SHAPES = [(100, 80), (150, 200), (451, 601), (129, 64), (3000, 4000)]
METRIC = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 10}


@pytest.fixture(scope="module")
def frames():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in SHAPES]


def classic():
    torch.manual_seed(0)
    return create_model("classic", classes=7, image_size=64).eval()


def any_domain(features=256):
    """Any one, without a probe: what it is made of is tested elsewhere."""
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.normal(0, 1, (features, 8)))[0]
    mean, variances = rng.normal(0, 0.1, features), np.linspace(2, 1, 8)
    thresholds = {"other_camera": -1.5, "not_dermatoscopic": 0.7}
    return Domain(mean, directions, variances, 0.5, thresholds, dict.fromkeys(thresholds, 1.0))


@pytest.fixture(scope="module")
def whole(frames, tmp_path_factory):
    """A classic network as it is exported, with the folder, the manifest and the torch module of the file."""
    made, write_onnx, run = [], export.write_onnx, Run(tmp_path_factory.mktemp("whole") / "r")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "write_onnx", lambda *args, **how: made.append(write_onnx(*args, **how)) or made[0])
        manifest = export_classic(run, frames)
    return SimpleNamespace(folder=run.model, manifest=manifest, module=made[0])


@pytest.fixture
def full(tmp_path_factory):
    return exported(tmp_path_factory)


@pytest.fixture
def two_squares(tmp_path_factory):
    return exported(tmp_path_factory, "random_crop", 2)


def inside(fit="squash", crops=1):
    """What the files of small networks were made from."""
    network = small_network()
    return export.Exported(network, SIZE, fit, small_domain(network.backbone.num_features), 2 * crops, crops)


def check_frames_and_logits(path, module, fit, frames, views):
    """Whether file and torch module frame as training does, and average the network's outputs for these views."""
    session = onnxruntime.InferenceSession(path)
    for frame in frames:
        pixels = to_inputs(torch.from_numpy(framing.fit_crops(frame, module.image_size, fit, module.crops)))
        with torch.inference_mode():
            assert torch.equal(module.frame(torch.from_numpy(frame)[None]), pixels), "to the byte"
            ours = torch.stack([module.model(view) for view in views(pixels)]).mean(0).numpy()
        theirs = session.run(["logits"], {"image": frame[None]})[0]
        assert np.abs(ours - theirs).max() < 1e-5
    pair = np.stack([frames[1], frames[1][::-1]])
    both = session.run(["logits"], {"image": pair})[0]
    for frame, found in zip(pair, both, strict=True):
        assert np.allclose(found, session.run(["logits"], {"image": frame[None]})[0][0], atol=1e-5)


def test_onnx_frames_and_predicts_as_training_does_on_whole_frames(full, frames):
    check_frames_and_logits(full, inside(), "squash", frames, lambda pixels: [pixels, pixels.flip(3)])


def test_onnx_frames_and_predicts_as_training_does_on_the_centre(whole, frames):
    """``random_crop`` predicts on the centre, as ``center_crop`` does, or on two crops (below)."""
    for frame in frames:
        assert np.array_equal(
            framing.fit_square(frame, 64, "center_crop"), framing.fit_square(frame, 64, "random_crop")
        )
    path = whole.folder / "model.onnx"
    check_frames_and_logits(path, whole.module, "center_crop", frames, lambda pixels: [pixels])
    assert [output.name for output in onnxruntime.InferenceSession(path).get_outputs()] == list(NEEDED)


def test_two_squares_of_a_frame_take_turns(two_squares, frames):
    def views(pixels):
        first, second = pixels[:1], pixels[1:]
        return [first, second.flip(3), first.flip(2), second.flip(2, 3)]

    check_frames_and_logits(two_squares, inside("random_crop", 2), "random_crop", frames, views)
    session = onnxruntime.InferenceSession(two_squares)
    wide = next(frame for frame in frames if frame.shape[1] > frame.shape[0])
    mirrored = np.ascontiguousarray(wide[:, ::-1])
    answers = [session.run(["logits"], {"image": frame[None]})[0] for frame in (wide, mirrored)]
    assert np.abs(answers[0] - answers[1]).max() < 1e-4, "its ends change places, its answer stays"


def test_activation_maps_average_to_what_tells_the_logits_apart(full, frames):
    module = inside()
    assert module.has_map
    assert export.parity(module, full, frames[:3]) < 1e-3
    session = onnxruntime.InferenceSession(full)
    logits, maps = session.run(["logits", "map"], {"image": frames[1][None]})
    evidence = logits - module.model.backbone.get_classifier().bias.detach().numpy()
    assert np.allclose(maps.mean((2, 3)), evidence - evidence.mean(1, keepdims=True), atol=1e-3)
    assert np.abs(maps.sum(1)).max() < 1e-3, "what speaks for all classes alike is not shown"


def test_a_network_without_pooling_has_no_map():
    assert not export.ends_in_pooling(classic(), 64)


def export_classic(run, frames, **changes):
    decision = {
        "temperature": 1.0,
        "prior": dict.fromkeys(HAM7.codes, 1 / 7),
        "prior_shift": dict.fromkeys(HAM7.codes, 0.0),
        "decision_weights": dict.fromkeys(HAM7.codes, 1.0),
        "decision_tau": 0.0,
        "referral": {"threshold": 0.3, "borderline": 0.1, "chosen_on": "validation"}
        | dict.fromkeys(("sensitivity", "specificity", "by_label"), METRIC),
        "melanoma_level": None,
        "prediction_set": None,
        "evidence": [],
    }
    metrics = dict.fromkeys(("balanced_accuracy", "macro_auroc", "accuracy", "ece"), METRIC)
    metrics |= {"n_images": 10, "n_lesions": 9, "per_class": {c: {"sensitivity": METRIC} for c in HAM7.codes}}
    data = {"source": "demo", "synthetic": True, "fingerprint": "ab" * 32, "images": 90, "lesions": 80}
    options = {
        "decision": decision,
        "metrics": metrics,
        "data": data,
        "frames": frames[:2],
        "domain": any_domain(),
    } | changes
    return export.export_model(classic(), run, Config(image_size=64, fit="center_crop"), HAM7, **options)


def test_the_model_folder(whole):
    place, manifest = whole.folder, whole.manifest
    assert json.loads((place / "manifest.json").read_text()) == manifest
    strong = {"method": "energy along the components", "threshold": 0.7, "kept": 0.995, "kept_in_training": 1.0}
    mild = {"method": "mahalanobis", "threshold": -1.5, "kept": 0.95, "kept_in_training": 1.0}
    assert manifest["domain"] == {"other_camera": mild, "not_dermatoscopic": strong}
    assert hashlib.sha256((place / "model.onnx").read_bytes()).hexdigest() == manifest["sha256"]
    card = (place / "MODEL_CARD.md").read_text()
    for said in (
        "synthetic demo data",
        "not a\nmedical device",
        "50.0% (40.0 to 60.0)",
        manifest["sha256"],
        "Melanoma",
    ):
        assert said in card
    assert [path.name for path in place.parent.iterdir()] == ["model"]


def test_a_model_is_replaced_as_a_whole_or_not_at_all(whole, frames, tmp_path, monkeypatch):
    def same_again(_model, path, **_options):
        shutil.copy(whole.folder / "model.onnx", path)
        return whole.module

    monkeypatch.setattr(export, "write_onnx", same_again)
    run = Run(tmp_path / "r")
    shutil.copytree(whole.folder, run.model)
    again = export_classic(run, frames, name="other")
    assert json.loads((run.model / "manifest.json").read_text())["name"] == again["name"] == "other"
    assert [path.name for path in run.folder.iterdir()] == ["model"]

    monkeypatch.setattr(export, "parity", lambda *_: 0.5)
    with pytest.raises(ModelError, match="differ by 0.5"):
        export_classic(run, frames, name="third")
    assert json.loads((run.model / "manifest.json").read_text()) == again, "a model that disagrees is not exported"


FRAMES = np.random.default_rng(0).integers(0, 256, (24, 45, 60, 3), dtype=np.uint8)


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
    fitted = np.stack([framing.fit_square(frame, SIZE, "squash") for frame in FRAMES]).astype(np.float32)
    names = ["logits", "features", "map"]
    for ours, expected in zip(session.run(names, {"levels": fitted}), run(full, FRAMES), strict=True):
        assert np.abs(ours - expected).max() < 1e-5 * (1 + np.abs(expected).max())


def test_without_framing_it_takes_two_squares_a_frame(two_squares, tmp_path):
    without_framing(two_squares, tmp_path / "alone.onnx", crops=2)
    session = onnxruntime.InferenceSession(tmp_path / "alone.onnx", providers=["CPUExecutionProvider"])
    for frames in (FRAMES, FRAMES[:1]):
        squares = np.stack([framing.fit_crops(frame, SIZE, "random_crop", 2) for frame in frames], axis=1)
        fitted = squares.reshape(-1, SIZE, SIZE, 3).astype(np.float32)
        found = session.run(["logits", "features", "map"], {"levels": fitted})
        for ours, expected in zip(found, run(two_squares, frames), strict=True):
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
