"""The API: predictions, the model, liveness, and its own description."""

from __future__ import annotations

from flask import Blueprint, current_app, g, jsonify, request

from app import similar
from app.web import openapi, uploads
from app.web.problems import problem_response, status_of
from skinlesion.serving.predictor import Prediction

blueprint = Blueprint("api", __name__)

#: What the manifest tells everybody. The rest, such as the training's configuration, may name places on a machine.
PUBLIC = (
    "name", "version", "created", "sha256", "bytes", "architecture", "image_size", "fit", "views", "crops", "outputs",
    "labels", "prior", "referral", "melanoma_level", "prediction_set", "domain", "evidence", "measured_on", "metrics",
    "data", "licence",
)  # fmt: skip


@blueprint.post("/api/v1/predict")
def predict():
    """Predict every image of the request, or none: the error tells which one cannot be used."""
    received = uploads.receive()
    for index, upload in enumerate(received):
        if upload.error:
            return problem_response(
                status_of(upload.error), f"{upload.name}: {upload.error}", upload.error.code, index=index
            )
    predictions = g.predictor.predict([upload.frame for upload in received], features=g.similar is not None)
    return jsonify(
        model=g.predictor.manifest.identity,
        predictions=[
            prediction.to_dict() | _similar(upload, prediction)
            for upload, prediction in zip(received, predictions, strict=True)
        ],
    )


def _similar(upload: uploads.Upload, prediction: Prediction) -> dict:
    """Similar cases, where the server has an index of them."""
    if g.similar is None:
        return {}
    cases = similar.find(g.similar, prediction, upload.frame, (upload.name, upload.lesion))
    return {"similar": [similar.to_dict(g.similar, case) for case in cases]}


@blueprint.get("/api/v1/model")
def model():
    """The model: labels, referral threshold, figures and terms."""
    content = g.predictor.manifest.content
    return jsonify({name: content[name] for name in PUBLIC if name in content})


@blueprint.get("/healthz")
def health():
    return jsonify(status="ok", model=g.predictor.manifest.identity)


@blueprint.get("/api/v1/openapi.json")
def description():
    return jsonify(openapi.describe(g.predictor.manifest.labels, current_app.config, request.root_path))
