"""Our figures against the official scorer of the ISIC challenges, on the shipped model's answers for the test split."""

import sys
import zipfile

import numpy as np
import pandas as pd
import pytest

from experiments import tested
from skinlesion.core.taxonomy import HAM7, ISIC2018_COLUMNS
from skinlesion.evaluation.metrics import evaluate, ties
from skinlesion.evaluation.reading import read_predictions
from skinlesion.evaluation.truth import WITHOUT_WEIGHT

pytestmark = pytest.mark.filterwarnings("ignore")  # the scorer's, of deprecations


@pytest.fixture(scope="module")
def scorer():
    """The scorer, which is older than pandas 3 and imports an archive reader that only segmentations need."""
    sys.modules.setdefault("zipfile_deflate64", zipfile)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pd.DataFrame, "applymap", pd.DataFrame.map, raising=False)
        from isic_challenge_scoring import ClassificationMetric, ClassificationScore

        yield lambda truth, submission: ClassificationScore.from_file(
            truth, submission, ClassificationMetric.BALANCED_ACCURACY
        )


def write_truth(path, predictions, **columns):
    """The one-hot ground truth of these predictions, in ISIC's format."""
    marks = pd.DataFrame({name: (predictions.y == HAM7.index(name.lower())).astype(float) for name in ISIC2018_COLUMNS})
    marks.insert(0, "image", predictions.image_ids)
    marks.assign(**columns).to_csv(path, index=False)
    return path


@pytest.fixture
def files(tmp_path):
    predictions, _ = tested.read("ham10000")
    predictions.write_submission(tmp_path / "submission.csv")
    return write_truth(tmp_path / "truth.csv", predictions), tmp_path / "submission.csv"


def test_balanced_accuracy_and_ranking_agree_on_real_predictions(scorer, files):
    official = scorer(*files)
    submission = read_predictions(files[1], files[0])
    ours = evaluate(submission, replicates=0)
    assert len(submission) == 1669 and not submission.are_probabilities
    assert ours["balanced_accuracy"]["value"] == pytest.approx(official.overall, abs=1e-12)
    assert ours["macro_auroc"]["value"] == pytest.approx(official.macro_average["auc"], abs=1e-12)
    for column in ISIC2018_COLUMNS:
        by_class = ours["per_class"][column.lower()]
        assert by_class["auroc"]["value"] == pytest.approx(official.per_category.loc[column, "auc"], abs=1e-12)
        precision = official.per_category.loc[column, "ap"]
        assert by_class["average_precision"]["value"] == pytest.approx(precision, abs=1e-12)


def test_probabilities_agree_too_and_rank_better_than_scores(scorer, tmp_path):
    predictions, _ = tested.read("ham10000")
    columns = {name: predictions.probabilities[:, HAM7.index(name.lower())] for name in ISIC2018_COLUMNS}
    pd.DataFrame({"image": predictions.image_ids} | columns).to_csv(tmp_path / "p.csv", index=False)
    official = scorer(write_truth(tmp_path / "truth.csv", predictions), tmp_path / "p.csv")
    ours = evaluate(predictions, replicates=0)
    for column in ISIC2018_COLUMNS:
        ours_auc = ours["per_class"][column.lower()]["auroc"]["value"]
        assert ours_auc == pytest.approx(official.per_category.loc[column, "auc"], abs=1e-12)
    called = predictions.probabilities.argmax(axis=1)
    recalls = [np.mean(called[predictions.y == c] == c) for c in range(7)]
    assert official.overall == pytest.approx(np.mean(recalls), abs=1e-12)
    predictions.write_submission(tmp_path / "scores.csv")
    by_scores = evaluate(read_predictions(tmp_path / "scores.csv", tmp_path / "truth.csv"), replicates=0)
    assert ours["macro_auroc"]["value"] > by_scores["macro_auroc"]["value"]


def test_the_scorers_conventions_are_those_that_the_metrics_describe(scorer, files, tmp_path):
    """A class is called where its own score is above 0.5; shared highest scores are wrong; weightless images go."""
    truth, submission = files
    official = scorer(truth, submission)
    predictions = read_predictions(submission, truth)
    nv = HAM7.index("nv")
    above = predictions.scores[predictions.y == nv, nv] > 0.5
    assert official.per_category.loc["NV", "sensitivity"] == pytest.approx(above.mean(), abs=1e-12)
    assert official.per_category.loc["NV", "sensitivity"] != evaluate(predictions, 0)["per_class"]["nv"]["sensitivity"]

    frame = pd.read_csv(submission)
    frame.loc[frame.index[:150], list(ISIC2018_COLUMNS)] = 0.2  # all seven share the highest score
    frame.to_csv(tmp_path / "tied.csv", index=False)
    tied, if_wrong = ties(read_predictions(tmp_path / "tied.csv", truth))
    assert tied == 150
    assert if_wrong == pytest.approx(scorer(truth, tmp_path / "tied.csv").overall, abs=1e-12)

    renamed = pd.read_csv(truth).replace({"image": {frame["image"][0]: WITHOUT_WEIGHT}})
    # The scorer sorts truth and answers but not the weights: its ground truths are sorted already, so ours must be.
    renamed.sort_values("image").to_csv(tmp_path / "weightless.csv", index=False)
    answers = pd.read_csv(submission).replace({"image": {frame["image"][0]: WITHOUT_WEIGHT}})
    answers.to_csv(tmp_path / "renamed.csv", index=False)
    kept = read_predictions(tmp_path / "renamed.csv", tmp_path / "weightless.csv")
    assert len(kept) == 1668 and WITHOUT_WEIGHT in kept.notes[1]
    official = scorer(tmp_path / "weightless.csv", tmp_path / "renamed.csv")
    assert evaluate(kept, 0)["balanced_accuracy"]["value"] == pytest.approx(official.overall, abs=1e-12)
