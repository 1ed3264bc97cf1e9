"""Similar proven cases beside a prediction, where the app was started with an index of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app import pictures
from app.words import in_words, source_name, text
from skinlesion.core.taxonomy import Diagnosis, label_set
from skinlesion.decision import NONE
from skinlesion.serving.neighbours import Case, Neighbours
from skinlesion.serving.predictor import Prediction


@dataclass(frozen=True)
class Shown:
    """One case as the templates show it: ``picture`` is a ``data:`` URL, ``confirmed`` says how it was, in words."""

    diagnosis: Diagnosis
    confirmed: str
    similarity: str
    source: str
    picture: str


def find(index: Neighbours, prediction: Prediction, frame: np.ndarray | None, names: Sequence[str] = ()) -> list[Case]:
    """The cases for a prediction with features, of a frame, uint8 [H, W, 3]; none where there is no advice.

    ``names``: of the image's file and its lesion, whose own cases are left out.
    """
    if frame is None or prediction.features is None or prediction.referral == NONE:
        return []
    return index.nearest(prediction.features, frame, own=names)


def shown(
    index: Neighbours | None, prediction: Prediction, frame: np.ndarray | None, names: Sequence[str] = ()
) -> tuple[Shown, ...]:
    """The cases that :func:`find` gives in words and pictures; none without an index."""
    if index is None:
        return ()
    return tuple(
        Shown(
            diagnosis=in_words(_diagnosis(index, case)),
            confirmed=text(f"similar.{case.confirmed}"),
            similarity=text("similar.similarity", value=f"{case.similarity:.2f}"),
            source=_source(index, case.source),
            picture=pictures.data_url("image/jpeg", case.picture),
        )
        for case in find(index, prediction, frame, names)
    )


def to_dict(index: Neighbours, case: Case) -> dict:
    """A case as the API gives it, without its picture."""
    return {**case.to_dict(), "name": _diagnosis(index, case).name}


def _source(index: Neighbours, name: str) -> str:
    drawn = index.facts["data"]["sources"][name]["kind"] == "demo"
    return text("similar.drawn", source=source_name(name)) if drawn else source_name(name)


def _diagnosis(index: Neighbours, case: Case) -> Diagnosis:
    return label_set(index.facts["labels"])[case.label]
