"""What every request must pass and every response carries: host names, other sites, headers."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Flask, Response, current_app, request

from app.headers import HEADERS
from app.web.problems import problem_response
from app.words import text

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def init_app(app: Flask) -> None:
    app.before_request(_check_host)
    app.before_request(_check_site)
    app.after_request(_protect)


def _check_host() -> Response | None:
    """Refuse foreign host names: a page elsewhere could point its own name at this machine (DNS rebinding)."""
    try:
        name = urlsplit(f"//{request.host}").hostname
    except ValueError:
        name = None
    if name in current_app.config["HOSTS"]:
        return None
    return problem_response(400, text("refused.host"), "untrusted-host")


def _check_site() -> Response | None:
    """Refuse what a browser sends on behalf of another site; programs send neither of the two headers."""
    if request.method in SAFE_METHODS:
        return None
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is not None:
        own = site in ("same-origin", "none")
    else:  # older browsers, and plain HTTP beyond loopback
        own = origin is None or origin.partition("://")[2] == request.host
    return None if own else problem_response(403, text("refused.site"))


def _protect(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)  # files are cached, and the on-device page has rules of its own
    return response
