"""The pages: a form and its results, and what there is to read. All of them work without JavaScript."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path

from flask import Blueprint, current_app, g, render_template, request
from markupsafe import Markup

from app import examples, present
from app.web import markdown, openapi, uploads
from app.web.problems import status_of
from app.words import in_words, text
from skinlesion.core import images
from skinlesion.core.errors import ImageError
from skinlesion.serving.manifest import PRETRAINED, Manifest
from skinlesion.serving.predictor import Prediction, mean_prediction

blueprint = Blueprint("pages", __name__, template_folder="../templates")  # those that the front ends share

#: What the header leads to, as (endpoint, words).
NAVIGATION = (
    ("pages.form", "Try it"),
    ("device.page", "On your device"),
    ("pages.about", "How it works"),
    ("pages.api", "API"),
    ("pages.privacy", "Privacy"),
)


@blueprint.app_context_processor
def wording() -> dict:
    return {
        "navigation": NAVIGATION,
        "research": text("disclaimer"),
        "synthetic": text("synthetic"),
        "explanation": text("explanation"),
    }


blueprint.add_app_template_global(text, "t")
blueprint.add_app_template_filter(in_words)
blueprint.add_app_template_filter(present.percent, "percent")
blueprint.add_app_template_filter(markdown.inline, "inline")
blueprint.add_app_template_filter(openapi.kind, "kind")


@blueprint.get("/")
def form():
    return _form()


@blueprint.post("/")
def classify():
    """Every image gets its prediction or its error; the status is that of the first error."""
    try:
        received = _received()
    except ImageError:
        return _form("Choose at least one image first."), 400
    manifest = g.predictor.manifest
    predictions = g.predictor.predict([upload.frame for upload in received if upload.error is None])
    rest = iter(predictions)
    results = [(upload, None if upload.error else next(rest)) for upload in received]
    combine = "combine" in request.form and len(predictions) > 1
    average = mean_prediction(predictions, manifest) if combine else None
    page = render_template(
        "result.html",
        results=[_result(upload, prediction, manifest) for upload, prediction in results],
        average=average and present.result(text("average", n=len(predictions)), None, average, manifest),
        download=_download(results, average, manifest),
        predicted_at=datetime.now(UTC),
    )
    return page, next((status_of(upload.error) for upload in received if upload.error), 200)


@blueprint.get("/about")
def about():
    """How a prediction is made, and the card of the model that makes it."""
    manifest = g.predictor.manifest
    return render_template(
        "about.html",
        card=_card(),
        measured=present.measured(manifest),
        frame=images.seen(manifest.fit, manifest.crops),
    )


@blueprint.get("/api")
def api():
    document = openapi.describe(g.predictor.manifest.labels, current_app.config)
    return render_template("api.html", document=document, **document["components"])


@blueprint.get("/privacy")
def privacy():
    return render_template("privacy.html")


def _received() -> list[uploads.Upload]:
    """The example that was chosen, as if it had been uploaded; else what was uploaded."""
    for example in examples.EXAMPLES:
        if example.name == request.form.get("example"):
            frame = images.read(examples.FOLDER / example.file)
            return [uploads.Upload(text("example", name=example.drawn_as), frame=frame)]
    return uploads.receive()


def _result(upload: uploads.Upload, prediction: Prediction | None, manifest: Manifest) -> present.Result:
    if prediction is None:
        return present.Result(upload.name, error=str(upload.error))
    return present.result(upload.name, upload.frame, prediction, manifest)


def _download(
    results: list[tuple[uploads.Upload, Prediction | None]], average: Prediction | None, manifest: Manifest
) -> str:
    """The results as a ``data:`` URL: as from the API, with each image's name, and the average if wanted."""
    content = {
        "model": manifest.identity,
        "predictions": [
            {"image": upload.name, **(prediction.to_dict() if prediction else {"error": str(upload.error)})}
            for upload, prediction in results
        ],
    }
    if average:
        content["average"] = average.to_dict()
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    return "data:application/json;base64," + base64.b64encode(text.encode()).decode()


def _card() -> Markup | None:
    """The card in the model's folder; None where it has none, for predictions need none."""
    path = Path(current_app.config["MODEL"] or PRETRAINED).expanduser() / "MODEL_CARD.md"
    return markdown.render(path.read_text(encoding="utf-8")) if path.exists() else None


def _form(error: str | None = None) -> str:
    limits = {
        "formats": images.format_names(),
        "accept": ",".join(f"image/{name.lower()}" for name in images.FORMATS),
        "bytes": images.MAX_BYTES,
        "megabytes": images.MAX_BYTES // 2**20,
        "count": current_app.config["MAX_IMAGES"],
    }
    return render_template("index.html", error=error, limits=limits, examples=examples.EXAMPLES)
