"""The page: a form, and the answer to it. Works without JavaScript."""

from __future__ import annotations

from flask import Blueprint, current_app, g, render_template

from app import present, uploads
from app.problems import status_of
from skinlesion import images
from skinlesion.errors import ImageError

blueprint = Blueprint("pages", __name__)


@blueprint.app_context_processor
def wording() -> dict:
    return {"research": present.RESEARCH, "synthetic": present.SYNTHETIC, "explanation": present.SCORES}


@blueprint.app_template_filter("percent")
def percent(share: float) -> str:
    return present.percent(share)


@blueprint.get("/")
def form():
    return _form()


@blueprint.post("/")
def answer():
    """Every image gets its answer or its error; the status is that of the first error."""
    try:
        received = uploads.receive()
    except ImageError:
        return _form("Choose at least one image first."), 400
    predictions = iter(g.predictor.predict([upload.frame for upload in received if upload.error is None]))
    results = [
        present.Result(upload.name, error=str(upload.error))
        if upload.error
        else present.result(upload.name, upload.frame, next(predictions), g.predictor.manifest)
        for upload in received
    ]
    status = next((status_of(upload.error) for upload in received if upload.error), 200)
    return render_template("result.html", results=results), status


def _form(error: str | None = None) -> str:
    limits = {
        "formats": ", ".join(images.FORMATS),
        "accept": ",".join(f"image/{name.lower()}" for name in images.FORMATS),
        "megabytes": images.MAX_BYTES // 2**20,
        "count": current_app.config["MAX_IMAGES"],
    }
    return render_template("index.html", error=error, limits=limits)
