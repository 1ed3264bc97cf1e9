"""``skinlesion score``: classify archives of images, into Parquet files."""

from __future__ import annotations

import argparse


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser("score", help="classify archives of images, into Parquet files")
    parser.add_argument("sources", metavar="SOURCE", nargs="+",
                        help="folder, .zip, pattern in quotes, or URL (s3://, gs://, https://) of one")  # fmt: skip
    parser.add_argument("--output", required=True, metavar="DIR", help="a folder or URL; an interrupted run continues")
    parser.add_argument("--engine", choices=("local", "ray"), default="local",
                        help="this machine, or the Ray cluster at RAY_ADDRESS (%(default)s)")  # fmt: skip
    parser.add_argument("--shard", default="1/1", metavar="i/N", help="score the i-th of N shares (%(default)s)")
    parser.add_argument("--model", metavar="DIR", help="a model folder (the shipped model by default)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from skinlesion.serving.score import score

    return score(
        arguments.sources, arguments.output,
        engine=arguments.engine, shard=arguments.shard, model=arguments.model,
    )  # fmt: skip
