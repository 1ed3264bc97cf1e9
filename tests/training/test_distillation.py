import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import rel_entr, softmax

from skinlesion.core.config import Config
from skinlesion.core.errors import ConfigError, DataError
from skinlesion.core.runs import Run, write_json
from skinlesion.data.cache import build_cache
from skinlesion.data.splits import make_split, write_split
from skinlesion.training.distillation import Teachers
from skinlesion.training.fit import fit, training_key
from skinlesion.training.parent_runs import parent_key, teacher_runs
from skinlesion.training.trained import load_trained, predict
from small import small_table

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
