from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from skinlesion.core.errors import DataError
from skinlesion.core.taxonomy import HAM7
from skinlesion.data import splits
from skinlesion.data.check import check_table
from skinlesion.data.merge import merge
from skinlesion.data.table import COLUMNS, LesionTable, Origin
from small import small_table


@pytest.fixture
def table(tmp_path):
    return small_table(tmp_path / "images", lesions=12)


def test_no_lesion_lies_in_two_splits_and_every_class_in_all(table):
    split = splits.make_split(table, seed=3)
    splits.check_split(split)
    assert list(split["image_id"]) == list(table.frame["image_id"])
    assert (split.groupby("lesion_id")["split"].nunique() == 1).all()
    assert (pd.crosstab(split["label"], split["split"]) > 0).all(axis=None)


def test_the_test_set_is_the_same_whichever_fold_validates(table):
    by_fold = [splits.make_split(table, seed=3, fold=fold) for fold in range(5)]
    tests = [frozenset(s.loc[s["split"] == "test", "image_id"]) for s in by_fold]
    assert len(set(tests)) == 1
    validated = [set(s.loc[s["split"] == "validation", "image_id"]) for s in by_fold]
    assert sum(map(len, validated)) == len(set().union(*validated)) == len(table) - len(tests[0])


def test_seeds_differ_and_repeat(table):
    assert splits.make_split(table, seed=1).equals(splits.make_split(table, seed=1))
    assert not splits.make_split(table, seed=1).equals(splits.make_split(table, seed=2))


def test_near_duplicates_stay_together(table):
    chain = (("mel_0_0", "mel_2_0"), ("mel_2_0", "mel_4_0"), ("mel_4_0", "not there"))
    linked = replace(table, near_duplicates=chain)
    for seed in range(5):
        split = splits.make_split(linked, seed=seed).set_index("image_id")["split"]
        assert split[["mel_0_0", "mel_2_0", "mel_4_0"]].nunique() == 1
    assert len(set(splits.lesion_groups(linked))) == table.frame["lesion_id"].nunique() - 2


def bare(*sizes, lesion_size=1):
    """A table without files: the first classes with so many lesions of so many images each."""
    rows = [
        (f"{code}_{lesion}_{view}", f"{code}_{lesion}", code, np.nan, "unknown", "unknown", "histo", "")
        for code, size in zip(HAM7.codes, sizes, strict=False)
        for lesion in range(size)
        for view in range(lesion_size)
    ]
    frame = pd.DataFrame(rows, columns=[column for column in COLUMNS if column != "source"])
    return LesionTable(frame, HAM7, {"folder": Origin("folder", "")})


def test_a_class_needs_a_lesion_for_each_part():
    assert set(splits.make_split(bare(6, 9))["fold"]) == {-1, 0, 1, 2, 3, 4}
    with pytest.raises(DataError, match=r"6 lesions of every class; bcc has 5"):
        splits.make_split(bare(6, 5))


def test_a_given_split_is_used_as_it_is(table, tmp_path):
    path = tmp_path / "split.csv"
    ours = splits.make_split(table, seed=9)
    splits.write_split(ours, path)
    assert splits.load_split(path).equals(ours)
    assert splits.read_given_split(table, path).equals(ours)
    ours.assign(split=ours["split"].replace("validation", "val"))[["image_id", "split"]].to_csv(path, index=False)
    assert (splits.read_given_split(table, path)["split"] == ours["split"]).all()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda s: s.drop(columns="split"), "lacks the column split"),
        (lambda s: s.iloc[1:], "leaves out 1 image, "),
        (lambda s: pd.concat([s, s.iloc[:1]]), "twice"),
        (lambda s: pd.concat([s, s.iloc[:1].assign(image_id=s["image_id"].iloc[0] + ".jpg")]), "keep one row of each"),
        (lambda s: s.assign(split="training set"), "unknown split"),
        (lambda s: s.assign(split="train"), "validation and test split is empty"),
        (
            lambda s: s.assign(split=s["split"].mask(s.index == 2)),
            "no split for akiec_1_1; use train, validation, test",
        ),
    ],
)
def test_a_bad_split_file_is_refused(table, tmp_path, spoil, said):
    path = tmp_path / "split.csv"
    spoil(splits.make_split(table)).to_csv(path, index=False)
    with pytest.raises(DataError, match=said):
        splits.read_given_split(table, path)


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (dict.fromkeys("cdef", "train") | {"a": "test"}, ""),  # of a class that is not tested
        (dict.fromkeys("cde", "test"), "the train split is empty"),
        (
            {
                "a": "test",
                "c": ("train", "test"),
                "b": ("train", "test", "validation"),
                "d": "validation",
                "e": "train",
            },
            "2 lesions in two splits .*, b among them",
        ),
    ],
)
def test_lesions_of_several_splits_and_empty_ones_are_told(part, said):
    rows = [(lesion, name) for lesion, names in part.items() for name in ([names] if isinstance(names, str) else names)]
    split = pd.DataFrame(rows, columns=["lesion_id", "split"]).sort_values("split", kind="stable", ignore_index=True)
    split = split.assign(group=split["lesion_id"], label=np.where(split["lesion_id"] == "f", "nv", "mel"))
    if not said:
        return splits.check_split(split, fold=-1)
    with pytest.raises(DataError, match=f"^{said}"):
        splits.check_split(split, fold=-1)


