"""Two processes train what one would: real processes that talk through gloo, and real torchrun."""

import hashlib
import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
from datetime import timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_faults import arguments, one_message, wait_for
from test_fit import CONFIG, end_of, same

import workers
from skinlesion.core.errors import SkinLesionError
from skinlesion.core.runs import Run
from skinlesion.data.cache import open_cache
from skinlesion.training import checkpoint, distributed
from skinlesion.training.balance import epoch_rows
from skinlesion.training.distributed import World

CLASSIC = CONFIG.but(epochs=12, checkpoint_every=0)
#: layer normalisation and no dropout: what one process and many compute is the same but for the order of sums
EVEN = CONFIG.but(model="test_efficientnet_ln", epochs=2, average=0.0, mix="both", checkpoint_every=1)
#: batch normalisation, and no bias before one: Adam makes steps of the rounding errors that are such a bias's gradient
BATCH_NORM = CONFIG.but(model="test_resnet", epochs=2)


@pytest.fixture(scope="session")
def data(data):
    """For another process: the cache's folder in place of the cache."""
    return data[0].folder, *data[1:]


@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("length", [16, 17, 31, 64])
def test_the_parts_make_the_batch(size, length):
    batch = np.random.default_rng(0).permutation(length) + 100
    parts = [World(rank, size).part(batch) for rank in range(size)]
    assert sorted(np.concatenate(parts)) == sorted(batch)
    assert max(map(len, parts)) - min(map(len, parts)) <= 2
    partner = dict(zip(batch, batch[::-1], strict=True))
    assert all(partner[sample] == other for part in parts for sample, other in zip(part, part[::-1], strict=True))
    assert size > 1 or np.array_equal(parts[0], batch)


def in_two_parts(batch_norm, x, mean, variance, weight, bias, training, *options):
    """Batch normalisation of a whole batch as two processes do it, each with its part."""
    import torch

    if not training:
        return batch_norm(x, mean, variance, weight, bias, training, *options)
    y, before = torch.empty_like(x), (mean.clone(), variance.clone())
    mean.zero_(), variance.zero_()
    for rank in range(2):
        part, own = World(rank, 2).part(np.arange(len(x))), [statistic.clone() for statistic in before]
        y[part] = batch_norm(x[part], *own, weight, bias, training, *options)
        for running, found in zip((mean, variance), own, strict=True):
            running += found * len(part) / len(x)
    return y


def observed(to_test, data, config, folder: Path, may_write: bool) -> None:
    """Train, and tell what this process saw: samples, gradients, and its own weights at every checkpoint."""
    import torch

    from skinlesion.training import fit as module
    from skinlesion.training.session import Session

    if not may_write:  # the kernel will let no file of this process grow
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    if "RANK" not in os.environ:  # the single one
        torch.nn.functional.batch_norm = partial(in_two_parts, torch.nn.functional.batch_norm)
    seen, gradients, states = [], [], []
    augment, average_gradients, save = module.augment, World.average_gradients, Session.save

    def seeing_augment(frames, config, epoch, index):
        seen.append((epoch, index.tolist()))
        return augment(frames, config, epoch, index)

    def seeing_gradients(world, model, share):
        average_gradients(world, model, share)
        if len(gradients) < 2:
            gradients.append(torch.cat([p.grad.reshape(-1) for p in model.parameters()]).numpy())

    def seeing_save(session):
        tensors = session.model.state_dict() | checkpoint.flatten_optimizer(session.optimizer)
        states.append(hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in tensors.values())).hexdigest())
        save(session)

    module.augment, World.average_gradients, Session.save = seeing_augment, seeing_gradients, seeing_save
    trained = module.fit(config, open_cache(data[0]), *data[1:], Run(folder), classes=7)
    weights = {key: tensor.numpy() for key, tensor in trained.model.state_dict().items()}
    to_test.send((seen, gradients, states, trained.history, weights))


def pair_and_single(data, config, place: Path) -> list[tuple]:
    """What each of two processes saw, and a single one."""
    pipes = [multiprocessing.Pipe(duplex=False) for _ in range(3)]
    folders = [place / "two", place / "two", place / "one"]
    tasks = [(pipes[i][1], data, config, folders[i], i != 1) for i in range(3)]
    processes = [*workers.ranks(observed, *tasks[:2]), workers.start(observed, *tasks[2])]
    for _, theirs in pipes:
        theirs.close()
    found = [ours.recv() for ours, _ in pipes]
    assert end(processes) == [0, 0, 0]
    return found


