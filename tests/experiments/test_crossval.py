"""The one cross-validation: what parts train on, what is stored of them, how they are pooled and compared."""

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from sklearn.metrics import balanced_accuracy_score

from experiments import storage
from skinlesion import crossval
from skinlesion.core.config import Config
from skinlesion.core.errors import ConfigError, DataError
from skinlesion.core.taxonomy import HAM7, ISIC8
from skinlesion.evaluation.comparison import compare
from skinlesion.evaluation.predictions import Predictions

PRIOR = np.array([0.3, 0.1, 0.1, 0.1, 0.1, 0.2, 0.1])


def outputs(name="fold-0", seed=0, n=70, labels=HAM7, config=None, fingerprint="abc", **facts):
    random = np.random.default_rng(seed)
    images = pd.DataFrame({
        "image_id": [f"{name}-{i:03}" for i in range(n)], "lesion_id": [f"{name}-{i // 2}" for i in range(n)],
        "label": [labels.codes[i % len(labels)] for i in range(n)], "age": [None, *range(1, n)],
    })  # fmt: skip
    logits = random.normal(size=(n, len(labels))) + np.eye(len(labels))[np.arange(n) % len(labels)]
    prior = PRIOR.tolist() if labels is HAM7 else [1 / 8] * 8
    return crossval.one_part(
        name, images, logits, labels, config or Config(), fingerprint, {"prior": prior, "seconds": 3.5, **facts}
    )


def test_a_part_trains_on_all_other_groups_whether_folds_or_sources():
    folds = np.array([0, 1, 2, -1, 1])
    first, second = crossval.parts_of(folds, [1, 2], left_out=folds == -1)
    assert (first.name, second.name) == ("fold-1", "fold-2")
    assert first.split.tolist() == ["train", "validation", "train", "test", "validation"]
    assert second.tested.tolist() == [2]
    sources = np.array(["ham10000", "msk", "ham10000"])
    (part,) = crossval.parts_of(sources, ["msk"], kind="source")
    assert part.name == "source-msk" and part.split.tolist() == ["train", "validation", "train"]
    with pytest.raises(DataError, match="source elsewhere cannot be a part"):
        crossval.parts_of(sources, ["elsewhere"], kind="source")
    with pytest.raises(DataError, match="others to train on"):
        crossval.parts_of(np.zeros(3, int), [0])


def test_what_is_stored_comes_back_but_for_digits_that_change_nothing(tmp_path):
    path, whole = tmp_path / "one.parquet", outputs()
    storage.store(path, "one", whole)
    back = storage.read(path, "one")
    assert np.abs(back.logits - whole.logits).max() <= 0.5 * 10**-storage.DIGITS + 1e-12
    np.testing.assert_array_equal(back.logits, whole.logits.round(storage.DIGITS))
    pd.testing.assert_frame_equal(back.images, whole.images, check_dtype=False)
    assert back.labels == HAM7 and back.facts == whole.facts
    assert "data" not in back.facts["fold-0"]["config"], "its path differs from machine to machine"
    before = path.read_bytes()
    storage.store(path, "one", whole)
    assert path.read_bytes() == before, "the same outputs, the same file"


def test_recipes_of_other_labels_share_a_file(tmp_path):
    path, seven, eight = tmp_path / "both.parquet", outputs(), outputs(labels=ISIC8, n=16)
    eight.images["leaked"] = True
    storage.store(path, "seven", seven)
    storage.store(path, "eight", eight)
    storage.store(path, "seven", outputs("fold-1", seed=1))
    for name, whole in (("seven", crossval.pool([seven, outputs("fold-1", seed=1)])), ("eight", eight)):
        back = storage.read(path, name)
        np.testing.assert_array_equal(back.logits, whole.logits.round(4))
        pd.testing.assert_frame_equal(back.images, whole.images, check_dtype=False)
        assert back.labels == whole.labels and back.facts == whole.facts
    with pytest.raises(DataError, match=r"no outputs of nine; train it first \(stored: eight, seven\)"):
        storage.read(path, "nine")


def test_parts_are_added_and_replaced_also_by_processes_at_once(tmp_path):
    path = tmp_path / "one.parquet"
    parts = [outputs(f"fold-{k}", seed=k) for k in range(5)]
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda part: storage.store(path, "one", part), parts))
    storage.store(path, "one", outputs("fold-3", seed=9, n=14))
    back = storage.read(path, "one")
    assert back.parts == [f"fold-{k}" for k in range(5)] and len(back.images) == 4 * 70 + 14
    np.testing.assert_array_equal(back.take(["fold-3"]).logits, outputs("", seed=9, n=14).logits.round(4))
    np.testing.assert_array_equal(back.take(["fold-4"]).logits, parts[4].logits.round(4))
    with pytest.raises(DataError, match="fold-7 is not stored"):
        back.take(["fold-7"])


