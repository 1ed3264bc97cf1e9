"""Mirror images averaged: in training's predictions and inside the exported file."""

import numpy as np
import onnxruntime
import pytest
import torch

from conftest import REPOSITORY
from exported import SIZE, exported, network
from skinlesion.core import framing
from skinlesion.training.inputs.augment import to_inputs
from skinlesion.training.networks.models import mean_outputs, unview, view


@pytest.fixture(scope="module")
def model():
    return network()


def test_the_eight_views_are_the_symmetries_of_a_square():
    x = torch.arange(2 * 3 * 5 * 5).reshape(2, 3, 5, 5)
    seen = {tuple(view(x, number).flatten().tolist()) for number in range(8)}
    rotations = [torch.rot90(x, k, (2, 3)) for k in range(4)]
    assert seen == {tuple(r.flatten().tolist()) for r in rotations + [torch.flip(r, (3,)) for r in rotations]}
    assert torch.equal(view(x, 0), x)
    for number in range(8):
        assert torch.equal(unview(view(x, number), number), x)


@torch.inference_mode()
@pytest.mark.parametrize("views", [1, 2, 4, 8])
def test_the_answer_is_the_mean_and_stays_linear_in_the_maps(model, views):
    x = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    logits, features, maps = mean_outputs(model, x, views)
    one_by_one = torch.stack([model(view(x, number)) for number in range(views)])
    torch.testing.assert_close(logits, one_by_one.mean(0), atol=1e-5, rtol=1e-5)
    (maps,), classifier = maps, model.backbone.get_classifier()
    torch.testing.assert_close(classifier(maps.mean((2, 3))), logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(features, maps.mean((2, 3)), atol=1e-5, rtol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("views", [1, 2, 4, 8])
def test_two_squares_take_turns(model, views):
    x = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    logits, features, maps = mean_outputs(model, x, views, 2)
    halves = x[:3], x[3:]
    outputs = [model.outputs(view(halves[number % 2], number)) for number in range(max(views, 2))]
    torch.testing.assert_close(logits, torch.stack([output[0] for output in outputs]).mean(0), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(features, torch.stack([output[1] for output in outputs]).mean(0), atol=1e-5, rtol=1e-5)
    for half in range(2):
        own = [unview(output[2], number) for number, output in enumerate(outputs) if number % 2 == half]
        torch.testing.assert_close(maps[half], torch.stack(own).mean(0), atol=1e-5, rtol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("views", [2, 4, 8])
def test_a_mirrored_frame_with_a_square_at_either_end_gets_the_same_answer(model, views):
    left, right = torch.rand(2, 3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    logits, _, maps = mean_outputs(model, torch.cat([left, right]), views, 2)
    mirrored, _, mirrored_maps = mean_outputs(model, torch.flip(torch.cat([right, left]), (3,)), views, 2)
    torch.testing.assert_close(mirrored, logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(torch.flip(mirrored_maps, (0, 4)), maps, atol=1e-5, rtol=1e-5)
    if views > 2:
        upside_down, _, _ = mean_outputs(model, torch.flip(torch.cat([left, right]), (2,)), views, 2)
        torch.testing.assert_close(upside_down, logits, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_with_all_eight_a_turned_image_gets_the_same_answer_and_a_turned_map(model):
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    turned = torch.rot90(x, 1, (2, 3))
    (logits, _, maps), (logits_turned, _, maps_turned) = mean_outputs(model, x, 8), mean_outputs(model, turned, 8)
    torch.testing.assert_close(logits, logits_turned, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(torch.rot90(maps, 1, (3, 4)), maps_turned, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(model(x), model(turned), atol=1e-5), "one view alone does notice"


def test_the_exported_file_averages_too(model, tmp_path_factory):
    path = exported(tmp_path_factory)
    content = path.read_bytes()
    assert b"stack_trace" not in content and str(REPOSITORY).encode() not in content, "no path of this machine"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    frames = np.random.default_rng(0).integers(0, 256, (3, 45, 60, 3), dtype=np.uint8)
    logits, _, maps = session.run(["logits", "features", "map"], {"image": frames})
    inputs = to_inputs(torch.from_numpy(np.stack([framing.fit_square(frame, SIZE, "squash") for frame in frames])))
    with torch.inference_mode():
        expected = torch.stack([model(view(inputs, number)) for number in range(2)]).mean(0)
    assert np.abs(logits - expected.numpy()).max() < 1e-4
    flipped = session.run(["logits", "map"], {"image": frames[:, :, ::-1].copy()})
    assert np.abs(flipped[0] - logits).max() < 1e-4, "two views include the mirror image"
    assert np.abs(flipped[1][..., ::-1] - maps).max() < 1e-4
