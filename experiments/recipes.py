"""The recipes of ``recipes.toml`` and of the package, by name."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path

import skinlesion
from skinlesion.core.config import Config
from skinlesion.core.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "experiments" / "recipes.toml"
OUTPUTS = ROOT / "experiments" / "outputs"


@dataclass(frozen=True)
class Recipe:
    """A section of ``recipes.toml``.

    Attributes
    ----------
    name, about, base : str
    values : {parameter: value}, what it changes
    rows : tuple of str
        Rows whose predictions it averages instead of training; empty for a recipe that trains.
    refit : tuple of str, or None
        Metadata columns of a logistic regression on top; empty: on the logits alone; None: no regression.
    """

    name: str
    about: str
    base: str
    values: dict
    rows: tuple[str, ...] = ()
    refit: tuple[str, ...] | None = None


def load(section: str) -> dict[str, Recipe]:
    """The recipes of a section, ``rows`` or ``recipes``, in the file's order: combined rows stand after their parts.

    Raises
    ------
    ConfigError
        Where a recipe lacks its ``about``.
    """
    found = {}
    for name, values in tomllib.loads(FILE.read_text(encoding="utf-8"))[section].items():
        if "about" not in values:
            raise ConfigError(f"[{section}.{name}] in {FILE} needs an about: what is it for?")
        about, base, rows, refit = (values.pop(key, None) for key in ("about", "base", "rows", "refit"))
        columns = None if refit is None else tuple(refit)
        found[name] = Recipe(name, about, base or "", values, tuple(rows or ()), columns)
    return found


def config(name: str, recipes: dict[str, Recipe]) -> Config:
    """The configuration of a recipe; of a row that combines others, that of the first of them.

    Raises
    ------
    ConfigError
        Where there is no such recipe, neither here nor in the package, or a value does not fit.
    """
    if name not in recipes:
        return Config.from_file(packaged(name))
    recipe = recipes[name]
    if recipe.rows:
        return config(recipe.rows[0], recipes)
    start = config(recipe.base, recipes) if recipe.base else Config()
    try:
        return start.but(**recipe.values)
    except ConfigError as error:
        raise ConfigError(f"{FILE}, {name}: {error}") from None


def about(name: str, recipes: dict[str, Recipe]) -> str:
    """What a recipe is for, in words."""
    return recipes[name].about if name in recipes else json.loads(packaged(name).read_text()).get("about", "")


def packaged(name: str) -> Path:
    """The file of a named recipe that the package brings."""
    for folder in (Path(skinlesion.__file__).parent / "recipes", ROOT / "configs"):
        if (file := folder / f"{name}.json").exists():
            return file
    raise ConfigError(f"there is no recipe {name!r}, neither in {FILE} nor in the package")
