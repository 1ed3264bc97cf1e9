"""A prediction in words for people: the one wording that the Flask page and the Voila view share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from app import pictures
from app.similar import Shown
from app.words import TEXTS, in_words, source_name, text
from skinlesion.core.taxonomy import Diagnosis
from skinlesion.decision import (
    BELOW,
    MELANOMA_NOT_EXCLUDED,
    NONE,
    NOT_DERMATOSCOPIC,
    OTHER_CAMERA,
    REFER,
    REFERRALS,
)
from skinlesion.serving.manifest import Manifest
from skinlesion.serving.predictor import Prediction

#: Below it, the most probable class is more likely wrong than right.
UNSURE = 0.5
LIKELIEST = 3  # classes that are shown at first
MOST_DIGITS = 6  # decimals of a percentage


class Percents(NamedTuple):
    """The malignant probability in per cent, what it is compared with, and the decimals of every share beside it."""

    risk: str = ""
    threshold: str = ""
    borderline: str = ""
    digits: int = 1


class Evidence(NamedTuple):
    """How the advice did on one source; a row holds kind and number, and how many got each advice."""

    source: str
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Row:
    """One class of one prediction; ``chosen`` is the label's."""

    diagnosis: Diagnosis
    probability: float
    share: str  # the probability in per cent
    score: float
    chosen: bool


@dataclass(frozen=True)
class Result:
    """One image as the templates show it: a prediction, or the ``error`` that says why there is none."""

    title: str
    error: str | None = None
    #: ``data:`` URLs. An average of several images has neither; an overlay is missing too where the network has no
    #: activation map, or nothing in it speaks for the label.
    preview: str | None = None
    overlay: str | None = None
    prediction: Prediction | None = None
    diagnosis: Diagnosis | None = None  # of the label, for technical details
    rows: tuple[Row, ...] = ()  # every class, the likeliest first
    advice: str = ""  # ``prediction.referral`` in words
    reason: str = ""  # and why
    notices: tuple[str, ...] = ()  # ``prediction.notices`` in words, and what else to know before believing it
    label_differs: str = ""  # why the label is not the likeliest class; empty where it is
    evidence: tuple[Evidence, ...] = ()  # what the advice rests on, by source
    measured: str = ""  # sensitivity and specificity of the advice with intervals
    percents: Percents = field(default_factory=Percents)
    similar: tuple[Shown, ...] = ()  # similar proven cases, where the app has an index of them

    @property
    def likeliest(self) -> tuple[Row, ...]:
        """The classes that are shown at first; none where there is no advice."""
        return () if self.prediction is None or self.prediction.referral == NONE else self.rows[:LIKELIEST]


def result(
    title: str,
    frame: np.ndarray | None,
    prediction: Prediction,
    manifest: Manifest,
    similar: tuple[Shown, ...] = (),
    averaged: Sequence[Prediction] = (),
) -> Result:
    """Put a prediction into words. An average has no ``frame``, but the predictions that were ``averaged``."""
    p, scores, figures = prediction.probabilities, prediction.scores, percents(prediction, manifest)
    rows = [
        Row(in_words(d), p[d.code], percent(p[d.code], figures.digits), scores[d.code], d.code == prediction.label)
        for d in manifest.labels
    ]
    rows.sort(key=lambda row: row.probability, reverse=True)
    overlay = None
    if frame is not None and prediction.map is not None:
        overlay = pictures.overlay(prediction.map, frame.shape, manifest.fit, manifest.crops)
    return Result(
        title=title,
        preview=None if frame is None else pictures.preview(frame),
        prediction=prediction,
        diagnosis=next(row.diagnosis for row in rows if row.chosen),
        rows=tuple(rows),
        advice=text(f"advice.{prediction.referral}"),
        reason=reason(prediction, manifest),
        notices=tuple(_notices(prediction, rows, averaged)),
        label_differs=_label_differs(rows),
        overlay=overlay,
        evidence=evidence(manifest),
        measured=measured(manifest),
        percents=figures,
        similar=similar,
    )


def percents(prediction: Prediction, manifest: Manifest) -> Percents:
    """With the decimals that it takes to read a probability apart from a threshold that it does not equal."""
    p, limits = prediction.malignant_probability, (manifest.decision.referral_threshold, manifest.decision.borderline)
    for digits in range(1, MOST_DIGITS + 1):
        risk, threshold, borderline = (percent(share, digits) for share in (p, *limits))
        if all(other != risk or limit == p for other, limit in zip((threshold, borderline), limits, strict=True)):
            break
    return Percents(risk, threshold, borderline, digits)


