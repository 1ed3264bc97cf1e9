"""A training that starts from a recipe: the recipe is trained first, into ``RUN/start``."""

from __future__ import annotations

from collections.abc import Callable

from skinlesion.core.config import Config
from skinlesion.core.errors import ConfigError
from skinlesion.core.recipes import load_recipe, recipe_names
from skinlesion.core.runs import Run
from skinlesion.core.writing import write_json
from skinlesion.data.cache import build_cache, record_cache, recorded_cache
from skinlesion.data.splits import load_split, write_split
from skinlesion.data.table import LesionTable
from skinlesion.training import distributed
from skinlesion.training.fit import Progress, fit
from skinlesion.training.parent_runs import start_run


def start_recipe(config: Config) -> Config | None:
    """The recipe that ``config.start`` names, on the data and the split of ``config``; None where it names none.

    Raises ConfigError where it is a recipe of another network.
    """
    if config.start not in recipe_names():
        return None
    same = (*Config.names("data"), "split_file", "fold", "holdout_source")
    recipe = load_recipe(config.start).but(**{name: getattr(config, name) for name in same})
    if recipe.model != config.model:
        raise ConfigError(
            f"start={config.start!r} is a recipe of a {recipe.model}, which a {config.model} cannot start from; "
            f"set model={recipe.model}, or another start"
        )
    return recipe


def train_start(
    config: Config, run: Run, *, watch: Callable[[Progress], None] | None = None, progress: bool = False
) -> None:
    """Train the recipe that ``config.start`` names, if it names one, on the data and the split of ``run``.

    Like :func:`skinlesion.training.fit.fit`, whose ``watch`` it takes, it goes on where an interrupted call was, does
    nothing where the training is finished, is called alike in every process under torchrun, and raises SkinLesionError.
    ``config`` is that of ``run``, which has its table and its split; ``progress`` shows a bar while images are decoded.
    """
    recipe, start = start_recipe(config), start_run(config, run)
    if recipe is None or start is None:
        return
    table, split = LesionTable.load(run), load_split(run.need(run.split, "02_preprocessing"))
    with distributed.join() as world:
        if world.first:
            write_json(start.config_file, recipe.to_dict())
            table.save(start)
            write_split(split, start.split)
            cache = build_cache(table, size=recipe.image_size, fit=recipe.fit, crops=recipe.crops, progress=progress)
            record_cache(start, cache)
        world.wait()
        train_start(recipe, start, watch=watch, progress=progress)
        parts = split["split"].to_numpy(str)
        fit(recipe, recorded_cache(start), table.targets, parts, start, classes=len(table.labels), watch=watch)
