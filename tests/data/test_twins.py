"""Twins: made from drawn lesions by recolouring, cropping, turning, mirroring and compressing; no others are found."""

import os
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from experiments.twins import crop, jpeg, recolour
from skinlesion.core.runs import Run
from skinlesion.core.taxonomy import HAM7
from skinlesion.data import splits, twin_search, twins
from skinlesion.data.demo.dataset import draw_example
from skinlesion.data.table import LesionTable, Origin

LESIONS = 16


@pytest.fixture(scope="module")
def frames():
    return [draw_example(("nv", "mel", "bkl", "bcc")[number % 4], seed=number) for number in range(LESIONS)]


CHANGES = {
    "other colours": recolour,
    "another size": lambda frame: np.asarray(Image.fromarray(frame).resize((300, 225), Image.Resampling.BICUBIC)),
    "poor JPEG": lambda frame: jpeg(frame, 30),
    "mirrored": lambda frame: frame[:, ::-1],
    "turned": lambda frame: np.rot90(frame),
    "turned by 30 degrees": lambda frame: np.asarray(Image.fromarray(frame).rotate(30, Image.Resampling.BILINEAR)),
    "turned and mirrored": lambda frame: np.rot90(frame)[::-1],
    "cropped": lambda frame: crop(frame, 0.8),
    "all of it": lambda frame: jpeg(np.ascontiguousarray(np.rot90(crop(recolour(frame), 0.85))[:, ::-1]), 60),
}


def similarities(first, second):
    """What confirms each first frame with each second one, float [N, M]."""
    squares = np.stack([twins.grey_square(frame) for frame in [*first, *second]])
    pairs = np.array([(a, len(first) + b) for a in range(len(first)) for b in range(len(second))])
    return twins.confirm(squares, pairs)[:, 0].reshape(len(first), len(second))


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_picture_is_confirmed_as_its_own_twin(frames, change):
    chosen = frames[:6]
    found = similarities(chosen, [CHANGES[change](frame) for frame in chosen])
    assert (np.diag(found) >= twins.SAME).mean() >= 5 / 6, np.diag(found)
    others = found[~np.eye(6, dtype=bool)]
    assert (others >= twins.SAME).sum() == 0, others.max()


def test_twins_are_found_across_sources_and_only_those(frames):
    changed = [CHANGES[name](frame) for name, frame in zip(CHANGES, frames, strict=False)]
    squares = np.stack([twins.grey_square(frame) for frame in [*frames, *changed]])
    features = np.random.default_rng(0).normal(size=(LESIONS, 8))
    features = np.concatenate([features, features[: len(changed)] + 0.1])
    sources = ["here"] * LESIONS + ["there"] * len(changed)
    found = twins.find_twins(squares, features, sources=sources)
    assert list(found.columns) == list(twins.PAIR_COLUMNS)
    assert found["similarity"].is_monotonic_decreasing and list(found.index) == list(range(len(found)))
    wanted = {(number, LESIONS + number) for number in range(len(changed))}
    pairs = set(found[["a", "b"]].itertuples(index=False, name=None))
    assert pairs <= wanted and len(pairs) >= len(wanted) - 1


def test_images_of_one_lesion_id_are_not_compared(frames):
    squares = np.stack([twins.grey_square(frame) for frame in (frames[0], frames[0], frames[1])])
    features = np.eye(3)
    assert twins.find_twins(squares, features)[["a", "b"]].to_numpy().tolist() == [[0, 1]]
    assert twins.find_twins(squares, features, lesions=["x", "x", "y"]).empty


def test_every_source_is_searched_and_the_likeliest_pairs_come_first():
    features = np.random.default_rng(1).normal(size=(30, 6))
    features[29] = features[0] + 0.01
    features[1] = features[0] + 0.3
    short = twins.shortlist(features, sources=["large"] * 29 + ["small"], neighbours=1)
    assert (short["a"] < short["b"]).all() and not short.duplicated(["a", "b"]).any()
    assert tuple(short.loc[0, ["a", "b"]]) == (0, 29)
    assert (short["b"] == 29).sum() == 29  # the small source has one image: all are compared with it
    assert len(twins.shortlist(features, neighbours=1, at_most=4)) == 4


@pytest.mark.parametrize("kinds", (1, 2))
def test_a_large_source_is_searched_by_an_index_that_agrees_with_the_exact_product(kinds, monkeypatch):
    if find_spec("faiss") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("faiss is not installed: it is in the extra scale")
    features = np.random.default_rng(5).normal(size=(800, kinds, 24)).astype(np.float32)
    features[400:] = features[:400] + np.random.default_rng(6).normal(0, 0.3, (400, kinds, 24))
    lesions = np.arange(800) // 2

    def pairs():
        short = twins.shortlist(features, lesions=lesions, at_most=10**6)
        return {(a, b): cosine for a, b, cosine in short.itertuples(index=False)}

    exact = pairs()
    monkeypatch.setattr(twins, "LARGE", 100)
    monkeypatch.setattr(twins, "_nearest", None)
    found = pairs()
    assert len(exact.keys() & found.keys()) >= 0.97 * len(exact)
    assert all(abs(found[pair] - exact[pair]) < 1e-4 for pair in exact.keys() & found.keys())
    assert all(lesions[a] != lesions[b] for a, b in found)