def reason(prediction: Prediction, manifest: Manifest) -> str:
    """Why the advice is what it is, in one sentence."""
    by_label = prediction.referral == REFER and prediction.malignant_probability < manifest.decision.referral_threshold
    figures = percents(prediction, manifest)
    return text(
        "reason.label" if by_label else f"reason.{prediction.referral}",
        probability=figures.risk,
        threshold=figures.threshold,
        borderline=figures.borderline,
        name=in_words(manifest.labels[prediction.label]).name,
        share=percent(prediction.probability, figures.digits),
    )


def measured(manifest: Manifest) -> str:
    """How the advice to refer was measured to do, on how many images; empty where nothing was measured."""
    referral = manifest.referral
    parts = [_figure(name, referral[name]) for name in ("sensitivity", "specificity")]
    if not any(parts):
        return ""
    found = text("measured.begin", figures="; ".join(part for part in parts if part))
    if referral["by_label"]["value"]:
        found += " " + text("measured.by_label", share=percent(referral["by_label"]["value"]))
    if manifest.content.get("measured_on") == "validation":
        found += " " + text("measured.validation")
    return found


def evidence(manifest: Manifest) -> tuple[Evidence, ...]:
    """What the advice rests on, by source: how many malignant and benign images got which advice."""
    found = []
    for row in manifest.evidence:
        place = f"evidence.{row['part']}" if f"evidence.{row['part']}" in TEXTS else "evidence.other"
        rows = tuple(
            (
                text(f"evidence.{kind}", n=f"{n:,}"),
                f"{row[f'{kind}_refer']:,} ({percent(row[f'{kind}_refer'] / n)})",
                *(f"{row[f'{kind}_{zone}']:,}" for zone in REFERRALS if zone != REFER),
            )
            for kind in ("malignant", "benign")
            if (n := row[kind])
        )
        found.append(Evidence(text(place, source=source_name(row["source"]), part=row["part"]), rows))
    return tuple(found)


def percent(share: float, digits: int = 1) -> str:
    """A share of 1 in per cent, with so many decimals; neither all nor nothing unless it is."""
    least = 10.0 ** -(digits + 2)
    if 0 < share < least:
        return text("percent.under", limit=f"{least:.{digits}%}")
    if 1 - least < share < 1:
        return text("percent.over", limit=f"{1 - least:.{digits}%}")
    return f"{share:.{digits}%}"


def _figure(name: str, figure: dict) -> str | None:
    if figure["value"] is None:
        return None
    value = percent(figure["value"])
    if figure["low"] is not None and figure["high"] is not None:
        value = text("measured.interval", value=value, low=percent(figure["low"]), high=percent(figure["high"]))
    return text(f"measured.{name}", value=value, n=f"{figure['n']:,}")


def _notices(prediction: Prediction, rows: list[Row], averaged: Sequence[Prediction]) -> list[str]:
    place, top = REFERRALS.index, rows[0]
    gravest = min((one.referral for one in averaged), key=place, default=NONE)
    graver = place(gravest) < min(place(prediction.referral), place(BELOW))
    notices = [text("notice.graver", advice=text(f"advice.{gravest}"))] if graver else []
    if NOT_DERMATOSCOPIC in prediction.notices:
        return [*notices, text("notice.not_dermatoscopic_several" if averaged else "notice.not_dermatoscopic")]
    if MELANOMA_NOT_EXCLUDED in prediction.notices:
        melanoma = next(row for row in rows if row.diagnosis.code == "mel")
        notices.append(text("notice.melanoma_not_excluded", probability=melanoma.share))
    if OTHER_CAMERA in prediction.notices:
        notices.append(text("notice.other_camera"))
    if top.probability < UNSURE:
        notices.append(text("notice.unsure", name=top.diagnosis.name, probability=top.share))
    return notices


def _label_differs(rows: list[Row]) -> str:
    if rows[0].chosen:
        return ""
    chosen = next(row for row in rows if row.chosen)
    return text(
        "notice.label_differs",
        likeliest=rows[0].diagnosis.name,
        name=chosen.diagnosis.name,
        probability=chosen.share,
    )
