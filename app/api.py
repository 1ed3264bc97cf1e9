"""The API: predictions, liveness, and its own description."""

from __future__ import annotations

from flask import Blueprint, current_app, g, jsonify

from app import openapi, uploads
from app.problems import problem_response, status_of

blueprint = Blueprint("api", __name__)


@blueprint.post("/api/v1/predict")
def predict():
    """Predict every image of the request, or none: one that cannot be used fails the whole, and is named."""
    received = uploads.receive()
    for index, upload in enumerate(received):
        if upload.error:
            return problem_response(
                status_of(upload.error), f"{upload.name}: {upload.error}", upload.error.code, index=index
            )
    predictions = g.predictor.predict([upload.frame for upload in received])
    return jsonify(
        model=g.predictor.manifest.identity, predictions=[prediction.to_dict() for prediction in predictions]
    )


@blueprint.get("/healthz")
def health():
    return jsonify(status="ok", model=g.predictor.manifest.identity)


@blueprint.get("/api/v1/openapi.json")
def description():
    return jsonify(openapi.describe(g.predictor.manifest.labels, current_app.config))
