"""The command line: ``skinlesion <command>``. Every command imports what it needs when it runs."""

from __future__ import annotations

import argparse
import os
import sys

from skinlesion.errors import SkinLesionError


def main(argv: list[str] | None = None) -> int:
    """Run one command. Returns the exit status: 0 done, 2 an error that the user can mend, 130 interrupted."""
    arguments = _parser().parse_args(argv)
    try:
        status = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except SkinLesionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains when it exits
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="skinlesion", description="Classify skin lesions in dermatoscopic images.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_data(commands.add_parser("data", help="check, download or draw a data set"))
    return parser


def _add_data(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    check = commands.add_parser("check", help="find what is wrong with a data set")
    check.add_argument("data", metavar="PATH", help="a data set, or demo; kind:path forces its kind")
    check.add_argument("--labels", type=int, choices=(7, 8), default=7, help="HAM10000's 7 codes or ISIC's 8 labels")
    check.add_argument("--no-decode", action="store_true", help="trust the images, look at the table only")
    check.add_argument("--output", default="data_check.csv", help="where to list the problems (%(default)s)")
    check.set_defaults(run=data_check)

    download = commands.add_parser("download", help="get HAM10000 or DermaMNIST")
    sets = download.add_subparsers(metavar="SET", required=True)
    ham = sets.add_parser("ham10000", help="from Harvard Dataverse, 2.6 GB")
    ham.add_argument("--to", default="data/ham10000", help="folder (%(default)s)")
    ham.add_argument("--parts", default="images,metadata", help="of images,metadata,segmentations,test (%(default)s)")
    ham.set_defaults(run=data_download_ham10000)
    mnist = sets.add_parser("dermamnist", help="from Zenodo, one small file")
    mnist.add_argument("--to", default="data/dermamnist", help="folder (%(default)s)")
    mnist.add_argument("--size", type=int, choices=(28, 64, 128, 224), default=128, help="pixels (%(default)s)")
    mnist.set_defaults(run=data_download_dermamnist)

    demo = commands.add_parser("demo", help="draw the synthetic demo set")
    demo.add_argument("--to", required=True, help="a new folder")
    demo.add_argument("--images", type=int, default=1500, help="how many (%(default)s)")
    demo.set_defaults(run=data_demo)


def data_check(arguments: argparse.Namespace) -> int:
    from skinlesion.data.check import check_table
    from skinlesion.data.sources import load_table

    table = load_table(arguments.data, arguments.labels)
    check = check_table(table, decode=not arguments.no_decode, progress=sys.stderr.isatty())
    counts = ", ".join(f"{code} {count:,}" for code, count in check.table.counts().items())
    lesions = f" of {check.table.frame['lesion_id'].nunique():,} lesions" if check.table.has_lesions else ""
    print(f"{check.table.source} at {check.table.location}")
    print(f"{len(check.table):,} images{lesions} can be used: {counts}")
    for note in check.table.notes:
        print(note)
    print(f"\n{check.summary.to_string(index=False)}\n")
    check.write(arguments.output)
    print(f"{len(check.problems):,} problems are listed in {arguments.output}")
    return 0


def data_download_ham10000(arguments: argparse.Namespace) -> int:
    from skinlesion.data.download import download_ham10000

    parts = tuple(part.strip() for part in arguments.parts.split(",") if part.strip())
    download_ham10000(arguments.to, parts)
    return _done(arguments.to)


def data_download_dermamnist(arguments: argparse.Namespace) -> int:
    from skinlesion.data.download import download_dermamnist

    download_dermamnist(arguments.to, arguments.size)
    return _done(arguments.to)


def _done(folder: str) -> int:
    print(f"Next: skinlesion data check {folder}")
    return 0


def data_demo(arguments: argparse.Namespace) -> int:
    import shutil
    import tempfile
    from pathlib import Path

    from skinlesion.data.demo import demo_folder
    from skinlesion.errors import ConfigError

    target = Path(arguments.to).expanduser()
    if target.exists():
        raise ConfigError(f"{target} exists already; name a new folder")
    if arguments.images < 1:
        raise ConfigError(f"--images must be 1 or more, not {arguments.images}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as scratch:
        shutil.copytree(demo_folder(arguments.images), Path(scratch) / target.name).replace(target)
    print(f"{target}: {arguments.images:,} synthetic images")
    return _done(str(target))


if __name__ == "__main__":
    sys.exit(main())
