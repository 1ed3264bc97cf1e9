"""``skinlesion data``: check a data set, find its twins, download or draw one."""

from __future__ import annotations

import argparse
import sys


def add_parser(subparsers) -> None:
    commands = subparsers.add_parser("data", help="check, download or draw a data set, find twins").add_subparsers(
        metavar="COMMAND", required=True
    )
    check = commands.add_parser("check", help="find what is wrong with data sets")
    twins = commands.add_parser("twins", help="find images of one lesion, within and across data sets")
    for parser in (check, twins):
        parser.add_argument("data", metavar="PATH", nargs="+", help="data sets, or demo; kind:path forces the kind")
        parser.add_argument("--labels", type=int, choices=(7, 8), default=7, help="HAM10000's 7 codes or ISIC's 8")
        add_label(parser)
    check.add_argument("--no-decode", action="store_true", help="check the table only, do not open the images")
    check.add_argument(
        "--output", default="data_check.csv", metavar="F", help="file for the list of problems (%(default)s)"
    )
    check.set_defaults(run=run_check)
    twins.add_argument("--model", metavar="DIR", help="the model that computes the features (the shipped model)")
    twins.add_argument("--output", default="twins", metavar="DIR", help="folder for the result (%(default)s)")
    twins.set_defaults(run=run_twins)

    sets = commands.add_parser("download", help="get HAM10000 or DermaMNIST").add_subparsers(
        metavar="SET", required=True
    )
    ham = sets.add_parser("ham10000", help="from Harvard Dataverse, 2.6 GB")
    ham.add_argument("--to", default="data/ham10000", metavar="DIR", help="folder (%(default)s)")
    ham.add_argument(
        "--parts", default="images,metadata", help="some of images,metadata,segmentations,test (%(default)s)"
    )
    ham.set_defaults(run=run_download_ham10000)
    mnist = sets.add_parser("dermamnist", help="from Zenodo, one small file")
    mnist.add_argument("--to", default="data/dermamnist", metavar="DIR", help="folder (%(default)s)")
    mnist.add_argument("--size", type=int, choices=(28, 64, 128, 224), default=128, help="pixels (%(default)s)")
    mnist.set_defaults(run=run_download_dermamnist)

    demo = commands.add_parser("demo", help="draw the synthetic demo set")
    demo.add_argument("--to", metavar="DIR", required=True, help="a new folder")
    demo.add_argument("--images", metavar="N", type=int, help="how many (as many as --data demo has)")
    demo.set_defaults(run=run_demo)


def add_label(parser: argparse.ArgumentParser) -> None:
    """``--label``, which all commands take that read labels."""
    parser.add_argument("--label", metavar="WORD=CODE", nargs="+", action="extend", default=[],
                        help="the class that an unknown label of the data stands for")  # fmt: skip


def run_check(arguments: argparse.Namespace) -> int:
    from skinlesion.core.tables import counted
    from skinlesion.core.writing import need_writable
    from skinlesion.data.check import check_table
    from skinlesion.data.sources import load_table

    need_writable(arguments.output, folder=False)
    table = load_table(arguments.data, arguments.labels, words=arguments.label)
    check = check_table(table, decode=not arguments.no_decode, progress=sys.stderr.isatty())
    print(check.describe())
    check.write(arguments.output)
    print(f"\n{counted(len(check.problems), 'problem')}, listed in {arguments.output}")
    return 0


def run_twins(arguments: argparse.Namespace) -> int:
    from skinlesion.commands import twins

    return twins.run(arguments)


def run_download_ham10000(arguments: argparse.Namespace) -> int:
    from skinlesion.data.download import download_ham10000

    parts = tuple(part.strip() for part in arguments.parts.split(",") if part.strip())
    download_ham10000(arguments.to, parts)
    return _done(arguments.to)


def run_download_dermamnist(arguments: argparse.Namespace) -> int:
    from skinlesion.data.download import download_dermamnist

    download_dermamnist(arguments.to, arguments.size)
    return _done(arguments.to)


def run_demo(arguments: argparse.Namespace) -> int:
    from pathlib import Path

    from skinlesion.data.demo.dataset import IMAGES, make_demo

    number = IMAGES if arguments.images is None else arguments.images
    folder = make_demo(Path(arguments.to).expanduser(), number, progress=sys.stderr.isatty())
    print(f"{folder}: {number:,} synthetic images")
    return _done(str(folder))


def _done(folder: str) -> int:
    print(f"Next: skinlesion data check {folder}")
    return 0