@pytest.mark.parametrize("fold", range(5))
def test_whichever_fold_validates_needs_images(fold):
    split = pd.DataFrame({"lesion_id": ["a", "b"], "group": [0, 1], "label": "nv", "split": ["train", "test"]})
    with pytest.raises(DataError, match="the validation split is empty"):
        splits.check_split(split, fold=fold)


def test_a_given_split_without_validation_is_for_a_training_on_all_folds(table, tmp_path):
    path, all_train = tmp_path / "split.csv", splits.make_split(table, fold=-1)
    splits.write_split(all_train, path)
    assert splits.choose_split(table, split_file=str(path), fold=-1)[0].equals(all_train)
    with pytest.raises(DataError, match="validation split is empty"):
        splits.choose_split(table, split_file=str(path), fold=0)


def test_leak_of_a_split_by_image(table):
    from sklearn.model_selection import StratifiedKFold

    leak = splits.per_image_leak(table, seed=4)
    folds = [t for _, t in StratifiedKFold(6, shuffle=True, random_state=4).split(table.frame, table.frame["label"])]
    lesion = table.frame["lesion_id"]
    train = set(lesion.iloc[np.concatenate(folds[1:5])])
    leaked = [name in train for name in lesion.iloc[folds[5]]]
    assert any(leaked)
    assert leak == {"test_images": len(leaked), "leaked": sum(leaked), "share": pytest.approx(np.mean(leaked))}


def test_a_subset_takes_whole_lesions_of_every_class(table):
    subset = splits.take_subset(table, 70, seed=1)
    whole = table.frame.groupby("lesion_id").size()
    assert (subset.frame.groupby("lesion_id").size() == whole[subset.frame["lesion_id"].unique()].sort_index()).all()
    assert (subset.counts() > 0).all()
    assert len(subset) < len(table)
    splits.make_split(subset)


@pytest.mark.parametrize(
    ("count", "taken"), [(0, (80, 40, 20, 4)), (72, (40, 20, 10, 4)), (36, (20, 10, 9, 4)), (144, (80, 40, 20, 4))]
)
@pytest.mark.parametrize("lesion_size", (1, 2))
def test_a_subset_has_the_classes_shares_and_nine_lesions_of_rare_ones(count, taken, lesion_size):
    """Of 144 lesions, all of one size."""
    subset = splits.take_subset(bare(80, 40, 20, 4, lesion_size=lesion_size), count * lesion_size, seed=0)
    assert tuple(subset.counts()[:4] / lesion_size) == taken


@pytest.mark.real
def test_ham10000_by_lesion(ham10000):
    table = ham10000
    split = splits.make_split(table)
    splits.check_split(split)
    share = split["split"].value_counts(normalize=True)
    assert share["test"] == pytest.approx(1 / 6, abs=0.005)
    by_class = pd.crosstab(split["label"], split["split"], normalize="index")
    assert by_class["test"].between(0.14, 0.20).all()
    of_image = split.set_index("image_id")["split"]
    assert len(table.near_duplicates) == 18
    assert all(of_image[a] == of_image[b] for a, b in table.near_duplicates)


