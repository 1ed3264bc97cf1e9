import threading

import numpy as np
import pytest

from app.web.shared_predictor import SharedPredictor
from skinlesion.serving.predictor import Predictor


def test_one_request_gets_all_cores_and_several_one_each(model, monkeypatch):
    """Threads of the sessions that were asked, while two requests are inside at once and after they are gone."""
    asked, both, quick = [], threading.Barrier(2, timeout=300), Predictor.predict
    shared = SharedPredictor(model)
    threads = {id(shared._alone): "all", id(shared._together): "one"}
    frame = np.full((40, 60, 3), 90, np.uint8)

    def meet(predictor, images):
        asked.append(threads[id(predictor)])
        both.wait()
        return quick(predictor, images)

    monkeypatch.setattr(Predictor, "predict", meet)
    workers = [threading.Thread(target=shared.predict, args=([frame],)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(300)
    assert sorted(asked) == ["all", "one"]

    monkeypatch.setattr(Predictor, "predict", lambda predictor, _: asked.append(threads[id(predictor)]) or 1 / 0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            shared.predict([frame])
    assert asked[2:] == ["all", "all"], "a failure frees its cores, too"


def test_both_give_the_same_answers(model):
    shared = SharedPredictor(model)
    frame = np.random.default_rng(0).integers(0, 255, (75, 100, 3), np.uint8)
    one, other = shared._alone.predict([frame])[0], shared._together.predict([frame])[0]
    assert one.label == other.label
    assert max(abs(one.probabilities[c] - other.probabilities[c]) for c in one.probabilities) < 1e-5
