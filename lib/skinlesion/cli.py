"""The command line: ``skinlesion <command>``, put together from :mod:`skinlesion.commands`."""

from __future__ import annotations

import argparse
import os
import sys

from skinlesion import __version__
from skinlesion.commands import compare, data, evaluate, external, index, predict, refuse_empty, score, sweep, train
from skinlesion.core.errors import SkinLesionError

COMMANDS = (data, train, sweep, evaluate, compare, external, predict, score, index)


def parser() -> argparse.ArgumentParser:
    """The parser of all commands; ``run`` of what it parses is the function to call."""
    parser = argparse.ArgumentParser(prog="skinlesion", description="Classify skin lesions in dermatoscopic images.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(subparsers)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one command. Returns the exit status: 0 done, 2 an error that the user can fix, 130 interrupted."""
    given = sys.argv[1:] if argv is None else argv
    arguments = parser().parse_args(given or ["--help"])
    try:
        refuse_empty(arguments)
        status = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except SkinLesionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:  # after `pip install .`, which brings what predictions need
        if str(error.name).partition(".")[0] == "skinlesion":
            raise
        install = "pip install 'skin-lesion-lab[lab,scale]'"
        print(f"error: this command needs {error.name}, which is not installed; {install}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output, such as head, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains when it exits
        return 0
    except OSError as error:  # a folder that may not be listed, a name that is too long
        print(f"error: {error}; check its name, its permissions and the space on the disk", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
