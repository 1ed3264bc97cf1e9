"""``python -m app.device [--model DIR] [--output DIR]``: build the on-device page, which needs Node.js."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from app.device.build import build_site
from app.device.page import SITE
from skinlesion.core.errors import SkinLesionError


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m app.device", description="Build the on-device page.")
    parser.add_argument("--model", metavar="DIR", help="an exported model's folder (default: the shipped model)")
    parser.add_argument("--output", metavar="DIR", type=Path, default=SITE, help="the folder to write (build/site)")
    chosen = parser.parse_args(arguments)
    try:
        parts = build_site(Path(chosen.model) if chosen.model else None, chosen.output)
    except SkinLesionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    more = parts.pop("graphics") / 1e6
    told = ", ".join(f"{part} {size / 1e6:.1f}" for part, size in parts.items())
    total = sum(parts.values()) / 1e6
    print(f"{chosen.output}: {total:.1f} MB to download ({told}), {more:.1f} more with the graphics processor")
    return 0


if __name__ == "__main__":
    sys.exit(main())
