"""Errors: RFC 9457 problem details for programs, a page for people."""

from __future__ import annotations

from http import HTTPStatus

from flask import Flask, Response, jsonify, render_template, request
from werkzeug.exceptions import HTTPException

from app.words import TEXTS
from skinlesion.core.errors import ImageError

#: The HTTP status of every code that a problem can carry; what it means is in the words. The first of a status stands
#: for the status.
CODES = {
    "bad-request": 400,
    "missing": 400,
    "untrusted-host": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not-found": 404,
    "method-not-allowed": 405,
    "too-large": 413,
    "unsupported-media-type": 415,
    "unsupported-format": 415,
    "unreadable": 422,
    "too-many-pixels": 422,
    "too-small": 422,
    "animated": 422,
    "too-many-requests": 429,
    "internal-server-error": 500,
    "overloaded": 503,
}
_FIRST = {status: code for code, status in reversed(CODES.items())}


def status_of(error: ImageError) -> int:
    """The HTTP status that an image's error stands for."""
    return CODES[error.code]


def init_app(app: Flask) -> None:
    app.register_error_handler(ImageError, lambda error: problem_response(status_of(error), str(error), error.code))
    app.register_error_handler(HTTPException, _http_error)


def problem_response(status: int, detail: str | None = None, code: str | None = None, **members) -> Response:
    """A problem details object (RFC 9457) as JSON for programs, as a page for people.

    ``code`` is stable, and follows from the status where it isn't given; ``detail`` is then what the code means.
    """
    phrase = HTTPStatus(status).phrase
    code = code or _FIRST.get(status) or phrase.lower().replace(" ", "-")
    title = TEXTS.get(f"status.{status}", phrase)
    detail = detail or TEXTS.get(f"problem.{code}", title)
    problem = {"type": "about:blank", "title": title, "status": status, "code": code, "detail": detail, **members}
    if request.path.startswith(("/api/", "/healthz")):
        response = jsonify(problem)
        response.content_type = "application/problem+json"
    else:
        response = Response(render_template("error.html", problem=problem))
    response.status_code = status
    return response


def _http_error(error: HTTPException) -> Response | HTTPException:
    if error.code is None or error.code < 400:  # a response of ours, or a redirect
        return error
    response = problem_response(error.code)  # in our words, for those of the libraries are English alone
    for name, value in error.get_headers():
        if name not in ("Content-Type", "Content-Length"):  # Allow, Retry-After
            response.headers[name] = value
    return response
