"""The API's description, OpenAPI 3.1 (spec.openapis.org/oas/v3.1.0)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import skinlesion
from app.web.problems import CODES
from skinlesion.core import framing, images
from skinlesion.core.taxonomy import CONFIRMED, HAM7, ISIC8, LabelSet
from skinlesion.decision import NOTICES, REFERRALS

TYPES = tuple(f"image/{name.lower()}" for name in images.FORMATS)

CASES = "The most similar images of other lesions in the server's index; only where it has one, empty without advice."

#: Statuses that any address may respond with, whatever was requested.
ANYWHERE = (400, 500)


def describe(labels: LabelSet, config: Mapping, prefix: str = "") -> dict:
    """The whole document, for a model with ``labels`` and an app with this configuration under a path prefix."""
    security: list[dict] = [{"token": []}] if config["TOKENS"] else []
    limited = (429,) if config["RATE"] else ()
    guarded = (401, *limited) if security else limited
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Skin Lesion Lab",
            "version": skinlesion.__version__,
            "description": "Classifies skin lesions in dermatoscopic images. Research software, not a medical device. "
            "Errors are problem details (RFC 9457) with a `code` that does not change.",
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": prefix or "/"}],
        "paths": {
            "/api/v1/predict": {"post": _predict(config, guarded) | {"security": security}},
            "/api/v1/model": {
                "get": {
                    "operationId": "model",
                    "summary": "The model: labels, referral threshold, figures and terms",
                    "security": security,
                    "responses": {"200": _json("The manifest's public part", _ref("ModelDetails")), **_refs(*guarded)},
                }
            },
            "/api/v1/openapi.json": {
                "get": {
                    "operationId": "describe",
                    "summary": "This document",
                    "security": [],
                    "responses": {"200": _json("The API's description", {"type": "object"}), **_refs(*limited)},
                }
            },
            "/healthz": {
                "get": {
                    "operationId": "health",
                    "summary": "Whether the server lives, and with which model",
                    "security": [],
                    "responses": {"200": _json("Alive", _ref("Health")), **_refs()},
                }
            },
        },
        "components": {
            "schemas": _schemas(labels),
            "responses": {_name(status): _problem(status) for status in sorted({s for s, _ in CODES.values()})},
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "One of the server's `SKINLESION_TOKENS`; asked for only where it has any.",
                }
            },
        },
    }


def _predict(config: Mapping, guarded: tuple[int, ...]) -> dict:
    files = {
        "type": "array",
        "minItems": 1,
        "maxItems": config["MAX_IMAGES"],
        "items": {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"},
        "description": f"{images.format_names()} files, recognised by their content: up to {images.MAX_BYTES:,} "
        f"bytes and {config['MAX_PIXELS']:,} pixels each, {config['MAX_CONTENT_LENGTH']:,} bytes and "
        f"{config['MAX_REQUEST_PIXELS']:,} pixels together, {images.MIN_SIDE} pixels a side or more, one frame each.",
    }
    body = {"type": "object", "required": ["image"], "properties": {"image": files}}
    form = {"schema": body, "encoding": {"image": {"contentType": ", ".join(TYPES)}}}
    return {
        "operationId": "predict",
        "summary": "Predict one or several dermatoscopic images",
        "description": "All images are predicted or none: the first that cannot be used is given by its `index`.",
        "requestBody": {"required": True, "content": {"multipart/form-data": form}},
        "responses": {
            "200": _json("One prediction an image, in the order sent", _ref("PredictResponse")),
            **_refs(403, 413, 415, 422, 503, *guarded),
        },
    }


def _schemas(labels: LabelSet) -> dict:
    share = {"type": "number", "minimum": 0, "maximum": 1}
    shares = _object(dict.fromkeys(labels.codes, share)) | {"description": "One value a class; they sum to 1."}
    text = {"type": "string"}
    sha256 = {"type": "string", "pattern": "^[0-9a-f]{64}$", "description": "Of the network's file."}
    return {
        "PredictResponse": _object(
            {"model": _ref("Model"), "predictions": {"type": "array", "items": _ref("Prediction")}}
        ),
        "Health": _object({"status": {"const": "ok"}, "model": _ref("Model")}),
        "Model": _object({"name": text, "version": text, "sha256": sha256}),
        "ModelDetails": _model(labels, shares, sha256),
        "Prediction": _object(
            {
                "label": {"enum": list(labels.codes), "description": "The class with the largest score."},
                "name": {"enum": list(labels.names)},
                "probability": share | {"description": "Calibrated probability of `label`."},
                "probabilities": shares,
                "scores": shares,
                "malignant_probability": share,
                "referral": {
                    "enum": list(REFERRALS),
                    "description": "The advice: `refer`, at the referral threshold or by a malignant `label`; "
                    "`borderline`, in the grey zone below it; `below`, which does not rule out cancer; `none`, not a "
                    "dermatoscopic image.",
                },
                "in_domain": {"type": "boolean", "description": "False where the advice is `none`."},
                "domain_score": {"type": "number", "description": "Below the model's threshold: not dermatoscopic."},
                "notices": {"type": "array", "items": {"enum": list(NOTICES)}, "description": "What else to know."},
                "prediction_set": {
                    "type": ["array", "null"],
                    "items": {"enum": list(labels.codes)},
                    "description": "Classes that cannot be left out, at the model's level; null without such sets.",
                },
            },
            optional={"similar": {"type": "array", "items": _ref("Case"), "description": CASES}},
        ),
        "Case": _object(
            dict.fromkeys(("image_id", "lesion_id", "source"), text)
            | {
                "label": {"enum": sorted({*HAM7.codes, *ISIC8.codes}), "description": "The diagnosis."},
                "confirmed": {"enum": list(CONFIRMED), "description": "How the diagnosis was confirmed."},
                "similarity": {"type": "number", "description": "Cosine of the network's features; 1 is alike."},
                "name": text,
            }
        ),
        "Problem": _object(
            {
                "type": text,
                "title": text,
                "status": {"enum": sorted({status for status, _ in CODES.values()})},
                "code": {"enum": list(CODES), "description": "Stable; what programs should look at."},
                "detail": text | {"description": "What is wrong and what to do, for a person."},
            },
            optional={"index": {"type": "integer", "minimum": 0, "description": "Which image, counted from 0."}},
        ),
    }


def _model(labels: LabelSet, shares: dict, sha256: dict) -> dict:
    text, whole, group = {"type": "string"}, {"type": "integer", "minimum": 1}, {"type": "object"}
    return _object(
        {
            "name": text,
            "version": text,
            "sha256": sha256,
            "image_size": whole | {"description": "Side of the network's input, in pixels; images may have any size."},
            "fit": {"enum": list(framing.FITS), "description": "How an image is fitted into that square."},
            "outputs": {"type": "array", "items": text},
            "labels": {"const": list(labels.codes)},
            "prior": shares | {"description": "The class mix that probabilities are calibrated for; it sums to 1."},
            "referral": group | {"description": "The referral threshold, and what was measured there."},
            "melanoma_level": {
                "type": ["number", "null"],
                "description": "Probability of melanoma with the notice `melanoma_not_excluded`.",
            },
            "domain": group | {"description": "Which images count as not dermatoscopic, or from another camera."},
            "evidence": {"type": "array", "items": group, "description": "How the advice did, by source."},
            "prediction_set": {"type": ["object", "null"], "description": "Level and thresholds of the sets."},
            "data": group | {"description": "What the model was trained on."},
        },
        optional={
            "created": text,
            "bytes": whole,
            "architecture": text,
            "views": whole | {"description": "How many flipped or turned views of an image are averaged."},
            "crops": whole | {"description": "How many squares of an image these views are taken of, in turn."},
            "measured_on": text,
            "metrics": group | {"description": "Figures as `value`, `low` and `high` (95% interval), and `n`."},
            "licence": text,
        },
    )


def kind(schema: dict) -> str:
    """What a schema admits, in a few words for the API page."""
    if "const" in schema:
        return repr(schema["const"])
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    if isinstance(schema.get("type"), list):
        return " or ".join(kind(schema | {"type": one}) for one in schema["type"])
    if schema.get("type") == "array":
        return f"array of {kind(schema['items'])}"
    words = schema["$ref"].rpartition("/")[2] if "$ref" in schema else schema["type"]
    if "maximum" in schema:
        return f"{words}, {schema['minimum']} to {schema['maximum']}"
    return f"{words}, {schema['minimum']} or more" if "minimum" in schema else words


def _problem(status: int) -> dict:
    meanings = "; ".join(f"`{code}`: {text.rstrip('.')}" for code, (of, text) in CODES.items() if of == status)
    response = _json(meanings, _ref("Problem"), "application/problem+json")
    if status in (429, 503):
        response["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}}
    if status == 401:
        response["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}}}
    return response


def _refs(*statuses: int) -> dict:
    return {
        str(status): {"$ref": f"#/components/responses/{_name(status)}"} for status in sorted({*ANYWHERE, *statuses})
    }


def _name(status: int) -> str:
    return HTTPStatus(status).name.title().replace("_", "")


def _object(properties: dict, optional: dict | None = None) -> dict:
    return {
        "type": "object",
        "required": list(properties),
        "properties": properties | (optional or {}),
        "additionalProperties": False,
    }


def _ref(name: str) -> dict:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(text: str, schema: dict, media: str = "application/json") -> dict:
    return {"description": text, "content": {media: {"schema": schema}}}
