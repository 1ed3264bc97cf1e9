import numpy as np
import pytest
import torch
from scipy import stats

from skinlesion.core.config import Config
from skinlesion.core.random_streams import uniform
from skinlesion.training.inputs.augment import DRAWS
from skinlesion.training.inputs.mixing import mix

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
