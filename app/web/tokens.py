"""Bearer tokens (RFC 6750) for the API, where the environment sets any."""

from __future__ import annotations

import hashlib
import hmac

from flask import Flask, Response, current_app, request

from app.web.problems import problem_response
from app.words import text

OPEN = ("api.health", "api.description")


def init_app(app: Flask) -> None:
    """Refuse API requests without one of the configured tokens; where there are none, the API is open."""
    app.before_request(_check)


def _check() -> Response | None:
    tokens = current_app.config["TOKENS"]
    if not tokens or request.blueprint != "api" or request.endpoint in OPEN or _known(tokens):
        return None
    response = problem_response(401, text("refused.token"))
    given = "Authorization" in request.headers
    response.headers["WWW-Authenticate"] = 'Bearer error="invalid_token"' if given else "Bearer"
    return response


def _known(tokens: tuple[str, ...]) -> bool:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    digest = _digest(given.strip())
    # Every token is compared, and as digests of one length, so that the time tells nothing.
    matches = [hmac.compare_digest(_digest(token), digest) for token in tokens]
    return scheme.lower() == "bearer" and any(matches)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
