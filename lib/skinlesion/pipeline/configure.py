"""From preset, recipe, data and settings to one configuration and a place for the run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from skinlesion.core.config import Config, comma_list, parse_place, parse_setting
from skinlesion.core.errors import ConfigError, DataError
from skinlesion.core.recipes import load_recipe, recipe_names
from skinlesion.core.runs import Run
from skinlesion.core.taxonomy import label_finder, label_set, parse_words

_SMOKE = {
    "max_images": 240, "epochs": 1, "image_size": 64, "batch_size": 32, "replicates": 100, "patience": 0, "stress": 0,
}  # fmt: skip
#: A preset names its recipe and may limit it; with the limits of ``smoke`` the series takes two minutes at most.
PRESETS = {
    "smoke": ("quick", _SMOKE),
    "quick": ("quick", {}),
    "full": ("full", {}),
}
#: On the drawn demo set alone, so that a first look takes a few minutes; easy drawings of 200 x 150 pixels.
DEMO_LIMITS = {"quick": {"image_size": 96, "epochs": 4}}
_DEMO = re.compile(r"demo(:\d+)?")


def resolve(
    *,
    preset: str = "quick",
    recipe: str | None = None,
    data: str | Sequence[str] | None = None,
    labels: int | None = None,
    words: Sequence[str] = (),
    settings: Sequence[str] = (),
) -> Config:
    """The configuration of a run: recipe, then the preset's limits, then data and labels, then single settings.

    ``preset`` is one of :data:`PRESETS`; of the demo set alone, :data:`DEMO_LIMITS` hold, too, where no recipe is
    named. ``recipe``: a recipe's name or the path of a JSON file, instead of the preset's; ``data``: ``demo`` or a
    path, one or more; ``words``: ``WORD=CODE``, own names of classes, in place of the recipe's; ``settings``:
    ``name=value``. Raises ConfigError or DataError for unknown names, wrong types, impossible values and files that
    aren't there.
    """
    if preset not in PRESETS:
        raise ConfigError(f"unknown preset {preset!r}; choose one of {', '.join(PRESETS)}")
    default, limits = PRESETS[preset]
    given = {"data": data, "labels": labels, "label_words": list(words) or None}
    named = {name: value for name, value in given.items() if value is not None}
    config = load_recipe(recipe or default).but(**limits).but(**named)
    chosen = dict(parse_setting(setting) for setting in settings)
    if recipe is None and all(map(_DEMO.fullmatch, config.but(**chosen).data)):
        chosen = DEMO_LIMITS.get(preset, {}) | chosen
    config = config.but(**chosen)
    places: dict = {name: _place(name, getattr(config, name)) for name in ("split_file", "external_data")}
    places["data"] = [_place("data", place) for place in config.data]
    start = config.start if config.start in recipe_names() else _runs(config, "start")
    return config.but(**places, start=start, teachers=_runs(config, "teachers"))


def need_data(config: Config) -> None:
    """Raise DataError or ConfigError, before a notebook starts, for a place of no data set, words of no class or a
    source to hold out that there is not.

    Only names of files are looked at; the demo set is left to the notebook that draws it.
    """
    from skinlesion.data.sources import source_names
    from skinlesion.data.splits import check_holdout

    label_finder(label_set(config.labels), parse_words(config.label_words))
    places = [place for place in config.data if not _DEMO.fullmatch(place)]
    drawn = ["demo"] if len(places) < len(config.data) else []
    check_holdout([*drawn, *(source_names(places) if places else [])], config.holdout_source)


def _place(name: str, value: str) -> str:
    """A path as notebooks, which run in another folder, can use it."""
    if (name == "data" and _DEMO.fullmatch(value)) or (name != "data" and not value):
        return value
    kind, path = parse_place(value)
    if not value or not path.exists():
        raise DataError(f"there is nothing at {value!r} ({name}); name a folder or file that exists")
    if name == "external_data":  # the notebook that reads it comes last
        from skinlesion.data.sources import detect

        detect(value)
    return f"{kind}:{path.resolve()}" if kind else str(path.resolve())


def _runs(config: Config, name: str) -> str:
    """Trained runs, separated by commas, as notebooks can use them."""
    found = []
    for place in comma_list(getattr(config, name)):
        if not Run(place).training.exists():
            hint = f", or name a recipe: {', '.join(recipe_names())}" if name == "start" else ""
            raise DataError(f"there is no trained run at {place!r} ({name}); train it first{hint}")
        found.append(str(Run(place).folder.resolve()))
    if getattr(config, name) and not found:
        raise ConfigError(f"{name}={getattr(config, name)!r} names no folder; name trained runs, or leave it empty")
    return ",".join(found)


def run_name(config: Config, preset: str, recipe: str | None = None) -> str:
    """What a run is called unless a name is given: ``demo``, else data and recipe, as in ``ham10000-quick``."""
    if len(config.data) == 1 and config.data[0].startswith("demo"):
        return "demo"
    words = "-".join(Path(place).stem for place in (*config.data, recipe or preset))
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def run_folder(reports: Path, name: str) -> Path:
    """``reports/NAME``; the name must be one plain file name, so that nothing is written elsewhere."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ConfigError(
            f"--run {name!r} cannot be a folder's name: use letters, digits, '.', '_' and '-', and begin with a "
            "letter or digit"
        )
    return reports / name
