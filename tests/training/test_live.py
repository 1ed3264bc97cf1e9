import math
import sys

import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from skinlesion.core.errors import SkinLesionError
from skinlesion.training import live
from skinlesion.training.fit import Progress


def test_time_left_and_share():
    progress = Progress(epoch=0, epochs=4)
    for step in range(1, 6):
        progress.made_step(1, step, 10, 0.5, 2.0)
    assert progress.seconds_left == (4 * 10 - 15) * 2.0
    text = live.describe(progress, width=8)
    assert text == "███░░░░░ 38% · epoch 2 of 4 · step 5 of 10 · loss 0.500 · about 0:50 left"


class Handle:
    def __init__(self):
        self.shown = []

    def update(self, value, raw=False):
        self.shown.append(value)


@pytest.fixture
def outputs(monkeypatch):
    """The line and the figure that a notebook would show."""
    handles = Handle(), Handle()
    waiting = iter(handles)
    monkeypatch.setattr("IPython.display.display", lambda *_, **__: next(waiting))
    return handles


def test_the_notebook_view_renews_itself_in_place(outputs):
    line, figure = outputs
    watch = live.notebook(lambda history: f"{len(history)} epochs", every=0.0)
    progress = Progress(epoch=0, epochs=2)
    progress.made_step(0, 1, 3, 1.0, 1.0)
    watch(progress)
    progress.history.append({"epoch": 1})
    watch(progress)
    assert figure.shown == ["1 epochs"]
    assert len(line.shown) == 2 and "step 1 of 3" in repr(line.shown[-1])


@pytest.mark.parametrize("epochs, said", [(3, "3 of 3 epochs"), (8, "3 of 8 epochs; the validation score")])
def test_the_notebook_view_says_at_once_when_a_training_has_ended(outputs, epochs, said):
    line, figure = outputs
    watch = live.notebook(lambda history: f"{len(history)} epochs", every=1e9)
    progress = Progress(epoch=2, epochs=epochs, history=[{"epoch": 1}, {"epoch": 2}])
    progress.made_step(2, 3, 3, 1.0, 1.0)
    watch(progress)
    progress.history.append({"epoch": 3})
    watch(progress)
    progress.ended = True
    watch(progress)
    assert figure.shown == ["2 epochs", "3 epochs"]
    assert said in repr(line.shown[-1]) and "left" not in repr(line.shown[-1])


def test_the_notebook_view_shows_a_training_that_had_ended_before(outputs):
    line, figure = outputs
    watch = live.notebook(lambda history: f"{len(history)} epochs")
    watch(Progress(epoch=3, epochs=3, history=[{"epoch": e} for e in (1, 2, 3)], ended=True))
    assert figure.shown == ["3 epochs"] and line.shown == [{"text/plain": "trained for 3 of 3 epochs"}]


def test_an_interruption_is_told_in_one_line_that_says_how_to_go_on():
    shell = InteractiveShell.instance()
    try:
        with capture_output() as captured:
            result = shell.run_cell("""
from skinlesion.training import live
with live.interruptible():
    raise KeyboardInterrupt
after = True
""")
    finally:
        InteractiveShell.clear_instance()  # other tests are in no notebook
    assert isinstance(result.error_in_exec, SkinLesionError) and "after" not in shell.user_ns
    assert captured.stdout == "SkinLesionError: interrupted; run the cell again to resume from the last checkpoint\n"


def test_the_bar_counts_all_steps(capsys):
    watch = live.terminal()
    progress = Progress(epoch=0, epochs=2)
    progress.history.append(pd.Series({"val_balanced_accuracy": 0.25}).to_dict())
    progress.made_step(1, 3, 4, 0.7, 1.0)
    watch(progress)
    watch(progress)
    shown = capsys.readouterr().err
    assert "7/8" in shown and "0.250" in shown


@pytest.mark.parametrize("history", [[], [{"epoch": 1, "train_loss": 0.7}]], ids=["first epoch", "no fold validates"])
def test_the_bar_shows_no_score_where_there_is_none(history, capsys):
    progress = Progress(epoch=len(history), epochs=2, history=history)
    progress.made_step(len(history), 1, 4, 0.7, 1.0)
    live.terminal()(progress)
    shown = capsys.readouterr().err
    assert "loss=0.700" in shown and "nan" not in shown and "val_" not in shown


def test_the_bar_of_a_resumed_training_goes_by_its_own_pace_and_is_closed_at_the_end(monkeypatch, capsys):
    now = 0.0
    monkeypatch.setattr("tqdm.std.time", lambda: now)
    watch = live.terminal()
    progress = Progress(epoch=8, epochs=10, history=[{}] * 8)
    for epoch in (8, 9):
        for step in range(1, 101):
            now += 2.0
            progress.made_step(epoch, step, 100, 0.5, 2.0)
            watch(progress)
            if (epoch, step) == (8, 20):
                shown = capsys.readouterr().err
                assert "820/1000" in shown and "<06:00," in shown.split("820/1000")[1]
        assert not capsys.readouterr().err.endswith("\n")
        progress.history.append({"val_balanced_accuracy": 0.5})
        watch(progress)
    progress.ended = True
    watch(progress)
    shown = capsys.readouterr().err
    assert shown.endswith("\n") and "1000/1000" in shown and "2.00s/step" in shown


def test_the_bar_is_closed_after_an_early_stop(capsys):
    watch, progress = live.terminal(), Progress(epoch=0, epochs=10)
    progress.made_step(0, 3, 3, 0.5, 1.0)
    watch(progress)
    assert not capsys.readouterr().err.endswith("\n")
    progress.ended = True
    watch(progress)
    assert capsys.readouterr().err.endswith("\n")


