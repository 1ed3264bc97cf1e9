"""Which epoch a training keeps, and by what measure."""

import json

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from skinlesion.core.config import Config
from skinlesion.core.runs import Run
from skinlesion.data.cache import build_cache
from skinlesion.data.splits import make_split
from skinlesion.training import checkpoint
from skinlesion.training.fit import fit, validate
from skinlesion.training.networks.models import create_model
from skinlesion.training.trained import predict
from small import small_table

CONFIG = Config(image_size=24, epochs=4, batch_size=16, learning_rate=3e-3, patience=0)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return small_table(tmp_path_factory.mktemp("images"), lesions=8)


@pytest.fixture(scope="module")
def cache(table):
    return build_cache(table, size=24, fit="squash")


def train(table, cache, folder, config=CONFIG):
    split = make_split(table, fold=config.fold)["split"].to_numpy(str)
    return fit(config, cache, table.targets, split, Run(folder), classes=7)


def last_weights(folder):
    tensors, _ = checkpoint.newest(next((folder / "checkpoints").iterdir()))
    return {name.removeprefix("model."): tensor for name, tensor in tensors.items() if name.startswith("model.")}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_validation_judges_for_an_even_prior(table, cache):
    rows, rng = np.arange(len(table.targets)), np.random.default_rng(0)
    torch.manual_seed(0)
    model = create_model("classic", classes=7, image_size=24)
    logits, features = predict(model, cache, rows)
    last = model.backbone.classifier
    with torch.no_grad():  # outputs of all kinds, as a trained network would give
        last.weight.div_(torch.from_numpy(logits.std(0)[:, None]))
        last.bias.copy_(-last.weight @ torch.from_numpy(features.mean(0)))
    logits, _ = predict(model, cache, rows)
    prior = softmax(rng.normal(0, 1, 7))
    scores = validate(model, cache, table.targets, rows, prior)
    even, plain, odd = (balanced_accuracy_score(table.targets, (logits - sign * np.log(prior)).argmax(1))
                        for sign in (1, 0, -1))  # fmt: skip
    assert scores["val_balanced_accuracy"] == pytest.approx(even)
    assert scores["val_accuracy"] == pytest.approx(accuracy_score(table.targets, logits.argmax(1)))
    assert len({even, plain, odd}) == 3, (even, plain, odd)


def test_keep_last_keeps_the_last(table, cache, tmp_path):
    best = train(table, cache, tmp_path / "best", CONFIG.but(seed=2))
    last = train(table, cache, tmp_path / "last", CONFIG.but(seed=2, keep="last"))
    assert best.history["val_balanced_accuracy"].equals(last.history["val_balanced_accuracy"])
    assert best.best_epoch == best.history["val_balanced_accuracy"].idxmax() + 1
    assert last.best_epoch == 4
    assert same(last.model.state_dict(), last_weights(tmp_path / "last"))
    assert same(best.model.state_dict(), last.model.state_dict()) == (best.best_epoch == 4)


def test_without_validation_it_trains_to_the_end(table, cache, tmp_path):
    trained = train(table, cache, tmp_path, CONFIG.but(fold=-1, patience=1, learning_rate=1e-12))
    assert list(trained.history["epoch"]) == [1, 2, 3, 4], "patience has nothing to wait for"
    assert not [name for name in trained.history if name.startswith("val_")]
    assert trained.best_epoch == json.loads((tmp_path / "training.json").read_text())["best_epoch"] == 4
    assert same(trained.model.state_dict(), last_weights(tmp_path))


def test_a_class_without_images_is_never_named(table, cache):
    model = create_model("classic", classes=8, image_size=24)
    prior = np.array([1 / 7] * 7 + [0.0])
    scores = validate(model, cache, table.targets, np.arange(len(table)), prior)
    logits, _ = predict(model, cache, np.arange(len(table)))
    assert scores["val_balanced_accuracy"] == pytest.approx(
        balanced_accuracy_score(table.targets, logits[:, :7].argmax(1))
    )
