"""A model folder's ``manifest.json``, read once and checked before anything is predicted."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skinlesion.core.errors import ModelError, SkinLesionError
from skinlesion.core.framing import CROPS, FITS
from skinlesion.core.taxonomy import LabelSet, label_set
from skinlesion.decision import NOT_DERMATOSCOPIC, OTHER_CAMERA, REFERRALS, Decision

FORMAT = 2
FILE = "manifest.json"
DOMAIN_SCORES = (OTHER_CAMERA, NOT_DERMATOSCOPIC)
OUTPUTS = ("logits", "features", *DOMAIN_SCORES, "map")
NEEDED = OUTPUTS[:-1]  # not every network has activation maps
EVIDENCE = tuple(
    f"{kind}{zone}"
    for kind in ("malignant", "benign")
    for zone in ("", *(f"_{zone}" for zone in REFERRALS), "_by_label")
)
# Times the network's square. From half as many pixels, noise and lines as fine as a pixel move probabilities by 0.009.
ENOUGH = 4
PRETRAINED = Path(__file__).resolve().parents[1] / "pretrained"


@dataclass(frozen=True)
class Manifest:
    """A validated ``manifest.json``; arrays are in the order of ``labels``."""

    name: str  # which model this is; ``sha256`` is that of the ONNX file's bytes, hexadecimal
    version: str
    file: str
    sha256: str
    labels: LabelSet
    image_size: int  # side of the network's input, pixels
    fit: str  # how a frame becomes square crops, and how many: see :func:`skinlesion.core.framing.region`
    crops: int
    outputs: tuple[str, ...]  # :data:`NEEDED` and, for networks that have one, ``map``
    decision: Decision  # turns logits into probabilities, scores, label and advice
    #: The referral ``threshold`` on the malignant probability, the lower end of the grey zone (``borderline``), and
    #: ``sensitivity`` and ``specificity`` of the advice to refer, label included; ``by_label``, the share of images
    #: that the label alone refers
    referral: dict
    domain_thresholds: dict[str, float]  # dict score -> float: for :data:`DOMAIN_SCORES`: an image with less is flagged
    #: what the advice was measured on, by source, external ones last: see
    #: :func:`skinlesion.evaluation.operating.evidence`
    evidence: list[dict]
    synthetic: bool  # whether the model was trained on synthetic images
    content: dict  # the whole file, for what only reports need (metrics, config, versions, licence)

    @property
    def identity(self) -> dict:
        """``name``, ``version`` and ``sha256``: what identifies the model of a prediction."""
        return {"name": self.name, "version": self.version, "sha256": self.sha256}

    @property
    def enough(self) -> int:
        """Pixels that suffice for an image's shorter side: what is larger may be decoded at a fraction of its size."""
        return ENOUGH * self.image_size

    @property
    def domain_threshold(self) -> float:
        """What :attr:`Prediction.domain_score` must reach to be in domain."""
        return self.domain_thresholds[NOT_DERMATOSCOPIC]

    @classmethod
    def read(cls, folder: str | Path | None = None) -> Manifest:
        """Read ``folder/manifest.json``; the shipped model's where ``folder`` is None.

        Raises ModelError if it is missing, not JSON, or holds anything that predictions cannot be trusted with.
        """
        place = Path(folder).expanduser() if folder is not None else PRETRAINED
        path = place / FILE
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise ModelError(_missing(place, shipped=folder is None)) from None
        except (OSError, ValueError) as error:
            raise ModelError(f"{path} cannot be read ({error}); export the model again") from None
        try:
            return cls._from_content(content)
        except (_Invalid, SkinLesionError) as error:
            raise ModelError(
                f"{path}: {error}; export the model again (`python run_all.py --run NAME --from 04`)"
            ) from None

    @classmethod
    def _from_content(cls, content: object) -> Manifest:
        entry = _Entry(content)
        entry.require(
            entry.whole("format") == FORMAT,
            f"the model is of format {entry.values['format']}, not {FORMAT}, which has two domain scores",
        )
        labels = label_set(entry.texts("labels"))
        outputs = entry.texts("outputs")
        entry.require(
            set(NEEDED) <= set(outputs) <= set(OUTPUTS), f"outputs must be {', '.join(NEEDED)} and perhaps map"
        )
        file, sha256 = entry.text("file"), entry.text("sha256")
        entry.require(Path(file).name == file, "file must be a plain file name")
        entry.require(re.fullmatch("[0-9a-f]{64}", sha256), "sha256 must be 64 hexadecimal digits")
        fit, crops = entry.text("fit"), entry.whole("crops")
        entry.require(fit in FITS, f"fit must be one of {FITS}")
        entry.require(crops in CROPS and (crops == 1 or fit != "squash"), f"crops must be one of {CROPS}, 1 for squash")
        decision = _decision(entry, labels)
        referral, domain, data = entry.entry("referral"), entry.entry("domain"), entry.entry("data")
        for measure in ("sensitivity", "specificity", "by_label"):
            referral.entry(measure).figure()
        external = _Entry({"evidence": external_evidence(entry.values)})
        return cls(
            name=entry.text("name"),
            version=entry.text("version"),
            file=file,
            sha256=sha256,
            labels=labels,
            image_size=entry.whole("image_size"),
            fit=fit,
            crops=crops,
            outputs=outputs,
            decision=decision,
            referral=referral.values,
            domain_thresholds={name: domain.entry(name).number("threshold") for name in DOMAIN_SCORES},
            evidence=entry.rows("evidence", EVIDENCE) + external.rows("evidence", EVIDENCE),
            synthetic=data.flag("synthetic"),
            content=entry.values,
        )


