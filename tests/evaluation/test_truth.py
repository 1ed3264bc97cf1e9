"""Truth from the tables in which people keep it."""

import numpy as np
import pandas as pd
import pytest

from skinlesion.core.errors import DataError
from skinlesion.core.taxonomy import HAM7, ISIC8
from skinlesion.evaluation.predictions import Predictions
from skinlesion.evaluation.reading import SCORES_ONLY, read_predictions
from skinlesion.evaluation.truth import WITHOUT_WEIGHT, read_truth

SUBMISSION = (
    "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\n"
    "ISIC_0034524,0.9,0.1,0,0,0,0,0\nISIC_0034525.jpg,0.2,0.8,0,0,0.3,0,0\nISIC_0034526.JPG,0,0,0,1.0,0,0,0.9\n"
)
ONE_HOT = (
    "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\n"
    "ISIC_0034524,1.0,0.0,0,0,0,0,0\nISIC_0034525,0,0,0,0,1,0,0\nISIC_0034526,0,0,0,1,0,0,0\n"
)


@pytest.fixture
def submission(tmp_path):
    (tmp_path / "submission.csv").write_text(SUBMISSION)
    return tmp_path / "submission.csv"


def labels(tmp_path, text):
    (tmp_path / "truth.csv").write_text(text)
    return tmp_path / "truth.csv"


METADATA = (
    "lesion_id,image_id,dx,dx_type,age,sex,localization\n"
    "HAM_1,ISIC_0034524,mel,histo,50,male,back\nHAM_1,ISIC_0034525,bkl,histo,50,male,back\n"
    "HAM_2,ISIC_0034526,akiec,histo,,female,face\nHAM_3,ISIC_0000001,nv,histo,30,male,back\n"
)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("text", [ONE_HOT, METADATA], ids=["one-hot", "metadata"])
def test_a_submission_with_either_truth(submission, tmp_path, text, separator):
    predictions = read_predictions(submission, labels(tmp_path, text.replace(",", separator)))
    assert list(predictions.image_ids) == ["ISIC_0034524", "ISIC_0034525", "ISIC_0034526"]
    assert [HAM7.codes[i] for i in predictions.y] == ["mel", "bkl", "akiec"]
    assert [HAM7.codes[i] for i in predictions.predicted] == ["mel", "nv", "akiec"]
    assert not predictions.are_probabilities and SCORES_ONLY in predictions.notes
    np.testing.assert_array_equal(predictions.scores[1], [0, 0, 0.3, 0, 0.2, 0.8, 0])
    assert predictions.has_lesions == (text is METADATA)
    assert ("No prediction for 1 of the 4 images in truth.csv." in predictions.notes) == (text is METADATA)


def test_a_runs_split_gives_lesions_folds_and_splits(submission, tmp_path):
    split = (
        "image_id,lesion_id,group,label,fold,split\n"
        "ISIC_0034524,L1,0,mel,-1,test\nISIC_0034525,L1,0,nv,2,validation\nISIC_0034526,L2,1,akiec,-1,test\n"
    )
    predictions = read_predictions(submission, labels(tmp_path, split))
    assert list(predictions.split) == ["test", "validation", "test"] and list(predictions.fold) == [-1, 2, -1]
    assert list(predictions.lesions) == ["L1", "L1", "L2"]
    assert len(predictions.of_split("test")) == 2 and not predictions.of_split("test").are_probabilities


def test_a_file_of_ours_keeps_its_own_split(tmp_path):
    ids = np.array(["a", "b"], object)
    p = np.full((2, 7), 1 / 7)
    Predictions(ids, ids, np.array(["test", ""], object), np.full(2, -1), HAM7, np.zeros(2, int), p, p).write(
        tmp_path / "p.csv"
    )
    text = "image_id,label,split,lesion_id\na,nv,train,L\nb,nv,train,L\n"
    predictions = read_predictions(tmp_path / "p.csv", labels(tmp_path, text))
    assert list(predictions.split) == ["test", "train"] and list(predictions.lesions) == ["a", "b"]
    assert list(predictions.y) == [5, 5]


