import contextlib
import json
import multiprocessing
import os
import platform
import random
import shutil
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss

import workers
from conftest import store_soak
from skinlesion.core.config import Config
from skinlesion.core.errors import ConfigError
from skinlesion.core.random_streams import generator
from skinlesion.core.runs import Run
from skinlesion.training import checkpoint
from skinlesion.training.balance import epoch_rows
from skinlesion.training.fit import fit, learning_rate, validate
from skinlesion.training.inputs.augment import augment
from skinlesion.training.networks.models import create_model
from skinlesion.training.trained import load_trained, predict
from small import CONFIG


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


def test_steps_in_bfloat16_are_torchs_own_and_weights_stay_float32(data, tmp_path):
    cache, targets, split = data
    split = np.where(np.cumsum(split == "train") <= 16, split, "test")  # one batch
    plain, mixed = (CONFIG.but(epochs=1, average=0.0, precision=name) for name in ("float32", "bfloat16"))
    losses = {}
    for config in (plain, mixed):
        found = fit(config, cache, targets, split, Run(tmp_path / config.precision), classes=7)
        losses[config.precision] = found.history["train_loss"].item()
        assert {tensor.dtype for tensor in found.model.state_dict().values()} <= {torch.float32, torch.int64}
    rows = np.flatnonzero(split == "train")
    counts = np.bincount(targets[rows], minlength=7)
    order = epoch_rows(targets[rows], plain.balance, classes=7, seed=0, epoch=0)
    torch.manual_seed(plain.seed)
    model = create_model("classic", classes=7, image_size=24).to(memory_format=torch.channels_last).train()
    assert counts.sum() == len(rows) and len(order) <= 16
    x = augment(torch.from_numpy(cache.frames[rows[order]]), plain, 0, np.arange(len(order)))
    torch.manual_seed(int(generator(0, 0, stream="dropout 0").integers(2**62)))
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(x)
    expected = torch.nn.functional.cross_entropy(logits.float(), torch.from_numpy(targets[rows[order]])).item()
    assert losses["bfloat16"] == pytest.approx(expected, rel=1e-6) != losses["float32"]


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
    for stop_at in (1, 14):

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
    trained, finished = whole
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
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
    seen = []
    again = train(data, whole[1], watch=lambda progress: seen.append((progress.done, progress.ended)))
    assert seen == [(0, True)]
    assert same(weights(again), weights(whole[0]))


def test_another_configuration_does_not_touch_it(whole, data, tmp_path):
    first = train(data, tmp_path, CONFIG.but(epochs=1))
    train(data, tmp_path, CONFIG.but(epochs=1, seed=1))
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2
    assert same(weights(train(data, tmp_path, CONFIG.but(epochs=1))), weights(first))


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


@pytest.mark.parametrize("warmup", [1e-6, 1e-4, 1e-3, 0.01, 0.1, 0.5])
def test_no_step_is_above_the_peak(warmup):
    config = Config(learning_rate=1.0, warmup=warmup, cosine=True)
    rates = [learning_rate(config, step / 2000) for step in range(2000)]
    assert min(rates) > 0 and 0.99 < max(rates) <= 1.0


def kill_and_resume(data, config: Config, folder: Path, kills: int) -> dict:
    """SIGKILL a training ``kills`` times at random moments, spread over its whole length, and let it go on each time.

    Every kill comes a random time, of up to two checkpoint intervals, after a random step in its share of all steps.
    Returns what happened, for the record.
    """
    paths = (data[0].folder, *data[1:])
    assert workers.run(workers.train, paths, config, folder / "whole") == 0
    numbers, moments = workers.steps(folder / "whole")
    total = len(numbers)
    pause = 2 * config.checkpoint_every * (moments[-1] - moments[0]) / (total - 1)
    chance, record = random.Random(0), []
    for number in range(kills):
        ours, theirs = multiprocessing.Pipe()
        at = round((number + chance.random()) / kills * (total - 2 * config.checkpoint_every))
        worker = workers.start(workers.train, paths, config, folder / "killed", at=at, signal=theirs)
        theirs.close()
        with contextlib.suppress(EOFError):  # an earlier kill came so late that nothing was left to do
            ours.recv()
            time.sleep(chance.uniform(0, pause))
        worker.kill()
        worker.join()
        made = workers.steps(folder / "killed")[0]
        writing = any((folder / "killed").rglob("*.partial"))
        record.append((worker.exitcode == -signal.SIGKILL, writing, made[-1], len(made)))
    assert workers.run(workers.train, paths, config, folder / "killed") == 0

    made = workers.steps(folder / "killed")[0]
    struck, writing, after, lines = zip(*record, strict=True)
    resumed = [made[line] - 1 if line < len(made) else total for line in lines]
    lost = max(step - start for step, start in zip(after, resumed, strict=True))
    assert lost <= config.checkpoint_every
    assert not list((folder / "killed").rglob("*.partial"))
    ends = [end_of(folder / name) for name in ("whole", "killed")]
    assert all(same(one, other) for one, other in zip(*ends, strict=True))
    histories = [pd.read_csv(folder / name / "history.csv").drop(columns="seconds") for name in ("whole", "killed")]
    pd.testing.assert_frame_equal(*histories, check_exact=True)
    return {
        "kills": kills,
        "struck": sum(struck),
        "struck while a file was being written": sum(writing),
        "steps of the training": total,
        "steps between checkpoints": config.checkpoint_every,
        "killed after step": " ".join(map(str, after)),
        "went on after step": " ".join(map(str, resumed)),
        "steps made twice after one kill, at most": lost,
        "final weights bit-identical": True,
    }


def end_of(folder: Path) -> tuple[dict, dict]:
    """The tensors of the best network and of the last checkpoint."""
    best = checkpoint.read(next(folder.glob("checkpoints/*/best.safetensors")))[0]
    return best, checkpoint.newest(next(folder.glob("checkpoints/*")))[0]


@pytest.mark.soak
def test_sigkill_twenty_times(data, tmp_path):
    """At random; test_faults.py kills a training at each moment that matters."""
    result = kill_and_resume(data, CONFIG.but(epochs=40, patience=0), tmp_path, 20)
    assert result["struck"] >= 18
    machine = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "machine": f"{os.cpu_count()} x {platform.machine()}",
               "torch": torch.__version__}  # fmt: skip
    store_soak("sigkill", machine | result)


def test_the_first_epochs_may_have_smaller_inputs(data, tmp_path, monkeypatch):
    config = CONFIG.but(model="mobilenetv3_small_050", epochs=2, first_epochs=1, first_size=16)
    seen = []

    def watched(*arguments):
        seen.append(tuple(augment(*arguments).shape[2:]))
        return augment(*arguments)

    monkeypatch.setattr("skinlesion.training.fit.augment", watched)
    whole = train(data, tmp_path / "whole", config)
    half = len(seen) // 2
    assert seen == [(16, 16)] * half + [(24, 24)] * half

    class Stop(Exception):
        pass

    def watch(progress):
        if progress.done == half + 1:
            raise Stop

    with pytest.raises(Stop):
        train(data, tmp_path / "stopped", config, watch=watch)
    assert same(weights(train(data, tmp_path / "stopped", config)), weights(whole))


def test_a_network_of_one_size_cannot_begin_smaller(data, tmp_path):
    with pytest.raises(ConfigError, match="classic cannot process images of 16 px"):
        train(data, tmp_path, CONFIG.but(image_size=48, first_epochs=1, first_size=16))
