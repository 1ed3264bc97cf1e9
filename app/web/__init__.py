"""The Flask page and its API, thin over ``skinlesion.serving``; ``python -m app.web`` serves both."""

from __future__ import annotations

import logging
import os
from importlib.util import find_spec

from app import end_without

if find_spec("flask") is None:
    end_without("flask")

from flask import Flask, g
from werkzeug.middleware.proxy_fix import ProxyFix

from app.web.shared_predictor import SharedPredictor
from skinlesion.core import images
from skinlesion.core.machine import cores
from skinlesion.serving.neighbours import Neighbours
from skinlesion.serving.predictor import Predictor

MOST_WORKERS = 8  # each may need 700 MB for the largest request


def create_app(test_config: dict | None = None) -> Flask:
    """Make the application; the model is loaded here, so that a bad one stops the start and not a request.

    ``test_config`` replaces values of the configuration, such as ``MODEL``, a model folder, and ``HOST``, the address
    listened on. Raises ModelError if there is no model, or it cannot be trusted; likewise the index, where one is
    named. Raises ConfigError if the environment asks for something impossible.
    """
    # Not at the top: they load the words, and a language that does not exist is an error of the start.
    from app.device.page import SITE
    from app.web import api, body_limits, device, pages, problems, security, settings, uploads

    app = Flask(__name__, static_folder="../static")
    app.request_class = uploads.MemoryRequest
    app.config.from_mapping(
        MODEL=None,  # the shipped model
        THREADS=None,  # that one prediction computes with; None: as many as are free
        WORKERS=min(cores(), MOST_WORKERS),  # uploads that are predicted at once
        QUEUE=32,  # uploads that wait for a worker
        MAX_IMAGES=10,  # a request
        MAX_PIXELS=25_000_000,  # an image: 24 megapixels, as cameras have them; it takes up to 600 MB to predict
        MAX_REQUEST_PIXELS=60_000_000,  # all images of a request
        MAX_CONTENT_LENGTH=3 * images.MAX_BYTES + 2**20,  # bytes a request; the last MiB is for what wraps the files
        MAX_FORM_PARTS=100,  # more than MAX_IMAGES, so that who sends too many images reads how many may be sent
        INDEX=None,  # a folder of similar cases
        SITE=SITE,
    )
    chosen = {"HOST": "127.0.0.1", **(test_config or {})}
    app.config.from_mapping(settings.from_environment(os.environ, chosen["HOST"]))
    app.config.from_mapping(chosen)
    app.json.sort_keys = False  # type: ignore[attr-defined]  # the contract's order
    logging.getLogger("PIL").setLevel(logging.WARNING)  # its debug lines describe the image
    model, threads = app.config["MODEL"], app.config["THREADS"]
    predictor = SharedPredictor(model) if threads is None else Predictor.load(model, threads=threads)

    similar = Neighbours.load(app.config["INDEX"], predictor.manifest) if app.config["INDEX"] else None

    @app.before_request
    def offer_predictor() -> None:
        g.predictor, g.similar = predictor, similar

    @app.context_processor
    def offer_manifest() -> dict:
        return {"manifest": predictor.manifest}

    if proxies := app.config["PROXIES"]:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=proxies, x_proto=proxies, x_host=proxies, x_prefix=proxies
        )
    for part in (pages, api, device):
        app.register_blueprint(part.blueprint)
    problems.init_app(app)
    security.init_app(app)
    body_limits.init_app(app)  # last, for it reads the body
    return app
