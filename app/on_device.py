"""The page that answers on the visitor's own device: the files that ``make site`` built, or how to get them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from flask import Blueprint, Response, abort, current_app, g, render_template, request, send_from_directory

from app import present
from app.security import HEADERS
from skinlesion.serving.manifest import Manifest

blueprint = Blueprint("device", __name__, url_prefix="/device")

SOURCES = Path(__file__).resolve().parent / "device"

#: Where ``make site`` puts the page.
SITE = Path(__file__).resolve().parents[1] / "build" / "site"

#: In the page's folder, what its answers are made with.
MODEL = "model.json"

#: In the page, where a server's own navigation goes.
NAVIGATION = "<!-- navigation -->"

#: What the page may do: run its own scripts and WebAssembly, and ask nobody but the server it came from.
RULES = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; "
    "style-src 'self'; img-src 'self' blob:; manifest-src 'self'; form-action 'none'; base-uri 'none'"
)
PROTECTION = {
    "Content-Security-Policy": f"{RULES}; frame-ancestors 'none'",
    # With the opener policy that every page has, it isolates the page from other sites, so that it may use threads.
    "Cross-Origin-Embedder-Policy": "require-corp",
}

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


def node_needed() -> str:
    """The oldest version of Node that builds the page."""
    package = json.loads((SOURCES / "package.json").read_text(encoding="utf-8"))
    return package["engines"]["node"].removeprefix(">=")


def kept_headers() -> dict[str, str]:
    """The headers that the page's service worker gives to what it keeps, wherever the page was served from."""
    return {name: text for name, text in (HEADERS | PROTECTION).items() if name != "Cache-Control"}


def model_facts(manifest: Manifest) -> dict:
    """Which model it is, what makes an answer of its outputs, and puts it into words; ``Model`` in ``device/types.js``.

    A page that knows other facts than the app's model gives other answers than the app.
    """
    return {
        "name": manifest.name,
        "version": manifest.version,
        "outputs": list(manifest.outputs),
        "labels": [asdict(diagnosis) for diagnosis in manifest.labels],
        "image_size": manifest.image_size,
        "fit": manifest.fit,
        "crops": manifest.crops,
        "temperature": manifest.temperature,
        "prior_shift": manifest.prior_shift.tolist(),
        "decision_weights": manifest.decision_weights.tolist(),
        "threshold": manifest.referral["threshold"],
        "domain_threshold": manifest.domain_threshold,
        "own_domain": manifest.domain_method != "energy",
        "measured": present.measured(manifest),
    }


@blueprint.get("/")
def page():
    """The page with this app's navigation, or what to do to have it: it must be there, and answer as the app does."""
    site = Path(current_app.config["SITE"])
    built = json.loads((site / MODEL).read_text(encoding="utf-8")) if (site / MODEL).exists() else None
    if built is None or not model_facts(g.predictor.manifest).items() <= built.items():
        return render_template("device.html", node=node_needed(), built=built)
    content = (site / "index.html").read_text(encoding="utf-8")
    return _own(Response(content.replace(NAVIGATION, render_template("_navigation.html"))))


@blueprint.get("/<path:name>")
def file(name: str):
    """A file of the page, compressed where the browser takes that."""
    site = Path(current_app.config["SITE"])
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
    response.headers.update(PROTECTION)
    response.headers["Cache-Control"] = "no-cache"  # keep, but ask whether it is still the newest
    return response
