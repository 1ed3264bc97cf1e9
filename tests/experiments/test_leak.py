"""Inflation by leakage: what its splits promise, and the script on a small set."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from conftest import REPOSITORY
from experiments import leak, storage
from skinlesion.core.errors import DataError
from skinlesion.data import splits
from skinlesion.evaluation import plots
from skinlesion.evaluation.plots.decisions import leakage_figure
from skinlesion.evaluation.reference_results import describe_inflation, read_leak
from small import small_table


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    table = small_table(tmp_path_factory.mktemp("images"), lesions=14)
    pairs = (("mel_0_0", "mel_2_0"), ("nv_1_0", "nv_4_0"), ("bkl_3_1", "bkl_6_0"))
    return replace(table, near_duplicates=pairs)


def test_each_split_leaks_what_its_name_says(table):
    parts = leak.assign(table)
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


def test_the_script_trains_resumes_and_writes_its_table(table, tmp_path, capsys):
    place = tmp_path / "images.csv"
    table.frame[["path", "label", "image_id", "lesion_id"]].to_csv(place, index=False)
    stored = tmp_path / "outputs.parquet"
    where = ["--output", str(tmp_path / "runs"), "--outputs", str(stored)]
    recipe = ["model=classic", "pretrained=false", "image_size=16", "epochs=1", "batch_size=16", "balance=none"]
    command = [*where, "train", "--data", str(place), "--folds", "0", "--set", *recipe]
    leak.main(command)
    stamp = stored.stat().st_mtime_ns
    assert set(storage.read_facts(stored)) == set(leak.TITLES)
    leak.main(command)
    assert stored.stat().st_mtime_ns == stamp, "nothing is trained twice"
    leak.main([*where, "table", "--table", str(tmp_path / "table.csv")])
    written = read_leak(tmp_path / "table.csv").set_index("split")
    assert list(written.index) == ["image", "lesion", "near-duplicates"]
    assert written.leaked["image"] > 0.2 and written.leaked["near-duplicates"] == 0
    assert written.inflation["near-duplicates"] == 0
    assert len(storage.read(stored, "image").images) == written.n_images["image"]
    figure, alt = leakage_figure(written.reset_index())
    assert plots.png(figure) and "By image: the usual shortcut" in alt
    with pytest.raises(SystemExit, match="no fold"):
        leak.main(["--outputs", str(tmp_path / "none.parquet"), "table", "--table", str(tmp_path / "t.csv")])


def test_inflation_is_described_with_its_interval_and_whether_it_is_significant():
    rows = pd.DataFrame({"folds": ["0 1"] * 2, "balanced_accuracy": [0.75, 0.7], "inflation": [0.05, 0.0],
                         "inflation_low": [0.01, 0.0], "inflation_high": [0.09, 0.0]})  # fmt: skip
    text = describe_inflation(rows)
    assert (
        "0.750 instead of the 0.700 of the careful split: an inflation of 0.050 (0.010 to 0.090), on 2 of five" in text
    )
    assert "excludes 0" in text
    assert "not significant" in describe_inflation(rows.assign(inflation_low=[-0.01, 0.0]))


def test_the_committed_table_follows_from_the_committed_outputs(tmp_path):
    written = read_leak(REPOSITORY / "experiments" / "leak.csv").set_index("split")
    for name, line in written.iterrows():
        outputs = storage.read(leak.STORED, str(name))
        priors = outputs.images["part"].map({part: facts["prior"] for part, facts in outputs.facts.items()})
        predicted = (outputs.logits - np.log(np.stack(priors))).argmax(axis=1)
        recall = [(predicted[outputs.y == c] == c).mean() for c in range(7)]
        assert line["balanced_accuracy"] == pytest.approx(np.mean(recall), abs=1e-4)
        assert line["leaked"] == pytest.approx(outputs.images["leaked"].mean(), abs=1e-4)


def test_a_missing_table_says_so(tmp_path):
    with pytest.raises(DataError, match=r"comes with the project's repository"):
        read_leak(tmp_path / "none.csv")
    pd.DataFrame({"split": ["image"]}).to_csv(tmp_path / "short.csv")
    with pytest.raises(DataError, match="lacks title"):
        read_leak(tmp_path / "short.csv")
