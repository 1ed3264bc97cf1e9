"""The results of one upload as files to save, inside the page: nothing of them stays here."""

from __future__ import annotations

import csv
import io
import json

from app.pictures import data_url
from app.web.uploads import Upload
from skinlesion.serving.manifest import Manifest
from skinlesion.serving.predictor import Prediction

#: Columns of the CSV beside names, probabilities and scores.
VALUES = (
    "referral", "malignant_probability", "label", "notices", "prediction_set", "domain_score", "model_sha256",
)  # fmt: skip
Results = list[tuple[Upload, Prediction | None]]


def links(results: Results, lesions: dict[str, Prediction], manifest: Manifest) -> dict[str, str]:
    """``json`` and ``csv`` as ``data:`` URLs; ``lesions`` are the averages by the lesion's name."""
    return {
        "json": data_url("application/json;charset=utf-8", _json(results, lesions, manifest).encode()),
        "csv": data_url("text/csv;charset=utf-8", _csv(results, lesions, manifest).encode()),
    }


def _json(results: Results, lesions: dict[str, Prediction], manifest: Manifest) -> str:
    """As from the API, with each image's name and lesion, and the averages."""
    content = {
        "model": manifest.identity,
        "predictions": [
            {
                "image": upload.name,
                "lesion": upload.lesion,
                **(prediction.to_dict() if prediction else {"error": str(upload.error)}),
            }
            for upload, prediction in results
        ],
        "lesions": [{"lesion": name, **prediction.to_dict()} for name, prediction in lesions.items()],
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def _csv(results: Results, lesions: dict[str, Prediction], manifest: Manifest) -> str:
    """A row per image, then one per lesion with several; names as text, which spreadsheets would else compute."""
    codes = manifest.labels.codes
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(
        ["image", "lesion_id", *VALUES, *(f"{kind}_{code}" for kind in ("p", "score") for code in codes), "error"]
    )
    for upload, prediction in results:
        error = str(upload.error or "")
        writer.writerow([_plain(upload.name), _plain(upload.lesion), *_values(prediction, manifest), error])
    for name, prediction in lesions.items():
        writer.writerow(["", _plain(name), *_values(prediction, manifest), ""])
    return text.getvalue()


def _values(prediction: Prediction | None, manifest: Manifest) -> list:
    codes = manifest.labels.codes
    if prediction is None:
        return [""] * (len(VALUES) + 2 * len(codes))
    fields = prediction.to_dict() | {"model_sha256": manifest.sha256}
    values = [fields[name] for name in VALUES]
    return [
        *(" ".join(value) if isinstance(value, list) else value for value in values),
        *(prediction.probabilities[code] for code in codes),
        *(prediction.scores[code] for code in codes),
    ]


def _plain(name: str) -> str:
    return f"'{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else name
