"""The figures in README.md, SECURITY.md and docs/, written from the committed results.

    python -m experiments.figures            # rewrite them; `make bench` and `make figures` do the same
    python -m experiments.figures --check    # exit status 1 where a page differs from the results

A page has ``<!-- figures: NAME -->`` and ``<!-- end -->`` around what NAME in experiments/tables.py,
experiments/recipe_tables.py or benchmarks/tables.py returns: a table, or a few words within a sentence. Text outside
the marks stays as it is.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import tables as speed
from experiments import recipe_tables, tables
from experiments.recipes import ROOT
from skinlesion.core.writing import write_text

FIGURES = tables.FIGURES | recipe_tables.FIGURES | speed.FIGURES
MARK = re.compile(r"(<!-- figures: ([a-z][a-z0-9-]*) -->)(.*?)(<!-- end -->)", re.S)


def pages() -> Iterator[Path]:
    """The pages that may hold figures."""
    yield from (ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md")))


def rewritten(text: str, figures: dict[str, Callable[[], str]] | None = None) -> str:
    """A page with its figures written anew.

    Raises
    ------
    ValueError
        For a mark that names no figures, or has no end.
    """
    known = FIGURES if figures is None else figures

    def one(match: re.Match) -> str:
        if match[2] not in known:
            raise ValueError(f"there are no figures {match[2]!r}; known are {', '.join(sorted(known))}")
        if "<!-- figures:" in match[3]:
            raise ValueError(f"the figures {match[2]!r} have no <!-- end -->")
        found = known[match[2]]().strip()
        return f"{match[1]}\n\n{found}\n\n{match[4]}" if "\n" in found else f"{match[1]}{found}{match[4]}"

    if len(re.findall(r"<!-- figures: [a-z]", text)) != len(MARK.findall(text)):
        raise ValueError("some figures have no <!-- end -->")
    return MARK.sub(one, text)


def changed() -> dict[Path, str]:
    """The pages that differ from the results, as they should be."""
    found = {}
    for path in pages():
        text = path.read_text(encoding="utf-8")
        try:
            if (new := rewritten(text)) != text:
                found[path] = new
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    return found


def write() -> None:
    """Write the figures of all pages."""
    wrong = changed()
    for path, text in wrong.items():
        write_text(path, text)
        print(f"wrote the figures of {path.relative_to(ROOT)}")
    if not wrong:
        print("all pages have the figures of the committed results")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 where a page differs")
    given = parser.parse_args(argv)
    try:
        if not given.check:
            write()
        elif wrong := changed():
            names = ", ".join(str(path.relative_to(ROOT)) for path in wrong)
            sys.exit(f"error: the figures of {names} differ from the results; run `python -m experiments.figures`")
    except ValueError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