def test_a_class_without_images_to_learn_from_or_to_choose_by_is_told(table, tmp_path):
    ours, path = splits.make_split(table), tmp_path / "split.csv"
    for part, others in (("validation", "train"), ("train", "validation")):
        moved = ours.assign(split=ours["split"].mask((ours["label"] == "df") & (ours["split"] == part), others))
        moved.to_csv(path, index=False)
        with pytest.raises(DataError, match=f"the {part} split has no images of df"):
            splits.read_given_split(table, path)


def test_identical_images_in_two_parts_are_told(table, tmp_path):
    ours = splits.make_split(table)
    first = ours[ours["split"] == "train"].iloc[0]
    other = ours[(ours["split"] == "test") & (ours["label"] == first["label"])].iloc[0]
    of_id = table.frame.set_index("image_id")["path"]
    Path(of_id[other["image_id"]]).write_bytes(Path(of_id[first["image_id"]]).read_bytes())
    checked = check_table(table).table
    path = tmp_path / "split.csv"
    splits.write_split(ours, path)
    with pytest.raises(DataError, match="in two splits .or near-duplicates or identical images"):
        splits.read_given_split(checked, path)
    splits.check_split(splits.make_split(checked))


def test_split_files_as_people_write_them(table, tmp_path):
    ours, path = splits.make_split(table), tmp_path / "split.csv"
    written = pd.DataFrame(
        {
            "image_id": "images\\" + ours["image_id"].str.upper() + ".JPG",
            "split": ours["split"].str.upper() + " ",
            "fold": ("fold" + ours["fold"].astype(str)).replace("fold-1", "-1"),
        }
    )
    path.write_bytes(written.to_csv(index=False, sep=";").encode("utf-16"))
    assert splits.read_given_split(table, path).equals(ours)
    written.assign(fold="").to_csv(path, index=False)
    fold = splits.read_given_split(table, path)["fold"]
    assert fold.equals(ours["split"].map({"train": 1, "validation": 0, "test": -1}))
    for name in ("ISIC ID", "filename", "image"):
        written.rename(columns={"image_id": name}).to_csv(path, index=False)
        assert splits.read_given_split(table, path)["split"].equals(ours["split"])
    written.assign(fold="one").to_csv(path, index=False)
    with pytest.raises(DataError, match=r"split\.csv: the column fold must hold whole numbers"):
        splits.read_given_split(table, path)


def test_a_split_without_test_images_is_enough_where_nothing_is_tested(table, tmp_path):
    ours, path = splits.make_split(table), tmp_path / "split.csv"
    splits.write_split(ours.assign(split=ours["split"].replace("test", "train")), path)
    with pytest.raises(DataError, match="test split is empty"):
        splits.read_given_split(table, path)
    assert set(splits.read_given_split(table, path, tested=False)["split"]) == {"train", "validation"}


def test_twins_are_dropped_where_they_meet_the_test_and_else_stay_together(table):
    ours = splits.make_split(table, seed=2)
    of_part = {name: ours[ours["split"] == name]["image_id"].iloc for name in splits.SPLITS}
    tested, trained, validated = (of_part[name] for name in ("test", "train", "validation"))
    pairs = ((tested[0], trained[0]), (trained[-1], validated[0]), (tested[1], tested[-1]))
    split, origin = splits.choose_split(replace(table, twins=pairs), seed=2)
    assert list(split["image_id"]) == list(ours["image_id"]) and split["fold"].dtype == ours["fold"].dtype
    own = split.set_index("image_id")
    lesion = ours.set_index("image_id")["lesion_id"]
    before = ours.set_index("image_id")["split"]
    dropped = own[own["split"] == splits.DROPPED]
    assert set(dropped["lesion_id"]) == {lesion[trained[0]]} and (dropped["fold"] == -2).all()
    assert f"{len(dropped)} image" in origin and "dropped from training" in origin
    assert (own["split"] == "test").equals(before == "test"), "test images stay the ones they are"
    assert own.loc[trained[-1], "split"] == own.loc[validated[0], "split"] != "test"
    for a, b in pairs:
        assert own.loc[a, "group"] == own.loc[b, "group"]
    others = own.index[~own["lesion_id"].isin(lesion[[name for pair in pairs for name in pair]])]
    assert own.loc[others, ["split", "fold"]].equals(ours.set_index("image_id").loc[others, ["split", "fold"]])


