"""Comparisons against the two-model difference and a plain loop; unlike images are never compared silently."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score

from skinlesion import cli, crossval
from skinlesion.core.errors import ConfigError, DataError
from skinlesion.core.taxonomy import HAM7, ISIC8
from skinlesion.evaluation.comparison import COMPARED, compare, load_runs, on_shared_images
from skinlesion.evaluation.intervals import is_significant, resample
from skinlesion.evaluation.predictions import Predictions
from skinlesion.evaluation.training_overlap import find_overlap, read_training, training_lists


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
    pairwise = crossval.difference(other, first, COMPARED, replicates=40, seed=5)
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
    same = compare({"first": first, "again": first}, replicates=20).differences["again"]
    assert all(one["value"] == one["low"] == one["high"] == 0 for one in same.values())
    assert is_significant(found.differences["other"]["accuracy"])
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
    with pytest.raises(DataError, match=r"a \(300 images\) and b \(250\) share 250,.*--shared"):
        compare(runs)
    found = compare(on_shared_images(runs), 10)
    assert found.n_images == 250
    assert found.notes == ("a: evaluated on 250 of its 300 images, those that all runs share.",)
    with pytest.raises(DataError, match="no image in common"):
        on_shared_images({"a": make().take(np.arange(5)), "b": make().take(np.arange(5, 9))})
    with pytest.raises(DataError, match="two runs or more"):
        compare({"a": make()})
    with pytest.raises(DataError, match="a and b disagree about the true class of 300 images"):
        compare({"a": make(), "b": replace(make(), y=(make().y + 1) % 7)})
    eight = np.pad(make().probabilities, ((0, 0), (0, 1)))
    with pytest.raises(DataError, match="not for the same classes"):
        compare({"a": make(), "b": replace(make(), labels=ISIC8, probabilities=eight, scores=eight)})


def test_runs_are_named_as_short_as_they_can_be_told_apart(tmp_path):
    for place in ("x/one", "y/one", "y/two"):
        make().write(tmp_path / place / "predictions.csv")
    places = [str(tmp_path / place) for place in ("x/one", "y/one", "y/two/predictions.csv")]
    assert list(load_runs(places)) == ["x/one", "y/one", "y/two"]
    assert list(load_runs(places[1:])) == ["one", "two"]
    with pytest.raises(DataError, match="given more than once"):
        load_runs([places[0], places[0]])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"predictions\.csv is not there yet; run 04_evaluation"):
        load_runs([str(tmp_path / "empty"), places[0]])


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


def published(predictions, path, *, names, values, ids=lambda name: name, id_column="image"):
    """A table as others publish it: no truth, no lesions, columns by the names of the classes."""
    frame = pd.DataFrame(values, columns=names)
    frame.insert(0, id_column, [ids(name) for name in predictions.image_ids])
    frame.to_csv(path, index=False)


@pytest.mark.parametrize("form", ["logits", "probabilities", "names"])
def test_published_tables_are_matched_and_give_the_same_figures(tmp_path, form):
    own, other = make(), make(1.0, seed=1)
    own.write(tmp_path / "own.csv")
    logits = np.log(other.probabilities) + np.arange(300)[:, None] / 100
    forms = {
        "logits": {"names": [f"logit_{code}" for code in HAM7.codes], "values": logits, "ids": "{}.jpg".format},
        "probabilities": {"names": list(HAM7.codes), "values": other.probabilities.round(3),
                          "ids": "test/{}.JPG".format},
        "names": {"names": [f"{name} probability" for name in HAM7.names], "values": other.probabilities,
                  "ids": str.lower, "id_column": "filename"},
    }  # fmt: skip
    published(other, tmp_path / "theirs.csv", **forms[form])
    runs = load_runs([str(tmp_path / "own.csv"), str(tmp_path / "theirs.csv")])
    found, expected = compare(runs, 20), compare({"own": own, "theirs": other}, 20)
    for name in ("balanced_accuracy", "macro_auroc", "brier"):
        for end in ("value", "low", "high"):
            assert found.differences["theirs"][name][end] == pytest.approx(
                expected.differences["theirs"][name][end], abs=5e-3 if form == "probabilities" else 1e-9
            )
    assert ("theirs: The columns hold logits" in " ".join(found.notes)) == (form == "logits")


def test_eight_labels_are_merged_where_another_run_has_seven(tmp_path):
    own = make()
    own.write(tmp_path / "seven.csv")
    place = {"ak": "akiec", "scc": "akiec"}
    eight = np.zeros((300, 8))
    for i, code in enumerate(ISIC8.codes):
        eight[:, i] = own.probabilities[:, HAM7.index(place.get(code, code))] / (2 if code in place else 1)
    y = np.array([ISIC8.index({"akiec": "scc"}.get(code, code)) for code in np.array(HAM7.codes)[own.y]])
    replace(own, labels=ISIC8, y=y, probabilities=eight, scores=eight).write(tmp_path / "eight.csv")
    found = compare(load_runs([str(tmp_path / "seven.csv"), str(tmp_path / "eight.csv")]), 5)
    for one in found.differences["eight"].values():
        assert one["value"] == pytest.approx(0, abs=1e-12)
    assert found.notes == ("eight: its eight labels are merged into seven, as others have them.",)


def test_images_without_truth_are_left_out_of_published_tables_and_counted(tmp_path):
    own = make().take(np.arange(200))
    own.write(tmp_path / "own.csv")
    published(make(1.0), tmp_path / "theirs.csv", names=list(HAM7.codes), values=make(1.0).probabilities)
    runs = load_runs([str(tmp_path / "own.csv"), str(tmp_path / "theirs.csv")])
    assert len(runs["theirs"]) == 200 and "100 images without a label in own.csv" in runs["theirs"].notes[0]


def test_a_leak_is_counted_by_image_lesion_and_twin_and_figures_are_given_without_it(tmp_path, capsys):
    """Lesions have two images each: i and i + 1."""
    test = make().take(np.arange(100))
    other = make(1.0, seed=1).take(np.arange(100))
    test.write(tmp_path / "own" / "predictions.csv")
    pd.DataFrame({"image_id": ["ISIC_0000150"], "lesion_id": "HAM_0000075", "split": "train"}).to_csv(
        tmp_path / "own" / "split.csv", index=False
    )
    other.write(tmp_path / "theirs.csv")
    pd.DataFrame(  # an image of lesion 0; another image of lesion 5; a twin of lesion 10; one that is only tested on
        {"image": ["ISIC_0000000.JPG", "elsewhere_1", "elsewhere_2", "ISIC_0000060"],
         "lesion_id": ["", "HAM_0000005", "", ""], "split": ["train", "train", "train", "test"]}
    ).to_csv(tmp_path / "trained.csv", index=False)  # fmt: skip
    pd.DataFrame({"image_id": ["elsewhere_2", "ISIC_0000021"], "group": [7, 7]}).to_csv(
        tmp_path / "groups.csv", index=False
    )
    arguments = ["compare", str(tmp_path / "own"), str(tmp_path / "theirs.csv"), "--output", str(tmp_path / "out")]
    more = ["--training", f"theirs={tmp_path / 'trained.csv'}", "--twins", str(tmp_path / "groups.csv")]
    assert cli.main([*arguments, *more]) == 0
    printed = capsys.readouterr().out
    written = json.loads((tmp_path / "out/comparison.json").read_text())
    assert written["training"]["own"]["verdict"] == "clean"
    found = written["training"]["theirs"]
    assert (found["verdict"], found["training_images"], found["lesions"], found["images"]) == ("leak", 3, 3, 6)
    assert (found["same_image"], found["same_lesion"], found["twin"]) == (1, 4, 1)
    leaked = np.isin(test.lesions, ["HAM_0000000", "HAM_0000005", "HAM_0000010"])
    fresh = compare({"own": test.take(~leaked), "theirs": other.take(~leaked)})
    assert written["without_leaked"]["differences"] == fresh.differences
    assert (
        "theirs: leak: 6 evaluated images of 3 lesions" in printed and "94 images of 47 lesions that no run" in printed
    )
    assert "Were these lesions in training?" in (tmp_path / "out/report.html").read_text()

    assert cli.main(arguments) == 0
    written = json.loads((tmp_path / "out/comparison.json").read_text())
    assert written["training"]["theirs"]["verdict"] == "unknown" and written["without_leaked"] is None
    assert "theirs: unknown: no training list was given" in capsys.readouterr().out
    assert cli.main([*arguments, "--training", "nobody=x.csv"]) == 2
    assert "RUN=CSV with one of the runs" in capsys.readouterr().err


def test_images_of_one_name_in_two_folders_are_two_images(tmp_path):
    """Trained on ``a/1``, tested on ``b/1``: no leak; an id that may be either is an error, not a guess."""
    ids = np.array(["b/1", "b/2"], object)
    test = replace(make().take(np.arange(2)), image_ids=ids, lesions=ids)
    trained = pd.DataFrame({"image_id": ["a/1", "A/2.jpg"], "lesion_id": ""})
    assert find_overlap(test, trained).verdict == "clean"
    assert find_overlap(test, trained.assign(image_id=["B/1.PNG", "3"])).same_image == 1
    with pytest.raises(DataError, match="b/1"):
        find_overlap(replace(test, image_ids=np.array(["1", "b/2"], object)), trained.assign(image_id=["a/1", "b/1"]))
    mangled = trained.assign(lesion_id=["7.0", "l2"])  # by a spreadsheet
    assert find_overlap(replace(test, lesions=np.array(["007", "L2"], object)), mangled).same_lesion == 2
    groups = pd.Series({"a/1": "g", "b/2": "g", "b/1": "h"})
    found = find_overlap(test, trained, groups=groups)
    assert (found.twin, found.lesions) == (1, 1) and found.leaked.tolist() == [False, True]


def test_lists_are_read_before_anything_is_computed_and_a_file_in_a_run_folder_needs_none(
    tmp_path, monkeypatch, capsys
):
    for name, seed in (("own", 0), ("other", 1)):
        make(1.0, seed=seed).write(tmp_path / name / "predictions.csv")
    pd.DataFrame({"image_id": ["ISIC_0000000"], "lesion_id": "HAM_0000000", "split": "train"}).to_csv(
        tmp_path / "own" / "split.csv", index=False
    )
    files = [str(tmp_path / name / "predictions.csv") for name in ("own", "other")]
    assert training_lists(files) == [tmp_path / "own" / "split.csv", None]
    assert training_lists(files, [f"other={tmp_path / 'x.csv'}"])[1] == tmp_path / "x.csv"

    def computed(*_):
        raise AssertionError("computed before the lists were read")

    monkeypatch.setattr("skinlesion.evaluation.documents.compare", computed)
    command = ["compare", *files, "--output", str(tmp_path / "out")]
    assert cli.main([*command, "--training", f"other={tmp_path / 'absent.csv'}"]) == 2
    assert "absent.csv" in capsys.readouterr().err
    assert cli.main([*command, "--twins", str(tmp_path / "absent.csv")]) == 2


def test_messages_count_one_as_one():
    one = replace(make().take(np.arange(1)), image_ids=np.array(["x"], object), lesions=np.array(["l"], object))
    words = find_overlap(one, pd.DataFrame({"image_id": ["x"], "lesion_id": [""]})).in_words()
    assert "1 evaluated image of 1 lesion used" in words and "1 training image," in words


def test_a_training_list_counts_whatever_its_words_are_or_is_refused(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("Nr,Image,Split\n1,a.png,Train\n2,b.png,valid\n3,c.png,Testing\n4,d.png,\n")
    assert read_training(path)["image_id"].tolist() == ["a.png", "b.png", "d.png"]
    for text, message in (("image,split\na,dev\n", "unknown split 'dev' of a"), ("image\n", "no training image"),
                          ("image,split\na,test\n", "no training image"),
                          ("image\na\n1.2E+11\n", "ids, such as 1.2E.11; write")):  # fmt: skip
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            read_training(path)
    with pytest.raises(ConfigError, match="b=two.csv is a second list for b; put all"):
        training_lists(["a", "b"], ["b=one.csv", "a=one.csv", "b=two.csv"])
