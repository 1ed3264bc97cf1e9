"""Run the series of notebooks and leave its reports: ``python run_all.py --data demo --preset quick``."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from skinlesion import pipeline
from skinlesion.errors import SkinLesionError

ROOT = Path(__file__).resolve().parent


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Run the notebooks and write HTML reports to reports/NAME/.")
    add = parser.add_argument
    add("--data", help="'demo' (the default, built in) or the place of a data set: folder, .csv or .npz")
    add("--preset", default="quick", choices=tuple(pipeline.PRESETS), help="default: quick")
    add("--run", metavar="NAME", help="folder under reports/; default: demo, or made from data and recipe")
    add("--config", metavar="RECIPE", help="name of a recipe in configs/ or a JSON file, instead of the preset's")
    add("--set", metavar="NAME=VALUE", nargs="+", action="extend", default=[], help="change single parameters")
    add("--labels", type=int, choices=(7, 8), help="7 HAM10000 codes or 8 ISIC Archive labels")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--from", metavar="03", dest="start", help="run this notebook and all after it again")
    which.add_argument("--only", metavar="04", help="run this notebook alone")
    which.add_argument("--force", action="store_true", help="run all notebooks again, up to date or not")
    add("--cell-timeout", type=_seconds, default=pipeline.CELL_TIMEOUT, metavar="SECONDS", help="default: %(default)s")
    return parser


def _seconds(text: str) -> int:
    seconds = int(text)
    if seconds < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return seconds


def main(arguments: list[str] | None = None, *, notebooks=ROOT / "notebooks", reports=ROOT / "reports") -> int:
    given = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a cancelled job ends as tidily as Ctrl-C
    try:
        config = pipeline.resolve(
            ROOT / "configs",
            preset=given.preset,
            recipe=given.config,
            data=given.data,
            labels=given.labels,
            settings=given.set,
        )
        name = given.run or pipeline.run_name(config, given.preset, given.config)
        return pipeline.run_series(
            config,
            pipeline.run_folder(reports, name),
            notebooks,
            start=given.start,
            only=given.only,
            force=given.force,
            cell_timeout=given.cell_timeout,
            preset=given.preset,
        )
    except SkinLesionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
