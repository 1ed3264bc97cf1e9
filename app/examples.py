"""Images to try the page with: drawn by the demo generator, no photograph and nobody's skin; of the code's licence.

Each is ``skinlesion.draw_example(name, seed)`` as a JPEG of quality 85.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from app.words import text

FOLDER = Path(__file__).resolve().parent / "static" / "examples"


class Example(NamedTuple):
    name: str  # of the file, without suffix
    seed: int

    @property
    def drawn_as(self) -> str:
        """What it was drawn as, in words."""
        return text(f"examples.{self.name}")

    @property
    def file(self) -> str:
        return f"{self.name}.jpg"


EXAMPLES = (Example("nv", 5), Example("mel", 13), Example("vasc", 7), Example("akiec", 32))
