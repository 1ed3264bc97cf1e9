"""The vote of similar cases against scikit-learn's neighbours and balanced accuracy."""

from collections import Counter

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score
from sklearn.neighbors import NearestNeighbors

from skinlesion.core.errors import DataError
from skinlesion.core.similarity import NEAREST
from skinlesion.core.taxonomy import HAM7
from skinlesion.evaluation.predictions import Predictions
from skinlesion.evaluation.retrieval import Cases, in_words, measure

DRAW = np.random.default_rng(11)
CENTRES = DRAW.normal(size=(7, 12))


def drawn(count: int, first: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, classes and lesions: about two images per lesion, classes that overlap."""
    lesion = np.sort(DRAW.integers(0, count // 2, count)) + first
    y = lesion % 7
    return CENTRES[y] + DRAW.normal(0, 1.2, (count, 12)), y, np.array([f"lesion-{one}" for one in lesion])


CASES, TESTED = drawn(400, 0), drawn(150, 1000)


def by_hand(features: np.ndarray, without: np.ndarray) -> list[int]:
    """The vote by scikit-learn's neighbours, one image at a time."""
    known, y, lesions = CASES
    rows = NearestNeighbors(n_neighbors=len(known), metric="cosine", algorithm="brute").fit(known)
    called = []
    for order, own in zip(rows.kneighbors(features)[1], without, strict=True):
        votes: dict[str, int] = {}
        for row in order:
            if lesions[row] != own and len(votes) < NEAREST:
                votes.setdefault(lesions[row], int(y[row]))
        most = max(Counter(votes.values()).values())
        called.append(next(one for one in votes.values() if list(votes.values()).count(one) == most))
    return called


def predictions(y: np.ndarray, lesions: np.ndarray) -> Predictions:
    """A model that is right on four of five images."""
    probabilities = np.full((len(y), 7), 0.05)
    guessed = np.where(np.arange(len(y)) % 5 < 4, y, (y + 1) % 7)
    probabilities[np.arange(len(y)), guessed] = 0.7
    return Predictions(
        image_ids=np.array([f"image-{i}" for i in range(len(y))], object), lesions=lesions,
        split=np.full(len(y), "test"), fold=np.full(len(y), -1), labels=HAM7, y=y,
        probabilities=probabilities, scores=probabilities,
    )  # fmt: skip


def test_the_vote_is_that_of_the_six_nearest_lesions():
    features, _, lesions = TESTED
    assert Cases(*CASES).vote(features, lesions).tolist() == by_hand(features, lesions)
    own = CASES[2][:150]  # of images that are among the cases
    assert Cases(*CASES).vote(CASES[0][:150], own).tolist() == by_hand(CASES[0][:150], own)


def test_balanced_accuracy_and_the_difference_to_the_model():
    features, y, lesions = TESTED
    one = predictions(y, lesions)
    found = measure(one, features, Cases(*CASES), replicates=200)
    vote = balanced_accuracy_score(y, by_hand(features, lesions))
    own = balanced_accuracy_score(y, one.predicted)
    assert found["balanced_accuracy"]["value"] == pytest.approx(vote)
    assert found["difference"]["value"] == pytest.approx(own - vote)
    for metric in (found["balanced_accuracy"], found["difference"]):
        assert metric["low"] < metric["value"] < metric["high"]
        assert metric["n"] == 150
    assert (found["neighbours"], found["cases"]) == (NEAREST, 400)
    told = in_words(found, {"value": own, "low": None, "high": None, "n": 150})
    assert f"**{vote:.3f} (" in told and f"label {own:.3f}." in told


def test_cases_of_the_images_own_lesion_alone_are_refused():
    with pytest.raises(DataError, match="none is left to vote"):
        Cases(CASES[0][:1], CASES[1][:1], CASES[2][:1]).vote(CASES[0][:1], CASES[2][:1])


def test_features_of_other_images_are_refused():
    with pytest.raises(DataError, match="149 rows of features for 150"):
        measure(predictions(*TESTED[1:]), TESTED[0][1:], Cases(*CASES))