def test_a_split_file_with_dropped_twins_is_read_again(table, tmp_path):
    ours = splits.make_split(table)
    pair = ours[ours["split"] == "test"]["image_id"].iloc[0], ours[ours["split"] == "train"]["image_id"].iloc[0]
    linked, path = replace(table, twins=(pair,)), tmp_path / "split.csv"
    split, _ = splits.choose_split(linked)
    splits.write_split(split, path)
    assert splits.load_split(path).equals(split)
    assert splits.choose_split(linked, split_file=str(path))[0].equals(split)
    splits.write_split(ours, path)  # a split that knows nothing of the twins
    assert splits.choose_split(linked, split_file=str(path))[0].equals(split)


def test_what_was_dropped_stays_so_and_lesions_go_where_most_of_their_images_are():
    split = pd.DataFrame(
        [("akiec_0_0", -2, "dropped"), ("akiec_1_0", 3, "train"), ("akiec_2_0", 0, "validation"),
         ("akiec_3_0", 3, "train"), ("akiec_4_0", 2, "train")],
        columns=["image_id", "fold", "split"],
    )  # fmt: skip
    for others, wanted in (((1, 2, 3), [-2, 3, 3, 3, 2]), ((1,), [-2, 3, 0, 3, 2])):
        pairs = tuple(("akiec_0_0", f"akiec_{other}_0") for other in others)
        found = splits.keep_twins_together(split, replace(bare(5), twins=pairs))
        assert found["fold"].tolist() == wanted
        assert found["split"].tolist() == [{-2: "dropped", 0: "validation"}.get(fold, "train") for fold in wanted]


def test_the_official_split_of_the_only_source_is_used_as_it_is():
    table = bare(12)
    given = dict(zip(table.frame["image_id"], ["train"] * 8 + ["validation"] * 2 + ["test"] * 2, strict=True))
    split, origin = splits.choose_split(replace(table, official_split=given), seed=5)
    assert origin == "the official one of folder" and dict(zip(split["image_id"], split["split"], strict=True)) == given
    assert splits.choose_split(table)[1] == "made here: whole lesions, stratified by label"
    with pytest.raises(DataError, match="holdout_source='folder' must be one of several"):
        splits.choose_split(replace(table, official_split=given), holdout_source="folder")
    untested = {name: part.replace("test", "train") for name, part in given.items()}
    with pytest.raises(DataError, match="test split is empty"):
        splits.choose_split(replace(table, official_split=untested), tested=False)


def test_without_lesion_ids_twins_are_one_lesion_from_the_start(table):
    ids = table.frame["image_id"]
    alone = replace(table, frame=table.frame.assign(lesion_id=ids), origins={"folder": Origin("folder", "", False)})
    pairs = tuple((name, f"{name[:-1]}1") for name in ids if name.endswith("_0") and f"{name[:-1]}1" in set(ids))
    split, _ = splits.choose_split(replace(alone, twins=pairs))
    assert pairs and splits.DROPPED not in set(split["split"])
    of_image = split.set_index("image_id")["split"]
    assert all(of_image[a] == of_image[b] for a, b in pairs)


def test_names_and_pairs_connect_rows():
    found = splits.connected(["a", "a", "b", "c", "d", "e"], [(1, 2), (3, 2), (5, 5)])
    assert found.dtype == np.int64
    assert pd.factorize(found)[0].tolist() == [0, 0, 0, 0, 1, 2]
    assert splits.connected([], []).tolist() == []


@pytest.fixture
def two_sources(tmp_path):
    """Twelve lesions a class of one source, nine of another, as one table."""
    first, second = small_table(tmp_path / "one", lesions=12), small_table(tmp_path / "two", lesions=9, seed=1)
    return merge([first.rename("one"), second.rename("two")])


def test_a_split_file_names_the_source_of_an_id_that_several_have(two_sources, tmp_path):
    ours, path = splits.make_split(two_sources), tmp_path / "split.csv"
    assert "one/mel_0_0" in set(ours["image_id"])
    splits.write_split(ours, path)
    assert splits.read_given_split(two_sources, path)["split"].equals(ours["split"])
    ours.assign(image_id=ours["image_id"].str.rpartition("/")[2]).to_csv(path, index=False)
    with pytest.raises(DataError, match=r"names akiec_0_0 twice; .* write one/akiec_0_0"):
        splits.read_given_split(two_sources, path)


