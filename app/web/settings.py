"""What the environment sets: tokens, host names and the rate. SECURITY.md lists the variables."""

from __future__ import annotations

import re
from collections.abc import Mapping

from skinlesion.core.errors import ConfigError
from skinlesion.serving.neighbours import INDEX

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
RATE = 60  # requests a minute and client, where strangers can reach the server

_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")  # RFC 6750, section 2.1


def from_environment(environ: Mapping[str, str], host: str = "127.0.0.1") -> dict:
    """The configuration that the environment sets; an empty variable counts as none.

    - ``SKINLESION_TOKENS``: bearer tokens for the API, separated by commas; without any, the API is open
    - ``SKINLESION_HOSTS``: host names to accept, separated by commas, beside ``host`` and the loopback names
    - ``SKINLESION_RATE``: requests a minute and client address; 0 is no limit
    - ``SKINLESION_PROXIES``: how many proxies stand before the server, whose ``X-Forwarded-For``, ``-Proto``, ``-Host``
      and ``-Prefix`` are then believed; 0, the default, believes nobody
    - ``SKINLESION_INDEX``: the folder of an index of similar cases, which is shown beside predictions

    ``host`` is the address that is listened on. On loopback all clients share one address, so only elsewhere is there a
    rate limit unless one is set. Raises ConfigError if a variable is set to something that it cannot mean.
    """
    config: dict = {"HOSTS": LOOPBACK | {host.lower()} | set(_listed(environ, "SKINLESION_HOSTS"))}
    config["TOKENS"] = tuple(_listed(environ, "SKINLESION_TOKENS", lower=False))
    if not all(_TOKEN.fullmatch(token) for token in config["TOKENS"]):
        raise ConfigError(
            "SKINLESION_TOKENS must be bearer tokens separated by commas (letters, digits and -._~+/); make one with "
            "`python -c 'import secrets; print(secrets.token_urlsafe())'`"
        )
    rate = environ.get("SKINLESION_RATE") or str(0 if host.lower() in LOOPBACK else RATE)
    if not re.fullmatch("[0-9]{1,9}", rate):
        raise ConfigError(f"SKINLESION_RATE must be a whole number of requests a minute, 0 for no limit, not {rate!r}")
    config["RATE"] = int(rate)
    proxies = environ.get("SKINLESION_PROXIES") or "0"
    if not re.fullmatch("[0-9]", proxies):
        raise ConfigError(
            f"SKINLESION_PROXIES must be the number of proxies before the server, 0 to 9, not {proxies!r}"
        )
    config["PROXIES"] = int(proxies)
    config["INDEX"] = environ.get(INDEX) or None
    return config


def _listed(environ: Mapping[str, str], name: str, *, lower: bool = True) -> list[str]:
    text = environ.get(name, "")
    values = [value.strip() for value in (text.lower() if lower else text).split(",") if value.strip()]
    if text and not values:  # a list that was meant to protect, and protects nothing
        raise ConfigError(f"{name} is set but lists nothing; list something, or unset it")
    return values
