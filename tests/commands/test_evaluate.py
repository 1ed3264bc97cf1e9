"""``skinlesion evaluate`` as people run it: what it writes, and what it says about where the figures come from."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from experiments import tested
from skinlesion import cli
from skinlesion.core.errors import DataError
from skinlesion.evaluation.assessment import NOT_CHOSEN, assess
from skinlesion.evaluation.decision_fit import choose_referral, choose_threshold
from skinlesion.evaluation.documents import write_evaluation
from skinlesion.evaluation.metrics import evaluate
from skinlesion.evaluation.operating import binary_task
from skinlesion.evaluation.reading import SCORES_ONLY, read_predictions
from skinlesion.evaluation.reference_results import published_table
from skinlesion.evaluation.sections import headline


@pytest.fixture(scope="module")
def real():
    """Real predictions, a third of the lesions called validation and the others test."""
    predictions, _ = tested.read("ham10000")
    lesion = np.unique(predictions.lesions.astype(str), return_inverse=True)[1]
    return replace(predictions, split=np.where(lesion % 3 == 0, "validation", "test").astype(object))


def test_everything_is_written_and_the_report_holds_it_all(real, tmp_path, capsys):
    real.write(tmp_path / "predictions.csv")
    output = tmp_path / "out"
    predictions = read_predictions(tmp_path / "predictions.csv")
    assert write_evaluation(predictions, output, "predictions.csv", replicates=30, prevalence=0.05) == 0
    printed, test = capsys.readouterr().out, real.of_split("test")
    metrics = json.loads((output / "metrics.json").read_text())
    assert metrics["balanced_accuracy"] == evaluate(test, 30)["balanced_accuracy"]
    assert f"{metrics['balanced_accuracy']['value']:.3f}" in printed
    assert f"of the test split; {len(real) - len(test)} of other splits left out" in printed
    assert set(metrics["operating_points"]["points"]) == {"malignant", "melanoma"}
    assert metrics["on_the_roc_curve"] is None
    elsewhere = metrics["decision_curves"]["malignant_elsewhere"]
    assert elsewhere["prevalence"] == 0.05 and len(elsewhere["curve"]) == 50
    pictures = {path.stem for path in (output / "figures").glob("*.png")}
    assert pictures == {path.stem for path in (output / "figures").glob("*.txt")} and len(pictures) == 8
    page = (output / "report.html").read_text()
    assert (
        page.count("<img ") == 8 and len(re.findall(r'<img src="data:image/png;base64,[^"]+" alt="[^"]{40}', page)) == 8
    )
    assert not re.search(r'(src|href)="(?!data:|#)', page)  # nothing is fetched from anywhere
    assert "5.0% are malignant" in page and "19.7%" not in page.split("5.0% are malignant")[1][:200]


def test_a_split_that_no_row_can_belong_to_is_not_ignored(real):
    bare = replace(real, split=np.full(len(real), "", object))
    assert len(assess(bare, replicates=0).evaluated) == len(real)
    with pytest.raises(DataError, match="name no splits, so none is 'train'"):
        assess(bare, split="train", replicates=0)


def test_thresholds_come_from_validation_alone(real):
    found = assess(real, replicates=10)
    validation = real.of_split("validation")
    plain = choose_threshold(*binary_task(validation, "malignant"), 0.9)
    assert found.points["malignant"]["sensitivity 0.90"].threshold == plain
    score, truth, labelled = (validation.malignant_probability, validation.is_malignant, validation.malignant_label)
    expected = choose_referral(score, truth, labelled, 0.9)
    assert found.referral.threshold == expected
    assert NOT_CHOSEN not in found.notes and found.on_the_curve == {}
    test = real.split == "test"
    other = replace(real, y=np.where(test, np.random.default_rng(0).permutation(real.y), real.y))
    assert assess(other, replicates=0).referral.threshold == expected


def test_without_validation_rows_none_is_chosen_and_it_is_said(real):
    for one, split in ((replace(real, split=np.full(len(real), "", object)), "test"), (real, "validation")):
        found = assess(one, split=split, replicates=10)
        assert found.points == {} and found.referral is None and NOT_CHOSEN in found.notes
        assert set(found.on_the_curve) == {"malignant", "melanoma"}
        assert "Referring" not in headline(found)
    given = assess(real, split="validation", referral_threshold=0.2, replicates=10)
    assert given.referral.threshold == 0.2 and NOT_CHOSEN not in given.notes


def test_a_submission_through_the_command_line(real, tmp_path, capsys):
    real.write_submission(tmp_path / "submission.csv")
    codes = np.array(real.labels.codes)
    rows = "".join(
        f"{i},{lesion},{codes[y]},{split}\n"
        for i, lesion, y, split in zip(real.image_ids, real.lesions, real.y, real.split, strict=True)
    )
    (tmp_path / "split.csv").write_text("image_id,lesion_id,label,split\n" + rows)
    output = tmp_path / "out"
    arguments = ["evaluate", str(tmp_path / "submission.csv"), "--output", str(output)]
    assert cli.main(arguments) == 2
    assert "name a CSV of labels (--labels)" in capsys.readouterr().err and not output.exists()
    assert cli.main([*arguments, "--labels", str(tmp_path / "split.csv")]) == 0
    printed = capsys.readouterr().out
    assert SCORES_ONLY in printed and "ECE" not in printed.replace(SCORES_ONLY, "") and "malignant score" in printed
    metrics = json.loads((output / "metrics.json").read_text())
    for name in ("ece", "classwise_ece", "brier", "log_loss"):
        assert metrics[name] == {"value": None, "low": None, "high": None, "n": 0}
    assert metrics["decision_curves"] == {} and metrics["balanced_accuracy"]["n"] == len(real.of_split("test"))
    assert not (output / "figures/reliability.png").exists()
    assert SCORES_ONLY.partition(",")[0] in (output / "report.html").read_text()


def test_what_does_not_work_is_said_before_anything_is_written(real, tmp_path, capsys):
    real.write(tmp_path / "p.csv")
    output = tmp_path / "out"
    with pytest.raises(DataError, match="'train'; the splits here are 'test', 'validation'"):
        write_evaluation(read_predictions(tmp_path / "p.csv"), output, "p.csv", split="train")
    arguments = ["evaluate", str(tmp_path / "p.csv"), "--output", str(output)]
    assert cli.main([*arguments, "--prevalence", "2"]) == 2
    assert "between 0 and 1, not 2" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["evaluate", "--output", str(output)])
    assert not output.exists()


def test_few_images_unknown_lesions_and_ties_are_told(real):
    bare = replace(real, lesions=real.image_ids, scores=np.round(real.scores, 1))
    notes = " ".join(assess(bare, replicates=0).notes)
    assert "The lesion ids are unknown" in notes and "Fewer than 30 images: df" in notes
    assert re.search(r"In \d+ images two classes share the highest score", notes)


def test_published_figures_have_a_source_and_a_caution():
    table = published_table()
    assert list(table["value"]) == ["0.885", "0.797 (about 0.744 to 0.849)", "0.754", "0.636", "0.770"]
    assert table["source"].str.match(r"https://\S+").all() and (table[["caution", "measured on"]] != "").all(axis=None)
