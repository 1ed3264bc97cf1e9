"""Every word that people read in the apps: one JSON file a language, which pages, Voila view and device page share.

A translation is one more file beside ``en.json`` with the same keys; ``SKINLESION_LANGUAGE`` chooses it. A key names a
text by its place (``advice.refer``), and ``{name}`` in a text stands for a value.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

from markupsafe import Markup

from skinlesion.core.errors import ConfigError
from skinlesion.core.taxonomy import Diagnosis

FOLDER = Path(__file__).resolve().parent
LANGUAGE = "SKINLESION_LANGUAGE"  # the environment variable that names the file, without its ending


def load(language: str) -> dict[str, str]:
    """All texts of a language by key. Raises ConfigError where there is no such file."""
    known = sorted(path.stem for path in FOLDER.glob("*.json"))
    if language not in known:
        raise ConfigError(f"{LANGUAGE} must be one of {', '.join(known)}, not {language!r}")
    return _flat(json.loads((FOLDER / f"{language}.json").read_text(encoding="utf-8")))


def _flat(texts: dict, before: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in texts.items():
        found |= _flat(value, f"{before}{key}.") if isinstance(value, dict) else {f"{before}{key}": value}
    return found


#: All texts of the language in use, by key; the device page gets them as they are.
TEXTS = load(os.environ.get(LANGUAGE) or "en")


def text(key: str, **values: object) -> str:
    """The text of a key, with these values in it; markup among them stays markup, the rest is escaped with it."""
    found = TEXTS[key]
    if not values:
        return found
    marked = any(isinstance(value, Markup) for value in values.values())
    return (Markup(found) if marked else found).format(**values)


def section(name: str) -> dict[str, str]:
    """The texts whose keys begin with that name, by the rest of their keys: what a page hands to its scripts."""
    return {key.removeprefix(f"{name}."): found for key, found in TEXTS.items() if key.startswith(f"{name}.")}


def source_name(source: str) -> str:
    """What people read for a source of training images: its name in the words, else the one in its table."""
    return TEXTS.get(f"source.{source}", source)


def in_words(diagnosis: Diagnosis) -> Diagnosis:
    """A diagnosis with its name and description in the language in use."""
    place = f"classes.{diagnosis.code}"
    return replace(diagnosis, name=TEXTS[f"{place}.name"], description=TEXTS[f"{place}.description"])
