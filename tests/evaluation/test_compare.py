"""Comparisons against the two-model difference and a plain loop; unlike images are never compared silently."""

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from skinlesion import cli
from skinlesion.core.errors import DataError
from skinlesion.core.taxonomy import HAM7
from skinlesion.evaluation.bootstrap import resample
from skinlesion.evaluation.compare import COMPARED, beyond_chance, compare, load, shared
from skinlesion.evaluation.metrics import paired_difference
from skinlesion.evaluation.predictions import Predictions


def make(sharpness=2.0, n=300, seed=0, split="test"):
    """The same images and truth for every seed and sharpness."""
    y = np.random.default_rng(99).integers(0, 7, n)
    p = np.exp(np.random.default_rng(seed).normal(size=(n, 7)) + sharpness * np.eye(7)[y])
    p /= p.sum(axis=1, keepdims=True)
    ids = np.array([f"ISIC_{i:07d}" for i in range(n)], object)
    lesions = np.array([f"HAM_{i // 2:07d}" for i in range(n)], object)
    return Predictions(ids, lesions, np.full(n, split, object), np.full(n, -1), HAM7, y, p, p)


def test_differences_are_those_of_two_models_and_of_a_loop():
    first, other, third = make(), make(1.0, seed=1), make(2.0, seed=2)
    found = compare({"first": first, "other": other, "third": third}, replicates=40, seed=5)
    assert list(found.metrics) == ["first", "other", "third"] and list(found.differences) == ["other", "third"]
    pairwise = paired_difference(other, first, COMPARED, replicates=40, seed=5)
    assert found.differences["other"] == pairwise
    resamples = resample(first.lesions, 40, seed=5)
    loop = []
    for counts in resamples.counts[1:]:
        rows = np.repeat(np.arange(300), counts[resamples.lesion])
        loop.append(
            accuracy_score(first.y[rows], third.predicted[rows]) - accuracy_score(first.y[rows], first.predicted[rows])
        )
    difference = found.differences["third"]["accuracy"]
    assert (difference["low"], difference["high"]) == pytest.approx(np.percentile(loop, [2.5, 97.5]), abs=1e-12)
    assert beyond_chance(found.differences["other"]["accuracy"])
    assert " *" in found.differences_table().loc["Accuracy", "other"]
    assert found.n_lesions == 150


def test_rows_may_come_in_any_order_and_lesions_from_any_run():
    first, other = make(), make(1.0, seed=1)
    shuffled = other.take(np.random.default_rng(0).permutation(300))
    assert compare({"a": first, "b": other}, 20).differences == compare({"a": first, "b": shuffled}, 20).differences
    bare = replace(first, lesions=first.image_ids)
    assert compare({"a": bare, "b": other}, 20).differences == compare({"a": first, "b": other}, 20).differences


def test_unlike_images_are_refused_with_the_way_out_and_compared_only_when_asked():
    runs = {"a": make(), "b": make(1.0).take(np.arange(250))}
    with pytest.raises(DataError, match=r"a \(300 images\) and b \(250\) share 250 images.*--shared"):
        compare(runs)
    found = compare(shared(runs), 10)
    assert found.n_images == 250
    assert found.notes == ("a: evaluated on 250 of its 300 images, those that all runs share.",)
    with pytest.raises(DataError, match="no image in common"):
        shared({"a": make().take(np.arange(5)), "b": make().take(np.arange(5, 9))})
    with pytest.raises(DataError, match="two runs or more"):
        compare({"a": make()})
    with pytest.raises(DataError, match="a and b: the two disagree about the true class of 300 images"):
        compare({"a": make(), "b": replace(make(), y=(make().y + 1) % 7)})


def test_runs_are_named_as_short_as_they_can_be_told_apart(tmp_path):
    for place in ("x/one", "y/one", "y/two"):
        make().write(tmp_path / place / "predictions.csv")
    places = [str(tmp_path / place) for place in ("x/one", "y/one", "y/two/predictions.csv")]
    assert list(load(places)) == ["x/one", "y/one", "y/two"]
    assert list(load(places[1:])) == ["one", "two"]
    with pytest.raises(DataError, match="named more than once"):
        load([places[0], places[0]])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"predictions\.csv is not there yet; run 04_evaluation"):
        load([str(tmp_path / "empty"), places[0]])


def test_the_command_writes_table_figure_and_report_and_reads_the_split_that_is_asked_for(tmp_path, capsys):
    for name, sharpness in (("one", 2.0), ("two", 1.0)):
        make(sharpness, n=120, split="validation").write(tmp_path / name / "predictions.csv")
    arguments = ["compare", str(tmp_path / "one"), str(tmp_path / "two"), "--output", str(tmp_path / "out")]
    assert cli.main(arguments) == 2
    assert "'test'; the splits here are 'validation'" in capsys.readouterr().err
    assert cli.main([*arguments, "--split", "validation"]) == 0
    printed = capsys.readouterr().out
    assert "120 images of 60 lesions, the same for all runs" in printed and "Minus one" in printed
    written = json.loads((tmp_path / "out/comparison.json").read_text())
    assert list(written["differences"]) == ["two"]
    assert (tmp_path / "out/figures/differences.png").exists()
    assert "minus one" in (tmp_path / "out/report.html").read_text().lower()
