"""``skinlesion sweep``: try recipes drawn from a space, stop poor ones early, and go on after any interruption.

Optuna draws the recipes (tree-structured Parzen estimators) and stops poor ones by asynchronous successive halving (Li
et al. 2020, arXiv:1810.05934) on validation balanced accuracy; its journal is one file that is only ever added to. Both
were tried with ten trials that compute nothing, on two cores: Optuna was done after 0.2 s in one process of 48 MB, Ray
Tune (2.60, ASHA) after 53 s in processes of 1.6 GB together. Networks that keep all cores busy one at a time gain
nothing for that. No test image is looked at.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from skinlesion.core.config import Config
from skinlesion.core.errors import ConfigError, DivergedError, SkinLesionError
from skinlesion.core.random_streams import generator
from skinlesion.core.runs import Run
from skinlesion.core.writing import lock, write_csv, write_json
from skinlesion.data import splits
from skinlesion.data.cache import build_cache
from skinlesion.data.table import LesionTable
from skinlesion.data.twin_search import Features
from skinlesion.training.fit import fit
from skinlesion.training.standalone import prepare
from skinlesion.training.start import start_recipe, train_start

try:
    import optuna
    from optuna.distributions import FloatDistribution, IntDistribution
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    from optuna.trial import TrialState
except ImportError:
    raise SkinLesionError("sweeps need Optuna; pip install 'skin-lesion-lab[scale]'") from None

JOURNAL = "sweep.journal"
TABLE = "sweep.csv"
SCORE = "val_balanced_accuracy"
REDUCTION = 3  # of each rung's trials, one in three goes on; a rung is three times as many epochs as the one before
_ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
#: What decides where results lie or what they are compared by: a space that changed these would compare unlike things.
_FIXED = (*(name for name in Config.names("data") if name != "seed"), "split_file", "fold", "holdout_source")


def sweep(
    config: Config,
    space: dict,
    folder: Path,
    trials: int,
    *,
    features: Callable[[], Features] | None,
    progress: bool = True,
) -> int:
    """Bring a sweep to ``trials`` trials, and write ``sweep.csv``: a row per trial, the best first.

    ``config`` is the recipe that ``space`` changes: {parameter: a list to choose from, or ``{"low", "high"}`` with
    ``"log": true`` or ``"step"``}. Each trial is a run in ``folder``, ``trial-0000``, …; finished ones of earlier calls
    count. ``features`` and ``progress``: as :func:`skinlesion.training.standalone.train` takes them. Returns the exit
    status. Raises SkinLesionError if the space makes no sense, or another process is at work in the folder.
    """
    _check(config, space)
    if trials < 1:
        raise ConfigError(f"--trials {trials}: give 1 or more")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    run = Run(folder)
    with lock(run.folder):
        _same_question(run, config, space)
        study = _study(run)
        _take_up(study)
        prepare(config, run, progress, features)
        table, split = LesionTable.load(run), splits.load_split(run.split)
        if "validation" not in set(split["split"]):
            raise ConfigError(
                f"fold={config.fold} leaves no validation images, on which trials are compared; give a fold from 0 to 4"
            )
        if start_recipe(config):  # once for all trials
            train_start(config, run, progress=progress)
            config = config.but(start=str(run.folder / "start"))
        while (ended := len(study.get_trials(deepcopy=False, states=_ENDED))) < trials:
            study.sampler = _sampler(config.seed, ended)
            trial = study.ask()
            values = {name: _draw(trial, name, choice) for name, choice in space.items()}
            place = Run(run.folder / trial.user_attrs.get("folder", f"trial-{trial.number:04}"))
            trial.set_user_attr("folder", place.folder.name)
            _try(study, trial, config, values, table, split, place)
            rows = _write_table(study, list(space), run.folder / TABLE)
            done = rows[rows["trial"] == trial.number].iloc[0]
            print(f"trial {trial.number}  {done['status']} after epoch {done['epochs']}, {SCORE} {done[SCORE]:.3f}")
    rows = _write_table(study, list(space), run.folder / TABLE)
    print(f"\n{rows.head().to_string(index=False)}\n\nWrote {run.folder / TABLE}")
    return 0


def _check(config: Config, space: dict) -> None:
    """Raise ConfigError unless each name is a parameter, and each value one that it can take."""
    if not isinstance(space, dict) or not space:
        raise ConfigError('a space is a JSON object: {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": true}, …}')
    Config.check_names(space)
    for name, values in space.items():
        if name in _FIXED:
            raise ConfigError(f"{name} cannot be drawn: trials would be compared on different images")
        if isinstance(values, dict):
            numbers: list[Any] = [values.get(end) for end in ("low", "high")]
            known = values.keys() <= {"low", "high", "log", "step"} and not ("log" in values and "step" in values)
            if not known or not all(type(number) in (int, float) for number in numbers) or numbers[0] >= numbers[1]:
                raise ConfigError(
                    f'{name}: give a list, or {{"low": …, "high": …}} with "log": true or "step", not {values}'
                )
            try:
                (IntDistribution if _whole(values) else FloatDistribution)(**values)
                numbers += [numbers[0] + values["step"]] if "step" in values else []
            except (TypeError, ValueError) as error:
                raise ConfigError(f"{name}: {values} cannot be drawn from ({error})") from None
        elif not isinstance(values, list) or not values:
            raise ConfigError(f"{name}: give a list to choose from, or an object with low and high, not {values!r}")
        else:
            numbers = values
        for value in numbers:
            config.but(**{name: value})


def _draw(trial, name: str, values):
    if isinstance(values, list):
        return trial.suggest_categorical(name, values)
    suggest = trial.suggest_int if _whole(values) else trial.suggest_float
    return suggest(name, **values)


def _whole(values: dict) -> bool:
    return all(isinstance(number, int) for number in values.values() if not isinstance(number, bool))


def _same_question(run: Run, config: Config, space: dict) -> None:
    """Refuse to mix trials of two recipes or spaces."""
    wanted, file = {"config": config.to_dict(), "space": space}, run.folder / "sweep.json"
    if not file.exists():
        write_json(file, wanted)
    elif json.loads(file.read_text()) != json.loads(json.dumps(wanted)):
        raise ConfigError(f"{run.folder} holds a sweep of another recipe or space ({file.name}); choose another --run")


def _study(run: Run):
    return optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(run.folder / JOURNAL))),
        study_name="sweep",
        direction="maximize",
        pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=REDUCTION),
        load_if_exists=True,
    )


def _sampler(seed: int, ended: int):
    """The sampler of the next trial: what it draws hangs on the trials that ended, not on how often we were killed."""
    return optuna.samplers.TPESampler(seed=int(generator(seed, ended, stream="sweep").integers(2**32)))


def _take_up(study) -> None:
    """Put trials that an earlier call was killed at first in line; their trainings go on from their checkpoints."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.enqueue_trial(trial.params, user_attrs=trial.user_attrs)
        study.tell(trial.number, state=TrialState.FAIL)