def test_a_source_is_split_as_it_is_alone(two_sources, tmp_path):
    split = splits.make_split(two_sources, seed=3, fold=2)
    for name in ("one", "two"):
        alone = splits.make_split(two_sources.of_source(name), seed=3, fold=2)
        rows = split[split["source"] == name].reset_index(drop=True)
        assert rows[["image_id", "fold", "split"]].equals(alone[["image_id", "fold", "split"]])
    before = splits.make_split(small_table(tmp_path / "one", lesions=12), seed=3, fold=2)
    assert list(split["split"])[: len(before)] == list(before["split"]), "as before there was another source"


def test_lesions_that_sources_share_neither_move_nor_reach_the_tests_of_any(two_sources):
    """Every third lesion of the second source is also in the first."""
    ids = two_sources.frame["image_id"]
    pairs = tuple((f"one/{name}", f"two/{name}") for name in ids[ids.str.startswith("two/")].str[4:][::3])
    linked = replace(two_sources, near_duplicates=pairs)
    split, origin = splits.choose_split(linked, seed=3)
    used = split[split["split"] != splits.DROPPED]
    assert (used.groupby("group")["split"].nunique() == 1).all()
    assert origin.startswith("made here: whole lesions, stratified by label in each source; ")
    plain = splits.make_split(two_sources, seed=3)
    assert set(plain.loc[plain["split"] == "test", "image_id"]) == set(split.loc[split["split"] == "test", "image_id"])
    assert f"{(split['split'] == splits.DROPPED).sum()} images of lesions that are tested dropped" in origin


@pytest.mark.parametrize("fold", range(-1, 5))
def test_an_official_split_among_several_sources_trains_and_validates_in_every_fold(two_sources, fold):
    rows = two_sources.frame[two_sources.frame["source"] == "two"]
    words = rows["lesion_id"].str[-1].map({"0": "validation", "1": "test"}).fillna("train")
    table = replace(two_sources, official_split=dict(zip(rows["image_id"], words, strict=True)))
    split = splits.make_split(table, fold=fold)
    found = split[split["source"] == "two"]["split"]
    assert found.tolist() == (words.replace("validation", "train") if fold < 0 else words).tolist()
    folds = split.loc[split["split"] == "validation", "fold"]
    assert (folds == fold).all() and set(split["fold"]) == {-1, 0, 1, 2, 3, 4}


def test_a_held_out_source_is_the_test_set_and_its_twins_do_not_train(two_sources):
    pairs = (("one/mel_3_0", "two/mel_3_0"), ("one/nv_5_1", "two/nv_1_0"))
    split, origin = splits.choose_split(replace(two_sources, near_duplicates=pairs), seed=3, holdout_source="two")
    parts = split.set_index("image_id")["split"]
    assert set(split.loc[split["source"] == "two", "split"]) == {"test"}
    assert set(split.loc[split["source"] == "one", "split"]) == {"train", "validation", splits.DROPPED}
    dropped = set(parts.index[parts == splits.DROPPED])
    assert dropped == {f"one/{name}" for name in ("mel_3_0", "mel_3_1", "nv_5_0", "nv_5_1")}, "whole lesions"
    assert "two is the test set" in origin and "4 images of lesions that are tested dropped" in origin
    for wrong in ("three", "tw"):
        with pytest.raises(DataError, match="one of several sources; here are one, two"):
            splits.make_split(two_sources, holdout_source=wrong)


def test_a_class_that_one_source_has_few_of_is_no_obstacle(two_sources):
    few = two_sources.keep((two_sources.frame["source"] == "one") | ~two_sources.frame["label"].isin(["df", "vasc"])
                           | two_sources.frame["lesion_id"].str.contains("_1"))  # fmt: skip
    split, _ = splits.choose_split(few, seed=3)
    assert set(split.loc[split["label"] == "df", "source"]) == {"one", "two"}
    tiny = few.keep((few.frame["source"] == "one") | few.frame["lesion_id"].str.contains("mel_1|nv_1"))
    with pytest.raises(DataError, match="the source two has too few images for 6 parts"):
        splits.make_split(tiny)


def test_a_subset_takes_as_many_images_of_every_source(two_sources):
    subset = splits.take_subset(two_sources, 70, seed=1)
    for name in ("one", "two"):
        alone = splits.take_subset(two_sources.of_source(name), 70, seed=1).frame["image_id"]
        assert list(subset.frame.loc[subset.frame["source"] == name, "image_id"]) == list(alone)
