import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage
from torchvision.transforms.v2 import functional as V

from skinlesion.core.config import Config
from skinlesion.core.random_streams import uniform
from skinlesion.training.inputs.augment import DRAWS, _grid, augment, plain

STILL = Config(rotation=0.0, flip=False, scale=0.0, image_size=64)


@pytest.fixture(scope="module")
def frames():
    """Smooth pictures, so that two ways of interpolating agree."""
    noise = np.random.default_rng(0).random((6, 64, 64, 3))
    smooth = ndimage.gaussian_filter(noise, (0, 5, 5, 0))
    smooth = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return torch.from_numpy((smooth * 255).astype(np.uint8))


def run(frames, config, epoch=0, index=None):
    return augment(frames, config, epoch, np.arange(len(frames)) if index is None else index)


def test_nothing_asked_nothing_done(frames):
    assert torch.equal(run(frames, STILL), plain(frames))


def test_rotation_agrees_with_scipy(frames):
    x = run(frames, STILL.but(rotation=180.0))
    inner = slice(20, 44)  # corners come from beyond the frame
    for i, turn in enumerate((uniform(0, 0, np.arange(6), 1)[:, 0] * 2 - 1) * 180):
        turned = ndimage.rotate(frames[i].numpy() / 255.0, turn, reshape=False, order=1, mode="mirror")
        assert np.abs(x[i].permute(1, 2, 0).numpy() - turned)[inner, inner].max() < 0.03


def test_zoom_agrees_with_scipy(frames):
    x = run(frames, STILL.but(scale=0.5))
    factors = 1 + (uniform(0, 0, np.arange(6), 3)[:, 2] * 2 - 1) * 0.5
    assert factors.min() < 0.9 and factors.max() > 1.1
    for i, factor in enumerate(factors):
        offset = 31.5 - 31.5 / factor
        for channel in range(3):
            source = frames[i, ..., channel].numpy() / 255.0
            zoomed = ndimage.affine_transform(source, [1 / factor] * 2, offset=[offset] * 2, order=1, mode="mirror")
            assert np.abs(x[i, channel].numpy() - zoomed)[20:44, 20:44].max() < 0.03


def test_flips_are_mirror_images(frames):
    x, source = run(frames, STILL.but(flip=True)), plain(frames)
    seen = set()
    for i in range(len(x)):
        options = {(): source[i], (1,): source[i].flip(1), (2,): source[i].flip(2), (1, 2): source[i].flip(1, 2)}
        match = [key for key, value in options.items() if torch.allclose(x[i], value, atol=1e-4)]
        assert len(match) == 1
        seen.add(match[0])
    assert len(seen) > 1


def test_every_sample_has_its_own_and_keeps_it_in_any_batch(frames):
    config = STILL.but(rotation=180.0, flip=True, scale=0.2, shift=0.1, shear=10.0, color=0.3)
    same = frames[:1].expand(6, -1, -1, -1)
    x = run(same, config)
    assert len({tuple(sample.flatten()[::500].tolist()) for sample in x}) == 6
    assert torch.equal(run(same[2:4], config, index=np.array([2, 3])), x[2:4])
    assert not torch.equal(run(same, config, epoch=1), x)
    assert x.min() >= 0 and x.max() <= 1


def test_random_crops_are_windows_of_the_frame():
    ramp = torch.arange(96, dtype=torch.uint8).view(1, 1, 96, 1).expand(200, 72, 96, 3)
    x = run(ramp, STILL.but(fit="random_crop")) * 255
    width = x[:, 0, 0, -1] - x[:, 0, 0, 0]
    assert torch.allclose(width, torch.tensor(72.0 * 63 / 64), atol=0.2), "as wide as the frame's shorter side"
    left = x[:, 0, 0, 0]
    assert left.min() < 2 and left.max() > 22, "anywhere along the longer side"


def test_colour_moves_and_keeps_hue_order(frames):
    x = run(frames, STILL.but(color=0.3))
    ratio = x.mean((1, 2, 3)) / plain(frames).mean((1, 2, 3))
    assert ratio.std() > 0.03
    assert ratio.min() > 0.65 and ratio.max() < 1.35


def test_colour_is_brightness_then_contrast_then_saturation(frames):
    config, index = STILL.but(color=0.3), np.arange(len(frames))
    factors = 1 + (uniform(config.seed, 2, index, DRAWS)[:, 8:11] * 2 - 1) * config.color
    for image, found, (brightness, contrast, saturation) in zip(
        plain(frames).double(), augment(frames, config, 2, index), factors.tolist(), strict=True
    ):
        expected = image * brightness
        expected = (expected - expected.mean()) * contrast + expected.mean()
        grey = V.rgb_to_grayscale(expected, 3)
        expected = torch.lerp(grey, expected, saturation).clamp(0, 1)
        torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=0)


def test_the_grid_is_torchs():
    matrix = torch.randn(3, 2, 3, generator=torch.Generator().manual_seed(0))
    expected = F.affine_grid(matrix, [3, 3, 17, 17], align_corners=False)
    torch.testing.assert_close(_grid(matrix, 17), expected, atol=1e-6, rtol=0)


def test_a_border_takes_the_colour_of_its_partners_border():
    dim = torch.full((1, 64, 64, 3), 80, dtype=torch.uint8)
    warm = dim.clone()
    warm[..., 0] = 120
    warm[:, 24:40, 24:40] = 20  # a lesion, which keeps its contrast to the skin
    x = run(torch.cat([warm, dim]), STILL.but(recolor=1.0))
    swapped = run(torch.cat([dim, warm]), STILL)
    assert torch.allclose(x[:, :, 0, 0], swapped[:, :, 0, 0], atol=1e-6)
    assert torch.allclose(x[0, :, 32, 32] / x[0, :, 0, 0], plain(warm)[0, :, 32, 32] / plain(warm)[0, :, 0, 0])


def test_as_many_borders_are_recoloured_as_asked(frames):
    many = frames[torch.arange(600) % 6]
    x, before = run(many, STILL.but(recolor=0.3)), run(many, STILL)
    changed = (x != before).flatten(1).any(1).float().mean()
    assert abs(changed - 0.3) < 4 * (0.3 * 0.7 / 600) ** 0.5


def test_recolouring_a_black_border_keeps_pixels_in_range():
    frames = torch.zeros(2, 64, 64, 3, dtype=torch.uint8)
    frames[1] = 255
    x = run(frames, STILL.but(recolor=1.0))
    assert torch.isfinite(x).all() and x.min() >= 0 and x.max() <= 1
