"""Errors: RFC 9457 problem details for programs, a page for people."""

from __future__ import annotations

from http import HTTPStatus

from flask import Flask, Response, jsonify, render_template, request
from werkzeug.exceptions import HTTPException

from skinlesion.core.errors import ImageError

#: Every code that a problem can carry: its HTTP status, and what it means. The first of a status stands for the status.
CODES = {
    "bad-request": (400, "The request is malformed."),
    "missing": (400, "No image was sent in the multipart field `image`."),
    "untrusted-host": (400, "The server does not accept this host name."),
    "unauthorized": (401, "The bearer token is missing or wrong."),
    "forbidden": (403, "A browser sent the request from another web site."),
    "not-found": (404, "There is nothing at this address."),
    "method-not-allowed": (405, "This address does not take this method; `Allow` names those it takes."),
    "too-large": (413, "An image has too many bytes, the request has, or it holds too many images."),
    "unsupported-format": (415, "The content is none of the image formats that are accepted."),
    "unreadable": (422, "The image is damaged, cut short, or empty."),
    "too-many-pixels": (422, "The image has too many pixels, or the images of the request have together."),
    "too-small": (422, "A side of the image has too few pixels."),
    "animated": (422, "The file holds several frames."),
    "too-many-requests": (429, "This client has sent too many requests; `Retry-After` says when to come back."),
    "internal-server-error": (500, "The server failed, and it is not the request's fault."),
    "overloaded": (503, "Too many images are waiting; `Retry-After` says when to come back."),
}
_FIRST = {status: code for code, (status, _) in reversed(CODES.items())}


def status_of(error: ImageError) -> int:
    """The HTTP status that an image's error stands for."""
    return CODES[error.code][0]


def init_app(app: Flask) -> None:
    app.register_error_handler(ImageError, _image_error)
    app.register_error_handler(HTTPException, _http_error)


def problem_response(status: int, detail: str, code: str | None = None, **members) -> Response:
    """A problem details object (RFC 9457) as JSON for programs, as a page for people.

    ``code`` is stable, and follows from the status where it isn't given.
    """
    title = HTTPStatus(status).phrase
    code = code or _FIRST.get(status) or title.lower().replace(" ", "-")
    problem = {"type": "about:blank", "title": title, "status": status, "code": code, "detail": detail, **members}
    if request.path.startswith(("/api/", "/healthz")):
        response = jsonify(problem)
        response.content_type = "application/problem+json"
    else:
        response = Response(render_template("error.html", problem=problem))
    response.status_code = status
    return response


def _image_error(error: ImageError) -> Response:
    return problem_response(status_of(error), str(error), error.code)


def _http_error(error: HTTPException) -> Response | HTTPException:
    if error.code is None or error.code < 400:  # a redirect
        return error
    response = problem_response(error.code, error.description or "")
    for name, value in error.get_headers():
        if name not in ("Content-Type", "Content-Length"):  # Allow, Retry-After
            response.headers[name] = value
    return response
