"""The three front ends: ``web`` (page and API), ``voila`` (notebook view), ``device`` (runs in the browser).

What they share stands here: wording (``present``), pictures, headers, templates and static files.
"""

import sys
from importlib.util import find_spec

if find_spec("skinlesion") is None:
    print(f"error: {sys.executable} has no skinlesion; make setup, then use .venv/bin/python", file=sys.stderr)
    sys.exit(2)
