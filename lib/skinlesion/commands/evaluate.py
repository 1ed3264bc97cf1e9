"""``skinlesion evaluate``: any model's predictions in; metrics, figures and a report out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from skinlesion.commands.data import add_label
from skinlesion.core.errors import ConfigError


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser("evaluate", help="evaluate any model's predictions")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("predictions", metavar="PREDICTIONS", nargs="?", help="a predictions.csv or ISIC 2018 submission")
    what.add_argument("--official", metavar="DIR", help="predict and score the official ISIC 2018 test set in DIR")
    parser.add_argument("--labels", metavar="CSV", help="the truth: ISIC ground truth, HAM10000 metadata or split.csv")
    parser.add_argument("--model", metavar="DIR", help="with --official: a model folder (the shipped one by default)")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for report, metrics and figures")
    parser.add_argument("--prevalence", type=float, default=0.02, metavar="P",
                        help="fraction of malignant lesions that the report assumes (%(default)s)")  # fmt: skip
    parser.add_argument("--split", default="test", help="the split to use, where predictions name splits (%(default)s)")
    add_label(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    output, prevalence = arguments.output, arguments.prevalence
    if arguments.model and not arguments.official:
        raise ConfigError("--model goes with --official alone; `skinlesion external` evaluates a model on other images")
    if arguments.official:
        if arguments.labels or arguments.label:
            raise ConfigError("--labels and --label do not go with --official, which has its truth in DIR")
        from skinlesion.official_test_set import evaluate_official

        progress = sys.stderr.isatty()
        return evaluate_official(arguments.official, arguments.model, output, prevalence=prevalence, progress=progress)
    from skinlesion.evaluation.documents import write_evaluation
    from skinlesion.evaluation.reading import read_predictions

    predictions = read_predictions(arguments.predictions, arguments.labels, arguments.label)
    name = Path(arguments.predictions).name
    return write_evaluation(predictions, output, name, prevalence=prevalence, split=arguments.split)
