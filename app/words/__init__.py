"""The words of the apps, one file a language: ``words/en.json``. Another file with the same keys is a translation."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path


@cache
def words(language: str = "en") -> dict:
    """All words of a language, by section and name; ``{names}`` in them are filled in by :meth:`str.format`."""
    return json.loads((Path(__file__).with_name(f"{language}.json")).read_text(encoding="utf-8"))
