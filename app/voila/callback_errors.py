"""What a callback raises, shown on the page: ipywidgets would drop it, and the page would stand still."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from functools import wraps

import ipywidgets
from markupsafe import escape

from app.words import text
from skinlesion.core.errors import SkinLesionError


def shown(place: ipywidgets.HTML, callback: Callable) -> Callable:
    """``callback``, whose errors appear in ``place``; one that is the program's own fault is also logged in full."""

    @wraps(callback)
    def guarded(*arguments):
        try:
            callback(*arguments)
        except Exception as error:
            words = str(error)
            if not isinstance(error, SkinLesionError):
                words = text("voila.program_failed", kind=type(error).__name__, error=error)
                traceback.print_exc(file=sys.__stderr__)
            place.value = f'<p class="notice loud"><strong>{escape(text("voila.failed"))}</strong> {escape(words)}</p>'

    return guarded
