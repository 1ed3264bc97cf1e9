"""What every request must pass, from host name to token, and the headers that every response carries."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from urllib.parse import urlsplit

from flask import Flask, Response, current_app, request
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address

from app.headers import HEADERS
from app.web.problems import problem_response
from app.words import text

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
WITHOUT_TOKEN = ("api.health", "api.description")


def init_app(app: Flask) -> None:
    app.before_request(_check_host)
    app.before_request(_check_site)
    if app.config["RATE"]:
        _limit_rate(app)
    app.before_request(_check_token)
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


def _limit_rate(app: Flask) -> None:
    """Limit what costs something, uploads and the API, to ``RATE`` requests a minute and client, counted in memory."""
    limiter = Limiter(
        _client,
        application_limits=[f"{app.config['RATE']} per minute"],
        application_limits_exempt_when=_costs_little,
        headers_enabled=True,
        storage_uri="memory://",
        strategy="fixed-window",  # a number for each client, forgotten after a minute
    )
    limiter.init_app(app)


def _costs_little() -> bool:
    return request.endpoint == "api.health" or (request.method in SAFE_METHODS and request.blueprint != "api")


def _client() -> str:
    """One address, or the /64 network that one IPv6 customer usually has alone."""
    address = get_remote_address()
    try:
        version = ipaddress.ip_address(address).version
    except ValueError:
        return address
    return str(ipaddress.ip_network(f"{address}/64", strict=False)) if version == 6 else address


def _check_token() -> Response | None:
    """Refuse API requests without one of the configured bearer tokens (RFC 6750); without any, the API is open."""
    tokens = current_app.config["TOKENS"]
    if not tokens or request.blueprint != "api" or request.endpoint in WITHOUT_TOKEN or _is_known(tokens):
        return None
    response = problem_response(401, text("refused.token"))
    given = "Authorization" in request.headers
    response.headers["WWW-Authenticate"] = 'Bearer error="invalid_token"' if given else "Bearer"
    return response


def _is_known(tokens: tuple[str, ...]) -> bool:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    digest = _digest(given.strip())
    # Every token is compared, and as digests of one length, so that the time tells nothing.
    matches = [hmac.compare_digest(_digest(token), digest) for token in tokens]
    return scheme.lower() == "bearer" and any(matches)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _protect(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)  # files are cached, and the on-device page has rules of its own
    return response
