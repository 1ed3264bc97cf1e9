import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage, stats
from torchvision.transforms.v2 import functional as V

from skinlesion.core.config import Config
from skinlesion.core.random_streams import uniform
from skinlesion.training.inputs.augment import DRAWS, _grid, augment, mix, to_inputs

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
    assert torch.equal(run(frames, STILL), to_inputs(frames))


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
    x, source = run(frames, STILL.but(flip=True)), to_inputs(frames)
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
    ratio = x.mean((1, 2, 3)) / to_inputs(frames).mean((1, 2, 3))
    assert ratio.std() > 0.03
    assert ratio.min() > 0.65 and ratio.max() < 1.35


def test_colour_is_brightness_then_contrast_then_saturation(frames):
    config, index = STILL.but(color=0.3), np.arange(len(frames))
    factors = 1 + (uniform(config.seed, 2, index, DRAWS)[:, 8:11] * 2 - 1) * config.color
    for image, found, (brightness, contrast, saturation) in zip(
        to_inputs(frames).double(), augment(frames, config, 2, index), factors.tolist(), strict=True
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
    assert torch.allclose(x[0, :, 32, 32] / x[0, :, 0, 0], to_inputs(warm)[0, :, 32, 32] / to_inputs(warm)[0, :, 0, 0])


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


SIDE = 16


def batch(count, side=SIDE, seed=0):
    """Random images; samples of the first half belong to class 0, and so does no partner of theirs."""
    x = torch.from_numpy(np.random.default_rng(seed).random((count, 3, side, side), dtype=np.float32))
    targets = torch.eye(2)[(torch.arange(count) >= count // 2).long()]
    return x.contiguous(memory_format=torch.channels_last), targets


def mixed(x, targets, how, epoch=0, index=None, **changes):
    return mix(x, targets, Config(mix=how, seed=3, **changes), epoch, np.arange(len(x)) if index is None else index)


def own_share(y, targets):
    return (y * targets).sum(1).numpy()


def area(count, side=SIDE):
    """Pixels that each sample keeps, [N, side, side], read off images that hold their own class's number."""
    _, targets = batch(count, side)
    x = targets[:, 1].view(-1, 1, 1, 1).expand(-1, 3, side, side).contiguous()
    out, y = mixed(x, targets, "cutmix")
    assert set(out.unique().tolist()) <= {0.0, 1.0}
    return (out[:, 0] == x[:, 0]).numpy(), own_share(y, targets)


def test_none_gives_back_what_it_got():
    x, targets = batch(4)
    out, y = mixed(x, targets, "none")
    assert out is x and y is targets


def test_mixup_is_linear_in_images_and_targets():
    x, targets = batch(40)
    before = x.clone()
    out, y = mixed(x, targets, "mixup")
    share = own_share(y, targets).astype(np.float64).reshape(-1, 1, 1, 1)
    partner = x.numpy()[::-1]
    assert out.numpy() == pytest.approx(share * x.numpy() + (1 - share) * partner, abs=1e-6)
    assert y.sum(1).numpy() == pytest.approx(1, abs=1e-6)
    assert torch.equal(x, before)
    assert out.is_contiguous(memory_format=torch.channels_last) and out.dtype == torch.float32


def test_mixup_shares_follow_the_papers_beta():
    x, targets = batch(2000, side=1)
    share = own_share(mixed(x, targets, "mixup")[1], targets)
    assert stats.kstest(share, stats.beta(0.2, 0.2).cdf).pvalue > 0.01
    assert stats.kstest(share, stats.beta(0.4, 0.4).cdf).pvalue < 1e-6, "the test can tell"


def test_cutmix_takes_every_pixel_from_one_of_two_images():
    x, targets = batch(60)
    out, y = mixed(x, targets, "cutmix")
    mine, theirs = (out == x).all(1), (out == x.flip(0)).all(1)
    assert (mine ^ theirs).all(), "from one, never from both or neither"
    assert own_share(y, targets) == pytest.approx(mine.float().mean((1, 2)).numpy(), abs=1e-7)
    assert 0.2 < own_share(y, targets).mean() < 0.8


def test_cutmix_pastes_rectangles():
    kept, share = area(400)
    assert share == pytest.approx(kept.mean((1, 2)), abs=1e-7)
    for inside in ~kept:
        rows, columns = inside.any(1), inside.any(0)
        assert np.array_equal(inside, rows[:, None] & columns[None, :])
        for line in (rows, columns):
            assert np.abs(np.diff(line.astype(int))).sum() <= 2, "without gaps"
        if not (rows[[0, -1]].any() or columns[[0, -1]].any()):
            assert abs(int(rows.sum()) - int(columns.sum())) <= 1, "square, unless the border cuts it"


def test_cutmix_areas_are_distributed_as_the_paper_draws_them():
    rng, count = np.random.default_rng(5), 20_000
    half = np.sqrt(1 - rng.beta(1, 1, count)) / 2
    centre = rng.random((2, count))
    sides = np.minimum(centre + half, 1) - np.maximum(centre - half, 0)
    _, share = area(1000, side=32)
    assert stats.ks_2samp(share, 1 - sides.prod(0)).pvalue > 0.01


def test_both_gives_half_of_the_samples_to_each():
    x, targets = batch(1000)
    out, _ = mixed(x, targets, "both")
    blended = ~((out == x) | (out == x.flip(0))).flatten(1).all(1)
    assert 0.4 < blended.float().mean() < 0.53, "a few of mixup's shares are as good as 0 or 1"


def test_a_sample_depends_on_seed_epoch_index_and_partner_alone():
    for how in ("mixup", "cutmix", "both"):
        x, targets = batch(20)
        torch.manual_seed(1)
        out, y = mixed(x, targets, how)
        torch.manual_seed(2)
        some = np.array([2, 7, 12, 17])  # two pairs of partners
        few, few_y = mixed(x[some], targets[some], how, index=some)
        assert torch.equal(few, out[some]) and torch.equal(few_y, y[some])
        unlike = mixed(x, targets, how, rotation=0.0, color=0.5, image_size=64)
        assert torch.equal(unlike[0], out), "augmentation has its own chance"
        assert not torch.equal(mixed(x, targets, how, epoch=1)[1], y)
        assert not torch.equal(mixed(x, targets, how, index=np.arange(20) + 20)[1], y)


def test_shares_are_independent_of_the_augmentation():
    """How far a sample is turned says nothing about how much of it is kept."""
    x, targets = batch(1000, side=8)
    augmentation = uniform(3, 0, np.arange(1000), DRAWS)
    for how in ("mixup", "cutmix"):
        share = own_share(mixed(x, targets, how)[1], targets)
        assert np.abs([stats.spearmanr(draw, share).statistic for draw in augmentation.T]).max() < 0.1


def test_the_middle_of_an_odd_batch_stays_itself():
    x, targets = batch(5)
    for how in ("mixup", "cutmix"):
        out, y = mixed(x, targets, how)
        assert out[2].numpy() == pytest.approx(x[2].numpy(), abs=1e-6) and y[2].numpy() == pytest.approx(targets[2])
