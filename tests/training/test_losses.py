import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import log_softmax, rel_entr, softmax
from torchvision.ops import sigmoid_focal_loss

from skinlesion.core.config import BALANCES, LOSSES, Config
from skinlesion.training.balance import class_targets
from skinlesion.training.losses import distillation, learned_prior, make_loss

COUNTS = np.array([60, 300, 7, 20])
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 3, (50, 4))
Y = RNG.integers(0, 4, 50)
CPU = torch.device("cpu")


def value(config, logits=LOGITS, targets=None, counts=COUNTS, done=0.0):
    targets = np.eye(len(counts))[Y] if targets is None else targets
    return make_loss(config, counts, CPU)(torch.tensor(logits), torch.tensor(targets), done).item()


def weights_of(drawn):
    """Inverse to what an epoch draws, with mean one over its images."""
    return drawn.sum() / (len(drawn) * drawn)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_of_one_hot_targets_is_torchs_of_indices(smoothing):
    ours = value(Config(loss="cross_entropy", label_smoothing=smoothing))
    theirs = F.cross_entropy(torch.tensor(LOGITS), torch.tensor(Y), label_smoothing=smoothing)
    assert ours == pytest.approx(theirs.item(), rel=1e-6)


def test_weighted_cross_entropy():
    terms = -log_softmax(LOGITS, axis=1)[np.arange(50), Y] * weights_of(COUNTS)[Y]
    assert value(Config(balance="loss")) == pytest.approx(terms.mean(), rel=1e-6)


def test_focal_loss():
    p = softmax(LOGITS, axis=1)[np.arange(50), Y]
    assert value(Config(loss="focal")) == pytest.approx(np.mean(-((1 - p) ** 2) * np.log(p)), rel=1e-6)
    weighted = np.mean(-((1 - p) ** 2) * np.log(p) * weights_of(COUNTS)[Y])
    assert value(Config(loss="focal", balance="loss")) == pytest.approx(weighted, rel=1e-6)


def test_focal_loss_of_two_classes_is_torchvisions():
    counts, logits, y = np.array([30, 10]), LOGITS[:, :2], Y % 2
    difference = torch.tensor(logits[:, 1] - logits[:, 0])
    for balance, alpha, scale in (("none", -1, 1.0), ("loss", 0.75, weights_of(counts).sum())):
        ours = value(Config(loss="focal", balance=balance), logits, np.eye(2)[y], counts)
        theirs = sigmoid_focal_loss(difference, torch.tensor(y).double(), alpha=alpha, gamma=2, reduction="mean")
        assert ours == pytest.approx(scale * theirs.item(), rel=1e-6)


@pytest.mark.parametrize("balance", ["none", "sqrt", "classic"])
def test_balanced_softmax_weighs_exponentials_by_what_is_drawn(balance):
    config = Config(loss="balanced_softmax", balance=balance, target_count=100)
    n = class_targets(COUNTS, balance, 100)
    weighed = n * np.exp(LOGITS)
    expected = -np.log(weighed[np.arange(50), Y] / weighed.sum(1)).mean()
    assert value(config) == pytest.approx(expected, rel=1e-6)


def ldam(margin):
    shifted = LOGITS.copy()
    shifted[np.arange(50), Y] -= margin[Y]
    return -log_softmax(shifted, axis=1)[np.arange(50), Y]


