"""A model folder's ``manifest.json``, read once and checked before anything is predicted."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

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
SUFFICIENT = 4
PRETRAINED = Path(__file__).resolve().parents[1] / "pretrained"


def model_folder(folder: str | Path | None) -> Path:
    """Where a model is: in ``folder``; in the package, as it is shipped, where that is None."""
    return PRETRAINED if folder is None else Path(folder).expanduser()


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
    def sufficient_side(self) -> int:
        """Pixels that suffice for an image's shorter side: what is larger may be decoded at a fraction of its size."""
        return SUFFICIENT * self.image_size

    @property
    def domain_threshold(self) -> float:
        """What :attr:`Prediction.domain_score` must reach to be in domain."""
        return self.domain_thresholds[NOT_DERMATOSCOPIC]

    @classmethod
    def read(cls, folder: str | Path | None = None) -> Manifest:
        """Read ``folder/manifest.json``; the shipped model's where ``folder`` is None.

        Raises ModelError if it is missing, not JSON, or holds anything that predictions cannot be trusted with.
        """
        place = model_folder(folder)
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
                f"{path}: {error}; export the model again: "
                "python run_all.py --run NAME --config reports/NAME/config.json --from 04"
            ) from None

    @classmethod
    def _from_content(cls, content: Any) -> Manifest:
        _check(content, {"format": "a whole number"})
        _need(
            content["format"] == FORMAT,
            f"the model is of format {content['format']}, not {FORMAT}, which has two domain scores",
        )
        _check(content, _FORM)
        labels, outputs = label_set(content["labels"]), content["outputs"]
        _need(set(NEEDED) <= set(outputs) <= set(OUTPUTS), f"outputs must be {', '.join(NEEDED)} and perhaps map")
        _need(Path(content["file"]).name == content["file"], "file must be a plain file name")
        _need(re.fullmatch("[0-9a-f]{64}", content["sha256"]), "sha256 must be 64 hexadecimal digits")
        fit, crops = content["fit"], content["crops"]
        _need(fit in FITS, f"fit must be one of {FITS}")
        _need(crops in CROPS and (crops == 1 or fit != "squash"), f"crops must be one of {CROPS}, 1 for squash")
        external = external_evidence(content)
        _check(external, _FORM["evidence"], "evidence")
        as_written = ("name", "version", "file", "sha256", "image_size", "fit", "crops", "referral")
        return cls(
            **{name: content[name] for name in as_written},
            labels=labels,
            outputs=tuple(outputs),
            decision=_decision(content, labels),
            domain_thresholds={name: float(content["domain"][name]["threshold"]) for name in DOMAIN_SCORES},
            evidence=content["evidence"] + external,
            synthetic=content["data"]["synthetic"],
            content=content,
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


#: What a value must be, in words, and its type.
_KINDS: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "a whole number": (int,),
    "a number": (int, float),
    "a number or null": (int, float, NoneType),
    "true or false": (bool,),
    "a JSON object or null": (dict, NoneType),
}
_VECTORS = ("prior", "prior_shift", "decision_weights")  # one value a label
_FIGURE = {"n": "a whole number"} | dict.fromkeys(("value", "low", "high"), "a number or null")
#: What must be in a manifest besides its format: {name: what}, [what], or one of :data:`_KINDS`.
_FORM: dict[str, Any] = {
    **dict.fromkeys(("name", "version", "file", "sha256", "fit"), "text"),
    "labels": ["text"],
    "outputs": ["text"],
    **dict.fromkeys(("image_size", "crops"), "a whole number"),
    **dict.fromkeys(("temperature", "decision_tau"), "a number"),
    "melanoma_level": "a number or null",
    "prediction_set": "a JSON object or null",
    **{name: {} for name in _VECTORS},
    "referral": {
        **dict.fromkeys(("threshold", "borderline"), "a number"),
        **dict.fromkeys(("sensitivity", "specificity", "by_label"), _FIGURE),
    },
    "domain": {name: {"threshold": "a number"} for name in DOMAIN_SCORES},
    "data": {"synthetic": "true or false"},
    "evidence": [{"source": "text", "part": "text"} | dict.fromkeys(EVIDENCE, "a whole number")],
}


def _need(holds: object, message: str) -> None:
    if not holds:
        raise _Invalid(message)


def _check(value: Any, wanted: Any, where: str = "") -> None:
    """Raise _Invalid, with its name, unless a value of the manifest has the form ``wanted`` (:data:`_FORM`)."""
    if isinstance(wanted, dict):
        _need(isinstance(value, dict), f"{where or 'the manifest'} must be a JSON object")
        for name, inner in wanted.items():
            path = f"{where}.{name}" if where else name
            _need(name in value, f"{path} is missing")
            _check(value[name], inner, path)
    elif isinstance(wanted, list):
        _need(isinstance(value, list), f"{where} must be a list")
        for one in value:
            _check(one, wanted[0], where)
    else:
        fits = isinstance(value, _KINDS[wanted]) and isinstance(value, bool) == (wanted == "true or false")
        _need(fits, f"{where} must be {wanted}, not {value!r}")
        _need(not isinstance(value, float) or math.isfinite(value), f"{where} must be finite")


def _vector(values: Any, name: str, labels: LabelSet, wanted: str = "a number") -> np.ndarray:
    """One number a label, in the labels' order; 0 for null."""
    _need(isinstance(values, dict) and set(values) == set(labels.codes), f"{name} must have one value a label")
    _check(values, dict.fromkeys(labels.codes, wanted), name)
    return np.array([float(values[code] or 0) for code in labels.codes])


def _decision(content: dict, labels: LabelSet) -> Decision:
    temperature, level, sets = content["temperature"], content["melanoma_level"], content["prediction_set"]
    threshold, borderline = content["referral"]["threshold"], content["referral"]["borderline"]
    _need(temperature > 0, "temperature must be above 0")
    _need(0 <= borderline <= threshold <= 1, "referral: 0 <= borderline <= threshold <= 1 must hold")
    prior, shift, weights = (_vector(content[name], name, labels) for name in _VECTORS)
    _need(prior.min() >= 0 and abs(prior.sum() - 1) < 1e-3, "prior must be no less than 0 and sum to 1")
    _need(weights.min() > 0, "decision_weights must be positive")
    if sets is not None:
        _check(sets, {"level": "a number", "thresholds": {}}, "prediction_set")
    return Decision(
        labels=labels,
        temperature=float(temperature),
        prior=prior,
        prior_shift=shift,
        weights=weights,
        tau=float(content["decision_tau"]),
        referral_threshold=float(threshold),
        borderline=float(borderline),
        melanoma_level=None if level is None else float(level),
        set_level=sets and float(sets["level"]),
        # a class without a threshold (null) is always in the set
        set_thresholds=sets and _vector(sets["thresholds"], "prediction_set.thresholds", labels, "a number or null"),
    )


def _missing(folder: Path, *, shipped: bool) -> str:
    if shipped:
        return "no model is shipped with this copy; make one with `make reports`, then use `--model reports/demo/model`"
    if (folder / "model" / FILE).exists():
        return f"there is no model in {folder} itself, but in its folder model; name {folder / 'model'}"
    return (
        f"there is no model in {folder} (no {FILE}); a run leaves one in its model folder: "
        "make one with `make reports`, then use `--model reports/demo/model`"
    )
