"""The page that predicts on the visitor's own device: the files that ``make site`` built, or how to get them."""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint, Response, abort, current_app, g, render_template, request, send_from_directory

from app.device.page import NAVIGATION, built_model, node_needed, up_to_date
from app.headers import DEVICE_HEADERS

blueprint = Blueprint("device", __name__, url_prefix="/device")

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".jpg": "image/jpeg",
    ".onnx": "application/octet-stream",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
}
PACKED = (("br", ".br"), ("gzip", ".gz"))


def offered() -> bool:
    """Whether the page is built, and gives the predictions of this server's model."""
    return up_to_date(_site(), g.predictor.manifest)


def _site() -> Path:
    return Path(current_app.config["SITE"])


@blueprint.get("/")
def page():
    """The page with this app's navigation, or what to do to have it: it must be there, and predict as the app does."""
    if not offered():
        return render_template("device.html", node=node_needed(), built=built_model(_site()))
    content = (_site() / "index.html").read_text(encoding="utf-8")
    return _own(Response(content.replace(NAVIGATION, render_template("_navigation.html"))))


@blueprint.get("/<path:name>")
def file(name: str):
    """A file of the page, compressed where the browser takes that."""
    site = _site()
    media = TYPES.get(Path(name).suffix)
    if media is None:  # packed files have no address of their own
        abort(404)
    for encoding, suffix in PACKED:
        if encoding in request.accept_encodings and (site / f"{name}{suffix}").is_file():
            response = send_from_directory(site, name + suffix, mimetype=media, download_name=Path(name).name)
            response.headers["Content-Encoding"] = encoding
            break
    else:
        response = send_from_directory(site, name, mimetype=media)
    response.vary.add("Accept-Encoding")
    return _own(response)


def _own(response: Response) -> Response:
    response.headers.update(DEVICE_HEADERS)
    response.headers["Cache-Control"] = "no-cache"  # keep, but ask whether it is still the newest
    return response
