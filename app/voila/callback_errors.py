"""What a callback raises, shown on the page: ipywidgets would drop it, and the page would stand still."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from functools import wraps

import ipywidgets
from markupsafe import escape

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
                words = f"the program failed ({type(error).__name__}: {error}); its log has the details"
                traceback.print_exc(file=sys.__stderr__)
            place.value = f'<p class="notice loud"><strong>Something went wrong:</strong> {escape(words)}</p>'

    return guarded
