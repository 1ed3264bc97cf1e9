"""``skinlesion train``: what notebooks 01 to 03 do, without notebooks, in one process or many."""

from __future__ import annotations

import argparse

from skinlesion.commands.data import add_label


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser("train", help="train a network, without notebooks")
    add_recipe_options(parser)
    parser.add_argument("--run", required=True, metavar="DIR", dest="folder", help="the run's folder")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from skinlesion.core.runs import Run
    from skinlesion.training.standalone import train

    config = configuration(arguments)
    return train(config, Run(arguments.folder), features=twin_features(config))


def twin_features(config):
    """What makes the features by which twins are found, where the configuration has ``twins``; else None."""

    def features():
        from skinlesion.serving.features import Features

        return Features(views=1)

    return features if config.twins else None


def add_recipe_options(parser: argparse.ArgumentParser) -> None:
    """``--config``, ``--data``, ``--set`` and the list of what can be set."""
    add = parser.add_argument
    add("--data", metavar="PATH", nargs="+", help="data sets, or demo (the recipe's by default)")
    add("--config", default="quick", metavar="F", help="name of a recipe, or a JSON file (quick)")
    add_label(parser)
    add("--set", metavar="NAME=VALUE", nargs="+", action="extend", default=[], help="change parameters")
    add("--list-parameters", action=ListParameters, nargs=0, help="explain all parameters and recipes, and exit")


def configuration(arguments: argparse.Namespace):
    """The configuration that these options ask for."""
    from skinlesion.pipeline import resolve

    return resolve(recipe=arguments.config, data=arguments.data, words=arguments.label, settings=arguments.set)


class ListParameters(argparse.Action):
    """Print all recipes and parameters, and exit."""

    def __call__(self, parser, namespace, values, option_string=None):
        from skinlesion.core.config import list_parameters
        from skinlesion.core.recipes import list_recipes

        print(f"recipes:\n{list_recipes()}\n\n{list_parameters()}")
        parser.exit()