def test_images_without_weight_do_not_count(tmp_path):
    weighted = ONE_HOT.replace("VASC\n", "VASC,score_weight,validation_weight\n").replace(",0\n", ",0,1.0,0\n", 2)
    weighted = weighted.replace("ISIC_0034526,0,0,0,1,0,0,0\n", "ISIC_0034526,0,0,0,1,0,0,0,0.0,1\n")
    truth = read_truth(labels(tmp_path, weighted))
    assert list(truth["counts"]) == [True, True, False]
    (tmp_path / "s.csv").write_text(SUBMISSION)
    predictions = read_predictions(tmp_path / "s.csv", tmp_path / "truth.csv")
    assert len(predictions) == 2 and "no weight: ISIC_0034526" in predictions.notes[1]
    with pytest.raises(DataError, match="score_weight must be 0 or 1"):
        read_truth(labels(tmp_path, weighted.replace(",0.0,1\n", ",0.5,1\n")))
    assert not read_truth(labels(tmp_path, ONE_HOT.replace("ISIC_0034524", WITHOUT_WEIGHT)))["counts"].iloc[0]


def test_an_isic_2019_ground_truth_and_eight_labels(tmp_path):
    columns = "image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK\n"
    truth = labels(tmp_path, columns + "a,0,0,0,1,0,0,0,0,0\nb,0,0,0,0,0,0,0,1,0\n")
    (tmp_path / "s.csv").write_text("image,AK,BCC,BKL,DF,MEL,NV,SCC,VASC\na,1,0,0,0,0,0,0,0\nb,0,0,0,0,0,0,1,0\n")
    predictions = read_predictions(tmp_path / "s.csv", truth)
    assert predictions.labels is ISIC8 and (predictions.predicted == predictions.y).all()
    with pytest.raises(DataError, match="unknown labels: unk"):
        read_predictions(tmp_path / "s.csv", labels(tmp_path, columns + "a,0,0,0,1,0,0,0,0,0\nb,0,0,0,0,0,0,0,0,1\n"))


def test_what_is_wrong_is_named(submission, tmp_path):
    with pytest.raises(DataError, match="label is missing.*--labels"):
        read_predictions(submission)
    with pytest.raises(DataError, match="marked 1 and the others 0; not so for ISIC_0034525"):
        read_predictions(
            submission, labels(tmp_path, ONE_HOT.replace("ISIC_0034525,0,0,0,0,1", "ISIC_0034525,0,1,0,0,1"))
        )
    with pytest.raises(DataError, match="no label for ISIC_0034526"):
        read_predictions(submission, labels(tmp_path, ONE_HOT.replace("ISIC_0034526", "ISIC_0034599")))
    with pytest.raises(DataError, match="more than once: ISIC_0034525"):
        read_predictions(submission, labels(tmp_path, ONE_HOT.replace("ISIC_0034526", "ISIC_0034525")))
    submission.write_text(SUBMISSION.replace("0.9,0.1", "1.9,0.1"))
    with pytest.raises(DataError, match="scores must lie between 0 and 1.*ISIC_0034524"):
        read_predictions(submission, labels(tmp_path, ONE_HOT))
    submission.write_text(SUBMISSION.replace("BKL,", ""))
    with pytest.raises(DataError, match="row 2 has 8 values where the header has 7"):
        read_predictions(submission, labels(tmp_path, ONE_HOT))
    submission.write_text(SUBMISSION.replace("BKL", "OTHER"))
    with pytest.raises(DataError, match="give an ISIC 2018 submission: image,MEL"):
        read_predictions(submission, labels(tmp_path, ONE_HOT))


@pytest.mark.parametrize("name", ["label", "dx"])
def test_a_label_that_contradicts_the_marks_beside_it_is_no_truth(submission, tmp_path, name):
    header, *rows = ONE_HOT.splitlines()
    words = ["Melanoma", "bkl", "SCC", "nv"]  # akiec with eight labels: no contradiction

    def both(words):
        return labels(tmp_path, "\n".join([f"{header},{name}", *(f"{row},{words.pop(0)}" for row in rows)]))

    assert [HAM7.codes[i] for i in read_predictions(submission, both(list(words))).y] == ["mel", "bkl", "akiec"]
    with pytest.raises(DataError, match=f"columns {name} and MEL, NV, … .*differ in 1 row .'nv' and 'bkl'"):
        read_predictions(submission, both([words[0], "nv", *words[2:]]))


def test_scores_never_become_probabilities(submission, tmp_path):
    predictions = read_predictions(submission, labels(tmp_path, ONE_HOT))
    with pytest.raises(DataError, match="holds probabilities"):
        predictions.write(tmp_path / "predictions.csv")
    predictions.write_submission(tmp_path / "again.csv")
    again = pd.read_csv(tmp_path / "again.csv")
    expected = pd.read_csv(submission).replace(r"\.(jpg|JPG)$", "", regex=True)
    pd.testing.assert_frame_equal(again, expected, check_dtype=False)
