"""What view and what-if share: the pieces of HTML in ``parts.html``, and errors of callbacks that the page shows."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from functools import wraps
from pathlib import Path

import ipywidgets
from jinja2 import Environment, FileSystemLoader
from markupsafe import escape

from app import present
from app.words import in_words, text
from skinlesion.core.errors import SkinLesionError

HERE = Path(__file__).resolve().parent

_templates = Environment(loader=FileSystemLoader([HERE, HERE.parent / "templates"]), autoescape=True)
_templates.filters |= {"percent": present.percent, "in_words": in_words}
_templates.globals["t"] = text


def render(part: str, **values) -> str:
    """The HTML of a macro of ``parts.html``."""
    return str(getattr(_templates.get_template("parts.html").module, part)(**values))


def guarded(place: ipywidgets.HTML, callback: Callable) -> Callable:
    """``callback``, whose errors appear in ``place``: ipywidgets would drop them, and the page would stand still.

    One that is the program's own fault is also logged in full.
    """

    @wraps(callback)
    def call(*arguments):
        try:
            callback(*arguments)
        except Exception as error:
            words = str(error)
            if not isinstance(error, SkinLesionError):
                words = text("voila.program_failed", kind=type(error).__name__, error=error)
                traceback.print_exc(file=sys.__stderr__)
            place.value = f'<p class="notice loud"><strong>{escape(text("voila.failed"))}</strong> {escape(words)}</p>'

    return call
