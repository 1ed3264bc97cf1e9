"""Whatever happens while it trains: a clear message, the last good state kept, and in the end the same weights."""

import fnmatch
import math
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from test_fit import CONFIG, end_of, same

import workers
from skinlesion.training import checkpoint

EVERY = CONFIG.checkpoint_every
SHORT = CONFIG.but(epochs=4)  # where the moment of a fault is chosen by what is done, not by when


@pytest.fixture(scope="session")
def data(data):
    """For another process: the cache's folder in place of the cache."""
    return data[0].folder, *data[1:]


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    assert workers.run(workers.train, data, SHORT, folder) == 0
    return folder


@pytest.fixture(scope="module")
def whole(undisturbed):
    """The end of a training that nothing disturbed."""
    return end_of(undisturbed)


def train_on(data, folder, whole) -> int:
    """Train on, undisturbed: it ends as ``whole``. Returns how many steps were made twice."""
    before = workers.steps(folder)[0]
    assert workers.run(workers.train, data, SHORT, folder) == 0
    after = workers.steps(folder)[0][len(before) :]
    assert all(same(one, other) for one, other in zip(end_of(folder), whole, strict=True))
    assert not list(folder.rglob("*.partial"))
    return before[-1] - after[0] + 1 if after else 0


def last_state(folder) -> dict:
    return checkpoint.newest(next(folder.glob("checkpoints/*")))[1]


def at_call(method: str, name: str, number: int, act) -> None:
    """Do ``act`` before the given call of a Path's method on files called like ``name``."""
    original, calls = getattr(Path, method), []

    def struck(path, *arguments, **options):
        if fnmatch.fnmatch(path.name, name):
            calls.append(path)
            if len(calls) == number:
                act(path, *arguments)
        return original(path, *arguments, **options)

    setattr(Path, method, struck)


def die(path, *arguments):
    os.kill(os.getpid(), signal.SIGKILL)


