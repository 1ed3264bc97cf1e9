"""The recipes that come with the package: ``skinlesion/recipes/NAME.json``, each of which can be started by name."""

from __future__ import annotations

import json
from pathlib import Path

from skinlesion.core.config import Config
from skinlesion.core.errors import ConfigError

FOLDER = Path(__file__).resolve().parents[1] / "recipes"


def recipe_names() -> list[str]:
    """The names of the package's recipes, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def load_recipe(recipe: str) -> Config:
    """A recipe of the package by its name, or one of the user's own by the path of its JSON file.

    Raises ConfigError if there is no such recipe, or its file is not valid
    (:meth:`skinlesion.core.config.Config.from_file`).
    """
    if recipe in recipe_names():
        return Config.from_file(FOLDER / f"{recipe}.json")
    if Path(recipe).is_file():
        return Config.from_file(recipe)
    known = ", ".join(recipe_names())
    raise ConfigError(f"there is no recipe {recipe!r}; give the path of a JSON file or one of: {known}")


def list_recipes() -> str:
    """All recipes as text, a line each with what it is for."""
    about = {name: json.loads((FOLDER / f"{name}.json").read_text())["about"] for name in recipe_names()}
    return "\n".join(f"  {name}: {text}" for name, text in about.items())
