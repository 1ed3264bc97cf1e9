"""A training from the data to its stored outputs: notebooks 01 to 03 without notebooks, in one process or many."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress

import pandas as pd

from skinlesion.core.config import TRAINING_FIELDS, Config
from skinlesion.core.errors import ConfigError, SkinLesionError
from skinlesion.core.runs import Run
from skinlesion.core.tables import counted
from skinlesion.core.taxonomy import label_set
from skinlesion.core.writing import cache_folder, lock, write_json
from skinlesion.data import splits
from skinlesion.data.cache import build_cache, record_cache, recorded_cache
from skinlesion.data.check import check_table
from skinlesion.data.sources import load_table
from skinlesion.data.table import LesionTable
from skinlesion.data.twin_search import Features, with_twins, write_twins
from skinlesion.training import distributed, live
from skinlesion.training.fit import fit
from skinlesion.training.parent_runs import check_parents, recipe_of, start_run
from skinlesion.training.session import first_network
from skinlesion.training.start import start_recipe, train_start
from skinlesion.training.trained import facts_of, write_outputs


def train(config: Config, run: Run, *, features: Callable[[], Features] | None, progress: bool | None = None) -> int:
    """Check the data, split it by lesion, decode it, train, and write every file that 04_evaluation reads.

    Calling it again goes on where an interrupted call was. Under torchrun the first process does all but the training
    alone, and is the only one that prints, and that makes the ``features`` by which twins are found that the split
    keeps together; where they are None, twins are not looked for. ``progress`` shows bars instead of a line per epoch;
    by default where standard error is a terminal. Returns the exit status. Raises SkinLesionError for data, parameters
    or a folder that cannot be used, or an interruption; checkpoints are stored.
    """
    progress = sys.stderr.isatty() if progress is None else progress
    try:
        with _stoppable(), distributed.join() as world, lock(run.folder) if world.first else nullcontext():
            if world.first:
                prepare(config, run, progress, features)
            world.need_shared(run.folder, cache_folder())
            _train(config, run, world, progress)
            world.wait()
    except KeyboardInterrupt:
        if not distributed.world().first:
            sys.exit(130)  # the first process says it for all
        saved = any(run.folder.glob("**/checkpoints/*/step-*"))
        raise SkinLesionError(
            f"interrupted; the last checkpoint is in {run.folder}, the same command continues from it"
            if saved
            else "interrupted before the first checkpoint; the same command begins again"
        ) from None
    return 0


@contextmanager
def _stoppable() -> Iterator[None]:
    """Let SIGTERM, with which batch systems and torchrun end a process, do what Ctrl-C does, once."""
    kinds = (signal.SIGINT, signal.SIGTERM)

    def stop(number: int, frame: object) -> None:
        for kind in kinds:  # a terminal and torchrun both send one: the second must not disturb the end
            signal.signal(kind, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {kind: signal.signal(kind, stop) for kind in kinds}
    try:
        yield
    finally:
        if distributed.world().size == 1:  # torchrun's second signal comes late, and its processes end now anyway
            for kind, handler in before.items():
                signal.signal(kind, handler)


def prepare(config: Config, run: Run, progress: bool, features: Callable[[], Features] | None) -> None:
    """Check, split and decode the data, and write down all of it; what is refused leaves the folder as it was."""
    # nothing is known yet of a start that is to be trained from a recipe
    known = config.but(start="", pretrained=False) if start_recipe(config) else config
    first_network(known, run, len(label_set(config.labels)))
    found = load_table(config.data, config.labels, config.exclude_official_test, config.label_words)
    check = check_table(splits.take_subset(found, config.max_images, seed=config.seed), progress=progress)
    table, twins = with_twins(check.table, features() if features else None, progress=progress)
    split, origin = splits.choose_split(
        table,
        split_file=config.split_file,
        seed=config.seed,
        fold=config.fold,
        holdout_source=config.holdout_source,
        tested=False,
    )
    check_parents(known, run, split)
    _refuse_evaluated(config, run, split)

    with suppress(OSError):  # a folder that cannot be written to is reported next
        run.outputs.unlink(missing_ok=True)  # of an earlier training, perhaps of another recipe
    write_json(run.config_file, config.to_dict())
    check.write(run.data_check)
    table.save(run)
    write_twins(twins, run)
    splits.write_split(split, run.split)
    sources = ", ".join(table.origins)
    problems = counted(len(check.problems), "problem")
    print(f"{counted(len(table), 'image')} from {sources}; {problems} in {run.data_check}")
    if twins is not None:
        print(f"{counted(len(twins), 'pair')} of twins in {run.twins}")
    sizes = split["split"].value_counts()
    print(f"split {origin}; " + ", ".join(f"{name} {sizes.get(name, 0):,}" for name in splits.SPLITS))
    record_cache(run, build_cache(table, size=config.image_size, fit=config.fit, crops=config.crops, progress=progress))


def _refuse_evaluated(config: Config, run: Run, split: pd.DataFrame) -> None:
    """Raise ConfigError where the folder holds an evaluation or a model of another training than this one."""
    there = [path.name for path in (run.predictions, run.metrics, run.model) if path.exists()]
    if not (there and run.training.exists()):
        return
    known, parts = recipe_of(run), facts_of(run)["split"]
    other = [name for name in (*TRAINING_FIELDS, "crops", "views") if getattr(known, name) != getattr(config, name)]
    other += ["split"] if parts != splits.split_digest(split["split"]) else []
    if other:
        raise ConfigError(
            f"{run.folder} holds {', '.join(there)} of another training (with another {', '.join(other)}); choose "
            "another folder for this training, or delete that one"
        )


def _train(config: Config, run: Run, world: distributed.World, progress: bool) -> None:
    if start := start_recipe(config):
        if world.first:
            print(f"training the start first: {config.start}, {counted(start.epochs, 'epoch')}", flush=True)
        train_start(config, run, watch=_watch(start_run(config, run), world, progress), progress=progress)
    table, cache = LesionTable.load(run), recorded_cache(run)
    split = splits.load_split(run.split)["split"].to_numpy(str)
    watch = _watch(run, world, progress)
    trained = fit(config, cache, table.targets, split, run, classes=len(table.labels), watch=watch)
    if not world.first:
        return
    write_outputs(trained, cache, table.frame["image_id"].to_numpy(str), split, run, views=config.views)
    best = trained.history.iloc[trained.best_epoch - 1]
    score = {name: best[name] for name in ("val_balanced_accuracy", "val_accuracy") if name in best}
    print(
        f"\nthe weights are those of epoch {trained.best_epoch} of {len(trained.history)}"
        + "".join(f", {name} {value:.3f}" for name, value in score.items())
        + f"\nmade {run.folder}"
    )


def _watch(run: Run | None, world: distributed.World, progress: bool) -> live.Watch | None:
    if run is None or not world.first:
        return None
    return live.together(live.terminal() if progress else live.lines(), live.tensorboard(run.folder / "tensorboard"))