def external_evidence(content: dict) -> list[dict]:
    """The evidence of a manifest's evaluations on external images, which come after the export.

    Raises ModelError where ``evaluation`` is not what an export and ``skinlesion external`` write.
    """
    evaluation = content.get("evaluation", {})
    records = evaluation.get("external", []) if isinstance(evaluation, dict) else None
    if not isinstance(records, list) or not all(
        isinstance(record, dict) and isinstance(record.get("evidence", []), list) for record in records
    ):
        raise ModelError("evaluation.external must be a list of JSON objects, each with a list of evidence")
    return [row for record in records for row in record.get("evidence", [])]


class _Invalid(Exception):
    """One thing wrong with a manifest; becomes a ModelError that also names the file."""


class _Entry:
    """Typed reading of one JSON object; ``where`` prefixes the names in messages."""

    def __init__(self, values: object, where: str = ""):
        if not isinstance(values, dict):
            raise _Invalid(f"{where or 'the manifest'} must be a JSON object")
        self.values = values
        self.where = f"{where}." if where else ""

    @staticmethod
    def require(holds: object, message: str) -> None:
        if not holds:
            raise _Invalid(message)

    def _get(self, name: str, kind: type | tuple, wanted: str):
        self.require(name in self.values, f"{self.where}{name} is missing")
        value = self.values[name]
        fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
        self.require(fits, f"{self.where}{name} must be {wanted}, not {value!r}")
        return value

    def text(self, name: str) -> str:
        return self._get(name, str, "text")

    def whole(self, name: str) -> int:
        return self._get(name, int, "a whole number")

    def flag(self, name: str) -> bool:
        return self._get(name, bool, "true or false")

    def number(self, name: str) -> float:
        value = float(self._get(name, (int, float), "a number"))
        self.require(math.isfinite(value), f"{self.where}{name} must be finite")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        values = self._get(name, list, "a list of texts")
        self.require(all(isinstance(value, str) for value in values), f"{self.where}{name} must be a list of texts")
        return tuple(values)

    def entry(self, name: str) -> _Entry:
        return _Entry(self._get(name, dict, "a JSON object"), f"{self.where}{name}")

    def optional(self, name: str) -> float | None:
        """A number, or None where the entry is null."""
        self.require(name in self.values, f"{self.where}{name} is missing")
        return None if self.values[name] is None else self.number(name)

    def rows(self, name: str, counts: tuple[str, ...]) -> list[dict]:
        """A list of objects with ``source``, ``part`` and these counts each."""
        rows = self._get(name, list, "a list")
        for values in rows:
            row = _Entry(values, f"{self.where}{name}")
            for key in ("source", "part"):
                row.text(key)
            for key in counts:
                row.whole(key)
        return rows

    def vector(self, name: str, labels: LabelSet) -> np.ndarray:
        entry = self.entry(name)
        self.require(set(entry.values) == set(labels.codes), f"{self.where}{name} must have one value a label")
        return np.array([entry.number(code) for code in labels.codes])

    def figure(self) -> None:
        """Check ``{"value", "low", "high", "n"}``; the first three are null where nothing could be measured."""
        self.whole("n")
        for name in ("value", "low", "high"):
            if self.values.get(name, math.nan) is not None:
                self.number(name)


def _decision(entry: _Entry, labels: LabelSet) -> Decision:
    referral = entry.entry("referral")
    temperature, threshold, borderline = (
        entry.number("temperature"), referral.number("threshold"), referral.number("borderline"),
    )  # fmt: skip
    entry.require(temperature > 0, "temperature must be above 0")
    entry.require(0 <= borderline <= threshold <= 1, "referral: 0 <= borderline <= threshold <= 1 must hold")
    prior, weights = entry.vector("prior", labels), entry.vector("decision_weights", labels)
    entry.require(prior.min() >= 0 and abs(prior.sum() - 1) < 1e-3, "prior must be no less than 0 and sum to 1")
    entry.require(weights.min() > 0, "decision_weights must be positive")
    level, thresholds = _prediction_set(entry, labels)
    return Decision(
        labels=labels,
        temperature=temperature,
        prior=prior,
        prior_shift=entry.vector("prior_shift", labels),
        weights=weights,
        tau=entry.number("decision_tau"),
        referral_threshold=threshold,
        borderline=borderline,
        melanoma_level=entry.optional("melanoma_level"),
        set_level=level,
        set_thresholds=thresholds,
    )


def _prediction_set(entry: _Entry, labels: LabelSet) -> tuple[float | None, np.ndarray | None]:
    """Level and thresholds; a class without a threshold (null) is always in the set."""
    entry.require("prediction_set" in entry.values, "prediction_set is missing")
    if entry.values["prediction_set"] is None:
        return None, None
    sets = entry.entry("prediction_set")
    thresholds = sets.entry("thresholds")
    entry.require(set(thresholds.values) == set(labels.codes), "prediction_set.thresholds must have one value a label")
    return sets.number("level"), np.array([thresholds.optional(code) or 0.0 for code in labels.codes])


def _missing(folder: Path, *, shipped: bool) -> str:
    if shipped:
        return "no model is shipped with this copy; make one with `make reports`, then use `--model reports/demo/model`"
    return (
        f"there is no model in {folder} (no {FILE}); a run leaves one in its model folder: "
        "make one with `make reports`, then use `--model reports/demo/model`"
    )
