"""Images to try the page with, drawn by the demo generator; static/examples/README.md says how they were made."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from app.words import text

FOLDER = Path(__file__).resolve().parent / "static" / "examples"


class Example(NamedTuple):
    name: str  # of the file, without suffix

    @property
    def drawn_as(self) -> str:
        """What it was drawn as, in words."""
        return text(f"examples.{self.name}")

    @property
    def file(self) -> str:
        return f"{self.name}.jpg"


EXAMPLES = tuple(map(Example, ("nv", "mel", "vasc", "akiec")))
