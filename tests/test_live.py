import pandas as pd

from skinlesion.training import live
from skinlesion.training.fit import Progress


def test_time_left_and_share():
    progress = Progress(epoch=0, epochs=4)
    for step in range(1, 6):
        progress.at(1, step, 10, 0.5, 2.0)
    assert progress.seconds_left == (4 * 10 - 15) * 2.0
    text = live.describe(progress, width=8)
    assert text == "███░░░░░ 38% · epoch 2 of 4 · step 5 of 10 · loss 0.500 · about 0:50 left"


def test_the_notebook_view_renews_itself_in_place(monkeypatch):
    class Handle:
        def __init__(self):
            self.shown = []

        def update(self, value):
            self.shown.append(value)

    line, figure = Handle(), Handle()
    handles = iter((line, figure))
    monkeypatch.setattr("IPython.display.display", lambda *_, **__: next(handles))
    watch = live.notebook(lambda history: f"{len(history)} epochs", every=0.0)
    progress = Progress(epoch=0, epochs=2)
    progress.at(0, 1, 3, 1.0, 1.0)
    watch(progress)
    progress.history.append({"epoch": 1})
    watch(progress)
    assert figure.shown == ["1 epochs"]
    assert len(line.shown) == 2 and "step 1 of 3" in repr(line.shown[-1])


def test_the_bar_counts_all_steps(capsys):
    watch = live.terminal()
    progress = Progress(epoch=0, epochs=2)
    progress.history.append(pd.Series({"val_balanced_accuracy": 0.25}).to_dict())
    progress.at(1, 3, 4, 0.7, 1.0)
    watch(progress)
    watch(progress)
    shown = capsys.readouterr().err
    assert "7/8" in shown and "0.250" in shown