def test_a_recipe_is_the_same_wherever_its_data_lie(tmp_path):
    path, stored = tmp_path / "one.parquet", partial(storage.is_stored, tmp_path / "one.parquet", "one")
    assert not stored("fold-0", Config(), "abc")
    storage.store(path, "one", outputs(config=Config(data="here", epochs=3)))
    assert stored("fold-0", Config(data="there", epochs=3), "abc")
    assert not stored("fold-1", Config(data="there", epochs=3), "abc")
    assert not stored("fold-0", Config(data="here", epochs=4), "abc")
    assert not stored("fold-0", Config(data="here", epochs=3), "other data")


def test_a_recipe_that_no_longer_loads_names_the_command(tmp_path):
    path, old = tmp_path / "one.parquet", outputs()
    old.facts["fold-0"]["config"]["epochz"] = 3
    storage.store(path, "one", old)
    with pytest.raises(ConfigError, match=r"epochz.*experiments\.recipes OLD NEW"):
        storage.is_stored(path, "one", "fold-0", Config(), "abc")


def test_a_damaged_file_names_the_fix(tmp_path):
    path = tmp_path / "one.parquet"
    storage.store(path, "one", outputs())
    path.write_bytes(path.read_bytes()[:-20])
    for call in (storage.read_parquet, storage.read_facts):
        with pytest.raises(DataError, match="train its parts again"):
            call(path)
    pd.DataFrame({"a": [1]}).to_parquet(path)
    with pytest.raises(DataError, match="train its parts again"):
        storage.read(path, "one")
    path.unlink()
    with pytest.raises(DataError, match="train its parts again"):
        storage.read(path, "one")


def test_pooled_predictions_take_each_networks_own_class_mix_away():
    second = outputs("fold-1", seed=1, n=35)
    second.facts["fold-1"]["prior"] = PRIOR[::-1].tolist()
    whole = crossval.pool([outputs(), second])
    found = whole.predictions()
    even = np.concatenate([whole.logits[:70] - np.log(PRIOR), whole.logits[70:] - np.log(PRIOR[::-1])])
    np.testing.assert_allclose(found.scores, softmax(even, axis=1))
    shares = whole.images["label"].value_counts(normalize=True)[list(HAM7.codes)].to_numpy()
    weighted = softmax(even, axis=1) * shares
    np.testing.assert_allclose(found.probabilities, weighted / weighted.sum(1, keepdims=True))
    assert set(found.fold[:70]) == {0} and set(found.fold[70:]) == {1}
    np.testing.assert_allclose(whole.training_prior, (PRIOR + PRIOR[::-1]) / 2)
    held_out = outputs("source-msk").predictions()
    assert set(held_out.fold) == {-1}


def test_a_class_without_images_is_never_probable():
    whole = outputs(n=6)  # six classes occur
    assert (whole.predictions().probabilities[:, 6] == 0).all()


def test_eight_labels_are_stored_by_their_codes(tmp_path):
    storage.store(tmp_path / "eight.parquet", "one", outputs(labels=ISIC8, n=16))
    assert storage.read(tmp_path / "eight.parquet", "one").labels == ISIC8


def predictions(seed, lesions):
    random = np.random.default_rng(seed)
    y = np.array([sum(map(ord, name)) % 7 for name in lesions])
    p = np.exp(random.normal(size=(len(y), 7)) + (1 + seed) * np.eye(7)[y])
    p /= p.sum(axis=1, keepdims=True)
    ids = np.array([f"i{i}" for i in range(len(y))], object)
    return Predictions(ids, lesions, np.full(len(y), "", object), np.full(len(y), -1), HAM7, y, p, p)


def test_the_difference_is_the_paired_one_where_images_are_the_same():
    lesions = np.array([f"l{i // 2}" for i in range(400)], object)
    a, b = predictions(0, lesions), predictions(1, lesions)
    names = ("balanced_accuracy", "macro_auroc", "mel.sensitivity")
    ours = crossval.difference(a, b, names, replicates=300)
    theirs = compare({"b": b, "a": a}, replicates=300).differences["a"]
    for name in names:
        assert ours[name] == pytest.approx(theirs[name])


def test_the_difference_of_other_images_takes_both_as_they_are():
    a = predictions(0, np.array([f"l{i}" for i in range(300)], object))
    b = predictions(1, np.array([f"l{i}" for i in range(200, 600)], object))
    found = crossval.difference(a, b, replicates=200)["balanced_accuracy"]
    value = balanced_accuracy_score(a.y, a.predicted) - balanced_accuracy_score(b.y, b.predicted)
    assert found["value"] == pytest.approx(value) and found["low"] < value < found["high"]


def test_facts_are_plain_json_that_other_programs_can_read(tmp_path):
    from pyarrow import parquet

    storage.store(tmp_path / "one.parquet", "one", outputs(commit="abc1234"))
    facts = json.loads(parquet.read_schema(tmp_path / "one.parquet").metadata[b"skinlesion"])
    part = facts["one"]["fold-0"]
    assert part["commit"] == "abc1234" and part["config"]["epochs"] == Config().epochs
