"""Sweeps: poor trials end early, killed ones go on, and the table says what became of each."""

import json
import os
import signal

import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState

import workers
from skinlesion import cli
from skinlesion.core.config import Config
from skinlesion.core.errors import ConfigError, DivergedError
from skinlesion.core.runs import Run
from skinlesion.pipeline import sweep as sweeping
from skinlesion.training.fit import Progress
from small import CONFIG, small_csv

SPACE = {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}, "batch_size": {"low": 8, "high": 16, "step": 4},
         "balance": ["none", "sqrt"]}  # fmt: skip


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    small_csv(folder, lesions=12)
    return CONFIG.but(data=str(folder / "table.csv"), epochs=3, patience=0)


def sweep(config, folder, trials, **changes) -> pd.DataFrame:
    assert sweeping.sweep(config, SPACE | changes, folder, trials, features=None, progress=False) == 0
    return pd.read_csv(folder / "sweep.csv")


def killed(config, folder):
    """Killed in the second epoch of the second trial."""
    original = sweeping._watch

    def watch_of(trial):
        watch = original(trial)

        def watched(progress):
            watch(progress)
            if trial.number == 1 and len(progress.history) == 1:
                os.kill(os.getpid(), signal.SIGKILL)

        return watched

    sweeping._watch = watch_of
    sweep(config, folder, 3)


def test_a_sweep_goes_on_after_a_kill(config, tmp_path):
    assert workers.run(killed, config, tmp_path) == -signal.SIGKILL
    before = pd.read_csv(tmp_path / "sweep.csv")
    assert list(before["trial"]) == [0]
    found = sweep(config, tmp_path, 3)
    assert len(found) == 3 and sorted(found["run"]) == ["trial-0000", "trial-0001", "trial-0003"]
    assert found["val_balanced_accuracy"].is_monotonic_decreasing
    assert found["learning_rate"].between(1e-4, 1e-2).all() and set(found["batch_size"]) <= {8, 12, 16}
    for row in found.to_dict("records"):
        history = pd.read_csv(tmp_path / row["run"] / "history.csv")
        assert row["val_balanced_accuracy"] == pytest.approx(history["val_balanced_accuracy"].max())
        assert row["epochs"] == len(history) and (row["status"] == "stopped") == (len(history) < config.epochs)
        drawn = Config.from_file(tmp_path / row["run"] / "config.json")
        assert drawn == config.but(**{name: row[name] for name in SPACE})
    pd.testing.assert_frame_equal(sweep(config, tmp_path, 3), found)
    whole = sweep(config, tmp_path / "never killed", 3)
    pd.testing.assert_frame_equal(found.drop(columns=["trial", "run"]), whole.drop(columns=["trial", "run"]))
    with pytest.raises(ConfigError, match="another recipe or space"):
        sweep(config, tmp_path, 3, epochs=[1, 2])


def test_what_cannot_be_trained_together_ends_a_trial_and_not_the_sweep(config, tmp_path, capsys):
    """Stages can be frozen, but ``classic`` has none."""
    found = sweep(config.but(epochs=1), tmp_path, 6, freeze=[0, 2])
    refused = found["freeze"] == 2
    assert 0 < refused.sum() < 6 and list(found["status"] == "refused") == list(refused)
    assert found[refused][sweeping.SCORE].isna().all() and (found[refused]["epochs"] == 0).all()
    assert capsys.readouterr().out.count("no stages to freeze") == refused.sum()


def test_without_validation_images_no_trial_can_be_evaluated(config, tmp_path):
    with pytest.raises(ConfigError, match="fold=-1 leaves no validation images"):
        sweep(config.but(fold=-1), tmp_path, 1)


def test_poor_trials_are_stopped(tmp_path):
    study = sweeping._study(Run(tmp_path))

    def reached(scores) -> int:
        """Epochs that a trial with these scores gets."""
        trial = study.ask()
        watch, progress = sweeping._watch(trial), Progress(0, len(scores), history=[])
        for epoch, score in enumerate(scores, 1):
            watch(progress)  # in the middle of an epoch there is nothing new
            progress.history.append({"epoch": epoch, sweeping.SCORE: score})
            try:
                watch(progress)
            except optuna.TrialPruned:
                study.tell(trial, state=TrialState.PRUNED)
                return epoch
        study.tell(trial, max(scores))
        return len(scores)

    assert reached([0.5, 0.6, 0.7, 0.8]) == 4, "nobody to be compared with"
    assert reached([0.2, 0.9, 0.9, 0.9]) == 1, "poor in its first epoch"
    assert reached([0.6, 0.6, 0.6, 0.9]) == 3, "good at first, poor at the next rung"
    assert reached([0.7, 0.8, 0.9, 0.9]) == 4
    assert reached([0.1, float("nan"), 0.9]) == 1


def test_a_trial_that_diverges_is_told_and_the_next_one_runs(config, tmp_path, monkeypatch):
    fit = sweeping.fit

    def diverges_first(drawn, *rest, **how):
        if "trial-0000" in str(rest[3].folder):
            raise DivergedError("the loss became nan")
        return fit(drawn, *rest, **how)

    monkeypatch.setattr(sweeping, "fit", diverges_first)
    found = sweep(config.but(epochs=1), tmp_path, 2)
    assert list(found["status"]) == ["complete", "diverged"] and pd.isna(found["val_balanced_accuracy"][1])


@pytest.mark.parametrize(
    ("space", "says"),
    [
        ({}, "a space is a JSON object"),
        ({"learning_rat": [1]}, "learning_rat"),
        ({"fold": [0, 1]}, "different images"),
        ({"epochs": {"low": 3}}, "give a list, or"),
        ({"epochs": {"low": 3, "high": 1}}, "give a list, or"),
        ({"epochs": {"low": 1, "high": 3, "log": True, "step": 1}}, "give a list, or"),
        ({"epochs": []}, "a list to choose from"),
        ({"balance": ["none", "dice"]}, "balance"),
        ({"learning_rate": {"low": -1, "high": 1}}, "learning_rate"),
        ({"weight_decay": {"low": 0, "high": 1, "log": True}}, "weight_decay"),
        ({"weight_decay": {"low": 0, "high": 1, "step": -1}}, "weight_decay"),
        ({"weight_decay": {"low": 0, "high": 1, "step": "x"}}, "weight_decay"),
        ({"epochs": {"low": 1, "high": 3, "step": 0.5}}, "epochs must be int"),
    ],
)
def test_spaces_that_make_no_sense(space, says, tmp_path, capsys):
    (tmp_path / "space.json").write_text(json.dumps(space))
    arguments = ["sweep", "--data", "demo", "--space", str(tmp_path / "space.json"), "--run", str(tmp_path / "run")]
    assert cli.main(arguments) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_no_trial_is_no_sweep(tmp_path, capsys):
    (tmp_path / "space.json").write_text('{"learning_rate": [0.1]}')
    arguments = ["sweep", "--data", "demo", "--space", str(tmp_path / "space.json"), "--run", str(tmp_path / "run")]
    assert cli.main([*arguments, "--trials", "0"]) == 2
    assert "give 1 or more" in capsys.readouterr().err and not (tmp_path / "run").exists()