@pytest.mark.parametrize("count", (0, 1))
def test_too_few_images_have_no_twins(count):
    squares, features = np.zeros((count, twins.SIDE, twins.SIDE), np.uint8), np.zeros((count, 5))
    assert twins.find_twins(squares, features).empty


def test_pictures_without_structure_are_no_twins():
    squares = np.stack([np.full((twins.SIDE, twins.SIDE), value, np.uint8) for value in (0, 90, 90)])
    assert twins.find_twins(squares, np.eye(3)).empty


def test_standard_colours_take_away_another_cameras(frames):
    frame = frames[0]
    plain = twins.feature_squares(frame).astype(float)
    tinted = twins.feature_squares(np.clip(frame * (0.9, 0.8, 0.7) + 5, 0, 255).astype(np.uint8)).astype(float)
    assert plain.shape == (2, twins.FEATURE_SIDE, twins.FEATURE_SIDE, 3)
    assert np.abs(plain - tinted).mean() < 3


def test_the_second_square_shows_the_inner_part_of_the_first(frames):
    frame = np.ascontiguousarray(frames[0][:, :150])
    rim = round(150 * (1 - twins.INNER) / 2)
    box = (rim, rim, 150 - rim, 150 - rim)
    both, middle = twins.feature_squares(frame), twins.feature_squares(frame, box, inner=False)
    assert len(middle) == 1
    assert np.abs(both[1].astype(float) - middle[0]).mean() < 1, "but for half a pixel at the rim"
    assert np.abs(both[0].astype(float) - middle[0]).mean() > 6


def test_every_channel_gets_the_mean_and_spread_of_ham10000():
    signs = np.random.default_rng(3).permutation(np.resize((-1, 1), (64, 64, 3)))
    frame = (np.array((90, 120, 60)) + signs * (8, 10, 12)).astype(np.uint8)
    frame[:4], frame[-4:] = 255, 0  # the rim does not count
    square = twins.feature_squares(frame, (0, 0, 64, 64), inner=False)[0]
    middle = square[8:-8, 8:-8].reshape(-1, 3).astype(float)
    np.testing.assert_allclose(middle.mean(0), (194, 140, 145), atol=0.6)
    np.testing.assert_allclose(middle.std(0), (36, 38, 43), atol=0.6)
    assert (square[:4] == 255).all() and (square[-4:] == 0).all(), "what is beyond is as light or dark as can be"


def test_features_are_whitened_as_by_principal_components():
    features = np.random.default_rng(4).normal(5, (1, 2, 3, 4), (300, 4))
    parts = PCA().fit(features)
    variance = parts.explained_variance_ * 299 / 300
    white = parts.transform(features) / np.sqrt(variance + 0.05 * variance.mean())
    white /= np.linalg.norm(white, axis=1, keepdims=True)
    whole, inner = twins._whiten(features)
    assert inner is whole
    np.testing.assert_allclose(whole @ whole.T, white @ white.T, atol=1e-6)


def test_neighbours_in_many_images_are_those_that_scikit_learn_finds():
    features = np.random.default_rng(5).normal(size=(2100, 6))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    rows = np.arange(2100)
    found = np.concatenate(list(twins._nearest(features, features, rows, rows, 2)), axis=1)
    wanted = NearestNeighbors(n_neighbors=3, metric="cosine").fit(features).kneighbors(features)
    for rank in (0, 1):
        row, neighbour, cosine, _ = found[:, found[3] == rank]
        assert row.tolist() == rows.tolist() and neighbour.tolist() == wanted[1][:, 1 + rank].tolist()
        np.testing.assert_allclose(cosine, 1 - wanted[0][:, 1 + rank], atol=1e-6)


def test_pairs_of_mutual_and_nearest_neighbours_come_first(monkeypatch):
    monkeypatch.setattr(twins, "LEAST_COSINE", -1)
    features = np.random.default_rng(6).normal(size=(60, 5))
    cosine = np.full((60, 60), -2.0)
    for a, b, value in twins.shortlist(features, neighbours=59, at_most=10**6).itertuples(index=False):
        cosine[a, b] = cosine[b, a] = value
    nearest = (-cosine).argsort(axis=1)[:, :3]
    likely = {}
    for a in range(60):
        for b in nearest[a].tolist():
            ranks = [list(nearest[one]).index(other) for one, other in ((a, b), (b, a)) if other in nearest[one]]
            likely[min(a, b), max(a, b)] = cosine[a, b] + 0.06 * (len(ranks) == 2) - 0.03 * min(ranks)
    wanted = sorted(likely, key=likely.get, reverse=True)
    short = twins.shortlist(features, at_most=10**6)
    assert list(short[["a", "b"]].itertuples(index=False, name=None)) == wanted
    assert len(twins.shortlist(features)) == twins.FEWEST_PAIRS, "or three quarters an image, if that is more"


