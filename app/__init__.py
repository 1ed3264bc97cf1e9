"""The Flask page and its API, thin over ``skinlesion.serving``; ``python -m app`` serves both."""

from __future__ import annotations

from flask import Flask, g

from app import api, pages, problems, security, uploads
from skinlesion import images
from skinlesion.serving.predictor import Predictor


def create_app(test_config: dict | None = None) -> Flask:
    """Make the application; the model is loaded here, so that a bad one stops the start and not a request.

    Parameters
    ----------
    test_config : dict
        Replaces values of the configuration, ``MODEL`` (a model folder) among them.

    Raises
    ------
    ModelError
        If there is no model, or it cannot be trusted.
    """
    app = Flask(__name__)
    app.request_class = uploads.MemoryRequest
    app.config.from_mapping(
        MODEL=None,  # the shipped model
        THREADS=0,  # that one prediction computes with; 0 = one a core
        MAX_IMAGES=10,  # a request
        MAX_CONTENT_LENGTH=3 * images.MAX_BYTES + 2**20,  # bytes a request; the last MiB is for what wraps the files
        MAX_FORM_PARTS=20,
    )
    app.config.from_mapping(test_config or {})
    app.json.sort_keys = False  # the contract's order
    predictor = Predictor.load(app.config["MODEL"], threads=app.config["THREADS"])

    @app.before_request
    def offer_predictor() -> None:
        g.predictor = predictor

    @app.context_processor
    def offer_manifest() -> dict:
        return {"manifest": predictor.manifest}

    app.register_blueprint(pages.blueprint)
    app.register_blueprint(api.blueprint)
    problems.init_app(app)
    security.init_app(app)
    return app
