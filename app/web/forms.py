"""Forms that only our own pages can send: a signed double-submit cookie, without any state on the server.

The cookie holds a random value and the form its signature. Another site can make a browser send the cookie, but can
neither read it nor sign it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from flask import Flask, Response, current_app, g, request
from markupsafe import Markup

from app.web.problems import problem_response
from app.web.security import SAFE_METHODS

COOKIE = "skinlesion_form"
FIELD = "csrf_token"


def init_app(app: Flask) -> None:
    """Offer ``csrf_field()`` to the templates, and refuse every form that comes without it."""
    app.config["SECRET_KEY"] = app.config["SECRET_KEY"] or secrets.token_urlsafe(32)
    app.add_template_global(csrf_field)
    app.before_request(_check)
    app.after_request(_keep)


def csrf_field() -> Markup:
    """The hidden input that belongs into every form with ``method="post"``."""
    if "form_value" not in g:
        g.form_value = request.cookies.get(COOKIE) or secrets.token_urlsafe(32)
    return Markup('<input type="hidden" name="{}" value="{}">').format(FIELD, _sign(g.form_value))


def _sign(value: str) -> str:
    return hmac.new(current_app.config["SECRET_KEY"].encode(), value.encode(), hashlib.sha256).hexdigest()


def _check() -> Response | None:
    if request.method in SAFE_METHODS or request.endpoint is None or request.blueprint == "api":
        return None
    value, signature = request.cookies.get(COOKIE, ""), request.form.get(FIELD, "")
    if value and hmac.compare_digest(_sign(value).encode(), signature.encode()):
        return None
    detail = (
        "the form was not sent from this page, or the page was opened before the server last started; "
        "open the page again with cookies allowed, and send the form from there"
    )
    return problem_response(403, detail)


def _keep(response: Response) -> Response:
    if "form_value" in g and g.form_value != request.cookies.get(COOKIE):
        response.set_cookie(COOKIE, g.form_value, httponly=True, samesite="Lax", secure=request.is_secure)
    return response
