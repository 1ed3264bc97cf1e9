"""``skinlesion compare``: paired differences between runs on the same lesions."""

from __future__ import annotations

import argparse

from skinlesion.commands.data import add_label


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser("compare", help="how runs differ on the same lesions")
    parser.add_argument("runs", metavar="RUN", nargs="+", help="run folders or predictions; compared with the first")
    parser.add_argument("--labels", metavar="CSV", help="the truth, for files that hold none")
    parser.add_argument("--shared", action="store_true", help="where images differ: compare on those that all share")
    parser.add_argument("--output", default="comparison", metavar="DIR", help="where it goes (%(default)s)")
    parser.add_argument("--split", default="test", help="which one, where predictions name splits (%(default)s)")
    add_label(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from skinlesion.evaluation.documents import compare_files

    return compare_files(
        arguments.runs, arguments.labels, arguments.output, arguments.shared, arguments.split, words=arguments.label
    )
