import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from scipy.special import log_softmax, rel_entr, softmax
from torchvision.ops import sigmoid_focal_loss

from skinlesion.core.config import BALANCES, LOSSES, Config
from skinlesion.core.errors import ConfigError, DataError
from skinlesion.core.runs import Run
from skinlesion.core.writing import write_json
from skinlesion.data.cache import build_cache
from skinlesion.data.splits import make_split, write_split
from skinlesion.training.balance import class_targets
from skinlesion.training.fit import fit, training_key
from skinlesion.training.losses import distillation, learned_prior, make_loss
from skinlesion.training.parent_runs import Teachers, parent_key, teacher_runs
from skinlesion.training.trained import load_trained, predict
from small import small_table

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


CONFIG = Config(image_size=24, epochs=10, batch_size=8, learning_rate=3e-3, patience=0)
PRIOR = np.array([0.3, 0.2, 0.2, 0.1, 0.1, 0.05, 0.05])


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return small_table(tmp_path_factory.mktemp("images"), lesions=8)


@pytest.fixture(scope="module")
def data(table):
    return build_cache(table, size=24, fit="squash"), table.targets, make_split(table)["split"].to_numpy(str)


def train(data, folder, config, **options):
    run = Run(folder)
    write_json(run.config_file, config.to_dict())
    ids = [f"image {i}" for i in range(len(data[2]))]
    split = pd.DataFrame(
        {"image_id": ids, "lesion_id": ids, "group": range(len(ids)), "label": "nv", "fold": 0, "split": data[2]}
    )
    write_split(split, run.split)
    return fit(config, *data, run, classes=7, **options)


