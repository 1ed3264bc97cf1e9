"""The command line: ``skinlesion <command>``. Every command imports what it needs when it runs."""

from __future__ import annotations

import argparse
import os
import sys

from skinlesion.core.errors import SkinLesionError


def main(argv: list[str] | None = None) -> int:
    """Run one command. Returns the exit status: 0 done, 2 an error that the user can mend, 130 interrupted."""
    arguments = _parser().parse_args(argv)
    try:
        status = arguments.run_command(arguments)
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
    _add_train(commands.add_parser("train", help="train a network, without notebooks"))
    _add_sweep(commands.add_parser("sweep", help="try recipes drawn from a space of parameters"))
    _add_evaluate(commands.add_parser("evaluate", help="judge any model's predictions"))
    _add_compare(commands.add_parser("compare", help="how runs differ on the same lesions"))
    _add_external(commands.add_parser("external", help="judge a model on images of another place"))
    _add_predict(commands.add_parser("predict", help="classify images"))
    _add_score(commands.add_parser("score", help="classify archives of images, into Parquet files"))
    return parser


def _add_data(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    check = commands.add_parser("check", help="find what is wrong with a data set")
    check.add_argument("data", metavar="PATH", help="a data set, or demo; kind:path forces its kind")
    check.add_argument("--labels", type=int, choices=(7, 8), default=7, help="HAM10000's 7 codes or ISIC's 8 labels")
    check.add_argument("--no-decode", action="store_true", help="trust the images, look at the table only")
    check.add_argument("--output", default="data_check.csv", help="where to list the problems (%(default)s)")
    check.set_defaults(run_command=data_check)

    twins = commands.add_parser("twins", help="find images of one lesion, within and across data sets")
    twins.add_argument("data", metavar="PATH", nargs="+", help="data sets; kind:path forces the kind of one")
    twins.add_argument("--labels", type=int, choices=(7, 8), default=7, help="HAM10000's 7 codes or ISIC's 8 labels")
    twins.add_argument("--model", metavar="DIR", help="whose network computes the features (the shipped model's)")
    twins.add_argument("--output", default="twins", metavar="DIR", help="where the findings go (%(default)s)")
    twins.set_defaults(run_command=data_twins)

    download = commands.add_parser("download", help="get HAM10000 or DermaMNIST")
    sets = download.add_subparsers(metavar="SET", required=True)
    ham = sets.add_parser("ham10000", help="from Harvard Dataverse, 2.6 GB")
    ham.add_argument("--to", default="data/ham10000", help="folder (%(default)s)")
    ham.add_argument("--parts", default="images,metadata", help="of images,metadata,segmentations,test (%(default)s)")
    ham.set_defaults(run_command=data_download_ham10000)
    mnist = sets.add_parser("dermamnist", help="from Zenodo, one small file")
    mnist.add_argument("--to", default="data/dermamnist", help="folder (%(default)s)")
    mnist.add_argument("--size", type=int, choices=(28, 64, 128, 224), default=128, help="pixels (%(default)s)")
    mnist.set_defaults(run_command=data_download_dermamnist)

    demo = commands.add_parser("demo", help="draw the synthetic demo set")
    demo.add_argument("--to", required=True, help="a new folder")
    demo.add_argument("--images", type=int, default=1500, help="how many (%(default)s)")
    demo.set_defaults(run_command=data_demo)


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", metavar="PATH", help="a data set, or demo (the recipe's by default)")
    parser.add_argument("--config", default="quick", metavar="F", help="a recipe in configs/ or a JSON file (quick)")
    parser.add_argument("--run", required=True, metavar="DIR", help="the run's folder")
    parser.add_argument("--set", metavar="NAME=VALUE", nargs="+", action="extend", default=[], help="change parameters")
    parser.set_defaults(run_command=train)


def _add_sweep(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", metavar="PATH", help="a data set, or demo (the recipe's by default)")
    parser.add_argument("--config", default="quick", metavar="F", help="the recipe that the space changes (quick)")
    parser.add_argument("--space", required=True, metavar="F", help="a JSON file: what to draw from, by parameter")
    parser.add_argument("--run", required=True, metavar="DIR", help="the sweep's folder; go on there if interrupted")
    parser.add_argument("--trials", type=int, default=20, metavar="N", help="until there are so many (%(default)s)")
    parser.add_argument("--set", metavar="NAME=VALUE", nargs="+", action="extend", default=[], help="change parameters")
    parser.set_defaults(run_command=sweep)


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("predictions", metavar="PREDICTIONS", nargs="?", help="a predictions.csv or ISIC 2018 submission")
    what.add_argument("--official", metavar="DIR", help="predict and score the official ISIC 2018 test set in DIR")
    parser.add_argument("--labels", metavar="CSV", help="the truth: ISIC ground truth, HAM10000 metadata or split.csv")
    parser.add_argument("--model", metavar="DIR", help="with --official: a model folder (the shipped one by default)")
    parser.add_argument("--output", required=True, metavar="DIR", help="where the report, metrics and figures go")
    parser.add_argument("--prevalence", type=float, default=0.02, metavar="P",
                        help="share of malignant lesions for the plain words (%(default)s)")  # fmt: skip
    parser.add_argument("--split", default="test", help="which one, where the predictions name splits (%(default)s)")
    parser.set_defaults(run_command=evaluate)


def _add_compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", metavar="RUN", nargs="+", help="run folders or predictions; compared with the first")
    parser.add_argument("--labels", metavar="CSV", help="the truth, for files that hold none")
    parser.add_argument("--shared", action="store_true", help="where images differ: compare on those that all share")
    parser.add_argument("--output", default="comparison", metavar="DIR", help="where it goes (%(default)s)")
    parser.add_argument("--split", default="test", help="which one, where predictions name splits (%(default)s)")
    parser.set_defaults(run_command=compare)


def _add_external(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", required=True, metavar="PATH", help="a data set that the model has not seen")
    parser.add_argument("--model", metavar="DIR", help="a model folder (the shipped model by default)")
    parser.add_argument("--output", required=True, metavar="DIR", help="where predictions, figures and numbers go")
    parser.add_argument("--training", metavar="PATH", help="the training data, to leave out what they hold too")
    parser.add_argument("--label", metavar="WORD=CODE", nargs="+", action="extend", default=[],
                        help="what a label of the data set means, where that isn't known")  # fmt: skip
    parser.add_argument("--card", action="store_true", help="put the figures into the model's manifest and card")
    parser.set_defaults(run_command=external)


def _add_predict(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="JPEG, PNG, WebP or TIFF files")
    parser.add_argument("--model", metavar="DIR", help="a model folder (the shipped model by default)")
    parser.add_argument("--format", choices=("table", "json", "csv"), default="table", help="%(default)s")
    parser.add_argument("--output", metavar="F", help="a file, instead of the screen")
    parser.set_defaults(run_command=predict)


def _add_score(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sources", metavar="SOURCE", nargs="+",
                        help="folder, .zip, pattern in quotes, or URL (s3://, gs://, https://) of one")  # fmt: skip
    parser.add_argument("--output", required=True, metavar="DIR", help="a folder or URL; go on there if interrupted")
    parser.add_argument("--engine", choices=("local", "ray"), default="local",
                        help="this machine, or the Ray cluster at RAY_ADDRESS (%(default)s)")  # fmt: skip
    parser.add_argument("--shard", default="1/1", metavar="i/N", help="do the i-th of N shares (%(default)s)")
    parser.add_argument("--model", metavar="DIR", help="a model folder (the shipped model by default)")
    parser.set_defaults(run_command=score)


def _recipe(arguments: argparse.Namespace):
    """The configuration that ``--config``, ``--data`` and ``--set`` ask for."""
    from pathlib import Path

    import skinlesion
    from skinlesion.pipeline import resolve

    configs = Path(skinlesion.__file__).parents[2] / "configs"
    return resolve(configs, recipe=arguments.config, data=arguments.data, settings=arguments.set)


def train(arguments: argparse.Namespace) -> int:
    from skinlesion.commands.train import train as train_run
    from skinlesion.core.runs import Run

    return train_run(_recipe(arguments), Run(arguments.run), progress=sys.stderr.isatty())


def sweep(arguments: argparse.Namespace) -> int:
    import json
    from pathlib import Path

    from skinlesion.core.errors import ConfigError
    from skinlesion.pipeline.sweep import sweep as run_sweep

    try:
        space = json.loads(Path(arguments.space).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{arguments.space} is no JSON file that can be read ({error})") from None
    return run_sweep(_recipe(arguments), space, Path(arguments.run), arguments.trials, progress=sys.stderr.isatty())


def evaluate(arguments: argparse.Namespace) -> int:
    if arguments.official:
        from skinlesion.commands.official import evaluate_official

        return evaluate_official(
            arguments.official,
            arguments.model,
            arguments.output,
            prevalence=arguments.prevalence,
            progress=sys.stderr.isatty(),
        )
    from skinlesion.commands.evaluate import evaluate as evaluate_file

    return evaluate_file(
        arguments.predictions,
        arguments.labels,
        arguments.output,
        prevalence=arguments.prevalence,
        split=arguments.split,
    )


def compare(arguments: argparse.Namespace) -> int:
    from skinlesion.commands.evaluate import compare as compare_runs

    return compare_runs(arguments.runs, arguments.labels, arguments.output, arguments.shared, arguments.split)


def external(arguments: argparse.Namespace) -> int:
    from skinlesion.commands.external import evaluate_elsewhere

    return evaluate_elsewhere(
        arguments.data,
        arguments.model,
        arguments.output,
        training=arguments.training,
        words=arguments.label,
        into_card=arguments.card,
    )


def predict(arguments: argparse.Namespace) -> int:
    from skinlesion.commands.predict import predict as predict_files

    return predict_files(arguments.images, arguments.model, arguments.format, arguments.output)


def score(arguments: argparse.Namespace) -> int:
    from skinlesion.serving.score import score as score_images

    return score_images(
        arguments.sources,
        arguments.output,
        engine=arguments.engine,
        shard=arguments.shard,
        model=arguments.model,
    )


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


def data_twins(arguments: argparse.Namespace) -> int:
    from skinlesion.commands.twins import twins

    return twins(
        arguments.data,
        model=arguments.model,
        output=arguments.output,
        labels=arguments.labels,
        progress=sys.stderr.isatty(),
    )


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
    from pathlib import Path

    from skinlesion.data.demo.dataset import make_demo

    folder = make_demo(Path(arguments.to).expanduser(), arguments.images, progress=sys.stderr.isatty())
    print(f"{folder}: {arguments.images:,} synthetic images")
    return _done(str(folder))


if __name__ == "__main__":
    sys.exit(main())
