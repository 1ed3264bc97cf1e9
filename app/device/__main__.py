"""``python -m app.device [--model DIR] [--output DIR] [--missing]``: build the on-device page, which needs Node.js."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from skinlesion.core.errors import ConfigError, ModelError, SkinLesionError
from skinlesion.serving.manifest import Manifest


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m app.device", description="Build the on-device page.")
    parser.add_argument("--model", metavar="DIR", help="an exported model's folder (default: the shipped model)")
    parser.add_argument("--output", metavar="DIR", type=Path, help="the folder to write (build/site)")
    parser.add_argument("--missing", action="store_true", help="only where Node.js is, and no page of this model")
    chosen = parser.parse_args(arguments)
    try:
        from app.device.page import SITE, up_to_date  # which load the words, and those may be of no language

        output = chosen.output or SITE
        if chosen.missing and (not shutil.which("npm") or up_to_date(output, Manifest.read(chosen.model or None))):
            return 0
        print(f"building the on-device page in {output}: half a minute, once for each model", flush=True)
        from app.device.build import build_site  # which loads onnx

        parts = build_site(Path(chosen.model) if chosen.model else None, output)
    except SkinLesionError as error:
        print(f"error: {error}", file=sys.stderr)
        # 1: the app can do without this page. 2: a mistake that would stop the app, too.
        return 1 if chosen.missing and not isinstance(error, (ConfigError, ModelError)) else 2
    more = parts.pop("graphics") / 1e6
    listed = ", ".join(f"{part} {size / 1e6:.1f}" for part, size in parts.items())
    total = sum(parts.values()) / 1e6
    print(f"{output}: {total:.1f} MB to download ({listed}), {more:.1f} more with the graphics processor")
    return 0


if __name__ == "__main__":
    sys.exit(main())