def test_the_bar_of_a_finished_training_is_not_drawn(capsys):
    live.terminal()(Progress(epoch=3, epochs=3, history=[{"epoch": e} for e in (1, 2, 3)], ended=True))
    assert capsys.readouterr().err == ""


def test_several_watches_are_called_in_turn():
    called = []
    watch = live.together(lambda p: called.append(("a", p)), None, lambda p: called.append(("b", p)))
    progress = Progress(epoch=0, epochs=1)
    watch(progress)
    assert called == [("a", progress), ("b", progress)]


def train(folder, history, first, last):
    """One process's part of a training: it finds ``first`` finished epochs and continues to ``last``."""
    watch = live.tensorboard(folder)
    progress = Progress(epoch=first, epochs=4, history=history[:first])
    for epoch in range(first, last):
        for step in range(3):
            progress.made_step(epoch, step + 1, 3, 1.0, 0.1)
            watch(progress)
        progress.history.append(history[epoch])
        watch(progress)
    if last == len(history):
        progress.ended = True
        watch(progress)


def test_tensorboard_shows_every_epoch_once_also_after_a_resume(tmp_path):
    history = [
        {"epoch": e, "learning_rate": 1e-3 / e, "train_loss": 2.0 / e, "val_balanced_accuracy": 0.25 * e}
        for e in range(1, 5)
    ]
    train(tmp_path, history, 0, 3)
    train(tmp_path, history, 2, 4)  # killed before its third epoch was saved: that one is repeated
    train(tmp_path, history, 4, 4)  # a finished training, started again
    assert len(list(tmp_path.iterdir())) == 1
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert sorted(events.Tags()["scalars"]) == ["learning_rate", "train_loss", "val_balanced_accuracy"]
    for name in events.Tags()["scalars"]:
        points = events.Scalars(name)
        assert [p.step for p in points] == [1, 2, 3, 4]
        assert all(math.isclose(p.value, row[name], rel_tol=1e-6) for p, row in zip(points, history, strict=True))


def test_an_epoch_that_was_saved_but_not_shown_is_made_up_for(tmp_path):
    history = [{"epoch": e, "train_loss": 1.0 / e} for e in range(1, 4)]
    train(tmp_path, history, 0, 1)
    train(tmp_path, history, 2, 3)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [p.step for p in events.Scalars("train_loss")] == [1, 2, 3]


def values(folder, name="train_loss") -> dict[int, float]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return {point.step: pytest.approx(point.value) for point in events.Scalars(name)}


def test_a_last_epoch_that_was_saved_but_not_shown_is_made_up_for(tmp_path):
    history = [{"epoch": e, "train_loss": 1.0 / e} for e in range(1, 4)]
    train(tmp_path, history, 0, 2)
    assert values(tmp_path) == {1: 1.0, 2: 0.5}
    train(tmp_path, history, 3, 3)
    assert values(tmp_path) == {1: 1.0, 2: 0.5, 3: 1 / 3}


def test_tensorboard_shows_what_was_asked_for_last(tmp_path):
    one = [{"epoch": e, "train_loss": 1.0 / e, "val_loss": 1.0} for e in range(1, 4)]
    other = [{"epoch": e, "train_loss": 2.0 / e} for e in range(1, 3)]
    for history in (one, other):
        train(tmp_path, history, 0, len(history))
    train(tmp_path, one, 3, 3)
    assert values(tmp_path) == {1: 1.0, 2: 0.5, 3: 1 / 3} and values(tmp_path, "val_loss") == {1: 1.0, 2: 1.0, 3: 1.0}


def test_without_tensorboard_there_is_no_watch(tmp_path, monkeypatch):
    monkeypatch.setattr(live, "find_spec", lambda name: None)
    assert live.tensorboard(tmp_path / "events") is None
    assert not (tmp_path / "events").exists()


def test_lines_tell_each_epoch_once_with_loss_score_and_time_left(capsys):
    watch = live.lines()
    old = {"epoch": 1, "train_loss": 2.0, "val_balanced_accuracy": 0.1}
    progress = Progress(epoch=1, epochs=3, history=[old])  # resumed: the first epoch has been told before
    for step in range(1, 11):
        progress.made_step(1, step, 10, 0.5, 7.0)
        watch(progress)
    assert capsys.readouterr().out == ""
    progress.history.append({"epoch": 2, "train_loss": 1.25, "val_balanced_accuracy": 0.5})
    watch(progress)
    assert capsys.readouterr().out == "epoch 2 of 3: loss 1.250, val_balanced_accuracy 0.500, about 1:10 left\n"
    progress.ended = True
    watch(progress)
    watch(Progress(epoch=2, epochs=2, history=[old, old], ended=True))  # another training that had ended before
    assert capsys.readouterr().out == ""
    following = Progress(epoch=0, epochs=1)
    following.made_step(0, 1, 1, 0.5, 1.0)
    watch(following)
    following.history.append({"epoch": 1, "train_loss": 0.5})  # no fold validates
    watch(following)
    assert capsys.readouterr().out == "epoch 1 of 1: loss 0.500, about 0:00 left\n"
    elsewhere = live.lines(sys.stderr)
    following.history.clear()
    elsewhere(following)
    following.history.append({"epoch": 1, "train_loss": 0.5})
    elsewhere(following)
    assert capsys.readouterr() == ("", "epoch 1 of 1: loss 0.500, about 0:00 left\n")
