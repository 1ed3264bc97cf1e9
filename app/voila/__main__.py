"""The Voila view: the Flask page's results inside a notebook. ``python -m app.voila`` serves ``widget.ipynb``.

``jupyter/voila.json`` holds Voila's settings: a kernel with the model loaded waits for each visitor and is replaced
once the page stands; unused kernels end after an hour; nothing but the view is served, under no name but
this machine's; the browser may send requests to no other host; and one message has room for ten images.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
from pathlib import Path

from skinlesion.core.errors import SkinLesionError
from skinlesion.serving.neighbours import INDEX, Neighbours
from skinlesion.serving.predictor import Predictor

HERE = Path(__file__).resolve().parent


def _check_port(port: int) -> None:
    """Voila reports a taken port among its log lines, and lingers."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SkinLesionError(f"cannot listen on 127.0.0.1:{port} ({reason}); choose another --port") from None


def main(arguments: list[str] | None = None) -> int:
    """Check model and port, then become Voila, with a template that fetches nothing from other hosts."""
    parser = argparse.ArgumentParser(prog="python -m app.voila", description="Serve the notebook view with Voila.")
    parser.add_argument("--port", type=int, default=8866, help="port to listen on, on this machine only")
    parser.add_argument("--model", metavar="DIR", help="an exported model's folder (default: the shipped model)")
    parser.add_argument("--index", metavar="DIR", help="similar cases to show, made by `skinlesion index`")
    chosen = parser.parse_args(arguments)
    places = chosen.model, chosen.index or os.environ.get(INDEX)
    folder, index = (str(Path(place).expanduser().resolve()) if place else "" for place in places)
    try:
        from app.voila.view import MODEL  # which loads the words, and those may be of no language
        from app.words import text

        manifest = Predictor.load(folder or None).manifest
        if index:
            Neighbours.load(index, manifest)
        _check_port(chosen.port)
    except SkinLesionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    os.environ |= {MODEL: folder, INDEX: index}
    for name in ("JUPYTER_CONFIG_PATH", "JUPYTER_PATH"):  # where voila.json and the template are found
        os.environ[name] = os.pathsep.join(filter(None, [str(HERE / "jupyter"), os.environ.get(name)]))
    words = {"language_code": text("language"), "heading": text("page.name"), "starting": text("voila.starting")}
    script = (HERE.parent / "static" / "viewer.js").read_text(encoding="utf-8")  # Voila serves no file from there
    options = [f"--VoilaConfiguration.resources={name}={value}" for name, value in (words | {"viewer": script}).items()]
    command = [sys.executable, "-m", "voila", str(HERE / "widget.ipynb"), f"--port={chosen.port}", *options]
    os.execv(sys.executable, command)


if __name__ == "__main__":
    sys.exit(main())