@pytest.fixture(scope="module")
def teacher(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher")
    train(data, folder, CONFIG)
    return folder


@pytest.fixture(scope="module")
def larger(table, data, tmp_path_factory):
    """A teacher of 32 px, whose own prior is uneven."""
    folder = tmp_path_factory.mktemp("larger")
    targets = data[1].copy()
    targets[np.flatnonzero((targets == 6) & (data[2] == "train"))[2:]] = 0
    config = CONFIG.but(image_size=32, balance="none", epochs=1)
    train((build_cache(table, size=32, fit="squash"), targets, data[2]), folder, config)
    return folder


def test_the_answer_is_the_mean_of_softened_answers_at_the_students_prior(teacher, larger):
    x = torch.rand(5, 3, 1, 1, generator=torch.Generator().manual_seed(0)).expand(-1, -1, 24, 24).contiguous()
    expected = 0
    for folder in (teacher, larger):
        run = Run(folder)
        own = Config.from_file(run.config_file)
        trained = load_trained(run, own, classes=7)
        side = own.image_size
        with torch.no_grad():  # images of one colour stay what they are when resized
            logits = trained.model(x[:, :, :1, :1].expand(-1, -1, side, side)).double().numpy()
        z = logits + np.log(PRIOR) - np.log(trained.prior)
        expected = expected + softmax(z / 2.0, axis=1) / 2
    config = CONFIG.but(teachers=f"{teacher}, {larger}")
    assert Teachers(config, 7, PRIOR)(x).numpy() == pytest.approx(expected, abs=1e-5)
    assert json.loads(Run(larger).training.read_text())["prior"][0] > 0.2 > 1 / 7, "the priors do differ"


def test_at_its_own_prior_a_teacher_repeats_itself(teacher, data):
    run = Run(teacher)
    trained = load_trained(run, CONFIG, classes=7)
    rows = np.flatnonzero(data[2] == "validation")
    logits, _ = predict(trained.model, data[0], rows)
    x = torch.from_numpy(data[0].pixels[rows]).permute(0, 3, 1, 2).float() / 255
    answer = Teachers(CONFIG.but(teachers=str(teacher)), 7, trained.prior)(x).numpy()
    assert answer == pytest.approx(softmax(logits / 2, axis=1), abs=1e-5)


def test_a_teacher_has_the_students_labels(teacher, data, tmp_path):
    with pytest.raises(ConfigError, match="has 7 labels, the student 8"):
        train(data, tmp_path, CONFIG.but(teachers=str(teacher), labels=8))


def copied(teacher, tmp_path, **changes):
    """The teacher's folder, as if it had been trained by another configuration."""
    folder = tmp_path / "copy"
    shutil.copytree(teacher, folder)
    facts = json.loads(Run(folder).training.read_text())
    write_json(Run(folder).training, facts | {"config": CONFIG.but(**changes).to_dict()})
    return folder


def test_a_teacher_that_is_not_there_is_a_clear_error(data, tmp_path):
    with pytest.raises(DataError, match=r"nobody.training\.json is not there yet; run skinlesion train"):
        train(data, tmp_path / "student", CONFIG.but(teachers=str(tmp_path / "nobody")))
    with pytest.raises(ConfigError, match="names no folder"):
        train(data, tmp_path / "student", CONFIG.but(teachers=" , "))
    assert teacher_runs(CONFIG) == []


def test_other_weights_of_a_teacher_make_another_training(teacher, data, tmp_path):
    folder = copied(teacher, tmp_path)
    student = CONFIG.but(teachers=str(folder))
    before = parent_key(student, Run(tmp_path))
    train(data, folder, CONFIG.but(epochs=1))
    assert parent_key(student, Run(tmp_path)) != before
    keys = [training_key(student, data[0].content, *data[1:], weights) for weights in (before, "others")]
    assert keys[0] != keys[1]


def divergence(student, teacher_logits, data):
    """Mean KL divergence from the teacher's answers on validation."""
    logits, _ = predict(student.model, data[0], np.flatnonzero(data[2] == "validation"))
    return rel_entr(softmax(teacher_logits, axis=1), softmax(logits, axis=1)).sum(1).mean()


def test_a_student_learns_what_the_teacher_says_and_not_the_labels(teacher, data, tmp_path):
    cache, targets, split = data
    rows = np.flatnonzero(split == "train")
    wrong = targets.copy()
    wrong[rows] = np.random.default_rng(0).permutation(targets[rows])  # as many of each class, on other images
    said, _ = predict(load_trained(Run(teacher), CONFIG, classes=7).model, cache, np.flatnonzero(split == "validation"))
    student = CONFIG.but(teachers=str(teacher), keep="last")
    by = {}
    for share in (0.0, 1.0):
        trained = train((cache, wrong, split), tmp_path / str(share), student.but(distill=share))
        by[share] = divergence(trained, said, data)
    p = softmax(said, axis=1)
    constant = rel_entr(p, p.mean(0)).sum(1).mean()  # what an answer without a look at the image would reach
    assert by[1.0] < 0.5 * min(by[0.0], constant)


def test_an_interrupted_student_ends_the_same(teacher, data, tmp_path):
    config = CONFIG.but(teachers=str(teacher), mix="both", epochs=2, average=0.5, checkpoint_every=2)
    whole = train(data, tmp_path / "whole", config).model.state_dict()

    class Stop(Exception):
        pass

    def watch(progress):
        if progress.done == 3:
            raise Stop

    with pytest.raises(Stop):
        train(data, tmp_path / "stopped", config, watch=watch)
    again = train(data, tmp_path / "stopped", config).model.state_dict()
    assert all(torch.equal(again[name], whole[name]) for name in whole)
    alone = train(data, tmp_path / "alone", config.but(teachers="")).model.state_dict()
    assert not all(torch.equal(alone[name], whole[name]) for name in whole)


def test_the_teacher_itself_stays_as_it_was(teacher, data, tmp_path):
    before = load_trained(Run(teacher), CONFIG, classes=7).model.state_dict()
    files = {path: path.read_bytes() for path in teacher.rglob("*") if path.is_file()}
    train(data, tmp_path, CONFIG.but(teachers=str(teacher), epochs=1))
    assert {path: path.read_bytes() for path in teacher.rglob("*") if path.is_file()} == files
    networks = Teachers(CONFIG.but(teachers=str(teacher)), 7, PRIOR)
    networks(torch.rand(4, 3, 24, 24))
    after = networks.networks[0].state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert not networks.networks[0].training
    assert not [name for name, parameter in networks.named_parameters() if parameter.requires_grad]
