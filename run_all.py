"""Run the series of notebooks and leave its reports: ``python run_all.py --data demo --preset quick``.

Exit status: 0 if every notebook ran (and all was published), 1 if one failed, 2 if nothing could run or be published,
130 if interrupted. ``reports/NAME/run.json`` tells programs what a run did, ``status.json`` what a group of runs did.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path


def lacks(error: ModuleNotFoundError) -> int:
    """Say what this Python lacks, and what to do about it; the exit status."""
    print(f"error: {sys.executable} has no {error.name}; make setup, then .venv/bin/python run_all.py", file=sys.stderr)
    return 2


try:
    from skinlesion import pipeline
    from skinlesion.commands import refuse_empty
    from skinlesion.commands.train import ListParameters
    from skinlesion.core.errors import ConfigError, SkinLesionError
except ModuleNotFoundError as error:
    sys.exit(lacks(error))

ROOT = Path(__file__).resolve().parent


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Run the notebooks and write HTML reports to reports/NAME/.")
    add = parser.add_argument
    add("--data", metavar="PATH", nargs="+",
        help="'demo' (built in, the default) or the places of data sets; KIND:PATH forces a kind")  # fmt: skip
    add("--preset", nargs="+", default=["quick"], choices=tuple(pipeline.PRESETS),
        help="how much to compute; default: quick, which takes a few minutes on the demo")  # fmt: skip
    add("--run", metavar="NAME", help="folder under reports/; default: demo, or made from data and recipe")
    add("--config", metavar="RECIPE", nargs="+", default=[None],
        help="name of a recipe, or a JSON file, instead of the preset's")  # fmt: skip
    add(
        "--folds",
        metavar="FOLD",
        nargs="+",
        type=int,
        default=[None],
        help="the folds that validate, one run each; default: fold 0",
    )
    add("--leave-one-source-out", action="store_true",
        help="one run per source of --data, tested on that source alone, and one table of all")  # fmt: skip
    add("--jobs", type=_positive, default=1, metavar="N",
        help="runs at a time, of several presets, recipes or folds, which are compared at the end")  # fmt: skip
    add("--output", metavar="PLACE", help="copy the finished reports there too: a folder or URL (s3://bucket/reports)")
    add("--set", metavar="NAME=VALUE", nargs="+", action="extend", default=[], help="change single parameters")
    add("--list-parameters", action=ListParameters, nargs=0, help="explain all parameters and recipes, and exit")
    add("--labels", type=int, choices=(7, 8), help="7 HAM10000 codes or 8 ISIC Archive labels")
    add("--label", metavar="WORD=CODE", nargs="+", action="extend", default=[],
        help="the class that an unknown label of the data set stands for")  # fmt: skip
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--from", metavar="03", dest="start", help="run this notebook and all after it again")
    which.add_argument("--only", metavar="04", help="run this notebook alone")
    which.add_argument("--force", action="store_true", help="run all notebooks again, up to date or not")
    add("--cell-timeout", type=_positive, default=pipeline.CELL_TIMEOUT, metavar="SECONDS", help="default: %(default)s")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of 1 or more, not {text!r}")
    return int(text)


def _config(given: argparse.Namespace, preset: str, recipe: str | None, fold: int | None, source: str = ""):
    settings = given.set if fold is None else [*given.set, f"fold={fold}"]
    settings = [*settings, f"holdout_source={source}"] if source else settings
    return pipeline.resolve(
        preset=preset, recipe=recipe, data=given.data, labels=given.labels, words=given.label, settings=settings
    )


def _sources(given: argparse.Namespace) -> list[str]:
    """The sources that are held out, one after the other; none ("") unless that is asked for."""
    if not given.leave_one_source_out:
        return [""]
    from skinlesion.data.sources import source_names

    names = source_names(_config(given, given.preset[0], given.config[0], None).data)
    if len(names) < 2:
        raise ConfigError(f"--leave-one-source-out needs several sources, and {names[0]} is the only one: --data A B")
    return names


def main(arguments: list[str] | None = None, *, notebooks=ROOT / "notebooks", reports=ROOT / "reports") -> int:
    given = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a cancelled job ends as tidily as Ctrl-C
    try:
        refuse_empty(given)
        runs = {
            name: (_config(given, *asked), asked.preset)
            for name, asked in pipeline.members(given.preset, given.config, given.folds, _sources(given)).items()
        }
        options = {name: getattr(given, name) for name in ("start", "only", "force", "cell_timeout")}
        for config, _ in runs.values():
            pipeline.need_data(config)
        (config, preset), *others = runs.values()
        if others and not given.run:
            raise ConfigError("several runs need a name for their common folder: --run NAME")
        if given.output:
            pipeline.need_place(given.output)
        name = given.run or pipeline.run_name(config, preset, given.config[0])
        folder = pipeline.run_folder(reports, name)
        status = (
            pipeline.run_group(runs, folder, notebooks, jobs=given.jobs, **options)
            if others
            else pipeline.run_series(config, folder, notebooks, preset=preset, **options)
        )
        if given.output and status != 130:  # of a failed run, too: its reports tell why
            pipeline.publish(folder, given.output)
            print(f"published: {given.output.rstrip('/')}/{name}")
        return status
    except SkinLesionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:  # of an installation for predictions alone
        return lacks(error)
    except OSError as error:  # a folder that may not be listed, a name that is too long
        print(f"error: {error}; check its name, its permissions and the space on the disk", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
