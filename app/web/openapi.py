"""The API's description, OpenAPI 3.1 (spec.openapis.org/oas/v3.1.0)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus

import skinlesion
from app.web.problems import CODES
from app.web.uploads import NAME
from app.words import text
from skinlesion.core import framing, images
from skinlesion.core.taxonomy import CONFIRMED, HAM7, ISIC8, LabelSet
from skinlesion.decision import NOTICES, REFERRALS

TYPES = tuple(f"image/{name.lower()}" for name in images.FORMATS)

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
            "description": text("openapi.lead"),
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": prefix or "/"}],
        "paths": {
            "/api/v1/predict": {"post": _predict(config, guarded) | {"security": security}},
            "/api/v1/model": _get(
                "model", text("openapi.model"), _json(text("openapi.manifest"), _ref("ModelDetails")), guarded, security
            ),
            "/api/v1/openapi.json": _get(
                "describe", text("openapi.document"), _json(text("openapi.description"), {"type": "object"}), limited
            ),
            "/healthz": _get("health", text("openapi.health"), _json(text("openapi.alive"), _ref("Health"))),
        },
        "components": {
            "schemas": _schemas(labels),
            "responses": {_name(status): _problem(status) for status in sorted({*CODES.values()})},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": text("openapi.token")}},
        },
    }


def _get(name: str, summary: str, response: dict, statuses: tuple[int, ...] = (), security: Sequence = ()) -> dict:
    responses = {"200": response, **_refs(*statuses)}
    return {"get": {"operationId": name, "summary": summary, "security": list(security), "responses": responses}}


def _predict(config: Mapping, guarded: tuple[int, ...]) -> dict:
    files = {
        "type": "array",
        "minItems": 1,
        "maxItems": config["MAX_IMAGES"],
        "items": {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"},
        "description": text(
            "openapi.files",
            formats=images.format_names(),
            bytes=f"{images.MAX_BYTES:,}",
            pixels=f"{config['MAX_PIXELS']:,}",
            all_bytes=f"{config['MAX_CONTENT_LENGTH']:,}",
            all_pixels=f"{config['MAX_REQUEST_PIXELS']:,}",
            side=images.MIN_SIDE,
        ),
    }
    body = {"type": "object", "required": ["image"], "properties": {"image": files}}
    form = {"schema": body, "encoding": {"image": {"contentType": ", ".join(TYPES)}}}
    return {
        "operationId": "predict",
        "summary": text("openapi.predict"),
        "description": text("openapi.all_or_none", longest=NAME),
        "requestBody": {"required": True, "content": {"multipart/form-data": form}},
        "responses": {
            "200": _json(text("openapi.predictions"), _ref("PredictResponse")),
            **_refs(403, 413, 415, 422, 503, *guarded),
        },
    }


def _schemas(labels: LabelSet) -> dict:
    share = {"type": "number", "minimum": 0, "maximum": 1}
    shares = _object(dict.fromkeys(labels.codes, share)) | {"description": text("openapi.shares")}
    string = {"type": "string"}
    sha256 = {"type": "string", "pattern": "^[0-9a-f]{64}$", "description": text("openapi.sha256")}
    return {
        "PredictResponse": _object(
            {"model": _ref("Model"), "predictions": {"type": "array", "items": _ref("Prediction")}}
        ),
        "Health": _object({"status": {"const": "ok"}, "model": _ref("Model")}),
        "Model": _object({"name": string, "version": string, "sha256": sha256}),
        "ModelDetails": _model(labels, shares, sha256),
        "Prediction": _object(
            {
                "label": {"enum": list(labels.codes), "description": text("openapi.label")},
                "name": {"enum": list(labels.names)},
                "probability": share | {"description": text("openapi.probability")},
                "probabilities": shares,
                "scores": shares,
                "malignant_probability": share,
                "referral": {"enum": list(REFERRALS), "description": text("openapi.referral")},
                "in_domain": {"type": "boolean", "description": text("openapi.in_domain")},
                "domain_score": {"type": "number", "description": text("openapi.domain_score")},
                "notices": {"type": "array", "items": {"enum": list(NOTICES)}, "description": text("openapi.notices")},
                "prediction_set": {
                    "type": ["array", "null"],
                    "items": {"enum": list(labels.codes)},
                    "description": text("openapi.prediction_set"),
                },
            },
            optional={"similar": {"type": "array", "items": _ref("Case"), "description": text("openapi.similar")}},
        ),
        "Case": _object(
            dict.fromkeys(("image_id", "lesion_id", "source"), string)
            | {
                "label": {"enum": sorted({*HAM7.codes, *ISIC8.codes}), "description": text("openapi.diagnosis")},
                "confirmed": {"enum": list(CONFIRMED), "description": text("openapi.confirmed")},
                "similarity": {"type": "number", "description": text("openapi.similarity")},
                "name": string,
            }
        ),
        "Problem": _object(
            {
                "type": string,
                "title": string,
                "status": {"enum": sorted({*CODES.values()})},
                "code": {"enum": list(CODES), "description": text("openapi.code")},
                "detail": string | {"description": text("openapi.detail")},
            },
            optional={"index": {"type": "integer", "minimum": 0, "description": text("openapi.index")}},
        ),
    }


def _model(labels: LabelSet, shares: dict, sha256: dict) -> dict:
    string, whole, group = {"type": "string"}, {"type": "integer", "minimum": 1}, {"type": "object"}
    return _object(
        {
            "name": string,
            "version": string,
            "sha256": sha256,
            "image_size": whole | {"description": text("openapi.image_size")},
            "fit": {"enum": list(framing.FITS), "description": text("openapi.fit")},
            "outputs": {"type": "array", "items": string},
            "labels": {"const": list(labels.codes)},
            "prior": shares | {"description": text("openapi.prior")},
            "referral": group | {"description": text("openapi.referral_figures")},
            "melanoma_level": {"type": ["number", "null"], "description": text("openapi.melanoma_level")},
            "domain": group | {"description": text("openapi.domain")},
            "evidence": {"type": "array", "items": group, "description": text("openapi.evidence")},
            "prediction_set": {"type": ["object", "null"], "description": text("openapi.sets")},
            "data": group | {"description": text("openapi.data")},
        },
        optional={
            "created": string,
            "bytes": whole,
            "architecture": string,
            "views": whole | {"description": text("openapi.views")},
            "crops": whole | {"description": text("openapi.crops")},
            "measured_on": string,
            "metrics": group | {"description": text("openapi.metrics")},
            "licence": string,
        },
    )


def kind(schema: dict) -> str:
    """What a schema admits, in a few words for the API page."""
    if "const" in schema:
        return repr(schema["const"])
    if "enum" in schema:
        return text("openapi.one_of", values=", ".join(map(str, schema["enum"])))
    if isinstance(schema.get("type"), list):
        return text("openapi.or").join(kind(schema | {"type": one}) for one in schema["type"])
    if schema.get("type") == "array":
        return text("openapi.array", items=kind(schema["items"]))
    words = schema["$ref"].rpartition("/")[2] if "$ref" in schema else schema["type"]
    if "maximum" in schema:
        return text("openapi.between", kind=words, least=schema["minimum"], most=schema["maximum"])
    return text("openapi.at_least", kind=words, least=schema["minimum"]) if "minimum" in schema else words


def _problem(status: int) -> dict:
    meanings = "; ".join(
        f"`{code}`: {text(f'problem.{code}').rstrip('.')}" for code, of in CODES.items() if of == status
    )
    response = _json(meanings, _ref("Problem"), "application/problem+json")
    if status in (429, 503):
        response["headers"] = {
            "Retry-After": {"description": text("openapi.seconds"), "schema": {"type": "integer", "minimum": 1}}
        }
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


def _json(meaning: str, schema: dict, media: str = "application/json") -> dict:
    return {"description": meaning, "content": {media: {"schema": schema}}}
