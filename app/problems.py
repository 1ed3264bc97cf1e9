"""Errors: RFC 9457 problem details for programs, a page for people."""

from __future__ import annotations

from http import HTTPStatus

from flask import Flask, Response, jsonify, render_template, request
from werkzeug.exceptions import HTTPException

from skinlesion.errors import ImageError

_STATUS = {"missing": 400, "too-large": 413, "unsupported-format": 415}


def status_of(error: ImageError) -> int:
    """The HTTP status that an image's error stands for; 422 where nothing more special fits."""
    return _STATUS.get(error.code, 422)


def as_problem(status: int, detail: str, code: str | None = None, **members) -> dict:
    """A problem details object (RFC 9457); ``code`` is stable, and follows from the status where it isn't given."""
    title = HTTPStatus(status).phrase
    code = code or {413: "too-large"}.get(status) or title.lower().replace(" ", "-")
    return {"type": "about:blank", "title": title, "status": status, "code": code, "detail": detail, **members}


def init_app(app: Flask) -> None:
    app.register_error_handler(ImageError, _image_error)
    app.register_error_handler(HTTPException, _http_error)


def problem_response(status: int, detail: str, code: str | None = None, **members) -> Response:
    """:func:`as_problem` as the response that this request's sender can read."""
    problem = as_problem(status, detail, code, **members)
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
