"""How often one client may ask."""

from __future__ import annotations

import ipaddress
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from flask import Flask, Response, request

from app.web.problems import problem_response
from app.web.security import SAFE_METHODS

CLIENTS = 10_000  # that are remembered; about 2 MB


class TokenBuckets:
    """A token bucket for each client: full it lets a minute's requests through at once, and it fills in a minute.

    A bucket is kept as the time at which it will be full again (the generic cell rate algorithm, ITU-T I.371), so a
    client costs one number.

    Parameters
    ----------
    rate : int
        Requests a minute.
    most : int
        Clients to remember; those not heard of for longest are forgotten first.
    """

    def __init__(self, rate: int, most: int = CLIENTS, clock: Callable[[], float] = time.monotonic):
        self._interval = 60 / rate
        self._most = most
        self._clock = clock
        self._full: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, client: str) -> float:
        """Take a token of ``client``; 0.0, or the seconds until there is one again."""
        with self._lock:
            now = self._clock()
            full = max(now, self._full.get(client, now)) + self._interval
            if full - now > 60:
                return full - now - 60
            self._full[client] = full
            self._full.move_to_end(client)
            if len(self._full) > self._most:
                self._full.popitem(last=False)
            return 0.0

    def __len__(self) -> int:
        return len(self._full)


def init_app(app: Flask) -> None:
    """Limit what costs something, uploads and the API, to ``RATE`` requests a minute and client."""
    if not app.config["RATE"]:
        return
    buckets = TokenBuckets(app.config["RATE"])

    @app.before_request
    def limit() -> Response | None:
        if request.endpoint == "api.health" or (request.method in SAFE_METHODS and request.blueprint != "api"):
            return None
        wait = buckets.take(_client(request.remote_addr or ""))
        if not wait:
            return None
        response = problem_response(429, f"at most {app.config['RATE']} requests a minute; wait a little")
        response.headers["Retry-After"] = str(math.ceil(wait))
        return response


def _client(address: str) -> str:
    """One address, or the /64 network that one IPv6 customer usually has to himself."""
    try:
        version = ipaddress.ip_address(address).version
    except ValueError:
        return address
    return str(ipaddress.ip_network(f"{address}/64", strict=False)) if version == 6 else address
