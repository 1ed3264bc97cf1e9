"""Bearer tokens (RFC 6750) for the API, where the environment sets any."""

from __future__ import annotations

import functools
import hashlib
import hmac
from collections.abc import Callable

from flask import Response, current_app, request

from app.web.problems import problem_response


def guarded(view: Callable) -> Callable:
    """Let a view answer only those who send one of the configured tokens; everybody where there are none."""

    @functools.wraps(view)
    def check(*arguments, **named):
        tokens = current_app.config["TOKENS"]
        return view(*arguments, **named) if not tokens or _known(tokens) else _refuse()

    return check


def _known(tokens: tuple[str, ...]) -> bool:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    digest = _digest(given.strip())
    # Every token is compared, and as digests of one length, so that the time tells nothing.
    matches = [hmac.compare_digest(_digest(token), digest) for token in tokens]
    return scheme.lower() == "bearer" and any(matches)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _refuse() -> Response:
    response = problem_response(401, "send one of this server's tokens as `Authorization: Bearer TOKEN`")
    given = "Authorization" in request.headers
    response.headers["WWW-Authenticate"] = 'Bearer error="invalid_token"' if given else "Bearer"
    return response
