"""The leak meter: what its splits promise, its difference against a plain bootstrap, and the script on a small set."""

import importlib.util
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score

from conftest import REPOSITORY
from skinlesion.core.errors import DataError
from skinlesion.core.taxonomy import HAM7
from skinlesion.data import splits
from skinlesion.evaluation import plots
from skinlesion.evaluation.leak import COLUMNS, claim_in_words, read_leak
from skinlesion.evaluation.metrics import paired_difference
from skinlesion.evaluation.plots.external_validation import leak_meter
from skinlesion.evaluation.predictions import Predictions
from small import small_table

_spec = importlib.util.spec_from_file_location("leak", REPOSITORY / "benchmarks" / "leak.py")
leak = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(leak)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    table = small_table(tmp_path_factory.mktemp("images"), lesions=14)
    pairs = (("mel_0_0", "mel_2_0"), ("nv_1_0", "nv_4_0"), ("bkl_3_1", "bkl_6_0"))
    return replace(table, near_duplicates=pairs)


def test_each_split_leaks_what_its_name_says(table):
    parts = leak.deal(table)
    own = splits.make_split(table)["fold"].to_numpy()
    assert (parts["near-duplicates"] == own).all(), "the careful deal is the project's own"
    assert all(((parts[name] == splits.TEST_FOLD) == (own == splits.TEST_FOLD)).all() for name in parts), (
        "the test part is the same and unused under all three"
    )
    lesions = table.frame["lesion_id"]
    for name in ("lesion", "near-duplicates"):
        assert (parts[name].groupby(lesions).nunique() == 1).all()
    assert (parts["image"].groupby(lesions).nunique() > 1).sum() > 10
    moved = set(lesions[parts["lesion"] != own])
    assert moved <= {"mel_2", "nv_4", "bkl_6"}, "the second of a pair, and nothing else"

    shares = {name: [leak.leaked(table, parts[name].to_numpy(), fold).mean() for fold in range(5)] for name in parts}
    assert shares["near-duplicates"] == [0] * 5
    assert np.mean(shares["image"]) > 0.3
    part = parts["image"].to_numpy()
    expected = [
        any(
            lesions[i] == lesions[j] or {table.frame["image_id"][i], table.frame["image_id"][j]} in pairs
            for j in np.flatnonzero((part != 0) & (part != splits.TEST_FOLD))
        )
        for pairs in [[set(pair) for pair in table.near_duplicates]]
        for i in np.flatnonzero(part == 0)
    ]
    found = leak.leaked(table, part, 0)
    assert (found >= expected).all(), "kin of kin counts besides"
    assert found.sum() - np.sum(expected) <= 2


def predictions(seed, lesions):
    random = np.random.default_rng(seed)
    y = np.array([hash_of(name) for name in lesions])
    p = np.exp(random.normal(size=(len(y), 7)) + (1 + seed) * np.eye(7)[y])
    p /= p.sum(axis=1, keepdims=True)
    ids = np.array([f"i{i}" for i in range(len(y))], object)
    return Predictions(ids, lesions, np.full(len(y), "", object), np.full(len(y), -1), HAM7, y, p, p)


def hash_of(name):
    return sum(map(ord, name)) % 7


def test_the_difference_is_the_paired_one_where_images_are_the_same():
    lesions = np.array([f"l{i // 2}" for i in range(400)], object)
    a, b = predictions(0, lesions), predictions(1, lesions)
    ours = leak.difference(a, b, replicates=300)
    theirs = paired_difference(a, b, replicates=300)["balanced_accuracy"]
    assert ours == pytest.approx(theirs)


def test_the_difference_of_other_images_takes_both_as_they_are():
    a = predictions(0, np.array([f"l{i}" for i in range(300)], object))
    b = predictions(1, np.array([f"l{i}" for i in range(200, 600)], object))
    found = leak.difference(a, b, replicates=200)
    value = balanced_accuracy_score(a.y, a.predicted) - balanced_accuracy_score(b.y, b.predicted)
    assert found["value"] == pytest.approx(value) and found["low"] < value < found["high"]


def test_the_script_trains_goes_on_and_writes_its_table(table, tmp_path, capsys):
    place = tmp_path / "images.csv"
    table.frame[["path", "label", "image_id", "lesion_id"]].to_csv(place, index=False)
    answers = tmp_path / "answers"
    where = ["--output", str(tmp_path / "runs"), "--answers", str(answers)]
    recipe = ["model=classic", "pretrained=false", "image_size=16", "epochs=1", "batch_size=16", "balance=none"]
    command = [*where, "run", "--data", str(place), "--folds", "0", "--set", *recipe]
    leak.main(command)
    results = {path: path.stat().st_mtime_ns for path in answers.rglob("fold-0.*")}
    assert len(results) == 6
    leak.main(command)
    assert all(path.stat().st_mtime_ns == before for path, before in results.items()), "nothing is trained twice"
    leak.main([*where, "table", "--table", str(tmp_path / "table.csv")])
    written = read_leak(tmp_path / "table.csv").set_index("split")
    assert list(written.index) == ["image", "lesion", "near-duplicates"]
    assert written.leaked["image"] > 0.2 and written.leaked["near-duplicates"] == 0
    assert written.claim["near-duplicates"] == 0
    scored = pd.read_csv(answers / "image" / "fold-0.csv.gz")
    assert len(scored) == written.n_images["image"]
    figure, alt = leak_meter(written.reset_index())
    assert plots.png(figure) and "By image: the usual shortcut" in alt
    with pytest.raises(SystemExit, match="no fold"):
        leak.main(["--answers", str(tmp_path / "empty"), "table", "--table", str(tmp_path / "t.csv")])


def test_the_claim_is_told_with_its_interval_and_whether_that_holds_zero():
    rows = pd.DataFrame({"folds": ["0 1"] * 2, "balanced_accuracy": [0.75, 0.7], "claim": [0.05, 0.0],
                         "claim_low": [0.01, 0.0], "claim_high": [0.09, 0.0]})  # fmt: skip
    told = claim_in_words(rows)
    assert "0.750 where the careful split measures 0.700: 0.050 (0.010 to 0.090) more, on 2 of five folds" in told
    assert "leaves zero out" in told
    assert "holds zero" in claim_in_words(rows.assign(claim_low=[-0.01, 0.0]))


def test_a_missing_table_is_told(tmp_path):
    with pytest.raises(DataError, match=r"benchmarks/leak.py"):
        read_leak(tmp_path / "none.csv")
    pd.DataFrame({"split": ["image"]}).to_csv(tmp_path / "short.csv")
    with pytest.raises(DataError, match="lacks title"):
        read_leak(tmp_path / "short.csv")
    assert "claim" in COLUMNS
