"""How often one client may send requests: Flask-Limiter, counting in memory."""

from __future__ import annotations

import ipaddress

from flask import Flask, request
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address

from app.web.security import SAFE_METHODS


def init_app(app: Flask) -> None:
    """Limit what costs something, uploads and the API, to ``RATE`` requests a minute and client."""
    if not app.config["RATE"]:
        return
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
