"""The training command by itself; what kills and full disks do to it is in test_faults.py."""

import pytest

from skinlesion.config import Config
from skinlesion.errors import SkinLesionError
from skinlesion.runs import Run
from skinlesion.training import command

TINY = Config(data="demo:60", image_size=24, epochs=1, batch_size=16)


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
