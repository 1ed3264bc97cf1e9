"""What was measured on the way to the shipped model: recipes, outputs, tables; index.md explains the files."""

import sys
from importlib.util import find_spec

for name in ("skinlesion", "pandas"):
    if find_spec(name) is None:
        print(f"error: {sys.executable} has no {name}; make setup, then use .venv/bin/python", file=sys.stderr)
        sys.exit(2)