@pytest.fixture(scope="module")
def together(data, tmp_path_factory):
    """{configuration: [first, second, alone]}."""
    configs = {"even": EVEN, "classic": CLASSIC, "batch norm": BATCH_NORM}
    place = tmp_path_factory.mktemp("together")
    return {name: pair_and_single(data, config, place / name) for name, config in configs.items()}


def test_processes_hold_equal_weights(together):
    for name, (first, second, _) in together.items():
        assert len(first[2]) > 1 and first[2] == second[2], name
        assert all(np.array_equal(first[4][key], second[4][key]) for key in first[4])


def test_every_sample_is_seen_once_an_epoch(together, data):
    train = data[1][data[2] == "train"]
    for name, config in (("even", EVEN), ("classic", CLASSIC)):
        first, second, alone = (found[0] for found in together[name])
        for epoch in range(config.epochs):
            length = len(epoch_rows(train, config.balance, classes=7, seed=config.seed, epoch=epoch))
            of_epoch = [[i for e, index in seen if e == epoch for i in index] for seen in (first, second, alone)]
            assert sorted(of_epoch[0] + of_epoch[1]) == list(range(length)) == of_epoch[2]
            assert abs(len(of_epoch[0]) - len(of_epoch[1])) <= 2 * len([e for e, _ in first if e == epoch])


@pytest.mark.parametrize("name", ["even", "batch norm"])
def test_gradients_are_those_of_one_process(name, together):
    first, second, alone = together[name]
    for step in range(2):
        assert np.array_equal(first[1][step], second[1][step])
        error = np.linalg.norm(first[1][step] - alone[1][step]) / np.linalg.norm(alone[1][step])
        assert error < 1e-5, f"step {step + 1}"
    assert all(np.allclose(first[4][key], alone[4][key], atol=1e-3) for key in alone[4]), "after two epochs still"


def test_metrics_are_those_of_one_process(together):
    columns = ["train_loss", "val_loss", "val_accuracy", "val_balanced_accuracy"]
    for name in ("even", "batch norm"):
        first, _, alone = (found[3] for found in together[name])
        assert np.allclose(first[columns], alone[columns], atol=1e-3), name
    first, _, alone = (found[3] for found in together["classic"])  # dropout draws other masks
    assert len(first) == len(alone) == CLASSIC.epochs
    for history in (first, alone):
        assert history["val_balanced_accuracy"].max() > 3 / 7
    # over twelve seeds: 0.04 on average, with a standard deviation of 0.07, and at most 0.19
    assert abs(first["val_loss"].min() - alone["val_loss"].min()) < 0.25


def end(processes) -> list[int]:
    for process in processes:
        process.join(300)
    return [process.exitcode for process in processes]


def test_folders_that_are_not_shared(data, tmp_path):
    assert end(workers.ranks(workers.train, (data, CONFIG, tmp_path / "a"), (data, CONFIG, tmp_path / "b"))) == [2, 2]
    for folder, rank in (("a", 0), ("b", 1)):
        message = (tmp_path / folder / f"{workers.ERROR}{rank}").read_text()
        assert message.startswith("DataError: 1 of 2 processes do not see") and "all machines share" in message


