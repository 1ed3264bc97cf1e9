"""One module for each subcommand of ``skinlesion``: ``add_parser(subparsers)``, and ``run(arguments)`` -> exit status.

Modules import what they need when they run: the command line starts without NumPy, pandas and torch.
"""

import argparse

from skinlesion.core.errors import ConfigError


def refuse_empty(arguments: argparse.Namespace) -> None:
    """Raise ConfigError for an empty value: a path that is empty would be the folder that one is in."""
    for name, value in vars(arguments).items():
        if value == "" or (isinstance(value, list) and "" in value):
            raise ConfigError(f"a value of {name} is empty; is a variable of your shell not set?")