def test_unlike_pairs_are_left_out_beyond_the_first_fifty():
    rng = np.random.default_rng(7)
    assert len(twins.shortlist(rng.normal(size=(300, 5)))) == 225, "three quarters of a pair an image, of those alike"
    features = rng.normal(size=(400, 150))
    unlike = twins.shortlist(features)
    assert len(unlike) == 50 and unlike["cosine"].median() < 0.3
    features[70:140] = features[:70] + rng.normal(0, 0.3, (70, 150))
    like = twins.shortlist(features)
    assert set(like[["a", "b"]].itertuples(index=False, name=None)) == {(row, row + 70) for row in range(70)}


def test_a_doubtful_pair_is_compared_the_other_way_round_too(monkeypatch):
    """The pictures hold the first result, the second one and nothing else."""
    results = {1: (0.35, 0.2), 2: (0.4, 0.6), 3: (0.45, 0.3), 4: (0.49, 0.49), 5: (0.34, 0.9), 6: (0.5, 0.9)}

    def similarity(a, b):
        first, second = a[:, 0, 0].astype(int), b[:, 0, 0].astype(int)
        way = (first > second).astype(int)
        return np.array([(results[min(x, y)][w], w) for x, y, w in zip(first, second, way, strict=True)], np.float32)

    monkeypatch.setattr(twins, "similarity", similarity)
    squares = np.zeros((14, twins.SIDE, twins.SIDE), np.uint8)
    squares[:, 0, 0] = [*range(7), *range(100, 107)]
    found = twins.confirm(squares, np.array([(one, one + 7) for one in results]))
    wanted = [(0.35, 0), (0.6, 1), (0.45, 0), (0.49, 0), (0.34, 0), (0.5, 0)]
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_a_cropped_twin_is_shortlisted_by_the_inner_square():
    features = np.random.default_rng(2).normal(size=(40, 2, 12))
    features[7, 0] = features[3, 1]  # image 7 shows the inner part of image 3
    short = twins.shortlist(features, neighbours=1)
    assert tuple(short.loc[0, ["a", "b"]]) == (3, 7) and short.loc[0, "cosine"] == pytest.approx(1, abs=1e-3)
    assert (3, 7) not in set(twins.shortlist(features[:, 0], neighbours=1)[["a", "b"]].itertuples(index=False))


def test_one_picture_under_two_labels_is_a_contradiction():
    pairs = pd.DataFrame(
        [(0, 1, 0.9, 0.95, 1.0), (0, 2, 0.9, 0.95, 1.0), (1, 2, 0.8, 0.6, 1.0)], columns=list(twins.PAIR_COLUMNS)
    )
    assert twins.contradictions(pairs, ["nv", "nv", "mel"]).tolist() == [False, True, False]


def test_a_black_frame_makes_no_twins(frames):
    rows, columns = np.mgrid[-1:1:150j, -1:1:150j]
    for radius in (0.65, 0.8, 1.0):
        outside = (np.hypot(rows, columns) > radius)[..., None]
        framed = [np.where(outside, np.uint8(5), frame[:, 25:175]) for frame in frames[:5]]
        again = [np.rot90(recolour(frame)) for frame in framed]
        found = similarities(framed, [np.ascontiguousarray(frame) for frame in again])
        assert (np.diag(found) >= twins.SAME).sum() >= 4, (radius, np.diag(found))
        assert found[~np.eye(5, dtype=bool)].max() < twins.SAME, radius


def test_the_field_of_view_is_what_lies_inside_a_black_frame(frames):
    rows, columns = np.mgrid[-1:1:150j, -1:1:150j]
    square = frames[0][:, 25:175]
    assert twins.field_of_view(frames[0]) == (0, 25, 150, 175)
    for radius, apart in ((0.6, 0.06), (0.75, 0.01), (0.9, 0.06)):  # in sixteenths, of which 0.75 is twelve
        framed = np.where((np.hypot(rows, columns) > radius)[..., None], np.uint8(5), square)
        top, left, bottom, right = twins.field_of_view(framed)
        assert top == left and bottom == right == 150 - top
        assert (bottom - top) / 150 == pytest.approx(0.85 * radius, abs=apart)
    assert twins.field_of_view(np.zeros((150, 200, 3), np.uint8)) == (0, 25, 150, 175)


class Features:
    """The squares themselves, a coarse grid of them; counts its calls."""

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
    return LesionTable(pd.DataFrame(rows, columns=columns), HAM7, {"csv": Origin("csv", str(tmp_path))})


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
