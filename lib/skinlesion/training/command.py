"""``skinlesion train``: what notebooks 01 to 03 do, without notebooks."""

from __future__ import annotations

from skinlesion.config import Config
from skinlesion.data import splits
from skinlesion.data.cache import build_cache, link_cache
from skinlesion.data.check import check_table
from skinlesion.data.sources import load_table
from skinlesion.errors import SkinLesionError
from skinlesion.runs import Run, write_json
from skinlesion.training import live
from skinlesion.training.fit import fit
from skinlesion.training.trained import write_outputs


def train(config: Config, run: Run, *, progress: bool = True) -> int:
    """Check the data, split it by lesion, decode it, train, and write every file that 04_evaluation reads.

    Calling it again goes on where an interrupted call was.

    Returns
    -------
    int, the exit status

    Raises
    ------
    SkinLesionError
        For data, parameters or a folder that cannot be used, or an interruption; what was reached is kept.
    """
    write_json(run.config_file, config.to_dict())
    found = load_table(config.data, config.labels, config.exclude_official_test)
    check = check_table(splits.take_subset(found, config.max_images, seed=config.seed), progress=progress)
    check.write(run.data_check)
    table = check.table
    table.save(run)
    print(f"{len(table):,} images from {table.source}; {len(check.problems):,} problems in {run.data_check}")

    split, origin = splits.split_for(table, split_file=config.split_file, seed=config.seed, fold=config.fold)
    splits.check_split(split)
    splits.write_split(split, run.split)
    sizes = split["split"].value_counts()
    print(f"split {origin}; " + ", ".join(f"{name} {sizes[name]:,}" for name in splits.SPLITS))

    cache = build_cache(table, size=config.image_size, fit=config.fit, progress=progress)
    link_cache(run, cache)
    names = split["split"].to_numpy(str)
    watch = live.terminal() if progress else None
    try:
        trained = fit(config, cache, table.targets, names, run, classes=len(table.labels), watch=watch)
    except KeyboardInterrupt:
        raise SkinLesionError(
            f"interrupted; the last checkpoint is kept in {run.checkpoints}, the same command goes on from it"
        ) from None
    write_outputs(trained, cache, table.frame["image_id"].to_numpy(str), names, run, views=config.views)
    best = trained.history.iloc[trained.best_epoch - 1]
    print(
        f"\nbest on validation after epoch {trained.best_epoch} of {len(trained.history)}: balanced accuracy "
        f"{best['val_balanced_accuracy']:.3f}, accuracy {best['val_accuracy']:.3f}\nmade {run.folder}"
    )
    return 0
