"""``skinlesion external``: evaluate a model on an external data set."""

from __future__ import annotations

import argparse

from skinlesion.commands.data import add_label


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser("external", help="evaluate a model on external images")
    parser.add_argument("--data", required=True, metavar="PATH", help="a data set that the model was not trained on")
    parser.add_argument("--model", metavar="DIR", help="a model folder (the shipped model by default)")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for predictions, figures and metrics")
    parser.add_argument("--training", metavar="PATH", nargs="+", help="all training data, whose images are left out")
    add_label(parser)
    parser.add_argument("--card", action="store_true", help="put the figures into the model's manifest and card")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from skinlesion.external_images import evaluate_external

    return evaluate_external(
        arguments.data, arguments.model, arguments.output,
        training=arguments.training, words=arguments.label, into_card=arguments.card,
    )  # fmt: skip
