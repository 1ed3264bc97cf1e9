"""Twins of a run: found once, stored, written, counted and shown; the features are coarse pictures of the images."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from skinlesion.core.runs import Run
from skinlesion.core.taxonomy import HAM7
from skinlesion.data import splits, twin_search
from skinlesion.data.demo.dataset import draw_example
from skinlesion.data.table import LesionTable


class Features:
    """The squares themselves, a coarse grid of them; counts how often it is asked."""

    name = "grid"

    def __init__(self):
        self.calls = 0

    def __call__(self, squares):
        self.calls += 1
        return squares[:, ::8, ::8].reshape(len(squares), -1).astype(np.float32)


@pytest.fixture
def table(tmp_path):
    """Ten drawn images; ``a1`` is ``a0`` darker under another lesion id and label, ``b1`` a copy of ``b0``."""
    drawn = {f"i{number}": draw_example("nv", seed=number) for number in range(6)}
    drawn |= {"a0": draw_example("mel", seed=20), "b0": draw_example("bkl", seed=21)}
    drawn |= {"a1": np.clip(drawn["a0"] * 0.85, 0, 255).astype(np.uint8), "b1": drawn["b0"]}
    labels = {"a0": "mel", "a1": "nv", "b0": "bkl", "b1": "bkl"}
    rows = []
    for name, frame in drawn.items():
        path = tmp_path / f"{name}.png"
        Image.fromarray(frame).save(path)
        rows.append((name, f"L{name}", labels.get(name, "nv"), np.nan, "unknown", "unknown", "unknown", str(path)))
    columns = ["image_id", "lesion_id", "label", "age", "sex", "site", "dx_type", "path"]
    return LesionTable(pd.DataFrame(rows, columns=columns), HAM7, "csv", str(tmp_path))


def test_twins_are_found_written_and_known_to_splits(table, tmp_path):
    run = Run(tmp_path / "run")
    known, found = twin_search.with_twins(table, Features())
    kinds = {(a, b): (kind, bad) for a, b, kind, bad in
             found[["image_id_a", "image_id_b", "kind", "contradiction"]].itertuples(index=False)}  # fmt: skip
    assert kinds == {("b0", "b1"): ("copy", False), ("a0", "a1"): ("twin", True)}
    assert set(known.twins) == set(kinds)
    groups = dict(zip(known.frame["image_id"], splits.lesion_groups(known, twins=True), strict=True))
    assert groups["a0"] == groups["a1"] and groups["b0"] == groups["b1"] and len(set(groups.values())) == 8
    assert [groups[name] for name in found["image_id_a"]] == list(found["group"])
    known.save(run)
    twin_search.write_twins(found, run)
    assert LesionTable.load(run).twins == known.twins
    assert len(pd.read_csv(run.twins)) == 2
    twin_search.write_twins(None, run)
    assert not run.twins.exists()


def test_pairs_are_stored_until_an_image_changes(table):
    features = Features()
    first = twin_search.with_twins(table, features)[1]
    asked = features.calls
    again = twin_search.with_twins(table, features)[1]
    assert features.calls == asked and again.equals(first)
    path = table.frame["path"].iloc[0]
    Image.fromarray(draw_example("df", seed=99)).save(path)
    assert len(twin_search.with_twins(table, features)[1]) == len(first) and features.calls > asked
    asked = features.calls
    twin_search.with_twins(replace(table, frame=table.frame.assign(lesion_id="L")), features)
    assert features.calls > asked, "other lesion ids are another question"


def test_without_features_nothing_is_looked_for(table):
    assert twin_search.with_twins(table, None) == (table, None)


def test_pairs_are_counted_by_kind_and_shown_side_by_side(table):
    known, found = twin_search.with_twins(replace(table, near_duplicates=(("a1", "a0"),)), Features())
    assert twin_search.count_pairs(found, known)["pairs"].tolist() == [1, 1, 1, 1]
    pictures, titles = twin_search.gallery(found, known, side=40)
    assert len(pictures) == len(titles) == 4 and all(one.shape == (40, 40, 3) for one in pictures)
    assert (pictures[0] == pictures[1]).all() and titles[0].startswith("b0\nbkl")
