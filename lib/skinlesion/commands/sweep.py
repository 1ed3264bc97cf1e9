"""``skinlesion sweep``: try recipes drawn from a space of parameters."""

from __future__ import annotations

import argparse
import sys

from skinlesion.commands.train import add_recipe_options, configuration, twin_features
from skinlesion.core.errors import ConfigError


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser("sweep", help="try recipes drawn from a space of parameters")
    add_recipe_options(parser)
    parser.add_argument(
        "--space", required=True, metavar="F", help="a JSON file: for each parameter, what to draw from"
    )
    parser.add_argument("--run", required=True, metavar="DIR", dest="folder",
                        help="the sweep's folder; an interrupted sweep continues")  # fmt: skip
    parser.add_argument("--trials", type=int, default=20, metavar="N", help="number of trials in all (%(default)s)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    import json
    from pathlib import Path

    from skinlesion.pipeline.sweep import sweep

    try:
        space = json.loads(Path(arguments.space).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{arguments.space} is not a JSON file that can be read ({error})") from None
    config, folder = configuration(arguments), Path(arguments.folder)
    features = twin_features(config)
    return sweep(config, space, folder, arguments.trials, features=features, progress=sys.stderr.isatty())
