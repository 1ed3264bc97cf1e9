import colorsys
import io
import itertools

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from scipy import ndimage
from torchvision.transforms.v2 import functional as V

from skinlesion.core.random_streams import uniform
from skinlesion.training.inputs import degrade as module
from skinlesion.training.inputs.degrade import (
    DEGRADE_DRAWS,
    ERASE_DRAWS,
    RAND_AUGMENT_DRAWS,
    blur,
    color_cast,
    degrade,
    erase,
    field_of_view,
    gamma,
    jpeg,
    lower_resolution,
    noise,
    rand_augment,
    rotate_hue,
    sharpen,
    solarize,
    vignette,
)

ALL = [(degrade, DEGRADE_DRAWS), (rand_augment, RAND_AUGMENT_DRAWS), (erase, ERASE_DRAWS)]


def photo(side=128, seed=0):
    """Smooth colours with some texture and a hard edge: uint8 [side, side, 3]."""
    random = np.random.default_rng(seed)
    picture = sum(
        ndimage.gaussian_filter(random.standard_normal((side, side, 3)), (sigma, sigma, 0), mode="wrap") * weight
        for sigma, weight in [(1, 0.15), (4, 2.4), (16, 24)]
    )
    picture += [1.0, 0.0, -0.3]
    picture[side // 3 : side // 2, side // 4 : side // 2] -= 1
    return (255 / (1 + np.exp(-picture))).astype(np.uint8)


def tensor(pixels):
    return torch.from_numpy(np.asarray(pixels)).permute(2, 0, 1).float() / 255


def array(image):
    return image.permute(1, 2, 0).numpy() * 255


def square_error(a, b):
    return np.mean((np.asarray(a, float) - np.asarray(b, float)) ** 2)


def psnr(a, b):
    return 10 * np.log10(255**2 / square_error(a, b))


@pytest.fixture(scope="module")
def batch():
    return torch.stack([tensor(photo(64, seed)) for seed in range(12)]).contiguous(memory_format=torch.channels_last)


def chance(n, draws, seed=0):
    return torch.from_numpy(uniform(seed, 0, np.arange(n), draws))


# --- the three of them --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("function", "draws"), ALL)
def test_a_sample_is_the_same_in_any_batch_and_the_input_stays(batch, function, draws):
    rows, before = chance(len(batch), draws), batch.clone()
    whole = function(batch, 0.8, rows)
    apart = torch.cat([function(batch[part], 0.8, rows[part]) for part in (slice(0, 1), slice(1, 8), slice(8, 12))])
    order = torch.arange(len(batch)).flip(0)
    assert torch.equal(whole, apart)
    assert torch.equal(function(batch[order], 0.8, rows[order])[order], whole)
    assert torch.equal(batch, before)
    assert not torch.equal(function(batch, 0.8, chance(len(batch), draws, seed=1)), whole)


@pytest.mark.parametrize(("function", "draws"), ALL)
@pytest.mark.parametrize("side", [50, 64])
def test_output_is_what_a_network_takes(function, draws, side):
    pictures = torch.stack([tensor(photo(side, seed)) for seed in range(3)]).repeat(20, 1, 1, 1)
    pictures[:2] = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)  # one black, one white
    threads = torch.get_num_threads()
    x = function(pictures, 1.0, chance(60, draws))
    assert x.shape == pictures.shape and x.dtype == torch.float32
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert x.min() >= 0 and x.max() <= 1  # a NaN fails both
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(("function", "draws"), ALL)
def test_nothing_asked_nothing_done(batch, function, draws):
    assert torch.allclose(function(batch, 0.0, chance(len(batch), draws)), batch, atol=1e-6)


def test_each_operation_comes_as_often_as_asked(monkeypatch):
    seen = []
    spies = tuple(
        (lambda image, *parameters, n=n: seen.append((n, parameters)) or image, share, ranges)
        for n, (_, share, ranges) in enumerate(module._CAMERA)
    )
    monkeypatch.setattr(module, "_CAMERA", spies)
    degrade(torch.zeros(3000, 3, 2, 2), 0.5, chance(3000, DEGRADE_DRAWS))
    for n, (_, share, ranges) in enumerate(spies):
        drawn = np.array([parameters for which, parameters in seen if which == n])
        assert len(drawn) / 3000 == pytest.approx(0.5 * share, abs=0.03)
        low, high = np.array(ranges).T
        assert np.allclose(drawn.min(0), low, atol=0.02 * (high - low)), "the whole range is used, and no more"
        assert np.allclose(drawn.max(0), high, atol=0.02 * (high - low))


# --- a poorer camera ----------------------------------------------------------------------------------------------


def pillow_jpeg(pixels, quality, step):
    memory = io.BytesIO()
    Image.fromarray(pixels).save(memory, "JPEG", quality=quality, subsampling=0 if step == 1 else 2)
    return np.asarray(Image.open(memory))


