"""Files of a finished or interrupted training that something has harmed: what can be saved of it is."""

import shutil
from pathlib import Path

import pytest
import torch
from test_fit import CONFIG, end_of, same

import skinlesion.training.fit as fitting
from skinlesion.core.errors import ModelError
from skinlesion.core.runs import Run
from skinlesion.training import checkpoint
from skinlesion.training.fit import fit
from skinlesion.training.session import Session


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    run = tmp_path_factory.mktemp("whole")
    again(data, run)
    return run


@pytest.fixture(scope="module")
def whole(undisturbed):
    return end_of(undisturbed)


@pytest.fixture
def finished(undisturbed, tmp_path):
    """A finished training's run and folder of checkpoints."""
    shutil.copytree(undisturbed, tmp_path, dirs_exist_ok=True)
    return tmp_path, next(tmp_path.glob("checkpoints/*"))


def again(data, run):
    return fit(CONFIG, *data, Run(run), classes=7)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def test_nothing_but_broken_checkpoints(data, whole, finished):
    run, folder = finished
    for path in folder.glob("step-*"):
        cut(path)
    with pytest.warns(UserWarning) as warned:
        again(data, run)
    said = [str(warning.message) for warning in warned]
    assert len(said) == 2 and said[0].endswith("the one before it is used") and said[1].endswith("from the beginning")
    assert all(same(one, other) for one, other in zip(end_of(run), whole, strict=True))


@pytest.mark.parametrize("harm", [cut, Path.unlink])
def test_a_broken_best_network_is_written_again(harm, data, whole, finished):
    run, folder = finished
    harm(folder / "best.safetensors")
    made = []
    fit(CONFIG, *data, Run(run), classes=7, watch=lambda progress: made.append(progress.done))
    assert made == [0], "no step was made again"
    assert all(same(one, other) for one, other in zip(end_of(run), whole, strict=True))


class Stop(Exception):
    """Ends a training where a test wants it to."""


@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_epoch_that_is_named_is_the_kept_networks(keep, data, tmp_path, monkeypatch):
    """Killed at its end; the epoch that was killed comes out otherwise when it is gone through again."""
    scores = iter([0.5, 0.9, 0.1])
    figures = ("val_loss", "val_accuracy", "val_balanced_accuracy")
    monkeypatch.setattr(fitting, "validate", lambda *_: dict.fromkeys(figures, next(scores)))
    config, run, save = CONFIG.but(keep=keep, epochs=2, checkpoint_every=0), Run(tmp_path), Session.save

    def killed(session):
        if session.state["epoch"] == 2:
            raise Stop
        save(session)

    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(Session, "save", killed)
        fit(config, *data, run, classes=7)
    first = checkpoint.newest(next(run.checkpoints.iterdir()))[0]
    trained = fit(config, *data, run, classes=7)
    assert list(trained.history["val_balanced_accuracy"]) == [0.5, 0.1]
    weights, state = checkpoint.read(run.folder / trained.facts["checkpoint"])
    assert trained.best_epoch == state["epoch"] == (1 if keep == "best" else 2)
    assert all(torch.equal(weights[name], first[f"best.{name}"]) for name in weights) == (keep == "best")


def test_a_state_that_was_altered(finished):
    _, folder = finished
    newest = max(folder.glob("step-*"))
    content = newest.read_bytes()
    newest.write_bytes(content.replace(b'\\"total_steps\\": ', b'\\"total_steps\\":1'))
    assert newest.read_bytes() != content
    with pytest.raises(ModelError, match="altered or damaged"):
        checkpoint.read(newest)


@pytest.mark.parametrize("part", ["model.backbone.classifier.weight", "optimizer.0.exp_avg"])
def test_a_checkpoint_of_another_network(part, data, finished):
    run, folder = finished
    tensors, state = checkpoint.newest(folder)
    checkpoint.save_step(folder, state["total_steps"], tensors | {part: torch.zeros(3, 5)}, state)
    with pytest.raises(ModelError, match="do not fit a classic.*Delete that folder"):
        again(data, run)
