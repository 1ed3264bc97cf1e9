"""Every stored output as people read it: advice, bar, classes and notices of no image contradict each other."""

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from app import pictures, present
from app.words import in_words, text
from experiments import storage
from experiments.domain import stored
from experiments.recipes import OUTPUTS
from skinlesion.decision import REFERRALS, Outcomes
from skinlesion.serving.manifest import Manifest
from skinlesion.serving.predictor import Prediction, mean_prediction

SHIPPED = Manifest.read()
SHARE = re.compile(r"(?:under |over )?\d+\.\d+%")
FRAME = np.zeros((1, 1, 3), np.uint8)


def predictions(outcomes: Outcomes, manifest: Manifest):
    """Each row as the predictor hands it to the pages."""
    codes = manifest.labels.codes
    for row, label in enumerate(outcomes.label):
        p, scores = (
            dict(zip(codes, values[row].tolist(), strict=True)) for values in (outcomes.probabilities, outcomes.scores)
        )
        yield Prediction(
            codes[label], manifest.labels.names[label], p[codes[label]], p, scores,
            float(outcomes.malignant_probability[row]), outcomes.referral[row], outcomes.referral[row] != "none", 0.0,
            outcomes.notices[row], outcomes.prediction_set[row],
        )  # fmt: skip


def number(share: str) -> float:
    return float(re.sub("[^0-9.]", "", share))


def contradictions(shown: present.Result, prediction: Prediction, manifest: Manifest) -> list[str]:
    """What a reader would stumble over, by what is written; of the prediction, only its probabilities are looked at."""
    p, names = prediction.probabilities, [in_words(one).name for one in manifest.labels]
    notices, advice = " ".join(shown.notices), {text(f"advice.{name}"): name for name in REFERRALS}[shown.advice]
    if advice == "none":
        quiet = not shown.likeliest and "%" not in shown.reason + notices and "not look like a dermatoscopic" in notices
        return [] if quiet else ["a figure or a class without advice"]
    top, label = max(shown.rows, key=lambda row: row.probability), next(row for row in shown.rows if row.chosen)
    risk, threshold, borderline = map(number, shown.percents[:3])
    explained = label.diagnosis.malignant and f"predicts {label.diagnosis.name} (" in shown.reason
    reads_right = {
        "refer": risk >= threshold or explained,
        "borderline": borderline <= risk < threshold,
        "below": risk < borderline,
    }
    leads = top.diagnosis.malignant and (
        advice == "below" or top.probability >= 0.5
    )  # else a notice says how unsure it is
    found = {
        "likelier classes than those shown": [row.probability for row in shown.likeliest] != sorted(p.values())[:-4:-1],
        "another probability in the reason than beside the bar": not {*shown.percents[:2]}
        <= {*SHARE.findall(shown.reason)},
        "an advice that is not the one of its figures": not reads_right[advice],
        "a malignant class likelier than all malignant ones together": any(
            row.diagnosis.malignant and number(row.share) > risk for row in shown.rows
        ),
        "another share of a class in a sentence than beside it": not {*SHARE.findall(notices + shown.label_differs)}
        <= {row.share for row in shown.rows},
        "a malignant class beside less than an assessment": advice != "refer" and (leads or label.diagnosis.malignant),
        "melanoma not excluded, and yet below": "Melanoma is not excluded" in notices and advice == "below",
        "melanoma not excluded, and yet likeliest": "Melanoma is not excluded" in notices
        and top.diagnosis.code == "mel",
        "an unsure class called sure, or a sure one unsure": (top.probability < 0.5)
        != ("even the likeliest" in notices),
        "a label that is not the likeliest class, not explained": bool(shown.label_differs) != (top is not label),
        "a class without its probability": any(
            name in sentence and not SHARE.search(sentence)
            for sentence in (shown.reason, shown.label_differs, *shown.notices)
            for name in names
        ),
    }
    return [name for name, wrong in found.items() if wrong]


@pytest.fixture(autouse=True)
def same_for_all(monkeypatch):
    """What does not depend on the prediction, once."""
    monkeypatch.setattr(pictures, "preview", lambda frame: "")
    monkeypatch.setattr(present, "evidence", lambda manifest: ())
    monkeypatch.setattr(present, "measured", lambda manifest: "")


def assert_coherent(outcomes: Outcomes, manifest: Manifest) -> None:
    wrong = Counter()
    for one in predictions(outcomes, manifest):
        wrong.update(contradictions(present.result("", FRAME, one, manifest), one, manifest))
    assert not wrong


def test_no_card_of_the_shipped_model_contradicts_itself():
    """Validation and test part of its sources, other clinics' images, and close-ups that are not dermatoscopic."""
    advice = Counter()
    for _, outcomes in stored(SHIPPED).values():
        assert_coherent(outcomes, SHIPPED)
        advice.update(outcomes.referral)
    assert len(advice) == 4 and min(advice.values()) > 50, advice


def test_an_average_names_the_graver_advice_of_one_of_its_images():
    """All lesions of the shipped model's data with several images: nobody reads less than one image alone would say."""
    outputs, decision = storage.read(OUTPUTS / "shipped.parquet", "shipped"), SHIPPED.decision
    flags = {name: outputs.images[name].to_numpy() < limit for name, limit in SHIPPED.domain_thresholds.items()}
    singles = list(predictions(decision.decide(decision.probabilities(outputs.logits), **flags), SHIPPED))
    scores, counts = outputs.images["not_dermatoscopic"].to_numpy(), Counter()
    for rows in outputs.images.groupby("lesion_id").indices.values():
        images = [replace(singles[row], domain_score=float(scores[row])) for row in rows]
        if len(images) > 1:
            mean = mean_prediction(images, SHIPPED)
            shown = present.result("", None, mean, SHIPPED, averaged=images)
            graver = {"refer": (), "borderline": ("refer",)}.get(mean.referral, ("refer", "borderline"))
            expected = [one for one in graver if one in {image.referral for image in images}][:1]
            said = [one for one in REFERRALS if any(text(f"advice.{one}") in notice for notice in shown.notices)]
            assert said == expected
            counts[*said] += 1
    assert len(counts) == 3 and min(counts.values()) > 20, counts


#: Seven labels, eight, and clinics that the network was not trained on.
SOME = [("recipes", "ham10000"), ("recipes", "labels_8"), ("across", "base")]
ALL = [(file, name) for file in ("recipes", "rows") for name in storage.read_facts(OUTPUTS / f"{file}.parquet")]


@pytest.mark.parametrize(
    ("file", "recipe"), [*SOME, *(pytest.param(*one, marks=pytest.mark.soak) for one in ALL if one not in SOME)]
)
def test_no_card_of_another_model_contradicts_itself(file, recipe):
    """By networks that were not trained on these images, with the decision that was chosen for them."""
    outputs = storage.read(OUTPUTS / f"{file}.parquet", recipe)
    decision = outputs.decision(0.9)
    foreign = np.random.default_rng(0).random((2, len(outputs.logits))) < 0.1
    outcomes = decision.decide(
        decision.probabilities(outputs.logits), not_dermatoscopic=foreign[0], other_camera=foreign[1]
    )
    assert_coherent(outcomes, replace(SHIPPED, labels=outputs.labels, decision=decision))
