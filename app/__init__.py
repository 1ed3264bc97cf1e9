"""The three front ends: ``web`` (page and API), ``voila`` (notebook view), ``device`` (runs in the browser).

What they share stands here: wording (``present``), pictures, headers, templates and static files.
"""

import sys
from importlib.util import find_spec
from typing import NoReturn


def end_without(package: str) -> NoReturn:
    """End with the line that names the fix."""
    print(f"error: {sys.executable} has no {package}; make setup, then use .venv/bin/python", file=sys.stderr)
    sys.exit(2)


if find_spec("skinlesion") is None:
    end_without("skinlesion")
