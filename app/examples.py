"""Images to try the page with, drawn by the demo generator; static/examples/README.md says how they were made."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from app.uploads import Upload
from skinlesion.core import images

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


def find(name: str) -> Upload | None:
    """The example of that name as if it had been uploaded; None where there is none."""
    for example in EXAMPLES:
        if example.name == name:
            return Upload(f"Example drawn as {example.drawn_as}", frame=images.read(FOLDER / example.file))
    return None
