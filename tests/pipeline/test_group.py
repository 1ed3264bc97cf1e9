"""Several runs at once, their comparison and status, and reports that are published."""

import functools
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import run_all
from skinlesion import pipeline
from skinlesion.core.config import Config
from skinlesion.core.errors import ConfigError, SkinLesionError
from skinlesion.core.taxonomy import HAM7
from skinlesion.core.writing import write_json
from skinlesion.pipeline import held_out
from skinlesion.pipeline.publish import publish
from skinlesion.pipeline.series import Step
from small import HEAD, write_notebook

STEPS = (Step("01_a", ("predictions.csv",)),)


@pytest.fixture
def notebooks(tmp_path):
    """One notebook that leaves predictions, better ones with more epochs; with 13 epochs it fails, with 99 it waits."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    rng = np.random.default_rng(0)
    truth = np.tile(HAM7.codes, 10)
    frame = pd.DataFrame({"image_id": [f"i{i}" for i in range(70)], "lesion_id": [f"l{i}" for i in range(70)],
                          "split": "test", "fold": 0, "label": truth})  # fmt: skip
    for epochs in (1, 2):
        scores = rng.random((70, 7)) + epochs * (truth[:, None] == np.array(HAM7.codes))
        scores /= scores.sum(axis=1, keepdims=True)
        columns = {f"{kind}_{code}": scores[:, i] for kind in ("p", "score") for i, code in enumerate(HAM7.codes)}
        frame.assign(**columns).to_csv(folder / f"{epochs}.csv", index=False)
    code = (
        "import pathlib, shutil, time\nassert epochs != 13, 'unlucky'\n"
        "pathlib.Path(run, 'began').touch()\ntime.sleep(300 if epochs == 99 else 0)\n"
        f"shutil.copy(pathlib.Path({str(folder)!r}) / f'{{epochs}}.csv', pathlib.Path(run) / 'predictions.csv')"
    )
    write_notebook(folder, "01_a", code, parameters=HEAD + "epochs: int = 8  # passes\n")
    return folder


def configs(**epochs) -> dict:
    return {name: (Config().but(epochs=number), "quick") for name, number in epochs.items()}


def group(runs, folder, notebooks) -> int:
    return pipeline.run_group(runs, folder, notebooks, jobs=2, steps=STEPS)


def status(folder) -> dict:
    return json.loads((folder / "status.json").read_text())


def test_two_runs_at_once_their_comparison_and_a_third_that_fails(notebooks, tmp_path, capsys):
    folder = tmp_path / "reports" / "both"
    assert group(configs(bad=13, one=1, two=2), folder, notebooks) == 1
    told = status(folder)
    assert (told["status"], told["comparison"]) == ("failed", "comparison/report.html")
    assert [(run["run"], run["status"], run["exit"]) for run in told["runs"]] == [
        ("bad", "failed", 1), ("one", "complete", 0), ("two", "complete", 0),
    ]  # fmt: skip
    assert "unlucky" in (folder / "bad" / "log.txt").read_text()
    said = capsys.readouterr().out.splitlines()
    assert f"bad  failed, log: {folder / 'bad' / 'log.txt'}" in said and "one  complete" in said
    assert f"two  running, log: {folder / 'two' / 'log.txt'}" in said
    for run in told["runs"][1:]:
        assert (folder / run["report"]).exists() and "01_a  done" in (folder / run["log"]).read_text()
        assert json.loads((folder / run["run"] / "run.json").read_text())["preset"] == "quick"
    compared = json.loads((folder / "comparison" / "comparison.json").read_text())
    assert "two" in json.dumps(compared) and (folder / "comparison" / "report.html").exists()
    with pytest.raises(ConfigError, match="that of a single run"):
        group(configs(one=1, two=2), folder / "one", notebooks)
    with pytest.raises(ConfigError, match="that of a group"):
        pipeline.run_series(configs(one=1)["one"][0], folder, notebooks, steps=STEPS)
    began = (folder / "one" / "predictions.csv").stat().st_mtime_ns
    assert group(configs(one=1, two=2), folder, notebooks) == 0 and status(folder)["status"] == "complete"
    assert (folder / "one" / "predictions.csv").stat().st_mtime_ns == began, "what is up to date is not run again"


def in_a_process(runs, folder, notebooks):
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as run_all.py does
    os._exit(group(runs, folder, notebooks))


def test_an_interrupted_group_ends_all_its_runs(notebooks, tmp_path):
    folder = tmp_path / "reports" / "both"
    process = multiprocessing.get_context("spawn").Process(
        target=in_a_process, args=(configs(one=99, two=99), folder, notebooks)
    )
    process.start()
    while len(list(folder.glob("*/began"))) < 2:
        assert process.is_alive()
        time.sleep(0.05)
    process.terminate()
    process.join(120)
    assert process.exitcode == 130 and status(folder)["status"] == "interrupted"
    assert [run["status"] for run in status(folder)["runs"]] == ["interrupted", "interrupted"]
    assert json.loads((folder / "one" / "run.json").read_text())["status"] == "interrupted"


def test_runs_are_called_by_what_differs():
    assert list(pipeline.members(["quick"], [None], [None])) == ["run"]
    assert list(pipeline.members(["smoke", "quick"], [None], [None])) == ["smoke", "quick"]
    assert list(pipeline.members(["quick"], ["classic", "a/b/mine.json"], [0, 1])) == [
        "classic-fold-0", "classic-fold-1", "mine-fold-0", "mine-fold-1",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="two runs would be called"):
        pipeline.members(["quick"], [None], [1, 1])


def test_what_the_command_asks_for(monkeypatch, tmp_path, capsys):
    asked = []
    monkeypatch.setattr(
        pipeline, "run_group", lambda runs, folder, *_, **options: asked.append((runs, folder, options))
    )
    command = ["--preset", "smoke", "--config", "classic", "quick", "--folds", "0", "2", "--jobs", "3", "--run", "all"]
    run_all.main(command, reports=tmp_path)
    ((runs, folder, options),) = asked
    assert folder == tmp_path / "all" and options["jobs"] == 3
    found = {name: (config.model, config.fold, preset) for name, (config, preset) in runs.items()}
    assert found["classic-fold-2"] == ("classic", 2, "smoke") and len(found) == 4
    assert run_all.main(command[:-2], reports=tmp_path) == 2
    assert "--run NAME" in capsys.readouterr().err
    assert run_all.main([*command, "--output", "gopher://reports"], reports=tmp_path) == 2
    assert "Protocol not known" in capsys.readouterr().err and len(asked) == 1, "said before anything runs"


@pytest.fixture
def finished(tmp_path):
    run = tmp_path / "mine"
    for name in ("index.html", "01_a.html", "run.json", "model/model.onnx", "checkpoints/x/step-1", ".lock",
                 "zz.json"):  # fmt: skip
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(name)
    return run


SHARED = {"index.html", "01_a.html", "run.json", "model/model.onnx", "zz.json"}


def test_publishing_to_a_folder(finished, tmp_path, monkeypatch):
    from skinlesion.core.storage import Folder

    order, original = [], Folder.put
    monkeypatch.setattr(Folder, "put", lambda place, name, path: (order.append(name), original(place, name, path)))
    assert publish(finished, str(tmp_path / "elsewhere")) == 5
    target = tmp_path / "elsewhere" / "mine"
    assert {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()} == SHARED
    assert order[-1] == "index.html", "who sees it finds all that it links to"
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(SkinLesionError, match="cannot be"):
        publish(finished, str(tmp_path / "file"))


def test_publishing_to_an_object_store(bucket, finished, notebooks, tmp_path, monkeypatch, capsys):
    publish(finished, "s3://skin/reports/")
    found = {entry["Key"]: entry for entry in bucket.list_objects_v2(Bucket="skin")["Contents"]}
    assert set(found) == {f"reports/mine/{name}" for name in SHARED}
    page = bucket.get_object(Bucket="skin", Key="reports/mine/index.html")
    assert (page["ContentType"], page["Body"].read()) == ("text/html", b"index.html")
    with pytest.raises(SkinLesionError, match="check that the place exists"):
        publish(finished, "s3://nobody/reports")
    monkeypatch.setattr(pipeline, "run_series", functools.partial(pipeline.run_series, steps=STEPS))
    (tmp_path / "recipe.json").write_text('{"epochs": 1}')
    arguments = ["--run", "one", "--config", str(tmp_path / "recipe.json"), "--output", "s3://skin/r"]
    assert run_all.main(arguments, notebooks=notebooks, reports=tmp_path / "reports") == 0
    assert "published: s3://skin/r/one" in capsys.readouterr().out
    assert bucket.head_object(Bucket="skin", Key="r/one/run.json")
    assert Path(tmp_path / "reports" / "one" / "index.html").exists()


METRICS = (
    "import json\n"
    "one = {'value': 0.5 + len(holdout_source) / 100, 'low': 0.4, 'high': 0.9, 'n': 70}\n"
    "part = {'balanced_accuracy': one, 'macro_auroc': one, 'n_images': 70, 'n_lesions': 60}\n"
    "found = part | ({'histology_only': part | {'n_images': 9}} if holdout_source == 'north' else {})\n"
    "assert holdout_source != 'west', 'unlucky'\n"
    "pathlib.Path(run, 'metrics.json').write_text(json.dumps(found))"
)


def test_sources_that_are_held_out_make_one_table(tmp_path):
    notebooks, folder = tmp_path / "notebooks", tmp_path / "reports" / "places"
    notebooks.mkdir()
    head = HEAD + 'holdout_source: str = ""  # tested\n'
    write_notebook(notebooks, "01_a", "import pathlib\n" + METRICS, parameters=head)
    steps = (Step("01_a", ("metrics.json",)),)
    runs = {name: (Config(holdout_source=name), "quick") for name in ("north", "west")}
    assert pipeline.run_group(runs, folder, notebooks, jobs=2, steps=steps) == 1
    table = pd.read_csv(folder / "held_out.csv")
    assert table[["held_out", "images counted", "n_images"]].to_numpy().tolist() == [
        ["north", "all", 70], ["north", "histology only", 9],
    ], "what is there is told although one failed"  # fmt: skip
    page = (folder / "index.html").read_text()
    assert 'href="north/index.html"' in page and "0.550" in page and "histology only" in page
    assert status(folder)["comparison"] == "index.html"


def test_the_mean_over_held_out_sources_is_one_a_recipe(tmp_path):
    values = {"mild-north": 0.4, "mild-west": 0.6, "strong-north": 0.8, "strong-west": 0.9}
    for name, value in values.items():
        metric = {"value": value, "low": value, "high": value, "n": 9}
        found = {"n_images": 9, "n_lesions": 9, "balanced_accuracy": metric, "macro_auroc": metric}
        write_json(tmp_path / name / "metrics.json", found)
    held_out.summarise({name: name.rpartition("-")[2] for name in values}, tmp_path)
    table = pd.read_csv(tmp_path / "held_out.csv")
    assert table["recipe"].tolist() == ["mild", "mild", "strong", "strong"]
    page = (tmp_path / "index.html").read_text()
    assert "0.500" in page and "0.850" in page and "0.675" not in page


def test_one_run_a_source(monkeypatch, tmp_path, capsys):
    asked = []
    monkeypatch.setattr(pipeline, "run_group", lambda runs, *_, **options: asked.append(runs))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "labels.csv").write_text("image_id,label\na,nv\n")
    command = ["--leave-one-source-out", "--run", "all", "--data", str(tmp_path / "one")]
    assert run_all.main([*command, str(tmp_path / "two")], reports=tmp_path) is None
    assert {name: config.holdout_source for name, (config, _) in asked[0].items()} == {"one": "one", "two": "two"}
    assert run_all.main(command, reports=tmp_path) == 2
    assert "needs several sources, and one is the only one" in capsys.readouterr().err
