"""The recipes of ``recipes.toml`` and of the package, by name.

    python -m experiments.recipes OLD [NEW]    # after a parameter of Config got another name, or went

rewrites ``recipes.toml`` and the recipes that are stored with outputs, so that they load and count as the same.
"""

from __future__ import annotations

import argparse
import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from experiments import storage
from skinlesion.core.config import Config
from skinlesion.core.errors import ConfigError
from skinlesion.core.recipes import FOLDER

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
    if (file := FOLDER / f"{name}.json").exists():
        return file
    raise ConfigError(f"there is no recipe {name!r}, neither in {FILE} nor in the package")


def stored() -> list[Path]:
    """Every committed Parquet file whose facts hold a recipe."""
    return [path for path in sorted(OUTPUTS.glob("*.parquet")) if _configs(storage.read_facts(path))]


def _configs(facts: dict) -> list[dict]:
    """The configuration of every part in the facts of stored outputs."""
    parts = [part for recipe in facts.values() if isinstance(recipe, dict) for part in recipe.values()]
    return [part["config"] for part in parts if isinstance(part, dict) and "config" in part]


def rename(old: str, new: str) -> list[Path]:
    """Rename a parameter in ``recipes.toml`` and in the facts of all stored outputs; an empty ``new`` drops it.

    Returns
    -------
    The files that had the parameter.
    """
    found = []
    for path in stored():
        frame, facts = storage.read_parquet(path)
        configs = _configs(facts)
        if any(old in one for one in configs):
            for one in configs:
                value = one.pop(old, None)
                if new and value is not None:
                    one[new] = value
            storage.write_parquet(path, frame, facts)
            found.append(path)
    text = FILE.read_text(encoding="utf-8")
    changed = re.sub(rf"^{re.escape(old)} = (.*\n)", rf"{new} = \1" if new else "", text, flags=re.M)
    if changed != text:
        FILE.write_text(changed, encoding="utf-8")
        found.append(FILE)
    return found


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=rename.__doc__.partition("\n")[0])
    parser.add_argument("old")
    parser.add_argument("new", nargs="?", default="", help="without it, the parameter is dropped")
    given = parser.parse_args(argv)
    print("\n".join(map(str, rename(given.old, given.new))) or f"no stored recipe has {given.old}")


if __name__ == "__main__":
    main()