@pytest.mark.parametrize("balance", ["none", "sqrt", "classic"])
def test_ldam_margins_and_deferred_weights(balance):
    config = Config(loss="ldam_drw", balance=balance, target_count=100)
    margin = 2.0 * (COUNTS.min() / COUNTS) ** 0.25  # C / n^(1/4), C so that the rarest class has 2
    assert value(config, done=0.79) == pytest.approx(ldam(margin).mean(), rel=1e-6)
    drawn = class_targets(COUNTS, balance, 100)
    late = (ldam(margin) * weights_of(drawn)[Y]).mean()
    assert value(config, done=0.8) == pytest.approx(late, rel=1e-6)
    assert (late == pytest.approx(ldam(margin).mean())) == (balance == "classic"), "weights even out what is uneven"


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("balance", BALANCES)
def test_a_class_without_images_changes_nothing_and_is_pushed_down(loss, balance):
    config = Config(loss=loss, balance=balance)
    with_absent = np.insert(LOGITS, 2, -40.0, axis=1)  # so low that it takes no probability
    targets = np.insert(np.eye(4)[Y], 2, 0.0, axis=1)
    more = value(config, with_absent, targets, np.insert(COUNTS, 2, 0), done=0.9)
    assert more == pytest.approx(value(config, done=0.9), rel=1e-5)
    logits = torch.zeros(50, 5, requires_grad=True)
    make_loss(config, np.insert(COUNTS, 2, 0), CPU)(logits, torch.tensor(targets).float(), 0.0).backward()
    assert (logits.grad[:, 2] > 1e-4).all()


@pytest.mark.parametrize("loss", ["cross_entropy", "focal", "balanced_softmax"])
def test_mixed_targets_mix_the_loss(loss):
    config, share = Config(loss=loss), 0.3
    one, other = np.eye(4)[Y], np.eye(4)[(Y + 1) % 4]
    expected = share * value(config, targets=one) + (1 - share) * value(config, targets=other)
    assert value(config, targets=share * one + (1 - share) * other) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("balance", ["none", "loss", "classic"])
@pytest.mark.parametrize("loss", ["cross_entropy", "balanced_softmax"])
def test_the_learned_prior_is_the_one_that_the_optimum_answers_for(loss, balance):
    """Fit free logits for four kinds of images until the loss is least: Bayes' rule says what they must be."""
    likelihood = np.array([[4, 3, 2, 1], [1, 2, 5, 2], [1, 1, 1, 7]]) / 10  # of a kind, for each class
    counts = np.array([600, 90, 20])
    config = Config(loss=loss, balance=balance, target_count=100)
    drawn = np.rint(class_targets(counts, balance, 100)[:, None] * likelihood).astype(int)
    y, kind = np.divmod(np.repeat(np.arange(12), drawn.ravel()), 4)
    logits, targets = torch.zeros(4, 3, dtype=torch.float64, requires_grad=True), torch.eye(3)[y].double()
    loss_of = make_loss(config, counts, CPU)
    optimizer = torch.optim.LBFGS([logits], max_iter=300, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = loss_of(logits[kind], targets, 1.0)
        loss.backward()
        return loss

    optimizer.step(closure)
    even = softmax(logits.detach().numpy() - np.log(learned_prior(config, counts)), axis=1)
    assert even == pytest.approx((likelihood / likelihood.sum(0)).T, abs=1e-4)


def test_learned_prior():
    counts = np.array([60, 0, 20])
    assert learned_prior(Config(balance="none"), counts) == pytest.approx([0.75, 0, 0.25])
    assert learned_prior(Config(balance="loss"), counts) == pytest.approx([0.5, 0, 0.5])
    for loss in ("balanced_softmax", "ldam_drw"):
        assert learned_prior(Config(balance="none", loss=loss), counts) == pytest.approx([0.5, 0, 0.5])


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_distillation_is_the_divergence_from_the_teacher(temperature):
    teacher = softmax(RNG.normal(0, 2, (50, 4)), axis=1)
    teacher[0] = [1, 0, 0, 0]  # a certain teacher is no problem
    student = torch.tensor(LOGITS, requires_grad=True)
    loss = distillation(student, torch.tensor(teacher), temperature)
    softened = softmax(LOGITS / temperature, axis=1)
    assert loss.item() == pytest.approx(temperature**2 * rel_entr(teacher, softened).sum(1).mean(), rel=1e-9)
    loss.backward()
    assert student.grad.numpy() == pytest.approx(temperature * (softened - teacher) / 50, abs=1e-12)  # Hinton's eq. 2
    assert distillation(torch.tensor(LOGITS), torch.tensor(softened), temperature).item() == pytest.approx(0, abs=1e-12)
