"""The environments of what we are compared with, under build/rivals: ``make bench-rivals`` (some minutes, 2.5 GB).

fastai    beside this project's own packages, so that both sides run the same torch; what it adds stays in its folder
sklesion  wholly apart: it pins tensorflow 2.17 and numpy 1.26, for Python 3.11 and 3.12, and ships pickles, which
          nothing of ours loads

Both are optional: where one is missing, its bars are too.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from benchmarks.measure import RIVALS, rival

WANTED = {"fastai": "fastai==2.8.12", "sklesion": "sklesion==0.2.2"}


def make(name: str) -> None:
    """Make one environment, or leave it as it is."""
    if (RIVALS / name / "made").exists():
        print(f"== rivals: {name} is there")
        return
    print(f"== rivals: {name}, from {WANTED[name]}", flush=True)
    venv.create(RIVALS / name, with_pip=True, clear=True)
    python = rival(name)
    if name == "fastai":
        purelib = subprocess.check_output(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
        )
        (Path(purelib.strip()) / "workbench.pth").write_text(sysconfig.get_path("purelib") + "\n")
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", WANTED[name]]
    if subprocess.run(command).returncode:
        raise SystemExit(f"error: {WANTED[name]} could not be installed for Python {sys.version.split()[0]}; see above")
    (RIVALS / name / "made").touch()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"{', '.join(WANTED)}; all of them where none is named"
    )
    names = parser.parse_args().names or list(WANTED)
    if unknown := set(names) - set(WANTED):
        parser.error(f"there is no rival {', '.join(unknown)}")
    for name in names:
        make(name)


if __name__ == "__main__":
    main()
