import numpy as np
import pytest

from skinlesion.core.random_streams import generator, uniform
from skinlesion.training import balance

COUNTS = np.array([20, 50, 600, 5, 100, 0])
TARGETS = np.repeat(np.arange(6), COUNTS)


def drawn(strategy, epoch=0, **options):
    rows = balance.epoch_rows(TARGETS, strategy, classes=6, seed=1, epoch=epoch, **options)
    return rows, np.bincount(TARGETS[rows], minlength=6)


def test_classic_gives_every_class_the_target():
    rows, counts = drawn("classic", target_count=100)
    assert counts.tolist() == [100, 100, 100, 100, 100, 0]
    shown = np.bincount(rows, minlength=len(TARGETS))
    assert shown[TARGETS == 2].max() == 1, "undersampling repeats nothing"
    assert set(shown[TARGETS == 0]) == {5}, "oversampling shows all equally often"
    assert drawn("classic")[1].tolist() == [155, 155, 155, 155, 155, 0], "default: the mean count"


def test_a_new_epoch_undersamples_anew_and_repeats_by_seed():
    first, again, other = drawn("classic")[0], drawn("classic")[0], drawn("classic", epoch=1)[0]
    assert np.array_equal(first, again)
    assert set(first[TARGETS[first] == 2]) != set(other[TARGETS[other] == 2])


def test_none_and_loss_show_every_image_once():
    for strategy in ("none", "loss"):
        rows, _ = drawn(strategy)
        assert sorted(rows) == list(range(len(TARGETS)))


def test_sqrt_shares_by_the_root():
    _, counts = drawn("sqrt")
    expected = COUNTS.sum() * np.sqrt(COUNTS) / np.sqrt(COUNTS).sum()
    assert np.abs(counts - expected).max() <= 0.5


@pytest.mark.parametrize("strategy", ["classic", "sqrt", "weighted"])
def test_target_count_is_the_mean_over_the_classes_present(strategy):
    for target, total in ((40, 5 * 40), (0, COUNTS.sum())):
        wanted = balance.class_targets(COUNTS, strategy, target)
        assert abs(wanted.sum() - total) <= 2.5, "five classes have images; each is rounded"
        assert wanted[5] == 0
        rows, counts = drawn(strategy, target_count=target)
        assert len(rows) == counts.sum() == wanted.sum()
        if strategy != "weighted":
            assert np.array_equal(counts, wanted)


def test_target_count_changes_the_length_of_an_epoch_and_not_its_mix():
    for strategy in ("classic", "sqrt", "weighted"):
        short, long = (balance.training_prior(COUNTS, strategy, target) for target in (100, 10_000))
        assert np.allclose(short, long, atol=0.005)
    _, counts = drawn("sqrt", target_count=100)
    assert np.abs(counts - 500 * np.sqrt(COUNTS) / np.sqrt(COUNTS).sum()).max() <= 0.5


def test_none_and_loss_leave_the_counts_whatever_the_target():
    for strategy in ("none", "loss"):
        assert balance.class_targets(COUNTS, strategy, 7).tolist() == COUNTS.tolist()
        assert sorted(drawn(strategy, target_count=7)[0]) == list(range(len(TARGETS)))


def test_weighted_agrees_with_torchs_sampler():
    from torch.utils.data import WeightedRandomSampler

    ours = sum(drawn("weighted", epoch=e)[1] for e in range(20)) / 20
    weights = (1.0 / np.maximum(COUNTS, 1))[TARGETS]
    theirs = np.bincount(TARGETS[list(WeightedRandomSampler(weights, 20 * len(TARGETS)))], minlength=6) / 20
    assert np.allclose(ours, theirs, rtol=0.1)


def test_loss_weights_agree_with_scikit_learn():
    from sklearn.utils.class_weight import compute_class_weight

    theirs = compute_class_weight("balanced", classes=np.arange(5), y=TARGETS)
    assert np.allclose(balance.loss_weights(COUNTS), [*theirs, 0])


def test_prior_seen_in_training():
    assert np.allclose(balance.training_prior(COUNTS, "none"), COUNTS / COUNTS.sum())
    assert np.allclose(balance.training_prior(COUNTS, "classic"), [0.2] * 5 + [0])
    assert np.allclose(balance.training_prior(COUNTS, "loss"), [0.2] * 5 + [0])


def test_chance_is_uniform_independent_and_its_own_function():
    draws = uniform(7, 3, np.arange(20_000), 4)
    assert draws.min() >= 0 and draws.max() < 1
    histogram = np.apply_along_axis(lambda c: np.histogram(c, 20, (0, 1))[0], 0, draws)
    assert (np.abs(histogram - 1000) < 5 * np.sqrt(1000)).all()
    assert np.abs(np.corrcoef(draws.T) - np.eye(4)).max() < 0.03
    assert np.abs(np.corrcoef(draws[:-1, 0], draws[1:, 0])[0, 1]) < 0.03
    assert np.array_equal(uniform(7, 3, np.array([5, 90]), 4), draws[[5, 90]])
    assert not np.array_equal(uniform(7, 4, np.arange(9), 4), draws[:9])
    assert not np.array_equal(uniform(8, 3, np.arange(9), 4), draws[:9])
    assert generator(1, 2, stream="a").random() != generator(1, 2, stream="b").random()


def test_streams_of_chance_are_independent():
    index = np.arange(20_000)
    streams = np.hstack([uniform(7, 3, index, 2, stream=name) for name in ("", "mix", "degrade", "erase")])
    assert np.abs(np.corrcoef(streams.T) - np.eye(8)).max() < 0.03
    histogram = np.apply_along_axis(lambda c: np.histogram(c, 20, (0, 1))[0], 0, streams)
    assert (np.abs(histogram - 1000) < 5 * np.sqrt(1000)).all()
    assert np.array_equal(uniform(7, 3, index, 2), streams[:, :2]), "the default is the stream without a name"
    several = uniform(7, 3, index[[4, 9]], 5, stream="mix")
    assert np.array_equal(several[:, :2], streams[[4, 9], 2:4]), "more draws leave the first as they are"