@pytest.mark.parametrize("side", [128, 100])
@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("quality", [30, 50, 75, 95])
def test_jpeg_agrees_with_pillow(quality, step, side):
    pixels = photo(side)
    found = array(jpeg(tensor(pixels), quality + 0.7, step + 0.9)).round()
    assert np.array_equal(found, pillow_jpeg(pixels, quality, step))


def test_jpeg_loses_less_at_higher_quality():
    pixels = photo()
    loss = [psnr(array(jpeg(tensor(pixels), quality, 2.0)), pixels) for quality in range(30, 96, 13)]
    assert all(a < b for a, b in itertools.pairwise(loss))


@pytest.mark.parametrize("factor", [1.0, 1.3, 2.5])
def test_lower_resolution_agrees_with_pillow(factor):
    pixels = photo()
    small = Image.fromarray(pixels).resize([round(128 / factor)] * 2, Image.Resampling.BILINEAR)
    theirs = np.asarray(small.resize([128, 128], Image.Resampling.BILINEAR), float)
    assert np.abs(array(lower_resolution(tensor(pixels), factor)) - theirs).max() < 2.01, "Pillow rounds four times"


def test_blur_agrees_with_scipy():
    image = tensor(photo())
    theirs = ndimage.gaussian_filter(image.numpy(), (0, 1.5, 1.5), truncate=6)
    assert np.abs(blur(image, 1.5 / 128).numpy() - theirs)[:, 8:-8, 8:-8].max() < 1e-3
    assert torch.allclose(blur(torch.full((3, 32, 32), 0.7), 0.05), torch.full((3, 32, 32), 0.7)), "no dark border"


def test_sharpening_adds_what_blur_removes():
    image = tensor(photo())
    unsharp = image.numpy() + 0.8 * (image.numpy() - ndimage.gaussian_filter(image.numpy(), (0, 1, 1), truncate=6))
    assert np.abs(sharpen(image, 1 / 128, 0.8).numpy() - unsharp)[:, 8:-8, 8:-8].max() < 1e-3


def test_noise_has_the_strength_asked_and_differs_by_place():
    grey = torch.full((3, 128, 128), 0.5)
    a, b = noise(grey, 0.03, 0.1, 0.9) - grey, noise(grey, 0.03, 0.6, 0.2) - grey
    for sample in (a, b):
        assert sample.std().item() == pytest.approx(0.03, rel=0.02)
        assert abs(sample.mean().item()) < 0.001
    assert abs(np.corrcoef(a.flatten(), b.flatten())[0, 1]) < 0.02
    assert abs(np.corrcoef(a[0].flatten(), a[1].flatten())[0, 1]) < 0.02


def test_color_cast_and_gamma_agree_with_numpy():
    image = tensor(photo())
    gains = np.array([0.9, 1.05, 1.1], np.float32)
    assert np.allclose(color_cast(image, *gains.tolist()).numpy(), image.numpy() * gains[:, None, None])
    assert np.allclose(gamma(image, 0.5).numpy(), image.numpy() ** np.sqrt(2), atol=1e-6)


def test_light_falls_off_towards_the_corners():
    light = vignette(torch.ones(3, 64, 64), 0.4, 0.0, 0.0)[0]
    assert light[31:33, 31:33].min() > 0.999
    assert all(light[i, j].item() == pytest.approx(0.6) for i in (0, -1) for j in (0, -1))
    assert light[0, 32].item() == pytest.approx(0.8, abs=0.01), "half the squared distance, half the loss"
    uneven = vignette(torch.ones(3, 64, 64), 0.4, -0.25, 0.0)[0]
    assert uneven.min().item() == pytest.approx(0.6) and uneven[0].mean() > uneven[-1].mean() + 0.1


def test_field_of_view_is_a_disc():
    seen = field_of_view(torch.ones(3, 200, 200), 0.45, 0.01, 0.0, 0.02)[0]
    assert seen.mean().item() == pytest.approx(np.pi * 0.45**2, abs=0.002)
    rows, columns = np.nonzero(seen.numpy() > 0.5)
    assert (rows.mean(), columns.mean()) == pytest.approx((99.5, 103.5), abs=0.1)
    assert seen[0, 0] == 0 and seen[100, 100] == 1


# --- colours ------------------------------------------------------------------------------------------------------


def colors(image, name, magnitude):
    """One of RandAugment's operations, at a signed magnitude, through its public function."""
    names = ["brightness", "contrast", "saturation", "sharpness", "autocontrast"]
    names += ["hue", "gamma", "posterize", "solarize"]
    which = (names.index(name) + 0.5) / len(names)
    still = (names.index("gamma") + 0.5) / len(names)
    return rand_augment(image[None], 1.0, torch.tensor([[which, (magnitude + 1) / 2, still, 0.5]]))[0]


