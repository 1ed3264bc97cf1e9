"""The training command by itself; what kills and full disks do to it is in test_faults.py."""

import pytest

from skinlesion.config import Config
from skinlesion.errors import ConfigError, DataError, SkinLesionError
from skinlesion.runs import Run
from skinlesion.training import command

TINY = Config(data="demo:60", image_size=24, epochs=1, batch_size=16)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run = Run(tmp_path_factory.mktemp("finished"))
    command.train(TINY, run, progress=False)
    return run


def test_an_interrupted_recipe_leaves_no_answers_of_the_one_before(tmp_path, monkeypatch):
    run = Run(tmp_path)
    assert command.train(TINY, run, progress=False) == 0
    assert run.outputs.exists()

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(SkinLesionError, match="the same command goes on from it"):
        patch.setattr(command, "fit", interrupted)
        command.train(TINY.but(views=2), run, progress=False)
    assert Config.from_file(run.config_file).views == 2
    assert not run.outputs.exists(), "they were another recipe's"
    assert command.train(TINY.but(views=2), run, progress=False) == 0
    assert run.outputs.exists()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"model": "typo"}, ConfigError),
        ({"model": "resnet18", "image_size": 24, "first_epochs": 1, "first_size": 1024, "start": "nobody"}, DataError),
        ({"start": "itself", "fold": 1}, ConfigError),
        ({"teachers": "itself", "fold": 1}, ConfigError),
        ({"data": "nowhere"}, DataError),
        ({"split_file": "nowhere.csv"}, DataError),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_what_is_refused_leaves_a_finished_run_as_it_was(finished, changes, error):
    changes = {name: str(finished.folder) if value == "itself" else value for name, value in changes.items()}
    before = {path: path.read_bytes() for path in finished.folder.rglob("*") if path.is_file()}
    with pytest.raises(error):
        command.train(TINY.but(**changes), finished, progress=False)
    assert {path: path.read_bytes() for path in finished.folder.rglob("*") if path.is_file()} == before


def test_a_retraining_that_was_interrupted_does_not_pass_for_trained(tmp_path, monkeypatch):
    """Its weights are still those of the recipe before, whose training images they know."""
    run = Run(tmp_path / "earlier")
    command.train(TINY, run, progress=False)

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(SkinLesionError):
        patch.setattr(command, "fit", interrupted)
        command.train(TINY.but(fold=1), run, progress=False)
    with pytest.raises(ConfigError, match="was split anew since it was trained"):
        command.train(TINY.but(fold=1, start=str(run.folder)), Run(tmp_path / "next"), progress=False)
