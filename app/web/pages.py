"""The pages: a form and its results, and what there is to read. All of them work without JavaScript."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Blueprint, current_app, g, render_template, request
from markupsafe import Markup

from app import pictures, present, similar
from app.web import device, downloads, markdown, openapi, uploads
from app.web.problems import status_of
from app.words import in_words, section, text
from skinlesion.core import images
from skinlesion.core.errors import ImageError
from skinlesion.serving.manifest import Manifest, model_folder
from skinlesion.serving.predictor import Prediction, mean_prediction

blueprint = Blueprint("pages", __name__, template_folder="../templates")  # those that the front ends share

#: What the header leads to, as (endpoint, name in the words).
NAVIGATION = (
    ("pages.form", "form"),
    ("device.page", "device"),
    ("pages.about", "about"),
    ("pages.api", "api"),
    ("pages.privacy", "privacy"),
)


@blueprint.app_context_processor
def wording() -> dict:
    offered = device.offered()
    return {
        "navigation": [link for link in NAVIGATION if offered or link[0] != "device.page"],
        "on_device": offered,
        "script_words": section("entry"),
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
        return _form(text("entry.missing")), 400
    manifest = g.predictor.manifest
    frames = [upload.frame for upload in received if upload.error is None]
    rest = iter(g.predictor.predict(frames, features=g.similar is not None))
    results = [(upload, None if upload.error else next(rest)) for upload in received]
    lesions = {name: mean_prediction(each, manifest) for name, each in _lesions(results).items()}
    entries = [
        *((f"lesion-{i}", _lesion(name, results, lesions, manifest)) for i, name in enumerate(lesions, 1)),
        *((f"image-{i}", _result(*one, manifest)) for i, one in enumerate(results, 1)),
    ]
    page = render_template(
        "result.html",
        entries=entries,
        count=len(results),
        downloads=any(prediction for _, prediction in results) and downloads.links(results, lesions, manifest),
        predicted_at=datetime.now(UTC),
    )
    return page, next((status_of(upload.error) for upload in received if upload.error), 200)


@blueprint.get("/about")
def about():
    """How a prediction is made, and the card of the model that makes it."""
    manifest = g.predictor.manifest
    seen = "squash" if manifest.fit == "squash" else "centre" if manifest.crops == 1 else "two"
    return render_template(
        "about.html",
        card=_card(),
        evidence=present.evidence(manifest),
        measured=present.measured(manifest),
        frame=text(f"about.seen_{seen}"),
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
    for example in pictures.EXAMPLES:
        if example.name == request.form.get("example"):
            frame = images.read_image(example.path)
            return [uploads.Upload(text("example", name=example.drawn_as), frame=frame)]
    return uploads.receive()


def _lesions(results: list[tuple[uploads.Upload, Prediction | None]]) -> dict[str, list[Prediction]]:
    """The predictions of each lesion that several images show; its name is empty where all images show one."""
    together = "combine" in request.form
    found: dict[str, list[Prediction]] = {}
    for upload, prediction in results:
        if prediction and (together or upload.lesion):
            found.setdefault("" if together else upload.lesion, []).append(prediction)
    return {name: several for name, several in found.items() if len(several) > 1}


def _lesion(name: str, results: list, lesions: dict[str, Prediction], manifest: Manifest) -> present.Result:
    averaged = [prediction for upload, prediction in results if prediction and (not name or upload.lesion == name)]
    title = text("result.lesion" if name else "average", name=name, n=len(averaged))
    return present.result(title, None, lesions[name], manifest, averaged=averaged)


def _result(upload: uploads.Upload, prediction: Prediction | None, manifest: Manifest) -> present.Result:
    if prediction is None:
        return present.Result(upload.name, error=f"{upload.error}.")
    cases = similar.shown(g.similar, prediction, upload.frame, (upload.name, upload.lesion))
    return present.result(upload.name, upload.frame, prediction, manifest, cases)


def _card() -> Markup | None:
    """The card in the model's folder; None where it has none, for predictions need none."""
    path = model_folder(current_app.config["MODEL"]) / "MODEL_CARD.md"
    return markdown.render(path.read_text(encoding="utf-8")) if path.exists() else None


def _form(error: str | None = None) -> str:
    limits = {
        "formats": images.format_names(),
        "accept": ",".join(f"image/{name.lower()}" for name in images.FORMATS),
        "bytes": images.MAX_BYTES,
        "megabytes": images.MAX_BYTES // 2**20,
        "count": current_app.config["MAX_IMAGES"],
    }
    return render_template("index.html", error=error, limits=limits, longest=uploads.NAME, examples=pictures.EXAMPLES)
