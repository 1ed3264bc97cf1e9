"""The API's description, OpenAPI 3.1 (spec.openapis.org/oas/v3.1.0)."""

from __future__ import annotations

from collections.abc import Mapping

import skinlesion
from skinlesion import images
from skinlesion.taxonomy import LabelSet


def describe(labels: LabelSet, limits: Mapping) -> dict:
    """The whole document, for a model with ``labels`` and an app with ``limits`` (its configuration)."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Skin Lesion Lab",
            "version": skinlesion.__version__,
            "description": "Classifies skin lesions in dermatoscopic images. Research software, no medical device.",
        },
        "paths": {
            "/api/v1/predict": {"post": _predict(limits)},
            "/api/v1/openapi.json": {
                "get": {
                    "operationId": "describe",
                    "summary": "This document",
                    "responses": {"200": _json("The API's description", {"type": "object"})},
                }
            },
            "/healthz": {
                "get": {
                    "operationId": "health",
                    "summary": "Whether the server lives, and with which model",
                    "responses": {"200": _json("Alive", _ref("Health"))},
                }
            },
        },
        "components": {"schemas": _schemas(labels)},
    }


def _predict(limits: Mapping) -> dict:
    files = {"type": "array", "minItems": 1, "maxItems": limits["MAX_IMAGES"], "items": {"type": "string"}}
    body = {"type": "object", "required": ["image"], "properties": {"image": files}}
    problems = {
        "400": "No image was sent (code `missing`), or the request is malformed (`bad-request`)",
        "413": f"An image above {images.MAX_BYTES:,} bytes, a request above {limits['MAX_CONTENT_LENGTH']:,} bytes, "
        f"or more than {limits['MAX_IMAGES']} images (`too-large`)",
        "415": f"Not a {', '.join(images.FORMATS)} image (`unsupported-format`)",
        "422": "An image that cannot be used (`unreadable`, `too-many-pixels`, `too-small`, `animated`)",
    }
    return {
        "operationId": "predict",
        "summary": "Predict one or several dermatoscopic images",
        "description": "All images are predicted or none: the first that cannot be used is named by its `index`.",
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": body}}},
        "responses": {
            "200": _json("One prediction an image, in the order sent", _ref("Answer")),
            **{status: _json(text, _ref("Problem"), "application/problem+json") for status, text in problems.items()},
        },
    }


def _schemas(labels: LabelSet) -> dict:
    share = {"type": "number", "minimum": 0, "maximum": 1}
    shares = _object(dict.fromkeys(labels.codes, share)) | {"description": "One value a class; they sum to 1."}
    text = {"type": "string"}
    return {
        "Answer": _object({"model": _ref("Model"), "predictions": {"type": "array", "items": _ref("Prediction")}}),
        "Health": _object({"status": {"const": "ok"}, "model": _ref("Model")}),
        "Model": _object({"name": text, "version": text, "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"}}),
        "Prediction": _object(
            {
                "label": {"enum": list(labels.codes), "description": "The class with the largest score."},
                "name": {"enum": list(labels.names)},
                "probability": share | {"description": "Calibrated probability of `label`."},
                "probabilities": shares,
                "scores": shares,
                "malignant_probability": share,
                "referral": {"enum": ["refer", "watch"]},
                "in_domain": {"type": "boolean", "description": "Whether it looks like the training images."},
                "domain_score": {"type": "number"},
            }
        ),
        "Problem": _object(
            {
                "type": text,
                "title": text,
                "status": {"type": "integer"},
                "code": text | {"description": "Stable; what programs should look at."},
                "detail": text,
            },
            optional={"index": {"type": "integer", "minimum": 0, "description": "Which image, counted from 0."}},
        ),
    }


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