@pytest.mark.parametrize("magnitude", [-0.6, 0.5])
@pytest.mark.parametrize(
    ("name", "pillow"),
    [
        ("brightness", ImageEnhance.Brightness),
        ("contrast", ImageEnhance.Contrast),
        ("saturation", ImageEnhance.Color),
        ("sharpness", ImageEnhance.Sharpness),
    ],
)
def test_enhancements_agree_with_pillow(name, pillow, magnitude):
    pixels = photo()
    theirs = np.asarray(pillow(Image.fromarray(pixels)).enhance(1 + 0.9 * magnitude), float)
    assert np.abs(array(colors(tensor(pixels), name, magnitude)) - theirs).max() < 2.01


def test_autocontrast_posterize_and_solarize_agree_with_pillow():
    pixels = photo() // 2 + 30
    source, image = Image.fromarray(pixels), tensor(pixels)
    stretched = np.asarray(ImageOps.autocontrast(source), float)
    assert np.abs(array(colors(image, "autocontrast", 1 - 1e-6)) - stretched).max() < 1.1
    solarized = np.asarray(ImageOps.solarize(source, 102), float)
    assert np.abs(array(solarize(image, 1 - 101.5 / 255)) - solarized).max() < 0.01
    levels = (array(colors(image, "posterize", 0.76)) / 255 * 32).round(3)  # 5 bits: n / 32, where Pillow gives 8 n
    assert np.array_equal(levels, np.asarray(ImageOps.posterize(source, 5)) // 8)


def test_solarize_and_posterize_agree_with_torchvision():
    image = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(colors(image, "solarize", 0.375), V.solarize(image, 0.625))
    assert torch.equal(colors(image, "posterize", -0.5), V.posterize(image, 6))


def test_hue_turns_and_luma_stays():
    image = tensor(photo()) * 0.2 + 0.4
    turned = rotate_hue(image, 0.05)
    luma = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    assert torch.allclose((turned * luma).sum(0), (image * luma).sum(0), atol=1e-5)
    assert torch.allclose(rotate_hue(turned, -0.05), image, atol=1e-5)
    red = torch.tensor([0.6, 0.4, 0.4]).view(3, 1, 1)
    hues = [colorsys.rgb_to_hsv(*rotate_hue(red, turn).flatten().tolist())[0] for turn in (-0.05, 0.05)]
    assert sorted((hue + 0.5) % 1 - 0.5 for hue in hues) == pytest.approx([-0.05, 0.05], abs=0.02), "near HSV's hue"


def test_two_operations_and_more_of_them_with_strength(batch):
    many, rows = batch[:1].expand(300, -1, -1, -1), chance(300, RAND_AUGMENT_DRAWS)
    change = [(rand_augment(many, strength, rows) - many).abs().mean().item() for strength in (0.1, 0.3, 0.9)]
    assert 0 < change[0] < change[1] < change[2]


# --- things in the way --------------------------------------------------------------------------------------------


def test_patches_cover_2_to_20_percent_anywhere_in_any_shape():
    x = erase(torch.arange(3.0).div(2).view(1, 3, 1, 1).expand(2000, 3, 80, 80), 0.5, chance(2000, ERASE_DRAWS))
    hidden = (x[:, 0] != 0) | (x[:, 2] != 1)  # grey noise and a mean colour would leave a flat image's colour
    noisy = x.std((2, 3)).amax(1) > 0
    area = hidden[noisy].float().mean((1, 2)).numpy()
    assert noisy.float().mean().item() == pytest.approx(0.25, abs=0.03), "half have a patch, half of these noise"
    assert area.min() > 0.017 and area.max() < 0.21
    assert area.mean() == pytest.approx(0.11, abs=0.01)
    often = hidden[noisy].float().mean(0)
    assert often[40, 40] > 0.1 and often.min() >= 0 and often[0].max() > 0, "up to the border, most at the centre"
    sides = [(hit.any(1).sum().item(), hit.any(0).sum().item()) for hit in hidden[noisy]]
    ratio = np.log([height / width for height, width in sides])
    assert abs(ratio.mean()) < 0.1 and ratio.max() > 0.9 and np.abs(ratio).max() < np.log(1 / 0.3) + 0.2


def test_the_rest_of_an_erased_image_stays_and_the_patch_is_a_rectangle(batch):
    x = erase(batch, 1.0, chance(len(batch), ERASE_DRAWS))
    kinds = set()
    for before, after in zip(batch, x, strict=True):
        changed = (before != after).any(0)
        rows, columns = torch.nonzero(changed.any(1)).flatten(), torch.nonzero(changed.any(0)).flatten()
        box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        assert changed[box].float().mean() > 0.95
        patch = after[:, *box]
        kinds.add(bool(torch.allclose(patch, before.mean((1, 2), keepdim=True).expand_as(patch), atol=1e-4)))
    assert kinds == {True, False}, "a mean colour or noise"
