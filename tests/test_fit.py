import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss

from skinlesion.config import Config
from skinlesion.data.cache import build_cache
from skinlesion.data.splits import make_split
from skinlesion.errors import ModelError
from skinlesion.runs import Run
from skinlesion.training import checkpoint
from skinlesion.training.fit import fit, learning_rate, validate
from skinlesion.training.trained import load_trained, predict
from small import small_table

CONFIG = Config(image_size=24, epochs=10, batch_size=16, learning_rate=3e-3, average=0.5, checkpoint_every=2)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    table = small_table(tmp_path_factory.mktemp("images"), lesions=12)
    cache = build_cache(table, size=24, fit="squash")
    return cache, table.targets, make_split(table)["split"].to_numpy(str)


def train(data, folder, config=CONFIG, **options):
    return fit(config, *data, Run(folder), classes=7, **options)


def weights(trained):
    return {name: tensor.clone() for name, tensor in trained.model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return train(data, folder), folder


def test_it_learns_and_says_how(whole, data):
    trained, folder = whole
    assert list(trained.history["epoch"]) == list(range(1, len(trained.history) + 1))
    assert trained.history["val_balanced_accuracy"].max() > 2 / 7, "seven colours are easy to tell apart"
    assert trained.best_epoch == trained.history["val_balanced_accuracy"].idxmax() + 1
    assert json.loads((folder / "training.json").read_text())["best_epoch"] == trained.best_epoch


def test_the_best_epoch_is_the_one_that_comes_back(whole, data):
    trained, folder = whole
    cache, targets, split = data
    rows = np.flatnonzero(split == "validation")
    logits, features = predict(trained.model, cache, rows)
    best = trained.history.iloc[trained.best_epoch - 1]
    truth = targets[rows]
    assert best["val_balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, logits.argmax(1)))
    assert best["val_accuracy"] == pytest.approx(accuracy_score(truth, logits.argmax(1)))
    probabilities = torch.softmax(torch.from_numpy(logits), 1).numpy()
    assert best["val_loss"] == pytest.approx(log_loss(truth, probabilities, labels=range(7)), rel=1e-4)
    assert features.shape == (len(rows), 256)
    again = load_trained(Run(folder), CONFIG, classes=7)
    assert same(weights(again), weights(trained))


def test_the_test_split_decides_nothing(whole, data, tmp_path):
    cache, targets, split = data
    shuffled = targets.copy()
    test = np.flatnonzero(split == "test")
    shuffled[test] = np.random.default_rng(0).permutation(7)[shuffled[test]]
    assert same(weights(train((cache, shuffled, split), tmp_path)), weights(whole[0]))


def test_validate_leaves_training_mode_alone(whole, data):
    model = whole[0].model.train()
    validate(model, data[0], data[1], np.arange(9), np.full(7, 1 / 7))
    assert model.training
    model.eval()


def test_interrupted_anywhere_it_ends_the_same(whole, data, tmp_path):
    for stop_at in (1, 8, 15):

        class Stop(Exception):
            pass

        def watch(progress, stop_at=stop_at):
            if progress.done == stop_at:
                raise Stop

        folder = tmp_path / str(stop_at)
        with pytest.raises(Stop):
            train(data, folder, watch=watch)
        assert same(weights(train(data, folder)), weights(whole[0]))


def test_a_broken_checkpoint_is_passed_over(whole, data, tmp_path):
    trained = train(data, tmp_path, CONFIG)
    folder = next((tmp_path / "checkpoints").iterdir())
    newest, before = sorted(folder.glob("step-*"), reverse=True)[:2]
    content = bytearray(newest.read_bytes())
    content[-10] ^= 1
    newest.write_bytes(content)
    with pytest.warns(UserWarning, match="altered or damaged"):
        _, state = checkpoint.newest(folder)
    assert state["total_steps"] == int(before.stem.split("-")[1])
    newest.write_bytes(content[: len(content) // 2])
    with pytest.warns(UserWarning, match="cannot be read"):
        again = train(data, tmp_path, CONFIG)
    assert same(weights(again), weights(trained))


def test_a_finished_training_is_not_run_again(whole, data):
    steps = []
    again = train(data, whole[1], watch=lambda progress: steps.append(progress.step))
    assert not steps
    assert same(weights(again), weights(whole[0]))


def test_another_configuration_does_not_touch_it(whole, data, tmp_path):
    first = train(data, tmp_path, CONFIG.but(epochs=1))
    train(data, tmp_path, CONFIG.but(epochs=1, seed=1))
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2
    assert same(weights(train(data, tmp_path, CONFIG.but(epochs=1))), weights(first))


def test_a_loss_that_explodes_is_a_clear_error(data, tmp_path):
    with pytest.raises(ModelError, match="lower learning_rate"):
        train(data, tmp_path, CONFIG.but(learning_rate=1e30))


def test_early_stop(data, tmp_path):
    trained = train(data, tmp_path, CONFIG.but(epochs=30, patience=2, learning_rate=1e-12, average=0.0))
    assert len(trained.history) == 3
    assert trained.best_epoch == 1


@pytest.mark.parametrize("balance", ["none", "sqrt", "weighted", "loss"])
def test_every_balancing_strategy_trains(data, tmp_path, balance):
    trained = train(data, tmp_path, CONFIG.but(balance=balance, epochs=1))
    assert np.isfinite(trained.history["train_loss"]).all()
    assert trained.prior.sum() == pytest.approx(1)


def test_learning_rate_schedule():
    config = Config(learning_rate=1.0, warmup=0.2, cosine=True)
    assert learning_rate(config, 0.1) == pytest.approx(0.5, abs=0.01)
    assert learning_rate(config, 0.2) == pytest.approx(1.0)
    assert learning_rate(config, 0.6) == pytest.approx(0.5)
    assert learning_rate(config, 1.0) == pytest.approx(0.0)
    assert learning_rate(Config(learning_rate=1.0), 0.9) == 1.0


WORKER = """
import os, sys
sys.path.insert(0, {tests!r})
import torch
from pathlib import Path
torch.set_num_threads(1)
from small import small_table
from test_fit import CONFIG
from skinlesion.data.cache import build_cache
from skinlesion.data.splits import make_split
from skinlesion.runs import Run
from skinlesion.training.fit import fit
table = small_table(Path(sys.argv[1]), lesions=12)
cache = build_cache(table, size=24, fit="squash")
print("ready", flush=True)
fit(CONFIG, cache, table.targets, make_split(table)["split"].to_numpy(str), Run(sys.argv[2]), classes=7)
"""


def kill_and_resume(tmp_path: Path, kills: int) -> int:
    """SIGKILL a training at random moments until it has been killed ``kills`` times; returns how many kills struck."""
    command = [sys.executable, "-c", WORKER.format(tests=str(Path(__file__).parent)), str(tmp_path / "images")]
    environment = os.environ | {"SKINLESION_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, str(tmp_path / "whole")], env=environment, check=True, capture_output=True)
    chance, struck = random.Random(0), 0
    for _ in range(kills):
        worker = subprocess.Popen([*command, str(tmp_path / "killed")], env=environment, stdout=subprocess.PIPE)
        worker.stdout.readline()  # imports are done, training begins
        time.sleep(chance.uniform(0.0, 0.6))
        worker.send_signal(signal.SIGKILL)
        struck += worker.wait() == -signal.SIGKILL
        worker.stdout.close()
    subprocess.run([*command, str(tmp_path / "killed")], env=environment, check=True, capture_output=True)
    best = [
        checkpoint.read(next((tmp_path / name).glob("checkpoints/*/best.safetensors")))[0]
        for name in ("whole", "killed")
    ]
    last = [checkpoint.newest(next((tmp_path / name).glob("checkpoints/*")))[0] for name in ("whole", "killed")]
    assert same(*best)
    assert same(*last)
    return struck


def test_sigkill_three_times(tmp_path):
    assert kill_and_resume(tmp_path, 3) >= 1


@pytest.mark.soak
def test_sigkill_twenty_times(tmp_path):
    assert kill_and_resume(tmp_path, 20) >= 5