def _watch(trial) -> Callable:
    reported = 0

    def watch(progress) -> None:
        nonlocal reported
        for row in progress.history[reported:]:
            if math.isfinite(row[SCORE]):
                trial.report(row[SCORE], row["epoch"])
        new, reported = len(progress.history) > reported, len(progress.history)
        if new and not progress.ended and reported < progress.epochs and trial.should_prune():
            raise optuna.TrialPruned

    return watch


def _try(study, trial, config: Config, values: dict, table: LesionTable, split: pd.DataFrame, place: Run) -> None:
    """Train one recipe to its end, or to where it is stopped, and tell the study; some that are drawn cannot be."""
    score, status = None, "stopped"
    try:
        config = config.but(**values)
        write_json(place.config_file, config.to_dict())
        splits.write_split(split, place.split)
        cache = build_cache(table, size=config.image_size, fit=config.fit, crops=config.crops)
        parts = split["split"].to_numpy(str)
        trained = fit(config, cache, table.targets, parts, place, classes=len(table.labels), watch=_watch(trial))
        score, status = float(trained.history[SCORE].max()), "complete"
    except optuna.TrialPruned:
        pass
    except DivergedError:
        status = "diverged"
    except ConfigError as error:  # each value is possible, but not together with the others
        print(f"trial {trial.number} is refused: {error}")
        status = "refused"
    trial.set_user_attr("status", status)
    study.tell(trial, score, state=TrialState.PRUNED if score is None else TrialState.COMPLETE)


def _write_table(study, names: list[str], path: Path) -> pd.DataFrame:
    """A row a finished trial, the best first; those that were stopped or diverged count by what they had reached."""
    rows = []
    for trial in study.get_trials(deepcopy=False, states=_ENDED):
        scores = trial.intermediate_values
        rows.append({
            "trial": trial.number, "status": trial.user_attrs["status"],
            SCORE: max(scores.values(), default=trial.value), "epochs": max(scores, default=0),
            "run": trial.user_attrs["folder"], **{name: trial.params[name] for name in names},
        })  # fmt: skip
    frame = (
        pd.DataFrame(rows)
        .astype({SCORE: float})
        .sort_values([SCORE, "trial"], ascending=[False, True], ignore_index=True)
    )
    write_csv(path, frame)
    return frame