def die_half_way(path, content):
    with open(path, "wb") as file:
        file.write(content[: len(content) // 2])
    die(path)


@pytest.mark.parametrize(
    ("moment", "leaves"),
    {
        "checkpoint half written": (("write_bytes", ".step-*.partial", 5, die_half_way), True),
        "checkpoint not yet moved into place": (("replace", ".step-*.partial", 5, die), True),
        "old checkpoint not yet deleted": (("unlink", "step-*", 3, die), False),
        "best network half written": (("write_bytes", ".best.*", 1, die_half_way), True),
        "history not yet moved into place": (("replace", ".history.csv.*", 4, die), True),
        "all trained, but not said": (("replace", ".training.json.*", 1, die), True),
    }.items(),
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_sigkill_while_a_file_is_written(moment, leaves, data, whole, tmp_path):
    fault, partial_left = leaves
    assert workers.run(workers.train, data, SHORT, tmp_path, before=partial(at_call, *fault)) == -signal.SIGKILL
    assert any(tmp_path.rglob("*.partial")) == partial_left
    assert last_state(tmp_path)["total_steps"] % EVERY == 0 or last_state(tmp_path)["step"] == 0
    assert train_on(data, tmp_path, whole) <= EVERY


def full_from_now(path, *arguments):
    """From now on no file may grow beyond 1 MB: the kernel refuses, as it does where a disk is full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))


def test_a_write_that_the_kernel_refuses(data, whole, tmp_path):
    fault = partial(at_call, "write_bytes", ".step-*.partial", 5, full_from_now)
    assert workers.run(workers.train, data, SHORT, tmp_path, before=fault) == 2
    message = (tmp_path / workers.ERROR).read_text()
    assert "step-" in message and "File too large" in message and "free some space" in message
    assert not list(tmp_path.rglob("*.partial")), "the part that was written is gone again"
    assert train_on(data, tmp_path, whole) <= EVERY


def arguments(images, run) -> list[str]:
    settings = (f"{name}={getattr(CONFIG, name)}" for name in ("image_size", "epochs", "batch_size", "learning_rate",
                                                               "average", "checkpoint_every"))  # fmt: skip
    return [
        "train",
        "--data",
        str(images[0] / "table.csv"),
        "--config",
        "classic",
        "--run",
        str(run),
        "--set",
        *settings,
    ]


def one_message(output) -> str:
    """The only line that speaks of an error."""
    text = output.read_text()
    assert "Traceback" not in text, text
    (line,) = [line for line in text.splitlines() if "error" in line.lower()]
    return line


@pytest.fixture(scope="module")
def whole_command(images, tmp_path_factory):
    """The end of ``skinlesion train`` that nothing disturbed."""
    folder = tmp_path_factory.mktemp("command")
    assert workers.run(workers.exit_with, workers.command, arguments(images, folder), folder / "output") == 0
    return end_of(folder)


def command_goes_on(images, run, whole_command):
    """The same command again ends with the same weights."""
    assert workers.run(workers.exit_with, workers.command, arguments(images, run), run / "output") == 0
    assert all(same(one, other) for one, other in zip(end_of(run), whole_command, strict=True))


def on_a_small_disk(images, place, outside):
    workers.small_disk(place, 4_000_000)  # one checkpoint, but no second beside it
    assert workers.command(arguments(images, place), outside / "output") == 2
    assert last_state(place)["total_steps"] > 0
    workers.enlarge_disk(place, 64_000_000)
    assert workers.command(arguments(images, place), outside / "again") == 0
    shutil.copytree(place / "checkpoints", outside / "checkpoints")


def test_a_full_disk(images, whole_command, tmp_path):
    (tmp_path / "disk").mkdir()
    status = workers.run(on_a_small_disk, images, tmp_path / "disk", tmp_path)
    if status == workers.CANNOT_MOUNT:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(
            "this system lets no test mount a disk; test_a_write_that_the_kernel_refuses stands in"
        )
    assert status == 0
    message = one_message(tmp_path / "output")
    assert message.startswith("error: ") and "No space left on device" in message and "free some space" in message
    assert all(same(one, other) for one, other in zip(end_of(tmp_path), whole_command, strict=True))


def cache_on_a_small_disk(images, place, outside):
    workers.small_disk(place, 100_000)
    os.environ["SKINLESION_CACHE"] = str(place)
    sys.exit(workers.command(arguments(images, outside / "run"), outside / "output"))


def test_a_full_disk_under_the_pixel_cache(images, tmp_path):
    (tmp_path / "disk").mkdir()
    status = workers.run(cache_on_a_small_disk, images, tmp_path / "disk", tmp_path)
    if status == workers.CANNOT_MOUNT:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("this system lets no test mount a disk")
    assert status == 2
    assert "SKINLESION_CACHE" in one_message(tmp_path / "output")


def test_a_folder_that_became_read_only(data, whole, tmp_path):
    fault = partial(at_call, "replace", ".step-*.partial", 5, die)
    assert workers.run(workers.train, data, SHORT, tmp_path / "run", before=fault) == -signal.SIGKILL
    folders = [tmp_path / "run" / "checkpoints", *(tmp_path / "run" / "checkpoints").iterdir()]
    for folder in folders:
        folder.chmod(0o555)
    assert workers.run(workers.train, data, SHORT, tmp_path / "run", before=workers.obey_permissions) == 2
    message = (tmp_path / "run" / workers.ERROR).read_text()
    assert "cannot be written (Permission denied)" in message and "choose another folder" in message
    assert last_state(tmp_path / "run")["total_steps"] > 0
    for folder in folders:
        folder.chmod(0o755)
    assert train_on(data, tmp_path / "run", whole) <= EVERY


def test_a_run_inside_a_file(images, tmp_path):
    (tmp_path / "file").write_text("no folder")
    status = workers.command(arguments(images, tmp_path / "file" / "run"), tmp_path / "output")
    assert status == 2
    assert "choose another folder" in one_message(tmp_path / "output")


def wait_for(path: Path, pattern: str, process) -> None:
    while not any(path.glob(pattern)):
        assert process.is_alive() if hasattr(process, "is_alive") else process.poll() is None, "it ended too early"
        time.sleep(0.005)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_stop(number, images, whole_command, tmp_path):
    run = tmp_path / "run"
    worker = workers.start(workers.exit_with, workers.command, arguments(images, run), tmp_path / "output")
    wait_for(run, "checkpoints/*/step-*", worker)
    os.kill(worker.pid, number)
    worker.join()
    assert worker.exitcode == 2
    message = one_message(tmp_path / "output")
    assert "interrupted; " in message and "the same command continues from it" in message
    assert not list(run.rglob("*.partial"))
    command_goes_on(images, run, whole_command)


def loss_without_number(number: int) -> None:
    """Have the loss of one step be NaN."""
    from skinlesion.training import fit as module

    original, calls = module.make_loss, []

    def make_loss(*arguments):
        loss = original(*arguments)

        def spoiled(*values):
            calls.append(values)
            return loss(*values) * (math.nan if len(calls) == number else 1)

        return spoiled

    module.make_loss = make_loss


def weights_without_number(number: int) -> None:
    """Have one step spoil the weights, though its loss is fine."""
    original, calls = torch.optim.Adam.step, []

    def step(optimizer):
        original(optimizer)
        calls.append(optimizer)
        if len(calls) == number:
            optimizer.param_groups[0]["params"][0].data[0] = math.inf

    torch.optim.Adam.step = step


@pytest.mark.parametrize("fault", [loss_without_number, weights_without_number])
def test_numbers_that_explode(fault, data, whole, tmp_path):
    step = 5 * EVERY  # the weights are spoiled just before they would be saved
    assert workers.run(workers.train, data, SHORT, tmp_path, before=partial(fault, step)) == 2
    message = (tmp_path / workers.ERROR).read_text()
    assert message.startswith("DivergedError") and "lower learning_rate (now 0.003)" in message
    assert str(next(tmp_path.glob("checkpoints/*"))) in message
    tensors, state = checkpoint.newest(next(tmp_path.glob("checkpoints/*")))
    assert step - EVERY <= state["total_steps"] < step
    assert all(tensor.isfinite().all() for tensor in tensors.values())
    assert train_on(data, tmp_path, whole) <= EVERY


def test_two_trainings_of_one_run(data, whole, tmp_path):
    ours, theirs = multiprocessing.Pipe()
    first = workers.start(workers.train, data, SHORT, tmp_path, at=3, signal=theirs)
    assert ours.recv() == 3
    os.kill(first.pid, signal.SIGSTOP)
    try:
        assert workers.run(workers.train, data, SHORT, tmp_path) == 2
    finally:
        os.kill(first.pid, signal.SIGCONT)
    assert "is at work in" in (tmp_path / workers.ERROR).read_text()
    first.join()
    assert first.exitcode == 0
    assert all(same(one, other) for one, other in zip(end_of(tmp_path), whole, strict=True))