def test_batches_too_small(data, tmp_path):
    assert end(workers.ranks(workers.train, *[(data, CONFIG.but(batch_size=3), tmp_path)] * 2)) == [2, 2]
    message = (tmp_path / f"{workers.ERROR}0").read_text()
    assert message.startswith("ConfigError: batch_size=3") and "start fewer processes" in message
    config = BATCH_NORM.but(batch_size=2, target_count=15)  # 105 samples: one is left alone
    assert workers.run(workers.train, data, config, tmp_path / "alone") == 2
    assert "raise batch_size" in (tmp_path / "alone" / workers.ERROR).read_text()


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    """A training in two processes that nothing disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert end(workers.ranks(workers.train, *[(data, CONFIG, folder)] * 2)) == [0, 0]
    return folder


def assert_ends_as(undisturbed, folder):
    assert all(same(one, other) for one, other in zip(end_of(folder), end_of(undisturbed), strict=True))
    histories = [pd.read_csv(place / "history.csv").drop(columns="seconds") for place in (folder, undisturbed)]
    pd.testing.assert_frame_equal(*histories, check_exact=True)


@pytest.mark.parametrize("killed", [(0,), (1,)])
def test_sigkill(killed, data, undisturbed, tmp_path):
    processes = workers.ranks(workers.train, *[(data, CONFIG, tmp_path)] * 2)
    wait_for(tmp_path, "checkpoints/*/step-*", processes[0])
    for rank in killed:
        processes[rank].kill()
    assert end(processes) == [-signal.SIGKILL if rank in killed else 2 for rank in range(2)]
    for survivor in {0, 1} - {*killed}:
        message = (tmp_path / f"{workers.ERROR}{survivor}").read_text()
        assert "another process of this training has ended" in message and "same command" in message
    assert checkpoint.newest(next(tmp_path.glob("checkpoints/*")))[1]["epoch"] < CONFIG.epochs
    assert end(workers.ranks(workers.train, *[(data, CONFIG, tmp_path)] * 2)) == [0, 0]
    assert_ends_as(undisturbed, tmp_path)


def test_ctrl_c_and_another_number_of_processes(images, tmp_path):
    run = tmp_path / "run"
    command = [(workers.command, arguments(images, run), tmp_path / f"output{rank}") for rank in range(2)]
    processes = workers.ranks(workers.exit_with, *command)
    wait_for(run, "checkpoints/*/step-*", processes[0])
    for process in processes:
        os.kill(process.pid, signal.SIGINT)
    assert end(processes) == [2, 130]
    assert "interrupted; the last checkpoint is in" in one_message(tmp_path / "output0")
    assert (tmp_path / "output1").read_text() == "", "only the first process speaks"
    assert workers.run(workers.exit_with, workers.command, arguments(images, run), tmp_path / "alone") == 0
    assert "began with 2 processes and continues with 1" in (tmp_path / "alone").read_text()
    assert json.loads((run / "training.json").read_text())["processes"] == 1


def torchrun(images, run, output) -> subprocess.Popen:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
               "-m", "skinlesion.cli", "--", *arguments(images, run)]  # fmt: skip
    with open(output, "w") as stream:
        return subprocess.Popen(command, stdout=stream, stderr=stream, start_new_session=True)


def deserted(folder: Path) -> None:
    """What a process does whose torchrun was killed before it could prctl: its agent answers no more."""
    os.environ |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
    distributed.MEETING = timedelta(seconds=1)
    try:
        with distributed.join():
            pass
    except SkinLesionError as error:
        (folder / os.environ["RANK"]).write_text(str(error))


def test_torchrun_killed_while_its_processes_are_starting(tmp_path):
    """They would look for it for hours, deaf to every signal but the one that cannot be ignored; here they end."""
    assert timedelta(seconds=30) >= distributed.MEETING
    assert end(workers.ranks(deserted, (tmp_path,), (tmp_path,))) == [0, 0]
    for rank in "01":
        assert "another process of this training has ended" in (tmp_path / rank).read_text()


@pytest.mark.parametrize("launcher_again", [False, pytest.param(True, marks=pytest.mark.soak)])
def test_torchrun_killed_and_started_again(launcher_again, images, undisturbed, tmp_path):
    """Again by torchrun, or as the processes that it would start, which costs no three interpreters."""
    run = tmp_path / "run"
    launcher = torchrun(images, run, tmp_path / "killed")
    wait_for(run, "checkpoints/*/step-*", launcher)
    processes = [int(pid) for pid in Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()]
    launcher.kill()  # its processes have sessions of their own, and nobody is left to end them
    launcher.wait()
    until = time.monotonic() + 300
    while any(Path(f"/proc/{process}/cmdline").exists() for process in processes):
        assert time.monotonic() < until, "they outlive it"
        time.sleep(0.01)
    assert one_message(tmp_path / "killed").startswith("error: interrupted; the last checkpoint is in")
    state = checkpoint.newest(next(run.glob("checkpoints/*")))[1]
    assert state["epoch"] < CONFIG.epochs and state["processes"] == 2

    if launcher_again:
        assert torchrun(images, run, tmp_path / "resumed").wait() == 0
    else:
        command = [(workers.command, arguments(images, run), tmp_path / f"resumed{rank}") for rank in range(2)]
        assert end(workers.ranks(workers.exit_with, *command)) == [0, 0]
    said = "".join(path.read_text() for path in tmp_path.glob("resumed*"))
    assert said.count(" images from ") == said.count("\nmade ") == 1, "the first process alone speaks"
    assert_ends_as(undisturbed, run)
