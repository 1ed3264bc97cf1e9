"""Images to try the page with, drawn by the demo generator; static/examples/README.md says how they were made."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).resolve().parent / "static" / "examples"


class Example(NamedTuple):
    name: str  # of the file, without suffix
    drawn_as: str

    @property
    def file(self) -> str:
        return f"{self.name}.jpg"


EXAMPLES = (
    Example("nv", "a common mole"),
    Example("mel", "a melanoma"),
    Example("vasc", "an angioma"),
    Example("akiec", "an actinic keratosis"),
)
