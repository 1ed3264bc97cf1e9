"""``skinlesion compare``: paired differences between runs on the same lesions."""

from __future__ import annotations

import argparse

from skinlesion.commands.data import add_label


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser("compare", help="how runs differ on the same lesions")
    parser.add_argument(
        "runs", metavar="RUN", nargs="+", help="run folders or anybody's predictions; compared with the first"
    )
    parser.add_argument("--labels", metavar="CSV", help="the truth, for files that hold none (else another run's)")
    parser.add_argument("--training", metavar="RUN=CSV", action="append", default=[],
                        help="images that a run was trained on; not needed for a folder with split.csv")  # fmt: skip
    parser.add_argument("--twins", metavar="CSV", help="twin groups of images, as `skinlesion data twins` writes them")
    parser.add_argument("--shared", action="store_true", help="compare only on the images that all runs share")
    parser.add_argument(
        "--output", default="comparison", metavar="DIR", help="folder for report and figures (%(default)s)"
    )
    parser.add_argument("--split", default="test", help="the split to use, where predictions name splits (%(default)s)")
    add_label(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from skinlesion.evaluation.documents import compare_files

    return compare_files(
        arguments.runs, arguments.labels, arguments.output, arguments.shared, arguments.split, words=arguments.label,
        training=arguments.training, twins=arguments.twins,
    )  # fmt: skip
